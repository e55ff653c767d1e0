/* AES-256-GCM (NIST SP 800-38D). */
#ifndef NEXUS_CRYPTO_AEAD_H
#define NEXUS_CRYPTO_AEAD_H

#include "base/str.h"

#define NEXUS__AEAD_KEY 32
#define NEXUS__AEAD_NONCE 12
#define NEXUS__AEAD_TAG 16

typedef struct nexus__aead nexus__aead; /* any thread at once */

nexus_status nexus__aead_new(nexus__aead **out, const uint8_t key[static NEXUS__AEAD_KEY]) NEXUS_MUST_CHECK;
/* Writes plain.n + NEXUS__AEAD_TAG bytes. A nonce must never repeat under one key. */
nexus_status nexus__aead_seal(nexus__aead *aead, const uint8_t nonce[static NEXUS__AEAD_NONCE], nexus_slice context,
                              nexus_slice plain, uint8_t *out) NEXUS_MUST_CHECK;
/* Writes sealed.n - NEXUS__AEAD_TAG bytes; NEXUS_ECORRUPT, with out wiped, when it was not sealed so. */
nexus_status nexus__aead_open(nexus__aead *aead, const uint8_t nonce[static NEXUS__AEAD_NONCE], nexus_slice context,
                              nexus_slice sealed, uint8_t *out) NEXUS_MUST_CHECK;
void nexus__aead_free(nexus__aead *aead);

#endif
