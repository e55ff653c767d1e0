/*
 * Turns at a bounded number of connections, first come first served: a connection that comes back is handed to the
 * one who has waited longest, so nobody starves. The pool knows slots and idle connections, not what they are.
 */
#ifndef NEXUS_STORE_POOL_H
#define NEXUS_STORE_POOL_H

#include <pthread.h>

#include "base/list.h"
#include "base/str.h"

typedef struct nexus__pool {
    const nexus_alloc *alloc;
    pthread_mutex_t mutex;
    struct { /* under mutex */
        nexus__list waiters;
        void **idle; /* a stack: the warmest first */
        size_t idle_count, slots;
    } locked;
    size_t max;
} nexus__pool;

nexus_status nexus__pool_init(nexus__pool *pool, const nexus_alloc *alloc, size_t max) NEXUS_MUST_CHECK;
/* Nobody may hold or await a slot; close(link) is called for what is idle. */
void nexus__pool_free(nexus__pool *pool, void (*close)(void *link));

/* A slot within timeout_ms, with an idle connection or, when *link is NULL, the right to open one. */
nexus_status nexus__pool_take(nexus__pool *pool, uint32_t timeout_ms, void **link) NEXUS_MUST_CHECK;
/* Gives the slot back; link NULL = its connection is gone. */
void nexus__pool_give(nexus__pool *pool, void *link);

#endif
