/* Tokens to principals: the key set, the cache of tokens seen, what was revoked. */
#include <nexus/verifier.h>

#include "auth/jwks.h"
#include "auth/revocation.h"
#include "auth/token_cache.h"
#include "auth/verifier_private.h"
#include "base/status.h"

#define LIFETIME_MAX_S (86400 + 120) /* of a token (nexus_jwt_rules.max_lifetime_s), and the skew */

struct nexus_verifier {
    const nexus_alloc *alloc;
    char *issuer, *audience;
    uint32_t skew_s;
    nexus__jwks *jwks;
    nexus__token_cache *cache;
    nexus__revocations revoked;
};

void nexus_verifier_opts_init(nexus_verifier_opts *opts)
{
    *opts = (nexus_verifier_opts)NEXUS_VERIFIER_OPTS_INIT;
}

const char *nexus__verifier_issuer(const nexus_verifier *v)
{
    return v->issuer;
}

static nexus_status open_parts(nexus_verifier *v, const nexus_verifier_opts *opts)
{
    v->alloc = opts->alloc;
    v->skew_s = opts->skew_s ? opts->skew_s : 30;
    nexus__revocations_init(&v->revoked, opts->alloc);
    v->issuer = nexus__strndup(opts->alloc, nexus__slice_c(opts->issuer));
    v->audience = nexus__strndup(opts->alloc, nexus__slice_c(opts->audience ? opts->audience : "nexus"));
    if (!v->issuer || !v->audience)
        return nexus__nomem();
    nexus_status status = nexus__token_cache_new(&v->cache, opts->alloc, opts->cache_tokens ? opts->cache_tokens : 8192);
    return status == NEXUS_OK ? nexus__jwks_open(&v->jwks, opts) : status;
}

nexus_status nexus_verifier_open(nexus_verifier **out, const nexus_verifier_opts *opts)
{
    if (!opts || opts->size != sizeof *opts || !opts->issuer || !*opts->issuer)
        return nexus__fail(NEXUS_EINVAL, "nexus_verifier_opts: size and issuer are required");
    if (opts->skew_s > 120 && opts->skew_s != NEXUS_JWT_NO_SKEW)
        return nexus__fail(NEXUS_EINVAL, "skew_s is at most 120");
    nexus_verifier *v = nexus__calloc(opts->alloc, 1, sizeof *v);
    if (!v)
        return nexus__nomem();
    nexus_status status = open_parts(v, opts);
    if (status != NEXUS_OK) {
        nexus_verifier_close(v);
        return status;
    }
    (void)nexus__jwks_has_keys(v->jwks); /* begins the first fetch */
    *out = v;
    return NEXUS_OK;
}

/* What time and revocation say of a token whose signature is known to be good. */
static nexus_status still_good(nexus_verifier *v, const nexus_principal *p, int64_t now_s)
{
    int64_t skew = v->skew_s == NEXUS_JWT_NO_SKEW ? 0 : v->skew_s;
    if (now_s >= p->expires_s + skew)
        return nexus__fail(NEXUS_EAUTH, "token refused: it has expired");
    if (nexus__revocations_match(&v->revoked, p))
        return nexus__fail(NEXUS_EAUTH, "token refused: it was revoked");
    return NEXUS_OK;
}

static nexus_status verify_new(nexus_verifier *v, const nexus__shared_keys *keys, nexus_slice token, int64_t now_s,
                               nexus_principal **out)
{
    nexus_jwt_rules rules = NEXUS_JWT_RULES_INIT;
    rules.issuer = v->issuer;
    rules.audience = v->audience;
    rules.skew_s = v->skew_s;
    rules.now_s = now_s;
    nexus_claims *claims;
    nexus_status status = nexus_jwt_verify(keys->set, token.p, token.n, &rules, &claims);
    if (status == NEXUS_ENOTFOUND)
        return nexus__jwks_unknown_kid(v->jwks, token) ? NEXUS_EAGAIN : NEXUS_EAUTH;
    if (status != NEXUS_OK)
        return status;
    status = nexus__principal_new(out, v->alloc, claims, token);
    if (status != NEXUS_OK) {
        nexus_claims_free(claims);
        return status;
    }
    (*out)->generation = keys->generation;
    nexus__token_cache_put(v->cache, *out);
    return NEXUS_OK;
}

nexus_status nexus_verifier_check(nexus_verifier *v, const char *token, size_t n, nexus_principal **out)
{
    return nexus_verifier_check_bound(v, token, n, NULL, out);
}

nexus_status nexus_verifier_check_bound(nexus_verifier *v, const char *token, size_t n, const uint8_t *cert_sha256,
                                        nexus_principal **out)
{
    nexus__shared_keys *keys = nexus__jwks_keys(v->jwks);
    if (!keys)
        return nexus__fail(NEXUS_EAGAIN, "the issuer's keys are not there yet");
    int64_t now_s = nexus__jwks_now_ns(v->jwks) / NEXUS__NS_PER_S;
    nexus_slice text = nexus__slice(token, n);
    nexus_principal *p = nexus__token_cache_get(v->cache, text, keys->generation);
    nexus_status status = p ? NEXUS_OK : verify_new(v, keys, text, now_s, &p);
    nexus__shared_keys_free(keys);
    if (status == NEXUS_OK)
        status = still_good(v, p, now_s);
    if (status == NEXUS_OK)
        status = nexus__confirmation_check(&p->confirmation, cert_sha256);
    if (status == NEXUS_OK)
        *out = p;
    else
        nexus_principal_free(p);
    return status;
}

nexus_status nexus_verifier_wait_async(nexus_verifier *v, nexus_verifier_fn *done, void *user_data)
{
    return nexus__jwks_wait(v->jwks, done, user_data);
}

nexus_status nexus_verifier_refresh(nexus_verifier *v)
{
    return nexus__jwks_refresh(v->jwks);
}

nexus_status nexus_verifier_use(nexus_verifier *v, const char *jwks, size_t n)
{
    return nexus__jwks_use(v->jwks, nexus__slice(jwks, n));
}

bool nexus_verifier_ready(const nexus_verifier *v)
{
    return nexus__jwks_has_keys(v->jwks);
}

static nexus_status revoke(nexus_verifier *v, nexus__revoked_kind kind, nexus_slice name, int64_t until_s, int64_t before_s)
{
    int64_t now_s = nexus__jwks_now_ns(v->jwks) / NEXUS__NS_PER_S;
    return nexus__revocations_add(&v->revoked, kind, name, until_s ? until_s : now_s + LIFETIME_MAX_S, before_s, now_s);
}

nexus_status nexus_verifier_revoke_token(nexus_verifier *v, nexus_slice jti, int64_t expires_s)
{
    return revoke(v, NEXUS__REVOKED_TOKEN, jti, expires_s + 120, INT64_MAX);
}

nexus_status nexus_verifier_revoke_subject(nexus_verifier *v, nexus_slice subject, int64_t issued_before_s)
{
    return revoke(v, NEXUS__REVOKED_SUBJECT, subject, issued_before_s + LIFETIME_MAX_S, issued_before_s);
}

nexus_status nexus_verifier_revoke_session(nexus_verifier *v, nexus_slice sid)
{
    return revoke(v, NEXUS__REVOKED_SESSION, sid, 0, INT64_MAX);
}

nexus_status nexus_verifier_revoke_client(nexus_verifier *v, nexus_slice client_id)
{
    return revoke(v, NEXUS__REVOKED_CLIENT, client_id, 0, INT64_MAX);
}

void nexus_verifier_close(nexus_verifier *v)
{
    if (!v)
        return;
    nexus__jwks_close(v->jwks);
    nexus__token_cache_free(v->cache);
    nexus__revocations_free(&v->revoked);
    nexus__free(v->alloc, v->issuer);
    nexus__free(v->alloc, v->audience);
    nexus__free(v->alloc, v);
}
