#include "base/hash.h"

#include <string.h>

#include "base/id.h"

nexus__hash_key nexus__hash_key_random(void)
{
    nexus__hash_key key;
    nexus__random(&key, sizeof key);
    return key;
}

static inline uint64_t rotl(uint64_t x, int bits)
{
    return (x << bits) | (x >> (64 - bits));
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[0] = rotl(v[0], 32);
    v[2] += v[3];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[2] = rotl(v[2], 32);
}

/* The up to seven bytes behind the last whole word. */
static inline uint64_t rest_of(const unsigned char *p, size_t n)
{
    uint64_t word = 0;
    if (n >= 8 && n % 8) { /* the last eight bytes, less those of the word before */
        memcpy(&word, p + n - 8, 8);
        return word >> (64 - 8 * (n % 8));
    }
    for (size_t i = n & ~(size_t)7; i < n; i++)
        word |= (uint64_t)p[i] << (8 * (i % 8));
    return word;
}

static inline void absorb(uint64_t v[4], const void *data, size_t n)
{
    const unsigned char *p = data;
    size_t whole = n & ~(size_t)7;
    for (size_t i = 0; i < whole; i += 8) {
        uint64_t word;
        memcpy(&word, p + i, 8);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    uint64_t last = (uint64_t)n << 56 | rest_of(p, n);
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;
}

static inline uint64_t squeeze(uint64_t v[4])
{
    sip_round(v);
    sip_round(v);
    sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t nexus__siphash(nexus__hash_key key, const void *data, size_t n)
{
    uint64_t v[4] = {key.k0 ^ 0x736f6d6570736575u, key.k1 ^ 0x646f72616e646f6du, key.k0 ^ 0x6c7967656e657261u,
                     key.k1 ^ 0x7465646279746573u};
    absorb(v, data, n);
    v[2] ^= 0xff;
    return squeeze(v);
}

void nexus__siphash128(nexus__hash_key key, const void *data, size_t n, uint64_t out[static 2])
{
    uint64_t v[4] = {key.k0 ^ 0x736f6d6570736575u, key.k1 ^ 0x646f72616e646f6du ^ 0xee, key.k0 ^ 0x6c7967656e657261u,
                     key.k1 ^ 0x7465646279746573u};
    absorb(v, data, n);
    v[2] ^= 0xee;
    out[0] = squeeze(v);
    v[1] ^= 0xdd;
    out[1] = squeeze(v);
}
