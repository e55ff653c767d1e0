/*
 * How far behind a group is, exactly. Without a filter that is arithmetic on positions. With one, a reader of its own counts
 * the matching events behind `loaded` as the log grows, each once: what is loaded meanwhile is taken off (group_load.c). What
 * retention dropped is not counted; when it drops some that were, all are counted again.
 */
#include "base/status.h"
#include "bus/internal.h"

enum { CHUNK = 4096 };

static bool filters(const nexus__bgroup *g)
{
    return g->filter.types.n || g->filter.subject_prefix.n || g->filter.source.n || g->filter.tags.n;
}

/* Up to where there is nothing to count: loaded, or not there any more. */
static uint64_t passed(const nexus__bgroup *g)
{
    uint64_t first = nexus__wal_first(g->broker->wal);
    return first > g->loaded + 1 ? first - 1 : g->loaded;
}

void nexus__bgroup_lag_reset(nexus__bgroup *g)
{
    nexus__wal_reader_close(g->counter);
    g->counter = NULL;
    g->counted = g->counted_from = passed(g);
    g->ahead = 0;
}

static bool done_before(const nexus__bgroup *g, uint64_t pos)
{
    const known *k = g->known.count ? nexus__map_get(&g->known, nexus__pos_key(&pos)) : NULL;
    return k ? k->done : pos <= g->resumed;
}

/* One chunk, read with the lock held: as a fetch does. False at the end of the log. */
static bool count_some(nexus__bgroup *g)
{
    nexus_status status = NEXUS_OK;
    if (g->counted < g->loaded || passed(g) > (g->loaded > g->counted_from ? g->loaded : g->counted_from))
        nexus__bgroup_lag_reset(g);
    if (!g->counter)
        status = nexus__wal_reader_open(&g->counter, g->broker->wal, g->counted + 1);
    if (status == NEXUS_EMISSING) {
        g->counted = nexus__wal_first(g->broker->wal) - 1;
        status = nexus__wal_reader_open(&g->counter, g->broker->wal, g->counted + 1);
    }
    for (int i = 0; i < CHUNK && status == NEXUS_OK; i++) {
        nexus__wal_record r;
        nexus__event_view view;
        status = nexus__wal_reader_next(g->counter, &r);
        if (status == NEXUS_ECORRUPT || status == NEXUS_EMISSING)
            status = NEXUS_OK;
        else if (status == NEXUS_OK && r.kind == KIND_EVENT && !(r.flags & NEXUS__WAL_INTERNAL)) {
            g->ahead += !done_before(g, r.pos) && nexus__event_decode(&view, r.meta, r.payload) == NEXUS_OK &&
                        nexus__filter_match(&g->filter, &view.event);
            g->counted = r.pos;
        }
    }
    return status == NEXUS_OK;
}

/* What an earlier owner settled above `from`: it is passed over when it is loaded. */
static uint64_t settled_above(const nexus__bgroup *g, uint64_t from)
{
    uint64_t n = g->resumed > from ? g->resumed - from : 0;
    size_t cursor = 0;
    for (nexus__map_entry *e; g->known.count && (e = nexus__map_next(&g->known, &cursor));) {
        const known *k = e->value;
        if (k->pos > from && k->pos > g->resumed)
            n += k->done;
        else if (k->pos > from)
            n -= !k->done;
    }
    return n;
}

void nexus__bgroup_lag(nexus__bgroup *g, uint64_t *events, int64_t *oldest_recv_ns)
{
    pthread_mutex_lock(&g->lock);
    nexus_status status = NEXUS_OK;
    if (nexus__list_empty(&g->window)) /* so that the age of the oldest is known */
        status = nexus__bgroup_load(g, NULL, 1);
    (void)status; /* what the log cannot read is not counted */
    while (filters(g) && count_some(g)) { /* a chunk at a time: members go on meanwhile */
        pthread_mutex_unlock(&g->lock);
        pthread_mutex_lock(&g->lock);
    }
    uint64_t head = nexus__wal_durable(g->broker->wal), from = passed(g), behind = 0;
    if (!filters(g) && head > from)
        behind = head - from - settled_above(g, from);
    const entry *oldest = nexus__list_empty(&g->window) ? NULL : NEXUS__CONTAINER(g->window.next, entry, in_window);
    *events = g->by_pos.count - g->inflight + (filters(g) ? g->ahead : behind);
    *oldest_recv_ns = oldest ? oldest->stored->view.event.recv_ns : 0;
    pthread_mutex_unlock(&g->lock);
}
