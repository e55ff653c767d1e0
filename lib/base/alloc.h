/* Memory through the instance's allocator; NULL means the C library's. */
#ifndef NEXUS_BASE_ALLOC_H
#define NEXUS_BASE_ALLOC_H

#include <nexus/alloc.h>
#include <nexus/status.h>

void *nexus__malloc(const nexus_alloc *a, size_t size);
void *nexus__calloc(const nexus_alloc *a, size_t count, size_t size); /* zeroed; NULL on overflow too */
void *nexus__realloc(const nexus_alloc *a, void *ptr, size_t size);
void nexus__free(const nexus_alloc *a, void *ptr);

#endif
