/* How upstreams are, for explain and status. */
#include "gateway/gateway.h"

const char *nexus__circuit_name(const nexus__breaker *b, int64_t now)
{
    static const char *const names[] = {"closed", "open", "half-open"};
    return names[nexus__breaker_state(b, now)];
}

static void put_target(nexus__json_writer *w, const nexus__upstream *u, nexus__target *t, uint32_t weight, int64_t now)
{
    int64_t until = atomic_load(&t->load.ejected_until);
    nexus__json_open(w, '{');
    nexus__json_put_text(w, "url", t->url);
    nexus__json_put_u64(w, "weight", weight);
    nexus__json_put_text_c(w, "state", atomic_load(&t->load.down) ? "down" : until > now ? "ejected" : "up");
    nexus__json_put_u64(w, "active", nexus__load_active(&t->load));
    nexus__json_put_u64(w, "connections", atomic_load(&t->shared.connections));
    nexus__json_put_u64(w, "failures", atomic_load(&t->shared.failures));
    if (until > now)
        nexus__json_put_i64(w, "ejected_ms", (until - now) / NEXUS__NS_PER_MS);
    if (u->conf->balance.breaker.on)
        nexus__json_put_text_c(w, "circuit", nexus__circuit_name(&t->load.breaker, now));
    if (u->conf->balance.balancer->timed)
        nexus__json_put_i64(w, "rtt_us", (int64_t)(nexus__balance_rtt_ns(&t->load, now) / 1000));
    nexus__json_close(w, '}');
}

static void put_targets(nexus__json_writer *w, nexus__upstream *u, int64_t now)
{
    nexus__target_set *set = nexus__upstream_set(u);
    nexus__json_key(w, "targets");
    nexus__json_open(w, '[');
    for (uint32_t i = 0; i < set->count; i++)
        put_target(w, u, set->targets[i], set->hosts[i].weight, now);
    nexus__json_close(w, ']');
    nexus__target_set_unref(set);
}

static void put_timeouts(nexus__json_writer *w, const nexus__gw_timeouts *t)
{
    nexus__json_key(w, "timeouts_ms");
    nexus__json_open(w, '{');
    nexus__json_put_u64(w, "connect", t->connect_ms);
    nexus__json_put_u64(w, "first_byte", t->first_byte_ms);
    nexus__json_put_u64(w, "per_try", t->try_ms);
    nexus__json_put_u64(w, "total", t->total_ms);
    nexus__json_put_u64(w, "idle", t->idle_ms);
    nexus__json_put_u64(w, "ping", t->ping_ms);
    nexus__json_close(w, '}');
}

static void put_retries(nexus__json_writer *w, const nexus__upstream *u)
{
    const nexus__gw_retries *r = &u->conf->retries;
    nexus__json_key(w, "retries");
    nexus__json_open(w, '{');
    nexus__json_put_u64(w, "max", r->max);
    nexus__json_put_u64(w, "active", __atomic_load_n(&u->budget.retries, __ATOMIC_RELAXED));
    if (r->budget_percent != UINT32_MAX) {
        nexus__json_put_u64(w, "budget_percent", r->budget_percent);
        nexus__json_put_u64(w, "budget_min", r->budget_min);
    }
    nexus__json_close(w, '}');
}

static void put_breaker(nexus__json_writer *w, const nexus__breaker_conf *b)
{
    nexus__json_key(w, "breaker");
    nexus__json_open(w, '{');
    nexus__json_put_u64(w, "failures_percent", b->rule.failures_percent);
    nexus__json_put_u64(w, "samples_min", b->rule.samples_min);
    nexus__json_put_u64(w, "window_ms", b->rule.window_ms);
    nexus__json_put_u64(w, "open_ms", b->rule.open_ms);
    nexus__json_put_u64(w, "open_max_ms", b->rule.open_max_ms);
    nexus__json_put_u64(w, "probes", b->rule.probes);
    nexus__json_close(w, '}');
}

static void put_ejection(nexus__json_writer *w, const nexus__gw_ejection *e)
{
    nexus__json_key(w, "ejection");
    nexus__json_open(w, '{');
    nexus__json_put_u64(w, "failures", e->failures);
    nexus__json_put_u64(w, "base_ms", e->base_ms);
    nexus__json_put_u64(w, "max_ms", e->max_ms);
    nexus__json_put_u64(w, "max_percent", e->max_percent);
    nexus__json_put_u64(w, "sweep_ms", e->sweep_ms);
    nexus__json_put_u64(w, "deviations_percent", e->deviations_percent);
    nexus__json_close(w, '}');
}

void nexus__upstream_put(nexus__json_writer *w, nexus__upstream *u, int64_t now)
{
    const nexus__gw_upstream_conf *conf = u->conf;
    nexus__json_open(w, '{');
    nexus__json_put_text(w, "name", conf->name);
    nexus__json_put_text_c(w, "balance", conf->balance.balancer->name);
    put_timeouts(w, &conf->timeouts);
    put_retries(w, u);
    if (conf->balance.breaker.on)
        put_breaker(w, &conf->balance.breaker);
    if (conf->ejection.failures || conf->ejection.deviations_percent)
        put_ejection(w, &conf->ejection);
    nexus__json_put_u64(w, "max_connections", conf->max_connections);
    nexus__json_put_u64(w, "max_pending", conf->max_pending);
    if (conf->max_requests)
        nexus__json_put_u64(w, "max_requests", conf->max_requests);
    nexus__json_put_u64(w, "active", nexus__upstream_active(u));
    nexus__json_put_u64(w, "waiting", __atomic_load_n(&u->pending.held, __ATOMIC_RELAXED));
    if (conf->openapi.n)
        nexus__json_put_text(w, "openapi", conf->openapi);
    put_targets(w, u, now);
    nexus__json_close(w, '}');
}
