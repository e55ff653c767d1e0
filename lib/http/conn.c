/* A connection's socket: accepting, receiving, sending, ending. What it is used for is in serve.c. */
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/internal.h"

enum { ACCEPT_MAX = 64, IOV_MAX_HERE = 66, ACCEPT_RETRY_MS = 20, TLS_RECORD = 16384, SMALL_SEND = 2048 };

static void on_ready(nexus__watch *watch, uint32_t ready);

/* --- accepting --------------------------------------------------------------------------------------------------- */

static bool is_full(nexus_server *s)
{
    return atomic_load(&s->connections) >= s->opts.connections_max || nexus__server_load(s) >= NEXUS__LOAD_DEAF;
}

static void pause_accepting(nexus__shard *shard)
{
    shard->paused = true;
    for (nexus__list *n = shard->listeners.next; n != &shard->listeners; n = n->next)
        nexus__watch_stop(&NEXUS__CONTAINER(n, nexus__listener, node)->watch);
    nexus__timeout_set(&shard->retry, shard->loop, ACCEPT_RETRY_MS);
}

void nexus__shard_retry_accept(nexus__timeout *timeout)
{
    nexus__shard *shard = NEXUS__CONTAINER(timeout, nexus__shard, retry);
    if (!shard->paused)
        return;
    if (is_full(shard->server)) {
        nexus__timeout_set(timeout, shard->loop, ACCEPT_RETRY_MS);
        return;
    }
    shard->paused = false;
    for (nexus__list *n = shard->listeners.next; n != &shard->listeners; n = n->next) {
        nexus__listener *l = NEXUS__CONTAINER(n, nexus__listener, node);
        if (nexus__watch_start_level(&l->watch, shard->loop, l->watch.fd, nexus__conn_accept) != NEXUS_OK)
            shard->paused = true;
    }
    if (shard->paused)
        nexus__timeout_set(timeout, shard->loop, ACCEPT_RETRY_MS);
}

static void peer_ip(const struct sockaddr_in6 *peer, nexus__ip *out)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (peer->sin6_family == AF_INET6) {
        memcpy(out->bytes, &peer->sin6_addr, 16);
        return;
    }
    memcpy(out->bytes, mapped, 12);
    memcpy(out->bytes + 12, &((const struct sockaddr_in *)(const void *)peer)->sin_addr, 4);
}

static bool is_welcome(const nexus_server *s, const nexus__ip *ip)
{
    char text[48];
    nexus_slice peer = {text, s->conn_hook_count ? nexus__ip_format(ip, text) : 0};
    for (size_t i = 0; i < s->conn_hook_count; i++)
        if (!s->conn_hooks[i].fn(peer, s->conn_hooks[i].user_data))
            return false;
    return true;
}

static void open_conn(nexus__shard *shard, int fd, const struct sockaddr_in6 *peer)
{
    nexus_server *s = shard->server;
    nexus__ip ip;
    peer_ip(peer, &ip);
    if (!is_welcome(s, &ip)) {
        close(fd);
        return;
    }
    nexus__conn *c = nexus__calloc(s->alloc, 1, sizeof *c);
    if (c && s->tls)
        c->tls = nexus__tls_conn_open(s->tls, shard->loop, fd);
    if (!c || (s->tls && !c->tls)) {
        nexus__free(s->alloc, c);
        close(fd);
        return;
    }
    c->shard = shard;
    c->fd = fd;
    c->state = c->tls ? NEXUS__CONN_HANDSHAKE : NEXUS__CONN_FIRST;
    c->peer = ip;
    if (s->opts.proxy_protocol && nexus__server_trusts(s, &c->peer))
        c->state = NEXUS__CONN_PROXY;
    nexus__buf_init(&c->out, s->alloc, 0);
    nexus__timeout_init(&c->timeout, nexus__conn_on_timeout);
    nexus__list_push(&shard->conns, &c->node);
    atomic_fetch_add(&s->connections, 1);
    if (nexus__watch_start(&c->watch, shard->loop, fd, on_ready) != NEXUS_OK) {
        nexus__conn_close(c);
        return;
    }
    bool hurry = c->state != NEXUS__CONN_FIRST;
    nexus__timeout_set(&c->timeout, shard->loop, hurry ? s->opts.head_timeout_ms : s->opts.idle_timeout_ms);
}

void nexus__conn_accept(nexus__watch *watch, uint32_t ready)
{
    (void)ready;
    nexus__shard *shard = NEXUS__CONTAINER(watch, nexus__listener, watch)->shard;
    nexus_server *s = shard->server;
    for (int i = 0; i < ACCEPT_MAX; i++) {
        if (is_full(s)) {
            pause_accepting(shard);
            return;
        }
        struct sockaddr_in6 peer;
        socklen_t len = sizeof peer;
        int fd = accept4(watch->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            open_conn(shard, fd, &peer);
        else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            pause_accepting(shard); /* for a while: else the level-triggered watch would spin */
            return;
        } else if (errno != ECONNABORTED && errno != EINTR)
            return;
    }
}

/* --- receiving --------------------------------------------------------------------------------------------------- */

static char *take_buf(nexus__shard *shard)
{
    char *buf = shard->free_bufs;
    if (!buf)
        return nexus__malloc(shard->server->alloc, NEXUS__IN_BYTES);
    memcpy(&shard->free_bufs, buf, sizeof shard->free_bufs);
    shard->free_buf_count--;
    return buf;
}

void nexus__shard_release_buf(nexus__shard *shard, char *buf, uint32_t cap)
{
    if (!buf)
        return;
    if (cap != NEXUS__IN_BYTES || shard->free_buf_count >= NEXUS__FREE_MAX ||
        nexus__server_load(shard->server) >= NEXUS__LOAD_CLOSE) {
        nexus__free(shard->server->alloc, buf);
        return;
    }
    memcpy(buf, &shard->free_bufs, sizeof shard->free_bufs);
    shard->free_bufs = buf;
    shard->free_buf_count++;
}

void nexus__conn_release_in(nexus__conn *c)
{
    nexus__shard_release_buf(c->shard, c->in, c->in_cap);
    c->in = NULL;
    c->in_cap = c->in_len = c->in_at = c->in_body = 0;
}

/* Room for at least one byte. While a head is read the buffer may move and grow; later its slices are in use. */
static bool make_room(nexus__conn *c)
{
    if (!c->in) {
        c->in = take_buf(c->shard);
        c->in_cap = c->in ? NEXUS__IN_BYTES : 0;
        return c->in != NULL;
    }
    if (c->in_len < c->in_cap)
        return true;
    if (c->state != NEXUS__CONN_HEAD)
        return false;
    if (c->in_at) {
        memmove(c->in, c->in + c->in_at, c->in_len - c->in_at);
        c->in_len -= c->in_at;
        c->in_at = c->in_body = 0;
        return true;
    }
    char *grown = nexus__malloc(c->shard->server->alloc, (size_t)c->in_cap * 2);
    if (!grown)
        return false;
    memcpy(grown, c->in, c->in_len);
    nexus__shard_release_buf(c->shard, c->in, c->in_cap);
    c->in = grown;
    c->in_cap *= 2;
    return true;
}

bool nexus__conn_fill(nexus__conn *c)
{
    if (!c->readable || c->eof)
        return false;
    if (!make_room(c)) {
        c->eof = !c->in || c->state == NEXUS__CONN_HEAD; /* no memory: the connection ends, rather than to hang */
        return false;
    }
    size_t room = c->in_cap - c->in_len;
    ssize_t n;
    if (c->tls) {
        n = nexus__tls_read(c->tls, c->in + c->in_len, room);
    } else {
        do
            n = recv(c->fd, c->in + c->in_len, room, 0);
        while (n < 0 && errno == EINTR);
        if (n < 0)
            n = errno == EAGAIN ? -1 : -2;
    }
    if (n > 0) {
        c->in_len += (uint32_t)n;
        /* less than asked for: nothing is left, unless the end came with it, for which no further edge will come */
        if ((size_t)n < room && !c->tls && !c->peer_shut)
            c->readable = false;
        return true;
    }
    c->readable = false;
    if (n != -1)
        c->eof = true;
    return false;
}

/* --- sending ----------------------------------------------------------------------------------------------------- */

static void keep(nexus__conn *c, const struct iovec *iov, size_t n, size_t skip)
{
    for (size_t i = 0; i < n; i++) {
        size_t len = iov[i].iov_len;
        if (skip >= len) {
            skip -= len;
            continue;
        }
        nexus__buf_append(&c->out, (const char *)iov[i].iov_base + skip, len - skip);
        skip = 0;
    }
}

static size_t total_of(const struct iovec *iov, size_t n)
{
    size_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += iov[i].iov_len;
    return total;
}

/* Puts pieces together from piece *i, byte *at on, as many as fit; returns how many bytes. */
static size_t gather(char *out, size_t room, const struct iovec *iov, size_t n, size_t *i, size_t *at)
{
    size_t len = 0;
    while (*i < n && len < room) {
        size_t left = iov[*i].iov_len - *at, part = left < room - len ? left : room - len;
        if (part)
            memcpy(out + len, (const char *)iov[*i].iov_base + *at, part);
        len += part;
        *at += part;
        if (part == left) {
            ++*i;
            *at = 0;
        }
    }
    return len;
}

/* A record costs more than copying its bytes: head and body of a small reply become one, large pieces go as they are. */
static ssize_t send_records(nexus__conn *c, const struct iovec *iov, size_t n)
{
    char record[TLS_RECORD];
    ssize_t sum = 0;
    for (size_t i = 0, at = 0; i < n;) {
        const char *from = (const char *)iov[i].iov_base + at;
        size_t len = iov[i].iov_len - at;
        if (len >= sizeof record || i + 1 == n) {
            i++;
            at = 0;
        } else {
            len = gather(record, sizeof record, iov, n, &i, &at);
            from = record;
        }
        for (size_t done = 0; done < len;) {
            ssize_t k = nexus__tls_write(c->tls, from + done, len - done);
            if (k < 0)
                return k == -1 ? sum : -1;
            done += (size_t)k;
            sum += k;
        }
    }
    return sum;
}

/* Bytes taken, or -1: the socket is dead. */
static ssize_t send_some(nexus__conn *c, const struct iovec *iov, size_t n)
{
    if (c->tls)
        return send_records(c, iov, n);
    ssize_t sent;
    char small[SMALL_SEND];
    struct iovec one = {small, 0};
    if (n > 1 && total_of(iov, n) <= sizeof small) { /* copying is cheaper than what the kernel does for a vector */
        size_t i = 0, at = 0;
        one.iov_len = gather(small, sizeof small, iov, n, &i, &at);
        iov = &one;
        n = 1;
    }
    do {
        if (n == 1) {
            sent = send(c->fd, iov[0].iov_base, iov[0].iov_len, MSG_NOSIGNAL);
        } else {
            struct msghdr m = {.msg_iov = (struct iovec *)iov, .msg_iovlen = n};
            sent = sendmsg(c->fd, &m, MSG_NOSIGNAL);
        }
    } while (sent < 0 && errno == EINTR);
    return sent >= 0 ? sent : errno == EAGAIN ? 0 : -1;
}

void nexus__conn_break(nexus__conn *c)
{
    if (c->broken || c->state == NEXUS__CONN_CLOSED)
        return;
    c->broken = true;
    nexus__buf_free(&c->out);
    c->out_at = 0;
    if (!c->running) /* its request's owner may be in the middle of a call: not from here */
        nexus__watch_again(&c->watch, NEXUS__WATCH_READ);
}

static void send_or_keep(nexus__conn *c, const struct iovec *iov, size_t n, size_t total)
{
    ssize_t sent = nexus__conn_unsent(c) ? 0 : send_some(c, iov, n);
    if (sent < 0) {
        nexus__conn_break(c);
        return;
    }
    if ((size_t)sent == total)
        return;
    if (!nexus__conn_unsent(c))
        nexus__timeout_set(&c->timeout, c->shard->loop, c->shard->server->opts.idle_timeout_ms);
    keep(c, iov, n, (size_t)sent);
    if (c->out.status != NEXUS_OK)
        nexus__conn_break(c);
}

void nexus__conn_write(nexus__conn *c, const struct iovec *iov, size_t n)
{
    nexus__shard *shard = c->shard;
    size_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += iov[i].iov_len;
    if (c->state == NEXUS__CONN_CLOSED || c->broken || total == 0)
        return;
    if (shard->corked == c && total <= sizeof shard->scratch - shard->scratch_len) {
        for (size_t i = 0; i < n; i++) {
            if (iov[i].iov_len)
                memcpy(shard->scratch + shard->scratch_len, iov[i].iov_base, iov[i].iov_len);
            shard->scratch_len += iov[i].iov_len;
        }
        return;
    }
    if (shard->corked != c || shard->scratch_len == 0) {
        send_or_keep(c, iov, n, total);
        return;
    }
    struct iovec all[IOV_MAX_HERE] = {{shard->scratch, shard->scratch_len}};
    size_t first = n < IOV_MAX_HERE - 1 ? n : 0; /* too many for one call: what was put together goes first */
    for (size_t i = 0; i < first; i++)
        all[1 + i] = iov[i];
    size_t before = shard->scratch_len;
    shard->scratch_len = 0;
    send_or_keep(c, all, 1 + first, before + (first ? total : 0));
    if (!first && !c->broken)
        send_or_keep(c, iov, n, total);
}

void nexus__conn_uncork(nexus__conn *c)
{
    nexus__shard *shard = c->shard;
    if (shard->corked != c)
        return;
    shard->corked = NULL;
    size_t n = shard->scratch_len;
    shard->scratch_len = 0;
    if (n && c->state != NEXUS__CONN_CLOSED && !c->broken)
        send_or_keep(c, &(struct iovec){shard->scratch, n}, 1, n);
}

static void tell_drained(nexus__conn *c)
{
    nexus_request *r = c->request;
    if (!r || r->phase < NEXUS__PHASE_HANDLER)
        return;
    if (r->stream.started)
        nexus__stream_drained(r);
    if (r->reply_ended && !nexus__conn_unsent(c))
        shutdown(c->fd, SHUT_WR); /* our side of a tunnel */
    nexus_handler_fn *fn = r->exchange_drained_fn;
    if (fn && !nexus__conn_unsent(c)) {
        r->exchange_drained_fn = NULL;
        fn(r, r->exchange_drained_user_data);
    }
}

static void flush(nexus__conn *c)
{
    while (!c->broken && nexus__conn_unsent(c)) {
        struct iovec rest = {c->out.p + c->out_at, nexus__conn_unsent(c)};
        ssize_t sent = send_some(c, &rest, 1);
        if (sent < 0) {
            nexus__conn_break(c);
            return;
        }
        if (sent == 0)
            break;
        c->out_at += (size_t)sent;
        nexus__timeout_set(&c->timeout, c->shard->loop, c->shard->server->opts.idle_timeout_ms);
    }
    if (!nexus__conn_unsent(c)) {
        c->out_at = 0;
        if (c->out.cap > NEXUS__SCRATCH_BYTES)
            nexus__buf_free(&c->out);
        else
            nexus__buf_clear(&c->out);
    } else if (c->out_at > c->out.len / 2) {
        nexus__buf_consume(&c->out, c->out_at);
        c->out_at = 0;
    }
    tell_drained(c);
}

/* A peer that shut down its side may still wait for the answer; one that reset the connection does not. Nothing is read
 * while a request is answered, so the error would not show by itself. */
static bool was_reset(const nexus__conn *c)
{
    int error = 0;
    socklen_t n = sizeof error;
    return c->request && c->request->in_body.done && getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n) == 0 && error;
}

static void on_ready(nexus__watch *watch, uint32_t ready)
{
    nexus__conn *c = NEXUS__CONTAINER(watch, nexus__conn, watch);
    if (ready & NEXUS__WATCH_HANGUP)
        c->peer_shut = c->readable = true;
    if (ready & NEXUS__WATCH_READ && was_reset(c))
        nexus__conn_break(c);
    if (ready & NEXUS__WATCH_READ)
        c->readable = true;
    if ((ready & NEXUS__WATCH_WRITE) && nexus__conn_unsent(c)) {
        c->running = true; /* what is told here may end the connection, which then is freed by nexus__conn_run */
        flush(c);
        c->running = false;
    }
    nexus__conn_run(c);
}

/* --- ending ------------------------------------------------------------------------------------------------------ */

void nexus__conn_close(nexus__conn *c)
{
    if (c->state == NEXUS__CONN_CLOSED)
        return;
    bool running = c->running;
    nexus__shard *shard = c->shard;
    c->state = NEXUS__CONN_CLOSED;
    c->running = true; /* the orphaned request's owner may call back in */
    if (shard->corked == c) {
        shard->corked = NULL;
        shard->scratch_len = 0;
    }
    nexus__watch_stop(&c->watch);
    nexus__timeout_remove(&c->timeout, shard->loop);
    nexus__tls_conn_close(c->tls);
    c->tls = NULL;
    close(c->fd);
    c->fd = -1;
    nexus__h2_end(c);
    if (c->request)
        nexus__request_orphan(c->request);
    nexus__conn_release_in(c);
    nexus__buf_free(&c->out);
    nexus__list_remove(&c->node);
    atomic_fetch_sub(&shard->server->connections, 1);
    c->running = running;
    if (!running)
        nexus__free(shard->server->alloc, c);
    nexus__shard_changed(shard);
}
