#include "gateway/filters/cors.h"

#include <stdio.h>

#include "gateway/config/rows.h"
#include "gateway/gateway.h"

static bool matches(nexus_slice pattern, nexus_slice origin)
{
    size_t star = nexus__slice_find(pattern, '*');
    if (pattern.n == 1 && star == 0)
        return true;
    if (star == pattern.n)
        return nexus__slice_ieq(pattern, origin);
    nexus_slice head = nexus__slice(pattern.p, star), tail = nexus__slice_from(pattern, star + 1);
    if (origin.n <= head.n + tail.n || !nexus__slice_ieq(nexus__slice(origin.p, head.n), head) ||
        !nexus__slice_ieq(nexus__slice_from(origin, origin.n - tail.n), tail))
        return false;
    nexus_slice middle = nexus__slice(origin.p + head.n, origin.n - head.n - tail.n);
    return nexus__slice_find(middle, '/') == middle.n && nexus__slice_find(middle, '@') == middle.n;
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

static void set_origin(nexus_request *request, const nexus__gw_cors_conf *conf, nexus_slice origin)
{
    bool any = conf->origins.count == 1 && nexus__slice_eq_c(conf->origins.items[0], "*");
    (void)nexus_request_set_header(request, "Access-Control-Allow-Origin", any ? NEXUS_S("*") : origin);
    if (conf->credentials)
        (void)nexus_request_set_header(request, "Access-Control-Allow-Credentials", NEXUS_S("true"));
}

void nexus__cors_preflight(nexus_request *request, const nexus__gw_cors_conf *conf, nexus_slice origin)
{
    char age[16];
    int n = snprintf(age, sizeof age, "%u", conf->max_age_s);
    set_origin(request, conf, origin);
    set_list(request, "Access-Control-Allow-Methods", &conf->methods, "GET, HEAD, POST");
    set_list(request, "Access-Control-Allow-Headers", &conf->headers, NULL);
    (void)nexus_request_set_header(request, "Access-Control-Max-Age", nexus__slice(age, (size_t)n));
    (void)nexus_request_set_header(request, "Vary", NEXUS_S("Origin"));
}

void nexus__cors_mark(nexus_request *request, const nexus__gw_cors_conf *conf, nexus_slice origin)
{
    (void)nexus_request_set_header(request, "Vary", NEXUS_S("Origin"));
    if (!nexus__cors_allows(conf, origin))
        return;
    set_origin(request, conf, origin);
    set_list(request, "Access-Control-Expose-Headers", &conf->expose, NULL);
}

/* --- the filter -------------------------------------------------------------------------------------------------- */

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
    for (uint32_t i = 0; i < c->origins.count && !status; i++)
        if (c->credentials && nexus__slice_eq_c(c->origins.items[i], "*"))
            return nexus__loader_fail(l, value, "origin \"*\" with credentials would let every site act as the user");
    return status;
}

static nexus__gw_verdict mark(nexus__call *call, const void *conf, void *state)
{
    nexus_slice origin;
    (void)state;
    if (nexus_request_header(call->request, "origin", &origin))
        nexus__cors_mark(call->request, conf, origin);
    return NEXUS__GW_NEXT;
}

const nexus__gw_filter nexus__gw_filter_cors = {
    .key = "cors",
    .conf_bytes = sizeof(nexus__gw_cors_conf),
    .load = load,
    .request = mark,
};
