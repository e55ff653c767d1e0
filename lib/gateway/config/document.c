/* The routes file as a whole: its members, what they say of each other, and the config that comes of it. */
#include <nexus/rbac.h>
#include <nexus/router.h>
#include <stdio.h>

#include "gateway/config/rows.h"
#include "gateway/filters/limit.h"

nexus_status nexus__gw_load_array(nexus__loader *l, uint32_t value, size_t size, nexus__loader_fn *fn, void **items,
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

static nexus_status load_routes(nexus__loader *l, uint32_t value, void *out)
{
    nexus__gw_config *c = NEXUS__CONTAINER(out, nexus__gw_config, routes);
    return nexus__gw_load_array(l, value, sizeof *c->routes.items, nexus__gw_load_route, (void **)&c->routes.items,
                                &c->routes.count);
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
        {"upstreams", NEXUS__LOADER_CALL, offsetof(nexus__gw_config, upstreams), 0, 0, nexus__gw_load_upstreams, true},
        {"routes", NEXUS__LOADER_CALL, offsetof(nexus__gw_config, routes), 0, 0, load_routes, true},
        CALL("client_certificates", nexus__gw_load_clients, nexus__gw_config, clients),
        CALL("plans", nexus__gw_load_plans, nexus__gw_config, plans),
        CALL("roles", nexus__gw_load_roles, nexus__gw_config, policy),
    };
    nexus_status status = nexus__loader_object(l, 0, rows, COUNT(rows), c);
    status = status ? status : nexus__gw_resolve(l);
    return status ? status : nexus__gw_compile_policy(c);
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
    nexus__map_init(&c->names, alloc);
    nexus__map_init(&c->route_ids, alloc);
    nexus__loader l = {.file = file, .doc = &doc, .arena = &c->arena, .config = c};
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
    nexus_rbac_free(config->policy);
    nexus_router_free(config->router);
    for (nexus__gw_regex *r = config->regexes; r; r = r->next)
        nexus__regex_free(r->re);
    nexus__map_free(&config->names);
    nexus__map_free(&config->route_ids);
    nexus__arena_free(&config->arena);
    nexus__free(config->alloc, config);
}

const nexus__gw_upstream_conf *nexus__gw_config_upstream(const nexus__gw_config *config, nexus_slice name)
{
    return nexus__map_get(&config->names, name);
}
