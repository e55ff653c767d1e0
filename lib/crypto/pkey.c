#include "crypto/pkey.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/rsa.h>
#include <sodium.h>

#include "base/id.h"
#include "base/status.h"
#include "crypto/pkey_private.h"
#include "crypto/wipe.h"

static const nexus__sigalg algs[] = {
    {"ES256", NEXUS__KEY_EC, NEXUS__SHA256, "P-256", "P-256", 32},
    {"ES384", NEXUS__KEY_EC, NEXUS__SHA384, "P-384", "P-384", 48},
    {"ES512", NEXUS__KEY_EC, NEXUS__SHA512, "P-521", "P-521", 66},
    {"EdDSA", NEXUS__KEY_ED25519, NEXUS__SHA512, "Ed25519", NULL, 32},
    {"RS256", NEXUS__KEY_RSA, NEXUS__SHA256, NULL, NULL, 0},
    {"RS384", NEXUS__KEY_RSA, NEXUS__SHA384, NULL, NULL, 0},
    {"RS512", NEXUS__KEY_RSA, NEXUS__SHA512, NULL, NULL, 0},
    {"PS256", NEXUS__KEY_PSS, NEXUS__SHA256, NULL, NULL, 0},
    {"PS384", NEXUS__KEY_PSS, NEXUS__SHA384, NULL, NULL, 0},
    {"PS512", NEXUS__KEY_PSS, NEXUS__SHA512, NULL, NULL, 0},
    {"HS256", NEXUS__KEY_HMAC, NEXUS__SHA256, NULL, NULL, 0},
    {"HS384", NEXUS__KEY_HMAC, NEXUS__SHA384, NULL, NULL, 0},
    {"HS512", NEXUS__KEY_HMAC, NEXUS__SHA512, NULL, NULL, 0},
};

const nexus__sigalg *nexus__sigalg_find(nexus_slice name)
{
    if (nexus__slice_eq_c(name, "Ed25519"))
        name = NEXUS_S("EdDSA");
    for (size_t i = 0; i < sizeof algs / sizeof algs[0]; i++)
        if (nexus__slice_eq_c(name, algs[i].name))
            return &algs[i];
    return NULL;
}

const nexus__sigalg *nexus__sigalg_of_curve(nexus_slice crv)
{
    for (size_t i = 0; i < sizeof algs / sizeof algs[0]; i++)
        if (algs[i].crv && nexus__slice_eq_c(crv, algs[i].crv))
            return &algs[i];
    return NULL;
}

const nexus__sigalg *nexus__pkey_alg(const nexus__pkey *key)
{
    return key->alg;
}

bool nexus__pkey_is_private(const nexus__pkey *key)
{
    return key->is_private;
}

nexus_status nexus__pkey_wrap(nexus__pkey **out, const nexus__sigalg *alg, EVP_PKEY *evp, bool is_private)
{
    nexus__pkey *key = nexus__calloc(NULL, 1, sizeof *key);
    if (!key) {
        EVP_PKEY_free(evp);
        return nexus__nomem();
    }
    *key = (nexus__pkey){.alg = alg, .evp = evp, .is_private = is_private};
    key->size = alg->type == NEXUS__KEY_EC        ? 2 * alg->field
                : alg->type == NEXUS__KEY_ED25519 ? 64
                                                  : (size_t)EVP_PKEY_get_size(evp);
    if (alg->type != NEXUS__KEY_ED25519)
        key->md = EVP_MD_fetch(NULL, nexus__digest_name(alg->digest), NULL);
    size_t n = sizeof key->ed25519;
    bool raw = alg->type != NEXUS__KEY_ED25519 ||
               (EVP_PKEY_get_raw_public_key(evp, key->ed25519, &n) == 1 && sodium_init() >= 0);
    key->verifying = nexus__calloc(NULL, 1, sizeof *key->verifying);
    key->signing = nexus__calloc(NULL, 1, sizeof *key->signing);
    if (!raw || !key->verifying || !key->signing || (!key->md && alg->type != NEXUS__KEY_ED25519)) {
        nexus__pkey_free(key);
        return nexus__nomem();
    }
    *out = key;
    return NEXUS_OK;
}

static EVP_PKEY *generate(const nexus__sigalg *alg)
{
    if (alg->type == NEXUS__KEY_EC)
        return EVP_PKEY_Q_keygen(NULL, NULL, "EC", alg->group);
    if (alg->type == NEXUS__KEY_ED25519)
        return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    return EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)3072);
}

nexus_status nexus__pkey_generate(nexus__pkey **out, const nexus__sigalg *alg)
{
    if (alg->type == NEXUS__KEY_HMAC) {
        uint8_t secret[NEXUS__DIGEST_MAX];
        nexus__random(secret, sizeof secret);
        nexus__key_parts parts = {.k = nexus__slice(secret, nexus__digest_size(alg->digest))};
        nexus_status status = nexus__pkey_from_parts(out, alg, &parts);
        nexus__wipe(secret, sizeof secret);
        return status;
    }
    EVP_PKEY *evp = generate(alg);
    if (!evp)
        return nexus__fail(NEXUS_ENOMEM, "no %s key could be generated", alg->name);
    return nexus__pkey_wrap(out, alg, evp, true);
}

/* --- one signature ------------------------------------------------------------------------------------------------ */

/* What one call needs, kept between calls: a digest context and a key context set up for this algorithm. */
typedef struct signer {
    EVP_MD_CTX *md;
    EVP_PKEY_CTX *pk; /* not for EdDSA, which signs with md */
} signer;

static void signer_free(signer *s)
{
    if (!s)
        return;
    EVP_MD_CTX_free(s->md);
    EVP_PKEY_CTX_free(s->pk);
    nexus__free(NULL, s);
}

static bool set_up_pk(const nexus__pkey *key, signer *s, bool sign)
{
    s->pk = EVP_PKEY_CTX_new_from_pkey(NULL, key->evp, NULL);
    if (!s->pk || (sign ? EVP_PKEY_sign_init(s->pk) : EVP_PKEY_verify_init(s->pk)) != 1)
        return false;
    if (key->alg->type != NEXUS__KEY_EC) {
        int padding = key->alg->type == NEXUS__KEY_PSS ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING;
        if (EVP_PKEY_CTX_set_rsa_padding(s->pk, padding) != 1)
            return false;
    }
    if (EVP_PKEY_CTX_set_signature_md(s->pk, key->md) != 1)
        return false;
    return key->alg->type != NEXUS__KEY_PSS ||
           (EVP_PKEY_CTX_set_rsa_mgf1_md(s->pk, key->md) == 1 &&
            EVP_PKEY_CTX_set_rsa_pss_saltlen(s->pk, (int)nexus__digest_size(key->alg->digest)) == 1);
}

static signer *signer_take(const nexus__pkey *key, bool sign)
{
    signer *s = nexus__pool_take(sign ? key->signing : key->verifying);
    if (s || !(s = nexus__calloc(NULL, 1, sizeof *s)))
        return s;
    s->md = EVP_MD_CTX_new();
    bool ok = s->md;
    if (ok && key->alg->type == NEXUS__KEY_ED25519)
        ok = EVP_DigestSignInit_ex(s->md, NULL, NULL, NULL, NULL, key->evp, NULL) == 1;
    else if (ok)
        ok = set_up_pk(key, s, sign);
    if (ok)
        return s;
    signer_free(s);
    return NULL;
}

static void signer_put(const nexus__pkey *key, signer *s, bool sign)
{
    signer_free(nexus__pool_put(sign ? key->signing : key->verifying, s));
}

static bool digest_of(const nexus__pkey *key, signer *s, nexus_slice message, uint8_t *out)
{
    return EVP_DigestInit_ex2(s->md, key->md, NULL) && EVP_DigestUpdate(s->md, message.p, message.n) &&
           EVP_DigestFinal_ex(s->md, out, NULL);
}

/* --- ECDSA: DER inside OpenSSL, two numbers of fixed length in JOSE ----------------------------------------------- */

static uint8_t *der_integer(uint8_t *at, const uint8_t *number, size_t n)
{
    while (n > 1 && *number == 0)
        number++, n--;
    bool pad = *number & 0x80;
    *at++ = 2;
    *at++ = (uint8_t)(n + pad);
    if (pad)
        *at++ = 0;
    memcpy(at, number, n);
    return at + n;
}

/* Zero as r or s is refused by OpenSSL. out takes 2 * field + 9 bytes. */
static size_t to_der(const uint8_t *raw, size_t field, uint8_t *out)
{
    uint8_t body[2 * 66 + 6];
    uint8_t *end = der_integer(der_integer(body, raw, field), raw + field, field);
    size_t n = (size_t)(end - body), head = 0;
    out[head++] = 0x30;
    if (n > 127)
        out[head++] = 0x81;
    out[head++] = (uint8_t)n;
    memcpy(out + head, body, n);
    return head + n;
}

static bool from_der(const uint8_t *der, size_t n, size_t field, uint8_t *raw)
{
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)n);
    bool ok = sig && BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, (int)field) > 0 &&
              BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + field, (int)field) > 0;
    ECDSA_SIG_free(sig);
    return ok;
}

/* --- sign, verify ------------------------------------------------------------------------------------------------- */

static bool sign_with(const nexus__pkey *key, signer *s, nexus_slice message, uint8_t *out)
{
    size_t n = NEXUS__SIGNATURE_MAX;
    if (key->alg->type == NEXUS__KEY_ED25519)
        return EVP_DigestSign(s->md, out, &n, (const uint8_t *)message.p, message.n) == 1;
    uint8_t digest[NEXUS__DIGEST_MAX], der[2 * 66 + 16];
    size_t digest_n = nexus__digest_size(key->alg->digest);
    if (!digest_of(key, s, message, digest))
        return false;
    if (key->alg->type != NEXUS__KEY_EC)
        return EVP_PKEY_sign(s->pk, out, &n, digest, digest_n) == 1;
    n = sizeof der;
    return EVP_PKEY_sign(s->pk, der, &n, digest, digest_n) == 1 && from_der(der, n, key->alg->field, out);
}

nexus_status nexus__pkey_sign(const nexus__pkey *key, nexus_slice message, uint8_t out[static NEXUS__SIGNATURE_MAX],
                              size_t *n)
{
    if (!key->is_private)
        return nexus__fail(NEXUS_EINVAL, "the key has no private part: it cannot sign");
    *n = key->size;
    if (key->hmac)
        return nexus__hmac_compute(key->hmac, &message, 1, out);
    signer *s = signer_take(key, true);
    if (!s)
        return nexus__nomem();
    bool ok = sign_with(key, s, message, out);
    signer_put(key, s, true);
    return ok ? NEXUS_OK : nexus__fail(NEXUS_ENOMEM, "%s: signing failed", key->alg->name);
}

static bool verify_with(const nexus__pkey *key, signer *s, nexus_slice message, nexus_slice signature)
{
    const uint8_t *sig = (const uint8_t *)signature.p;
    uint8_t digest[NEXUS__DIGEST_MAX], der[2 * 66 + 16];
    if (!digest_of(key, s, message, digest))
        return false;
    size_t n = signature.n;
    if (key->alg->type == NEXUS__KEY_EC) {
        n = to_der(sig, key->alg->field, der);
        sig = der;
    }
    return EVP_PKEY_verify(s->pk, sig, n, digest, nexus__digest_size(key->alg->digest)) == 1;
}

bool nexus__pkey_verify(const nexus__pkey *key, nexus_slice message, nexus_slice signature)
{
    if (signature.n != key->size)
        return false;
    if (key->hmac) {
        uint8_t code[NEXUS__DIGEST_MAX];
        return nexus__hmac_compute(key->hmac, &message, 1, code) == NEXUS_OK &&
               nexus__equal_ct(code, signature.p, signature.n);
    }
    if (key->alg->type == NEXUS__KEY_ED25519) /* libsodium, since OpenSSL 3.0 takes twice the time */
        return crypto_sign_verify_detached((const uint8_t *)signature.p, (const uint8_t *)message.p, message.n,
                                           key->ed25519) == 0;
    signer *s = signer_take(key, false);
    if (!s)
        return false;
    bool ok = verify_with(key, s, message, signature);
    signer_put(key, s, false);
    return ok;
}

static void drain(nexus__pool *pool)
{
    if (pool)
        for (void *s; (s = nexus__pool_take(pool));)
            signer_free(s);
    nexus__free(NULL, pool);
}

void nexus__pkey_free(nexus__pkey *key)
{
    if (!key)
        return;
    drain(key->verifying);
    drain(key->signing);
    EVP_PKEY_free(key->evp);
    EVP_MD_free(key->md);
    nexus__hmac_free(key->hmac);
    nexus__wipe(key->secret, key->secret_n);
    nexus__free(NULL, key->secret);
    nexus__free(NULL, key);
}
