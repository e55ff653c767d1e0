/* Memory that lives and dies together: bump allocation in chunks. Not thread-safe. */
#ifndef NEXUS_BASE_ARENA_H
#define NEXUS_BASE_ARENA_H

#include "base/str.h"

typedef struct nexus__arena_chunk nexus__arena_chunk;

typedef struct nexus__arena {
    char *at, *end; /* free space of the newest chunk */
    nexus__arena_chunk *chunks;
    const nexus_alloc *alloc;
    size_t chunk_bytes;
} nexus__arena;

/* chunk_bytes 0 = 4096. Allocates nothing yet. */
void nexus__arena_init(nexus__arena *a, const nexus_alloc *alloc, size_t chunk_bytes);
/* Forgets everything but one chunk of the usual size, so that a warm arena allocates no more. */
void nexus__arena_reset(nexus__arena *a);
void nexus__arena_free(nexus__arena *a);

void *nexus__arena_grow(nexus__arena *a, size_t size); /* the slow path of nexus__arena_get */

/* size bytes aligned to 16, uninitialised; NULL when out of memory. */
static inline void *nexus__arena_get(nexus__arena *a, size_t size)
{
    size = (size + 15) & ~(size_t)15;
    if ((size_t)(a->end - a->at) < size)
        return nexus__arena_grow(a, size);
    void *p = a->at;
    a->at += size;
    return p;
}

/* A NUL-terminated copy of the slice; .p is NULL when out of memory. */
nexus_slice nexus__arena_copy(nexus__arena *a, nexus_slice text);

#endif
