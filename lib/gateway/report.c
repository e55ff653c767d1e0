/* How things are: upstreams, canaries, and who still calls what is deprecated. */
#include "base/status.h"
#include "base/time.h"
#include "gateway/canary.h"
#include "gateway/gateway.h"
#include "gateway/usage.h"

static void put_canaries(nexus__json_writer *w, const nexus__snapshot *s)
{
    nexus__json_key(w, "canaries");
    nexus__json_open(w, '[');
    for (uint32_t i = 0; s && i < s->config->routes.count; i++) {
        const nexus__canary_conf *c = nexus__gw_filter_conf(s->routes[i].conf, &nexus__gw_filter_canary);
        if (!c)
            continue;
        nexus__json_open(w, '{');
        nexus__json_put_text(w, "route", s->routes[i].conf->id);
        nexus__canary_put_arms(nexus__canary_of(&s->routes[i]), c, w);
        nexus__json_close(w, '}');
    }
    nexus__json_close(w, ']');
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
    put_canaries(&w, s);
    nexus__json_close(&w, '}');
    nexus__snapshot_unref(s);
    return nexus__buf_hand_over(&buf, out, n);
}

static void put_deprecated(nexus__json_writer *w, const nexus_gateway *g, nexus_slice route, nexus_slice version,
                           const nexus__deprecation *d)
{
    static const char *const ages[] = {"current", "deprecated", "gone"};
    nexus__json_open(w, '{');
    nexus__json_put_text(w, "route", route);
    nexus__json_put_text_c(w, "version", version.n ? version.p : NULL);
    nexus__json_put_text(w, "since", d->since_text);
    nexus__json_put_text_c(w, "sunset", d->sunset_s ? d->sunset_text.p : NULL);
    nexus__json_put_text_c(w, "successor", d->successor.n ? d->successor.p : NULL);
    nexus__json_put_text_c(w, "state", ages[nexus__deprecation_age(d, nexus__real_ns() / NEXUS__NS_PER_S)]);
    nexus__usage_put(g->usage, route, version, w);
    nexus__json_close(w, '}');
}

static void put_route_versions(nexus__json_writer *w, const nexus_gateway *g, const nexus__gw_route_conf *r)
{
    if (r->deprecation)
        put_deprecated(w, g, r->id, (nexus_slice){0}, r->deprecation);
    for (uint32_t i = 0; r->versions && i < r->versions->supported.count; i++) {
        const nexus__version *v = &r->versions->supported.items[i];
        if (v->deprecation)
            put_deprecated(w, g, r->id, v->name, v->deprecation);
    }
}

nexus_status nexus_gateway_versions(nexus_gateway *g, char **out, size_t *n)
{
    nexus__buf buf;
    nexus__buf_init(&buf, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&buf);
    nexus__snapshot *s = nexus__snapshot_current(g);
    nexus__json_open(&w, '{');
    nexus__json_key(&w, "deprecated");
    nexus__json_open(&w, '[');
    for (uint32_t i = 0; s && i < s->config->routes.count; i++)
        put_route_versions(&w, g, &s->config->routes.items[i]);
    nexus__json_close(&w, ']');
    nexus__json_put_u64(&w, "uncounted", nexus__usage_overflow(g->usage));
    nexus__json_close(&w, '}');
    nexus__snapshot_unref(s);
    return nexus__buf_hand_over(&buf, out, n);
}
