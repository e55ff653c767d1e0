/* What became of one body, and its answer as JSON. */
#ifndef NEXUS_INGEST_RESULT_H
#define NEXUS_INGEST_RESULT_H

#include <nexus/ingest.h>

#include "base/buf.h"
#include "ingest/event.h"

typedef enum nexus__entry_state {
    NEXUS__ENTRY_VALID = 0, /* until its fate is known */
    NEXUS__ENTRY_ACCEPTED,
    NEXUS__ENTRY_DUPLICATE,
    NEXUS__ENTRY_REJECTED,
    NEXUS__ENTRY_RETRY,
} nexus__entry_state;

/* One event on its way through. */
typedef struct nexus__entry {
    nexus__event event;
    nexus_slice raw;
    nexus__entry_state state;
    uint32_t warnings;
    nexus__event_fault *fault; /* of a rejected one; in the arena */
} nexus__entry;

struct nexus_ingest_result {
    nexus_ingest_counts counts;
    nexus__buf json;
    nexus__entry *entries; /* in the arena, as are their slices that do not point into the body */
    uint32_t entry_count;
    uint32_t *refused; /* indices of rejected entries */
    uint32_t refused_count;
    nexus__arena arena;
    const nexus_alloc *alloc;
};

nexus_ingest_result *nexus__result_new(const nexus_alloc *alloc, uint32_t entries_max);
/* Counts the entries' states, copies what outlives the body, and writes the JSON. */
nexus_status nexus__result_finish(nexus_ingest_result *result, bool batch, bool all) NEXUS_MUST_CHECK;

#endif
