/*
 * Who is calling? Access tokens checked against the keys an issuer publishes (JWKS by URL, cached) or a given
 * set, with a bounded memory of tokens seen. Once warm a check never blocks, so loops may call it; a token
 * seen before costs a look-up, and its expiry and revocation are still checked.
 */
#ifndef NEXUS_VERIFIER_H
#define NEXUS_VERIFIER_H

#include <nexus/jwt.h>

#ifdef __cplusplus
extern "C" {
#endif

struct nexus_client;

/** A verified caller. Immutable, reference counted; any thread. */
typedef struct nexus_principal nexus_principal;

NEXUS_API void nexus_principal_subject(const nexus_principal *principal, nexus_slice *out);
NEXUS_API void nexus_principal_tenant(const nexus_principal *principal, nexus_slice *out);   /**< "" without */
NEXUS_API void nexus_principal_token_id(const nexus_principal *principal, nexus_slice *out); /**< jti, or "" */
NEXUS_API int64_t nexus_principal_expires_s(const nexus_principal *principal);
/** Role names; borrowed. */
NEXUS_API const nexus_slice *nexus_principal_roles(const nexus_principal *principal, size_t *count);
NEXUS_API bool nexus_principal_has_role(const nexus_principal *principal, const char *role);
NEXUS_API const nexus_claims *nexus_principal_claims(const nexus_principal *principal); /**< borrowed;
                                                                                       NULL: it stands for no token */
NEXUS_API nexus_principal *nexus_principal_ref(const nexus_principal *principal);       /**< one more to free */
NEXUS_API void nexus_principal_free(nexus_principal *principal);                        /**< NULL is fine */

typedef struct nexus_verifier nexus_verifier;

typedef struct nexus_verifier_opts {
    size_t size;
    const nexus_alloc *alloc;           /**< NULL = the C library's */
    const char *issuer;                 /**< required; copied */
    const char *audience;               /**< NULL = "nexus"; copied */
    const char *jwks_url;               /**< https unless loopback; copied. Needs client */
    struct nexus_client *client;        /**< borrowed until close */
    const nexus_keyset *keys;           /**< instead of jwks_url: borrowed until close */
    uint32_t skew_s;                    /**< as nexus_jwt_rules */
    uint32_t cache_tokens;              /**< tokens remembered; 0 = 8192 */
    uint32_t ttl_s;                     /**< of the key set when the reply has no max-age; 0 = 600 */
    int64_t (*now_fn)(void *user_data); /**< nanoseconds since 1970; NULL = the system clock */
    void *user_data;
} nexus_verifier_opts;

#define NEXUS_VERIFIER_OPTS_INIT NEXUS_SIZED(nexus_verifier_opts)
NEXUS_API void nexus_verifier_opts_init(nexus_verifier_opts *opts);

/** Makes the verifier; keys are fetched in the background. Close with nexus_verifier_close. */
NEXUS_API nexus_status nexus_verifier_open(nexus_verifier **out, const nexus_verifier_opts *opts) NEXUS_MUST_CHECK;

/**
 * Checks a token (the text after "Bearer "). Never blocks. NEXUS_EAUTH: refused, 401. NEXUS_EAGAIN: the keys
 * to decide are being fetched; wait with nexus_verifier_wait_async, or answer 503. Free *out with
 * nexus_principal_free.
 */
NEXUS_API nexus_status nexus_verifier_check(nexus_verifier *verifier, const char *token, size_t n,
                                            nexus_principal **out) NEXUS_MUST_CHECK;
/**
 * The same for a caller who proved to have the key of a certificate: the token may then be bound to it (`cnf` with
 * `x5t#S256`, RFC 8705). nexus_verifier_check refuses every token that is bound to something.
 * @param cert_sha256  SHA-256 of the certificate's DER, 32 bytes (nexus_client_cert.sha256); NULL = it has none
 */
NEXUS_API nexus_status nexus_verifier_check_bound(nexus_verifier *verifier, const char *token, size_t n,
                                                  const uint8_t *cert_sha256, nexus_principal **out) NEXUS_MUST_CHECK;

/** Called once with the outcome of a fetch (NEXUS_OK: keys are there), on a thread of the client. */
typedef void nexus_verifier_fn(nexus_status status, void *user_data);

/** Calls back when the fetch under way, or one begun now, ends: then check again. NEXUS_EDONE: it has ended already and
 * none is due, so check again at once; done is not called. */
NEXUS_API nexus_status nexus_verifier_wait_async(nexus_verifier *verifier, nexus_verifier_fn *done,
                                                 void *user_data) NEXUS_MUST_CHECK;

/** Fetches the keys now. Blocks: NEXUS_EDEADLK on a loop thread. */
NEXUS_API nexus_status nexus_verifier_refresh(nexus_verifier *verifier) NEXUS_MUST_CHECK;

/**
 * Takes these keys (a JWK Set) from now on: for the process that issues the tokens itself, and opened its verifier with
 * neither jwks_url nor keys. Never blocks. NEXUS_EINVAL: no key set, or keys come from elsewhere.
 */
NEXUS_API nexus_status nexus_verifier_use(nexus_verifier *verifier, const char *jwks, size_t n) NEXUS_MUST_CHECK;

/** Whether keys are there, so that checks can be decided: readiness. */
NEXUS_API bool nexus_verifier_ready(const nexus_verifier *verifier);

/** Refuses one token (by jti) until it expires. */
NEXUS_API nexus_status nexus_verifier_revoke_token(nexus_verifier *verifier, nexus_slice jti,
                                                   int64_t expires_s) NEXUS_MUST_CHECK;
/** Refuses every token of a subject that was issued before issued_before_s. */
NEXUS_API nexus_status nexus_verifier_revoke_subject(nexus_verifier *verifier, nexus_slice subject,
                                                     int64_t issued_before_s) NEXUS_MUST_CHECK;

/** Refuses every token of a session (by sid), for good. */
NEXUS_API nexus_status nexus_verifier_revoke_session(nexus_verifier *verifier, nexus_slice sid) NEXUS_MUST_CHECK;
/** Refuses every token that was issued to a client (by client_id), for good. */
NEXUS_API nexus_status nexus_verifier_revoke_client(nexus_verifier *verifier, nexus_slice client_id) NEXUS_MUST_CHECK;

NEXUS_API void nexus_verifier_close(nexus_verifier *verifier); /**< a fetch under way ends unheard; NULL is fine */

#ifdef __cplusplus
}
#endif

#endif
