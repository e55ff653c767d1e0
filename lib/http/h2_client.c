/*
 * The client side of HTTP/2 (RFC 9113) on nghttp2. What nghttp2 checks (pseudo-fields, names and values, content-length
 * against DATA, flow control) is not checked again; what it leaves to us is: the size of a head after decoding, and that
 * an answer in text form is one that a parser of HTTP/1.1 accepts (which the caller runs).
 *
 * nghttp2's callbacks only collect. When a batch of bytes is through, every stream with news is told once; so whoever is
 * told may close streams without pulling the ground from under nghttp2, and head, body and end of a small answer leave
 * together. Pieces of bodies point into the caller's bytes; when they are too many, or come with a second head, they are
 * copied (spill).
 *
 * Windows: room on the connection is given back at once, room on a stream when its reader has taken what it was told. A
 * slow reader so stops its own stream alone.
 */
#include "http/h2_client.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>

#include "base/status.h"
#include "http/h2_head.h"
#include "http/parser.h"

enum {
    HEAD_MAX = 32 * 1024,
    TRAILERS_MAX = 8 * 1024,
    TRAILERS_NV_MAX = 64,
    STREAMS_MAX = 100,
    KEPT_MAX = 16 * 1024, /* of a buffer that waits for another request */
    NV_MAX = NEXUS__HTTP_FIELDS_MAX + 32,
    LAST_ID = 1 << 30,   /* ids would run out: another connection then */
    OUT_MAX = 256 * 1024 /* bytes that wait for the socket before bodies wait in their streams */
};

struct nexus__h2c {
    nghttp2_session *session;
    const nexus_alloc *alloc;
    const nexus__h2c_ops *ops;
    nexus__list open_list, news; /* streams; those with something to tell */
    nexus__buf out;
    uint32_t open;
    int32_t last_id;
    bool secure, goaway, settled;
    nexus__h2c_stream *telling; /* NULL once it was closed while it was told */
};

static nexus__h2c_stream *stream_of(nexus__h2c *h, int32_t id)
{
    return nghttp2_session_get_stream_user_data(h->session, id);
}

static void has_news(nexus__h2c *h, nexus__h2c_stream *s)
{
    if (nexus__list_empty(&s->news))
        nexus__list_push(&h->news, &s->news);
}

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

/* --- collecting: nghttp2's callbacks ------------------------------------------------------------------------------ */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    nexus__h2c_stream *s = stream_of(user_data, frame->hd.stream_id);
    (void)session;
    if (s)
        s->fields = s->head_bytes = 0;
    return 0;
}

static void add_field(nexus__buf *out, const uint8_t *name, size_t name_len, const uint8_t *value, size_t len)
{
    nexus__buf_append(out, name, name_len);
    nexus__buf_append(out, ": ", 2);
    nexus__buf_append(out, value, len);
    nexus__buf_append(out, "\r\n", 2);
}

static void give_up(nexus__h2c *h, nexus__h2c_stream *s, enum nexus__h2c_loss loss)
{
    s->dead = true;
    s->loss = (uint8_t)loss;
    has_news(h, s);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t len, uint8_t flags, void *user_data)
{
    nexus__h2c *h = user_data;
    nexus__h2c_stream *s = stream_of(h, frame->hd.stream_id);
    (void)session;
    (void)flags;
    if (!s || s->dead)
        return 0;
    s->head_bytes += (uint32_t)(name_len + len + 32);
    if (s->head_bytes > HEAD_MAX || ++s->fields > NEXUS__HTTP_FIELDS_MAX) {
        give_up(h, s, NEXUS__H2C_INVALID);
    } else if (s->replied) {
        add_field(&s->trailers, name, name_len, value, len);
    } else if (name_len == 7 && memcmp(name, ":status", 7) == 0) {
        nexus__buf_text(&s->head, "HTTP/1.1 ");
        nexus__buf_append(&s->head, value, len);
        nexus__buf_text(&s->head, " \r\n");
    } else {
        add_field(&s->head, name, name_len, value, len);
    }
    return 0;
}

static void got_head(nexus__h2c_stream *s)
{
    static const size_t status_at = 9;
    if (s->replied)
        return; /* these were trailers */
    bool interim = s->head.len > s->head_at + status_at && s->head.p[s->head_at + status_at] == '1';
    nexus__buf_append(&s->head, "\r\n", 2);
    s->head_at = s->head.len;
    s->replied = !interim;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    nexus__h2c *h = user_data;
    nexus__h2c_stream *s = stream_of(h, frame->hd.stream_id);
    (void)session;
    if (frame->hd.type == NGHTTP2_GOAWAY)
        h->goaway = true;
    if (frame->hd.type == NGHTTP2_SETTINGS && !(frame->hd.flags & NGHTTP2_FLAG_ACK))
        h->settled = true;
    if (!s || (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA))
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS)
        got_head(s);
    s->ended |= (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    has_news(h, s);
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *user_data)
{
    nexus__h2c *h = user_data;
    nexus__h2c_stream *s = stream_of(h, id);
    (void)flags;
    nghttp2_session_consume_connection(session, n);
    if (!s)
        return 0;
    s->unread += n;
    has_news(h, s);
    if (s->spill.len == 0 && s->piece_count < NEXUS__H2C_PIECES)
        s->pieces[s->piece_count++] = (struct iovec){(void *)(uintptr_t)p, n};
    else
        nexus__buf_append(&s->spill, p, n);
    return 0;
}

static enum nexus__h2c_loss loss_of(uint32_t code)
{
    return code == NGHTTP2_REFUSED_STREAM   ? NEXUS__H2C_REFUSED
           : code == NGHTTP2_PROTOCOL_ERROR ? NEXUS__H2C_INVALID
                                            : NEXUS__H2C_RESET;
}

static int on_not_sent(nghttp2_session *session, const nghttp2_frame *frame, int error, void *user_data)
{
    nexus__h2c *h = user_data;
    nexus__h2c_stream *s = stream_of(h, frame->hd.stream_id);
    (void)session;
    (void)error;
    if (s && frame->hd.type == NGHTTP2_HEADERS && !s->dead)
        give_up(h, s, NEXUS__H2C_REFUSED); /* the server said goodbye before it left */
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user_data)
{
    nexus__h2c *h = user_data;
    nexus__h2c_stream *s = stream_of(h, id);
    (void)session;
    h->open--;
    if (!s)
        return 0;
    s->session = NULL;
    if (!s->ended && !s->dead)
        give_up(h, s, loss_of(code));
    return 0;
}

/* --- telling ------------------------------------------------------------------------------------------------------ */

static void tell_body(nexus__h2c *h, nexus__h2c_stream *s, nexus__h2c_news *news)
{
    struct iovec spill;
    bool end = s->ended;
    if (s->spill.len > 0 && s->piece_count > 0) { /* what has pieces first */
        news->end = false;
        h->ops->news(s, news);
        if (h->telling != s)
            return;
        news->head = (nexus_slice){0};
        s->piece_count = 0;
    }
    if (s->spill.len > 0) {
        spill = (struct iovec){s->spill.p, s->spill.len};
        news->pieces = &spill;
        news->piece_count = 1;
    }
    news->end = end;
    news->trailers = nexus__buf_slice(&s->trailers);
    h->ops->news(s, news);
    if (h->telling != s)
        return;
    s->piece_count = 0;
    nexus__buf_clear(&s->spill);
    nexus__buf_clear(&s->head);
    s->head_at = 0;
}

static bool whole(const nexus__h2c_stream *s)
{
    return !s->head.status && !s->spill.status && !s->trailers.status;
}

static void tell(nexus__h2c *h, nexus__h2c_stream *s)
{
    nexus__h2c_news news = {.head = nexus__buf_slice(&s->head), .pieces = s->pieces, .piece_count = s->piece_count};
    h->telling = s;
    nexus__list_remove(&s->news);
    if (!whole(s)) { /* too big, or out of memory */
        s->dead = true;
        s->loss = NEXUS__H2C_INVALID;
    } else if (!s->dead && s->head_at == s->head.len &&
               (s->head.len > 0 || s->piece_count > 0 || s->spill.len > 0 || s->ended)) {
        tell_body(h, s, &news);
    }
    if (h->telling == s && s->dead) {
        h->ops->lost(s, s->loss);
    } else if (h->telling == s && s->full && s->upload.len - s->upload_at <= NEXUS__H2C_UPLOAD_MAX / 2) {
        s->full = false;
        h->ops->writable(s);
    }
    h->telling = NULL;
}

static void tell_all(nexus__h2c *h)
{
    while (!nexus__list_empty(&h->news))
        tell(h, NEXUS__CONTAINER(h->news.next, nexus__h2c_stream, news));
}

/* --- sending ------------------------------------------------------------------------------------------------------ */

/* Has nghttp2 write into out, as long as the socket keeps up. */
static void pump(nexus__h2c *h)
{
    const uint8_t *p;
    while (h->out.len < OUT_MAX) {
        ssize_t n = nghttp2_session_mem_send(h->session, &p);
        if (n <= 0)
            return;
        nexus__buf_append(&h->out, p, (size_t)n);
    }
}

nexus__buf *nexus__h2c_output(nexus__h2c *h)
{
    pump(h);
    return &h->out;
}

static nghttp2_nv nv_of(nexus_slice name, nexus_slice value)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name.p, (uint8_t *)(uintptr_t)value.p, name.n, value.n,
                        nexus__h2_field_flags(name)};
}

/* The next line without its end; false when there is none, or the empty one. */
static bool next_line(nexus_slice *rest, nexus_slice *line)
{
    size_t n = nexus__slice_find(*rest, '\r');
    if (n == 0 || n + 1 >= rest->n)
        return false;
    *line = nexus__slice(rest->p, n);
    *rest = nexus__slice_from(*rest, n + 2);
    return true;
}

/* A field out of a line; its name becomes lower case in place. */
static bool field_of(nexus_slice line, nexus_slice *name, nexus_slice *value)
{
    size_t colon = nexus__slice_find(line, ':');
    char *text = (char *)(uintptr_t)line.p;
    if (colon == 0 || colon >= line.n)
        return false;
    for (size_t i = 0; i < colon; i++)
        text[i] = nexus__ascii_lower(text[i]);
    *name = nexus__slice(text, colon);
    *value = nexus__slice_trim(nexus__slice_from(line, colon + 1));
    return true;
}

static bool send_trailers(nexus__h2c *h, nexus__h2c_stream *s)
{
    nghttp2_nv nv[TRAILERS_NV_MAX];
    nexus_slice rest = nexus__buf_slice(&s->upload_trailers), line, name, value;
    size_t n = 0;
    while (n < TRAILERS_NV_MAX && next_line(&rest, &line) && field_of(line, &name, &value))
        nv[n++] = nv_of(name, value);
    return n > 0 && nghttp2_submit_trailer(h->session, s->id, nv, n) == 0;
}

static ssize_t read_upload(nghttp2_session *session, int32_t id, uint8_t *out, size_t cap, uint32_t *flags,
                           nghttp2_data_source *source, void *user_data)
{
    nexus__h2c *h = user_data;
    nexus__h2c_stream *s = stream_of(h, id);
    (void)session;
    (void)source;
    if (!s)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    size_t left = s->upload.len - s->upload_at, n = left < cap ? left : cap;
    if (n > 0)
        memcpy(out, s->upload.p + s->upload_at, n);
    s->upload_at += n;
    if (s->upload_at == s->upload.len) {
        nexus__buf_clear(&s->upload);
        s->upload_at = 0;
    }
    if (s->full)
        has_news(h, s);
    if (s->uploaded && s->upload.len == 0) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (s->upload_trailers.len > 0 && send_trailers(h, s))
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    } else if (n == 0) {
        s->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    return (ssize_t)n;
}

static void go_on(nexus__h2c_stream *s)
{
    if (!s->deferred)
        return;
    s->deferred = false;
    nghttp2_session_resume_data(s->session->session, s->id);
}

size_t nexus__h2c_write(nexus__h2c_stream *s, const void *p, size_t n)
{
    if (!s->session || s->uploaded)
        return n; /* nobody wants it any more */
    if (s->upload_at > 0) {
        nexus__buf_consume(&s->upload, s->upload_at);
        s->upload_at = 0;
    }
    size_t room = s->upload.len < NEXUS__H2C_UPLOAD_MAX ? NEXUS__H2C_UPLOAD_MAX - s->upload.len : 0;
    size_t taken = n < room ? n : room;
    nexus__buf_append(&s->upload, p, taken);
    s->full = taken < n;
    go_on(s);
    return taken;
}

void nexus__h2c_write_all(nexus__h2c_stream *s, const void *p, size_t n)
{
    nexus__buf_append(&s->upload, p, n);
    if (s->session)
        go_on(s);
}

void nexus__h2c_end(nexus__h2c_stream *s, nexus_slice trailers)
{
    nexus__buf_append(&s->upload_trailers, trailers.p, trailers.n);
    s->uploaded = true;
    if (s->session)
        go_on(s);
}

void nexus__h2c_taken(nexus__h2c_stream *s)
{
    if (s->session && s->unread > 0)
        nghttp2_session_consume_stream(s->session->session, s->id, s->unread);
    s->unread = 0;
}

/* --- requests ----------------------------------------------------------------------------------------------------- */

/* Fields that are of a connection of HTTP/1.1, or of the framing there. */
static bool stays_behind(nexus_slice name)
{
    return nexus__slice_eq(name, NEXUS_S("connection")) || nexus__slice_eq(name, NEXUS_S("transfer-encoding")) ||
           nexus__slice_eq(name, NEXUS_S("upgrade")) || nexus__slice_eq(name, NEXUS_S("keep-alive")) ||
           nexus__slice_eq(name, NEXUS_S("proxy-connection"));
}

static bool request_line(nexus_slice line, nghttp2_nv *nv)
{
    size_t first = nexus__slice_find(line, ' ');
    nexus_slice rest = nexus__slice_from(line, first + 1);
    size_t second = nexus__slice_find(rest, ' ');
    if (first == 0 || first >= line.n || second == 0 || second >= rest.n)
        return false;
    nv[0] = nv_of(NEXUS_S(":method"), nexus__slice(line.p, first));
    nv[1] = nv_of(NEXUS_S(":path"), nexus__slice(rest.p, second));
    return true;
}

/* How many; 0 = not a request's head. */
static size_t fields_of(const nexus__h2c *h, char *head, size_t n, nghttp2_nv nv[static NV_MAX])
{
    nexus_slice rest = nexus__slice(head, n), line;
    size_t count = 4;
    if (!next_line(&rest, &line) || !request_line(line, nv))
        return 0;
    nv[2] = nv_of(NEXUS_S(":scheme"), h->secure ? NEXUS_S("https") : NEXUS_S("http"));
    nv[3] = nv_of(NEXUS_S(":authority"), NEXUS_S(""));
    while (next_line(&rest, &line)) {
        nexus_slice name, value;
        if (count == NV_MAX || !field_of(line, &name, &value))
            return 0;
        if (nexus__slice_eq(name, NEXUS_S("host")))
            nv[3] = nv_of(NEXUS_S(":authority"), value);
        else if (!stays_behind(name))
            nv[count++] = nv_of(name, value);
    }
    return count;
}

nexus_status nexus__h2c_request(nexus__h2c *h, nexus__h2c_stream *s, char *head, size_t n, bool end)
{
    nghttp2_nv nv[NV_MAX];
    nghttp2_data_provider body = {.read_callback = read_upload};
    size_t count = fields_of(h, head, n, nv);
    if (count == 0)
        return nexus__fail(NEXUS_EINVAL, "not the head of a request");
    int32_t id = nghttp2_submit_request(h->session, NULL, nv, count, end ? NULL : &body, s);
    if (id < 0)
        return id == NGHTTP2_ERR_NOMEM ? nexus__nomem() : nexus__fail(NEXUS_ECLOSED, "HTTP/2: %s", nghttp2_strerror(id));
    s->session = h;
    s->id = h->last_id = id;
    s->uploaded = end;
    nexus__list_push(&h->open_list, &s->node);
    h->open++;
    return NEXUS_OK;
}

void nexus__h2c_stream_init(nexus__h2c_stream *s, const nexus_alloc *alloc)
{
    memset(s, 0, sizeof *s);
    nexus__list_init(&s->news);
    nexus__list_init(&s->node);
    nexus__buf_init(&s->head, alloc, 2 * HEAD_MAX);
    nexus__buf_init(&s->trailers, alloc, TRAILERS_MAX);
    nexus__buf_init(&s->spill, alloc, 0);
    nexus__buf_init(&s->upload, alloc, 0);
    nexus__buf_init(&s->upload_trailers, alloc, TRAILERS_MAX);
}

static nexus__buf emptied(nexus__buf b)
{
    if (b.cap > KEPT_MAX)
        nexus__buf_free(&b);
    nexus__buf_clear(&b);
    return b;
}

void nexus__h2c_stream_reuse(nexus__h2c_stream *s)
{
    *s = (nexus__h2c_stream){.head = emptied(s->head),
                             .spill = emptied(s->spill),
                             .trailers = emptied(s->trailers),
                             .upload = emptied(s->upload),
                             .upload_trailers = emptied(s->upload_trailers)};
    nexus__list_init(&s->news);
    nexus__list_init(&s->node);
}

static void detach(nexus__h2c *h, nexus__h2c_stream *s)
{
    nexus__list_remove(&s->news);
    nexus__list_remove(&s->node);
    if (h->telling == s)
        h->telling = NULL;
}

void nexus__h2c_stream_close(nexus__h2c *h, nexus__h2c_stream *s)
{
    detach(h, s);
    if (s->session) {
        nghttp2_session_set_stream_user_data(h->session, s->id, NULL);
        nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_CANCEL);
        s->session = NULL;
    }
}

void nexus__h2c_stream_free(nexus__h2c_stream *s)
{
    nexus__buf_free(&s->head);
    nexus__buf_free(&s->trailers);
    nexus__buf_free(&s->spill);
    nexus__buf_free(&s->upload);
    nexus__buf_free(&s->upload_trailers);
}

/* --- the connection ----------------------------------------------------------------------------------------------- */

bool nexus__h2c_draining(const nexus__h2c *h)
{
    return h->goaway || h->last_id >= LAST_ID || !nghttp2_session_check_request_allowed(h->session);
}

uint32_t nexus__h2c_open_streams(const nexus__h2c *h)
{
    return h->open;
}

bool nexus__h2c_settled(const nexus__h2c *h)
{
    return h->settled;
}

uint32_t nexus__h2c_room(const nexus__h2c *h)
{
    uint32_t max = nghttp2_session_get_remote_settings(h->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    if (max > STREAMS_MAX)
        max = STREAMS_MAX;
    if (!h->settled)
        max = 1;
    return nexus__h2c_draining(h) || h->open >= max ? 0 : max - h->open;
}

bool nexus__h2c_receive(nexus__h2c *h, const char *p, size_t n)
{
    ssize_t used = nghttp2_session_mem_recv(h->session, (const uint8_t *)p, n);
    pump(h); /* what broke the rules is reset by that, and told below */
    tell_all(h);
    bool over = !nghttp2_session_want_read(h->session) && !nghttp2_session_want_write(h->session);
    if (used >= 0 && (size_t)used == n && !over && !h->out.status)
        return true;
    nexus__h2c_fail(h);
    return false;
}

void nexus__h2c_fail(nexus__h2c *h)
{
    h->goaway = true;
    for (nexus__list *n = h->open_list.next; n != &h->open_list; n = n->next) {
        nexus__h2c_stream *s = NEXUS__CONTAINER(n, nexus__h2c_stream, node);
        if (!s->ended && !s->dead)
            give_up(h, s, NEXUS__H2C_CLOSED);
    }
    tell_all(h);
}

void nexus__h2c_tell(nexus__h2c *h)
{
    tell_all(h);
}

bool nexus__h2c_has_news(const nexus__h2c *h)
{
    return !nexus__list_empty(&h->news);
}

static nexus_status set_up(nexus__h2c *h)
{
    static const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, NEXUS__H2C_STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HEAD_MAX},
    };
    nghttp2_mem mem = {(void *)(uintptr_t)h->alloc, mem_get, mem_free, mem_zeroed, mem_again};
    nghttp2_session_callbacks *calls = NULL;
    nghttp2_option *option = NULL;
    int error = nghttp2_session_callbacks_new(&calls);
    error = error ? error : nghttp2_option_new(&option);
    if (!error) {
        nghttp2_session_callbacks_set_on_begin_headers_callback(calls, on_begin_headers);
        nghttp2_session_callbacks_set_on_header_callback(calls, on_header);
        nghttp2_session_callbacks_set_on_frame_recv_callback(calls, on_frame);
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(calls, on_data);
        nghttp2_session_callbacks_set_on_stream_close_callback(calls, on_stream_close);
        nghttp2_session_callbacks_set_on_frame_not_send_callback(calls, on_not_sent);
        nghttp2_option_set_no_auto_window_update(option, 1);
        error = nghttp2_session_client_new3(&h->session, calls, h, option, &mem);
    }
    nghttp2_session_callbacks_del(calls);
    nghttp2_option_del(option);
    if (error)
        return nexus__nomem();
    error = nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings, sizeof settings / sizeof *settings);
    error = error ? error : nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0, NEXUS__H2C_WINDOW);
    return error ? nexus__nomem() : NEXUS_OK;
}

nexus_status nexus__h2c_new(nexus__h2c **out, const nexus_alloc *alloc, const nexus__h2c_ops *ops, bool secure)
{
    nexus__h2c *h = nexus__calloc(alloc, 1, sizeof *h);
    if (!h)
        return nexus__nomem();
    h->alloc = alloc;
    h->ops = ops;
    h->secure = secure;
    nexus__list_init(&h->news);
    nexus__list_init(&h->open_list);
    nexus__buf_init(&h->out, alloc, 0);
    nexus_status status = set_up(h);
    if (status)
        nexus__h2c_free(h);
    else
        *out = h;
    return status;
}

void nexus__h2c_free(nexus__h2c *h)
{
    if (!h)
        return;
    nghttp2_session_del(h->session);
    nexus__buf_free(&h->out);
    nexus__free(h->alloc, h);
}
