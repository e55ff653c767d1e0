#include "base/arena.h"

struct nexus__arena_chunk {
    nexus__arena_chunk *next;
    size_t size;
    _Alignas(16) char bytes[];
};

void nexus__arena_init(nexus__arena *a, const nexus_alloc *alloc, size_t chunk_bytes)
{
    *a = (nexus__arena){.alloc = alloc, .chunk_bytes = chunk_bytes ? chunk_bytes : 4096};
}

void nexus__arena_reset(nexus__arena *a)
{
    nexus__arena_chunk *keep = NULL;
    for (nexus__arena_chunk *c = a->chunks, *next; c; c = next) {
        next = c->next;
        if (!keep && c->size == a->chunk_bytes)
            keep = c;
        else
            nexus__free(a->alloc, c);
    }
    a->chunks = keep;
    a->at = a->end = NULL;
    if (keep) {
        keep->next = NULL;
        a->at = keep->bytes;
        a->end = keep->bytes + keep->size;
    }
}

void nexus__arena_free(nexus__arena *a)
{
    for (nexus__arena_chunk *c = a->chunks, *next; c; c = next) {
        next = c->next;
        nexus__free(a->alloc, c);
    }
    nexus__arena_init(a, a->alloc, a->chunk_bytes);
}

void *nexus__arena_grow(nexus__arena *a, size_t size)
{
    bool large = size > a->chunk_bytes / 2; /* gets a chunk of its own, the current one stays open */
    size_t room = large ? size : a->chunk_bytes;
    if (room > SIZE_MAX - sizeof(nexus__arena_chunk))
        return NULL;
    nexus__arena_chunk *c = nexus__malloc(a->alloc, sizeof *c + room);
    if (!c)
        return NULL;
    c->size = room;
    c->next = a->chunks;
    a->chunks = c;
    if (!large) {
        a->at = c->bytes + size;
        a->end = c->bytes + room;
    }
    return c->bytes;
}

nexus_slice nexus__arena_copy(nexus__arena *a, nexus_slice text)
{
    char *copy = nexus__arena_get(a, text.n + 1);
    if (!copy)
        return (nexus_slice){NULL, 0};
    if (text.n)
        memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    return (nexus_slice){copy, text.n};
}
