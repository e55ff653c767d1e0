#include "base/status.h"
#include "runtime/internal.h"

static bool take(nexus__pool *pool, struct nexus__pool_task *out)
{
    pthread_mutex_lock(&pool->lock);
    while (pool->locked.count == 0 && !pool->locked.closing) {
        pool->locked.idle++;
        pthread_cond_wait(&pool->some, &pool->lock);
        pool->locked.idle--;
    }
    bool some = pool->locked.count > 0;
    if (some) {
        *out = pool->locked.ring[pool->locked.head];
        pool->locked.head = (pool->locked.head + 1) % pool->max;
        pool->locked.count--;
    }
    pthread_mutex_unlock(&pool->lock);
    return some;
}

static void *work(void *arg)
{
    nexus__pool *pool = arg;
    nexus__thread_role_get()->worker = true;
    struct nexus__pool_task task;
    while (take(pool, &task))
        task.fn(task.user_data);
    return NULL;
}

nexus_status nexus__pool_open(nexus__pool *pool, nexus_runtime *runtime, uint32_t threads, uint32_t max)
{
    pool->runtime = runtime;
    pool->max = max;
    pool->locked.ring = nexus__calloc(runtime->alloc, max, sizeof *pool->locked.ring);
    pool->handles = nexus__calloc(runtime->alloc, threads, sizeof *pool->handles);
    if (!pool->locked.ring || !pool->handles)
        return nexus__nomem();
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->some, NULL);
    for (uint32_t i = 0; i < threads; i++) {
        nexus_status status = nexus__runtime_thread(&pool->handles[i], runtime->name, "work", i, work, pool);
        if (status)
            return status;
        pool->threads++;
    }
    return NEXUS_OK;
}

void nexus__pool_close(nexus__pool *pool)
{
    if (pool->threads) {
        pthread_mutex_lock(&pool->lock);
        pool->locked.closing = true;
        pthread_cond_broadcast(&pool->some);
        pthread_mutex_unlock(&pool->lock);
    }
    for (uint32_t i = 0; i < pool->threads; i++)
        pthread_join(pool->handles[i], NULL);
    if (pool->threads) {
        pthread_cond_destroy(&pool->some);
        pthread_mutex_destroy(&pool->lock);
    }
    if (pool->runtime) {
        nexus__free(pool->runtime->alloc, pool->locked.ring);
        nexus__free(pool->runtime->alloc, pool->handles);
    }
}

nexus_status nexus_runtime_submit(nexus_runtime *runtime, nexus_task_fn *fn, void *user_data)
{
    nexus__pool *pool = &runtime->pool;
    pthread_mutex_lock(&pool->lock);
    bool full = pool->locked.count == pool->max;
    if (!full) {
        uint32_t at = (pool->locked.head + pool->locked.count) % pool->max;
        pool->locked.ring[at] = (struct nexus__pool_task){fn, user_data};
        pool->locked.count++;
        if (pool->locked.idle)
            pthread_cond_signal(&pool->some);
    }
    pthread_mutex_unlock(&pool->lock);
    return full ? nexus__fail(NEXUS_EAGAIN, "%u tasks are waiting for a worker: try again later", pool->max) : NEXUS_OK;
}
