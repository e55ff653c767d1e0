/* Refused events, verbatim: a bounded ring in memory, the oldest make room. Not thread-safe. */
#ifndef NEXUS_INGEST_REJECTED_H
#define NEXUS_INGEST_REJECTED_H

#include "base/buf.h"
#include "ingest/event.h"

typedef struct nexus__rejected_row {
    uint64_t seq;
    int64_t at_ms;
    nexus__event_code code;
    char *body; /* field and message stand behind it, each with its NUL */
    size_t body_n;
    size_t bytes;
} nexus__rejected_row;

typedef struct nexus__rejected {
    nexus__rejected_row *ring;
    uint64_t first, next; /* seqs kept are [first, next), from 1 */
    size_t bytes, max_bytes;
    uint32_t cap, max;
    const nexus_alloc *alloc;
} nexus__rejected;

void nexus__rejected_init(nexus__rejected *r, const nexus_alloc *alloc, uint32_t max, size_t max_bytes);
void nexus__rejected_free(nexus__rejected *r);
/* Best effort: out of memory leaves the event out, as the ring's own limits would later. */
void nexus__rejected_add(nexus__rejected *r, int64_t at_ms, const nexus__event_fault *fault, nexus_slice body);
/* {"events":[…],"next","dropped"} */
void nexus__rejected_write(const nexus__rejected *r, nexus__buf *out, nexus_slice code, uint64_t after, uint32_t limit);

#endif
