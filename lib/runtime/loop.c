/*
 * A loop is a libevent base that one thread dispatches. Other threads reach it only through a lock-free stack of tasks
 * (push by compare-and-swap, taken whole by exchange, so no node can be freed under a reader) and an eventfd that is
 * written when the stack was empty. The base itself has no locks.
 */
#include <errno.h>
#include <event2/event.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/status.h"
#include "runtime/internal.h"

static _Thread_local nexus__thread_role role
    __attribute__((tls_model("initial-exec"))); /* asked dozens of times a request */

nexus__thread_role *nexus__thread_role_get(void)
{
    return &role;
}

bool nexus__on_loop_thread(void)
{
    return role.loop != NULL;
}

bool nexus__on_worker_thread(void)
{
    return role.worker;
}

static void wake(nexus_loop *loop)
{
    int saved = errno; /* may run in a signal handler */
    uint64_t one = 1;
    ssize_t n = write(loop->wake_fd, &one, sizeof one);
    (void)n; /* EAGAIN: it is awake already */
    errno = saved;
}

void nexus__loop_post_task(nexus_loop *loop, nexus__task *task)
{
    nexus__task *head = atomic_load_explicit(&loop->atomic.posted, memory_order_relaxed);
    do
        task->next = head;
    while (!atomic_compare_exchange_weak_explicit(&loop->atomic.posted, &head, task, memory_order_release,
                                                  memory_order_relaxed));
    if (!head)
        wake(loop);
}

typedef struct posted_call {
    nexus__task task;
    nexus_loop *loop;
    nexus_task_fn *fn;
    void *user_data;
} posted_call;

static void run_call(nexus__task *task)
{
    posted_call call = *NEXUS__CONTAINER(task, posted_call, task);
    nexus__free(call.loop->runtime->alloc, task);
    atomic_fetch_sub(&call.loop->atomic.post_count, 1);
    call.fn(call.user_data);
}

nexus_status nexus_loop_post(nexus_loop *loop, nexus_task_fn *fn, void *user_data)
{
    if (atomic_fetch_add(&loop->atomic.post_count, 1) >= loop->runtime->queue_max) {
        atomic_fetch_sub(&loop->atomic.post_count, 1);
        return nexus__fail(NEXUS_EAGAIN, "%u tasks are waiting for loop %u: try again later", loop->runtime->queue_max,
                           loop->index);
    }
    posted_call *call = nexus__malloc(loop->runtime->alloc, sizeof *call);
    if (!call) {
        atomic_fetch_sub(&loop->atomic.post_count, 1);
        return nexus__nomem();
    }
    *call = (posted_call){.task.fn = run_call, .loop = loop, .fn = fn, .user_data = user_data};
    nexus__loop_post_task(loop, &call->task);
    return NEXUS_OK;
}

void nexus__loop_run_posted(nexus_loop *loop)
{
    nexus__task *newest = atomic_exchange_explicit(&loop->atomic.posted, NULL, memory_order_acquire);
    nexus__task *oldest = NULL;
    while (newest) {
        nexus__task *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        nexus__task *task = oldest;
        oldest = task->next;
        task->fn(task);
    }
}

void nexus__loop_turn(nexus_loop *loop)
{
    const nexus_loop *outer = role.loop;
    role.loop = loop;
    nexus__loop_run_posted(loop);
    role.loop = outer;
}

static void on_wake(nexus__watch *watch, uint32_t ready)
{
    (void)ready;
    nexus_loop *loop = watch->loop;
    uint64_t count;
    ssize_t n = read(watch->fd, &count, sizeof count);
    (void)n;
    if (atomic_load(&loop->atomic.stop))
        event_base_loopbreak(loop->base);
    nexus__loop_run_posted(loop);
}

static struct event_base *new_base(void)
{
    struct event_config *config = event_config_new();
    if (!config)
        return NULL;
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

nexus_status nexus__loop_open(nexus_loop *loop, nexus_runtime *runtime, uint32_t index, struct event_base *adopted)
{
    loop->runtime = runtime;
    loop->index = index;
    loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (loop->wake_fd < 0)
        return nexus__fail_errno(errno, "eventfd");
    loop->base = adopted ? adopted : new_base();
    nexus_status status = loop->base ? NEXUS_OK : nexus__fail(NEXUS_ENOMEM, "libevent could not make an event base");
    if (!status)
        status = nexus__watch_start(&loop->on_loop.wake, loop, loop->wake_fd, on_wake);
    if (!status)
        status = nexus__wheel_open(loop);
    if (status)
        nexus__loop_close(loop);
    return status;
}

void nexus__loop_run(nexus_loop *loop)
{
    const nexus_loop *outer = role.loop;
    role.loop = loop;
    atomic_store(&loop->atomic.thread, pthread_self());
    atomic_store(&loop->atomic.running, true);
    while (!atomic_load_explicit(&loop->atomic.stop, memory_order_relaxed)) {
        loop->on_loop.fresh = false; /* one turn: wait, then run everything that became ready */
        if (event_base_loop(loop->base, EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY) < 0)
            break;
    }
    atomic_store(&loop->atomic.running, false);
    role.loop = outer;
}

void nexus__loop_stop(nexus_loop *loop)
{
    if (!loop->runtime->adopted || !loop->runtime->started)
        atomic_store(&loop->atomic.stop, true);
    wake(loop);
}

void nexus__loop_close(nexus_loop *loop)
{
    const nexus_loop *outer = role.loop;
    atomic_store(&loop->atomic.running, false);
    role.loop = loop;
    while (atomic_load(&loop->atomic.posted))
        nexus__loop_run_posted(loop);
    nexus__resolver_close(loop);
    while (atomic_load(&loop->atomic.posted))
        nexus__loop_run_posted(loop);
    role.loop = outer == loop ? NULL : outer;
    nexus__wheel_close(loop);
    nexus__watch_stop(&loop->on_loop.wake);
    if (loop->base && !loop->runtime->adopted)
        event_base_free(loop->base);
    if (loop->wake_fd >= 0)
        close(loop->wake_fd);
    loop->base = NULL;
    loop->wake_fd = -1;
}

bool nexus_loop_is_current(const nexus_loop *loop)
{
    return role.loop == loop;
}

int64_t nexus_loop_now_ns(const nexus_loop *loop)
{
    nexus_loop *l = (nexus_loop *)loop;
    /* an adopted base is turned by its host, and a loop at rest by nobody: there the clock is read each time */
    if (!l->on_loop.fresh || l->runtime->adopted || role.loop != loop) {
        l->on_loop.now_ns = nexus__mono_ns();
        l->on_loop.fresh = true;
    }
    return l->on_loop.now_ns;
}

bool nexus__loop_running(const nexus_loop *loop)
{
    return atomic_load(&loop->atomic.running);
}

nexus_runtime *nexus__loop_runtime(const nexus_loop *loop)
{
    return loop->runtime;
}

uint32_t nexus__loop_index(const nexus_loop *loop)
{
    return loop->index;
}
