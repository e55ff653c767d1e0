/*
 * The log in a stream of NATS JetStream.
 *
 * The owner publishes each run behind the last message it knows of, and the server refuses it when another message lies
 * there: so positions follow the stream, and an owner that was overtaken while it slept stores nothing, because a new
 * owner begins with a mark of its own, with a higher epoch. Each message has an id that the server stores once, so after
 * an answer that never came the same message is sent again.
 *
 * What the stream ends with is noted beside it (the end record): what was there for certain, and what could have been.
 * When the server has lost messages at the end, or somebody has deleted the stream, the log goes on behind all of that,
 * with a mark that says so; nothing that was given to an event is given to another one, and readers see a gap.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "base/id.h"
#include "base/status.h"
#include "base/thread.h"
#include "bus/engines/engine.h"
#include "bus/engines/nats.h"

#define PATIENCE_NS (3 * NEXUS__NS_PER_S) /* an outage shorter than this is nobody's trouble */
#define PAGE_BYTES (1u << 20)
#define ATTEMPTS 5
enum { HINTS = 8 };

/* Where a run begins in the stream: learned by writing and reading, never wrong within the life of an owner. */
typedef struct hint {
    uint64_t place, seq;
} hint;

typedef struct nats_log {
    nexus__wal_engine base;
    const nexus_alloc *alloc;
    nexus__nats *nats;
    nexus__nats_lease *lease;
    char session[33]; /* makes the ids of messages */
    uint64_t sent;
    nexus__parcel last; /* what lies at last_seq, as far as this owner knows. The flush thread's */
    uint64_t last_seq;
    pthread_mutex_t lock;
    nexus__parcel end;  /* locked: a mark of where the log ends */
    uint64_t end_seq;   /* locked: of the last message before it */
    hint hints[HINTS];  /* locked */
    unsigned next_hint; /* locked */
    pthread_mutex_t end_lock; /* one writes the end record */
    nexus__end_note record;   /* end_lock */
    uint64_t noted_seq;       /* end_lock: next_seq in it */
    bool lost;                        /* locked, as the two below */
    void (*lost_fn)(void *user_data);
    void *lost_data;
} nats_log;

static nexus_status overtaken(void)
{
    return nexus__fail(NEXUS_ESTALE, "another process has become the owner of the bus");
}

static void pause_ms(long ms)
{
    struct timespec pause = {.tv_nsec = ms * 1000000};
    nanosleep(&pause, NULL);
}

/* --- looking into the stream ---------------------------------------------------------------------------------------- */

/* The first parcel at seq or behind it. */
static nexus_status parcel_at_or_after(nats_log *log, uint64_t seq, nexus__parcel *out, uint64_t *at)
{
    for (;;) {
        natsMsg *m;
        nexus_status status = nexus__nats_at_or_after(log->nats, &m, seq);
        if (status != NEXUS_OK)
            return status;
        *at = natsMsg_GetSequence(m);
        bool good = nexus__parcel_get(out, nexus__nats_data(m));
        out->bytes = NEXUS_S("");
        natsMsg_Destroy(m);
        if (good)
            return NEXUS_OK;
        seq = *at + 1;
    }
}

static uint64_t by_place(const nexus__parcel *p)
{
    return p->place;
}

static uint64_t by_first_pos(const nexus__parcel *p)
{
    return p->first_pos;
}

/* Both keys never fall along the stream. *seq: the first parcel whose key is at least value, or behind the last;
 * before: the last one below it, untouched when there is none. */
static nexus_status search(nats_log *log, uint64_t (*key)(const nexus__parcel *), uint64_t value, uint64_t *seq,
                           nexus__parcel *before)
{
    uint64_t low = 0, high = 0, at;
    nexus__parcel p;
    nexus_status status = nexus__nats_log_range(log->nats, &low, &high);
    if (status != NEXUS_OK)
        return status;
    for (high++; low < high;) {
        uint64_t middle = low + (high - low) / 2;
        status = parcel_at_or_after(log, middle, &p, &at);
        if (status != NEXUS_OK && status != NEXUS_ENOTFOUND)
            return status;
        if (status == NEXUS_OK && key(&p) < value) {
            *before = p;
            low = at + 1;
        } else {
            high = middle;
        }
    }
    *seq = low;
    return NEXUS_OK;
}

/* The last parcel; NEXUS_ENOTFOUND: there is none. *last_seq is that of the last message, whatever it is. */
static nexus_status last_parcel(nats_log *log, nexus__parcel *out, uint64_t *last_seq)
{
    uint64_t first = 0;
    natsMsg *m = NULL;
    nexus_status status = nexus__nats_log_range(log->nats, &first, last_seq);
    if (status == NEXUS_OK)
        status = nexus__nats_last(log->nats, &m, log->nats->name, log->nats->log_subject);
    if (status != NEXUS_OK)
        return status;
    uint64_t seq = natsMsg_GetSequence(m);
    bool good = nexus__parcel_get(out, nexus__nats_data(m));
    natsMsg_Destroy(m);
    while (!good && seq-- > first) { /* somebody else's messages */
        jsErrCode code;
        m = NULL;
        good = js_GetMsg(&m, log->nats->js, log->nats->name, seq, NULL, &code) == NATS_OK &&
               nexus__parcel_get(out, nexus__nats_data(m));
        natsMsg_Destroy(m);
    }
    out->bytes = NEXUS_S("");
    return good ? NEXUS_OK : nexus__fail(NEXUS_ENOTFOUND, "the stream %s is empty", log->nats->name);
}

/* --- the end record ------------------------------------------------------------------------------------------------- */

static void end_subject(const nats_log *log, char out[static NATS_SUBJECT_MAX])
{
    snprintf(out, NATS_SUBJECT_MAX, "%s.state.end", log->nats->name);
}

static nexus_status read_end(nats_log *log, nexus__parcel *known)
{
    char subject[NATS_SUBJECT_MAX];
    natsMsg *m = NULL;
    end_subject(log, subject);
    nexus_status status = nexus__nats_last(log->nats, &m, log->nats->state_stream, subject);
    if (status != NEXUS_OK)
        return status;
    bool good = nexus__parcel_get(known, nexus__nats_data(m)) && known->bytes.n == sizeof log->record;
    if (good)
        memcpy(&log->record, known->bytes.p, sizeof log->record);
    known->bytes = NEXUS_S("");
    natsMsg_Destroy(m);
    return good ? NEXUS_OK : nexus__fail(NEXUS_ENOTFOUND, "the message %s is not one of ours", subject);
}

/* Under end_lock. run: what it must cover, or NULL. */
static nexus_status write_end(nats_log *log, const nexus__wal_run *run)
{
    char subject[NATS_SUBJECT_MAX];
    nexus__buf body;
    nexus__buf_init(&body, log->alloc, 0);
    pthread_mutex_lock(&log->lock);
    nexus__parcel end = log->end;
    pthread_mutex_unlock(&log->lock);
    nexus__end_reserve(&log->record, &end, run);
    end.bytes = nexus__slice(&log->record, sizeof log->record);
    nexus__parcel_put(&body, &end);
    end_subject(log, subject);
    const nexus__nats_put put = {.subject = subject, .data = nexus__buf_slice(&body)};
    nexus_status status = body.status == NEXUS_OK ? nexus__nats_publish(log->nats, &put, NULL) : body.status;
    if (status == NEXUS_ENOTFOUND && nexus__nats_streams(log->nats) == NEXUS_OK) /* somebody deleted it */
        status = nexus__nats_publish(log->nats, &put, NULL);
    if (status == NEXUS_OK)
        log->noted_seq = end.next_seq;
    nexus__buf_free(&body);
    return status;
}

static nexus_status note_end(nats_log *log, bool anyway)
{
    pthread_mutex_lock(&log->lock);
    uint64_t next_seq = log->end.next_seq;
    pthread_mutex_unlock(&log->lock);
    pthread_mutex_lock(&log->end_lock);
    nexus_status status = anyway || log->noted_seq != next_seq ? write_end(log, NULL) : NEXUS_OK;
    pthread_mutex_unlock(&log->end_lock);
    return status;
}

/* What the run is given must have been noted before somebody can have seen it. */
static nexus_status reserve(nats_log *log, const nexus__wal_run *run)
{
    pthread_mutex_lock(&log->end_lock);
    bool enough = nexus__end_covers(&log->record, &log->end, run);
    nexus_status status = enough ? NEXUS_OK : write_end(log, run);
    pthread_mutex_unlock(&log->end_lock);
    return status;
}

static void on_beat(void *user_data)
{
    (void)note_end(user_data, false); /* the next beat, or the next reservation, tries again */
}

/* --- becoming the owner --------------------------------------------------------------------------------------------- */

static void on_lease_lost(void *user_data)
{
    nats_log *log = user_data;
    pthread_mutex_lock(&log->lock);
    void (*fn)(void *) = log->lost_fn;
    log->lost = true;
    pthread_mutex_unlock(&log->lock);
    if (fn)
        fn(log->lost_data);
}

static void remember(nats_log *log, uint64_t place, uint64_t seq)
{
    pthread_mutex_lock(&log->lock);
    log->hints[log->next_hint++ % HINTS] = (hint){place, seq};
    pthread_mutex_unlock(&log->lock);
}

/* A mark with our epoch, behind last_seq: from here on no former owner can write. */
static nexus_status publish_mark(nats_log *log, const nexus__parcel *mark, uint64_t last_seq, uint64_t *seq)
{
    char id[64];
    nexus__buf body;
    nexus__buf_init(&body, log->alloc, 0);
    nexus__parcel_put(&body, mark);
    snprintf(id, sizeof id, "%s-%llu", log->session, (unsigned long long)++log->sent);
    const nexus__nats_put put = {.subject = log->nats->log_subject,
                                 .after = NATS_AFTER_LAST,
                                 .seq = last_seq,
                                 .id = id,
                                 .data = nexus__buf_slice(&body)};
    nexus_status status = body.status == NEXUS_OK ? nexus__nats_publish(log->nats, &put, seq) : body.status;
    nexus__buf_free(&body);
    return status;
}

/* Where the log goes on, from its last parcel and from the end record. */
static nexus_status find_end(nats_log *log, nexus__parcel *end, uint64_t *last_seq)
{
    nexus__parcel last, known;
    log->record = (nexus__end_note){.first_pos = 1};
    nexus_status status = last_parcel(log, &last, last_seq);
    bool empty = status == NEXUS_ENOTFOUND;
    if (status == NEXUS_OK || empty)
        status = read_end(log, &known);
    bool unknown = status == NEXUS_ENOTFOUND;
    if (status != NEXUS_OK && !unknown)
        return status;
    *end = nexus__end_find(empty ? NULL : &last, unknown ? NULL : &known, &log->record);
    return NEXUS_OK;
}

static nexus_status take_log(nats_log *log)
{
    nexus__parcel end = {0};
    uint64_t last_seq = 0;
    nexus_status status = NEXUS_ECONFLICT;
    for (int i = 0; i < ATTEMPTS && status == NEXUS_ECONFLICT; i++) { /* a former owner still writes */
        status = find_end(log, &end, &last_seq);
        if (status == NEXUS_OK)
            status = publish_mark(log, &end, last_seq, &last_seq);
    }
    if (status != NEXUS_OK)
        return status;
    pthread_mutex_lock(&log->lock);
    log->end = log->last = end;
    log->end_seq = last_seq;
    pthread_mutex_unlock(&log->lock);
    log->last_seq = last_seq;
    remember(log, end.place, last_seq + 1);
    return note_end(log, true);
}

static nexus_status own(nexus__wal_engine *e, nexus__wal_tail *tail)
{
    nats_log *log = (nats_log *)e;
    nexus_status status = nexus__nats_streams(log->nats);
    if (status == NEXUS_OK)
        status = nexus__nats_lease_take(&log->lease, log->nats, on_beat, on_lease_lost, log);
    if (status == NEXUS_OK)
        status = take_log(log);
    if (status != NEXUS_OK)
        return status;
    *tail = (nexus__wal_tail){.begin = log->record.begin,
                              .end = log->end.place,
                              .next_seq = log->end.next_seq,
                              .next_pos = log->end.next_pos,
                              .first_pos = log->record.first_pos,
                              .last_recv_ns = log->end.recv_ns};
    memcpy(tail->uuid, log->end.uuid, sizeof tail->uuid);
    return NEXUS_OK;
}

/* --- writing -------------------------------------------------------------------------------------------------------- */

static bool same(const nexus__parcel *a, const nexus__parcel *b)
{
    return a->epoch == b->epoch && a->place == b->place && a->next_seq == b->next_seq && a->part == b->part &&
           a->parts == b->parts;
}

/* The stream ends before what this owner has stored: it is said in the log, which another owner then goes on with. */
static nexus_status mark_loss(nats_log *log, uint64_t last_seq)
{
    nexus_status status = publish_mark(log, &log->end, last_seq, NULL);
    return nexus__fail(NEXUS_EUNKNOWN, "the NATS server has lost messages at the end of the stream %s%s", log->nats->name,
                       status == NEXUS_OK ? "" : ", and takes no new ones");
}

/* The server did not find what we believe is its last message. NEXUS_OK: the parcel lies there already. NEXUS_EAGAIN:
 * foreign messages do, send it again behind them. */
static nexus_status find_out(nats_log *log, const nexus__parcel *p)
{
    nexus__parcel there = {0};
    uint64_t last_seq = 0;
    nexus_status status = last_parcel(log, &there, &last_seq);
    if (status == NEXUS_ENOTFOUND)
        return mark_loss(log, last_seq);
    if (status != NEXUS_OK)
        return status;
    if (there.epoch > p->epoch)
        return overtaken();
    if (same(&there, p) || same(&there, &log->last)) {
        log->last_seq = last_seq;
        return same(&there, p) ? NEXUS_OK : NEXUS_EAGAIN;
    }
    return mark_loss(log, last_seq);
}

/* Nobody takes the log's subject: the stream is deleted, or its server not yet ready. */
static nexus_status make_again(nats_log *log)
{
    uint64_t first, last;
    nexus_status status = nexus__nats_log_range(log->nats, &first, &last);
    if (status != NEXUS_ENOTFOUND)
        return status == NEXUS_OK ? NEXUS_EAGAIN : status;
    status = nexus__nats_streams(log->nats);
    return status == NEXUS_OK ? mark_loss(log, 0) : status;
}

/* And the next one may be: as the log takes it, too. */
static bool nothing_was_stored(nexus_status status)
{
    return status == NEXUS_ENOSPC || status == NEXUS_EAGAIN || status == NEXUS_ETIMEDOUT || status == NEXUS_EUNREACH;
}

static bool decided(nexus_status status)
{
    return status != NEXUS_EAGAIN && status != NEXUS_ETIMEDOUT && status != NEXUS_EUNREACH &&
           status != NEXUS_ENOTFOUND && status != NEXUS_ENOTSUP;
}

static nexus_status publish_parcel(nats_log *log, const nexus__parcel *p, const nexus__nats_put *put)
{
    int64_t until = nexus__mono_ns() + PATIENCE_NS;
    for (;;) {
        nexus__nats_put now = *put;
        now.seq = log->last_seq;
        nexus_status status = nexus__nats_publish(log->nats, &now, &log->last_seq);
        if (status == NEXUS_ECONFLICT)
            status = find_out(log, p);
        else if (status == NEXUS_ENOTFOUND)
            status = make_again(log);
        if (decided(status))
            return status;
        if (nexus__mono_ns() >= until)
            return nexus__fail(NEXUS_EUNKNOWN, "the NATS server is out of reach");
        if (status != NEXUS_EAGAIN)
            pause_ms(50);
    }
}

static nexus_status append_part(nats_log *log, nexus__parcel *p, nexus__buf *body)
{
    char id[64];
    nexus__buf_clear(body);
    nexus__parcel_put(body, p);
    if (body->status != NEXUS_OK)
        return body->status;
    snprintf(id, sizeof id, "%s-%llu", log->session, (unsigned long long)++log->sent);
    const nexus__nats_put put = {
        .subject = log->nats->log_subject, .after = NATS_AFTER_LAST, .id = id, .data = nexus__buf_slice(body)};
    nexus_status status = publish_parcel(log, p, &put);
    if (status == NEXUS_OK)
        log->last = *p;
    return status;
}

static nexus_status append_parts(nats_log *log, const nexus__wal_run *run)
{
    size_t most = log->nats->payload_max - PARCEL_HEAD_BYTES;
    nexus__parcel p = log->end;
    nexus__buf body;
    p.first_seq = p.next_seq;
    p.next_seq = run->next_seq;
    p.next_pos = run->next_pos;
    p.first_pos = run->first_pos;
    p.recv_ns = run->recv_ns;
    p.parts = (uint32_t)((run->bytes.n + most - 1) / most);
    nexus_status status = NEXUS_OK;
    nexus__buf_init(&body, log->alloc, 0);
    for (; p.part < p.parts && status == NEXUS_OK; p.part++) {
        nexus_slice rest = nexus__slice_from(run->bytes, p.part * most);
        p.bytes = nexus__slice(rest.p, rest.n < most ? rest.n : most);
        status = append_part(log, &p, &body);
    }
    nexus__buf_free(&body);
    return status;
}

static void move_end(nats_log *log, const nexus__wal_run *run)
{
    pthread_mutex_lock(&log->lock);
    log->end.place++;
    log->end.next_seq = log->end.first_seq = run->next_seq;
    log->end.next_pos = log->end.first_pos = run->next_pos;
    log->end.recv_ns = run->recv_ns;
    log->end_seq = log->last_seq;
    uint64_t place = log->end.place;
    pthread_mutex_unlock(&log->lock);
    remember(log, place, log->last_seq + 1);
}

static nexus_status append(nexus__wal_engine *e, const nexus__wal_run *run, uint64_t *end)
{
    nats_log *log = (nats_log *)e;
    nexus_status status = !log->lease || nexus__nats_lease_is_lost(log->lease) ? overtaken() : reserve(log, run);
    if (status == NEXUS_OK)
        status = append_parts(log, run);
    if (status != NEXUS_OK && !nothing_was_stored(status)) { /* the log is lost: whoever can may own it now */
        nexus__nats_lease_end(log->lease);
        log->lease = NULL;
    }
    if (status != NEXUS_OK)
        return status;
    move_end(log, run);
    *end = log->end.place;
    return NEXUS_OK;
}

/* --- reading -------------------------------------------------------------------------------------------------------- */

static nexus_status seq_of(nats_log *log, uint64_t place, uint64_t *seq)
{
    nexus__parcel before;
    bool found = false;
    pthread_mutex_lock(&log->lock);
    for (unsigned i = 0; i < HINTS && !found; i++) {
        found = log->hints[i].seq && log->hints[i].place == place;
        *seq = log->hints[i].seq;
    }
    pthread_mutex_unlock(&log->lock);
    return found ? NEXUS_OK : search(log, by_place, place, seq, &before);
}

static uint64_t our_end(nats_log *log, uint64_t *seq)
{
    pthread_mutex_lock(&log->lock);
    uint64_t place = log->end.place;
    *seq = log->end_seq;
    pthread_mutex_unlock(&log->lock);
    return place;
}

/* One window of messages; *behind: the message behind the last whole run. What lies behind our end is another owner's. */
static nexus_status read_window(nats_log *log, nexus__parcels *s, uint64_t *seq, unsigned count, uint64_t *behind,
                                bool *empty)
{
    natsMsg *messages[NATS_WINDOW];
    nexus__parcel p;
    uint64_t last, end = our_end(log, &last);
    *empty = true;
    nexus_status status = nexus__nats_window(log->nats, messages, *seq, count);
    for (unsigned i = 0; i < count && status == NEXUS_OK; i++) {
        *empty &= !messages[i];
        if (messages[i] && nexus__parcel_get(&p, nexus__nats_data(messages[i])) && p.place < end)
            nexus__parcels_add(s, &p);
        if (s->part == 0)
            *behind = *seq + i + 1;
        natsMsg_Destroy(messages[i]);
    }
    *seq += count;
    return status == NEXUS_OK ? s->out->status : status;
}

/* Behind removed messages, which may be many, to the next there is. */
static nexus_status skip_gap(nats_log *log, uint64_t *seq)
{
    nexus__parcel p;
    uint64_t at = *seq;
    nexus_status status = parcel_at_or_after(log, *seq, &p, &at);
    *seq = at;
    return status;
}

static nexus_status read_runs(nexus__wal_engine *e, uint64_t place, nexus__buf *out, uint64_t *next)
{
    nats_log *log = (nats_log *)e;
    nexus__parcels s = {.out = out};
    uint64_t seq, behind, last;
    unsigned window = 1;
    bool empty;
    (void)our_end(log, &last);
    nexus_status status = seq_of(log, place, &seq);
    for (behind = seq; status == NEXUS_OK && seq <= last && (out->len < PAGE_BYTES || s.part); window *= 2) {
        size_t before = out->len;
        window = window < NATS_WINDOW ? window : NATS_WINDOW;
        if (window > last - seq + 1)
            window = (unsigned)(last - seq + 1);
        status = read_window(log, &s, &seq, window, &behind, &empty);
        if (status == NEXUS_OK && empty && seq <= last)
            status = skip_gap(log, &seq);
        if (out->len - before > PAGE_BYTES) /* large ones: few at a time */
            window = 1;
    }
    nexus__parcels_end(&s);
    if (!out->len || (status != NEXUS_OK && status != NEXUS_ENOTFOUND))
        return status == NEXUS_ENOTFOUND ? NEXUS_OK : status;
    *next = s.next;
    remember(log, s.next, behind);
    return NEXUS_OK;
}

static nexus_status find(nexus__wal_engine *e, uint64_t pos, uint64_t *place)
{
    nexus__parcel before = {0};
    uint64_t seq;
    nexus_status status = search((nats_log *)e, by_first_pos, pos, &seq, &before);
    *place = before.place;
    return status == NEXUS_ENOTFOUND ? NEXUS_OK : status;
}

static nexus_status purge_to(nats_log *log, uint64_t seq)
{
    jsOptions opts;
    jsErrCode code = 0;
    jsOptions_Init(&opts);
    opts.Stream.Purge.Sequence = seq;
    natsStatus s = js_PurgeStream(log->nats->js, log->nats->name, &opts, &code);
    return s == NATS_OK ? NEXUS_OK : nexus__nats_fail(s, code, "drop the old messages of the log");
}

static nexus_status drop_below(nexus__wal_engine *e, uint64_t pos, uint64_t *first_pos, uint64_t *begin)
{
    nats_log *log = (nats_log *)e;
    nexus__parcel before = {0};
    uint64_t seq = 0;
    /* The last run that begins at pos or before it is kept. */
    nexus_status status = search(log, by_first_pos, pos + 1, &seq, &before);
    if (status == NEXUS_OK && before.place)
        status = search(log, by_place, before.place, &seq, &(nexus__parcel){0});
    else
        seq = 0;
    if (status == NEXUS_OK && seq > 1) {
        pthread_mutex_lock(&log->end_lock);
        log->record.begin = before.place;
        log->record.first_pos = before.first_pos;
        status = write_end(log, NULL);
        pthread_mutex_unlock(&log->end_lock);
        if (status == NEXUS_OK)
            status = purge_to(log, seq);
    }
    *first_pos = log->record.first_pos;
    *begin = log->record.begin;
    return status;
}

/* --- checkpoints ---------------------------------------------------------------------------------------------------- */

/* A checkpoint knows of everything before it, so that must be noted first. */
static nexus_status put_blob(nexus__wal_engine *e, const char *name, nexus_slice blob)
{
    nats_log *log = (nats_log *)e;
    nexus_status status = note_end(log, false);
    return status == NEXUS_OK ? nexus__nats_put_blob(log->nats, name, blob) : status;
}

static nexus_status get_blob(nexus__wal_engine *e, const char *name, nexus__buf *out)
{
    return nexus__nats_get_blob(((nats_log *)e)->nats, name, out);
}

/* --- open, close ---------------------------------------------------------------------------------------------------- */

static void on_lost(nexus__wal_engine *e, void (*fn)(void *user_data), void *user_data)
{
    nats_log *log = (nats_log *)e;
    pthread_mutex_lock(&log->lock);
    log->lost_data = user_data;
    log->lost_fn = fn;
    bool already = log->lost;
    pthread_mutex_unlock(&log->lock);
    if (already)
        fn(user_data);
}

static void close_log(nexus__wal_engine *e)
{
    nats_log *log = (nats_log *)e;
    if (log->lease && !nexus__nats_lease_is_lost(log->lease))
        (void)note_end(log, false); /* the owner after us finds the end by itself; this is for when it is lost */
    nexus__nats_lease_end(log->lease);
    nexus__nats_close(log->nats);
    pthread_mutex_destroy(&log->lock);
    pthread_mutex_destroy(&log->end_lock);
    nexus__free(log->alloc, log);
}

static const nexus__wal_engine_ops ops = {
    .size = sizeof(nexus__wal_engine_ops),
    .name = "nats",
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

nexus_status nexus__nats_log_open(nexus__wal_engine **out, const char *url, const nexus_alloc *alloc)
{
    nats_log *log = nexus__calloc(alloc, 1, sizeof *log);
    if (!log)
        return nexus__nomem();
    log->alloc = alloc;
    log->base.ops = &ops;
    pthread_mutex_init(&log->lock, NULL);
    pthread_mutex_init(&log->end_lock, NULL);
    snprintf(log->session, sizeof log->session, "%016llx%016llx", (unsigned long long)nexus__random_u64(),
             (unsigned long long)nexus__random_u64());
    nexus_status status = nexus__nats_open(&log->nats, url, alloc);
    if (status != NEXUS_OK) {
        close_log(&log->base);
        return status;
    }
    *out = &log->base;
    return NEXUS_OK;
}
