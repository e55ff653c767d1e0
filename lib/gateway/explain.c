/* What would happen to a request, without one: the same steps as route.c and the filters take. */
#include <stdio.h>

#include "base/status.h"
#include "base/time.h"
#include "gateway/canary.h"
#include "gateway/gateway.h"
#include "json/write.h"

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

static void put_why(nexus__json_writer *w, const nexus__gw_route_conf *conf)
{
    char text[160];
    const char *path = conf->regex.n                                       ? "regular expression"
                       : conf->prefix.n                                    ? "longest prefix"
                       : nexus__slice_find(conf->path, '{') < conf->path.n ? "template"
                                                                           : "exact path";
    const char *host = !conf->host.n ? "" : conf->host.p[0] == '*' ? " on the longest such host" : " on this host";
    int n = snprintf(text, sizeof text, "%s%s", path, host);
    if (conf->priority)
        n += snprintf(text + n, sizeof text - (size_t)n, ", priority %d", conf->priority);
    uint32_t conditions = nexus__match_count(conf->match);
    if (conditions)
        snprintf(text + n, sizeof text - (size_t)n, ", %u condition%s", conditions, conditions > 1 ? "s" : "");
    nexus__json_put_text_c(w, "why", text);
}

static void put_conditions(nexus__json_writer *w, const nexus__match_conf *match)
{
    char text[512];
    nexus__json_key(w, "conditions");
    nexus__json_open(w, '[');
    for (uint32_t i = 0; i < match->count; i++)
        nexus__json_text_value(w, nexus__slice(text, nexus__match_describe(&match->items[i], text, sizeof text)));
    if (match->client.count) {
        nexus__buf list;
        nexus__buf_init(&list, NULL, 4096);
        nexus__buf_text(&list, "client in");
        for (uint32_t i = 0; i < match->client_texts.count; i++)
            nexus__buf_printf(&list, " %s", match->client_texts.items[i].p);
        nexus__json_text_value(w, nexus__buf_slice(&list));
        nexus__buf_free(&list);
    }
    nexus__json_close(w, ']');
}

static void put_params(nexus__json_writer *w, const nexus_router_match *m)
{
    nexus__json_key(w, "params");
    nexus__json_open(w, '{');
    for (uint32_t i = 0; i < m->capture_count; i++) {
        if (nexus__slice_eq_c(m->captures[i].name, NEXUS__VERSION_CAPTURE))
            continue;
        nexus__json_key_slice(w, m->captures[i].name);
        nexus__json_text_value(w, m->captures[i].value);
    }
    nexus__json_close(w, '}');
}

/* --- version, path, arm ------------------------------------------------------------------------------------------- */

/* What is asked about, on its way. */
typedef struct asked {
    nexus__snapshot *s;
    const nexus__match_subject *subject;
    nexus_slice path;
    const nexus_router_match *m;
    const nexus__gw_route *route;
    const nexus__version *version;
    uint32_t upstream; /* index, or NEXUS__GW_NO_UPSTREAM */
    nexus__buf room;
} asked;

static void put_age(nexus__json_writer *w, const nexus__deprecation *d)
{
    static const char *const ages[] = {"current", "deprecated", "gone"};
    if (!d)
        return;
    nexus__json_key(w, "deprecation");
    nexus__json_open(w, '{');
    nexus__json_put_text_c(w, "state", ages[nexus__deprecation_age(d, nexus__real_ns() / NEXUS__NS_PER_S)]);
    nexus__json_put_text(w, "since", d->since_text);
    if (d->sunset_s)
        nexus__json_put_text(w, "sunset", d->sunset_text);
    nexus__json_close(w, '}');
}

/* false: there is no such version. */
static bool put_version(nexus__json_writer *w, asked *a)
{
    const nexus__versions_conf *v = a->route->conf->versions;
    nexus_slice segment = {0};
    for (uint32_t i = 0; i < a->m->capture_count; i++)
        if (nexus__slice_eq_c(a->m->captures[i].name, NEXUS__VERSION_CAPTURE))
            segment = a->m->captures[i].value;
    char *room = nexus__buf_reserve(&a->room, a->subject->query.n + a->path.n + 64);
    if (!room)
        return false;
    nexus__version_said said = nexus__version_read(v, a->subject, segment, room, a->subject->query.n + 64);
    a->version = nexus__version_choose(v, &said);
    nexus__json_key(w, "version");
    nexus__json_open(w, '{');
    nexus__json_put_text(w, "name", a->version ? a->version->name : said.name);
    nexus__json_put_text_c(w, "from", said.name.n ? nexus__version_where(said.where) : "default");
    nexus__json_put_raw(w, "supported", v->names);
    nexus__json_close(w, '}');
    if (segment.n)
        a->path = nexus__version_strip(a->path, segment, room + a->subject->query.n + 64);
    if (a->version && a->version->upstream.n)
        a->upstream = a->version->upstream_index;
    return a->version;
}

/* The path as upstream gets it, where that is another one; false: it is refused. */
static bool put_rewrite(nexus__json_writer *w, asked *a)
{
    const nexus__rewrite_conf *how = &a->route->conf->rewrite;
    if (a->version && nexus__rewrite_is(&a->version->rewrite))
        how = &a->version->rewrite;
    nexus__rewrite_input in = {a->path, a->m->captures, a->m->capture_count, nexus__gw_path_flags(a->route->conf)};
    if (nexus__rewrite_is(how)) {
        char *room = nexus__malloc(NULL, nexus__rewrite_room(how, &in));
        nexus_status status = room ? nexus__rewrite_path(how, &in, room, &a->path) : NEXUS_ENOMEM;
        if (!status)
            nexus__json_put_text(w, "upstream_path", a->path);
        nexus__free(NULL, room);
        a->path = status ? a->path : in.path; /* room is gone; nobody asks further */
        return !status;
    }
    if (a->version)
        nexus__json_put_text(w, "upstream_path", a->path);
    return true;
}

static void put_redirect(nexus__json_writer *w, const asked *a, const nexus__redirect_conf *c)
{
    nexus_slice target;
    nexus__rewrite_input in = {a->path, a->m->captures, a->m->capture_count, nexus__gw_path_flags(a->route->conf)};
    char *room = nexus__malloc(NULL, nexus__redirect_room(c, &in, a->subject->query));
    if (!room)
        return;
    nexus_status status = nexus__redirect_target(c, &in, a->subject->query, room, &target);
    nexus__json_put_i64(w, "status", status ? 400 : c->status);
    if (!status)
        nexus__json_put_text(w, "redirect", target);
    else
        nexus__json_put_text_c(w, "detail", nexus_error_message());
    nexus__free(NULL, room);
}

/* Which arm: certain where the request brings its key, else whose turn it is then. */
static void put_arm(nexus__json_writer *w, asked *a, const nexus__canary_conf *c)
{
    nexus_slice key = {0};
    const nexus__canary *state = nexus__canary_of(a->route);
    if (c->sticky == NEXUS__STICKY_COOKIE || c->sticky == NEXUS__STICKY_HEADER)
        nexus__match_value(a->subject, c->sticky == NEXUS__STICKY_COOKIE ? NEXUS__MATCH_COOKIE : NEXUS__MATCH_HEADER,
                           c->sticky_name, NULL, 0, &key);
    if (key.n) {
        uint32_t arm = nexus__canary_of_key(c, nexus__canary_aborted(state), a->route->conf->id, key);
        nexus__json_put_text(w, "arm", c->arms.items[arm].name);
        a->upstream = c->arms.items[arm].upstream_index;
    } else {
        nexus__json_put_text_c(w, "arm", c->sticky == NEXUS__STICKY_CONSUMER ? "by consumer" : "by turn");
    }
}

static void put_route(nexus__json_writer *w, asked *a)
{
    const nexus__gw_route_conf *conf = a->route->conf;
    const nexus__canary_conf *canary = nexus__gw_filter_conf(conf, &nexus__gw_filter_canary);
    const nexus__redirect_conf *redirect = nexus__gw_filter_conf(conf, &nexus__gw_filter_redirect);
    nexus__json_put_text(w, "route", conf->id);
    nexus__json_put_text_c(w, "pattern", a->m->path);
    put_why(w, conf);
    if (a->route->breaker)
        nexus__json_put_text_c(w, "circuit", nexus__circuit_name(&a->route->breaker->breaker, nexus__mono_ns()));
    if (conf->match)
        put_conditions(w, conf->match);
    put_params(w, a->m);
    if (conf->versions && !put_version(w, a)) {
        nexus__json_put_i64(w, "status", 400);
        nexus__json_put_text_c(w, "code", "unsupported-version");
        return;
    }
    put_age(w, a->version && a->version->deprecation ? a->version->deprecation : conf->deprecation);
    if (!put_rewrite(w, a)) {
        nexus__json_put_i64(w, "status", 400);
        nexus__json_put_text_c(w, "detail", nexus_error_message());
        return;
    }
    if (canary)
        put_arm(w, a, canary);
    put_chain(w, a->route);
    if (redirect)
        put_redirect(w, a, redirect);
    if (a->upstream == NEXUS__GW_NO_UPSTREAM)
        return;
    nexus__json_key(w, "upstream");
    nexus__upstream_put(w, a->s->upstreams[a->upstream], nexus__mono_ns());
}

/* "http://host/path?query" or "/path?query" into host, path and query. */
static void split_target(nexus_slice target, nexus_slice *host, nexus_slice *path, nexus_slice *query)
{
    size_t scheme = nexus__slice_search(target, NEXUS_S("://"));
    if (target.n > 0 && target.p[0] != '/' && scheme < target.n) {
        nexus_slice rest = nexus__slice_from(target, scheme + 3);
        size_t slash = nexus__slice_find(rest, '/');
        *host = nexus__slice(rest.p, slash);
        target = slash < rest.n ? nexus__slice_from(rest, slash) : NEXUS_S("/");
    }
    *query = target;
    *path = nexus__slice_cut(query, '?');
}

static void put_outcome(nexus__json_writer *w, nexus__snapshot *s, nexus_slice host, nexus_slice path, uint32_t method,
                        bool ambiguous, const nexus__match_subject *subject)
{
    nexus_router_match m;
    nexus_status status = nexus__snapshot_find(s, host, path, method, subject, &m);
    char allow[96];
    asked a = {.s = s, .subject = subject, .path = path, .m = &m, .route = m.value};
    nexus__json_put_text(w, "path", path);
    if (ambiguous && (status || !a.route->conf->encoded_slash_pass)) {
        nexus__json_put_i64(w, "status", 400);
        nexus__json_put_text_c(w, "code", "ambiguous-path");
    } else if (status == NEXUS_EPERM) {
        nexus__json_put_i64(w, "status", 405);
        nexus_method_allow(m.methods, allow, sizeof allow);
        nexus__json_put_text_c(w, "allow", allow);
    } else if (status) {
        nexus__json_put_i64(w, "status", 404);
    } else {
        a.upstream = a.route->upstream;
        nexus__buf_init(&a.room, NULL, 0);
        put_route(w, &a);
        nexus__buf_free(&a.room);
    }
}

nexus_status nexus_gateway_explain(nexus_gateway *g, const char *method, nexus_slice target, const nexus_pair *headers,
                                   size_t header_count, char **out, size_t *n)
{
    nexus_slice host = {0}, raw, path;
    nexus__buf buf, space;
    nexus__match_subject subject = {.headers = headers, .header_count = header_count};
    split_target(target, &host, &raw, &subject.query);
    for (size_t i = 0; i < header_count; i++)
        if (nexus__slice_ieq(headers[i].name, NEXUS_S("host")))
            host = headers[i].value;
        else if (nexus__slice_eq_c(headers[i].name, ":client-ip"))
            subject.ip = headers[i].value;
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
        put_outcome(&w, s, host, path, nexus_method_parse(nexus__slice_c(method)), ambiguous, &subject);
        if (g->middlewares)
            nexus__mw_explain(g->middlewares, &w);
    }
    nexus__json_close(&w, '}');
    nexus__buf_free(&space);
    nexus__snapshot_unref(s);
    return nexus__buf_hand_over(&buf, out, n);
}
