/*
 * One random sequence of operations, run on each engine: what the caller is told (statuses, positions, versions, who gets
 * what on which attempt, dead letters, what a group says of itself) must be the same, byte for byte. Whatever depends on
 * time or on ids the bus makes is left out: leases are long, waits are none or an hour.
 *
 * NEXUS_TEST_SEED=n repeats a case, NEXUS_TEST_STEPS=n makes it longer; each run also tries a new seed and prints it when
 * engines differ.
 */
#include "engines.h"

#include <stdarg.h>
#include <time.h>

enum { STEPS = 400, HELD = 24, GROUPS = 4, HOUR_MS = 3600000 };

typedef struct run {
    const char *url;
    nexus_bus *bus;
    nexus_group *groups[GROUPS];
    nexus_delivery *held[HELD];
    uint32_t held_count, step;
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

/* --- the bus and its groups ---- */

/* By key and class of priority; filtered, with lanes that are parked; without order; one after the other. */
static nexus_group_opts opts_of(int i)
{
    nexus_group_opts o = NEXUS_GROUP_OPTS_INIT;
    o.ack_wait_ms = HOUR_MS;
    o.max_deliver = 3;
    o.redeliver_percent = 100;
    o.redeliver_per_s = 100000;
    o.order = i == 2 ? NEXUS_ORDER_NONE : i == 3 ? NEXUS_ORDER_TOTAL : NEXUS_ORDER_KEY;
    o.on_exhausted = i == 1 ? NEXUS_PARK_LANE : NEXUS_PARK_EVENT;
    o.types = i == 1 ? "order.*" : NULL;
    o.high_types = i == 0 ? "user.*" : NULL;
    return o;
}

static void open_all(run *r)
{
    r->bus = engine_open(r->url, NEXUS_BUS_AUTO);
    for (int i = 0; i < GROUPS; i++) {
        char name[8];
        nexus_group_opts opts = opts_of(i);
        snprintf(name, sizeof name, "g%d", i);
        r->groups[i] = join(r->bus, name, &opts);
    }
}

static void let_go(run *r, uint32_t i)
{
    nexus_delivery_free(r->held[i]);
    r->held[i] = r->held[--r->held_count];
}

static void close_all(run *r)
{
    while (r->held_count)
        let_go(r, 0);
    for (int i = 0; i < GROUPS; i++)
        nexus_group_close(r->groups[i]);
    nexus_bus_close(r->bus);
}

static nexus_group *any_group(run *r)
{
    return r->groups[pick(r, GROUPS)];
}

static uint64_t head_of(run *r)
{
    uint64_t head = 0;
    cr_assert(nexus_bus_head(r->bus, &head) == NEXUS_OK, "%s", nexus_error_message());
    return head;
}

/* --- publishing ---- */

typedef struct made {
    nexus_event events[3];
    char ids[3][16], keys[3][16], datas[3][16];
    nexus_pair tags[3];
    size_t n;
} made;

/* Ids come from a small pool, so that repetitions and conflicts happen; without a stream of its own an event has its
 * subject's. */
static void make_events(run *r, made *m, uint32_t keys)
{
    static const char *const types[] = {"order.paid", "order.made", "user.seen"};
    static const char *const tags[] = {"red", "blue", "red,blue"};
    m->n = 1 + pick(r, 3);
    for (size_t i = 0; i < m->n; i++) {
        nexus_event *e = &m->events[i];
        *e = (nexus_event)NEXUS_EVENT_INIT;
        snprintf(m->ids[i], sizeof m->ids[i], "id-%u", pick(r, 4) ? r->step * 4 + (unsigned)i : pick(r, r->step + 1) * 4);
        snprintf(m->keys[i], sizeof m->keys[i], "key-%u", pick(r, keys));
        snprintf(m->datas[i], sizeof m->datas[i], "{\"d\":%u}", pick(r, 2));
        e->id = text(m->ids[i]);
        e->subject = text(m->keys[i]);
        e->data = text(m->datas[i]);
        e->type = text(types[pick(r, 3)]);
        m->tags[i] = (nexus_pair){NEXUS_S("tags"), text(tags[pick(r, 3)])};
        e->ext = &m->tags[i];
        e->ext_count = pick(r, 2);
    }
}

static void make_opts(run *r, nexus_publish_opts *o)
{
    static const int64_t expected[] = {NEXUS_EXPECT_ANY, NEXUS_EXPECT_NO_STREAM, NEXUS_EXPECT_EXISTS, 0, 1, 3};
    *o = (nexus_publish_opts)NEXUS_PUBLISH_OPTS_INIT;
    if (pick(r, 3) == 0) {
        static const char *const streams[] = {NULL, "cart-1", "cart-2"};
        o->stream = streams[pick(r, 3)];
        o->expect = expected[pick(r, 6)];
    }
    if (pick(r, 4) == 0) {
        uint64_t head = head_of(r);
        o->fail_types = "order.*";
        o->fail_tags = pick(r, 2) ? "red" : NULL;
        o->fail_after = head - (head ? pick(r, head < 6 ? (uint32_t)head : 6) : 0);
    }
}

static void tell_result(run *r, const char *what, size_t n, nexus_status status, const nexus_publish_result *result)
{
    tell(r, "%s %zu: %s first=%llu last=%llu version=%lld actual=%lld dup=%d\n", what, n, nexus_status_name(status),
         (unsigned long long)result->first, (unsigned long long)result->last, (long long)result->version,
         (long long)result->actual_version, result->dup);
}

static void publish(run *r)
{
    made m;
    nexus_publish_opts opts;
    nexus_publish_result result = NEXUS_PUBLISH_RESULT_INIT;
    make_opts(r, &opts);
    make_events(r, &m, opts.expect == NEXUS_EXPECT_ANY ? 6 : 2);
    nexus_status status = nexus_bus_publish(r->bus, m.events, m.n, &opts, &result);
    tell_result(r, "publish", m.n, status, &result);
}

static void commit(run *r)
{
    made m;
    nexus_publish_result result = NEXUS_PUBLISH_RESULT_INIT;
    if (!r->held_count)
        return;
    uint32_t i = pick(r, r->held_count);
    make_events(r, &m, 6);
    nexus_status status = nexus_bus_commit(r->bus, &r->held[i], 1, m.events, m.n, NULL, &result);
    tell_result(r, "commit", m.n, status, &result);
    if (status == NEXUS_OK || status == NEXUS_ESTALE)
        let_go(r, i);
}

/* --- deliveries ---- */

static void fetch(run *r)
{
    uint32_t which = pick(r, GROUPS), max = 1 + pick(r, 3);
    size_t got = 0;
    if (r->held_count + max > HELD)
        return;
    nexus_delivery **at = r->held + r->held_count;
    nexus_status status = nexus_group_fetch(r->groups[which], at, max, 0, &got);
    tell(r, "fetch from %u: %s %zu\n", which, nexus_status_name(status), got);
    for (size_t i = 0; i < got; i++) {
        const nexus_event *e = nexus_delivery_event(at[i]);
        tell(r, " %llu %.*s %.*s %.*s in %.*s v%lld attempt %u replay %d\n", (unsigned long long)e->pos, (int)e->type.n,
             e->type.p, (int)e->subject.n, e->subject.p, (int)e->data.n, e->data.p, (int)e->stream.n, e->stream.p,
             (long long)e->version, nexus_delivery_attempt(at[i]), nexus_delivery_is_replay(at[i]));
    }
    r->held_count += (uint32_t)got;
}

static void settle(run *r)
{
    static const char *const names[] = {"ack", "ack", "ack", "ack_sync", "nak", "nak later", "term", "skip", "extend", "forget"};
    if (!r->held_count)
        return;
    uint32_t i = pick(r, r->held_count), how = pick(r, 10);
    nexus_delivery *d = r->held[i];
    nexus_status status = how < 3    ? nexus_delivery_ack(d)
                          : how == 3 ? nexus_delivery_ack_sync(d)
                          : how == 4 ? nexus_delivery_nak(d, 0, "fails: again")
                          : how == 5 ? nexus_delivery_nak(d, HOUR_MS, "fails: much later")
                          : how == 6 ? nexus_delivery_term(d, "never")
                          : how == 7 ? nexus_delivery_skip(d, "of no use")
                          : how == 8 ? nexus_delivery_extend(d, 0)
                                     : NEXUS_OK;
    tell(r, "%s: %s\n", names[how], nexus_status_name(status));
    if (how < 8)
        tell(r, " again: %s\n", nexus_status_name(nexus_delivery_ack(d)));
    if (how != 8)
        let_go(r, i);
}

/* --- dead letters ---- */

/* Positions, attempts and reasons of the report, whose times are its own. */
static void tell_letters(run *r, const char *json)
{
    for (const char *p = json; (p = strstr(p, "{\"pos\":")) != NULL; p++) {
        const char *end = strstr(p, ",\"first_at\"");
        tell(r, " %.*s\n", end ? (int)(end - p) : 0, p);
    }
}

static void list_letters(run *r, nexus_group *g, const nexus_dead_query *query)
{
    char *json;
    nexus_status status = nexus_group_dead(&json, NULL, g, query);
    tell(r, "letters: %s\n", nexus_status_name(status));
    if (status == NEXUS_OK) {
        tell_letters(r, json);
        nexus_free(json);
    }
}

static void letters(run *r)
{
    static const char *const reasons[] = {NULL, NULL, "again"};
    nexus_group *g = any_group(r);
    nexus_dead_query q = NEXUS_DEAD_QUERY_INIT;
    nexus_redrive_result result = {.size = sizeof result};
    char key[16];
    snprintf(key, sizeof key, "key-%u", pick(r, 6));
    q.key = pick(r, 2) ? key : NULL;
    q.reason = reasons[pick(r, 3)];
    q.limit = pick(r, 4);
    list_letters(r, g, &q);
    uint32_t what = pick(r, 4);
    nexus_status status = what == 0   ? nexus_group_redrive(g, &q, NULL, &result)
                          : what == 1 ? nexus_group_purge(g, &q, pick(r, 3))
                                      : NEXUS_OK;
    tell(r, "letters %u: %s matched %llu redriven %llu\n", what, nexus_status_name(status),
         (unsigned long long)result.matched, (unsigned long long)result.redriven);
}

/* --- groups and readers ---- */

/* Where a filter passes something over, the floor follows when the log is read next: an engine's own time. */
static uint64_t sure_floor(uint32_t group, uint64_t floor)
{
    return group == 1 ? 0 : floor;
}

static void steer(run *r)
{
    uint32_t which = pick(r, GROUPS), what = pick(r, 6);
    nexus_seek_opts opts = NEXUS_SEEK_OPTS_INIT;
    nexus_seek_result result = {.size = sizeof result};
    if (what < 3) { /* never for long */
        tell(r, "pause %u: %s\n", what, nexus_status_name(nexus_group_pause(r->groups[which], what == 1)));
        return;
    }
    uint64_t head = head_of(r);
    opts.start = pick(r, 3);
    opts.start_pos = 1 + (head ? pick(r, (uint32_t)head) : 0);
    opts.dry_run = what < 5;
    nexus_status status = nexus_group_seek(r->groups[which], &opts, &result);
    tell(r, "seek %u: %s from %llu to %llu again %llu skipped %llu inflight %llu\n", which, nexus_status_name(status),
         (unsigned long long)sure_floor(which, result.floor_before), (unsigned long long)result.floor,
         (unsigned long long)result.again, (unsigned long long)result.skipped, (unsigned long long)result.inflight);
}

static void look(run *r)
{
    int64_t version = 0;
    char stream[16];
    snprintf(stream, sizeof stream, "key-%u", pick(r, 6));
    nexus_status status = nexus_stream_version(r->bus, stream, &version);
    tell(r, "head %llu, version of %s: %s %lld\n", (unsigned long long)head_of(r), stream, nexus_status_name(status),
         (long long)version);
    for (uint32_t i = 0; i < GROUPS; i++) {
        nexus_group_stats s = {.size = sizeof s};
        status = nexus_group_read_stats(r->groups[i], &s);
        tell(r, "group %u: %s floor %llu lag %llu inflight %llu delayed %llu dead %llu acked %llu again %llu paused %d\n", i,
             nexus_status_name(status), (unsigned long long)sure_floor(i, s.floor), (unsigned long long)s.lag,
             (unsigned long long)s.inflight, (unsigned long long)s.delayed, (unsigned long long)s.dead,
             (unsigned long long)s.acked, (unsigned long long)s.redelivered, s.paused);
    }
}

static void read_some(run *r)
{
    char stream[16];
    nexus_reader_opts opts = NEXUS_READER_OPTS_INIT;
    nexus_reader *reader;
    const nexus_event *e;
    uint32_t key = pick(r, 8);
    snprintf(stream, sizeof stream, key < 6 ? "key-%u" : "cart-%u", key < 6 ? key : key - 5);
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

static void reopen(run *r)
{
    if (!r->reopens)
        return;
    close_all(r);
    open_all(r);
    tell(r, "opened again\n");
}

/* --- a run ---- */

/* How often each happens, of 100. */
static const struct {
    void (*run)(run *r);
    uint32_t weight;
} operations[] = {{publish, 28}, {fetch, 26}, {settle, 24}, {commit, 4},    {letters, 6},
                  {steer, 2},    {look, 4},   {read_some, 4}, {reopen, 2}};

static void step(run *r)
{
    uint32_t roll = pick(r, 100);
    size_t i = 0;
    while (roll >= operations[i].weight)
        roll -= operations[i++].weight;
    operations[i].run(r);
}

static uint64_t wish(const char *variable, uint64_t otherwise)
{
    const char *given = getenv(variable);
    return given ? strtoull(given, NULL, 10) : otherwise;
}

/* What was told, or NULL when there is no such server here. */
static char *observe(const char *engine, uint64_t seed, bool reopens, uint64_t steps)
{
    char *dir = scratch_dir(), url[400];
    run r = {.url = url, .random = seed, .reopens = reopens};
    if (!engine_url(url, engine, dir)) {
        scratch_remove(dir);
        return NULL;
    }
    open_all(&r);
    for (; r.step < steps; r.step++)
        step(&r);
    close_all(&r);
    scratch_remove(dir);
    return r.told;
}

static void compare(const char *engine, const char *with, uint64_t seed, bool reopens, uint64_t steps)
{
    char *expected = observe(with, seed, reopens, steps), *told = observe(engine, seed, reopens, steps);
    size_t at = 0, line = 0;
    for (; told && told[at] && told[at] == expected[at]; at++)
        line = told[at] == '\n' ? at + 1 : line;
    cr_assert(!told || told[at] == expected[at], "seed %llu: %s says\n%.300s\nwhere %s says\n%.300s",
              (unsigned long long)seed, engine, told + line, with, expected + line);
    free(expected);
    free(told);
}

static void differential(const char *engine)
{
    uint64_t seeds[] = {wish("NEXUS_TEST_SEED", 1), wish("NEXUS_TEST_SEED", 0) ? 0 : (uint64_t)time(NULL)};
    uint64_t steps = wish("NEXUS_TEST_STEPS", STEPS);
    for (size_t i = 0; i < sizeof seeds / sizeof seeds[0] && seeds[i]; i++) {
        compare(engine, "memory", seeds[i], false, steps);
        if (strcmp(engine, "file") != 0)
            compare(engine, "file", seeds[i], true, steps);
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

Test(bus_differential, kafka_behaves_as_files_do)
{
    compare("kafka", "file", wish("NEXUS_TEST_SEED", (uint64_t)time(NULL)), true, 80); /* a read there takes a tenth of a second */
}
