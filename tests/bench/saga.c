/*
 * Many sagas of four steps: start, then an answer to each of four commands, all on one file bus (or the URL given).
 *
 *   bench-saga [--json] [--sagas N] [--threads N] [--url URL]
 *
 * A transition is one durable append with the command it publishes; each saga makes five. The peak of resident memory is the
 * whole process's: the bus's tables and windows included.
 */
#include <ftw.h>
#include <nexus/nexus.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { STEPS = 4, TRANSITIONS = STEPS + 1, BATCH = 64, GOAL = 20000 };

static void fail(const char *what)
{
    fprintf(stderr, "bench-saga: %s: %s\n", what, nexus_error_message());
    exit(1);
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double peak_mib(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss / 1024;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static nexus_saga *open_saga(nexus_bus *bus, uint32_t threads)
{
    static const char *const names[STEPS][3] = {{"stock", "stock.reserve", "stock.reserved"},
                                                {"payment", "payment.take", "payment.taken"},
                                                {"parcel", "parcel.pack", "parcel.packed"},
                                                {"courier", "courier.call", "courier.came"}};
    nexus_saga_step steps[STEPS];
    nexus_saga_opts opts = NEXUS_SAGA_OPTS_INIT;
    nexus_saga *saga;
    for (int k = 0; k < STEPS; k++) {
        steps[k] = (nexus_saga_step)NEXUS_SAGA_STEP_INIT;
        steps[k].name = names[k][0];
        steps[k].command = names[k][1];
        steps[k].on_types = names[k][2];
        steps[k].timeout_ms = 3600 * 1000;
    }
    opts.start_types = "shop.sale";
    opts.key = "data.id";
    opts.threads = threads;
    if (nexus_saga_open(&saga, bus, "bench", steps, STEPS, &opts) != NEXUS_OK)
        fail("saga");
    return saga;
}

/* Publishes one event of that type for each saga, in batches. */
static void publish(nexus_bus *bus, const char *type, long sagas)
{
    char ids[BATCH][24], texts[BATCH][160];
    nexus_event events[BATCH];
    for (long at = 0; at < sagas; at += BATCH) {
        size_t n = sagas - at < BATCH ? (size_t)(sagas - at) : BATCH;
        for (size_t k = 0; k < n; k++) {
            events[k] = (nexus_event)NEXUS_EVENT_INIT;
            events[k].type = (nexus_slice){type, strlen(type)};
            events[k].subject = (nexus_slice){ids[k], (size_t)snprintf(ids[k], sizeof ids[k], "sale-%ld", at + (long)k)};
            events[k].data.p = texts[k];
            events[k].data.n = (size_t)snprintf(texts[k], sizeof texts[k],
                                                "{\"id\":\"%ld\",\"amount\":1250,\"currency\":\"EUR\",\"user_id\":\"u-%ld\"}",
                                                at + (long)k, (at + (long)k) % 1000);
        }
        if (nexus_bus_publish(bus, events, n, NULL, NULL) != NEXUS_OK)
            fail("publish");
    }
}

/* Waits until that many transitions are stored. */
static void await(nexus_reader *reader, long *seen, long until)
{
    const nexus_event *event;
    while (*seen < until) {
        nexus_status status = nexus_reader_next(reader, &event, 1000);
        if (status == NEXUS_OK)
            ++*seen;
        else if (status != NEXUS_EDONE)
            fail("reader");
    }
}

static void run(const char *url, long sagas, uint32_t threads, bool json)
{
    static const char *const types[TRANSITIONS] = {"shop.sale", "stock.reserved", "payment.taken", "parcel.packed",
                                                   "courier.came"};
    nexus_bus *bus;
    nexus_reader *reader;
    nexus_reader_opts opts = NEXUS_READER_OPTS_INIT;
    long seen = 0;
    if (nexus_bus_open(&bus, url, NULL) != NEXUS_OK)
        fail(url);
    nexus_saga *saga = open_saga(bus, threads);
    opts.types = "saga.transition";
    if (nexus_reader_open(&reader, bus, &opts) != NEXUS_OK)
        fail("reader");
    double start = now_s();
    for (int k = 0; k < TRANSITIONS; k++) {
        publish(bus, types[k], sagas);
        await(reader, &seen, sagas * (k + 1)); /* every saga stands at this step: the most that is in memory */
    }
    double took = now_s() - start, rate = (double)seen / took;
    nexus_reader_close(reader);
    double closing = now_s();
    nexus_saga_close(saga);
    closing = now_s() - closing;
    double opening = now_s();
    saga = open_saga(bus, threads);
    opening = now_s() - opening;
    nexus_saga_close(saga);
    nexus_bus_close(bus);
    if (json)
        printf("{\"work\":\"%ld sagas of %d steps\",\"unit\":\"transitions/s\",\"value\":%.0f,\"peers\":{},\"ratio\":null,"
               "\"goal\":%d,\"met\":%s,\"peak_rss_mib\":%.0f}\n",
               sagas, STEPS, rate, GOAL, rate >= GOAL ? "true" : "false", peak_mib());
    else
        printf("%ld sagas of %d steps on %s, %u threads: %.0f transitions/s, peak %.0f MiB, close %.0f ms, open %.0f ms\n",
               sagas, STEPS, url, threads ? threads : 1, rate, peak_mib(), closing * 1e3, opening * 1e3);
}

int main(int argc, char **argv)
{
    char dir[] = "/var/tmp/nexus-bench-saga-XXXXXX", own[64];
    const char *url = NULL;
    long sagas = 100000;
    uint32_t threads = 0;
    bool json = false;
    for (int k = 1; k < argc; k++) {
        if (strcmp(argv[k], "--json") == 0)
            json = true;
        else if (strcmp(argv[k], "--sagas") == 0 && k + 1 < argc)
            sagas = strtol(argv[++k], NULL, 10);
        else if (strcmp(argv[k], "--threads") == 0 && k + 1 < argc)
            threads = (uint32_t)strtoul(argv[++k], NULL, 10);
        else if (strcmp(argv[k], "--url") == 0 && k + 1 < argc)
            url = argv[++k];
        else
            return fprintf(stderr, "usage: bench-saga [--json] [--sagas N] [--threads N] [--url URL]\n"), 2;
    }
    if (!url) {
        if (!mkdtemp(dir))
            return perror("bench-saga"), 1;
        snprintf(own, sizeof own, "file:%s/bus", dir);
    }
    run(url ? url : own, sagas, threads, json);
    if (!url)
        nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return 0;
}
