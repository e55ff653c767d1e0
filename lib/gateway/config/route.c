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
        if (bit == NEXUS_METHOD_CONNECT)
            return nexus__loader_fail(l, value, "CONNECT is not served: this is no forward proxy");
        *(uint32_t *)out |= bit;
    }
    return status;
}

static nexus_status load_encoded_slash(nexus__loader *l, uint32_t value, void *out)
{
    bool pass = nexus__json_text_is(l->doc, value, NEXUS_S("pass"));
    if (!pass && !nexus__json_text_is(l->doc, value, NEXUS_S("refuse")))
        return nexus__loader_fail(l, value, "must be \"refuse\" or \"pass\"");
    *(bool *)out = pass;
    return NEXUS_OK;
}

static nexus_status load_merge_slashes(nexus__loader *l, uint32_t value, void *out)
{
    bool merge;
    if (!nexus__json_bool(l->doc, value, &merge))
        return nexus__loader_fail(l, value, "must be true or false");
    *(bool *)out = !merge;
    return NEXUS_OK;
}

static nexus_status load_regex(nexus__loader *l, uint32_t value, void *out)
{
    nexus__gw_route_conf *r = out;
    return nexus__gw_load_regex(l, value, &r->regex, &r->re);
}

uint32_t nexus__gw_path_flags(const nexus__gw_route_conf *r)
{
    return (r->encoded_slash_pass ? NEXUS_PATH_AMBIGUOUS_PASS : 0) | (r->keeps_slashes ? NEXUS_PATH_KEEP_SLASHES : 0);
}

/* What says who may pass, by the bytes of the file: two routes that say the same let the same in. */
static void hash_guards(nexus__loader *l, uint32_t value, nexus__gw_route_conf *r)
{
    bool any = false;
    for (uint32_t i = 0; i < r->filters.count; i++)
        any |= nexus__gw_filter_is_access(r->filters.items[i].filter);
    if (!any)
        return;
    static const char *const guards[NEXUS__GW_GUARDS] = {"ip", "auth", "client_cert", "roles", "require", "ext"};
    static const nexus__hash_key fixed = {1, 2};
    for (size_t i = 0; i < NEXUS__GW_GUARDS; i++) {
        nexus_slice text = nexus__json_raw(l->doc, nexus__json_get(l->doc, value, guards[i]));
        r->guards[i] = text.n ? nexus__siphash(fixed, text.p, text.n) | 1 : 0;
    }
}

bool nexus__gw_guards_cover(const nexus__gw_route_conf *one, const nexus__gw_route_conf *other)
{
    for (size_t i = 0; i < NEXUS__GW_GUARDS; i++)
        if (other->guards[i] && other->guards[i] != one->guards[i])
            return false;
    return true;
}

/* Somebody has to answer. */
static nexus_status check_upstream(nexus__loader *l, uint32_t value, const nexus__gw_route_conf *r)
{
    bool versions = r->versions != NULL;
    for (uint32_t i = 0; versions && i < r->versions->supported.count; i++)
        versions = r->versions->supported.items[i].upstream.n;
    if (r->upstream.n || versions || nexus__gw_filter_conf(r, &nexus__gw_filter_canary) ||
        nexus__gw_filter_conf(r, &nexus__gw_filter_redirect))
        return NEXUS_OK;
    return nexus__loader_fail(l, value, "\"upstream\" is missing");
}

static nexus_status check_paths(nexus__loader *l, uint32_t value, nexus__gw_route_conf *r)
{
    if ((r->path.n > 0) + (r->prefix.n > 0) + (r->regex.n > 0) != 1)
        return nexus__loader_fail(l, value, "needs either \"path\", \"prefix\" or \"regex\"");
    if (!r->id.n)
        r->id = r->path.n ? r->path : r->prefix.n ? r->prefix : r->regex;
    nexus_status status = nexus__rewrite_check(l, value, &r->rewrite);
    if (!status)
        status = nexus__gw_check_pattern(l, value, r, &r->rewrite.to);
    for (uint32_t i = 0; r->versions && i < r->versions->supported.count && !status; i++)
        status = nexus__gw_check_pattern(l, value, r, &r->versions->supported.items[i].rewrite.to);
    return status;
}

static nexus_status check_route(nexus__loader *l, uint32_t value, nexus__gw_route_conf *r)
{
    nexus_status good = check_paths(l, value, r);
    if (!good)
        good = check_upstream(l, value, r);
    if (good)
        return good;
    hash_guards(l, value, r);
    if (nexus__gw_check_headers(l, value, r, &r->request) || nexus__gw_check_headers(l, value, r, &r->response))
        return NEXUS_EINVAL;
    r->keeps_captures = r->request.filled.count + r->response.filled.count + r->rewrite.to.count > 0 || r->versions;
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
        ROW("upstream", TEXT, nexus__gw_route_conf, upstream, 0, 0),
        CALL("regex", load_regex, nexus__gw_route_conf, id),
        CALL("match", nexus__gw_load_match, nexus__gw_route_conf, match),
        ROW("strip_prefix", TEXT, nexus__gw_route_conf, rewrite.strip, 0, 0),
        ROW("add_prefix", TEXT, nexus__gw_route_conf, rewrite.add, 0, 0),
        CALL("rewrite", nexus__rewrite_load_to, nexus__gw_route_conf, rewrite),
        ROW("rewrite_into_guarded", BOOL, nexus__gw_route_conf, shares_ground, 0, 0),
        CALL("encoded_slash", load_encoded_slash, nexus__gw_route_conf, encoded_slash_pass),
        CALL("merge_slashes", load_merge_slashes, nexus__gw_route_conf, keeps_slashes),
        CALL("versions", nexus__gw_load_versions, nexus__gw_route_conf, versions),
        CALL("deprecation", nexus__gw_load_deprecation, nexus__gw_route_conf, deprecation),
        CALL("resource", nexus__gw_load_resource, nexus__gw_route_conf, resource),
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
