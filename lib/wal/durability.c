/*
 * When a write counts as done. ALWAYS: files are opened with O_DSYNC, so that it is on the disk when the call returns. The
 * weaker modes write to the system's memory and are acknowledged from there:
 *  - INTERVAL: a thread syncs half an interval after the first write that is not on the disk, and no write is acknowledged
 *    while an older one has waited for a whole interval: then the flush thread syncs by itself, and publishers wait;
 *  - OS: nobody syncs but who finishes a file, writes a checkpoint, or closes the log.
 *
 * A power cut may keep a later page and lose an earlier one. So each batch tells, as its write_start, from where on the
 * file was not on the disk when it was written: what is missing behind that place is a torn tail and no damage, and the
 * log is cut there to a clean prefix. A file is synced before the next one gets its name, so that only the last one can
 * have such a tail.
 */
#include <fcntl.h>
#include <stdio.h>

#include "base/status.h"
#include "base/thread.h"
#include "wal/internal.h"

bool nexus__wal_sync_is_due(int64_t oldest_ns, int64_t now_ns, int64_t interval_ns)
{
    return oldest_ns && now_ns - oldest_ns >= interval_ns;
}

void nexus__wal_durability_init(nexus__wal *wal, const nexus__wal_opts *o)
{
    wal->durability = o->durability;
    wal->sync_ns = (int64_t)(o->sync_ms ? o->sync_ms : NEXUS__WAL_SYNC_MS) * NEXUS__NS_PER_MS;
    pthread_mutex_init(&wal->unsynced.order, NULL);
    nexus__cond_init(&wal->unsynced.wake);
}

void nexus__wal_durability_end(nexus__wal *wal)
{
    pthread_mutex_destroy(&wal->unsynced.order);
    pthread_cond_destroy(&wal->unsynced.wake);
}

int nexus__wal_write_flags(const nexus__wal *wal)
{
    return wal->durability == NEXUS__WAL_ALWAYS ? O_RDWR | O_DSYNC : O_RDWR;
}

uint64_t nexus__wal_write_start(const nexus__wal *wal)
{
    return wal->durability == NEXUS__WAL_ALWAYS ? wal->write_at : atomic_load(&wal->unsynced.from);
}

uint32_t nexus__wal_durability(const nexus__wal *wal, uint32_t *sync_ms)
{
    uint32_t mode = wal->durability;
    if (!nexus__wal_is_durable(wal))
        mode = wal->engine && wal->engine_weaker ? wal->engine_weaker : NEXUS__WAL_NOWHERE;
    *sync_ms = mode == NEXUS__WAL_INTERVAL ? (uint32_t)(wal->sync_ns / NEXUS__NS_PER_MS) : 0;
    return mode;
}

/* Syncs the file up to end, which has been written; one at a time. */
static nexus_status sync_to(nexus__wal *wal, segment *s, uint64_t end)
{
    pthread_mutex_lock(&wal->lock);
    int64_t since = wal->unsynced.since;
    wal->unsynced.since = 0;
    wal->unsynced.under_way = since;
    pthread_mutex_unlock(&wal->lock);
    nexus_status status = nexus__wal_io_sync(wal, s->fd);
    pthread_mutex_lock(&wal->lock);
    wal->unsynced.under_way = 0;
    if (status != NEXUS_OK)
        wal->unsynced.since = since;
    else if (wal->active == s)
        atomic_store(&wal->unsynced.from, end);
    pthread_mutex_unlock(&wal->lock);
    return status;
}

nexus_status nexus__wal_sync(nexus__wal *wal)
{
    if (wal->durability == NEXUS__WAL_ALWAYS || !wal->dir || wal->engine)
        return NEXUS_OK;
    nexus_status status = NEXUS_OK;
    pthread_mutex_lock(&wal->unsynced.order);
    pthread_mutex_lock(&wal->lock);
    segment *s = wal->unsynced.since && wal->active ? nexus__wal_segment_ref(wal->active) : NULL;
    uint64_t end = s ? atomic_load(&s->end) : 0;
    pthread_mutex_unlock(&wal->lock);
    if (s)
        status = sync_to(wal, s, end);
    nexus__wal_segment_unref(s);
    pthread_mutex_unlock(&wal->unsynced.order);
    return status;
}

/* Notes that something is not on the disk. Whether an older write has waited too long. */
static bool note(nexus__wal *wal)
{
    int64_t now = nexus__clock_mono(wal->clock);
    pthread_mutex_lock(&wal->lock);
    int64_t oldest = wal->unsynced.under_way ? wal->unsynced.under_way : wal->unsynced.since;
    if (!wal->unsynced.since) {
        wal->unsynced.since = now;
        pthread_cond_signal(&wal->unsynced.wake);
    }
    pthread_mutex_unlock(&wal->lock);
    return wal->durability == NEXUS__WAL_INTERVAL && nexus__wal_sync_is_due(oldest, now, wal->sync_ns);
}

nexus_status nexus__wal_wrote(nexus__wal *wal, size_t n)
{
    if (!wal->dir || wal->engine)
        return NEXUS_OK;
    if (wal->durability == NEXUS__WAL_ALWAYS) /* a replaced world decides for itself what sync means */
        return wal->io && wal->io->fdatasync_fn ? nexus__wal_io_sync(wal, wal->active->fd) : NEXUS_OK;
    if (n == 0 || !note(wal))
        return NEXUS_OK;
    pthread_mutex_lock(&wal->unsynced.order);
    nexus_status status = sync_to(wal, wal->active, wal->write_at + n);
    pthread_mutex_unlock(&wal->unsynced.order);
    return status;
}

void *nexus__wal_sync_main(void *arg)
{
    nexus__wal *wal = arg;
    pthread_mutex_lock(&wal->lock);
    for (;;) {
        while (!wal->unsynced.since && !wal->closing)
            pthread_cond_wait(&wal->unsynced.wake, &wal->lock);
        int64_t until = nexus__mono_ns() + wal->sync_ns / 2;
        while (!wal->closing && nexus__cond_wait_until(&wal->unsynced.wake, &wal->lock, until))
            ;
        if (wal->closing)
            break;
        pthread_mutex_unlock(&wal->lock);
        if (nexus__wal_sync(wal) != NEXUS_OK)
            nexus__wal_poison(wal, nexus_error_message()); /* what was acknowledged since the last one may be lost */
        pthread_mutex_lock(&wal->lock);
        while (wal->poison != NEXUS_OK && !wal->closing) /* never a second sync behind one that failed */
            pthread_cond_wait(&wal->unsynced.wake, &wal->lock);
    }
    pthread_mutex_unlock(&wal->lock);
    return NULL;
}
