/* The last runs that the owner wrote, in memory: who follows the end of the log need not ask the broker for them. */
#ifndef NEXUS_BUS_RECENT_H
#define NEXUS_BUS_RECENT_H

#include <pthread.h>

#include "base/buf.h"

#define RECENT_RUNS 64u
#define RECENT_BYTES (2u << 20)

typedef struct nexus__recent {
    const nexus_alloc *alloc;
    pthread_mutex_t lock;
    struct {
        uint64_t place;
        char *bytes;
        size_t n;
    } runs[RECENT_RUNS]; /* locked, as are the three below: a ring of places without gaps */
    unsigned first, count;
    size_t bytes;
} nexus__recent;

void nexus__recent_init(nexus__recent *r, const nexus_alloc *alloc);
void nexus__recent_free(nexus__recent *r);
/* Without memory, or when it is too big, it is not kept, and nothing before it. */
void nexus__recent_put(nexus__recent *r, uint64_t place, nexus_slice run);
/* Appends the run at place and those behind it; *next is the place behind them. False: it is not here. */
bool nexus__recent_get(nexus__recent *r, uint64_t place, nexus__buf *out, uint64_t *next);

#endif
