/* Hash table over 128-bit keyed hashes, for what is too many to keep by name: heads of streams. */
#ifndef NEXUS_BUS_TABLE_H
#define NEXUS_BUS_TABLE_H

#include "base/hash.h"
#include "base/str.h"

typedef struct nexus__key128 {
    uint64_t a, b; /* never both 0 */
} nexus__key128;

typedef struct nexus__table_entry {
    nexus__key128 key; /* 0, 0 = free */
    uint64_t value, extra;
} nexus__table_entry;

typedef struct nexus__table {
    nexus__table_entry *slots;
    size_t count, cap;
    nexus__hash_key key;
    const nexus_alloc *alloc;
} nexus__table;

void nexus__table_init(nexus__table *t, const nexus_alloc *alloc);
void nexus__table_free(nexus__table *t);
nexus__key128 nexus__key128_of(nexus__hash_key key, nexus_slice first, nexus_slice second);
nexus__key128 nexus__table_key(const nexus__table *t, nexus_slice first, nexus_slice second);
nexus__table_entry *nexus__table_get(const nexus__table *t, nexus__key128 key);
/* The entry of key, made when absent (value and extra 0); NULL when out of memory. Moves entries. */
nexus__table_entry *nexus__table_put(nexus__table *t, nexus__key128 key);
/* Room for n entries without growing; false: no memory. */
bool nexus__table_reserve(nexus__table *t, size_t n);

/* Tells the processor that key is about to be looked for. */
static inline void nexus__table_prefetch(const nexus__table *t, nexus__key128 key)
{
    if (t->cap)
        __builtin_prefetch(&t->slots[key.a & (t->cap - 1)]);
}

#endif
