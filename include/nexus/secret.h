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

/** A ring of keys: the first seals, all open. It follows its file when that is replaced; any thread. */
typedef struct nexus_secrets nexus_secrets;

/**
 * Opens the key file, making it with one random key (mode 0600) when it is not there. A file
 * others can read, or with a key of repeated bytes, is refused (NEXUS_EPERM, NEXUS_EINVAL). One key a line,
 * newest first:
 * "<kid> <base64url of 32 bytes>". Close with nexus_secrets_close.
 */
NEXUS_API nexus_status nexus_secrets_open(nexus_secrets **out, const char *path,
                                          const nexus_alloc *alloc) NEXUS_MUST_CHECK;

/** Puts a new key first, durably; older ones keep opening. Other rings over the file seal with it from then on. */
NEXUS_API nexus_status nexus_secrets_rotate(nexus_secrets *secrets) NEXUS_MUST_CHECK;

/** Seals; context is any text that names the place of the value. Free *out (NUL-terminated) with nexus_free.
 */
NEXUS_API nexus_status nexus_secrets_seal(const nexus_secrets *secrets, nexus_slice context, nexus_slice plain,
                                          char **out, size_t *n) NEXUS_MUST_CHECK;

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
