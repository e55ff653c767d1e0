/* http/: the server's side of HTTP/2 against a client session of nghttp2, and its pure parts. */
#include "h2_peer.h"

#include "http/exchange.h"
#include "http/h2_guard.h"
#include "http/h2_head.h"

/* --- heads -------------------------------------------------------------------------------------------------------- */

typedef struct block {
    nexus__http_head head;
    nexus__buf lines, crumbs;
    int result;
} block;

/* "name=value" texts up to NULL. */
static void decode(block *b, const nexus__http_limits *limits, const char *const *fields, bool end)
{
    nexus__h2_head d;
    nexus__buf_init(&b->lines, NULL, 0);
    nexus__buf_init(&b->crumbs, NULL, 0);
    nexus__h2_head_init(&d, &b->head, limits, &b->lines, &b->crumbs);
    b->result = 0;
    for (size_t i = 0; fields[i] && !b->result; i++) {
        nexus_slice value = nexus__slice_c(fields[i]), name;
        size_t at = 1;
        while (value.p[at] != '=')
            at++;
        name = (nexus_slice){value.p, at};
        b->result = nexus__h2_head_field(&d, name, nexus__slice_from(value, at + 1));
    }
    if (!b->result)
        b->result = nexus__h2_head_end(&d, end);
}

static void block_free(block *b)
{
    nexus__buf_free(&b->lines);
    nexus__buf_free(&b->crumbs);
}

static const nexus__http_limits limits = {.line_max = 64, .head_max = 256, .fields_max = 6};

Test(h2_head, becomes_a_head_of_http1)
{
    static const char *const fields[] = {":path=/a?b=c", ":authority=h.test:1", ":method=POST",  ":scheme=http",
                                         "cookie=a=1",   "x-one=1",             "cookie=b=2",    "content-length=5",
                                         "x-empty=",     NULL};
    block b;
    decode(&b, &limits, fields, false);
    cr_assert_eq(b.result, 0);
    const nexus__http_head *h = &b.head;
    const char *p = b.lines.p;
    cr_assert(h->framing == NEXUS__HTTP_LENGTH_FIXED && h->length == 5 && h->minor == 1 && h->has_query);
    cr_assert(nexus__slice_eq_c((nexus_slice){p + h->start, h->method_len}, "POST"));
    cr_assert(nexus__slice_eq_c((nexus_slice){p + h->path, h->path_len}, "/a"));
    cr_assert(nexus__slice_eq_c((nexus_slice){p + h->query, h->query_len}, "b=c"));
    const nexus__http_field *cookie = nexus__http_first(h, NEXUS__HTTP_COOKIE);
    cr_assert(nexus__slice_eq_c(nexus__http_field_value(cookie, p), "a=1; b=2"));
    cr_assert(nexus__slice_eq_c(nexus__http_field_value(nexus__http_first(h, NEXUS__HTTP_HOST), p), "h.test:1"));
    /* lines stand one behind the other, so that runs of them can be copied */
    nexus_slice lines = {p + h->fields[0].name, h->bytes - h->fields[0].name};
    cr_assert(nexus__slice_eq_c(lines, "host: h.test:1\r\nx-one: 1\r\ncontent-length: 5\r\nx-empty: \r\n"
                                       "cookie: a=1; b=2\r\n\r\n"),
              "%.*s", (int)lines.n, lines.p);
    block_free(&b);
}

Test(h2_head, verdicts)
{
#define BASE ":method=GET", ":scheme=http", ":path=/"
    static const struct {
        const char *fields[10];
        int result;
    } rows[] = {
        {{BASE, ":authority=a", "te=trailers"}, 0},
        {{BASE, "host=a"}, 0},
        {{BASE, ":authority=a", "host=A"}, 0},
        {{BASE, ":authority=a", "host=b"}, NEXUS__HTTP_BAD_HOST},
        {{BASE, ":authority=a b"}, NEXUS__HTTP_BAD_HOST},
        {{BASE}, NEXUS__HTTP_BAD_HOST},
        {{":method=OPTIONS", ":scheme=http", ":path=*", ":authority=a"}, 0},
        {{":method=GET", ":scheme=http", ":path=*", ":authority=a"}, NEXUS__H2_HEAD_MALFORMED},
        {{":method=CONNECT", ":authority=a:1"}, 0},
        {{":method=CONNECT", ":authority=a:1", ":path=/"}, NEXUS__H2_HEAD_MALFORMED},
        {{":method=GET", ":path=/", ":authority=a"}, NEXUS__H2_HEAD_MALFORMED},
        {{":method=G T", ":scheme=http", ":path=/", ":authority=a"}, NEXUS__H2_HEAD_MALFORMED},
        {{":method=GET", ":scheme=http", ":path=/#", ":authority=a"}, NEXUS__H2_HEAD_MALFORMED},
        {{":method=GET", ":scheme=http", ":path=http://a/", ":authority=a"}, NEXUS__H2_HEAD_MALFORMED},
        {{BASE, ":path=/", ":authority=a"}, NEXUS__H2_HEAD_MALFORMED},
        {{BASE, ":status=200"}, NEXUS__H2_HEAD_MALFORMED},
        {{BASE, "x=1", ":authority=a"}, NEXUS__H2_HEAD_MALFORMED},
        {{BASE, ":authority=a", "X=1"}, NEXUS__H2_HEAD_MALFORMED},
        {{BASE, ":authority=a", "x= 1"}, NEXUS__H2_HEAD_MALFORMED},
        {{BASE, ":authority=a", "x=1\r\ny: 2"}, NEXUS__H2_HEAD_MALFORMED},
        {{BASE, ":authority=a", "te=gzip"}, NEXUS__H2_HEAD_MALFORMED},
        {{BASE, ":authority=a", "connection=x"}, NEXUS__H2_HEAD_MALFORMED},
        {{BASE, ":authority=a", "content-length=1", "content-length=1"}, NEXUS__HTTP_TWO_LENGTHS},
        {{BASE, ":authority=a", "content-length=+1"}, NEXUS__HTTP_BAD_LENGTH},
        {{":method=GET", ":scheme=http", ":authority=a",
          ":path=/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}, NEXUS__HTTP_LINE_TOO_LONG},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        block b;
        decode(&b, &limits, rows[i].fields, true);
        cr_assert_eq(b.result, rows[i].result, "row %zu: %d", i, b.result);
        block_free(&b);
    }
}

Test(h2_head, limits_count_what_was_sent)
{
    static const char *const many[] = {BASE,  ":authority=a", "a=1", "b=1", "c=1", "cookie=d", "cookie=e", "cookie=f",
                                       "g=1", NULL};
    static char big[300] = "x=";
    memset(big + 2, 'v', 260);
    const char *const large[] = {BASE, ":authority=a", big, NULL};
    block b;
    decode(&b, &limits, many, true);
    cr_assert_eq(b.result, NEXUS__HTTP_TOO_MANY_FIELDS);
    block_free(&b);
    decode(&b, &limits, large, true);
    cr_assert_eq(b.result, NEXUS__HTTP_HEAD_TOO_BIG);
    cr_assert_lt(b.lines.len, 100u, "what is too large is not kept");
    block_free(&b);
}

static void put_text(void *to, nexus_slice name, nexus_slice value)
{
    nexus__buf_printf(to, "%.*s=%.*s;", (int)name.n, name.p, (int)value.n, value.p);
}

Test(h2_head, lines_become_fields_to_send)
{
    char lines[] = "X-One:  a b \r\nConnection: x\r\nTransfer-Encoding: chunked\r\nEMPTY:\r\nKeep-Alive: 5\r\n"
                   "Upgrade: h2c\r\nno colon\r\nx:y\r\n";
    nexus__buf out;
    nexus__buf_init(&out, NULL, 0);
    cr_assert_eq(nexus__h2_fields(lines, sizeof lines - 1, put_text, &out), 3);
    cr_assert(nexus__slice_eq_c(nexus__buf_slice(&out), "x-one=a b;empty=;x=y;"), "%.*s", (int)out.len, out.p);
    nexus__buf_free(&out);
}

/* --- budgets ------------------------------------------------------------------------------------------------------ */

Test(h2_guard, budgets_end_and_come_back)
{
    const nexus__h2_guard_limits l = {.resets = 3, .idle = 2, .block_bytes = 100};
    nexus__h2_guard g = {0};
    int64_t now = 100 * NEXUS__NS_PER_S;
    for (int i = 0; i < 3; i++)
        cr_assert(nexus__h2_guard_reset(&g, &l, now));
    cr_assert(!nexus__h2_guard_reset(&g, &l, now + 29 * NEXUS__NS_PER_S));
    cr_assert(nexus__h2_guard_reset(&g, &l, now + 30 * NEXUS__NS_PER_S), "a new window");
    now += 30 * NEXUS__NS_PER_S;
    cr_assert(nexus__h2_guard_frame(&g, &l, now, NGHTTP2_PING, 0, 8));
    cr_assert(nexus__h2_guard_frame(&g, &l, now, NGHTTP2_SETTINGS, 0, 0));
    cr_assert(nexus__h2_guard_frame(&g, &l, now, NGHTTP2_DATA, 0, 10), "bytes make up for one");
    cr_assert(nexus__h2_guard_frame(&g, &l, now, NGHTTP2_DATA, 0, 0));
    cr_assert(!nexus__h2_guard_frame(&g, &l, now, NGHTTP2_PRIORITY, 0, 5));
    g = (nexus__h2_guard){.window_ns = now};
    cr_assert(nexus__h2_guard_frame(&g, &l, now, NGHTTP2_HEADERS, 0, 50));
    for (int i = 0; i < 8; i++)
        cr_assert(nexus__h2_guard_frame(&g, &l, now, NGHTTP2_CONTINUATION, 0, 1));
    cr_assert(!nexus__h2_guard_frame(&g, &l, now, NGHTTP2_CONTINUATION, 0, 1));
    cr_assert(nexus__h2_guard_frame(&g, &l, now, NGHTTP2_HEADERS, 0, 50), "counted for each block");
    cr_assert(!nexus__h2_guard_frame(&g, &l, now, NGHTTP2_CONTINUATION, 0, 51));
}

/* --- streams as requests ------------------------------------------------------------------------------------------- */

static void echo(nexus_request *r, void *ud)
{
    nexus_slice body, host, method;
    (void)ud;
    nexus_request_body(r, &body);
    nexus_request_host(r, &host);
    nexus_request_method(r, &method);
    char text[200];
    int n = snprintf(text, sizeof text, "%.*s %.*s %zu", (int)method.n, method.p, (int)host.n, host.p, body.n);
    cr_assert_eq(nexus_request_set_header(r, "X-Set", NEXUS_S("yes")), NEXUS_OK);
    nexus_request_reply(r, 200, "text/plain", (nexus_slice){text, (size_t)n});
}

static void streams(nexus_request *r, void *ud)
{
    (void)ud;
    cr_assert_eq(nexus_request_stream_start(r, 201, "text/plain"), NEXUS_OK);
    cr_assert_eq(nexus_request_stream_write(r, NEXUS_S("one ")), NEXUS_OK);
    cr_assert_eq(nexus_request_stream_write(r, NEXUS_S("two")), NEXUS_OK);
    nexus_request_stream_end(r);
}

static int32_t suspends(nexus_request *r, void *ud)
{
    nexus_slice path;
    (void)ud;
    nexus_request_path(r, &path);
    if (nexus__slice_eq_c(path, "/worker"))
        return NEXUS_FILTER_NEXT;
    nexus_request_resume(r);
    return NEXUS_FILTER_SUSPEND;
}

static void serve_echo(peer *p, const nexus_server_opts *opts)
{
    peer_open(p, opts, 1);
    cr_assert_eq(nexus_server_filter(p->server, suspends, NULL), NEXUS_OK);
    peer_route(p, "*", "/loop", echo, NULL, NEXUS_ROUTE_ON_LOOP);
    peer_route(p, "*", "/worker", echo, NULL, 0);
    peer_route(p, "*", "/stream", streams, NULL, 0);
    peer_start(p);
}

Test(h2, requests_of_every_kind_whole_and_byte_by_byte)
{
    static const struct {
        const char *method, *path;
        size_t upload;
        int status;
        const char *body;
    } rows[] = {{"GET", "/loop", 0, 200, "GET a.test 0"},       {"GET", "/worker", 0, 200, "GET a.test 0"},
                {"POST", "/loop", 5, 200, "POST a.test 5"},     {"POST", "/worker", 300000, 200, "POST a.test 300000"},
                {"GET", "/stream", 0, 201, "one two"},          {"HEAD", "/loop", 0, 200, ""},
                {"HEAD", "/stream", 0, 201, ""},                {"GET", "/none", 0, 404, NULL},
                {"OPTIONS", "/loop", 0, 200, "OPTIONS a.test 0"}, {"POST", "/loop", 2000000, 413, NULL},
                {"GET", "/loop", 3, 400, NULL}};
    peer p;
    serve_echo(&p, NULL);
    for (size_t step = 0; step < 2; step++) {
        h2_peer c;
        h2_peer_open(&c, &p, step, 0);
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            h2_upload up = {.left = step && rows[i].upload > 1000 ? 1000 : rows[i].upload};
            bool shorter = up.left != rows[i].upload;
            int32_t id = h2_peer_ask(&c, rows[i].method, rows[i].path, up.left ? &up : NULL, NULL, NULL);
            h2_reply *r = h2_peer_wait(&c, id);
            if (shorter)
                continue;
            cr_assert_eq(r->status, rows[i].status, "row %zu: %d", i, r->status);
            if (rows[i].body)
                cr_assert_str_eq(r->body, rows[i].body);
            cr_assert(strstr(r->fields, "date=") != NULL, "%s", r->fields);
            cr_assert(r->ended);
        }
        h2_peer_close(&c);
    }
    peer_close(&p);
}

Test(h2, expectations_and_streams_side_by_side)
{
    peer p;
    h2_peer c;
    serve_echo(&p, NULL);
    h2_peer_open(&c, &p, 0, 0);
    h2_upload up = {.left = 4, .pause = true};
    int32_t id = h2_peer_ask(&c, "POST", "/loop", &up, "expect", "100-continue");
    while (h2_reply_of(&c, id)->status != 100)
        cr_assert(h2_peer_turn(&c));
    int32_t others[20];
    for (int i = 0; i < 20; i++)
        others[i] = h2_peer_ask(&c, "GET", i % 2 ? "/worker" : "/loop", NULL, NULL, NULL);
    for (int i = 0; i < 20; i++)
        cr_assert_eq(h2_peer_wait(&c, others[i])->status, 200);
    up.pause = false;
    nghttp2_session_resume_data(c.session, id);
    cr_assert_str_eq(h2_peer_wait(&c, id)->body, "POST a.test 4");
    h2_peer_close(&c);
    peer_close(&p);
}

/* --- the exchange -------------------------------------------------------------------------------------------------- */

typedef struct relay {
    _Atomic int failed, closed;
    _Atomic size_t most; /* unsent at a time */
    bool abort;
} relay;

static void relay_on(nexus_request *r, void *ud)
{
    (void)ud;
    nexus__exchange_read_again(r);
}

static size_t relay_piece(nexus_request *r, nexus_slice data, bool end, nexus_status status, void *ud)
{
    relay *l = ud;
    if (status || (l->abort && data.n)) {
        atomic_fetch_add(&l->failed, 1);
        nexus__exchange_abort(r);
        return data.n;
    }
    size_t unsent = nexus__exchange_unsent(r);
    if (unsent > l->most)
        l->most = unsent;
    if (unsent > 0 && data.n && nexus__exchange_on_drained(r, relay_on, l))
        return 0;
    struct iovec piece = {(void *)(uintptr_t)data.p, data.n};
    if (end && nexus__exchange_trailers(r).n) {
        nexus__buf_slice_append(nexus__exchange_trailers_out(r), nexus__exchange_trailers(r));
        nexus__buf_text(nexus__exchange_trailers_out(r), "Grpc-Status: 0\r\n");
    }
    nexus_status written = nexus__exchange_write(r, &piece, 1, end);
    (void)written;
    return data.n;
}

static void relay_gone(nexus_request *r, void *ud)
{
    atomic_fetch_add(&((relay *)ud)->closed, 1);
    nexus__exchange_abort(r);
}

static void relays(nexus_request *r, void *ud)
{
    static const char fields[] = "X-Up: yes\r\n";
    struct iovec lines = {(void *)(uintptr_t)fields, sizeof fields - 1};
    nexus__exchange_reply reply = {.status = 200, .length = NEXUS__LENGTH_UNKNOWN, .fields = &lines, .field_iovs = 1};
    nexus_request_on_close(r, relay_gone, ud);
    cr_assert_eq(nexus__exchange_interim(r, 103, &lines, 1), NEXUS_OK);
    cr_assert_eq(nexus__exchange_begin(r, &reply, NULL, 0, false), NEXUS_OK);
    nexus__exchange_read(r, relay_piece, ud);
}

static void relay_open(peer *p, relay *l, const nexus_server_opts *opts)
{
    memset(l, 0, sizeof *l);
    peer_open(p, opts, 1);
    nexus_route route = NEXUS_ROUTE_INIT;
    route.handler = relays;
    route.user_data = l;
    route.flags = NEXUS_ROUTE_ON_LOOP | NEXUS_ROUTE_STREAM_BODY | NEXUS_ROUTE_FALLBACK | NEXUS_ROUTE_GET_BODY;
    route.body_max = UINT64_MAX / 2;
    cr_assert_eq(nexus_server_route(p->server, &route, 1), NEXUS_OK);
    peer_start(p);
}

Test(h2, bodies_and_trailers_pass_with_backpressure)
{
    peer p;
    relay l;
    h2_peer c;
    relay_open(&p, &l, NULL);
    h2_peer_open(&c, &p, 0, 0);
    h2_upload up[3] = {{.left = 8u << 20, .trailer = "7"}, {.left = 3u << 20}, {.left = 1, .trailer = "8"}};
    int32_t id[3];
    for (int i = 0; i < 3; i++)
        id[i] = h2_peer_ask(&c, "POST", "/any%2Fthing", &up[i], NULL, NULL);
    for (int i = 0; i < 3; i++) {
        size_t n = up[i].left;
        h2_reply *r = h2_peer_wait(&c, id[i]);
        cr_assert(r->ended && r->interims == 1 && r->status == 200, "%d %d", r->interims, r->status);
        cr_assert(i == 2 ? n == 1 || r->all == 1 : r->all == (i ? 3u << 20 : 8u << 20), "%zu", r->all);
        if (up[i].trailer)
            cr_assert(strstr(r->trailers, "grpc-status=0;") && strstr(r->trailers, "x-sum="), "%s", r->trailers);
        else
            cr_assert_str_eq(r->trailers, "");
        cr_assert(strstr(r->fields, "x-up=yes;"));
    }
    cr_assert_leq(l.most, 65536u);
    h2_peer_close(&c);
    peer_close(&p);
}

Test(h2, a_reader_that_takes_nothing_closes_its_window_only)
{
    peer p;
    relay l;
    h2_peer c;
    relay_open(&p, &l, NULL);
    h2_peer_open(&c, &p, 0, 1000); /* the client takes 1000 bytes of each reply, and no more */
    h2_upload up = {.left = 8u << 20}, small = {.left = 10};
    int32_t id = h2_peer_ask(&c, "POST", "/", &up, NULL, NULL);
    while (h2_reply_of(&c, id)->all < 1000)
        cr_assert(h2_peer_turn(&c));
    int32_t other = h2_peer_ask(&c, "POST", "/", &small, NULL, NULL);
    cr_assert(h2_peer_wait(&c, other)->ended, "it is not held up");
    cr_assert_gt(up.left, (8u << 20) - 65536 * 3, "the upload is");
    nghttp2_submit_rst_stream(c.session, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
    h2_peer_flush(&c);
    while (!l.closed)
        sched_yield();
    h2_peer_close(&c);
    peer_close(&p);
    cr_assert_eq(l.closed, 1);
}

Test(h2, windows_that_stay_closed_are_given_up)
{
    peer p;
    relay l;
    h2_peer c;
    nexus_server_opts o = NEXUS_SERVER_OPTS_INIT;
    o.http2_stall_timeout_ms = 100;
    relay_open(&p, &l, &o);
    h2_peer_open(&c, &p, 0, 1000);
    h2_upload up = {.left = 100000};
    int32_t id = h2_peer_ask(&c, "POST", "/", &up, NULL, NULL);
    h2_reply *r = h2_peer_wait(&c, id);
    cr_assert(!c.gone && r->code == NGHTTP2_CANCEL && r->all == 1000);
    h2_upload small = {.left = 10};
    cr_assert(h2_peer_wait(&c, h2_peer_ask(&c, "POST", "/", &small, NULL, NULL))->ended);
    h2_peer_close(&c);
    peer_close(&p);
}

Test(h2, aborts_reset_one_stream)
{
    peer p;
    relay l;
    h2_peer c;
    relay_open(&p, &l, NULL);
    l.abort = true;
    h2_peer_open(&c, &p, 0, 0);
    for (int i = 0; i < 3; i++) {
        h2_upload up = {.left = 100};
        cr_assert_eq(h2_peer_wait(&c, h2_peer_ask(&c, "POST", "/", &up, NULL, NULL))->code, NGHTTP2_INTERNAL_ERROR);
    }
    cr_assert(!c.gone);
    h2_peer_close(&c);
    peer_close(&p);
}

Test(h2, slow_bodies_and_heads_are_given_up)
{
    peer p;
    h2_peer c;
    nexus_server_opts o = NEXUS_SERVER_OPTS_INIT;
    o.body_window_ms = o.head_timeout_ms = 100;
    serve_echo(&p, &o);
    h2_peer_open(&c, &p, 0, 0);
    h2_upload up = {.left = 100, .pause = true};
    cr_assert_eq(h2_peer_wait(&c, h2_peer_ask(&c, "POST", "/loop", &up, NULL, NULL))->status, 408);
    h2_peer_ask(&c, "GET", "/loop", NULL, "x-long", "value");
    const uint8_t *data;
    cr_assert_gt(nghttp2_session_mem_send(c.session, &data), 12); /* frames have a head of 9: the block is cut off */
    peer_send(c.fd, data, 12);
    uint8_t in[4096];
    ssize_t n;
    while ((n = recv(c.fd, in, sizeof in, 0)) > 0)
        nghttp2_session_mem_recv(c.session, in, (size_t)n);
    cr_assert_eq(c.goaways, 1);
    h2_peer_close(&c);
    peer_close(&p);
}

/* --- the end ------------------------------------------------------------------------------------------------------- */

static gate started = GATE_INIT, go_on = GATE_INIT;

static void waits(nexus_request *r, void *ud)
{
    gate_add(&started, 1);
    cr_assert(gate_wait(&go_on, 1));
    echo(r, ud);
}

static void *drains(void *arg)
{
    cr_assert_eq(nexus_server_drain(((peer *)arg)->server, 10000), NEXUS_OK);
    return NULL;
}

Test(h2, draining_says_goodbye_twice_and_ends_streams)
{
    peer p;
    h2_peer c;
    pthread_t thread;
    peer_open(&p, NULL, 1);
    peer_route(&p, "GET", "/w", waits, NULL, 0);
    peer_start(&p);
    h2_peer_open(&c, &p, 0, 0);
    int32_t id = h2_peer_ask(&c, "GET", "/w", NULL, NULL, NULL);
    h2_peer_flush(&c);
    cr_assert(gate_wait(&started, 1));
    pthread_create(&thread, NULL, drains, &p);
    while (c.goaways < 2)
        cr_assert(h2_peer_turn(&c));
    cr_assert_eq(c.last_goaway, id);
    gate_add(&go_on, 1);
    cr_assert_eq(h2_peer_wait(&c, id)->status, 200);
    while (h2_peer_turn(&c)) {
    }
    h2_peer_close(&c);
    pthread_join(thread, NULL);
    peer_close(&p);
}

Test(h2, closing_with_open_streams_loses_nothing)
{
    peer p;
    relay l;
    h2_peer c;
    relay_open(&p, &l, NULL);
    h2_peer_open(&c, &p, 0, 0);
    h2_upload up[3] = {{.left = 1u << 30}, {.left = 1u << 30}, {.left = 1u << 30}};
    for (int i = 0; i < 3; i++)
        h2_peer_ask(&c, "POST", "/", &up[i], NULL, NULL);
    while (h2_reply_of(&c, 5)->all < 100000)
        cr_assert(h2_peer_turn(&c));
    close(c.fd);
    while (l.closed < 3)
        sched_yield();
    c.fd = dup(0);
    h2_peer_close(&c);
    h2_peer_open(&c, &p, 0, 0);
    h2_peer_ask(&c, "POST", "/", &up[0], NULL, NULL);
    while (h2_reply_of(&c, 1)->all < 100000)
        cr_assert(h2_peer_turn(&c));
    peer_close(&p); /* with the stream open */
    cr_assert_eq(l.closed, 4);
    h2_peer_close(&c);
}

Test(h2, is_not_spoken_when_it_is_off)
{
    peer p;
    answer a;
    nexus_server_opts o = NEXUS_SERVER_OPTS_INIT;
    o.http2_off = true;
    serve_echo(&p, &o);
    peer_ask(&p, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &a);
    cr_assert_eq(a.status, 505);
    peer_ask(&p, "GET /loop HTTP/1.1\r\nHost: a.test\r\n\r\n", &a);
    cr_assert_str_eq(a.body, "GET a.test 0");
    peer_close(&p);
}
