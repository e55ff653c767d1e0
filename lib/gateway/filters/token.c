/* The filter of bearer tokens: checked by the gateway's verifier, with the roles that the route asks for. */
#include <sched.h>

#include "gateway/config/rows.h"
#include "gateway/gateway.h"

typedef struct token_conf {
    bool on;
    nexus__text_list roles;
} token_conf;

static nexus_status load(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {CALL("roles", nexus__loader_texts, token_conf, roles)};
    token_conf *c = out;
    if (nexus__json_bool(l->doc, value, &c->on))
        return NEXUS_OK;
    c->on = true;
    return nexus__loader_object(l, value, rows, COUNT(rows), c);
}

static nexus_status open_verifier(void **state, nexus_gateway *g, const nexus__gw_route_conf *route, const void *conf)
{
    (void)state;
    if (((const token_conf *)conf)->on && !g->opts.verifier)
        return nexus__fail(NEXUS_ENOTSUP, "route %s wants a token, but this gateway was opened without a verifier",
                           route->id.p);
    return NEXUS_OK;
}

static void unauthorized(nexus__call *call, const char *challenge, const char *detail)
{
    (void)nexus_request_set_header(call->request, "WWW-Authenticate", nexus__slice_c(challenge));
    nexus__call_problem(call, 401, "unauthorized", detail);
}

static nexus__gw_verdict pass(nexus__call *call, const void *conf, void *state);

static const token_conf *conf_of(const nexus__call *call)
{
    return nexus__gw_filter_conf(call->route->conf, &nexus__gw_filter_token);
}

static void keys_are_there(void *user_data)
{
    nexus__call *call = user_data;
    if (nexus__call_woken(call))
        nexus__call_go_on(call, pass(call, conf_of(call), NULL));
}

/* On the client's thread. */
static void on_keys(nexus_status status, void *user_data)
{
    nexus__call *call = user_data;
    (void)status;
    while (nexus_loop_post(call->view->home->loop, keys_are_there, call) == NEXUS_EAGAIN)
        sched_yield();
}

static nexus__gw_verdict wait_for_keys(nexus__call *call)
{
    nexus_gateway *g = call->view->home->gateway;
    if (call->interims++ == 0) { /* once: keys that did not come are no reason to wait again */
        nexus__call_wait(call);
        nexus_status status = nexus_verifier_wait_async(g->opts.verifier, on_keys, call);
        if (status == NEXUS_OK)
            return NEXUS__GW_LATER;
        if (!nexus__call_woken(call))
            return NEXUS__GW_ANSWERED;
        if (status == NEXUS_EDONE)
            return pass(call, conf_of(call), NULL);
    }
    (void)nexus_request_set_header(call->request, "Retry-After", NEXUS_S("1"));
    nexus__call_problem(call, 503, "keys-unavailable", "The keys to check tokens with are not there yet.");
    return NEXUS__GW_ANSWERED;
}

static bool has_role(const nexus__call *call, const token_conf *conf)
{
    for (uint32_t i = 0; i < conf->roles.count; i++)
        if (nexus_principal_has_role(call->principal, conf->roles.items[i].p))
            return true;
    return conf->roles.count == 0;
}

static nexus__gw_verdict pass(nexus__call *call, const void *conf, void *state)
{
    const token_conf *c = conf;
    nexus_gateway *g = call->view->home->gateway;
    nexus_slice value, scheme = NEXUS_S("Bearer ");
    (void)state;
    if (!c->on)
        return NEXUS__GW_NEXT;
    if (!nexus_request_header(call->request, "authorization", &value) || value.n <= scheme.n ||
        !nexus__slice_ieq(nexus__slice(value.p, scheme.n), scheme)) {
        unauthorized(call, "Bearer", "This needs a bearer token.");
        return NEXUS__GW_ANSWERED;
    }
    nexus_status status =
        nexus_verifier_check(g->opts.verifier, value.p + scheme.n, value.n - scheme.n, &call->principal);
    if (status == NEXUS_EAGAIN)
        return wait_for_keys(call);
    call->interims = 0;
    if (status)
        unauthorized(call, "Bearer error=\"invalid_token\"", "The token is not valid.");
    else if (!has_role(call, c))
        nexus__call_problem(call, 403, "forbidden", "The token's roles do not allow this.");
    else
        return NEXUS__GW_NEXT;
    return NEXUS__GW_ANSWERED;
}

static void explain(const void *conf, const void *state, nexus__json_writer *w)
{
    const token_conf *c = conf;
    (void)state;
    nexus__json_key(w, "roles");
    nexus__json_open(w, '[');
    for (uint32_t i = 0; i < c->roles.count; i++)
        nexus__json_text_value(w, c->roles.items[i]);
    nexus__json_close(w, ']');
}

const nexus__gw_filter nexus__gw_filter_token = {
    .key = "token",
    .conf_bytes = sizeof(token_conf),
    .load = load,
    .open = open_verifier,
    .request = pass,
    .explain = explain,
};
