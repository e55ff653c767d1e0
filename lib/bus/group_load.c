/* From the log into the window, and by the by-way of a dead letter that comes back. */
#include "base/status.h"
#include "bus/internal.h"

enum { CLASS_AHEAD = 512 };
#define TAKEOVER_GRACE_MS 1000u /* for holders of leases to find the new owner */

void nexus__bgroup_raise_floor(nexus__bgroup *g)
{
    g->floor = nexus__list_empty(&g->window) ? g->loaded : NEXUS__CONTAINER(g->window.next, entry, in_window)->pos - 1;
}

void nexus__bgroup_entry_free(nexus__bgroup *g, entry *e)
{
    nexus__bgroup_timer_stop(g, e);
    nexus__stored_unref(g->broker->alloc, e->stored);
    nexus__free(g->broker->alloc, e->reason);
    nexus__free(g->broker->alloc, e);
}

nexus_status nexus__bgroup_admit(nexus__bgroup *g, nexus__stored *stored, const known *k)
{
    entry *e = nexus__calloc(g->broker->alloc, 1, sizeof *e);
    nexus_slice key = nexus__bgroup_lane_key(g, &stored->view.event);
    lane *l = e && key.n ? nexus__bgroup_lane(g, key) : NULL;
    if (!e || (key.n && !l) || nexus__bgroup_timer_reserve(g) != NEXUS_OK) {
        nexus__free(g->broker->alloc, e);
        return nexus__nomem();
    }
    e->pos = stored->pos;
    e->stored = stored;
    e->lane = l;
    e->attempts = k ? k->attempts : 0;
    e->remote = k && k->remote;
    nexus__list_init(&e->in_ready);
    nexus__list_init(&e->in_lane);
    if (nexus__map_put(&g->by_pos, nexus__pos_key(&e->pos), e, NULL) != NEXUS_OK) {
        nexus__free(g->broker->alloc, e);
        return nexus__nomem();
    }
    e->class = nexus__bgroup_class(g, &stored->view.event);
    g->matched = true;
    bool first = !l || nexus__list_empty(&l->entries);
    nexus__list_push(&g->window, &e->in_window);
    g->window_count++;
    if (l)
        nexus__list_push(&l->entries, &e->in_lane);
    if (first && k && k->remote && k->attempts) {
        /* Another process held it when the former owner died. If it is still at work it renews its lease as soon as it
         * has found us; a lease that was given in the owner's last words never arrived, and is not waited for. */
        uint32_t grace_ms = g->config.ack_wait_ms < TAKEOVER_GRACE_MS ? g->config.ack_wait_ms : TAKEOVER_GRACE_MS;
        e->state = ENTRY_LEASED;
        e->token = k->token;
        e->from_ns = nexus__mono_ns() + g->config.max_lease_ms * NEXUS__NS_PER_MS;
        g->inflight++;
        g->inflight_bytes += stored->view.event.data.n;
        nexus__bgroup_timer_start(g, e, nexus__mono_ns() + grace_ms * NEXUS__NS_PER_MS);
    } else if (first) {
        nexus__bgroup_ready(g, e);
    }
    return NEXUS_OK;
}

static nexus_status consider(nexus__bgroup *g, const nexus__wal_record *r)
{
    nexus__event_view view;
    known *k = g->known.count ? nexus__map_remove(&g->known, nexus__pos_key(&r->pos)) : NULL, kept = {0};
    bool settled = !k && r->pos <= g->resumed;
    if (k)
        kept = *k;
    nexus__free(g->broker->alloc, k);
    if (r->flags & NEXUS__WAL_COMPACTED)
        return NEXUS_OK;
    bool back = g->dead_count < g->dead_by_pos.count && nexus__map_get(&g->by_pos, nexus__pos_key(&r->pos));
    if (settled || kept.done || back || nexus__event_decode(&view, r->meta, r->payload) != NEXUS_OK ||
        !nexus__filter_match(&g->filter, &view.event))
        return NEXUS_OK;
    nexus_status status;
    nexus__stored *stored = nexus__stored_new(g->broker->alloc, r->meta, r->payload, &status);
    if (!stored)
        return status;
    stored->pos = stored->view.event.pos = r->pos;
    stored->view.event.version = r->version;
    stored->view.event.recv_ns = r->recv_ns;
    status = nexus__bgroup_admit(g, stored, &kept);
    if (status != NEXUS_OK) {
        nexus__stored_unref(g->broker->alloc, stored);
        return status;
    }
    if (g->ahead && r->pos <= g->counted)
        g->ahead--;
    if (g->parked.count)
        nexus__bgroup_park_behind(g, nexus__bgroup_lane_key(g, &stored->view.event));
    return NEXUS_OK;
}

/* Where there are classes, some more are looked at, so that a high one behind low ones is seen. */
static size_t look_ahead(const nexus__bgroup *g, size_t wanted)
{
    bool classes = g->config.high_types.n || g->config.low_types.n;
    return classes && wanted < CLASS_AHEAD ? CLASS_AHEAD : wanted;
}

nexus_status nexus__bgroup_load(nexus__bgroup *g, const nexus__member *member, size_t wanted)
{
    nexus_status status = NEXUS_OK;
    wanted = look_ahead(g, wanted);
    if (nexus__bgroup_ready_for(g, member) >= wanted)
        return NEXUS_OK;
    if (!g->reader)
        status = nexus__wal_reader_open(&g->reader, g->broker->wal, g->loaded + 1);
    if (status == NEXUS_EMISSING) /* dropped by retention: what is left */
        status = nexus__wal_reader_open(&g->reader, g->broker->wal, nexus__wal_first(g->broker->wal));
    if (status == NEXUS_OK)
        nexus__wal_reader_show_compacted(g->reader); /* positions that are not there at all were lost */
    while (status == NEXUS_OK && nexus__bgroup_ready_for(g, member) < wanted && g->window_count < GROUP_WINDOW) {
        nexus__wal_record r;
        status = nexus__wal_reader_next(g->reader, &r);
        if (status == NEXUS_ECORRUPT || status == NEXUS_EMISSING) { /* shows by the next one that is there */
            status = NEXUS_OK;
            continue;
        }
        if (status != NEXUS_OK || r.kind != KIND_EVENT || (r.flags & NEXUS__WAL_INTERNAL))
            continue;
        bool gap = r.pos > g->loaded + 1; /* positions have no gaps, so what is not there was lost */
        if (gap)
            status = nexus__bgroup_gap(g, g->loaded + 1, r.pos - 1, r.recv_ns);
        if (status != NEXUS_OK)
            break;
        g->loaded = r.pos - 1;
        if (gap && g->counted_from < g->loaded) /* some of them may have been counted */
            nexus__bgroup_lag_reset(g);
        uint64_t before = g->loaded;
        g->loaded = r.pos; /* what is parked at once must not leave a floor in front of it */
        status = consider(g, &r);
        if (status != NEXUS_OK)
            g->loaded = before;
    }
    if (status != NEXUS_OK && status != NEXUS_EDONE) { /* begin again at the same place */
        nexus__wal_reader_close(g->reader);
        g->reader = NULL;
    }
    nexus__bgroup_raise_floor(g);
    return status == NEXUS_EDONE ? NEXUS_OK : status;
}

nexus_status nexus__bgroup_readmit(nexus__bgroup *g, nexus__stored *stored, uint32_t attempts)
{
    nexus_slice key = nexus__bgroup_lane_key(g, &stored->view.event);
    entry *e = nexus__calloc(g->broker->alloc, 1, sizeof *e);
    lane *l = e && key.n ? nexus__bgroup_lane(g, key) : NULL;
    if (!e || (key.n && !l) || nexus__bgroup_timer_reserve(g) != NEXUS_OK) {
        nexus__free(g->broker->alloc, e);
        return nexus__nomem();
    }
    *e = (entry){.pos = stored->pos,
                 .stored = stored,
                 .lane = l,
                 .attempts = attempts,
                 .back = true,
                 .class = nexus__bgroup_class(g, &stored->view.event)};
    nexus__list_init(&e->in_ready);
    nexus__list_init(&e->in_lane);
    nexus__list_init(&e->in_window);
    if (nexus__map_put(&g->by_pos, nexus__pos_key(&e->pos), e, NULL) != NEXUS_OK) {
        nexus__free(g->broker->alloc, e);
        return nexus__nomem();
    }
    if (l)
        nexus__bgroup_enter_lane(g, l, e);
    else
        nexus__bgroup_ready(g, e);
    return NEXUS_OK;
}

void nexus__bgroup_unload(nexus__bgroup *g, uint64_t floor)
{
    while (!nexus__list_empty(&g->window)) {
        entry *e = NEXUS__CONTAINER(g->window.next, entry, in_window);
        nexus__bgroup_release(g, e, NEXUS_BREAKER_IGNORED);
        nexus__bgroup_unready(e);
        nexus__list_remove(&e->in_window);
        nexus__map_remove(&g->by_pos, nexus__pos_key(&e->pos));
        nexus__bgroup_leave_lane(g, e);
        nexus__bgroup_entry_free(g, e);
    }
    g->window_count = 0;
    nexus__wal_reader_close(g->reader);
    g->reader = NULL;
    g->floor = g->loaded = floor;
    g->resumed = 0;
    nexus__buf_clear(&g->acks);
    nexus__buf_clear(&g->leases);
    g->seeks++;
    size_t cursor = 0;
    for (nexus__map_entry *e; (e = nexus__map_next(&g->known, &cursor));)
        nexus__free(g->broker->alloc, e->value);
    nexus__map_free(&g->known);
    nexus__map_init(&g->known, g->broker->alloc);
    nexus__bgroup_lag_reset(g);
}
