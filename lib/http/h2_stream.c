/* A stream: the body of its request in, its reply out, and what the client's windows have to do with both. */
#include "base/status.h"
#include "http/h2.h"

enum { LARGE = 4096 /* bytes of a reply that are worth to be framed at once rather than copied */ };

static nexus__h2 *session_of(const nexus_request *r)
{
    return r->conn->h2;
}

/* --- life --------------------------------------------------------------------------------------------------------- */

nexus_request *nexus__h2_open(nexus__h2 *h, int32_t id)
{
    nexus_request *r = nexus__request_take(h->conn->shard, h->conn);
    if (!r)
        return NULL;
    nexus__h2_stream *s = &r->h2;
    nexus__buf lines = s->lines, out = s->out; /* their memory is kept from stream to stream */
    *s = (nexus__h2_stream){.id = id, .lines = lines, .out = out};
    s->lines.alloc = s->out.alloc = h->conn->shard->server->alloc;
    nexus__buf_clear(&s->out);
    nexus__list_init(&s->todo);
    nexus__list_init(&s->notice);
    nexus__list_push(&h->streams, &s->node);
    nexus__h2_head_init(&h->decode, &r->head, &h->conn->shard->server->limits, &s->lines, &h->crumbs);
    return r;
}

void nexus__h2_release(nexus_request *r)
{
    nexus__h2 *h = session_of(r);
    if (r->h2.uncredited)
        nghttp2_session_consume_connection(h->session, r->h2.uncredited);
    h->held -= r->h2.held;
    h->out_held -= r->h2.out.len - r->h2.out_at;
    r->h2.out_at = r->h2.out.len;
    r->h2.lent_left = 0;
    nexus__list_remove(&r->h2.node);
    nexus__list_remove(&r->h2.todo);
    nexus__list_remove(&r->h2.notice);
    nexus__request_orphan(r);
}

static void refuse(nexus_request *r, uint16_t status, const char *code, const char *detail)
{
    r->phase = NEXUS__PHASE_HANDLER;
    if (!atomic_exchange(&r->answered, true))
        nexus__reply_refuse(r, status, code, detail);
}

void nexus__h2_start(nexus_request *r)
{
    r->base = r->h2.lines.p;
    if (r->h2.error) {
        const nexus__http_error_info *why = nexus__http_error_info_get((enum nexus__http_error)r->h2.error);
        r->start_ns = nexus_loop_now_ns(r->shard->loop);
        refuse(r, why->status, why->code, why->detail);
        return;
    }
    nexus__request_start(r);
    nexus__h2_feed(r);
}

/* --- the body of the request -------------------------------------------------------------------------------------- */

static void hold(nexus_request *r, size_t more, size_t less)
{
    r->h2.held += more - less;
    session_of(r)->held += more - less;
}

void nexus__h2_credit(nexus_request *r, size_t n)
{
    r->h2.uncredited -= n;
    if (n)
        nghttp2_session_consume(session_of(r)->session, r->h2.id, n);
}

/* Of a body that is collected: the connection's window opens again at once, the stream's only while there is memory, so
 * that many bodies at a time wait for each other instead of filling it. */
static void credit_collected(nexus_request *r)
{
    nexus__h2 *h = session_of(r);
    bool room = h->held <= h->conn->shard->server->opts.http2_memory_max_bytes;
    size_t n = r->h2.uncredited;
    r->h2.uncredited = 0;
    if (!n)
        return;
    nghttp2_session_consume_connection(h->session, n);
    if (room || h->streams.next == &r->h2.node)
        nghttp2_session_consume_stream(h->session, r->h2.id, n);
    else
        r->h2.owed += n;
}

static void fail_body(nexus_request *r, nexus_status status)
{
    r->h2.rated_ns = 0;
    if (r->phase == NEXUS__PHASE_BODY) {
        if (status == NEXUS_ETOOBIG)
            refuse(r, 413, "body-too-large", "The body is larger than this path takes.");
        else if (status == NEXUS_ETIMEDOUT)
            refuse(r, 408, "request-timeout", "The body of the request arrives too slowly.");
        else
            refuse(r, 503, "out-of-memory", "There is no memory for this body now; try again later.");
        return;
    }
    r->reader.ended = true;
    r->reader.fn(r, (nexus_slice){NULL, 0}, false, status, r->reader.user_data);
}

static bool reading(const nexus_request *r)
{
    return r->phase >= NEXUS__PHASE_HANDLER && r->phase != NEXUS__PHASE_DONE && r->reader.fn && !r->reader.stopped &&
           !r->reader.ended && !r->h2.closed;
}

/* Whether nobody will want what comes. */
static bool unwanted(const nexus_request *r)
{
    return r->phase == NEXUS__PHASE_DONE || r->reader.ended ||
           (r->phase >= NEXUS__PHASE_HANDLER && !(r->route && r->route->flags & NEXUS_ROUTE_STREAM_BODY));
}

static bool too_big(nexus_request *r)
{
    if (r->in_body.received <= r->body_max || r->phase == NEXUS__PHASE_PARSING)
        return false;
    if (r->phase == NEXUS__PHASE_BODY || reading(r))
        fail_body(r, NEXUS_ETOOBIG);
    return true;
}

static void start_rate(nexus_request *r)
{
    r->window_bytes = r->in_body.received;
    r->h2.rated_ns = nexus_loop_now_ns(r->shard->loop);
}

static void send_continue(nexus_request *r)
{
    if (!r->head.expect_continue || r->continued)
        return;
    r->continued = true;
    if (r->in_body.received == 0 && !r->in_body.done)
        nexus__h2_interim(r, 100, NULL, 0);
}

static void keep(nexus_request *r, nexus_slice data)
{
    if (!data.n)
        return;
    nexus__buf_append(&r->body_buf, data.p, data.n);
    hold(r, data.n, 0);
}

/* Returns what was taken; false in *on: no more now. */
static size_t give(nexus_request *r, nexus_slice data, bool end, bool *on)
{
    size_t n = r->reader.fn(r, data, end, NEXUS_OK, r->reader.user_data);
    n = n < data.n ? n : data.n;
    if (n < data.n) {
        r->reader.stopped = true;
        r->h2.rated_ns = 0; /* it is we who are slow */
    } else if (end) {
        r->reader.ended = true;
        r->h2.rated_ns = 0;
    }
    nexus__h2_credit(r, n);
    *on = reading(r);
    return n;
}

static void give_kept(nexus_request *r)
{
    bool on = reading(r);
    while (on) {
        nexus_slice rest = nexus__slice_from(nexus__buf_slice(&r->body_buf), r->h2.body_at);
        if (!rest.n && !r->in_body.done)
            break;
        size_t n = give(r, rest, r->in_body.done, &on);
        hold(r, 0, n);
        r->h2.body_at += n;
        if (r->h2.body_at == r->body_buf.len) {
            nexus__buf_clear(&r->body_buf);
            r->h2.body_at = 0;
        }
    }
    if (on && !r->h2.rated_ns)
        start_rate(r);
}

static void collect(nexus_request *r)
{
    send_continue(r);
    credit_collected(r);
    if (too_big(r))
        return;
    if (r->body_buf.status) {
        fail_body(r, NEXUS_ENOMEM);
    } else if (r->in_body.done) {
        r->h2.rated_ns = 0;
        r->body = nexus__buf_slice(&r->body_buf);
        nexus__request_handle(r);
    } else if (!r->h2.rated_ns) {
        start_rate(r);
    }
}

static void queue(nexus_request *r)
{
    if (nexus__list_empty(&r->h2.todo))
        nexus__list_push(&session_of(r)->todo, &r->h2.todo);
}

void nexus__h2_feed(nexus_request *r)
{
    if (r->h2.closed || !r->conn)
        return;
    if (r->phase == NEXUS__PHASE_BODY) {
        collect(r);
    } else if (reading(r) && !too_big(r)) {
        send_continue(r);
        give_kept(r);
    }
}

void nexus__h2_read(nexus_request *r)
{
    if (r->conn->running)
        queue(r); /* the reader may be in the middle of something */
    else
        nexus__h2_feed(r);
    nexus__h2_wake(session_of(r));
}

void nexus__h2_body(nexus_request *r, nexus_slice data)
{
    r->in_body.received += data.n;
    r->h2.uncredited += data.n;
    if (unwanted(r) || too_big(r)) {
        nexus__h2_credit(r, r->h2.uncredited);
        return;
    }
    bool on = reading(r) && r->body_buf.len == r->h2.body_at;
    size_t n = on ? give(r, data, false, &on) : 0;
    keep(r, nexus__slice_from(data, n));
    if (r->phase == NEXUS__PHASE_BODY)
        collect(r);
}

void nexus__h2_body_ended(nexus_request *r)
{
    r->in_body.done = true;
    r->in_body.left = 0;
    if (r->phase != NEXUS__PHASE_PARSING)
        queue(r);
}

/* --- too slow ----------------------------------------------------------------------------------------------------- */

void nexus__h2_check(nexus_request *r, int64_t now)
{
    const nexus_server_opts *o = &r->shard->server->opts;
    if (nexus__h2_unsent(r) && now - r->h2.moved_ns > o->http2_stall_timeout_ms * NEXUS__NS_PER_MS) {
        nexus__h2_reset(r, NGHTTP2_CANCEL);
        return;
    }
    if (!r->h2.rated_ns || r->in_body.done || now - r->h2.rated_ns < o->body_window_ms * NEXUS__NS_PER_MS)
        return;
    if (r->in_body.received - r->window_bytes >= (uint64_t)o->body_rate_min * o->body_window_ms / 1000)
        start_rate(r);
    else if (r->phase == NEXUS__PHASE_BODY || reading(r))
        fail_body(r, NEXUS_ETIMEDOUT);
}

/* --- the head of the reply ---------------------------------------------------------------------------------------- */

typedef struct field_list {
    nghttp2_nv *nv;
    size_t n;
    uint8_t flags;
} field_list;

static void put_field(void *to, nexus_slice name, nexus_slice value)
{
    field_list *list = to;
    list->nv[list->n++] = (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name.p,
                                       .namelen = name.n,
                                       .value = (uint8_t *)(uintptr_t)value.p,
                                       .valuelen = value.n,
                                       .flags = list->flags | nexus__h2_field_flags(name)};
}

static size_t line_count(nexus_slice lines)
{
    size_t n = 0;
    for (const char *p = lines.p, *end = p + lines.n; p < end && (p = memchr(p, '\n', (size_t)(end - p))); p++)
        n++;
    return n;
}

/* The list for lines, `status` (three digits) before them unless it is NULL; nv NULL: out of memory. */
static field_list fields_of(nexus_request *r, const char *status, char *lines, size_t n, uint8_t flags)
{
    field_list list = {.flags = flags};
    list.nv = nexus__arena_get(&r->arena, (line_count((nexus_slice){lines, n}) + 1) * sizeof *list.nv);
    if (!list.nv)
        return list;
    if (status)
        put_field(&list, NEXUS_S(":status"), (nexus_slice){status, 3});
    nexus__h2_fields(lines, n, put_field, &list);
    return list;
}

static void status_text(uint16_t status, char out[static 4])
{
    out[0] = (char)('0' + status / 100 % 10);
    out[1] = (char)('0' + status / 10 % 10);
    out[2] = (char)('0' + status % 10);
}

void nexus__h2_interim(nexus_request *r, uint16_t status, const struct iovec *fields, size_t n)
{
    char text[4];
    status_text(status, text);
    nexus__buf_clear(&r->head_out);
    for (size_t i = 0; i < n; i++)
        nexus__buf_append(&r->head_out, fields[i].iov_base, fields[i].iov_len);
    field_list list = fields_of(r, text, r->head_out.p, r->head_out.len, NGHTTP2_NV_FLAG_NONE); /* copied */
    if (list.nv)
        nghttp2_submit_headers(session_of(r)->session, NGHTTP2_FLAG_NONE, r->h2.id, NULL, list.nv, list.n, NULL);
    nexus__h2_wake(session_of(r));
}

/* --- its body ----------------------------------------------------------------------------------------------------- */

static ssize_t read_reply(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length, uint32_t *flags,
                          nghttp2_data_source *source, void *user_data)
{
    nexus_request *r = source->ptr;
    size_t n = nexus__h2_unsent(r);
    (void)buf, (void)user_data;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (n > length)
        return (ssize_t)length;
    if (n == 0 && !r->h2.ended) {
        r->h2.deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    if (!r->h2.ended)
        return (ssize_t)n;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (r->trailers_out.len && !r->trailers_out.status) {
        field_list list = fields_of(r, NULL, r->trailers_out.p, r->trailers_out.len, NGHTTP2_NV_FLAG_NONE);
        if (list.n && nghttp2_submit_trailer(session, id, list.nv, list.n) == 0)
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    }
    return (ssize_t)n;
}

/* Moves n waiting bytes into frames: what was copied first, then what is lent. */
static void move(nexus_request *r, size_t n)
{
    nexus__h2_stream *s = &r->h2;
    nexus__conn *c = r->conn;
    size_t copied = s->out.len - s->out_at;
    copied = copied < n ? copied : n;
    if (copied) {
        nexus__conn_write(c, &(struct iovec){s->out.p + s->out_at, copied}, 1);
        s->out_at += copied;
        c->h2->out_held -= copied;
        if (s->out_at == s->out.len) {
            nexus__buf_clear(&s->out);
            s->out_at = 0;
        }
    }
    for (n -= copied; n;) {
        size_t left = s->lent->iov_len - s->lent_skip, k = left < n ? left : n;
        nexus__conn_write(c, &(struct iovec){(char *)s->lent->iov_base + s->lent_skip, k}, 1);
        n -= k;
        s->lent_left -= k;
        s->lent_skip += k;
        if (s->lent_skip == s->lent->iov_len) {
            s->lent++;
            s->lent_skip = 0;
        }
    }
}

int nexus__h2_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t length,
                        nghttp2_data_source *source, void *user_data)
{
    nexus_request *r = source->ptr;
    nexus__conn *c = r->conn;
    (void)session, (void)frame, (void)user_data; /* no padding: we ask for none */
    if (nexus__conn_unsent(c) > NEXUS__SCRATCH_BYTES)
        return NGHTTP2_ERR_WOULDBLOCK;
    nexus__conn_write(c, &(struct iovec){(void *)(uintptr_t)head, 9}, 1);
    move(r, length);
    r->h2.moved_ns = nexus_loop_now_ns(c->shard->loop);
    bool told = r->stream.started || r->exchange_drained_fn;
    if (told && !nexus__h2_unsent(r) && nexus__list_empty(&r->h2.notice))
        nexus__list_push(&c->h2->notices, &r->h2.notice);
    return 0;
}

void nexus__h2_tell_drained(nexus__h2 *h)
{
    if (h->telling)
        return;
    h->telling = true;
    while (!nexus__list_empty(&h->notices)) {
        nexus_request *r = NEXUS__CONTAINER(h->notices.next, nexus_request, h2.notice);
        nexus__list_remove(&r->h2.notice);
        if (r->phase == NEXUS__PHASE_DONE || r->h2.closed)
            continue;
        if (r->stream.started)
            nexus__stream_drained(r);
        nexus_handler_fn *fn = r->exchange_drained_fn;
        if (!fn || nexus__h2_unsent(r))
            continue;
        r->exchange_drained_fn = NULL;
        fn(r, r->exchange_drained_user_data);
    }
    h->telling = false;
}

/* What the caller lends for the call only, and what was not framed of it, is copied. */
static void keep_lent(nexus_request *r)
{
    nexus__h2_stream *s = &r->h2;
    nexus__h2 *h = session_of(r);
    if (s->lent == &s->whole)
        return;
    h->out_held += s->lent_left;
    while (s->lent_left) {
        size_t n = s->lent->iov_len - s->lent_skip;
        n = n < s->lent_left ? n : s->lent_left;
        nexus__buf_append(&s->out, (char *)s->lent->iov_base + s->lent_skip, n);
        s->lent_left -= n;
        s->lent_skip = 0;
        s->lent++;
    }
    if (s->out.status)
        nexus__conn_break(r->conn);
}

static void lend(nexus_request *r, const struct iovec *body, size_t n, size_t left)
{
    nexus__h2_stream *s = &r->h2;
    if (!left)
        return;
    if (s->out.len && s->out_at > s->out.len / 2) {
        nexus__buf_consume(&s->out, s->out_at);
        s->out_at = 0;
    }
    if (!nexus__h2_unsent(r))
        s->moved_ns = nexus_loop_now_ns(r->shard->loop);
    s->lent = body;
    if (n == 1 && r->reply_body.len && body->iov_base == r->reply_body.p) { /* stays as long as the request */
        s->whole = *body;
        s->lent = &s->whole;
    }
    s->lent_skip = 0;
    s->lent_left = left;
}

static int submit(nexus_request *r, bool body)
{
    nexus__h2_stream *s = &r->h2;
    status_text(r->status, s->status);
    nghttp2_data_provider provider = {.source.ptr = r, .read_callback = read_reply};
    field_list list = fields_of(r, s->status, r->head_out.p, r->head_out.len,
                                NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE);
    return list.nv ? nghttp2_submit_response(session_of(r)->session, s->id, list.nv, list.n, body ? &provider : NULL)
                   : NGHTTP2_ERR_NOMEM;
}

void nexus__h2_write(nexus_request *r, bool first, const struct iovec *body, size_t n, size_t left, bool end)
{
    nexus__h2_stream *s = &r->h2;
    nexus__h2 *h = session_of(r);
    if (s->closed || s->ended || !h)
        return;
    s->ended = end;
    lend(r, body, n, left);
    if (end && s->broken) {
        nexus__h2_reset(r, NGHTTP2_INTERNAL_ERROR);
    } else if (first) {
        if (submit(r, left || !end || r->trailers_out.len) != 0)
            nexus__h2_reset(r, NGHTTP2_INTERNAL_ERROR);
    } else if (s->deferred && (left || end)) {
        s->deferred = false;
        nghttp2_session_resume_data(h->session, s->id);
    }
    if (r->conn->running || left >= LARGE)
        nexus__h2_send(h);
    keep_lent(r);
    nexus__h2_wake(h);
}

void nexus__h2_abort(nexus_request *r)
{
    r->h2.ended = true;
    if (!r->h2.closed)
        nexus__h2_reset(r, NGHTTP2_INTERNAL_ERROR);
}
