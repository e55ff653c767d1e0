/*
 * Calls that wait: in their pool's queue for a connection, or by themselves for the time of the next try.
 *
 * Connections to a target are counted over all loops, but each loop has a queue and connections of its own. When one
 * comes free, the loop whose first call waits longest gets its turn. A connection cannot change its loop: it is closed
 * here, so that the other may open one; therefore the own queue goes first when the difference is small.
 */
#ifndef NEXUS_GATEWAY_WAITING_H
#define NEXUS_GATEWAY_WAITING_H

#include "gateway/gateway.h"

typedef struct nexus__wait {
    nexus__call *call;
    nexus__list node; /* in the queue */
    nexus__timeout timer;
    int64_t since;
    bool queued;
} nexus__wait;

static inline bool nexus__call_is_queued(const nexus__call *call)
{
    return call->wait && call->wait->queued;
}

/* Into the queue, unless the call is in it; answers 503 when it is full. */
void nexus__call_queue(nexus__call *call);
/* The next try in ms. */
void nexus__call_sleep(nexus__call *call, uint32_t ms);
/* It waits no more. */
void nexus__call_unwait(nexus__call *call);
/* 503 with Retry-After. */
void nexus__call_busy(nexus__call *call, const char *detail);

#endif
