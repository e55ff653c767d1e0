/*
 * The log in a table of SQLite or PostgreSQL: one row a run of batches, keyed by the bytes before it.
 *
 * One row of nexus_bus_head says where the log ends and which epoch may write. An append changes that row and adds the
 * run in one transaction, and only when epoch and end are what this owner believes: positions are given in the order of
 * commits, and an owner that was overtaken while it slept stores nothing (its update finds no row). A new owner raises
 * the epoch, which waits for an append that is still open; so it always sees the true end.
 *
 * Who may own: SQLite, the holder of the lock beside the database; PostgreSQL, the session with the advisory lock, which
 * the server gives back when the session ends. A session that breaks is opened again, and the head tells whether the run
 * that was on its way had been stored.
 */
#include <stdio.h>
#include <time.h>

#include <nexus/db.h>

#include "base/hash.h"
#include "base/id.h"
#include "base/status.h"
#include "bus/engines/engine.h"
#include "store/session.h"

#define PAGE_BYTES (1 << 20)
#define ROWS_MAX (256u << 20)
#define DROP_BYTES (8u << 20)
#define REOWN_NS (3 * NEXUS__NS_PER_S) /* an outage shorter than this is nobody's trouble */

typedef struct sql_log {
    nexus__wal_engine base;
    const nexus_alloc *alloc;
    nexus_db *pool, *session; /* session: PostgreSQL, holds the lock and writes */
    uint64_t key;
    int64_t epoch, end;
    bool postgres;
} sql_log;

static const nexus_migration tables[] = {
    {1, "log",
     "CREATE TABLE nexus_bus_log (at INTEGER PRIMARY KEY, first_pos BIGINT NOT NULL, bytes BLOB NOT NULL);"
     "CREATE INDEX nexus_bus_log_pos ON nexus_bus_log (first_pos, at);"
     "CREATE TABLE nexus_bus_head (id INTEGER PRIMARY KEY, uuid BLOB NOT NULL, epoch BIGINT NOT NULL,"
     " next_at BIGINT NOT NULL, next_seq BIGINT NOT NULL, next_pos BIGINT NOT NULL, last_ns BIGINT NOT NULL);"
     "CREATE TABLE nexus_bus_blob (name TEXT PRIMARY KEY, bytes BLOB NOT NULL)",
     "CREATE TABLE nexus_bus_log (at BIGINT PRIMARY KEY, first_pos BIGINT NOT NULL, bytes BYTEA NOT NULL);"
     "CREATE INDEX nexus_bus_log_pos ON nexus_bus_log (first_pos, at);"
     "ALTER TABLE nexus_bus_log ALTER COLUMN bytes SET STORAGE EXTERNAL;"
     "CREATE TABLE nexus_bus_head (id INTEGER PRIMARY KEY, uuid BYTEA NOT NULL, epoch BIGINT NOT NULL,"
     " serving BIGINT NOT NULL DEFAULT 0, next_at BIGINT NOT NULL, next_seq BIGINT NOT NULL, next_pos BIGINT NOT NULL, last_ns BIGINT NOT NULL);"
     "CREATE TABLE nexus_bus_blob (name TEXT PRIMARY KEY, bytes BYTEA NOT NULL);"
     "CREATE UNLOGGED TABLE nexus_bus_wire (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, epoch BIGINT NOT NULL,"
     " conn BIGINT NOT NULL, to_owner BOOLEAN NOT NULL, bytes BYTEA NOT NULL);"
     "CREATE INDEX nexus_bus_wire_conn ON nexus_bus_wire (to_owner, conn, id)"},
};

/* --- the database --------------------------------------------------------------------------------------------------- */

static nexus_slice without_name(const char *url, const char **name)
{
    nexus_slice text = nexus__slice_c(url);
    size_t hash = nexus__slice_starts(text, NEXUS_S("sqlite:")) ? text.n : nexus__slice_find(text, '#');
    *name = hash < text.n ? url + hash + 1 : "nexus_bus";
    return nexus__slice(url, hash);
}

uint64_t nexus__sql_key(const char *url)
{
    const char *name;
    (void)without_name(url, &name);
    return nexus__siphash((nexus__hash_key){8, 8}, name, strlen(name)) & INT64_MAX;
}

nexus_status nexus__sql_open(nexus_db **out, const char *url, uint32_t connections, const nexus_alloc *alloc)
{
    nexus_db_opts opts = NEXUS_DB_OPTS_INIT;
    opts.alloc = alloc;
    opts.connections = connections;
    opts.rows_max_bytes = ROWS_MAX;
    char *address = nexus__strndup(alloc, without_name(url, &opts.schema));
    if (!address)
        return nexus__nomem();
    nexus_status status = nexus_db_open(out, address, &opts);
    nexus__free(alloc, address);
    return status;
}

/* --- becoming the owner --------------------------------------------------------------------------------------------- */

static nexus_db *writer(const sql_log *log)
{
    return log->session ? log->session : log->pool;
}

static nexus_status lock(sql_log *log)
{
    nexus_rows *rows;
    nexus_status status = nexus__db_session(&log->session, log->pool);
    if (status == NEXUS_OK) /* a server that is told to lie about commits is told otherwise for this session */
        status = nexus_db_query_one(&rows, log->session,
                                    "SELECT pg_try_advisory_lock($1),"
                                    " set_config('synchronous_commit', CASE current_setting('synchronous_commit')"
                                    "  WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false)",
                                    (nexus_value[]){NEXUS_INT(log->key)}, 1);
    if (status != NEXUS_OK)
        return status;
    bool got = nexus_rows_int(rows, 0);
    nexus_rows_free(rows);
    return got ? NEXUS_OK : nexus__fail(NEXUS_ECONFLICT, "another process owns the bus of this database");
}

static nexus_status make_head(sql_log *log)
{
    uint8_t uuid[16];
    nexus__random(uuid, sizeof uuid);
    return nexus_db_exec(writer(log),
                         "INSERT INTO nexus_bus_head (id, uuid, epoch, next_at, next_seq, next_pos, last_ns)"
                         " VALUES (1, $1, 0, 0, 1, 1, 0) ON CONFLICT DO NOTHING",
                         (nexus_value[]){NEXUS_BLOB(nexus__slice(uuid, sizeof uuid))}, 1, NULL);
}

static nexus_status first_kept(sql_log *log, uint64_t *first_pos, uint64_t *begin)
{
    nexus_rows *rows;
    nexus_status status =
        nexus_db_query_one(&rows, log->pool, "SELECT first_pos, at FROM nexus_bus_log ORDER BY at LIMIT 1", NULL, 0);
    if (status != NEXUS_OK)
        return status;
    *first_pos = (uint64_t)nexus_rows_int(rows, 0);
    *begin = (uint64_t)nexus_rows_int(rows, 1);
    nexus_rows_free(rows);
    return NEXUS_OK;
}

static nexus_status take_head(sql_log *log, nexus__wal_tail *tail)
{
    nexus_rows *rows;
    nexus_slice uuid;
    nexus_status status = nexus_db_query_one(&rows, writer(log),
                                             "UPDATE nexus_bus_head SET epoch = epoch + 1 WHERE id = 1 RETURNING"
                                             " epoch, next_at, next_seq, next_pos, last_ns, uuid",
                                             NULL, 0);
    if (status != NEXUS_OK)
        return status;
    log->epoch = nexus_rows_int(rows, 0);
    log->end = nexus_rows_int(rows, 1);
    nexus_rows_text(rows, 5, &uuid);
    *tail = (nexus__wal_tail){.end = (uint64_t)log->end,
                              .next_seq = (uint64_t)nexus_rows_int(rows, 2),
                              .next_pos = (uint64_t)nexus_rows_int(rows, 3),
                              .last_recv_ns = nexus_rows_int(rows, 4)};
    if (uuid.n == sizeof tail->uuid)
        memcpy(tail->uuid, uuid.p, uuid.n);
    nexus_rows_free(rows);
    status = first_kept(log, &tail->first_pos, &tail->begin);
    if (status == NEXUS_ENOTFOUND) {
        tail->first_pos = tail->next_pos;
        tail->begin = tail->end;
        status = NEXUS_OK;
    }
    return status;
}

/* SQLite is opened with synchronous=FULL; a PostgreSQL server may run without fsync. */
static nexus_status ask_durable(sql_log *log, bool *durable)
{
    nexus_rows *rows;
    *durable = true;
    if (!log->postgres)
        return NEXUS_OK;
    nexus_status status =
        nexus_db_query_one(&rows, log->session, "SELECT current_setting('fsync') = 'on'", NULL, 0);
    if (status != NEXUS_OK)
        return status;
    *durable = nexus_rows_int(rows, 0);
    nexus_rows_free(rows);
    return NEXUS_OK;
}

static nexus_status own(nexus__wal_engine *e, nexus__wal_tail *tail)
{
    sql_log *log = (sql_log *)e;
    nexus_status status = nexus_db_migrate(log->pool, "bus_log", tables, sizeof tables / sizeof tables[0]);
    if (status == NEXUS_OK && log->postgres)
        status = lock(log);
    if (status == NEXUS_OK)
        status = make_head(log);
    if (status == NEXUS_OK)
        status = take_head(log, tail);
    if (status == NEXUS_OK)
        status = ask_durable(log, &tail->durable);
    return status;
}

/* --- writing -------------------------------------------------------------------------------------------------------- */

static nexus_status overtaken(void)
{
    return nexus__fail(NEXUS_ESTALE, "another process has become the owner of the bus");
}

enum { ARGS = 8 };

static void arguments(const sql_log *log, const nexus__wal_run *run, nexus_value out[static ARGS])
{
    const nexus_value values[ARGS] = {NEXUS_INT(log->epoch),
                                      NEXUS_INT(log->end),
                                      NEXUS_INT(log->end + (int64_t)run->bytes.n),
                                      NEXUS_INT(run->next_seq),
                                      NEXUS_INT(run->next_pos),
                                      NEXUS_INT(run->recv_ns),
                                      NEXUS_INT(run->first_pos),
                                      NEXUS_BLOB(run->bytes)};
    memcpy(out, values, sizeof values);
}

/* One statement, one round trip, one commit. */
static nexus_status append_postgres(sql_log *log, const nexus__wal_run *run)
{
    nexus_value args[ARGS];
    int64_t stored = 0;
    arguments(log, run, args);
    nexus_status status =
        nexus_db_exec(log->session,
                      "WITH head AS (UPDATE nexus_bus_head SET next_at = $3, next_seq = $4, next_pos = $5, last_ns = $6"
                      " WHERE id = 1 AND epoch = $1 AND next_at = $2 RETURNING id)"
                      " INSERT INTO nexus_bus_log (at, first_pos, bytes)"
                      " SELECT CAST($2 AS BIGINT), CAST($7 AS BIGINT), CAST($8 AS BYTEA) FROM head",
                      args, ARGS, &stored);
    return status == NEXUS_OK && !stored ? overtaken() : status;
}

static nexus_status append_sqlite(sql_log *log, const nexus__wal_run *run)
{
    nexus_db *tx;
    nexus_value args[ARGS];
    int64_t changed = 0;
    arguments(log, run, args);
    nexus_status status = nexus_db_begin(&tx, log->pool);
    if (status != NEXUS_OK)
        return status;
    status = nexus_db_exec(tx,
                           "UPDATE nexus_bus_head SET next_at = $3, next_seq = $4, next_pos = $5, last_ns = $6"
                           " WHERE id = 1 AND epoch = $1 AND next_at = $2",
                           args, 6, &changed);
    if (status == NEXUS_OK && !changed)
        status = overtaken();
    const nexus_value row[] = {args[1], args[6], args[7]};
    if (status == NEXUS_OK)
        status = nexus_db_exec(tx, "INSERT INTO nexus_bus_log (at, first_pos, bytes) VALUES ($1, $2, $3)", row, 3, NULL);
    if (status == NEXUS_OK)
        return nexus_db_commit(tx);
    nexus_db_rollback(tx);
    return status;
}

/* A new session, if the epoch is still ours. *end is where the log really ends. */
static nexus_status reown_once(sql_log *log, int64_t *end)
{
    nexus_rows *rows;
    nexus_db_close(log->session);
    log->session = NULL;
    nexus_status locked = lock(log);
    if (locked != NEXUS_OK && locked != NEXUS_ECONFLICT)
        return locked;
    nexus_status status =
        nexus_db_query_one(&rows, log->session, "SELECT epoch, next_at FROM nexus_bus_head WHERE id = 1", NULL, 0);
    if (status != NEXUS_OK)
        return status;
    bool ours = nexus_rows_int(rows, 0) == log->epoch;
    *end = nexus_rows_int(rows, 1);
    nexus_rows_free(rows);
    return ours ? locked : overtaken();
}

static nexus_status reown(sql_log *log, int64_t *end)
{
    int64_t until = nexus__mono_ns() + REOWN_NS;
    for (;;) {
        nexus_status status = reown_once(log, end);
        if (status == NEXUS_OK || status == NEXUS_ESTALE || nexus__mono_ns() >= until)
            return status;
        struct timespec pause = {.tv_nsec = 50 * 1000000};
        nanosleep(&pause, NULL);
    }
}

static nexus_status append(nexus__wal_engine *e, const nexus__wal_run *run, uint64_t *end)
{
    sql_log *log = (sql_log *)e;
    int64_t behind = log->end + (int64_t)run->bytes.n, found = log->end;
    nexus_status status = log->postgres ? append_postgres(log, run) : append_sqlite(log, run);
    if (log->postgres && (status == NEXUS_EUNKNOWN || status == NEXUS_EUNREACH)) {
        status = reown(log, &found);
        if (status == NEXUS_OK)
            status = found == behind ? NEXUS_OK : append_postgres(log, run);
        else
            status = nexus__fail(NEXUS_EUNKNOWN, "the database is out of reach, or another process owns the bus by now");
    }
    if (status == NEXUS_ESTALE || status == NEXUS_EUNKNOWN) { /* the log is lost: whoever can may own it now */
        nexus_db_close(log->session);
        log->session = NULL;
    }
    if (status != NEXUS_OK)
        return status;
    *end = (uint64_t)(log->end = behind);
    return NEXUS_OK;
}

/* --- reading -------------------------------------------------------------------------------------------------------- */

/* A pooled connection may have ended unnoticed: to read is asked twice. */
static nexus_status ask(nexus_rows **rows, sql_log *log, const char *sql, const nexus_value *args, size_t n)
{
    nexus_status status = nexus_db_query(rows, log->pool, sql, args, n);
    return status == NEXUS_EUNKNOWN ? nexus_db_query(rows, log->pool, sql, args, n) : status;
}

static nexus_status read_rows(sql_log *log, const char *sql, uint64_t place, nexus__buf *out, uint64_t *next)
{
    nexus_rows *rows;
    nexus_slice bytes;
    nexus_status status =
        ask(&rows, log, sql, (nexus_value[]){NEXUS_INT(place), NEXUS_INT(place + PAGE_BYTES)}, 2);
    if (status != NEXUS_OK)
        return status;
    while (nexus_rows_next(rows)) {
        nexus_rows_text(rows, 1, &bytes);
        nexus__buf_slice_append(out, bytes);
        *next = (uint64_t)nexus_rows_int(rows, 0) + bytes.n;
    }
    nexus_rows_free(rows);
    return out->status;
}

static nexus_status read_runs(nexus__wal_engine *e, uint64_t place, nexus__buf *out, uint64_t *next)
{
    sql_log *log = (sql_log *)e;
    nexus_status status = read_rows(
        log, "SELECT at, bytes FROM nexus_bus_log WHERE at >= $1 AND at < $2 ORDER BY at", place, out, next);
    if (status == NEXUS_OK && !out->len) /* what stood there is gone: the next run there is */
        status = read_rows(log,
                           "SELECT at, bytes FROM nexus_bus_log WHERE at >= $1 AND at >= $2 ORDER BY at LIMIT 1", place,
                           out, next);
    return status;
}

static nexus_status find(nexus__wal_engine *e, uint64_t pos, uint64_t *place)
{
    sql_log *log = (sql_log *)e;
    nexus_rows *rows;
    *place = 0;
    nexus_status status = ask(
        &rows, log,
        "SELECT at FROM nexus_bus_log WHERE first_pos < $1 ORDER BY first_pos DESC, at DESC LIMIT 1",
        (nexus_value[]){NEXUS_INT(pos)}, 1);
    if (status != NEXUS_OK)
        return status;
    if (nexus_rows_next(rows))
        *place = (uint64_t)nexus_rows_int(rows, 0);
    nexus_rows_free(rows);
    return NEXUS_OK;
}

/* Where the first run stands that must stay: the last one that begins at pos or before it. */
static nexus_status keep_from(sql_log *log, uint64_t pos, uint64_t *at)
{
    nexus_rows *rows;
    nexus_status status = nexus_db_query_one(&rows, log->pool, "SELECT COALESCE(MAX(at), 0) FROM nexus_bus_log WHERE first_pos <= $1",
                                             (nexus_value[]){NEXUS_INT(pos)}, 1);
    if (status != NEXUS_OK)
        return status;
    *at = (uint64_t)nexus_rows_int(rows, 0);
    nexus_rows_free(rows);
    return NEXUS_OK;
}

/* A piece at a time, so that an append never waits for long; only while this owner is one. */
static nexus_status drop_until(sql_log *log, uint64_t begin, uint64_t end)
{
    nexus_status status = NEXUS_OK;
    while (begin < end && status == NEXUS_OK) {
        begin = end - begin > DROP_BYTES ? begin + DROP_BYTES : end;
        status = nexus_db_exec(log->pool,
                               "DELETE FROM nexus_bus_log WHERE at < $1"
                               " AND EXISTS (SELECT 1 FROM nexus_bus_head WHERE id = 1 AND epoch = $2)",
                               (nexus_value[]){NEXUS_INT(begin), NEXUS_INT(log->epoch)}, 2, NULL);
    }
    return status;
}

static nexus_status drop_below(nexus__wal_engine *e, uint64_t pos, uint64_t *first_pos, uint64_t *begin)
{
    sql_log *log = (sql_log *)e;
    uint64_t end;
    nexus_status status = first_kept(log, first_pos, begin);
    if (status == NEXUS_OK)
        status = keep_from(log, pos, &end);
    if (status == NEXUS_OK)
        status = drop_until(log, *begin, end);
    if (status == NEXUS_OK)
        status = first_kept(log, first_pos, begin);
    if (status == NEXUS_ENOTFOUND) {
        *first_pos = 1;
        *begin = 0;
        status = NEXUS_OK;
    }
    return status;
}

/* --- checkpoints ---------------------------------------------------------------------------------------------------- */

static nexus_status put_blob(nexus__wal_engine *e, const char *name, nexus_slice blob)
{
    sql_log *log = (sql_log *)e;
    int64_t stored = 0;
    nexus_status status =
        nexus_db_exec(log->pool,
                      "INSERT INTO nexus_bus_blob (name, bytes) SELECT CAST($1 AS TEXT), $2 FROM nexus_bus_head"
                      " WHERE id = 1 AND epoch = $3 ON CONFLICT (name) DO UPDATE SET bytes = excluded.bytes",
                      (nexus_value[]){NEXUS_TEXT_C(name), NEXUS_BLOB(blob), NEXUS_INT(log->epoch)}, 3, &stored);
    return status == NEXUS_OK && !stored ? overtaken() : status;
}

static nexus_status get_blob(nexus__wal_engine *e, const char *name, nexus__buf *out)
{
    sql_log *log = (sql_log *)e;
    nexus_rows *rows;
    nexus_slice bytes;
    nexus_status status = ask(&rows, log, "SELECT bytes FROM nexus_bus_blob WHERE name = $1",
                              (nexus_value[]){NEXUS_TEXT_C(name)}, 1);
    if (status != NEXUS_OK)
        return status;
    if (nexus_rows_next(rows)) {
        nexus_rows_text(rows, 0, &bytes);
        nexus__buf_slice_append(out, bytes);
        status = out->status;
    } else {
        status = nexus__fail(NEXUS_ENOTFOUND, "there is no checkpoint %s", name);
    }
    nexus_rows_free(rows);
    return status;
}

/* --- open, close ---------------------------------------------------------------------------------------------------- */

static void close_log(nexus__wal_engine *e)
{
    sql_log *log = (sql_log *)e;
    nexus_db_close(log->session);
    nexus_db_close(log->pool);
    nexus__free(log->alloc, log);
}

static const nexus__wal_engine_ops sqlite_ops = {
    .size = sizeof(nexus__wal_engine_ops),
    .name = "sqlite",
    .drops = true,
    .own = own,
    .append = append,
    .read = read_runs,
    .find = find,
    .drop_below = drop_below,
    .put_blob = put_blob,
    .get_blob = get_blob,
    .close = close_log,
};

static const nexus__wal_engine_ops postgres_ops = {
    .size = sizeof(nexus__wal_engine_ops),
    .name = "postgresql",
    .drops = true,
    .own = own,
    .append = append,
    .read = read_runs,
    .find = find,
    .drop_below = drop_below,
    .put_blob = put_blob,
    .get_blob = get_blob,
    .close = close_log,
};

nexus_status nexus__sql_log_open(nexus__wal_engine **out, const char *url, const nexus_alloc *alloc)
{
    sql_log *log = nexus__calloc(alloc, 1, sizeof *log);
    if (!log)
        return nexus__nomem();
    log->alloc = alloc;
    log->key = nexus__sql_key(url);
    nexus_status status = nexus__sql_open(&log->pool, url, 4, alloc);
    if (status != NEXUS_OK) {
        nexus__free(alloc, log);
        return status;
    }
    log->postgres = strcmp(nexus_db_kind(log->pool), "postgres") == 0;
    log->base.ops = log->postgres ? &postgres_ops : &sqlite_ops;
    *out = &log->base;
    return NEXUS_OK;
}
