#include <event2/event.h>
#include <event2/event_struct.h>

#include "base/status.h"
#include "runtime/internal.h"

struct nexus_timer {
    struct event event;
    nexus_loop *loop;
    nexus_task_fn *fn;
    void *user_data;
};

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    nexus_timer *timer = arg;
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
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};
    event_add(&timer->event, &tv);
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
