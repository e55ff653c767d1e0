/*
 * One random sequence of operations, run on each engine: what the caller is told (statuses, positions, versions,
 * deliveries with their attempts, dead letters) must be the same, byte for byte. Times and ids the bus makes are left out,
 * waits are never part of a case. NEXUS_TEST_SEED=n repeats a case; each run also tries a new seed and prints it when
 * engines differ.
 */
#include "engines.h"

#include <stdarg.h>
#include <time.h>

enum { STEPS = 400, HELD = 16, GROUPS = 2 };

typedef struct run {
    const char *url;
    nexus_bus *bus;
    nexus_group *groups[GROUPS];
    nexus_delivery *held[HELD];
    uint64_t random;
    bool reopens;
    char *told;
    size_t n, cap;
} run;

static uint32_t pick(run *r, uint32_t below) /* splitmix64 */
{
    uint64_t x = r->random += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)((x ^ x >> 31) >> 16) % below;
}

static void tell(run *r, const char *format, ...)
{
    va_list args;
    if (r->cap - r->n < 4096) {
        r->cap = r->cap * 2 + 8192;
        r->told = realloc(r->told, r->cap);
    }
    va_start(args, format);
    r->n += (size_t)vsnprintf(r->told + r->n, 2048, format, args);
    va_end(args);
}

static void open_all(run *r)
{
    r->bus = engine_open(r->url, NEXUS_BUS_AUTO);
    for (int i = 0; i < GROUPS; i++) {
        nexus_group_opts opts = NEXUS_GROUP_OPTS_INIT;
        opts.max_deliver = 3;
        opts.ack_wait_ms = 600000;
        opts.redeliver_percent = 100;
        opts.redeliver_per_s = 100000;
        opts.order = i ? NEXUS_ORDER_NONE : NEXUS_ORDER_KEY;
        opts.types = i ? "order.*" : NULL;
        r->groups[i] = join(r->bus, i ? "none" : "key", &opts);
    }
}

static void drop_held(run *r)
{
    for (int i = 0; i < HELD; i++) {
        nexus_delivery_free(r->held[i]);
        r->held[i] = NULL;
    }
}

static void close_all(run *r)
{
    drop_held(r);
    for (int i = 0; i < GROUPS; i++)
        nexus_group_close(r->groups[i]);
    nexus_bus_close(r->bus);
}

static void publish(run *r)
{
    static const char *const types[] = {"order.created", "order.paid", "user.login"};
    static const int64_t expected[] = {NEXUS_EXPECT_ANY, NEXUS_EXPECT_ANY, NEXUS_EXPECT_NO_STREAM, NEXUS_EXPECT_EXISTS,
                                       1};
    char ids[3][24], subjects[3][16], data[3][24];
    nexus_event events[3];
    size_t n = 1 + pick(r, 3);
    nexus_publish_opts opts = NEXUS_PUBLISH_OPTS_INIT;
    nexus_publish_result result = NEXUS_PUBLISH_RESULT_INIT;
    opts.expect = expected[pick(r, 5)];
    for (size_t i = 0; i < n; i++) {
        events[i] = (nexus_event)NEXUS_EVENT_INIT;
        snprintf(ids[i], sizeof ids[i], "id-%u", pick(r, 300)); /* often one that is stored already */
        snprintf(subjects[i], sizeof subjects[i], "s-%u", opts.expect == NEXUS_EXPECT_ANY ? pick(r, 6) : pick(r, 2));
        snprintf(data[i], sizeof data[i], "{\"d\":%u}", pick(r, 2));
        events[i].id = text(ids[i]);
        events[i].type = text(types[pick(r, 3)]);
        events[i].subject = text(subjects[i]);
        events[i].data = text(data[i]);
    }
    nexus_status status = nexus_bus_publish(r->bus, events, n, &opts, &result);
    tell(r, "publish %zu: %s first=%llu last=%llu version=%lld actual=%lld dup=%d\n", n, nexus_status_name(status),
         (unsigned long long)result.first, (unsigned long long)result.last, (long long)result.version,
         (long long)result.actual_version, result.dup);
}

static void read_some(run *r)
{
    char stream[16];
    nexus_reader_opts opts = NEXUS_READER_OPTS_INIT;
    nexus_reader *reader;
    const nexus_event *e;
    snprintf(stream, sizeof stream, "s-%u", pick(r, 6));
    opts.stream = pick(r, 2) ? stream : NULL;
    opts.types = pick(r, 2) ? "order.>" : NULL;
    opts.start = NEXUS_START_POS;
    opts.start_pos = 1 + pick(r, 100);
    cr_assert(nexus_reader_open(&reader, r->bus, &opts) == NEXUS_OK);
    nexus_status status = NEXUS_OK;
    for (int i = 0; i < 20 && (status = nexus_reader_next(reader, &e, 0)) == NEXUS_OK; i++)
        tell(r, " read %llu v%lld %.*s %.*s\n", (unsigned long long)e->pos, (long long)e->version, (int)e->id.n,
             e->id.p, (int)e->data.n, e->data.p);
    tell(r, "read: %s\n", nexus_status_name(status));
    nexus_reader_close(reader);
}

static void fetch(run *r)
{
    uint32_t at = pick(r, HELD), which = pick(r, GROUPS);
    nexus_delivery *d = NULL;
    size_t got = 0;
    if (r->held[at])
        return;
    nexus_status status = nexus_group_fetch(r->groups[which], &d, 1, 0, &got);
    tell(r, "fetch %u: %s", which, nexus_status_name(status));
    if (got)
        tell(r, " %llu attempt %u", (unsigned long long)nexus_delivery_event(d)->pos, nexus_delivery_attempt(d));
    tell(r, "\n");
    r->held[at] = d;
}

static void settle(run *r)
{
    uint32_t at = pick(r, HELD), how = pick(r, 5);
    nexus_delivery *d = r->held[at];
    if (!d)
        return;
    unsigned long long pos = nexus_delivery_event(d)->pos;
    nexus_status status = how == 0   ? nexus_delivery_nak(d, 0, "again")
                          : how == 1 ? nexus_delivery_term(d, "never")
                          : how == 2 ? nexus_delivery_ack_sync(d)
                                     : nexus_delivery_ack(d);
    tell(r, "settle %llu by %u: %s", pos, how, nexus_status_name(status));
    tell(r, ", again: %s\n", nexus_status_name(nexus_delivery_ack(d)));
    nexus_delivery_free(d);
    r->held[at] = NULL;
}

/* Positions, attempts and reasons of the report, whose times are its own. */
static void tell_letters(run *r, const char *json)
{
    for (const char *p = json; (p = strstr(p, "{\"pos\":")) != NULL; p++) {
        const char *end = strstr(p, ",\"first_at\"");
        tell(r, " %.*s\n", end ? (int)(end - p) : 0, p);
    }
}

static void dead_letters(run *r)
{
    uint32_t which = pick(r, GROUPS), what = pick(r, 4);
    char *json;
    size_t n;
    nexus_dead_query query = NEXUS_DEAD_QUERY_INIT;
    query.reason = what == 1 ? "again" : NULL;
    query.limit = 3;
    nexus_status status = nexus_group_dead(&json, &n, r->groups[which], &query);
    tell(r, "dead letters of %u: %s\n", which, nexus_status_name(status));
    if (status == NEXUS_OK) {
        tell_letters(r, json);
        nexus_free(json);
    }
    if (what == 3) {
        nexus_redrive_result report = {.size = sizeof report};
        status = nexus_group_redrive(r->groups[which], &query, NULL, &report);
        tell(r, "redrive: %s %llu\n", nexus_status_name(status), (unsigned long long)report.redriven);
    }
}

static void look(run *r)
{
    uint64_t head = 0;
    int64_t version = 0;
    char stream[16];
    snprintf(stream, sizeof stream, "s-%u", pick(r, 6));
    nexus_status status = nexus_bus_head(r->bus, &head);
    tell(r, "head: %s %llu", nexus_status_name(status), (unsigned long long)head);
    status = nexus_stream_version(r->bus, stream, &version);
    tell(r, " version of %s: %s %lld\n", stream, nexus_status_name(status), (long long)version);
    for (int i = 0; i < GROUPS; i++) {
        nexus_group_stats s = {.size = sizeof s};
        status = nexus_group_read_stats(r->groups[i], &s);
        /* where a filter passes something over, the floor follows when the log is read next: an engine's own time */
        uint64_t floor = i == 0 ? s.floor : 0;
        tell(r, "group %d: %s floor %llu inflight %llu dead %llu\n", i, nexus_status_name(status),
             (unsigned long long)floor, (unsigned long long)s.inflight, (unsigned long long)s.dead);
    }
}

static void reopen(run *r)
{
    if (!r->reopens)
        return;
    close_all(r);
    open_all(r);
    tell(r, "opened again\n");
}

static void step(run *r)
{
    static void (*const operations[])(run *) = {publish, publish, publish, fetch,     fetch, fetch,
                                                settle,  settle,  settle,  read_some, look,  dead_letters};
    if (pick(r, 60) == 0)
        reopen(r);
    else
        operations[pick(r, sizeof operations / sizeof operations[0])](r);
}

/* What was told, or NULL when there is no such server here. */
static char *observe(const char *engine, uint64_t seed, bool reopens, int steps)
{
    char *dir = scratch_dir(), url[400];
    run r = {.url = url, .random = seed, .reopens = reopens};
    if (!engine_url(url, engine, dir)) {
        scratch_remove(dir);
        return NULL;
    }
    open_all(&r);
    for (int i = 0; i < (steps ? steps : STEPS); i++)
        step(&r);
    close_all(&r);
    scratch_remove(dir);
    return r.told;
}

/* steps: 0 = STEPS */
static void compare(const char *engine, const char *with, uint64_t seed, bool reopens, int steps)
{
    char *expected = observe(with, seed, reopens, steps), *told = observe(engine, seed, reopens, steps);
    size_t at = 0, line = 0;
    for (; told && told[at] && told[at] == expected[at]; at++)
        line = told[at] == '\n' ? at + 1 : line;
    cr_assert(!told || told[at] == expected[at], "seed %llu: %s says\n%.120s\nwhere %s says\n%.120s",
              (unsigned long long)seed, engine, told + line, with, expected + line);
    free(expected);
    free(told);
}

static void differential(const char *engine)
{
    const char *given = getenv("NEXUS_TEST_SEED");
    uint64_t seeds[] = {given ? strtoull(given, NULL, 10) : 1, given ? 0 : (uint64_t)time(NULL)};
    for (size_t i = 0; i < sizeof seeds / sizeof seeds[0] && seeds[i]; i++) {
        compare(engine, "memory", seeds[i], false, 0);
        if (strcmp(engine, "file") != 0)
            compare(engine, "file", seeds[i], true, 0);
    }
}

Test(bus_differential, files_behave_as_memory_does)
{
    differential("file");
}

Test(bus_differential, sqlite_behaves_as_memory_and_files_do)
{
    differential("sqlite");
}

Test(bus_differential, postgresql_behaves_as_memory_and_files_do)
{
    differential("postgresql");
}

Test(bus_differential, nats_behaves_as_memory_and_files_do)
{
    differential("nats");
}

Test(bus_differential, redis_behaves_as_memory_and_files_do)
{
    differential("redis");
}

Test(bus_differential, kafka_behaves_as_memory_and_files_do)
{
    const char *given = getenv("NEXUS_TEST_SEED"); /* where a read at a random place takes a tenth of a second */
    compare("kafka", "file", given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL), true, 80);
}
