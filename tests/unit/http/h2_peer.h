/* A client session of nghttp2 on a socket, for tests of the server's side of HTTP/2. */
#ifndef TEST_HTTP_H2_PEER_H
#define TEST_HTTP_H2_PEER_H

#include <nghttp2/nghttp2.h>

#include "peer.h"

typedef struct h2_reply {
    int status, interims;
    char body[65536], trailers[512], fields[2048];
    size_t body_len, all; /* body holds the beginning of all bytes */
    bool headed, ended, closed;
    uint32_t code; /* of the reset */
} h2_reply;

typedef struct h2_peer {
    nghttp2_session *session;
    int fd;
    size_t step; /* bytes sent at a time; 0 = all */
    h2_reply replies[64];
    int goaways;
    int32_t last_goaway;
    bool gone;
} h2_peer;

static inline h2_reply *h2_reply_of(h2_peer *p, int32_t id)
{
    return &p->replies[(id - 1) / 2 % 64];
}

static inline int h2_peer_header(nghttp2_session *s, const nghttp2_frame *f, const uint8_t *name, size_t n,
                                 const uint8_t *value, size_t m, uint8_t flags, void *ud)
{
    h2_reply *r = h2_reply_of(ud, f->hd.stream_id);
    (void)s, (void)flags;
    char *to = r->headed ? r->trailers : r->fields;
    size_t room = to == r->trailers ? sizeof r->trailers : sizeof r->fields;
    if (n == 7 && memcmp(name, ":status", 7) == 0) {
        r->interims += r->status >= 100 && r->status < 200;
        r->status = atoi((const char *)value);
        return 0;
    }
    snprintf(to + strlen(to), room - strlen(to), "%.*s=%.*s;", (int)n, name, (int)m, value);
    return 0;
}

static inline int h2_peer_data(nghttp2_session *s, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *ud)
{
    h2_reply *r = h2_reply_of(ud, id);
    (void)s, (void)flags;
    for (size_t i = 0; i < n && r->body_len < sizeof r->body - 1; i++)
        r->body[r->body_len++] = (char)p[i];
    r->all += n;
    return 0;
}

static inline int h2_peer_frame(nghttp2_session *s, const nghttp2_frame *f, void *ud)
{
    h2_peer *p = ud;
    (void)s;
    if (f->hd.type == NGHTTP2_GOAWAY) {
        p->goaways++;
        p->last_goaway = f->goaway.last_stream_id;
    }
    if (f->hd.type == NGHTTP2_HEADERS)
        h2_reply_of(p, f->hd.stream_id)->headed |= h2_reply_of(p, f->hd.stream_id)->status >= 200;
    if ((f->hd.type == NGHTTP2_DATA || f->hd.type == NGHTTP2_HEADERS) && f->hd.flags & NGHTTP2_FLAG_END_STREAM)
        h2_reply_of(p, f->hd.stream_id)->ended = true;
    return 0;
}

static inline int h2_peer_closed(nghttp2_session *s, int32_t id, uint32_t code, void *ud)
{
    (void)s;
    h2_reply_of(ud, id)->closed = true;
    h2_reply_of(ud, id)->code = code;
    return 0;
}

/* window: of each stream, 0 = the usual. */
static inline void h2_peer_open(h2_peer *p, const peer *server, size_t step, uint32_t window)
{
    memset(p, 0, sizeof *p);
    p->fd = peer_connect(server);
    p->step = step;
    nghttp2_session_callbacks *calls;
    nghttp2_session_callbacks_new(&calls);
    nghttp2_session_callbacks_set_on_header_callback(calls, h2_peer_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(calls, h2_peer_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(calls, h2_peer_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(calls, h2_peer_closed);
    nghttp2_option *option;
    nghttp2_option_new(&option);
    nghttp2_option_set_no_auto_window_update(option, window != 0);
    cr_assert_eq(nghttp2_session_client_new2(&p->session, calls, p, option), 0);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(calls);
    nghttp2_settings_entry settings = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window ? window : 65535};
    nghttp2_submit_settings(p->session, NGHTTP2_FLAG_NONE, &settings, 1);
}

static inline void h2_peer_close(h2_peer *p)
{
    nghttp2_session_del(p->session);
    close(p->fd);
}

static inline void h2_peer_flush(h2_peer *p)
{
    const uint8_t *data;
    ssize_t n;
    while ((n = nghttp2_session_mem_send(p->session, &data)) > 0)
        for (size_t at = 0; at < (size_t)n;) {
            size_t k = p->step && p->step < (size_t)n - at ? p->step : (size_t)n - at;
            peer_send(p->fd, data + at, k);
            at += k;
        }
}

/* Sends what there is to send, then reads once; false: the connection has ended. */
static inline bool h2_peer_turn(h2_peer *p)
{
    uint8_t in[16384];
    h2_peer_flush(p);
    ssize_t n = recv(p->fd, in, sizeof in, 0);
    p->gone = n <= 0;
    if (n > 0)
        cr_assert_eq(nghttp2_session_mem_recv(p->session, in, (size_t)n), n);
    return n > 0;
}

static inline nghttp2_nv h2_nv(const char *name, const char *value)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name), strlen(value), 0};
}

typedef struct h2_upload {
    size_t left;
    const char *trailer; /* sent as x-sum after the body; NULL = none */
    bool pause;          /* no more is given for now */
} h2_upload;

static inline ssize_t h2_peer_upload(nghttp2_session *s, int32_t id, uint8_t *buf, size_t length, uint32_t *flags,
                                     nghttp2_data_source *source, void *ud)
{
    h2_upload *u = source->ptr;
    (void)ud;
    if (u->pause)
        return NGHTTP2_ERR_DEFERRED;
    size_t n = u->left < length ? u->left : length;
    memset(buf, 'u', n);
    u->left -= n;
    if (!u->left) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (u->trailer) {
            nghttp2_nv nv = h2_nv("x-sum", u->trailer);
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            cr_assert_eq(nghttp2_submit_trailer(s, id, &nv, 1), 0);
        }
    }
    return (ssize_t)n;
}

/* upload NULL = without a body; extra_name NULL = no further field. */
static inline int32_t h2_peer_ask(h2_peer *p, const char *method, const char *path, h2_upload *upload,
                                  const char *extra_name, const char *extra)
{
    nghttp2_nv nv[5] = {h2_nv(":method", method), h2_nv(":scheme", "http"), h2_nv(":path", path),
                        h2_nv(":authority", "a.test"), {0}};
    if (extra_name)
        nv[4] = h2_nv(extra_name, extra);
    nghttp2_data_provider provider = {.source.ptr = upload, .read_callback = h2_peer_upload};
    int32_t id = nghttp2_submit_request(p->session, NULL, nv, extra_name ? 5 : 4, upload ? &provider : NULL, NULL);
    cr_assert_gt(id, 0);
    memset(h2_reply_of(p, id), 0, sizeof(h2_reply));
    return id;
}

/* Its reply, once its stream is closed (or the connection). */
static inline h2_reply *h2_peer_wait(h2_peer *p, int32_t id)
{
    while (!h2_reply_of(p, id)->closed && h2_peer_turn(p)) {
    }
    return h2_reply_of(p, id);
}

#endif
