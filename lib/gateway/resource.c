#include "gateway/resource.h"

#include "auth/verifier_private.h"
#include "gateway/auth/access.h"
#include "gateway/auth/authenticator.h"
#include "gateway/config/rows.h"

#define WELL_KNOWN "/.well-known/oauth-protected-resource"

enum { URL_MAX = 2048 };

/* --- the routes file ------------------------------------------------------------------------------------------------- */

nexus_status nexus__gw_load_resource(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        ROW("name", TEXT, nexus__resource_conf, name, 0, 0),
        ROW("documentation", TEXT, nexus__resource_conf, documentation, 0, 0),
        CALL("authorization_servers", nexus__loader_texts, nexus__resource_conf, servers),
        CALL("scopes", nexus__loader_texts, nexus__resource_conf, scopes),
    };
    bool on;
    nexus__resource_conf *c = nexus__arena_get(l->arena, sizeof *c);
    if (!c)
        return nexus__nomem();
    *c = (nexus__resource_conf){0};
    *(const nexus__resource_conf **)out = c;
    if (!nexus__json_bool(l->doc, value, &on))
        return nexus__loader_object(l, value, rows, COUNT(rows), c);
    c->off = !on;
    return NEXUS_OK;
}

/* --- what a route's resource is ----------------------------------------------------------------------------------------- */

nexus_slice nexus__resource_path(const nexus__gw_route_conf *route)
{
    nexus_slice path = route->path.n > 0 ? route->path : route->prefix;
    size_t end = nexus__slice_find(path, '{');
    if (end < path.n)
        while (end > 0 && path.p[end - 1] != '/')
            end--;
    while (end > 0 && path.p[end - 1] == '/')
        end--;
    return nexus__slice(path.p ? path.p : "", end);
}

static bool takes_bearers(const nexus__gw_route_conf *route)
{
    return (!route->resource || !route->resource->off) &&
           (nexus__gw_auth_names(route, &nexus__gw_auth_jwt) || nexus__gw_auth_names(route, &nexus__gw_auth_introspect));
}

static bool is_at(const nexus__gw_route_conf *route, nexus_slice host)
{
    nexus_slice pattern = route->host;
    host.n = nexus__slice_find(host, ':');
    if (pattern.n == 0)
        return true;
    if (pattern.p[0] != '*')
        return nexus__slice_ieq(pattern, host);
    pattern = nexus__slice_from(pattern, 1);
    return host.n > pattern.n && nexus__slice_ieq(pattern, nexus__slice_from(host, host.n - pattern.n));
}

/* --- where it is ---------------------------------------------------------------------------------------------------------- */

static bool came_by_tls(const nexus_request *request)
{
    nexus_slice proto;
    if (nexus__exchange_trusted(request) && nexus_request_header(request, "x-forwarded-proto", &proto))
        return nexus__slice_ieq(proto, NEXUS_S("https"));
    return nexus_request_is_tls(request);
}

/* "https://api.example" of the route as clients see it: what the gateway was told, or what they asked for. */
static void put_base(nexus__buf *out, const nexus__call *call, const nexus__gw_route_conf *route)
{
    const char *told = call->view->home->gateway->opts.public_url;
    nexus_slice host, url = nexus__slice_c(told ? told : "");
    if (url.n > 0 && url.p[url.n - 1] == '/')
        url.n--;
    if (url.n > 0 && route->host.n == 0) {
        nexus__buf_slice_append(out, url);
        return;
    }
    bool tls = url.n > 0 ? nexus__slice_starts(url, NEXUS_S("https:")) : came_by_tls(call->request);
    nexus_request_host(call->request, &host);
    nexus__buf_text(out, tls ? "https://" : "http://");
    nexus__buf_slice_append(out, host);
}

void nexus__resource_challenge(nexus__buf *out, nexus_slice challenge, nexus_slice url)
{
    static const nexus_slice bearer = {"Bearer", 6};
    bool first = true;
    while (challenge.n > 0) {
        nexus_slice scheme = challenge;
        for (scheme.n = 0; scheme.n < challenge.n; scheme.n++) /* up to the next challenge: ", Word" without "=" */
            if (challenge.p[scheme.n] == ',' && nexus__slice_find(nexus__slice_from(challenge, scheme.n + 1), '=') >=
                                                    nexus__slice_find(nexus__slice_from(challenge, scheme.n + 1), ','))
                break;
        challenge = nexus__slice_from(challenge, scheme.n < challenge.n ? scheme.n + 1 : scheme.n);
        scheme = nexus__slice_trim(scheme);
        nexus__buf_text(out, first ? "" : ", ");
        nexus__buf_slice_append(out, scheme);
        first = false;
        if (!nexus__slice_starts(scheme, bearer) || (scheme.n > bearer.n && scheme.p[bearer.n] != ' '))
            continue;
        nexus__buf_text(out, scheme.n > bearer.n ? ", resource_metadata=\"" : " resource_metadata=\"");
        nexus__buf_slice_append(out, url);
        nexus__buf_char(out, '"');
    }
}

void nexus__call_challenge(nexus__call *call, nexus_slice challenge)
{
    char url_space[URL_MAX], space[URL_MAX + 512];
    nexus__buf url = {.p = url_space, .cap = sizeof url_space, .max = sizeof url_space};
    nexus__buf text = {.p = space, .cap = sizeof space, .max = sizeof space};
    const nexus__gw_route_conf *route = call->route->conf;
    if (takes_bearers(route)) {
        put_base(&url, call, route);
        nexus__buf_text(&url, WELL_KNOWN);
        nexus__buf_slice_append(&url, nexus__resource_path(route));
        nexus__resource_challenge(&text, challenge, nexus__buf_slice(&url));
    }
    bool more = text.len > 0 && !text.status && !url.status;
    (void)nexus_request_set_header(call->request, "WWW-Authenticate", more ? nexus__buf_slice(&text) : challenge);
}

/* --- the document ------------------------------------------------------------------------------------------------------------ */

static bool has_text(const nexus__text_list *list, uint32_t n, nexus_slice text)
{
    for (uint32_t i = 0; i < n; i++)
        if (nexus__slice_eq(list->items[i], text))
            return true;
    return false;
}

enum { WORDS_MAX = 64 };

typedef struct words {
    nexus_slice items[WORDS_MAX];
    uint32_t count;
} words;

static void add_words(words *w, const nexus__text_list *more)
{
    for (uint32_t i = 0; i < more->count && w->count < WORDS_MAX; i++)
        if (!has_text(&(nexus__text_list){w->items, w->count}, w->count, more->items[i]))
            w->items[w->count++] = more->items[i];
}

static void put_words(nexus__json_writer *w, const char *name, const words *list)
{
    if (list->count == 0)
        return;
    nexus__json_key(w, name);
    nexus__json_open(w, '[');
    for (uint32_t i = 0; i < list->count; i++)
        nexus__json_text_value(w, list->items[i]);
    nexus__json_close(w, ']');
}

/* What the routes of one resource say together. */
typedef struct described {
    const nexus__gw_route_conf *first;
    words servers, scopes;
    nexus_slice name, documentation;
} described;

static void add_route(described *d, const nexus__call *call, const nexus__gw_route_conf *route)
{
    const nexus_gateway_opts *o = &call->view->home->gateway->opts;
    const nexus__gw_require_conf *require = nexus__gw_filter_conf(route, &nexus__gw_filter_require);
    d->first = d->first ? d->first : route;
    if (require) {
        add_words(&d->scopes, &require->all);
        add_words(&d->scopes, &require->any);
    }
    if (route->resource) {
        add_words(&d->scopes, &route->resource->scopes);
        add_words(&d->servers, &route->resource->servers);
        d->name = d->name.n > 0 ? d->name : route->resource->name;
        d->documentation = d->documentation.n > 0 ? d->documentation : route->resource->documentation;
    }
    if (o->verifier && nexus__gw_auth_names(route, &nexus__gw_auth_jwt)) {
        nexus_slice issuer = nexus__slice_c(nexus__verifier_issuer(o->verifier));
        add_words(&d->servers, &(nexus__text_list){&issuer, 1});
    }
}

static bool asks_for_certificates(const nexus__gw_config *config, nexus_slice host)
{
    host.n = nexus__slice_find(host, ':');
    uint32_t i = nexus__gw_clients_find(config, host);
    return i < config->clients.count && config->clients.items[i].mode != NEXUS_CLIENT_CERT_OFF;
}

static void write_document(nexus__buf *out, const nexus__call *call, const described *d, nexus_slice host)
{
    nexus__buf base;
    nexus__buf_init(&base, NULL, URL_MAX);
    put_base(&base, call, d->first);
    nexus__buf_slice_append(&base, nexus__resource_path(d->first));
    nexus__json_writer w = nexus__json_writer_on(out);
    nexus__json_open(&w, '{');
    nexus__json_put_text(&w, "resource", nexus__buf_slice(&base));
    put_words(&w, "authorization_servers", &d->servers);
    put_words(&w, "scopes_supported", &d->scopes);
    put_words(&w, "bearer_methods_supported", &(words){{NEXUS_S("header")}, 1});
    if (d->name.n > 0)
        nexus__json_put_text(&w, "resource_name", d->name);
    if (d->documentation.n > 0)
        nexus__json_put_text(&w, "resource_documentation", d->documentation);
    if (asks_for_certificates(call->view->snapshot->config, host))
        nexus__json_put_bool(&w, "tls_client_certificate_bound_access_tokens", true);
    nexus__json_close(&w, '}');
    if (base.status && !out->status)
        out->status = base.status;
    nexus__buf_free(&base);
}

static void reply(nexus__call *call, const nexus__buf *json)
{
    nexus_request *request = call->request;
    nexus__call_count(call, 200);
    nexus__call_release(call, false);
    nexus_request_on_close(request, NULL, NULL);
    (void)nexus_request_set_header(request, "Cache-Control", NEXUS_S("public, max-age=300"));
    (void)nexus_request_set_header(request, "Access-Control-Allow-Origin", NEXUS_S("*"));
    nexus_request_reply(request, 200, "application/json", nexus__buf_slice(json));
}

bool nexus__resource_answers(nexus__call *call)
{
    static const nexus_slice prefix = {WELL_KNOWN, sizeof WELL_KNOWN - 1};
    const nexus__gw_config *config = call->view->snapshot->config;
    nexus_slice host, rest = call->path;
    if (!nexus__slice_starts(rest, prefix) || !(call->method & (NEXUS_METHOD_GET | NEXUS_METHOD_HEAD)))
        return false;
    rest = nexus__slice_from(rest, prefix.n);
    if (rest.n > 0 && rest.p[rest.n - 1] == '/')
        rest.n--;
    described d = {0};
    nexus_request_host(call->request, &host);
    for (uint32_t i = 0; i < config->routes.count; i++) {
        const nexus__gw_route_conf *route = &config->routes.items[i];
        if (nexus__slice_eq(nexus__resource_path(route), rest) && takes_bearers(route) && is_at(route, host))
            add_route(&d, call, route);
    }
    if (!d.first)
        return false;
    nexus__buf json;
    nexus__buf_init(&json, NULL, 0);
    write_document(&json, call, &d, host);
    if (json.status)
        nexus__call_problem(call, 503, "out-of-memory", NULL);
    else
        reply(call, &json);
    nexus__buf_free(&json);
    return true;
}
