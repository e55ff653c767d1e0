/* Password hashes: argon2id (RFC 9106), written as PHC strings. */
#ifndef NEXUS_CRYPTO_PASSWORD_H
#define NEXUS_CRYPTO_PASSWORD_H

#include "base/str.h"

typedef struct nexus__argon2 {
    uint32_t memory_kib; /* m */
    uint32_t passes;     /* t */
    uint32_t lanes;      /* p */
} nexus__argon2;

#define NEXUS__PASSWORD_HASH_MAX 160 /* with its NUL */

/* "$argon2id$v=19$m=19456,t=2,p=1$<16 byte salt>$<32 byte tag>" with a random salt. Takes memory_kib for its
 * time. */
nexus_status nexus__password_hash(const nexus__argon2 *cost, nexus_slice password,
                                  char out[static NEXUS__PASSWORD_HASH_MAX]) NEXUS_MUST_CHECK;
/* NEXUS_OK: it is the password; NEXUS_EAUTH: it is not; NEXUS_ECORRUPT: not an argon2id string of bearable
 * cost. */
nexus_status nexus__password_verify(const char *hash, nexus_slice password) NEXUS_MUST_CHECK;
/* Whether the hash was made at another cost and should be made again at the next login. */
bool nexus__password_is_stale(const char *hash, const nexus__argon2 *cost);

#endif
