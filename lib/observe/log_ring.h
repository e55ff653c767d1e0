/*
 * Bounded queue of lines with many writers and one reader (after D. Vyukov's array queue): a writer claims a slot
 * with one compare-and-swap and never waits; when no slot is free the line is refused.
 */
#ifndef NEXUS_OBSERVE_LOG_RING_H
#define NEXUS_OBSERVE_LOG_RING_H

#include <stdatomic.h>

#include "base/str.h"

enum { NEXUS__LOG_SLOT_BYTES = 488 }; /* a slot is eight cache lines; longer lines are allocated */

enum { NEXUS__LOG_LINE, NEXUS__LOG_ACCESS /* packed, see observe/access.h: the reader makes the line */ };

typedef struct nexus__log_slot {
    _Atomic uint64_t turn;
    char *large; /* NULL: the line is in `text` */
    uint32_t n;
    int16_t level;
    uint16_t kind; /* NEXUS__LOG_… */
    char text[NEXUS__LOG_SLOT_BYTES];
} nexus__log_slot;

typedef struct nexus__log_ring {
    nexus__log_slot *slots;
    uint64_t mask;
    const nexus_alloc *alloc;
    _Alignas(64) _Atomic uint64_t tail; /* next to claim */
    _Alignas(64) uint64_t head;         /* next to read: the reader's */
} nexus__log_ring;

nexus_status nexus__log_ring_open(nexus__log_ring *r, const nexus_alloc *alloc, uint32_t records); /* rounded up to 2^n */
void nexus__log_ring_close(nexus__log_ring *r);
/* false: full or out of memory. kind: the reader's business */
bool nexus__log_ring_push(nexus__log_ring *r, int32_t level, uint16_t kind, nexus_slice text);

/* The oldest line, or NULL; it stays until nexus__log_ring_pop. One thread. */
nexus__log_slot *nexus__log_ring_peek(nexus__log_ring *r, nexus_slice *text);
void nexus__log_ring_pop(nexus__log_ring *r);

#endif
