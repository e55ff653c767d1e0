/*
 * Secrets in memory: a type that nothing prints. And secrets at rest: AES-256-GCM with the context bound in. A sealed value
 * is text, "nx1.<kid>.<nonce>.<ciphertext+tag>" (base64url), and opens only with the same context (table, row and column,
 * say): swapping two rows' values fails.
 */
#ifndef NEXUS_SECRET_H
#define NEXUS_SECRET_H

#include <nexus/alloc.h>
#include <nexus/common.h>
#include <nexus/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --- in memory ---------------------------------------------------------------------------------------------------- */

/**
 * Bytes that can be lent and compared, and nothing else: no function that writes text, logs or JSON takes one, so that a
 * secret printed by mistake does not compile. They stand in pages of their own, locked as far as RLIMIT_MEMLOCK allows, left
 * out of core dumps, wiped when they are replaced or freed. Any thread.
 */
typedef struct nexus_secret nexus_secret;

/** Bytes are copied (wipe yours); there may be none. Free with nexus_secret_free. */
NEXUS_API nexus_status nexus_secret_new(nexus_secret **out, nexus_slice bytes) NEXUS_MUST_CHECK;
/** Puts other bytes in place of these. Uses that have begun keep what they were lent. On failure the old ones stay. */
NEXUS_API nexus_status nexus_secret_set(nexus_secret *secret, nexus_slice bytes) NEXUS_MUST_CHECK;

/** Is lent the bytes (a NUL behind them) until it returns; what it copies is its own to wipe. */
typedef nexus_status nexus_secret_use_fn(nexus_slice plain, void *user_data);
/** The one way to the bytes: calls fn once, on this thread, and returns what it returned. NULL is lent as no bytes. */
NEXUS_API nexus_status nexus_secret_use(const nexus_secret *secret, nexus_secret_use_fn *fn,
                                        void *user_data) NEXUS_MUST_CHECK;
/** Whether they are these bytes, in time that depends on the lengths only. NULL and none are equal to nothing. */
NEXUS_API bool nexus_secret_equal(const nexus_secret *secret, nexus_slice bytes);
/** Wipes. No other call may be running. NULL is fine. */
NEXUS_API void nexus_secret_free(nexus_secret *secret);

/** Wipes n bytes and frees them; NULL is fine. */
NEXUS_API void nexus_free_wiped(char *text, size_t n);

/* --- at rest ------------------------------------------------------------------------------------------------------ */

/**
 * A ring of keys, kept in a file. Data keys seal values; each belongs to a tenant (or to none) and stands in the file wrapped
 * by a key-encryption key (KEK). The newest data key of a tenant seals, all open; one that has sealed 2^30 values is followed by
 * another by itself. A ring follows its file when that is replaced; any thread.
 */
typedef struct nexus_secrets nexus_secrets;

/**
 * A key management service wraps a key of 32 bytes: at most *n bytes go to out, *n becomes their number. context names what
 * the key is for: bind it in (as encryption context, or associated data), so that it opens for that only. May block; is never
 * called under a lock of the ring, but while its file is locked.
 */
typedef nexus_status nexus_kek_wrap_fn(nexus_slice context, nexus_slice key, uint8_t *out, size_t *n, void *user_data);
/** And takes it out again; id is the kek_id that it was wrapped under. Fails when context is not the one it was wrapped for. */
typedef nexus_status nexus_kek_unwrap_fn(const char *id, nexus_slice context, nexus_slice wrapped, uint8_t *out, size_t *n,
                                         void *user_data);

typedef struct nexus_secrets_opts {
    size_t size;
    const nexus_alloc *alloc;           /**< NULL = the C library's */
    const char *path;                   /**< the file; required; made (0600) when missing; copied */
    const nexus_secret *kek;            /**< key-encryption keys, base64url of 32 bytes each, separated by commas: the first
                                             wraps, all unwrap; borrowed for the call; NULL = the file holds one in clear */
    const char *kek_id;                 /**< what the service's key is called; copied; NULL = no service */
    nexus_kek_wrap_fn *wrap;            /**< with kek_id: a service wraps instead */
    nexus_kek_unwrap_fn *unwrap;
    uint64_t operations_max;            /**< values that a data key seals; 0 = 2^30, which is the most */
    int64_t (*now_fn)(void *user_data); /**< nanoseconds since 1970; NULL = the system clock */
    void *user_data;
} nexus_secrets_opts;

#define NEXUS_SECRETS_OPTS_INIT NEXUS_SIZED(nexus_secrets_opts)
NEXUS_API void nexus_secrets_opts_init(nexus_secrets_opts *opts);

/**
 * Opens the key file, making it when it is not there. A file others can read, or with a key of repeated bytes, is refused
 * (NEXUS_EPERM, NEXUS_EINVAL); NEXUS_EMISSING: a data key's KEK is not among those given. What another KEK has wrapped than the
 * one that wraps now is wrapped again. Close with nexus_secrets_close.
 */
NEXUS_API nexus_status nexus_secrets_open_with(nexus_secrets **out, const nexus_secrets_opts *opts) NEXUS_MUST_CHECK;
/** The same with a KEK in the file itself. */
NEXUS_API nexus_status nexus_secrets_open(nexus_secrets **out, const char *path,
                                          const nexus_alloc *alloc) NEXUS_MUST_CHECK;

/** New data keys, and a new KEK where the file holds it, durably; older ones keep opening. Other rings over the file seal with
 * the new ones from then on. */
NEXUS_API nexus_status nexus_secrets_rotate(nexus_secrets *secrets) NEXUS_MUST_CHECK;
/** {"keys":[{"kid","state","tenant"}]}; state is sealing or opening, of KEK in the file or the options wrapping or unwrapping.
 * Free *json with nexus_free. */
NEXUS_API nexus_status nexus_secrets_list(const nexus_secrets *secrets, char **json, size_t *n) NEXUS_MUST_CHECK;
/**
 * Takes a key out for good that has sealed nothing for so long: for values that are not kept longer (those in a database are
 * looked for: nexus_auth_secrets_retire). NEXUS_ECONFLICT: it seals, or did until lately. NEXUS_ENOTFOUND.
 */
NEXUS_API nexus_status nexus_secrets_retire(nexus_secrets *secrets, const char *kid, uint32_t unused_s) NEXUS_MUST_CHECK;

/** Seals; context is any text that names the place of the value. Free *out (NUL-terminated) with nexus_free.
 */
NEXUS_API nexus_status nexus_secrets_seal(const nexus_secrets *secrets, nexus_slice context, nexus_slice plain,
                                          char **out, size_t *n) NEXUS_MUST_CHECK;

/** The same with a key of the tenant's own (at most 64 visible ASCII characters), made at the first call; empty = none. */
NEXUS_API nexus_status nexus_secrets_seal_for(const nexus_secrets *secrets, nexus_slice tenant, nexus_slice context,
                                              nexus_slice plain, char **out, size_t *n) NEXUS_MUST_CHECK;

/**
 * Opens a sealed value. NEXUS_ECORRUPT: changed, or of another context; NEXUS_EMISSING: its key is not in the
 * ring; NEXUS_EINVAL: not a sealed value. Free *out (NUL-terminated) with nexus_free_wiped.
 */
NEXUS_API nexus_status nexus_secrets_unseal(const nexus_secrets *secrets, nexus_slice context, nexus_slice sealed,
                                            char **out, size_t *n) NEXUS_MUST_CHECK;

/** Whether a sealed value was made with an older key of the ring and should be sealed again. */
NEXUS_API bool nexus_secrets_is_stale(const nexus_secrets *secrets, nexus_slice sealed);
NEXUS_API void nexus_secrets_close(nexus_secrets *secrets); /**< wipes; NULL is fine */

#ifdef __cplusplus
}
#endif

#endif
