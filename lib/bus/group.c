/*
 * A group: which events are handed to whom, and what became of them.
 *
 * Vocabulary. The floor: everything at or below it is settled. The window: matching events above it that are loaded
 * and not settled, at most GROUP_WINDOW, in log order. A lane: the events of one key in the window; only its first is
 * ready, leased or delayed, so a key keeps its order through retries, and a failing key holds up nobody else (until
 * its own backlog fills the window).
 *
 * States of an entry: waiting (behind another of its lane) -> ready -> leased -> settled (leaves the window), or from
 * leased back: delayed (nak) or ready (lease over), until max_deliver is used up and it becomes a dead letter. The
 * lease token makes a late ack harmless.
 *
 * A dead letter that is handed out again (dead.c) has an entry too, in its lane but not in the window: the floor has
 * passed it and stays where it is.
 *
 * Durable are: the configuration, settled positions, attempts, dead letters with copies; all but the first lazily.
 */
#include "base/id.h"
#include "base/status.h"
#include "base/thread.h"
#include "bus/internal.h"

#define PRESENT_NS (5 * NEXUS__NS_PER_S) /* a member that has not asked for so long is not counted */

void nexus__bgroup_stats(nexus__bgroup *g, nexus_group_stats *s)
{
    uint64_t lag;
    int64_t oldest;
    nexus__bgroup_lag(g, &lag, &oldest);
    uint64_t head = nexus__wal_durable(g->broker->wal);
    pthread_mutex_lock(&g->lock);
    int64_t now = nexus__mono_ns();
    *s = (nexus_group_stats){.size = s->size,
                             .floor = g->floor,
                             .head = head,
                             .inflight = g->inflight,
                             .delayed = g->timer_count - g->inflight,
                             .delivered = g->delivered,
                             .acked = g->acked,
                             .redelivered = g->redelivered,
                             .dead = g->dead_count,
                             .lag = lag,
                             .inflight_bytes = g->inflight_bytes,
                             .paused = g->paused,
                             .breaker_open = nexus__breaker_state(&g->breaker, now) == NEXUS_BREAKER_OPEN};
    if (oldest)
        s->lag_ms = (nexus__real_ns() - oldest) / NEXUS__NS_PER_MS;
    for (nexus__list *n = g->members.next; n != &g->members; n = n->next)
        s->members += now - NEXUS__CONTAINER(n, nexus__member, node)->asked_ns < PRESENT_NS;
    pthread_mutex_unlock(&g->lock);
}

const nexus__group_config *nexus__bgroup_config(const nexus__bgroup *g)
{
    return &g->config;
}

/* --- making and ending ---- */

static nexus_status add_to_broker(nexus__broker *b, nexus__bgroup *g)
{
    nexus__bgroup **grown = nexus__realloc(b->alloc, b->group_list, (b->group_count + 1) * sizeof *grown);
    if (!grown)
        return nexus__nomem();
    b->group_list = grown;
    nexus_status status = nexus__map_put(&b->groups, nexus__slice_c(g->name), g, NULL);
    if (status == NEXUS_OK)
        b->group_list[b->group_count++] = g;
    return status;
}

void nexus__bgroup_use_config(nexus__bgroup *g)
{
    g->filter = nexus__group_config_filter(&g->config);
    nexus__bgroup_lag_reset(g);
}

/* Called with groups_lock held, or in recovery. */
nexus_status nexus__bgroup_new(nexus__broker *b, nexus_slice name, nexus_slice config, nexus__bgroup **out)
{
    nexus__bgroup *g = nexus__calloc(b->alloc, 1, sizeof *g);
    if (!g)
        return nexus__nomem();
    g->broker = b;
    pthread_mutex_init(&g->lock, NULL);
    pthread_mutex_init(&g->wake_lock, NULL);
    nexus__cond_init(&g->wake);
    nexus__list_init(&g->window);
    nexus__queue_init(&g->ready);
    nexus__list_init(&g->members);
    nexus__list_init(&g->audit);
    nexus__list_init(&g->dead);
    nexus__list_init(&g->watchers);
    nexus__map_init(&g->by_pos, b->alloc);
    nexus__map_init(&g->lanes, b->alloc);
    nexus__map_init(&g->known, b->alloc);
    nexus__map_init(&g->parked, b->alloc);
    nexus__map_init(&g->dead_by_pos, b->alloc);
    nexus__buf_init(&g->gone, b->alloc, 0);
    nexus__buf_init(&g->acks, b->alloc, 0);
    nexus__buf_init(&g->audits, b->alloc, 0);
    nexus__buf_init(&g->letters, b->alloc, 0);
    nexus__buf_init(&g->leases, b->alloc, 0);
    g->next_token = nexus__random_u64() >> 1; /* tokens of an earlier owner never fit */
    g->name = nexus__strndup(b->alloc, name);
    g->config_bytes = nexus__strndup(b->alloc, config);
    g->config_n = config.n;
    nexus_status status = g->name && g->config_bytes ? NEXUS_OK : nexus__nomem();
    if (status == NEXUS_OK && !nexus__group_config_decode(nexus__slice(g->config_bytes, config.n), &g->config))
        status = nexus__fail(NEXUS_ECORRUPT, "the configuration of group %s is not readable", g->name);
    if (status == NEXUS_OK)
        nexus__bgroup_use_config(g);
    if (status == NEXUS_OK)
        status = add_to_broker(b, g);
    if (status != NEXUS_OK) {
        nexus__bgroup_free(g);
        return status;
    }
    *out = g;
    return NEXUS_OK;
}

void nexus__bgroup_free(nexus__bgroup *g)
{
    if (!g)
        return;
    const nexus_alloc *alloc = g->broker->alloc;
    size_t cursor = 0;
    for (nexus__map_entry *e; (e = nexus__map_next(&g->by_pos, &cursor));)
        nexus__bgroup_entry_free(g, e->value);
    nexus__bgroup_free_dead(g);
    nexus__bgroup_free_audit(g);
    while (!nexus__list_empty(&g->members)) { /* whose handles were not closed first */
        nexus__member *m = NEXUS__CONTAINER(g->members.next, nexus__member, node);
        nexus__list_remove(&m->node);
        nexus__free(alloc, m);
    }
    cursor = 0;
    for (nexus__map_entry *e; (e = nexus__map_next(&g->lanes, &cursor));)
        nexus__free(alloc, e->value);
    cursor = 0;
    for (nexus__map_entry *e; (e = nexus__map_next(&g->known, &cursor));)
        nexus__free(alloc, e->value);
    nexus__map_free(&g->by_pos);
    nexus__map_free(&g->lanes);
    nexus__map_free(&g->known);
    nexus__map_free(&g->parked);
    nexus__wal_reader_close(g->reader);
    nexus__wal_reader_close(g->counter);
    nexus__buf_free(&g->acks);
    nexus__buf_free(&g->audits);
    nexus__buf_free(&g->letters);
    nexus__buf_free(&g->leases);
    nexus__buf_free(&g->gone);
    nexus__free(alloc, g->timers);
    nexus__free(alloc, g->name);
    nexus__free(alloc, g->config_bytes);
    pthread_mutex_destroy(&g->lock);
    pthread_mutex_destroy(&g->wake_lock);
    pthread_cond_destroy(&g->wake);
    nexus__free(alloc, g);
}
