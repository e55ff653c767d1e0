/*
 * Who writes. One thread at a time leads: it takes a run of what has queued up, writes it with one durable call, tells
 * the submitters, and goes on with the next run. While a run is on its way to the device the next one gathers: commits
 * per second are bound by the device, batches per commit by the callers.
 *
 * The flush thread leads whenever something is queued and nobody else does. A caller that is going to wait for its batch
 * may lead instead (nexus__wal_lead): then no thread wakes another, twice a batch, and what is written is still in the
 * cache of the processor that encoded it. It does so until what was queued when it began is written, and leaves the rest
 * to the flush thread; so each run is taken from the head of the one queue, and nobody is overtaken or kept for long.
 *
 * Failures: no space is definite (nothing stored, positions are taken back, later publishes may succeed), and so is a file
 * system that turned read-only before it took anything. Any other failed write poisons the log, since after a failed sync
 * nobody knows what the device holds: what was on its way is reported as unknown, nothing is written any more, and opening
 * again verifies the tail.
 */
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/status.h"
#include "wal/internal.h"

#define GATHER_MAX (8u << 20)

void nexus__wal_poison(nexus__wal *wal, const char *why)
{
    char text[sizeof wal->poison_text];
    snprintf(text, sizeof text, "the log takes no more writes until it is opened again: %.200s", why);
    pthread_mutex_lock(&wal->lock);
    if (wal->poison == NEXUS_OK) {
        wal->poison = NEXUS_EROFS;
        memcpy(wal->poison_text, text, sizeof text);
    }
    pthread_mutex_unlock(&wal->lock);
    if (wal->engine)
        nexus__wal_tell_lost(wal);
}

/* --- one run ---- */

/* Seals its batches and lays them side by side; a lone batch is written from where it stands. */
static nexus_slice gather(nexus__wal *wal, nexus__wal_batch *run)
{
    nexus__buf_clear(&wal->gather);
    for (nexus__wal_batch *b = run; b; b = b->next) {
        if (!b->count)
            continue;
        nexus__wal_batch_head head = {.count = b->count,
                                      .generation = wal->engine ? ENGINE_GENERATION : wal->active->generation,
                                      .seq = wal->next_seq++,
                                      .first_pos = b->first_pos,
                                      .recv_ns = b->recv_ns,
                                      .write_start = nexus__wal_write_start(wal),
                                      .data_count = b->data_count};
        nexus__wal_batch_seal(b->bytes.p, b->bytes.len, &head, wal->seed);
        if (!run->next)
            return nexus__buf_slice(&b->bytes);
        nexus__buf_slice_append(&wal->gather, nexus__buf_slice(&b->bytes));
    }
    return nexus__buf_slice(&wal->gather);
}

/* No space in the middle of a write (a file that was not pre-written): what got there is wiped, so that a crash does
 * not bring back what was reported as not stored. */
static nexus_status undo(nexus__wal *wal, size_t n)
{
    static const char zeros[1 << 16];
    for (size_t done = 0; done < n; done += sizeof zeros) {
        size_t some = n - done < sizeof zeros ? n - done : sizeof zeros;
        nexus_status status = nexus__wal_io_write(wal, wal->active->fd, zeros, some, wal->write_at + done);
        if (status != NEXUS_OK)
            return status;
    }
    return NEXUS_OK;
}

/* A file system that turned read-only refuses before it takes anything, or after: the beginning of the write tells. */
static bool untouched(const nexus__wal *wal, nexus_slice bytes)
{
    char found[BATCH_HEAD_BYTES];
    return pread(wal->active->fd, found, sizeof found, (off_t)wal->write_at) == sizeof found &&
           memcmp(found, bytes.p, sizeof found) != 0;
}

/* Whether the files are as if the write had never been asked for. */
static bool not_done(nexus__wal *wal, nexus_status status, nexus_slice bytes)
{
    return (status == NEXUS_ENOSPC && undo(wal, bytes.n) == NEXUS_OK) ||
           (status == NEXUS_EROFS && untouched(wal, bytes));
}

/* What an engine says when nothing was stored. */
static bool is_definite(nexus_status status)
{
    return status == NEXUS_ENOSPC || status == NEXUS_EROFS || status == NEXUS_EAGAIN || status == NEXUS_ETIMEDOUT ||
           status == NEXUS_EUNREACH;
}

static nexus_status write_run(nexus__wal *wal, nexus__wal_batch *run)
{
    uint64_t seq = wal->next_seq;
    nexus_slice bytes = gather(wal, run);
    if (wal->gather.status != NEXUS_OK) {
        wal->next_seq = seq;
        return nexus__nomem();
    }
    nexus_status status = NEXUS_OK;
    if (bytes.n && wal->engine)
        status = nexus__wal_engine_append(wal, run, bytes);
    else if (bytes.n)
        status = nexus__wal_io_write(wal, wal->active->fd, bytes.p, bytes.n, wal->write_at);
    if (status == NEXUS_OK)
        status = nexus__wal_wrote(wal, bytes.n);
    if (status == NEXUS_OK) {
        wal->write_at += bytes.n;
        return NEXUS_OK;
    }
    wal->next_seq = seq;
    char why[300];
    snprintf(why, sizeof why, "%s", nexus_error_message());
    if (wal->engine ? is_definite(status) : not_done(wal, status, bytes))
        return nexus__fail(status, "%s", why);
    nexus__wal_poison(wal, why);
    return nexus__fail(NEXUS_EUNKNOWN, "%s", why);
}

static void publish_end(nexus__wal *wal, nexus__wal_batch *run, uint64_t start)
{
    uint64_t durable = atomic_load(&wal->durable), at = start, bytes = 0;
    pthread_mutex_lock(&wal->lock);
    for (nexus__wal_batch *b = run; b; b = b->next) {
        if (b->count) {
            if (!wal->engine)
                nexus__wal_mark(wal->active, b->first_pos, at);
            at += b->bytes.len;
        }
        bytes += b->bytes.len;
        durable = b->first_pos + b->data_count - 1;
    }
    wal->queue_bytes -= bytes;
    if (!wal->engine)
        atomic_store(&wal->active->end, at);
    atomic_store(&wal->durable, durable);
    atomic_fetch_add(&wal->written, at - start);
    wal->durable_seq = wal->next_seq;
    if (wal->engine)
        atomic_store(&wal->engine_end, wal->engine_place);
    if (wal->dir && !wal->engine && wal->write_at > wal->active->size / 4 && wal->prepared.fd < 0 && !wal->prepared.wanted) {
        wal->prepared.wanted = true;
        pthread_cond_broadcast(&wal->prepare);
    }
    pthread_cond_broadcast(&wal->room);
    pthread_mutex_unlock(&wal->lock);
}

static void report(nexus__wal_batch *list, nexus_status status)
{
    while (list) {
        nexus__wal_batch *next = list->next;
        if (list->done)
            list->done(status, list->first_pos, list->user_data);
        nexus__wal_batch_free(list);
        list = next;
    }
}

/* The run and everything queued behind it fails; positions start again behind what is durable. */
static void fail_all(nexus__wal *wal, nexus__wal_batch *run, nexus_status status)
{
    char why[300];
    snprintf(why, sizeof why, "%s", nexus_error_message());
    pthread_mutex_lock(&wal->lock);
    wal->refusing = true;
    nexus__wal_batch *rest = wal->head;
    wal->head = NULL;
    wal->tail = &wal->head;
    wal->taken = wal->submitted;
    wal->queue_bytes = 0;
    wal->next_pos = atomic_load(&wal->durable) + 1;
    pthread_mutex_unlock(&wal->lock);
    (void)nexus__fail(status, "%s", why);
    report(run, status);
    nexus_status behind = status == NEXUS_EUNKNOWN ? NEXUS_EROFS : status;
    (void)nexus__fail(behind, "%s", why);
    report(rest, behind);
    pthread_mutex_lock(&wal->lock);
    wal->refusing = false;
    pthread_cond_broadcast(&wal->room);
    pthread_mutex_unlock(&wal->lock);
}

/* --- the leader ---- */

/* With the lock held, which is let go meanwhile. */
static void tell_take(nexus__wal *wal)
{
    void (*fn)(void *) = wal->on_take;
    if (!fn)
        return;
    pthread_mutex_unlock(&wal->lock);
    fn(wal->on_take_data);
    pthread_mutex_lock(&wal->lock);
}

static bool has_room(const nexus__wal *wal, size_t bytes)
{
    return wal->engine || (wal->active && !atomic_load(&wal->seal_wanted) && wal->write_at + bytes <= wal->active->size);
}

/* The next file, when the first batch of the queue does not fit into the active one. With the lock held, which is let go
 * meanwhile: nobody but the leader takes from the queue. */
static nexus_status make_room(nexus__wal *wal)
{
    size_t need = wal->head->bytes.len;
    if (has_room(wal, need))
        return NEXUS_OK;
    pthread_mutex_unlock(&wal->lock);
    bool seal = atomic_exchange(&wal->seal_wanted, false) && wal->write_at > SEGMENT_HEAD_BYTES;
    nexus_status status = seal || !has_room(wal, need) ? nexus__wal_roll(wal, need) : NEXUS_OK;
    pthread_mutex_lock(&wal->lock);
    return status;
}

/* Takes the first batch of the queue, and of those behind it what fits into the active file, within bounds. With the lock
 * held. */
static nexus__wal_batch *take_run(nexus__wal *wal)
{
    uint64_t room = wal->engine || !wal->active ? UINT64_MAX : wal->active->size - wal->write_at, bytes = 0;
    nexus__wal_batch *first = wal->head, **end = &wal->head;
    for (nexus__wal_batch *b = first; b; b = b->next) {
        bytes += b->count ? b->bytes.len : 0;
        if (b != first && (bytes > room || bytes > GATHER_MAX))
            break;
        end = &b->next;
        wal->taken++;
    }
    wal->head = *end;
    *end = NULL;
    if (!wal->head)
        wal->tail = &wal->head;
    return first;
}

static void write_and_tell(nexus__wal *wal, nexus__wal_batch *run, nexus_status status)
{
    uint64_t start = wal->write_at;
    if (status == NEXUS_OK)
        status = write_run(wal, run);
    if (status != atomic_load_explicit(&wal->condition, memory_order_relaxed))
        atomic_store(&wal->condition, status);
    if (status != NEXUS_OK) {
        fail_all(wal, run, status);
        return;
    }
    publish_end(wal, run, start);
    report(run, NEXUS_OK);
    if (wal->on_durable)
        wal->on_durable(wal->on_durable_data);
}

/* Leads until so many batches have been taken since the log was opened, or the queue is empty. With the lock held, which is
 * let go meanwhile. */
static void lead(nexus__wal *wal, uint64_t until)
{
    wal->led = true;
    while (wal->head && wal->taken < until) {
        tell_take(wal);
        nexus_status status = make_room(wal);
        nexus__wal_batch *run = take_run(wal);
        pthread_mutex_unlock(&wal->lock);
        write_and_tell(wal, run, status);
        pthread_mutex_lock(&wal->lock);
    }
    wal->led = false;
}

/* On the thread of a stranger, who may cancel it: not in the middle, which would leave the log with a leader for good. */
void nexus__wal_lead(nexus__wal *wal)
{
    int cancel;
    if (wal->engine)
        return;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    pthread_mutex_lock(&wal->lock);
    if (!wal->led) {
        lead(wal, wal->submitted);
        if (wal->head || wal->closing)
            pthread_cond_signal(&wal->work);
    }
    pthread_mutex_unlock(&wal->lock);
    pthread_setcancelstate(cancel, NULL);
}

void *nexus__wal_flush_main(void *arg)
{
    nexus__wal *wal = arg;
    prctl(PR_SET_NAME, wal->name);
    pthread_mutex_lock(&wal->lock);
    while (wal->head || wal->led || !wal->closing)
        if (wal->head && !wal->led)
            lead(wal, UINT64_MAX);
        else
            pthread_cond_wait(&wal->work, &wal->lock);
    pthread_mutex_unlock(&wal->lock);
    return NULL;
}
