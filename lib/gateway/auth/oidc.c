/*
 * People who signed in with an OpenID Connect provider: their session is an encrypted cookie. Who has none and looks for a
 * page is sent to sign in and comes back; who calls an interface is told 401.
 */
#include <nexus/oidc.h>

#include "base/codec.h"
#include "base/status.h"
#include "gateway/auth/authenticator.h"
#include "http/cookie.h"

static nexus_status open_oidc(nexus_gateway *g, const nexus__gw_route_conf *route)
{
    if (g->opts.oidc)
        return NEXUS_OK;
    return nexus__fail(NEXUS_ENOTSUP, "route %s takes oidc, but this gateway was opened without a provider",
                       route->id.p);
}

static const char *or_default(const char *text, const char *initial)
{
    return text ? text : initial;
}

/* --- the cookie ------------------------------------------------------------------------------------------------------ */

static void keep_others(nexus__buf *out, nexus_slice list, nexus_slice name)
{
    while (list.n > 0) {
        nexus_slice pair = nexus__slice_trim(nexus__slice_cut(&list, ';')), rest = pair;
        if (pair.n == 0 || nexus__slice_eq(nexus__slice_cut(&rest, '='), name))
            continue;
        nexus__buf_text(out, out->len ? "; " : "");
        nexus__buf_slice_append(out, pair);
    }
}

/* The session is between the browser and us: whoever is behind us could use it elsewhere. False: out of memory. */
static bool hide_cookie(nexus__call *call, nexus_slice name)
{
    const nexus__http_head *head = nexus__exchange_head(call->request);
    nexus__buf others;
    nexus__buf_init(&others, call->view->home->gateway->alloc, 0);
    for (uint32_t i = 0; i < head->field_count; i++)
        if (head->fields[i].id == NEXUS__HTTP_COOKIE)
            keep_others(&others, nexus__http_field_value(&head->fields[i], nexus__exchange_base(call->request)), name);
    bool fine =
        others.status == NEXUS_OK &&
        nexus__call_add_field(call, NEXUS_S("Cookie"), others.len ? nexus__buf_slice(&others) : (nexus_slice){0});
    nexus__buf_free(&others);
    return fine;
}

/* --- who has none ------------------------------------------------------------------------------------------------------ */

static bool wants_page(const nexus__call *call)
{
    nexus_slice method, accept;
    nexus_request_method(call->request, &method);
    return (nexus__slice_eq_c(method, "GET") || nexus__slice_eq_c(method, "HEAD")) &&
           nexus_request_header(call->request, "accept", &accept) &&
           nexus__slice_search(accept, NEXUS_S("text/html")) < accept.n;
}

/* LOGIN?return_to=TARGET in the request's memory; NULL: out of memory. */
static const char *login_of(const nexus__call *call)
{
    nexus_slice target;
    nexus__buf text;
    nexus_request_target(call->request, &target);
    nexus__buf_init(&text, call->view->home->gateway->alloc, 16384);
    nexus__buf_text(&text, or_default(call->view->home->gateway->opts.oidc_login, "/.nexus/login"));
    nexus__buf_text(&text, "?return_to=");
    nexus__percent_append(&text, target);
    char *copy = text.status == NEXUS_OK ? nexus_request_alloc(call->request, text.len + 1) : NULL;
    if (copy) {
        memcpy(copy, text.p, text.len);
        copy[text.len] = 0;
    }
    nexus__buf_free(&text);
    return copy;
}

static nexus__auth_answer send_to_login(nexus__call *call, const nexus__gw_refusal **refusal)
{
    nexus__gw_refusal *made = nexus_request_alloc(call->request, sizeof *made);
    const char *location = made ? login_of(call) : NULL;
    if (!location)
        return NEXUS__AUTH_FAILED;
    *made = (nexus__gw_refusal){302, "login-required", "Sign in to see this.", NULL, location};
    *refusal = made;
    return NEXUS__AUTH_NONE;
}

static nexus__auth_answer ask(nexus__call *call, nexus_principal **principal, const nexus__gw_refusal **refusal)
{
    const nexus_gateway *g = call->view->home->gateway;
    nexus_slice name = nexus__slice_c(or_default(g->opts.oidc_cookie, "__Host-nexus_login"));
    nexus_slice cookie = {0}; /* the first: an attacker who can set a second one cannot make one that opens */
    (void)nexus__cookie_in_head(nexus__exchange_head(call->request), nexus__exchange_base(call->request), name, &cookie);
    nexus_status status = cookie.n ? nexus_oidc_session(g->opts.oidc, cookie, principal) : NEXUS_EAUTH;
    if (status == NEXUS_OK && hide_cookie(call, name))
        return NEXUS__AUTH_YES;
    if (status == NEXUS_OK) {
        nexus_principal_free(*principal);
        *principal = NULL;
        return NEXUS__AUTH_FAILED;
    }
    if (status != NEXUS_EAUTH)
        return NEXUS__AUTH_FAILED;
    return wants_page(call) ? send_to_login(call, refusal) : NEXUS__AUTH_NONE;
}

const nexus__gw_authenticator nexus__gw_auth_oidc = {
    .name = "oidc",
    .identifies = true,
    .open = open_oidc,
    .ask = ask,
};
