/*
 * Outbox and inbox: events in the caller's own transaction. The outbox is a table that the relay empties: it publishes
 * the rows it can see in the order of their commits, then deletes exactly those. It never remembers a highest number,
 * since a lower one may be committed later (the row would be skipped for ever). A crash between publish and delete
 * publishes again, and the bus knows the ids.
 *
 * Order: SQLite has one writer, so the rows' numbers follow the commits. On PostgreSQL a row's number is given when it is
 * written, and a slow transaction commits it late; so a second number, its place, is given by a trigger that runs at the
 * commit, under a lock held to its end. Taken any earlier, that lock could wait for rows of the caller's (a deadlock).
 * The same trigger sends the NOTIFY that wakes the relay.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <nexus/bus.h>
#include <nexus/db.h>

#include "base/id.h"
#include "base/status.h"
#include "base/str.h"
#include "base/thread.h"
#include "base/time.h"
#include "bus/cause.h"
#include "bus/event.h"
#include "store/session.h"

static const nexus_migration tables[] = {
    {1, "outbox and inbox",
     "CREATE TABLE nexus_outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT NOT NULL, at BIGINT NOT NULL,"
     " failed TEXT);"
     "CREATE TABLE nexus_inbox (consumer TEXT NOT NULL, source TEXT NOT NULL, id TEXT NOT NULL, at BIGINT NOT NULL,"
     " PRIMARY KEY (consumer, source, id))",
     "CREATE TABLE nexus_outbox (seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event TEXT NOT NULL,"
     " at BIGINT NOT NULL, failed TEXT);"
     "CREATE TABLE nexus_inbox (consumer TEXT NOT NULL, source TEXT NOT NULL, id TEXT NOT NULL, at BIGINT NOT NULL,"
     " PRIMARY KEY (consumer, source, id))"},
    {2, "places in the order of commits", "ALTER TABLE nexus_outbox ADD COLUMN place BIGINT",
     "ALTER TABLE nexus_outbox ADD COLUMN place BIGINT;"
     "CREATE SEQUENCE nexus_outbox_place;"
     "CREATE FUNCTION nexus_outbox_commits() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
     " PERFORM pg_advisory_xact_lock((7234936::bigint << 32) + TG_RELID::bigint);"
     " EXECUTE format('UPDATE %I.nexus_outbox SET place = nextval(%L) WHERE seq = $1', TG_TABLE_SCHEMA,"
     "  format('%I.nexus_outbox_place', TG_TABLE_SCHEMA)) USING NEW.seq;"
     " PERFORM pg_notify('nexus_outbox', ''); RETURN NULL; END $$;"
     "CREATE CONSTRAINT TRIGGER nexus_outbox_commits AFTER INSERT ON nexus_outbox DEFERRABLE INITIALLY DEFERRED"
     " FOR EACH ROW EXECUTE FUNCTION nexus_outbox_commits()"},
};

nexus_status nexus_outbox_prepare(nexus_db *db)
{
    return nexus_db_migrate(db, "bus", tables, sizeof tables / sizeof tables[0]);
}

/* --- append -------------------------------------------------------------------------------------------------- */

static nexus_status append_one(nexus_db *tx, const nexus_event *given)
{
    char id[NEXUS__UUID_LEN + 1], *text;
    size_t n;
    nexus_event event = NEXUS_EVENT_INIT;
    memcpy(&event, given, given->size < sizeof event ? given->size : sizeof event);
    event.size = sizeof event;
    nexus_status status = nexus_event_check(&event);
    if (status != NEXUS_OK)
        return status;
    if (!event.id.n) {
        nexus__uuid7(id);
        event.id = nexus__slice_c(id);
    }
    if (!event.time_ns)
        event.time_ns = nexus__real_ns();
    nexus__cause_fill(&event, nexus__cause_now());
    event.pos = 0; /* what the bus sets is not part of what is to be published */
    event.version = -1;
    event.recv_ns = 0;
    event.stream = (nexus_slice){NULL, 0};
    status = nexus_event_format(&text, &n, &event);
    if (status != NEXUS_OK)
        return status;
    const nexus_value row[] = {NEXUS_TEXT(nexus__slice(text, n)), NEXUS_INT(nexus__real_ns())};
    status = nexus_db_exec(tx, "INSERT INTO nexus_outbox (event, at) VALUES ($1, $2)", row, 2, NULL);
    nexus_free(text);
    return status;
}

nexus_status nexus_outbox_append(nexus_db *tx, const nexus_event *events, size_t n)
{
    if (!nexus_db_in_transaction(tx))
        return nexus__fail(NEXUS_EINVAL, "outbox: append inside an open transaction (nexus_db_begin)");
    for (size_t i = 0; i < n; i++) {
        nexus_status status = append_one(tx, nexus__event_at(events, i));
        if (status != NEXUS_OK)
            return status;
    }
    return NEXUS_OK;
}

nexus_status nexus_outbox_append_json(nexus_db *tx, const char *text, size_t n)
{
    nexus_event_doc *doc;
    nexus_status status = nexus_event_parse(&doc, text, n, NEXUS_EVENT_LENIENT);
    if (status != NEXUS_OK)
        return status;
    status = nexus_event_doc_count(doc) ? nexus_outbox_append(tx, nexus_event_doc_at(doc, 0), nexus_event_doc_count(doc))
                                        : NEXUS_OK;
    nexus_event_doc_free(doc);
    return status;
}

/* A command that is sent again after silence is another event, but the same command: its extension names it. */
static nexus_slice claimed_id(const nexus_event *event)
{
    for (size_t k = 0; k < event->ext_count; k++)
        if (nexus__slice_eq_c(event->ext[k].name, "commandid") && event->ext[k].value.n)
            return event->ext[k].value;
    return event->id;
}

nexus_status nexus_inbox_claim(nexus_db *tx, const char *group, const nexus_event *event, bool *is_new)
{
    if (!event->id.n)
        return nexus__fail(NEXUS_EINVAL, "inbox: an event without an id cannot be claimed");
    if (!nexus_db_in_transaction(tx))
        return nexus__fail(NEXUS_EINVAL, "inbox: claim inside an open transaction (nexus_db_begin)");
    const nexus_value row[] = {NEXUS_TEXT_C(group), NEXUS_TEXT(event->source), NEXUS_TEXT(claimed_id(event)),
                               NEXUS_INT(nexus__real_ns())};
    int64_t changes = 0;
    nexus_status status = nexus_db_exec(tx,
                                        "INSERT INTO nexus_inbox (consumer, source, id, at) VALUES ($1, $2, $3, $4)"
                                        " ON CONFLICT DO NOTHING",
                                        row, 4, &changes);
    if (status == NEXUS_OK)
        *is_new = changes == 1;
    return status;
}

/* --- relay --------------------------------------------------------------------------------------------------- */

struct nexus_outbox_relay {
    const nexus_alloc *alloc;
    nexus_db *db;
    nexus_bus *bus;
    char *source; /* NULL = the bus's */
    uint32_t poll_ms, batch;
    int wake_fd;
    atomic_bool closing;
    nexus_db *session; /* the thread's: hears of commits, where the database tells */
    pthread_mutex_t run; /* one pass at a time: the order is the table's */
    pthread_t thread;
    bool started;
};

void nexus_outbox_relay_opts_init(nexus_outbox_relay_opts *opts)
{
    *opts = (nexus_outbox_relay_opts)NEXUS_OUTBOX_RELAY_OPTS_INIT;
}

/* Rows of one pass: numbers and parsed events. */
typedef struct pass {
    nexus_rows *rows;
    size_t count;
    int64_t *seqs;
    nexus_event_doc **docs;
    nexus_event *events;
} pass;

static void pass_free(nexus_outbox_relay *r, pass *p)
{
    for (size_t i = 0; p->docs && i < p->count; i++)
        nexus_event_doc_free(p->docs[i]);
    nexus__free(r->alloc, p->docs);
    nexus__free(r->alloc, p->seqs);
    nexus__free(r->alloc, p->events);
    nexus_rows_free(p->rows);
}

/* A row that can never be published stays, with the reason, out of the way of the others. */
static nexus_status set_aside(nexus_outbox_relay *r, int64_t seq)
{
    const nexus_value args[] = {NEXUS_INT(seq), NEXUS_TEXT_C(nexus_error_message())};
    return nexus_db_exec(r->db, "UPDATE nexus_outbox SET failed = $2 WHERE seq = $1", args, 2, NULL);
}

static nexus_status read_row(nexus_outbox_relay *r, pass *p)
{
    nexus_slice text;
    int64_t seq = nexus_rows_int(p->rows, 0);
    nexus_event_doc *doc;
    nexus_rows_text(p->rows, 1, &text);
    nexus_status status = nexus_event_parse(&doc, text.p, text.n, NEXUS_EVENT_LENIENT);
    if (status == NEXUS_ENOMEM)
        return status;
    if (status != NEXUS_OK || nexus_event_doc_count(doc) != 1)
        return set_aside(r, seq);
    p->seqs[p->count] = seq;
    p->docs[p->count] = doc;
    p->events[p->count] = *nexus_event_doc_at(doc, 0);
    if (!p->events[p->count].source.n && r->source)
        p->events[p->count].source = nexus__slice_c(r->source);
    p->count++;
    return NEXUS_OK;
}

static nexus_status read_rows(nexus_outbox_relay *r, pass *p)
{
    const nexus_value limit[] = {NEXUS_INT(r->batch)};
    nexus_status status = nexus_db_query(
        &p->rows, r->db, "SELECT seq, event FROM nexus_outbox WHERE failed IS NULL ORDER BY COALESCE(place, 0), seq LIMIT $1", limit, 1);
    if (status != NEXUS_OK)
        return status;
    size_t n = nexus_rows_count(p->rows);
    p->seqs = nexus__calloc(r->alloc, n + 1, sizeof *p->seqs);
    p->docs = nexus__calloc(r->alloc, n + 1, sizeof *p->docs);
    p->events = nexus__calloc(r->alloc, n + 1, sizeof *p->events);
    if (!p->seqs || !p->docs || !p->events)
        return nexus__nomem();
    while (status == NEXUS_OK && nexus_rows_next(p->rows))
        status = read_row(r, p);
    return status;
}

/* Whether trying the same again can never help. */
static bool hopeless(nexus_status status)
{
    return status == NEXUS_EINVAL || status == NEXUS_ETOOBIG || status == NEXUS_ECONFLICT;
}

static nexus_status forget(nexus_outbox_relay *r, const int64_t *seqs, size_t n)
{
    nexus_db *tx;
    nexus_status status = nexus_db_begin(&tx, r->db);
    if (status != NEXUS_OK)
        return status;
    for (size_t i = 0; status == NEXUS_OK && i < n; i++) {
        const nexus_value seq[] = {NEXUS_INT(seqs[i])};
        status = nexus_db_exec(tx, "DELETE FROM nexus_outbox WHERE seq = $1", seq, 1, NULL);
    }
    if (status != NEXUS_OK) {
        nexus_db_rollback(tx);
        return status;
    }
    return nexus_db_commit(tx);
}

static nexus_status publish_each(nexus_outbox_relay *r, const pass *p, uint64_t *moved)
{
    for (size_t i = 0; i < p->count; i++) {
        nexus_status status = nexus_bus_publish(r->bus, &p->events[i], 1, NULL, NULL);
        if (hopeless(status))
            status = set_aside(r, p->seqs[i]);
        else if (status == NEXUS_OK)
            status = forget(r, &p->seqs[i], 1), *moved += status == NEXUS_OK;
        if (status != NEXUS_OK)
            return status;
    }
    return NEXUS_OK;
}

static nexus_status one_pass(nexus_outbox_relay *r, uint64_t *moved, bool *more)
{
    pass p = {0};
    nexus_status status = read_rows(r, &p);
    *more = status == NEXUS_OK && nexus_rows_count(p.rows) == r->batch;
    if (status == NEXUS_OK && p.count) {
        status = nexus_bus_publish(r->bus, p.events, p.count, NULL, NULL);
        if (hopeless(status))
            status = publish_each(r, &p, moved);
        else if (status == NEXUS_OK)
            status = forget(r, p.seqs, p.count), *moved += status == NEXUS_OK ? p.count : 0;
    }
    pass_free(r, &p);
    return status;
}

nexus_status nexus_outbox_relay_run(nexus_outbox_relay *r, uint64_t *moved)
{
    uint64_t count = 0;
    bool more = true;
    nexus_status status = NEXUS_OK;
    pthread_mutex_lock(&r->run);
    while (status == NEXUS_OK && more)
        status = one_pass(r, &count, &more);
    pthread_mutex_unlock(&r->run);
    if (moved)
        *moved = count;
    return status;
}

/* Hears of commits from now on, if it can; while it cannot, it looks when its time is over. */
static void listen_to_commits(nexus_outbox_relay *r)
{
    if (r->session || strcmp(nexus_db_kind(r->db), "postgres") != 0)
        return;
    if (nexus__db_session(&r->session, r->db) == NEXUS_OK &&
        nexus_db_exec(r->session, "LISTEN nexus_outbox", NULL, 0, NULL) == NEXUS_OK)
        return;
    nexus_db_close(r->session);
    r->session = NULL;
}

static void wait_for_news(nexus_outbox_relay *r)
{
    struct pollfd fds[2] = {{.fd = r->wake_fd, .events = POLLIN}};
    int ms = r->poll_ms < INT32_MAX ? (int)r->poll_ms : INT32_MAX;
    bool notified;
    uint64_t drained;
    if (!r->session) {
        poll(fds, 1, ms);
    } else if (nexus__db_wait(r->session, fds, 1, ms, &notified) != NEXUS_OK) {
        nexus_db_close(r->session);
        r->session = NULL;
    }
    if (fds[0].revents && read(r->wake_fd, &drained, sizeof drained) < 0)
        return; /* somebody else's wake was drained with it */
}

static void *relay_main(void *arg)
{
    nexus_outbox_relay *r = arg;
    while (!atomic_load(&r->closing)) {
        bool deaf = !r->session;
        listen_to_commits(r);
        if (deaf && r->session) /* what was committed before it listened */
            (void)nexus_outbox_relay_run(r, NULL);
        wait_for_news(r);
        if (!atomic_load(&r->closing))
            (void)nexus_outbox_relay_run(r, NULL); /* what fails now is tried again at the next poll */
    }
    return NULL;
}

nexus_status nexus_outbox_relay_open(nexus_outbox_relay **out, nexus_db *db, nexus_bus *bus,
                                     const nexus_outbox_relay_opts *opts)
{
    nexus_outbox_relay_opts o = NEXUS_OUTBOX_RELAY_OPTS_INIT;
    if (opts)
        memcpy(&o, opts, opts->size < sizeof o ? opts->size : sizeof o);
    nexus_outbox_relay *r = nexus__calloc(o.alloc, 1, sizeof *r);
    if (!r)
        return nexus__nomem();
    r->alloc = o.alloc;
    r->db = db;
    r->bus = bus;
    r->poll_ms = o.poll_ms ? o.poll_ms : 100;
    r->batch = o.batch ? o.batch : 256;
    pthread_mutex_init(&r->run, NULL);
    r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    nexus_status status = r->wake_fd >= 0 ? NEXUS_OK : nexus__fail_errno(errno, "make an eventfd");
    if (status == NEXUS_OK && o.source && !(r->source = nexus__strndup(r->alloc, nexus__slice_c(o.source))))
        status = nexus__nomem();
    if (status == NEXUS_OK)
        status = nexus__thread_start(&r->thread, "nexus-outbox", relay_main, r);
    r->started = status == NEXUS_OK;
    if (status != NEXUS_OK) {
        nexus_outbox_relay_close(r);
        return status;
    }
    *out = r;
    return NEXUS_OK;
}

void nexus_outbox_relay_wake(nexus_outbox_relay *r)
{
    uint64_t one = 1;
    if (r && r->wake_fd >= 0 && write(r->wake_fd, &one, sizeof one) < 0)
        return; /* it is woken already */
}

void nexus_outbox_relay_close(nexus_outbox_relay *r)
{
    if (!r)
        return;
    atomic_store(&r->closing, true);
    nexus_outbox_relay_wake(r);
    if (r->started)
        pthread_join(r->thread, NULL);
    nexus_db_close(r->session);
    if (r->wake_fd >= 0)
        close(r->wake_fd);
    pthread_mutex_destroy(&r->run);
    nexus__free(r->alloc, r->source);
    nexus__free(r->alloc, r);
}
