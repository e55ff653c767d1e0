#include "crypto/hash.h"

#include <openssl/evp.h>

#include "base/status.h"

static const struct {
    const char *name;
    size_t size;
} digests[] = {
    [NEXUS__SHA1] = {"SHA1", 20},
    [NEXUS__SHA256] = {"SHA256", 32},
    [NEXUS__SHA384] = {"SHA384", 48},
    [NEXUS__SHA512] = {"SHA512", 64},
};

struct nexus__hasher {
    EVP_MD *md;
    EVP_MD_CTX *ctx;
    bool failed;
};

size_t nexus__digest_size(nexus__digest digest)
{
    return digests[digest].size;
}

const char *nexus__digest_name(nexus__digest digest)
{
    return digests[digest].name;
}

nexus_status nexus__hash(nexus__digest digest, nexus_slice message, uint8_t *out)
{
    if (!EVP_Q_digest(NULL, digests[digest].name, NULL, message.n ? message.p : "", message.n, out, NULL))
        return nexus__fail(NEXUS_ENOMEM, "%s could not be computed", digests[digest].name);
    return NEXUS_OK;
}

nexus_status nexus__hasher_new(nexus__hasher **out, nexus__digest digest)
{
    nexus__hasher *h = nexus__calloc(NULL, 1, sizeof *h);
    if (!h)
        return nexus__nomem();
    h->md = EVP_MD_fetch(NULL, digests[digest].name, NULL);
    h->ctx = EVP_MD_CTX_new();
    if (!h->md || !h->ctx || !EVP_DigestInit_ex2(h->ctx, h->md, NULL)) {
        nexus__hasher_free(h);
        return nexus__nomem();
    }
    *out = h;
    return NEXUS_OK;
}

void nexus__hasher_update(nexus__hasher *h, const void *data, size_t n)
{
    if (n && !EVP_DigestUpdate(h->ctx, data, n))
        h->failed = true;
}

nexus_status nexus__hasher_final(nexus__hasher *h, uint8_t *out)
{
    bool ok = EVP_DigestFinal_ex(h->ctx, out, NULL) && !h->failed;
    h->failed = !EVP_DigestInit_ex2(h->ctx, h->md, NULL);
    return ok ? NEXUS_OK : nexus__nomem();
}

void nexus__hasher_free(nexus__hasher *h)
{
    if (!h)
        return;
    EVP_MD_CTX_free(h->ctx);
    EVP_MD_free(h->md);
    nexus__free(NULL, h);
}
