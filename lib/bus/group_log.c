/* What a group writes into the log, and what the log tells a new owner. */
#include "base/status.h"
#include "bus/internal.h"

static void add_record(nexus__bgroup *g, nexus__wal_batch *batch, uint16_t kind, nexus__buf *bytes)
{
    nexus__wal_record r = {
        .kind = kind, .flags = NEXUS__WAL_INTERNAL, .meta = nexus__slice_c(g->name), .payload = nexus__buf_slice(bytes)};
    if (nexus__wal_batch_add(batch, &r) == NEXUS_OK)
        nexus__buf_clear(bytes);
}

bool nexus__bgroup_drain(nexus__bgroup *g, nexus__wal_batch *batch)
{
    pthread_mutex_lock(&g->lock);
    bool acks = g->acks.len > 0, leases = g->leases.len > 0;
    if (leases)
        add_record(g, batch, KIND_LEASE, &g->leases);
    if (acks) {
        nexus__buf all;
        nexus__buf_init(&all, g->broker->alloc, 0);
        nexus__buf_append(&all, &g->floor, sizeof g->floor);
        for (size_t at = 0; at < g->acks.len; at += sizeof(uint64_t)) {
            uint64_t pos;
            memcpy(&pos, g->acks.p + at, sizeof pos);
            if (pos > g->floor)
                nexus__buf_append(&all, &pos, sizeof pos);
        }
        if (all.status == NEXUS_OK) {
            add_record(g, batch, KIND_ACK, &all);
            nexus__buf_clear(&g->acks);
            g->written_floor = g->floor;
        }
        nexus__buf_free(&all);
    }
    bool gone = g->gone.len > 0, audits = g->audits.len > 0;
    if (gone)
        add_record(g, batch, KIND_GONE, &g->gone);
    if (audits)
        add_record(g, batch, KIND_AUDIT, &g->audits);
    pthread_mutex_unlock(&g->lock);
    return acks || leases || gone || audits;
}

nexus_status nexus__bgroup_sync(nexus__bgroup *g)
{
    nexus__wal_batch *batch;
    nexus_status status = nexus__wal_batch_new(&batch, g->broker->wal, 256);
    if (status != NEXUS_OK)
        return status;
    pthread_mutex_lock(&g->broker->drain_lock);
    nexus__bgroup_drain(g, batch);
    status = nexus__wal_submit(g->broker->wal, batch, NULL, NULL, NULL, NULL);
    pthread_mutex_unlock(&g->broker->drain_lock);
    return status == NEXUS_OK ? nexus__wal_append(g->broker->wal, NULL, 0, NULL) : status;
}

/* --- what is known from before ---- */

known *nexus__bgroup_know(nexus__bgroup *g, uint64_t pos)
{
    known *k = nexus__map_get(&g->known, nexus__pos_key(&pos));
    if (k)
        return k;
    k = nexus__calloc(g->broker->alloc, 1, sizeof *k);
    if (!k)
        return NULL;
    k->pos = pos;
    if (nexus__map_put(&g->known, nexus__pos_key(&k->pos), k, NULL) == NEXUS_OK)
        return k;
    nexus__free(g->broker->alloc, k);
    return NULL;
}

void nexus__bgroup_forget(nexus__bgroup *g)
{
    nexus__map kept;
    nexus__map_init(&kept, g->broker->alloc);
    size_t cursor = 0;
    for (nexus__map_entry *e; (e = nexus__map_next(&g->known, &cursor));) {
        known *k = e->value;
        if (k->pos <= g->floor || nexus__map_put(&kept, nexus__pos_key(&k->pos), k, NULL) != NEXUS_OK)
            nexus__free(g->broker->alloc, k);
    }
    nexus__map_free(&g->known);
    g->known = kept;
}
