/* bus/engines/redis*: what happens to a log in Redis when its server, its keys or its owners go wrong. */
#include "engine_steps.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "bus/engines/engine.h"
#include "bus/engines/redis.h"

/* A server of the test's own, which it can stop, kill and give an older directory. */
typedef struct server {
    char *dir, url[200], port[8];
    const char *const *options; /* NULL at the end */
    pid_t pid;
} server;

static const char *const always[] = {"--appendonly", "yes", "--appendfsync", "always", NULL};

static bool answers(const server *s)
{
    nexus__redis_place place;
    nexus__redis *link;
    nexus__redis_reply reply;
    cr_assert(nexus__redis_place_parse(&place, s->url, NULL) == NEXUS_OK);
    bool up = nexus__redis_open(&link, &place.config) == NEXUS_OK;
    if (up) {
        up = nexus__redis_ask(link, &NEXUS_S("PING"), 1, nexus__mono_ns() + NEXUS__NS_PER_S, &reply) == NEXUS_OK;
        if (up)
            nexus__redis_reply_free(&reply);
        nexus__redis_close(link);
    }
    nexus__redis_place_free(&place);
    return up;
}

static void start(server *s)
{
    const char *argv[24] = {"redis-server", "--port", s->port, "--bind", "127.0.0.1", "--save", "", "--dir", s->dir,
                            "--logfile", "log"};
    size_t n = 11;
    for (const char *const *o = s->options; o && *o; o++)
        argv[n++] = *o;
    s->pid = fork();
    if (s->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    while (!answers(s)) {
        cr_assert(waitpid(s->pid, NULL, WNOHANG) == 0, "redis-server does not start");
        usleep(2000);
    }
}

static void end(server *s, int how)
{
    kill(s->pid, how);
    waitpid(s->pid, NULL, 0);
}

static bool server_open(server *s, const char *const *options)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof any;
    if (!getenv("NEXUS_TEST_REDIS_URL")) /* there is no redis-server here */
        return false;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert(bind(fd, (struct sockaddr *)&any, sizeof any) == 0);
    cr_assert(getsockname(fd, (struct sockaddr *)&any, &n) == 0);
    close(fd);
    *s = (server){.dir = scratch_dir(), .options = options};
    snprintf(s->port, sizeof s->port, "%u", ntohs(any.sin_port));
    snprintf(s->url, sizeof s->url, "redis://127.0.0.1:%s", s->port);
    start(s);
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

/* A command of somebody who knows nothing of the bus: words between blanks, {} stands for the bus's keys. */
static void meddle(const server *s, const char *command)
{
    char text[300], *rest = text, *word;
    nexus_slice words[16];
    char keys[16][120];
    size_t n = 0;
    nexus__redis_place place;
    nexus__redis *link;
    nexus__redis_reply reply;
    snprintf(text, sizeof text, "%s", command);
    while ((word = strsep(&rest, " ")) != NULL) {
        bool key = strncmp(word, "{}", 2) == 0;
        snprintf(keys[n], sizeof keys[n], "%s%s", key ? "nexus:bus:{nexus_bus}" : "", key ? word + 2 : word);
        words[n] = nexus__slice_c(keys[n]);
        n++;
    }
    cr_assert(nexus__redis_place_parse(&place, s->url, NULL) == NEXUS_OK);
    cr_assert(nexus__redis_open(&link, &place.config) == NEXUS_OK, "%s", nexus_error_message());
    cr_assert(nexus__redis_ask(link, words, n, nexus__mono_ns() + 5 * NEXUS__NS_PER_S, &reply) == NEXUS_OK, "%s: %s", command,
              nexus_error_message());
    nexus__redis_reply_free(&reply);
    nexus__redis_close(link);
    nexus__redis_place_free(&place);
}

/* The numbers that are read, with -1 for each time that something was missing; system.alert is left out. */
static void expect_read(nexus_bus *bus, size_t n, const int numbers[])
{
    nexus_reader *r;
    const nexus_event *e;
    nexus_reader_opts opts = NEXUS_READER_OPTS_INIT;
    opts.types = "a.b";
    cr_assert(nexus_reader_open(&r, bus, &opts) == NEXUS_OK, "%s", nexus_error_message());
    for (size_t i = 0; i < n; i++) {
        nexus_status status = nexus_reader_next(r, &e, 3000);
        cr_assert(status == (numbers[i] < 0 ? NEXUS_EMISSING : NEXUS_OK), "%zu: %s %s", i, nexus_status_name(status),
                  nexus_error_message());
        cr_assert(status != NEXUS_OK || number_of(e->data) == numbers[i], "%zu is %.*s, not %d", i, (int)e->data.n, e->data.p,
                  numbers[i]);
    }
    nexus_status status = nexus_reader_next(r, &e, 0);
    cr_assert(status == NEXUS_EDONE, "%s %s", nexus_status_name(status), nexus_error_message());
    nexus_reader_close(r);
}
#define EXPECT_READ(bus, ...)                                                                                          \
    expect_read(bus, sizeof((int[]){__VA_ARGS__}) / sizeof(int), (const int[]){__VA_ARGS__})

/* What a group is handed out, with -1 for nexus.gap. */
static void expect_handed(nexus_group *g, size_t n, const int numbers[])
{
    for (size_t i = 0; i < n; i++) {
        nexus_delivery *d = take(g, 5000);
        cr_assert(d, "delivery %zu", i);
        const nexus_event *e = nexus_delivery_event(d);
        bool gap = e->type.n == 9 && memcmp(e->type.p, "nexus.gap", 9) == 0;
        cr_assert(gap == (numbers[i] < 0) && (gap || number_of(e->data) == numbers[i]), "delivery %zu is %.*s", i,
                  (int)e->data.n, e->data.p);
        cr_assert(nexus_delivery_ack_sync(d) == NEXUS_OK, "%s", nexus_error_message());
        nexus_delivery_free(d);
    }
    cr_assert(take(g, 0) == NULL);
}
#define EXPECT_HANDED(g, ...)                                                                                          \
    expect_handed(g, sizeof((int[]){__VA_ARGS__}) / sizeof(int), (const int[]){__VA_ARGS__})

static nexus_group *join_typed(nexus_bus *bus)
{
    nexus_group_opts opts = NEXUS_GROUP_OPTS_INIT;
    opts.types = "a.b";
    opts.order = NEXUS_ORDER_TOTAL;
    return join(bus, "workers", &opts);
}

/* --- what the server promises ---- */

static void promise(const char *const *options, uint32_t durability)
{
    server s;
    nexus_publish_result r = NEXUS_PUBLISH_RESULT_INIT;
    nexus_event e = NEXUS_EVENT_INIT;
    if (!server_open(&s, options))
        return;
    nexus_bus *bus = engine_open(s.url, NEXUS_BUS_AUTO), *client = engine_open(s.url, NEXUS_BUS_CLIENT);
    e.type = text("a.b");
    cr_assert(nexus_bus_publish(bus, &e, 1, NULL, &r) == NEXUS_OK && r.durability == durability, "%u", r.durability);
    cr_assert(r.durable == (durability == NEXUS_DURABILITY_ALWAYS));
    cr_assert(!!(nexus_bus_caps(bus) & NEXUS_CAP_DURABLE) == r.durable);
    cr_assert(nexus_bus_publish(client, &e, 1, NULL, &r) == NEXUS_OK && r.durability == durability);
    cr_assert(nexus_bus_caps(client) == nexus_bus_caps(bus));
    nexus_bus_close(client);
    nexus_bus_close(bus);
    server_close(&s);
}

Test(bus_engine_redis, is_durable_when_the_server_syncs_before_it_answers)
{
    promise(always, NEXUS_DURABILITY_ALWAYS);
}

Test(bus_engine_redis, says_so_when_the_server_syncs_every_second)
{
    static const char *const options[] = {"--appendonly", "yes", "--appendfsync", "everysec", NULL};
    promise(options, NEXUS_DURABILITY_INTERVAL);
}

Test(bus_engine_redis, is_not_durable_when_a_rewrite_of_the_file_suspends_syncs)
{
    static const char *const options[] = {"--appendonly", "yes", "--appendfsync", "always", "--no-appendfsync-on-rewrite",
                                          "yes", NULL};
    promise(options, NEXUS_DURABILITY_OS);
}

Test(bus_engine_redis, promises_nothing_where_it_may_not_ask)
{
    static const char *const options[] = {"--appendonly", "yes", "--appendfsync", "always", "--rename-command", "CONFIG", "",
                                          NULL};
    promise(options, NEXUS_DURABILITY_NONE);
}

static void evicting(const char *const *options)
{
    server s;
    nexus_bus *bus;
    if (!server_open(&s, options))
        return;
    cr_assert(nexus_bus_open(&bus, s.url, NULL) == NEXUS_EINVAL);
    cr_assert(strstr(nexus_error_message(), "maxmemory-policy noeviction"), "%s", nexus_error_message());
    server_close(&s);
}

Test(bus_engine_redis, refuses_a_server_that_evicts_keys)
{
    static const char *const options[] = {"--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru", NULL};
    evicting(options);
}

Test(bus_engine_redis, refuses_a_server_that_evicts_keys_and_tells_it_in_info_alone)
{
    static const char *const options[] = {"--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru", "--rename-command",
                                          "CONFIG", "", NULL};
    evicting(options);
}

Test(bus_engine_redis, a_url_is_read_or_refused)
{
    nexus_bus *bus;
    cr_assert(nexus_bus_open(&bus, "redis://127.0.0.1:1#a{b}", NULL) == NEXUS_EINVAL);
    cr_assert(nexus_bus_open(&bus, "redis://127.0.0.1:1/x#b", NULL) == NEXUS_EINVAL);
    cr_assert(nexus_bus_open(&bus, "rediss://127.0.0.1:1", NULL) == NEXUS_ENOTSUP && strstr(nexus_error_message(), "TLS"));
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    opts.connect_timeout_ms = 1;
    cr_assert(nexus_bus_open(&bus, "redis://127.0.0.1:1#b", &opts) == NEXUS_EUNREACH);
}

/* --- a server that refuses ---- */

Test(bus_engine_redis, a_full_server_stores_nothing_and_takes_more_when_there_is_room)
{
    server s;
    if (!server_open(&s, always))
        return;
    nexus_bus *bus = engine_open(s.url, NEXUS_BUS_AUTO);
    publish_until_stored(bus, "1");
    meddle(&s, "CONFIG SET maxmemory 1000");
    cr_assert(publish_once(bus, "2") == NEXUS_ENOSPC, "%s", nexus_error_message());
    cr_assert(strstr(nexus_error_message(), "maxmemory"), "%s", nexus_error_message());
    EXPECT_READ(bus, 1);
    meddle(&s, "CONFIG SET maxmemory 0");
    publish_until_stored(bus, "2");
    EXPECT_READ(bus, 1, 2);
    nexus_bus_close(bus);
    server_close(&s);
}

Test(bus_engine_redis, a_replica_is_refused_and_an_owner_whose_server_becomes_one_says_so)
{
    server s;
    nexus_bus *other;
    if (!server_open(&s, always))
        return;
    nexus_bus *bus = engine_open(s.url, NEXUS_BUS_AUTO);
    publish_until_stored(bus, "1");
    meddle(&s, "REPLICAOF 127.0.0.1 1");
    nexus_status status = publish_once(bus, "2");
    cr_assert(status == NEXUS_EROFS && strstr(nexus_error_message(), "READONLY"), "%s", nexus_error_message());
    EXPECT_READ(bus, 1);
    cr_assert(nexus_bus_open(&other, s.url, &(nexus_bus_opts){.size = sizeof(nexus_bus_opts), .role = NEXUS_BUS_OWNER}) ==
              NEXUS_EROFS || strstr(nexus_error_message(), "owns"), "%s", nexus_error_message());
    meddle(&s, "REPLICAOF NO ONE");
    publish_until_stored(bus, "2");
    EXPECT_READ(bus, 1, 2);
    nexus_bus_close(bus);
    server_close(&s);
}

/* --- fault row 31: entries that somebody removed ---- */

Test(bus_engine_redis, entries_deleted_in_the_middle_are_a_gap_that_all_are_told_of_once)
{
    server s;
    if (!server_open(&s, always))
        return;
    nexus_bus *bus = engine_open(s.url, NEXUS_BUS_AUTO);
    nexus_bus *client = engine_open(s.url, NEXUS_BUS_CLIENT);
    nexus_group *g = join_typed(client);
    publish_numbers(bus, 1, 9);
    nexus__redis_place place;
    nexus__redis *link;
    nexus__redis_reply all, reply;
    cr_assert(nexus__redis_place_parse(&place, s.url, NULL) == NEXUS_OK);
    cr_assert(nexus__redis_open(&link, &place.config) == NEXUS_OK);
    const nexus_slice range[] = {NEXUS_S("XRANGE"), nexus__slice_c(place.log), NEXUS_S("-"), NEXUS_S("+")};
    cr_assert(nexus__redis_ask(link, range, 4, nexus__mono_ns() + NEXUS__NS_PER_S, &all) == NEXUS_OK);
    for (size_t i = 0; i < nexus__redis_reply_count(&all); i++) {
        nexus__redis_reply entry = nexus__redis_reply_at(&all, i), id = nexus__redis_reply_at(&entry, 0);
        if (!nexus__slice_ends(id.text, NEXUS_S("-3")) && !nexus__slice_ends(id.text, NEXUS_S("-4")))
            continue;
        const nexus_slice del[] = {NEXUS_S("XDEL"), nexus__slice_c(place.log), id.text};
        cr_assert(nexus__redis_ask(link, del, 3, nexus__mono_ns() + NEXUS__NS_PER_S, &reply) == NEXUS_OK);
        nexus__redis_reply_free(&reply);
    }
    nexus__redis_reply_free(&all);
    nexus__redis_close(link);
    nexus__redis_place_free(&place);
    EXPECT_READ(bus, 1, 2, -1, 5, 6, 7, 8, 9);
    EXPECT_READ(client, 1, 2, -1, 5, 6, 7, 8, 9);
    EXPECT_HANDED(g, 1, 2, -1, 5, 6, 7, 8, 9);
    nexus_group_close(g);
    nexus_bus_close(client);
    nexus_bus_close(bus);
    server_close(&s);
}

Test(bus_engine_redis, entries_trimmed_at_the_beginning_are_a_gap_that_all_are_told_of_once)
{
    server s;
    if (!server_open(&s, always))
        return;
    nexus_bus *bus = engine_open(s.url, NEXUS_BUS_AUTO), *client = engine_open(s.url, NEXUS_BUS_CLIENT);
    nexus_group *g = join_typed(client);
    publish_numbers(bus, 1, 9);
    meddle(&s, "XTRIM {}:log MAXLEN 2");
    EXPECT_READ(bus, -1, 8, 9);
    EXPECT_READ(client, -1, 8, 9);
    EXPECT_HANDED(g, -1, 8, 9);
    publish_until_stored(client, "10");
    EXPECT_HANDED(g, 10);
    nexus_group_close(g);
    nexus_bus_close(client);
    nexus_bus_close(bus);
    bus = engine_open(s.url, NEXUS_BUS_AUTO); /* a gap does not keep it from opening */
    g = join_typed(bus);                      /* what the group was stood in the entries that are gone: it is new */
    EXPECT_HANDED(g, -1, 8, 9, 10);
    nexus_group_close(g);
    nexus_bus_close(bus);
    server_close(&s);
}

Test(bus_engine_redis, a_log_that_is_deleted_is_a_gap_and_no_position_is_given_again)
{
    server s;
    if (!server_open(&s, always))
        return;
    nexus_bus *bus = engine_open(s.url, NEXUS_BUS_AUTO);
    nexus_group *g = join_typed(bus);
    publish_numbers(bus, 1, 3);
    meddle(&s, "DEL {}:log {}:pos");
    publish_until_stored(bus, "4");
    EXPECT_READ(bus, -1, 4);
    EXPECT_HANDED(g, -1, 4);
    nexus_group_close(g);
    nexus_bus_close(bus);
    server_close(&s);
}

/* --- a server that is started again ---- */

typedef struct publisher {
    nexus_bus *bus;
    int from, to;
    pthread_t thread;
    atomic_int stored;
} publisher;

static void *publish_all(void *arg)
{
    publisher *p = arg;
    for (int i = p->from; i <= p->to; i++) {
        publish_numbers(p->bus, i, i);
        atomic_fetch_add(&p->stored, 1);
    }
    return NULL;
}

Test(bus_engine_redis, a_server_killed_in_mid_publish_has_each_event_once)
{
    enum { EACH = 150 };
    server s;
    publisher p[2] = {{.from = 1, .to = EACH}, {.from = EACH + 1, .to = 2 * EACH}};
    bool seen[2 * EACH + 1] = {false};
    nexus_reader *r;
    const nexus_event *e;
    if (!server_open(&s, always))
        return;
    nexus_bus *bus = engine_open(s.url, NEXUS_BUS_AUTO), *client = engine_open(s.url, NEXUS_BUS_CLIENT);
    p[0].bus = bus;
    p[1].bus = client;
    for (int i = 0; i < 2; i++)
        cr_assert(pthread_create(&p[i].thread, NULL, publish_all, &p[i]) == 0);
    for (int life = 1; life <= 2; life++) {
        while (atomic_load(&p[0].stored) < life * 40)
            usleep(500);
        end(&s, SIGKILL);
        start(&s);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(p[i].thread, NULL);
    cr_assert(nexus_reader_open(&r, bus, NULL) == NEXUS_OK);
    for (int i = 1; i <= 2 * EACH; i++) {
        cr_assert(nexus_reader_next(r, &e, 3000) == NEXUS_OK && e->pos == (uint64_t)i, "%d: %s", i, nexus_error_message());
        cr_assert(!seen[number_of(e->data)], "%d is there twice", number_of(e->data));
        seen[number_of(e->data)] = true;
    }
    cr_assert(nexus_reader_next(r, &e, 0) == NEXUS_EDONE);
    nexus_reader_close(r);
    nexus_bus_close(client);
    nexus_bus_close(bus);
    server_close(&s);
}

static bool was_alerted(nexus_bus *bus, const char *words)
{
    nexus_reader *r;
    const nexus_event *e;
    nexus_reader_opts opts = NEXUS_READER_OPTS_INIT;
    char data[512];
    opts.types = "system.alert";
    cr_assert(nexus_reader_open(&r, bus, &opts) == NEXUS_OK);
    nexus_status status = nexus_reader_next(r, &e, 5000);
    while (status == NEXUS_EMISSING)
        status = nexus_reader_next(r, &e, 5000);
    if (status == NEXUS_OK)
        snprintf(data, sizeof data, "%.*s", (int)e->data.n, e->data.p);
    nexus_reader_close(r);
    return status == NEXUS_OK && strstr(data, words) != NULL;
}

/* What a failover does that loses what was acknowledged: the server comes back with an older state. */
Test(bus_engine_redis, acknowledged_events_that_the_server_lost_are_a_gap_and_their_positions_are_not_given_again)
{
    server s;
    if (!server_open(&s, always))
        return;
    nexus_bus *bus = engine_open(s.url, NEXUS_BUS_AUTO), *client = engine_open(s.url, NEXUS_BUS_AUTO);
    nexus_group *g = join_typed(client);
    publish_numbers(bus, 1, 4);
    EXPECT_HANDED(g, 1, 2, 3, 4);
    in_its_dir(&s, "cp -r appendonlydir older");
    publish_numbers(bus, 5, 7);
    end(&s, SIGKILL);
    in_its_dir(&s, "rm -r appendonlydir && mv older appendonlydir");
    start(&s);
    publish_until_stored(client, "8");
    EXPECT_READ(bus, 1, 2, 3, 4, -1, 8);
    EXPECT_READ(client, 1, 2, 3, 4, -1, 8);
    EXPECT_HANDED(g, -1, 8);
    cr_assert(was_alerted(bus, "positions 5 to 7"));
    nexus_group_close(g);
    nexus_bus_close(client);
    nexus_bus_close(bus);
    server_close(&s);
}

Test(bus_engine_redis, a_server_that_comes_back_empty_is_a_gap_too)
{
    server s;
    if (!server_open(&s, NULL))
        return;
    nexus_bus *bus = engine_open(s.url, NEXUS_BUS_AUTO);
    nexus_group *g = join_typed(bus);
    publish_numbers(bus, 1, 3);
    end(&s, SIGKILL);
    start(&s);
    publish_until_stored(bus, "4");
    EXPECT_READ(bus, -1, 4);
    EXPECT_HANDED(g, -1, 4);
    nexus_group_close(g);
    nexus_bus_close(bus);
    server_close(&s);
}

/* --- owners ---- */

Test(bus_engine_redis, an_owner_that_was_overtaken_stores_nothing_and_is_an_owner_or_client_again)
{
    server s;
    if (!server_open(&s, always))
        return;
    nexus_bus *bus = engine_open(s.url, NEXUS_BUS_AUTO);
    publish_until_stored(bus, "1");
    meddle(&s, "HSET {}:head writer somebody epoch 17");
    meddle(&s, "DEL {}:owner");
    publish_until_stored(bus, "2");
    publish_until_stored(bus, "3");
    EXPECT_READ(bus, 1, 2, 3);
    nexus_bus_close(bus);
    server_close(&s);
}

/* In a process of its own: owns the bus, stops, and is a client when it goes on. Its status tells what was wrong. */
static int sleeper(const char *url)
{
    nexus_bus *bus;
    if (nexus_bus_open(&bus, url, NULL) != NEXUS_OK || !nexus_bus_is_owner(bus) || publish_once(bus, "1") != NEXUS_OK)
        return 1;
    raise(SIGSTOP);
    nexus_status status;
    do {
        status = publish_once(bus, "3");
    } while (status == NEXUS_EUNKNOWN || status == NEXUS_EROFS || status == NEXUS_ETIMEDOUT);
    int wrong = status != NEXUS_OK ? 2 : nexus_bus_is_owner(bus) ? 3 : 0;
    nexus_bus_close(bus);
    return wrong;
}

Test(bus_engine_redis, a_stopped_owner_is_replaced_and_a_client_when_it_wakes_up)
{
    server s;
    int status;
    if (!server_open(&s, always))
        return;
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(sleeper(s.url));
    }
    cr_assert(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
    nexus_bus *bus = engine_open(s.url, NEXUS_BUS_AUTO);
    cr_assert(nexus_bus_is_owner(bus));
    publish_until_stored(bus, "2");
    kill(pid, SIGCONT);
    cr_assert(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0, "%x", (unsigned)status);
    EXPECT_READ(bus, 1, 2, 3);
    nexus_bus_close(bus);
    server_close(&s);
}

/* --- the ends of the log ---- */

Test(bus_engine_redis, old_entries_are_dropped_and_checkpoints_kept)
{
    server s;
    if (!server_open(&s, always))
        return;
    expect_dropping(nexus__redis_log_open, s.url);
    server_close(&s);
}

static void retained(const char *const *options)
{
    server s;
    if (!server_open(&s, options))
        return;
    expect_retention(s.url);
    server_close(&s);
}

Test(bus_engine_redis, old_events_go_when_there_are_too_many_and_what_they_did_stays)
{
    retained(always);
}

Test(bus_engine_redis, old_events_go_where_nothing_is_synced_too)
{
    retained(NULL);
}
