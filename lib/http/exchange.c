#include "http/exchange.h"

#include <errno.h>
#include <sys/socket.h>

#include "base/status.h"
#include "http/internal.h"

const nexus__http_head *nexus__exchange_head(const nexus_request *r)
{
    return &r->head;
}

const char *nexus__exchange_base(const nexus_request *r)
{
    return r->base;
}

nexus_loop *nexus__exchange_loop(const nexus_request *r)
{
    return r->shard->loop;
}

uint32_t nexus__exchange_method(const nexus_request *r)
{
    return r->method;
}

void nexus__exchange_add_lines(nexus_request *r, nexus_slice lines)
{
    size_t before = r->extra.len;
    nexus__buf_slice_append(&r->extra, lines);
    if (r->extra.status == NEXUS_OK)
        return;
    r->extra.len = before; /* a reply without them is better than none */
    r->extra.status = NEXUS_OK;
}

/* --- the body of the request ------------------------------------------------------------------------------------- */

static void read_on(nexus_request *r)
{
    if (r->h2.id)
        nexus__h2_read(r);
    else
        nexus__conn_run(r->conn);
}

void nexus__exchange_read(nexus_request *r, nexus__exchange_body_fn *fn, void *user_data)
{
    r->reader.fn = fn;
    r->reader.user_data = user_data;
    if (!r->conn || r->h2.closed) {
        r->reader.ended = true;
        fn(r, (nexus_slice){NULL, 0}, false, NEXUS_ECLOSED, user_data);
        return;
    }
    read_on(r);
}

void nexus__exchange_read_again(nexus_request *r)
{
    if (!r->reader.stopped)
        return;
    r->reader.stopped = false;
    if (r->conn)
        read_on(r);
}

bool nexus__exchange_body_ready(nexus_request *r, nexus_slice *body)
{
    const nexus__conn *c = r->conn;
    *body = (nexus_slice){"", 0};
    if (r->in_body.done && r->in_body.received == 0)
        return !r->trailers_in.len;
    if (r->in_body.done && !r->h2.id)
        return false;
    if (r->h2.id) {
        if (r->in_body.done)
            *body = nexus__buf_slice(&r->body_buf);
        return r->in_body.done && !r->trailers_in.len;
    }
    if (!c || r->in_body.framing != NEXUS__HTTP_LENGTH_FIXED || r->in_body.received ||
        r->in_body.left > c->in_len - c->in_body)
        return false;
    *body = (nexus_slice){c->in + c->in_body, (size_t)r->in_body.left};
    return true;
}

nexus_slice nexus__exchange_trailers(const nexus_request *r)
{
    return r->trailers_in.status ? (nexus_slice){NULL, 0} : nexus__buf_slice(&r->trailers_in);
}

static size_t public_piece(nexus_request *r, nexus_slice data, bool end, nexus_status status, void *user_data)
{
    (void)user_data;
    r->reader.public_fn(r, data, end, status != NEXUS_OK, r->reader.public_user_data);
    return data.n;
}

nexus_status nexus_request_read_body(nexus_request *r, nexus_body_fn *fn, void *user_data)
{
    if (r->reader.fn)
        return nexus__fail(NEXUS_ECONFLICT, "the body of this request is being read already");
    if (!r->route || !(r->route->flags & NEXUS_ROUTE_STREAM_BODY))
        return nexus__fail(NEXUS_EINVAL, "the body is read for this route already: see nexus_request_body, or set "
                                         "NEXUS_ROUTE_STREAM_BODY");
    r->reader.public_fn = fn;
    r->reader.public_user_data = user_data;
    nexus__exchange_read(r, public_piece, NULL);
    return NEXUS_OK;
}

void nexus_request_pause_body(nexus_request *r)
{
    r->reader.stopped = true;
}

void nexus_request_resume_body(nexus_request *r)
{
    nexus__exchange_read_again(r);
}

/* --- handing over ------------------------------------------------------------------------------------------------- */

static void refuse_body(nexus_request *r, nexus_status status)
{
    if (status == NEXUS_ETOOBIG)
        nexus_request_problem_text(r, 413, "body-too-large", "The body is larger than this path takes.");
    else if (status == NEXUS_ETIMEDOUT)
        nexus_request_problem_text(r, 408, "body-timeout", "The body came too slowly.");
    else
        nexus_request_problem_text(r, 400, "body-broken", "The body ended early or is malformed.");
}

static size_t gather(nexus_request *r, nexus_slice data, bool end, nexus_status status, void *user_data)
{
    (void)user_data;
    nexus__buf_append(&r->body_buf, data.p, data.n);
    if (!status && r->body_buf.status)
        status = NEXUS_ETOOBIG;
    if (status) {
        refuse_body(r, status);
    } else if (end) {
        r->body = nexus__buf_slice(&r->body_buf);
        nexus__request_handle(r);
    }
    return data.n;
}

void nexus__exchange_serve(nexus_request *r, const nexus_route *route, nexus_slice path, nexus_handler_fn *ended,
                           void *user_data)
{
    nexus_slice body;
    r->ended_fn = ended;
    r->ended_user_data = user_data;
    r->route = route;
    r->path = path;
    if (route->body_max)
        r->body_max = route->body_max;
    if (nexus__exchange_body_ready(r, &body)) {
        r->body = body;
        nexus__request_handle(r);
    } else {
        nexus__exchange_read(r, gather, NULL);
    }
}

/* --- the reply --------------------------------------------------------------------------------------------------- */

static nexus_status finish(nexus_request *r, bool ok, bool end)
{
    if (end)
        nexus__request_end(r);
    return ok ? NEXUS_OK : NEXUS_ECLOSED; /* without words: an ordinary event on the fast path */
}

nexus_status nexus__exchange_begin(nexus_request *r, const nexus__exchange_reply *reply, const struct iovec *body,
                                   size_t n, bool end)
{
    atomic_store_explicit(&r->answered, true, memory_order_relaxed);
    bool ok = nexus__request_alive(r);
    if (ok) {
        nexus__reply_head h = {.status = reply->status,
                               .passed = true,
                               .reason = reply->reason,
                               .length = reply->length,
                               .close = reply->close,
                               .has_date = reply->has_date,
                               .fields = reply->fields,
                               .field_iovs = reply->field_iovs};
        nexus__reply_begin(r, &h);
        nexus__reply_write(r, true, body, n, end);
    }
    return finish(r, ok, end);
}

static void end_tunnel_side(nexus_request *r)
{
    r->reply_ended = true;
    nexus__conn_uncork(r->conn);
    if (!nexus__conn_unsent(r->conn))
        shutdown(r->conn->fd, SHUT_WR);
}

nexus_status nexus__exchange_write(nexus_request *r, const struct iovec *body, size_t n, bool end)
{
    bool ok = nexus__request_alive(r), tunnel = r->reply_framing == NEXUS__REPLY_TUNNEL;
    if (ok)
        nexus__reply_write(r, false, body, n, end);
    if (tunnel && ok && r->tunnel_idle_ms)
        nexus__timeout_set(&r->conn->timeout, r->shard->loop, r->tunnel_idle_ms);
    if (tunnel && ok && end && !r->reader.ended && !r->conn->tls) {
        end_tunnel_side(r);
        return NEXUS_OK;
    }
    return finish(r, ok, end);
}

nexus__buf *nexus__exchange_trailers_out(nexus_request *r)
{
    return &r->trailers_out;
}

size_t nexus__exchange_unsent(const nexus_request *r)
{
    if (r->h2.id)
        return nexus__h2_unsent(r);
    return r->conn ? nexus__conn_unsent(r->conn) : 0;
}

bool nexus__exchange_on_drained(nexus_request *r, nexus_handler_fn *fn, void *user_data)
{
    if (!nexus__exchange_unsent(r))
        return false;
    r->exchange_drained_fn = fn;
    r->exchange_drained_user_data = user_data;
    return true;
}

nexus_status nexus__exchange_interim(nexus_request *r, uint16_t status, const struct iovec *fields, size_t n)
{
    if (!nexus__request_alive(r))
        return NEXUS_ECLOSED;
    if (r->head.minor == 0)
        return NEXUS_OK; /* HTTP/1.0 has none */
    if (r->h2.id) {
        nexus__h2_interim(r, status, fields, n);
        return NEXUS_OK;
    }
    nexus__buf_clear(&r->head_out);
    nexus__buf_printf(&r->head_out, "HTTP/1.1 %u ", status);
    nexus__buf_slice_append(&r->head_out, nexus__reason(status));
    nexus__buf_append(&r->head_out, "\r\n", 2);
    for (size_t i = 0; i < n; i++)
        nexus__buf_append(&r->head_out, fields[i].iov_base, fields[i].iov_len);
    nexus__buf_append(&r->head_out, "\r\n", 2);
    nexus__conn_write(r->conn, &(struct iovec){r->head_out.p, r->head_out.len}, 1);
    return NEXUS_OK;
}

void nexus__exchange_abort(nexus_request *r)
{
    nexus__conn *c = r->conn;
    atomic_store_explicit(&r->answered, true, memory_order_relaxed);
    if (c && r->h2.id) {
        nexus__h2_abort(r);
    } else if (c) {
        struct linger reset = {.l_onoff = 1};
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        c->request = NULL;
        r->conn = NULL;
        nexus__conn_break(c);
    }
    nexus__request_end(r);
}

/* --- tunnels ----------------------------------------------------------------------------------------------------- */

nexus_status nexus__exchange_tunnel(nexus_request *r, uint16_t status, const struct iovec *fields, size_t n)
{
    atomic_store_explicit(&r->answered, true, memory_order_relaxed);
    if (!nexus__request_alive(r))
        return NEXUS_ECLOSED;
    if (r->h2.id)
        return nexus__fail(NEXUS_ENOTSUP, "a stream of HTTP/2 does not become a tunnel (RFC 8441 is not spoken)");
    nexus__reply_head h = {
        .status = status, .length = NEXUS__LENGTH_UNKNOWN, .fields = fields, .field_iovs = n, .tunnel = true};
    nexus__reply_begin(r, &h);
    nexus__reply_write(r, true, NULL, 0, false);
    r->conn->close = true; /* after it */
    r->body_max = UINT64_MAX;
    nexus__http_body_init(&r->in_body, NEXUS__HTTP_LENGTH_CLOSE, 0);
    return NEXUS_OK;
}

void nexus__exchange_tunnel_idle(nexus_request *r, uint32_t ms)
{
    r->tunnel_idle_ms = ms;
    if (!r->conn)
        return;
    if (ms)
        nexus__timeout_set(&r->conn->timeout, r->shard->loop, ms);
    else
        nexus__timeout_clear(&r->conn->timeout);
}
