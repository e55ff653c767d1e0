/* Keys from and to their numbers, and PEM. */
#include <limits.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>

#include "base/status.h"
#include "crypto/pkey_private.h"
#include "crypto/wipe.h"

static nexus_slice strip_zeros(nexus_slice number)
{
    while (number.n && number.p[0] == 0)
        number = nexus__slice_from(number, 1);
    return number;
}

/* --- which keys may be used --------------------------------------------------------------------------------------- */

static nexus_status check_rsa_numbers(nexus_slice n, nexus_slice e)
{
    n = strip_zeros(n);
    e = strip_zeros(e);
    if (n.n < 256 || (n.n == 256 && !(n.p[0] & 0x80)))
        return nexus__fail(NEXUS_EINVAL, "RSA keys under 2048 bits are refused");
    if (n.n > 1024)
        return nexus__fail(NEXUS_EINVAL, "RSA keys over 8192 bits are refused");
    /* 65537 is 01 00 01: three bytes or more with an odd end are it or greater. */
    bool large = e.n > 3 || (e.n == 3 && ((uint8_t)e.p[0] > 1 || e.p[1] || (uint8_t)e.p[2] >= 1));
    if (!large || e.n > 8 || !(e.p[e.n - 1] & 1))
        return nexus__fail(NEXUS_EINVAL, "RSA public exponents under 65537 are refused");
    if (nexus__roca_marked(n))
        return nexus__fail(NEXUS_EINVAL, "the RSA modulus has the ROCA fingerprint (CVE-2017-15361)");
    return NEXUS_OK;
}

static nexus_status check_pair(EVP_PKEY *evp, bool is_private)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, evp, NULL);
    bool ok = ctx && EVP_PKEY_public_check_quick(ctx) == 1 && (!is_private || EVP_PKEY_pairwise_check(ctx) == 1);
    EVP_PKEY_CTX_free(ctx);
    return ok ? NEXUS_OK : nexus__fail(NEXUS_EINVAL, "the numbers of the key do not fit together");
}

/* --- from numbers ------------------------------------------------------------------------------------------------- */

typedef struct numbers {
    OSSL_PARAM_BLD *bld;
    BIGNUM *kept[8]; /* the builder borrows them */
    size_t count;
    bool failed;
} numbers;

static void push(numbers *b, const char *name, nexus_slice value)
{
    if (b->failed || value.n == 0)
        return;
    BIGNUM *bn = value.n > NEXUS__SIGNATURE_MAX ? NULL : BN_secure_new();
    if (bn && BN_bin2bn((const uint8_t *)value.p, (int)value.n, bn) && OSSL_PARAM_BLD_push_BN(b->bld, name, bn))
        b->kept[b->count++] = bn;
    else {
        BN_free(bn);
        b->failed = true;
    }
}

static EVP_PKEY *finish(numbers *b, const char *type, bool is_private)
{
    OSSL_PARAM *params = b->failed ? NULL : OSSL_PARAM_BLD_to_param(b->bld);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    EVP_PKEY *evp = NULL;
    if (params && ctx && EVP_PKEY_fromdata_init(ctx) == 1 &&
        EVP_PKEY_fromdata(ctx, &evp, is_private ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY, params) != 1)
        evp = NULL;
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    for (size_t i = 0; i < b->count; i++)
        BN_clear_free(b->kept[i]);
    OSSL_PARAM_BLD_free(b->bld);
    return evp;
}

static nexus_status rsa_from_parts(EVP_PKEY **out, const nexus__key_parts *k)
{
    nexus_status status = check_rsa_numbers(k->n, k->e);
    if (status != NEXUS_OK)
        return status;
    numbers b = {.bld = OSSL_PARAM_BLD_new()};
    b.failed = !b.bld;
    push(&b, OSSL_PKEY_PARAM_RSA_N, k->n);
    push(&b, OSSL_PKEY_PARAM_RSA_E, k->e);
    push(&b, OSSL_PKEY_PARAM_RSA_D, k->d);
    if (k->d.n && k->p.n && k->q.n && k->dp.n && k->dq.n && k->qi.n) {
        push(&b, OSSL_PKEY_PARAM_RSA_FACTOR1, k->p);
        push(&b, OSSL_PKEY_PARAM_RSA_FACTOR2, k->q);
        push(&b, OSSL_PKEY_PARAM_RSA_EXPONENT1, k->dp);
        push(&b, OSSL_PKEY_PARAM_RSA_EXPONENT2, k->dq);
        push(&b, OSSL_PKEY_PARAM_RSA_COEFFICIENT1, k->qi);
    }
    *out = finish(&b, "RSA", k->d.n > 0);
    return *out ? NEXUS_OK : nexus__fail(NEXUS_EINVAL, "the numbers of the RSA key are refused");
}

static nexus_status ec_from_parts(EVP_PKEY **out, const nexus__sigalg *alg, const nexus__key_parts *k)
{
    if (k->x.n != alg->field || k->y.n != alg->field || (k->d.n && k->d.n != alg->field))
        return nexus__fail(NEXUS_EINVAL, "coordinates of a %s key have %zu bytes", alg->crv, alg->field);
    uint8_t point[1 + 2 * 66] = {4};
    memcpy(point + 1, k->x.p, alg->field);
    memcpy(point + 1 + alg->field, k->y.p, alg->field);
    numbers b = {.bld = OSSL_PARAM_BLD_new()};
    b.failed = !b.bld || !OSSL_PARAM_BLD_push_utf8_string(b.bld, OSSL_PKEY_PARAM_GROUP_NAME, alg->group, 0) ||
               !OSSL_PARAM_BLD_push_octet_string(b.bld, OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * alg->field);
    push(&b, OSSL_PKEY_PARAM_PRIV_KEY, k->d);
    *out = finish(&b, "EC", k->d.n > 0);
    return *out ? NEXUS_OK : nexus__fail(NEXUS_EINVAL, "the point is not on %s", alg->crv);
}

static nexus_status okp_from_parts(EVP_PKEY **out, const nexus__key_parts *k)
{
    if (k->x.n != 32 || (k->d.n && k->d.n != 32))
        return nexus__fail(NEXUS_EINVAL, "an Ed25519 key has 32 bytes");
    const uint8_t *x = (const uint8_t *)k->x.p, *d = (const uint8_t *)k->d.p;
    EVP_PKEY *evp = k->d.n ? EVP_PKEY_new_raw_private_key_ex(NULL, "ED25519", NULL, d, 32)
                           : EVP_PKEY_new_raw_public_key_ex(NULL, "ED25519", NULL, x, 32);
    uint8_t pub[32];
    size_t n = sizeof pub;
    if (!evp || EVP_PKEY_get_raw_public_key(evp, pub, &n) != 1 || memcmp(pub, x, 32) != 0) {
        EVP_PKEY_free(evp);
        return nexus__fail(NEXUS_EINVAL, "the private part does not belong to the public one");
    }
    *out = evp;
    return NEXUS_OK;
}

static nexus_status hmac_from_parts(nexus__pkey **out, const nexus__sigalg *alg, nexus_slice k)
{
    size_t least = nexus__digest_size(alg->digest);
    if (k.n < least || k.n > 4096)
        return nexus__fail(NEXUS_EINVAL, "%s secrets have %zu to 4096 bytes", alg->name, least);
    nexus__pkey *key = nexus__calloc(NULL, 1, sizeof *key);
    if (!key || !(key->secret = nexus__malloc(NULL, k.n)) ||
        nexus__hmac_new(&key->hmac, alg->digest, k.p, k.n) != NEXUS_OK) {
        nexus__pkey_free(key);
        return nexus__nomem();
    }
    memcpy(key->secret, k.p, k.n);
    key->secret_n = k.n;
    key->alg = alg;
    key->is_private = true;
    key->size = least;
    *out = key;
    return NEXUS_OK;
}

nexus_status nexus__pkey_from_parts(nexus__pkey **out, const nexus__sigalg *alg, const nexus__key_parts *parts)
{
    EVP_PKEY *evp = NULL;
    nexus_status status;
    switch (alg->type) {
    case NEXUS__KEY_HMAC:
        return hmac_from_parts(out, alg, parts->k);
    case NEXUS__KEY_EC:
        status = ec_from_parts(&evp, alg, parts);
        break;
    case NEXUS__KEY_ED25519:
        status = okp_from_parts(&evp, parts);
        break;
    default:
        status = rsa_from_parts(&evp, parts);
    }
    if (status == NEXUS_OK && alg->type != NEXUS__KEY_ED25519)
        status = check_pair(evp, parts->d.n > 0);
    if (status == NEXUS_OK)
        return nexus__pkey_wrap(out, alg, evp, parts->d.n > 0);
    EVP_PKEY_free(evp);
    return status;
}

/* --- PEM ---------------------------------------------------------------------------------------------------------- */

static int no_passphrase(char *buf, int size, int rwflag, void *user_data)
{
    (void)buf, (void)size, (void)rwflag, (void)user_data;
    return -1; /* the default would ask on the terminal */
}

static EVP_PKEY *read_pem(nexus_slice pem, bool *is_private)
{
    EVP_PKEY *evp = NULL;
    BIO *bio = pem.n <= INT_MAX ? BIO_new_mem_buf(pem.p, (int)pem.n) : NULL;
    *is_private = nexus__slice_search(pem, NEXUS_S("PRIVATE KEY-----")) < pem.n;
    if (bio && *is_private)
        evp = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    else if (bio)
        evp = PEM_read_bio_PUBKEY(bio, NULL, no_passphrase, NULL);
    BIO_free(bio);
    return evp;
}

static const nexus__sigalg *alg_of(EVP_PKEY *evp)
{
    char group[64];
    size_t n;
    if (EVP_PKEY_is_a(evp, "ED25519"))
        return nexus__sigalg_find(NEXUS_S("EdDSA"));
    if (!EVP_PKEY_is_a(evp, "EC") || !EVP_PKEY_get_group_name(evp, group, sizeof group, &n))
        return NULL;
    return strcmp(group, "prime256v1") == 0  ? nexus__sigalg_find(NEXUS_S("ES256"))
           : strcmp(group, "secp384r1") == 0 ? nexus__sigalg_find(NEXUS_S("ES384"))
           : strcmp(group, "secp521r1") == 0 ? nexus__sigalg_find(NEXUS_S("ES512"))
                                             : NULL;
}

static nexus_status fits(EVP_PKEY *evp, const nexus__sigalg *alg)
{
    if (!EVP_PKEY_is_a(evp, "RSA"))
        return alg == alg_of(evp) ? NEXUS_OK : nexus__fail(NEXUS_EINVAL, "alg: %s does not fit the key", alg->name);
    if (alg->type != NEXUS__KEY_RSA && alg->type != NEXUS__KEY_PSS)
        return nexus__fail(NEXUS_EINVAL, "alg: %s does not fit an RSA key", alg->name);
    nexus__pkey view = {.alg = alg, .evp = evp};
    nexus__key_parts parts;
    uint8_t *block;
    size_t n;
    nexus_status status = nexus__pkey_parts(&view, false, &parts, &block, &n);
    if (status == NEXUS_OK) {
        status = check_rsa_numbers(parts.n, parts.e);
        nexus__free(NULL, block);
    }
    return status;
}

nexus_status nexus__pkey_from_pem(nexus__pkey **out, const nexus__sigalg *alg, nexus_slice pem)
{
    bool is_private;
    EVP_PKEY *evp = read_pem(pem, &is_private);
    if (!evp)
        return nexus__fail(NEXUS_EINVAL, "not a PEM key this build can read (encrypted ones are not)");
    if (!alg)
        alg = alg_of(evp);
    nexus_status status = alg ? fits(evp, alg) : nexus__fail(NEXUS_EINVAL, "alg: say which algorithm this key is for");
    if (status == NEXUS_OK && alg->type != NEXUS__KEY_ED25519)
        status = check_pair(evp, is_private);
    if (status == NEXUS_OK)
        return nexus__pkey_wrap(out, alg, evp, is_private);
    EVP_PKEY_free(evp);
    return status;
}

nexus_status nexus__pkey_print_pem(const nexus__pkey *key, bool with_private, char **out, size_t *n)
{
    if (!key->evp)
        return nexus__fail(NEXUS_ENOTSUP, "HMAC keys have no PEM form");
    if (with_private && !key->is_private)
        return nexus__fail(NEXUS_EINVAL, "the key has no private part");
    BIO *bio = BIO_new(BIO_s_secmem());
    bool ok = bio && (with_private ? PEM_write_bio_PKCS8PrivateKey(bio, key->evp, NULL, NULL, 0, NULL, NULL)
                                   : PEM_write_bio_PUBKEY(bio, key->evp)) == 1;
    char *text, *copy = NULL;
    long length = ok ? BIO_get_mem_data(bio, &text) : 0;
    if (ok)
        copy = nexus__strndup(NULL, nexus__slice(text, (size_t)length));
    BIO_free(bio);
    if (!copy)
        return nexus__nomem();
    *out = copy;
    *n = (size_t)length;
    return NEXUS_OK;
}

/* --- to numbers --------------------------------------------------------------------------------------------------- */

typedef struct export
{
    EVP_PKEY *evp;
    uint8_t *at, *end;
    bool failed;
}
export;

/* pad 0 = as long as the number is. */
static nexus_slice take(export *e, const char *name, size_t pad)
{
    BIGNUM *bn = NULL;
    nexus_slice got = {0};
    size_t n = EVP_PKEY_get_bn_param(e->evp, name, &bn) == 1 ? pad ? pad : (size_t)BN_num_bytes(bn) : 0;
    if (n == 0 || n > (size_t)(e->end - e->at) || BN_bn2binpad(bn, e->at, (int)n) < 0)
        e->failed = true;
    else {
        got = nexus__slice(e->at, n);
        e->at += n;
    }
    BN_clear_free(bn);
    return got;
}

static void take_rsa(export *e, bool with_private, nexus__key_parts *out)
{
    out->n = take(e, OSSL_PKEY_PARAM_RSA_N, 0);
    out->e = take(e, OSSL_PKEY_PARAM_RSA_E, 0);
    if (!with_private)
        return;
    out->d = take(e, OSSL_PKEY_PARAM_RSA_D, 0);
    out->p = take(e, OSSL_PKEY_PARAM_RSA_FACTOR1, 0);
    out->q = take(e, OSSL_PKEY_PARAM_RSA_FACTOR2, 0);
    out->dp = take(e, OSSL_PKEY_PARAM_RSA_EXPONENT1, 0);
    out->dq = take(e, OSSL_PKEY_PARAM_RSA_EXPONENT2, 0);
    out->qi = take(e, OSSL_PKEY_PARAM_RSA_COEFFICIENT1, 0);
}

static void take_okp(export *e, bool with_private, nexus__key_parts *out)
{
    size_t n = 32;
    e->failed = EVP_PKEY_get_raw_public_key(e->evp, e->at, &n) != 1;
    out->x = nexus__slice(e->at, 32);
    e->at += 32;
    if (!with_private || e->failed)
        return;
    e->failed = EVP_PKEY_get_raw_private_key(e->evp, e->at, &n) != 1;
    out->d = nexus__slice(e->at, 32);
    e->at += 32;
}

nexus_status nexus__pkey_parts(const nexus__pkey *key, bool with_private, nexus__key_parts *parts, uint8_t **block,
                               size_t *block_n)
{
    if (with_private && !key->is_private)
        return nexus__fail(NEXUS_EINVAL, "the key has no private part");
    size_t size = 8 * NEXUS__SIGNATURE_MAX;
    uint8_t *memory = nexus__malloc(NULL, size);
    if (!memory)
        return nexus__nomem();
    export e = {.evp = key->evp, .at = memory, .end = memory + size};
    nexus__key_parts got = {0};
    if (key->alg->type == NEXUS__KEY_HMAC) {
        memcpy(memory, key->secret, key->secret_n);
        got.k = nexus__slice(memory, key->secret_n);
    } else if (key->alg->type == NEXUS__KEY_ED25519) {
        take_okp(&e, with_private, &got);
    } else if (key->alg->type == NEXUS__KEY_EC) {
        got.x = take(&e, OSSL_PKEY_PARAM_EC_PUB_X, key->alg->field);
        got.y = take(&e, OSSL_PKEY_PARAM_EC_PUB_Y, key->alg->field);
        if (with_private)
            got.d = take(&e, OSSL_PKEY_PARAM_PRIV_KEY, key->alg->field);
    } else {
        take_rsa(&e, with_private, &got);
    }
    if (e.failed) {
        nexus__wipe(memory, size);
        nexus__free(NULL, memory);
        return nexus__fail(NEXUS_EINVAL, "the key's numbers cannot be read");
    }
    *parts = got;
    *block = memory;
    *block_n = size;
    return NEXUS_OK;
}
