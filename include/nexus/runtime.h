/*
 * The runtime: event loops, timers, posting between threads, and a pool of worker threads.
 *
 * Loops are for what never blocks, workers for what may. Every loop belongs to one thread; a task posted to it
 * runs there. Threads made here have names and block all signals. Nothing is global: several runtimes live side
 * by side.
 */
#ifndef NEXUS_RUNTIME_H
#define NEXUS_RUNTIME_H

#include <nexus/alloc.h>
#include <nexus/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nexus_runtime nexus_runtime;
typedef struct nexus_loop nexus_loop;
typedef struct nexus_timer nexus_timer;

/** Something to be done. Runs exactly once for each time it was accepted, also while the runtime closes. */
typedef void nexus_task_fn(void *user_data);

typedef struct nexus_runtime_opts {
    size_t size;              /**< sizeof(nexus_runtime_opts) */
    const nexus_alloc *alloc; /**< borrowed until close; NULL = the C library's */
    uint32_t loops;           /**< event loops; 0 = one per processor this process may use */
    uint32_t workers;         /**< worker threads; 0 = 4 */
    uint32_t queue_max;       /**< tasks that may wait for a worker, and for each loop; 0 = 1024 */
    void *event_base;         /**< a libevent `struct event_base *` of the host, borrowed until close; the runtime
                                   then has this one loop, which the host dispatches. NULL = loops of our own */
    const char *name; /**< copied, at most 8 bytes: threads are called NAME-loop-0, NAME-work-0; NULL = "nexus" */
} nexus_runtime_opts;

#define NEXUS_RUNTIME_OPTS_INIT NEXUS_SIZED(nexus_runtime_opts)
/** What NEXUS_RUNTIME_OPTS_INIT does, for callers without macros. */
NEXUS_API void nexus_runtime_opts_init(nexus_runtime_opts *opts);

/** Makes the loops, which do not run yet, and starts the workers. opts NULL = defaults. */
NEXUS_API nexus_status nexus_runtime_open(nexus_runtime **out, const nexus_runtime_opts *opts) NEXUS_MUST_CHECK;

/**
 * Starts every loop on a thread of its own. With an adopted event_base no thread is started: the calling thread is
 * taken for the one that dispatches it.
 */
NEXUS_API nexus_status nexus_runtime_start(nexus_runtime *runtime) NEXUS_MUST_CHECK;

/** Runs loop 0 on the calling thread (and the others on threads of their own) until nexus_runtime_stop. */
NEXUS_API nexus_status nexus_runtime_run(nexus_runtime *runtime) NEXUS_MUST_CHECK;

/** Asks all loops to end; returns at once. Any thread, and async-signal-safe. An adopted base is left alone unless
 * nexus_runtime_run dispatches it. */
NEXUS_API void nexus_runtime_stop(nexus_runtime *runtime);

/**
 * Stops the loops, runs what was accepted but not yet done (loop tasks then run on the calling thread), ends the
 * threads and frees. Objects made on the runtime must be closed first. Not from a task. NULL is fine.
 */
NEXUS_API void nexus_runtime_close(nexus_runtime *runtime);

NEXUS_API uint32_t nexus_runtime_loop_count(const nexus_runtime *runtime);
/** Loop i, borrowed; NULL when there is no such loop. */
NEXUS_API nexus_loop *nexus_runtime_loop(nexus_runtime *runtime, uint32_t i);

/** Has a worker call task(user_data). Any thread. NEXUS_EAGAIN: queue_max tasks are waiting already. */
NEXUS_API nexus_status nexus_runtime_submit(nexus_runtime *runtime, nexus_task_fn *task,
                                            void *user_data) NEXUS_MUST_CHECK;

/** Has the loop call task(user_data), never from inside this call. Any thread. NEXUS_EAGAIN: queue_max tasks are
 * waiting already. */
NEXUS_API nexus_status nexus_loop_post(nexus_loop *loop, nexus_task_fn *task, void *user_data) NEXUS_MUST_CHECK;

/** Whether the calling thread is the one that runs this loop. */
NEXUS_API bool nexus_loop_is_current(const nexus_loop *loop);

/** CLOCK_MONOTONIC in nanoseconds, read once per turn of the loop. On the loop's thread only. */
NEXUS_API int64_t nexus_loop_now_ns(const nexus_loop *loop);

/**
 * A one-shot timer on a loop. All four calls on the loop's thread, or while the loop does not run.
 * The task may start, stop and close the timer.
 */
NEXUS_API nexus_status nexus_timer_open(nexus_timer **out, nexus_loop *loop, nexus_task_fn *task,
                                        void *user_data) NEXUS_MUST_CHECK;
/** (Re)starts: fires once, after at least ms milliseconds. */
NEXUS_API void nexus_timer_start(nexus_timer *timer, uint32_t ms);
NEXUS_API void nexus_timer_stop(nexus_timer *timer);
NEXUS_API void nexus_timer_close(nexus_timer *timer); /**< NULL is fine */

#ifdef __cplusplus
}
#endif

#endif
