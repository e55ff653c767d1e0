/* The bus under the loads of bus.py, through the public API only. Every line printed is one result of load.h.
 *     bench-bus DIR publish BATCH SECONDS [AHEAD]    in process, batches of BATCH, up to AHEAD of them not yet acked
 *                                                    (0: each waits for its ack); then everything is read back
 *     bench-bus DIR clients COUNT WINDOW SECONDS     processes over the socket, WINDOW events under way in each
 *     bench-bus DIR consume EVENTS                   a group of 4 members with 10,000 keys takes and acknowledges them
 *     bench-bus DIR open BYTES                       a log of that size, its owner killed: time to the first publish
 *     bench-bus DIR behind EVENTS SECONDS            one publish at a time, alone and while a group so far behind catches up
 */
#include "load.h"

#include <glob.h>
#include <nexus/nexus.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KEYS = 10000, MEMBERS = 4, BATCH = 1000, AHEAD = 20 /* files of 64 MiB: what a run of 3 s fills */ };

static char url[4096];

static void must(nexus_status status, const char *what)
{
    if (status == NEXUS_OK)
        return;
    fprintf(stderr, "bench-bus: %s: %s\n", what, nexus_error_message());
    exit(1);
}

/* --- events ----------------------------------------------------------------------------------- */

/* An event and the texts that it points to. */
struct made {
    char id[40], subject[24], data[EVENT_BYTES + 1];
};

static size_t put_number(char *at, uint64_t n, int digits)
{
    for (int i = digits; i-- > 0; n /= 10)
        at[i] = (char)('0' + n % 10);
    return (size_t)digits;
}

/* Quickly, since the time of it is part of what is measured. */
static void make(nexus_event *e, struct made *m, uint64_t n, uint32_t keys)
{
    static const char id[] = "bench-", subject[] = "account-", data[] = "{\"n\":1";
    static uint64_t process, count;
    if (!process)
        process = (uint64_t)getpid();
    *e = (nexus_event)NEXUS_EVENT_INIT;
    e->type = NEXUS_S("bench.event");
    e->source = NEXUS_S("/bench");
    memcpy(m->id, id, sizeof id - 1);
    size_t at = sizeof id - 1;
    at += put_number(m->id + at, process, 7);
    at += put_number(m->id + at, count++, 12);
    e->id = (nexus_slice){m->id, at};
    memcpy(m->subject, subject, sizeof subject - 1);
    at = sizeof subject - 1;
    at += put_number(m->subject + at, next_random() % keys, 6);
    e->subject = (nexus_slice){m->subject, at};
    memset(m->data, ' ', EVENT_BYTES);
    memcpy(m->data, data, sizeof data - 1);
    put_number(m->data + sizeof data - 1, n, 12);
    m->data[EVENT_BYTES - 1] = '}';
    e->data = (nexus_slice){m->data, EVENT_BYTES};
}

struct batch {
    nexus_event events[BATCH];
    struct made made[BATCH];
};

static void make_batch(struct batch *b, size_t size, uint64_t n, uint32_t keys)
{
    for (size_t i = 0; i < size; i++)
        make(&b->events[i], &b->made[i], n + i, keys);
}

static nexus_bus *open_bus(uint32_t role)
{
    nexus_bus *bus;
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    opts.role = role;
    must(nexus_bus_open(&bus, url, &opts), "open");
    return bus;
}

/* Until the next files of the log are made: what makes them is not part of what is measured. */
static void wait_ready(void)
{
    char pattern[sizeof url];
    if (strncmp(url, "file:", 5))
        return;
    snprintf(pattern, sizeof pattern, "%.4000s/free-*.log", url + 5);
    for (glob_t found; glob(pattern, 0, NULL, &found) || found.gl_pathc < AHEAD; globfree(&found))
        usleep(10000);
}

/* An owner whose next files are there, as those of the bare log are. */
static nexus_bus *open_ready(void)
{
    nexus_bus *bus;
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    opts.role = NEXUS_BUS_OWNER;
    opts.ahead_bytes = (uint64_t)AHEAD << 26;
    must(nexus_bus_open(&bus, url, &opts), "open");
    wait_ready();
    return bus;
}

static void prefill(nexus_bus *bus, uint64_t events)
{
    struct batch *b = malloc(sizeof *b);
    for (uint64_t n = 0; n < events; n += BATCH) {
        make_batch(b, BATCH, n, KEYS);
        must(nexus_bus_publish(bus, b->events, BATCH, NULL, NULL), "prefill");
    }
    free(b);
}

/* --- publish and replay ------------------------------------------------------------------------- */

static double replay(nexus_bus *bus)
{
    nexus_reader *reader;
    const nexus_event *event;
    must(nexus_reader_open(&reader, bus, NULL), "reader");
    uint64_t n = 0;
    wait_ready();
    double start = now_s();
    while (nexus_reader_next(reader, &event, 0) == NEXUS_OK)
        n++;
    double took = now_s() - start;
    nexus_reader_close(reader);
    return (double)n / took;
}

static void run_publish(size_t size, double limit)
{
    nexus_bus *bus = open_ready();
    struct batch *b = malloc(sizeof *b);
    latencies times = {0};
    uint64_t n = 0;
    double start = now_s(), last = start;
    for (; last - start < limit; n += size) {
        make_batch(b, size, n, STREAMS);
        double begun = size == 1 ? now_s() : last; /* alone, the time of the call is what counts */
        must(nexus_bus_publish(bus, b->events, size, NULL, NULL), "publish");
        last = now_s();
        latencies_add(&times, last - begun);
    }
    report(n, last - start, replay(bus), &times);
    free(b);
    nexus_bus_close(bus);
}

static void take_acks(nexus_bus *bus, unsigned *under_way, unsigned most)
{
    nexus_completion acks[64];
    for (size_t got; *under_way > most; *under_way -= (unsigned)got) {
        must(nexus_bus_completions(bus, acks, 64, 1000, &got), "completions");
        for (size_t i = 0; i < got; i++)
            must(acks[i].status, "publish_async");
    }
}

static void run_ahead(size_t size, double limit, unsigned ahead)
{
    nexus_bus *bus = open_ready();
    struct batch *b = malloc(sizeof *b);
    unsigned under_way = 0;
    uint64_t n = 0;
    double start = now_s();
    for (; now_s() - start < limit; n += size) {
        make_batch(b, size, n, STREAMS);
        must(nexus_bus_publish_async(bus, b->events, size, NULL, NULL, NULL), "publish_async");
        under_way++;
        take_acks(bus, &under_way, ahead);
    }
    take_acks(bus, &under_way, 0);
    report(n, now_s() - start, 0, NULL);
    free(b);
    nexus_bus_close(bus);
}

/* --- processes over the socket ------------------------------------------------------------------ */

struct window {
    unsigned under_way, size;
    uint64_t done;
    latencies times;
};

/* Waits for answers of a full window, and takes those that have come. begun: one place a flight, free: places to use. */
static void take_stored(nexus_bus *bus, struct window *w, double *begun, unsigned *free_places, unsigned most)
{
    nexus_completion stored[64];
    for (size_t got; w->under_way > most;) {
        must(nexus_bus_completions(bus, stored, 64, 1000, &got), "completions");
        double now = now_s();
        for (size_t i = 0; i < got; i++) {
            must(stored[i].status, "publish_async");
            unsigned place = (unsigned)((double *)stored[i].user_data - begun);
            latencies_add(&w->times, now - begun[place]);
            free_places[--w->under_way] = place;
            w->done++;
        }
    }
}

static void publish_window(nexus_bus *bus, struct window *w, double limit)
{
    double *begun = calloc(w->size, sizeof *begun), start = now_s(), now = start;
    unsigned *free_places = calloc(w->size, sizeof *free_places);
    for (unsigned i = 0; i < w->size; i++)
        free_places[i] = i;
    for (uint64_t n = 0; now - start < limit; n++) {
        nexus_event event;
        struct made made;
        make(&event, &made, n, STREAMS);
        double *at = &begun[free_places[w->under_way++]];
        *at = now = now_s();
        must(nexus_bus_publish_async(bus, &event, 1, NULL, NULL, at), "publish_async");
        take_stored(bus, w, begun, free_places, w->size - 1);
    }
    take_stored(bus, w, begun, free_places, 0);
    free(begun);
    free(free_places);
}

static void publish_alone(nexus_bus *bus, struct window *w, double limit)
{
    double start = now_s(), last = start;
    for (uint64_t n = 0; last - start < limit; n++) {
        nexus_event event;
        struct made made;
        make(&event, &made, n, STREAMS);
        double begun = now_s();
        must(nexus_bus_publish(bus, &event, 1, NULL, NULL), "publish");
        last = now_s();
        latencies_add(&w->times, last - begun);
        w->done++;
    }
}

static void client(int go, int out, unsigned size, double limit)
{
    struct window w = {.size = size};
    char byte;
    if (read(go, &byte, 1) < 0) /* ends when the owner is there */
        exit(1);
    nexus_bus *bus = open_bus(NEXUS_BUS_CLIENT);
    double start = now_s();
    size > 1 ? publish_window(bus, &w, limit) : publish_alone(bus, &w, limit);
    double result[4] = {(double)w.done, now_s() - start, latencies_at(&w.times, 0.5), latencies_at(&w.times, 0.99)};
    nexus_bus_close(bus);
    exit(write(out, result, sizeof result) == (ssize_t)sizeof result ? 0 : 1);
}

/* Percentiles are the mean of the processes' own, the rate is the sum. */
static void run_clients(int count, unsigned window, double limit)
{
    int go[2], out[2];
    if (pipe(go) || pipe(out))
        die("bench-bus: pipe");
    for (int i = 0; i < count; i++)
        if (fork() == 0) {
            close(go[1]);
            client(go[0], out[1], window, limit);
        }
    nexus_bus *bus = open_ready();
    close(go[1]);
    double rate = 0, p50 = 0, p99 = 0, n = 0, result[4];
    for (int i = 0; i < count; i++) {
        if (read(out[0], result, sizeof result) != (ssize_t)sizeof result)
            die("bench-bus: a client failed");
        n += result[0];
        rate += result[0] / result[1];
        p50 += result[2] / count;
        p99 += result[3] / count;
    }
    while (wait(NULL) > 0)
        ;
    nexus_bus_close(bus);
    printf("{\"n\":%.0f,\"per_s\":%.0f,\"replay_per_s\":0,\"p50_us\":%.1f,\"p99_us\":%.1f}\n", n, rate, p50, p99);
}

/* --- a group ------------------------------------------------------------------------------------ */

static atomic_uint_fast64_t handled, disorder;
static _Atomic uint64_t last_of_key[KEYS];

static int32_t handle(nexus_delivery *delivery, void *user_data)
{
    const nexus_event *event = nexus_delivery_event(delivery);
    (void)user_data;
    unsigned key = (unsigned)strtoul(event->subject.p + strlen("account-"), NULL, 10) % KEYS;
    if (atomic_exchange(&last_of_key[key], event->pos) >= event->pos)
        disorder++;
    handled++;
    return NEXUS_ACK;
}

static void wait_for(uint64_t n)
{
    while (handled < n)
        usleep(500);
}

static void run_consume(uint64_t events)
{
    nexus_bus *bus = open_bus(NEXUS_BUS_OWNER);
    nexus_group *groups[MEMBERS];
    nexus_consumer *consumers[MEMBERS];
    nexus_group_opts opts = NEXUS_GROUP_OPTS_INIT;
    opts.max_inflight = 8192;
    prefill(bus, events);
    double start = now_s();
    for (int i = 0; i < MEMBERS; i++) {
        must(nexus_group_open(&groups[i], bus, "bench", &opts), "group");
        must(nexus_consumer_open(&consumers[i], groups[i], handle, NULL, 1), "consumer");
    }
    wait_for(events);
    double took = now_s() - start;
    for (int i = 0; i < MEMBERS; i++) {
        nexus_consumer_close(consumers[i]);
        nexus_group_close(groups[i]);
    }
    nexus_bus_close(bus);
    if (disorder)
        die("bench-bus: events of a key came out of order");
    report(events, took, 0, NULL);
}

static void run_behind(uint64_t events, double limit)
{
    nexus_bus *bus = open_bus(NEXUS_BUS_OWNER);
    struct window alone = {0}, beside = {0};
    nexus_group *group;
    nexus_consumer *consumer;
    nexus_group_opts opts = NEXUS_GROUP_OPTS_INIT;
    prefill(bus, events);
    publish_alone(bus, &alone, limit);
    must(nexus_group_open(&group, bus, "behind", &opts), "group");
    must(nexus_consumer_open(&consumer, group, handle, NULL, 1), "consumer");
    publish_alone(bus, &beside, limit);
    int caught_up = handled >= events;
    nexus_consumer_close(consumer);
    nexus_group_close(group);
    nexus_bus_close(bus);
    if (caught_up)
        fprintf(stderr, "bench-bus: the group caught up within the time: take more events\n");
    report(alone.done, limit, 0, &alone.times);
    report(beside.done, limit, 0, &beside.times);
}

/* --- opening after a crash ---------------------------------------------------------------------- */

static void fill_and_die(uint64_t bytes)
{
    nexus_bus *bus = open_bus(NEXUS_BUS_OWNER);
    prefill(bus, bytes / (EVENT_BYTES + 120));
    kill(getpid(), SIGKILL);
}

static void run_open(uint64_t bytes)
{
    pid_t child = fork();
    if (child == 0)
        fill_and_die(bytes);
    waitpid(child, NULL, 0);
    nexus_event event;
    struct made made;
    make(&event, &made, 0, KEYS);
    double start = now_s();
    nexus_bus *bus = open_bus(NEXUS_BUS_OWNER);
    must(nexus_bus_publish(bus, &event, 1, NULL, NULL), "publish");
    double took = now_s() - start;
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    nexus_bus_close(bus);
    printf("{\"n\":1,\"per_s\":0,\"replay_per_s\":0,\"p50_us\":%.0f,\"p99_us\":%.0f,\"rss_kib\":%ld}\n", took * 1e6,
           took * 1e6, used.ru_maxrss);
}

int main(int argc, char **argv)
{
    const char *what = argc > 3 ? argv[2] : "";
    double number = argc > 3 ? atof(argv[3]) : 0;
    const char *place = argc > 1 ? argv[1] : "";
    snprintf(url, sizeof url, "%s%s", strchr(place, ':') ? "" : "file:", place); /* a folder, or any URL */
    if (!strcmp(what, "publish") && argc == 5 && number >= 1 && number <= BATCH)
        run_publish((size_t)number, atof(argv[4]));
    else if (!strcmp(what, "publish") && argc == 6 && number >= 1 && number <= BATCH)
        run_ahead((size_t)number, atof(argv[4]), (unsigned)atoi(argv[5]));
    else if (!strcmp(what, "clients") && argc == 6)
        run_clients((int)number, (unsigned)atoi(argv[4]), atof(argv[5]));
    else if (!strcmp(what, "consume") && argc == 4)
        run_consume((uint64_t)number / BATCH * BATCH);
    else if (!strcmp(what, "open") && argc == 4)
        run_open((uint64_t)number);
    else if (!strcmp(what, "behind") && argc == 5)
        run_behind((uint64_t)number / BATCH * BATCH, atof(argv[4]));
    else {
        fprintf(
            stderr,
            "usage: bench-bus DIR publish BATCH SECONDS [AHEAD] | clients COUNT WINDOW SECONDS | consume EVENTS | open BYTES |"
            " behind EVENTS SECONDS\n");
        return 2;
    }
    return 0;
}
