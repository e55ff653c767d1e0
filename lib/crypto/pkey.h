/* Keys that sign and verify, named by their JOSE algorithm (RFC 7518, 8037). */
#ifndef NEXUS_CRYPTO_PKEY_H
#define NEXUS_CRYPTO_PKEY_H

#include "crypto/hash.h"

typedef enum nexus__key_type {
    NEXUS__KEY_EC,
    NEXUS__KEY_RSA,
    NEXUS__KEY_PSS,
    NEXUS__KEY_ED25519,
    NEXUS__KEY_HMAC
} nexus__key_type;

typedef struct nexus__sigalg {
    const char *name; /* "ES256" */
    nexus__key_type type;
    nexus__digest digest;
    const char *crv;   /* JWK curve, EC and OKP */
    const char *group; /* OpenSSL's curve name, EC */
    size_t field;      /* bytes of a coordinate, EC */
} nexus__sigalg;

/* NULL when unknown; case matters. "Ed25519" (RFC 9864) finds the entry named "EdDSA". */
const nexus__sigalg *nexus__sigalg_find(nexus_slice name);
const nexus__sigalg *nexus__sigalg_of_curve(nexus_slice crv);

/* The numbers of a key, big-endian, as a JWK has them; empty = absent. Borrowed. */
typedef struct nexus__key_parts {
    nexus_slice n, e, p, q, dp, dq, qi; /* RSA */
    nexus_slice x, y;                   /* EC, OKP (x only) */
    nexus_slice d;                      /* private part of each */
    nexus_slice k;                      /* HMAC */
} nexus__key_parts;

#define NEXUS__SIGNATURE_MAX 1024 /* RSA of 8192 bits */

typedef struct nexus__pkey nexus__pkey; /* immutable, any thread at once */

nexus_status nexus__pkey_generate(nexus__pkey **out, const nexus__sigalg *alg) NEXUS_MUST_CHECK;
/* Refuses what must not be used: RSA under 2048 bits or over 8192, e < 65537, ROCA moduli, points off the
 * curve, a private part that does not belong to the public one, HMAC keys shorter than the hash. */
nexus_status nexus__pkey_from_parts(nexus__pkey **out, const nexus__sigalg *alg,
                                    const nexus__key_parts *parts) NEXUS_MUST_CHECK;
/* alg NULL: what the curve implies. */
nexus_status nexus__pkey_from_pem(nexus__pkey **out, const nexus__sigalg *alg, nexus_slice pem) NEXUS_MUST_CHECK;

const nexus__sigalg *nexus__pkey_alg(const nexus__pkey *key);
bool nexus__pkey_is_private(const nexus__pkey *key);

/* The numbers, in memory that the caller wipes and frees (one block; parts point into it). */
nexus_status nexus__pkey_parts(const nexus__pkey *key, bool with_private, nexus__key_parts *parts, uint8_t **block,
                               size_t *block_n) NEXUS_MUST_CHECK;
nexus_status nexus__pkey_print_pem(const nexus__pkey *key, bool with_private, char **out, size_t *n) NEXUS_MUST_CHECK;

/* JOSE form of signatures: ECDSA as r and s of fixed length. */
nexus_status nexus__pkey_sign(const nexus__pkey *key, nexus_slice message, uint8_t out[static NEXUS__SIGNATURE_MAX],
                              size_t *n) NEXUS_MUST_CHECK;
bool nexus__pkey_verify(const nexus__pkey *key, nexus_slice message, nexus_slice signature);
void nexus__pkey_free(nexus__pkey *key);

/* Whether an RSA modulus has the fingerprint of the Infineon generator (CVE-2017-15361). */
bool nexus__roca_marked(nexus_slice modulus);

#endif
