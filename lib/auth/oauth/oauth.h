/* Shared by the files that implement nexus/oauth.h. */
#ifndef NEXUS_AUTH_OAUTH_OAUTH_H
#define NEXUS_AUTH_OAUTH_OAUTH_H

#include <nexus/oauth.h>

#include "auth/auth_private.h"
#include "auth/jwks.h"
#include "auth/oauth/form.h"
#include "json/write.h"

struct nexus_oauth {
    const nexus_alloc *alloc;
    nexus_auth *auth;
    char *base_url;
    uint32_t code_ttl_s, client_ttl_s;
    char *mtls_url;             /* NULL = none */
    struct nexus__trust *trust; /* of clients' certificates; NULL = nobody vouches for any */
    nexus__jwks *keys; /* our own, to verify what we signed */
    pthread_mutex_t lock;
    struct {
        int64_t keys_due_ns;
    } locked;
};

struct nexus_oauth_answer {
    uint32_t kind, retry_after;
    uint16_t status;
    const char *challenge; /* static */
    char text[256];
    nexus__buf body, location;
};

/* --- answers -------------------------------------------------------------------------------------------------------- */

nexus_status nexus__oauth_answer_new(nexus_oauth_answer **out, uint32_t kind, uint16_t status);
/* {"error":…,"error_description":…} with the status that belongs to it. */
nexus_status nexus__oauth_refuse(nexus_oauth_answer **out, const char *error, const char *description);
/* *out, unless its buffers failed. */
nexus_status nexus__oauth_answer_check(nexus_oauth_answer **out, nexus_oauth_answer *answer);

/* --- client.c ------------------------------------------------------------------------------------------------------- */

/* A client as stored: slices of one row, NUL-terminated. Lists are parted by one space, redirect URIs by a newline. */
typedef struct nexus__oauth_client {
    nexus_rows *rows;
    nexus_slice id, name, method, secret, previous, jwks, redirect_uris, grants, scopes, roles;
    nexus_slice tls_name, certs; /* certificate.h */
    int64_t previous_until, created_at;
    bool first_party, resource_server;
    bool cert_bound; /* its access tokens are good with its certificate alone */
} nexus__oauth_client;

/* NEXUS_ENOTFOUND. Free with nexus__oauth_client_end. */
nexus_status nexus__oauth_client_load(nexus__oauth_client *out, nexus_db *db, nexus_slice id);
void nexus__oauth_client_end(nexus__oauth_client *client);
/* As JSON, with its secret unless NULL. */
nexus_status nexus__oauth_client_show(nexus_oauth *oauth, nexus_slice id, const char *secret, char **json, size_t *n);
/* client.created, client.rotated, client.deleted */
nexus_status nexus__oauth_client_tell(nexus_oauth *oauth, nexus_db *tx, const char *type, const char *id);

/* --- caller.c: who calls an endpoint ---------------------------------------------------------------------------------- */

/*
 * The client that the call proves to be from. NEXUS_OK with *refusal NULL: *client is it (end it); with a refusal: it is
 * the answer. With public_too false, clients that prove nothing are refused.
 */
nexus_status nexus__oauth_caller(nexus_oauth *oauth, const nexus_oauth_call *call, const nexus__oauth_form *form,
                                 bool public_too, nexus__oauth_client *client, nexus_oauth_answer **refusal);

/* --- claims.c: tokens -------------------------------------------------------------------------------------------------- */

/* What a token is made of. user NULL: the client speaks for itself. */
typedef struct nexus__oauth_grant {
    const nexus__oauth_client *client;
    const nexus_user *user;
    nexus_slice scope, nonce;
    const char *family; /* NULL: none */
    int64_t auth_time_s;
    uint32_t ttl_s;
    const char *refresh_token; /* NULL: none */
    const char *cert;          /* x5t#S256 that the access token is bound to; NULL: to none */
} nexus__oauth_grant;

/* Signs and writes the token answer. */
nexus_status nexus__oauth_grant_answer(nexus_oauth *oauth, const nexus__oauth_grant *grant, nexus_oauth_answer **out);

/* A token of ours that verifies and was not revoked; whoever it is for. NEXUS_EAUTH. Free *claims. */
nexus_status nexus__oauth_verify(nexus_oauth *oauth, nexus_slice token, nexus_claims **claims);
/* The subject of a token, when it may still act; *user NULL: a client's own token. NEXUS_EAUTH. */
nexus_status nexus__oauth_subject(nexus_oauth *oauth, const nexus_claims *claims, nexus_user **user);

/* Members that the granted scopes show of a person. */
void nexus__oauth_person(nexus__json_writer *w, const nexus_user *user, nexus_slice scope);

/* --- the rest ------------------------------------------------------------------------------------------------------------ */

/* token.c: the family of an authorization code that came twice, of a revoked token. */
nexus_status nexus__oauth_end_family(nexus_oauth *oauth, nexus_db *tx, const char *family, const char *reason);
/* BASE64URL(SHA-256(text)), whole or its left half. */
nexus_status nexus__oauth_digest(nexus_slice text, bool half, char out[static NEXUS__HASH_TEXT]);

static inline int64_t nexus__oauth_now_s(const nexus_oauth *oauth)
{
    return nexus__auth_now_ns(oauth->auth) / NEXUS__NS_PER_S;
}

#endif
