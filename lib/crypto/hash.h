/* Message digests. */
#ifndef NEXUS_CRYPTO_HASH_H
#define NEXUS_CRYPTO_HASH_H

#include "base/str.h"

typedef enum nexus__digest {
    NEXUS__SHA1, /* RFC 6238, RFC 6455: where a protocol fixes it, never for signatures */
    NEXUS__SHA256,
    NEXUS__SHA384,
    NEXUS__SHA512,
} nexus__digest;

#define NEXUS__DIGEST_MAX 64

size_t nexus__digest_size(nexus__digest digest);
const char *nexus__digest_name(nexus__digest digest); /* OpenSSL's name */

/* One message, for occasional use. */
nexus_status nexus__hash(nexus__digest digest, nexus_slice message, uint8_t *out) NEXUS_MUST_CHECK;

/* Many messages or one in pieces: the algorithm is fetched once. One thread at a time. */
typedef struct nexus__hasher nexus__hasher;
nexus_status nexus__hasher_new(nexus__hasher **out, nexus__digest digest) NEXUS_MUST_CHECK;
void nexus__hasher_update(nexus__hasher *hasher, const void *data, size_t n);
/* The digest of what was fed since the last one; ready for the next message. */
nexus_status nexus__hasher_final(nexus__hasher *hasher, uint8_t *out) NEXUS_MUST_CHECK;
void nexus__hasher_free(nexus__hasher *hasher);

#endif
