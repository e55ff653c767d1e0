/* http/: the server over real sockets. */
#include "peer.h"

static void hello(nexus_request *r, void *ud)
{
    (void)ud;
    nexus_request_reply(r, 200, "text/plain", NEXUS_S("hello"));
}

static void echo(nexus_request *r, void *ud)
{
    (void)ud;
    nexus_slice body;
    nexus_request_body(r, &body);
    nexus_request_reply(r, 200, "application/octet-stream", body);
}

static void say_param(nexus_request *r, void *ud)
{
    (void)ud;
    nexus_slice id = {NULL, 0}, q = {NULL, 0}, path;
    char text[256];
    cr_assert(nexus_request_param(r, "id", &id));
    bool has_q = nexus_request_query_param(r, "q", &q);
    nexus_request_path(r, &path);
    int n = snprintf(text, sizeof text, "%.*s|%.*s|%.*s", (int)id.n, id.p, has_q ? (int)q.n : 4, has_q ? q.p : "none",
                     (int)path.n, path.p);
    nexus_request_reply(r, 200, "text/plain", (nexus_slice){text, (size_t)n});
}

static void standard(peer *p, const nexus_server_opts *opts, uint32_t loops)
{
    peer_open(p, opts, loops);
    peer_route(p, "GET", "/hello", hello, NULL, NEXUS_ROUTE_ON_LOOP);
    peer_route(p, "GET", "/work", hello, NULL, 0);
    peer_route(p, "POST", "/echo", echo, NULL, 0);
    peer_route(p, "PUT", "/echo", echo, NULL, NEXUS_ROUTE_ON_LOOP);
    peer_route(p, "GET", "/items/{id}", say_param, NULL, 0);
}

static bool body_is(const answer *a, const char *text)
{
    return a->whole && a->body_len == strlen(text) && memcmp(a->body, text, a->body_len) == 0;
}

static bool problem(const answer *a, int status, const char *code)
{
    char want[96];
    snprintf(want, sizeof want, "\"code\":\"%s\"", code);
    return a->status == status && strstr(a->body, want) && head_has(a, "Content-Type: application/problem+json");
}

#define ASSERT_PROBLEM(a, status, code) cr_assert(problem(a, status, code), "%s%s", (a)->head, (a)->body)

Test(server, answers_on_the_loop_and_from_workers)
{
    peer p;
    answer a;
    standard(&p, NULL, 1);
    peer_start(&p);
    peer_ask(&p, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n", &a);
    cr_assert_eq(a.status, 200);
    cr_assert(body_is(&a, "hello"));
    cr_assert(head_has(&a, "Content-Type: text/plain") && head_has(&a, "Content-Length: 5") &&
              strstr(a.head, "\r\nDate: "));
    peer_ask(&p, "GET /work HTTP/1.1\r\nHost: a\r\n\r\n", &a);
    cr_assert(body_is(&a, "hello"));
    peer_ask(&p, "GET /items/a%20b?x=1&q=c+d%21 HTTP/1.1\r\nHost: a\r\n\r\n", &a);
    cr_assert(body_is(&a, "a b|c d!|/items/a%20b"), "%s", a.body);
    peer_ask(&p, "GET /x/../%69tems//y HTTP/1.1\r\nHost: a\r\n\r\n", &a);
    cr_assert(body_is(&a, "y|none|/items/y"), "%s", a.body);
    peer_ask(&p, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", &a);
    cr_assert(body_is(&a, "abc"));
    peer_ask(&p, "PUT /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
             &a);
    cr_assert(body_is(&a, "abc"));
    peer_ask(&p, "HEAD /hello HTTP/1.1\r\nHost: a\r\n\r\n", &a);
    cr_assert(a.status == 200 && head_has(&a, "Content-Length: 5") && a.body_len == 0);
    peer_close(&p);
}

Test(server, refuses_with_problems)
{
    peer p;
    answer a;
    standard(&p, NULL, 1);
    peer_start(&p);
    peer_ask(&p, "GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", &a);
    ASSERT_PROBLEM(&a, 404, "no-route");
    cr_assert(strstr(a.body, "\"instance\":\"urn:uuid:") && strstr(a.head, "X-Request-Id: "));
    peer_ask(&p, "DELETE /echo HTTP/1.1\r\nHost: a\r\n\r\n", &a);
    ASSERT_PROBLEM(&a, 405, "method-not-allowed");
    cr_assert(head_has(&a, "Allow: POST, PUT, OPTIONS"), "%s", a.head);
    peer_ask(&p, "OPTIONS /echo HTTP/1.1\r\nHost: a\r\n\r\n", &a);
    cr_assert(a.status == 204 && head_has(&a, "Allow: POST, PUT, OPTIONS") && !strstr(a.head, "Content-Length"));
    peer_ask(&p, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", &a);
    cr_assert_eq(a.status, 204);
    peer_ask(&p, "TRACE /hello HTTP/1.1\r\nHost: a\r\n\r\n", &a);
    ASSERT_PROBLEM(&a, 405, "method-not-allowed");
    peer_ask(&p, "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n", &a);
    ASSERT_PROBLEM(&a, 405, "method-not-allowed");
    cr_assert(head_has(&a, "Connection: close"));
    peer_ask(&p, "GET /a%2fb HTTP/1.1\r\nHost: a\r\n\r\n", &a);
    ASSERT_PROBLEM(&a, 400, "ambiguous-path");
    peer_ask(&p, "GET /%c0%ae HTTP/1.1\r\nHost: a\r\n\r\n", &a);
    ASSERT_PROBLEM(&a, 400, "bad-path");
    peer_ask(&p, "GET /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", &a);
    ASSERT_PROBLEM(&a, 400, "unexpected-body");
    peer_ask(&p, "GET /hello HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\n\r\n", &a);
    ASSERT_PROBLEM(&a, 417, "expectation");
    peer_ask(&p, "GET /hello HTTP/2.0\r\nHost: a\r\n\r\n", &a);
    ASSERT_PROBLEM(&a, 505, "http-version");
    peer_ask(&p, "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", &a);
    ASSERT_PROBLEM(&a, 501, "unknown-transfer-encoding");
    peer_close(&p);
}

static void count_admin(nexus_request *r, void *ud)
{
    atomic_fetch_add((_Atomic int *)ud, 1);
    nexus_request_reply(r, 200, NULL, NEXUS_S(""));
}

Test(server, framing_errors_close_and_what_follows_is_not_served)
{
    static const char *const attacks[] = {
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 1\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHost: a\r\nX: y\n\r\n",
        "GET /hello HTTP/1.1\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET http://b/hello HTTP/1.1\r\nHost: a\r\n\r\n",
    };
    peer p;
    answer a;
    _Atomic int admin = 0;
    standard(&p, NULL, 1);
    peer_route(&p, "GET", "/admin", count_admin, &admin, NEXUS_ROUTE_ON_LOOP);
    peer_start(&p);
    for (size_t i = 0; i < sizeof attacks / sizeof attacks[0]; i++) {
        int fd = peer_connect(&p);
        char all[512];
        snprintf(all, sizeof all, "%sGET /admin HTTP/1.1\r\nHost: a\r\n\r\n", attacks[i]);
        peer_say(fd, all);
        peer_answer(fd, &a, false);
        cr_assert_eq(a.status, 400, "%s: %s", attacks[i], a.head);
        cr_assert(head_has(&a, "Connection: close"));
        cr_assert(peer_ended(fd), "%s", attacks[i]);
        close(fd);
    }
    cr_assert_eq(admin, 0);
    peer_close(&p);
}

Test(server, requests_may_come_byte_by_byte)
{
    peer p;
    answer a;
    standard(&p, NULL, 1);
    peer_start(&p);
    int fd = peer_connect(&p);
    static const char *const requests[] = {
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        "PUT /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=\"y\"\r\nlo\r\n0\r\nX: "
        "y\r\n\r\n",
    };
    for (int i = 0; i < 2; i++) {
        for (const char *c = requests[i]; *c; c++)
            peer_send(fd, c, 1);
        peer_answer(fd, &a, false);
        cr_assert_eq(a.status, 200, "%s", a.body);
        cr_assert(body_is(&a, "hello"));
    }
    close(fd);
    peer_close(&p);
}

Test(server, pipelined_requests_are_answered_in_order)
{
    peer p;
    answer a;
    standard(&p, NULL, 1);
    peer_start(&p);
    int fd = peer_connect(&p);
    char all[32768];
    size_t n = 0;
    for (int i = 0; i < 100; i++)
        n += (size_t)snprintf(
            all + n, sizeof all - n,
            i % 3 == 0   ? "GET /items/%d HTTP/1.1\r\nHost: a\r\n\r\n"
            : i % 3 == 1 ? "PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n%03d"
                         : "PUT /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n%03d\r\n0\r\n\r\n",
            i);
    peer_send(fd, all, n);
    for (int i = 0; i < 100; i++) {
        char want[32];
        snprintf(want, sizeof want, i % 3 ? "%03d" : "%d|none|/items/%d", i, i);
        peer_answer(fd, &a, false);
        cr_assert(body_is(&a, want), "%d: %s%s", i, a.head, a.body);
    }
    close(fd);
    peer_close(&p);
}

Test(server, keeps_alive_as_asked)
{
    peer p;
    answer a;
    standard(&p, NULL, 1);
    peer_start(&p);
    static const struct {
        const char *request;
        bool kept;
    } rows[] = {{"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n", true},
                {"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false},
                {"GET /hello HTTP/1.0\r\n\r\n", false},
                {"GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true},
                {"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", true},
                {"POST /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", true},
                {"POST /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 999999\r\n\r\nabc", false}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int fd = peer_connect(&p);
        peer_say(fd, rows[i].request);
        peer_answer(fd, &a, false);
        cr_assert_gt(a.status, 0);
        cr_assert_eq(head_has(&a, "Connection: close"), !rows[i].kept, "%s", rows[i].request);
        if (rows[i].kept) {
            peer_say(fd, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
            peer_answer(fd, &a, false);
            cr_assert(body_is(&a, "hello"), "%s", rows[i].request);
        } else {
            cr_assert(peer_ended(fd));
        }
        close(fd);
    }
    peer_close(&p);
}

Test(server, limits_answer_414_431_413)
{
    peer p;
    answer a;
    nexus_server_opts o = NEXUS_SERVER_OPTS_INIT;
    o.body_max_bytes = 1000;
    standard(&p, &o, 1);
    peer_start(&p);
    static char big[200000];
    memset(big, 'x', sizeof big);

    int fd = peer_connect(&p);
    peer_say(fd, "GET /");
    peer_send(fd, big, 9000);
    peer_answer(fd, &a, false);
    ASSERT_PROBLEM(&a, 414, "target-too-long");
    close(fd);

    fd = peer_connect(&p);
    peer_say(fd, "GET /hello HTTP/1.1\r\nHost: a\r\nX: ");
    peer_send(fd, big, 30000);
    peer_say(fd, "\r\n\r\n"); /* fits, over several buffers */
    peer_answer(fd, &a, false);
    cr_assert(body_is(&a, "hello"));
    peer_say(fd, "GET /hello HTTP/1.1\r\nHost: a\r\nX: ");
    peer_send(fd, big, 40000);
    peer_answer(fd, &a, false);
    ASSERT_PROBLEM(&a, 431, "headers-too-large");
    close(fd);

    fd = peer_connect(&p);
    peer_say(fd, "GET /hello HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < 100; i++)
        peer_say(fd, "X: y\r\n");
    peer_answer(fd, &a, false);
    ASSERT_PROBLEM(&a, 431, "too-many-headers");
    close(fd);

    peer_ask(&p, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n", &a);
    ASSERT_PROBLEM(&a, 413, "body-too-large");

    fd = peer_connect(&p); /* chunks without a declared length; the whole body is sent before the answer is read */
    peer_say(fd, "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 20; i++) {
        peer_say(fd, "1000\r\n");
        peer_send(fd, big, 0x1000);
        peer_say(fd, "\r\n");
    }
    peer_say(fd, "0\r\n\r\n");
    peer_answer(fd, &a, false);
    ASSERT_PROBLEM(&a, 413, "body-too-large");
    cr_assert(peer_ended(fd));
    close(fd);
    peer_close(&p);
}

Test(server, bodies_larger_than_the_buffer)
{
    peer p;
    answer a;
    standard(&p, NULL, 1);
    peer_start(&p);
    static char big[60000], head[40000];
    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (char)('a' + i % 26);
    for (int long_head = 0; long_head < 2; long_head++) { /* the second fills its buffer with the head alone */
        int fd = peer_connect(&p);
        int n = sprintf(head, "PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\nX: ", sizeof big);
        int pad = long_head ? 16384 - 4 - n : 10;
        memset(head + n, 'x', (size_t)pad);
        sprintf(head + n + pad, "\r\n\r\n");
        peer_say(fd, head);
        peer_send(fd, big, sizeof big);
        peer_answer(fd, &a, false);
        cr_assert_eq(a.body_len, sizeof big);
        cr_assert_arr_eq(a.body, big, sizeof big);
        peer_say(fd, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
        peer_answer(fd, &a, false);
        cr_assert(body_is(&a, "hello"));
        close(fd);
    }
    peer_close(&p);
}

Test(server, slow_clients_are_told_408_and_idle_ones_closed)
{
    peer p;
    answer a;
    nexus_server_opts o = NEXUS_SERVER_OPTS_INIT;
    o.head_timeout_ms = 60;
    o.body_window_ms = 60;
    o.idle_timeout_ms = 400;
    o.drain_timeout_ms = 50;
    standard(&p, &o, 1);
    peer_start(&p);
    int fd = peer_connect(&p);
    peer_say(fd, "GET /hello HTT");
    peer_answer(fd, &a, false);
    ASSERT_PROBLEM(&a, 408, "request-timeout");
    cr_assert(peer_ended(fd));
    close(fd);

    fd = peer_connect(&p);
    peer_say(fd, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc");
    peer_answer(fd, &a, false);
    ASSERT_PROBLEM(&a, 408, "request-timeout");
    cr_assert(peer_ended(fd));
    close(fd);

    fd = peer_connect(&p);
    int64_t start = nexus__mono_ns();
    cr_assert(peer_ended(fd));
    cr_assert_geq(nexus__mono_ns() - start, 350 * NEXUS__NS_PER_MS);
    close(fd);

    fd = peer_connect(&p);
    peer_say(fd, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    peer_answer(fd, &a, false);
    cr_assert(body_is(&a, "hello"));
    cr_assert(peer_ended(fd));
    close(fd);
    peer_close(&p);
}

/* --- filters ----------------------------------------------------------------------------------------------------- */

static int32_t needs_token(nexus_request *r, void *ud)
{
    nexus_slice token;
    (void)ud;
    if (nexus_request_header(r, "Authorization", &token))
        return NEXUS_FILTER_NEXT;
    nexus_request_problem(r, 401, "no-token", "Say who you are, %s.", "please");
    return NEXUS_FILTER_DONE;
}

Test(server, expect_continue_is_answered_after_the_filters)
{
    peer p;
    answer a;
    standard(&p, NULL, 1);
    cr_assert_eq(nexus_server_filter(p.server, needs_token, NULL), NEXUS_OK);
    peer_start(&p);
    peer_ask(&p, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n", &a);
    ASSERT_PROBLEM(&a, 401, "no-token");
    cr_assert(strstr(a.body, "Say who you are, please."));
    cr_assert(head_has(&a, "Connection: close"));
    int fd = peer_connect(&p);
    peer_say(fd,
             "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nAuthorization: x\r\nExpect: 100-continue\r\n\r\n");
    peer_answer(fd, &a, false);
    cr_assert_eq(a.status, 100);
    peer_say(fd, "abc");
    peer_answer(fd, &a, false);
    cr_assert(body_is(&a, "abc"));
    close(fd);
    peer_close(&p);
}

typedef struct suspending {
    peer *p;
    bool from_thread, in_filter;
    _Atomic int body_filters, logged;
    _Atomic int last_status;
} suspending;

static void resume(void *r)
{
    nexus_request_resume(r);
}

static int32_t suspends(nexus_request *r, void *ud)
{
    suspending *s = ud;
    nexus_slice id;
    nexus_request_id(r, &id);
    cr_assert_eq(nexus_request_set_user(r, "who", ud), NEXUS_OK);
    cr_assert_eq(nexus_request_set_header(r, "X-Frame-Options", NEXUS_S("DENY")), NEXUS_OK);
    cr_assert_eq(nexus_request_set_header(r, "X-Bad", NEXUS_S("a\r\nb")), NEXUS_EINVAL);
    cr_assert_eq(nexus_request_set_header(r, "Connection", NEXUS_S("close")), NEXUS_EINVAL);
    if (s->in_filter)
        nexus_request_resume(r);
    else
        cr_assert_eq(nexus_runtime_submit(s->p->runtime, resume, r), NEXUS_OK);
    return NEXUS_FILTER_SUSPEND;
}

static int32_t sees_body(nexus_request *r, void *ud)
{
    suspending *s = ud;
    nexus_slice body;
    nexus_request_body(r, &body);
    cr_assert_eq(nexus_request_user(r, "who"), ud);
    atomic_fetch_add(&s->body_filters, 1);
    if (body.n != 3)
        return NEXUS_FILTER_NEXT;
    nexus_problem_error errors[] = {{"/a", "type", "must be a number"}};
    nexus_request_problem_errors(r, 422, "invalid", "no", errors, 1);
    return NEXUS_FILTER_DONE;
}

static void logs(const nexus_request *r, void *ud)
{
    suspending *s = ud;
    atomic_store(&s->last_status, nexus_request_status(r));
    atomic_fetch_add(&s->logged, 1);
}

Test(server, filters_suspend_body_filters_refuse_loggers_see_all)
{
    for (int in_filter = 0; in_filter < 2; in_filter++) {
        peer p;
        answer a;
        suspending s = {.p = &p, .in_filter = in_filter};
        nexus_pair defaults[] = {{NEXUS_S("X-Frame-Options"), NEXUS_S("SAMEORIGIN")},
                                 {NEXUS_S("X-Other"), NEXUS_S("1")}};
        nexus_server_opts o = NEXUS_SERVER_OPTS_INIT;
        o.headers = defaults;
        o.header_count = 2;
        standard(&p, &o, 1);
        cr_assert_eq(nexus_server_filter(p.server, suspends, &s), NEXUS_OK);
        cr_assert_eq(nexus_server_body_filter(p.server, sees_body, &s), NEXUS_OK);
        cr_assert_eq(nexus_server_logger(p.server, logs, &s), NEXUS_OK);
        peer_start(&p);
        cr_assert_eq(nexus_server_logger(p.server, logs, &s), NEXUS_ECONFLICT);
        peer_ask(&p, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd", &a);
        cr_assert(body_is(&a, "abcd"));
        cr_assert(head_has(&a, "X-Frame-Options: DENY") && head_has(&a, "X-Other: 1") && !strstr(a.head, "SAMEORIGIN"));
        cr_assert(strstr(a.head, "X-Request-Id: "));
        peer_ask(&p, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", &a);
        ASSERT_PROBLEM(&a, 422, "invalid");
        cr_assert(
            strstr(a.body, "\"errors\":[{\"pointer\":\"/a\",\"code\":\"type\",\"detail\":\"must be a number\"}]"));
        peer_ask(&p, "GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", &a);
        ASSERT_PROBLEM(&a, 404, "no-route");
        cr_assert(head_has(&a, "X-Frame-Options: DENY"));
        peer_ask(&p, "GET nothing HTTP/1.1\r\nHost: a\r\n\r\n", &a);
        ASSERT_PROBLEM(&a, 400, "bad-target");
        cr_assert(head_has(&a, "X-Frame-Options: SAMEORIGIN"));
        nexus_server_close(p.server);
        cr_assert_eq(s.body_filters, 2);
        cr_assert_eq(s.logged, 4);
        cr_assert_eq(s.last_status, 400);
        nexus_runtime_close(p.runtime);
    }
}

static void who(nexus_request *r, void *ud)
{
    nexus_slice ip, id;
    char text[160];
    (void)ud;
    nexus_request_remote_ip(r, &ip);
    nexus_request_id(r, &id);
    int n = snprintf(text, sizeof text, "%.*s %.*s", (int)ip.n, ip.p, (int)id.n, id.p);
    nexus_request_reply(r, 200, "text/plain", (nexus_slice){text, (size_t)n});
}

Test(server, only_trusted_peers_speak_for_others)
{
    static const char asks[] =
        "GET /who HTTP/1.1\r\nHost: a\r\nX-Request-Id: my-own-id_1\r\nX-Forwarded-For: 6.6.6.6, 9.9.9.9\r\n"
        "X-Forwarded-For: 10.0.0.1\r\n\r\n";
    for (int trust = 0; trust < 2; trust++) {
        peer p;
        answer a;
        nexus_server_opts o = NEXUS_SERVER_OPTS_INIT;
        o.trusted_proxies = trust ? "127.0.0.0/8, 10.0.0.0/8" : NULL;
        peer_open(&p, &o, 1);
        peer_route(&p, "GET", "/who", who, NULL, 0);
        peer_start(&p);
        peer_ask(&p, asks, &a);
        if (trust) {
            cr_assert(body_is(&a, "9.9.9.9 my-own-id_1"), "%s", a.body);
            cr_assert(head_has(&a, "X-Request-Id: my-own-id_1"));
        } else {
            cr_assert(strncmp(a.body, "127.0.0.1 ", 10) == 0, "%s", a.body);
            cr_assert_null(strstr(a.head, "my-own-id_1"));
        }
        peer_close(&p);
    }
    peer p;
    peer_open(&p, NULL, 1);
    nexus_server *s;
    nexus_server_opts o = NEXUS_SERVER_OPTS_INIT;
    o.trusted_proxies = "nonsense";
    cr_assert_eq(nexus_server_open(&s, p.runtime, &o), NEXUS_EINVAL);
    peer_close(&p);
}

/* --- people who leave, and the end -------------------------------------------------------------------------------- */

typedef struct held {
    gate entered, leave;
    nexus_request *request;
    _Atomic int status;
} held;

static void holds(nexus_request *r, void *ud)
{
    held *h = ud;
    h->request = r;
    gate_add(&h->entered, 1);
    cr_assert(gate_wait(&h->leave, 1));
    nexus_slice body, name;
    nexus_request_body(r, &body); /* still there although the connection is not */
    cr_assert(nexus__slice_eq_c(body, "stay"));
    cr_assert(nexus_request_header(r, "X-Name", &name) && nexus__slice_eq_c(name, "value"));
    nexus_request_reply(r, 200, "text/plain", body);
}

static void log_status(const nexus_request *r, void *ud)
{
    held *h = ud;
    atomic_store(&h->status, nexus_request_status(r) ? nexus_request_status(r) : -1);
    gate_add(&h->entered, 10);
}

static const char stay[] = "POST /hold HTTP/1.1\r\nHost: a\r\nX-Name: value\r\nContent-Length: 4\r\n\r\nstay";

Test(server, a_worker_may_answer_after_its_client_has_gone)
{
    peer p;
    held h = {GATE_INIT, GATE_INIT, NULL, 0};
    peer_open(&p, NULL, 1);
    peer_route(&p, "POST", "/hold", holds, &h, 0);
    cr_assert_eq(nexus_server_logger(p.server, log_status, &h), NEXUS_OK);
    peer_start(&p);
    int fd = peer_connect(&p);
    peer_say(fd, stay);
    cr_assert(gate_wait(&h.entered, 1));
    struct linger reset = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(fd);
    gate_add(&h.leave, 1);
    cr_assert(gate_wait(&h.entered, 11));
    peer_close(&p);
}

Test(server, drain_waits_for_running_requests_and_closes_idle_connections)
{
    peer p;
    answer a;
    held h = {GATE_INIT, GATE_INIT, NULL, 0};
    standard(&p, NULL, 2);
    peer_route(&p, "POST", "/hold", holds, &h, 0);
    peer_start(&p);
    int idle = peer_connect(&p), busy = peer_connect(&p);
    peer_say(idle, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    peer_answer(idle, &a, false);
    peer_say(busy, stay);
    cr_assert(gate_wait(&h.entered, 1));
    cr_assert_eq(nexus_server_connections(p.server), 2);
    cr_assert_eq(nexus_server_drain(p.server, 30), NEXUS_ETIMEDOUT);
    cr_assert(peer_ended(idle));
    gate_add(&h.leave, 1);
    peer_answer(busy, &a, false);
    cr_assert(body_is(&a, "stay"));
    cr_assert(head_has(&a, "Connection: close"));
    cr_assert_eq(nexus_server_drain(p.server, 5000), NEXUS_OK);
    cr_assert_eq(nexus_server_connections(p.server), 0);
    close(idle);
    close(busy);
    peer_close(&p);
}

static void keeps(nexus_request *r, void *ud)
{
    held *h = ud;
    h->request = r;
    gate_add(&h->entered, 1);
}

Test(server, a_request_may_be_answered_after_the_server_was_closed)
{
    peer p;
    held h = {GATE_INIT, GATE_INIT, NULL, 0};
    peer_open(&p, NULL, 1);
    peer_route(&p, "GET", "/keep", keeps, &h, 0);
    peer_start(&p);
    int fd = peer_connect(&p);
    peer_say(fd, "GET /keep HTTP/1.1\r\nHost: a\r\n\r\n");
    cr_assert(gate_wait(&h.entered, 1));
    nexus_server_close(p.server);
    nexus_request_reply(h.request, 200, NULL, NEXUS_S("late"));
    cr_assert(peer_ended(fd));
    close(fd);
    nexus_runtime_close(p.runtime);
}

Test(server, full_workers_are_503)
{
    peer p;
    answer a;
    held h = {GATE_INIT, GATE_INIT, NULL, 0};
    standard(&p, NULL, 1);
    peer_route(&p, "POST", "/hold", holds, &h, 0);
    peer_start(&p);
    int fds[66];
    for (int i = 0; i < 2; i++)
        peer_say(fds[i] = peer_connect(&p), stay);
    cr_assert(gate_wait(&h.entered, 2)); /* both workers are inside; 64 more fill the queue */
    for (int i = 2; i < 66; i++)
        peer_say(fds[i] = peer_connect(&p), stay);
    do /* the requests above may still be on their way */
        peer_ask(&p, "PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", &a);
    while (a.status == 200 && nexus_server_connections(p.server) < 66);
    for (int tries = 0; tries < 100; tries++) {
        int fd = peer_connect(&p);
        struct timeval tv = {.tv_usec = 100000};
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
        peer_say(fd, "GET /work HTTP/1.1\r\nHost: a\r\n\r\n");
        peer_answer(fd, &a, false);
        close(fd);
        if (a.status == 503)
            break;
    }
    ASSERT_PROBLEM(&a, 503, "overloaded");
    cr_assert(head_has(&a, "Retry-After: 1"));
    gate_add(&h.leave, 1);
    for (int i = 0; i < 66; i++)
        close(fds[i]);
    peer_close(&p);
}

Test(server, several_loops_share_a_port_that_nobody_else_gets)
{
    peer p, q;
    answer a;
    standard(&p, NULL, 3);
    peer_start(&p);
    for (int i = 0; i < 24; i++) {
        peer_ask(&p, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n", &a);
        cr_assert(body_is(&a, "hello"));
    }
    standard(&q, NULL, 1);
    cr_assert_eq(nexus_server_listen(q.server, NULL, p.port, NULL), NEXUS_ECONFLICT);
    cr_assert(strstr(nexus_error_message(), "taken"));
    cr_assert_eq(nexus_server_listen(q.server, "localhost", 0, NULL), NEXUS_EINVAL);
    peer_close(&q);
    peer_close(&p);
}

static void big(nexus_request *r, void *ud)
{
    (void)ud;
    static char text[4 * 1024 * 1024];
    memset(text, 'z', sizeof text);
    nexus_request_reply(r, 200, "text/plain", (nexus_slice){text, sizeof text});
}

Test(server, large_replies_reach_slow_readers)
{
    for (uint32_t flags = 0; flags < 2; flags++) {
        peer p;
        standard(&p, NULL, 1);
        peer_route(&p, "GET", "/big", big, NULL, flags ? NEXUS_ROUTE_ON_LOOP : 0);
        peer_start(&p);
        int fd = peer_connect(&p);
        peer_say(fd, "GET /big HTTP/1.1\r\nHost: a\r\n\r\nGET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        static char chunk[65536];
        size_t sum = 0, z = 0;
        ssize_t n;
        while ((n = recv(fd, chunk, sizeof chunk, 0)) > 0) {
            sum += (size_t)n;
            for (ssize_t i = 0; i < n; i++)
                z += chunk[i] == 'z';
        }
        cr_assert_eq(z, 4u * 1024 * 1024);
        cr_assert_gt(sum, z + 200);
        close(fd);
        peer_close(&p);
    }
}

Test(server, connections_over_the_maximum_wait)
{
    peer p;
    answer a;
    nexus_server_opts o = NEXUS_SERVER_OPTS_INIT;
    o.connections_max = 2;
    standard(&p, &o, 1);
    peer_start(&p);
    int fds[3];
    for (int i = 0; i < 3; i++)
        peer_say(fds[i] = peer_connect(&p), "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    peer_answer(fds[0], &a, false);
    peer_answer(fds[1], &a, false);
    struct pollfd poll_third = {.fd = fds[2], .events = POLLIN};
    cr_assert_eq(poll(&poll_third, 1, 50), 0);
    close(fds[0]);
    peer_answer(fds[2], &a, false);
    cr_assert(body_is(&a, "hello"));
    close(fds[1]);
    close(fds[2]);
    peer_close(&p);
}

Test(server, a_connection_that_ends_on_one_loop_makes_room_on_the_others)
{
    peer p;
    answer a;
    nexus_server_opts o = NEXUS_SERVER_OPTS_INIT;
    o.connections_max = 1;
    standard(&p, &o, 2);
    peer_start(&p);
    int fds[12];
    for (int i = 0; i < 12; i++)
        peer_say(fds[i] = peer_connect(&p), "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    for (int i = 0; i < 12; i++) {
        peer_answer(fds[i], &a, false);
        cr_assert(body_is(&a, "hello"));
        close(fds[i]);
    }
    peer_close(&p);
}

Test(server, wrong_routes_are_refused)
{
    peer p;
    peer_open(&p, NULL, 1);
    nexus_route r = NEXUS_ROUTE_INIT;
    r.path = "/a";
    cr_assert_eq(nexus_server_route(p.server, &r, 1), NEXUS_EINVAL);
    r.handler = hello;
    cr_assert_eq(nexus_server_route(p.server, &r, 1), NEXUS_OK);
    cr_assert_eq(nexus_server_route(p.server, &r, 1), NEXUS_ECONFLICT);
    r.path = "/b";
    r.flags = NEXUS_ROUTE_STREAM_BODY;
    cr_assert_eq(nexus_server_route(p.server, &r, 1), NEXUS_EINVAL);
    cr_assert_eq(nexus_server_route_count(p.server), 1);
    cr_assert_str_eq(nexus_server_route_at(p.server, 0)->path, "/a");
    cr_assert_null(nexus_server_route_at(p.server, 1));
    peer_close(&p);
}
