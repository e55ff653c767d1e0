/*
 * The window of ids: the last ones seen, in order of arrival, and an index over them. The entries lie in pages, which are
 * written and forgotten in order and used again, so that a window grows without moving them; the index has eight bytes for
 * each, a part of the hash and the count of the entry, so that a new id costs one visit to memory that is no longer in the
 * cache.
 */
#ifndef NEXUS_BUS_WINDOW_H
#define NEXUS_BUS_WINDOW_H

#include "bus/table.h"

typedef struct nexus__seen {
    nexus__key128 key; /* 0, 0: taken back, or seen again since */
    uint64_t pos;
    uint32_t second, crc; /* of arrival; of the content, 0 = any */
} nexus__seen;

enum { NEXUS__WINDOW_PAGE = 1024 };

typedef union nexus__window_page {
    nexus__seen entries[NEXUS__WINDOW_PAGE];
    union nexus__window_page *next; /* while it is spare */
} nexus__window_page;

typedef struct nexus__window {
    nexus__window_page **pages; /* a ring of them: page n stands at n modulo page_cap */
    uint64_t first, next;       /* entries, counted from the beginning; the pages hold first to next - 1 */
    uint64_t *slots;            /* open addressing: low half of the hash << 32 | low half of the count; 0 = free */
    size_t page_cap, slot_cap, used;
    nexus__window_page *spare, *fresh, *fresh_end; /* forgotten ones; those of the last block that were never used */
    struct nexus__window_block *blocks;            /* what pages are cut from */
    size_t made;                                   /* pages in all blocks */
    nexus__hash_key key;
    const nexus_alloc *alloc;
} nexus__window;

void nexus__window_init(nexus__window *w, const nexus_alloc *alloc);
void nexus__window_free(nexus__window *w); /* empty afterwards, under the same key */
nexus__key128 nexus__window_key(const nexus__window *w, nexus_slice source, nexus_slice id);
/* Valid until the next put; NULL: not in the window. */
nexus__seen *nexus__window_get(const nexus__window *w, nexus__key128 key);
/* The newest one, in the place of an older one of the same key. false: no memory, nothing changed. */
bool nexus__window_put(nexus__window *w, const nexus__seen *seen);
void nexus__window_forget_oldest(nexus__window *w); /* the window is not empty */
void nexus__window_remove(nexus__window *w, nexus__key128 key);
/* An index with room for n entries; false: no memory. */
bool nexus__window_reserve(nexus__window *w, size_t n);

static inline uint64_t nexus__window_count(const nexus__window *w)
{
    return w->next - w->first;
}

/* The entry with this count, first <= count < next. */
static inline nexus__seen *nexus__window_at(const nexus__window *w, uint64_t count)
{
    return &w->pages[count / NEXUS__WINDOW_PAGE & (w->page_cap - 1)]->entries[count % NEXUS__WINDOW_PAGE];
}

/* Tells the processor that key is about to be looked for. */
static inline void nexus__window_prefetch(const nexus__window *w, nexus__key128 key)
{
    if (w->slot_cap)
        __builtin_prefetch(&w->slots[(uint32_t)key.a & (w->slot_cap - 1)], 1);
}

#endif
