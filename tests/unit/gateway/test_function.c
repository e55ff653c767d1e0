/* gateway/: C functions as targets, and a gateway on the host's own loop. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <event2/event.h>
#include <nexus/nexus.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROUTES(target)                                                                                                 \
    "{\"version\":1,\"upstreams\":{\"f\":{\"targets\":[\"" target                                                      \
    "\"]}},\"routes\":[{\"id\":\"r\",\"prefix\":\"/api\","                                                             \
    "\"strip_prefix\":\"/"                                                                                             \
    "api\",\"upstream\":\"f\",\"body_max_bytes\":100000,\"response_headers\":{\"set\":{\"X-Set\":\"1\"}}}]}"

typedef struct world {
    nexus_runtime *runtime;
    nexus_server *server;
    nexus_gateway *gateway;
    uint16_t port;
    pthread_t loop_thread;
    bool on_loop;
} world;

/* Says what it got: method, path, query, and how long the body is. */
static void tell(nexus_request *request, void *user_data)
{
    world *w = user_data;
    char text[300];
    nexus_slice method, path, query, body;
    nexus_request_method(request, &method);
    nexus_request_path(request, &path);
    nexus_request_query(request, &query);
    nexus_request_body(request, &body);
    w->on_loop = nexus_loop_is_current(nexus_runtime_loop(w->runtime, 0));
    int n = snprintf(text, sizeof text, "%.*s %.*s?%.*s %zu", (int)method.n, method.p, (int)path.n, path.p,
                     (int)query.n, query.p, body.n);
    nexus_request_reply(request, 203, "text/plain", (nexus_slice){text, (size_t)n});
}

static void open_world(world *w, void *base, uint32_t flags)
{
    nexus_runtime_opts opts = NEXUS_RUNTIME_OPTS_INIT;
    memset(w, 0, sizeof *w);
    opts.loops = 1;
    opts.workers = 1;
    opts.event_base = base;
    cr_assert_eq(nexus_runtime_open(&w->runtime, &opts), NEXUS_OK);
    cr_assert_eq(nexus_server_open(&w->server, w->runtime, NULL), NEXUS_OK);
    cr_assert_eq(nexus_gateway_open(&w->gateway, w->runtime, NULL), NEXUS_OK);
    cr_assert_eq(nexus_gateway_function(w->gateway, "tell", flags, tell, w), NEXUS_OK);
    cr_assert_eq(nexus_gateway_load(w->gateway, "t", NEXUS_S(ROUTES("function:tell"))), NEXUS_OK, "%s",
                 nexus_error_message());
    cr_assert_eq(nexus_gateway_mount(w->gateway, w->server), NEXUS_OK);
    cr_assert_eq(nexus_server_listen(w->server, NULL, 0, &w->port), NEXUS_OK);
    cr_assert_eq(nexus_runtime_start(w->runtime), NEXUS_OK);
}

static void close_world(world *w)
{
    nexus_server_close(w->server);
    nexus_gateway_close(w->gateway);
    nexus_runtime_close(w->runtime);
}

static int dial(const world *w)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(w->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

/* All that comes until the peer closes. base: a loop to turn meanwhile. */
static const char *ask(const world *w, const char *text, size_t n, struct event_base *base)
{
    static char answer[8192];
    size_t got = 0;
    int fd = dial(w);
    cr_assert_eq(send(fd, text, n, MSG_NOSIGNAL), (ssize_t)n);
    for (;;) {
        if (base)
            event_base_loop(base, EVLOOP_NONBLOCK);
        if (poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, base ? 1 : 10000) == 0)
            continue;
        ssize_t k = recv(fd, answer + got, sizeof answer - 1 - got, 0);
        if (k <= 0)
            break;
        got += (size_t)k;
    }
    close(fd);
    answer[got] = 0;
    return answer;
}

#define ASK(w, text, base) ask(w, text, sizeof text - 1, base)
#define GET "GET /api/x?q=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

Test(function, answers_on_the_loop_and_on_a_worker)
{
    for (uint32_t flags = 0; flags <= NEXUS_ROUTE_ON_LOOP; flags += NEXUS_ROUTE_ON_LOOP) {
        world w;
        open_world(&w, NULL, flags);
        const char *answer = ASK(&w, GET, NULL);
        cr_expect(strstr(answer, "HTTP/1.1 203 "), "%s", answer);
        cr_expect(strstr(answer, "\r\nX-Set: 1\r\n"), "%s", answer);
        cr_expect(strstr(answer, "GET /x?q=1 0"), "the path as an upstream gets it: %s", answer);
        cr_expect_eq(w.on_loop, flags == NEXUS_ROUTE_ON_LOOP);
        close_world(&w);
    }
}

Test(function, gets_the_whole_body)
{
    static char big[60000];
    world w;
    open_world(&w, NULL, NEXUS_ROUTE_ON_LOOP);
    cr_expect(
        strstr(ASK(&w, "POST /api/p HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", NULL),
               "POST /p? 5"));
    cr_expect(strstr(ASK(&w,
                         "POST /api/p HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
                         "3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n",
                         NULL),
                     "POST /p? 7"));
    int n = snprintf(big, sizeof big,
                     "POST /api/p HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 50000\r\n\r\n");
    memset(big + n, 'x', 50000);
    cr_expect(strstr(ask(&w, big, (size_t)n + 50000, NULL), "POST /p? 50000"));
    const char *answer = ASK(&w, "POST /api/p HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n", NULL);
    cr_expect(strstr(answer, "HTTP/1.1 413 "), "over the route's limit: %s", answer);
    close_world(&w);
}

Test(function, several_requests_on_a_connection)
{
    world w;
    open_world(&w, NULL, 0);
    const char *answer = ASK(&w,
                             "GET /api/1 HTTP/1.1\r\nHost: a\r\n\r\n"
                             "POST /api/2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
                             "GET /api/3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
                             NULL);
    cr_expect(strstr(answer, "GET /1? 0") && strstr(answer, "POST /2? 3") && strstr(answer, "GET /3? 0"), "%s", answer);
    close_world(&w);
}

typedef struct held {
    pthread_mutex_t lock;
    pthread_cond_t came;
    nexus_request *request;
} held;

static void hold(nexus_request *request, void *user_data)
{
    held *h = user_data;
    pthread_mutex_lock(&h->lock);
    h->request = request;
    pthread_cond_signal(&h->came);
    pthread_mutex_unlock(&h->lock);
}

Test(function, may_answer_after_everything_was_closed)
{
    world w;
    held h = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL};
    open_world(&w, NULL, 0);
    cr_assert_eq(nexus_gateway_function(w.gateway, "hold", NEXUS_ROUTE_ON_LOOP, hold, &h), NEXUS_OK);
    cr_assert_eq(nexus_gateway_load(w.gateway, "t", NEXUS_S(ROUTES("function:hold"))), NEXUS_OK);
    int fd = dial(&w);
    cr_assert_eq(send(fd, GET, sizeof GET - 1, 0), (ssize_t)sizeof GET - 1);
    pthread_mutex_lock(&h.lock);
    while (!h.request)
        pthread_cond_wait(&h.came, &h.lock);
    pthread_mutex_unlock(&h.lock);
    nexus_server_close(w.server);
    nexus_gateway_close(w.gateway);
    nexus_request_reply(h.request, 200, NULL, NEXUS_S("too late"));
    nexus_runtime_close(w.runtime);
    close(fd);
}

Test(function, names)
{
    world w;
    open_world(&w, NULL, 0);
    cr_expect_eq(nexus_gateway_function(w.gateway, "tell", 0, tell, &w), NEXUS_ECONFLICT);
    cr_expect_eq(nexus_gateway_function(w.gateway, "two words", 0, tell, &w), NEXUS_EINVAL);
    cr_expect_eq(nexus_gateway_function(w.gateway, "", 0, tell, &w), NEXUS_EINVAL);
    cr_expect_eq(nexus_gateway_function(w.gateway, "x", NEXUS_ROUTE_STREAM_BODY, tell, &w), NEXUS_EINVAL);
    cr_expect_eq(nexus_gateway_load(w.gateway, "t", NEXUS_S(ROUTES("function:nobody"))), NEXUS_EINVAL);
    cr_expect(strstr(nexus_error_message(), "no function nobody"), "%s", nexus_error_message());
    cr_expect(strstr(ASK(&w, GET, NULL), "HTTP/1.1 203 "), "the routes before stay");
    close_world(&w);
}

Test(gateway, runs_on_the_hosts_event_base)
{
    world w;
    struct event_base *base = event_base_new();
    open_world(&w, base, NEXUS_ROUTE_ON_LOOP);
    const char *answer = ASK(&w, GET, base);
    cr_expect(strstr(answer, "HTTP/1.1 203 "), "%s", answer);
    cr_expect(w.on_loop);
    close_world(&w);
    event_base_free(base);
}

Test(registry, instances_of_the_same_process)
{
    world w;
    char *text;
    size_t n;
    nexus_gateway_instance in = NEXUS_GATEWAY_INSTANCE_INIT;
    open_world(&w, NULL, 0);
    in.service = "orders";
    in.id = "a";
    in.url = "http://127.0.0.1:9";
    cr_expect_eq(nexus_gateway_instance_put(w.gateway, &in), NEXUS_OK);
    cr_expect_eq(nexus_gateway_instance_put(w.gateway, &in), NEXUS_OK);
    cr_expect_eq(nexus_gateway_instances(w.gateway, NULL, &text, &n), NEXUS_OK);
    cr_expect(strncmp(text, "[{\"service\":\"orders\",\"id\":\"a\",\"url\":\"http://127.0.0.1:9\",\"weight\":1,", 66) ==
                  0,
              "%s", text);
    nexus_free(text);
    in.url = "http://127.0.0.1:9/path";
    cr_expect_eq(nexus_gateway_instance_put(w.gateway, &in), NEXUS_EINVAL);
    cr_expect_eq(nexus_gateway_instance_remove(w.gateway, "orders", "a"), NEXUS_OK);
    cr_expect_eq(nexus_gateway_instance_remove(w.gateway, "orders", "a"), NEXUS_ENOTFOUND);
    close_world(&w);
}
