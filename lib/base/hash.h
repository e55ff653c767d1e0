/* Keyed hash for tables whose keys come from strangers: SipHash-1-3 (Aumasson, Bernstein 2012). */
#ifndef NEXUS_BASE_HASH_H
#define NEXUS_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

typedef struct nexus__hash_key {
    uint64_t k0, k1;
} nexus__hash_key;

nexus__hash_key nexus__hash_key_random(void);
uint64_t nexus__siphash(nexus__hash_key key, const void *data, size_t n);
/* Its form with 128 bits, for tables that know their keys by the hash alone. */
void nexus__siphash128(nexus__hash_key key, const void *data, size_t n, uint64_t out[static 2]);

/* Good mixing of one word, for ids that nobody outside chooses. */
static inline uint64_t nexus__mix64(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

#endif
