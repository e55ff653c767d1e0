#include <event2/event.h>
#include <event2/event_struct.h>

#include "base/status.h"
#include "runtime/internal.h"

_Static_assert(sizeof(struct event) <= sizeof(((nexus__watch *)0)->event), "a watch has room for libevent's event");
_Static_assert(sizeof(struct event) <= sizeof(((nexus__wheel *)0)->event), "so has the wheel");

static struct event *event_of(nexus__watch *watch)
{
    return (struct event *)(void *)watch->event;
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    nexus__watch *watch = arg;
    watch->fn(watch, ((what & EV_READ) ? NEXUS__WATCH_READ : 0) | ((what & EV_WRITE) ? NEXUS__WATCH_WRITE : 0) |
                         ((what & EV_CLOSED) ? NEXUS__WATCH_HANGUP : 0));
}

static nexus_status start(nexus__watch *watch, nexus_loop *loop, int fd, nexus__watch_fn *fn, short what)
{
    watch->loop = loop;
    watch->fn = fn;
    watch->fd = fd;
    if (event_assign(event_of(watch), loop->base, fd, (short)(what | EV_PERSIST), on_event, watch) != 0 ||
        event_add(event_of(watch), NULL) != 0)
        return nexus__fail(NEXUS_EIO, "descriptor %d cannot be watched", fd);
    watch->started = true;
    return NEXUS_OK;
}

nexus_status nexus__watch_start(nexus__watch *watch, nexus_loop *loop, int fd, nexus__watch_fn *fn)
{
    return start(watch, loop, fd, fn, EV_READ | EV_WRITE | EV_CLOSED | EV_ET);
}

nexus_status nexus__watch_start_level(nexus__watch *watch, nexus_loop *loop, int fd, nexus__watch_fn *fn)
{
    return start(watch, loop, fd, fn, EV_READ);
}

void nexus__watch_stop(nexus__watch *watch)
{
    if (!watch->started)
        return;
    watch->started = false;
    event_del(event_of(watch));
}

void nexus__watch_again(nexus__watch *watch, uint32_t ready)
{
    short what = (short)(((ready & NEXUS__WATCH_READ) ? EV_READ : 0) | ((ready & NEXUS__WATCH_WRITE) ? EV_WRITE : 0));
    if (watch->started)
        event_active(event_of(watch), what, 0);
}
