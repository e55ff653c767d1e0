/* From judged entries to durable, visible events. */
#include <stdatomic.h>

#include "base/status.h"
#include "base/time.h"
#include "ingest/ingest.h"
#include "ingest/record.h"

#define RECORD_BYTES (256u * 1024) /* events are gathered into log records of about this size */
#define QUEUE_HIGH_WATER 8 / 10

/* Where the flush thread tells the waiting caller. It lives on the caller's stack: done touches it last under its mutex. */
typedef struct waiter {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool done;
    nexus_status status;
    char message[256];
} waiter;

static void on_durable(nexus_status status, uint64_t first_pos, void *user_data)
{
    waiter *w = user_data;
    (void)first_pos;
    pthread_mutex_lock(&w->mutex);
    w->status = status;
    if (status != NEXUS_OK) {
        strncpy(w->message, nexus_error_message(), sizeof w->message - 1);
        w->message[sizeof w->message - 1] = '\0';
    }
    w->done = true;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->mutex);
}

static nexus_status wait_done(waiter *w)
{
    pthread_mutex_lock(&w->mutex);
    while (!w->done)
        pthread_cond_wait(&w->cond, &w->mutex);
    pthread_mutex_unlock(&w->mutex);
    return w->status == NEXUS_OK ? NEXUS_OK : nexus__fail(w->status, "ingestion log: %s", w->message);
}

static nexus_status flush_record(nexus__wal_batch *batch, nexus__buf *record)
{
    if (record->len == 0)
        return NEXUS_OK;
    if (record->status != NEXUS_OK)
        return nexus__nomem();
    nexus_status st = nexus__wal_batch_add(batch, &(nexus__wal_record){.payload = nexus__buf_slice(record)});
    nexus__buf_clear(record);
    return st;
}

/* Adds the valid entries whose ids are new; *bytes is what they take. */
static nexus_status fill_batch(nexus_ingest *ingest, nexus_ingest_result *result, nexus__wal_batch *batch,
                               nexus__buf *record, uint64_t *bytes)
{
    nexus_status st = NEXUS_OK;
    for (uint32_t i = 0; st == NEXUS_OK && i < result->entry_count; i++) {
        nexus__entry *e = &result->entries[i];
        if (e->state != NEXUS__ENTRY_VALID)
            continue;
        nexus__print print = nexus__dedupe_print(&ingest->locked.dedupe, e->event.id);
        if (nexus__dedupe_has(&ingest->locked.dedupe, print)) {
            e->state = NEXUS__ENTRY_DUPLICATE;
            continue;
        }
        st = nexus__dedupe_add(&ingest->locked.dedupe, print, e->event.received_ms);
        if (st != NEXUS_OK)
            break;
        e->state = NEXUS__ENTRY_ACCEPTED;
        if (record->len == 0)
            nexus__record_begin(record);
        size_t before = record->len;
        nexus__record_add(record, &e->event);
        *bytes += record->len - before;
        if (record->len >= RECORD_BYTES)
            st = flush_record(batch, record);
    }
    return st == NEXUS_OK ? flush_record(batch, record) : st;
}

/* What was promised to the window did not reach the log: the same ids may be offered again. */
static void forget(nexus_ingest *ingest, nexus_ingest_result *result)
{
    for (uint32_t i = 0; i < result->entry_count; i++)
        if (result->entries[i].state == NEXUS__ENTRY_ACCEPTED)
            nexus__dedupe_remove(&ingest->locked.dedupe,
                                 nexus__dedupe_print(&ingest->locked.dedupe, result->entries[i].event.id));
}

static nexus_status submit_locked(nexus_ingest *ingest, nexus_ingest_result *result, waiter *w, uint64_t *bytes)
{
    nexus__wal_batch *batch = NULL;
    nexus__buf record;
    if (ingest->locked.queued_bytes > ingest->queue_max_bytes * QUEUE_HIGH_WATER)
        return nexus__fail(NEXUS_EAGAIN, "the ingestion queue is full; try again in a second");
    nexus_status st = nexus__wal_batch_new(&batch, ingest->wal, RECORD_BYTES);
    if (st != NEXUS_OK)
        return st;
    nexus__buf_init(&record, ingest->alloc, 0);
    st = fill_batch(ingest, result, batch, &record, bytes);
    nexus__buf_free(&record);
    if (st != NEXUS_OK)
        nexus__wal_batch_free(batch);
    else
        st = nexus__wal_submit(ingest->wal, batch, on_durable, w, NULL, NULL);
    if (st != NEXUS_OK)
        forget(ingest, result);
    return st;
}

static void enter_queue(nexus_ingest *ingest, uint64_t bytes, int64_t now_ns)
{
    if (ingest->locked.queued++ == 0)
        ingest->locked.oldest_ns = now_ns;
    ingest->locked.queued_bytes += bytes;
}

static void leave_queue(nexus_ingest *ingest, uint64_t bytes, int64_t began_ns, nexus_status st)
{
    ingest->locked.queued--;
    ingest->locked.queued_bytes -= bytes;
    ingest->locked.oldest_ns = began_ns; /* those still waiting came no earlier than about now */
    if (st == NEXUS_OK && bytes != 0)
        nexus__meter_commit(&ingest->locked.meter, (uint32_t)((nexus__mono_ns() - began_ns) / NEXUS__NS_PER_US));
}

/* Durable, or refused as a whole: entries the log did not take are not called accepted. */
static nexus_status store(nexus_ingest *ingest, nexus_ingest_result *result)
{
    waiter w = {.mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    uint64_t bytes = 0;
    int64_t began = nexus__mono_ns();
    pthread_mutex_lock(&ingest->locked.mutex);
    nexus_status st = submit_locked(ingest, result, &w, &bytes);
    if (st == NEXUS_OK)
        enter_queue(ingest, bytes, began);
    pthread_mutex_unlock(&ingest->locked.mutex);
    if (st == NEXUS_OK) {
        st = wait_done(&w);
        pthread_mutex_lock(&ingest->locked.mutex);
        leave_queue(ingest, bytes, began, st);
        if (st != NEXUS_OK)
            forget(ingest, result);
        pthread_mutex_unlock(&ingest->locked.mutex);
    }
    pthread_mutex_destroy(&w.mutex);
    pthread_cond_destroy(&w.cond);
    return st;
}

static bool any_valid(const nexus_ingest_result *result)
{
    for (uint32_t i = 0; i < result->entry_count; i++)
        if (result->entries[i].state == NEXUS__ENTRY_VALID)
            return true;
    return false;
}

/* Visible events are the store's own copy. What it cannot hold stays safe in the log and is missing from answers until
 * a restart with more memory: said in the status, never a lost event. */
static void show(nexus_ingest *ingest, nexus_ingest_result *result)
{
    int64_t received = 0;
    bool any = false;
    for (uint32_t i = 0; ingest->analytics && i < result->entry_count; i++)
        if (result->entries[i].state == NEXUS__ENTRY_ACCEPTED) {
            any |= nexus__analytics_add(ingest->analytics, &result->entries[i].event) == NEXUS_OK;
            received = result->entries[i].event.received_ms;
        }
    if (any)
        nexus__analytics_notify(ingest->analytics, nexus__real_ns() / NEXUS__NS_PER_MS - received);
}

static void count(nexus_ingest *ingest, nexus_ingest_result *result)
{
    nexus__meter *m = &ingest->locked.meter;
    int64_t now_ms = nexus__real_ns() / NEXUS__NS_PER_MS;
    pthread_mutex_lock(&ingest->locked.mutex);
    m->received += result->entry_count;
    for (uint32_t i = 0; i < result->entry_count; i++) {
        const nexus__entry *e = &result->entries[i];
        if (e->state == NEXUS__ENTRY_ACCEPTED)
            nexus__meter_accept(m, e->event.time_ms, now_ms);
        m->duplicate += e->state == NEXUS__ENTRY_DUPLICATE;
        if (e->state != NEXUS__ENTRY_REJECTED)
            continue;
        m->rejected[e->fault->code]++;
        nexus__rejected_add(&ingest->locked.rejected, now_ms, e->fault, e->raw);
    }
    pthread_mutex_unlock(&ingest->locked.mutex);
}

nexus_status nexus__ingest_commit(nexus_ingest *ingest, nexus_ingest_result *result)
{
    nexus_status st = any_valid(result) ? store(ingest, result) : NEXUS_OK;
    if (st != NEXUS_OK)
        return st;
    show(ingest, result);
    count(ingest, result);
    return NEXUS_OK;
}

/* --- replay ---------------------------------------------------------------------------------- */

static nexus_status replay_record(nexus_ingest *ingest, nexus_slice record)
{
    nexus__event e;
    size_t at = 0;
    nexus_status st;
    while ((st = nexus__record_next(record, &at, &e)) == NEXUS_OK) {
        nexus__print print = nexus__dedupe_print(&ingest->locked.dedupe, e.id);
        if ((st = nexus__dedupe_add(&ingest->locked.dedupe, print, e.received_ms)) != NEXUS_OK)
            return st;
        if (ingest->analytics && (st = nexus__analytics_add(ingest->analytics, &e)) != NEXUS_OK)
            return st;
        ingest->replayed++;
    }
    return st == NEXUS_EDONE ? NEXUS_OK : st;
}

/* Damaged records are passed over: what is readable can be asked about, and the log refuses new events by itself. */
nexus_status nexus__ingest_replay(nexus_ingest *ingest)
{
    nexus__wal_reader *reader;
    nexus__wal_record record;
    nexus_status st = nexus__wal_reader_open(&reader, ingest->wal, nexus__wal_first(ingest->wal));
    if (st != NEXUS_OK)
        return st;
    for (;;) {
        st = nexus__wal_reader_next(reader, &record);
        if (st == NEXUS_ECORRUPT || st == NEXUS_EMISSING)
            continue;
        if (st != NEXUS_OK)
            break;
        if ((st = replay_record(ingest, record.payload)) != NEXUS_OK && st != NEXUS_ECORRUPT)
            break;
    }
    nexus__wal_reader_close(reader);
    return st == NEXUS_EDONE ? NEXUS_OK : st;
}
