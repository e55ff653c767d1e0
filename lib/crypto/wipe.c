#include "crypto/wipe.h"

#include <openssl/crypto.h>

bool nexus__equal_ct(const void *a, const void *b, size_t n)
{
    return n == 0 || CRYPTO_memcmp(a, b, n) == 0;
}

bool nexus__slice_eq_ct(nexus_slice a, nexus_slice b)
{
    return a.n == b.n && nexus__equal_ct(a.p, b.p, a.n);
}

void nexus__wipe(void *p, size_t n)
{
    if (n)
        OPENSSL_cleanse(p, n);
}
