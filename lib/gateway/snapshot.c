#include "base/status.h"
#include "gateway/canary.h"
#include "gateway/gateway.h"
#include "gateway/usage.h"

/* --- building: on a thread that may block ------------------------------------------------------------------------- */

static nexus__upstream *find_old(const nexus__snapshot *old, const nexus__gw_upstream_conf *conf)
{
    const nexus__gw_upstream_conf *was = old ? nexus__gw_config_upstream(old->config, conf->name) : NULL;
    bool same = was && nexus__slice_eq(was->text, conf->text);
    return same ? old->upstreams[was - old->config->upstreams.items] : NULL;
}

static nexus_status build_upstreams(nexus__snapshot *s, nexus_gateway *g, const nexus__snapshot *old)
{
    uint32_t n = s->config->upstreams.count;
    s->upstreams = nexus__calloc(s->alloc, n + 1, sizeof *s->upstreams);
    if (!s->upstreams)
        return nexus__nomem();
    for (uint32_t i = 0; i < n; i++) {
        const nexus__gw_upstream_conf *conf = &s->config->upstreams.items[i];
        nexus__upstream *same = find_old(old, conf);
        if (same) {
            s->upstreams[i] = nexus__upstream_ref(same);
            continue;
        }
        nexus_status status = nexus__upstream_new(&s->upstreams[i], g, s->config, conf);
        if (status)
            return status;
    }
    return NEXUS_OK;
}

static nexus_status open_filters(nexus__snapshot *s, nexus_gateway *g, nexus__gw_route *route)
{
    const nexus__gw_route_conf *conf = route->conf;
    nexus_status status = NEXUS_OK;
    if (conf->filters.count == 0)
        return NEXUS_OK;
    route->states = nexus__calloc(s->alloc, conf->filters.count, sizeof *route->states);
    if (!route->states)
        return nexus__nomem();
    for (uint32_t i = 0; i < conf->filters.count && !status; i++) {
        const nexus__gw_filter_use *use = &conf->filters.items[i];
        if (use->filter->open)
            status = use->filter->open(&route->states[i], g, conf, use->conf);
        route->replies_pass |= use->filter->reply != NULL;
        route->stages |= use->filter->stage;
    }
    return status;
}

static void close_filters(nexus__snapshot *s, nexus__gw_route *route)
{
    for (uint32_t i = 0; route->states && i < route->conf->filters.count; i++) {
        const nexus__gw_filter *filter = route->conf->filters.items[i].filter;
        if (filter->close && route->states[i])
            filter->close(route->states[i], s->alloc);
    }
    nexus__free(s->alloc, route->states);
}

static void breaker_unref(nexus__route_breaker *b)
{
    if (b && atomic_fetch_sub(&b->refs, 1) == 1)
        nexus__free(b->alloc, b);
}

/* The route of the same id before; NULL = there was none. */
static const nexus__gw_route *old_route(const nexus__snapshot *old, const nexus__gw_route_conf *conf)
{
    const nexus__gw_route_conf *was = old ? nexus__map_get(&old->config->route_ids, conf->id) : NULL;
    return was ? &old->routes[was - old->config->routes.items] : NULL;
}

static nexus__route_breaker *old_breaker(const nexus__snapshot *old, const nexus__gw_route_conf *conf)
{
    const nexus__gw_route *r = old_route(old, conf);
    bool same = r && r->breaker &&
                memcmp(&r->conf->breaker.rule, &conf->breaker.rule, sizeof conf->breaker.rule) == 0;
    return same ? r->breaker : NULL;
}

static nexus_status find_breaker(nexus__snapshot *s, nexus__gw_route *route, const nexus__snapshot *old)
{
    if (!route->conf->breaker.on)
        return NEXUS_OK;
    route->breaker = old_breaker(old, route->conf);
    if (route->breaker) {
        atomic_fetch_add(&route->breaker->refs, 1);
        return NEXUS_OK;
    }
    route->breaker = nexus__calloc(s->alloc, 1, sizeof *route->breaker);
    if (!route->breaker)
        return nexus__nomem();
    route->breaker->alloc = s->alloc;
    route->breaker->refs = 1;
    return NEXUS_OK;
}

static nexus_status build_routes(nexus__snapshot *s, nexus_gateway *g, const nexus__snapshot *old)
{
    nexus_status status = NEXUS_OK;
    s->routes = nexus__calloc(s->alloc, s->config->routes.count + 1, sizeof *s->routes);
    if (!s->routes)
        return nexus__nomem();
    for (uint32_t i = 0; i < s->config->routes.count && !status; i++) {
        nexus__gw_route *route = &s->routes[i];
        route->conf = &s->config->routes.items[i];
        route->upstream = route->conf->upstream_index;
        if ((status = open_filters(s, g, route)) || (status = find_breaker(s, route, old)))
            return status;
        const nexus__gw_route *was = old_route(old, route->conf);
        if (was)
            route->seen = was->seen; /* the series of an id stay what they are */
        else
            nexus__seen_route_find(&route->seen, &g->seen, route->conf->id);
    }
    return status;
}

static void close_route(nexus__snapshot *s, nexus__gw_route *route)
{
    close_filters(s, route);
    breaker_unref(route->breaker);
}

/* Counts of who calls what is deprecated are kept once something is. Under load_mutex. */
static nexus_status open_usage(const nexus__snapshot *s, nexus_gateway *g)
{
    bool any = false;
    for (uint32_t i = 0; i < s->config->routes.count && !any; i++) {
        const nexus__gw_route_conf *r = &s->config->routes.items[i];
        any = r->deprecation;
        for (uint32_t k = 0; r->versions && k < r->versions->supported.count; k++)
            any |= r->versions->supported.items[k].deprecation != NULL;
    }
    nexus__usage *usage;
    if (!any || g->usage)
        return NEXUS_OK;
    nexus_status status = nexus__usage_new(&usage, g->alloc);
    if (!status)
        g->usage = usage;
    return status;
}

bool nexus__gw_leads_to(const nexus__snapshot *s, const nexus__gw_route *route, const nexus__upstream *upstream)
{
    const nexus__gw_route_conf *conf = route->conf;
    const nexus__canary_conf *canary = nexus__gw_filter_conf(conf, &nexus__gw_filter_canary);
    bool leads = route->upstream != NEXUS__GW_NO_UPSTREAM && s->upstreams[route->upstream] == upstream;
    for (uint32_t i = 0; canary && i < canary->arms.count; i++)
        leads |= s->upstreams[canary->arms.items[i].upstream_index] == upstream;
    for (uint32_t i = 0; conf->versions && i < conf->versions->supported.count; i++) {
        const nexus__version *v = &conf->versions->supported.items[i];
        leads |= v->upstream.n && s->upstreams[v->upstream_index] == upstream;
    }
    return leads;
}

nexus_status nexus__snapshot_build(nexus__snapshot **out, nexus_gateway *g, const char *name, nexus_slice text,
                                   const nexus__snapshot *old)
{
    nexus__gw_config *config;
    nexus_status status = nexus__gw_config_parse(&config, name, text, g->alloc);
    if (status)
        return status;
    nexus__snapshot *s = nexus__calloc(g->alloc, 1, sizeof *s);
    if (!s) {
        nexus__gw_config_free(config);
        return nexus__nomem();
    }
    s->alloc = g->alloc;
    s->refs = 1;
    s->config = config;
    s->text = nexus__strndup(g->alloc, text);
    s->text_len = text.n;
    status = s->text ? build_upstreams(s, g, old) : nexus__nomem();
    if (!status)
        status = nexus__gw_clients_open(&s->clients, config, s->alloc);
    if (!status)
        status = build_routes(s, g, old);
    if (!status)
        status = open_usage(s, g);
    if (status)
        nexus__snapshot_unref(s);
    else
        *out = s;
    return status;
}

nexus__snapshot *nexus__snapshot_ref(nexus__snapshot *s)
{
    atomic_fetch_add(&s->refs, 1);
    return s;
}

nexus__snapshot *nexus__snapshot_current(nexus_gateway *g)
{
    pthread_mutex_lock(&g->locked.mutex);
    nexus__snapshot *s = g->locked.current ? nexus__snapshot_ref(g->locked.current) : NULL;
    pthread_mutex_unlock(&g->locked.mutex);
    return s;
}

void nexus__snapshot_unref(nexus__snapshot *s)
{
    if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    for (uint32_t i = 0; s->upstreams && i < s->config->upstreams.count; i++)
        nexus__upstream_unref(s->upstreams[i]);
    for (uint32_t i = 0; s->routes && i < s->config->routes.count; i++)
        close_route(s, &s->routes[i]);
    nexus__gw_clients_close(s->clients, s->config, s->alloc);
    nexus__free(s->alloc, s->upstreams);
    nexus__free(s->alloc, s->routes);
    nexus__free(s->alloc, s->text);
    nexus__gw_config_free(s->config);
    nexus__free(s->alloc, s);
}

/* --- views: on their loop ----------------------------------------------------------------------------------------- */

static nexus__pool *find_pool(const nexus__view *view, const nexus__upstream *u)
{
    const nexus__gw_config *c = view ? view->snapshot->config : NULL;
    const nexus__gw_upstream_conf *was = c ? nexus__gw_config_upstream(c, u->conf->name) : NULL;
    nexus__pool *pool = was ? view->pools[was - c->upstreams.items] : NULL;
    return pool && pool->upstream == u ? pool : NULL;
}

/* Takes the reference to the snapshot. */
static nexus__view *view_new(nexus__gw_loop *home, nexus__snapshot *s)
{
    uint32_t n = s->config->upstreams.count;
    nexus__view *view = nexus__calloc(s->alloc, 1, sizeof *view + n * sizeof *view->pools);
    if (!view) {
        nexus__snapshot_unref(s);
        return NULL;
    }
    *view = (nexus__view){.refs = 1, .home = home, .snapshot = s};
    for (uint32_t i = 0; i < n; i++) {
        nexus__pool *same = find_pool(home->view, s->upstreams[i]);
        if (same) {
            same->refs++;
            view->pools[i] = same;
        } else if (nexus__pool_new(&view->pools[i], home, s->upstreams[i])) {
            nexus__view_unref(view);
            return NULL;
        }
    }
    return view;
}

void nexus__view_unref(nexus__view *view)
{
    if (!view || --view->refs > 0)
        return;
    nexus__snapshot *s = view->snapshot;
    for (uint32_t i = 0; i < s->config->upstreams.count; i++)
        nexus__pool_unref(view->pools[i]);
    nexus__free(s->alloc, view);
    nexus__snapshot_unref(s);
}

void nexus__view_swap(nexus__gw_loop *home)
{
    nexus_gateway *g = home->gateway;
    nexus__snapshot *s = nexus__snapshot_current(g);
    if (!s)
        return;
    if (home->view && home->view->snapshot == s) {
        nexus__snapshot_unref(s);
        return;
    }
    nexus__view *view = view_new(home, s);
    if (!view)
        return; /* out of memory: the old one goes on */
    nexus__view *old = home->view;
    home->view = view;
    nexus__view_unref(old);
}
