#include "auth/hash_gate.h"

#include <pthread.h>

#include "base/status.h"

struct nexus__hash_gate {
    const nexus_alloc *alloc;
    uint32_t queue;
    pthread_mutex_t lock;
    pthread_cond_t freed;
    struct {
        uint32_t free, waiting;
        uint64_t entered;
    } locked;
};

nexus_status nexus__hash_gate_new(nexus__hash_gate **out, const nexus_alloc *alloc, uint32_t parallel, uint32_t queue)
{
    nexus__hash_gate *g = nexus__calloc(alloc, 1, sizeof *g);
    if (!g)
        return nexus__nomem();
    g->alloc = alloc;
    g->queue = queue;
    g->locked.free = parallel;
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->freed, NULL);
    *out = g;
    return NEXUS_OK;
}

nexus_status nexus__hash_gate_enter(nexus__hash_gate *g)
{
    nexus_status status = NEXUS_OK;
    pthread_mutex_lock(&g->lock);
    if (g->locked.free == 0 && g->locked.waiting >= g->queue) {
        status = nexus__fail(NEXUS_ELIMIT, "too many password checks are waiting; try again in a moment");
    } else {
        g->locked.waiting++;
        while (g->locked.free == 0)
            pthread_cond_wait(&g->freed, &g->lock);
        g->locked.waiting--;
        g->locked.free--;
        g->locked.entered++;
    }
    pthread_mutex_unlock(&g->lock);
    return status;
}

void nexus__hash_gate_leave(nexus__hash_gate *g)
{
    pthread_mutex_lock(&g->lock);
    g->locked.free++;
    pthread_cond_signal(&g->freed);
    pthread_mutex_unlock(&g->lock);
}

uint64_t nexus__hash_gate_count(nexus__hash_gate *g)
{
    pthread_mutex_lock(&g->lock);
    uint64_t entered = g->locked.entered;
    pthread_mutex_unlock(&g->lock);
    return entered;
}

void nexus__hash_gate_free(nexus__hash_gate *g)
{
    if (!g)
        return;
    pthread_cond_destroy(&g->freed);
    pthread_mutex_destroy(&g->lock);
    nexus__free(g->alloc, g);
}
