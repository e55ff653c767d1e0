/*
 * The log in a topic of Kafka.
 *
 * The owner writes each run in a transaction under the transactional id that is the topic's name. Whoever initialises
 * that id shuts out everybody before him: a former owner's transaction is refused, whatever he still had on its way is
 * undone. Then the new owner reads where the log ends and begins with a mark of its own; to readers, parcels of a lower
 * epoch behind it would not count either.
 *
 * Kafka says who may write, but not that somebody lives. So an owner writes a note every half second, and nobody takes
 * the log from one whose notes go on. The note has the end of the log in it (see parcel.h), for when the cluster loses it.
 */
#include <stdatomic.h>
#include <stdio.h>

#include "base/id.h"
#include "base/status.h"
#include "base/thread.h"
#include "bus/engines/engine.h"
#include "bus/engines/kafka.h"
#include "bus/engines/recent.h"
#include "runtime/loop.h"

#define PAGE_BYTES (1u << 20)
enum { HINTS = 8 };

/* Where a run begins in the topic, learned by writing and reading. */
typedef struct hint {
    uint64_t place;
    int64_t offset; /* -1: none */
} hint;

typedef struct kafka_log {
    nexus__wal_engine base;
    const nexus_alloc *alloc;
    nexus__kafka *kafka;
    rd_kafka_t *writer;     /* NULL: not the owner. The flush thread's, as the two below */
    nexus__kafka_sent sent; /* of the transaction on its way */
    int64_t behind;         /* offset behind the last message known */
    pthread_mutex_t lock;
    nexus__parcel end;  /* locked: a mark of where the log ends */
    uint64_t begun;     /* where it ended when it became ours */
    hint hints[HINTS];  /* locked */
    unsigned next_hint; /* locked */
    bool closing;       /* locked */
    pthread_cond_t changed;
    nexus__recent recent;
    pthread_mutex_t read_lock;
    nexus__kafka_reader reader; /* read_lock */
    pthread_mutex_t note_lock;
    nexus__kafka_owner_note note;            /* note_lock */
    nexus__kafka_reader owners; /* the beating thread's */
    pthread_t beat_thread;
    bool beating;
    atomic_bool lost;
    void (*lost_fn)(void *user_data); /* locked, as its data */
    void *lost_data;
} kafka_log;

static nexus_status overtaken(void)
{
    return nexus__fail(NEXUS_ESTALE, "another process has become the owner of the bus");
}

static nexus__parcel end_of(kafka_log *log)
{
    pthread_mutex_lock(&log->lock);
    nexus__parcel end = log->end;
    pthread_mutex_unlock(&log->lock);
    return end;
}

static void remember(kafka_log *log, uint64_t place, int64_t offset)
{
    pthread_mutex_lock(&log->lock);
    log->hints[log->next_hint++ % HINTS] = (hint){place, offset};
    pthread_mutex_unlock(&log->lock);
}

/* --- the note of the owner ------------------------------------------------------------------------------------------ */

/* Under note_lock. */
static nexus_status write_note(kafka_log *log)
{
    nexus__buf body;
    nexus__parcel mark = end_of(log);
    mark.bytes = nexus__slice(&log->note, sizeof log->note);
    nexus__buf_init(&body, log->alloc, 0);
    nexus__parcel_put(&body, &mark);
    nexus_status status = body.status == NEXUS_OK ? nexus__kafka_note(log->kafka, log->kafka->owner_topic,
                                                                      NEXUS_S("owner"), nexus__buf_slice(&body))
                                                  : body.status;
    nexus__buf_free(&body);
    return status;
}

/* The next note of the topic; NEXUS_EDONE. */
static nexus_status next_note(nexus__kafka_reader *r, nexus__parcel *mark, nexus__kafka_owner_note *note)
{
    rd_kafka_message_t *m;
    nexus_status status;
    while ((status = nexus__kafka_next(r, &m)) == NEXUS_OK) {
        bool good = nexus__parcel_get(mark, nexus__kafka_value(m)) && mark->bytes.n == sizeof *note;
        if (good)
            memcpy(note, mark->bytes.p, sizeof *note);
        mark->bytes = NEXUS_S("");
        rd_kafka_message_destroy(m);
        if (good)
            return NEXUS_OK;
    }
    return status;
}

nexus_status nexus__kafka_last_note(nexus__kafka *k, nexus__kafka_reader *owners, nexus__parcel *mark,
                                    nexus__kafka_owner_note *note)
{
    nexus__buf body;
    nexus__buf_init(&body, k->alloc, 0);
    nexus_status status = nexus__kafka_last(owners, mark, &body, NULL);
    if (status == NEXUS_OK && mark->bytes.n == sizeof *note)
        memcpy(note, mark->bytes.p, sizeof *note);
    else if (status == NEXUS_OK)
        status = nexus__fail(NEXUS_ECORRUPT, "the topic %s has notes that are not ours", k->owner_topic);
    mark->bytes = NEXUS_S("");
    nexus__buf_free(&body);
    return status;
}

static nexus_status occupied(const kafka_log *log)
{
    return nexus__fail(NEXUS_ECONFLICT, "another process owns the bus of the topic %s", log->kafka->log_topic);
}

/* An owner who has not said that he is none may live: then a note comes before long. */
static nexus_status wait_for_sign(kafka_log *log, nexus__parcel *mark, nexus__kafka_owner_note *note)
{
    int64_t until = nexus__mono_ns() + KAFKA_LEASE_MS * NEXUS__NS_PER_MS;
    while (!note->released && nexus__mono_ns() < until) {
        nexus_status status = next_note(&log->owners, mark, note);
        if (status == NEXUS_OK && !note->released)
            return occupied(log);
        if (status != NEXUS_OK && status != NEXUS_EDONE && status != NEXUS_ETIMEDOUT)
            return status;
    }
    return NEXUS_OK;
}

/* Whether somebody with a higher epoch has written a note. */
static bool see_others(kafka_log *log)
{
    nexus__parcel mark;
    nexus__kafka_owner_note note;
    uint64_t epoch = end_of(log).epoch;
    while (next_note(&log->owners, &mark, &note) == NEXUS_OK)
        if (note.owner != log->note.owner && mark.epoch > epoch)
            return true;
    return false;
}

static void tell_lost(kafka_log *log)
{
    pthread_mutex_lock(&log->lock);
    atomic_store(&log->lost, true);
    void (*fn)(void *) = log->lost_fn;
    pthread_mutex_unlock(&log->lock);
    if (fn)
        fn(log->lost_data);
}

static bool pause_until_next(kafka_log *log)
{
    int64_t until = nexus__mono_ns() + KAFKA_BEAT_MS * NEXUS__NS_PER_MS;
    pthread_mutex_lock(&log->lock);
    while (!log->closing && nexus__cond_wait_until(&log->changed, &log->lock, until))
        ;
    bool go_on = !log->closing;
    pthread_mutex_unlock(&log->lock);
    return go_on;
}

static void *beat_main(void *arg)
{
    kafka_log *log = arg;
    while (pause_until_next(log) && !atomic_load(&log->lost)) {
        if (see_others(log)) {
            tell_lost(log);
            break;
        }
        pthread_mutex_lock(&log->note_lock);
        (void)write_note(log); /* the next one may succeed */
        pthread_mutex_unlock(&log->note_lock);
    }
    return NULL;
}

static nexus_status reserve(kafka_log *log, const nexus__wal_run *run)
{
    nexus_status status = NEXUS_OK;
    pthread_mutex_lock(&log->note_lock);
    if (!nexus__end_covers(&log->note.end, &log->end, run)) {
        nexus__end_reserve(&log->note.end, &log->end, run);
        status = write_note(log);
    }
    pthread_mutex_unlock(&log->note_lock);
    return status;
}

/* --- becoming the owner --------------------------------------------------------------------------------------------- */

static nexus_status publish_mark(kafka_log *log, const nexus__parcel *mark)
{
    nexus__buf body;
    nexus__buf_init(&body, log->alloc, 0);
    nexus__parcel_put(&body, mark);
    log->sent = (nexus__kafka_sent){-1, -1};
    nexus_status status = body.status == NEXUS_OK ? nexus__kafka_begin(log->writer) : body.status;
    if (status == NEXUS_OK) {
        status = nexus__kafka_add(log->writer, log->kafka->log_topic, nexus__buf_slice(&body), &log->sent);
        status = status == NEXUS_OK ? nexus__kafka_commit(log->writer) : nexus__kafka_abort(log->writer, status);
    }
    nexus__buf_free(&body);
    if (status == NEXUS_OK)
        log->behind = log->sent.last + 1;
    return status;
}

static nexus_status take_log(kafka_log *log, const nexus__parcel *known)
{
    nexus__parcel last;
    nexus__buf body;
    nexus__buf_init(&body, log->alloc, 0);
    nexus_status status = nexus__kafka_last(&log->reader, &last, &body, NULL);
    if (status == NEXUS_OK || status == NEXUS_ENOTFOUND) {
        nexus__parcel end = nexus__end_find(status == NEXUS_OK ? &last : NULL, known, &log->note.end);
        status = publish_mark(log, &end);
        pthread_mutex_lock(&log->lock);
        log->end = end;
        log->begun = end.place;
        pthread_mutex_unlock(&log->lock);
    }
    nexus__buf_free(&body);
    return status;
}

static nexus_status become_owner(kafka_log *log)
{
    nexus__parcel known;
    nexus_status status = nexus__kafka_last_note(log->kafka, &log->owners, &known, &log->note);
    bool first = status == NEXUS_ENOTFOUND;
    if (status == NEXUS_OK)
        status = wait_for_sign(log, &known, &log->note);
    if (first) {
        log->note.end = (nexus__end_note){.first_pos = 1};
        status = NEXUS_OK;
    }
    if (status == NEXUS_OK)
        status = nexus__kafka_writer(&log->writer, log->kafka);
    if (status == NEXUS_OK)
        status = take_log(log, first ? NULL : &known);
    return status == NEXUS_ESTALE ? occupied(log) : status;
}

static nexus_status own(nexus__wal_engine *e, nexus__wal_tail *tail)
{
    kafka_log *log = (kafka_log *)e;
    nexus_status status = become_owner(log);
    if (status != NEXUS_OK)
        return status;
    log->note.owner = nexus__random_u64();
    log->note.released = false;
    nexus__end_reserve(&log->note.end, &log->end, NULL);
    remember(log, log->end.place, log->behind);
    status = write_note(log);
    if (status == NEXUS_OK)
        status = nexus__thread_start(&log->beat_thread, "nexus-bus-beat", beat_main, log);
    log->beating = status == NEXUS_OK;
    if (status != NEXUS_OK)
        return status;
    *tail = (nexus__wal_tail){.begin = log->note.end.begin,
                              .end = log->end.place,
                              .next_seq = log->end.next_seq,
                              .next_pos = log->end.next_pos,
                              .first_pos = log->note.end.first_pos,
                              .last_recv_ns = log->end.recv_ns};
    memcpy(tail->uuid, log->end.uuid, sizeof tail->uuid);
    return NEXUS_OK;
}

/* --- writing -------------------------------------------------------------------------------------------------------- */

static nexus_status add_parts(kafka_log *log, const nexus__wal_run *run)
{
    size_t most = KAFKA_MESSAGE_MAX - PARCEL_HEAD_BYTES;
    nexus__parcel p = log->end;
    nexus__buf body;
    nexus_status status = NEXUS_OK;
    p.first_seq = p.next_seq;
    p.next_seq = run->next_seq;
    p.next_pos = run->next_pos;
    p.first_pos = run->first_pos;
    p.recv_ns = run->recv_ns;
    p.parts = (uint32_t)((run->bytes.n + most - 1) / most);
    nexus__buf_init(&body, log->alloc, 0);
    for (; p.part < p.parts && status == NEXUS_OK; p.part++) {
        nexus_slice rest = nexus__slice_from(run->bytes, p.part * most);
        p.bytes = nexus__slice(rest.p, rest.n < most ? rest.n : most);
        nexus__buf_clear(&body);
        nexus__parcel_put(&body, &p);
        status = body.status;
        if (status == NEXUS_OK)
            status = nexus__kafka_add(log->writer, log->kafka->log_topic, nexus__buf_slice(&body), &log->sent);
    }
    nexus__buf_free(&body);
    return status;
}

static nexus_status append_run(kafka_log *log, const nexus__wal_run *run)
{
    log->sent = (nexus__kafka_sent){-1, -1};
    nexus_status status = nexus__kafka_begin(log->writer);
    if (status != NEXUS_OK)
        return status;
    status = add_parts(log, run);
    return status == NEXUS_OK ? nexus__kafka_commit(log->writer) : nexus__kafka_abort(log->writer, status);
}

static void move_end(kafka_log *log, const nexus__wal_run *run)
{
    nexus__recent_put(&log->recent, log->end.place, run->bytes);
    remember(log, log->end.place, log->sent.first);
    pthread_mutex_lock(&log->lock);
    log->end.place++;
    log->end.next_seq = log->end.first_seq = run->next_seq;
    log->end.next_pos = log->end.first_pos = run->next_pos;
    log->end.recv_ns = run->recv_ns;
    pthread_mutex_unlock(&log->lock);
    log->behind = log->sent.last + 1;
    remember(log, log->end.place, log->behind);
}

static void give_up(kafka_log *log)
{
    atomic_store(&log->lost, true);
    nexus__kafka_writer_close(log->writer, log->kafka);
    log->writer = NULL;
}

static bool nothing_was_stored(nexus_status status)
{
    return status == NEXUS_ENOSPC || status == NEXUS_EAGAIN || status == NEXUS_ETIMEDOUT || status == NEXUS_EUNREACH;
}

static nexus_status append(nexus__wal_engine *e, const nexus__wal_run *run, uint64_t *end)
{
    kafka_log *log = (kafka_log *)e;
    if (!log->writer || atomic_load(&log->lost))
        return overtaken();
    nexus_status status = reserve(log, run);
    if (status == NEXUS_OK)
        status = append_run(log, run);
    if (status == NEXUS_OK && log->sent.first < log->behind) /* the next owner goes on with what is left, and this run */
        status = nexus__fail(NEXUS_EUNKNOWN, "Kafka has lost messages at the end of the topic %s",
                             log->kafka->log_topic);
    if (status != NEXUS_OK && !nothing_was_stored(status))
        give_up(log);
    if (status != NEXUS_OK)
        return status;
    move_end(log, run);
    *end = log->end.place;
    return NEXUS_OK;
}

/* --- reading, under read_lock --------------------------------------------------------------------------------------- */

/* The first parcel at offset or behind it; NEXUS_EDONE. */
static nexus_status parcel_from(kafka_log *log, int64_t offset, nexus__parcel *out, int64_t *at)
{
    rd_kafka_message_t *m;
    nexus_status status = nexus__kafka_seek(&log->reader, offset);
    while (status == NEXUS_OK && (status = nexus__kafka_next(&log->reader, &m)) == NEXUS_OK) {
        bool good = nexus__parcel_get(out, nexus__kafka_value(m));
        *at = m->offset;
        out->bytes = NEXUS_S("");
        rd_kafka_message_destroy(m);
        if (good)
            return NEXUS_OK;
    }
    return status;
}

static uint64_t by_place(const nexus__parcel *p)
{
    return p->place;
}

static uint64_t by_first_pos(const nexus__parcel *p)
{
    return p->first_pos;
}

/* *offset: the first parcel whose key is at least value; before: the last one below it, untouched when there is none. */
static nexus_status search(kafka_log *log, uint64_t (*key)(const nexus__parcel *), uint64_t value, int64_t *offset,
                           nexus__parcel *before)
{
    int64_t low = 0, high = 0, at;
    nexus__parcel p;
    nexus_status status = nexus__kafka_range(&log->reader, &low, &high);
    while (status == NEXUS_OK && low < high) {
        int64_t middle = low + (high - low) / 2;
        status = parcel_from(log, middle, &p, &at);
        if (status == NEXUS_OK && key(&p) < value) {
            *before = p;
            low = at + 1;
        } else {
            high = middle;
        }
        if (status == NEXUS_EDONE)
            status = NEXUS_OK;
    }
    *offset = low;
    return status;
}

static nexus_status offset_of(kafka_log *log, uint64_t place, int64_t *offset)
{
    nexus__parcel before;
    bool found = false;
    pthread_mutex_lock(&log->lock);
    for (unsigned i = 0; i < HINTS && !found; i++) {
        found = log->hints[i].offset >= 0 && log->hints[i].place == place;
        *offset = log->hints[i].offset;
    }
    pthread_mutex_unlock(&log->lock);
    return found ? NEXUS_OK : search(log, by_place, place, offset, &before);
}

/* Until the end that is ours, what lies behind it being another owner's, or until there is enough. */
static nexus_status read_from(kafka_log *log, uint64_t place, nexus__parcels *s)
{
    int64_t offset;
    rd_kafka_message_t *m;
    nexus__parcel p;
    uint64_t end = end_of(log).place;
    s->epoch = place >= log->begun ? end_of(log).epoch : 0; /* what a former owner wrote behind our mark is nothing */
    nexus_status status = offset_of(log, place, &offset);
    if (status == NEXUS_OK)
        status = nexus__kafka_seek(&log->reader, offset);
    while (status == NEXUS_OK && s->next < end && (s->out->len < PAGE_BYTES || s->part)) {
        status = nexus__kafka_next(&log->reader, &m);
        if (status != NEXUS_OK)
            break;
        if (nexus__parcel_get(&p, nexus__kafka_value(m)) && p.place >= place && p.place < end)
            nexus__parcels_add(s, &p);
        rd_kafka_message_destroy(m);
        status = s->out->status;
    }
    return status == NEXUS_EDONE ? NEXUS_OK : status;
}

static nexus_status read_runs(nexus__wal_engine *e, uint64_t place, nexus__buf *out, uint64_t *next)
{
    kafka_log *log = (kafka_log *)e;
    nexus__parcels s = {.out = out};
    if (nexus__on_loop_thread())
        return nexus__fail(NEXUS_EDEADLK, "reading a log on Kafka blocks: do it on a worker, not on a loop thread");
    if (nexus__recent_get(&log->recent, place, out, next))
        return out->status;
    pthread_mutex_lock(&log->read_lock);
    nexus_status status = read_from(log, place, &s);
    nexus__parcels_end(&s);
    if (status == NEXUS_OK && out->len) {
        *next = s.next;
        if (log->reader.next >= 0)
            remember(log, s.next, log->reader.next);
    }
    pthread_mutex_unlock(&log->read_lock);
    return status;
}

static nexus_status find(nexus__wal_engine *e, uint64_t pos, uint64_t *place)
{
    kafka_log *log = (kafka_log *)e;
    nexus__parcel before = {0};
    int64_t offset;
    pthread_mutex_lock(&log->read_lock);
    nexus_status status = search(log, by_first_pos, pos, &offset, &before);
    pthread_mutex_unlock(&log->read_lock);
    *place = before.place;
    return status;
}

static nexus_status drop_below(nexus__wal_engine *e, uint64_t pos, uint64_t *first_pos, uint64_t *begin)
{
    (void)e, (void)pos, (void)first_pos, (void)begin;
    return nexus__fail(NEXUS_ENOTSUP, "a log on Kafka is kept whole");
}

/* --- checkpoints ---------------------------------------------------------------------------------------------------- */

/* A checkpoint knows of everything before it, so that must be noted first. */
static nexus_status put_blob(nexus__wal_engine *e, const char *name, nexus_slice blob)
{
    kafka_log *log = (kafka_log *)e;
    if (atomic_load(&log->lost))
        return overtaken();
    pthread_mutex_lock(&log->note_lock);
    nexus_status status = write_note(log);
    pthread_mutex_unlock(&log->note_lock);
    return status == NEXUS_OK ? nexus__kafka_put_blob(log->kafka, name, blob) : status;
}

static nexus_status get_blob(nexus__wal_engine *e, const char *name, nexus__buf *out)
{
    return nexus__kafka_get_blob(((kafka_log *)e)->kafka, name, out);
}

/* --- open, close ---------------------------------------------------------------------------------------------------- */

static void stop_beating(kafka_log *log)
{
    if (!log->beating)
        return;
    pthread_mutex_lock(&log->lock);
    log->closing = true;
    pthread_cond_broadcast(&log->changed);
    pthread_mutex_unlock(&log->lock);
    pthread_join(log->beat_thread, NULL);
    if (atomic_load(&log->lost))
        return;
    log->note.released = true;
    (void)write_note(log); /* without it the next owner waits for a sign of life */
}

static void on_lost(nexus__wal_engine *e, void (*fn)(void *user_data), void *user_data)
{
    kafka_log *log = (kafka_log *)e;
    pthread_mutex_lock(&log->lock);
    log->lost_fn = fn;
    log->lost_data = user_data;
    bool already = atomic_load(&log->lost);
    pthread_mutex_unlock(&log->lock);
    if (already)
        fn(user_data);
}

static void close_log(nexus__wal_engine *e)
{
    kafka_log *log = (kafka_log *)e;
    stop_beating(log);
    nexus__kafka_writer_close(log->writer, log->kafka);
    nexus__kafka_reader_close(&log->reader);
    nexus__kafka_reader_close(&log->owners);
    nexus__kafka_close(log->kafka);
    nexus__recent_free(&log->recent);
    pthread_mutex_destroy(&log->lock);
    pthread_mutex_destroy(&log->read_lock);
    pthread_mutex_destroy(&log->note_lock);
    pthread_cond_destroy(&log->changed);
    nexus__free(log->alloc, log);
}

static const nexus__wal_engine_ops ops = {
    .size = sizeof(nexus__wal_engine_ops),
    .name = "kafka",
    .own = own,
    .append = append,
    .read = read_runs,
    .find = find,
    .drop_below = drop_below,
    .put_blob = put_blob,
    .get_blob = get_blob,
    .on_lost = on_lost,
    .close = close_log,
};

nexus_status nexus__kafka_log_open(nexus__wal_engine **out, const char *url, const nexus_alloc *alloc)
{
    kafka_log *log = nexus__calloc(alloc, 1, sizeof *log);
    if (!log)
        return nexus__nomem();
    log->alloc = alloc;
    log->base.ops = &ops;
    pthread_mutex_init(&log->lock, NULL);
    pthread_mutex_init(&log->read_lock, NULL);
    pthread_mutex_init(&log->note_lock, NULL);
    nexus__cond_init(&log->changed);
    nexus__recent_init(&log->recent, alloc);
    for (int i = 0; i < HINTS; i++)
        log->hints[i].offset = -1;
    nexus_status status = nexus__kafka_open(&log->kafka, url, alloc);
    if (status == NEXUS_OK)
        status = nexus__kafka_reader_open(&log->reader, log->kafka, log->kafka->log_topic);
    if (status == NEXUS_OK)
        status = nexus__kafka_reader_open(&log->owners, log->kafka, log->kafka->owner_topic);
    if (status != NEXUS_OK) {
        close_log(&log->base);
        return status;
    }
    *out = &log->base;
    return NEXUS_OK;
}
