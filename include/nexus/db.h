/* SQL databases: one interface over SQLite and PostgreSQL, opened by URL. */
#ifndef NEXUS_DB_H
#define NEXUS_DB_H

#include <nexus/alloc.h>
#include <nexus/common.h>
#include <nexus/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * A database (a pool of connections), or a transaction, which is a nexus_db bound to one of them.
 *
 * A pool may be used from any thread. A transaction and an adopted connection belong to one thread at a time. Every
 * call blocks; on a loop thread it returns NEXUS_EDEADLK.
 *
 * Statements take values only as parameters, $1 to $n, one statement a call. The SQL itself is the caller's, passed
 * to the engine as it is: write what both understand (BIGINT, TEXT, DOUBLE PRECISION, INSERT … ON CONFLICT,
 * RETURNING, LIMIT $2), keep instants as BIGINT, and cast a parameter whose type PostgreSQL cannot infer
 * (`CAST($1 AS TEXT) IS NULL`).
 *
 * What a failing statement says, on every engine:
 *   NEXUS_ECONFLICT  a unique constraint refuses the row
 *   NEXUS_EINVAL     the statement, its parameters or another constraint is wrong
 *   NEXUS_EAGAIN     serialization failure or deadlock: run the whole transaction again
 *   NEXUS_ETIMEDOUT  no connection or lock in time; nothing was done
 *   NEXUS_EUNREACH   the server cannot be reached; nothing was done
 *   NEXUS_EUNKNOWN   the connection was lost while a change was under way: it may have been done
 */
typedef struct nexus_db nexus_db;

/** The rows of a query, complete and independent of the database: they stay valid after it is closed. */
typedef struct nexus_rows nexus_rows;

enum {
    NEXUS_VALUE_NULL = 0,
    NEXUS_VALUE_INT = 1,    /**< i; booleans are 0 and 1 */
    NEXUS_VALUE_DOUBLE = 2, /**< d */
    NEXUS_VALUE_TEXT = 3,   /**< s, UTF-8 without NUL */
    NEXUS_VALUE_BLOB = 4    /**< s, any bytes */
};

/** A parameter or a cell. The bytes of s are borrowed: for the call, or until the rows are freed. */
typedef struct nexus_value {
    uint32_t type; /**< NEXUS_VALUE_… */
    int64_t i;
    double d;
    nexus_slice s;
} nexus_value;

/** nexus_db_open's options. Text is copied; 0 and NULL mean the default. */
typedef struct nexus_db_opts {
    size_t size;                 /**< sizeof(nexus_db_opts) */
    const nexus_alloc *alloc;    /**< borrowed; NULL = the C library's */
    uint32_t connections;        /**< postgres: connections at most; sqlite: readers at most. 0 = 8 */
    uint32_t connect_timeout_ms; /**< 0 = 5000 */
    uint32_t acquire_timeout_ms; /**< wait for a free connection, first come first served. 0 = 30000 */
    uint32_t busy_timeout_ms;    /**< sqlite: wait for another process that writes. 0 = 10000 */
    uint32_t statements;         /**< prepared statements kept by each connection. 0 = 128 */
    uint64_t rows_max_bytes;     /**< a larger result is NEXUS_ETOOBIG. 0 = 64 MiB */
    const char *schema;          /**< postgres: the schema that unqualified names mean, created when missing; NULL = the
                             server's search path. sqlite ignores it */
} nexus_db_opts;

#define NEXUS_DB_OPTS_INIT NEXUS_SIZED(nexus_db_opts)

/** Fills in what NEXUS_DB_OPTS_INIT stands for. */
NEXUS_API void nexus_db_opts_init(nexus_db_opts *opts);

/**
 * Opens `sqlite:PATH` (created when missing, mode 0600; `sqlite::memory:` is a private one that ends with the
 * handle), `postgresql://…` or `postgres://…` (libpq's URLs). Makes the first connection, so that a wrong address
 * is reported here. opts may be NULL.
 * NEXUS_EINVAL: not such a URL. NEXUS_ENOTSUP: the driver is not in this build. NEXUS_EUNREACH, NEXUS_EAUTH: the
 * server cannot be reached or refuses the login.
 */
NEXUS_API nexus_status nexus_db_open(nexus_db **out, const char *url, const nexus_db_opts *opts) NEXUS_MUST_CHECK;

/**
 * Puts a caller's own connection behind the interface, so that what nexus writes (an outbox record, say) is part of
 * the caller's open transaction. `native` is a `sqlite3 *` (kind "sqlite") or a `PGconn *` (kind "postgres"). It is
 * borrowed until nexus_db_close; nothing is prepared on it or set on it.
 */
NEXUS_API nexus_status nexus_db_adopt(nexus_db **out, const char *kind, void *native) NEXUS_MUST_CHECK;

/** Closes the pool; transactions and calls must have ended. Releases an adopted connection untouched. NULL is fine. */
NEXUS_API void nexus_db_close(nexus_db *db);

/** "sqlite" or "postgres". */
NEXUS_API const char *nexus_db_kind(const nexus_db *db);

/** Whether db is a transaction (made by nexus_db_begin), or an adopted connection that is inside one now. */
NEXUS_API bool nexus_db_in_transaction(const nexus_db *db);

/**
 * Runs a statement for its effect. args (n of them, borrowed for the call) are $1 to $n. changes, when wanted, gets
 * the number of rows inserted, updated or deleted.
 */
NEXUS_API nexus_status nexus_db_exec(nexus_db *db, const char *sql, const nexus_value *args, size_t n,
                                     int64_t *changes) NEXUS_MUST_CHECK;

/** Runs a statement for its rows (SELECT, or a change with RETURNING). Free *out with nexus_rows_free. */
NEXUS_API nexus_status nexus_db_query(nexus_rows **out, nexus_db *db, const char *sql, const nexus_value *args,
                                      size_t n) NEXUS_MUST_CHECK;

/** As nexus_db_query, but stands on the first row already; NEXUS_ENOTFOUND, and no *out, when there is none. */
NEXUS_API nexus_status nexus_db_query_one(nexus_rows **out, nexus_db *db, const char *sql, const nexus_value *args,
                                          size_t n) NEXUS_MUST_CHECK;

/** Moves to the next row; false after the last. */
NEXUS_API bool nexus_rows_next(nexus_rows *rows);
NEXUS_API size_t nexus_rows_count(const nexus_rows *rows);
NEXUS_API size_t nexus_rows_columns(const nexus_rows *rows);
/** The column's name as the engine gives it, borrowed until the rows are freed; NULL when there is no such column. */
NEXUS_API const char *nexus_rows_column_name(const nexus_rows *rows, size_t column);

/*
 * Cells of the current row, columns from 0. A cell that is NULL or does not exist reads as 0 or as no bytes; numbers
 * kept as text are converted.
 */
NEXUS_API bool nexus_rows_is_null(const nexus_rows *rows, size_t column);
NEXUS_API int64_t nexus_rows_int(const nexus_rows *rows, size_t column);
NEXUS_API double nexus_rows_double(const nexus_rows *rows, size_t column);
/** Text or blob; NUL-terminated beyond *out. Numbers give their decimal text. Borrowed until the rows are freed. */
NEXUS_API void nexus_rows_text(const nexus_rows *rows, size_t column, nexus_slice *out);
NEXUS_API void nexus_rows_value(const nexus_rows *rows, size_t column, nexus_value *out);
/** NULL is fine. */
NEXUS_API void nexus_rows_free(nexus_rows *rows);

/**
 * Begins a transaction; in a transaction (or an adopted connection inside one) a savepoint. SQLite takes its write
 * lock at once, so a transaction never fails half-way for want of it; PostgreSQL runs READ COMMITTED. After a
 * statement failed, a transaction can only be rolled back: further calls return NEXUS_ECANCELED on every engine.
 * The parent must outlive *tx, and is not used while a savepoint of it is open.
 */
NEXUS_API nexus_status nexus_db_begin(nexus_db **tx, nexus_db *db) NEXUS_MUST_CHECK;

/**
 * Commits and frees tx, whatever it returns. NEXUS_OK: durable (SQLite synchronous=FULL). NEXUS_ECANCELED: a
 * statement had failed and it was rolled back. NEXUS_EAGAIN: refused at commit, run it again. NEXUS_EUNKNOWN: the
 * connection was lost before the answer; only reading back tells.
 */
NEXUS_API nexus_status nexus_db_commit(nexus_db *tx) NEXUS_MUST_CHECK;

/** Undoes and frees tx. NULL is fine. */
NEXUS_API void nexus_db_rollback(nexus_db *tx);

/** One step of a component's schema, written once and never edited after it was released. */
typedef struct nexus_migration {
    uint32_t version;         /**< 1, 2, 3 … without gaps */
    const char *name;         /**< what it does, for people */
    const char *sql;          /**< statements separated by ';' */
    const char *sql_postgres; /**< the same for PostgreSQL, where it differs; NULL = sql */
} nexus_migration;

/**
 * Brings a component's tables up to the last of `migrations` (n, in order). Steps already applied are compared by
 * checksum. All steps that are due run in one transaction under a lock, so that processes starting at once do it
 * once. `component` names the set ("auth", "notify").
 * NEXUS_ECONFLICT: an applied step was edited. NEXUS_EREV: the database is newer than this build.
 */
NEXUS_API nexus_status nexus_db_migrate(nexus_db *db, const char *component, const nexus_migration *migrations,
                                        size_t n) NEXUS_MUST_CHECK;

/*
 * Values, for args. Functions for FFI and C++; macros (compound literals) for C:
 * nexus_db_exec(db, sql, (nexus_value[]){NEXUS_TEXT_C("a"), NEXUS_INT(1)}, 2, NULL).
 */
NEXUS_API void nexus_value_null(nexus_value *out);
NEXUS_API void nexus_value_int(nexus_value *out, int64_t value);
NEXUS_API void nexus_value_double(nexus_value *out, double value);
NEXUS_API void nexus_value_text(nexus_value *out, nexus_slice value);
NEXUS_API void nexus_value_blob(nexus_value *out, nexus_slice value);

#ifndef __cplusplus
#define NEXUS_NULL ((nexus_value){NEXUS_VALUE_NULL, 0, 0, {NULL, 0}})
#define NEXUS_INT(x) ((nexus_value){NEXUS_VALUE_INT, (int64_t)(x), 0, {NULL, 0}})
#define NEXUS_DOUBLE(x) ((nexus_value){NEXUS_VALUE_DOUBLE, 0, (double)(x), {NULL, 0}})
#define NEXUS_TEXT(slice) ((nexus_value){NEXUS_VALUE_TEXT, 0, 0, (slice)})
#define NEXUS_TEXT_C(cstr) ((nexus_value){NEXUS_VALUE_TEXT, 0, 0, {(cstr), strlen(cstr)}}) /* needs <string.h> */
#define NEXUS_BLOB(slice) ((nexus_value){NEXUS_VALUE_BLOB, 0, 0, (slice)})
#endif

#ifdef __cplusplus
}
#endif

#endif
