/*
 * Hash map from byte keys to pointers: open addressing, keyed hash, insertion order of nothing. Keys are borrowed:
 * they must live as long as their entry (usually inside the value). Not thread-safe.
 */
#ifndef NEXUS_BASE_MAP_H
#define NEXUS_BASE_MAP_H

#include "base/hash.h"
#include "base/str.h"

typedef struct nexus__map_entry {
    nexus_slice key;
    void *value; /* NULL = free slot */
    uint64_t hash;
} nexus__map_entry;

typedef struct nexus__map {
    nexus__map_entry *slots;
    size_t count, cap; /* cap is 0 or a power of two */
    nexus__hash_key key;
    const nexus_alloc *alloc;
} nexus__map;

void nexus__map_init(nexus__map *m, const nexus_alloc *alloc);
void nexus__map_free(nexus__map *m); /* the values are the caller's */
void *nexus__map_get(const nexus__map *m, nexus_slice key);
/* Puts or replaces (value not NULL); *old, when wanted, is what stood there or NULL. */
nexus_status nexus__map_put(nexus__map *m, nexus_slice key, void *value, void **old) NEXUS_MUST_CHECK;
void *nexus__map_remove(nexus__map *m, nexus_slice key); /* the value taken out, or NULL */
/* Walks: start with *cursor = 0; NULL at the end. The map must not change meanwhile. */
nexus__map_entry *nexus__map_next(const nexus__map *m, size_t *cursor);

#endif
