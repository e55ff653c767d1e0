#include "base/alloc.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

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

/* --- tables ---- */

enum { LINE = 64, LARGE_PAGE = 2 << 20 };

/* What is worth large pages begins on one, or the small ones at its edges cost more than all the large ones between. */
void *nexus__calloc_table(const nexus_alloc *a, size_t count, size_t size)
{
    if (size && count > (SIZE_MAX - LARGE_PAGE - sizeof(void *)) / size)
        return NULL;
    bool large = count * size >= (size_t)2 * LARGE_PAGE;
    size_t align = large ? LARGE_PAGE : LINE;
    char *raw = nexus__calloc(a, 1, count * size + align + sizeof raw);
    if (!raw)
        return NULL;
    uintptr_t at = ((uintptr_t)raw + sizeof raw + align - 1) / align * align;
    char *table = raw + (at - (uintptr_t)raw);
    memcpy(table - sizeof raw, &raw, sizeof raw);
    if (large)
        (void)madvise(table, count * size / LARGE_PAGE * LARGE_PAGE, MADV_HUGEPAGE); /* small ones do as well, slower */
    return table;
}

void nexus__free_table(const nexus_alloc *a, void *table)
{
    char *raw = NULL;
    if (table)
        memcpy(&raw, (char *)table - sizeof raw, sizeof raw);
    nexus__free(a, raw);
}
