/*
 * How many different values: an exact set up to 4,096, HyperLogLog with 2^14 registers beyond (Flajolet, Fusy, Gandouet,
 * Meunier 2007), estimated as in Ertl, "New cardinality estimation algorithms for HyperLogLog sketches" (2017), which
 * needs no bias tables. Standard error 0.81 %. Values are given as 64-bit hashes. Not thread-safe.
 */
#ifndef NEXUS_INGEST_UNIQUES_H
#define NEXUS_INGEST_UNIQUES_H

#include "base/str.h"

#define NEXUS__UNIQUES_EXACT 4096
#define NEXUS__UNIQUES_P 14

typedef struct nexus__uniques {
    uint64_t *set;  /* open-addressed, 0 = free; NULL once dense */
    uint8_t *dense; /* 2^14 registers, or NULL while exact */
    uint32_t count, cap;
} nexus__uniques;

nexus_status nexus__uniques_add(nexus__uniques *u, const nexus_alloc *alloc, uint64_t hash) NEXUS_MUST_CHECK;
nexus_status nexus__uniques_merge(nexus__uniques *into, const nexus_alloc *alloc,
                                  const nexus__uniques *from) NEXUS_MUST_CHECK;
uint64_t nexus__uniques_count(const nexus__uniques *u);
static inline bool nexus__uniques_exact(const nexus__uniques *u)
{
    return u->dense == NULL;
}
void nexus__uniques_free(nexus__uniques *u, const nexus_alloc *alloc);

#endif
