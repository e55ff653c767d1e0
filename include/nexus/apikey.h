/*
 * API keys: for machines that call on behalf of a user. A key is text,
 *
 *     nexus_live_<id: 12 base62>_<secret: 43 base62><CRC-32: 6 base62>
 *
 * so that scanners of leaked secrets find it and a mistyped one is refused without asking anybody. The id names it; of the
 * secret only HMAC-SHA-256 under a pepper is stored, and it is shown once. A key may do what its scopes and its owner's
 * roles both allow, until it expires or is revoked, from the addresses it names; when its owner may not get a token any
 * more it stops within a second.
 *
 * Keys live in the database of nexus_auth (nexus/auth.h), which must have been opened on it once.
 */
#ifndef NEXUS_APIKEY_H
#define NEXUS_APIKEY_H

#include <nexus/auth.h>
#include <nexus/rbac.h>
#include <nexus/verifier.h>

#ifdef __cplusplus
extern "C" {
#endif

struct nexus_client;
struct nexus_runtime;
struct nexus_secrets;

/** Bytes of a key's text, and of its id. */
enum { NEXUS_APIKEY_LEN = 73, NEXUS_APIKEY_ID_LEN = 12 };

/** Whether the text has a key's form and its checksum is right; *id (may be NULL) is then its part. Asks nobody. */
NEXUS_API bool nexus_apikey_parse(const char *text, size_t n, nexus_slice *id);

typedef struct nexus_apikeys nexus_apikeys;

typedef struct nexus_apikeys_opts {
    size_t size;
    const nexus_alloc *alloc;           /**< NULL = the C library's */
    const char *key_dir;                /**< directory of the key file that seals the pepper; required without secrets;
                                             copied */
    struct nexus_secrets *secrets;      /**< seals it instead; borrowed until close; NULL = key_dir/secrets.key */
    const nexus_rbac *policy;           /**< judges scopes, see nexus_apikeys_set_policy; NULL = nexus_rbac_new_default */
    uint32_t cache_keys;                /**< remembered at most; 0 = 8192 */
    nexus_auth_event_fn *event_fn;      /**< told of apikey.created, .rotated, .revoked and .expiring in the transaction
                                             that makes it true; may be NULL */
    int64_t (*now_fn)(void *user_data); /**< nanoseconds since 1970; NULL = the system clock */
    void *user_data;                    /**< of event_fn and now_fn */
} nexus_apikeys_opts;

#define NEXUS_APIKEYS_OPTS_INIT NEXUS_SIZED(nexus_apikeys_opts)
NEXUS_API void nexus_apikeys_opts_init(nexus_apikeys_opts *opts);

/** Migrates the tables, loads or makes the pepper. db is borrowed until close. Blocking calls: workers only. */
NEXUS_API nexus_status nexus_apikeys_open(nexus_apikeys **out, struct nexus_db *db,
                                          const nexus_apikeys_opts *opts) NEXUS_MUST_CHECK;
NEXUS_API void nexus_apikeys_close(nexus_apikeys *keys); /**< NULL is fine */
/** From now on scopes of new keys are judged by this policy, which is shared (nexus_rbac_ref). */
NEXUS_API void nexus_apikeys_set_policy(nexus_apikeys *keys, const nexus_rbac *policy);

/* --- keys --------------------------------------------------------------------------------------------------------- */

/** What a new key is. All borrowed for the call. */
typedef struct nexus_apikey_spec {
    size_t size;
    nexus_slice owner;  /**< user id */
    nexus_slice name;   /**< 1 to 200 bytes, for people */
    nexus_slice scopes; /**< 1 to 64 permissions or patterns (nexus/rbac.h) the owner holds, parted by spaces */
    nexus_slice cidrs;  /**< "10.0.0.0/8 2001:db8::/32", at most 32; empty = from anywhere */
    nexus_slice plan;   /**< rate plan of the gateway; empty = as its routes say */
    nexus_slice tenant; /**< empty = none */
    uint32_t ttl_s;     /**< 0 = 90 days; at most 366 days */
} nexus_apikey_spec;

#define NEXUS_APIKEY_SPEC_INIT NEXUS_SIZED(nexus_apikey_spec)
NEXUS_API void nexus_apikey_spec_init(nexus_apikey_spec *spec);

/**
 * Makes a key. *text is the only time it is shown: free it with nexus_free_wiped(*text, NEXUS_APIKEY_LEN). *json is what
 * nexus_apikeys_show tells; free it with nexus_free. NEXUS_EINVAL: a member, named at the message's beginning ("scopes:
 * …"); NEXUS_EPERM: a scope that the owner does not hold; NEXUS_ENOTFOUND: no such owner; NEXUS_EAUTH: he may not get
 * tokens; NEXUS_ELIMIT: he has 100 keys.
 */
NEXUS_API nexus_status nexus_apikeys_create(nexus_apikeys *keys, const nexus_apikey_spec *spec, char **text,
                                            char **json, size_t *n) NEXUS_MUST_CHECK;

/**
 * {"id","owner","name","scopes":[],"cidrs":[],"plan","tenant","state":"active"|"expired"|"revoked","created_at",
 * "expires_at","revoked_at","last_used_at","old_secret_until"}. owner empty = anybody's. NEXUS_ENOTFOUND: none, or
 * another's. Free *json with nexus_free.
 */
NEXUS_API nexus_status nexus_apikeys_show(nexus_apikeys *keys, nexus_slice id, nexus_slice owner, char **json,
                                          size_t *n) NEXUS_MUST_CHECK;
/** {"items":[…],"next_cursor"} in the order of ids behind cursor (empty = from the first), at most limit (1 to 100). */
NEXUS_API nexus_status nexus_apikeys_list(nexus_apikeys *keys, nexus_slice owner, nexus_slice cursor, uint32_t limit,
                                          char **json, size_t *n) NEXUS_MUST_CHECK;

/**
 * Gives the key a new secret and a new term of the same length. The old secret goes on for overlap_s (0 = 24 hours, at most
 * 7 days; UINT32_MAX ends it at once); one that was still going on from an earlier rotation ends. As nexus_apikeys_create;
 * NEXUS_ENOTFOUND: none, another's, or revoked.
 */
NEXUS_API nexus_status nexus_apikeys_rotate(nexus_apikeys *keys, nexus_slice id, nexus_slice owner, uint32_t overlap_s,
                                            char **text, char **json, size_t *n) NEXUS_MUST_CHECK;
/** Ends a key for good. A second time is fine. NEXUS_ENOTFOUND: none, or another's. */
NEXUS_API nexus_status nexus_apikeys_revoke(nexus_apikeys *keys, nexus_slice id, nexus_slice owner) NEXUS_MUST_CHECK;

/**
 * Who calls with this key: a principal whose subject is the owner, with his roles and the key's scopes (claims "scope",
 * "key_id", "plan"; nexus_principal_token_id is the key's id). ip is the client's address in text; empty = not known,
 * which keys with addresses do not take. A key seen good within the last second is answered from memory; else one look
 * into the database, which blocks.
 * NEXUS_EAUTH: no such key, wrong secret, revoked, expired, or its owner may not get tokens: all alike; NEXUS_EPERM: not
 * from this address. Free *out with nexus_principal_free.
 */
NEXUS_API nexus_status nexus_apikeys_check(nexus_apikeys *keys, const char *text, size_t n, nexus_slice ip,
                                           nexus_principal **out) NEXUS_MUST_CHECK;
/** The same without ip as JSON for nexus_apikey_verifier of another process: claims and "cidrs". Free with nexus_free. */
NEXUS_API nexus_status nexus_apikeys_introspect(nexus_apikeys *keys, const char *text, size_t n, char **json,
                                                size_t *json_n) NEXUS_MUST_CHECK;

/** Writes down when keys were last used (to the minute) and tells of those that expire within 14 days; call it every
 * minute or so. */
NEXUS_API nexus_status nexus_apikeys_upkeep(nexus_apikeys *keys) NEXUS_MUST_CHECK;

/* --- checks that never block -------------------------------------------------------------------------------------- */

/** Checks keys on loops: from memory, and by asking the database or the issuer's service in the background. */
typedef struct nexus_apikey_verifier nexus_apikey_verifier;

typedef struct nexus_apikey_verifier_opts {
    size_t size;
    const nexus_alloc *alloc;      /**< NULL = the C library's */
    nexus_apikeys *keys;           /**< asked on workers of runtime; both borrowed until close */
    struct nexus_runtime *runtime; /**< with keys */
    const char *url;               /**< instead: asked by POST {"key"}; https unless loopback; copied. Needs client */
    const char *bearer;            /**< of that request; copied */
    struct nexus_client *client;   /**< with url; borrowed until close */
    uint32_t timeout_ms;           /**< of that request; 0 = 2000 */
    uint32_t cache_keys;           /**< 0 = 8192 */
    int64_t (*now_fn)(void *user_data); /**< nanoseconds since 1970; NULL = the system clock */
    void *user_data;
} nexus_apikey_verifier_opts;

#define NEXUS_APIKEY_VERIFIER_OPTS_INIT NEXUS_SIZED(nexus_apikey_verifier_opts)
NEXUS_API void nexus_apikey_verifier_opts_init(nexus_apikey_verifier_opts *opts);
NEXUS_API nexus_status nexus_apikey_verifier_open(nexus_apikey_verifier **out,
                                                  const nexus_apikey_verifier_opts *opts) NEXUS_MUST_CHECK;

/**
 * As nexus_apikeys_check, but never blocks. NEXUS_EAGAIN: it must be asked for: nexus_apikey_verifier_wait_async, then look
 * again. What was asked for is good for a second and is asked for again in the background while the key is in use.
 */
NEXUS_API nexus_status nexus_apikey_verifier_check(nexus_apikey_verifier *verifier, const char *text, size_t n,
                                                   nexus_slice ip, nexus_principal **out) NEXUS_MUST_CHECK;

/** Called once with what was found: as nexus_apikeys_check, or NEXUS_EAGAIN: it could not be asked. principal is the
 * callee's when the status is NEXUS_OK. On a worker or a thread of the client. */
typedef void nexus_apikey_fn(nexus_status status, nexus_principal *principal, void *user_data);

/** Asks for the key, and tells. text and ip are copied. NEXUS_EAGAIN: too many are asked for now; done is not called. */
NEXUS_API nexus_status nexus_apikey_verifier_wait_async(nexus_apikey_verifier *verifier, const char *text, size_t n,
                                                        nexus_slice ip, nexus_apikey_fn *done,
                                                        void *user_data) NEXUS_MUST_CHECK;

/** Forgets a key, by id: it is asked for again. For who hears of its end. */
NEXUS_API void nexus_apikey_verifier_forget(nexus_apikey_verifier *verifier, nexus_slice id);
NEXUS_API void nexus_apikey_verifier_close(nexus_apikey_verifier *verifier); /**< waits for what is asked; NULL is fine */

#ifdef __cplusplus
}
#endif

#endif
