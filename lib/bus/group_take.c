/* Handing out what is ready, under leases, and waking those who wait for it. */
#include "base/status.h"
#include "base/thread.h"
#include "bus/internal.h"

static void expire_locked(nexus__bgroup *g, int64_t now_ns)
{
    while (g->timer_count && g->timers[0]->due_ns <= now_ns) {
        entry *e = g->timers[0];
        if (e->state == ENTRY_LEASED) {
            nexus__bgroup_failed(g, e, 0, "the lease ran out");
        } else {
            nexus__bgroup_timer_stop(g, e);
            if (e->attempts >= g->config.max_deliver)
                nexus__bgroup_bury(g, e, nexus__slice_c(e->reason ? e->reason : "not accepted"));
            else
                nexus__bgroup_ready(g, e);
        }
    }
}

int64_t nexus__bgroup_expire(nexus__bgroup *g, int64_t now_ns)
{
    pthread_mutex_lock(&g->lock);
    expire_locked(g, now_ns);
    int64_t due = g->timer_count ? g->timers[0]->due_ns : INT64_MAX;
    bool ready = !nexus__list_empty(&g->ready);
    pthread_mutex_unlock(&g->lock);
    if (ready)
        nexus__bgroup_wake(g);
    return due;
}

static void lease_out(nexus__bgroup *g, entry *e, bool remote, nexus__lease *out, int64_t now_ns)
{
    nexus__list_remove(&e->in_ready);
    e->state = ENTRY_LEASED;
    e->attempts++;
    e->token = ++g->next_token;
    if (!e->first_at_ns)
        e->first_at_ns = nexus__real_ns();
    nexus__bgroup_timer_start(g, e, now_ns + g->config.ack_wait_ms * NEXUS__NS_PER_MS);
    g->inflight++;
    g->delivered++;
    g->redelivered += e->attempts > 1;
    lease_record record = {.pos = e->pos, .token = e->token, .attempts = e->attempts, .remote = remote};
    nexus__buf_append(&g->leases, &record, sizeof record);
    *out = (nexus__lease){nexus__stored_ref(e->stored), e->token, e->attempts};
}

nexus_status nexus__bgroup_take(nexus__bgroup *g, bool remote, nexus__lease *out, size_t max, size_t *got,
                                int64_t *next_due_ns)
{
    int64_t now = nexus__mono_ns();
    *got = 0;
    pthread_mutex_lock(&g->lock);
    g->taken_ns = now;
    expire_locked(g, now);
    size_t room = g->inflight < g->config.max_inflight ? (size_t)(g->config.max_inflight - g->inflight) : 0;
    nexus_status status = room ? nexus__bgroup_load(g, max < room ? max : room) : NEXUS_OK;
    while (*got < max && *got < room && !nexus__list_empty(&g->ready)) {
        entry *e = NEXUS__CONTAINER(g->ready.next, entry, in_ready);
        if (e->attempts >= g->config.max_deliver) { /* used up before a restart */
            nexus__list_remove(&e->in_ready);
            nexus__bgroup_bury(g, e, NEXUS_S("every attempt ended without an answer"));
            continue;
        }
        lease_out(g, e, remote, &out[(*got)++], now);
    }
    *next_due_ns = g->timer_count ? g->timers[0]->due_ns : INT64_MAX;
    pthread_mutex_unlock(&g->lock);
    if (*got)
        nexus__broker_tick(g->broker, true, *next_due_ns); /* attempts are written at once: a crash counts */
    return *got ? NEXUS_OK : status;
}

nexus_status nexus__bgroup_fetch(nexus__bgroup *g, nexus__lease *out, size_t max, uint32_t wait_ms, size_t *got)
{
    int64_t until = nexus__mono_ns() + wait_ms * NEXUS__NS_PER_MS, due;
    for (;;) {
        pthread_mutex_lock(&g->wake_lock);
        uint64_t generation = g->generation;
        pthread_mutex_unlock(&g->wake_lock);
        nexus_status status = nexus__bgroup_take(g, false, out, max, got, &due);
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
