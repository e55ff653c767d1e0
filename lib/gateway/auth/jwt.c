/* Bearer tokens (RFC 6750, RFC 9068), checked by the gateway's verifier. */
#include <sched.h>

#include "base/status.h"
#include "gateway/auth/authenticator.h"

static const nexus__gw_refusal bad_token = {401, "invalid-token", "The token is wrong, expired or revoked.",
                                            "Bearer error=\"invalid_token\""};
static const nexus__gw_refusal two_tokens = {400, "invalid-request", "Send one token, in the Authorization field.",
                                             "Bearer error=\"invalid_request\""};
static const nexus__gw_refusal url_token = {401, "token-in-url",
                                            "A token in the URL ends up in logs; send it in the Authorization field.",
                                            "Bearer error=\"invalid_request\""};
static const nexus__gw_refusal no_keys = {503, "keys-unavailable",
                                          "The keys to check tokens with are not there yet; try again.", NULL};

static nexus_status open_verifier(nexus_gateway *g, const nexus__gw_route_conf *route)
{
    if (g->opts.verifier)
        return NEXUS_OK;
    return nexus__fail(NEXUS_ENOTSUP, "route %s takes a jwt, but this gateway was opened without a verifier",
                       route->id.p);
}

/* --- what was sent ----------------------------------------------------------------------------------------------- */

static uint32_t count_fields(const nexus__http_head *head, enum nexus__http_name id)
{
    uint32_t n = 0;
    for (uint32_t i = head->first[id] ? head->first[id] - 1u : head->field_count; i < head->field_count; i++)
        n += head->fields[i].id == id;
    return n;
}

/* Whether a list of "name=value" parted by sep has one named access_token (RFC 6750, 2.3). */
static bool has_token(nexus_slice list, char sep)
{
    static const nexus_slice name = {"access_token=", 13};
    while (list.n > 0)
        if (nexus__slice_starts(nexus__slice_trim(nexus__slice_cut(&list, sep)), name))
            return true;
    return false;
}

static bool cookie_has_token(const nexus__http_head *head, const char *base)
{
    for (uint32_t i = head->first[NEXUS__HTTP_COOKIE] ? 0 : head->field_count; i < head->field_count; i++)
        if (head->fields[i].id == NEXUS__HTTP_COOKIE && has_token(nexus__http_field_value(&head->fields[i], base), ';'))
            return true;
    return false;
}

/* The bearer token, or empty; *refusal when what was sent must not be used. */
nexus_slice nexus__gw_bearer(nexus_request *request, const nexus__gw_refusal **refusal)
{
    const nexus__http_head *head = nexus__exchange_head(request);
    nexus_slice value = {0}, query, scheme = NEXUS_S("Bearer "), token = {0};
    (void)nexus_request_header(request, "authorization", &value);
    if (value.n > scheme.n && nexus__slice_ieq(nexus__slice(value.p, scheme.n), scheme))
        token = nexus__slice_trim(nexus__slice_from(value, scheme.n));
    nexus_request_query(request, &query);
    bool in_url = query.n > 0 && has_token(query, '&');
    uint32_t sent = count_fields(head, NEXUS__HTTP_AUTHORIZATION) + in_url;
    if (sent > 0 && (sent > 1 || cookie_has_token(head, nexus__exchange_base(request))))
        *refusal = &two_tokens;
    else if (in_url)
        *refusal = &url_token;
    return token;
}

/* --- keys that are not there yet ----------------------------------------------------------------------------------- */

static void keys_are_there(void *user_data)
{
    nexus__call *call = user_data;
    if (nexus__call_woken(call))
        nexus__auth_ask_again(call);
}

/* On the client's thread. */
static void on_keys(nexus_status status, void *user_data)
{
    nexus__call *call = user_data;
    (void)status;
    while (nexus_loop_post(call->view->home->loop, keys_are_there, call) == NEXUS_EAGAIN)
        sched_yield();
}

/* LATER, YES: look again now, or FAILED. */
static nexus__auth_answer wait_for_keys(nexus__call *call)
{
    if (call->auth->waited) /* keys that did not come are no reason to wait again */
        return NEXUS__AUTH_FAILED;
    call->auth->waited = true;
    nexus__call_wait(call);
    nexus_status status = nexus_verifier_wait_async(call->view->home->gateway->opts.verifier, on_keys, call);
    if (status == NEXUS_OK)
        return NEXUS__AUTH_LATER;
    call->waiting = false;
    return status == NEXUS_EDONE ? NEXUS__AUTH_YES : NEXUS__AUTH_FAILED;
}

/* --- asking -------------------------------------------------------------------------------------------------------- */

static nexus__auth_answer ask(nexus__call *call, nexus_principal **principal, const nexus__gw_refusal **refusal)
{
    nexus_slice token = nexus__gw_bearer(call->request, refusal);
    if (*refusal)
        return NEXUS__AUTH_BAD;
    if (token.n == 0)
        return NEXUS__AUTH_NONE;
    const uint8_t *sha256 = nexus__gw_cert_sha256(call->request);
    nexus_verifier *verifier = call->view->home->gateway->opts.verifier;
    nexus_status status = nexus_verifier_check_bound(verifier, token.p, token.n, sha256, principal);
    nexus__auth_answer waiting = status == NEXUS_EAGAIN ? wait_for_keys(call) : NEXUS__AUTH_YES;
    if (status == NEXUS_EAGAIN && waiting == NEXUS__AUTH_YES)
        status = nexus_verifier_check_bound(verifier, token.p, token.n, sha256, principal);
    if (waiting == NEXUS__AUTH_LATER)
        return waiting;
    *refusal = status == NEXUS_EAGAIN ? &no_keys : status ? &bad_token : NULL;
    return status == NEXUS_EAGAIN ? NEXUS__AUTH_FAILED : status ? NEXUS__AUTH_BAD : NEXUS__AUTH_YES;
}

const nexus__gw_authenticator nexus__gw_auth_jwt = {
    .name = "jwt",
    .challenge = "Bearer",
    .identifies = true,
    .open = open_verifier,
    .ask = ask,
};
