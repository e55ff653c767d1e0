/* runtime/: loops, watches, timeouts, timers, posting, workers. */
#include <criterion/criterion.h>
#include <event2/event.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/resolve.h"

static nexus_runtime *runtime_new(uint32_t loops)
{
    nexus_runtime *r;
    nexus_runtime_opts opts = NEXUS_RUNTIME_OPTS_INIT;
    opts.loops = loops;
    opts.workers = 2;
    opts.queue_max = 8;
    cr_assert_eq(nexus_runtime_open(&r, &opts), NEXUS_OK);
    return r;
}

typedef struct seen {
    nexus_runtime *runtime;
    nexus_loop *loop;
    _Atomic int count;
    int order[16];
    bool on_loop, on_worker, signals_blocked;
    char thread[16];
} seen;

static void note(void *arg)
{
    seen *s = arg;
    sigset_t now;
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    s->signals_blocked = sigismember(&now, SIGTERM) && sigismember(&now, SIGUSR1);
    s->on_loop = nexus__on_loop_thread() && nexus_loop_is_current(s->loop);
    s->on_worker = nexus__on_worker_thread();
    pthread_getname_np(pthread_self(), s->thread, sizeof s->thread);
    atomic_fetch_add(&s->count, 1);
    nexus_runtime_stop(s->runtime);
}

Test(loop, posted_tasks_run_on_the_loop_thread)
{
    nexus_runtime *r = runtime_new(2);
    seen s = {.runtime = r, .loop = nexus_runtime_loop(r, 1)};
    cr_assert_eq(nexus_loop_post(s.loop, note, &s), NEXUS_OK);
    cr_assert_eq(s.count, 0);
    cr_assert_eq(nexus_runtime_run(r), NEXUS_OK);
    cr_assert_eq(s.count, 1);
    cr_assert(s.on_loop && !s.on_worker && s.signals_blocked);
    cr_assert_str_eq(s.thread, "nexus-loop-1");
    cr_assert_not(nexus__on_loop_thread());
    nexus_runtime_close(r);
}

Test(loop, workers_run_what_is_submitted)
{
    nexus_runtime *r = runtime_new(1);
    seen s = {.runtime = r};
    cr_assert_eq(nexus_runtime_submit(r, note, &s), NEXUS_OK);
    cr_assert_eq(nexus_runtime_run(r), NEXUS_OK);
    cr_assert(s.on_worker && !s.on_loop && s.signals_blocked);
    cr_assert(strncmp(s.thread, "nexus-work-", 11) == 0);
    nexus_runtime_close(r);
}

static void count(void *arg)
{
    atomic_fetch_add(&((seen *)arg)->count, 1);
}

Test(loop, queue_is_bounded_and_close_runs_what_was_accepted)
{
    nexus_runtime *r = runtime_new(1);
    seen s = {.runtime = r};
    for (int i = 0; i < 8; i++)
        cr_assert_eq(nexus_loop_post(nexus_runtime_loop(r, 0), count, &s), NEXUS_OK);
    cr_assert_eq(nexus_loop_post(nexus_runtime_loop(r, 0), count, &s), NEXUS_EAGAIN);
    nexus_runtime_close(r);
    cr_assert_eq(s.count, 8);
}

typedef struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int waiting;
    bool open;
} gate;

static void pass(void *arg)
{
    gate *g = arg;
    pthread_mutex_lock(&g->lock);
    g->waiting++;
    pthread_cond_broadcast(&g->changed);
    while (!g->open)
        pthread_cond_wait(&g->changed, &g->lock);
    pthread_mutex_unlock(&g->lock);
}

Test(loop, worker_queue_is_bounded)
{
    nexus_runtime *r = runtime_new(1);
    gate g = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, false};
    cr_assert_eq(nexus_runtime_submit(r, pass, &g), NEXUS_OK);
    cr_assert_eq(nexus_runtime_submit(r, pass, &g), NEXUS_OK);
    pthread_mutex_lock(&g.lock);
    while (g.waiting < 2)
        pthread_cond_wait(&g.changed, &g.lock);
    pthread_mutex_unlock(&g.lock);
    seen s = {0};
    for (int i = 0; i < 8; i++)
        cr_assert_eq(nexus_runtime_submit(r, count, &s), NEXUS_OK);
    cr_assert_eq(nexus_runtime_submit(r, count, &s), NEXUS_EAGAIN);
    pthread_mutex_lock(&g.lock);
    g.open = true;
    pthread_cond_broadcast(&g.changed);
    pthread_mutex_unlock(&g.lock);
    nexus_runtime_close(r);
    cr_assert_eq(s.count, 8);
}

typedef struct ticking {
    nexus__timeout timeout;
    nexus_loop *loop;
    nexus_runtime *runtime;
    int64_t fired_ns;
    int32_t rounds;
    struct ticking *other;
} ticking;

static void on_timeout(nexus__timeout *t)
{
    ticking *self = NEXUS__CONTAINER(t, ticking, timeout);
    self->fired_ns = nexus_loop_now_ns(self->loop);
    if (self->rounds-- > 0)
        nexus__timeout_set(t, self->loop, 5);
    else
        nexus_runtime_stop(self->runtime);
}

Test(timeout, fires_not_before_its_time_and_can_be_set_again)
{
    nexus_runtime *r = runtime_new(1);
    ticking t = {.loop = nexus_runtime_loop(r, 0), .runtime = r, .rounds = 2};
    nexus__timeout_init(&t.timeout, on_timeout);
    int64_t start = nexus__mono_ns();
    nexus__timeout_set(&t.timeout, t.loop, 40);
    cr_assert_eq(nexus_runtime_run(r), NEXUS_OK);
    cr_assert_geq(t.fired_ns - start, 50 * NEXUS__NS_PER_MS);
    cr_assert_eq(t.rounds, -1);
    nexus_runtime_close(r);
}

static void on_end(nexus__timeout *t)
{
    ticking *self = NEXUS__CONTAINER(t, ticking, timeout);
    self->fired_ns = nexus_loop_now_ns(self->loop);
    nexus_runtime_stop(self->runtime);
}

Test(timeout, moved_later_cleared_and_brought_forward)
{
    nexus_runtime *r = runtime_new(1);
    nexus_loop *loop = nexus_runtime_loop(r, 0);
    ticking later = {.loop = loop, .runtime = r}, cleared = later, soon = later;
    nexus__timeout_init(&later.timeout, on_end);
    nexus__timeout_init(&cleared.timeout, on_end);
    nexus__timeout_init(&soon.timeout, on_timeout);
    int64_t start = nexus__mono_ns();
    nexus__timeout_set(&later.timeout, loop, 5);
    nexus__timeout_set(&later.timeout, loop, 90);
    nexus__timeout_set(&cleared.timeout, loop, 5);
    nexus__timeout_clear(&cleared.timeout);
    soon.rounds = 1000000; /* goes on for ever: only `later` ends the loop */
    nexus__timeout_set(&soon.timeout, loop, 60000);
    nexus__timeout_set(&soon.timeout, loop, 5);
    cr_assert_eq(nexus_runtime_run(r), NEXUS_OK);
    cr_assert_geq(later.fired_ns - start, 90 * NEXUS__NS_PER_MS);
    cr_assert_eq(cleared.fired_ns, 0);
    cr_assert_lt(soon.fired_ns - start, 2000 * NEXUS__NS_PER_MS);
    cr_assert_lt(soon.rounds, 1000000);
    nexus__timeout_remove(&soon.timeout, loop);
    nexus__timeout_remove(&cleared.timeout, loop);
    nexus_runtime_close(r);
}

static void stop_now(void *arg)
{
    nexus_runtime_stop(arg);
}

Test(timer, fires_once)
{
    nexus_runtime *r = runtime_new(1);
    nexus_timer *timer, *never;
    cr_assert_eq(nexus_timer_open(&timer, nexus_runtime_loop(r, 0), stop_now, r), NEXUS_OK);
    cr_assert_eq(nexus_timer_open(&never, nexus_runtime_loop(r, 0), stop_now, r), NEXUS_OK);
    nexus_timer_start(never, 0);
    nexus_timer_stop(never);
    int64_t start = nexus__mono_ns();
    nexus_timer_start(timer, 30);
    cr_assert_eq(nexus_runtime_run(r), NEXUS_OK);
    cr_assert_geq(nexus__mono_ns() - start, 30 * NEXUS__NS_PER_MS);
    nexus_timer_close(timer);
    nexus_timer_close(never);
    nexus_timer_close(NULL);
    nexus_runtime_close(r);
}

typedef struct reader {
    nexus__watch watch;
    nexus_runtime *runtime;
    char got[8];
    size_t n;
    bool closed;
} reader;

static void on_ready(nexus__watch *watch, uint32_t ready)
{
    reader *self = NEXUS__CONTAINER(watch, reader, watch);
    if (!(ready & NEXUS__WATCH_READ))
        return;
    ssize_t n;
    while ((n = recv(watch->fd, self->got + self->n, 1, 0)) > 0)
        self->n += (size_t)n;
    if (n == 0) {
        self->closed = true;
        nexus__watch_stop(watch);
        nexus_runtime_stop(self->runtime);
    }
}

Test(watch, tells_of_bytes_and_of_the_end)
{
    nexus_runtime *r = runtime_new(1);
    int pair[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    reader self = {.runtime = r};
    cr_assert_eq(nexus__watch_start(&self.watch, nexus_runtime_loop(r, 0), pair[0], on_ready), NEXUS_OK);
    cr_assert_eq(write(pair[1], "abc", 3), 3);
    close(pair[1]);
    cr_assert_eq(nexus_runtime_run(r), NEXUS_OK);
    cr_assert(self.closed);
    cr_assert_eq(self.n, 3);
    cr_assert_arr_eq(self.got, "abc", 3);
    close(pair[0]);
    nexus_runtime_close(r);
}

static void host_stops(void *arg)
{
    cr_assert(nexus__on_loop_thread());
    event_base_loopbreak(arg);
}

Test(loop, adopts_the_event_base_of_its_host)
{
    struct event_base *base = event_base_new();
    nexus_runtime_opts opts = NEXUS_RUNTIME_OPTS_INIT;
    opts.event_base = base;
    opts.loops = 7; /* not heeded */
    nexus_runtime *r;
    cr_assert_eq(nexus_runtime_open(&r, &opts), NEXUS_OK);
    cr_assert_eq(nexus_runtime_loop_count(r), 1);
    cr_assert_eq(nexus_runtime_start(r), NEXUS_OK);
    cr_assert_eq(nexus_loop_post(nexus_runtime_loop(r, 0), host_stops, base), NEXUS_OK);
    cr_assert_eq(event_base_dispatch(base), 0);
    nexus_runtime_close(r);
    cr_assert_not(nexus__on_loop_thread());
    event_base_free(base);
}

typedef struct resolved {
    nexus_runtime *runtime;
    nexus_status status;
    size_t n;
    nexus__address first;
    int calls;
} resolved;

static void on_resolved(nexus_status status, const nexus__address *addresses, size_t n, void *arg)
{
    resolved *self = arg;
    self->status = status;
    self->n = n;
    if (n)
        self->first = addresses[0];
    self->calls++;
    nexus_runtime_stop(self->runtime);
}

static resolved resolve_once(const char *host)
{
    nexus_runtime *r = runtime_new(1);
    resolved self = {.runtime = r, .status = 1};
    cr_assert_eq(nexus__resolve(nexus_runtime_loop(r, 0), host, 80, on_resolved, &self), NEXUS_OK);
    cr_assert_eq(self.calls, 0);
    cr_assert_eq(nexus_runtime_run(r), NEXUS_OK);
    cr_assert_eq(self.calls, 1);
    nexus_runtime_close(r);
    return self;
}

Test(resolve, numeric_addresses_and_localhost)
{
    resolved v4 = resolve_once("127.0.0.9");
    cr_assert_eq(v4.status, NEXUS_OK);
    cr_assert_eq(v4.first.sa.v4.sin_addr.s_addr, htonl(0x7f000009));
    cr_assert_eq(ntohs(v4.first.sa.v4.sin_port), 80);
    resolved v6 = resolve_once("::1");
    cr_assert_eq(v6.first.sa.any.sa_family, AF_INET6);
    resolved name = resolve_once("localhost");
    cr_assert_eq(name.status, NEXUS_OK);
    cr_assert_geq(name.n, 1);
}

/* --- a name server of our own: answers A, AAAA (no data) and SRV ------------------------------------------------- */

typedef struct name_server {
    nexus__watch watch;
    int questions;
} name_server;

static void on_question(nexus__watch *watch, uint32_t ready)
{
    name_server *self = NEXUS__CONTAINER(watch, name_server, watch);
    struct sockaddr_in from;
    socklen_t len = sizeof from;
    unsigned char m[512];
    ssize_t n;
    (void)ready;
    while ((n = recvfrom(watch->fd, m, sizeof m - 64, 0, (struct sockaddr *)&from, &len)) > 12) {
        self->questions++;
        size_t end = 12;
        while (m[end])
            end += m[end] + 1u;
        int type = m[end + 2];
        end += 5; /* what follows (EDNS) is dropped */
        m[2] = 0x81;
        m[3] = 0x80;
        m[7] = type != 28;
        m[9] = m[11] = 0;
        static const unsigned char a[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 77, 0, 4, 10, 1, 2, 3};
        static const unsigned char srv[] = {0xc0, 12, 0, 33, 0,    1,    0, 0,   0,   55, 0,   11,
                                            0,    1,  0, 9,  0x1f, 0x90, 2, 'u', 'p', 1,  'x', 0};
        unsigned char answer[64];
        size_t answer_len = type == 33 ? sizeof srv : type == 1 ? sizeof a : 0;
        memcpy(answer, type == 33 ? srv : a, answer_len);
        if (type == 33)
            answer[11] = 12;
        memcpy(m + end, answer, answer_len);
        sendto(watch->fd, m, end + answer_len, 0, (struct sockaddr *)&from, len);
    }
}

static void on_srv_records(nexus_status status, const nexus__srv *records, size_t n, void *arg)
{
    resolved *self = arg;
    cr_assert_eq(status, NEXUS_OK);
    cr_assert_eq(n, 1);
    cr_assert_str_eq(records[0].host, "up.x");
    cr_assert_eq(records[0].port, 8080);
    cr_assert_eq(records[0].priority, 1);
    cr_assert_eq(records[0].weight, 9);
    cr_assert_eq(records[0].ttl_s, 55);
    self->calls++;
    nexus_runtime_stop(self->runtime);
}

static void with_name_server(bool srv)
{
    nexus_runtime *r = runtime_new(1);
    nexus_loop *loop = nexus_runtime_loop(r, 0);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    cr_assert_eq(bind(fd, (struct sockaddr *)&at, len), 0);
    getsockname(fd, (struct sockaddr *)&at, &len);
    name_server server = {0};
    cr_assert_eq(nexus__watch_start(&server.watch, loop, fd, on_question), NEXUS_OK);
    char servers[32];
    snprintf(servers, sizeof servers, "127.0.0.1:%u", ntohs(at.sin_port));
    cr_assert_eq(nexus__resolve_servers(loop, servers), NEXUS_OK);
    resolved self = {.runtime = r, .status = 1};
    if (srv)
        cr_assert_eq(nexus__resolve_srv(loop, "_http._tcp.service.test", on_srv_records, &self), NEXUS_OK);
    else
        cr_assert_eq(nexus__resolve(loop, "service.test", 81, on_resolved, &self), NEXUS_OK);
    cr_assert_eq(nexus_runtime_run(r), NEXUS_OK);
    cr_assert_eq(self.calls, 1);
    if (!srv) {
        cr_assert_eq(self.status, NEXUS_OK);
        cr_assert_eq(self.n, 1);
        cr_assert_eq(self.first.sa.v4.sin_addr.s_addr, htonl(0x0a010203));
        cr_assert_eq(ntohs(self.first.sa.v4.sin_port), 81);
        cr_assert_eq(self.first.ttl_s, 77);
    }
    nexus__watch_stop(&server.watch);
    close(fd);
    nexus_runtime_close(r);
}

Test(resolve, asks_a_name_server)
{
    with_name_server(false);
}

Test(resolve, asks_for_srv_records)
{
    with_name_server(true);
}

Test(resolve, close_cancels_what_is_under_way)
{
    nexus_runtime *r = runtime_new(1);
    nexus_loop *loop = nexus_runtime_loop(r, 0);
    cr_assert_eq(nexus__resolve_servers(loop, "127.0.0.1:9"), NEXUS_OK);
    resolved self = {.runtime = r, .status = 1};
    cr_assert_eq(nexus__resolve(loop, "service.test", 81, on_resolved, &self), NEXUS_OK);
    nexus_runtime_close(r);
    cr_assert_eq(self.calls, 1);
    cr_assert_eq(self.status, NEXUS_ECANCELED);
}
