/*
 * What happens on a connection, as steps of a state machine. nexus__conn_run takes steps until none can be taken; replies
 * made meanwhile are put together and leave in one send. Nothing here is called recursively: whatever a filter or handler
 * does to its request is seen by the run that called it.
 */
#include <errno.h>
#include <sys/socket.h>

#include "http/internal.h"
#include "http/proxy_protocol.h"

enum { BACKLOG_MAX = 65536 }; /* unsent bytes above which pipelined requests have to wait */

/* --- reading a head ---------------------------------------------------------------------------------------------- */

static void start_request(nexus__conn *c, nexus_request *r)
{
    nexus__http_head *h = &r->head;
    r->base = c->in + c->in_at;
    c->in_body = c->in_at + h->bytes;
    nexus__http_body_init(&r->in_body, h->framing, h->length);
    r->in_body.trailers = &r->trailers_in;
    c->timed = false;
    c->state = NEXUS__CONN_WAIT;
    nexus__timeout_clear(&c->timeout);
    nexus__request_start(r);
}

/* Answers what cannot be served, and ends the connection so that the peer sees the answer. */
static void refuse(nexus__conn *c, uint16_t status, const char *code, const char *detail)
{
    nexus_request *r = c->request;
    c->close = c->linger = true;
    c->state = NEXUS__CONN_WAIT;
    r->head.keep_alive = false;
    r->phase = NEXUS__PHASE_HANDLER;
    if (!atomic_exchange(&r->answered, true))
        nexus__reply_refuse(r, status, code, detail);
}

static bool wait_for_head(nexus__conn *c)
{
    if (c->eof) {
        nexus__conn_close(c);
        return false;
    }
    if (c->in_len == c->in_at) {
        nexus__conn_release_in(c);
        if (atomic_load_explicit(&c->shard->server->draining, memory_order_relaxed))
            nexus__conn_close(c);
    } else if (!c->timed) {
        c->timed = true;
        nexus__timeout_set(&c->timeout, c->shard->loop, c->shard->server->opts.head_timeout_ms);
    }
    return false;
}

/* The first bytes: HTTP/2's preface, or HTTP/1.1. */
static bool step_first(nexus__conn *c)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const nexus_server_opts *o = &c->shard->server->opts;
    while (!o->http2_off && c->in_len < sizeof preface - 1) {
        if (!nexus__conn_fill(c) && (c->in_len == 0 || !c->eof))
            return wait_for_head(c);
        size_t n = c->in_len < sizeof preface - 1 ? c->in_len : sizeof preface - 1;
        if (c->eof || memcmp(c->in, preface, n) != 0)
            break;
    }
    c->state = NEXUS__CONN_HEAD;
    if (o->http2_off || c->in_len < sizeof preface - 1 || memcmp(c->in, preface, sizeof preface - 1) != 0)
        return true;
    if (nexus__h2_begin(c))
        return true;
    nexus__conn_close(c);
    return false;
}

static bool step_head(nexus__conn *c)
{
    if (nexus__conn_unsent(c) > BACKLOG_MAX)
        return false;
    if (c->in_len == c->in_at && !nexus__conn_fill(c))
        return wait_for_head(c);
    if (!c->request && !(c->request = nexus__request_take(c->shard, c))) {
        nexus__conn_close(c);
        return false;
    }
    nexus_request *r = c->request;
    int32_t n = nexus__http_parse_request(&r->head, &c->shard->server->limits, c->in + c->in_at, c->in_len - c->in_at);
    if (n > 0) {
        start_request(c, r);
        return true;
    }
    if (n < 0) {
        const nexus__http_error_info *why = nexus__http_error_info_get(r->head.error);
        refuse(c, why->status, why->code, why->detail);
        return true;
    }
    return nexus__conn_fill(c) || wait_for_head(c);
}

/* --- bodies ------------------------------------------------------------------------------------------------------ */

static void send_continue(nexus__conn *c, nexus_request *r)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (!r->head.expect_continue || r->continued)
        return;
    r->continued = true;
    if (c->in_body == c->in_len && r->in_body.received == 0) /* not when the body is coming anyway */
        nexus__conn_write(c, &(struct iovec){(void *)(uintptr_t)text, sizeof text - 1}, 1);
}

/* Where in the buffer bytes of the body may stand. */
static uint32_t after_head(const nexus__conn *c, const nexus_request *r)
{
    return r->kept ? 0 : (uint32_t)(r->base - c->in) + r->head.bytes;
}

/* The next piece of body out of the buffer, or more into it. False: nothing now; look at c->eof. */
static bool next_piece(nexus__conn *c, nexus_request *r, nexus_slice *piece, bool *bad)
{
    *piece = (nexus_slice){NULL, 0};
    *bad = false;
    for (;;) {
        if (c->in_body < c->in_len) {
            int64_t used = nexus__http_body_next(&r->in_body, c->in + c->in_body, c->in_len - c->in_body, piece);
            if (used < 0) {
                *bad = true;
                return false;
            }
            c->in_body += (uint32_t)used;
            if (piece->n || r->in_body.done)
                return true;
            continue;
        }
        c->in_body = c->in_len = after_head(c, r); /* all consumed: the room after the head is free again */
        if (c->in_cap - c->in_len < 512)           /* a long head left no room */
            return false;
        if (!nexus__conn_fill(c))
            return false;
    }
}

/* A long head may fill its buffer: then the body is received into another one. */
static bool split_in(nexus__conn *c, nexus_request *r)
{
    if (r->kept || c->in_cap - after_head(c, r) >= 512)
        return true;
    char *fresh = nexus__malloc(c->shard->server->alloc, NEXUS__IN_BYTES);
    if (!fresh)
        return false;
    memcpy(fresh, c->in + c->in_body, c->in_len - c->in_body);
    r->kept = c->in;
    r->kept_cap = c->in_cap;
    c->in_len -= c->in_body;
    c->in = fresh;
    c->in_cap = NEXUS__IN_BYTES;
    c->in_at = c->in_body = 0;
    return true;
}

static void start_window(nexus__conn *c, nexus_request *r)
{
    r->window_bytes = r->in_body.received;
    c->timed = true;
    nexus__timeout_set(&c->timeout, c->shard->loop, c->shard->server->opts.body_window_ms);
}

static void stop_window(nexus__conn *c, const nexus_request *r)
{
    c->timed = false;
    if (!nexus__conn_unsent(c) && !r->tunnel_idle_ms)
        nexus__timeout_clear(&c->timeout);
}

static bool whole_in_place(const nexus__conn *c, const nexus_request *r)
{
    return r->in_body.framing == NEXUS__HTTP_LENGTH_FIXED && r->in_body.received == 0 &&
           r->in_body.left <= c->in_len - c->in_body;
}

static bool step_body(nexus__conn *c)
{
    nexus_request *r = c->request;
    send_continue(c, r);
    if (whole_in_place(c, r)) {
        r->body = (nexus_slice){c->in + c->in_body, (size_t)r->in_body.left};
        c->in_body += (uint32_t)r->in_body.left;
        r->in_body.received = r->in_body.left;
        r->in_body.left = 0;
        r->in_body.done = true;
    }
    if (!split_in(c, r)) {
        nexus__conn_close(c);
        return false;
    }
    while (!r->in_body.done) {
        nexus_slice piece;
        bool bad;
        if (!next_piece(c, r, &piece, &bad)) {
            if (bad) {
                const nexus__http_error_info *why = nexus__http_error_info_get(r->in_body.error);
                refuse(c, why->status, why->code, why->detail);
                return true;
            }
            if (c->eof)
                nexus__conn_close(c);
            else if (!c->timed)
                start_window(c, r);
            return false;
        }
        if (r->in_body.received > r->body_max) {
            refuse(c, 413, "body-too-large", "The body is larger than this path takes.");
            return true;
        }
        nexus__buf_append(&r->body_buf, piece.p, piece.n);
        if (r->body_buf.status != NEXUS_OK) {
            refuse(c, 503, "out-of-memory", "There is no memory for this body now; try again later.");
            return true;
        }
    }
    if (r->body_buf.len)
        r->body = nexus__buf_slice(&r->body_buf);
    c->timed = false;
    nexus__timeout_clear(&c->timeout);
    c->state = NEXUS__CONN_WAIT;
    nexus__request_handle(r);
    return true;
}

/* --- while someone has the request ------------------------------------------------------------------------------- */

static void reader_fails(nexus__conn *c, nexus_request *r, nexus_status status)
{
    r->reader.ended = true;
    r->head.keep_alive = false;
    c->close = c->linger = true;
    r->reader.fn(r, (nexus_slice){NULL, 0}, false, status, r->reader.user_data);
}

/* Gives the streamed body to its reader. */
static bool pump(nexus__conn *c, nexus_request *r)
{
    if (!r->reader.fn || r->reader.stopped || r->reader.ended)
        return false;
    send_continue(c, r);
    if (r->reader.piece.n == 0 && !r->in_body.done) {
        bool bad = false;
        if (!split_in(c, r) || !next_piece(c, r, &r->reader.piece, &bad)) {
            if (bad)
                reader_fails(c, r, NEXUS_EPROTO);
            else if (c->eof && r->in_body.framing == NEXUS__HTTP_LENGTH_CLOSE)
                r->in_body.done = true;
            else if (c->eof) {
                nexus__conn_close(c); /* and with it, it may be, the request */
                return false;
            } else if (!c->timed && r->in_body.framing != NEXUS__HTTP_LENGTH_CLOSE)
                start_window(c, r);
            return bad || r->in_body.done;
        }
        if (r->in_body.received > r->body_max) {
            reader_fails(c, r, NEXUS_ETOOBIG);
            return true;
        }
    }
    bool end = r->in_body.done;
    size_t n = r->reader.piece.n;
    if (end)
        stop_window(c, r);
    else if (r->tunnel_idle_ms)
        nexus__timeout_set(&c->timeout, c->shard->loop, r->tunnel_idle_ms);
    size_t taken = r->reader.fn(r, r->reader.piece, end, NEXUS_OK, r->reader.user_data);
    if (c->state == NEXUS__CONN_CLOSED || c->request != r || r->phase == NEXUS__PHASE_DONE)
        return true;
    r->reader.piece.p += taken < n ? taken : n;
    r->reader.piece.n -= taken < n ? taken : n;
    if (r->reader.piece.n) {
        r->reader.stopped = true;
        stop_window(c, r); /* it is we who are slow */
    } else if (end) {
        r->reader.ended = true;
        if (r->reply_ended)
            nexus__request_end(r); /* a tunnel: both sides have said all */
    }
    return true;
}

/* The answer is complete: what becomes of the connection? */
static void after_answer(nexus__conn *c, nexus_request *r)
{
    bool unread = !r->in_body.done;
    c->lingered = 0;
    if (c->close || !r->head.keep_alive || r->reply_framing == NEXUS__REPLY_CLOSE) {
        c->state = NEXUS__CONN_CLOSING;
        c->linger = c->linger || unread;
        nexus__timeout_set(&c->timeout, c->shard->loop, c->shard->server->opts.idle_timeout_ms);
        return;
    }
    if (unread) {
        c->state = NEXUS__CONN_DISCARD;
        nexus__timeout_set(&c->timeout, c->shard->loop, c->shard->server->opts.drain_timeout_ms);
        return;
    }
    c->state = NEXUS__CONN_HEAD;
    c->timed = false;
    if (!nexus__conn_unsent(c))
        nexus__timeout_set(&c->timeout, c->shard->loop, c->shard->server->opts.idle_timeout_ms);
}

static void let_go(nexus__conn *c)
{
    nexus_request *r = c->request;
    c->request = NULL;
    r->conn = NULL;
    nexus__request_release(r);
    c->in_at = c->in_body;
    if (c->in_at == c->in_len)
        nexus__conn_release_in(c);
}

static bool step_wait(nexus__conn *c)
{
    nexus_request *r = c->request;
    if (r->phase == NEXUS__PHASE_DONE) {
        after_answer(c, r);
        if (c->state != NEXUS__CONN_DISCARD)
            let_go(c);
        return true;
    }
    if (r->phase < NEXUS__PHASE_HANDLER) {
        if (r->phase != NEXUS__PHASE_BODY)
            return false;
        c->state = NEXUS__CONN_BODY;
        return true;
    }
    if (c->peer_shut && r->stream.started && r->in_body.done) { /* whoever stops reading events shuts down */
        nexus__conn_close(c);
        return false;
    }
    return pump(c, r);
}

static bool step_discard(nexus__conn *c)
{
    nexus_request *r = c->request;
    while (!r->in_body.done) {
        nexus_slice piece;
        bool bad;
        if (!next_piece(c, r, &piece, &bad)) {
            if (bad || c->eof)
                nexus__conn_close(c);
            return false;
        }
        c->lingered += piece.n;
        if (c->lingered > c->shard->server->opts.drain_max_bytes) {
            c->state = NEXUS__CONN_CLOSING;
            c->linger = true;
            let_go(c);
            return true;
        }
    }
    let_go(c);
    c->state = NEXUS__CONN_HEAD;
    c->timed = false;
    nexus__timeout_set(&c->timeout, c->shard->loop, c->shard->server->opts.idle_timeout_ms);
    return true;
}

/* --- the end of a connection ------------------------------------------------------------------------------------- */

static bool step_closing(nexus__conn *c)
{
    nexus__conn_uncork(c);
    if (c->state == NEXUS__CONN_CLOSED || nexus__conn_unsent(c))
        return false;
    if (!c->linger || c->eof) {
        nexus__conn_close(c);
        return false;
    }
    c->state = NEXUS__CONN_LINGER;
    c->in_at = c->in_body = c->in_len = 0;
    shutdown(c->fd, SHUT_WR);
    nexus__timeout_set(&c->timeout, c->shard->loop, c->shard->server->opts.drain_timeout_ms);
    return true;
}

/*
 * Beyond drain_max_bytes nothing more is taken, and the connection rests until its peer goes or its time is over: closed
 * with bytes unread it would be reset, and some peers forget what they had received when a reset comes.
 */
static bool step_linger(nexus__conn *c)
{
    bool over = c->lingered > c->shard->server->opts.drain_max_bytes, more = !over && nexus__conn_fill(c);
    c->lingered += c->in_len;
    c->in_len = 0;
    if (c->eof || (over && c->peer_shut))
        nexus__conn_close(c);
    return more && c->state != NEXUS__CONN_CLOSED;
}

/* Looked at before it is taken: TLS begins right behind it. */
static bool step_proxy(nexus__conn *c)
{
    char head[NEXUS__PROXY_V2_MAX];
    ssize_t n = recv(c->fd, head, sizeof head, MSG_PEEK);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    int32_t used = n > 0 ? nexus__proxy_v2_parse(head, (size_t)n, &c->peer) : -1;
    if (used == 0)
        return false; /* the next bytes are told of */
    if (used < 0 || recv(c->fd, head, (size_t)used, 0) != used) {
        nexus__conn_close(c);
        return false;
    }
    c->state = c->tls ? NEXUS__CONN_HANDSHAKE : NEXUS__CONN_FIRST;
    return true;
}

static bool step_handshake(nexus__conn *c)
{
    int done = nexus__tls_handshake(c->tls);
    if (done < 0)
        nexus__conn_close(c);
    if (done <= 0)
        return false;
    bool h2 = nexus__tls_protocol(c->tls) == NEXUS__TLS_H2;
    c->state = h2 ? NEXUS__CONN_FIRST : NEXUS__CONN_HEAD;
    c->readable = true;
    nexus__timeout_set(&c->timeout, c->shard->loop, c->shard->server->opts.idle_timeout_ms);
    if (h2 && !nexus__h2_begin(c)) {
        nexus__conn_close(c);
        return false;
    }
    return true;
}

static bool step(nexus__conn *c)
{
    switch (c->state) {
    case NEXUS__CONN_HEAD:
        return step_head(c);
    case NEXUS__CONN_WAIT:
        return step_wait(c);
    case NEXUS__CONN_BODY:
        return step_body(c);
    case NEXUS__CONN_DISCARD:
        return step_discard(c);
    case NEXUS__CONN_CLOSING:
        return step_closing(c);
    case NEXUS__CONN_LINGER:
        return step_linger(c);
    case NEXUS__CONN_PROXY:
        return step_proxy(c);
    case NEXUS__CONN_HANDSHAKE:
        return step_handshake(c);
    case NEXUS__CONN_FIRST:
        return step_first(c);
    case NEXUS__CONN_H2:
        return nexus__h2_step(c);
    default:
        return false;
    }
}

void nexus__conn_run(nexus__conn *c)
{
    if (c->running)
        return;
    nexus__shard *shard = c->shard;
    nexus__conn *outer = shard->corked; /* a handler on this loop may answer a request of another connection */
    c->running = true;
    if (!outer)
        shard->corked = c;
    while (!c->broken && step(c)) {
    }
    nexus__conn_uncork(c);
    if (c->broken)
        nexus__conn_close(c);
    c->running = false;
    if (c->state == NEXUS__CONN_CLOSED)
        nexus__free(shard->server->alloc, c);
}

void nexus__conn_on_timeout(nexus__timeout *timeout)
{
    nexus__conn *c = NEXUS__CONTAINER(timeout, nexus__conn, timeout);
    nexus_request *r = c->request;
    const nexus_server_opts *o = &c->shard->server->opts;
    if (c->state == NEXUS__CONN_H2) {
        nexus__h2_on_idle(c);
        return;
    }
    bool body = c->state == NEXUS__CONN_BODY || (c->state == NEXUS__CONN_WAIT && r->reader.fn && !r->reader.ended);
    bool head = c->state == NEXUS__CONN_HEAD && c->in_len > c->in_at;
    if (nexus__conn_unsent(c) || (!body && !head && c->state != NEXUS__CONN_WAIT)) {
        nexus__conn_close(c); /* nothing moves, or nothing is wanted any more */
        return;
    }
    if ((!body && !head) || (body && r->reader.stopped && !r->tunnel_idle_ms))
        return; /* a handler takes its time */
    c->running = true;
    if (!body) {
        refuse(c, 408, "request-timeout", "The head of the request did not arrive in time.");
    } else if (r->reader.fn && r->in_body.framing == NEXUS__HTTP_LENGTH_CLOSE) {
        reader_fails(c, r, NEXUS_ETIMEDOUT); /* a tunnel is idle */
    } else if (r->in_body.received - r->window_bytes >= (uint64_t)o->body_rate_min * o->body_window_ms / 1000) {
        start_window(c, r);
    } else if (r->reader.fn) {
        reader_fails(c, r, NEXUS_ETIMEDOUT);
    } else {
        refuse(c, 408, "request-timeout", "The body of the request arrives too slowly.");
    }
    c->running = false;
    nexus__conn_run(c);
}

/* --- requests that end, or lose their connection ----------------------------------------------------------------- */

static void log_request(nexus_request *r)
{
    const nexus_server *s = r->shard->server;
    for (size_t i = 0; i < s->logger_count; i++)
        s->loggers[i].fn(r, s->loggers[i].user_data);
}

static void tell_ended(nexus_request *r)
{
    nexus_handler_fn *fn = r->ended_fn;
    r->ended_fn = NULL;
    if (fn)
        fn(r, r->ended_user_data);
}

void nexus__request_end(nexus_request *r)
{
    if (r->phase == NEXUS__PHASE_DONE)
        return;
    r->phase = NEXUS__PHASE_DONE;
    tell_ended(r);
    log_request(r);
    nexus__conn *c = r->conn;
    if (!c)
        nexus__request_release(r);
    else if (r->h2.id)
        nexus__h2_wake_for(r);
    else
        nexus__conn_run(c); /* does nothing when it is running: then it will see */
}

void nexus__request_orphan(nexus_request *r)
{
    nexus__conn *c = r->conn;
    if (!r->kept && !r->h2.id) { /* its slices stay valid */
        r->kept = c->in;
        r->kept_cap = c->in_cap;
        c->in = NULL;
    }
    c->request = NULL;
    r->conn = NULL;
    tell_ended(r);
    bool suspended = r->phase == NEXUS__PHASE_FILTER;
    if (r->phase == NEXUS__PHASE_DONE) {
        nexus__request_release(r);
    } else if (r->phase == NEXUS__PHASE_PARSING) {
        nexus__request_release(r); /* there was no request yet */
    } else if (r->phase == NEXUS__PHASE_BODY) {
        nexus__request_end(r);
    } else if (!suspended) { /* someone has it and will answer */
        bool on_loop = r->stream.started || (r->route && (r->route->flags & NEXUS_ROUTE_ON_LOOP));
        nexus_handler_fn *fn = on_loop ? r->close_fn : NULL;
        if (fn)
            r->close_fn = NULL;
        if (r->stream.started)
            nexus__stream_gone(r);
        bool reading = r->reader.fn && !r->reader.ended;
        r->reader.ended = true;
        nexus_handler_fn *drained = r->exchange_drained_fn;
        r->exchange_drained_fn = NULL;
        if (fn)
            fn(r, r->close_user_data); /* may end the request: nothing of it is touched below */
        else if (reading)
            r->reader.fn(r, (nexus_slice){NULL, 0}, false, NEXUS_ECLOSED, r->reader.user_data);
        else if (drained)
            drained(r, r->exchange_drained_user_data);
    }
}
