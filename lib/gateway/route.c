/*
 * Which route a request meets, and which path it goes on with.
 *
 * Order: the canonical path meets a route; the version is chosen and its segment left out; the path is rewritten and
 * brought into canonical form again; all of that before a filter sees the request. A rewritten path that lands on another
 * route's ground is looked at once more: see trespasses().
 */
#include <stdio.h>

#include "base/status.h"
#include "base/time.h"
#include "gateway/canary.h"
#include "gateway/change.h"
#include "gateway/filters/cors.h"
#include "gateway/gateway.h"
#include "gateway/usage.h"

enum { QUERY_PARAMS_MAX = 256, VERSION_ROOM = 64 };

/* --- finding ------------------------------------------------------------------------------------------------------ */

static bool meets(void *value, void *user_data)
{
    const nexus__gw_route_conf *conf = value;
    return !conf->match || nexus__match_holds(conf->match, user_data);
}

nexus_status nexus__snapshot_find(const nexus__snapshot *s, nexus_slice host, nexus_slice path, uint32_t method,
                                  const nexus__match_subject *subject, nexus_router_match *m)
{
    nexus_status status = nexus_router_find(s->config->router, host, path, method, meets, (void *)(uintptr_t)subject, m);
    const nexus__gw_route_conf *conf = m->value;
    m->value = conf ? &s->routes[conf - s->config->routes.items] : NULL;
    return status;
}

static nexus_status find(nexus__call *call, nexus_slice path, uint32_t method, nexus_router_match *m)
{
    nexus_slice host;
    nexus__match_subject subject = {.request = call->request};
    nexus_request_host(call->request, &host);
    nexus_request_query(call->request, &subject.query);
    return nexus__snapshot_find(call->view->snapshot, host, path, method, &subject, m);
}

/* A route that keeps "//" gets the path with it, provided that this form meets the same route: no two forms of a path
 * are ever judged by different rules. NEXUS_EPERM: they would be. */
static nexus_status keep_slashes(nexus__call *call, nexus_router_match *m)
{
    const nexus__http_head *head = nexus__exchange_head(call->request);
    nexus_slice path, raw = {nexus__exchange_base(call->request) + head->path, head->path_len}; /* as it came */
    nexus_router_match again;
    const nexus__gw_route *found = m->value;
    uint32_t flags = call->ambiguous ? NEXUS_PATH_AMBIGUOUS_PASS : 0;
    if (nexus__slice_search(raw, NEXUS_S("//")) == raw.n)
        return NEXUS_OK;
    char *room = nexus_request_alloc(call->request, raw.n + 1);
    if (!room)
        return NEXUS_ENOMEM;
    nexus_status status = nexus_path_canonical(raw, flags | NEXUS_PATH_KEEP_SLASHES, room, &path);
    if (status || find(call, path, call->method, &again) || again.value != found)
        return NEXUS_EPERM;
    call->path = path;
    *m = again;
    return NEXUS_OK;
}

/* --- what has no route -------------------------------------------------------------------------------------------- */

static const nexus__gw_cors_conf *cors_of(const nexus__gw_route *route)
{
    return nexus__gw_filter_conf(route->conf, &nexus__gw_filter_cors);
}

static void preflight(nexus__call *call, const nexus__gw_route *route, uint32_t methods)
{
    char allow[96];
    nexus_slice origin;
    nexus_request *request = call->request;
    const nexus__gw_cors_conf *cors = route ? cors_of(route) : NULL;
    bool allowed =
        cors && nexus_request_header(request, "origin", &origin) && nexus__cors_preflight(request, cors, origin);
    if (!allowed) {
        size_t n = nexus_method_allow(methods, allow, sizeof allow);
        (void)nexus_request_set_header(request, "Allow", nexus__slice(allow, n));
    }
    nexus__call_count(call, 204);
    nexus__call_release(call, false);
    nexus_request_reply(request, 204, NULL, (nexus_slice){0});
}

/* OPTIONS on its own behalf; false: it is routed as any other. */
static bool answer_options(nexus__call *call, nexus_status status, const nexus_router_match *m)
{
    nexus_slice asked;
    if (call->method != NEXUS_METHOD_OPTIONS)
        return false;
    if (nexus_request_header(call->request, "access-control-request-method", &asked)) {
        nexus_router_match wanted;
        if (find(call, call->path, nexus_method_parse(asked), &wanted) == NEXUS_OK && cors_of(wanted.value)) {
            preflight(call, wanted.value, m->methods);
            return true;
        }
    }
    if (status != NEXUS_EPERM)
        return false;
    preflight(call, NULL, m->methods);
    return true;
}

static void no_route(nexus__call *call, nexus_status status, const nexus_router_match *m)
{
    char allow[96];
    if (status == NEXUS_EPERM || call->method == NEXUS_METHOD_TRACE) {
        size_t n = nexus_method_allow(m->methods, allow, sizeof allow);
        (void)nexus_request_set_header(call->request, "Allow", nexus__slice(allow, n));
        nexus__call_problem(call, 405, "method-not-allowed", "This path has other methods; see Allow.");
    } else {
        nexus__call_problem(call, 404, "no-route", "Nothing is routed at this path.");
    }
}

/* --- versions ----------------------------------------------------------------------------------------------------- */

static void unsupported(nexus__call *call, const nexus__versions_conf *v, nexus_slice name)
{
    nexus_request *request = call->request;
    nexus_slice id;
    nexus__buf body;
    nexus_request_id(request, &id);
    nexus__buf_init(&body, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&body);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "type", "about:blank");
    nexus__json_put_text_c(&w, "title", "Bad Request");
    nexus__json_put_u64(&w, "status", 400);
    nexus__json_put_text_c(&w, "detail", "This version is not supported.");
    nexus__json_put_text_c(&w, "code", "unsupported-version");
    nexus__json_put_text(&w, "version", nexus__slice(name.p, name.n < 64 ? name.n : 64));
    nexus__json_put_raw(&w, "supported", v->names);
    nexus__json_key(&w, "instance");
    nexus__buf_printf(&body, "\"urn:uuid:%.*s\"", (int)id.n, id.p);
    nexus__json_close(&w, '}');
    nexus__call_count(call, 400);
    nexus__call_release(call, false);
    nexus_request_reply(request, 400, "application/problem+json", nexus__buf_slice(&body));
    nexus__buf_free(&body);
}

static void say_deprecated(nexus__call *call, const nexus__deprecation *d)
{
    nexus_request *request = call->request;
    if (!d)
        return;
    call->deprecation = d;
    (void)nexus_request_set_header(request, "Deprecation", d->deprecation_field);
    if (d->sunset_field.n)
        (void)nexus_request_set_header(request, "Sunset", d->sunset_field);
    if (d->link_field.n)
        (void)nexus_request_set_header(request, "Link", d->link_field);
}

static nexus_slice captured(const nexus_router_match *m, const char *name)
{
    for (uint32_t i = 0; i < m->capture_count; i++)
        if (nexus__slice_eq_c(m->captures[i].name, name))
            return m->captures[i].value;
    return (nexus_slice){0};
}

/* false: answered. */
static bool choose_version(nexus__call *call, const nexus_router_match *m)
{
    const nexus__versions_conf *v = call->route->conf->versions;
    nexus__match_subject subject = {.request = call->request};
    nexus_slice segment = captured(m, NEXUS__VERSION_CAPTURE);
    nexus_request_query(call->request, &subject.query);
    char *room = nexus_request_alloc(call->request, subject.query.n + call->path.n + VERSION_ROOM);
    if (!room) {
        nexus__call_problem(call, 500, "out-of-memory", NULL);
        return false;
    }
    if (v->vary.n)
        (void)nexus_request_set_header(call->request, "Vary", v->vary);
    nexus__version_said said = nexus__version_read(v, &subject, segment, room, subject.query.n + VERSION_ROOM);
    call->version = nexus__version_choose(v, &said);
    if (!call->version) {
        unsupported(call, v, said.name);
        return false;
    }
    if (segment.n)
        call->path = nexus__version_strip(call->path, segment, room + subject.query.n + VERSION_ROOM);
    if (call->version->upstream.n)
        call->pool = call->view->pools[call->version->upstream_index];
    if (!nexus__call_add_field(call, NEXUS_S("API-Version"), call->version->name)) {
        nexus__call_problem(call, 500, "out-of-memory", NULL);
        return false;
    }
    if (call->version->deprecation)
        say_deprecated(call, call->version->deprecation);
    return true;
}

/* --- paths -------------------------------------------------------------------------------------------------------- */

nexus__rewrite_input nexus__call_rewrite_input(const nexus__call *call)
{
    return (nexus__rewrite_input){call->path, call->captures, call->capture_count,
                                  nexus__gw_path_flags(call->route->conf)};
}

void nexus__call_refuse_path(nexus__call *call, nexus_status status)
{
    char why[200];
    snprintf(why, sizeof why, "%s", nexus_error_message());
    if (status == NEXUS_EPERM)
        nexus__call_problem(call, 400, "ambiguous-path", why);
    else
        nexus__call_problem(call, 500, "rewrite", "The rewritten path is not valid.");
}

static bool keep_captures(nexus__call *call, const nexus_router_match *m)
{
    nexus_pair *kept = nexus_request_alloc(call->request, (m->capture_count + 1) * sizeof *kept);
    if (!kept)
        return false;
    memcpy(kept, m->captures, m->capture_count * sizeof *kept);
    call->captures = kept;
    call->capture_count = m->capture_count;
    return true;
}

/* false: answered. */
static bool rewrite(nexus__call *call, const nexus__rewrite_conf *conf)
{
    nexus__rewrite_input in = nexus__call_rewrite_input(call);
    char *room = nexus_request_alloc(call->request, nexus__rewrite_room(conf, &in));
    nexus_status status = room ? nexus__rewrite_path(conf, &in, room, &call->path) : NEXUS_ENOMEM;
    if (status)
        nexus__call_refuse_path(call, status);
    return !status;
}

/*
 * Whether the rewritten path lies on the ground of another route that leads to the same upstream and has a guard (address,
 * authentication, roles, permissions, an outside service) that this one lacks: then the rewrite would be a way around it.
 */
static bool trespasses(nexus__call *call)
{
    nexus_router_match m;
    const nexus__snapshot *s = call->view->snapshot;
    const nexus__gw_route *own = call->route;
    if (!call->pool || own->conf->shares_ground || find(call, call->path, call->method, &m) != NEXUS_OK ||
        m.value == own)
        return false;
    const nexus__gw_route *other = m.value;
    return !nexus__gw_guards_cover(own->conf, other->conf) && nexus__gw_leads_to(s, other, call->pool->upstream);
}

/* false: answered. */
static bool settle_path(nexus__call *call, const nexus_router_match *m)
{
    const nexus__gw_route_conf *conf = call->route->conf;
    const nexus__rewrite_conf *how = &conf->rewrite;
    bool moved = false;
    if (conf->versions) {
        if (!choose_version(call, m))
            return false;
        moved = captured(m, NEXUS__VERSION_CAPTURE).n > 0;
        if (nexus__rewrite_is(&call->version->rewrite))
            how = &call->version->rewrite;
    }
    if (nexus__rewrite_is(how)) {
        if (!rewrite(call, how))
            return false;
        moved = true;
    }
    if (moved && trespasses(call)) {
        nexus__call_problem(call, 403, "protected-path",
                            "The path behind this one belongs to a route with rules of its own.");
        return false;
    }
    return true;
}

/* --- the beginning ------------------------------------------------------------------------------------------------ */

static bool has_body(const nexus__call *call)
{
    const nexus__http_head *head = nexus__exchange_head(call->request);
    return head->framing == NEXUS__HTTP_LENGTH_CHUNKED || head->length > 0;
}

static bool too_many_params(nexus__call *call)
{
    nexus_slice query;
    uint32_t n = 1;
    nexus_request_query(call->request, &query);
    for (const char *p = query.p, *end = p + query.n; query.n && (p = memchr(p, '&', (size_t)(end - p))); p++)
        n++;
    return n > QUERY_PARAMS_MAX;
}

/* What the route says before its filters do; false: answered. */
static bool enter(nexus__call *call, const nexus_router_match *m)
{
    const nexus__gw_route *route = call->route;
    if (has_body(call) && (call->method & (NEXUS_METHOD_GET | NEXUS_METHOD_HEAD)) && !route->conf->get_body) {
        nexus__call_problem(call, 400, "unexpected-body", "GET and HEAD have no body on this route.");
        return false;
    }
    call->pool = route->upstream == NEXUS__GW_NO_UPSTREAM ? NULL : call->view->pools[route->upstream];
    if (route->conf->keeps_captures && !keep_captures(call, m)) {
        nexus__call_problem(call, 500, "out-of-memory", NULL);
        return false;
    }
    say_deprecated(call, route->conf->deprecation);
    if (!settle_path(call, m))
        return false;
    if (call->pool)
        nexus__call_note_param(call, m->captures, m->capture_count);
    return (!nexus__exchange_head(call->request)->upgrade || nexus__call_check_upgrade(call));
}

bool nexus__call_route(nexus__call *call)
{
    nexus_router_match m;
    if (nexus__exchange_head(call->request)->has_query && too_many_params(call)) {
        nexus__call_problem(call, 400, "too-many-parameters", "The query has more than 256 parameters.");
        return false;
    }
    nexus_status status = find(call, call->path, call->method, &m);
    const nexus__gw_route *found = m.value;
    if (!status && found->conf->keeps_slashes)
        status = keep_slashes(call, &m);
    if ((found && status) || (call->ambiguous && (status || !found->conf->encoded_slash_pass))) {
        nexus__call_problem(call, 400, "ambiguous-path", "The path can be read in more than one way.");
        return false;
    }
    if (answer_options(call, status, &m))
        return false;
    if (status) {
        no_route(call, status, &m);
        return false;
    }
    call->route = found;
    return enter(call, &m);
}

/* --- behind the filters ------------------------------------------------------------------------------------------- */

bool nexus__call_check_age(nexus__call *call)
{
    const nexus__deprecation *d = call->deprecation;
    nexus_gateway *g = call->view->home->gateway;
    nexus_slice consumer = NEXUS_S("anonymous");
    int64_t now_s = nexus__real_ns() / NEXUS__NS_PER_S;
    enum nexus__age age = nexus__deprecation_age(d, now_s);
    if (age == NEXUS__AGE_CURRENT)
        return true;
    if (call->principal)
        nexus_principal_subject(call->principal, &consumer);
    if (g->usage)
        nexus__usage_count(g->usage, call->route->conf->id, call->version ? call->version->name : NEXUS_S(""), consumer,
                           now_s);
    if (age == NEXUS__AGE_DEPRECATED)
        return true;
    nexus__call_problem(call, 410, "version-gone", "This version has ended; see Link for what to use in its place.");
    return false;
}
