/* API keys (nexus/apikey.h): X-API-Key, or Authorization with the scheme ApiKey. Upstream does not get them. */
#include <nexus/apikey.h>
#include <sched.h>

#include "base/status.h"
#include "gateway/auth/authenticator.h"

static const nexus__gw_refusal bad_key = {401, "invalid-key", "The API key is wrong, expired or revoked.", "ApiKey"};
static const nexus__gw_refusal two_keys = {400, "invalid-request", "Send one API key, in X-API-Key.", "ApiKey"};
static const nexus__gw_refusal url_key = {
    401, "key-in-url", "A key in the URL ends up in logs; revoke it and send another in X-API-Key.", "ApiKey"};
static const nexus__gw_refusal other_address = {403, "address-refused", "The API key is not for your address.", NULL};
static const nexus__gw_refusal unknown = {503, "keys-unavailable", "API keys cannot be checked now; try again.", NULL};

static nexus_status open_verifier(nexus_gateway *g, const nexus__gw_route_conf *route)
{
    if (g->opts.apikeys)
        return NEXUS_OK;
    return nexus__fail(NEXUS_ENOTSUP,
                       "route %s takes an api_key, but this gateway was opened without a verifier of them", route->id.p);
}

/* --- what was sent ------------------------------------------------------------------------------------------------- */

/* By the name of a parameter, or by the look of any value. */
static bool is_in_url(nexus_request *request)
{
    static const char *const names[] = {"api_key", "apikey", "api-key", "x-api-key"};
    nexus_slice query;
    nexus_request_query(request, &query);
    while (query.n > 0) {
        nexus_slice value = nexus__slice_cut(&query, '&'), name = nexus__slice_cut(&value, '=');
        if (nexus__slice_starts(value, NEXUS_S("nexus_live_")))
            return true;
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
            if (nexus__slice_ieq(name, nexus__slice_c(names[i])))
                return true;
    }
    return false;
}

/* How many keys there are; *key is the last, which alone means something when there is one. */
static uint32_t find_keys(const nexus_request *request, nexus_slice *key, bool *in_authorization)
{
    static const nexus_slice scheme = {"ApiKey ", 7};
    nexus_pair field;
    uint32_t count = 0;
    for (size_t i = 0; nexus_request_header_at(request, i, &field); i++) {
        bool own = nexus__slice_ieq(field.name, NEXUS_S("x-api-key"));
        bool authorization = !own && nexus__slice_ieq(field.name, NEXUS_S("authorization")) &&
                             field.value.n > scheme.n && nexus__slice_ieq(nexus__slice(field.value.p, scheme.n), scheme);
        if (!own && !authorization)
            continue;
        *key = nexus__slice_trim(authorization ? nexus__slice_from(field.value, scheme.n) : field.value);
        *in_authorization = authorization;
        count++;
    }
    return count;
}

/* --- what is said of it -------------------------------------------------------------------------------------------- */

static nexus__auth_answer answer_of(nexus_status status, const nexus__gw_refusal **refusal)
{
    if (status == NEXUS_OK)
        return NEXUS__AUTH_YES;
    *refusal = status == NEXUS_EAUTH ? &bad_key : status == NEXUS_EPERM ? &other_address : &unknown;
    return *refusal == &unknown ? NEXUS__AUTH_FAILED : NEXUS__AUTH_BAD;
}

/* An answer on its way from another thread to the loop. Lives in the request's memory, which outlasts the waiting. */
typedef struct answer {
    nexus__call *call;
    nexus_status status;
    nexus_principal *principal;
} answer;

static void told(void *user_data)
{
    answer a = *(answer *)user_data;
    const nexus__gw_refusal *refusal = NULL;
    if (!nexus__call_woken(a.call)) {
        nexus_principal_free(a.principal);
        return;
    }
    nexus__auth_answer what = answer_of(a.status, &refusal);
    nexus__auth_answered(a.call, what, a.principal, refusal);
}

/* On a worker or the client's thread. */
static void on_known(nexus_status status, nexus_principal *principal, void *user_data)
{
    answer *a = user_data;
    a->status = status;
    a->principal = principal;
    while (nexus_loop_post(a->call->view->home->loop, told, a) == NEXUS_EAGAIN)
        sched_yield();
}

/* LATER, or FAILED. */
static nexus__auth_answer wait_for(nexus__call *call, nexus_slice key, nexus_slice ip, const nexus__gw_refusal **refusal)
{
    answer *a = nexus_request_alloc(call->request, sizeof *a);
    if (!a)
        return answer_of(NEXUS_ENOMEM, refusal);
    a->call = call;
    nexus__call_wait(call);
    nexus_status status =
        nexus_apikey_verifier_wait_async(call->view->home->gateway->opts.apikeys, key.p, key.n, ip, on_known, a);
    if (status == NEXUS_OK)
        return NEXUS__AUTH_LATER;
    call->waiting = false;
    return answer_of(status, refusal);
}

static nexus__auth_answer ask(nexus__call *call, nexus_principal **principal, const nexus__gw_refusal **refusal)
{
    nexus_slice key = {0}, ip;
    bool in_authorization = false, in_url = is_in_url(call->request);
    uint32_t count = find_keys(call->request, &key, &in_authorization);
    if (!in_url && count == 0)
        return NEXUS__AUTH_NONE;
    *refusal = in_url ? &url_key : count > 1 ? &two_keys : NULL;
    if (*refusal)
        return NEXUS__AUTH_BAD;
    if (!nexus__call_add_field(call, in_authorization ? NEXUS_S("Authorization") : NEXUS_S("X-API-Key"),
                               (nexus_slice){0}))
        return answer_of(NEXUS_ENOMEM, refusal);
    nexus_request_remote_ip(call->request, &ip);
    nexus_status status =
        nexus_apikey_verifier_check(call->view->home->gateway->opts.apikeys, key.p, key.n, ip, principal);
    return status == NEXUS_EAGAIN ? wait_for(call, key, ip, refusal) : answer_of(status, refusal);
}

const nexus__gw_authenticator nexus__gw_auth_api_key = {
    .name = "api_key",
    .challenge = "ApiKey",
    .identifies = true,
    .open = open_verifier,
    .ask = ask,
};
