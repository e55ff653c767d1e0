#include "gateway/health.h"

#include "base/id.h"

static nexus__check_fn *const kinds[] = {
    [NEXUS__GW_CHECK_HTTP] = nexus__check_http,
    [NEXUS__GW_CHECK_TCP] = nexus__check_tcp,
    [NEXUS__GW_CHECK_GRPC] = nexus__check_grpc,
};

/* --- results ------------------------------------------------------------------------------------------------------ */

nexus__check_turn nexus__check_count(nexus__check_counts *c, const nexus__gw_health *rule, nexus__check_outcome outcome)
{
    c->unknown = outcome == NEXUS__CHECK_UNKNOWN ? c->unknown + 1 : 0;
    if (outcome == NEXUS__CHECK_UNKNOWN)
        return c->unknown >= rule->fails ? NEXUS__CHECK_UP : NEXUS__CHECK_STAY;
    c->fails = outcome == NEXUS__CHECK_BAD ? c->fails + 1 : 0;
    c->passes = outcome == NEXUS__CHECK_GOOD ? c->passes + 1 : 0;
    return c->fails >= rule->fails     ? NEXUS__CHECK_DOWN
           : c->passes >= rule->passes ? NEXUS__CHECK_UP
                                       : NEXUS__CHECK_STAY;
}

void nexus__check_done(nexus__target *t, nexus__check_outcome outcome, const char *reason)
{
    nexus__upstream *u = t->upstream;
    nexus__check_turn turn = nexus__check_count(&t->check.counts, &u->conf->health, outcome);
    if (turn != NEXUS__CHECK_STAY)
        nexus__target_turn(t, turn == NEXUS__CHECK_DOWN, reason, nexus__mono_ns());
    atomic_store(&t->check.running, false);
    nexus__target_unref(t);
    nexus__upstream_unref(u);
}

/* --- when --------------------------------------------------------------------------------------------------------- */

/* While it runs, a check holds its target and, for that, the upstream. */
static void start_check(nexus_gateway *g, nexus__target *t)
{
    nexus__upstream_ref(t->upstream);
    nexus__target_ref(t);
    atomic_store(&t->check.running, true);
    if (kinds[t->upstream->conf->health.kind](g, t))
        nexus__check_done(t, NEXUS__CHECK_UNKNOWN, "the check cannot be made");
}

static int64_t pause_ns(const nexus__gw_health *rule, bool down)
{
    int64_t ms = down ? rule->down_interval_ms : rule->interval_ms;
    int64_t fifth = ms / 5 > 0 ? ms / 5 : 1; /* a tenth either way */
    return (ms - ms / 10 + (int64_t)(nexus__random_u64() % (uint64_t)fifth)) * NEXUS__NS_PER_MS;
}

/* Returns when the target is due again. */
static int64_t look(nexus_gateway *g, nexus__target *t, int64_t now)
{
    if (t->check.due <= now && !atomic_load(&t->check.running)) {
        t->check.due = now + pause_ns(&t->upstream->conf->health, atomic_load(&t->load.down));
        start_check(g, t);
    }
    return t->check.due;
}

static int64_t look_at_all(nexus_gateway *g, nexus__upstream *u, int64_t now)
{
    int64_t next = INT64_MAX;
    if (u->conf->health.kind == NEXUS__GW_CHECK_NONE)
        return next;
    nexus__target_set *set = nexus__upstream_set(u);
    for (uint32_t i = 0; i < set->count; i++) {
        int64_t due = look(g, set->targets[i], now);
        next = due < next ? due : next;
    }
    nexus__target_set_unref(set);
    return next;
}

uint32_t nexus__health_tick(nexus_gateway *g, nexus__snapshot *s, int64_t now)
{
    int64_t next = now + 1000 * NEXUS__NS_PER_MS;
    for (uint32_t i = 0; s && i < s->config->upstreams.count; i++) {
        int64_t sweep = nexus__upstream_sweep(s->upstreams[i], now), check = look_at_all(g, s->upstreams[i], now);
        next = sweep < next ? sweep : next;
        next = check < next ? check : next;
    }
    int64_t ms = (next - now) / NEXUS__NS_PER_MS;
    return ms < 10 ? 10 : (uint32_t)ms;
}
