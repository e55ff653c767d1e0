/*
 * The same random sequence of operations on every engine must look the same from outside. Each run writes down what it saw
 * (statuses, positions, versions, who got what on which attempt, what the group says of itself); the notes are compared.
 *
 *   thread-bus-differential [--seed N] [--steps N] [URL …]      without URLs: memory: and a file: of its own
 *
 * A URL must name a bus that is empty. Whatever depends on time is kept out: leases are long, waits are 0 or an hour.
 */
#include <ftw.h>
#include <nexus/nexus.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ENGINES_MAX = 8, HELD_MAX = 24, GROUPS = 3, STEPS = 400 };

typedef struct world {
    nexus_bus *bus;
    nexus_group *groups[GROUPS];
    nexus_delivery *held[HELD_MAX];
    size_t held_count;
    uint64_t seed;
    char *notes;
    size_t n, cap;
    unsigned step;
} world;

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "bus-differential: line %d: %s: %s\n", __LINE__, #condition, nexus_error_message());       \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

static uint32_t dice(world *w, uint32_t sides)
{
    w->seed ^= w->seed << 13;
    w->seed ^= w->seed >> 7;
    w->seed ^= w->seed << 17;
    return (uint32_t)(w->seed >> 11) % sides;
}

static void note(world *w, const char *format, ...)
{
    va_list args;
    if (w->cap - w->n < 4096) {
        w->cap = w->cap ? w->cap * 2 : 65536;
        w->notes = realloc(w->notes, w->cap);
        CHECK(w->notes);
    }
    va_start(args, format);
    w->n += (size_t)vsnprintf(w->notes + w->n, 4096, format, args);
    va_end(args);
}

static nexus_slice text(const char *t)
{
    return (nexus_slice){t, strlen(t)};
}

/* --- operations ---- */

typedef struct made {
    nexus_event events[3];
    char ids[3][16], keys[3][16], datas[3][16];
    nexus_pair tags[3];
    size_t n;
} made;

/* Ids come from a small pool, so that repetitions and conflicts happen. */
static void make_events(world *w, made *m)
{
    static const char *const types[] = {"order.paid", "order.made", "user.seen"};
    static const char *const tags[] = {"red", "blue", "red,blue"};
    m->n = 1 + dice(w, 3);
    for (size_t i = 0; i < m->n; i++) {
        nexus_event *e = &m->events[i];
        *e = (nexus_event)NEXUS_EVENT_INIT;
        snprintf(m->ids[i], sizeof m->ids[i], "id-%u", dice(w, 4) ? w->step * 4 + (unsigned)i : dice(w, w->step + 1) * 4);
        snprintf(m->keys[i], sizeof m->keys[i], "key-%u", dice(w, 5));
        snprintf(m->datas[i], sizeof m->datas[i], "%u", dice(w, 3));
        e->id = text(m->ids[i]);
        e->subject = text(m->keys[i]);
        e->data = text(m->datas[i]);
        e->type = text(types[dice(w, 3)]);
        m->tags[i] = (nexus_pair){NEXUS_S("tags"), text(tags[dice(w, 3)])};
        e->ext = &m->tags[i];
        e->ext_count = dice(w, 2);
    }
}

static void note_result(world *w, const char *what, nexus_status status, const nexus_publish_result *r)
{
    note(w, "%s: %d first %llu last %llu version %lld actual %lld dup %d\n", what, status, (unsigned long long)r->first,
         (unsigned long long)r->last, (long long)r->version, (long long)r->actual_version, r->dup);
}

static void make_opts(world *w, nexus_publish_opts *o)
{
    static const int64_t expected[] = {NEXUS_EXPECT_ANY, NEXUS_EXPECT_NO_STREAM, NEXUS_EXPECT_EXISTS, 0, 3};
    uint64_t head = 0;
    *o = (nexus_publish_opts)NEXUS_PUBLISH_OPTS_INIT;
    if (dice(w, 3) == 0) {
        o->stream = dice(w, 2) ? "cart-1" : "cart-2";
        o->expect = expected[dice(w, 5)];
    }
    if (dice(w, 4) == 0) {
        CHECK(nexus_bus_head(w->bus, &head) == NEXUS_OK);
        o->fail_types = "order.*";
        o->fail_tags = dice(w, 2) ? "red" : NULL;
        o->fail_after = head - (head ? dice(w, head < 6 ? (uint32_t)head : 6) : 0);
    }
}

static void publish(world *w)
{
    made m;
    nexus_publish_opts o;
    nexus_publish_result r = NEXUS_PUBLISH_RESULT_INIT;
    make_events(w, &m);
    make_opts(w, &o);
    nexus_status status = nexus_bus_publish(w->bus, m.events, m.n, &o, &r);
    note_result(w, "publish", status, &r);
}

static void let_go(world *w, size_t i)
{
    nexus_delivery_free(w->held[i]);
    w->held[i] = w->held[--w->held_count];
}

static void commit(world *w)
{
    made m;
    nexus_publish_result r = NEXUS_PUBLISH_RESULT_INIT;
    if (!w->held_count)
        return;
    size_t i = dice(w, (uint32_t)w->held_count);
    make_events(w, &m);
    nexus_status status = nexus_bus_commit(w->bus, &w->held[i], 1, m.events, m.n, NULL, &r);
    note_result(w, "commit", status, &r);
    if (status == NEXUS_OK || status == NEXUS_ESTALE)
        let_go(w, i);
}

static void fetch(world *w)
{
    size_t got, g = dice(w, GROUPS), max = 1 + dice(w, 4);
    if (w->held_count + max > HELD_MAX)
        return;
    CHECK(nexus_group_fetch(w->groups[g], w->held + w->held_count, max, 0, &got) == NEXUS_OK);
    for (size_t i = 0; i < got; i++) {
        const nexus_event *e = nexus_delivery_event(w->held[w->held_count + i]);
        note(w, "group %zu gets %llu: %.*s %.*s = %.*s in %.*s at %lld, attempt %u\n", g, (unsigned long long)e->pos,
             (int)e->type.n, e->type.p, (int)e->subject.n, e->subject.p, (int)e->data.n, e->data.p, (int)e->stream.n,
             e->stream.p, (long long)e->version, nexus_delivery_attempt(w->held[w->held_count + i]));
    }
    note(w, "fetched %zu\n", got);
    w->held_count += got;
}

static void settle(world *w)
{
    static const char *const names[] = {"ack", "ack", "ack_sync", "nak", "nak later", "term", "skip", "extend", "forget"};
    if (!w->held_count)
        return;
    size_t i = dice(w, (uint32_t)w->held_count);
    uint32_t how = dice(w, 9);
    nexus_delivery *d = w->held[i];
    nexus_status status = how < 2    ? nexus_delivery_ack(d)
                          : how == 2 ? nexus_delivery_ack_sync(d)
                          : how == 3 ? nexus_delivery_nak(d, 0, "fails: again")
                          : how == 4 ? nexus_delivery_nak(d, 3600000, "fails: much later")
                          : how == 5 ? nexus_delivery_term(d, "never")
                          : how == 6 ? nexus_delivery_skip(d, "of no use")
                          : how == 7 ? nexus_delivery_extend(d, 0)
                                     : NEXUS_OK;
    note(w, "%s: %d\n", names[how], status);
    if (how != 7)
        let_go(w, i);
}

static void letters(world *w)
{
    nexus_group *g = w->groups[dice(w, GROUPS)];
    nexus_dead_query q = NEXUS_DEAD_QUERY_INIT;
    nexus_redrive_result r = {.size = sizeof r};
    char key[16];
    snprintf(key, sizeof key, "key-%u", dice(w, 5));
    q.key = dice(w, 2) ? key : NULL;
    q.limit = dice(w, 3);
    uint32_t what = dice(w, 3);
    nexus_status status = what ? nexus_group_redrive(g, &q, NULL, &r) : nexus_group_purge(g, &q, dice(w, 3));
    note(w, "letters %u: %d matched %llu redriven %llu\n", what, status, (unsigned long long)r.matched,
         (unsigned long long)r.redriven);
}

static void steer(world *w)
{
    nexus_group *g = w->groups[dice(w, GROUPS)];
    nexus_seek_opts s = NEXUS_SEEK_OPTS_INIT;
    nexus_seek_result r = {.size = sizeof r};
    uint64_t head;
    uint32_t what = dice(w, 6);
    if (what < 2) {
        note(w, "pause %u: %d\n", what, nexus_group_pause(g, what == 1));
        return;
    }
    CHECK(nexus_bus_head(w->bus, &head) == NEXUS_OK);
    s.start = dice(w, 3);
    s.start_pos = 1 + (head ? dice(w, (uint32_t)head) : 0);
    s.dry_run = what < 5;
    nexus_status status = nexus_group_seek(g, &s, &r);
    note(w, "seek: %d from %llu to %llu again %llu skipped %llu inflight %llu\n", status, (unsigned long long)r.floor_before,
         (unsigned long long)r.floor, (unsigned long long)r.again, (unsigned long long)r.skipped,
         (unsigned long long)r.inflight);
}

static void look(world *w)
{
    for (size_t i = 0; i < GROUPS; i++) {
        nexus_group_stats s = {.size = sizeof s};
        CHECK(nexus_group_read_stats(w->groups[i], &s) == NEXUS_OK);
        note(w, "group %zu: floor %llu head %llu lag %llu inflight %llu delayed %llu dead %llu acked %llu again %llu paused %d\n",
             i, (unsigned long long)s.floor, (unsigned long long)s.head, (unsigned long long)s.lag,
             (unsigned long long)s.inflight, (unsigned long long)s.delayed, (unsigned long long)s.dead,
             (unsigned long long)s.acked, (unsigned long long)s.redelivered, s.paused);
    }
}

static void read_streams(world *w)
{
    nexus_reader_opts o = NEXUS_READER_OPTS_INIT;
    nexus_reader *r;
    const nexus_event *e;
    int64_t version;
    uint32_t what = dice(w, 3);
    o.stream = what == 0 ? "cart-1" : NULL;
    o.types = what == 1 ? "order.>" : NULL;
    CHECK(nexus_reader_open(&r, w->bus, &o) == NEXUS_OK);
    while (nexus_reader_next(r, &e, 0) == NEXUS_OK)
        note(w, "%llu ", (unsigned long long)e->pos);
    nexus_reader_close(r);
    CHECK(nexus_stream_version(w->bus, "cart-1", &version) == NEXUS_OK);
    note(w, "read %u, version %lld\n", what, (long long)version);
}

/* How often each happens, of 100. */
static const struct {
    void (*run)(world *w);
    uint32_t weight;
} operations[] = {{publish, 30}, {fetch, 28}, {settle, 25}, {commit, 5}, {letters, 4}, {steer, 2}, {look, 4}, {read_streams, 2}};

/* --- a run ---- */

static void open_groups(world *w)
{
    for (size_t i = 0; i < GROUPS; i++) {
        nexus_group_opts o = NEXUS_GROUP_OPTS_INIT;
        char name[16];
        snprintf(name, sizeof name, "g%zu", i);
        o.ack_wait_ms = 3600000;
        o.max_deliver = 3;
        o.redeliver_percent = 100000;
        o.order = i == 2 ? NEXUS_ORDER_TOTAL : NEXUS_ORDER_KEY;
        o.on_exhausted = i == 1 ? NEXUS_PARK_LANE : NEXUS_PARK_EVENT;
        o.types = i == 1 ? "order.*" : NULL;
        o.high_types = i == 0 ? "user.*" : NULL;
        CHECK(nexus_group_open(&w->groups[i], w->bus, name, &o) == NEXUS_OK);
    }
}

static void run(world *w, const char *url, uint64_t seed, unsigned steps)
{
    *w = (world){.seed = seed};
    CHECK(nexus_bus_open(&w->bus, url, NULL) == NEXUS_OK);
    open_groups(w);
    for (w->step = 0; w->step < steps; w->step++) {
        uint32_t roll = dice(w, 100);
        size_t i = 0;
        while (roll >= operations[i].weight)
            roll -= operations[i++].weight;
        note(w, "%u ", w->step);
        operations[i].run(w);
    }
    look(w);
    while (w->held_count)
        let_go(w, 0);
    for (size_t i = 0; i < GROUPS; i++)
        nexus_group_close(w->groups[i]);
    nexus_bus_close(w->bus);
}

/* The line where two notes part. */
static void show_difference(const char *url_a, const world *a, const char *url_b, const world *b)
{
    size_t at = 0, line = 0;
    while (at < a->n && at < b->n && a->notes[at] == b->notes[at])
        if (a->notes[at++] == '\n')
            line = at;
    fprintf(stderr, "bus-differential: %s:\n%.*s\nbus-differential: %s:\n%.*s\n", url_a,
            (int)(a->n - line < 600 ? a->n - line : 600), a->notes + line, url_b,
            (int)(b->n - line < 600 ? b->n - line : 600), b->notes + line);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

int main(int argc, char **argv)
{
    char dir[] = "/tmp/nexus-differential-XXXXXX", file[64];
    const char *urls[ENGINES_MAX] = {"memory:", file};
    uint64_t seed = (uint64_t)time(NULL) * 7919 + (uint64_t)getpid();
    unsigned steps = STEPS;
    size_t n = 0;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            seed = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--steps") == 0 && i + 1 < argc)
            steps = (unsigned)strtoul(argv[++i], NULL, 10);
        else if (n < ENGINES_MAX)
            urls[n++] = argv[i];
    CHECK(mkdtemp(dir));
    snprintf(file, sizeof file, "file:%s/bus", dir);
    n = n ? n : 2;
    world worlds[ENGINES_MAX];
    int differences = 0;
    for (size_t i = 0; i < n; i++) {
        run(&worlds[i], urls[i], seed, steps);
        if (i && (worlds[i].n != worlds[0].n || memcmp(worlds[i].notes, worlds[0].notes, worlds[0].n) != 0)) {
            show_difference(urls[0], &worlds[0], urls[i], &worlds[i]);
            differences++;
        }
    }
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    printf("%u steps on %zu engines, %zu bytes of notes, seed %llu: %s\n", steps, n, worlds[0].n, (unsigned long long)seed,
           differences ? "DIFFERENT" : "the same");
    for (size_t i = 0; i < n; i++)
        free(worlds[i].notes);
    return differences != 0;
}
