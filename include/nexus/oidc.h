/*
 * Login with an OpenID Connect provider: the relying party. Authorization code with PKCE, nonce, state and iss; what is
 * remembered between the steps and afterwards stands in encrypted cookies, so that any process with the same key file
 * can go on. Knows no HTTP serving: it gives locations and cookie values, and takes queries and cookie values.
 *
 *     nexus_oidc_begin(rp, return_to, &location, &state);            // set the cookie, redirect
 *     nexus_oidc_finish(rp, query, state, &session, &return_to);     // at redirect_uri: set the cookie, redirect
 *     nexus_oidc_session(rp, session, &principal);                   // at every request
 */
#ifndef NEXUS_OIDC_H
#define NEXUS_OIDC_H

#include <nexus/verifier.h>

#ifdef __cplusplus
extern "C" {
#endif

struct nexus_secret;
struct nexus_secrets;
typedef struct nexus_oidc nexus_oidc;

typedef struct nexus_oidc_opts {
    size_t size;
    const nexus_alloc *alloc;    /**< NULL = the C library's */
    struct nexus_client *client; /**< required; borrowed until close */
    const char *issuer;          /**< of the provider, https unless loopback; required; copied */
    const char *client_id;       /**< required; copied */
    const struct nexus_secret *client_secret; /**< used at each login, so it may be set anew; NULL = a public client;
                                                   borrowed until close */
    const char *redirect_uri;    /**< where the provider sends people back; required; copied */
    const char *scope;           /**< NULL = "openid profile email"; copied */
    const char *roles_claim;     /**< claim of the ID token whose texts are roles here; NULL = nobody has any; copied */
    const char *key_file;        /**< seals the cookies, made when missing (nexus_secrets_open); required without secrets */
    const struct nexus_secrets *secrets; /**< seals them instead; borrowed until close; NULL = key_file */
    uint32_t session_s;          /**< a session ends after so long; 0 = 8 hours */
    int64_t (*now_fn)(void *user_data); /**< nanoseconds since 1970; NULL = the system clock */
    void *user_data;
} nexus_oidc_opts;

#define NEXUS_OIDC_OPTS_INIT NEXUS_SIZED(nexus_oidc_opts)
NEXUS_API void nexus_oidc_opts_init(nexus_oidc_opts *opts);

/** Nothing is fetched yet. NEXUS_EINVAL names the option. Close with nexus_oidc_close. */
NEXUS_API nexus_status nexus_oidc_open(nexus_oidc **out, const nexus_oidc_opts *opts) NEXUS_MUST_CHECK;
NEXUS_API void nexus_oidc_close(nexus_oidc *oidc); /**< NULL is fine */

/**
 * Begins a login. return_to: a path of ours where it will lead, "/" for any other text. *location: the provider's page;
 * *state: a cookie value, good for ten minutes and one login. Blocks when the provider's metadata must be fetched. Free
 * both with nexus_free. NEXUS_EUNREACH, NEXUS_EPROTO: the provider.
 */
NEXUS_API nexus_status nexus_oidc_begin(nexus_oidc *oidc, nexus_slice return_to, char **location,
                                        char **state) NEXUS_MUST_CHECK;

/**
 * Ends a login with what the provider sent to redirect_uri (its query) and the cookie of the beginning: state, iss (RFC
 * 9207), code, ID token, nonce and at_hash must all fit. *session: a cookie value; *return_to: the path. Blocks. Free
 * both with nexus_free. NEXUS_EAUTH: the login is aborted, and why stands in the message; begin again.
 */
NEXUS_API nexus_status nexus_oidc_finish(nexus_oidc *oidc, nexus_slice query, nexus_slice state, char **session,
                                         char **return_to) NEXUS_MUST_CHECK;

/** Whose session it is: claims iss, sub, sid, name, email, roles, iat, exp. Never blocks. NEXUS_EAUTH: it is over, ended,
 * or not ours. Free *out with nexus_principal_free. */
NEXUS_API nexus_status nexus_oidc_session(nexus_oidc *oidc, nexus_slice session, nexus_principal **out) NEXUS_MUST_CHECK;

/**
 * Takes a logout token that the provider sends by itself (OpenID Connect Back-Channel Logout 1.0): the sessions it names
 * end. form: the body as received. In this process; others have to be told by the provider, too. Blocks when keys must
 * be fetched. NEXUS_EAUTH: not such a token.
 */
NEXUS_API nexus_status nexus_oidc_logout(nexus_oidc *oidc, nexus_slice form) NEXUS_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
