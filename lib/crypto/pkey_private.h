/* Shared by the pkey files of this room. */
#ifndef NEXUS_CRYPTO_PKEY_PRIVATE_H
#define NEXUS_CRYPTO_PKEY_PRIVATE_H

#include <openssl/evp.h>

#include "crypto/hmac.h"
#include "crypto/pkey.h"
#include "crypto/pool.h"

struct nexus__pkey {
    const nexus__sigalg *alg;
    bool is_private;
    size_t size;   /* of a signature in JOSE form */
    EVP_PKEY *evp; /* NULL for HMAC */
    EVP_MD *md;    /* fetched once; NULL for EdDSA and HMAC */
    uint8_t ed25519[32]; /* EdDSA: the public key */
    nexus__hmac *hmac;
    uint8_t *secret; /* the HMAC key, for printing */
    size_t secret_n;
    nexus__pool *verifying, *signing; /* contexts at rest: what a call may change of an immutable key */
};

/* A key around evp, which is taken even on failure; checks sizes and makes the pools. */
nexus_status nexus__pkey_wrap(nexus__pkey **out, const nexus__sigalg *alg, EVP_PKEY *evp, bool is_private);

#endif
