/* http/: the client side of HTTP/2, against a server session of nghttp2 on the other end of two byte buffers. */
#include <criterion/criterion.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>

#include "http/h2_client.h"

typedef struct told {
    nexus__h2c_stream stream;
    char head[4096], body[200000], trailers[512];
    size_t head_len, body_len;
    int ends, losses, writables, news;
    enum nexus__h2c_loss how;
    bool hold; /* does not take what it is told */
} told;

typedef struct world {
    nexus__h2c *client;
    nghttp2_session *server;
    char seen[4096]; /* fields of requests */
    size_t uploaded;
    int requests, ended, resets;
    int32_t last;
} world;

static world *here; /* the test's: callbacks of the streams find it */

/* --- the server --------------------------------------------------------------------------------------------------- */

static int server_header(nghttp2_session *s, const nghttp2_frame *f, const uint8_t *name, size_t n,
                         const uint8_t *value, size_t m, uint8_t flags, void *ud)
{
    world *w = ud;
    (void)s, (void)f, (void)flags;
    snprintf(w->seen + strlen(w->seen), sizeof w->seen - strlen(w->seen), "%.*s=%.*s;", (int)n, name, (int)m, value);
    return 0;
}

static int server_frame(nghttp2_session *s, const nghttp2_frame *f, void *ud)
{
    world *w = ud;
    (void)s;
    if (f->hd.type == NGHTTP2_HEADERS) {
        w->requests++;
        w->last = f->hd.stream_id;
    }
    w->ended += f->hd.type != NGHTTP2_SETTINGS && f->hd.type != NGHTTP2_PING && (f->hd.flags & NGHTTP2_FLAG_END_STREAM);
    w->resets += f->hd.type == NGHTTP2_RST_STREAM;
    return 0;
}

static int server_data(nghttp2_session *s, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *ud)
{
    (void)s, (void)flags, (void)id, (void)p;
    ((world *)ud)->uploaded += n;
    return 0;
}

typedef struct source {
    size_t left;
    bool trailers;
    int32_t id;
} source;

static ssize_t server_read(nghttp2_session *s, int32_t id, uint8_t *out, size_t cap, uint32_t *flags,
                           nghttp2_data_source *from, void *ud)
{
    source *src = from->ptr;
    (void)ud;
    size_t n = src->left < cap ? src->left : cap;
    memset(out, 'x', n);
    src->left -= n;
    if (src->left == 0) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (src->trailers) {
            nghttp2_nv nv[] = {{(uint8_t *)"grpc-status", (uint8_t *)"0", 11, 1, 0}};
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            nghttp2_submit_trailer(s, id, nv, 1);
        }
    }
    return (ssize_t)n;
}

/* --- the client's ends -------------------------------------------------------------------------------------------- */

static void on_news(nexus__h2c_stream *stream, const nexus__h2c_news *news)
{
    told *t = NEXUS__CONTAINER(stream, told, stream);
    t->news++;
    cr_assert_leq(t->head_len + news->head.n, sizeof t->head);
    memcpy(t->head + t->head_len, news->head.p ? news->head.p : "", news->head.n);
    t->head_len += news->head.n;
    for (size_t i = 0; i < news->piece_count; i++) {
        cr_assert_leq(t->body_len + news->pieces[i].iov_len, sizeof t->body);
        memcpy(t->body + t->body_len, news->pieces[i].iov_base, news->pieces[i].iov_len);
        t->body_len += news->pieces[i].iov_len;
    }
    if (news->end)
        snprintf(t->trailers, sizeof t->trailers, "%.*s", (int)news->trailers.n,
                 news->trailers.p ? news->trailers.p : "");
    t->ends += news->end;
    if (!t->hold)
        nexus__h2c_taken(stream);
    if (news->end)
        nexus__h2c_stream_close(here->client, stream);
}

static void on_lost(nexus__h2c_stream *stream, enum nexus__h2c_loss how)
{
    told *t = NEXUS__CONTAINER(stream, told, stream);
    t->losses++;
    t->how = how;
    nexus__h2c_stream_close(here->client, stream);
}

static void on_writable(nexus__h2c_stream *stream)
{
    NEXUS__CONTAINER(stream, told, stream)->writables++;
}

static const nexus__h2c_ops ops = {on_news, on_lost, on_writable};

static void open_world(world *w)
{
    nghttp2_session_callbacks *calls;
    memset(w, 0, sizeof *w);
    here = w;
    cr_assert_eq(nexus__h2c_new(&w->client, NULL, &ops, true), NEXUS_OK);
    nghttp2_session_callbacks_new(&calls);
    nghttp2_session_callbacks_set_on_header_callback(calls, server_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(calls, server_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(calls, server_data);
    nghttp2_session_server_new(&w->server, calls, w);
    nghttp2_session_callbacks_del(calls);
    nghttp2_settings_entry max = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 3};
    nghttp2_submit_settings(w->server, 0, &max, 1);
}

static void close_world(world *w)
{
    nexus__h2c_free(w->client);
    nghttp2_session_del(w->server);
}

/* Carries bytes both ways, step at a time, until both are silent. False: the client gave the connection up. */
static bool talk(world *w, size_t step)
{
    for (;;) {
        const uint8_t *p;
        nexus__buf *out = nexus__h2c_output(w->client);
        size_t sent = out->len;
        nghttp2_session_mem_recv(w->server, (const uint8_t *)out->p, out->len);
        nexus__buf_consume(out, out->len);
        nexus__h2c_tell(w->client);
        ssize_t n = nghttp2_session_mem_send(w->server, &p);
        if (n <= 0 && sent == 0)
            return true;
        char *copy = n > 0 ? malloc((size_t)n) : NULL;
        if (copy)
            memcpy(copy, p, (size_t)n);
        for (size_t i = 0; n > 0 && i < (size_t)n; i += step)
            if (!nexus__h2c_receive(w->client, copy + i, (size_t)n - i < step ? (size_t)n - i : step)) {
                free(copy);
                return false;
            }
        free(copy);
    }
}

static told *ask(world *w, const char *text, bool end)
{
    char *head = strdup(text);
    told *t = calloc(1, sizeof *t);
    nexus__h2c_stream_init(&t->stream, NULL);
    cr_assert_eq(nexus__h2c_request(w->client, &t->stream, head, strlen(head), end), NEXUS_OK);
    free(head);
    return t;
}

static void done(world *w, told *t)
{
    nexus__h2c_stream_close(w->client, &t->stream);
    nexus__h2c_stream_free(&t->stream);
    free(t);
}

static void answer(world *w, int32_t id, const char *status, source *src)
{
    nghttp2_nv nv[] = {{(uint8_t *)":status", (uint8_t *)(uintptr_t)status, 7, 3, 0},
                       {(uint8_t *)"x-a", (uint8_t *)"1", 3, 1, 0}};
    nghttp2_data_provider body = {.source.ptr = src, .read_callback = server_read};
    nghttp2_submit_response(w->server, id, nv, 2, src ? &body : NULL);
}

#define GET "GET /a?b HTTP/1.1\r\nHost: api.example.com\r\nX-Upper: V\r\nConnection: close\r\nTE: trailers\r\n\r\n"

Test(h2_client, a_request_and_its_answer_in_text_form)
{
    world w;
    for (size_t step = 1; step <= 65536; step *= 256) {
        open_world(&w);
        told *t = ask(&w, GET, true);
        cr_assert(talk(&w, step));
        cr_expect_str_eq(w.seen,
                         ":method=GET;:path=/a?b;:scheme=https;:authority=api.example.com;x-upper=V;te=trailers;");
        cr_expect_eq(w.ended, 1);
        source src = {.left = 5, .trailers = true};
        answer(&w, w.last, "200", &src);
        cr_assert(talk(&w, step));
        cr_expect_eq(strncmp(t->head, "HTTP/1.1 200 \r\nx-a: 1\r\n\r\n", t->head_len), 0);
        cr_expect_eq(t->body_len, 5);
        cr_expect_str_eq(t->trailers, "grpc-status: 0\r\n");
        cr_expect_eq(t->ends, 1);
        cr_expect_eq(t->losses, 0);
        cr_expect_eq(nexus__h2c_open_streams(w.client), 0);
        done(&w, t);
        close_world(&w);
    }
}

Test(h2_client, a_small_answer_is_told_at_once)
{
    world w;
    open_world(&w);
    told *t = ask(&w, GET, true);
    cr_assert(talk(&w, 65536));
    source src = {.left = 5};
    answer(&w, w.last, "200", &src);
    char all[4096];
    size_t n = 0;
    const uint8_t *p;
    for (ssize_t k; (k = nghttp2_session_mem_send(w.server, &p)) > 0; n += (size_t)k)
        memcpy(all + n, p, (size_t)k);
    cr_assert(nexus__h2c_receive(w.client, all, n));
    cr_expect_eq(t->news, 1);
    cr_expect_eq(t->ends, 1);
    done(&w, t);
    close_world(&w);
}

Test(h2_client, interim_heads_come_before_the_answer)
{
    world w;
    open_world(&w);
    told *t = ask(&w, GET, true);
    cr_assert(talk(&w, 65536));
    nghttp2_nv early = {(uint8_t *)":status", (uint8_t *)"103", 7, 3, 0};
    nghttp2_submit_headers(w.server, 0, w.last, NULL, &early, 1, NULL);
    answer(&w, w.last, "204", NULL);
    cr_assert(talk(&w, 65536));
    cr_expect_eq(strncmp(t->head, "HTTP/1.1 103 \r\n\r\nHTTP/1.1 204 \r\nx-a: 1\r\n\r\n", t->head_len), 0);
    cr_expect_eq(t->ends, 1);
    done(&w, t);
    close_world(&w);
}

Test(h2_client, a_reader_that_takes_nothing_stops_its_stream_alone)
{
    world w;
    open_world(&w);
    told *slow = ask(&w, GET, true), *fast = ask(&w, GET, true);
    slow->hold = true;
    cr_assert(talk(&w, 65536));
    source a = {.left = 150000}, b = {.left = 150000};
    answer(&w, w.last - 2, "200", &a);
    answer(&w, w.last, "200", &b);
    cr_assert(talk(&w, 65536));
    cr_expect_eq(slow->body_len, NEXUS__H2C_STREAM_WINDOW);
    cr_expect_eq(fast->body_len, 150000);
    cr_expect_eq(fast->ends, 1);
    slow->hold = false;
    nexus__h2c_taken(&slow->stream);
    cr_assert(talk(&w, 65536));
    cr_expect_eq(slow->body_len, 150000);
    cr_expect_eq(slow->ends, 1);
    done(&w, slow);
    done(&w, fast);
    close_world(&w);
}

Test(h2_client, uploads_wait_for_room)
{
    world w;
    static char bytes[200000];
    open_world(&w);
    told *t = ask(&w, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", false);
    size_t at = 0;
    while (at < sizeof bytes) {
        size_t n = nexus__h2c_write(&t->stream, bytes + at, sizeof bytes - at);
        at += n;
        cr_assert_leq(t->stream.upload.len, NEXUS__H2C_UPLOAD_MAX);
        int before = t->writables;
        cr_assert(talk(&w, 65536));
        cr_assert(at == sizeof bytes || t->writables > before);
    }
    nexus__h2c_end(&t->stream, NEXUS_S("X-Sum: 1\r\n"));
    cr_assert(talk(&w, 65536));
    cr_expect_eq(w.uploaded, sizeof bytes);
    cr_expect_not_null(strstr(w.seen, "x-sum=1;"));
    cr_expect_eq(w.ended, 1);
    answer(&w, w.last, "200", NULL);
    cr_assert(talk(&w, 65536));
    cr_expect_eq(t->ends, 1);
    done(&w, t);
    close_world(&w);
}

Test(h2_client, refused_reset_and_goodbye)
{
    world w;
    open_world(&w);
    cr_expect_eq(nexus__h2c_room(w.client), 1, "it has not said how many");
    cr_assert(talk(&w, 65536));
    cr_expect_eq(nexus__h2c_room(w.client), 3);
    told *a = ask(&w, GET, true), *b = ask(&w, GET, true), *c = ask(&w, GET, true);
    cr_expect_eq(nexus__h2c_room(w.client), 0);
    cr_assert(talk(&w, 65536));
    nghttp2_submit_rst_stream(w.server, 0, 1, NGHTTP2_REFUSED_STREAM);
    nghttp2_submit_rst_stream(w.server, 0, 3, NGHTTP2_INTERNAL_ERROR);
    cr_assert(talk(&w, 65536));
    cr_expect(a->losses == 1 && a->how == NEXUS__H2C_REFUSED);
    cr_expect(b->losses == 1 && b->how == NEXUS__H2C_RESET);
    nghttp2_submit_goaway(w.server, 0, 3, NGHTTP2_NO_ERROR, NULL, 0); /* the third was not begun with */
    cr_assert_not(talk(&w, 65536));                                   /* nothing is left to do here */
    cr_expect(c->losses == 1 && c->how == NEXUS__H2C_REFUSED);
    cr_expect(nexus__h2c_draining(w.client));
    cr_expect_eq(nexus__h2c_room(w.client), 0);
    done(&w, a);
    done(&w, b);
    done(&w, c);
    close_world(&w);
}

Test(h2_client, a_broken_connection_is_told_to_every_stream)
{
    world w;
    open_world(&w);
    told *a = ask(&w, GET, true), *b = ask(&w, GET, true);
    cr_assert(talk(&w, 65536));
    cr_expect_not(nexus__h2c_receive(w.client, "HTTP/1.1 400 Bad Request\r\n\r\n", 28));
    cr_expect(a->losses == 1 && a->how == NEXUS__H2C_CLOSED);
    cr_expect(b->losses == 1 && b->how == NEXUS__H2C_CLOSED);
    done(&w, a);
    done(&w, b);
    close_world(&w);
}

Test(h2_client, an_answer_that_breaks_the_rules_loses_its_stream_alone)
{
    static const struct {
        const char *name, *value;
    } bad[] = {{"transfer-encoding", "chunked"}, {"connection", "close"}, {"content-length", "3"}};
    world w;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        open_world(&w);
        told *t = ask(&w, GET, true), *good = ask(&w, GET, true);
        cr_assert(talk(&w, 65536));
        nghttp2_nv nv[] = {{(uint8_t *)":status", (uint8_t *)"200", 7, 3, 0},
                           {(uint8_t *)(uintptr_t)bad[i].name, (uint8_t *)(uintptr_t)bad[i].value, strlen(bad[i].name),
                            strlen(bad[i].value), 0}};
        source src = {.left = 5}, other = {.left = 7};
        nghttp2_data_provider body = {.source.ptr = &src, .read_callback = server_read};
        nghttp2_submit_response(w.server, 1, nv, 2, &body);
        answer(&w, 3, "200", &other);
        cr_assert(talk(&w, 65536));
        cr_expect(t->losses == 1 && t->how == NEXUS__H2C_INVALID, "%s", bad[i].name);
        cr_expect(good->ends == 1 && good->body_len == 7);
        done(&w, t);
        done(&w, good);
        close_world(&w);
    }
}

Test(h2_client, a_head_that_is_too_big_loses_its_stream)
{
    world w;
    static char value[16000];
    memset(value, 'v', sizeof value);
    open_world(&w);
    told *t = ask(&w, GET, true);
    cr_assert(talk(&w, 65536));
    nghttp2_nv nv[4] = {{(uint8_t *)":status", (uint8_t *)"200", 7, 3, 0}};
    for (int i = 1; i < 4; i++)
        nv[i] = (nghttp2_nv){(uint8_t *)"x-long", (uint8_t *)value, 6, sizeof value, 0};
    nghttp2_submit_response(w.server, 1, nv, 4, NULL);
    cr_assert(talk(&w, 65536));
    cr_expect(t->losses == 1 && t->how == NEXUS__H2C_INVALID);
    done(&w, t);
    close_world(&w);
}

Test(h2_client, what_is_not_a_head_is_refused)
{
    static const char *const bad[] = {"", "GET /\r\n\r\n", " / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n"};
    world w;
    open_world(&w);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        nexus__h2c_stream stream;
        char *head = strdup(bad[i]);
        nexus__h2c_stream_init(&stream, NULL);
        cr_expect_eq(nexus__h2c_request(w.client, &stream, head, strlen(head), true), NEXUS_EINVAL, "%zu", i);
        nexus__h2c_stream_free(&stream);
        free(head);
    }
    close_world(&w);
}
