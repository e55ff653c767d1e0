#include <sched.h>
#include <stdio.h>

#include "base/status.h"
#include "base/thread.h"
#include "runtime/internal.h"

enum { QUEUE_MAX = 1024, WORKERS = 4, LOOPS_MAX = 256, WORKERS_MAX = 1024 };

void nexus_runtime_opts_init(nexus_runtime_opts *opts)
{
    *opts = (nexus_runtime_opts)NEXUS_RUNTIME_OPTS_INIT;
}

static uint32_t processors(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    int n = CPU_COUNT(&set);
    return n > 0 ? (uint32_t)n : 1;
}

nexus_status nexus__runtime_thread(pthread_t *out, const char *name, const char *kind, uint32_t i, void *(*run)(void *),
                                   void *arg)
{
    char text[32]; /* cut to the kernel's 15 bytes by whom it is given to */
    snprintf(text, sizeof text, "%s-%s-%u", name, kind, i);
    return nexus__thread_start(out, text, run, arg);
}

static nexus_status open_loops(nexus_runtime *r, struct event_base *adopted)
{
    uint32_t want = r->loop_count;
    r->loop_count = 0; /* counts those that nexus_runtime_close must close */
    r->loops = nexus__calloc(r->alloc, want, sizeof *r->loops);
    if (!r->loops)
        return nexus__nomem();
    for (uint32_t i = 0; i < want; i++) {
        nexus_status status = nexus__loop_open(&r->loops[i], r, i, adopted);
        if (status)
            return status;
        r->loop_count++;
    }
    return NEXUS_OK;
}

nexus_status nexus_runtime_open(nexus_runtime **out, const nexus_runtime_opts *opts)
{
    nexus_runtime_opts o = NEXUS_RUNTIME_OPTS_INIT;
    if (opts)
        memcpy(&o, opts, opts->size < sizeof o ? opts->size : sizeof o);
    uint32_t loops = o.event_base ? 1 : o.loops ? o.loops : processors();
    uint32_t workers = o.workers ? o.workers : WORKERS;
    if (loops > LOOPS_MAX || workers > WORKERS_MAX)
        return nexus__fail(NEXUS_EINVAL, "a runtime has at most %d loops and %d workers", LOOPS_MAX, WORKERS_MAX);

    nexus_runtime *r = nexus__calloc(o.alloc, 1, sizeof *r);
    if (!r)
        return nexus__nomem();
    r->alloc = o.alloc;
    r->loop_count = loops;
    r->queue_max = o.queue_max ? o.queue_max : QUEUE_MAX;
    r->adopted = o.event_base != NULL;
    snprintf(r->name, sizeof r->name, "%s", o.name ? o.name : "nexus");
    nexus_status status = open_loops(r, o.event_base);
    if (!status)
        status = nexus__pool_open(&r->pool, r, workers, r->queue_max);
    if (status) {
        nexus_runtime_close(r);
        return status;
    }
    *out = r;
    return NEXUS_OK;
}

static void *loop_main(void *arg)
{
    nexus__loop_run(arg);
    return NULL;
}

static nexus_status start_from(nexus_runtime *r, uint32_t first)
{
    if (r->started)
        return nexus__fail(NEXUS_ECONFLICT, "the runtime has been started already");
    r->started = true;
    for (uint32_t i = first; i < r->loop_count; i++) {
        nexus_loop *loop = &r->loops[i];
        /* said now, so that whoever starts the runtime does not find its objects in reach of this thread */
        atomic_store(&loop->atomic.running, true);
        nexus_status status = nexus__runtime_thread(&loop->handle, r->name, "loop", i, loop_main, loop);
        if (status) {
            atomic_store(&loop->atomic.running, false);
            nexus_runtime_stop(r);
            return status;
        }
        loop->has_thread = true;
    }
    return NEXUS_OK;
}

nexus_status nexus_runtime_start(nexus_runtime *r)
{
    if (!r->adopted)
        return start_from(r, 0);
    r->started = true;
    atomic_store(&r->loops[0].atomic.thread, pthread_self());
    atomic_store(&r->loops[0].atomic.running, true);
    nexus__thread_role_get()->loop = &r->loops[0];
    return NEXUS_OK;
}

static void join_loops(nexus_runtime *r)
{
    for (uint32_t i = 0; i < r->loop_count; i++) {
        if (r->loops[i].has_thread)
            pthread_join(r->loops[i].handle, NULL);
        r->loops[i].has_thread = false;
    }
}

nexus_status nexus_runtime_run(nexus_runtime *r)
{
    nexus_status status = start_from(r, 1);
    if (!status)
        nexus__loop_run(&r->loops[0]);
    join_loops(r);
    return status;
}

void nexus_runtime_stop(nexus_runtime *r)
{
    for (uint32_t i = 0; i < r->loop_count; i++)
        nexus__loop_stop(&r->loops[i]);
}

void nexus_runtime_close(nexus_runtime *r)
{
    if (!r)
        return;
    nexus_runtime_stop(r);
    join_loops(r);
    nexus__pool_close(&r->pool); /* its last tasks may still post to the loops … */
    for (uint32_t i = 0; i < r->loop_count; i++)
        nexus__loop_close(&r->loops[i]); /* … which run what was posted on this thread */
    nexus__free(r->alloc, r->loops);
    nexus__free(r->alloc, r);
}

uint32_t nexus_runtime_loop_count(const nexus_runtime *r)
{
    return r->loop_count;
}

nexus_loop *nexus_runtime_loop(nexus_runtime *r, uint32_t i)
{
    return i < r->loop_count ? &r->loops[i] : NULL;
}

const nexus_alloc *nexus__runtime_alloc(const nexus_runtime *r)
{
    return r->alloc;
}
