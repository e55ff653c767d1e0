#include <stdio.h>

#include "base/status.h"
#include "crypto/hash.h"
#include "gateway/discovery.h"
#include "gateway/function.h"
#include "gateway/gateway.h"

static nexus_status open_tls(nexus__upstream *u)
{
    const nexus__gw_tls_conf *conf = &u->conf->tls;
    bool wanted = u->conf->discovery.found.tls || u->conf->discovery.registry.n > 0; /* instances may come with https */
    for (uint32_t i = 0; i < u->conf->targets.count; i++)
        wanted |= u->conf->targets.items[i].tls;
    if (!wanted)
        return NEXUS_OK;
    if (conf->insecure && !u->gateway->opts.development)
        return nexus__fail(NEXUS_EINVAL, "upstream %s: \"insecure\" is for development only (NEXUS_ENV=development); name "
                                         "the authority in \"ca_file\" instead", u->conf->name.p);
    nexus__tls_client_opts opts = {.ca_file = conf->ca_file.n ? conf->ca_file.p : NULL,
                                   .cert_file = conf->cert_file.n ? conf->cert_file.p : NULL,
                                   .key_file = conf->key_file.n ? conf->key_file.p : NULL,
                                   .pins = (const uint8_t(*)[32])conf->pins.items,
                                   .pin_count = conf->pins.count,
                                   .insecure = conf->insecure};
    return nexus__tls_client_open(&u->tls, u->alloc, &opts);
}

static nexus_status check_functions(const nexus__upstream *u)
{
    for (uint32_t i = 0; i < u->conf->targets.count; i++) {
        nexus_slice name = u->conf->targets.items[i].function;
        if (name.n > 0 && !nexus__function_find(u->gateway, name))
            return nexus__fail(NEXUS_EINVAL, "upstream %s: there is no function %s; name it by nexus_gateway_function first",
                               u->conf->name.p, name.p);
    }
    return NEXUS_OK;
}

static nexus_status make_hash_key(nexus__upstream *u)
{
    uint8_t digest[NEXUS__DIGEST_MAX];
    nexus_slice secret = u->conf->hash.secret;
    u->hash_key = nexus__hash_key_random();
    if (secret.n == 0)
        return NEXUS_OK;
    nexus_status status = nexus__hash(NEXUS__SHA256, secret, digest);
    if (!status)
        memcpy(&u->hash_key, digest, sizeof u->hash_key);
    return status;
}

nexus_status nexus__upstream_new(nexus__upstream **out, nexus_gateway *g, nexus__gw_config *config,
                                 const nexus__gw_upstream_conf *conf)
{
    nexus__upstream *u = nexus__calloc(g->traffic_alloc, 1, sizeof *u + g->loop_count * sizeof *u->loops);
    if (!u)
        return nexus__nomem();
    u->alloc = g->traffic_alloc;
    u->gateway = g;
    u->refs = 1;
    u->config = nexus__gw_config_ref(config);
    u->conf = conf;
    u->budget = (nexus_retry_budget){.percent = conf->retries.budget_percent, .min = conf->retries.budget_min};
    u->pending.max = conf->max_pending;
    u->requests.max = conf->max_requests;
    pthread_mutex_init(&u->locked.mutex, NULL);
    for (uint32_t i = 0; i < g->loop_count; i++)
        u->loops[i] = (nexus__upstream_loop){.upstream = u, .turn.fn = nexus__waiting_turn};
    nexus__upstream_metrics(u);
    nexus__seen_upstream_find(&u->seen, &g->seen, conf->name);
    nexus_status status = make_hash_key(u);
    if (!status)
        status = open_tls(u);
    if (!status)
        status = check_functions(u);
    if (!status)
        status = nexus__discovery_open(u);
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
    nexus__tls_client_close(u->tls);
    nexus__discovery_free(u->discovery);
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

uint32_t nexus__upstream_active(const nexus__upstream *u)
{
    uint32_t active = 0;
    for (uint32_t i = 0; i < u->gateway->loop_count; i++)
        active += atomic_load_explicit(&u->loops[i].shared.active, memory_order_relaxed);
    return active;
}

nexus__pool_target *nexus__upstream_pick(nexus__pool *pool, nexus__balance_ask ask)
{
    nexus__upstream *u = pool->upstream;
    if (atomic_load_explicit(&u->generation, memory_order_acquire) != pool->set->generation)
        nexus__pool_follow(pool);
    ask.turns = pool->turns;
    if (u->conf->balance.balancer->keyed)
        ask.total = nexus__upstream_active(u);
    uint32_t i = nexus__balance_pick(&pool->set->balance, ask);
    return i == NEXUS__BALANCE_NONE ? NULL : pool->targets[i];
}
