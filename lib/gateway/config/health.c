/* Active checks of an upstream. */
#include "gateway/config/rows.h"

const nexus__gw_health nexus__gw_health_default = {.kind = NEXUS__GW_CHECK_NONE,
                                                   .interval_ms = 10000,
                                                   .down_interval_ms = 5000,
                                                   .timeout_ms = 2000,
                                                   .fails = 3,
                                                   .passes = 2,
                                                   .status_min = 200,
                                                   .status_max = 299};

static nexus_status load_type(nexus__loader *l, uint32_t value, void *out)
{
    static const char *const names[] = {"http", "tcp", "grpc"};
    for (uint32_t i = 0; i < COUNT(names); i++)
        if (nexus__json_text_is(l->doc, value, nexus__slice_c(names[i]))) {
            *(uint32_t *)out = NEXUS__GW_CHECK_HTTP + i;
            return NEXUS_OK;
        }
    return nexus__loader_fail(l, value, "must be \"http\", \"tcp\" or \"grpc\"");
}

/* [200, 299]: the first and the last that is well. */
static nexus_status load_expect(nexus__loader *l, uint32_t value, void *out)
{
    nexus__gw_health *h = NEXUS__CONTAINER(out, nexus__gw_health, status_min);
    int64_t ends[2] = {0, 0};
    bool ok = nexus__json_is(l->doc, value, NEXUS__JSON_ARRAY) && nexus__json_count(l->doc, value) == 2;
    for (nexus__json_iter it = nexus__json_each(l->doc, value); ok && nexus__json_step(l->doc, &it);)
        ok = nexus__json_i64(l->doc, it.value, &ends[it.index]);
    if (!ok || ends[0] < 200 || ends[1] > 599 || ends[0] > ends[1])
        return nexus__loader_fail(l, value, "must be two statuses, the first and the last that is well: [200, 299]");
    h->status_min = (uint32_t)ends[0];
    h->status_max = (uint32_t)ends[1];
    return NEXUS_OK;
}

nexus_status nexus__gw_load_health(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        CALL("type", load_type, nexus__gw_health, kind),
        ROW("path", TEXT, nexus__gw_health, path, 0, 0),
        ROW("service", TEXT, nexus__gw_health, service, 0, 0),
        CALL("expect", load_expect, nexus__gw_health, status_min),
        ROW("interval_ms", U32, nexus__gw_health, interval_ms, 10, NEXUS__GW_MS_MAX),
        ROW("down_interval_ms", U32, nexus__gw_health, down_interval_ms, 10, NEXUS__GW_MS_MAX),
        ROW("timeout_ms", U32, nexus__gw_health, timeout_ms, 1, NEXUS__GW_MS_MAX),
        ROW("fails", U32, nexus__gw_health, fails, 1, 1000),
        ROW("passes", U32, nexus__gw_health, passes, 1, 1000),
    };
    nexus__gw_health *h = out;
    bool on;
    h->path = NEXUS_S("/health");
    if (nexus__json_bool(l->doc, value, &on)) {
        h->kind = on ? NEXUS__GW_CHECK_HTTP : NEXUS__GW_CHECK_NONE;
        return NEXUS_OK;
    }
    h->kind = NEXUS__GW_CHECK_HTTP;
    nexus_status status = nexus__loader_object(l, value, rows, COUNT(rows), h);
    if (!status && (h->path.n == 0 || h->path.p[0] != '/'))
        return nexus__loader_fail(l, value, "\"path\" must start with \"/\"");
    if (!status && h->service.n > 255)
        return nexus__loader_fail(l, value, "\"service\" is over 255 bytes");
    return status;
}
