/* A client's connection to the owner. The link thread of the bus reads it; any thread may call. */
#ifndef NEXUS_BUS_REMOTE_H
#define NEXUS_BUS_REMOTE_H

#include "bus/wire.h"

typedef struct nexus__remote nexus__remote;

/* A connection to DIR/bus.sock. NEXUS_EUNREACH: nobody listens. */
nexus_status nexus__remote_dial(int *fd, int dir_fd) NEXUS_MUST_CHECK;
/* Says hello on the connected socket, which it takes. epoch: the caller's number for it. *caps: the owner's,
 * with its durability (durability.h). */
nexus_status nexus__remote_open(nexus__remote **out, int fd, const nexus_alloc *alloc, uint64_t epoch,
                                uint64_t *caps) NEXUS_MUST_CHECK;
nexus__remote *nexus__remote_ref(nexus__remote *r);
void nexus__remote_unref(nexus__remote *r);
uint64_t nexus__remote_epoch(const nexus__remote *r);

/* On the thread in run. */
typedef struct nexus__remote_events {
    void (*on_wake)(uint32_t group, void *user_data); /* a group that is watched may have something */
    void (*on_answers)(void *user_data);              /* the calls whose answers one read has brought have been told */
    void *user_data;
} nexus__remote_events;

/* Receives and answers pending calls until the connection ends; every call still pending then ends in NEXUS_ECLOSED. */
void nexus__remote_run(nexus__remote *r, const nexus__remote_events *told);
void nexus__remote_shutdown(nexus__remote *r); /* makes run return; any thread */

/* Exactly once, on the thread in run; NEXUS_ECLOSED: the connection ended, it is not known whether it was done. */
typedef void nexus__remote_fn(nexus_status status, nexus_slice body, void *user_data);
/* NEXUS_ECLOSED: nothing was sent. */
nexus_status nexus__remote_send(nexus__remote *r, uint16_t op, nexus_slice body, nexus__remote_fn *fn,
                                void *user_data) NEXUS_MUST_CHECK;
/* The same for calls that nobody waits for: the thread in run sends them, as many at a time as have come. */
nexus_status nexus__remote_post(nexus__remote *r, uint16_t op, nexus_slice body, nexus__remote_fn *fn,
                                void *user_data) NEXUS_MUST_CHECK;
/* Waits for the answer, which is appended to answer (may be NULL), that of a failure too. NEXUS_ETIMEDOUT: none came by until_ns. */
nexus_status nexus__remote_call(nexus__remote *r, uint16_t op, nexus_slice body, int64_t until_ns,
                                nexus__buf *answer) NEXUS_MUST_CHECK;

#endif
