/* Waiting for something to be handed out, and waking those who wait. */
#include "base/status.h"
#include "base/thread.h"
#include "bus/internal.h"

/* Among the first events of an owner may be the one whose handler took the owner before down, sooner than the attempt was
 * written, and it would do so for ever: these attempts are on the disk before the handler sees them. A handler in
 * another process does not take the owner with it. */
static void count_first(nexus__bgroup *g, const nexus__member *m, size_t got)
{
    if (m->remote)
        return;
    pthread_mutex_lock(&g->lock);
    bool wary = g->wary > 0;
    g->wary -= got < g->wary ? (uint32_t)got : g->wary;
    pthread_mutex_unlock(&g->lock);
    nexus_status status = wary ? nexus__bgroup_sync(g) : NEXUS_OK;
    (void)status; /* a log that takes nothing stops no group */
}

nexus_status nexus__bgroup_fetch(nexus__bgroup *g, nexus__member *m, nexus__lease *out, size_t max, uint32_t wait_ms,
                                 size_t *got)
{
    int64_t until = nexus__mono_ns() + wait_ms * NEXUS__NS_PER_MS, due;
    for (;;) {
        pthread_mutex_lock(&g->wake_lock);
        uint64_t generation = g->generation;
        pthread_mutex_unlock(&g->wake_lock);
        nexus_status status = nexus__bgroup_take(g, m, out, max, got, &due);
        if (*got)
            count_first(g, m, *got);
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
