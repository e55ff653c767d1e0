/* Against a scripted server on a free port: what it reads and what it answers is a table. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <nexus/client.h>
#include <nexus/runtime.h>

#include "base/str.h"

/* Serves connections one after another: sends `greeting`, then for every line or head that ends with `until` the next
 * reply; an empty reply closes the connection. */
typedef struct script {
    const char *greeting, *until;
    const char *replies[12];
    int listener;
    uint16_t port;
    int accepted;
    char seen[8192];
    size_t seen_len;
    pthread_t thread;
} script;

static bool read_until(script *s, int fd, const char *until, char *buf, size_t cap, size_t *len)
{
    for (;;) {
        buf[*len] = 0;
        char *end = strstr(buf, until);
        if (end) {
            size_t used = (size_t)(end - buf) + strlen(until);
            if (s->seen_len + used < sizeof s->seen) {
                memcpy(s->seen + s->seen_len, buf, used);
                s->seen_len += used;
            }
            memmove(buf, buf + used, *len - used);
            *len -= used;
            return true;
        }
        ssize_t n = read(fd, buf + *len, cap - *len - 1);
        if (n <= 0)
            return false;
        *len += (size_t)n;
    }
}

static void *serve(void *arg)
{
    script *s = arg;
    int next = 0;
    for (int fd; (fd = accept(s->listener, NULL, NULL)) >= 0; close(fd)) {
        char buf[65536];
        size_t len = 0;
        s->accepted++;
        if (s->greeting && write(fd, s->greeting, strlen(s->greeting)) < 0)
            continue;
        while (s->replies[next]) {
            bool data = next > 0 && strncmp(s->replies[next - 1], "354", 3) == 0;
            if (!read_until(s, fd, data ? "\r\n.\r\n" : s->until, buf, sizeof buf, &len))
                break;
            const char *reply = s->replies[next++];
            if (!*reply || write(fd, reply, strlen(reply)) < 0)
                break;
        }
    }
    return NULL;
}

static void start(script *s)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    s->listener = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(bind(s->listener, (struct sockaddr *)&a, n), 0);
    cr_assert_eq(listen(s->listener, 8), 0);
    getsockname(s->listener, (struct sockaddr *)&a, &n);
    s->port = ntohs(a.sin_port);
    cr_assert_eq(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void stop(script *s)
{
    shutdown(s->listener, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->listener);
}

static nexus_client *open_client(const char *allow)
{
    nexus_client_opts opts = NEXUS_CLIENT_OPTS_INIT;
    opts.allow_cidrs = allow;
    nexus_client *c;
    cr_assert_eq(nexus_client_open(&c, NULL, &opts), 0);
    return c;
}

static char url[128];

static nexus_fetch fetch_of(const script *s, const char *path)
{
    nexus_fetch f = NEXUS_FETCH_INIT;
    snprintf(url, sizeof url, "http://127.0.0.1:%u%s", s->port, path);
    f.url = nexus__slice_c(url);
    f.timeout_ms = 5000;
    return f;
}

#define OK_REPLY "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Thing:  some value \r\n\r\nhi"

Test(client, fetches_and_keeps_connections)
{
    script s = {.until = "\r\n\r\n", .replies = {OK_REPLY, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"}};
    start(&s);
    nexus_client *c = open_client(NULL);
    nexus_fetch f = fetch_of(&s, "/a");
    nexus_pair h = {NEXUS_S("X-Test"), NEXUS_S("yes")};
    f.headers = &h;
    f.header_count = 1;
    nexus_reply *r;
    nexus_slice body, value;
    cr_assert_eq(nexus_client_fetch(c, &f, &r), 0, "%s", nexus_error_message());
    cr_assert_eq(nexus_reply_status(r), 200);
    nexus_reply_body(r, &body);
    cr_assert(nexus__slice_eq_c(body, "hi"));
    cr_assert(nexus_reply_header(r, "x-thing", &value) && nexus__slice_eq_c(value, "some value"));
    cr_assert_not(nexus_reply_header(r, "x-other", &value));
    nexus_reply_free(r);
    cr_assert_eq(nexus_client_fetch(c, &f, &r), 0);
    cr_assert_eq(nexus_reply_status(r), 404);
    nexus_reply_free(r);
    nexus_client_close(c);
    stop(&s);
    cr_assert_eq(s.accepted, 1);
    cr_assert(strstr(s.seen, "X-Test: yes\r\n"));
}

Test(client, tells_apart_how_it_failed)
{
    script s = {.until = "\r\n\r\n",
                .replies = {OK_REPLY, "", "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n01234567890123456789"}};
    start(&s);
    nexus_client *c = open_client(NULL);
    nexus_fetch f = fetch_of(&s, "/");
    nexus_reply *r = NULL;
    f.guard = true;
    cr_assert_eq(nexus_client_fetch(c, &f, &r), NEXUS_EPERM);
    f.guard = false;
    cr_assert_eq(nexus_client_fetch(c, &f, &r), 0);
    nexus_reply_free(r);
    f.guard = true; /* the kept connection must not carry a guarded request either */
    cr_assert_eq(nexus_client_fetch(c, &f, &r), NEXUS_EPERM);
    f.guard = false;
    f.method = "POST"; /* not replayed by libcurl */
    cr_assert_eq(nexus_client_fetch(c, &f, &r), NEXUS_EUNKNOWN, "%s", nexus_error_message());
    f.method = "GET";
    f.reply_max_bytes = 10;
    cr_assert_eq(nexus_client_fetch(c, &f, &r), NEXUS_ETOOBIG);
    stop(&s);
    cr_assert_eq(nexus_client_fetch(c, &f, &r), NEXUS_EUNREACH);
    f.url = NEXUS_S("file:///etc/passwd");
    cr_assert_eq(nexus_client_fetch(c, &f, &r), NEXUS_EINVAL);
    nexus_pair h = {NEXUS_S("X"), NEXUS_S("a\r\nEvil: 1")};
    f = fetch_of(&s, "/");
    f.headers = &h;
    f.header_count = 1;
    cr_assert_eq(nexus_client_fetch(c, &f, &r), NEXUS_EINVAL);
    nexus_client_close(c);
}

Test(client, guard_lets_the_allowed_through)
{
    script s = {.until = "\r\n\r\n", .replies = {OK_REPLY}};
    start(&s);
    nexus_client *c = open_client("127.0.0.0/8");
    nexus_fetch f = fetch_of(&s, "/");
    nexus_reply *r = NULL;
    f.guard = true;
    cr_assert_eq(nexus_client_fetch(c, &f, &r), 0);
    nexus_reply_free(r);
    cr_assert_eq(nexus_client_check_url(c, NEXUS_S("http://127.0.0.1:1/")), 0);
    cr_assert_eq(nexus_client_check_url(c, NEXUS_S("http://10.0.0.1/")), NEXUS_EPERM);
    cr_assert_eq(nexus_client_check_url(c, NEXUS_S("http://0xa000001/")), NEXUS_EPERM);
    cr_assert_eq(nexus_client_check_url(c, NEXUS_S("http://[fe80::1]/")), NEXUS_EPERM);
    cr_assert_eq(nexus_client_check_url(c, NEXUS_S("ftp://example.com/")), NEXUS_EINVAL);
    nexus_client_close(c);
    stop(&s);
}

static void on_cancel(nexus_status status, nexus_reply *reply, void *user_data)
{
    cr_assert_null(reply);
    *(nexus_status *)user_data = status;
}

Test(client, close_cancels_what_is_under_way)
{
    script s = {.until = "never", .replies = {OK_REPLY}};
    start(&s);
    nexus_client *c = open_client(NULL);
    nexus_fetch f = fetch_of(&s, "/");
    nexus_status got = 1;
    cr_assert_eq(nexus_client_fetch_async(c, &f, on_cancel, &got), 0);
    nexus_client_close(c);
    cr_assert_eq(got, NEXUS_ECANCELED, "%s", nexus_status_name(got));
    stop(&s);
}

typedef struct on_loop {
    nexus_client *client;
    nexus_loop *loop;
    const nexus_fetch *fetch;
    nexus_status status, blocking;
    bool current, done;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
} on_loop;

static void on_loop_done(nexus_status status, nexus_reply *reply, void *user_data)
{
    on_loop *o = user_data;
    nexus_reply *none;
    nexus_reply_free(reply);
    pthread_mutex_lock(&o->mutex);
    o->status = status;
    o->current = nexus_loop_is_current(o->loop);
    o->blocking = nexus_client_fetch(o->client, o->fetch, &none);
    o->done = true;
    pthread_cond_signal(&o->cond);
    pthread_mutex_unlock(&o->mutex);
}

Test(client, calls_back_on_the_runtimes_loop_where_it_refuses_to_block)
{
    script s = {.until = "\r\n\r\n", .replies = {OK_REPLY}};
    start(&s);
    nexus_runtime_opts opts = NEXUS_RUNTIME_OPTS_INIT;
    opts.loops = 1;
    nexus_runtime *runtime;
    cr_assert_eq(nexus_runtime_open(&runtime, &opts), 0);
    cr_assert_eq(nexus_runtime_start(runtime), 0);
    on_loop o = {
        .loop = nexus_runtime_loop(runtime, 0), .mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    cr_assert_eq(nexus_client_open(&o.client, runtime, NULL), 0);
    nexus_fetch f = fetch_of(&s, "/");
    o.fetch = &f;
    cr_assert_eq(nexus_client_fetch_async(o.client, &f, on_loop_done, &o), 0);
    pthread_mutex_lock(&o.mutex);
    while (!o.done)
        pthread_cond_wait(&o.cond, &o.mutex);
    pthread_mutex_unlock(&o.mutex);
    cr_assert_eq(o.status, 0);
    cr_assert(o.current);
    cr_assert_eq(o.blocking, NEXUS_EDEADLK);
    nexus_client_close(o.client);
    nexus_runtime_close(runtime);
    stop(&s);
}

static nexus_status mail_to(script *s, nexus_mail_report *report)
{
    static const nexus_slice to[] = {{"a@example.com", 13}};
    nexus_mail m = NEXUS_MAIL_INIT;
    start(s);
    snprintf(url, sizeof url, "smtp://127.0.0.1:%u", s->port);
    m.url = nexus__slice_c(url);
    m.from = NEXUS_S("me@example.com");
    m.to = to;
    m.to_count = 1;
    m.message = NEXUS_S("Subject: x\n\n.dot\nlast");
    m.timeout_ms = 5000;
    *report = (nexus_mail_report){.size = sizeof *report};
    nexus_client *c = open_client(NULL);
    nexus_status status = nexus_client_mail(c, &m, report);
    nexus_client_close(c);
    stop(s);
    return status;
}

#define EHLO_REPLY "250 hello\r\n"

Test(mail, typed_results)
{
    static const struct {
        const char *greeting, *replies[8];
        nexus_status status;
        uint32_t stage;
        uint16_t code;
        const char *enhanced;
    } rows[] = {
        {"220 hi\r\n",
         {EHLO_REPLY, "250 ok\r\n", "250 ok\r\n", "354 go\r\n", "250 2.0.0 queued\r\n", "221 bye\r\n"},
         NEXUS_OK,
         NEXUS_MAIL_FINAL,
         250,
         "2.0.0"},
        {"220 hi\r\n",
         {EHLO_REPLY, "250 ok\r\n", "550 5.1.1 no such user\r\n"},
         NEXUS_EPERM,
         NEXUS_MAIL_ENVELOPE,
         550,
         "5.1.1"},
        {"220 hi\r\n", {EHLO_REPLY, "451 4.3.0 later\r\n"}, NEXUS_EAGAIN, NEXUS_MAIL_ENVELOPE, 451, "4.3.0"},
        {"220 hi\r\n",
         {EHLO_REPLY, "250 ok\r\n", "250 ok\r\n", "354 go\r\n", "554 5.7.1 spam\r\n"},
         NEXUS_EPERM,
         NEXUS_MAIL_FINAL,
         554,
         "5.7.1"},
        {"220 hi\r\n", {EHLO_REPLY, "250 ok\r\n", "250 ok\r\n", "354 go\r\n", ""}, NEXUS_EUNKNOWN, NEXUS_MAIL_FINAL, 0, ""},
        {"220 hi\r\n", {EHLO_REPLY, "250 ok\r\n", "250 ok\r\n", ""}, NEXUS_EUNREACH, NEXUS_MAIL_DATA, 0, ""},
        {"421 4.3.2 busy\r\n", {""}, NEXUS_EAGAIN, NEXUS_MAIL_GREETING, 421, "4.3.2"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        script s = {.greeting = rows[i].greeting, .until = "\r\n"};
        memcpy(s.replies, rows[i].replies, sizeof rows[i].replies);
        nexus_mail_report r;
        nexus_status status = mail_to(&s, &r);
        cr_assert_eq(status, rows[i].status, "row %zu: %d %s", i, status, nexus_error_message());
        cr_assert_eq(r.stage, rows[i].stage, "row %zu: stage %u", i, r.stage);
        cr_assert_eq(r.code, rows[i].code, "row %zu: code %u", i, r.code);
        cr_assert_str_eq(r.enhanced, rows[i].enhanced, "row %zu", i);
        if (i == 0)
            cr_assert(strstr(s.seen, "Subject: x\r\n\r\n..dot\r\nlast\r\n.\r\n"), "%s", s.seen);
    }
}
