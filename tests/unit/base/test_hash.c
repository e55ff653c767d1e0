/* base/hash: SipHash-1-3. Its values stand on disks: streams are known by them. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "base/hash.h"

static const nexus__hash_key key = {0x0706050403020100u, 0x0f0e0d0c0b0a0908u};

Test(hash, siphash_is_that_of_the_paper)
{
    static const unsigned char in[2] = {0, 1};
    cr_assert(nexus__siphash(key, in, 0) == 0xabac0158050fc4dcu);
    cr_assert(nexus__siphash(key, in, 1) == 0xc9f49bf37d57ca93u);
    cr_assert(nexus__siphash(key, in, 2) == 0x82cb9b024dc7d44du);
}

Test(hash, siphash_of_every_length_stays_what_it_was)
{
    unsigned char in[64];
    uint64_t all = 0, high = 0, low = 0;
    for (unsigned i = 0; i < sizeof in; i++)
        in[i] = (unsigned char)i;
    for (size_t n = 0; n < sizeof in; n++) {
        uint64_t wide[2];
        nexus__siphash128(key, in, n, wide);
        all = all * 31 + nexus__siphash(key, in, n);
        high = high * 31 + wide[0];
        low = low * 31 + wide[1];
    }
    cr_assert(all == 0x71020056298ad661u && high == 0x8b9149eab5a530a5u && low == 0x0f769cf9354e19dau);
}

Test(hash, nothing_behind_the_end_is_read)
{
    for (size_t n = 0; n < 40; n++) { /* the address sanitizer watches */
        char longer[48], *exact = malloc(n);
        memset(longer, 'x', sizeof longer);
        memset(longer + n, 'y', sizeof longer - n);
        memcpy(exact, longer, n);
        cr_assert(nexus__siphash(key, exact, n) == nexus__siphash(key, longer, n));
        free(exact);
    }
}
