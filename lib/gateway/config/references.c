/*
 * What can be judged only when everything is read, since upstreams may stand after the routes: the upstreams that routes
 * name, and which of two routes wins. The router that comes of it is the config's.
 */
#include <nexus/router.h>

#include "gateway/canary.h"
#include "gateway/config/rows.h"
#include "gateway/filter.h"

static nexus_status find_upstream(nexus__loader *l, uint32_t value, nexus_slice name, uint32_t *index)
{
    const nexus__gw_config *c = l->config;
    const nexus__gw_upstream_conf *u = nexus__gw_config_upstream(c, name);
    const char *names[64];
    size_t n = c->upstreams.count < 64 ? c->upstreams.count : 64;
    if (u) {
        *index = (uint32_t)(u - c->upstreams.items);
        return NEXUS_OK;
    }
    for (size_t i = 0; i < n; i++)
        names[i] = c->upstreams.items[i].name.p;
    return nexus__loader_fail(l, value, "no upstream \"%s\"; the nearest known one is \"%s\"", name.p,
                              nexus__nearest(name, names, n));
}

static nexus_status find_versions(nexus__loader *l, uint32_t value, const nexus__versions_conf *v)
{
    nexus_status status = NEXUS_OK;
    for (uint32_t i = 0; i < v->supported.count && !status; i++)
        if (v->supported.items[i].upstream.n)
            status = find_upstream(l, value, v->supported.items[i].upstream, &v->supported.items[i].upstream_index);
    return status;
}

static nexus_status find_arms(nexus__loader *l, uint32_t value, nexus__gw_route_conf *r, const nexus__canary_conf *c)
{
    nexus_status status = NEXUS_OK;
    for (uint32_t i = 0; i < c->arms.count && !status; i++)
        status = find_upstream(l, value, c->arms.items[i].upstream, &c->arms.items[i].upstream_index);
    r->upstream_index = c->arms.items[c->control].upstream_index;
    return status;
}

static nexus_status find_upstreams(nexus__loader *l, uint32_t value, nexus__gw_route_conf *r)
{
    const nexus__canary_conf *canary = nexus__gw_filter_conf(r, &nexus__gw_filter_canary);
    nexus_status status = NEXUS_OK;
    r->upstream_index = NEXUS__GW_NO_UPSTREAM;
    if (r->upstream.n)
        status = find_upstream(l, nexus__json_get(l->doc, value, "upstream"), r->upstream, &r->upstream_index);
    if (!status && canary)
        status = find_arms(l, nexus__json_get(l->doc, value, "canary"), r, canary);
    if (!status && r->versions)
        status = find_versions(l, nexus__json_get(l->doc, value, "versions"), r->versions);
    return status;
}

static nexus_status add(nexus__loader *l, uint32_t value, nexus__gw_route_conf *r, nexus_slice path)
{
    nexus_router_rule rule = NEXUS_ROUTER_RULE_INIT;
    rule.id = r->id.p;
    rule.host = r->host.p;
    rule.path = path.p;
    rule.flags = r->prefix.n ? NEXUS_ROUTER_PREFIX : r->regex.n ? NEXUS_ROUTER_REGEX : 0;
    rule.methods = r->methods;
    rule.priority = r->priority;
    rule.predicates = nexus__match_count(r->match);
    rule.conditions = r->match ? r->match->text.p : NULL;
    rule.value = r;
    nexus_status status = nexus_router_add(l->config->router, &rule);
    if (!status || status == NEXUS_ENOMEM)
        return status;
    return nexus__loader_refuse(l, r->regex.n ? nexus__json_get(l->doc, value, "regex") : value);
}

static nexus_status add_rules(nexus__loader *l, uint32_t value, nexus__gw_route_conf *r)
{
    nexus_slice path = r->path.n ? r->path : r->prefix.n ? r->prefix : r->regex, versioned;
    nexus_status status = add(l, value, r, path);
    if (status || !r->versions || !(r->versions->from & NEXUS__VERSION_PATH) || r->regex.n)
        return status;
    status = nexus__gw_version_path(l, value, r->versions, path, &versioned);
    return status ? status : add(l, value, r, versioned);
}

nexus_status nexus__gw_resolve(nexus__loader *l)
{
    nexus__gw_config *c = l->config;
    uint32_t routes = nexus__json_get(l->doc, 0, "routes");
    nexus_status status = nexus_router_new(&c->router, c->alloc);
    size_t root = nexus__loader_push(l, NEXUS_S("routes"));
    for (nexus__json_iter it = nexus__json_each(l->doc, routes); !status && nexus__json_step(l->doc, &it);) {
        size_t mark = nexus__loader_push_index(l, it.index);
        status = find_upstreams(l, it.value, &c->routes.items[it.index]);
        if (!status)
            status = nexus__map_put(&c->route_ids, c->routes.items[it.index].id, &c->routes.items[it.index], NULL);
        if (!status)
            status = add_rules(l, it.value, &c->routes.items[it.index]);
        nexus__loader_pop(l, mark);
    }
    nexus__loader_pop(l, root);
    return status;
}
