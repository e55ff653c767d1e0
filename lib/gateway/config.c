/* The routes file: tables of keys, and the few readers that a table row cannot express. */
#include "gateway/config.h"

#include <nexus/router.h>
#include <stdio.h>

#include "base/list.h"
#include "base/status.h"

#define ROW(key, kind, type, field, min, max)                                                                          \
    {                                                                                                                  \
        key, NEXUS__LOADER_##kind, offsetof(type, field), min, max, NULL, false                                        \
    }
#define CALL(key, fn, type, field)                                                                                     \
    {                                                                                                                  \
        key, NEXUS__LOADER_CALL, offsetof(type, field), 0, 0, fn, false                                                \
    }
#define COUNT(rows) (sizeof(rows) / sizeof *(rows))

enum { MS_MAX = 86400000 };

/* --- upstreams -------------------------------------------------------------------------------------------------- */

static nexus_status parse_url(nexus__loader *l, uint32_t value, nexus__gw_target *t)
{
    uint64_t port = 80;
    nexus_slice rest = t->url, prefix = NEXUS_S("http://");
    if (nexus__slice_starts(rest, NEXUS_S("https://")))
        return nexus__loader_fail(l, value, "TLS to upstreams is not built yet; write http://");
    if (!nexus__slice_starts(rest, prefix))
        return nexus__loader_fail(l, value, "must be http://host:port");
    rest = nexus__slice_from(rest, prefix.n);
    if (nexus__slice_ends(rest, NEXUS_S("/")))
        rest.n--;
    size_t end = rest.n > 0 && rest.p[0] == '[' ? nexus__slice_find(rest, ']') : 0;
    size_t colon = end + nexus__slice_find(nexus__slice_from(rest, end), ':');
    t->host = end ? nexus__slice(rest.p + 1, end - 1) : nexus__slice(rest.p, colon);
    if (colon < rest.n && !nexus__parse_u64(nexus__slice_from(rest, colon + 1), &port))
        port = 0;
    if (t->host.n == 0 || port == 0 || port > 65535 || nexus__slice_find(t->host, '/') < t->host.n ||
        nexus__slice_find(t->host, '@') < t->host.n)
        return nexus__loader_fail(l, value, "must be http://host:port, without user and path");
    t->port = (uint16_t)port;
    t->host = nexus__arena_copy(l->arena, t->host);
    return t->host.p ? NEXUS_OK : nexus__nomem();
}

static nexus_status load_target(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        {"url", NEXUS__LOADER_TEXT, offsetof(nexus__gw_target, url), 0, 0, NULL, true},
        ROW("weight", U32, nexus__gw_target, weight, 0, 10000),
    };
    nexus__gw_target *t = out;
    *t = (nexus__gw_target){.weight = 1};
    nexus_status status = nexus__json_is(l->doc, value, NEXUS__JSON_STRING)
                              ? nexus__loader_text(l, value, &t->url)
                              : nexus__loader_object(l, value, rows, COUNT(rows), t);
    return status ? status : parse_url(l, value, t);
}

/* Reads an array with one reader for each element of `size` bytes; out is {items, count}. */
static nexus_status load_array(nexus__loader *l, uint32_t value, size_t size, nexus__loader_fn *fn, void **items,
                               uint32_t *count)
{
    if (!nexus__json_is(l->doc, value, NEXUS__JSON_ARRAY))
        return nexus__loader_fail(l, value, "must be an array");
    char *list = nexus__arena_get(l->arena, (nexus__json_count(l->doc, value) + 1) * size);
    if (!list)
        return nexus__nomem();
    for (nexus__json_iter it = nexus__json_each(l->doc, value); nexus__json_step(l->doc, &it);) {
        size_t mark = nexus__loader_push_index(l, it.index);
        memset(list + it.index * size, 0, size);
        nexus_status status = fn(l, it.value, list + it.index * size);
        nexus__loader_pop(l, mark);
        if (status)
            return status;
        *count = it.index + 1;
    }
    *items = list;
    return NEXUS_OK;
}

static nexus_status load_targets(nexus__loader *l, uint32_t value, void *out)
{
    nexus__gw_upstream_conf *u = NEXUS__CONTAINER(out, nexus__gw_upstream_conf, targets);
    nexus_status status =
        load_array(l, value, sizeof *u->targets.items, load_target, (void **)&u->targets.items, &u->targets.count);
    if (!status && u->targets.count == 0)
        return nexus__loader_fail(l, value, "needs at least one target");
    return status;
}

static nexus_status load_balance(nexus__loader *l, uint32_t value, void *out)
{
    if (nexus__json_text_is(l->doc, value, NEXUS_S("p2c")))
        *(uint32_t *)out = NEXUS__BALANCE_P2C;
    else if (nexus__json_text_is(l->doc, value, NEXUS_S("wrr")))
        *(uint32_t *)out = NEXUS__BALANCE_WRR;
    else
        return nexus__loader_fail(l, value, "must be \"p2c\" or \"wrr\"");
    return NEXUS_OK;
}

static nexus_status load_health(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        ROW("path", TEXT, nexus__gw_health, path, 0, 0),
        ROW("interval_ms", U32, nexus__gw_health, interval_ms, 10, MS_MAX),
        ROW("down_interval_ms", U32, nexus__gw_health, down_interval_ms, 10, MS_MAX),
        ROW("timeout_ms", U32, nexus__gw_health, timeout_ms, 1, MS_MAX),
        ROW("fails", U32, nexus__gw_health, fails, 1, 1000),
        ROW("passes", U32, nexus__gw_health, passes, 1, 1000),
    };
    nexus__gw_health *h = out;
    bool on;
    if (nexus__json_bool(l->doc, value, &on)) {
        h->path = on ? h->path : (nexus_slice){0};
        return NEXUS_OK;
    }
    nexus_status status = nexus__loader_object(l, value, rows, COUNT(rows), h);
    if (!status && (h->path.n == 0 || h->path.p[0] != '/'))
        return nexus__loader_fail(l, value, "\"path\" must start with \"/\"");
    return status;
}

static nexus_status load_timeouts(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        ROW("connect", U32, nexus__gw_upstream_conf, connect_ms, 1, MS_MAX),
        ROW("first_byte", U32, nexus__gw_upstream_conf, first_byte_ms, 1, MS_MAX),
        ROW("total", U32, nexus__gw_upstream_conf, total_ms, 1, MS_MAX),
        ROW("idle", U32, nexus__gw_upstream_conf, idle_ms, 1, MS_MAX),
    };
    return nexus__loader_object(l, value, rows, COUNT(rows), NEXUS__CONTAINER(out, nexus__gw_upstream_conf, connect_ms));
}

static nexus_status load_ejection(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        ROW("failures", U32, nexus__gw_upstream_conf, eject_failures, 1, 1000),
        ROW("base_ms", U32, nexus__gw_upstream_conf, eject_ms, 1, MS_MAX),
    };
    nexus__gw_upstream_conf *u = NEXUS__CONTAINER(out, nexus__gw_upstream_conf, eject_failures);
    bool on;
    if (nexus__json_bool(l->doc, value, &on)) {
        u->eject_failures = on ? u->eject_failures : 0;
        return NEXUS_OK;
    }
    return nexus__loader_object(l, value, rows, COUNT(rows), u);
}

static nexus_status load_pool(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        ROW("idle_max", U32, nexus__gw_upstream_conf, pool_idle_max, 0, 100000),
        ROW("idle_ms", U32, nexus__gw_upstream_conf, pool_idle_ms, 1, MS_MAX),
    };
    return nexus__loader_object(l, value, rows, COUNT(rows),
                                NEXUS__CONTAINER(out, nexus__gw_upstream_conf, pool_idle_max));
}

static nexus_status load_upstream(nexus__loader *l, uint32_t value, nexus__gw_upstream_conf *u)
{
    static const nexus__loader_row rows[] = {
        {"targets", NEXUS__LOADER_CALL, offsetof(nexus__gw_upstream_conf, targets), 0, 0, load_targets, true},
        CALL("balance", load_balance, nexus__gw_upstream_conf, balance),
        CALL("timeouts_ms", load_timeouts, nexus__gw_upstream_conf, connect_ms),
        CALL("health", load_health, nexus__gw_upstream_conf, health),
        CALL("ejection", load_ejection, nexus__gw_upstream_conf, eject_failures),
        CALL("pool", load_pool, nexus__gw_upstream_conf, pool_idle_max),
        ROW("retries", U32, nexus__gw_upstream_conf, retries, 0, 10),
        ROW("max_connections", U32, nexus__gw_upstream_conf, max_connections, 1, 1000000),
    };
    u->text = nexus__json_raw(l->doc, value);
    u->connect_ms = 2000;
    u->first_byte_ms = 5000;
    u->total_ms = 15000;
    u->idle_ms = 60000;
    u->retries = 1;
    u->max_connections = 1024;
    u->pool_idle_max = 100;
    u->pool_idle_ms = 60000;
    u->eject_failures = 5;
    u->eject_ms = 30000;
    u->health = (nexus__gw_health){{0}, 10000, 5000, 2000, 3, 2};
    nexus_status status = nexus__loader_object(l, value, rows, COUNT(rows), u);
    if (status)
        return status;
    u->text = nexus__arena_copy(l->arena, u->text);
    return u->text.p ? NEXUS_OK : nexus__nomem();
}

static nexus_status load_upstreams(nexus__loader *l, uint32_t value, void *out)
{
    nexus__gw_config *c = NEXUS__CONTAINER(out, nexus__gw_config, upstreams);
    if (!nexus__json_is(l->doc, value, NEXUS__JSON_OBJECT))
        return nexus__loader_fail(l, value, "must be an object of upstreams by name");
    size_t bytes = (nexus__json_count(l->doc, value) + 1) * sizeof *c->upstreams.items;
    c->upstreams.items = nexus__arena_get(l->arena, bytes);
    if (!c->upstreams.items)
        return nexus__nomem();
    memset(c->upstreams.items, 0, bytes);
    for (nexus__json_iter it = nexus__json_each(l->doc, value); nexus__json_step(l->doc, &it);) {
        nexus__gw_upstream_conf *u = &c->upstreams.items[c->upstreams.count++];
        nexus_status status = nexus__loader_text(l, it.key, &u->name);
        size_t mark = nexus__loader_push(l, u->name);
        status = status ? status : load_upstream(l, it.value, u);
        nexus__loader_pop(l, mark);
        if (status)
            return status;
    }
    return NEXUS_OK;
}

/* --- filters of a route ----------------------------------------------------------------------------------------- */

static nexus_status load_token(nexus__loader *l, uint32_t value, void *out)
{
    nexus__gw_route_conf *r = NEXUS__CONTAINER(out, nexus__gw_route_conf, token);
    static const nexus__loader_row rows[] = {CALL("roles", nexus__loader_texts, nexus__gw_route_conf, token.roles)};
    if (nexus__json_bool(l->doc, value, &r->token.on))
        return NEXUS_OK;
    r->token.on = true;
    return nexus__loader_object(l, value, rows, COUNT(rows), r);
}

static nexus_status load_key(nexus__loader *l, uint32_t value, void *out)
{
    static const struct {
        const char *name;
        uint32_t bit;
    } keys[] = {{"ip", NEXUS__KEY_IP}, {"principal", NEXUS__KEY_PRINCIPAL}, {"route", NEXUS__KEY_ROUTE}};
    nexus__text_list list;
    nexus_status status = nexus__loader_texts(l, value, &list);
    *(uint32_t *)out = 0;
    for (uint32_t i = 0; i < list.count && !status; i++) {
        size_t k = 0;
        while (k < COUNT(keys) && !nexus__slice_eq_c(list.items[i], keys[k].name))
            k++;
        if (k == COUNT(keys))
            return nexus__loader_fail(l, value, "\"%s\" is no key; known are ip, principal, route", list.items[i].p);
        *(uint32_t *)out |= keys[k].bit;
    }
    return status;
}

static bool is_token(nexus_slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((uint8_t)s.p[i] <= ' ' || (uint8_t)s.p[i] >= 0x7f || strchr("()<>@,;:\\\"/[]?={}", s.p[i]))
            return false;
    return s.n > 0;
}

static nexus_status load_limit(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        ROW("name", TEXT, nexus__gw_limit_conf, name, 0, 0),
        {"rate", NEXUS__LOADER_U32, offsetof(nexus__gw_limit_conf, rate), 1, 1000000000, NULL, true},
        ROW("period_s", U32, nexus__gw_limit_conf, period_s, 1, 2678400),
        ROW("burst", U32, nexus__gw_limit_conf, burst, 1, 1000000000),
        CALL("key", load_key, nexus__gw_limit_conf, key),
        ROW("shadow", BOOL, nexus__gw_limit_conf, shadow, 0, 0),
    };
    nexus__gw_limit_conf *limit = out;
    *limit = (nexus__gw_limit_conf){.name = NEXUS_S("default"), .period_s = 1, .key = NEXUS__KEY_IP};
    nexus_status status = nexus__loader_object(l, value, rows, COUNT(rows), limit);
    if (!status && !is_token(limit->name))
        return nexus__loader_fail(l, value, "a limit's name must be a token");
    if (!limit->burst)
        limit->burst = limit->rate;
    return status;
}

static nexus_status load_limits(nexus__loader *l, uint32_t value, void *out)
{
    nexus__gw_route_conf *r = NEXUS__CONTAINER(out, nexus__gw_route_conf, limits);
    nexus_status status =
        load_array(l, value, sizeof *r->limits.items, load_limit, (void **)&r->limits.items, &r->limits.count);
    if (!status && r->limits.count > 8)
        return nexus__loader_fail(l, value, "at most 8 limits a route");
    return status;
}

static nexus_status load_cors(nexus__loader *l, uint32_t value, void *out)
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
    c->on = true;
    return status;
}

static bool value_ok(nexus_slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (((uint8_t)s.p[i] < ' ' && s.p[i] != '\t') || s.p[i] == 0x7f)
            return false;
    return true;
}

static nexus_status load_headers(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        CALL("set", nexus__loader_pairs, nexus__gw_headers_conf, set),
        CALL("remove", nexus__loader_texts, nexus__gw_headers_conf, remove),
    };
    static const char *const framing[] = {"connection", "content-length", "transfer-encoding", "host", "upgrade",
                                          "te",         "trailer"};
    nexus__gw_headers_conf *h = out;
    nexus_status status = nexus__loader_object(l, value, rows, COUNT(rows), h);
    for (uint32_t i = 0; !status && i < h->set.count + h->remove.count; i++) {
        bool set = i < h->set.count;
        nexus_slice name = set ? h->set.items[i].name : h->remove.items[i - h->set.count];
        if (!is_token(name) || (set && !value_ok(h->set.items[i].value)))
            return nexus__loader_fail(l, value, "\"%s\" is no header", name.p);
        for (size_t k = 0; k < COUNT(framing); k++)
            if (nexus__slice_ieq(name, nexus__slice_c(framing[k])))
                return nexus__loader_fail(l, value, "\"%s\" belongs to the connection; the gateway sets it", name.p);
    }
    return status;
}

/* --- routes ----------------------------------------------------------------------------------------------------- */

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
    for (uint32_t i = 0; i < r->limits.count; i++)
        if (r->limits.items[i].key & NEXUS__KEY_PRINCIPAL && !r->token.on)
            return nexus__loader_fail(l, value, "a limit by principal needs \"token\" on the same route");
    return NEXUS_OK;
}

static nexus_status load_route(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
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
        ROW("body_max_bytes", U32, nexus__gw_route_conf, body_max_bytes, 1, 0),
        ROW("total_timeout_ms", U32, nexus__gw_route_conf, total_ms, 1, MS_MAX),
        CALL("token", load_token, nexus__gw_route_conf, token),
        CALL("limits", load_limits, nexus__gw_route_conf, limits),
        CALL("cors", load_cors, nexus__gw_route_conf, cors),
        CALL("request_headers", load_headers, nexus__gw_route_conf, request),
        CALL("response_headers", load_headers, nexus__gw_route_conf, response),
    };
    nexus_status status = nexus__loader_object(l, value, rows, COUNT(rows), out);
    return status ? status : check_route(l, value, out);
}

/* References and conflicts can be judged when everything is read: upstreams may stand after the routes. */
static nexus_status check_upstream_name(nexus__loader *l, uint32_t value, const nexus__gw_config *c,
                                        const nexus__gw_route_conf *r)
{
    const char *names[64];
    size_t n = c->upstreams.count < 64 ? c->upstreams.count : 64;
    if (nexus__gw_config_upstream(c, r->upstream))
        return NEXUS_OK;
    for (size_t i = 0; i < n; i++)
        names[i] = c->upstreams.items[i].name.p;
    return nexus__loader_fail(l, nexus__json_get(l->doc, value, "upstream"),
                              "no upstream \"%s\"; the nearest known one is \"%s\"", r->upstream.p,
                              nexus__nearest(r->upstream, names, n));
}

static nexus_status check_rule(nexus__loader *l, uint32_t value, nexus_router *router, const nexus__gw_route_conf *r)
{
    nexus_router_rule rule = NEXUS_ROUTER_RULE_INIT;
    rule.id = r->id.p;
    rule.host = r->host.p;
    rule.path = r->path.n ? r->path.p : r->prefix.p;
    rule.flags = r->prefix.n ? NEXUS_ROUTER_PREFIX : 0;
    rule.methods = r->methods;
    rule.priority = r->priority;
    nexus_status status = nexus_router_add(router, &rule);
    char why[400];
    if (!status || status == NEXUS_ENOMEM)
        return status;
    memcpy(why, nexus_error_message(), sizeof why - 1);
    why[sizeof why - 1] = 0;
    return nexus__loader_fail(l, value, "%s", why);
}

static nexus_status check_routes(nexus__loader *l, const nexus__gw_config *c)
{
    nexus_router *router;
    uint32_t routes = nexus__json_get(l->doc, 0, "routes");
    nexus_status status = nexus_router_new(&router, c->alloc);
    if (status)
        return status;
    size_t root = nexus__loader_push(l, NEXUS_S("routes"));
    for (nexus__json_iter it = nexus__json_each(l->doc, routes); !status && nexus__json_step(l->doc, &it);) {
        size_t mark = nexus__loader_push_index(l, it.index);
        status = check_upstream_name(l, it.value, c, &c->routes.items[it.index]);
        if (!status)
            status = check_rule(l, it.value, router, &c->routes.items[it.index]);
        nexus__loader_pop(l, mark);
    }
    nexus__loader_pop(l, root);
    nexus_router_free(router);
    return status;
}

static nexus_status load_routes(nexus__loader *l, uint32_t value, void *out)
{
    nexus__gw_config *c = NEXUS__CONTAINER(out, nexus__gw_config, routes);
    return load_array(l, value, sizeof *c->routes.items, load_route, (void **)&c->routes.items, &c->routes.count);
}

static nexus_status load_version(nexus__loader *l, uint32_t value, void *out)
{
    int64_t version;
    (void)out;
    if (!nexus__json_i64(l->doc, value, &version) || version != 1)
        return nexus__loader_fail(l, value, "must be 1, the only format there is");
    return NEXUS_OK;
}

static nexus_status load(nexus__loader *l, nexus__gw_config *c)
{
    static const nexus__loader_row rows[] = {
        CALL("version", load_version, nexus__gw_config, alloc),
        {"upstreams", NEXUS__LOADER_CALL, offsetof(nexus__gw_config, upstreams), 0, 0, load_upstreams, true},
        {"routes", NEXUS__LOADER_CALL, offsetof(nexus__gw_config, routes), 0, 0, load_routes, true},
    };
    nexus_status status = nexus__loader_object(l, 0, rows, COUNT(rows), c);
    return status ? status : check_routes(l, c);
}

nexus_status nexus__gw_config_parse(nexus__gw_config **out, const char *file, nexus_slice text, const nexus_alloc *alloc)
{
    nexus__json doc;
    nexus__gw_config *c = nexus__calloc(alloc, 1, sizeof *c);
    if (!c)
        return nexus__nomem();
    c->alloc = alloc;
    c->refs = 1;
    nexus__arena_init(&c->arena, alloc, 16384);
    nexus__json_init(&doc, alloc);
    nexus__loader l = {.file = file, .doc = &doc, .arena = &c->arena};
    nexus__buf_init(&l.pointer, alloc, 4096);
    nexus_status status = nexus__json_scan(&doc, text, NULL);
    if (status == NEXUS_EINVAL) {
        uint32_t line, column;
        char why[300];
        snprintf(why, sizeof why, "%s", nexus_error_message());
        nexus__json_position(text, doc.error_at, &line, &column);
        status = nexus__fail(NEXUS_EINVAL, "%s:%u:%u: %s", file, line, column, why);
    }
    if (!status)
        status = load(&l, c);
    nexus__buf_free(&l.pointer);
    nexus__json_free(&doc);
    if (status) {
        nexus__gw_config_free(c);
        return status;
    }
    *out = c;
    return NEXUS_OK;
}

nexus__gw_config *nexus__gw_config_ref(nexus__gw_config *config)
{
    atomic_fetch_add(&config->refs, 1);
    return config;
}

void nexus__gw_config_free(nexus__gw_config *config)
{
    if (!config || atomic_fetch_sub(&config->refs, 1) != 1)
        return;
    nexus__arena_free(&config->arena);
    nexus__free(config->alloc, config);
}

const nexus__gw_upstream_conf *nexus__gw_config_upstream(const nexus__gw_config *config, nexus_slice name)
{
    for (uint32_t i = 0; i < config->upstreams.count; i++)
        if (nexus__slice_eq(config->upstreams.items[i].name, name))
            return &config->upstreams.items[i];
    return NULL;
}
