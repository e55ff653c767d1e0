/* Answers without traffic: what would happen to a request, and how the upstreams are. */
#include <nexus/version.h>

#include "base/status.h"
#include "gateway/gateway.h"
#include "json/write.h"

static nexus_status hand_over(nexus__buf *buf, char **out, size_t *n)
{
    size_t len;
    char *text = nexus__buf_take(buf, &len);
    if (!text)
        return nexus__nomem();
    *out = text;
    *n = len;
    return NEXUS_OK;
}

nexus_status nexus_gateway_status(nexus_gateway *g, char **out, size_t *n)
{
    nexus__buf buf;
    nexus__buf_init(&buf, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&buf);
    nexus__snapshot *s = nexus__snapshot_current(g);
    char error[512];
    nexus_gateway_last_error(g, error, sizeof error);
    nexus__json_open(&w, '{');
    nexus__json_put_u64(&w, "version", s ? s->version : 0);
    nexus__json_put_text_c(&w, "last_error", error[0] ? error : NULL);
    nexus__json_put_u64(&w, "limit_evictions", nexus_limiter_evictions(g->limits));
    nexus__json_key(&w, "upstreams");
    nexus__json_open(&w, '[');
    for (uint32_t i = 0; s && i < s->config->upstreams.count; i++)
        nexus__upstream_put(&w, s->upstreams[i], nexus__mono_ns());
    nexus__json_close(&w, ']');
    nexus__json_close(&w, '}');
    nexus__snapshot_unref(s);
    return hand_over(&buf, out, n);
}

static void put_chain(nexus__json_writer *w, const nexus__gw_route *route)
{
    nexus__json_key(w, "chain");
    nexus__json_open(w, '[');
    for (uint32_t i = 0; i < route->conf->filters.count; i++) {
        const nexus__gw_filter_use *use = &route->conf->filters.items[i];
        nexus__json_open(w, '{');
        nexus__json_put_text_c(w, "filter", use->filter->key);
        if (use->filter->explain)
            use->filter->explain(use->conf, route->states[i], w);
        nexus__json_close(w, '}');
    }
    nexus__json_close(w, ']');
}

static const char *why(const nexus__gw_route_conf *conf)
{
    if (conf->prefix.n)
        return conf->host.n ? "longest prefix on this host" : "longest prefix";
    bool template = nexus__slice_find(conf->path, '{') < conf->path.n;
    if (conf->host.n)
        return template ? "template on this host" : "exact path on this host";
    return template ? "template" : "exact path";
}

static void put_route(nexus__json_writer *w, nexus__snapshot *s, const nexus_router_match *m)
{
    const nexus__gw_route *route = m->value;
    nexus__json_put_text(w, "route", route->conf->id);
    nexus__json_put_text_c(w, "pattern", m->path);
    nexus__json_put_text_c(w, "why", why(route->conf));
    nexus__json_key(w, "params");
    nexus__json_open(w, '{');
    for (uint32_t i = 0; i < m->capture_count; i++) {
        nexus__json_key_slice(w, m->captures[i].name);
        nexus__json_text_value(w, m->captures[i].value);
    }
    nexus__json_close(w, '}');
    put_chain(w, route);
    nexus__json_key(w, "upstream");
    nexus__upstream_put(w, s->upstreams[route->upstream], nexus__mono_ns());
}

/* "http://host/path?query" or "/path?query" into host and path. */
static void split_target(nexus_slice target, nexus_slice *host, nexus_slice *path)
{
    size_t scheme = nexus__slice_search(target, NEXUS_S("://"));
    if (target.n > 0 && target.p[0] != '/' && scheme < target.n) {
        nexus_slice rest = nexus__slice_from(target, scheme + 3);
        size_t slash = nexus__slice_find(rest, '/');
        *host = nexus__slice(rest.p, slash);
        target = slash < rest.n ? nexus__slice_from(rest, slash) : NEXUS_S("/");
    }
    *path = nexus__slice(target.p, nexus__slice_find(target, '?'));
}

static void put_outcome(nexus__json_writer *w, nexus__snapshot *s, nexus_slice host, nexus_slice path, uint32_t method,
                        bool ambiguous)
{
    nexus_router_match m;
    nexus_status status = nexus_router_find(s->router, host, path, method, NULL, NULL, &m);
    char allow[96];
    const nexus__gw_route *route = m.value;
    nexus__json_put_text(w, "path", path);
    if (ambiguous && (status || !route->conf->ambiguous_pass)) {
        nexus__json_put_i64(w, "status", 400);
        nexus__json_put_text_c(w, "code", "ambiguous-path");
    } else if (status == NEXUS_EPERM) {
        nexus__json_put_i64(w, "status", 405);
        nexus_method_allow(m.methods, allow, sizeof allow);
        nexus__json_put_text_c(w, "allow", allow);
    } else if (status) {
        nexus__json_put_i64(w, "status", 404);
    } else {
        put_route(w, s, &m);
    }
}

nexus_status nexus_gateway_explain(nexus_gateway *g, const char *method, nexus_slice target, const nexus_pair *headers,
                                   size_t header_count, char **out, size_t *n)
{
    nexus_slice host = {0}, raw, path;
    nexus__buf buf, space;
    split_target(target, &host, &raw);
    for (size_t i = 0; i < header_count; i++)
        if (nexus__slice_ieq(headers[i].name, NEXUS_S("host")))
            host = headers[i].value;
    nexus__snapshot *s = nexus__snapshot_current(g);
    if (!s)
        return nexus__fail(NEXUS_ENOTFOUND, "gateway: nothing is loaded");
    nexus__buf_init(&buf, NULL, 0);
    nexus__buf_init(&space, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&buf);
    char *room = nexus__buf_reserve(&space, raw.n + 1);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "method", method);
    nexus__json_put_text(&w, "host", host);
    nexus_status status = room ? nexus_path_canonical(raw, 0, room, &path) : NEXUS_ENOMEM;
    bool ambiguous = status == NEXUS_EPERM;
    if (ambiguous)
        status = nexus_path_canonical(raw, NEXUS_PATH_AMBIGUOUS_PASS, room, &path);
    if (status) {
        nexus__json_put_i64(&w, "status", 400);
        nexus__json_put_text_c(&w, "detail", nexus_error_message());
    } else {
        put_outcome(&w, s, host, path, nexus_method_parse(nexus__slice_c(method)), ambiguous);
        if (g->middlewares)
            nexus__mw_explain(g->middlewares, &w);
    }
    nexus__json_close(&w, '}');
    nexus__buf_free(&space);
    nexus__snapshot_unref(s);
    return hand_over(&buf, out, n);
}
