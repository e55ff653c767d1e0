#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

void *nexus__malloc(const nexus_alloc *a, size_t size)
{
    return a ? a->malloc_fn(size, a->user_data) : malloc(size);
}

void *nexus__calloc(const nexus_alloc *a, size_t count, size_t size)
{
    if (!a)
        return calloc(count, size);
    size_t total;
    if (__builtin_mul_overflow(count, size, &total))
        return NULL;
    void *ptr = a->malloc_fn(total, a->user_data);
    if (ptr)
        memset(ptr, 0, total);
    return ptr;
}

void *nexus__realloc(const nexus_alloc *a, void *ptr, size_t size)
{
    return a ? a->realloc_fn(ptr, size, a->user_data) : realloc(ptr, size);
}

void nexus__free(const nexus_alloc *a, void *ptr)
{
    if (a)
        a->free_fn(ptr, a->user_data);
    else
        free(ptr);
}

void nexus_free(void *ptr)
{
    free(ptr);
}
