#include "bus/window.h"

/* A slot's low half tells counts apart only as long as fewer than 2^32 are in the ring. */
enum { ENTRIES_MAX = 1 << 30, FIRST_CAP = 256, AHEAD = 8 };

void nexus__window_init(nexus__window *w, const nexus_alloc *alloc)
{
    *w = (nexus__window){.alloc = alloc, .key = nexus__hash_key_random()};
}

void nexus__window_free(nexus__window *w)
{
    nexus__free(w->alloc, w->ring);
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
        size_t at = old[i] ? home(w, old[i]) : 0;
        while (old[i] && slots[at])
            at = (at + 1) & (cap - 1);
        if (old[i])
            slots[at] = old[i];
    }
    nexus__free_table(w->alloc, old);
    return true;
}

static bool grow_ring(nexus__window *w, size_t cap)
{
    nexus__seen *ring = nexus__malloc(w->alloc, cap * sizeof *ring);
    if (!ring)
        return false;
    for (uint64_t i = w->first; i < w->next; i++)
        ring[i & (cap - 1)] = *nexus__window_at(w, i);
    nexus__free(w->alloc, w->ring);
    w->ring = ring;
    w->ring_cap = cap;
    return true;
}

bool nexus__window_reserve(nexus__window *w, size_t n)
{
    size_t ring = w->ring_cap ? w->ring_cap : FIRST_CAP, slots = w->slot_cap ? w->slot_cap : 2 * FIRST_CAP;
    if (n > ENTRIES_MAX)
        return false;
    while (ring < n)
        ring *= 2;
    while (slots / 2 < n)
        slots *= 2;
    return (ring == w->ring_cap || grow_ring(w, ring)) && (slots == w->slot_cap || grow_slots(w, slots));
}

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
    w->first++;
}

bool nexus__window_put(nexus__window *w, const nexus__seen *seen)
{
    uint64_t n = nexus__window_count(w);
    if ((n == w->ring_cap || w->used >= w->slot_cap / 2) && !nexus__window_reserve(w, n + 1))
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
