/* Middlewares in a real gateway: each phase goes on, answers and waits; around hears what came of what is inside. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <nexus/middleware.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/str.h"

static nexus_runtime *runtime;
static nexus_gateway *gateway;
static nexus_server *front, *back;
static uint16_t port;

/* What happened, in the order in which it did; guarded by the mutex, `logged` counts on_log. */
static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    char text[4096];
    int logged, upstream;
    nexus_gateway_call *suspended;
} world = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void note(const char *who, const char *what)
{
    pthread_mutex_lock(&world.mutex);
    size_t n = strlen(world.text);
    snprintf(world.text + n, sizeof world.text - n, "%s%s%s ", who, what[0] ? "." : "", what);
    pthread_cond_broadcast(&world.changed);
    pthread_mutex_unlock(&world.mutex);
}

static void wait_logged(int n)
{
    pthread_mutex_lock(&world.mutex);
    while (world.logged < n)
        pthread_cond_wait(&world.changed, &world.mutex);
    pthread_mutex_unlock(&world.mutex);
}

/* --- a middleware that does what the request asks it to: "X-Do: PHASE=VERB" ------------------------------------------- */

typedef struct slot {
    char name;
    uint32_t calls;
} slot;

static const char *asked(nexus_gateway_call *call, const char *phase)
{
    nexus_slice value;
    size_t n = strlen(phase);
    if (!nexus_request_header(nexus_gateway_call_request(call), "x-do", &value) || value.n <= n ||
        memcmp(value.p, phase, n) != 0 || value.p[n] != '=')
        return "";
    return nexus__slice_starts(nexus__slice_from(value, n + 1), NEXUS_S("respond"))  ? "respond"
           : nexus__slice_starts(nexus__slice_from(value, n + 1), NEXUS_S("worker")) ? "worker"
           : nexus__slice_starts(nexus__slice_from(value, n + 1), NEXUS_S("inside")) ? "inside"
           : nexus__slice_starts(nexus__slice_from(value, n + 1), NEXUS_S("hold"))   ? "hold"
                                                                                     : "empty";
}

static void resume(void *user_data)
{
    nexus_gateway_call_resume(user_data, NEXUS_MIDDLEWARE_CONTINUE);
}

static int32_t act(nexus_gateway_call *call, const char *phase, slot *s, void *user_data)
{
    const char *name = user_data, *verb = asked(call, phase);
    cr_assert(s->calls == 0 || s->name == name[0], "each has its own memory");
    s->name = name[0];
    s->calls++;
    note(name, phase);
    if (name[0] != 'b' || !*verb)
        return NEXUS_MIDDLEWARE_CONTINUE;
    if (strcmp(verb, "respond") == 0) {
        cr_assert_eq(nexus_gateway_call_respond(call, 418, "text/plain", NEXUS_S("tea")), 0);
        cr_assert_eq(nexus_gateway_call_respond(call, 200, NULL, NEXUS_S("")), NEXUS_ECONFLICT);
        return NEXUS_MIDDLEWARE_RESPOND;
    }
    if (strcmp(verb, "empty") == 0)
        return NEXUS_MIDDLEWARE_RESPOND;
    if (strcmp(verb, "inside") == 0)
        resume(call);
    else if (strcmp(verb, "worker") == 0)
        cr_assert_eq(nexus_runtime_submit(runtime, resume, call), 0);
    else {
        pthread_mutex_lock(&world.mutex);
        world.suspended = call;
        pthread_cond_broadcast(&world.changed);
        pthread_mutex_unlock(&world.mutex);
    }
    return NEXUS_MIDDLEWARE_SUSPEND;
}

static atomic_int connections;
static atomic_bool unwelcome;

static int32_t on_conn(nexus_slice peer, void *user_data)
{
    cr_assert_str_eq(user_data, "a");
    cr_assert(nexus__slice_eq_c(peer, "127.0.0.1"));
    atomic_fetch_add(&connections, 1);
    return atomic_load(&unwelcome) ? NEXUS_MIDDLEWARE_RESPOND : NEXUS_MIDDLEWARE_CONTINUE;
}

static int32_t on_request(nexus_gateway_call *call, void *s, void *user_data)
{
    nexus_slice id;
    cr_assert_not(nexus_gateway_call_route(call, &id, NULL));
    return act(call, "request", s, user_data);
}

static int32_t on_route(nexus_gateway_call *call, void *s, void *user_data)
{
    nexus_slice id, upstream, path;
    cr_assert(nexus_gateway_call_route(call, &id, &upstream));
    cr_assert(nexus__slice_eq_c(id, "all") && nexus__slice_eq_c(upstream, "u"));
    nexus_gateway_call_path(call, &path);
    cr_assert(nexus__slice_eq_c(path, "/x/y") || nexus__slice_eq_c(path, "/down"));
    return act(call, "route", s, user_data);
}

static int32_t on_auth(nexus_gateway_call *call, void *s, void *user_data)
{
    cr_assert_null(nexus_gateway_call_principal(call));
    return act(call, "auth", s, user_data);
}

static int32_t on_upstream(nexus_gateway_call *call, void *s, void *user_data)
{
    cr_assert_eq(nexus_gateway_call_set_upstream_header(call, "X-Seen", NEXUS_S("yes")), 0);
    cr_assert_eq(nexus_gateway_call_set_upstream_header(call, "X-Nexus-User", NEXUS_S("root")), NEXUS_EINVAL);
    cr_assert_eq(nexus_gateway_call_set_upstream_header(call, "Content-Length", NEXUS_S("1")), NEXUS_EINVAL);
    cr_assert_eq(nexus_gateway_call_set_upstream_header(call, "X-A", NEXUS_S("a\r\nb")), NEXUS_EINVAL);
    return act(call, "upstream", s, user_data);
}

static int32_t on_response(nexus_gateway_call *call, void *s, void *user_data)
{
    nexus_slice said;
    cr_assert_eq(nexus_gateway_call_status(call), 200);
    cr_assert(nexus_gateway_call_reply_header(call, "x-back", &said) && nexus__slice_eq_c(said, "yes"));
    (void)nexus_request_set_header(nexus_gateway_call_request(call), "X-Mw", NEXUS_S("was here"));
    return act(call, "response", s, user_data);
}

static void done(nexus_gateway_call *call, uint16_t status, void *user_data)
{
    char text[16];
    snprintf(text, sizeof text, "done%u", status);
    note(user_data, text);
    (void)call;
}

static nexus_gateway_frame *kept;
static void *kept_name;

static void go_on_later(void *user_data)
{
    nexus_gateway_next(user_data, done, kept_name);
}

static void around(nexus_gateway_call *call, nexus_gateway_frame *frame, void *s, void *user_data)
{
    const char *verb = asked(call, "around");
    note(user_data, "around");
    (void)s;
    if (((const char *)user_data)[0] != 'b' || !*verb) {
        nexus_gateway_next(frame, done, user_data);
        nexus_gateway_next(frame, done, user_data); /* a second time is nothing */
    } else if (strcmp(verb, "respond") == 0) {
        cr_assert_eq(nexus_gateway_call_respond(call, 418, "text/plain", NEXUS_S("tea")), 0);
    } else {
        kept = frame;
        kept_name = user_data;
        cr_assert_eq(nexus_loop_post(nexus_runtime_loop(runtime, 0), go_on_later, frame), 0);
    }
}

static void on_log(nexus_gateway_call *call, uint16_t status, void *s, void *user_data)
{
    char text[16];
    snprintf(text, sizeof text, "log%u", status);
    note(user_data, text);
    (void)call;
    (void)s;
    pthread_mutex_lock(&world.mutex);
    world.logged++;
    pthread_cond_broadcast(&world.changed);
    pthread_mutex_unlock(&world.mutex);
}

/* --- the world ------------------------------------------------------------------------------------------------------- */

static void upstream_handler(nexus_request *request, void *user_data)
{
    nexus_slice seen;
    (void)user_data;
    pthread_mutex_lock(&world.mutex);
    world.upstream++;
    pthread_mutex_unlock(&world.mutex);
    bool has = nexus_request_header(request, "x-seen", &seen) && nexus__slice_eq_c(seen, "yes");
    (void)nexus_request_set_header(request, "X-Back", NEXUS_S("yes"));
    nexus_request_reply(request, 200, "text/plain", has ? NEXUS_S("back") : NEXUS_S("unseen"));
}

static void add(const char *name, int32_t order)
{
    nexus_middleware m = NEXUS_MIDDLEWARE_INIT;
    m.name = name;
    m.order = order;
    m.slot_bytes = sizeof(slot);
    m.on_request = on_request;
    m.on_route = on_route;
    m.on_auth = on_auth;
    m.on_upstream = on_upstream;
    m.on_response = on_response;
    m.around = around;
    m.on_log = on_log;
    m.on_conn = name[0] == 'a' ? on_conn : NULL;
    m.user_data = (void *)(uintptr_t)name;
    cr_assert_eq(nexus_gateway_use(gateway, &m), 0, "%s", nexus_error_message());
    cr_assert_eq(nexus_gateway_use(gateway, &m), NEXUS_ECONFLICT, "the name is there");
}

static void set_up(void)
{
    nexus_runtime_opts opts = NEXUS_RUNTIME_OPTS_INIT;
    nexus_route route = NEXUS_ROUTE_INIT;
    uint16_t back_port;
    char routes[512];
    opts.loops = 1;
    opts.workers = 1;
    cr_assert_eq(nexus_runtime_open(&runtime, &opts), 0);
    cr_assert_eq(nexus_runtime_start(runtime), 0);
    cr_assert_eq(nexus_server_open(&back, runtime, NULL), 0);
    route.path = "/x/{rest...}";
    route.handler = upstream_handler;
    route.flags = NEXUS_ROUTE_ON_LOOP;
    cr_assert_eq(nexus_server_route(back, &route, 1), 0);
    cr_assert_eq(nexus_server_listen(back, "127.0.0.1", 0, &back_port), 0);
    cr_assert_eq(nexus_gateway_open(&gateway, runtime, NULL), 0);
    add("a", 5);
    add("b", 7);
    add("c", 5);
    snprintf(routes, sizeof routes,
             "{\"upstreams\":{\"u\":{\"targets\":[\"http://127.0.0.1:%u\"]},\"gone\":{\"targets\":[\"http://"
             "127.0.0.1:1\"],\"retries\":0}},\"routes\":[{\"id\":\"all\",\"prefix\":\"/\",\"upstream\":\"u\",\"cors\":{"
             "\"origins\":[\"https://a.com\"]}}]}",
             back_port);
    cr_assert_eq(nexus_gateway_load(gateway, "r", nexus__slice_c(routes)), 0, "%s", nexus_error_message());
    cr_assert_eq(nexus_server_open(&front, runtime, NULL), 0);
    cr_assert_eq(nexus_gateway_mount(gateway, front), 0);
    cr_assert_eq(nexus_server_listen(front, "127.0.0.1", 0, &port), 0);
    nexus_middleware late = NEXUS_MIDDLEWARE_INIT;
    late.name = "late";
    cr_assert_eq(nexus_gateway_use(gateway, &late), NEXUS_ECONFLICT);
}

static void tear_down(void)
{
    nexus_server_close(front);
    nexus_gateway_close(gateway);
    nexus_server_close(back);
    nexus_runtime_close(runtime);
}

static int ask_open(const char *verb)
{
    char text[256];
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    int n = snprintf(text, sizeof text, "GET /x/./y HTTP/1.1\r\nHost: h\r\nX-Do: %s\r\nConnection: close\r\n\r\n", verb);
    cr_assert(send(fd, text, (size_t)n, MSG_NOSIGNAL) == n || atomic_load(&unwelcome));
    return fd;
}

/* The whole answer; what happened meanwhile is in world.text. */
static const char *ask(const char *verb)
{
    static char got[4096];
    size_t n = 0;
    ssize_t r;
    int before = world.logged;
    world.text[0] = 0;
    int fd = ask_open(verb);
    while ((r = recv(fd, got + n, sizeof got - 1 - n, 0)) > 0)
        n += (size_t)r;
    got[n] = 0;
    close(fd);
    wait_logged(before + 3);
    return got;
}

#define BEFORE(phase) "a." phase " c." phase " b." phase " "
#define LOG(status) "a.log" status " c.log" status " b.log" status " "
#define AROUND "a.around c.around b.around "
#define DONE(status) "b.done" status " c.done" status " a.done" status " "

Test(middleware, phases_run_in_order_and_around_nests, .init = set_up, .fini = tear_down)
{
    const char *answer = ask("nothing");
    cr_assert(strstr(answer, "HTTP/1.1 200 ") && strstr(answer, "X-Mw: was here\r\n") && strstr(answer, "\r\n\r\nback"),
              "%s", answer);
    cr_assert_str_eq(world.text, BEFORE("request") BEFORE("route") BEFORE("auth") BEFORE("upstream") AROUND DONE("200")
                                     BEFORE("response") LOG("200"));
}

Test(middleware, each_phase_may_answer, .init = set_up, .fini = tear_down)
{
    static const struct {
        const char *verb, *happened;
        int upstream;
    } rows[] = {
        {"request=respond", BEFORE("request") LOG("418"), 0},
        {"route=respond", BEFORE("request") BEFORE("route") LOG("418"), 0},
        {"auth=respond", BEFORE("request") BEFORE("route") BEFORE("auth") LOG("418"), 0},
        {"upstream=respond", BEFORE("request") BEFORE("route") BEFORE("auth") BEFORE("upstream") LOG("418"), 0},
        {"around=respond",
         BEFORE("request") BEFORE("route") BEFORE("auth") BEFORE("upstream") AROUND "c.done418 a.done418 " LOG("418"), 0},
        {"response=respond",
         BEFORE("request") BEFORE("route") BEFORE("auth") BEFORE("upstream") AROUND DONE("200") BEFORE("response")
             LOG("418"),
         1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        world.upstream = 0;
        const char *answer = ask(rows[i].verb);
        cr_assert(strstr(answer, "HTTP/1.1 418 ") && strstr(answer, "\r\n\r\ntea"), "%s gave %s", rows[i].verb, answer);
        cr_assert_str_eq(world.text, rows[i].happened, "%s", rows[i].verb);
        cr_assert_eq(world.upstream, rows[i].upstream);
    }
    cr_assert(strstr(ask("route=empty"), "HTTP/1.1 500 "), "who ends a call says with what");
}

Test(middleware, phases_wait_without_blocking, .init = set_up, .fini = tear_down)
{
    static const char *const verbs[] = {"request=worker", "route=worker", "auth=worker",  "upstream=worker",
                                        "route=inside",   "auth=inside",  "around=later", "request=inside"};
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        const char *answer = ask(verbs[i]);
        cr_assert(strstr(answer, "HTTP/1.1 200 ") && strstr(answer, "\r\n\r\nback"), "%s gave %s", verbs[i], answer);
        cr_assert_str_eq(world.text,
                         BEFORE("request") BEFORE("route") BEFORE("auth") BEFORE("upstream") AROUND DONE("200")
                             BEFORE("response") LOG("200"),
                         "%s", verbs[i]);
    }
}

Test(middleware, a_connection_that_ends_while_a_phase_waits_is_logged, .init = set_up, .fini = tear_down)
{
    int fd = ask_open("auth=hold");
    pthread_mutex_lock(&world.mutex);
    while (!world.suspended)
        pthread_cond_wait(&world.changed, &world.mutex);
    pthread_mutex_unlock(&world.mutex);
    nexus_server_close(front);
    front = NULL;
    resume(world.suspended);
    wait_logged(3);
    cr_assert(strstr(world.text, "b.auth " LOG("0")), "%s", world.text);
    close(fd);
}

Test(middleware, connections_may_be_refused, .init = set_up, .fini = tear_down)
{
    char byte;
    cr_assert(strstr(ask("nothing"), "HTTP/1.1 200 "));
    cr_assert_eq(atomic_load(&connections), 1, "upstream's connections are not the server's");
    atomic_store(&unwelcome, true);
    int fd = ask_open("nothing");
    cr_assert_leq(recv(fd, &byte, 1, 0), 0, "closed without a word");
    cr_assert_eq(atomic_load(&connections), 2);
    cr_assert_eq(world.logged, 3);
    close(fd);
}

Test(middleware, explain_prints_the_order, .init = set_up, .fini = tear_down)
{
    char *text;
    size_t n;
    cr_assert_eq(nexus_gateway_explain(gateway, "GET", NEXUS_S("/x"), NULL, 0, &text, &n), 0);
    cr_assert(strstr(text, "\"middleware\":[{\"name\":\"a\",\"order\":5,\"phases\":[\"on_conn\",\"on_request\",\"on_"
                           "route\",\"on_auth\","
                           "\"on_upstream\",\"around\",\"on_response\",\"on_log\"]},{\"name\":\"c\",\"order\":5"),
              "%s", text);
    nexus_free(text);
}

/* A caller whose header ended before on_response: what it does not have is absent. */
Test(middleware, older_callers_are_shorter)
{
    struct {
        size_t size;
        const char *name;
        int32_t order;
        uint32_t slot_bytes;
    } old = {.size = sizeof old, .name = "old"};
    nexus_runtime_opts opts = NEXUS_RUNTIME_OPTS_INIT;
    opts.loops = 1;
    cr_assert_eq(nexus_runtime_open(&runtime, &opts), 0);
    cr_assert_eq(nexus_gateway_open(&gateway, runtime, NULL), 0);
    cr_assert_eq(nexus_gateway_use(gateway, (const nexus_middleware *)(const void *)&old), 0);
    old.name = "";
    cr_assert_eq(nexus_gateway_use(gateway, (const nexus_middleware *)(const void *)&old), NEXUS_EINVAL);
    nexus_gateway_close(gateway);
    nexus_runtime_close(runtime);
}
