/*
 * Which instances have not ended, and when time moves them: a projection of a saga's transitions, small enough for all of
 * them (about 150 bytes each). From time to time it is stored on the bus, so that a start or a listing reads the stored one
 * and the transitions after it, not all there ever were.
 */
#ifndef NEXUS_SAGA_INDEX_H
#define NEXUS_SAGA_INDEX_H

#include <nexus/stream.h>

#include "base/map.h"
#include "saga/instance.h"

typedef struct nexus__saga_entry {
    uint64_t seq, pos;
    int64_t due_ns;             /* as its transition says; 0 = waits for no time */
    int64_t look_ns;            /* when to look at it: the key in the heap */
    uint32_t version, look_at;  /* look_at: index + 1 in the heap; 0 = it is being looked at, or waits for no time */
    nexus__saga_status status;
    uint32_t id_bytes;
    char id[];
} nexus__saga_entry;

typedef struct nexus__saga_index {
    const nexus_alloc *alloc;
    nexus__map entries;     /* by id */
    nexus__saga_entry **heap; /* by look_ns */
    size_t heap_count, heap_cap;
    uint64_t pos;    /* every transition up to here is in it */
    uint64_t since;  /* transitions since it was stored */
    nexus__json doc; /* scratch */
} nexus__saga_index;

void nexus__saga_index_init(nexus__saga_index *x, const nexus_alloc *alloc);
void nexus__saga_index_free(nexus__saga_index *x);
/* Takes a transition in; of an instance that has ended, takes it out. What is not newer is passed over. */
nexus_status nexus__saga_index_apply(nexus__saga_index *x, const nexus_event *transition) NEXUS_MUST_CHECK;
/* The one whose time comes first; NULL: none. */
nexus__saga_entry *nexus__saga_index_first(const nexus__saga_index *x);
/* When to look at it; 0 = not before its next transition. */
nexus_status nexus__saga_index_plan(nexus__saga_index *x, nexus__saga_entry *e, int64_t look_ns) NEXUS_MUST_CHECK;
nexus_status nexus__saga_index_put(nexus__saga_index *x, nexus_slice id, const nexus__saga_entry *row) NEXUS_MUST_CHECK;

/* index_store.c: the newest stored index, or an empty one. Then the reader goes on behind it. */
nexus_status nexus__saga_index_load(nexus__saga_index *x, nexus_bus *bus, const char *saga) NEXUS_MUST_CHECK;
nexus_status nexus__saga_index_store(nexus__saga_index *x, nexus_bus *bus, const char *saga) NEXUS_MUST_CHECK;
/* A reader of the transitions after x->pos. */
nexus_status nexus__saga_index_follow(const nexus__saga_index *x, nexus_reader **out, nexus_bus *bus,
                                      const char *saga) NEXUS_MUST_CHECK;
/* Everything stored until now. */
nexus_status nexus__saga_index_catch_up(nexus__saga_index *x, nexus_reader *reader) NEXUS_MUST_CHECK;

#endif
