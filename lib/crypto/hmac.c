#include "crypto/hmac.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>

#include "base/status.h"
#include "crypto/pool.h"

struct nexus__hmac {
    EVP_MAC_CTX *keyed; /* never used itself: idle contexts are copies of it */
    nexus__pool idle;
};

nexus_status nexus__hmac_new(nexus__hmac **out, nexus__digest digest, const void *key, size_t n)
{
    nexus__hmac *h = nexus__calloc(NULL, 1, sizeof *h);
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)(uintptr_t)nexus__digest_name(digest), 0),
        OSSL_PARAM_construct_end(),
    };
    bool ok =
        h && mac && (h->keyed = EVP_MAC_CTX_new(mac)) && EVP_MAC_init(h->keyed, n ? key : (const void *)"", n, params);
    EVP_MAC_free(mac);
    if (!ok) {
        nexus__hmac_free(h);
        return nexus__nomem();
    }
    *out = h;
    return NEXUS_OK;
}

nexus_status nexus__hmac_compute(nexus__hmac *h, const nexus_slice *pieces, size_t count, uint8_t *out)
{
    EVP_MAC_CTX *ctx = nexus__pool_take(&h->idle);
    if (!ctx && !(ctx = EVP_MAC_CTX_dup(h->keyed)))
        return nexus__nomem();
    bool ok = true;
    for (size_t i = 0; i < count && ok; i++)
        ok = pieces[i].n == 0 || EVP_MAC_update(ctx, (const uint8_t *)pieces[i].p, pieces[i].n);
    size_t size = 0;
    ok = ok && EVP_MAC_final(ctx, out, &size, NEXUS__DIGEST_MAX) && EVP_MAC_init(ctx, NULL, 0, NULL);
    if (!ok || nexus__pool_put(&h->idle, ctx))
        EVP_MAC_CTX_free(ctx);
    return ok ? NEXUS_OK : nexus__nomem();
}

void nexus__hmac_free(nexus__hmac *h)
{
    if (!h)
        return;
    for (void *ctx; (ctx = nexus__pool_take(&h->idle));)
        EVP_MAC_CTX_free(ctx);
    EVP_MAC_CTX_free(h->keyed);
    nexus__free(NULL, h);
}
