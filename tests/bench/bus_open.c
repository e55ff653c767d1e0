/*
 * How long until the first publish after the owner of a big log was killed, and what checkpoints cost meanwhile.
 *
 *   bench-bus-open DIR [MIB] [CHECKPOINT_MIB] [--check]
 *
 * A child writes MIB (default 1024) of 256-byte events in batches of 500, each durable, over 100,000 streams, kills itself
 * with -9, and the parent opens the directory and publishes one event. CHECKPOINT_MIB 0 = the default; a huge one = none.
 * One JSON line; --check exits 1 when opening and the first publish take a second or more together.
 */
#include <nexus/nexus.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 500, STREAMS = 100000, DATA = 256 };

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static double cpu_ms(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e3 +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e3;
}

static void fail(const char *what)
{
    fprintf(stderr, "bus-open: %s: %s\n", what, nexus_error_message());
    exit(2);
}

static nexus_bus *open_bus(const char *dir, uint64_t checkpoint_bytes)
{
    char url[4096];
    nexus_bus *bus;
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    opts.checkpoint_bytes = checkpoint_bytes;
    snprintf(url, sizeof url, "file:%s", dir);
    if (nexus_bus_open(&bus, url, &opts) != NEXUS_OK)
        fail("open");
    return bus;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct written {
    double p50_ms, p99_ms, max_ms;
    uint64_t events;
} written;

static void fill_events(nexus_event *events, char (*subjects)[24], const char *data, uint64_t from)
{
    for (uint64_t i = 0; i < BATCH; i++) {
        nexus_event_init(&events[i]);
        events[i].type = NEXUS_S("bench.stored");
        int n = snprintf(subjects[i], sizeof subjects[i], "s-%llu", (unsigned long long)((from + i) % STREAMS));
        events[i].subject = (nexus_slice){subjects[i], (size_t)n};
        events[i].data = (nexus_slice){data, DATA};
    }
}

static void work(const char *dir, uint64_t mib, uint64_t checkpoint_bytes, int out)
{
    static nexus_event events[BATCH];
    static char subjects[BATCH][24], data[DATA];
    memset(data, 'x', sizeof data);
    nexus_bus *bus = open_bus(dir, checkpoint_bytes);
    uint64_t batches = (mib << 20) / ((uint64_t)BATCH * (DATA + 184)); /* with heads and attributes */
    double *took = malloc((batches + 1) * sizeof *took);
    if (!took)
        fail("memory");
    for (uint64_t i = 0; i < batches; i++) {
        fill_events(events, subjects, data, i * BATCH);
        double start = now_ms();
        if (nexus_bus_publish(bus, events, BATCH, NULL, NULL) != NEXUS_OK)
            fail("publish");
        took[i] = now_ms() - start;
    }
    qsort(took, batches, sizeof *took, by_value);
    written w = {took[batches / 2], took[batches * 99 / 100], took[batches - 1], batches * BATCH};
    if (write(out, &w, sizeof w) != sizeof w)
        fail("write");
    kill(getpid(), SIGKILL);
}

int main(int argc, char **argv)
{
    bool check = argc > 1 && strcmp(argv[argc - 1], "--check") == 0;
    argc -= check;
    if (argc < 2) {
        fprintf(stderr, "usage: bench-bus-open DIR [MIB] [CHECKPOINT_MIB] [--check]\n");
        return 2;
    }
    uint64_t mib = argc > 2 ? strtoull(argv[2], NULL, 10) : 1024, each = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
    int ends[2];
    if (pipe(ends) != 0)
        fail("pipe");
    pid_t child = fork();
    if (child == 0) {
        work(argv[1], mib, each << 20, ends[1]);
        _exit(2);
    }
    written w;
    close(ends[1]);
    if (read(ends[0], &w, sizeof w) != sizeof w)
        fail("the writer");
    waitpid(child, NULL, 0);
    double start = now_ms();
    nexus_bus *bus = open_bus(argv[1], each << 20);
    double opened = now_ms();
    nexus_event e = NEXUS_EVENT_INIT;
    nexus_publish_result r = NEXUS_PUBLISH_RESULT_INIT;
    e.type = NEXUS_S("bench.first");
    if (nexus_bus_publish(bus, &e, 1, NULL, &r) != NEXUS_OK)
        fail("first publish");
    double done = now_ms(), cpu = cpu_ms();
    printf("{\"work\":\"open %llu MiB after kill "
           "-9\",\"unit\":\"ms\",\"value\":%.1f,\"open_ms\":%.1f,\"cpu_ms\":%.1f,\"events\":%llu,"
           "\"publish_batch_ms\":{\"p50\":%.2f,\"p99\":%.2f,\"max\":%.2f},\"goal\":1000,\"met\":%s}\n",
           (unsigned long long)mib, done - start, opened - start, cpu, (unsigned long long)w.events, w.p50_ms, w.p99_ms,
           w.max_ms, done - start < 1000 ? "true" : "false");
    nexus_bus_close(bus);
    return check && done - start >= 1000;
}
