/* The session of a connection: nghttp2's callbacks, receiving, sending, the end. What a stream does is in h2_stream.c. */
#include "http/h2.h"

#include "base/status.h"

enum {
    BACKLOG_MAX = 65536, /* unsent bytes above which nothing is read, nor asked of the session */
    TRAILERS_MAX = 8192,
    TICK_MS = 1000
};

static const uint8_t drain_ping[8] = "nxdrain"; /* its answer tells that the first GOAWAY has arrived */

static nexus_request *stream_of(nexus__h2 *h, int32_t id)
{
    return nghttp2_session_get_stream_user_data(h->session, id);
}

static int64_t now_of(const nexus__h2 *h)
{
    return nexus_loop_now_ns(h->conn->shard->loop);
}

static const nexus_server_opts *opts_of(const nexus__h2 *h)
{
    return &h->conn->shard->server->opts;
}

/* --- frames begin ------------------------------------------------------------------------------------------------- */

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *user_data)
{
    nexus__h2 *h = user_data;
    (void)session;
    if (nexus__h2_guard_frame(&h->guard, &h->guard_limits, now_of(h), hd->type, hd->flags, hd->length))
        return 0;
    h->calm = true;
    return NGHTTP2_ERR_CALLBACK_FAILURE;
}

static void watch_time(nexus__h2 *h)
{
    nexus_loop *loop = h->conn->shard->loop;
    if (!nexus__conn_unsent(h->conn))
        nexus__timeout_clear(&h->conn->timeout); /* of an idle connection */
    nexus__timeout_set(&h->tick, loop, TICK_MS);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    nexus__h2 *h = user_data;
    int32_t id = frame->hd.stream_id;
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    nexus_request *r = h->held <= opts_of(h)->http2_memory_max_bytes ? nexus__h2_open(h, id) : NULL;
    if (!r) { /* for the client to try again */
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id, NGHTTP2_REFUSED_STREAM);
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    if (h->open++ == 0)
        watch_time(h);
    h->heading = r;
    h->heading_ns = now_of(h);
    nghttp2_session_set_stream_user_data(session, id, r);
    nghttp2_extpri fair = {.urgency = NGHTTP2_EXTPRI_DEFAULT_URGENCY, .inc = 1}; /* else one reply after the other */
    nghttp2_session_change_extpri_stream_priority(session, id, &fair, 0);
    return 0;
}

/* --- fields ------------------------------------------------------------------------------------------------------- */

static bool take_trailer(nexus_request *r, nexus_slice name, nexus_slice value)
{
    nexus__buf *lines = &r->trailers_in;
    if (lines->len + name.n + value.n + 4 > TRAILERS_MAX || !nexus__http_is_token(name) ||
        !nexus__http_is_value(value) || !nexus__http_is_trailer(name))
        return false;
    nexus__buf_slice_append(lines, name);
    nexus__buf_append(lines, ": ", 2);
    nexus__buf_slice_append(lines, value);
    nexus__buf_append(lines, "\r\n", 2);
    return true;
}

static int reset_malformed(nghttp2_session *session, int32_t id)
{
    nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id, NGHTTP2_PROTOCOL_ERROR);
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *user_data)
{
    nexus__h2 *h = user_data;
    int32_t id = frame->hd.stream_id;
    nexus_slice n = {(const char *)name, name_len}, v = {(const char *)value, value_len};
    nexus_request *r = stream_of(h, id);
    (void)flags;
    if (!r)
        return 0;
    bool good = r == h->heading ? nexus__h2_head_field(&h->decode, n, v) == 0 : take_trailer(r, n, v);
    return good ? 0 : reset_malformed(session, id);
}

/* nghttp2 would leave the field out; RFC 9113 8.1.1 wants the request to fail. */
static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                             const uint8_t *value, size_t value_len, uint8_t flags, void *user_data)
{
    (void)name, (void)name_len, (void)value, (void)value_len, (void)flags, (void)user_data;
    return reset_malformed(session, frame->hd.stream_id);
}

/* --- frames are here ---------------------------------------------------------------------------------------------- */

static void head_ended(nexus__h2 *h, nexus_request *r, bool end)
{
    int error = nexus__h2_head_end(&h->decode, end);
    h->heading = NULL;
    if (error == NEXUS__H2_HEAD_MALFORMED) {
        nexus__h2_reset(r, NGHTTP2_PROTOCOL_ERROR);
        return;
    }
    r->h2.error = error;
    r->h2.held = r->h2.lines.len;
    h->held += r->h2.held;
    nexus__http_body_init(&r->in_body, r->head.framing, r->head.length);
    nexus__list_push(&h->waiting, &r->h2.todo);
}

static void refused_or_late(nexus__h2 *h)
{
    if (!nexus__h2_guard_reset(&h->guard, &h->guard_limits, now_of(h)))
        h->calm = true;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    nexus__h2 *h = user_data;
    nexus_request *r = frame->hd.stream_id ? stream_of(h, frame->hd.stream_id) : NULL;
    bool end = (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS) &&
               frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    if (frame->hd.type == NGHTTP2_RST_STREAM)
        refused_or_late(h);
    if (frame->hd.type == NGHTTP2_PING && frame->hd.flags & NGHTTP2_FLAG_ACK && h->leaving &&
        memcmp(frame->ping.opaque_data, drain_ping, sizeof drain_ping) == 0) {
        h->leaving = false;
        nghttp2_submit_goaway(session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session),
                              NGHTTP2_NO_ERROR, NULL, 0);
    }
    if (r && r == h->heading)
        head_ended(h, r, end);
    if (r && end && !r->h2.closed)
        nexus__h2_body_ended(r);
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *user_data)
{
    nexus__h2 *h = user_data;
    nexus_request *r = stream_of(h, id);
    (void)flags;
    if (r)
        nexus__h2_body(r, (nexus_slice){(const char *)p, n});
    else
        nghttp2_session_consume(session, id, n);
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user_data)
{
    nexus__h2 *h = user_data;
    nexus_request *r = stream_of(h, id);
    (void)session, (void)code;
    if (!r)
        return 0;
    r->h2.closed = true;
    if (h->heading == r)
        h->heading = NULL;
    nexus__list_remove(&r->h2.todo);
    nexus__list_push(&h->closed, &r->h2.todo);
    return 0;
}

/* --- frames go out ------------------------------------------------------------------------------------------------ */

/* A reset that the client's own frame has made us send costs us as much as one that it sends. */
static bool provoked(uint32_t code)
{
    switch (code) {
    case NGHTTP2_PROTOCOL_ERROR:
    case NGHTTP2_FLOW_CONTROL_ERROR:
    case NGHTTP2_STREAM_CLOSED:
    case NGHTTP2_FRAME_SIZE_ERROR:
    case NGHTTP2_COMPRESSION_ERROR:
    case NGHTTP2_REFUSED_STREAM:
        return true;
    default:
        return false;
    }
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    nexus__h2 *h = user_data;
    bool answer = frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS;
    if (frame->hd.type == NGHTTP2_RST_STREAM && provoked(frame->rst_stream.error_code))
        refused_or_late(h);
    if (frame->hd.type == NGHTTP2_GOAWAY && h->leaving) /* pings overtake it in the queue: not before it has left */
        nghttp2_submit_ping(session, NGHTTP2_FLAG_NONE, drain_ping);
    if (!answer)
        return 0;
    nexus__h2_guard_useful(&h->guard);
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
        nexus_request *r = stream_of(h, frame->hd.stream_id);
        if (r && !r->in_body.done) /* the answer is whole: the rest of the request is not wanted (RFC 9113 8.1) */
            nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
    }
    return 0;
}

static void take_leave(nexus__h2 *h, uint32_t code)
{
    h->over = true;
    nghttp2_session_terminate_session(h->session, code);
}

static void pull(nexus__h2 *h)
{
    nexus__conn *c = h->conn;
    while (!c->broken && nexus__conn_unsent(c) <= BACKLOG_MAX) {
        const uint8_t *p;
        ssize_t n = nghttp2_session_mem_send(h->session, &p);
        if (n < 0)
            nexus__conn_break(c);
        if (n <= 0)
            return;
        nexus__conn_write(c, &(struct iovec){(void *)(uintptr_t)p, (size_t)n}, 1);
    }
}

void nexus__h2_send(nexus__h2 *h)
{
    if (h->busy)
        return;
    h->busy = true;
    pull(h);
    if (h->calm && !h->over) {
        take_leave(h, NGHTTP2_ENHANCE_YOUR_CALM);
        pull(h);
    }
    h->busy = false;
    nexus__h2_tell_drained(h);
}

void nexus__h2_wake(nexus__h2 *h)
{
    if (h->woken || h->conn->running)
        return;
    h->woken = true;
    nexus__watch_again(&h->conn->watch, NEXUS__WATCH_WRITE);
}

void nexus__h2_wake_for(nexus_request *r)
{
    if (r->conn && r->conn->h2)
        nexus__h2_wake(r->conn->h2);
}

void nexus__h2_reset(nexus_request *r, uint32_t code)
{
    nghttp2_submit_rst_stream(r->conn->h2->session, NGHTTP2_FLAG_NONE, r->h2.id, code);
    nexus__h2_wake(r->conn->h2);
}

/* --- a step ------------------------------------------------------------------------------------------------------- */

static uint32_t code_of(const nexus__h2 *h, ssize_t error)
{
    if (h->calm || error == NGHTTP2_ERR_FLOODED || error == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS)
        return NGHTTP2_ENHANCE_YOUR_CALM;
    return error == NGHTTP2_ERR_NOMEM ? NGHTTP2_INTERNAL_ERROR : NGHTTP2_PROTOCOL_ERROR;
}

static void receive(nexus__h2 *h)
{
    nexus__conn *c = h->conn;
    if (!h->over) {
        h->busy = true;
        ssize_t n = nghttp2_session_mem_recv(h->session, (const uint8_t *)c->in, c->in_len);
        if (n < 0)
            take_leave(h, code_of(h, n));
        h->busy = false;
    }
    c->in_len = 0;
}

static nexus_request *first_of(nexus__list *list)
{
    nexus_request *r = NEXUS__CONTAINER(list->next, nexus_request, h2.todo);
    nexus__list_remove(&r->h2.todo);
    return r;
}

/* Requests wait while so much of replies waits for the client that more would only pile up. */
static void run_requests(nexus__h2 *h)
{
    while (!nexus__list_empty(&h->todo))
        nexus__h2_feed(first_of(&h->todo));
    while (!nexus__list_empty(&h->waiting) && h->out_held <= opts_of(h)->http2_memory_max_bytes && !h->conn->broken)
        nexus__h2_start(first_of(&h->waiting));
}

/* What collected bodies owe to their streams' windows is paid when there is memory again, to the oldest in any case. */
static void settle(nexus__h2 *h)
{
    for (nexus__list *n = h->streams.next; n != &h->streams; n = n->next) {
        nexus_request *r = NEXUS__CONTAINER(n, nexus_request, h2.node);
        if (!r->h2.owed)
            continue;
        nghttp2_session_consume_stream(h->session, r->h2.id, r->h2.owed);
        r->h2.owed = 0;
        if (h->held > opts_of(h)->http2_memory_max_bytes)
            return;
    }
}

static void release_closed(nexus__h2 *h)
{
    if (nexus__list_empty(&h->closed))
        return;
    while (!nexus__list_empty(&h->closed)) {
        nexus_request *r = first_of(&h->closed);
        h->open--;
        nexus__h2_release(r);
    }
    settle(h);
    if (h->open == 0 && !nexus__conn_unsent(h->conn))
        nexus__timeout_set(&h->conn->timeout, h->conn->shard->loop, opts_of(h)->idle_timeout_ms);
}

static bool finished(const nexus__h2 *h)
{
    return h->over || (!nghttp2_session_want_read(h->session) && !nghttp2_session_want_write(h->session));
}

bool nexus__h2_step(nexus__conn *c)
{
    nexus__h2 *h = c->h2;
    bool more = nexus__conn_unsent(c) <= BACKLOG_MAX && (c->in_len || nexus__conn_fill(c));
    h->woken = false;
    if (more)
        receive(h);
    run_requests(h);
    nexus__h2_send(h);
    release_closed(h);
    if (!nexus__list_empty(&h->closed) || !nexus__list_empty(&h->todo))
        more = true; /* what was told in the meantime has made work */
    if (!more)
        nexus__conn_release_in(c);
    if (c->broken)
        return false;
    if (c->eof) {
        nexus__conn_close(c);
        return false;
    }
    if (!more && finished(h) && !nexus__conn_unsent(c)) {
        nexus__h2_end(c);
        c->state = NEXUS__CONN_CLOSING;
        c->linger = true;
        nexus__timeout_set(&c->timeout, c->shard->loop, c->shard->server->opts.idle_timeout_ms);
        return true;
    }
    return more;
}

/* --- time --------------------------------------------------------------------------------------------------------- */

static void on_tick(nexus__timeout *timeout)
{
    nexus__h2 *h = NEXUS__CONTAINER(timeout, nexus__h2, tick);
    int64_t now = now_of(h);
    if (h->leaving) { /* a second is long enough for the first GOAWAY */
        h->leaving = false;
        nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(h->session),
                              NGHTTP2_NO_ERROR, NULL, 0);
    }
    if (h->heading && now - h->heading_ns > opts_of(h)->head_timeout_ms * NEXUS__NS_PER_MS)
        take_leave(h, NGHTTP2_ENHANCE_YOUR_CALM);
    for (nexus__list *n = h->streams.next, *next; n != &h->streams; n = next) {
        next = n->next;
        nexus__h2_check(NEXUS__CONTAINER(n, nexus_request, h2.node), now);
    }
    if (h->open)
        nexus__timeout_set(&h->tick, h->conn->shard->loop, TICK_MS);
    h->conn->readable = true; /* a reset behind bytes comes without a hang-up, and after a short read nobody asks again */
    nexus__h2_wake(h);
}

void nexus__h2_on_idle(nexus__conn *c)
{
    nexus__h2 *h = c->h2;
    if (nexus__conn_unsent(c)) {
        nexus__conn_close(c);
    } else if (h->open == 0) {
        take_leave(h, NGHTTP2_NO_ERROR);
        nexus__h2_wake(h);
    }
}

void nexus__h2_drain(nexus__conn *c)
{
    nexus__h2 *h = c->h2;
    for (nexus__list *n = h->streams.next, *next; n != &h->streams; n = next) {
        nexus_request *r = NEXUS__CONTAINER(n, nexus_request, h2.node);
        next = n->next;
        nexus_handler_fn *fn = r->phase == NEXUS__PHASE_REPLY ? r->close_fn : NULL;
        if (!fn)
            continue;
        r->close_fn = NULL;
        fn(r, r->close_user_data);
    }
    if (h->over)
        return;
    h->leaving = true;
    nghttp2_submit_shutdown_notice(h->session);
    nexus__timeout_set(&h->tick, c->shard->loop, TICK_MS);
    nexus__h2_wake(h);
}

/* --- life --------------------------------------------------------------------------------------------------------- */

static void *mem_get(size_t n, void *alloc)
{
    return nexus__malloc(alloc, n);
}

static void mem_free(void *p, void *alloc)
{
    nexus__free(alloc, p);
}

static void *mem_zeroed(size_t n, size_t size, void *alloc)
{
    return nexus__calloc(alloc, n, size);
}

static void *mem_again(void *p, size_t n, void *alloc)
{
    return nexus__realloc(alloc, p, n);
}

nexus_status nexus__h2_server_open(nexus_server *s)
{
    if (nghttp2_session_callbacks_new(&s->h2_callbacks) || nghttp2_option_new(&s->h2_option))
        return nexus__nomem();
    nghttp2_session_callbacks *calls = s->h2_callbacks;
    nghttp2_session_callbacks_set_on_begin_frame_callback(calls, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(calls, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(calls, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback(calls, on_invalid_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(calls, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(calls, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(calls, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(calls, on_frame_send);
    nghttp2_session_callbacks_set_send_data_callback(calls, nexus__h2_send_data);
    nghttp2_option_set_no_auto_window_update(s->h2_option, 1);
    nghttp2_option_set_no_closed_streams(s->h2_option, 1);
    return NEXUS_OK;
}

void nexus__h2_server_close(nexus_server *s)
{
    nghttp2_session_callbacks_del(s->h2_callbacks);
    nghttp2_option_del(s->h2_option);
}

static bool announce(nexus__h2 *h)
{
    const nexus_server_opts *o = opts_of(h);
    nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, o->http2_streams_max},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, o->http2_stream_window_bytes},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, o->head_max_bytes},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
    };
    return nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings, sizeof settings / sizeof *settings) == 0 &&
           nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0, (int32_t)o->http2_window_bytes) == 0;
}

bool nexus__h2_begin(nexus__conn *c)
{
    nexus_server *s = c->shard->server;
    nexus__h2 *h = nexus__calloc(s->alloc, 1, sizeof *h);
    if (!h)
        return false;
    h->conn = c;
    h->guard_limits = (nexus__h2_guard_limits){s->opts.http2_resets_max, s->opts.http2_idle_frames_max,
                                               s->opts.head_max_bytes};
    nexus__list *lists[] = {&h->streams, &h->waiting, &h->todo, &h->closed, &h->notices};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        nexus__list_init(lists[i]);
    nexus__timeout_init(&h->tick, on_tick);
    nexus__buf_init(&h->crumbs, s->alloc, 0);
    nghttp2_mem mem = {(void *)(uintptr_t)s->alloc, mem_get, mem_free, mem_zeroed, mem_again};
    c->h2 = h;
    if (nghttp2_session_server_new3(&h->session, s->h2_callbacks, h, s->h2_option, &mem) != 0 || !announce(h)) {
        nexus__h2_end(c);
        return false;
    }
    c->state = NEXUS__CONN_H2;
    c->timed = false;
    nexus__timeout_set(&c->timeout, c->shard->loop, s->opts.idle_timeout_ms);
    return true;
}

void nexus__h2_end(nexus__conn *c)
{
    nexus__h2 *h = c->h2;
    if (!h)
        return;
    h->busy = true;
    while (!nexus__list_empty(&h->streams))
        nexus__h2_release(NEXUS__CONTAINER(h->streams.next, nexus_request, h2.node));
    c->h2 = NULL;
    nexus__timeout_remove(&h->tick, c->shard->loop);
    nghttp2_session_del(h->session);
    nexus__buf_free(&h->crumbs);
    nexus__free(c->shard->server->alloc, h);
}
