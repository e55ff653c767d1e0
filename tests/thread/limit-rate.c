/*
 * 64 threads against limits. What passes never exceeds burst + rate x time, on a clock that stands and on one that runs;
 * one policy, several at once, a quota across the edge of its windows with clocks that disagree, and by key.
 */
#include <nexus/limit.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "base/time.h"

enum { THREADS = 64, TRIES = 10000 };
#define EDGE (600000 * NEXUS__NS_PER_S)

static nexus_rate rate, wide;
static nexus_rate_state state, second;
static nexus_quota_state quota;
static nexus_limiter *limiter;
static atomic_ulong admitted;
static int64_t frozen; /* 0 = the real clock */
static pthread_barrier_t barrier;
static bool (*one_try)(unsigned thread, int i);

static int64_t now(void)
{
    return frozen ? frozen : nexus__mono_ns();
}

static void *run(void *arg)
{
    unsigned long mine = 0;
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < TRIES; i++)
        mine += one_try((unsigned)(uintptr_t)arg, i);
    atomic_fetch_add(&admitted, mine);
    return NULL;
}

static unsigned long race(bool (*fn)(unsigned, int))
{
    pthread_t threads[THREADS];
    admitted = 0;
    one_try = fn;
    state.word = second.word = quota.word = 0;
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (uintptr_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, run, (void *)i))
            return 0;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&barrier);
    return admitted;
}

static bool take_one(unsigned thread, int i)
{
    nexus_limit_result r;
    (void)thread, (void)i;
    return nexus_rate_take(&rate, &state, 1, now(), &r);
}

/* As the gateway asks two: looks at both, takes from both, gives back when the second was lost meanwhile. */
static bool take_two(unsigned thread, int i)
{
    nexus_limit_result r, first;
    int64_t at = now();
    (void)thread, (void)i;
    if (!nexus_rate_look(&wide, &second, 1, at, &r) || !nexus_rate_look(&rate, &state, 1, at, &r) ||
        !nexus_rate_take(&wide, &second, 1, at, &first))
        return false;
    if (nexus_rate_take(&rate, &state, 1, at, &r))
        return true;
    (void)nexus_rate_give(&wide, &second, 1, &first, at);
    return false;
}

/* Half of the threads still live in the window before. */
static bool take_quota(unsigned thread, int i)
{
    nexus_limit_result r;
    int64_t at = EDGE + (i < TRIES / 2 ? -1 : 0) - (thread % 2 ? NEXUS__NS_PER_S : 0);
    return nexus_quota_take(&quota, 500, 60 * NEXUS__NS_PER_S, 1, at, &r);
}

static bool take_key(unsigned thread, int i)
{
    nexus_limit_result r;
    int key = (i + (int)thread) % 100;
    return nexus_limiter_take(limiter, "t", &rate, nexus__slice(&key, sizeof key), 1, now(), &r);
}

static int failures;

static void expect(const char *what, unsigned long got, unsigned long least, unsigned long most)
{
    printf("%s: %lu, expected %lu to %lu\n", what, got, least, most);
    failures += got < least || got > most;
}

static void over_time(const char *what, bool (*fn)(unsigned, int))
{
    frozen = 0;
    int64_t start = nexus__mono_ns();
    unsigned long passed = race(fn);
    int64_t took = nexus__mono_ns() - start;
    expect(what, passed, 1, 10 + (unsigned long)(took / (int64_t)rate.emission_ns));
}

int main(void)
{
    if (nexus_rate_init(&rate, 1000, NEXUS__NS_PER_S, 10) || nexus_rate_init(&wide, 2000, NEXUS__NS_PER_S, 4000) ||
        nexus_limiter_new(&limiter, 10000, NULL))
        return 1;
    frozen = 5 * NEXUS__NS_PER_S;
    expect("one policy at once", race(take_one), 10, 10);
    over_time("one policy over time", take_one);
    frozen = 5 * NEXUS__NS_PER_S;
    expect("two policies at once", race(take_two), 10, 10);
    nexus_limit_result r;
    (void)nexus_rate_look(&wide, &second, 0, frozen, &r);
    expect("of the wide one taken", 4000 - r.remaining, 10, 10 + THREADS);
    over_time("two policies over time", take_two);
    expect("a quota across its edge", race(take_quota), 500, 500);
    frozen = 5 * NEXUS__NS_PER_S;
    expect("a hundred keys", race(take_key), 1000, 1000);
    nexus_limiter_free(limiter);
    return failures != 0;
}
