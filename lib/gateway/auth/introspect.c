/* Bearer tokens that only their issuer can read, asked of its introspection endpoint (RFC 7662). */
#include <nexus/introspector.h>
#include <sched.h>

#include "base/status.h"
#include "gateway/auth/authenticator.h"

static const nexus__gw_refusal bad_token = {401, "invalid-token", "The token is wrong, expired or revoked.",
                                            "Bearer error=\"invalid_token\"", NULL};
static const nexus__gw_refusal no_answer = {
    503, "introspection-unavailable", "Whether the token is good cannot be found out now; try again.", NULL, NULL};

static nexus_status open_introspector(nexus_gateway *g, const nexus__gw_route_conf *route)
{
    if (g->opts.introspector)
        return NEXUS_OK;
    return nexus__fail(NEXUS_ENOTSUP, "route %s says introspect, but this gateway was opened without an introspector",
                       route->id.p);
}

static void is_known(void *user_data)
{
    nexus__call *call = user_data;
    if (nexus__call_woken(call))
        nexus__auth_ask_again(call);
}

/* On the client's thread. */
static void on_answer(nexus_status status, void *user_data)
{
    nexus__call *call = user_data;
    (void)status; /* what was said is looked up; what was not leaves a doubt */
    while (nexus_loop_post(call->view->home->loop, is_known, call) == NEXUS_EAGAIN)
        sched_yield();
}

/* LATER, YES: look again now, or FAILED. */
static nexus__auth_answer wait_for_answer(nexus__call *call, nexus_slice token)
{
    if (call->auth->waited)
        return NEXUS__AUTH_FAILED;
    call->auth->waited = true;
    nexus__call_wait(call);
    nexus_status status =
        nexus_introspector_wait_async(call->view->home->gateway->opts.introspector, token.p, token.n, on_answer, call);
    if (status == NEXUS_OK)
        return NEXUS__AUTH_LATER;
    call->waiting = false;
    return status == NEXUS_EDONE ? NEXUS__AUTH_YES : NEXUS__AUTH_FAILED;
}

static nexus__auth_answer ask(nexus__call *call, nexus_principal **principal, const nexus__gw_refusal **refusal)
{
    nexus_introspector *introspector = call->view->home->gateway->opts.introspector;
    nexus_slice token = nexus__gw_bearer(call->request, refusal);
    if (*refusal)
        return NEXUS__AUTH_BAD;
    if (token.n == 0)
        return NEXUS__AUTH_NONE;
    const uint8_t *sha256 = nexus__gw_cert_sha256(call->request);
    nexus_status status = nexus_introspector_check_bound(introspector, token.p, token.n, sha256, principal);
    nexus__auth_answer waiting = status == NEXUS_EAGAIN ? wait_for_answer(call, token) : NEXUS__AUTH_YES;
    if (status == NEXUS_EAGAIN && waiting == NEXUS__AUTH_YES)
        status = nexus_introspector_check_bound(introspector, token.p, token.n, sha256, principal);
    if (waiting == NEXUS__AUTH_LATER)
        return waiting;
    *refusal = status == NEXUS_EAGAIN ? &no_answer : status ? &bad_token : NULL;
    return status == NEXUS_EAGAIN ? NEXUS__AUTH_FAILED : status ? NEXUS__AUTH_BAD : NEXUS__AUTH_YES;
}

const nexus__gw_authenticator nexus__gw_auth_introspect = {
    .name = "introspect",
    .challenge = "Bearer",
    .identifies = true,
    .open = open_introspector,
    .ask = ask,
};
