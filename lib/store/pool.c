#include "store/pool.h"

#include <errno.h>
#include <time.h>

#include "base/status.h"
#include "base/time.h"

typedef struct waiter {
    nexus__list node;
    pthread_cond_t granted_cond;
    bool granted;
    void *link;
} waiter;

nexus_status nexus__pool_init(nexus__pool *pool, const nexus_alloc *alloc, size_t max)
{
    *pool = (nexus__pool){.alloc = alloc, .max = max};
    nexus__list_init(&pool->locked.waiters);
    pool->locked.idle = nexus__calloc(alloc, max, sizeof *pool->locked.idle);
    if (!pool->locked.idle)
        return nexus__nomem();
    pthread_mutex_init(&pool->mutex, NULL);
    return NEXUS_OK;
}

void nexus__pool_free(nexus__pool *pool, void (*close)(void *link))
{
    if (!pool->locked.idle)
        return;
    for (size_t i = 0; i < pool->locked.idle_count; i++)
        close(pool->locked.idle[i]);
    pthread_mutex_destroy(&pool->mutex);
    nexus__free(pool->alloc, pool->locked.idle);
    pool->locked.idle = NULL;
}

/* Under the mutex, which is released while waiting. */
static bool wait_for_turn(nexus__pool *pool, uint32_t timeout_ms, void **link)
{
    int64_t deadline = nexus__mono_ns() + (int64_t)timeout_ms * NEXUS__NS_PER_MS;
    struct timespec until = {.tv_sec = deadline / NEXUS__NS_PER_S, .tv_nsec = deadline % NEXUS__NS_PER_S};
    waiter self = {.granted = false};
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&self.granted_cond, &attr);
    pthread_condattr_destroy(&attr);
    nexus__list_push(&pool->locked.waiters, &self.node);
    int waited = 0;
    while (!self.granted && waited != ETIMEDOUT)
        waited = pthread_cond_timedwait(&self.granted_cond, &pool->mutex, &until);
    if (!self.granted)
        nexus__list_remove(&self.node);
    pthread_cond_destroy(&self.granted_cond);
    *link = self.link;
    return self.granted;
}

nexus_status nexus__pool_take(nexus__pool *pool, uint32_t timeout_ms, void **link)
{
    bool taken = true;
    pthread_mutex_lock(&pool->mutex);
    if (pool->locked.idle_count > 0) {
        *link = pool->locked.idle[--pool->locked.idle_count];
    } else if (pool->locked.slots < pool->max) {
        pool->locked.slots++;
        *link = NULL;
    } else {
        taken = wait_for_turn(pool, timeout_ms, link);
    }
    pthread_mutex_unlock(&pool->mutex);
    if (taken)
        return NEXUS_OK;
    return nexus__fail(NEXUS_ETIMEDOUT,
                       "all %zu connections stayed busy for %u ms: look for a transaction left open, perhaps by this "
                       "very thread, or allow more connections",
                       pool->max, timeout_ms);
}

void nexus__pool_give(nexus__pool *pool, void *link)
{
    pthread_mutex_lock(&pool->mutex);
    if (!nexus__list_empty(&pool->locked.waiters)) {
        waiter *first = NEXUS__CONTAINER(pool->locked.waiters.next, waiter, node);
        nexus__list_remove(&first->node);
        first->link = link;
        first->granted = true;
        pthread_cond_signal(&first->granted_cond);
    } else if (link) {
        pool->locked.idle[pool->locked.idle_count++] = link;
    } else {
        pool->locked.slots--;
    }
    pthread_mutex_unlock(&pool->mutex);
}
