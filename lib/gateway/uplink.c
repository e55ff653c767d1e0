/* A connection to a target: its events, its bytes. Its loop owns it; nothing here is shared. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/status.h"
#include "gateway/dial.h"
#include "gateway/gateway.h"
#include "gateway/lane.h"

static void conn_free(nexus__uplink *c)
{
    nexus__pool *pool = c->pool;
    if (pool->home->live == c)
        pool->home->live = NULL;
    nexus__watch_stop(&c->watch);
    nexus__timeout_remove(&c->timeout, pool->home->loop);
    nexus__dial_cancel(c->dial);
    nexus__tls_conn_close(c->tls);
    if (c->watch.fd >= 0)
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
    if (c->carrier) {
        nexus__lane_close(c);
        return;
    }
    bool idle = c->state == NEXUS__UPLINK_IDLE;
    if (idle)
        nexus__uplink_leave(c);
    conn_free(c);
    if (!idle)
        nexus__pool_unref(pool);
}

/* --- the socket, with or without TLS: bytes; -1 = would block, -2 = broken ------------------------------------------ */

static ssize_t send_bytes(nexus__uplink *c, const char *p, size_t n)
{
    if (c->tls)
        return nexus__tls_write(c->tls, p, n);
    ssize_t sent;
    do
        sent = send(c->watch.fd, p, n, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent >= 0 ? sent : errno == EAGAIN || errno == EWOULDBLOCK ? -1 : -2;
}

static ssize_t receive_bytes(nexus__uplink *c, char *p, size_t n)
{
    if (c->tls)
        return nexus__tls_read(c->tls, p, n);
    ssize_t got;
    do
        got = recv(c->watch.fd, p, n, 0);
    while (got < 0 && errno == EINTR);
    return got >= 0 ? got : errno == EAGAIN || errno == EWOULDBLOCK ? -1 : -2;
}

/* --- events ------------------------------------------------------------------------------------------------------- */

void nexus__uplink_on_timeout(nexus__timeout *timeout)
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

static void connected(nexus__uplink *c)
{
    c->state = NEXUS__UPLINK_BUSY;
    nexus__call_connected(c);
}

static void handshake(nexus__uplink *c)
{
    int done = nexus__tls_handshake(c->tls);
    if (done > 0)
        connected(c);
    else if (done < 0)
        nexus__call_lost(c, nexus__tls_untrusted(c->tls) ? NEXUS__LOST_CERTIFICATE : NEXUS__LOST_TLS);
}

static void on_connected(nexus__uplink *c)
{
    int error = 0;
    socklen_t n = sizeof error;
    if (c->tls) {
        handshake(c);
        return;
    }
    bool failed = getsockopt(c->watch.fd, SOL_SOCKET, SO_ERROR, &error, &n) || error;
    c->call->fault = error;
    if (failed)
        nexus__call_lost(c, NEXUS__LOST_CONNECT);
    else
        connected(c);
}

/* Sends what waits. */
static void flush(nexus__uplink *c)
{
    while (c->out.len > 0) {
        ssize_t n = send_bytes(c, c->out.p, c->out.len);
        if (n == -1)
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
        ssize_t n = receive_bytes(c, home->buffer, NEXUS__GW_BUFFER);
        if (n == -1)
            return;
        if (n <= 0) {
            c->broken = n < 0;
            on_eof(c);
            return;
        }
        bool more = n == NEXUS__GW_BUFFER || c->hung_up || c->tls;
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
    if (c->carrier)
        nexus__lane_taken(c);
    else
        nexus__watch_again(&c->watch, NEXUS__WATCH_READ);
}

/* A connection at rest was closed by the peer, or brought bytes that nobody asked for. Of TLS's own records it may. */
static bool spoke(nexus__uplink *c)
{
    char byte;
    return !c->tls || receive_bytes(c, &byte, 1) != -1;
}

static void on_ready(nexus__watch *watch, uint32_t ready)
{
    nexus__uplink *c = NEXUS__CONTAINER(watch, nexus__uplink, watch);
    if (c->state == NEXUS__UPLINK_CONNECTING) {
        on_connected(c);
        return; /* an edge for what there is to read comes by itself, or is found by the first try */
    }
    if (c->state == NEXUS__UPLINK_IDLE) {
        if (ready & (NEXUS__WATCH_READ | NEXUS__WATCH_HANGUP) && spoke(c))
            nexus__uplink_close(c);
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

uint32_t nexus__uplink_protocols(const nexus__pool *pool, const nexus__target *t)
{
    static const uint32_t bits[] = {[NEXUS__PROTOCOL_AUTO] = NEXUS__TLS_HTTP1 | NEXUS__TLS_H2,
                                    [NEXUS__PROTOCOL_HTTP1] = NEXUS__TLS_HTTP1,
                                    [NEXUS__PROTOCOL_H2] = NEXUS__TLS_H2};
    uint32_t protocol = pool->upstream->conf->protocol;
    return protocol == NEXUS__PROTOCOL_AUTO && !t->tls ? NEXUS__TLS_HTTP1 : bits[protocol];
}

/* Counted already among the target's connections. */
static nexus__uplink *uplink_new(nexus__pool *pool, nexus__pool_target *at)
{
    nexus__uplink *c = nexus__calloc(pool->upstream->alloc, 1, sizeof *c);
    if (!c) {
        atomic_fetch_sub(&at->target->shared.connections, 1);
        return NULL;
    }
    c->pool = pool;
    c->at = at;
    c->watch.fd = -1;
    c->born = nexus_loop_now_ns(pool->home->loop);
    nexus__list_init(&c->node);
    nexus__timeout_init(&c->timeout, nexus__uplink_on_timeout);
    nexus__buf_init(&c->in, at->alloc, 0);
    nexus__buf_init(&c->out, at->alloc, 0);
    pool->refs++;
    at->refs++;
    return c;
}

static void on_dialed(void *user_data, int fd)
{
    nexus__uplink *c = user_data;
    const nexus__target *t = c->at->target;
    c->dial = NULL;
    c->call->fault = fd < 0 ? -fd : 0;
    c->watch.fd = fd < 0 ? -1 : fd;
    if (fd >= 0 && t->tls)
        c->tls = nexus__tls_client_conn(c->pool->upstream->tls, fd, t->server_name.p, NEXUS__TLS_HTTP1, &c->at->session);
    if (fd < 0 || (t->tls && !c->tls) || nexus__watch_start(&c->watch, c->pool->home->loop, fd, on_ready))
        nexus__call_lost(c, NEXUS__LOST_CONNECT);
}

/* In the clear, to the only address: the watch of the connection serves for connecting too. Statuses other than
 * NEXUS_EUNREACH say nothing about the target. */
static nexus_status connect_plain(nexus__uplink *c, const nexus__address *address)
{
    int fd = c->watch.fd = socket(address->sa.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return NEXUS_ENOMEM;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (connect(fd, &address->sa.any, address->len) != 0 && errno != EINPROGRESS)
        return NEXUS_EUNREACH;
    return nexus__watch_start(&c->watch, c->pool->home->loop, fd, on_ready) ? NEXUS_ENOMEM : NEXUS_OK;
}

nexus_status nexus__uplink_open(nexus__uplink **out, nexus__pool *pool, nexus__pool_target *at, bool upgrade)
{
    nexus__target *t = at->target;
    uint32_t protocols = upgrade ? NEXUS__TLS_HTTP1 : nexus__uplink_protocols(pool, t);
    if (protocols == NEXUS__TLS_H2 || (protocols & NEXUS__TLS_H2 && at->spoken != NEXUS__TLS_HTTP1))
        return nexus__lane_open(out, pool, at);
    if (atomic_fetch_add(&t->shared.connections, 1) >= pool->upstream->conf->max_connections) {
        atomic_fetch_sub(&t->shared.connections, 1);
        return NEXUS_ELIMIT;
    }
    nexus__uplink *c = uplink_new(pool, at);
    if (!c)
        return nexus__nomem();
    bool choice = t->alternate.len > 0;
    nexus_status status = t->tls || choice
                              ? nexus__dial_start(&c->dial, at->alloc, pool->home->loop, &t->address,
                                                  choice ? &t->alternate : NULL, on_dialed, c)
                              : connect_plain(c, &t->address);
    if (status) {
        nexus__uplink_close(c);
        return status;
    }
    nexus__timeout_set(&c->timeout, pool->home->loop, pool->upstream->conf->timeouts.connect_ms);
    *out = c;
    return NEXUS_OK;
}

nexus_status nexus__uplink_adopt(nexus__uplink **out, nexus__pool *pool, nexus__pool_target *at, int fd,
                                 nexus__tls_conn *tls)
{
    atomic_fetch_add(&at->target->shared.connections, 1);
    nexus__uplink *c = uplink_new(pool, at);
    if (!c)
        return nexus__nomem();
    nexus_status status = nexus__watch_start(&c->watch, pool->home->loop, fd, on_ready);
    if (status) {
        nexus__uplink_close(c);
        return status;
    }
    c->watch.fd = fd;
    c->tls = tls;
    c->state = NEXUS__UPLINK_BUSY;
    *out = c;
    return NEXUS_OK;
}

static void keep_rest(nexus__buf *out, const struct iovec *iov, int n, size_t sent)
{
    for (int i = 0; i < n; i++) {
        size_t skip = sent < iov[i].iov_len ? sent : iov[i].iov_len;
        nexus__buf_append(out, (const char *)iov[i].iov_base + skip, iov[i].iov_len - skip);
        sent -= skip;
    }
}

/* A record for each piece would be dear: together, in what a socket did not take waits too. */
static bool send_together(nexus__uplink *c, const struct iovec *iov, int n)
{
    for (int i = 0; i < n; i++)
        nexus__buf_append(&c->out, iov[i].iov_base, iov[i].iov_len);
    if (c->out.status == NEXUS_OK)
        flush(c);
    return c->out.status == NEXUS_OK;
}

bool nexus__uplink_send(nexus__uplink *c, struct iovec *iov, int n)
{
    if (c->carrier)
        return nexus__lane_send(c, iov, n);
    if (c->tls)
        return send_together(c, iov, n);
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
    if (c->carrier)
        return nexus__lane_send_some(c, data);
    ssize_t sent = send_bytes(c, data.p, data.n);
    return sent == -1 ? 0 : sent == -2 ? -1 : sent;
}

void nexus__uplink_shut(nexus__uplink *c)
{
    if (!c->tls)
        shutdown(c->watch.fd, SHUT_WR);
}
