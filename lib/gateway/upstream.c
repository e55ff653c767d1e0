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

static nexus_status resolve(nexus__target *t)
{
    char port[8];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    if (nexus__address_parse(t->conf->host.p, t->conf->port, &t->address))
        return NEXUS_OK;
    snprintf(port, sizeof port, "%u", t->conf->port);
    int error = getaddrinfo(t->conf->host.p, port, &hints, &list);
    if (error || list->ai_addrlen > sizeof t->address.sa)
        return nexus__fail(NEXUS_EUNREACH, "upstream target %s: %s", t->conf->url.p, gai_strerror(error));
    memcpy(&t->address.sa, list->ai_addr, list->ai_addrlen);
    t->address.len = list->ai_addrlen;
    freeaddrinfo(list);
    return NEXUS_OK;
}

nexus_status nexus__upstream_new(nexus__upstream **out, nexus_gateway *g, nexus__gw_config *config,
                                 const nexus__gw_upstream_conf *conf)
{
    uint32_t n = conf->targets.count;
    if (n > TARGETS_MAX)
        return nexus__fail(NEXUS_EINVAL, "upstream %s: more than %d targets", conf->name.p, TARGETS_MAX);
    nexus__upstream *u = nexus__calloc(g->alloc, 1, sizeof *u + n * sizeof *u->targets);
    if (!u)
        return nexus__nomem();
    u->alloc = g->alloc;
    u->gateway = g;
    u->refs = 1;
    u->config = nexus__gw_config_ref(config);
    u->conf = conf;
    u->count = n;
    u->budget = (nexus_retry_budget){.percent = 20, .min = 3};
    for (uint32_t i = 0; i < n; i++) {
        u->targets[i].conf = &conf->targets.items[i];
        nexus_status status = resolve(&u->targets[i]);
        if (status) {
            nexus__upstream_unref(u);
            return status;
        }
    }
    *out = u;
    return NEXUS_OK;
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
    nexus__health_free(u);
    nexus__gw_config_free(u->config);
    nexus__free(u->alloc, u);
}

bool nexus__target_usable(const nexus__target *t, int64_t now)
{
    return !atomic_load_explicit(&t->shared.down, memory_order_relaxed) &&
           atomic_load_explicit(&t->shared.ejected_until, memory_order_relaxed) <= now;
}

uint32_t nexus__upstream_pick(nexus__upstream *u, int64_t *wrr, uint64_t random, int64_t now, uint32_t avoid)
{
    nexus__balance_target list[TARGETS_MAX];
    if (u->count == 1)
        return 0;
    for (int round = 0; round < 3; round++) { /* healthy and not avoided; healthy; any */
        for (uint32_t i = 0; i < u->count; i++) {
            nexus__target *t = &u->targets[i];
            list[i] = (nexus__balance_target){
                .weight = t->conf->weight,
                .active = atomic_load_explicit(&t->shared.active, memory_order_relaxed),
                .usable = round == 2 || (nexus__target_usable(t, now) && (round == 1 || i != avoid)),
                .current = wrr[i],
            };
        }
        bool turns = u->conf->balance == NEXUS__BALANCE_WRR;
        uint32_t pick = turns ? nexus__balance_wrr(list, u->count) : nexus__balance_p2c(list, u->count, random);
        for (uint32_t i = 0; turns && i < u->count; i++)
            wrr[i] = list[i].current;
        if (pick != NEXUS__BALANCE_NONE)
            return pick;
    }
    return 0;
}

/* Never more than half of the targets, but always at least one, may be out for failing. */
static bool may_eject(const nexus__upstream *u, int64_t now)
{
    uint32_t out = 0;
    for (uint32_t i = 0; i < u->count; i++)
        out += atomic_load(&u->targets[i].shared.ejected_until) > now;
    return out == 0 || (out + 1) * 2 <= u->count;
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
        u->gateway->opts.on_health(u->conf->name.p, t->conf->url.p, false, "failed repeatedly",
                                   u->gateway->opts.user_data);
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
        u->gateway->opts.on_health(u->conf->name.p, t->conf->url.p, true, "answers again", u->gateway->opts.user_data);
}

void nexus__upstream_report(nexus__upstream *u, uint32_t target, bool failed, int64_t now)
{
    nexus__target *t = &u->targets[target];
    if (!failed) {
        recover(u, t);
        return;
    }
    uint32_t failures = atomic_fetch_add(&t->shared.failures, 1) + 1;
    if (u->conf->eject_failures && failures >= u->conf->eject_failures && nexus__target_usable(t, now))
        eject(u, t, now);
}
