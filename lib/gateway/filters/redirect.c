/* The filter `redirect`: an answer that sends the client elsewhere. No upstream is asked. */
#include "gateway/config/rows.h"
#include "gateway/gateway.h"
#include "gateway/rewrite.h"

static nexus_status load_status(nexus__loader *l, uint32_t value, void *out)
{
    static const uint16_t known[] = {301, 302, 303, 307, 308};
    int64_t number;
    if (nexus__json_i64(l->doc, value, &number))
        for (size_t i = 0; i < COUNT(known); i++)
            if (known[i] == number) {
                *(uint16_t *)out = known[i];
                return NEXUS_OK;
            }
    return nexus__loader_fail(l, value, "must be 301, 302, 303, 307 or 308");
}

static nexus_status load_to(nexus__loader *l, uint32_t value, void *out)
{
    return nexus__redirect_load_to(l, value, NEXUS__CONTAINER(out, nexus__redirect_conf, text));
}

static nexus_status load(nexus__loader *l, uint32_t value, void *conf)
{
    static const nexus__loader_row rows[] = {
        CALL("status", load_status, nexus__redirect_conf, status),
        {"to", NEXUS__LOADER_CALL, offsetof(nexus__redirect_conf, text), 0, 0, load_to, true},
    };
    nexus__redirect_conf *c = conf;
    c->status = 308;
    return nexus__loader_object(l, value, rows, COUNT(rows), c);
}

static nexus_status check(nexus__loader *l, uint32_t value, const nexus__gw_route_conf *route, const void *conf)
{
    const nexus__redirect_conf *c = conf;
    if (route->upstream.n || route->versions || nexus__gw_filter_conf(route, &nexus__gw_filter_canary) ||
        nexus__rewrite_is(&route->rewrite))
        return nexus__loader_fail(l, value, "a route that redirects has no upstream, rewrite, versions or canary");
    return nexus__gw_check_pattern(l, value, route, &c->to);
}

static nexus__gw_verdict answer(nexus__call *call, const void *conf, void *state)
{
    const nexus__redirect_conf *c = conf;
    nexus_request *request = call->request;
    nexus_slice query, target;
    (void)state;
    nexus_request_query(request, &query);
    nexus__rewrite_input in = nexus__call_rewrite_input(call);
    char *room = nexus_request_alloc(request, nexus__redirect_room(c, &in, query));
    nexus_status status = room ? nexus__redirect_target(c, &in, query, room, &target) : NEXUS_ENOMEM;
    if (!status)
        status = nexus_request_set_header(request, "Location", target);
    if (status) {
        nexus__call_refuse_path(call, status);
        return NEXUS__GW_ANSWERED;
    }
    nexus__call_count(call, c->status);
    nexus__call_release(call, false);
    nexus_request_reply(request, c->status, NULL, (nexus_slice){0});
    return NEXUS__GW_ANSWERED;
}

static void explain(const void *conf, const void *state, nexus__json_writer *w)
{
    const nexus__redirect_conf *c = conf;
    (void)state;
    nexus__json_put_u64(w, "status", c->status);
    nexus__json_put_text(w, "to", c->text);
}

const nexus__gw_filter nexus__gw_filter_redirect = {
    .key = "redirect",
    .conf_bytes = sizeof(nexus__redirect_conf),
    .captures = true,
    .load = load,
    .check = check,
    .request = answer,
    .explain = explain,
};
