/* http/: streamed replies, events, streamed bodies, the exchange interface, tunnels. */
#include "peer.h"

#include "http/exchange.h"

typedef struct streaming {
    nexus_request *request;
    gate started, closed, drained;
    nexus_status last;
    size_t written;
} streaming;

#define STREAMING_INIT                                                                                                 \
    {                                                                                                                  \
        .started = GATE_INIT, .closed = GATE_INIT, .drained = GATE_INIT                                                \
    }

static void on_closed(nexus_request *r, void *ud)
{
    (void)r;
    gate_add(&((streaming *)ud)->closed, 1);
}

static void on_drained(nexus_request *r, void *ud)
{
    (void)r;
    gate_add(&((streaming *)ud)->drained, 1);
}

static void three_pieces(nexus_request *r, void *ud)
{
    (void)ud;
    cr_assert_eq(nexus_request_stream_start(r, 201, "text/plain"), NEXUS_OK);
    cr_assert_eq(nexus_request_stream_start(r, 201, "text/plain"), NEXUS_ECLOSED);
    cr_assert_eq(nexus_request_stream_write(r, NEXUS_S("one ")), NEXUS_OK);
    cr_assert_eq(nexus_request_stream_write(r, NEXUS_S("two ")), NEXUS_OK);
    cr_assert_eq(nexus_request_stream_write(r, NEXUS_S("")), NEXUS_OK);
    cr_assert_eq(nexus_request_stream_write(r, NEXUS_S("three")), NEXUS_OK);
    nexus_request_stream_end(r);
}

Test(stream, replies_in_pieces)
{
    for (uint32_t flags = 0; flags < 2; flags++) {
        peer p;
        answer a;
        peer_open(&p, NULL, 1);
        peer_route(&p, "GET", "/s", three_pieces, NULL, flags ? NEXUS_ROUTE_ON_LOOP : 0);
        peer_start(&p);
        int fd = peer_connect(&p);
        for (int i = 0; i < 4; i++) {
            bool head = i == 2; /* the head is all that comes, and the handler writes on: nobody may leave now */
            peer_say(fd, head ? "HEAD /s HTTP/1.1\r\nHost: a\r\n\r\n" : "GET /s HTTP/1.1\r\nHost: a\r\n\r\n");
            peer_answer(fd, &a, head);
            cr_assert_eq(a.status, 201);
            cr_assert(a.whole && strcmp(a.body, head ? "" : "one two three") == 0, "%s", a.body);
        }
        close(fd);
        peer_ask(&p, "GET /s HTTP/1.0\r\n\r\n", &a); /* ends with the connection */
        cr_assert(a.whole && strcmp(a.body, "one two three") == 0 && head_has(&a, "Connection: close"));
        peer_close(&p);
    }
}

static void open_stream(nexus_request *r, void *ud)
{
    streaming *s = ud;
    s->request = r;
    nexus_request_on_close(r, on_closed, s);
    nexus_request_on_drain(r, on_drained, s);
    cr_assert_eq(nexus_sse_start(r), NEXUS_OK);
    gate_add(&s->started, 1);
}

static void expect_text(int fd, const char *text)
{
    char got[512];
    size_t want = strlen(text);
    cr_assert_eq(recv(fd, got, want, MSG_WAITALL), (ssize_t)want);
    cr_assert_arr_eq(got, text, want, "%.*s", (int)want, got);
}

static void skip_head(int fd)
{
    char last[4] = {0};
    while (memcmp(last, "\r\n\r\n", 4) != 0) {
        memmove(last, last + 1, 3);
        cr_assert_eq(recv(fd, last + 3, 1, 0), 1);
    }
}

Test(stream, events_reach_their_reader_and_its_leaving_is_told)
{
    peer p;
    streaming s = STREAMING_INIT;
    peer_open(&p, NULL, 1);
    peer_route(&p, "GET", "/events", open_stream, &s, 0);
    peer_start(&p);
    int fd = peer_connect(&p);
    peer_say(fd, "GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
    cr_assert(gate_wait(&s.started, 1));
    skip_head(fd);
    cr_assert_eq(nexus_sse_send(s.request, "tick", "7", NEXUS_S("a\nb\r\nc")), NEXUS_OK);
    expect_text(fd, "2b\r\nid: 7\nevent: tick\ndata: a\ndata: b\ndata: c\n\n\r\n");
    cr_assert_eq(nexus_sse_send(s.request, NULL, NULL, NEXUS_S("")), NEXUS_OK);
    expect_text(fd, "8\r\ndata: \n\n\r\n");
    cr_assert_eq(nexus_sse_ping(s.request), NEXUS_OK);
    expect_text(fd, "3\r\n:\n\n\r\n");
    cr_assert_eq(nexus_sse_send(s.request, "a\nb", NULL, NEXUS_S("x")), NEXUS_EINVAL);
    close(fd);
    cr_assert(gate_wait(&s.closed, 1));
    cr_assert_eq(nexus_sse_ping(s.request), NEXUS_ECLOSED);
    nexus_request_stream_end(s.request);
    peer_close(&p);
    cr_assert_eq(s.closed.value, 1);
}

Test(stream, writers_feel_a_slow_reader)
{
    peer p;
    streaming s = STREAMING_INIT;
    peer_open(&p, NULL, 1);
    peer_route(&p, "GET", "/events", open_stream, &s, 0);
    peer_start(&p);
    int fd = peer_connect(&p);
    peer_say(fd, "GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
    cr_assert(gate_wait(&s.started, 1));
    static char block[65536], sink[65536];
    nexus_status status = NEXUS_OK;
    size_t sum = 0;
    while (sum < 256u * 1024 * 1024 &&
           (status = nexus_request_stream_write(s.request, (nexus_slice){block, sizeof block})) == NEXUS_OK)
        sum += sizeof block;
    cr_assert_eq(status, NEXUS_EAGAIN); /* buffers of the kernel and of ours are full */
    size_t got = 0;
    ssize_t n;
    while (s.drained.value == 0 && (n = recv(fd, sink, sizeof sink, 0)) > 0)
        got += (size_t)n;
    cr_assert(gate_wait(&s.drained, 1));
    cr_assert_eq(nexus_request_stream_write(s.request, NEXUS_S("end")), NEXUS_OK);
    nexus_request_stream_end(s.request);
    while ((n = recv(fd, sink, sizeof sink, MSG_DONTWAIT)) > 0 || got < sum) {
        if (n <= 0) {
            n = recv(fd, sink, sizeof sink, 0);
            cr_assert_gt(n, 0);
        }
        got += (size_t)n;
    }
    cr_assert_geq(got, sum);
    close(fd);
    peer_close(&p);
}

Test(stream, drain_tells_streams_to_end)
{
    peer p;
    streaming s = STREAMING_INIT;
    peer_open(&p, NULL, 1);
    peer_route(&p, "GET", "/events", open_stream, &s, 0);
    peer_start(&p);
    int fd = peer_connect(&p);
    peer_say(fd, "GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
    cr_assert(gate_wait(&s.started, 1));
    skip_head(fd);
    cr_assert_eq(nexus_server_drain(p.server, 20), NEXUS_ETIMEDOUT);
    cr_assert(gate_wait(&s.closed, 1));
    cr_assert_eq(nexus_sse_send(s.request, NULL, NULL, NEXUS_S("bye")), NEXUS_OK);
    nexus_request_stream_end(s.request);
    cr_assert_eq(nexus_server_drain(p.server, 5000), NEXUS_OK);
    expect_text(fd, "b\r\ndata: bye\n\n\r\n0\r\n\r\n");
    cr_assert(peer_ended(fd));
    close(fd);
    peer_close(&p);
}

/* --- streamed request bodies ------------------------------------------------------------------------------------- */

typedef struct counting {
    size_t bytes;
    int pieces;
    nexus_timer *timer;
    nexus_request *request;
    bool failed;
    gate over;
} counting;

static void go_on(void *ud)
{
    nexus_request_resume_body(((counting *)ud)->request);
}

static void on_piece(nexus_request *r, nexus_slice data, bool end, bool failed, void *ud)
{
    counting *c = ud;
    c->bytes += data.n;
    c->pieces++;
    c->failed = failed;
    if (failed) {
        nexus_request_problem(r, 400, "cut-off", "%zu bytes came", c->bytes);
        gate_add(&c->over, 1);
    } else if (end) {
        char text[32];
        int n = snprintf(text, sizeof text, "%zu", c->bytes);
        nexus_request_reply(r, 200, "text/plain", (nexus_slice){text, (size_t)n});
    } else if (c->pieces % 5 == 0) {
        nexus_request_pause_body(r);
        nexus_timer_start(c->timer, 1);
    }
}

static void counts(nexus_request *r, void *ud)
{
    counting *c = ud;
    c->request = r;
    c->bytes = 0;
    cr_assert_eq(nexus_request_read_body(r, on_piece, c), NEXUS_OK);
    cr_assert_eq(nexus_request_read_body(r, on_piece, c), NEXUS_ECONFLICT);
}

static void counting_open(peer *p, counting *c, const nexus_server_opts *opts)
{
    peer_open(p, opts, 1);
    nexus_route route = NEXUS_ROUTE_INIT;
    route.method = "POST";
    route.path = "/count";
    route.handler = counts;
    route.user_data = c;
    route.flags = NEXUS_ROUTE_ON_LOOP | NEXUS_ROUTE_STREAM_BODY;
    route.body_max = 64 * 1024 * 1024;
    cr_assert_eq(nexus_server_route(p->server, &route, 1), NEXUS_OK);
    cr_assert_eq(nexus_timer_open(&c->timer, nexus_runtime_loop(p->runtime, 0), go_on, c), NEXUS_OK);
    peer_start(p);
}

static void close_timer(void *timer)
{
    nexus_timer_close(timer);
}

static void counting_close(peer *p, counting *c)
{
    nexus_server_close(p->server);
    cr_assert_eq(nexus_loop_post(nexus_runtime_loop(p->runtime, 0), close_timer, c->timer), NEXUS_OK);
    nexus_runtime_close(p->runtime);
}

Test(stream, bodies_come_in_pieces_and_can_be_paused)
{
    peer p;
    answer a;
    counting c = {.over = GATE_INIT};
    counting_open(&p, &c, NULL);
    static char block[100000];
    for (int chunked = 0; chunked < 2; chunked++) {
        int fd = peer_connect(&p);
        for (int round = 0; round < 2; round++) {
            char head[128];
            snprintf(head, sizeof head, "POST /count HTTP/1.1\r\nHost: a\r\n%s: %s\r\n\r\n",
                     chunked ? "Transfer-Encoding" : "Content-Length", chunked ? "chunked" : "3000000");
            peer_say(fd, head);
            for (int i = 0; i < 30; i++) {
                if (chunked)
                    peer_say(fd, "186a0\r\n");
                peer_send(fd, block, sizeof block);
                if (chunked)
                    peer_say(fd, "\r\n");
            }
            if (chunked)
                peer_say(fd, "0\r\n\r\n");
            peer_answer(fd, &a, false);
            cr_assert_eq(a.status, 200);
            cr_assert_str_eq(a.body, "3000000");
        }
        close(fd);
    }
    peer_ask(&p, "POST /count HTTP/1.1\r\nHost: a\r\n\r\n", &a);
    cr_assert_str_eq(a.body, "0");
    counting_close(&p, &c);
}

Test(stream, broken_bodies_fail_their_reader)
{
    peer p;
    answer a;
    counting c = {.over = GATE_INIT};
    nexus_server_opts o = NEXUS_SERVER_OPTS_INIT;
    o.body_window_ms = 50;
    counting_open(&p, &c, &o);
    int fd = peer_connect(&p);
    peer_say(fd, "POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcXX");
    peer_answer(fd, &a, false);
    cr_assert_eq(a.status, 400, "%s", a.head);
    cr_assert(peer_ended(fd));
    close(fd);
    fd = peer_connect(&p);
    peer_say(fd, "POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc"); /* too slow */
    peer_answer(fd, &a, false);
    cr_assert_eq(a.status, 400);
    close(fd);
    fd = peer_connect(&p);
    peer_say(fd, "POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    close(fd); /* goes */
    cr_assert(gate_wait(&c.over, 3));
    counting_close(&p, &c);
}

/* --- the exchange: a little proxy to itself, without the upstream -------------------------------------------------- */

typedef struct relay {
    bool hungry;
    nexus_request *request;
    _Atomic int ended;
} relay;

static void relay_on(nexus_request *r, void *ud)
{
    (void)ud;
    nexus__exchange_read_again(r);
}

/* Gives every piece back as it comes; takes no more while the reader of it is slow. */
static size_t relay_piece(nexus_request *r, nexus_slice data, bool end, nexus_status status, void *ud)
{
    relay *l = ud;
    if (status) {
        atomic_fetch_add(&l->ended, 1);
        nexus__exchange_abort(r);
        return 0;
    }
    if (nexus__exchange_unsent(r) > 100000 && nexus__exchange_on_drained(r, relay_on, l))
        return 0;
    struct iovec piece = {(void *)(uintptr_t)data.p, data.n};
    nexus_status written = nexus__exchange_write(r, &piece, 1, end);
    (void)written;
    return data.n;
}

static void relays(nexus_request *r, void *ud)
{
    static const char fields[] = "X-Up: yes\r\n";
    struct iovec lines = {(void *)(uintptr_t)fields, sizeof fields - 1};
    nexus_slice whole;
    nexus__exchange_reply reply = {.status = 200,
                                   .length = nexus__exchange_head(r)->framing == NEXUS__HTTP_LENGTH_FIXED
                                                 ? nexus__exchange_head(r)->length
                                                 : NEXUS__LENGTH_UNKNOWN,
                                   .fields = &lines,
                                   .field_iovs = 1};
    if (nexus__exchange_body_ready(r, &whole)) {
        struct iovec body = {(void *)(uintptr_t)whole.p, whole.n};
        reply.length = whole.n;
        cr_assert_eq(nexus__exchange_begin(r, &reply, &body, 1, true), NEXUS_OK);
        return;
    }
    cr_assert_eq(nexus__exchange_begin(r, &reply, NULL, 0, false), NEXUS_OK);
    nexus__exchange_read(r, relay_piece, ud);
}

static void relay_open(peer *p, relay *l, nexus_handler_fn *fn)
{
    peer_open(p, NULL, 1);
    nexus_route route = NEXUS_ROUTE_INIT;
    route.handler = fn;
    route.user_data = l;
    route.flags = NEXUS_ROUTE_ON_LOOP | NEXUS_ROUTE_STREAM_BODY | NEXUS_ROUTE_FALLBACK | NEXUS_ROUTE_GET_BODY;
    route.body_max = UINT64_MAX / 2;
    cr_assert_eq(nexus_server_route(p->server, &route, 1), NEXUS_OK);
    peer_start(p);
}

typedef struct pusher {
    int fd;
    size_t bytes;
} pusher;

static void *push(void *arg)
{
    pusher *p = arg;
    static char block[65536];
    memset(block, 'q', sizeof block);
    for (size_t sent = 0; sent < p->bytes; sent += sizeof block)
        peer_send(p->fd, block, sizeof block);
    return NULL;
}

Test(exchange, bodies_pass_through_with_backpressure)
{
    peer p;
    answer a;
    relay l = {0};
    relay_open(&p, &l, relays);
    int fd = peer_connect(&p);
    peer_say(fd, "GET /any%2Fthing HTTP/1.1\r\nHost: a\r\n\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"
                 "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nho\r\n0\r\n\r\n");
    peer_answer(fd, &a, false);
    cr_assert(a.status == 200 && a.body_len == 0 && head_has(&a, "X-Up: yes"));
    peer_answer(fd, &a, false);
    cr_assert_str_eq(a.body, "hi");
    peer_answer(fd, &a, false);
    cr_assert_str_eq(a.body, "ho");
    char head[128];
    pusher push_arg = {fd, 32u * 1024 * 1024};
    snprintf(head, sizeof head, "PUT /big HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n", push_arg.bytes);
    peer_say(fd, head);
    pthread_t thread;
    pthread_create(&thread, NULL, push, &push_arg);
    skip_head(fd);
    static char sink[65536];
    size_t got = 0;
    while (got < push_arg.bytes) {
        ssize_t n = recv(fd, sink, sizeof sink, 0);
        cr_assert_gt(n, 0);
        for (ssize_t i = 0; i < n; i += 997)
            cr_assert_eq(sink[i], 'q');
        got += (size_t)n;
    }
    pthread_join(thread, NULL);
    peer_say(fd, "GET /after HTTP/1.1\r\nHost: a\r\n\r\n");
    peer_answer(fd, &a, false);
    cr_assert_eq(a.status, 200);
    peer_say(fd, "POST /cut HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab");
    skip_head(fd);
    close(fd);
    while (!l.ended)
        sched_yield();
    peer_close(&p);
}

/* Gives the trailers back as trailers, with one of its own. */
static size_t trailing_piece(nexus_request *r, nexus_slice data, bool end, nexus_status status, void *ud)
{
    (void)status;
    if (end) {
        nexus__buf_slice_append(nexus__exchange_trailers_out(r), nexus__exchange_trailers(r));
        nexus__buf_text(nexus__exchange_trailers_out(r), "Grpc-Status: 0\r\n");
    }
    return relay_piece(r, data, end, status, ud);
}

static void trails(nexus_request *r, void *ud)
{
    nexus_slice whole;
    nexus__exchange_reply reply = {.status = 200, .length = NEXUS__LENGTH_UNKNOWN};
    cr_assert(!nexus__exchange_body_ready(r, &whole), "trailers may follow");
    cr_assert_eq(nexus__exchange_begin(r, &reply, NULL, 0, false), NEXUS_OK);
    nexus__exchange_read(r, trailing_piece, ud);
}

Test(exchange, trailers_go_both_ways)
{
    static const struct {
        const char *chunks, *answer;
    } rows[] = {{"2\r\nhi\r\n0\r\nX-Sum: 7\r\nx-two:b\r\n\r\n",
                 "2\r\nhi\r\n0\r\nX-Sum: 7\r\nx-two:b\r\nGrpc-Status: 0\r\n\r\n"},
                {"0\r\nA: b\r\n\r\n", "0\r\nA: b\r\nGrpc-Status: 0\r\n\r\n"},
                {"0\r\n\r\n", "0\r\nGrpc-Status: 0\r\n\r\n"}};
    peer p;
    relay l = {0};
    relay_open(&p, &l, trails);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int fd = peer_connect(&p);
        peer_say(fd, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        skip_head(fd); /* the body has not come: the answer has begun */
        peer_say(fd, rows[i].chunks);
        expect_text(fd, rows[i].answer);
        close(fd);
    }
    peer_close(&p);
}

static void short_reply(nexus_request *r, void *ud)
{
    (void)ud;
    nexus__exchange_reply reply = {.status = 200, .length = 10};
    struct iovec body = {(void *)(uintptr_t) "four", 4};
    cr_assert_eq(nexus__exchange_begin(r, &reply, &body, 1, true), NEXUS_OK);
}

static void aborts(nexus_request *r, void *ud)
{
    nexus_slice path;
    nexus_request_path(r, &path);
    if (nexus__slice_eq_c(path, "/short"))
        short_reply(r, ud);
    else
        nexus__exchange_abort(r);
}

Test(exchange, a_reply_that_breaks_its_promise_ends_the_connection)
{
    peer p;
    answer a;
    relay l = {0};
    relay_open(&p, &l, aborts);
    int fd = peer_connect(&p);
    peer_say(fd, "GET /short HTTP/1.1\r\nHost: a\r\n\r\nGET /short HTTP/1.1\r\nHost: a\r\n\r\n");
    peer_answer(fd, &a, false);
    cr_assert(a.status == 200 && !a.whole && a.body_len == 4);
    close(fd);
    peer_ask(&p, "GET /reset HTTP/1.1\r\nHost: a\r\n\r\n", &a);
    cr_assert_eq(a.status, 0);
    peer_close(&p);
}

static void upgrades(nexus_request *r, void *ud)
{
    static const char fields[] = "Upgrade: mirror\r\n";
    struct iovec lines = {(void *)(uintptr_t)fields, sizeof fields - 1};
    cr_assert(nexus__exchange_head(r)->upgrade);
    cr_assert_eq(nexus__exchange_tunnel(r, 101, &lines, 1), NEXUS_OK);
    nexus__exchange_tunnel_idle(r, 800);
    nexus__exchange_read(r, relay_piece, ud);
}

Test(exchange, tunnels_carry_bytes_until_both_sides_end)
{
    peer p;
    relay l = {0};
    relay_open(&p, &l, upgrades);
    int fd = peer_connect(&p);
    peer_say(fd, "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: mirror\r\n\r\nfirst");
    char head[512];
    size_t n = 0;
    while (n < 4 || memcmp(head + n - 4, "\r\n\r\n", 4) != 0)
        cr_assert_eq(recv(fd, head + n++, 1, 0), 1);
    head[n] = '\0';
    cr_assert(strncmp(head, "HTTP/1.1 101 ", 13) == 0 && strstr(head, "Connection: Upgrade\r\n") &&
              strstr(head, "Upgrade: mirror\r\n"));
    expect_text(fd, "first");
    peer_say(fd, "\r\n GET / HTTP/1.1\r\n\r\n");
    expect_text(fd, "\r\n GET / HTTP/1.1\r\n\r\n");
    shutdown(fd, SHUT_WR);
    cr_assert(peer_ended(fd));
    close(fd);

    fd = peer_connect(&p);
    peer_say(fd, "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: mirror\r\n\r\n");
    skip_head(fd);
    cr_assert(peer_ended(fd)); /* idle */
    cr_assert_eq(l.ended, 1);
    close(fd);
    peer_close(&p);
}
