/* HTTP Message Signatures (RFC 9421) with keys that the gateway knows; each passes once. */
#include "auth/http_signature.h"
#include "auth/principal.h"
#include "base/status.h"
#include "base/time.h"
#include "gateway/auth/authenticator.h"
#include "gateway/auth/nonces.h"
#include "gateway/body.h"

enum { NONCE_MAX = 256, NONCES = 65536 };

static const nexus__gw_refusal malformed = {400, "invalid-signature-fields",
                                            "Send one signature of RFC 9421, in Signature-Input and Signature.", NULL, NULL};
static const nexus__gw_refusal bad = {
    401, "invalid-signature",
    "The signature is wrong or too old, or does not cover @method, @target-uri and, with a body, content-digest; it needs "
    "keyid, created and a nonce.",
    "Signature", NULL};
static const nexus__gw_refusal wrong_digest = {401, "invalid-digest", "Content-Digest is not the digest of the body.",
                                               "Signature", NULL};
static const nexus__gw_refusal replayed = {401, "replayed", "The nonce was used before; sign each request anew.", "Signature",
                                           NULL};
static const nexus__gw_refusal busy = {503, "signatures-unavailable", "Signatures cannot be checked now; try again.", NULL,
                                       NULL};

/* Loads come one at a time, and a route is served only after its load. */
static nexus_status open_keys(nexus_gateway *g, const nexus__gw_route_conf *route)
{
    if (!g->opts.signature_keys)
        return nexus__fail(NEXUS_ENOTSUP, "route %s takes a signature, but this gateway was opened without keys for them",
                           route->id.p);
    return g->nonces ? NEXUS_OK : nexus__nonces_new(&g->nonces, NONCES, g->alloc);
}

/* --- the request as its signer saw it ------------------------------------------------------------------------------- */

static bool field_at(const void *user_data, nexus_slice name, uint32_t i, nexus_slice *value)
{
    nexus_pair field;
    for (size_t k = 0; nexus_request_header_at(user_data, k, &field); k++)
        if (nexus__slice_ieq(field.name, name) && i-- == 0) {
            *value = field.value;
            return true;
        }
    return false;
}

/* Lower case, without the scheme's own port (RFC 9421, 2.2.3). */
static nexus_slice authority_of(nexus_request *request, bool tls)
{
    nexus_slice host, port = tls ? NEXUS_S(":443") : NEXUS_S(":80");
    nexus_request_host(request, &host);
    char *lower = host.n ? nexus_request_alloc(request, host.n) : NULL;
    for (size_t i = 0; lower && i < host.n; i++)
        lower[i] = nexus__ascii_lower(host.p[i]);
    host = nexus__slice(lower, lower ? host.n : 0);
    return nexus__slice_ends(host, port) ? nexus__slice(host.p, host.n - port.n) : host;
}

static nexus__signed_request request_of(nexus__call *call)
{
    nexus_request *request = call->request;
    bool tls = nexus_request_is_tls(request);
    nexus__signed_request r = {.field = field_at, .user_data = request};
    const nexus__http_head *head = nexus__exchange_head(request);
    nexus_request_method(request, &r.method);
    nexus_request_target(request, &r.target);
    r.scheme = tls ? NEXUS_S("https") : NEXUS_S("http");
    r.authority = authority_of(request, tls);
    size_t mark = nexus__slice_find(r.target, '?');
    r.path = nexus__slice(r.target.p, mark);
    r.query = mark < r.target.n ? nexus__slice_from(r.target, mark) : NEXUS_S("?");
    r.has_body = head->framing == NEXUS__HTTP_LENGTH_CHUNKED || head->framing == NEXUS__HTTP_LENGTH_CLOSE ||
                 (head->framing == NEXUS__HTTP_LENGTH_FIXED && head->length > 0);
    return r;
}

/* --- asking --------------------------------------------------------------------------------------------------------- */

/* The only line of the field. */
static bool only(const nexus_request *request, nexus_slice name, nexus_slice *value)
{
    nexus_slice another;
    return field_at(request, name, 0, value) && !field_at(request, name, 1, &another);
}

static nexus_status verify(nexus_gateway *g, const nexus__http_signature *s, const nexus__signed_request *request,
                           int64_t now_s)
{
    nexus__buf base;
    nexus_status status = nexus__http_signature_covers(s, request, now_s);
    const nexus_key *key = status ? NULL : nexus_keyset_find(g->opts.signature_keys, s->keyid);
    if (!key)
        return status ? status : nexus__fail(NEXUS_EAUTH, "the signature's key is unknown");
    nexus__buf_init(&base, g->traffic_alloc, NEXUS__SIGNED_BASE_MAX);
    status = nexus__http_signature_base(s, request, &base);
    if (!status)
        status = nexus__http_signature_verify(s, key->pkey, nexus__buf_slice(&base));
    nexus__buf_free(&base);
    return status;
}

/* The digest's one line may be signed as one only: two would be two readings. */
static bool has_digest(const nexus__call *call)
{
    nexus_slice value;
    return only(call->request, NEXUS_S("content-digest"), &value) && nexus__content_digest_is(value, call->body);
}

static nexus__auth_answer admit(nexus_gateway *g, const nexus__http_signature *s, int64_t now_s, nexus_principal **principal,
                                const nexus__gw_refusal **refusal)
{
    nexus_status status = nexus__nonces_use(g->nonces, s->keyid, s->nonce, s->created_s + NEXUS__SIGNED_TIME_S, now_s);
    if (!status)
        status = nexus__principal_named(principal, g->alloc, s->keyid);
    if (!status)
        return NEXUS__AUTH_YES;
    *refusal = status == NEXUS_ECONFLICT ? &replayed : &busy;
    return status == NEXUS_ECONFLICT ? NEXUS__AUTH_BAD : NEXUS__AUTH_FAILED;
}

static nexus__auth_answer ask(nexus__call *call, nexus_principal **principal, const nexus__gw_refusal **refusal)
{
    nexus_gateway *g = call->view->home->gateway;
    nexus_slice input, signature;
    nexus__http_signature s;
    bool has_input = field_at(call->request, NEXUS_S("signature-input"), 0, &input);
    if (!has_input && !field_at(call->request, NEXUS_S("signature"), 0, &signature))
        return NEXUS__AUTH_NONE;
    *refusal = &malformed;
    if (!only(call->request, NEXUS_S("signature-input"), &input) || !only(call->request, NEXUS_S("signature"), &signature) ||
        nexus__http_signature_parse(&s, input, signature) != NEXUS_OK || s.nonce.n > NONCE_MAX)
        return NEXUS__AUTH_BAD;
    nexus__signed_request request = request_of(call);
    int64_t now_s = nexus__real_ns() / NEXUS__NS_PER_S;
    nexus_status status = verify(g, &s, &request, now_s);
    *refusal = status == NEXUS_ENOMEM ? &busy : &bad;
    if (status)
        return status == NEXUS_ENOMEM ? NEXUS__AUTH_FAILED : NEXUS__AUTH_BAD;
    *refusal = NULL;
    if (request.has_body && nexus__call_collect(call) != NEXUS__GW_NEXT)
        return NEXUS__AUTH_LATER; /* the filter `auth` is called again, or the call is over */
    if (request.has_body && !has_digest(call)) {
        *refusal = &wrong_digest;
        return NEXUS__AUTH_BAD;
    }
    return admit(g, &s, now_s, principal, refusal);
}

const nexus__gw_authenticator nexus__gw_auth_signature = {
    .name = "signature",
    .challenge = "Signature",
    .identifies = true,
    .open = open_keys,
    .ask = ask,
};
