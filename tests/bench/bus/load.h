/* What the programs of this folder share: events of 256 bytes, a clock, how long to run and the line they print. */
#ifndef BENCH_BUS_LOAD_H
#define BENCH_BUS_LOAD_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { EVENT_BYTES = 256, STREAMS = 100000 };

static inline double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* xorshift64: the same events for every program of a run. */
static inline uint64_t next_random(void)
{
    static uint64_t state = 88172645463325252ull;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static inline void fill(unsigned char *bytes, uint64_t n)
{
    for (int i = 0; i < EVENT_BYTES / 8; i++) {
        uint64_t word = n * 0x9E3779B97F4A7C15ull + (uint64_t)i;
        memcpy(bytes + 8 * i, &word, 8);
    }
}

static inline void die(const char *what)
{
    fprintf(stderr, "%s\n", what);
    exit(1);
}

/* Times of single operations; the oldest are kept when there are more than fit. */
typedef struct latencies {
    float *us;
    size_t n, cap;
} latencies;

static inline void latencies_add(latencies *l, double seconds)
{
    if (!l->us) {
        l->cap = 1 << 20;
        l->us = malloc(l->cap * sizeof *l->us);
    }
    if (l->us && l->n < l->cap)
        l->us[l->n++] = (float)(seconds * 1e6);
}

static inline int latencies_order(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static inline double latencies_at(latencies *l, double share)
{
    qsort(l->us, l->n, sizeof *l->us, latencies_order);
    return l->n ? (double)l->us[(size_t)((double)(l->n - 1) * share)] : 0;
}

/* {"n":…,"per_s":…,"replay_per_s":…,"p50_us":…,"p99_us":…}; zeros stand for what was not measured. */
static inline void report(uint64_t n, double seconds, double replay_per_s, latencies *l)
{
    printf("{\"n\":%llu,\"per_s\":%.0f,\"replay_per_s\":%.0f,\"p50_us\":%.1f,\"p99_us\":%.1f}\n", (unsigned long long)n,
           seconds > 0 ? (double)n / seconds : 0, replay_per_s, l ? latencies_at(l, 0.5) : 0,
           l ? latencies_at(l, 0.99) : 0);
}

#endif
