/*
 * OAuth 2.0 and OpenID Connect on a nexus_auth: an authorization server that knows no HTTP. It takes what a request
 * carried, as text, and hands over what to answer; whoever serves HTTP writes it down and shows the pages.
 *
 * Grants: authorization code with PKCE (S256, all clients), client credentials, refresh token. There is no implicit
 * grant and no password grant (RFC 9700). Every grant asks the same gate as a login does, at redemption.
 *
 * Calls block (SQL): worker threads only. Every handle call is usable from any thread.
 */
#ifndef NEXUS_OAUTH_H
#define NEXUS_OAUTH_H

#include <nexus/alloc.h>
#include <nexus/common.h>
#include <nexus/status.h>

#ifdef __cplusplus
extern "C" {
#endif

struct nexus_auth;
typedef struct nexus_oauth nexus_oauth;

typedef struct nexus_oauth_opts {
    size_t size;
    const nexus_alloc *alloc; /**< NULL = the C library's */
    const char *base_url;     /**< under which the endpoints are published; NULL = the issuer of auth; copied */
    uint32_t code_ttl_s;      /**< of an authorization code; 0 = 60 */
    uint32_t client_ttl_s;    /**< of an access token by client credentials; 0 = 600 */
    const char *client_ca_file;  /**< PEM: authorities of clients that use tls_client_auth (RFC 8705); read at the opening;
                                      NULL = there are no such clients */
    const char *client_crl_file; /**< PEM: what they have revoked, a current list for each authority; NULL = not checked */
    const char *mtls_url;        /**< under which the endpoints ask for certificates, when that is another than base_url:
                                      mtls_endpoint_aliases of the metadata; copied; NULL = there are no aliases */
} nexus_oauth_opts;

#define NEXUS_OAUTH_OPTS_INIT NEXUS_SIZED(nexus_oauth_opts)
NEXUS_API void nexus_oauth_opts_init(nexus_oauth_opts *opts);

/** auth is borrowed until close; it has made the tables. opts may be NULL. Close with nexus_oauth_close. */
NEXUS_API nexus_status nexus_oauth_open(nexus_oauth **out, struct nexus_auth *auth,
                                        const nexus_oauth_opts *opts) NEXUS_MUST_CHECK;
NEXUS_API void nexus_oauth_close(nexus_oauth *oauth); /**< NULL is fine */

/** Forgets what is over (codes, one-time ids, revoked tokens); call it now and then. */
NEXUS_API nexus_status nexus_oauth_expire(nexus_oauth *oauth) NEXUS_MUST_CHECK;

/* --- clients ------------------------------------------------------------------------------------------------------ */

/**
 * Registers a client from its metadata, in the words of RFC 7591:
 *
 *     {"client_name":"Shop","redirect_uris":["https://shop.example/cb"],
 *      "grant_types":["authorization_code","refresh_token"],"scope":"openid profile orders:read",
 *      "token_endpoint_auth_method":"client_secret_basic"}
 *
 * client_name is required. grant_types: authorization_code (the default), refresh_token, client_credentials.
 * token_endpoint_auth_method: client_secret_basic (the default), private_key_jwt (needs "jwks"), none (a public client),
 * tls_client_auth (needs one of tls_client_auth_subject_dn, …_san_dns, …_san_uri, …_san_ip, …_san_email),
 * self_signed_tls_client_auth (needs "jwks" with x5c: RFC 8705). tls_client_certificate_bound_access_tokens (true: access
 * tokens are good with the certificate alone that the client used to get them).
 * Of our own: "first_party" (true: people are not asked for consent), "resource_server" (true: may introspect tokens of
 * every client), "roles" (what its client-credentials tokens carry under the scope "api").
 *
 * *json: the client as nexus_oauth_client gives it and, for client_secret_basic, "client_secret", which is shown this
 * once: only its hash is kept. NEXUS_EINVAL names the member. Free *json with nexus_free.
 */
NEXUS_API nexus_status nexus_oauth_client_add(nexus_oauth *oauth, nexus_slice metadata, char **json,
                                              size_t *n) NEXUS_MUST_CHECK;
/** One client as JSON. NEXUS_ENOTFOUND. Free *json with nexus_free. */
NEXUS_API nexus_status nexus_oauth_client(nexus_oauth *oauth, nexus_slice id, char **json, size_t *n) NEXUS_MUST_CHECK;
/** {"items":[…],"next_cursor":…}, oldest first; cursor empty = from the first, limit 0 = 50, at most 200. Free *json
 * with nexus_free. */
NEXUS_API nexus_status nexus_oauth_clients(nexus_oauth *oauth, nexus_slice cursor, uint32_t limit, char **json,
                                           size_t *n) NEXUS_MUST_CHECK;
/**
 * Makes another secret; the one before is good for overlap_s more (0 = a day, UINT32_MAX = it ends now). The answer is
 * that of nexus_oauth_client_add. NEXUS_ENOTFOUND; NEXUS_EINVAL: this client has no secret.
 */
NEXUS_API nexus_status nexus_oauth_client_rotate(nexus_oauth *oauth, nexus_slice id, uint32_t overlap_s, char **json,
                                                 size_t *n) NEXUS_MUST_CHECK;
/** Removes it and revokes all of its tokens. NEXUS_ENOTFOUND. */
NEXUS_API nexus_status nexus_oauth_client_delete(nexus_oauth *oauth, nexus_slice id) NEXUS_MUST_CHECK;

/* --- requests and answers ----------------------------------------------------------------------------------------- */

/** What a request to one of the endpoints carried. Everything is borrowed for the call. */
typedef struct nexus_oauth_call {
    size_t size;
    nexus_slice form;          /**< the body, application/x-www-form-urlencoded, as received */
    nexus_slice authorization; /**< value of the Authorization field; empty = none */
    nexus_slice address;       /**< of who calls, for the back-off of wrong secrets; empty = nobody in particular */
    nexus_slice client_cert;   /**< DER of the certificate whose key the caller has proved to have (nexus_client_cert);
                                    empty = none */
    const nexus_slice *client_cert_chain; /**< DER of those that were sent beside it */
    size_t client_cert_chain_count;
} nexus_oauth_call;

#define NEXUS_OAUTH_CALL_INIT NEXUS_SIZED(nexus_oauth_call)
NEXUS_API void nexus_oauth_call_init(nexus_oauth_call *call);

/** What comes next for somebody at the authorization endpoint. */
enum {
    NEXUS_OAUTH_REPLY = 0,    /**< of the other endpoints: send status and body */
    NEXUS_OAUTH_REDIRECT = 1, /**< send the browser to the location (303) */
    NEXUS_OAUTH_PAGE = 2,     /**< show an error page with the text: there is nobody to redirect to */
    NEXUS_OAUTH_LOGIN = 3,    /**< let the person sign in, then ask again */
    NEXUS_OAUTH_CONSENT = 4   /**< ask the person what the body says, then ask again with the decision */
};

/** What to answer. Free with nexus_oauth_answer_free, which wipes it. What the getters give is borrowed from it. */
typedef struct nexus_oauth_answer nexus_oauth_answer;
NEXUS_API uint32_t nexus_oauth_answer_kind(const nexus_oauth_answer *answer);   /**< NEXUS_OAUTH_… */
NEXUS_API uint16_t nexus_oauth_answer_status(const nexus_oauth_answer *answer); /**< HTTP status */
/** JSON, never to be cached; empty = no body. CONSENT: {"client":{"id","name"},"scopes":[…]}. */
NEXUS_API void nexus_oauth_answer_body(const nexus_oauth_answer *answer, nexus_slice *out);
NEXUS_API const char *nexus_oauth_answer_challenge(const nexus_oauth_answer *answer); /**< WWW-Authenticate; "" = none */
NEXUS_API const char *nexus_oauth_answer_location(const nexus_oauth_answer *answer);  /**< of REDIRECT; "" else */
NEXUS_API const char *nexus_oauth_answer_text(const nexus_oauth_answer *answer);      /**< of PAGE: what is wrong */
NEXUS_API uint32_t nexus_oauth_answer_retry_after(const nexus_oauth_answer *answer);  /**< seconds; 0 = none */
NEXUS_API void nexus_oauth_answer_free(nexus_oauth_answer *answer);                   /**< NULL is fine */

/* Each gives an answer for whatever was sent; a status other than NEXUS_OK means that none could be made now (the
 * database, memory). */

/** POST on the token endpoint (RFC 6749, 7523, 7636; OpenID Connect Core, 3.1.3). */
NEXUS_API nexus_status nexus_oauth_token(nexus_oauth *oauth, const nexus_oauth_call *call,
                                         nexus_oauth_answer **out) NEXUS_MUST_CHECK;
/** POST on the revocation endpoint (RFC 7009): 200 whatever the token, if the client is who it says. */
NEXUS_API nexus_status nexus_oauth_revoke(nexus_oauth *oauth, const nexus_oauth_call *call,
                                          nexus_oauth_answer **out) NEXUS_MUST_CHECK;
/** POST on the introspection endpoint (RFC 7662): {"active":false} for unknown, ended and other clients' tokens. */
NEXUS_API nexus_status nexus_oauth_introspect(nexus_oauth *oauth, const nexus_oauth_call *call,
                                              nexus_oauth_answer **out) NEXUS_MUST_CHECK;
/** The userinfo endpoint (OpenID Connect Core, 5.3); the token stands in call->authorization. */
NEXUS_API nexus_status nexus_oauth_userinfo(nexus_oauth *oauth, const nexus_oauth_call *call,
                                            nexus_oauth_answer **out) NEXUS_MUST_CHECK;

/* --- the authorization endpoint ------------------------------------------------------------------------------------ */

enum { NEXUS_OAUTH_UNDECIDED = 0, NEXUS_OAUTH_ALLOW = 1, NEXUS_OAUTH_DENY = 2 };

/** Somebody's browser at the authorization endpoint. Everything is borrowed for the call. */
typedef struct nexus_oauth_visit {
    size_t size;
    nexus_slice query;   /**< of the authorization request, as received; kept through login and consent pages */
    nexus_slice session; /**< of who is signed in in this browser (nexus_login_session); empty = nobody, or user_id */
    nexus_slice user_id; /**< the same for who keeps sessions itself; empty = nobody */
    int64_t signed_in_s; /**< goes with user_id: since when, in seconds since 1970 */
    uint32_t decision;   /**< NEXUS_OAUTH_…: what the person said on the consent page */
} nexus_oauth_visit;

#define NEXUS_OAUTH_VISIT_INIT NEXUS_SIZED(nexus_oauth_visit)
NEXUS_API void nexus_oauth_visit_init(nexus_oauth_visit *visit);

/**
 * Judges the request anew at every step, so that nothing need be remembered between the pages: an error page, a redirect
 * with an error, LOGIN, CONSENT, or at last a redirect with a code. A wrong client or redirect_uri is a page, never a
 * redirect. Responses carry "iss" (RFC 9207).
 */
NEXUS_API nexus_status nexus_oauth_authorize(nexus_oauth *oauth, const nexus_oauth_visit *visit,
                                             nexus_oauth_answer **out) NEXUS_MUST_CHECK;

/* --- metadata -------------------------------------------------------------------------------------------------------- */

/**
 * The document of /.well-known/openid-configuration and /.well-known/oauth-authorization-server (OpenID Connect
 * Discovery, RFC 8414): the same text for both. Free *json with nexus_free.
 */
NEXUS_API nexus_status nexus_oauth_metadata(nexus_oauth *oauth, char **json, size_t *n) NEXUS_MUST_CHECK;
/** The document of /.well-known/oauth-protected-resource (RFC 9728) for what verifies our tokens. Free with nexus_free. */
NEXUS_API nexus_status nexus_oauth_resource_metadata(nexus_oauth *oauth, char **json, size_t *n) NEXUS_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
