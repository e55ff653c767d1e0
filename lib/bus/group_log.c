/* What a group writes into the log, and what the log tells a new owner. */
#include <stdio.h>

#include "base/status.h"
#include "base/thread.h"
#include "bus/internal.h"

/* What one group gave to one batch. It is taken back when that is not written: a told ack is lost in a crash at most. */
struct nexus__drained {
    nexus__drained *next;
    nexus__bgroup *group;
    uint64_t seeks; /* of the group, when it was taken: what was settled before a seek says nothing after it */
    nexus__buf acks, leases, letters, gone, audits;
};

/* --- into a batch ---- */

static nexus_status add_record(nexus__bgroup *g, nexus__wal_batch *batch, uint16_t kind, nexus_slice bytes)
{
    nexus__wal_record r = {
        .kind = kind, .flags = NEXUS__WAL_INTERNAL, .meta = nexus__slice_c(g->name), .payload = bytes};
    return nexus__wal_batch_add(batch, &r);
}

static void move(nexus__buf *to, nexus__buf *from)
{
    *to = *from;
    nexus__buf_init(from, to->alloc, 0);
}

static void drain_one(nexus__bgroup *g, nexus__wal_batch *batch, uint16_t kind, nexus__buf *from, nexus__buf *to)
{
    if (from->len && add_record(g, batch, kind, nexus__buf_slice(from)) == NEXUS_OK)
        move(to, from);
}

/* The floor, and what is settled above it. */
static void drain_acks(nexus__bgroup *g, nexus__wal_batch *batch, nexus__buf *to)
{
    nexus__buf all;
    nexus__buf_init(&all, g->broker->alloc, 0);
    nexus__buf_append(&all, &g->floor, sizeof g->floor);
    for (size_t at = 0; at < g->acks.len; at += sizeof(uint64_t)) {
        uint64_t pos;
        memcpy(&pos, g->acks.p + at, sizeof pos);
        if (pos > g->floor)
            nexus__buf_append(&all, &pos, sizeof pos);
    }
    if (g->acks.len && all.status == NEXUS_OK && add_record(g, batch, KIND_ACK, nexus__buf_slice(&all)) == NEXUS_OK)
        move(to, &g->acks);
    nexus__buf_free(&all);
}

/* Attempts at what has been settled since are of no interest. The last one stays: it tells that something has matched. */
static void thin_leases(nexus__bgroup *g)
{
    size_t kept = 0;
    lease_record r;
    for (size_t at = 0; at < g->leases.len; at += sizeof r) {
        memcpy(&r, g->leases.p + at, sizeof r);
        bool passed = r.pos <= g->floor && !g->dead_by_pos.count;
        if (at + sizeof r < g->leases.len && (passed || !nexus__map_get(&g->by_pos, nexus__pos_key(&r.pos))))
            continue;
        memmove(g->leases.p + kept, g->leases.p + at, sizeof r);
        kept += sizeof r;
    }
    g->leases.len = kept;
}

/* A record each: their length in front. */
static void drain_letters(nexus__bgroup *g, nexus__wal_batch *batch, nexus__buf *to)
{
    uint32_t n;
    for (size_t at = 0; at < g->letters.len; at += sizeof n + n) {
        memcpy(&n, g->letters.p + at, sizeof n);
        if (add_record(g, batch, KIND_DEAD, nexus__slice(g->letters.p + at + sizeof n, n)) != NEXUS_OK)
            return; /* once more with the next batch, which is harmless */
    }
    move(to, &g->letters);
}

static nexus__drained *drained_new(nexus__bgroup *g)
{
    nexus__drained *d = nexus__calloc(g->broker->alloc, 1, sizeof *d);
    if (!d)
        return NULL;
    d->group = g;
    d->seeks = g->seeks;
    nexus__buf *const all[] = {&d->acks, &d->leases, &d->letters, &d->gone, &d->audits};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        nexus__buf_init(all[i], g->broker->alloc, 0);
    return d;
}

static void drain(nexus__bgroup *g, nexus__wal_batch *batch, nexus__drained **list)
{
    bool any = g->leases.len || g->letters.len || g->acks.len || g->gone.len || g->audits.len;
    nexus__drained *d = any ? drained_new(g) : NULL; /* without memory: the next time */
    if (d) {
        thin_leases(g);
        drain_one(g, batch, KIND_LEASE, &g->leases, &d->leases);
        drain_letters(g, batch, &d->letters); /* before the acks, which let their events go */
        drain_acks(g, batch, &d->acks);
        drain_one(g, batch, KIND_GONE, &g->gone, &d->gone);
        drain_one(g, batch, KIND_AUDIT, &g->audits, &d->audits);
        d->next = *list;
        *list = d;
    }
}

bool nexus__bgroup_drain(nexus__bgroup *g, nexus__wal_batch *batch, nexus__drained **list, bool wait)
{
    if (wait)
        pthread_mutex_lock(&g->lock);
    else if (pthread_mutex_trylock(&g->lock) != 0)
        return false;
    drain(g, batch, list);
    pthread_mutex_unlock(&g->lock);
    return true;
}

/* --- and back ---- */

/* In front of what has come since. */
static void put_back(nexus__buf *into, nexus__buf *older)
{
    nexus__buf_slice_append(older, nexus__buf_slice(into));
    if (older->status != NEXUS_OK)
        return; /* no memory: events come again */
    nexus__buf_free(into);
    move(into, older);
}

/* Frames of `size` bytes that begin with a position: those at or below the floor go, but for the last one. */
static void thin(const nexus__bgroup *g, nexus__buf *frames, size_t size)
{
    size_t kept = 0;
    for (size_t at = 0; at < frames->len; at += size) {
        uint64_t pos;
        memcpy(&pos, frames->p + at, sizeof pos);
        if (pos <= g->floor && at + size < frames->len)
            continue;
        memmove(frames->p + kept, frames->p + at, size);
        kept += size;
    }
    frames->len = kept;
}

static void take_back(nexus__drained *d)
{
    nexus__bgroup *g = d->group;
    pthread_mutex_lock(&g->lock);
    g->put_back++;
    if (d->seeks == g->seeks) {
        thin(g, &d->acks, sizeof(uint64_t));
        thin(g, &d->leases, sizeof(lease_record));
        put_back(&g->acks, &d->acks);
        put_back(&g->leases, &d->leases);
    }
    put_back(&g->letters, &d->letters);
    put_back(&g->gone, &d->gone);
    put_back(&g->audits, &d->audits);
    pthread_mutex_unlock(&g->lock);
}

void nexus__drained_end(nexus__drained *list, bool written)
{
    while (list) {
        nexus__drained *d = list;
        list = d->next;
        if (!written)
            take_back(d);
        nexus__buf *const all[] = {&d->acks, &d->leases, &d->letters, &d->gone, &d->audits};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
            nexus__buf_free(all[i]);
        nexus__free(d->group->broker->alloc, d);
    }
}

/* --- before something else ---- */

static void noted_done(nexus_status status, uint64_t first_pos, void *user_data)
{
    (void)first_pos;
    nexus__drained_end(user_data, status == NEXUS_OK);
}

nexus_status nexus__bgroup_lock_log(nexus__bgroup *g)
{
    nexus__wal_batch *batch;
    nexus__drained *list = NULL;
    nexus_status status = nexus__wal_batch_new(&batch, g->broker->wal, 256);
    if (status != NEXUS_OK)
        return status;
    pthread_mutex_lock(&g->broker->drain_lock);
    pthread_mutex_lock(&g->lock);
    drain(g, batch, &list);
    status = nexus__wal_submit(g->broker->wal, batch, noted_done, list, NULL, NULL);
    if (status == NEXUS_OK)
        return NEXUS_OK;
    pthread_mutex_unlock(&g->lock);
    nexus__drained_end(list, false);
    pthread_mutex_unlock(&g->broker->drain_lock);
    return status;
}

void nexus__bgroup_unlock_log(nexus__bgroup *g)
{
    pthread_mutex_unlock(&g->lock);
    pthread_mutex_unlock(&g->broker->drain_lock);
}

/* --- durable before it returns ---- */

typedef struct flushed {
    nexus__gate gate;
    nexus__drained *list;
    nexus_status status;
    char message[256];
} flushed;

static void flush_done(nexus_status status, uint64_t first_pos, void *user_data)
{
    flushed *f = user_data;
    (void)first_pos;
    f->status = status;
    snprintf(f->message, sizeof f->message, "%s", status == NEXUS_OK ? "" : nexus_error_message());
    nexus__drained_end(f->list, status == NEXUS_OK);
    nexus__gate_open(&f->gate);
}

static nexus_status flush(nexus__bgroup *g)
{
    flushed f = {0};
    nexus__wal_batch *batch;
    nexus_status status = nexus__wal_batch_new(&batch, g->broker->wal, 256);
    if (status != NEXUS_OK)
        return status;
    pthread_mutex_lock(&g->broker->drain_lock);
    (void)nexus__bgroup_drain(g, batch, &f.list, true);
    status = nexus__wal_submit(g->broker->wal, batch, flush_done, &f, NULL, NULL);
    if (status != NEXUS_OK)
        nexus__drained_end(f.list, false);
    pthread_mutex_unlock(&g->broker->drain_lock);
    if (status != NEXUS_OK)
        return status;
    nexus__gate_wait(&f.gate, INT64_MAX);
    return f.status == NEXUS_OK ? NEXUS_OK : nexus__fail(f.status, "%s", f.message);
}

static uint64_t times_put_back(nexus__bgroup *g)
{
    pthread_mutex_lock(&g->lock);
    uint64_t n = g->put_back;
    pthread_mutex_unlock(&g->lock);
    return n;
}

/* The log is written in order, so what was drained by others before is stored too, unless it came back meanwhile. */
nexus_status nexus__bgroup_sync(nexus__bgroup *g)
{
    for (;;) {
        uint64_t before = times_put_back(g);
        nexus_status status = flush(g);
        if (status == NEXUS_EAGAIN) { /* a full queue is waited out */
            status = nexus__wal_append(g->broker->wal, NULL, 0, NULL);
            if (status == NEXUS_OK)
                continue;
        }
        if (status != NEXUS_OK || times_put_back(g) == before)
            return status;
    }
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

/* Up to the first position that is not settled, which what was written last need not have known. */
static void raise_recovered_floor(nexus__bgroup *g)
{
    uint64_t top = g->resumed > g->floor ? g->resumed : g->floor, next;
    size_t cursor = 0;
    for (nexus__map_entry *e; (e = nexus__map_next(&g->known, &cursor));) {
        const known *k = e->value;
        if (!k->done && k->pos > g->floor && k->pos <= top)
            top = k->pos - 1;
    }
    for (const known *k; next = top + 1, (k = nexus__map_get(&g->known, nexus__pos_key(&next))) && k->done;)
        top = next;
    g->floor = g->loaded = top;
}

void nexus__bgroup_recovered(nexus__bgroup *g)
{
    raise_recovered_floor(g);
    nexus__bgroup_forget(g);
    g->wary = GROUP_WARY;
}
