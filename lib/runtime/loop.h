/*
 * What other rooms use of a loop, beyond nexus/runtime.h: watches on descriptors, coarse timeouts, posting without
 * allocation. Everything here is called on the loop's thread (or while it does not run), unless it says otherwise.
 */
#ifndef NEXUS_RUNTIME_LOOP_H
#define NEXUS_RUNTIME_LOOP_H

#include <nexus/runtime.h>

#include "base/list.h"
#include "base/time.h"

/* --- watches: edge-triggered, for reading and writing at once, embedded in what they serve ---------------------- */

enum {
    NEXUS__WATCH_READ = 1,
    NEXUS__WATCH_WRITE = 2,
    NEXUS__WATCH_HANGUP = 4 /* the peer has shut down its side: bytes may be left to read, an end will follow them */
};

typedef struct nexus__watch nexus__watch;
/* `ready` has NEXUS__WATCH_… bits: something changed since the last call. Read or write until EAGAIN, or remember. The
 * callback may stop its own or any other watch and free what holds it. */
typedef void nexus__watch_fn(nexus__watch *watch, uint32_t ready);

struct nexus__watch {
    _Alignas(16) unsigned char event[144]; /* a struct event; private */
    nexus_loop *loop;
    nexus__watch_fn *fn;
    int fd;
    bool started;
};

/* Watches fd until stopped; the callback comes once soon after for what is ready already. */
nexus_status nexus__watch_start(nexus__watch *watch, nexus_loop *loop, int fd, nexus__watch_fn *fn) NEXUS_MUST_CHECK;
/* The same for reading only, level-triggered: for listeners that stop accepting half-way. */
nexus_status nexus__watch_start_level(nexus__watch *watch, nexus_loop *loop, int fd,
                                      nexus__watch_fn *fn) NEXUS_MUST_CHECK;
/* Before close(fd). Harmless on one that is zeroed or stopped. */
void nexus__watch_stop(nexus__watch *watch);
/* Calls the callback once more soon, as if `ready` had come, but from the loop: for who stopped reading half-way. */
void nexus__watch_again(nexus__watch *watch, uint32_t ready);

/* --- timeouts: coarse (up to NEXUS__TIMEOUT_TICK_MS late), many, nearly free to push forward --------------------- */

enum { NEXUS__TIMEOUT_TICK_MS = 16 };

typedef struct nexus__timeout nexus__timeout;
typedef void nexus__timeout_fn(nexus__timeout *timeout); /* may set or clear it again, free what holds it */

struct nexus__timeout {
    nexus__list node; /* in a slot of the loop's wheel */
    int64_t deadline_ns;
    uint64_t tick; /* of the slot it stands in; 0 = in none */
    nexus__timeout_fn *fn;
};

static inline void nexus__timeout_init(nexus__timeout *timeout, nexus__timeout_fn *fn)
{
    *timeout = (nexus__timeout){.fn = fn};
    nexus__list_init(&timeout->node);
}

/* Fires once at `now + ms`, in place of an earlier setting. Moving it later costs a store. */
void nexus__timeout_set(nexus__timeout *timeout, nexus_loop *loop, uint32_t ms);
/* It will not fire. As cheap. */
static inline void nexus__timeout_clear(nexus__timeout *timeout)
{
    timeout->deadline_ns = INT64_MAX;
}
/* Takes it out of the wheel: before what holds it is freed. */
void nexus__timeout_remove(nexus__timeout *timeout, nexus_loop *loop);

/* --- posting without allocation, without a limit: the node is part of what is posted ------------------------------ */

typedef struct nexus__task {
    struct nexus__task *next; /* private */
    void (*fn)(struct nexus__task *task);
} nexus__task;

/* Any thread. The node is taken until fn is called, on the loop. */
void nexus__loop_post_task(nexus_loop *loop, nexus__task *task);

/* Runs what was posted to a loop that does not run (see nexus__loop_running), on this thread, as if it were the loop's. */
void nexus__loop_turn(nexus_loop *loop);

/* --- where am I -------------------------------------------------------------------------------------------------- */

/* Whether this thread runs a loop, of whatever runtime: blocking calls then return NEXUS_EDEADLK. */
bool nexus__on_loop_thread(void);
/* Whether this thread is a worker, of whatever runtime. */
bool nexus__on_worker_thread(void);
/* Whether any thread runs this loop now; when not, its objects may be touched from the thread that owns them. Any
 * thread. */
bool nexus__loop_running(const nexus_loop *loop);
nexus_runtime *nexus__loop_runtime(const nexus_loop *loop);
uint32_t nexus__loop_index(const nexus_loop *loop);
const nexus_alloc *nexus__runtime_alloc(const nexus_runtime *runtime);

#endif
