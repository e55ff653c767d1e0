/* A route of the routes file: where it stands, where it goes, and the members that filters read. */
#include <nexus/router.h>

#include "gateway/config/rows.h"
#include "gateway/filters/cors.h"

static nexus_status load_methods(nexus__loader *l, uint32_t value, void *out)
{
    nexus__text_list list = {0};
    nexus_status status = nexus__loader_texts(l, value, &list);
    *(uint32_t *)out = 0;
    for (uint32_t i = 0; i < list.count && !status; i++) {
        uint32_t bit = nexus_method_parse(list.items[i]);
        if (bit == NEXUS_METHOD_OTHER)
            return nexus__loader_fail(l, value, "\"%s\" is no method known here; write them in upper case",
                                      list.items[i].p);
        *(uint32_t *)out |= bit;
    }
    return status;
}

static nexus_status load_ambiguous(nexus__loader *l, uint32_t value, void *out)
{
    bool pass = nexus__json_text_is(l->doc, value, NEXUS_S("pass"));
    if (!pass && !nexus__json_text_is(l->doc, value, NEXUS_S("refuse")))
        return nexus__loader_fail(l, value, "must be \"refuse\" or \"pass\"");
    *(bool *)out = pass;
    return NEXUS_OK;
}

static nexus_status check_route(nexus__loader *l, uint32_t value, nexus__gw_route_conf *r)
{
    if (!r->path.n == !r->prefix.n)
        return nexus__loader_fail(l, value, "needs either \"path\" or \"prefix\"");
    if (!r->id.n)
        r->id = r->path.n ? r->path : r->prefix;
    if ((r->strip_prefix.n && r->strip_prefix.p[0] != '/') || (r->add_prefix.n && r->add_prefix.p[0] != '/'))
        return nexus__loader_fail(l, value, "prefixes must start with \"/\"");
    if (nexus__gw_check_headers(l, value, r, &r->request) || nexus__gw_check_headers(l, value, r, &r->response))
        return NEXUS_EINVAL;
    r->keeps_captures = r->request.filled.count + r->response.filled.count > 0;
    for (uint32_t i = 0; i < r->filters.count; i++) {
        const nexus__gw_filter_use *use = &r->filters.items[i];
        r->keeps_captures |= use->filter->captures;
        nexus_status status = use->filter->check ? use->filter->check(l, value, r, use->conf) : NEXUS_OK;
        if (status)
            return status;
    }
    return NEXUS_OK;
}

/* A route while it is read: a place for each filter that there is. */
typedef struct reading {
    nexus__gw_route_conf route;
    nexus__gw_filter_use uses[NEXUS__GW_FILTERS_MAX];
} reading;

static nexus_status load_filter(nexus__loader *l, uint32_t value, void *out)
{
    nexus__gw_filter_use *use = out;
    use->conf = nexus__arena_get(l->arena, use->filter->conf_bytes + 1);
    if (!use->conf)
        return nexus__nomem();
    memset(use->conf, 0, use->filter->conf_bytes);
    return use->filter->load(l, value, use->conf);
}

/* Behind the rows of the route itself, one for each filter; returns how many rows there are. */
static size_t filter_rows(nexus__loader_row *rows, size_t n, reading *r)
{
    for (uint32_t i = 0; nexus__gw_filters[i]; i++) {
        r->uses[i].filter = nexus__gw_filters[i];
        rows[n++] = (nexus__loader_row){.key = nexus__gw_filters[i]->key,
                                        .kind = NEXUS__LOADER_CALL,
                                        .offset = offsetof(reading, uses) + i * sizeof *r->uses,
                                        .fn = load_filter};
    }
    return n;
}

/* Keeps those that the file names. */
static nexus_status keep_filters(nexus__loader *l, const reading *r, nexus__gw_route_conf *out)
{
    uint32_t count = 0;
    for (uint32_t i = 0; nexus__gw_filters[i]; i++)
        count += r->uses[i].conf != NULL;
    out->filters.items = count ? nexus__arena_get(l->arena, count * sizeof *out->filters.items) : NULL;
    if (count && !out->filters.items)
        return nexus__nomem();
    for (uint32_t i = 0; nexus__gw_filters[i]; i++)
        if (r->uses[i].conf)
            out->filters.items[out->filters.count++] = r->uses[i];
    return NEXUS_OK;
}

nexus_status nexus__gw_load_route(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row own[] = {
        ROW("id", TEXT, nexus__gw_route_conf, id, 0, 0),
        ROW("host", TEXT, nexus__gw_route_conf, host, 0, 0),
        ROW("path", TEXT, nexus__gw_route_conf, path, 0, 0),
        ROW("prefix", TEXT, nexus__gw_route_conf, prefix, 0, 0),
        CALL("methods", load_methods, nexus__gw_route_conf, methods),
        ROW("priority", I32, nexus__gw_route_conf, priority, 0, 0),
        {"upstream", NEXUS__LOADER_TEXT, offsetof(nexus__gw_route_conf, upstream), 0, 0, NULL, true},
        ROW("strip_prefix", TEXT, nexus__gw_route_conf, strip_prefix, 0, 0),
        ROW("add_prefix", TEXT, nexus__gw_route_conf, add_prefix, 0, 0),
        CALL("ambiguous_path", load_ambiguous, nexus__gw_route_conf, ambiguous_pass),
        ROW("get_body", BOOL, nexus__gw_route_conf, get_body, 0, 0),
        ROW("body_max_bytes", U32, nexus__gw_route_conf, body_max_bytes, 1, 0),
        ROW("total_timeout_ms", U32, nexus__gw_route_conf, total_ms, 1, NEXUS__GW_MS_MAX),
        ROW("retries", U32, nexus__gw_route_conf, retries, 0, 10),
        CALL("breaker", nexus__gw_load_breaker, nexus__gw_route_conf, breaker),
        CALL("request_headers", nexus__gw_load_headers, nexus__gw_route_conf, request),
        CALL("response_headers", nexus__gw_load_headers, nexus__gw_route_conf, response),
    };
    nexus__loader_row rows[COUNT(own) + NEXUS__GW_FILTERS_MAX];
    reading r = {.route = {.retries = UINT32_MAX, .breaker = {false, nexus__breaker_rule(NULL)}}};
    memcpy(rows, own, sizeof own);
    nexus_status status = nexus__loader_object(l, value, rows, filter_rows(rows, COUNT(own), &r), &r);
    if (!status)
        status = keep_filters(l, &r, &r.route);
    if (!status)
        status = nexus__cors_own(l, &r.route);
    if (!status)
        status = check_route(l, value, &r.route);
    if (!status)
        *(nexus__gw_route_conf *)out = r.route;
    return status;
}
