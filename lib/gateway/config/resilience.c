/* What an upstream does against failure: time-outs, retries, circuit breaker, ejection. */
#include "gateway/config/rows.h"

#define BIT(status) ((uint64_t)1 << ((status)-500))

const nexus__gw_retries nexus__gw_retries_default = {
    .max = 1,
    .base_ms = 25,
    .cap_ms = 250,
    .budget_percent = 20,
    .budget_min = 3,
    .statuses = {BIT(502) | BIT(503) | BIT(504)},
};

const nexus__gw_ejection nexus__gw_ejection_default = {
    .failures = 5,
    .base_ms = 30000,
    .max_ms = 300000,
    .max_percent = 50,
    .sweep_ms = 10000,
    .deviations_percent = 190,
    .hosts_min = 5,
    .requests_min = 100,
};

nexus_status nexus__gw_load_timeouts(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        ROW("connect", U32, nexus__gw_timeouts, connect_ms, 1, NEXUS__GW_MS_MAX),
        ROW("first_byte", U32, nexus__gw_timeouts, first_byte_ms, 1, NEXUS__GW_MS_MAX),
        ROW("per_try", U32, nexus__gw_timeouts, try_ms, 1, NEXUS__GW_MS_MAX),
        ROW("total", U32, nexus__gw_timeouts, total_ms, 1, NEXUS__GW_MS_MAX),
        ROW("idle", U32, nexus__gw_timeouts, idle_ms, 1, NEXUS__GW_MS_MAX),
        ROW("ping", U32, nexus__gw_timeouts, ping_ms, 0, NEXUS__GW_MS_MAX),
    };
    return nexus__loader_object(l, value, rows, COUNT(rows), out);
}

/* --- retries ------------------------------------------------------------------------------------------------------ */

static nexus_status load_statuses(nexus__loader *l, uint32_t value, void *out)
{
    uint64_t *bits = out;
    int64_t status;
    if (!nexus__json_is(l->doc, value, NEXUS__JSON_ARRAY))
        return nexus__loader_fail(l, value, "must be an array of statuses");
    bits[0] = bits[1] = 0;
    for (nexus__json_iter it = nexus__json_each(l->doc, value); nexus__json_step(l->doc, &it);) {
        if (!nexus__json_i64(l->doc, it.value, &status) || status < 500 || status > 599)
            return nexus__loader_fail(l, it.value, "must be a status from 500 to 599");
        bits[(status - 500) / 64] |= (uint64_t)1 << (status - 500) % 64;
    }
    return NEXUS_OK;
}

static nexus_status load_budget(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        ROW("percent", U32, nexus__gw_retries, budget_percent, 0, 100),
        ROW("min", U32, nexus__gw_retries, budget_min, 0, 1000000),
    };
    nexus__gw_retries *r = NEXUS__CONTAINER(out, nexus__gw_retries, budget_percent);
    bool on;
    if (!nexus__json_bool(l->doc, value, &on))
        return nexus__loader_object(l, value, rows, COUNT(rows), r);
    if (!on)
        r->budget_percent = UINT32_MAX;
    return NEXUS_OK;
}

nexus_status nexus__gw_load_retries(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        ROW("max", U32, nexus__gw_retries, max, 0, 10),
        ROW("base_ms", U32, nexus__gw_retries, base_ms, 1, NEXUS__GW_MS_MAX),
        ROW("cap_ms", U32, nexus__gw_retries, cap_ms, 1, NEXUS__GW_MS_MAX),
        CALL("statuses", load_statuses, nexus__gw_retries, statuses),
        CALL("budget", load_budget, nexus__gw_retries, budget_percent),
    };
    nexus__gw_retries *r = out;
    int64_t max;
    if (!nexus__json_i64(l->doc, value, &max))
        return nexus__loader_object(l, value, rows, COUNT(rows), r);
    if (max < 0 || max > 10)
        return nexus__loader_fail(l, value, "must be a whole number from 0 to 10, or an object");
    r->max = (uint32_t)max;
    return NEXUS_OK;
}

/* --- circuit breaker ---------------------------------------------------------------------------------------------- */

nexus_status nexus__gw_load_breaker(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        ROW("failures_percent", U32, nexus_breaker_rule, failures_percent, 1, 100),
        ROW("samples_min", U32, nexus_breaker_rule, samples_min, 1, 100000),
        ROW("window_ms", U32, nexus_breaker_rule, window_ms, 10, 3600000),
        ROW("open_ms", U32, nexus_breaker_rule, open_ms, 1, NEXUS__GW_MS_MAX),
        ROW("open_max_ms", U32, nexus_breaker_rule, open_max_ms, 1, NEXUS__GW_MS_MAX),
        ROW("probes", U32, nexus_breaker_rule, probes, 1, 255),
    };
    nexus__breaker_conf *b = out;
    if (nexus__json_bool(l->doc, value, &b->on))
        return NEXUS_OK;
    b->on = true;
    return nexus__loader_object(l, value, rows, COUNT(rows), &b->rule);
}

/* --- ejection ----------------------------------------------------------------------------------------------------- */

static nexus_status load_success_rate(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        ROW("deviations_percent", U32, nexus__gw_ejection, deviations_percent, 1, 10000),
        ROW("hosts_min", U32, nexus__gw_ejection, hosts_min, 2, 100000),
        ROW("requests_min", U32, nexus__gw_ejection, requests_min, 1, 1000000),
    };
    nexus__gw_ejection *e = NEXUS__CONTAINER(out, nexus__gw_ejection, deviations_percent);
    bool on;
    if (!nexus__json_bool(l->doc, value, &on))
        return nexus__loader_object(l, value, rows, COUNT(rows), e);
    if (!on)
        e->deviations_percent = 0;
    return NEXUS_OK;
}

nexus_status nexus__gw_load_ejection(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        ROW("failures", U32, nexus__gw_ejection, failures, 1, 1000),
        ROW("base_ms", U32, nexus__gw_ejection, base_ms, 1, NEXUS__GW_MS_MAX),
        ROW("max_ms", U32, nexus__gw_ejection, max_ms, 1, NEXUS__GW_MS_MAX),
        ROW("max_percent", U32, nexus__gw_ejection, max_percent, 1, 100),
        ROW("sweep_ms", U32, nexus__gw_ejection, sweep_ms, 10, NEXUS__GW_MS_MAX),
        CALL("success_rate", load_success_rate, nexus__gw_ejection, deviations_percent),
    };
    nexus__gw_ejection *e = out;
    bool on;
    if (!nexus__json_bool(l->doc, value, &on))
        return nexus__loader_object(l, value, rows, COUNT(rows), e);
    if (!on)
        e->failures = e->deviations_percent = 0;
    return NEXUS_OK;
}
