/* Checks by connecting: who accepts is well. On loop 0. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/status.h"
#include "gateway/health.h"

typedef struct knock {
    nexus__list node; /* of the gateway's checks under way */
    nexus__watch watch;
    nexus__timeout timeout;
    nexus_gateway *gateway;
    nexus__target *target;
} knock;

static void end(knock *k, nexus__check_outcome outcome, const char *reason)
{
    nexus_gateway *g = k->gateway;
    nexus__target *t = k->target;
    nexus__list_remove(&k->node);
    nexus__watch_stop(&k->watch);
    nexus__timeout_remove(&k->timeout, g->loops[0].loop);
    close(k->watch.fd);
    nexus__free(g->alloc, k);
    nexus__check_done(t, outcome, reason);
}

static void on_ready(nexus__watch *watch, uint32_t ready)
{
    knock *k = NEXUS__CONTAINER(watch, knock, watch);
    int error = 0;
    socklen_t n = sizeof error;
    if (!(ready & (NEXUS__WATCH_WRITE | NEXUS__WATCH_HANGUP)))
        return;
    if (getsockopt(watch->fd, SOL_SOCKET, SO_ERROR, &error, &n))
        error = errno;
    end(k, error ? NEXUS__CHECK_BAD : NEXUS__CHECK_GOOD, error ? "does not accept connections" : "accepts connections");
}

static void on_timeout(nexus__timeout *timeout)
{
    end(NEXUS__CONTAINER(timeout, knock, timeout), NEXUS__CHECK_BAD, "does not accept connections in time");
}

nexus_status nexus__check_tcp(nexus_gateway *g, nexus__target *t)
{
    nexus_loop *loop = g->loops[0].loop;
    int fd = socket(t->address.sa.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    knock *k = fd >= 0 ? nexus__calloc(g->alloc, 1, sizeof *k) : NULL;
    if (!k)
        goto failed;
    k->gateway = g;
    k->target = t;
    if (connect(fd, &t->address.sa.any, t->address.len) != 0 && errno != EINPROGRESS) {
        nexus__free(g->alloc, k);
        close(fd);
        nexus__check_done(t, NEXUS__CHECK_BAD, "does not accept connections");
        return NEXUS_OK;
    }
    if (nexus__watch_start(&k->watch, loop, fd, on_ready))
        goto failed;
    nexus__timeout_init(&k->timeout, on_timeout);
    nexus__timeout_set(&k->timeout, loop, t->upstream->conf->health.timeout_ms);
    nexus__list_push(&g->knocks, &k->node);
    return NEXUS_OK;
failed:
    nexus__free(g->alloc, k);
    if (fd >= 0)
        close(fd);
    return NEXUS_ENOMEM;
}

void nexus__health_stop(nexus_gateway *g)
{
    while (!nexus__list_empty(&g->knocks))
        end(NEXUS__CONTAINER(g->knocks.next, knock, node), NEXUS__CHECK_UNKNOWN, "the gateway closes");
}
