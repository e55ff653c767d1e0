#include <event2/event.h>
#include <event2/event_struct.h>

#include "base/status.h"
#include "runtime/internal.h"

struct nexus_timer {
    struct event event;
    nexus_loop *loop;
    nexus_task_fn *fn;
    void *user_data;
    int64_t deadline_ns;
};

static void arm(nexus_timer *timer, int64_t ns)
{
    int64_t us = ns / NEXUS__NS_PER_US + 1;
    struct timeval tv = {.tv_sec = us / 1000000, .tv_usec = us % 1000000};
    event_add(&timer->event, &tv);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    nexus_timer *timer = arg;
    int64_t left = timer->deadline_ns - nexus__mono_ns();
    if (left > 0) /* libevent's clock is a coarse one: it may be some milliseconds early */
        arm(timer, left);
    else
        timer->fn(timer->user_data);
}

nexus_status nexus_timer_open(nexus_timer **out, nexus_loop *loop, nexus_task_fn *fn, void *user_data)
{
    nexus_timer *timer = nexus__calloc(loop->runtime->alloc, 1, sizeof *timer);
    if (!timer)
        return nexus__nomem();
    timer->loop = loop;
    timer->fn = fn;
    timer->user_data = user_data;
    if (evtimer_assign(&timer->event, loop->base, on_timer, timer) != 0) {
        nexus__free(loop->runtime->alloc, timer);
        return nexus__fail(NEXUS_EIO, "a timer of loop %u cannot be made", loop->index);
    }
    *out = timer;
    return NEXUS_OK;
}

void nexus_timer_start(nexus_timer *timer, uint32_t ms)
{
    timer->deadline_ns = nexus__mono_ns() + (int64_t)ms * NEXUS__NS_PER_MS;
    arm(timer, (int64_t)ms * NEXUS__NS_PER_MS);
}

void nexus_timer_stop(nexus_timer *timer)
{
    event_del(&timer->event);
}

void nexus_timer_close(nexus_timer *timer)
{
    if (!timer)
        return;
    event_del(&timer->event);
    nexus__free(timer->loop->runtime->alloc, timer);
}
