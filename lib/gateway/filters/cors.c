#include "gateway/filters/cors.h"

#include <stdio.h>

#include "gateway/config/rows.h"
#include "gateway/gateway.h"

static bool is_host_char(char c)
{
    char lower = nexus__ascii_lower(c);
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
}

/* Whether the text is labels of a host name that stand before ".example.com". */
static bool is_labels(nexus_slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!is_host_char(s.p[i]))
            return false;
    return s.n > 0 && s.p[0] != '.';
}

static bool matches(nexus_slice pattern, nexus_slice origin)
{
    size_t star = nexus__slice_find(pattern, '*');
    if (star == pattern.n)
        return nexus__slice_ieq(pattern, origin);
    nexus_slice head = nexus__slice(pattern.p, star), tail = nexus__slice_from(pattern, star + 1);
    if (head.n == 0)
        return !nexus__slice_eq_c(origin, "null"); /* "*" alone: checked when it was read */
    if (origin.n <= head.n + tail.n || !nexus__slice_ieq(nexus__slice(origin.p, head.n), head) ||
        !nexus__slice_ieq(nexus__slice_from(origin, origin.n - tail.n), tail))
        return false;
    return is_labels(nexus__slice(origin.p + head.n, origin.n - head.n - tail.n));
}

bool nexus__cors_allows(const nexus__gw_cors_conf *conf, nexus_slice origin)
{
    for (uint32_t i = 0; i < conf->origins.count; i++)
        if (matches(conf->origins.items[i], origin))
            return true;
    return false;
}

bool nexus__cors_same_origin(nexus_slice origin, nexus_slice host)
{
    size_t scheme = nexus__slice_search(origin, NEXUS_S("://"));
    return scheme < origin.n && nexus__slice_ieq(nexus__slice_from(origin, scheme + 3), host);
}

static void set_list(nexus_request *request, const char *name, const nexus__text_list *list, const char *fallback)
{
    char space[1024];
    nexus__buf text = {.p = space, .cap = sizeof space, .max = sizeof space};
    for (uint32_t i = 0; i < list->count; i++) {
        nexus__buf_text(&text, i ? ", " : "");
        nexus__buf_slice_append(&text, list->items[i]);
    }
    if (list->count == 0 && fallback)
        nexus__buf_text(&text, fallback);
    if (text.len > 0)
        (void)nexus_request_set_header(request, name, nexus__buf_slice(&text));
}

static bool for_all(const nexus__gw_cors_conf *conf)
{
    return conf->origins.count == 1 && nexus__slice_eq_c(conf->origins.items[0], "*");
}

/* Who asks decides what the answer says, also where it says nothing: caches must know. */
static void set_vary(nexus_request *request, const nexus__gw_cors_conf *conf)
{
    if (!for_all(conf))
        (void)nexus_request_set_header(request, "Vary", NEXUS_S("Origin"));
}

static void set_origin(nexus_request *request, const nexus__gw_cors_conf *conf, nexus_slice origin)
{
    (void)nexus_request_set_header(request, "Access-Control-Allow-Origin", for_all(conf) ? NEXUS_S("*") : origin);
    if (conf->credentials)
        (void)nexus_request_set_header(request, "Access-Control-Allow-Credentials", NEXUS_S("true"));
}

bool nexus__cors_preflight(nexus_request *request, const nexus__gw_cors_conf *conf, nexus_slice origin)
{
    char age[16];
    set_vary(request, conf);
    if (!nexus__cors_allows(conf, origin))
        return false;
    int n = snprintf(age, sizeof age, "%u", conf->max_age_s);
    set_origin(request, conf, origin);
    set_list(request, "Access-Control-Allow-Methods", &conf->methods, "GET, HEAD, POST");
    set_list(request, "Access-Control-Allow-Headers", &conf->headers, NULL);
    (void)nexus_request_set_header(request, "Access-Control-Max-Age", nexus__slice(age, (size_t)n));
    return true;
}

void nexus__cors_mark(nexus_request *request, const nexus__gw_cors_conf *conf, nexus_slice origin)
{
    set_vary(request, conf);
    if (origin.n == 0 || !nexus__cors_allows(conf, origin))
        return;
    set_origin(request, conf, origin);
    set_list(request, "Access-Control-Expose-Headers", &conf->expose, NULL);
}

/* --- the filter -------------------------------------------------------------------------------------------------- */

/* scheme://host, with "*." before the host for all below it and a port behind it; or "*". */
static bool is_origin(nexus_slice s)
{
    size_t scheme = nexus__slice_search(s, NEXUS_S("://"));
    if (nexus__slice_eq_c(s, "*"))
        return true;
    if (scheme == 0 || scheme == s.n)
        return false;
    nexus_slice host = nexus__slice_from(s, scheme + 3);
    if (nexus__slice_starts(host, NEXUS_S("*.")))
        host = nexus__slice_from(host, 2);
    size_t colon = nexus__slice_find(host, ':');
    uint64_t port = 1;
    bool good = colon == host.n || (nexus__parse_u64(nexus__slice_from(host, colon + 1), &port) && port < 65536);
    host.n = colon;
    return good && port > 0 && is_labels(host);
}

static nexus_status check_origins(nexus__loader *l, uint32_t value, const nexus__gw_cors_conf *c)
{
    for (uint32_t i = 0; i < c->origins.count; i++) {
        nexus_slice origin = c->origins.items[i];
        bool any = nexus__slice_eq_c(origin, "*");
        if (!is_origin(origin))
            return nexus__loader_fail(l, value, "\"%s\" is no origin such as https://a.com, https://*.a.com or *",
                                      origin.p);
        if (any && c->credentials)
            return nexus__loader_fail(l, value, "origin \"*\" with credentials would let every site act as the user");
        if (any && c->origins.count > 1)
            return nexus__loader_fail(l, value, "origin \"*\" stands alone: it has all the others in it");
    }
    return NEXUS_OK;
}

static nexus_status check_names(nexus__loader *l, uint32_t value, const nexus__text_list *names)
{
    for (uint32_t i = 0; i < names->count; i++)
        if (!nexus__gw_is_token(names->items[i]))
            return nexus__loader_fail(l, value, "\"%s\" is no method or header", names->items[i].p);
    return NEXUS_OK;
}

static nexus_status load(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        {"origins", NEXUS__LOADER_CALL, offsetof(nexus__gw_cors_conf, origins), 0, 0, nexus__loader_texts, true},
        CALL("methods", nexus__loader_texts, nexus__gw_cors_conf, methods),
        CALL("headers", nexus__loader_texts, nexus__gw_cors_conf, headers),
        CALL("expose", nexus__loader_texts, nexus__gw_cors_conf, expose),
        ROW("credentials", BOOL, nexus__gw_cors_conf, credentials, 0, 0),
        ROW("max_age_s", U32, nexus__gw_cors_conf, max_age_s, 0, 86400),
    };
    nexus__gw_cors_conf *c = out;
    c->max_age_s = 600;
    nexus_status status = nexus__loader_object(l, value, rows, COUNT(rows), c);
    status = status ? status : check_origins(l, value, c);
    status = status ? status : check_names(l, value, &c->methods);
    status = status ? status : check_names(l, value, &c->headers);
    return status ? status : check_names(l, value, &c->expose);
}

nexus_status nexus__cors_own(nexus__loader *l, nexus__gw_route_conf *route)
{
    static const nexus_slice names[] = {{"access-control-allow-origin", 27},   {"access-control-allow-credentials", 32},
                                        {"access-control-allow-methods", 28},  {"access-control-allow-headers", 28},
                                        {"access-control-expose-headers", 29}, {"access-control-max-age", 22}};
    nexus__text_list *remove = &route->response.remove, all = {.count = remove->count + COUNT(names)};
    if (!nexus__gw_filter_conf(route, &nexus__gw_filter_cors))
        return NEXUS_OK;
    all.items = nexus__arena_get(l->arena, all.count * sizeof *all.items);
    if (!all.items)
        return nexus__nomem();
    for (uint32_t i = 0; i < all.count; i++)
        all.items[i] = i < remove->count ? remove->items[i] : names[i - remove->count];
    *remove = all;
    return NEXUS_OK;
}

static nexus__gw_verdict mark(nexus__call *call, const void *conf, void *state)
{
    nexus_slice origin = {0};
    (void)state;
    (void)nexus_request_header(call->request, "origin", &origin);
    nexus__cors_mark(call->request, conf, origin);
    return NEXUS__GW_NEXT;
}

static void explain(const void *conf, const void *state, nexus__json_writer *w)
{
    const nexus__gw_cors_conf *c = conf;
    (void)state;
    nexus__json_key(w, "origins");
    nexus__json_open(w, '[');
    for (uint32_t i = 0; i < c->origins.count; i++)
        nexus__json_text_value(w, c->origins.items[i]);
    nexus__json_close(w, ']');
    nexus__json_put_bool(w, "credentials", c->credentials);
}

const nexus__gw_filter nexus__gw_filter_cors = {
    .key = "cors",
    .conf_bytes = sizeof(nexus__gw_cors_conf),
    .load = load,
    .request = mark,
    .explain = explain,
};
