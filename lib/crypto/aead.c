#include "crypto/aead.h"

#include <limits.h>
#include <openssl/evp.h>

#include "base/status.h"
#include "crypto/pool.h"
#include "crypto/wipe.h"

struct nexus__aead {
    EVP_CIPHER *cipher;
    uint8_t key[NEXUS__AEAD_KEY];
    nexus__pool idle;
};

nexus_status nexus__aead_new(nexus__aead **out, const uint8_t key[static NEXUS__AEAD_KEY])
{
    nexus__aead *a = nexus__calloc(NULL, 1, sizeof *a);
    if (!a || !(a->cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL))) {
        nexus__aead_free(a);
        return nexus__nomem();
    }
    memcpy(a->key, key, sizeof a->key);
    *out = a;
    return NEXUS_OK;
}

static EVP_CIPHER_CTX *start(nexus__aead *a, const uint8_t *nonce, nexus_slice context, int encrypt)
{
    EVP_CIPHER_CTX *ctx = nexus__pool_take(&a->idle);
    int n;
    if (!ctx)
        ctx = EVP_CIPHER_CTX_new();
    if (ctx && EVP_CipherInit_ex2(ctx, a->cipher, a->key, nonce, encrypt, NULL) &&
        (context.n == 0 || EVP_CipherUpdate(ctx, NULL, &n, (const uint8_t *)context.p, (int)context.n)))
        return ctx;
    EVP_CIPHER_CTX_free(ctx);
    return NULL;
}

static void stop(nexus__aead *a, EVP_CIPHER_CTX *ctx)
{
    EVP_CIPHER_CTX_reset(ctx); /* an idle context holds no key */
    EVP_CIPHER_CTX_free(nexus__pool_put(&a->idle, ctx));
}

nexus_status nexus__aead_seal(nexus__aead *a, const uint8_t nonce[static NEXUS__AEAD_NONCE], nexus_slice context,
                              nexus_slice plain, uint8_t *out)
{
    if (plain.n > INT_MAX - NEXUS__AEAD_TAG || context.n > INT_MAX)
        return nexus__fail(NEXUS_ETOOBIG, "a value to seal has at most 2 GiB");
    EVP_CIPHER_CTX *ctx = start(a, nonce, context, 1);
    if (!ctx)
        return nexus__nomem();
    int n = 0;
    bool ok = (plain.n == 0 || EVP_CipherUpdate(ctx, out, &n, (const uint8_t *)plain.p, (int)plain.n)) &&
              EVP_CipherFinal_ex(ctx, out + plain.n, &n) &&
              EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, NEXUS__AEAD_TAG, out + plain.n);
    stop(a, ctx);
    return ok ? NEXUS_OK : nexus__nomem();
}

nexus_status nexus__aead_open(nexus__aead *a, const uint8_t nonce[static NEXUS__AEAD_NONCE], nexus_slice context,
                              nexus_slice sealed, uint8_t *out)
{
    if (sealed.n < NEXUS__AEAD_TAG || sealed.n > INT_MAX || context.n > INT_MAX)
        return nexus__fail(NEXUS_ECORRUPT, "the sealed value is cut");
    EVP_CIPHER_CTX *ctx = start(a, nonce, context, 0);
    if (!ctx)
        return nexus__nomem();
    size_t n = sealed.n - NEXUS__AEAD_TAG;
    uint8_t tag[NEXUS__AEAD_TAG];
    memcpy(tag, sealed.p + n, sizeof tag);
    int got = 0;
    bool ok = (n == 0 || EVP_CipherUpdate(ctx, out, &got, (const uint8_t *)sealed.p, (int)n)) &&
              EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, NEXUS__AEAD_TAG, tag) &&
              EVP_CipherFinal_ex(ctx, out + n, &got);
    stop(a, ctx);
    if (ok)
        return NEXUS_OK;
    nexus__wipe(out, n);
    return nexus__fail(NEXUS_ECORRUPT, "the sealed value was changed or belongs to another context");
}

void nexus__aead_free(nexus__aead *a)
{
    if (!a)
        return;
    for (void *ctx; (ctx = nexus__pool_take(&a->idle));)
        EVP_CIPHER_CTX_free(ctx);
    EVP_CIPHER_free(a->cipher);
    nexus__wipe(a->key, sizeof a->key);
    nexus__free(NULL, a);
}
