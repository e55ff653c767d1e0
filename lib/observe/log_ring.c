#include "observe/log_ring.h"

nexus_status nexus__log_ring_open(nexus__log_ring *r, const nexus_alloc *alloc, uint32_t records)
{
    uint64_t n = 2;
    while (n < records)
        n *= 2;
    r->slots = nexus__malloc(alloc, n * sizeof *r->slots);
    if (!r->slots)
        return NEXUS_ENOMEM;
    for (uint64_t i = 0; i < n; i++) { /* the texts stay untouched: their pages cost nothing until used */
        atomic_init(&r->slots[i].turn, i);
        r->slots[i].large = NULL;
    }
    r->mask = n - 1;
    r->alloc = alloc;
    atomic_init(&r->tail, 0);
    r->head = 0;
    return NEXUS_OK;
}

void nexus__log_ring_close(nexus__log_ring *r)
{
    nexus_slice text;
    while (r->slots && nexus__log_ring_peek(r, &text))
        nexus__log_ring_pop(r);
    nexus__free(r->alloc, r->slots);
    r->slots = NULL;
}

/* The slot for the next line: its turn equals the tail when it is free. */
static nexus__log_slot *claim(nexus__log_ring *r, uint64_t *at)
{
    uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    for (;;) {
        nexus__log_slot *slot = &r->slots[tail & r->mask];
        uint64_t turn = atomic_load_explicit(&slot->turn, memory_order_acquire);
        if (turn == tail) {
            if (atomic_compare_exchange_weak_explicit(&r->tail, &tail, tail + 1, memory_order_relaxed,
                                                      memory_order_relaxed)) {
                *at = tail;
                return slot;
            }
        } else if ((int64_t)(turn - tail) < 0) {
            return NULL;
        } else {
            tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
        }
    }
}

bool nexus__log_ring_push(nexus__log_ring *r, int32_t level, uint16_t kind, nexus_slice text)
{
    char *large = NULL;
    if (text.n > NEXUS__LOG_SLOT_BYTES && !(large = nexus__malloc(r->alloc, text.n)))
        return false;
    uint64_t at = 0;
    nexus__log_slot *slot = claim(r, &at);
    if (!slot) {
        nexus__free(r->alloc, large);
        return false;
    }
    memcpy(large ? large : slot->text, text.p, text.n);
    slot->large = large;
    slot->n = (uint32_t)text.n;
    slot->level = (int16_t)level;
    slot->kind = kind;
    atomic_store_explicit(&slot->turn, at + 1, memory_order_release);
    return true;
}

nexus__log_slot *nexus__log_ring_peek(nexus__log_ring *r, nexus_slice *text)
{
    nexus__log_slot *slot = &r->slots[r->head & r->mask];
    if (atomic_load_explicit(&slot->turn, memory_order_acquire) != r->head + 1)
        return NULL;
    *text = nexus__slice(slot->large ? slot->large : slot->text, slot->n);
    return slot;
}

void nexus__log_ring_pop(nexus__log_ring *r)
{
    nexus__log_slot *slot = &r->slots[r->head & r->mask];
    nexus__free(r->alloc, slot->large);
    slot->large = NULL;
    atomic_store_explicit(&slot->turn, r->head + r->mask + 1, memory_order_release);
    r->head++;
}
