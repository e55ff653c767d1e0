/* Waiting for something to be handed out, and waking those who wait. */
#include "base/status.h"
#include "base/thread.h"
#include "bus/internal.h"

nexus_status nexus__bgroup_fetch(nexus__bgroup *g, nexus__member *m, nexus__lease *out, size_t max, uint32_t wait_ms,
                                 size_t *got)
{
    int64_t until = nexus__mono_ns() + wait_ms * NEXUS__NS_PER_MS, due;
    for (;;) {
        pthread_mutex_lock(&g->wake_lock);
        uint64_t generation = g->generation;
        pthread_mutex_unlock(&g->wake_lock);
        nexus_status status = nexus__bgroup_take(g, m, out, max, got, &due);
        if (*got || status != NEXUS_OK || nexus__mono_ns() >= until)
            return status;
        pthread_mutex_lock(&g->wake_lock);
        int64_t limit = due < until ? due : until;
        while (g->generation == generation && nexus__cond_wait_until(&g->wake, &g->wake_lock, limit))
            ;
        pthread_mutex_unlock(&g->wake_lock);
    }
}

void nexus__bgroup_wake(nexus__bgroup *g)
{
    pthread_mutex_lock(&g->wake_lock);
    g->generation++;
    pthread_cond_broadcast(&g->wake);
    for (nexus__list *n = g->watchers.next; n != &g->watchers; n = n->next) {
        nexus__watch_group *w = NEXUS__CONTAINER(n, nexus__watch_group, node);
        w->fn(w->user_data);
    }
    pthread_mutex_unlock(&g->wake_lock);
}

void nexus__bgroup_watch(nexus__bgroup *g, nexus__watch_group *w)
{
    pthread_mutex_lock(&g->wake_lock);
    nexus__list_push(&g->watchers, &w->node);
    w->fn(w->user_data);
    pthread_mutex_unlock(&g->wake_lock);
}

void nexus__bgroup_unwatch(nexus__bgroup *g, nexus__watch_group *w)
{
    pthread_mutex_lock(&g->wake_lock);
    nexus__list_remove(&w->node);
    pthread_mutex_unlock(&g->wake_lock);
}
