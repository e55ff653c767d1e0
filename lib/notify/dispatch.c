/*
 * The dispatcher. A thread claims one due delivery of its channel under a lease, sends it, and records the attempt and
 * what follows from it in one transaction. A lease that runs out (the process died) makes the delivery due again, and
 * the attempt that was cut off is logged as such.
 *
 * Another thread announces: a notification whose first delivery got through is marked in that same transaction, and
 * the mark is taken away only when the announcement was accepted.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "base/id.h"
#include "base/status.h"
#include "base/time.h"
#include "notify/notify.h"
#include "json/write.h"

enum { POLL_MS = 1000, ANNOUNCE_BATCH = 32 };

typedef struct lane {
    nexus_notify *notify;
    const nexus__channel *channel; /* NULL: announces */
} lane;

/* --- waiting ------------------------------------------------------------------------------------ */

void nexus__dispatch_wake(nexus_notify *notify)
{
    pthread_mutex_lock(&notify->mutex);
    notify->locked.wakes++;
    pthread_cond_broadcast(&notify->wake);
    pthread_mutex_unlock(&notify->mutex);
}

static uint64_t wakes_now(nexus_notify *notify, bool *closing)
{
    pthread_mutex_lock(&notify->mutex);
    uint64_t wakes = notify->locked.wakes;
    *closing = notify->locked.closing;
    pthread_mutex_unlock(&notify->mutex);
    return wakes;
}

/* Until someone wakes (after `seen` was read), the time is over, or it closes. */
static void wait_for_work(nexus_notify *notify, uint64_t seen, int64_t wait_ns)
{
    int64_t until_ns = nexus__mono_ns() + wait_ns;
    struct timespec until = {.tv_sec = until_ns / NEXUS__NS_PER_S, .tv_nsec = until_ns % NEXUS__NS_PER_S};
    int waited = 0;
    pthread_mutex_lock(&notify->mutex);
    while (notify->locked.wakes == seen && !notify->locked.closing && waited != ETIMEDOUT)
        waited = pthread_cond_timedwait(&notify->wake, &notify->mutex, &until);
    pthread_mutex_unlock(&notify->mutex);
}

/* --- claiming ------------------------------------------------------------------------------------- */

#define DUE "channel = $1 AND ((status = 'queued' AND due_at <= $2) OR (status = 'sending' AND lease_until <= $2))"
#define CLAIM                                                                                                          \
    "UPDATE notify_deliveries SET status = 'sending', attempts = attempts + 1, lease_until = $3, lease = $4,"          \
    " updated_at = $2 WHERE id = (SELECT id FROM notify_deliveries WHERE " DUE " ORDER BY due_at LIMIT 1"
#define RETURNING                                                                                                      \
    ") RETURNING id, notification_id, recipient, endpoint_id, subject, text_body, html_body, attempts, expires_at"

/* Two processes on one PostgreSQL pass over each other's rows. */
static const char claim_sqlite[] = CLAIM RETURNING;
static const char claim_postgres[] = CLAIM " FOR UPDATE SKIP LOCKED" RETURNING;

static nexus_status claim(nexus_rows **rows, nexus__delivery *d, nexus_notify *notify, const nexus__channel *channel)
{
    int64_t now = nexus__real_ns();
    nexus__uuid7(d->lease);
    nexus_status status = nexus_db_query_one(
        rows, notify->db, notify->postgres ? claim_postgres : claim_sqlite,
        (nexus_value[]){NEXUS_TEXT_C(channel->name), NEXUS_INT(now),
                        NEXUS_INT(now + (int64_t)notify->lease_ms * NEXUS__NS_PER_MS), NEXUS_TEXT_C(d->lease)},
        4);
    if (status != NEXUS_OK)
        return status;
    d->id = nexus__cell(*rows, 0);
    d->notification_id = nexus__cell(*rows, 1);
    d->recipient = nexus__cell(*rows, 2);
    d->endpoint_id = nexus__cell(*rows, 3);
    d->subject = nexus__cell(*rows, 4);
    d->text = nexus__cell(*rows, 5);
    d->html = nexus__cell(*rows, 6);
    d->attempts = nexus_rows_int(*rows, 7);
    d->expires_ns = nexus_rows_int(*rows, 8);
    return NEXUS_OK;
}

/* How long until something of the channel is due. */
static int64_t next_due(nexus_notify *notify, const nexus__channel *channel)
{
    nexus_rows *rows = NULL;
    int64_t wait = POLL_MS * NEXUS__NS_PER_MS;
    nexus_status status = nexus_db_query_one(
        &rows, notify->db,
        "SELECT MIN(CASE WHEN status = 'queued' THEN due_at ELSE lease_until END) FROM notify_deliveries"
        " WHERE channel = $1 AND status IN ('queued', 'sending')",
        (nexus_value[]){NEXUS_TEXT_C(channel->name)}, 1);
    if (status == NEXUS_OK && !nexus_rows_is_null(rows, 0)) {
        int64_t left = nexus_rows_int(rows, 0) - nexus__real_ns();
        wait = left < NEXUS__NS_PER_MS ? NEXUS__NS_PER_MS : left < wait ? left : wait;
    }
    nexus_rows_free(status == NEXUS_OK ? rows : NULL);
    return wait;
}

/* --- recording ------------------------------------------------------------------------------------ */

static nexus_status insert_attempt(nexus_db *tx, nexus_slice delivery, int64_t n, int64_t at_ns,
                                   const nexus__outcome *o, const char *outcome, int64_t next_ns)
{
    return nexus_db_exec(tx,
                         "INSERT INTO notify_attempts (delivery_id, n, at, ms, code, outcome, response, error, next_at)"
                         " VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9) ON CONFLICT DO NOTHING",
                         (nexus_value[]){NEXUS_TEXT(delivery), NEXUS_INT(n), NEXUS_INT(at_ns), NEXUS_INT(o->ms),
                                         NEXUS_INT(o->code), NEXUS_TEXT_C(outcome), NEXUS_TEXT_C(o->response),
                                         NEXUS_TEXT_C(o->error), NEXUS_INT(next_ns)},
                         9, NULL);
}

static bool got_through(const char *status)
{
    return strcmp(status, "sent") == 0 || strcmp(status, "delivered") == 0 || strcmp(status, "captured") == 0;
}

static nexus_status update_rows(nexus_db *tx, const nexus__channel *channel, const nexus__delivery *d,
                                const nexus__decision *decision)
{
    int64_t changes = 0;
    nexus_status status = nexus_db_exec(
        tx, "UPDATE notify_deliveries SET status = $1, due_at = $2, updated_at = $3 WHERE id = $4 AND lease = $5",
        (nexus_value[]){NEXUS_TEXT_C(decision->status), NEXUS_INT(decision->due_ns), NEXUS_INT(nexus__real_ns()),
                        NEXUS_TEXT(d->id), NEXUS_TEXT_C(d->lease)},
        5, &changes);
    if (status == NEXUS_OK && changes == 0)
        return nexus__fail(NEXUS_ESTALE, "the lease ran out while it was being sent");
    if (status == NEXUS_OK && got_through(decision->status))
        status = nexus_db_exec(
            tx,
            "UPDATE notify_notifications SET announce = 1, announce_channel = $1, announce_status = $2"
            " WHERE id = $3 AND announce = 0",
            (nexus_value[]){NEXUS_TEXT_C(channel->name), NEXUS_TEXT_C(decision->status), NEXUS_TEXT(d->notification_id)},
            3, NULL);
    return status;
}

static nexus_status record_once(nexus_notify *notify, const nexus__channel *channel, const nexus__delivery *d,
                                const nexus__outcome *o, const nexus__decision *decision, int64_t at_ns)
{
    nexus_db *tx = NULL;
    nexus_status status = nexus_db_begin(&tx, notify->db);
    if (status != NEXUS_OK)
        return status;
    status = insert_attempt(tx, d->id, d->attempts, at_ns, o, nexus__outcome_name(o->kind), decision->due_ns);
    if (status == NEXUS_OK)
        status = update_rows(tx, channel, d, decision);
    return nexus__notify_finish(tx, status);
}

/* What was sent must not be forgotten because the database is busy for a moment: it would be sent again. */
static void record(nexus_notify *notify, const nexus__channel *channel, const nexus__delivery *d,
                   const nexus__outcome *o, int64_t at_ns)
{
    nexus__decision decision;
    bool closing = false;
    nexus__notify_decide(&decision, notify, channel, o, d->attempts, d->expires_ns, nexus__real_ns(),
                         nexus__random_u64());
    for (int tries = 0; tries < 50; tries++) {
        uint64_t seen = wakes_now(notify, &closing);
        nexus_status status = record_once(notify, channel, d, o, &decision, at_ns);
        if (status == NEXUS_OK || status == NEXUS_ESTALE)
            break;
        wait_for_work(notify, seen, 200 * NEXUS__NS_PER_MS);
    }
    atomic_fetch_add(&notify->atomic.attempts, 1);
    if (got_through(decision.status))
        atomic_fetch_add(&notify->atomic.sent, 1);
    else if (strcmp(decision.status, "queued") == 0)
        atomic_fetch_add(&notify->atomic.retried, 1);
    else
        atomic_fetch_add(&notify->atomic.failed, 1);
    nexus__dispatch_wake(notify);
}

/* The attempt before this one left no trace: its process ended in the middle of it. */
static void note_interrupted(nexus_notify *notify, const nexus__delivery *d)
{
    if (d->attempts < 2)
        return;
    nexus__outcome cut = {.error = "interrupted: the process ended before the outcome was recorded"};
    nexus_status status = insert_attempt(notify->db, d->id, d->attempts - 1, nexus__real_ns(), &cut, "interrupted", 0);
    (void)status; /* a gap in the log, nothing more */
}

/* --- announcing ------------------------------------------------------------------------------------- */

static nexus_status sent_data(nexus__buf *out, const nexus_rows *rows)
{
    static const struct {
        const char *name;
        size_t column;
    } members[] = {{"notification_id", 0}, {"order_id", 6}, {"user_id", 7},
                   {"channel", 8},         {"status", 9},   {"template", 10}};
    nexus__json_writer w = nexus__json_writer_on(out);
    nexus__json_open(&w, '{');
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
        if (nexus__cell(rows, members[i].column).n)
            nexus__json_put_text(&w, members[i].name, nexus__cell(rows, members[i].column));
    nexus__json_close(&w, '}');
    return out->status;
}

static nexus_status announce_one(nexus_notify *notify, const nexus_rows *rows)
{
    nexus__buf data;
    nexus__buf_init(&data, notify->alloc, 0);
    nexus_status status = sent_data(&data, rows);
    nexus_notify_sent sent = {.size = sizeof sent,
                              .notification_id = nexus__cell(rows, 0),
                              .event_type = nexus__cell(rows, 1),
                              .event_id = nexus__cell(rows, 2),
                              .subject = nexus__cell(rows, 3),
                              .traceparent = nexus__cell(rows, 4),
                              .correlationid = nexus__cell(rows, 5),
                              .data = nexus__buf_slice(&data)};
    if (status == NEXUS_OK && notify->on_sent)
        status = notify->on_sent(&sent, notify->user_data);
    nexus__buf_free(&data);
    if (status == NEXUS_OK)
        status = nexus_db_exec(notify->db, "UPDATE notify_notifications SET announce = 2 WHERE id = $1",
                               (nexus_value[]){NEXUS_TEXT(sent.notification_id)}, 1, NULL);
    return status;
}

/* True when all that waited was announced and there may be more. */
static bool announce_due(nexus_notify *notify)
{
    nexus_rows *rows = NULL;
    nexus_status status =
        nexus_db_query(&rows, notify->db,
                       "SELECT id, event_type, event_id, subject, traceparent, correlationid, order_id, user_id,"
                       " announce_channel, announce_status, template FROM notify_notifications WHERE announce = 1"
                       " ORDER BY id LIMIT $1",
                       (nexus_value[]){NEXUS_INT(ANNOUNCE_BATCH)}, 1);
    if (status != NEXUS_OK)
        return false;
    bool more = nexus_rows_count(rows) == ANNOUNCE_BATCH;
    while (status == NEXUS_OK && nexus_rows_next(rows))
        status = announce_one(notify, rows);
    nexus_rows_free(rows);
    return status == NEXUS_OK && more;
}

/* --- threads ------------------------------------------------------------------------------------------ */

/* True when there may be more. */
static bool deliver_one(nexus_notify *notify, const nexus__channel *channel)
{
    nexus_rows *rows = NULL;
    nexus__delivery d = {.attempts = 0};
    nexus__outcome outcome = {.kind = NEXUS__OUTCOME_RETRY_AFTER};
    if (claim(&rows, &d, notify, channel) != NEXUS_OK)
        return false;
    note_interrupted(notify, &d);
    int64_t at_ns = nexus__real_ns();
    channel->deliver(notify, &d, &outcome);
    record(notify, channel, &d, &outcome, at_ns);
    nexus_rows_free(rows);
    return true;
}

static void *run_lane(void *user_data)
{
    lane l = *(lane *)user_data;
    nexus__free(l.notify->alloc, user_data);
    for (bool closing = false;;) {
        uint64_t seen = wakes_now(l.notify, &closing);
        if (closing)
            return NULL;
        bool more = l.channel ? deliver_one(l.notify, l.channel) : announce_due(l.notify);
        if (!more)
            wait_for_work(l.notify, seen, l.channel ? next_due(l.notify, l.channel) : POLL_MS * NEXUS__NS_PER_MS);
    }
}

static nexus_status start_thread(nexus_notify *notify, const nexus__channel *channel)
{
    sigset_t all, before;
    lane *l = nexus__malloc(notify->alloc, sizeof *l);
    if (!l)
        return nexus__nomem();
    *l = (lane){notify, channel};
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&notify->threads[notify->thread_count], NULL, run_lane, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        nexus__free(notify->alloc, l);
        return nexus__fail_errno(error, "cannot start a thread of the dispatcher");
    }
    char name[16];
    snprintf(name, sizeof name, "nexus-%s", channel ? channel->name : "announce");
    pthread_setname_np(notify->threads[notify->thread_count++], name);
    return NEXUS_OK;
}

nexus_status nexus__dispatch_start(nexus_notify *notify, uint32_t email_threads, uint32_t webhook_threads)
{
    nexus_status status = NEXUS_OK;
    if (email_threads + webhook_threads + 1 > NEXUS__NOTIFY_THREADS_MAX)
        return nexus__fail(NEXUS_EINVAL, "a dispatcher has at most %d threads", NEXUS__NOTIFY_THREADS_MAX - 1);
    /* Nobody else opens a SQLite file, so what it holds as under way is what a dead process left. */
    if (!notify->postgres)
        status = nexus_db_exec(notify->db, "UPDATE notify_deliveries SET lease_until = 0 WHERE status = 'sending'",
                               NULL, 0, NULL);
    for (uint32_t i = 0; status == NEXUS_OK && i < email_threads; i++)
        status = start_thread(notify, &nexus__channel_email);
    for (uint32_t i = 0; status == NEXUS_OK && i < webhook_threads; i++)
        status = start_thread(notify, &nexus__channel_webhook);
    return status == NEXUS_OK ? start_thread(notify, NULL) : status;
}

void nexus__dispatch_stop(nexus_notify *notify)
{
    pthread_mutex_lock(&notify->mutex);
    notify->locked.closing = true;
    pthread_cond_broadcast(&notify->wake);
    pthread_mutex_unlock(&notify->mutex);
    while (notify->thread_count > 0)
        pthread_join(notify->threads[--notify->thread_count], NULL);
}
