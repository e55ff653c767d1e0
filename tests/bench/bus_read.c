/*
 * What the indexes of finished files are worth: a stream of 10 events, and a rare type, in a log of a million.
 *
 *   bench-bus-read DIR [EVENTS] [--check]
 *
 * Writes EVENTS (default 1,000,000) of 256 bytes in batches of 1000, the stream and the type spread evenly, waits for the
 * indexes, and reads: all of it, looking for the subject (what both reads cost without indexes), the stream, and the type.
 * One JSON line each; --check exits 1 when a read gains less than 10 times.
 */
#include <dirent.h>
#include <nexus/nexus.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 1000, STREAMS = 100000, DATA = 256, WANTED = 10 };

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void fail(const char *what)
{
    fprintf(stderr, "bus-read: %s: %s\n", what, nexus_error_message());
    exit(2);
}

static nexus_bus *open_bus(const char *dir)
{
    char url[4096];
    nexus_bus *bus;
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    opts.durability = NEXUS_DURABILITY_OS;
    snprintf(url, sizeof url, "file:%s", dir);
    if (nexus_bus_open(&bus, url, &opts) != NEXUS_OK)
        fail("open");
    return bus;
}

static void fill(nexus_bus *bus, uint64_t events)
{
    static nexus_event batch[BATCH];
    static char subjects[BATCH][24], data[DATA];
    memset(data, 'x', sizeof data);
    for (uint64_t i = 0; i < events; i += BATCH) {
        for (uint64_t k = 0; k < BATCH; k++) {
            bool wanted = (i + k) % (events / WANTED) == events / WANTED / 2;
            int n = wanted ? snprintf(subjects[k], 24, "wanted-1")
                           : snprintf(subjects[k], 24, "s-%llu", (unsigned long long)((i + k) % STREAMS));
            nexus_event_init(&batch[k]);
            batch[k].type = wanted ? NEXUS_S("bench.rare") : NEXUS_S("bench.usual");
            batch[k].subject = (nexus_slice){subjects[k], (size_t)n};
            batch[k].data = (nexus_slice){data, DATA};
        }
        if (nexus_bus_publish(bus, batch, BATCH, NULL, NULL) != NEXUS_OK)
            fail("publish");
    }
}

static int count_files(const char *dir, const char *ending)
{
    int n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        size_t len = strlen(e->d_name);
        n += len > 4 && strncmp(e->d_name, "seg-", 4) == 0 && strcmp(e->d_name + len - 4, ending) == 0;
    }
    if (d)
        closedir(d);
    return n;
}

static double read_ms(nexus_bus *bus, const nexus_reader_opts *opts)
{
    double best = 1e9;
    for (int round = 0; round < 5; round++) {
        double start = now_ms();
        nexus_reader *r;
        const nexus_event *e;
        int n = 0;
        if (nexus_reader_open(&r, bus, opts) != NEXUS_OK)
            fail("read");
        while (nexus_reader_next(r, &e, 0) == NEXUS_OK)
            n++;
        nexus_reader_close(r);
        if (n != WANTED)
            fail("count");
        best = now_ms() - start < best ? now_ms() - start : best;
    }
    return best;
}

static bool report(const char *work, double ms, double scan_ms)
{
    bool met = scan_ms / ms >= 10;
    printf("{\"work\":\"%s\",\"unit\":\"ms\",\"value\":%.3f,\"peers\":{\"without index\":%.1f},\"ratio\":%.0f,\"goal\":10,"
           "\"met\":%s}\n",
           work, ms, scan_ms, scan_ms / ms, met ? "true" : "false");
    return met;
}

int main(int argc, char **argv)
{
    bool check = argc > 1 && strcmp(argv[argc - 1], "--check") == 0;
    argc -= check;
    if (argc < 2) {
        fprintf(stderr, "usage: bench-bus-read DIR [EVENTS] [--check]\n");
        return 2;
    }
    nexus_bus *bus = open_bus(argv[1]);
    fill(bus, argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000);
    while (count_files(argv[1], ".idx") + 1 < count_files(argv[1], ".log"))
        usleep(10000);
    nexus_reader_opts scan = NEXUS_READER_OPTS_INIT, stream = NEXUS_READER_OPTS_INIT, type = NEXUS_READER_OPTS_INIT;
    scan.subject_prefix = "wanted-";
    stream.stream = "wanted-1";
    type.types = "bench.rare";
    double scan_ms = read_ms(bus, &scan);
    bool met = report("read a stream of 10 events", read_ms(bus, &stream), scan_ms);
    met &= report("read a type of 10 events", read_ms(bus, &type), scan_ms);
    nexus_bus_close(bus);
    return check && !met;
}
