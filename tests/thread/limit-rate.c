/* 64 threads against one limit: what passes never exceeds burst + rate x time, neither on a frozen clock nor on a
 * running one. */
#include <nexus/limit.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/time.h"

enum { THREADS = 64, TRIES = 20000 };

static nexus_rate rate;
static nexus_rate_state state;
static atomic_ulong admitted;
static int64_t frozen; /* 0 = the real clock */
static pthread_barrier_t barrier;

static void *run(void *arg)
{
    (void)arg;
    unsigned long mine = 0;
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < TRIES; i++) {
        nexus_limit_result r;
        mine += nexus_rate_take(&rate, &state, 1, frozen ? frozen : nexus__mono_ns(), &r);
    }
    atomic_fetch_add(&admitted, mine);
    return NULL;
}

static unsigned long race(void)
{
    pthread_t threads[THREADS];
    admitted = 0;
    state.word = 0;
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, run, NULL))
            return 0;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&barrier);
    return admitted;
}

int main(void)
{
    if (nexus_rate_init(&rate, 1000, NEXUS__NS_PER_S, 10))
        return 1;
    frozen = 5 * NEXUS__NS_PER_S;
    unsigned long at_once = race();
    frozen = 0;
    int64_t start = nexus__mono_ns();
    unsigned long over_time = race();
    int64_t took = nexus__mono_ns() - start;
    unsigned long most = 10 + (unsigned long)(took / (int64_t)rate.emission_ns);
    printf("frozen clock: %lu of burst 10; running clock: %lu of at most %lu\n", at_once, over_time, most);
    return at_once == 10 && over_time <= most && over_time > 0 ? 0 : 1;
}
