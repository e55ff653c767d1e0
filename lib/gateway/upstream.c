/*
 * Targets of an upstream: who may get a request now, and what their answers teach. A target is out while active checks
 * call it down or while it is ejected for failing in a row. When nobody is left, everybody is tried: the checks may be
 * wrong, and an error is no worse than a refusal.
 */
#include <netdb.h>
#include <stdio.h>

#include "base/status.h"
#include "gateway/balance.h"
#include "gateway/gateway.h"

enum { EJECT_MAX_MS = 300000, TARGETS_MAX = 64 };

static nexus_status resolve(const nexus__gw_target *conf, nexus__address *out)
{
    char port[8];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    if (nexus__address_parse(conf->host.p, conf->port, out))
        return NEXUS_OK;
    snprintf(port, sizeof port, "%u", conf->port);
    int error = getaddrinfo(conf->host.p, port, &hints, &list);
    if (error || list->ai_addrlen > sizeof out->sa)
        return nexus__fail(NEXUS_EUNREACH, "upstream target %s: %s", conf->url.p, gai_strerror(error));
    memcpy(&out->sa, list->ai_addr, list->ai_addrlen);
    out->len = list->ai_addrlen;
    freeaddrinfo(list);
    return NEXUS_OK;
}

static nexus_status first_set(nexus__upstream *u)
{
    nexus__target_spec specs[TARGETS_MAX] = {0};
    uint32_t n = u->conf->targets.count;
    if (n > TARGETS_MAX)
        return nexus__fail(NEXUS_EINVAL, "upstream %s: more than %d targets", u->conf->name.p, TARGETS_MAX);
    for (uint32_t i = 0; i < n; i++) {
        specs[i].conf = &u->conf->targets.items[i];
        specs[i].weight = specs[i].conf->weight;
        nexus_status status = resolve(specs[i].conf, &specs[i].address);
        if (status)
            return status;
    }
    return nexus__upstream_set_targets(u, specs, n);
}

nexus_status nexus__upstream_new(nexus__upstream **out, nexus_gateway *g, nexus__gw_config *config,
                                 const nexus__gw_upstream_conf *conf)
{
    nexus__upstream *u = nexus__calloc(g->alloc, 1, sizeof *u);
    if (!u)
        return nexus__nomem();
    u->alloc = g->alloc;
    u->gateway = g;
    u->refs = 1;
    u->config = nexus__gw_config_ref(config);
    u->conf = conf;
    u->budget = (nexus_retry_budget){.percent = 20, .min = 3};
    pthread_mutex_init(&u->locked.mutex, NULL);
    nexus_status status = first_set(u);
    if (status)
        nexus__upstream_unref(u);
    else
        *out = u;
    return status;
}

nexus__upstream *nexus__upstream_ref(nexus__upstream *u)
{
    atomic_fetch_add(&u->refs, 1);
    return u;
}

void nexus__upstream_unref(nexus__upstream *u)
{
    if (!u || atomic_fetch_sub(&u->refs, 1) != 1)
        return;
    nexus__target_set_unref(u->locked.set);
    pthread_mutex_destroy(&u->locked.mutex);
    nexus__gw_config_free(u->config);
    nexus__free(u->alloc, u);
}

nexus__target_set *nexus__upstream_set(nexus__upstream *u)
{
    pthread_mutex_lock(&u->locked.mutex);
    nexus__target_set *set = nexus__target_set_ref(u->locked.set);
    pthread_mutex_unlock(&u->locked.mutex);
    return set;
}

nexus_status nexus__upstream_set_targets(nexus__upstream *u, const nexus__target_spec *specs, uint32_t n)
{
    nexus__target_set *set, *old;
    pthread_mutex_lock(&u->locked.mutex);
    old = u->locked.set;
    nexus_status status = nexus__target_set_new(&set, u, specs, n, old);
    if (!status) {
        u->locked.set = set;
        atomic_store_explicit(&u->generation, set->generation, memory_order_release);
    }
    pthread_mutex_unlock(&u->locked.mutex);
    if (!status)
        nexus__target_set_unref(old);
    return status;
}

bool nexus__target_usable(const nexus__target *t, int64_t now)
{
    return !atomic_load_explicit(&t->shared.down, memory_order_relaxed) &&
           atomic_load_explicit(&t->shared.ejected_until, memory_order_relaxed) <= now;
}

nexus__pool_target *nexus__upstream_pick(nexus__pool *pool, uint64_t random, int64_t now, const nexus__target *avoid)
{
    nexus__upstream *u = pool->upstream;
    if (atomic_load_explicit(&u->generation, memory_order_acquire) != pool->set->generation)
        nexus__pool_follow(pool);
    nexus__balance_target list[TARGETS_MAX];
    const nexus__target_set *set = pool->set;
    bool turns = u->conf->balance == NEXUS__BALANCE_WRR;
    if (set->count < 2)
        return set->count ? pool->targets[0] : NULL;
    for (int round = 0; round < 3; round++) { /* healthy and not avoided; healthy; any */
        for (uint32_t i = 0; i < set->count; i++) {
            nexus__target *t = set->members[i].target;
            list[i] = (nexus__balance_target){
                .weight = set->members[i].weight,
                .active = atomic_load_explicit(&t->shared.active, memory_order_relaxed),
                .usable = round == 2 || (nexus__target_usable(t, now) && (round == 1 || t != avoid)),
                .current = pool->targets[i]->turn,
            };
        }
        uint32_t pick = turns ? nexus__balance_wrr(list, set->count) : nexus__balance_p2c(list, set->count, random);
        for (uint32_t i = 0; turns && i < set->count; i++)
            pool->targets[i]->turn = list[i].current;
        if (pick != NEXUS__BALANCE_NONE)
            return pool->targets[pick];
    }
    return pool->targets[0];
}

/* Never more than half of the targets, but always at least one, may be out for failing. */
static bool may_eject(nexus__upstream *u, int64_t now)
{
    uint32_t out = 0;
    nexus__target_set *set = nexus__upstream_set(u);
    for (uint32_t i = 0; i < set->count; i++)
        out += atomic_load(&set->members[i].target->shared.ejected_until) > now;
    bool may = out == 0 || (out + 1) * 2 <= set->count;
    nexus__target_set_unref(set);
    return may;
}

static void eject(nexus__upstream *u, nexus__target *t, int64_t now)
{
    if (!may_eject(u, now))
        return;
    uint64_t pause = (uint64_t)u->conf->eject_ms * (atomic_fetch_add(&t->shared.ejections, 1) + 1);
    if (pause > EJECT_MAX_MS)
        pause = EJECT_MAX_MS;
    atomic_store(&t->shared.failures, 0);
    atomic_store(&t->shared.ejected_until, now + (int64_t)pause * NEXUS__NS_PER_MS);
    if (u->gateway->opts.on_health)
        u->gateway->opts.on_health(u->conf->name.p, t->url.p, false, "failed repeatedly", u->gateway->opts.user_data);
}

static void recover(nexus__upstream *u, nexus__target *t)
{
    if (atomic_load_explicit(&t->shared.failures, memory_order_relaxed))
        atomic_store(&t->shared.failures, 0);
    if (!atomic_load_explicit(&t->shared.ejected_until, memory_order_relaxed))
        return;
    if (!atomic_exchange(&t->shared.ejected_until, 0))
        return;
    atomic_store(&t->shared.ejections, 0);
    if (u->gateway->opts.on_health)
        u->gateway->opts.on_health(u->conf->name.p, t->url.p, true, "answers again", u->gateway->opts.user_data);
}

void nexus__upstream_report(nexus__target *t, bool failed, int64_t now)
{
    nexus__upstream *u = t->upstream;
    if (!failed) {
        recover(u, t);
        return;
    }
    uint32_t failures = atomic_fetch_add(&t->shared.failures, 1) + 1;
    if (u->conf->eject_failures && failures >= u->conf->eject_failures && nexus__target_usable(t, now))
        eject(u, t, now);
}
