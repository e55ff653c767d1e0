#include "gateway/dial.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/status.h"

typedef struct attempt {
    nexus__watch watch; /* of a socket that is connecting; started says whether there is one */
    nexus__dial *dial;
} attempt;

struct nexus__dial {
    const nexus_alloc *alloc;
    nexus_loop *loop;
    nexus__dialed_fn *fn;
    void *user_data;
    nexus__address second; /* len 0: none, or tried already */
    nexus__timeout head_start;
    attempt attempts[2];
};

static void give_up(attempt *a)
{
    if (!a->watch.started)
        return;
    nexus__watch_stop(&a->watch);
    close(a->watch.fd);
}

void nexus__dial_cancel(nexus__dial *d)
{
    if (!d)
        return;
    nexus__timeout_remove(&d->head_start, d->loop);
    give_up(&d->attempts[0]);
    give_up(&d->attempts[1]);
    nexus__free(d->alloc, d);
}

static void done(nexus__dial *d, int fd)
{
    nexus__dialed_fn *fn = d->fn;
    void *user_data = d->user_data;
    nexus__dial_cancel(d);
    fn(user_data, fd);
}

static void on_ready(nexus__watch *watch, uint32_t ready);

static bool try_address(nexus__dial *d, attempt *a, const nexus__address *address)
{
    a->dial = d;
    int fd = socket(address->sa.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if ((connect(fd, &address->sa.any, address->len) == 0 || errno == EINPROGRESS) &&
        nexus__watch_start(&a->watch, d->loop, fd, on_ready) == NEXUS_OK)
        return true;
    close(fd);
    return false;
}

/* False: there is none, or it is out of reach. */
static bool try_second(nexus__dial *d)
{
    nexus__address second = d->second;
    d->second.len = 0;
    nexus__timeout_clear(&d->head_start);
    return second.len > 0 && try_address(d, &d->attempts[1], &second);
}

static void on_head_start(nexus__timeout *timeout)
{
    (void)try_second(NEXUS__CONTAINER(timeout, nexus__dial, head_start));
}

static void on_ready(nexus__watch *watch, uint32_t ready)
{
    attempt *a = NEXUS__CONTAINER(watch, attempt, watch);
    nexus__dial *d = a->dial;
    int error = 0, fd = watch->fd;
    socklen_t n = sizeof error;
    (void)ready;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) == 0 && error == 0) {
        nexus__watch_stop(watch);
        done(d, fd);
        return;
    }
    give_up(a);
    bool other = d->attempts[0].watch.started || d->attempts[1].watch.started;
    if (!other && !try_second(d))
        done(d, error ? -error : -ENETUNREACH);
}

nexus_status nexus__dial_start(nexus__dial **out, const nexus_alloc *alloc, nexus_loop *loop,
                               const nexus__address *first, const nexus__address *second, nexus__dialed_fn *fn,
                               void *user_data)
{
    nexus__dial *d = nexus__calloc(alloc, 1, sizeof *d);
    if (!d)
        return nexus__nomem();
    d->alloc = alloc;
    d->loop = loop;
    d->fn = fn;
    d->user_data = user_data;
    if (second)
        d->second = *second;
    nexus__timeout_init(&d->head_start, on_head_start);
    if (try_address(d, &d->attempts[0], first)) {
        if (d->second.len > 0)
            nexus__timeout_set(&d->head_start, loop, NEXUS__DIAL_HEAD_START_MS);
    } else if (!try_second(d)) {
        nexus__dial_cancel(d);
        return NEXUS_EUNREACH;
    }
    *out = d;
    return NEXUS_OK;
}
