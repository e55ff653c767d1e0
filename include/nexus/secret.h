/*
 * Secrets at rest: AES-256-GCM with the context bound in. A sealed value is text,
 * "nx1.<kid>.<nonce>.<ciphertext+tag>" (base64url), and opens only with the same context (table, row and
 * column, say): swapping two rows' values fails.
 */
#ifndef NEXUS_SECRET_H
#define NEXUS_SECRET_H

#include <nexus/alloc.h>
#include <nexus/common.h>
#include <nexus/status.h>

#ifdef __cplusplus
extern "C" {
#endif

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
 * ring; NEXUS_EINVAL: not a sealed value. Free *out (NUL-terminated) with nexus_secret_free.
 */
NEXUS_API nexus_status nexus_secrets_unseal(const nexus_secrets *secrets, nexus_slice context, nexus_slice sealed,
                                            char **out, size_t *n) NEXUS_MUST_CHECK;

/** Whether a sealed value was made with an older key of the ring and should be sealed again. */
NEXUS_API bool nexus_secrets_is_stale(const nexus_secrets *secrets, nexus_slice sealed);
NEXUS_API void nexus_secrets_close(nexus_secrets *secrets); /**< wipes; NULL is fine */

/** Wipes n bytes and frees them; NULL is fine. */
NEXUS_API void nexus_secret_free(char *secret, size_t n);

#ifdef __cplusplus
}
#endif

#endif
