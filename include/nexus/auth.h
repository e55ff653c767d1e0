/*
 * People and their tokens on a nexus_db: registration, login (argon2id), ES256 access tokens, rotating
 * refresh tokens with reuse detection, password reset, roles, the first administrator. Knows no HTTP.
 *
 * Calls block (SQL, password hashing): worker threads only. Every handle call is usable from any thread.
 */
#ifndef NEXUS_AUTH_H
#define NEXUS_AUTH_H

#include <nexus/alloc.h>
#include <nexus/common.h>
#include <nexus/status.h>

#ifdef __cplusplus
extern "C" {
#endif

struct nexus_db;
struct nexus_keyset;
typedef struct nexus_auth nexus_auth;

/**
 * Told of user.registered, user.login, user.logout and user.password_reset inside the transaction that makes
 * it true, so that an outbox record can be written with it; data is a JSON object. A status other than
 * NEXUS_OK rolls back and is the call's result.
 */
typedef nexus_status nexus_auth_event_fn(struct nexus_db *tx, const char *type, nexus_slice subject, nexus_slice data,
                                         void *user_data);

typedef struct nexus_auth_opts {
    size_t size;
    const nexus_alloc *alloc;           /**< NULL = the C library's */
    const char *issuer;                 /**< required; copied */
    const char *audience;               /**< NULL = "nexus"; copied */
    const char *key_dir;                /**< directory of the key file that seals signing keys; required; copied */
    uint32_t access_ttl_s;              /**< 0 = 600 */
    uint32_t refresh_idle_s;            /**< 0 = 14 days */
    uint32_t refresh_absolute_s;        /**< 0 = 90 days */
    uint32_t refresh_grace_s;           /**< a second use within it gets the same successor; 0 = 10 */
    uint32_t reset_ttl_s;               /**< of a password reset token; 0 = 900 */
    uint32_t bootstrap_ttl_s;           /**< of the first administrator's token; 0 = 900 */
    uint32_t hash_memory_kib;           /**< argon2id m; 0 = 19456; tests may lower it, never under 8 */
    uint32_t hash_parallel;             /**< hashes at once; 0 = number of cores */
    uint32_t hash_queue;                /**< callers waiting for one; 0 = 64; beyond it NEXUS_ELIMIT */
    nexus_auth_event_fn *event_fn;      /**< may be NULL */
    int64_t (*now_fn)(void *user_data); /**< nanoseconds since 1970; NULL = the system clock */
    void *user_data;                    /**< of event_fn and now_fn */
} nexus_auth_opts;

#define NEXUS_AUTH_OPTS_INIT NEXUS_SIZED(nexus_auth_opts)
NEXUS_API void nexus_auth_opts_init(nexus_auth_opts *opts);

/** Migrates the schema, loads or makes the signing key. db is borrowed until close. Close with
 * nexus_auth_close. */
NEXUS_API nexus_status nexus_auth_open(nexus_auth **out, struct nexus_db *db,
                                       const nexus_auth_opts *opts) NEXUS_MUST_CHECK;
NEXUS_API void nexus_auth_close(nexus_auth *auth); /**< NULL is fine */

/* --- people ------------------------------------------------------------------------------------------------------- */

/** A user as stored. Free with nexus_user_free. What the getters give is borrowed from it and NUL-terminated.
 */
typedef struct nexus_user nexus_user;
NEXUS_API const char *nexus_user_id(const nexus_user *user);
NEXUS_API const char *nexus_user_email(const nexus_user *user);
NEXUS_API const char *nexus_user_name(const nexus_user *user);
NEXUS_API size_t nexus_user_role_count(const nexus_user *user);
NEXUS_API const char *nexus_user_role(const nexus_user *user, size_t index); /**< NULL past the end */
NEXUS_API void nexus_user_free(nexus_user *user);                            /**< NULL is fine */

/**
 * A new customer. Address: one @, at most 254 bytes, stored as given and unique without regard to ASCII case.
 * Password: 8 to 1024 bytes of UTF-8 without NUL, not one of the most common. NEXUS_EINVAL: a member is not
 * valid, the message begins with its name ("email: …", "password: …", "name: …"); NEXUS_ECONFLICT: the
 * address is taken; NEXUS_ELIMIT: too many hashes waiting, try again.
 */
NEXUS_API nexus_status nexus_auth_register(nexus_auth *auth, nexus_slice email, nexus_slice password, nexus_slice name,
                                           nexus_user **out) NEXUS_MUST_CHECK;

NEXUS_API nexus_status nexus_auth_user(nexus_auth *auth, nexus_slice id, nexus_user **out) NEXUS_MUST_CHECK;
NEXUS_API nexus_status nexus_auth_user_by_email(nexus_auth *auth, nexus_slice email, nexus_user **out) NEXUS_MUST_CHECK;

/** Gives or takes a role: customer, operator, admin. NEXUS_EINVAL: no such role; NEXUS_ENOTFOUND: no such
 * user. */
NEXUS_API nexus_status nexus_auth_set_role(nexus_auth *auth, nexus_slice user_id, const char *role,
                                           bool held) NEXUS_MUST_CHECK;
/** A disabled user gets no token; what he has is revoked at the next refresh. */
NEXUS_API nexus_status nexus_auth_set_disabled(nexus_auth *auth, nexus_slice user_id, bool disabled) NEXUS_MUST_CHECK;

/* --- tokens ------------------------------------------------------------------------------------------------------- */

/** An access token and a refresh token. Free with nexus_grant_free, which wipes them. */
typedef struct nexus_grant nexus_grant;
NEXUS_API const char *nexus_grant_access_token(const nexus_grant *grant);
NEXUS_API const char *nexus_grant_refresh_token(const nexus_grant *grant);
NEXUS_API uint32_t nexus_grant_expires_in(const nexus_grant *grant); /**< seconds */
NEXUS_API const char *nexus_grant_user_id(const nexus_grant *grant);
NEXUS_API void nexus_grant_free(nexus_grant *grant); /**< NULL is fine */

/**
 * NEXUS_EAUTH: unknown address, wrong password or a disabled user, indistinguishable by time and text;
 * NEXUS_ELIMIT: too many wrong ones for this address (nexus_auth_retry_after) or too many hashes waiting.
 */
NEXUS_API nexus_status nexus_auth_login(nexus_auth *auth, nexus_slice email, nexus_slice password,
                                        nexus_grant **out) NEXUS_MUST_CHECK;

/** Seconds until a login for the address is tried again; 0 = now. */
NEXUS_API uint32_t nexus_auth_retry_after(nexus_auth *auth, nexus_slice email);

/**
 * Trades a refresh token for its successor. Within the grace a second use gets the same successor; later use
 * of a spent token revokes the whole family. NEXUS_EAUTH: unknown, expired, revoked or reused.
 */
NEXUS_API nexus_status nexus_auth_refresh(nexus_auth *auth, nexus_slice refresh_token,
                                          nexus_grant **out) NEXUS_MUST_CHECK;

/** Revokes the family of a refresh token; an unknown token is fine. */
NEXUS_API nexus_status nexus_auth_logout(nexus_auth *auth, nexus_slice refresh_token) NEXUS_MUST_CHECK;

/**
 * Makes a reset token (15 minutes, one use, void once the password changes). NEXUS_ENOTFOUND: unknown
 * address, which the caller must not show. Free *token with nexus_free.
 */
NEXUS_API nexus_status nexus_auth_reset_begin(nexus_auth *auth, nexus_slice email, char **token,
                                              nexus_user **user) NEXUS_MUST_CHECK;
/** Sets the password and revokes every refresh token. NEXUS_EAUTH: not a live reset token; NEXUS_EINVAL: the
 * password. */
NEXUS_API nexus_status nexus_auth_reset_confirm(nexus_auth *auth, nexus_slice token,
                                                nexus_slice password) NEXUS_MUST_CHECK;

/* --- the first administrator -------------------------------------------------------------------------------------- */

/** Makes a one-time token that allows nexus_auth_bootstrap; an earlier one is void. Free *token with
 * nexus_free. */
NEXUS_API nexus_status nexus_auth_bootstrap_token(nexus_auth *auth, char **token) NEXUS_MUST_CHECK;
/** Whether there is an administrator already. */
NEXUS_API nexus_status nexus_auth_has_admin(nexus_auth *auth, bool *out) NEXUS_MUST_CHECK;
/** Registers an administrator; the token is spent. NEXUS_EAUTH: not a live token; otherwise as
 * nexus_auth_register. */
NEXUS_API nexus_status nexus_auth_bootstrap(nexus_auth *auth, nexus_slice token, nexus_slice email,
                                            nexus_slice password, nexus_slice name, nexus_user **out) NEXUS_MUST_CHECK;

/* --- keys --------------------------------------------------------------------------------------------------------- */

/** The published keys, {"keys":[…]}, and their entity tag (quoted). Free both with nexus_free; etag may be
 * NULL. */
NEXUS_API nexus_status nexus_auth_jwks(nexus_auth *auth, char **json, size_t *n, char **etag) NEXUS_MUST_CHECK;
/** The same as a key set of its own, for a verifier in the same process. Free with nexus_keyset_free. */
NEXUS_API nexus_status nexus_auth_keyset(nexus_auth *auth, struct nexus_keyset **out) NEXUS_MUST_CHECK;
/**
 * Moves the key life cycle on as far as the clock says (pending, active 90 days, retired, deleted); call it
 * now and then. With emergency set a new key becomes active at once and the old one is no longer published.
 */
NEXUS_API nexus_status nexus_auth_rotate(nexus_auth *auth, bool emergency) NEXUS_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
