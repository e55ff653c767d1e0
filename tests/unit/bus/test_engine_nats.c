/* bus/engines/nats*: what happens to a log in JetStream when its server, its messages or its owners go wrong. */
#include "engine_steps.h"

#include <arpa/inet.h>
#include <errno.h>
#include <nats/nats.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "bus/engines/engine.h"
#include "bus/engines/nats.h"

/* A server of the test's own, which it can stop, kill and give an older directory. */
typedef struct server {
    char *dir, url[200], port[8], name[40];
    const char *password; /* of the user nexus; NULL: anybody may come */
    pid_t pid;
} server;

/* The server at the port says in its first line who it is: another test may have been quicker to take the port. */
static bool is_ours(const server *s)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(s->port)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char info[1024] = "", named[44];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool there = connect(fd, (struct sockaddr *)&at, sizeof at) == 0 && recv(fd, info, sizeof info - 1, 0) > 0;
    close(fd);
    snprintf(named, sizeof named, "\"%s\"", s->name);
    return there && strstr(info, named);
}

static bool try_to_start(server *s)
{
    char data[300], log[300];
    snprintf(data, sizeof data, "%s/data", s->dir);
    snprintf(log, sizeof log, "%s/log", s->dir);
    s->pid = fork();
    if (s->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execlp("nats-server", "nats-server", "-a", "127.0.0.1", "-p", s->port, "-n", s->name, "-js", "-sd", data, "-l", log,
               s->password ? "--user" : NULL, "nexus", "--pass", s->password, (char *)NULL);
        _exit(127);
    }
    while (!is_ours(s)) {
        if (waitpid(s->pid, NULL, WNOHANG) != 0)
            return false;
        usleep(2000);
    }
    return true;
}

static void start(server *s)
{
    for (int i = 0; i < 500; i++) { /* somebody's connection may sit on the port for a moment */
        if (try_to_start(s))
            return;
        usleep(10000);
    }
    cr_assert(false, "nats-server does not start");
}

static void end(server *s, int how)
{
    kill(s->pid, how);
    waitpid(s->pid, NULL, 0);
}

static void find_port(server *s)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof any;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert(bind(fd, (struct sockaddr *)&any, sizeof any) == 0);
    cr_assert(getsockname(fd, (struct sockaddr *)&any, &n) == 0);
    close(fd);
    snprintf(s->port, sizeof s->port, "%u", ntohs(any.sin_port));
    snprintf(s->url, sizeof s->url, "nats://127.0.0.1:%s", s->port);
    snprintf(s->name, sizeof s->name, "nexus-test-%d", (int)getpid());
}

static bool server_open(server *s)
{
    if (!getenv("NEXUS_TEST_NATS_URL")) /* there is no nats-server here */
        return false;
    s->password = NULL;
    s->dir = scratch_dir();
    do {
        find_port(s);
    } while (!try_to_start(s));
    return true;
}

static void server_close(server *s)
{
    end(s, SIGKILL);
    scratch_remove(s->dir);
}

static void in_its_dir(const server *s, const char *commands)
{
    char line[900];
    snprintf(line, sizeof line, "cd %s && %s", s->dir, commands);
    cr_assert(system(line) == 0, "%s", line);
}

/* The streams of the server: what stands in for somebody else, who knows nothing of the bus. */
static nexus__nats *stranger(const server *s)
{
    nexus__nats *n;
    cr_assert(nexus__nats_open(&n, s->url, NULL) == NEXUS_OK, "%s", nexus_error_message());
    return n;
}

static void drop_lease(nexus__nats *n)
{
    jsErrCode code;
    cr_assert(js_PurgeStream(n->js, n->owner_stream, NULL, &code) == NATS_OK);
}

/* The events with these numbers and no others. Without gaps the positions count from 1; each gap is said once. */
static void expect_numbers(nexus_bus *bus, const int *numbers, size_t n, int gaps)
{
    nexus_reader *r;
    const nexus_event *e;
    int said = 0;
    cr_assert(nexus_reader_open(&r, bus, NULL) == NEXUS_OK, "%s", nexus_error_message());
    uint64_t last = 0;
    for (size_t i = 0; i < n; i++) {
        nexus_status status = nexus_reader_next(r, &e, 3000);
        if (status == NEXUS_EMISSING) {
            said++;
            status = nexus_reader_next(r, &e, 3000);
        }
        cr_assert(status == NEXUS_OK, "event %zu: %s", i, nexus_error_message());
        cr_assert(number_of(e->data) == numbers[i], "event %zu is %d, not %d", i, number_of(e->data), numbers[i]);
        cr_assert(e->pos > last && (gaps || e->pos == i + 1), "event %zu at %llu", i, (unsigned long long)e->pos);
        last = e->pos;
    }
    cr_assert(nexus_reader_next(r, &e, 0) == NEXUS_EDONE);
    cr_assert(said == gaps, "%d", said);
    nexus_reader_close(r);
}

/* The next delivery: its number, or 0 for a gap, whose first and last position it gives. */
static int next_of(nexus_group *g, uint64_t *from, uint64_t *to)
{
    nexus_delivery *d = NULL;
    while (!d)
        d = take(g, 1000);
    const nexus_event *e = nexus_delivery_event(d);
    bool gap = nexus__slice_eq(e->type, text("nexus.gap"));
    int number = gap ? 0 : number_of(e->data);
    char json[300] = "";
    if (gap) {
        memcpy(json, e->data.p, e->data.n < sizeof json ? e->data.n : sizeof json - 1);
        unsigned long long a = 0, b = 0;
        const char *at = strstr(json, "\"from\":");
        cr_assert(at && sscanf(at, "\"from\":%llu,\"to\":%llu", &a, &b) == 2, "%s", json);
        *from = a;
        *to = b;
    }
    nexus_status status = nexus_delivery_ack_sync(d);
    cr_assert(status == NEXUS_OK, "%d: %s", number, nexus_error_message());
    nexus_delivery_free(d);
    return number;
}

/* --- owners --------------------------------------------------------------------------------------------------------- */

/* What a process does that finds the lease free: it begins with a mark of its own. Then it goes away. */
static void usurp(const server *s)
{
    nexus__wal_engine *log;
    nexus__wal_tail tail;
    nexus__nats *n = stranger(s);
    nexus_status status;
    do { /* the owner renews its lease */
        drop_lease(n);
        cr_assert(nexus__nats_log_open(&log, s->url, NULL) == NEXUS_OK);
        status = log->ops->own(log, &tail);
        log->ops->close(log);
    } while (status == NEXUS_ECONFLICT);
    cr_assert(status == NEXUS_OK, "%s", nexus_error_message());
    nexus__nats_close(n);
}

Test(bus_engine_nats, an_owner_that_was_overtaken_stores_nothing_and_is_an_owner_again)
{
    static const int all[] = {1, 2, 3};
    server s;
    if (!server_open(&s))
        return;
    nexus_bus *bus = engine_open(s.url, NEXUS_BUS_AUTO);
    publish_numbers(bus, 1, 1);
    usurp(&s);
    nexus_status status = publish_once(bus, "2");
    cr_assert(status == NEXUS_EUNKNOWN || status == NEXUS_EROFS || status == NEXUS_OK, "%s", nexus_error_message());
    publish_numbers(bus, 2, 3);
    expect_numbers(bus, all, 3, 0);
    nexus_bus_close(bus);
    server_close(&s);
}

Test(bus_engine_nats, an_idle_owner_learns_that_it_is_none_and_its_groups_go_on_as_clients)
{
    server s;
    uint64_t from, to;
    if (!server_open(&s))
        return;
    nexus_bus *first = engine_open(s.url, NEXUS_BUS_AUTO), *second;
    nexus__nats *n = stranger(&s);
    nexus_group *g = join(first, "workers", NULL);
    publish_numbers(first, 1, 1);
    cr_assert(next_of(g, &from, &to) == 1);
    for (;;) { /* as if it had slept for longer than its lease lasts; when it renews it first, again */
        drop_lease(n);
        second = engine_open(s.url, NEXUS_BUS_AUTO);
        if (nexus_bus_is_owner(second))
            break;
        nexus_bus_close(second);
    }
    publish_numbers(second, 2, 2);
    cr_assert(next_of(g, &from, &to) == 2, "without a word from the first one");
    cr_assert(!nexus_bus_is_owner(first) && nexus_bus_is_owner(second));
    publish_numbers(first, 3, 3);
    cr_assert(next_of(g, &from, &to) == 3);
    nexus_group_close(g);
    nexus_bus_close(first);
    nexus_bus_close(second);
    nexus__nats_close(n);
    server_close(&s);
}

static void *publish_second_when_owner(void *arg)
{
    publish_numbers(arg, 2, 2);
    return NULL;
}

Test(bus_engine_nats, a_client_takes_over_from_an_owner_that_was_killed)
{
    static const int all[] = {1, 2};
    server s;
    int ready[2];
    char byte;
    pthread_t thread;
    if (!server_open(&s))
        return;
    cr_assert(pipe(ready) == 0);
    pid_t owner = fork();
    if (owner == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        nexus_bus *bus = engine_open(s.url, NEXUS_BUS_AUTO);
        publish_numbers(bus, 1, 1);
        if (write(ready[1], "", 1) == 1)
            pause();
        _exit(1);
    }
    cr_assert(read(ready[0], &byte, 1) == 1);
    nexus_bus *bus = engine_open(s.url, NEXUS_BUS_AUTO);
    cr_assert(!nexus_bus_is_owner(bus));
    kill(owner, SIGKILL);
    waitpid(owner, NULL, 0);
    cr_assert(pthread_create(&thread, NULL, publish_second_when_owner, bus) == 0);
    pthread_join(thread, NULL);
    cr_assert(nexus_bus_is_owner(bus));
    expect_numbers(bus, all, 2, 0);
    nexus_bus_close(bus);
    close(ready[0]);
    close(ready[1]);
    server_close(&s);
}

/* --- the server ----------------------------------------------------------------------------------------------------- */

typedef struct stream_of_events {
    nexus_bus *bus;
    atomic_int stored;
    atomic_bool enough;
} stream_of_events;

static void *publish_on(void *arg)
{
    stream_of_events *p = arg;
    while (!atomic_load(&p->enough)) {
        int next = atomic_load(&p->stored) + 1;
        publish_numbers(p->bus, next, next);
        atomic_store(&p->stored, next);
    }
    return NULL;
}

static void wait_for_more(stream_of_events *p)
{
    for (int until = atomic_load(&p->stored) + 20; atomic_load(&p->stored) < until;)
        usleep(1000);
}

Test(bus_engine_nats, a_server_that_is_killed_in_mid_publish_has_each_event_once)
{
    server s;
    pthread_t thread;
    stream_of_events p = {0};
    if (!server_open(&s))
        return;
    p.bus = engine_open(s.url, NEXUS_BUS_AUTO);
    cr_assert(pthread_create(&thread, NULL, publish_on, &p) == 0);
    for (int i = 0; i < 3; i++) {
        wait_for_more(&p);
        end(&s, i == 1 ? SIGTERM : SIGKILL);
        start(&s);
    }
    wait_for_more(&p);
    atomic_store(&p.enough, true);
    pthread_join(thread, NULL);
    int n = atomic_load(&p.stored), *all = malloc((size_t)n * sizeof *all);
    for (int i = 0; i < n; i++)
        all[i] = i + 1;
    expect_numbers(p.bus, all, (size_t)n, 0);
    cr_assert(nexus_bus_is_owner(p.bus));
    free(all);
    nexus_bus_close(p.bus);
    server_close(&s);
}

/* Fault row 31: the server comes up with what it had some time ago. */
Test(bus_engine_nats, a_lost_end_is_a_gap_and_its_positions_are_not_given_again)
{
    static const int left[] = {1, 2, 3, 4, 8, 9};
    server s;
    uint64_t from, to;
    if (!server_open(&s))
        return;
    nexus_bus *bus = engine_open(s.url, NEXUS_BUS_AUTO);
    nexus_group *g = join(bus, "workers", NULL);
    publish_numbers(bus, 1, 4);
    cr_assert(next_of(g, &from, &to) == 1 && next_of(g, &from, &to) == 2);
    end(&s, SIGTERM);
    in_its_dir(&s, "cp -a data old");
    start(&s);
    publish_numbers(bus, 5, 7);
    end(&s, SIGKILL);
    in_its_dir(&s, "rm -r data && mv old data");
    start(&s);
    cr_assert(publish_once(bus, "8") == NEXUS_EUNKNOWN);
    publish_numbers(bus, 8, 9);
    expect_numbers(bus, left, 6, 1);
    for (int i = 3; i <= 4; i++) /* what was settled before stays so */
        cr_assert(next_of(g, &from, &to) == i);
    cr_assert(next_of(g, &from, &to) == 0 && from == 5 && to == 7, "%llu to %llu", (unsigned long long)from,
              (unsigned long long)to);
    cr_assert(next_of(g, &from, &to) == 8 && next_of(g, &from, &to) == 9);
    nexus_group_close(g);
    nexus_bus_close(bus);
    server_close(&s);
}

Test(bus_engine_nats, a_lost_end_is_noticed_by_the_next_owner_too)
{
    static const int left[] = {1, 2, 3, 8};
    server s;
    if (!server_open(&s))
        return;
    nexus_bus *bus = engine_open(s.url, NEXUS_BUS_AUTO);
    publish_numbers(bus, 1, 3);
    end(&s, SIGTERM);
    in_its_dir(&s, "cp -a data/jetstream/*/streams/nexus_bus old");
    start(&s);
    publish_numbers(bus, 4, 7);
    nexus_bus_close(bus);
    end(&s, SIGTERM);
    in_its_dir(&s, "rm -r data/jetstream/*/streams/nexus_bus && mv old $(echo data/jetstream/*/streams)/nexus_bus");
    start(&s);
    bus = engine_open(s.url, NEXUS_BUS_AUTO);
    uint64_t head;
    cr_assert(nexus_bus_head(bus, &head) == NEXUS_OK && head >= 7);
    publish_numbers(bus, 8, 8);
    expect_numbers(bus, left, 4, 1);
    nexus_bus_close(bus);
    server_close(&s);
}

/* --- messages ------------------------------------------------------------------------------------------------------- */

typedef void meddle_fn(nexus__nats *n);

static void delete_the_stream(nexus__nats *n)
{
    jsErrCode code;
    cr_assert(js_DeleteStream(n->js, n->name, NULL, &code) == NATS_OK);
}

static void purge_the_stream(nexus__nats *n)
{
    jsErrCode code;
    cr_assert(js_PurgeStream(n->js, n->name, NULL, &code) == NATS_OK);
}

static void meddled(meddle_fn *meddle, bool with_owner)
{
    static const int left[] = {5, 6};
    server s;
    uint64_t from, to;
    if (!server_open(&s))
        return;
    nexus_bus *bus = engine_open(s.url, NEXUS_BUS_AUTO);
    nexus_group *g = join(bus, "workers", NULL);
    nexus__nats *n = stranger(&s);
    publish_numbers(bus, 1, 4);
    cr_assert(next_of(g, &from, &to) == 1 && next_of(g, &from, &to) == 2);
    if (!with_owner) {
        nexus_group_close(g);
        nexus_bus_close(bus);
    }
    meddle(n);
    if (!with_owner)
        bus = engine_open(s.url, NEXUS_BUS_AUTO);
    publish_numbers(bus, 5, 6);
    expect_numbers(bus, left, 2, 1);
    if (with_owner) { /* what it has in hand it still hands out, and tells of the rest */
        int number;
        while ((number = next_of(g, &from, &to)) == 3 || number == 4)
            ;
        cr_assert(number == 5 || (number == 0 && to == 4 && next_of(g, &from, &to) == 5));
        cr_assert(next_of(g, &from, &to) == 6);
        nexus_group_close(g);
    }
    nexus_bus_close(bus);
    nexus__nats_close(n);
    server_close(&s);
}

Test(bus_engine_nats, a_stream_that_somebody_deleted_is_a_gap)
{
    meddled(delete_the_stream, true);
}

Test(bus_engine_nats, a_stream_that_somebody_deleted_while_nobody_owned_it_is_a_gap)
{
    meddled(delete_the_stream, false);
}

Test(bus_engine_nats, a_stream_that_somebody_purged_is_a_gap)
{
    meddled(purge_the_stream, true);
}

Test(bus_engine_nats, a_stream_that_somebody_purged_while_nobody_owned_it_is_a_gap)
{
    meddled(purge_the_stream, false);
}

Test(bus_engine_nats, messages_removed_from_the_middle_are_said_once_and_foreign_ones_ignored)
{
    static const int left[] = {1, 2, 5, 6, 7};
    server s;
    jsErrCode code;
    if (!server_open(&s))
        return;
    nexus_bus *bus = engine_open(s.url, NEXUS_BUS_AUTO);
    nexus__nats *n = stranger(&s);
    publish_numbers(bus, 1, 6);
    for (uint64_t seq = 4; seq <= 5; seq++) /* behind the owner's mark */
        cr_assert(js_DeleteMsg(n->js, n->name, seq, NULL, &code) == NATS_OK);
    cr_assert(natsConnection_PublishString(n->connection, n->log_subject, "no parcel") == NATS_OK);
    cr_assert(natsConnection_Flush(n->connection) == NATS_OK);
    publish_numbers(bus, 7, 7);
    cr_assert(nexus_bus_is_owner(bus));
    expect_numbers(bus, left, 5, 1);
    nexus_bus_close(bus);
    bus = engine_open(s.url, NEXUS_BUS_AUTO);
    expect_numbers(bus, left, 5, 1);
    nexus_bus_close(bus);
    nexus__nats_close(n);
    server_close(&s);
}

/* --- runs of several messages --------------------------------------------------------------------------------------- */

static void publish_large(nexus_bus *bus, int from)
{
    enum { EVENTS = 30, BYTES = 100000 };
    nexus_event events[EVENTS];
    char *data = malloc(BYTES), ids[EVENTS][16];
    memset(data, ' ', BYTES);
    for (int i = 0; i < EVENTS; i++) {
        events[i] = (nexus_event)NEXUS_EVENT_INIT;
        snprintf(ids[i], sizeof ids[i], "%d", from + i);
        events[i].id = text(ids[i]);
        events[i].type = text("a.b");
        events[i].data = nexus__slice(data, BYTES);
    }
    cr_assert(nexus_bus_publish(bus, events, EVENTS, NULL, NULL) == NEXUS_OK, "%s", nexus_error_message());
    free(data);
}

static void count_events(nexus_bus *bus, int expected)
{
    nexus_reader *r;
    const nexus_event *e;
    cr_assert(nexus_reader_open(&r, bus, NULL) == NEXUS_OK);
    for (int i = 1; i <= expected; i++) {
        cr_assert(nexus_reader_next(r, &e, 3000) == NEXUS_OK && e->pos == (uint64_t)i, "%d: %s", i,
                  nexus_error_message());
        cr_assert(number_of(e->id) == i);
    }
    cr_assert(nexus_reader_next(r, &e, 0) == NEXUS_EDONE);
    nexus_reader_close(r);
}

/* What an owner leaves that dies between two messages of a run. */
static void leave_half_a_run(nexus__nats *n)
{
    natsMsg *m = NULL;
    nexus__parcel p;
    nexus__buf body;
    nexus__buf_init(&body, NULL, 0);
    cr_assert(nexus__nats_last(n, &m, n->name, n->log_subject) == NEXUS_OK);
    cr_assert(nexus__parcel_get(&p, nexus__nats_data(m)));
    uint64_t seq = natsMsg_GetSequence(m);
    p.place += p.parts != 0;
    p.first_seq = p.next_seq;
    p.first_pos = p.next_pos;
    p.next_seq += 1;
    p.next_pos += 5;
    p.part = 0;
    p.parts = 3;
    p.bytes = text("half a run");
    nexus__parcel_put(&body, &p);
    const nexus__nats_put put = {
        .subject = n->log_subject, .after = NATS_AFTER_LAST, .seq = seq, .data = nexus__buf_slice(&body)};
    cr_assert(nexus__nats_publish(n, &put, NULL) == NEXUS_OK, "%s", nexus_error_message());
    nexus__buf_free(&body);
    natsMsg_Destroy(m);
}

Test(bus_engine_nats, a_batch_above_the_size_of_a_message_is_there_whole_or_not_at_all)
{
    server s;
    if (!server_open(&s))
        return;
    nexus_bus *bus = engine_open(s.url, NEXUS_BUS_AUTO);
    publish_large(bus, 1);
    publish_numbers(bus, 31, 32);
    count_events(bus, 32);
    nexus_bus_close(bus);
    nexus__nats *n = stranger(&s);
    leave_half_a_run(n);
    for (int life = 0; life < 2; life++) {
        bus = engine_open(s.url, NEXUS_BUS_AUTO);
        count_events(bus, 32 + 31 * life);
        publish_large(bus, 33 + 31 * life);
        publish_numbers(bus, 63 + 31 * life, 63 + 31 * life);
        count_events(bus, 63 + 31 * life);
        nexus_bus_close(bus);
    }
    nexus__nats_close(n);
    server_close(&s);
}

/* --- how it is set up ----------------------------------------------------------------------------------------------- */

Test(bus_engine_nats, a_stream_that_would_forget_events_is_refused)
{
    server s;
    jsErrCode code;
    nexus_bus *bus;
    if (!server_open(&s))
        return;
    nexus__nats *n = stranger(&s);
    jsStreamConfig config;
    jsStreamConfig_Init(&config);
    config.Name = n->name;
    config.Subjects = &(const char *){n->log_subject};
    config.SubjectsLen = 1;
    config.MaxAge = 3600 * NEXUS__NS_PER_S;
    cr_assert(js_AddStream(NULL, n->js, &config, NULL, &code) == NATS_OK);
    cr_assert(nexus_bus_open(&bus, s.url, NULL) == NEXUS_EINVAL && strstr(nexus_error_message(), "max_age"));
    nexus__nats_close(n);
    server_close(&s);
}

Test(bus_engine_nats, a_wrong_password_is_said_and_the_right_one_works)
{
    server s;
    char url[300];
    nexus_bus *bus;
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    opts.connect_timeout_ms = 50;
    if (!server_open(&s))
        return;
    end(&s, SIGTERM);
    s.password = "opensesame";
    start(&s);
    snprintf(url, sizeof url, "nats://nexus:wrong@127.0.0.1:%s", s.port);
    cr_assert(nexus_bus_open(&bus, url, &opts) == NEXUS_EPERM, "%s", nexus_error_message());
    cr_assert(!strstr(nexus_error_message(), "wrong"), "no secrets in messages: %s", nexus_error_message());
    snprintf(url, sizeof url, "nats://nexus:opensesame@127.0.0.1:%s", s.port);
    bus = engine_open(url, NEXUS_BUS_AUTO);
    publish_numbers(bus, 1, 1);
    nexus_bus_close(bus);
    server_close(&s);
}

static void get_blob(nexus__nats *n, nexus_slice expected)
{
    nexus__buf out;
    nexus__buf_init(&out, NULL, 0);
    cr_assert(nexus__nats_get_blob(n, "bus-0", &out) == NEXUS_OK, "%s", nexus_error_message());
    cr_assert(nexus__slice_eq(nexus__buf_slice(&out), expected));
    nexus__buf_free(&out);
}

Test(bus_engine_nats, a_checkpoint_of_several_messages_is_replaced_as_a_whole_and_damage_shows)
{
    enum { BYTES = 3000000 };
    server s;
    char *data = malloc(BYTES), subject[NATS_SUBJECT_MAX];
    nexus__buf out;
    if (!server_open(&s))
        return;
    nexus__nats *n = stranger(&s);
    for (int i = 0; i < BYTES; i++)
        data[i] = (char)(i * 31 >> 3);
    nexus__buf_init(&out, NULL, 0);
    cr_assert(nexus__nats_streams(n) == NEXUS_OK);
    cr_assert(nexus__nats_get_blob(n, "bus-0", &out) == NEXUS_ENOTFOUND);
    cr_assert(nexus__nats_put_blob(n, "bus-0", nexus__slice(data, BYTES)) == NEXUS_OK, "%s", nexus_error_message());
    get_blob(n, nexus__slice(data, BYTES));
    cr_assert(nexus__nats_put_blob(n, "bus-0", text("small")) == NEXUS_OK);
    get_blob(n, text("small"));
    cr_assert(nexus__nats_put_blob(n, "bus-0", nexus__slice(data, BYTES)) == NEXUS_OK);
    for (int slot = 0; slot < 2; slot++) { /* whichever it is in */
        snprintf(subject, sizeof subject, "%s.state.blob.bus-0.%d.1", n->name, slot);
        const nexus__nats_put put = {.subject = subject, .data = text("something else")};
        cr_assert(nexus__nats_publish(n, &put, NULL) == NEXUS_OK);
    }
    cr_assert(nexus__nats_get_blob(n, "bus-0", &out) == NEXUS_ECORRUPT);
    nexus__buf_free(&out);
    nexus__nats_close(n);
    server_close(&s);
    free(data);
}

Test(bus_engine_nats, a_bad_name_or_a_server_that_is_not_there_is_said)
{
    nexus_bus *bus;
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    opts.connect_timeout_ms = 50;
    cr_assert(nexus_bus_open(&bus, "nats://127.0.0.1:4222#a.b", &opts) == NEXUS_EINVAL);
    cr_assert(nexus_bus_open(&bus, "nats://127.0.0.1:1", &opts) == NEXUS_EUNREACH, "%s", nexus_error_message());
}

Test(bus_engine_nats, old_messages_are_dropped_and_checkpoints_kept)
{
    server s;
    if (!server_open(&s))
        return;
    expect_dropping(nexus__nats_log_open, s.url);
    server_close(&s);
}
