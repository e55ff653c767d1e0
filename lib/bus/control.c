/* Pausing a group, by hand or by its breaker. Both outlive the owner. */
#include "base/status.h"
#include "bus/internal.h"

enum { BURST_MIN = 100, PROBES = 3, WINDOW_MS = 10000, OPEN_MAX_MS = 60000 };

/* A member that dies with everything in flight is no storm: that much may come again at once. */
nexus__guard_rule nexus__bgroup_guard_rule(const nexus__bgroup *g)
{
    uint32_t burst = g->config.max_inflight > BURST_MIN ? g->config.max_inflight : BURST_MIN;
    return (nexus__guard_rule){
        .percent = g->config.redeliver_percent, .per_s = g->config.redeliver_per_s, .burst = burst};
}

nexus_breaker_rule nexus__bgroup_breaker_rule(const nexus__bgroup *g)
{
    return (nexus_breaker_rule){.size = sizeof(nexus_breaker_rule),
                                .failures_percent = g->config.breaker_percent,
                                .samples_min = g->config.breaker_samples,
                                .window_ms = WINDOW_MS,
                                .open_ms = g->config.breaker_pause_ms,
                                .open_max_ms = OPEN_MAX_MS,
                                .probes = PROBES};
}

static nexus_status write_control(nexus__bgroup *g, uint32_t what, uint32_t value)
{
    uint32_t body[2] = {what, value};
    nexus__wal_record r = {.kind = KIND_CONTROL,
                           .flags = NEXUS__WAL_INTERNAL,
                           .meta = nexus__slice_c(g->name),
                           .payload = nexus__slice(body, sizeof body)};
    return nexus__wal_append_async(g->broker->wal, &r, 1, NULL, NULL);
}

/* What the last owner knew: a breaker that was open begins open, as if it had just failed enough. */
static void open_breaker(nexus__bgroup *g)
{
    nexus_breaker_rule rule = nexus__bgroup_breaker_rule(g);
    int64_t now = nexus__mono_ns(), wait;
    for (uint32_t i = 0; g->config.breaker_percent && i < rule.samples_min; i++) {
        uint32_t pass = nexus__breaker_enter(&g->breaker, &rule, now, &wait);
        if (!pass || nexus__breaker_done(&g->breaker, &rule, pass, NEXUS_BREAKER_FAILED, now) == NEXUS_BREAKER_OPEN)
            return;
    }
}

void nexus__bgroup_control(nexus__bgroup *g, uint32_t what, uint32_t value)
{
    if (what == CONTROL_PAUSE)
        g->paused = value != 0;
    else if (what == CONTROL_BREAKER && value)
        open_breaker(g);
    else if (what == CONTROL_BREAKER)
        g->breaker = (nexus__breaker){0};
}

void nexus__bgroup_breaker_changed(nexus__bgroup *g, int32_t state)
{
    if (state != NEXUS_BREAKER_OPEN && state != NEXUS_BREAKER_CLOSED)
        return;
    nexus_status status = write_control(g, CONTROL_BREAKER, state == NEXUS_BREAKER_OPEN);
    if (state == NEXUS_BREAKER_OPEN && status == NEXUS_OK)
        nexus__broker_alert(g->broker, "critical",
                            "bus group %s: %u %% of its attempts failed, nothing is handed out for a while", g->name,
                            g->config.breaker_percent);
}

nexus_status nexus__bgroup_pause(nexus__bgroup *g, bool pause)
{
    pthread_mutex_lock(&g->lock);
    nexus_status status = g->paused == pause ? NEXUS_OK : write_control(g, CONTROL_PAUSE, pause);
    if (status == NEXUS_OK && g->paused != pause) {
        g->paused = pause;
        nexus__bgroup_note(g, pause ? AUDIT_PAUSE : AUDIT_RESUME, 0, NEXUS_S(""));
    }
    pthread_mutex_unlock(&g->lock);
    if (status != NEXUS_OK)
        return status;
    nexus__bgroup_wake(g);
    return nexus__bgroup_sync(g);
}
