/* What upstream answers: head, body, end. Bodies go from the receive buffer to the client's socket without a copy. */
#include "gateway/forward.h"
#include "gateway/gateway.h"
#include "gateway/stage.h"

enum { HEAD_MAX = 64 * 1024, INTERIMS_MAX = 10, PIECES = 16 };

static const nexus__http_limits limits = {.line_max = 8192, .head_max = 32768, .fields_max = NEXUS__HTTP_FIELDS_MAX};

static nexus__gw_loop *home_of(const nexus__call *call)
{
    return call->pool->home;
}

/* The exchange is over for the client too: half an answer is told apart from a whole one by a broken connection. */
static void abort_call(nexus__call *call)
{
    nexus_request *request = call->request;
    nexus__call_count(call, 0);
    nexus__call_release(call, false);
    nexus_request_on_close(request, NULL, NULL);
    nexus__exchange_abort(request);
}

static void broken(nexus__call *call, const char *detail)
{
    nexus__call_judge(call, call->conn->at->target, NEXUS_BREAKER_FAILED);
    call->broke_off = call->replied;
    if (call->replied)
        abort_call(call);
    else
        nexus__call_problem(call, 502, "upstream-protocol", detail);
}

/* --- the body ----------------------------------------------------------------------------------------------------- */

typedef struct pieces {
    struct iovec iov[PIECES];
    size_t n, used;
    bool last; /* nothing follows these bytes: HTTP/2 says so */
    bool bad;
} pieces;

/* Cuts as many pieces of body out of the bytes as fit. */
static void cut(nexus__call *call, const char *p, size_t n, pieces *out)
{
    out->n = 0;
    out->bad = false;
    while (out->used < n && out->n < PIECES && !call->reply_body.done) {
        nexus_slice data;
        int64_t took = nexus__http_body_next(&call->reply_body, p + out->used, n - out->used, &data);
        if (took < 0) {
            out->bad = true;
            return;
        }
        out->used += (size_t)took;
        if (data.n > 0)
            out->iov[out->n++] = (struct iovec){(char *)(uintptr_t)data.p, data.n};
    }
    if (out->last && out->used == n)
        call->reply_body.done = true;
}

/* As gzip, where the route and the client want it. */
static void code(nexus__call *call, pieces *out)
{
    if (!call->stage || !call->stage->gzip)
        return;
    nexus_slice coded = nexus__stage_code(call->stage, out->iov, out->n, call->reply_body.done);
    out->iov[0] = (struct iovec){(char *)(uintptr_t)coded.p, coded.n};
    out->n = coded.n > 0;
}

static bool may_reuse(const nexus__call *call, const pieces *piece, size_t n)
{
    return call->reusable && call->uploaded && piece->used == n && !call->conn->hung_up;
}

/* The last write: afterwards request and call are gone. What the call holds is given back before, while the bytes still
 * stand in the loop's buffer. */
static void finish(nexus__call *call, const pieces *piece, size_t n, const nexus__exchange_reply *head)
{
    nexus_request *request = call->request;
    nexus__call_count(call, call->status);
    nexus_request_on_close(request, NULL, NULL);
    nexus__call_release(call, may_reuse(call, piece, n));
    if (head)
        (void)nexus__exchange_begin(request, head, piece->iov, piece->n, true);
    else
        (void)nexus__exchange_write(request, piece->iov, piece->n, true);
}

/* false: the call is over. */
static bool body_bytes(nexus__call *call, const char *p, size_t n, pieces *piece)
{
    while (piece->used < n || call->reply_body.done) {
        cut(call, p, n, piece);
        if (piece->bad) {
            broken(call, "");
            return false;
        }
        code(call, piece);
        if (call->reply_body.done) {
            finish(call, piece, n, NULL);
            return false;
        }
        if (piece->n > 0 && nexus__exchange_write(call->request, piece->iov, piece->n, false)) {
            abort_call(call);
            return false;
        }
    }
    nexus__timeout_set(&call->conn->timeout, home_of(call)->loop, call->pool->upstream->conf->timeouts.idle_ms);
    return true;
}

/* --- the head ----------------------------------------------------------------------------------------------------- */

static bool has_length(const nexus__http_head *head, const char *base, uint64_t *length)
{
    const nexus__http_field *f = nexus__http_first(head, NEXUS__HTTP_CONTENT_LENGTH);
    return f && nexus__parse_u64(nexus__http_field_value(f, base), length);
}

static uint64_t length_of(const nexus__http_head *head, const char *base)
{
    uint64_t length;
    if (head->framing == NEXUS__HTTP_LENGTH_FIXED)
        return head->length;
    if (head->framing == NEXUS__HTTP_LENGTH_NONE) /* of a HEAD or 304: what the body would be */
        return has_length(head, base, &length) ? length : 0;
    return NEXUS__LENGTH_UNKNOWN;
}

static void pass_filters(nexus__call *call, const nexus__http_head *head, const char *base)
{
    const nexus__gw_route *route = call->route;
    for (uint32_t i = 0; i < route->conf->filters.count; i++) {
        const nexus__gw_filter_use *use = &route->conf->filters.items[i];
        if (use->filter->reply)
            use->filter->reply(call, use->conf, route->states[i], head, base);
    }
}

/* n: bytes of body that came with the head. */
static bool is_whole(const nexus__http_head *head, size_t n)
{
    return head->framing == NEXUS__HTTP_LENGTH_NONE ? n == 0
                                                    : head->framing == NEXUS__HTTP_LENGTH_FIXED && n == head->length;
}

/* What delimits the body for us: a stream of HTTP/2 has its own end, and its lengths are checked already. */
static void begin_body(nexus__call *call, const nexus__http_head *head)
{
    bool framed = !call->conn->carrier || head->framing == NEXUS__HTTP_LENGTH_NONE;
    nexus__http_body_init(&call->reply_body, framed ? head->framing : NEXUS__HTTP_LENGTH_CLOSE, head->length);
    call->reply_body.done = framed && (head->framing == NEXUS__HTTP_LENGTH_NONE ||
                                       (head->framing == NEXUS__HTTP_LENGTH_FIXED && head->length == 0));
}

static nexus__exchange_reply reply_of(nexus__call *call, const nexus__http_head *head, const char *base,
                                      struct iovec fields[static NEXUS__FORWARD_IOVS])
{
    nexus__buf *space = &home_of(call)->head;
    nexus__exchange_reply reply = {.status = head->status,
                                   .reason = nexus__slice(base + head->reason, head->reason_len),
                                   .length = length_of(head, base),
                                   .fields = fields};
    nexus__buf_clear(space);
    reply.field_iovs = nexus__forward_reply(fields, space, head, base, &call->route->conf->response, call->reply_own,
                                            &reply.has_date);
    return reply;
}

/* The body of a stage that collects is there: now the head can go. */
static void collected(nexus__call *call, pieces *piece, size_t n)
{
    struct iovec fields[NEXUS__FORWARD_IOVS];
    nexus_slice body;
    if (!nexus__stage_finish(call->stage, &body))
        return;
    nexus__exchange_reply reply = reply_of(call, call->stage->head, call->stage->base, fields);
    reply.length = body.n;
    piece->iov[0] = (struct iovec){(char *)(uintptr_t)body.p, body.n};
    piece->n = body.n > 0;
    finish(call, piece, n, &reply);
}

/* false: the call is over. */
static bool collect_bytes(nexus__call *call, const char *p, size_t n, bool last)
{
    pieces piece = {.last = last};
    call->reply_body.done |= last && n == 0;
    while (piece.used < n && !call->reply_body.done) {
        cut(call, p, n, &piece);
        if (piece.bad) {
            broken(call, "The upstream's body is malformed.");
            return false;
        }
        for (size_t i = 0; i < piece.n; i++)
            if (!nexus__stage_take(call->stage, nexus__slice(piece.iov[i].iov_base, piece.iov[i].iov_len))) {
                nexus__call_problem(call, 502, "upstream-body-too-big",
                                    "The upstream's answer is over the limit of what is changed.");
                return false;
            }
    }
    if (call->reply_body.done) {
        collected(call, &piece, n);
        return false;
    }
    nexus__timeout_set(&call->conn->timeout, home_of(call)->loop, call->pool->upstream->conf->timeouts.idle_ms);
    return true;
}

/* What the route does to this body. rest: bytes after the head, of which `piece` is the beginning. false: the call is
 * over, or waits for more. */
static bool open_stage(nexus__call *call, const nexus__http_head *head, const char *base, nexus_slice rest, pieces *piece,
                       uint64_t *length, bool *ours)
{
    bool last = piece->last;
    size_t total = 0;
    for (size_t i = 0; i < piece->n; i++)
        total += piece->iov[i].iov_len;
    *ours = false;
    switch (nexus__stage_open(call, head, base, total, call->reply_body.done)) {
    case NEXUS__STAGE_NOTHING:
        return true;
    case NEXUS__STAGE_HEAD:
        *length = NEXUS__LENGTH_UNKNOWN;
        return true;
    case NEXUS__STAGE_STREAM:
        code(call, piece);
        *length = call->reply_body.done && piece->n ? piece->iov[0].iov_len : NEXUS__LENGTH_UNKNOWN;
        return true;
    case NEXUS__STAGE_COLLECT:
        nexus__buf_clear(call->reply_body.trailers); /* of a body that will have a length */
        begin_body(call, head);
        *ours = collect_bytes(call, rest.p, rest.n, last);
        return false;
    case NEXUS__STAGE_REFUSED:
        return false;
    }
    return true;
}

/* rest: what of the body came with the head; last: it is all of it. false: the call is over, or tried again. */
static bool reply_head(nexus__call *call, const nexus__http_head *head, const char *base, nexus_slice rest, bool last)
{
    struct iovec fields[NEXUS__FORWARD_IOVS];
    uint64_t length = length_of(head, base);
    pieces piece = {.last = last};
    bool ours;
    if (last && rest.n == 0 && length == NEXUS__LENGTH_UNKNOWN)
        length = 0;
    if (head->status >= 500 && nexus__call_retry_status(call, head, base, is_whole(head, rest.n)))
        return false;
    nexus__call_judge(call, call->conn->at->target, head->status >= 500 ? NEXUS_BREAKER_FAILED : NEXUS_BREAKER_OK);
    if (call->route->replies_pass)
        pass_filters(call, head, base);
    if (call->mw && !nexus__mw_response(call, head, base))
        return false;
    call->status = head->status;
    nexus__seen_answer(call, head->status);
    call->reusable = head->keep_alive && head->framing != NEXUS__HTTP_LENGTH_CLOSE;
    begin_body(call, head);
    call->reply_body.trailers = nexus__exchange_trailers_out(call->request);
    cut(call, rest.p, rest.n, &piece);
    if (piece.bad) {
        nexus__buf_clear(call->reply_body.trailers);
        broken(call, "The upstream's body is malformed.");
        return false;
    }
    if (call->route->stages && !open_stage(call, head, base, rest, &piece, &length, &ours))
        return ours;
    call->replied = true;
    nexus__exchange_reply reply = reply_of(call, head, base, fields);
    reply.length = length;
    if (call->reply_body.done) {
        finish(call, &piece, rest.n, &reply);
        return false;
    }
    if (nexus__exchange_begin(call->request, &reply, piece.iov, piece.n, false)) {
        abort_call(call);
        return false;
    }
    return body_bytes(call, rest.p, rest.n, &piece);
}

/* 1xx before the answer. 100 was said to the client by ourselves already; others pass. */
static bool interim(nexus__call *call, const nexus__http_head *head, const char *base)
{
    struct iovec fields[NEXUS__FORWARD_IOVS];
    bool has_date;
    static const nexus__gw_headers_conf nothing;
    if (++call->interims > INTERIMS_MAX)
        return false;
    if (head->status == 100)
        return true;
    nexus__buf *space = &home_of(call)->head;
    nexus__buf_clear(space);
    size_t n = nexus__forward_reply(fields, space, head, base, &nothing, NULL, &has_date);
    (void)nexus__exchange_interim(call->request, head->status, fields, n);
    return true;
}

/* Bytes of which none has been understood yet; false: the conn is not this call's any more. */
static bool head_bytes(nexus__uplink *conn, const char *p, size_t n)
{
    nexus__call *call = conn->call;
    nexus__http_head *head = &home_of(call)->response;
    while (n > 0) {
        nexus__http_head_init(head);
        int32_t took = nexus__http_parse_response(head, &limits, call->method == NEXUS_METHOD_HEAD, p, n);
        if (took < 0 || (took == 0 && n > HEAD_MAX)) {
            broken(call, "The upstream's answer is not valid HTTP/1.1.");
            return false;
        }
        if (took == 0)
            break;
        if (head->status == 101) {
            nexus__tunnel_start(call, head, p, nexus__slice(p + took, n - (size_t)took));
            return false;
        }
        if (head->status >= 200)
            return reply_head(call, head, p, nexus__slice(p + took, n - (size_t)took), false);
        if (!interim(call, head, p)) {
            broken(call, "The upstream sent too many interim answers.");
            return false;
        }
        p += took;
        n -= (size_t)took;
    }
    if (p != conn->in.p) {
        nexus__buf_clear(&conn->in);
        nexus__buf_append(&conn->in, p, n);
    }
    return true;
}

bool nexus__reply_bytes(nexus__uplink *conn, const char *p, size_t n)
{
    nexus__call *call = conn->call;
    if (call->stage && call->stage->collecting)
        return collect_bytes(call, p, n, false);
    if (call->replied) {
        pieces piece = {.used = 0};
        return body_bytes(call, p, n, &piece);
    }
    if (conn->in.len == 0)
        return head_bytes(conn, p, n);
    nexus__buf whole = conn->in; /* the head came in pieces: rare, and copied */
    nexus__buf_init(&conn->in, whole.alloc, 0);
    nexus__buf_append(&whole, p, n);
    bool ours = whole.status == NEXUS_OK && head_bytes(conn, whole.p, whole.len);
    nexus__buf_free(&whole);
    return ours;
}

void nexus__reply_eof(nexus__uplink *conn)
{
    nexus__call *call = conn->call;
    pieces piece = {.used = 0};
    bool collecting = call->stage && call->stage->collecting;
    bool end = call->reply_body.framing == NEXUS__HTTP_LENGTH_CLOSE && !conn->broken;
    if (collecting && end) {
        collected(call, &piece, 0);
    } else if (collecting) {
        nexus__call_problem(call, 502, "upstream-incomplete", "The upstream closed the connection within its answer.");
    } else if (!call->replied) {
        nexus__call_lost(conn, NEXUS__LOST_CLOSED);
    } else if (end) {
        call->reusable = false;
        call->reply_body.done = true;
        code(call, &piece);
        finish(call, &piece, 0, NULL);
    } else {
        call->broke_off = true;
        abort_call(call);
    }
}

/* --- from HTTP/2 -------------------------------------------------------------------------------------------------- */

static nexus_slice piece_of(const nexus__h2c_news *news, size_t i)
{
    return i < news->piece_count ? nexus__slice(news->pieces[i].iov_base, news->pieces[i].iov_len) : nexus__slice("", 0);
}

static bool is_last(const nexus__h2c_news *news, size_t i)
{
    return news->end && i + 1 >= news->piece_count;
}

/* One head or more; the first piece of body goes with that of the answer. false: the call is over. */
static bool message_heads(nexus__call *call, const nexus__h2c_news *news)
{
    nexus__http_head *head = &home_of(call)->response;
    nexus_slice text = news->head;
    while (text.n > 0) {
        nexus__http_head_init(head);
        int32_t took = nexus__http_parse_response(head, &limits, call->method == NEXUS_METHOD_HEAD, text.p, text.n);
        if (took <= 0 || head->status == 101) {
            broken(call, "The upstream's answer is not valid.");
            return false;
        }
        if (head->status >= 200)
            return reply_head(call, head, text.p, piece_of(news, 0), is_last(news, 0));
        if (!interim(call, head, text.p)) {
            broken(call, "The upstream sent too many interim answers.");
            return false;
        }
        text = nexus__slice_from(text, (size_t)took);
    }
    return true;
}

static void take_trailers(nexus__call *call, nexus_slice lines)
{
    nexus__buf *out = nexus__exchange_trailers_out(call->request);
    while (lines.n > 0) {
        nexus_slice text = nexus__slice_cut(&lines, '\n');
        if (nexus__http_is_trailer(nexus__slice(text.p, nexus__slice_find(text, ':'))))
            nexus__buf_append(out, text.p, text.n + 1);
    }
}

static void on_drained(nexus_request *request, void *user_data)
{
    (void)request;
    nexus__uplink_resume(user_data);
}

/* The server may send more once the client has what there is. */
static void wait_for_client(nexus__uplink *conn)
{
    conn->paused = true;
    if (!nexus__exchange_on_drained(conn->call->request, on_drained, conn))
        nexus__uplink_resume(conn);
}

static bool is_collecting(const nexus__call *call)
{
    return call->stage && call->stage->collecting;
}

/* false: the call is over. */
static bool message_piece(nexus__call *call, nexus_slice data, bool last)
{
    pieces piece = {.last = last};
    if (is_collecting(call))
        return collect_bytes(call, data.p, data.n, last);
    call->reply_body.done |= last && data.n == 0;
    return body_bytes(call, data.p, data.n, &piece);
}

void nexus__reply_message(nexus__uplink *conn, const nexus__h2c_news *news)
{
    nexus__call *call = conn->call;
    bool heads = news->head.n > 0;
    if (news->end && news->trailers.n > 0)
        take_trailers(call, news->trailers);
    if (heads && !message_heads(call, news))
        return;
    bool first_went = heads && (call->replied || is_collecting(call));
    for (size_t i = first_went ? 1 : 0; i < news->piece_count || (news->end && i == 0); i++)
        if (!message_piece(call, piece_of(news, i), is_last(news, i)))
            return;
    wait_for_client(conn);
}
