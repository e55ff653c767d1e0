/* From a path of an upstream back to where clients find it. */
#include <stdio.h>

#include "base/status.h"
#include "gateway/gateway.h"

enum { PATH_BYTES = 2048 };

/* Some path that the template means: each capture becomes the sample. */
static bool fill(nexus_slice path, const char *sample, char out[static PATH_BYTES], size_t *n)
{
    *n = 0;
    while (path.n) {
        size_t brace = nexus__slice_find(path, '{');
        size_t add = brace < path.n ? strlen(sample) : 0;
        if (*n + brace + add >= PATH_BYTES)
            return false;
        memcpy(out + *n, path.p, brace);
        memcpy(out + *n + brace, sample, add);
        *n += brace + add;
        path = nexus__slice_from(path, brace);
        size_t end = nexus__slice_find(path, '}');
        path = nexus__slice_from(path, end < path.n ? end + 1 : path.n);
    }
    return true;
}

/* Before prefixes were changed; false: this route makes no such path. What a pattern puts together is not taken apart. */
static bool before(const nexus__gw_route_conf *conf, nexus_slice path, char out[static PATH_BYTES], size_t *n)
{
    nexus_slice add = conf->rewrite.add, strip = conf->rewrite.strip;
    if (conf->rewrite.to.count)
        return false;
    if (add.n) {
        if (!nexus__slice_starts(path, add) || (path.n > add.n && path.p[add.n] != '/' && add.p[add.n - 1] != '/'))
            return false;
        path = nexus__slice_from(path, nexus__slice_ends(add, NEXUS_S("/")) ? add.n - 1 : add.n);
    }
    if (nexus__slice_ends(strip, NEXUS_S("/")))
        strip.n--;
    int length = snprintf(out, PATH_BYTES, "%.*s%.*s", (int)strip.n, strip.p ? strip.p : "", (int)path.n, path.p);
    *n = length > 0 ? (size_t)length : 0;
    return *n > 0 && *n < PATH_BYTES;
}

/* Whether requests to it take this very route. */
static bool leads(const nexus__gw_config *config, const nexus__gw_route_conf *route, nexus_slice template, uint32_t method)
{
    static const char *const samples[] = {"0", "00000000-0000-0000-0000-000000000000", "x"};
    nexus_slice host = route->host;
    char path[PATH_BYTES], name[300];
    nexus_router_match m;
    size_t n;
    if (nexus__slice_starts(host, NEXUS_S("*."))) {
        int length = snprintf(name, sizeof name, "x%.*s", (int)host.n - 1, host.p + 1);
        host = nexus__slice(name, length > 0 && (size_t)length < sizeof name ? (size_t)length : 0);
    }
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++)
        if (fill(template, samples[i], path, &n) &&
            nexus_router_find(config->router, host, nexus__slice(path, n), method, NULL, NULL, &m) == NEXUS_OK &&
            m.value == route)
            return true;
    return false;
}

nexus_status nexus_gateway_public_path(nexus_gateway *g, const char *upstream, const char *method, nexus_slice path,
                                       char *out, size_t cap)
{
    uint32_t bit = nexus_method_parse(nexus__slice_c(method));
    char text[PATH_BYTES];
    size_t n;
    nexus__snapshot *s = nexus__snapshot_current(g);
    nexus_status status = NEXUS_ENOTFOUND;
    for (uint32_t i = 0; s && i < s->config->routes.count && status == NEXUS_ENOTFOUND; i++) {
        const nexus__gw_route_conf *route = &s->config->routes.items[i];
        if (route->upstream_index == NEXUS__GW_NO_UPSTREAM ||
            !nexus__slice_eq_c(s->config->upstreams.items[route->upstream_index].name, upstream) ||
            !before(route, path, text, &n) || !leads(s->config, route, nexus__slice(text, n), bit))
            continue;
        status = n < cap ? NEXUS_OK : NEXUS_ETOOBIG;
        if (!status)
            memcpy(out, text, n + 1);
    }
    nexus__snapshot_unref(s);
    return status ? nexus__fail(status, "no route leads to %.*s of %s", (int)path.n, path.p, upstream) : NEXUS_OK;
}
