/* The newest events, whole, in the order they became visible: a ring whose slots keep their memory. Locks itself. */
#ifndef NEXUS_INGEST_TAIL_H
#define NEXUS_INGEST_TAIL_H

#include <pthread.h>

#include "base/buf.h"
#include "ingest/event.h"

typedef struct nexus__tail {
    pthread_mutex_t mutex;
    nexus__buf *ring; /* each a log record of one event */
    uint32_t max;
    uint64_t seq; /* of the newest; 0 = none yet */
    const nexus_alloc *alloc;
} nexus__tail;

nexus_status nexus__tail_open(nexus__tail *t, const nexus_alloc *alloc, uint32_t max) NEXUS_MUST_CHECK;
void nexus__tail_close(nexus__tail *t);
nexus_status nexus__tail_add(nexus__tail *t, const nexus__event *event) NEXUS_MUST_CHECK;
uint64_t nexus__tail_seq(nexus__tail *t);
/* {"events":[…],"missed":n} of what came after `after`. */
void nexus__tail_write(nexus__tail *t, nexus__buf *out, uint64_t after, uint32_t limit, nexus_slice event,
                       uint64_t *next);

#endif
