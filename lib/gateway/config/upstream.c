/* Upstreams of the routes file: their targets and connections; the rest has readers of its own. */
#include "gateway/config/rows.h"

static nexus_status load_targets(nexus__loader *l, uint32_t value, void *out)
{
    nexus__gw_upstream_conf *u = NEXUS__CONTAINER(out, nexus__gw_upstream_conf, targets);
    nexus_status status = nexus__gw_load_array(l, value, sizeof *u->targets.items, nexus__gw_load_target,
                                               (void **)&u->targets.items, &u->targets.count);
    if (!status && u->targets.count == 0)
        return nexus__loader_fail(l, value, "needs at least one target");
    return status;
}

static nexus_status load_pool(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        ROW("idle_max", U32, nexus__gw_upstream_conf, pool_idle_max, 0, 100000),
        ROW("idle_ms", U32, nexus__gw_upstream_conf, pool_idle_ms, 1, NEXUS__GW_MS_MAX),
        ROW("max_age_ms", U32, nexus__gw_upstream_conf, pool_max_age_ms, 1, NEXUS__GW_MS_MAX),
    };
    return nexus__loader_object(l, value, rows, COUNT(rows),
                                NEXUS__CONTAINER(out, nexus__gw_upstream_conf, pool_idle_max));
}

static nexus_status load_upstream(nexus__loader *l, uint32_t value, nexus__gw_upstream_conf *u)
{
    static const nexus__loader_row rows[] = {
        CALL("targets", load_targets, nexus__gw_upstream_conf, targets),
        CALL("discovery", nexus__gw_load_discovery, nexus__gw_upstream_conf, discovery),
        CALL("tls", nexus__gw_load_tls, nexus__gw_upstream_conf, tls),
        CALL("protocol", nexus__gw_load_protocol, nexus__gw_upstream_conf, protocol),
        ROW("openapi", TEXT, nexus__gw_upstream_conf, openapi, 0, 0),
        CALL("balance", nexus__gw_load_balance, nexus__gw_upstream_conf, balance),
        CALL("slow_start", nexus__gw_load_slow_start, nexus__gw_upstream_conf, balance),
        CALL("timeouts_ms", nexus__gw_load_timeouts, nexus__gw_upstream_conf, timeouts),
        CALL("retries", nexus__gw_load_retries, nexus__gw_upstream_conf, retries),
        CALL("breaker", nexus__gw_load_breaker, nexus__gw_upstream_conf, balance.breaker),
        CALL("ejection", nexus__gw_load_ejection, nexus__gw_upstream_conf, ejection),
        CALL("health", nexus__gw_load_health, nexus__gw_upstream_conf, health),
        CALL("pool", load_pool, nexus__gw_upstream_conf, pool_idle_max),
        ROW("max_connections", U32, nexus__gw_upstream_conf, max_connections, 1, 1000000),
        ROW("max_pending", U32, nexus__gw_upstream_conf, max_pending, 0, 1000000),
        ROW("max_requests", U32, nexus__gw_upstream_conf, max_requests, 1, 1000000),
    };
    u->text = nexus__json_raw(l->doc, value);
    u->balance = (nexus__balance_rule){
        .balancer = nexus__balancers[0], .bound_percent = 125, .breaker = {true, nexus__breaker_rule(NULL)}};
    u->timeouts = (nexus__gw_timeouts){2000, 5000, 10000, 15000, 60000, 25000};
    u->retries = nexus__gw_retries_default;
    u->ejection = nexus__gw_ejection_default;
    u->health = nexus__gw_health_default;
    u->max_connections = u->max_pending = 1024;
    u->pool_idle_max = 100;
    u->pool_idle_ms = 60000;
    u->pool_max_age_ms = 3600000;
    nexus_status status = nexus__loader_object(l, value, rows, COUNT(rows), u);
    if (!status && u->openapi.n && u->openapi.p[0] != '/')
        return nexus__loader_fail(l, value, "\"openapi\" is the path of a description: it begins with \"/\"");
    if (status)
        return status;
    bool discovered = u->discovery.srv.n > 0 || u->discovery.registry.n > 0;
    if (discovered == (u->targets.count > 0))
        return nexus__loader_fail(l, value, "needs either \"targets\" or \"discovery\"");
    u->text = nexus__arena_copy(l->arena, u->text);
    return u->text.p ? NEXUS_OK : nexus__nomem();
}

nexus_status nexus__gw_load_upstreams(nexus__loader *l, uint32_t value, void *out)
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
        status = status ? status : nexus__map_put(&c->names, u->name, u, NULL);
        nexus__loader_pop(l, mark);
        if (status)
            return status;
    }
    return NEXUS_OK;
}
