/* Memory through the instance's allocator; NULL means the C library's. */
#ifndef NEXUS_BASE_ALLOC_H
#define NEXUS_BASE_ALLOC_H

#include <nexus/alloc.h>
#include <nexus/status.h>

void *nexus__malloc(const nexus_alloc *a, size_t size);
void *nexus__calloc(const nexus_alloc *a, size_t count, size_t size); /* zeroed; NULL on overflow too */
void *nexus__realloc(const nexus_alloc *a, void *ptr, size_t size);
void nexus__free(const nexus_alloc *a, void *ptr);
/* Zeroed memory for a table that is visited at random: it begins on a cache line, and the system is asked for large pages
 * when it is big. Freed by nexus__free_table alone. */
void *nexus__calloc_table(const nexus_alloc *a, size_t count, size_t size);
void nexus__free_table(const nexus_alloc *a, void *table);

#endif
