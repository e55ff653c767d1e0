/* Counted memory: the C library's, with the sum of what is out and a cap on it. */
#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/status.h"

struct nexus_memory {
    nexus_alloc alloc;
    uint64_t cap;
    _Alignas(64) _Atomic uint64_t used;
};

/* Takes before it allocates, so that threads together do not go over the cap. */
static bool take(nexus_memory *m, size_t size)
{
    if (atomic_fetch_add_explicit(&m->used, size, memory_order_relaxed) + size <= m->cap)
        return true;
    atomic_fetch_sub_explicit(&m->used, size, memory_order_relaxed);
    return false;
}

static void give(nexus_memory *m, size_t size)
{
    atomic_fetch_sub_explicit(&m->used, size, memory_order_relaxed);
}

/* What was asked for was taken; what came may be a little more. */
static void *settle(nexus_memory *m, void *ptr, size_t asked)
{
    size_t got = ptr ? malloc_usable_size(ptr) : 0;
    atomic_fetch_add_explicit(&m->used, got - asked, memory_order_relaxed);
    return ptr;
}

static void *counted_malloc(size_t size, void *user_data)
{
    nexus_memory *m = user_data;
    return take(m, size) ? settle(m, malloc(size), size) : NULL;
}

static void counted_free(void *ptr, void *user_data)
{
    if (ptr)
        give(user_data, malloc_usable_size(ptr));
    free(ptr);
}

static void *counted_realloc(void *ptr, size_t size, void *user_data)
{
    nexus_memory *m = user_data;
    size_t before = ptr ? malloc_usable_size(ptr) : 0;
    if (size > before && !take(m, size - before))
        return NULL;
    void *moved = realloc(ptr, size);
    if (!moved) {
        if (size > before)
            give(m, size - before);
        return NULL;
    }
    size_t taken = size > before ? size : before;
    atomic_fetch_add_explicit(&m->used, malloc_usable_size(moved) - taken, memory_order_relaxed);
    return moved;
}

int32_t nexus_memory_new(nexus_memory **out, uint64_t cap_bytes)
{
    nexus_memory *m = aligned_alloc(64, sizeof *m);
    if (!m)
        return nexus__nomem();
    m->alloc = (nexus_alloc){counted_malloc, counted_realloc, counted_free, m};
    m->cap = cap_bytes;
    atomic_init(&m->used, 0);
    *out = m;
    return NEXUS_OK;
}

const nexus_alloc *nexus_memory_alloc(nexus_memory *m)
{
    return &m->alloc;
}

uint64_t nexus_memory_used(const nexus_memory *m)
{
    return atomic_load_explicit(&m->used, memory_order_relaxed);
}

uint64_t nexus_memory_cap(const nexus_memory *m)
{
    return m->cap;
}

void nexus_memory_free(nexus_memory *m)
{
    free(m);
}
