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
struct nexus_limiter;
struct nexus_secret;
struct nexus_secrets;
typedef struct nexus_auth nexus_auth;

/**
 * Told of user.registered, user.login, user.logout, user.password_reset, user.verification, user.changed (by an
 * administrator), role.changed, auth.revoked, token.issued (each grant: user_id, client_id, grant), key.created, key.activated
 * and key.deleted (signing keys) inside the transaction that makes it true, so that an outbox record can be written with it;
 * data is a JSON object. auth.revoked says which access tokens are void, {"kind":"subject"|"session",
 * "id","issued_before"}, to whoever verifies them. tx is NULL in token.issued of a grant that writes nothing (client
 * credentials, a session's token). A status other than NEXUS_OK rolls back and is the call's result.
 */
typedef nexus_status nexus_auth_event_fn(struct nexus_db *tx, const char *type, nexus_slice subject, nexus_slice data,
                                         void *user_data);

typedef struct nexus_auth_opts {
    size_t size;
    const nexus_alloc *alloc;           /**< NULL = the C library's */
    const char *issuer;                 /**< required; copied */
    const char *audience;               /**< NULL = "nexus"; copied */
    const char *key_dir;                /**< directory of the key file that seals signing keys; required without secrets;
                                             copied */
    struct nexus_secrets *secrets;      /**< seals them instead; borrowed until close; NULL = key_dir/secrets.key */
    uint32_t access_ttl_s;              /**< 0 = 600 */
    uint32_t refresh_idle_s;            /**< 0 = 14 days */
    uint32_t refresh_absolute_s;        /**< 0 = 90 days */
    uint32_t refresh_grace_s;           /**< a second use within it gets the same successor; 0 = 10 */
    uint32_t reset_ttl_s;               /**< of a password reset token; 0 = 900 */
    uint32_t bootstrap_ttl_s;           /**< of the first administrator's token; 0 = 900 */
    uint32_t hash_memory_kib;           /**< argon2id m; 0 = 19456; tests may lower it, never under 8 */
    uint32_t hash_parallel;             /**< hashes at once; 0 = number of cores */
    uint32_t hash_queue;                /**< callers waiting for one; 0 = 64; beyond it NEXUS_ELIMIT */
    uint32_t session_idle_s;            /**< a session that rests so long is over; 0 = 1800 */
    uint32_t session_absolute_s;        /**< and one that is so old; 0 = 43200 */
    uint32_t address_failures;          /**< wrong guesses from one client address in ten minutes, four times as many from
                                             an IPv6 /64; 0 = 50; NEXUS_AUTH_UNLIMITED = not counted */
    const struct nexus_secrets *event_secrets; /**< seals the tokens that events carry for mails: "sealed_token" under the
                                             context "mail/<user_id>"; borrowed until close; NULL = "token", in clear */
    const struct nexus_secret *pepper;  /**< at least 16 secret bytes that passwords are mixed with before they are hashed,
                                             kept apart from the database; whoever loses them loses all passwords; older
                                             hashes go on and are made again at the next login; NULL = none; borrowed for the call */
    uint32_t hash_budget_kib;           /**< memory of all hashes at once, which bounds hash_parallel; 0 = no bound of its own */
    const char *breach_file;            /**< passwords nobody may choose: "SHA1HEX:COUNT" a line, sorted, as Have I Been
                                             Pwned publishes them; searched where it lies; NULL = none */
    struct nexus_limiter *limiter;      /**< counts them; borrowed until close; NULL = one of its own */
    nexus_auth_event_fn *event_fn;      /**< may be NULL */
    int64_t (*now_fn)(void *user_data); /**< nanoseconds since 1970; NULL = the system clock */
    void *user_data;                    /**< of event_fn and now_fn */
} nexus_auth_opts;

#define NEXUS_AUTH_UNLIMITED 0xffffffffu
#define NEXUS_AUTH_OPTS_INIT NEXUS_SIZED(nexus_auth_opts)
NEXUS_API void nexus_auth_opts_init(nexus_auth_opts *opts);

/** Migrates the schema, loads or makes the signing key. db is borrowed until close. Close with
 * nexus_auth_close. */
NEXUS_API nexus_status nexus_auth_open(nexus_auth **out, struct nexus_db *db,
                                       const nexus_auth_opts *opts) NEXUS_MUST_CHECK;
NEXUS_API void nexus_auth_close(nexus_auth *auth); /**< NULL is fine */

/** Forgets refresh tokens that are over, up to 500 families at a time; call it now and then. */
NEXUS_API nexus_status nexus_auth_expire(nexus_auth *auth) NEXUS_MUST_CHECK;

/* --- people ------------------------------------------------------------------------------------------------------- */

/** A user as stored. Free with nexus_user_free. What the getters give is borrowed from it and NUL-terminated.
 */
typedef struct nexus_user nexus_user;
NEXUS_API const char *nexus_user_id(const nexus_user *user);
NEXUS_API const char *nexus_user_email(const nexus_user *user);
NEXUS_API const char *nexus_user_name(const nexus_user *user);
NEXUS_API size_t nexus_user_role_count(const nexus_user *user);
NEXUS_API const char *nexus_user_role(const nexus_user *user, size_t index); /**< NULL past the end */
/** "active", "unverified", "password-reset", "locked", "disabled" or "deleted": only the first gets tokens. */
NEXUS_API const char *nexus_user_state(const nexus_user *user);
NEXUS_API void nexus_user_free(nexus_user *user); /**< NULL is fine */

/**
 * A new customer. Address: one @, at most 254 bytes, stored as given and unique without regard to ASCII case.
 * Password: 8 to 1024 bytes of UTF-8 without NUL, not one of the 10,000 most common, taken as it comes: not cut, not
 * normalised. NEXUS_EINVAL: a member is not
 * valid, the message begins with its name ("email: …", "password: …", "name: …"); NEXUS_ECONFLICT: the
 * address is taken; NEXUS_ELIMIT: too many hashes waiting, try again.
 */
NEXUS_API nexus_status nexus_auth_register(nexus_auth *auth, nexus_slice email, nexus_slice password, nexus_slice name,
                                           nexus_user **out) NEXUS_MUST_CHECK;

/**
 * A registration whose address has to be confirmed: the event user.verification asks for a mail with a token (stage
 * "requested") or one that says there is an account (stage "exists"), three to an address at once and one more each five
 * minutes. The result is the same for every address. It takes longer for a new one: answer before the call, and check
 * before you answer. Statuses of nexus_auth_register but NEXUS_ECONFLICT.
 */
NEXUS_API nexus_status nexus_auth_register_unverified(nexus_auth *auth, nexus_slice email, nexus_slice password,
                                                      nexus_slice name) NEXUS_MUST_CHECK;
/** Whether they would be taken, without doing it; NEXUS_EINVAL names the member. */
NEXUS_API nexus_status nexus_auth_check_registration(nexus_auth *auth, nexus_slice email, nexus_slice password,
                                                     nexus_slice name) NEXUS_MUST_CHECK;
/** Another mail; the token before is void. NEXUS_ENOTFOUND: nobody to be confirmed, or too many mails, which the caller
 * must not show. */
NEXUS_API nexus_status nexus_auth_verify_resend(nexus_auth *auth, nexus_slice email) NEXUS_MUST_CHECK;
/** Confirms the address of a token (15 minutes, one use); now the user is registered. NEXUS_EAUTH: not a live token. */
NEXUS_API nexus_status nexus_auth_verify(nexus_auth *auth, nexus_slice token) NEXUS_MUST_CHECK;

NEXUS_API nexus_status nexus_auth_user(nexus_auth *auth, nexus_slice id, nexus_user **out) NEXUS_MUST_CHECK;
NEXUS_API nexus_status nexus_auth_user_by_email(nexus_auth *auth, nexus_slice email, nexus_user **out) NEXUS_MUST_CHECK;

/** Gives or takes a role of all tenants: customer, operator, admin, or one of one's own (roles.h). NEXUS_EINVAL: no such role;
 * NEXUS_ENOTFOUND: no such user. */
NEXUS_API nexus_status nexus_auth_set_role(nexus_auth *auth, nexus_slice user_id, const char *role,
                                           bool held) NEXUS_MUST_CHECK;
/** A disabled user gets no token, and what he has is void: nexus_auth_change_user with "disable" or "enable". */
NEXUS_API nexus_status nexus_auth_set_disabled(nexus_auth *auth, nexus_slice user_id, bool disabled) NEXUS_MUST_CHECK;

/**
 * Changes an account as an administrator does. "disable", "lock", "require-reset", "delete", "drop-second-factor" and
 * "sign-out" void every refresh token, session and access token of the user (auth.revoked); "enable", "unlock" (which
 * forgets wrong guesses, too) and "verify" let the user in again. A deleted account keeps its id only: address and name
 * are gone, and the address is free. NEXUS_EINVAL: no such change; NEXUS_ENOTFOUND: no such user.
 */
NEXUS_API nexus_status nexus_auth_change_user(nexus_auth *auth, nexus_slice user_id,
                                              const char *change) NEXUS_MUST_CHECK;

typedef struct nexus_user_filter {
    size_t size;
    nexus_slice email;  /**< exactly this address, without regard to ASCII case; empty = any */
    nexus_slice state;  /**< as nexus_user_state; empty = all but deleted */
    nexus_slice cursor; /**< next_cursor of the page before; empty = from the newest */
    uint32_t limit;     /**< users of a page; 0 = 20 */
} nexus_user_filter;

#define NEXUS_USER_FILTER_INIT NEXUS_SIZED(nexus_user_filter)
NEXUS_API void nexus_user_filter_init(nexus_user_filter *filter);

/** {"items":[{id,email,name,state,roles,created_at}],"next_cursor"}, newest first. filter NULL = all. Free *json with
 * nexus_free. */
NEXUS_API nexus_status nexus_auth_users(nexus_auth *auth, const nexus_user_filter *filter, char **json,
                                        size_t *n) NEXUS_MUST_CHECK;
/** One of those items. NEXUS_ENOTFOUND. Free *json with nexus_free. */
NEXUS_API nexus_status nexus_auth_user_json(nexus_auth *auth, nexus_slice id, char **json, size_t *n) NEXUS_MUST_CHECK;

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

/** Where a call comes from, as far as the server knows. Slices are borrowed for the call. */
typedef struct nexus_auth_client {
    size_t size;
    nexus_slice address; /**< "192.0.2.1", "2001:db8::1"; empty or loopback: its wrong guesses are not counted */
    nexus_slice agent;   /**< shown in the list of sessions; its first 200 printable bytes are kept */
    nexus_slice device;  /**< what nexus_login_device gave this client at an earlier login; empty = nothing */
    bool session;        /**< the login ends in a session instead of a refresh token */
} nexus_auth_client;

#define NEXUS_AUTH_CLIENT_INIT NEXUS_SIZED(nexus_auth_client)
NEXUS_API void nexus_auth_client_init(nexus_auth_client *client);

/** What a login came to. Free with nexus_login_free, which wipes it. What the getters give is borrowed from it. */
typedef struct nexus_login nexus_login;
/** The tokens (of a session: the access token alone, the refresh token is ""); NULL: the second step is due. */
NEXUS_API const nexus_grant *nexus_login_grant(const nexus_login *login);
/** For nexus_auth_login_second, within five minutes; NULL: no second step is due. */
NEXUS_API const char *nexus_login_second_step(const nexus_login *login);
/** The session's id for the cookie; NULL: there is none, or (nexus_auth_session_use) it has not changed. */
NEXUS_API const char *nexus_login_session(const nexus_login *login);
/** To be kept by the client and sent at its next login, where wrong guesses of others then do not delay it; NULL: it has
 * one. */
NEXUS_API const char *nexus_login_device(const nexus_login *login);
NEXUS_API void nexus_login_free(nexus_login *login); /**< NULL is fine */

/**
 * nexus_auth_login with all it can come to. client may be NULL: nothing is known of it, and it gets no device token.
 * Wrong guesses are counted by account and by client address, those from a device that the account knows by that device
 * alone. NEXUS_ELIMIT: *retry_after_s (may be NULL; always written) says when to try again; 0: too many hashes wait.
 */
NEXUS_API nexus_status nexus_auth_login_from(nexus_auth *auth, nexus_slice email, nexus_slice password,
                                             const nexus_auth_client *client, nexus_login **out,
                                             uint32_t *retry_after_s) NEXUS_MUST_CHECK;
/**
 * The second step: a code of the authenticator or a recovery code. NEXUS_EAUTH: the step is over, or the code is wrong or
 * was used before; NEXUS_ELIMIT: too many wrong codes. After 100 of them only a recovery code or an administrator
 * ("unlock") helps.
 */
NEXUS_API nexus_status nexus_auth_login_second(nexus_auth *auth, nexus_slice second_step, nexus_slice code,
                                               const nexus_auth_client *client, nexus_login **out,
                                               uint32_t *retry_after_s) NEXUS_MUST_CHECK;

/** For other calls by which somebody could guess, such as a registration that says an address is taken: NEXUS_ELIMIT when
 * the client's address has been wrong too often, and one more that was wrong. */
NEXUS_API nexus_status nexus_auth_guess_check(nexus_auth *auth, const nexus_auth_client *client,
                                              uint32_t *retry_after_s) NEXUS_MUST_CHECK;
NEXUS_API void nexus_auth_guess_count(nexus_auth *auth, const nexus_auth_client *client);

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

/**
 * Sets a new password for a user who knows the old one; everything he has is void, the caller's session included.
 * NEXUS_EAUTH: the old one is wrong, counted as a wrong login; NEXUS_EINVAL: the new one; NEXUS_ELIMIT as
 * nexus_auth_login_from.
 */
NEXUS_API nexus_status nexus_auth_change_password(nexus_auth *auth, nexus_slice user_id, nexus_slice old_password,
                                                  nexus_slice new_password, const nexus_auth_client *client,
                                                  uint32_t *retry_after_s) NEXUS_MUST_CHECK;

/** Whether it is the user's password, for what must not be done on a token alone; wrong ones count as wrong logins. Statuses
 * of nexus_auth_change_password. */
NEXUS_API nexus_status nexus_auth_check_password(nexus_auth *auth, nexus_slice user_id, nexus_slice password,
                                                 const nexus_auth_client *client,
                                                 uint32_t *retry_after_s) NEXUS_MUST_CHECK;

/* --- sessions: for browsers, which keep an id in a cookie and no token -------------------------------------------- */

/**
 * An access token for a session. Each use counts against rest; when what the user may do has changed, the session gets a
 * new id (nexus_login_session), and the one before is good for ten more seconds. NEXUS_EAUTH: unknown, over or ended.
 */
NEXUS_API nexus_status nexus_auth_session_use(nexus_auth *auth, nexus_slice session,
                                              nexus_login **out) NEXUS_MUST_CHECK;
/** Whose session it is, without a token. Counts as a use. */
NEXUS_API nexus_status nexus_auth_session_user(nexus_auth *auth, nexus_slice session,
                                               nexus_user **out) NEXUS_MUST_CHECK;
/** Ends a session; an unknown one is fine. */
NEXUS_API nexus_status nexus_auth_session_end(nexus_auth *auth, nexus_slice session) NEXUS_MUST_CHECK;
/**
 * Where a user is logged in: [{id,kind,current,created_at,seen_at,expires_at,address,agent}], kind "browser" (a session)
 * or "token" (a refresh token and its successors). current: the id to be marked, the "sid" of an access token. Free *json
 * with nexus_free.
 */
NEXUS_API nexus_status nexus_auth_sessions(nexus_auth *auth, nexus_slice user_id, nexus_slice current, char **json,
                                           size_t *n) NEXUS_MUST_CHECK;
/** Ends one of them, of either kind, and voids its access tokens. NEXUS_ENOTFOUND. */
NEXUS_API nexus_status nexus_auth_session_revoke(nexus_auth *auth, nexus_slice user_id,
                                                 nexus_slice id) NEXUS_MUST_CHECK;

/* --- second factor: TOTP (RFC 6238: SHA-1, six digits, 30 s) -------------------------------------------------------- */

/**
 * Makes a seed, which counts once nexus_auth_totp_confirm has seen a code of it; an unconfirmed one before is void.
 * secret: base32 for typing; uri: otpauth://… for scanning, which names the issuer. Free both with nexus_free.
 * NEXUS_ECONFLICT: there is a second factor already.
 */
NEXUS_API nexus_status nexus_auth_totp_begin(nexus_auth *auth, nexus_slice user_id, char **secret,
                                             char **uri) NEXUS_MUST_CHECK;
/** Takes the seed into use and gives ten recovery codes, each good once: ["abcde-fghij",…]. Free *codes with nexus_free.
 * NEXUS_EAUTH: not its code; NEXUS_ENOTFOUND: nothing was begun. */
NEXUS_API nexus_status nexus_auth_totp_confirm(nexus_auth *auth, nexus_slice user_id, nexus_slice code,
                                               char **codes) NEXUS_MUST_CHECK;
/** Ends the second factor. NEXUS_EAUTH: wrong code; NEXUS_ELIMIT: too many wrong ones; NEXUS_ENOTFOUND: there is none. */
NEXUS_API nexus_status nexus_auth_totp_end(nexus_auth *auth, nexus_slice user_id, nexus_slice code,
                                           uint32_t *retry_after_s) NEXUS_MUST_CHECK;
/** Whether it is in use, and how many recovery codes are left; either may be NULL. */
NEXUS_API nexus_status nexus_auth_totp_state(nexus_auth *auth, nexus_slice user_id, bool *in_use,
                                             uint32_t *recovery_codes) NEXUS_MUST_CHECK;

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

/**
 * The keys of $STATE/secrets.key and how many sealed values (signing keys, seeds, successors of refresh tokens, the pepper of
 * API keys) each protects, as {"keys":[{"kid","state","values"}]}; state as of nexus_secrets_list, or missing
 * (values of a key that the ring has not). Free *json with nexus_free.
 */
NEXUS_API nexus_status nexus_auth_secrets(nexus_auth *auth, char **json, size_t *n) NEXUS_MUST_CHECK;
/** New keys in front of the ring; what older ones sealed stays as it is until it is used, or see nexus_auth_reseal. */
NEXUS_API nexus_status nexus_auth_secrets_rotate(nexus_auth *auth) NEXUS_MUST_CHECK;
/**
 * Seals up to `batch` values (0: 100; at most 1000) again that older keys sealed, in one transaction. *resealed 0: there are
 * none left that open. To be called until then; after a crash it goes on where it was.
 */
NEXUS_API nexus_status nexus_auth_reseal(nexus_auth *auth, uint32_t batch, uint32_t *resealed) NEXUS_MUST_CHECK;
/**
 * Takes a key out of the ring for good. NEXUS_ECONFLICT: values are still sealed with it, or it is the one that seals;
 * NEXUS_ENOTFOUND: no such key. Waits for those who seal a value right now, so that none is lost.
 */
NEXUS_API nexus_status nexus_auth_secrets_retire(nexus_auth *auth, const char *kid) NEXUS_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
