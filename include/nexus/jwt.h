/*
 * JSON Web Keys, Signatures and Tokens (RFC 7515, 7517, 7518, 7519, 8037, 8725, 9068), usable alone:
 *
 *     nexus_keyset_parse(&keys, jwks, n, NULL);
 *     nexus_jwt_rules rules = NEXUS_JWT_RULES_INIT;
 *     rules.issuer = "https://id.example", rules.audience = "shop";
 *     if (nexus_jwt_verify(keys, token, token_len, &rules, &claims) == NEXUS_OK)
 *         nexus_claims_text(claims, "sub", &subject);
 *
 * A key carries its algorithm and is used with no other (RFC 8725, 3.1); "none" does not exist; keys named
 * inside a token (jwk, jku, x5u, x5c) are never looked at. Compact serialization only.
 */
#ifndef NEXUS_JWT_H
#define NEXUS_JWT_H

#include <nexus/alloc.h>
#include <nexus/common.h>
#include <nexus/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --- keys --------------------------------------------------------------------------------------------------------- */

/**
 * One signing or verification key: ES256, ES384, ES512, EdDSA (Ed25519), RS256/384/512, PS256/384/512,
 * HS256/384/512. Immutable; usable from any thread at once. RSA under 2048 bits or with an exponent under
 * 65537, HMAC secrets shorter than the hash, and moduli with the ROCA fingerprint are refused when the key is
 * made.
 */
typedef struct nexus_key nexus_key;

/**
 * A fresh key pair (RSA: 3072 bits) or secret. kid NULL = the RFC 7638 thumbprint. Free with nexus_key_free.
 * NEXUS_EINVAL: unknown algorithm.
 */
NEXUS_API nexus_status nexus_key_generate(nexus_key **out, const char *alg, const char *kid) NEXUS_MUST_CHECK;

/**
 * Reads one JWK, public or private. alg NULL = the JWK's own "alg", or what its curve implies; when both are
 * there they must be equal byte for byte. NEXUS_EINVAL: not a JWK of a supported kind, or one that may not
 * sign or verify
 * ("use", "key_ops"); the message says which member.
 */
NEXUS_API nexus_status nexus_key_parse_jwk(nexus_key **out, const char *json, size_t n,
                                           const char *alg) NEXUS_MUST_CHECK;

/** Reads a PEM key (PKCS#8, SEC1, PKCS#1 or SubjectPublicKeyInfo; not encrypted). RSA keys need alg. */
NEXUS_API nexus_status nexus_key_parse_pem(nexus_key **out, const char *pem, size_t n, const char *alg,
                                           const char *kid) NEXUS_MUST_CHECK;

/** An HMAC key from raw bytes (copied). alg is HS256, HS384 or HS512. */
NEXUS_API nexus_status nexus_key_from_secret(nexus_key **out, const void *secret, size_t n, const char *alg,
                                             const char *kid) NEXUS_MUST_CHECK;

NEXUS_API const char *nexus_key_id(const nexus_key *key);  /**< kid; borrowed */
NEXUS_API const char *nexus_key_alg(const nexus_key *key); /**< "ES256"…; static */
NEXUS_API bool nexus_key_is_private(const nexus_key *key); /**< can sign */

/** The JWK as JSON, with the private members only when asked (NEXUS_EINVAL if there are none). Free with
 * nexus_free. */
NEXUS_API nexus_status nexus_key_print_jwk(const nexus_key *key, bool with_private, char **out,
                                           size_t *n) NEXUS_MUST_CHECK;
/** The same as PEM: PKCS#8 or SubjectPublicKeyInfo. HMAC keys: NEXUS_ENOTSUP. Free with nexus_free. */
NEXUS_API nexus_status nexus_key_print_pem(const nexus_key *key, bool with_private, char **out,
                                           size_t *n) NEXUS_MUST_CHECK;
/** Wipes and frees; NULL is fine. */
NEXUS_API void nexus_key_free(nexus_key *key);

/* --- key sets ----------------------------------------------------------------------------------------------------- */

/** Keys by kid. Fill it on one thread; once filled it is immutable and usable from any thread at once. */
typedef struct nexus_keyset nexus_keyset;

typedef struct nexus_keyset_opts {
    size_t size;
    const nexus_alloc *alloc; /**< NULL = the C library's */
    bool allow_hmac;          /**< false: HS… keys are refused (they belong inside one trust domain only) */
    uint32_t keys_max;        /**< 0 = 100 */
} nexus_keyset_opts;

#define NEXUS_KEYSET_OPTS_INIT NEXUS_SIZED(nexus_keyset_opts)
NEXUS_API void nexus_keyset_opts_init(nexus_keyset_opts *opts);

/** An empty set; opts NULL = defaults. Free with nexus_keyset_free. */
NEXUS_API nexus_status nexus_keyset_new(nexus_keyset **out, const nexus_keyset_opts *opts) NEXUS_MUST_CHECK;

/**
 * Reads a JWK Set (RFC 7517, 5). Keys of unknown type, for encryption or without a usable algorithm are left
 * out, as the RFC says; a kid that occurs twice, symmetric beside asymmetric keys, or broken JSON refuse the
 * whole set (NEXUS_EINVAL).
 */
NEXUS_API nexus_status nexus_keyset_parse(nexus_keyset **out, const char *json, size_t n,
                                          const nexus_keyset_opts *opts) NEXUS_MUST_CHECK;

/** Adds a key, which is taken when the call succeeds. NEXUS_ECONFLICT: its kid is there; NEXUS_EPERM: HMAC
 * not allowed. */
NEXUS_API nexus_status nexus_keyset_add(nexus_keyset *set, nexus_key *key) NEXUS_MUST_CHECK;
NEXUS_API size_t nexus_keyset_count(const nexus_keyset *set);
/** The key of that kid, or NULL; borrowed. */
NEXUS_API const nexus_key *nexus_keyset_find(const nexus_keyset *set, nexus_slice kid);
/** {"keys":[…]} with public members only; HMAC keys are left out. Free with nexus_free. */
NEXUS_API nexus_status nexus_keyset_print(const nexus_keyset *set, char **out, size_t *n) NEXUS_MUST_CHECK;
NEXUS_API void nexus_keyset_free(nexus_keyset *set); /**< NULL is fine */

/* --- signatures (JWS) --------------------------------------------------------------------------------------------- */

/** Signs any bytes: a compact JWS with alg, kid and, unless NULL, typ in its header. Free *out with
 * nexus_free. */
NEXUS_API nexus_status nexus_jws_sign(char **out, size_t *out_n, const nexus_key *key, const char *typ,
                                      const void *payload, size_t n) NEXUS_MUST_CHECK;

/**
 * Verifies a compact JWS of at most 1 MiB and hands over its payload (free with nexus_free). The key is the
 * one of the token's kid, or the only key of the set when the token has no kid. NEXUS_EAUTH: it does not
 * verify; the message is for logs, not for the sender.
 */
NEXUS_API nexus_status nexus_jws_verify(const nexus_keyset *set, const char *token, size_t n, char **payload,
                                        size_t *payload_n) NEXUS_MUST_CHECK;

/* --- tokens (JWT) ------------------------------------------------------------------------------------------------- */

/** What a token must satisfy besides its signature. */
typedef struct nexus_jwt_rules {
    size_t size;
    const char *issuer;      /**< required; compared exactly */
    const char *audience;    /**< required; must be the "aud" string or one of its strings */
    const char *typ;         /**< NULL = "at+jwt" (RFC 9068); compared ignoring case and an "application/" prefix; "" =
                                  "JWT" or none at all: ID tokens and client assertions of others */
    int64_t now_s;           /**< seconds since 1970; 0 = the system clock */
    uint32_t skew_s;         /**< 0 = 30; at most 120; NEXUS_JWT_NO_SKEW = none */
    uint32_t max_lifetime_s; /**< exp - iat at most this; 0 = 24 h */
} nexus_jwt_rules;

#define NEXUS_JWT_NO_SKEW UINT32_MAX
#define NEXUS_JWT_RULES_INIT NEXUS_SIZED(nexus_jwt_rules)
NEXUS_API void nexus_jwt_rules_init(nexus_jwt_rules *rules);

/** The claims of a verified token. Immutable; any thread. Free with nexus_claims_free. */
typedef struct nexus_claims nexus_claims;

/**
 * Signs a JSON object as a token of that typ (NULL = "at+jwt"). The claims are the caller's, as they are.
 * Free *out with nexus_free. NEXUS_EINVAL: the claims are not one JSON object, or the key cannot sign.
 */
NEXUS_API nexus_status nexus_jwt_sign(char **out, size_t *out_n, const nexus_key *key, const char *typ,
                                      const char *claims, size_t claims_n) NEXUS_MUST_CHECK;

/**
 * Verifies a token of at most 8 KiB: form, header, key, signature, then exp, iat, iss, aud (all required) and
 * nbf. NEXUS_EAUTH for every refusal, NEXUS_ENOTFOUND when only the kid is not in the set (a caller with a
 * way to fetch newer keys may do so; to the sender both are the same 401), NEXUS_EINVAL for rules that cannot
 * be used.
 */
NEXUS_API nexus_status nexus_jwt_verify(const nexus_keyset *set, const char *token, size_t n,
                                        const nexus_jwt_rules *rules, nexus_claims **out) NEXUS_MUST_CHECK;

/** A string claim, unescaped; false when it is absent or no string. Borrowed from claims, NUL-terminated. */
NEXUS_API bool nexus_claims_text(const nexus_claims *claims, const char *name, nexus_slice *out);
/** An integer claim; false when it is absent, no number, fractional or over 2^53. */
NEXUS_API bool nexus_claims_int(const nexus_claims *claims, const char *name, int64_t *out);
/** The index-th string of an array claim (a plain string counts as an array of one); false past the end. */
NEXUS_API bool nexus_claims_item(const nexus_claims *claims, const char *name, size_t index, nexus_slice *out);
/** The whole claims object as JSON text; borrowed. */
NEXUS_API void nexus_claims_json(const nexus_claims *claims, nexus_slice *out);
NEXUS_API void nexus_claims_free(nexus_claims *claims); /**< NULL is fine */

#ifdef __cplusplus
}
#endif

#endif
