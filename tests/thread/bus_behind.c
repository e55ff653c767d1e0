/*
 * Fault row 32: groups that stand still while publishers go on and retention runs, then catch up. Their lag is right in
 * events and in time, memory does not grow with it, and what they miss under a hard retention is told to the event.
 *
 *   thread-bus-behind [EVENTS]      60,000; the row's number is 10000000
 */
#include <ftw.h>
#include <nexus/bus.h>
#include <nexus/stream.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PER_PUBLISH = 500, PARTS = 5, KEYS = 1000, SEGMENT = 1 << 20, GROWTH_KIB = 24 << 10, EVENT_BYTES = 320, INDEX_SHARE = 64 };

#if defined __SANITIZE_ADDRESS__ /* it keeps what is freed for a while */
static const bool memory_counts = false;
#else
static const bool memory_counts = true;
#endif

static unsigned events = 60000;
static char dir[] = "/tmp/nexus-behind-XXXXXX";
static nexus_bus *bus;
static nexus_group *slow, *picky; /* of all events; of every other one */

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "bus-behind: line %d: %s: %s\n", __LINE__, #condition, nexus_error_message());             \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int64_t today_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * INT64_C(1000) + t.tv_nsec / 1000000;
}

static unsigned anonymous_kib(void)
{
    char line[256];
    unsigned kib = 0;
    FILE *f = fopen("/proc/self/status", "re");
    while (f && fgets(line, sizeof line, f) && sscanf(line, "RssAnon: %u", &kib) != 1)
        ;
    if (f)
        fclose(f);
    return kib;
}

static nexus_group *join(const char *name, const char *types)
{
    nexus_group *g;
    nexus_group_opts opts = NEXUS_GROUP_OPTS_INIT;
    opts.types = types;
    CHECK(nexus_group_open(&g, bus, name, &opts) == NEXUS_OK);
    return g;
}

static void open_bus(const char *name, bool bounded, bool hard)
{
    char url[300];
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    snprintf(url, sizeof url, "file:%s/%s", dir, name);
    opts.role = NEXUS_BUS_OWNER;
    opts.segment_bytes = SEGMENT;
    opts.retention_bytes = bounded ? 4 * SEGMENT : 0;
    opts.retention_hard = hard;
    opts.dedupe_max = 1000; /* so that what grows is seen */
    CHECK(nexus_bus_open(&bus, url, &opts) == NEXUS_OK);
    slow = join("slow", NULL);
    picky = join("picky", "t.odd");
}

static void close_bus(void)
{
    nexus_group_close(slow);
    nexus_group_close(picky);
    nexus_bus_close(bus);
}

/* n more; the rate in events a second. */
static double publish(unsigned n)
{
    static char keys[PER_PUBLISH][16], data[200];
    static nexus_event batch[PER_PUBLISH];
    double start = now_s();
    memset(data, 'x', sizeof data);
    for (unsigned done = 0; done < n; done += PER_PUBLISH) {
        for (unsigned i = 0; i < PER_PUBLISH; i++) {
            batch[i] = (nexus_event)NEXUS_EVENT_INIT;
            batch[i].type = i % 2 ? NEXUS_S("t.even") : NEXUS_S("t.odd"); /* the first position is 1 */
            batch[i].subject = (nexus_slice){keys[i], (size_t)snprintf(keys[i], sizeof keys[i], "key-%u", (done + i) % KEYS)};
            batch[i].data = (nexus_slice){data, sizeof data};
        }
        CHECK(nexus_bus_publish(bus, batch, PER_PUBLISH, NULL, NULL) == NEXUS_OK);
    }
    return n / (now_s() - start);
}

/* When the event at this position was stored, or the first one behind it that is there. */
static int64_t stored_ms(uint64_t pos, uint64_t *found)
{
    nexus_reader *reader;
    const nexus_event *e;
    nexus_reader_opts opts = NEXUS_READER_OPTS_INIT;
    opts.start = NEXUS_START_POS;
    opts.start_pos = pos;
    CHECK(nexus_reader_open(&reader, bus, &opts) == NEXUS_OK);
    nexus_status status = nexus_reader_next(reader, &e, 0);
    if (status == NEXUS_EMISSING)
        status = nexus_reader_next(reader, &e, 0);
    CHECK(status == NEXUS_OK);
    int64_t ms = e->recv_ns / 1000000;
    if (found)
        *found = e->pos;
    nexus_reader_close(reader);
    return ms;
}

/* The oldest that waits was stored at this time; 0: none waits. */
static void check_lag(nexus_group *g, uint64_t wait, int64_t oldest_ms)
{
    nexus_group_stats s = {.size = sizeof s};
    int64_t before = today_ms();
    CHECK(nexus_group_read_stats(g, &s) == NEXUS_OK);
    int64_t after = today_ms();
    if (s.lag != wait)
        fprintf(stderr, "bus-behind: the lag is %llu, not %llu\n", (unsigned long long)s.lag, (unsigned long long)wait);
    CHECK(s.lag == wait);
    if (oldest_ms)
        CHECK(s.lag_ms >= before - oldest_ms - 1 && s.lag_ms <= after - oldest_ms + 1);
    else
        CHECK(s.lag_ms == 0);
}

/* Takes and settles events until the group has had n, or there is none. */
static unsigned consume(nexus_group *g, unsigned n, uint64_t *last)
{
    unsigned done = 0;
    for (size_t got = 1; done < n && got;) {
        nexus_delivery *all[100];
        CHECK(nexus_group_fetch(g, all, 100, 0, &got) == NEXUS_OK);
        for (size_t i = 0; i < got; i++) {
            uint64_t pos = nexus_delivery_event(all[i])->pos;
            *last = pos > *last ? pos : *last;
            CHECK(nexus_delivery_ack(all[i]) == NEXUS_OK);
            nexus_delivery_free(all[i]);
        }
        done += (unsigned)got;
    }
    return done;
}

/* Summaries of what is in finished files stay in memory, about a hundredth of them; nothing else grows with the log. */
static void check_memory(unsigned base)
{
    unsigned now = anonymous_kib(), most = base + GROWTH_KIB + (unsigned)((uint64_t)events * EVENT_BYTES / INDEX_SHARE >> 10);
    if (memory_counts && now > most)
        fprintf(stderr, "bus-behind: %u KiB of memory, %u KiB a while ago\n", now, base);
    CHECK(!memory_counts || now <= most);
}

/* --- what groups need is kept ---- */

static void soft(void)
{
    double rates[PARTS];
    unsigned part = events / PARTS, base = 0;
    uint64_t last = 0, first;
    open_bus("soft", true, false);
    for (unsigned i = 0; i < PARTS; i++) {
        rates[i] = publish(part);
        int64_t oldest = stored_ms(1, &first);
        CHECK(first == 1);
        check_lag(slow, (uint64_t)part * (i + 1), oldest);
        check_lag(picky, (uint64_t)part * (i + 1) / 2, oldest);
        base = i ? base : anonymous_kib();
        check_memory(base);
    }
    double start = now_s();
    CHECK(consume(slow, events / 2, &last) == events / 2);
    check_lag(slow, events - events / 2, stored_ms(last + 1, NULL));
    CHECK(consume(slow, events, &last) == events - events / 2 && last == events);
    CHECK(consume(picky, events, &last) == events / 2);
    double rate = (events + events / 2) / (now_s() - start);
    check_memory(base);
    check_lag(slow, 0, 0);
    check_lag(picky, 0, 0);
    printf("%u events behind: published at %.0f/s at first and %.0f/s in the end, caught up at %.0f/s, memory %u MiB then %u MiB\n",
           events, rates[0], rates[PARTS - 1], rate, base >> 10, anonymous_kib() >> 10);
    close_bus();
}

/* --- or dropped, and told ---- */

static uint64_t told_gap(nexus_group *g)
{
    nexus_delivery *d;
    size_t got;
    unsigned long long from, to;
    char data[300];
    CHECK(nexus_group_fetch(g, &d, 1, 0, &got) == NEXUS_OK && got == 1);
    const nexus_event *e = nexus_delivery_event(d);
    snprintf(data, sizeof data, "%.*s", (int)e->data.n, e->data.p);
    CHECK(e->type.n == 9 && memcmp(e->type.p, "nexus.gap", 9) == 0);
    const char *numbers = strstr(data, "\"from\":");
    CHECK(numbers && sscanf(numbers, "\"from\":%llu,\"to\":%llu", &from, &to) == 2 && from == 1);
    CHECK(nexus_delivery_ack(d) == NEXUS_OK);
    nexus_delivery_free(d);
    return to;
}

static void hard(void)
{
    uint64_t last = 0, first, then;
    nexus_group_stats s = {.size = sizeof s}, p = s;
    open_bus("hard", true, true);
    publish(PER_PUBLISH);
    int64_t oldest = stored_ms(1, NULL);
    check_lag(slow, PER_PUBLISH, oldest); /* it has the first one in hand now, and counted the rest */
    check_lag(picky, PER_PUBLISH / 2, oldest);
    publish(events - PER_PUBLISH);
    do { /* without a drop in between */
        stored_ms(1, &first);
        CHECK(nexus_group_read_stats(slow, &s) == NEXUS_OK && nexus_group_read_stats(picky, &p) == NEXUS_OK);
        stored_ms(1, &then);
    } while (first != then || first <= 1 + PER_PUBLISH);
    CHECK(s.lag == 1 + events - first + 1 && p.lag == 1 + (events - first + 1 + first % 2) / 2);
    close_bus();
    open_bus("hard", false, false); /* from here on nothing goes */
    stored_ms(1, &first);
    uint64_t left = events - first + 1;
    check_lag(slow, left + 1, stored_ms(first, NULL)); /* with the one that tells */
    check_lag(picky, (left + first % 2) / 2 + 1, stored_ms(first, NULL));
    CHECK(told_gap(slow) == first - 1 && told_gap(picky) == first - 1);
    CHECK(consume(slow, events, &last) == left && last == events);
    CHECK(consume(picky, events, &last) == (left + first % 2) / 2);
    printf("by force: %llu dropped and told, %llu kept\n", (unsigned long long)first - 1, (unsigned long long)left);
    close_bus();
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

int main(int argc, char **argv)
{
    events = argc > 1 ? (unsigned)atoi(argv[1]) / (PARTS * PER_PUBLISH) * (PARTS * PER_PUBLISH) : events;
    CHECK(events && mkdtemp(dir));
    soft();
    hard();
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return 0;
}
