/* Threads of the library: named, all signals blocked, waits by the monotonic clock. */
#ifndef NEXUS_BASE_THREAD_H
#define NEXUS_BASE_THREAD_H

#include <pthread.h>

#include "base/status.h"

/* name: at most 15 bytes. The thread runs with every signal blocked. */
nexus_status nexus__thread_start(pthread_t *thread, const char *name, void *(*main)(void *), void *arg) NEXUS_MUST_CHECK;

/* A condition whose timed wait follows CLOCK_MONOTONIC. */
void nexus__cond_init(pthread_cond_t *cond);
/* Waits until signalled or until_ns (nexus__mono_ns; INT64_MAX = no limit); false when the time is over. */
bool nexus__cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t until_ns);

/* A gate that opens once: per-waiter wake-up on a futex word. */
typedef struct nexus__gate {
    _Atomic uint32_t word;
} nexus__gate;

void nexus__gate_open(nexus__gate *gate);
bool nexus__gate_wait(nexus__gate *gate, int64_t until_ns); /* false when the time is over; INT64_MAX = no limit */

#endif
