/* The insides of runtime and loop, shared by the files of this room only. */
#ifndef NEXUS_RUNTIME_INTERNAL_H
#define NEXUS_RUNTIME_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "runtime/loop.h"

struct event_base;

enum { NEXUS__WHEEL_SLOTS = 1024 }; /* of NEXUS__TIMEOUT_TICK_MS each: a horizon of 16 s */

typedef struct nexus__wheel {
    nexus__list slots[NEXUS__WHEEL_SLOTS];
    uint64_t used[NEXUS__WHEEL_SLOTS / 64]; /* bit per slot that may hold something */
    uint64_t done;                          /* last tick that was fired */
    uint64_t armed;                         /* tick the timer will fire at; 0 = not armed */
    _Alignas(16) unsigned char event[144];
} nexus__wheel;

typedef struct nexus__resolver nexus__resolver;

struct nexus_loop {
    nexus_runtime *runtime;
    uint32_t index;
    struct event_base *base;
    int wake_fd;
    struct { /* on the loop's thread */
        nexus__watch wake;
        nexus__wheel wheel;
        nexus__resolver *resolver;
        int64_t now_ns;
        bool fresh; /* now_ns was read during this turn */
    } on_loop;
    struct {
        _Alignas(64) _Atomic(nexus__task *) posted; /* newest first */
        _Atomic uint32_t post_count;                /* of nexus_loop_post, which is bounded */
        _Atomic bool running, stop;
        _Atomic(pthread_t) thread;
    } atomic;
    pthread_t handle;
    bool has_thread;
};

typedef struct nexus__pool {
    pthread_mutex_t lock;
    pthread_cond_t some;
    struct {
        struct nexus__pool_task {
            nexus_task_fn *fn;
            void *user_data;
        } * ring;
        uint32_t head, count, idle;
        bool closing;
    } locked;
    uint32_t max, threads;
    pthread_t *handles;
    nexus_runtime *runtime;
} nexus__pool;

struct nexus_runtime {
    const nexus_alloc *alloc;
    nexus_loop *loops;
    uint32_t loop_count, queue_max;
    bool adopted, started;
    char name[9];
    nexus__pool pool;
};

typedef struct nexus__thread_role {
    const nexus_loop *loop;
    bool worker;
} nexus__thread_role;
nexus__thread_role *nexus__thread_role_get(void); /* this thread's */

/* A thread with a name ("nexus-loop-0") and all signals blocked. */
nexus_status nexus__runtime_thread(pthread_t *out, const char *name, const char *kind, uint32_t i, void *(*run)(void *),
                                   void *arg) NEXUS_MUST_CHECK;

nexus_status nexus__loop_open(nexus_loop *loop, nexus_runtime *runtime, uint32_t index,
                              struct event_base *adopted) NEXUS_MUST_CHECK;
void nexus__loop_run(nexus_loop *loop);  /* on the calling thread, until nexus__loop_stop */
void nexus__loop_stop(nexus_loop *loop); /* async-signal-safe */
void nexus__loop_run_posted(nexus_loop *loop);
void nexus__loop_close(nexus_loop *loop);

nexus_status nexus__pool_open(nexus__pool *pool, nexus_runtime *runtime, uint32_t threads,
                              uint32_t max) NEXUS_MUST_CHECK;
void nexus__pool_close(nexus__pool *pool); /* runs what is queued first */

nexus_status nexus__wheel_open(nexus_loop *loop) NEXUS_MUST_CHECK;
void nexus__wheel_close(nexus_loop *loop);
void nexus__resolver_close(nexus_loop *loop);

#endif
