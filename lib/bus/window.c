#include "bus/window.h"

/* A slot's low half tells counts apart only as long as fewer than 2^32 are in the window. */
enum { ENTRIES_MAX = 1 << 30, FIRST_SLOTS = 512, FIRST_PAGES = 4, BLOCK_PAGES_MAX = 256, AHEAD = 8 };

typedef struct nexus__window_block {
    struct nexus__window_block *next;
    _Alignas(64) nexus__window_page pages[];
} block;

void nexus__window_init(nexus__window *w, const nexus_alloc *alloc)
{
    *w = (nexus__window){.alloc = alloc, .key = nexus__hash_key_random()};
}

void nexus__window_free(nexus__window *w)
{
    for (block *b = w->blocks, *next; b; b = next) {
        next = b->next;
        nexus__free_table(w->alloc, b);
    }
    nexus__free(w->alloc, w->pages);
    nexus__free_table(w->alloc, w->slots);
    *w = (nexus__window){.alloc = w->alloc, .key = w->key};
}

nexus__key128 nexus__window_key(const nexus__window *w, nexus_slice source, nexus_slice id)
{
    return nexus__key128_of(w->key, source, id);
}

static uint64_t slot_of(nexus__key128 key, uint64_t count)
{
    uint32_t tag = (uint32_t)key.a ? (uint32_t)key.a : 1;
    return (uint64_t)tag << 32 | (uint32_t)count;
}

static size_t home(const nexus__window *w, uint64_t slot)
{
    return (slot >> 32) & (w->slot_cap - 1);
}

static bool has_key(const nexus__seen *s, nexus__key128 key)
{
    return s->key.a == key.a && s->key.b == key.b;
}

/* Where key is, or where it would go. */
static size_t probe(const nexus__window *w, nexus__key128 key)
{
    uint64_t wanted = slot_of(key, 0);
    size_t i = home(w, wanted);
    for (; w->slots[i]; i = (i + 1) & (w->slot_cap - 1))
        if (w->slots[i] >> 32 == wanted >> 32 && has_key(nexus__window_at(w, (uint32_t)w->slots[i]), key))
            break;
    return i;
}

nexus__seen *nexus__window_get(const nexus__window *w, nexus__key128 key)
{
    if (!w->used)
        return NULL;
    uint64_t slot = w->slots[probe(w, key)];
    return slot ? nexus__window_at(w, (uint32_t)slot) : NULL;
}

static bool grow_slots(nexus__window *w, size_t cap)
{
    uint64_t *slots = nexus__calloc_table(w->alloc, cap, sizeof *slots);
    if (!slots)
        return false;
    uint64_t *old = w->slots;
    size_t old_cap = w->slot_cap;
    w->slots = slots;
    w->slot_cap = cap;
    for (size_t i = 0; i < old_cap; i++) {
        if (!old[i])
            continue;
        size_t at = home(w, old[i]);
        while (slots[at])
            at = (at + 1) & (cap - 1);
        slots[at] = old[i];
    }
    nexus__free_table(w->alloc, old);
    return true;
}

bool nexus__window_reserve(nexus__window *w, size_t n)
{
    size_t slots = w->slot_cap ? w->slot_cap : FIRST_SLOTS;
    if (n > ENTRIES_MAX)
        return false;
    while (slots / 2 < n)
        slots *= 2;
    return slots == w->slot_cap || grow_slots(w, slots);
}

/* --- pages ---- */

static nexus__window_page **page(const nexus__window *w, uint64_t count)
{
    return &w->pages[count / NEXUS__WINDOW_PAGE & (w->page_cap - 1)];
}

static bool grow_ring(nexus__window *w)
{
    nexus__window bigger = *w;
    bigger.page_cap = w->page_cap ? w->page_cap * 2 : FIRST_PAGES;
    bigger.pages = nexus__calloc(w->alloc, bigger.page_cap, sizeof *bigger.pages);
    if (!bigger.pages)
        return false;
    for (uint64_t i = w->first; i < w->next; i += NEXUS__WINDOW_PAGE - i % NEXUS__WINDOW_PAGE)
        *page(&bigger, i) = *page(w, i);
    nexus__free(w->alloc, w->pages);
    *w = bigger;
    return true;
}

/* As much as there is already: a small window is small, and a big one lies in large pages of memory. */
static bool make_block(nexus__window *w)
{
    size_t n = w->made < BLOCK_PAGES_MAX ? w->made + !w->made : BLOCK_PAGES_MAX;
    block *b = nexus__calloc_table(w->alloc, 1, sizeof *b + n * sizeof b->pages[0]);
    if (!b)
        return false;
    b->next = w->blocks;
    w->blocks = b;
    w->made += n;
    w->fresh = b->pages;
    w->fresh_end = b->pages + n;
    return true;
}

/* The page of the next entry. */
static bool open_page(nexus__window *w)
{
    uint64_t pages = w->next / NEXUS__WINDOW_PAGE - w->first / NEXUS__WINDOW_PAGE + 1;
    if (pages > w->page_cap && !grow_ring(w))
        return false;
    if (!w->spare && w->fresh == w->fresh_end && !make_block(w))
        return false;
    nexus__window_page **at = page(w, w->next);
    if (w->spare) {
        *at = w->spare;
        w->spare = w->spare->next;
    } else {
        *at = w->fresh++;
    }
    return true;
}

static void close_page(nexus__window *w, uint64_t count)
{
    nexus__window_page *p = *page(w, count);
    p->next = w->spare;
    w->spare = p;
}

/* --- entries ---- */

static void free_slot(nexus__window *w, size_t hole)
{
    size_t mask = w->slot_cap - 1;
    for (size_t i = (hole + 1) & mask; w->slots[i]; i = (i + 1) & mask) {
        if (((i - home(w, w->slots[i])) & mask) < ((i - hole) & mask))
            continue; /* it stands between its home and here, and not because of the hole */
        w->slots[hole] = w->slots[i];
        hole = i;
    }
    w->slots[hole] = 0;
    w->used--;
}

void nexus__window_remove(nexus__window *w, nexus__key128 key)
{
    size_t at = w->used ? probe(w, key) : 0;
    if (!w->used || !w->slots[at])
        return;
    nexus__window_at(w, (uint32_t)w->slots[at])->key = (nexus__key128){0, 0};
    free_slot(w, at);
}

void nexus__window_forget_oldest(nexus__window *w)
{
    const nexus__seen *s = nexus__window_at(w, w->first);
    if (w->first + AHEAD < w->next)
        nexus__window_prefetch(w, nexus__window_at(w, w->first + AHEAD)->key);
    if (s->key.a | s->key.b) {
        uint64_t slot = slot_of(s->key, w->first);
        size_t i = home(w, slot);
        while (w->slots[i] != slot)
            i = (i + 1) & (w->slot_cap - 1);
        free_slot(w, i);
    }
    if (++w->first % NEXUS__WINDOW_PAGE == 0)
        close_page(w, w->first - 1);
}

bool nexus__window_put(nexus__window *w, const nexus__seen *seen)
{
    if (nexus__window_count(w) >= ENTRIES_MAX || (w->used >= w->slot_cap / 2 && !nexus__window_reserve(w, w->used + 1)))
        return false;
    if (w->next % NEXUS__WINDOW_PAGE == 0 && !open_page(w))
        return false;
    size_t at = probe(w, seen->key);
    if (w->slots[at])
        nexus__window_at(w, (uint32_t)w->slots[at])->key = (nexus__key128){0, 0};
    else
        w->used++;
    w->slots[at] = slot_of(seen->key, w->next);
    *nexus__window_at(w, w->next++) = *seen;
    return true;
}
