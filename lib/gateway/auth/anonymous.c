/* Everybody, under a name of its own: what a route says that takes callers without credentials. */
#include "auth/principal.h"
#include "gateway/auth/authenticator.h"

static nexus_status open_anonymous(nexus_gateway *g, const nexus__gw_route_conf *route)
{
    (void)route; /* loads come one at a time, and a route is served only after its load */
    return g->anonymous ? NEXUS_OK : nexus__principal_named(&g->anonymous, g->alloc, NEXUS_S("anonymous"));
}

static nexus__auth_answer ask(nexus__call *call, nexus_principal **principal, const nexus__gw_refusal **refusal)
{
    (void)refusal;
    *principal = nexus_principal_ref(call->view->home->gateway->anonymous);
    return NEXUS__AUTH_YES;
}

bool nexus__gw_auth_known(const nexus__call *call)
{
    return call->principal && call->principal != call->view->home->gateway->anonymous;
}

const nexus__gw_authenticator nexus__gw_auth_anonymous = {
    .name = "anonymous",
    .identifies = true,
    .open = open_anonymous,
    .ask = ask,
};
