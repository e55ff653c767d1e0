/* HMAC (RFC 2104) with the key set up once. */
#ifndef NEXUS_CRYPTO_HMAC_H
#define NEXUS_CRYPTO_HMAC_H

#include "crypto/hash.h"

typedef struct nexus__hmac nexus__hmac; /* any thread at once */

nexus_status nexus__hmac_new(nexus__hmac **out, nexus__digest digest, const void *key, size_t n) NEXUS_MUST_CHECK;
/* The code of the pieces one after the other; out takes nexus__digest_size bytes. */
nexus_status nexus__hmac_compute(nexus__hmac *hmac, const nexus_slice *pieces, size_t count,
                                 uint8_t *out) NEXUS_MUST_CHECK;
void nexus__hmac_free(nexus__hmac *hmac);

#endif
