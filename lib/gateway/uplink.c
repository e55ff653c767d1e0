/* A connection to a target: its events, its bytes. Its loop owns it; nothing here is shared. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/status.h"
#include "gateway/gateway.h"

static void conn_free(nexus__uplink *c)
{
    nexus__pool *pool = c->pool;
    if (pool->home->live == c)
        pool->home->live = NULL;
    nexus__watch_stop(&c->watch);
    nexus__timeout_remove(&c->timeout, pool->home->loop);
    close(c->watch.fd);
    nexus__buf_free(&c->in);
    nexus__buf_free(&c->out);
    atomic_fetch_sub(&c->at->target->shared.connections, 1);
    nexus__waiting_freed(pool);
    nexus__pool_target_unref(c->at);
    nexus__free(pool->upstream->alloc, c);
}

void nexus__uplink_close(nexus__uplink *c)
{
    nexus__pool *pool = c->pool;
    bool idle = c->state == NEXUS__UPLINK_IDLE;
    if (idle)
        nexus__uplink_leave(c);
    conn_free(c);
    if (!idle)
        nexus__pool_unref(pool);
}

/* --- events ------------------------------------------------------------------------------------------------------- */

static void on_timeout(nexus__timeout *timeout)
{
    nexus__uplink *c = NEXUS__CONTAINER(timeout, nexus__uplink, timeout);
    if (c->state == NEXUS__UPLINK_IDLE)
        nexus__uplink_close(c);
    else if (c->state == NEXUS__UPLINK_TUNNEL)
        nexus__tunnel_tick(c);
    else {
        if (c->state == NEXUS__UPLINK_CONNECTING)
            c->call->fault = ETIMEDOUT;
        nexus__call_lost(c, NEXUS__LOST_TIMEOUT);
    }
}

static void on_connected(nexus__uplink *c)
{
    int error = 0;
    socklen_t n = sizeof error;
    bool failed = getsockopt(c->watch.fd, SOL_SOCKET, SO_ERROR, &error, &n) || error;
    c->call->fault = error;
    if (failed) {
        nexus__call_lost(c, NEXUS__LOST_CONNECT);
        return;
    }
    c->state = NEXUS__UPLINK_BUSY;
    nexus__call_connected(c);
}

/* Sends what waits. */
static void flush(nexus__uplink *c)
{
    while (c->out.len > 0) {
        ssize_t n = send(c->watch.fd, c->out.p, c->out.len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        nexus__buf_consume(&c->out, n < 0 ? c->out.len : (size_t)n); /* broken: an answer may be there all the same */
    }
}

static void on_writable(nexus__uplink *c)
{
    flush(c);
    if (c->out.len > 0)
        return;
    if (c->state == NEXUS__UPLINK_TUNNEL)
        nexus__tunnel_writable(c);
    else if (c->call->blocked)
        nexus__call_writable(c);
}

static void on_eof(nexus__uplink *c)
{
    if (c->state == NEXUS__UPLINK_TUNNEL)
        nexus__tunnel_eof(c);
    else
        nexus__reply_eof(c);
}

static bool client_is_slow(nexus__uplink *c)
{
    nexus_request *request = c->state == NEXUS__UPLINK_TUNNEL ? c->tunnel : c->call->request;
    return nexus__exchange_unsent(request) > 0;
}

static void on_drained(nexus_request *request, void *user_data)
{
    (void)request;
    nexus__uplink *c = user_data;
    nexus__uplink_resume(c);
}

/* What was received is handed on before more is read: one buffer serves all connections of the loop. */
static void receive(nexus__uplink *c)
{
    nexus__gw_loop *home = c->pool->home;
    for (;;) {
        bool replied = c->state == NEXUS__UPLINK_TUNNEL || c->call->replied;
        if (replied && client_is_slow(c)) {
            c->paused = true;
            nexus__exchange_on_drained(c->tunnel ? c->tunnel : c->call->request, on_drained, c);
            return;
        }
        ssize_t n = recv(c->watch.fd, home->buffer, NEXUS__GW_BUFFER, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n <= 0) {
            on_eof(c);
            return;
        }
        bool more = n == NEXUS__GW_BUFFER || c->hung_up;
        if (c->state == NEXUS__UPLINK_TUNNEL)
            nexus__tunnel_bytes(c, home->buffer, (size_t)n);
        else if (!nexus__reply_bytes(c, home->buffer, (size_t)n))
            return;
        if (!more || home->live != c)
            return; /* the socket is empty; the edge comes again */
    }
}

void nexus__uplink_resume(nexus__uplink *c)
{
    if (!c->paused)
        return;
    c->paused = false;
    nexus__watch_again(&c->watch, NEXUS__WATCH_READ);
}

static void on_ready(nexus__watch *watch, uint32_t ready)
{
    nexus__uplink *c = NEXUS__CONTAINER(watch, nexus__uplink, watch);
    if (c->state == NEXUS__UPLINK_CONNECTING) {
        on_connected(c);
        return; /* an edge for what there is to read comes by itself, or is found by the first try */
    }
    if (c->state == NEXUS__UPLINK_IDLE) {
        if (ready & (NEXUS__WATCH_READ | NEXUS__WATCH_HANGUP))
            nexus__uplink_close(c); /* closed by the peer, or spoke out of turn */
        return;
    }
    nexus__gw_loop *home = c->pool->home;
    home->live = c;
    c->hung_up |= (ready & NEXUS__WATCH_HANGUP) != 0; /* its end has come already: no further edge will */
    if (ready & NEXUS__WATCH_WRITE && (c->out.len > 0 || c->state == NEXUS__UPLINK_TUNNEL || c->call->blocked))
        on_writable(c);
    if (home->live == c && ready & (NEXUS__WATCH_READ | NEXUS__WATCH_HANGUP) && !c->paused &&
        c->state != NEXUS__UPLINK_IDLE)
        receive(c);
    home->live = NULL;
}

/* --- opening and sending ------------------------------------------------------------------------------------------ */

nexus_status nexus__uplink_open(nexus__uplink **out, nexus__pool *pool, nexus__pool_target *at)
{
    nexus__upstream *u = pool->upstream;
    nexus__target *t = at->target;
    if (atomic_fetch_add(&t->shared.connections, 1) >= u->conf->max_connections) {
        atomic_fetch_sub(&t->shared.connections, 1);
        return NEXUS_ELIMIT;
    }
    nexus_status status = NEXUS_ENOMEM; /* of ours: says nothing about the target */
    int fd = socket(t->address.sa.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    nexus__uplink *c = fd >= 0 ? nexus__calloc(u->alloc, 1, sizeof *c) : NULL;
    if (!c)
        goto failed;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    c->pool = pool;
    c->at = at;
    c->watch.fd = fd;
    nexus__list_init(&c->node);
    nexus__timeout_init(&c->timeout, on_timeout);
    nexus__buf_init(&c->in, u->alloc, 0);
    nexus__buf_init(&c->out, u->alloc, 0);
    if (connect(fd, &t->address.sa.any, t->address.len) != 0 && errno != EINPROGRESS) {
        status = NEXUS_EUNREACH;
        goto failed;
    }
    if (nexus__watch_start(&c->watch, pool->home->loop, fd, on_ready))
        goto failed;
    nexus__timeout_set(&c->timeout, pool->home->loop, u->conf->timeouts.connect_ms);
    pool->refs++;
    at->refs++;
    *out = c;
    return NEXUS_OK;
failed:
    if (fd >= 0)
        close(fd);
    nexus__free(u->alloc, c);
    atomic_fetch_sub(&t->shared.connections, 1);
    return status;
}

static void keep_rest(nexus__buf *out, const struct iovec *iov, int n, size_t sent)
{
    for (int i = 0; i < n; i++) {
        size_t skip = sent < iov[i].iov_len ? sent : iov[i].iov_len;
        nexus__buf_append(out, (const char *)iov[i].iov_base + skip, iov[i].iov_len - skip);
        sent -= skip;
    }
}

bool nexus__uplink_send(nexus__uplink *c, struct iovec *iov, int n)
{
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)n};
    ssize_t sent = 0;
    if (c->out.len == 0) {
        do
            sent = n == 1 ? send(c->watch.fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL)
                          : sendmsg(c->watch.fd, &msg, MSG_NOSIGNAL);
        while (sent < 0 && errno == EINTR);
        if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
            return false;
    }
    size_t total = 0;
    for (int i = 0; i < n; i++)
        total += iov[i].iov_len;
    if (sent < 0 || (size_t)sent < total)
        keep_rest(&c->out, iov, n, sent < 0 ? 0 : (size_t)sent);
    return c->out.status == NEXUS_OK;
}

ssize_t nexus__uplink_send_some(nexus__uplink *c, nexus_slice data)
{
    ssize_t sent;
    do
        sent = send(c->watch.fd, data.p, data.n, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? 0 : sent;
}
