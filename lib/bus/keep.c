/* The keeper: one thread that does in the background what keeps a bus small and quick to open. */
#include "base/status.h"
#include "base/thread.h"
#include "bus/compact.h"
#include "bus/internal.h"
#include "bus/state.h"

#define LOOK_NS (30 * NEXUS__NS_PER_S)  /* it looks by itself so often */
#define LOW_NS (250 * NEXUS__NS_PER_MS) /* and so often while the disk is nearly full */
#define WATCH_BYTES (8u << 20)          /* of the log between two looks at the disk */
#define IDLE_SHARE 64                   /* of the bytes between two checkpoints: less than that is not worth one */

/* A big state is written less often: at most a quarter more bytes than the log has. */
static uint64_t interval(const nexus__broker *b)
{
    uint64_t bytes = b->checkpoint_bytes, big = b->keep.bytes * 4;
    return big > bytes ? big : bytes;
}

static void file_finished(nexus__broker *b, uint64_t finished)
{
    b->keep.finished = finished;
    pthread_mutex_lock(&b->keep.lock);
    b->keep.unindexed = true;
    pthread_cond_signal(&b->keep.wake);
    pthread_mutex_unlock(&b->keep.lock);
}

void nexus__keeper_grew(nexus__broker *b)
{
    uint64_t finished = nexus__wal_finished(b->wal);
    if (finished != b->keep.finished)
        file_finished(b, finished);
    if (nexus__wal_written(b->wal) < atomic_load_explicit(&b->keep.due_written, memory_order_relaxed))
        return;
    atomic_store(&b->keep.due_written, UINT64_MAX); /* asked once; the keeper says when again */
    nexus__keeper_look(b);
}

static void checkpoint(nexus__broker *b, uint64_t least)
{
    uint64_t written = nexus__wal_written(b->wal);
    if (written - b->keep.saved_written < least)
        return;
    if (nexus__state_write(b) != NEXUS_OK)
        return; /* the one before still counts; opening takes a little longer */
    b->keep.saved_written = written;
}

/* Groups that are at the end of a file have not passed it before something follows; makers are shut out, so that a new
 * group begins before or behind what goes. */
static nexus_status drop(nexus__broker *b, const nexus__wal_file *files, size_t n)
{
    size_t wish = nexus__retention_count(&b->retention, files, n, nexus__state_needs(b), UINT64_MAX, nexus__real_ns());
    nexus_status status = NEXUS_OK;
    bool lasts = nexus__wal_lasts(b->wal);
    /* What goes must be in both checkpoints. */
    for (int i = 0; i < 2 && wish && lasts && status == NEXUS_OK; i++)
        if (nexus__state_saved(b) < files[wish - 1].end_seq)
            status = nexus__state_write(b);
    if (status != NEXUS_OK)
        return status;
    pthread_mutex_lock(&b->open_lock);
    size_t count = nexus__retention_count(&b->retention, files, n, nexus__state_needs(b),
                                          lasts ? nexus__state_saved(b) : UINT64_MAX, nexus__real_ns());
    if (count)
        status = nexus__wal_drop_to(b->wal, files[count - 1].generation);
    pthread_mutex_unlock(&b->open_lock);
    return status;
}

static void retain(nexus__broker *b)
{
    nexus__wal_file *files;
    size_t n;
    if ((!b->retention.max_bytes && !b->retention.max_age_ns) || b->read_only)
        return;
    if (nexus__wal_files(b->wal, &files, &n) != NEXUS_OK)
        return;
    nexus_status status = NEXUS_OK;
    if (n && nexus__retention_ends_last(&b->retention, &files[n - 1], nexus__real_ns())) {
        nexus__free(b->alloc, files);
        status = nexus__wal_seal_active(b->wal);
        if (status != NEXUS_OK || nexus__wal_files(b->wal, &files, &n) != NEXUS_OK)
            return;
    }
    if (drop(b, files, n) != NEXUS_OK)
        atomic_fetch_add(&b->keep.failed, 1); /* they go next time */
    nexus__free(b->alloc, files);
}

/* How much of the log until it looks again: a bounded log does not grow far over its bound. */
static uint64_t step(const nexus__broker *b)
{
    uint64_t bytes = interval(b), bounded = b->retention.max_bytes / 8;
    bytes = bytes < WATCH_BYTES ? bytes : WATCH_BYTES;
    return bounded && bounded < bytes ? bounded : bytes;
}

static bool real_space(nexus__broker *b, uint64_t *left, uint64_t *all)
{
    return nexus__wal_space(b->wal, left, all);
}

static void watch_disk(nexus__broker *b)
{
    uint64_t left, all;
    bool low =
        b->watermark != UINT64_MAX && b->keep.space(b, &left, &all) && nexus__disk_is_low(left, all, b->watermark);
    atomic_store(&b->disk_low, low);
}

static void look(nexus__broker *b, bool by_time)
{
    retain(b);
    if (nexus__wal_lasts(b->wal))
        checkpoint(b, by_time ? b->checkpoint_bytes / IDLE_SHARE : interval(b));
    atomic_store(&b->keep.due_written, nexus__wal_written(b->wal) + step(b));
}

/* One file, then a rest of ten times as long: publishers have the processor. When to go on; INT64_MAX: when something
 * has been written. */
static int64_t index_one(nexus__broker *b)
{
    int64_t begun = nexus__mono_ns();
    if (b->read_only || !nexus__wal_index_one(b->wal, nexus__record_type))
        return INT64_MAX;
    int64_t now = nexus__mono_ns();
    return now + 10 * (now - begun);
}

static int64_t tidy(nexus__broker *b)
{
    int64_t compaction_due = nexus__compaction_round(b), index_due = index_one(b);
    return compaction_due < index_due ? compaction_due : index_due;
}

static void *keeper_main(void *arg)
{
    nexus__broker *b = arg;
    int64_t tidy_due = 0, look_due = nexus__mono_ns() + (atomic_load(&b->disk_low) ? LOW_NS : LOOK_NS);
    pthread_mutex_lock(&b->keep.lock);
    while (!b->keep.stop) {
        int64_t until = tidy_due < look_due ? tidy_due : look_due;
        while (!b->keep.stop && !b->keep.asked && !(b->keep.unindexed && tidy_due == INT64_MAX) &&
               nexus__cond_wait_until(&b->keep.wake, &b->keep.lock, until))
            ;
        bool asked = b->keep.asked, by_time = !asked && nexus__mono_ns() >= look_due;
        b->keep.asked = b->keep.unindexed = false;
        if (b->keep.stop)
            break;
        pthread_mutex_unlock(&b->keep.lock);
        pthread_mutex_lock(&b->keep.work);
        bool low = atomic_load(&b->disk_low);
        if (asked || by_time) {
            watch_disk(b);
            if (!low || !by_time)
                look(b, by_time);
            look_due = nexus__mono_ns() + (atomic_load(&b->disk_low) ? LOW_NS : LOOK_NS);
        }
        if (!low && (tidy_due == INT64_MAX || nexus__mono_ns() >= tidy_due))
            tidy_due = tidy(b);
        pthread_mutex_unlock(&b->keep.work);
        pthread_mutex_lock(&b->keep.lock);
    }
    pthread_mutex_unlock(&b->keep.lock);
    return NULL;
}

void nexus__keeper_look(nexus__broker *b)
{
    pthread_mutex_lock(&b->keep.lock);
    b->keep.asked = true;
    pthread_cond_signal(&b->keep.wake);
    pthread_mutex_unlock(&b->keep.lock);
}

nexus_status nexus__keeper_start(nexus__broker *b)
{
    /* What owners before did not live to save counts too, or a bus that crashes again and again opens ever more slowly. */
    b->keep.saved_written = 0 - b->keep.behind;
    atomic_store(&b->keep.due_written, b->keep.behind < interval(b) ? step(b) : 0);
    b->keep.space = real_space;
    watch_disk(b);
    nexus_status status = nexus__thread_start(&b->keep.thread, "nexus-bus-keep", keeper_main, b);
    b->keep.started = status == NEXUS_OK;
    return status;
}

void nexus__keeper_stop(nexus__broker *b)
{
    if (!b->keep.started)
        return;
    pthread_mutex_lock(&b->keep.lock);
    b->keep.stop = true;
    pthread_cond_signal(&b->keep.wake);
    pthread_mutex_unlock(&b->keep.lock);
    pthread_join(b->keep.thread, NULL);
    b->keep.started = false;
    if (nexus__wal_lasts(b->wal))
        checkpoint(b, b->checkpoint_bytes / IDLE_SHARE);
}
