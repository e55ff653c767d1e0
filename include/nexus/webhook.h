/* Signed webhooks after Standard Webhooks 1.0: make and check the signature. Stands alone. */
#ifndef NEXUS_WEBHOOK_H
#define NEXUS_WEBHOOK_H

#include <nexus/alloc.h>
#include <nexus/common.h>
#include <nexus/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * A message is sent with three header fields: webhook-id (the same for every attempt), webhook-timestamp (seconds
 * since 1970) and webhook-signature. The signature is "v1," and the base64 of HMAC-SHA256 over "id.timestamp.body".
 * Where a secret is asked for, several may stand, parted by spaces, the current one first: signing then gives a
 * signature by each, and verifying accepts any, so that a receiver can change over.
 */

/** A new secret, "whsec_" and the base64 of 32 random bytes; NUL-terminated. Free with nexus_free. */
NEXUS_API nexus_status nexus_webhook_secret(char **out) NEXUS_MUST_CHECK;

/**
 * The value of webhook-signature; NUL-terminated, *n (may be NULL) without the NUL. Free with nexus_free.
 * NEXUS_EINVAL: a secret is not "whsec_" (optional) and base64 of 24 to 64 bytes, or the id is empty or has a '.'.
 */
NEXUS_API nexus_status nexus_webhook_sign(char **out, size_t *n, nexus_slice secrets, nexus_slice id,
                                          int64_t timestamp_s, nexus_slice body) NEXUS_MUST_CHECK;

/**
 * Checks what was received, in constant time. timestamp and signature are the header fields as they came; now_s is
 * the receiver's clock, tolerance_s how far the timestamp may be from it (0 = 300).
 * NEXUS_EAUTH: no signature fits. NEXUS_ESTALE: the timestamp is too old or in the future. NEXUS_EINVAL: a secret or
 * a field is not well-formed. Signatures of other versions ("v1a,…") are passed over.
 */
NEXUS_API nexus_status nexus_webhook_verify(nexus_slice secrets, nexus_slice id, nexus_slice timestamp,
                                            nexus_slice signature, nexus_slice body, int64_t now_s,
                                            uint32_t tolerance_s) NEXUS_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
