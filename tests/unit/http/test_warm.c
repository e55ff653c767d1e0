/* http/: once warm, a request allocates nothing. */
#include "peer.h"

typedef struct counter {
    _Atomic long calls;
} counter;

static void *count_malloc(size_t n, void *ud)
{
    atomic_fetch_add(&((counter *)ud)->calls, 1);
    return malloc(n);
}

static void *count_realloc(void *p, size_t n, void *ud)
{
    atomic_fetch_add(&((counter *)ud)->calls, 1);
    return realloc(p, n);
}

static void count_free(void *p, void *ud)
{
    (void)ud;
    free(p);
}

static int32_t sets(nexus_request *r, void *ud)
{
    nexus_slice id;
    (void)ud;
    nexus_request_id(r, &id);
    cr_assert_not_null(nexus_request_alloc(r, 200));
    cr_assert_eq(nexus_request_set_header(r, "X-Content-Type-Options", NEXUS_S("nosniff")), NEXUS_OK);
    return NEXUS_FILTER_NEXT;
}

static void hello(nexus_request *r, void *ud)
{
    (void)ud;
    nexus_slice body, id;
    nexus_request_body(r, &body);
    cr_assert(nexus_request_param(r, "id", &id));
    nexus_request_reply(r, 200, "text/plain", body);
}

Test(warm, requests_allocate_nothing)
{
    static const char *const requests[] = {
        "PUT /loop/a%20b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        "PUT /work/7 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        "PUT /work/7 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n",
    };
    counter c = {0};
    nexus_alloc alloc = {count_malloc, count_realloc, count_free, &c};
    nexus_server_opts o = NEXUS_SERVER_OPTS_INIT;
    o.alloc = &alloc;
    peer p;
    static answer a;
    peer_open(&p, &o, 1);
    peer_route(&p, "PUT", "/loop/{id}", hello, NULL, NEXUS_ROUTE_ON_LOOP);
    peer_route(&p, "PUT", "/work/{id}", hello, NULL, 0);
    cr_assert_eq(nexus_server_filter(p.server, sets, NULL), NEXUS_OK);
    peer_start(&p);
    int fd = peer_connect(&p);
    long warm = 0;
    for (int i = 0; i < 200; i++) {
        peer_say(fd, requests[i % 4]);
        peer_answer(fd, &a, false);
        cr_assert_gt(a.status, 0);
        if (i == 20)
            warm = atomic_load(&c.calls);
    }
    cr_assert_eq(atomic_load(&c.calls), warm, "%ld allocations in 179 requests", atomic_load(&c.calls) - warm);
    close(fd);
    peer_close(&p);
}

/* --- every allocation fails once: nothing crashes, and the server serves afterwards -------------------------------- */

static int32_t tries(nexus_request *r, void *ud)
{
    (void)ud;
    void *p = nexus_request_alloc(r, 200);
    nexus_status status = nexus_request_set_header(r, "X-Content-Type-Options", NEXUS_S("nosniff"));
    cr_assert(p || status == NEXUS_OK, "one failed already");
    return NEXUS_FILTER_NEXT;
}

typedef struct failing {
    _Atomic long left; /* calls until one fails; negative = none */
} failing;

static void *fail_malloc(size_t n, void *ud)
{
    return atomic_fetch_sub(&((failing *)ud)->left, 1) == 0 ? NULL : malloc(n);
}

static void *fail_realloc(void *p, size_t n, void *ud)
{
    return atomic_fetch_sub(&((failing *)ud)->left, 1) == 0 ? NULL : realloc(p, n);
}

Test(warm, every_allocation_may_fail)
{
    static answer a;
    static const char ask[] =
        "PUT /work/7 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    bool failed = true;
    for (long at = 0; failed && at < 500; at++) {
        failing f = {at};
        nexus_alloc alloc = {fail_malloc, fail_realloc, count_free, &f};
        nexus_server_opts o = NEXUS_SERVER_OPTS_INIT;
        nexus_pair header = {NEXUS_S("X-A"), NEXUS_S("b")};
        o.alloc = &alloc;
        o.trusted_proxies = "127.0.0.1";
        o.headers = &header;
        o.header_count = 1;
        nexus_runtime *runtime;
        cr_assert_eq(nexus_runtime_open(&runtime, NULL), NEXUS_OK);
        peer p = {.runtime = runtime};
        nexus_status status = nexus_server_open(&p.server, runtime, &o);
        nexus_route r = NEXUS_ROUTE_INIT;
        r.path = "/work/{id}";
        r.method = "PUT";
        r.handler = hello;
        if (!status)
            status = nexus_server_route(p.server, &r, 1);
        if (!status)
            status = nexus_server_filter(p.server, tries, NULL);
        if (!status)
            status = nexus_server_listen(p.server, NULL, 0, &p.port);
        if (!status) {
            cr_assert_eq(nexus_runtime_start(runtime), NEXUS_OK);
            peer_ask(&p, ask, &a);
            failed = atomic_load(&f.left) < 0;
            if (!failed)
                cr_assert_eq(a.status, 200);
            atomic_store(&f.left, -1);
            peer_ask(&p, ask, &a);
            cr_assert_eq(a.status, 200, "after allocation %ld failed", at);
        } else {
            cr_assert_eq(status, NEXUS_ENOMEM, "%s", nexus_error_message());
        }
        nexus_server_close(status && !p.server ? NULL : p.server);
        nexus_runtime_close(runtime);
    }
    cr_assert_not(failed);
}
