/*
 * SQLite: write-ahead log with synchronous=FULL. One connection writes, others read beside it; each is used by one
 * thread at a time, so SQLite's own mutexes are off.
 *
 * Another process that writes is waited for with short, random pauses: SQLite's own handler sleeps ever longer and
 * then loses against neighbours who have just come.
 */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/id.h"
#include "base/status.h"
#include "base/time.h"
#include "store/driver.h"
#include "store/statements.h"

typedef struct sqlite_link {
    const nexus__db_config *config; /* of the pool, or &own */
    nexus__db_config own;
    sqlite3 *db;
    bool adopted, writer;
    int64_t busy_until_ns;
    nexus__statements statements; /* unused when adopted */
} sqlite_link;

static const struct {
    int code;
    nexus_status status;
} codes[] = {
    {SQLITE_CONSTRAINT_UNIQUE, NEXUS_ECONFLICT},
    {SQLITE_CONSTRAINT_PRIMARYKEY, NEXUS_ECONFLICT},
    {SQLITE_CONSTRAINT_ROWID, NEXUS_ECONFLICT},
    {SQLITE_BUSY_SNAPSHOT, NEXUS_EAGAIN},
    {SQLITE_BUSY, NEXUS_ETIMEDOUT},
    {SQLITE_LOCKED, NEXUS_EAGAIN},
    {SQLITE_NOMEM, NEXUS_ENOMEM},
    {SQLITE_FULL, NEXUS_ENOSPC},
    {SQLITE_READONLY, NEXUS_EROFS},
    {SQLITE_CORRUPT, NEXUS_ECORRUPT},
    {SQLITE_NOTADB, NEXUS_ECORRUPT},
    {SQLITE_IOERR, NEXUS_EIO},
    {SQLITE_CANTOPEN, NEXUS_EIO},
    {SQLITE_TOOBIG, NEXUS_ETOOBIG},
    {SQLITE_PERM, NEXUS_EPERM},
    {SQLITE_AUTH, NEXUS_EPERM},
    {SQLITE_INTERRUPT, NEXUS_ECANCELED},
};

static nexus_status map_code(int code)
{
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        if (codes[i].code == code || codes[i].code == (code & 0xff))
            return codes[i].status;
    return NEXUS_EINVAL;
}

static nexus_status fail(sqlite3 *db)
{
    return nexus__fail(map_code(sqlite3_extended_errcode(db)), "sqlite: %s", sqlite3_errmsg(db));
}

/* --- opening --------------------------------------------------------------------------------- */

static int wait_while_busy(void *user_data, int tries)
{
    sqlite_link *link = user_data;
    int64_t now = nexus__mono_ns();
    if (tries == 0)
        link->busy_until_ns = now + (int64_t)link->config->busy_timeout_ms * NEXUS__NS_PER_MS;
    if (now >= link->busy_until_ns)
        return 0;
    struct timespec pause = {.tv_nsec = 200000 + (long)(nexus__random_u64() % 1800000)};
    nanosleep(&pause, NULL);
    return 1;
}

static void drop_statement(void *link, nexus__statement *statement)
{
    (void)link;
    sqlite3_finalize(statement->handle);
}

/* Owner-only from the first byte; SQLite gives its side files the mode of the main one. */
static nexus_status create_file(const char *path)
{
    if (strcmp(path, ":memory:") == 0)
        return NEXUS_OK;
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
    else if (errno != EEXIST)
        return nexus__fail_errno(errno, "cannot create the database %s", path);
    return NEXUS_OK;
}

/* Two processes that turn a new file to WAL at once: one is told BUSY without its busy handler being asked. */
static int set_wal(sqlite_link *link)
{
    for (int tries = 0;; tries++) {
        int code = sqlite3_exec(link->db, "PRAGMA journal_mode=WAL", NULL, NULL, NULL);
        if ((code & 0xff) != SQLITE_BUSY || !wait_while_busy(link, tries))
            return code;
    }
}

static int set_up(sqlite_link *link)
{
    sqlite3_extended_result_codes(link->db, 1);
    sqlite3_busy_handler(link->db, wait_while_busy, link);
    /* "text" in double quotes means a name here, as it does in PostgreSQL. */
    sqlite3_db_config(link->db, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
    sqlite3_db_config(link->db, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
    int code = set_wal(link);
    if (code == SQLITE_OK)
        code = sqlite3_exec(link->db,
                            "PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA case_sensitive_like=ON;"
                            "PRAGMA trusted_schema=OFF",
                            NULL, NULL, NULL);
    if (code == SQLITE_OK && !link->writer)
        code = sqlite3_exec(link->db, "PRAGMA query_only=ON", NULL, NULL, NULL);
    return code;
}

static void sqlite_close(void *opaque)
{
    sqlite_link *link = opaque;
    if (!link->adopted) {
        nexus__statements_free(&link->statements);
        sqlite3_close(link->db);
    }
    nexus__free(link->config->alloc, link);
}

static nexus_status sqlite_open(void **out, const nexus__db_config *config, bool writer)
{
    nexus_status status = create_file(config->address);
    if (status != NEXUS_OK)
        return status;
    sqlite_link *link = nexus__calloc(config->alloc, 1, sizeof *link);
    if (!link)
        return nexus__nomem();
    link->config = config;
    link->writer = writer;
    nexus__statements_init(&link->statements, config->alloc, config->statements, drop_statement, link);
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    int code = sqlite3_open_v2(config->address, &link->db, flags, NULL);
    if (code == SQLITE_OK)
        code = set_up(link);
    if (code != SQLITE_OK) {
        status = link->db ? nexus__fail(map_code(code), "cannot open the database %s: %s", config->address,
                                        sqlite3_errmsg(link->db))
                          : nexus__nomem();
        sqlite_close(link);
        return status;
    }
    *out = link;
    return NEXUS_OK;
}

static nexus_status sqlite_adopt(void **out, const nexus__db_config *config, void *native)
{
    sqlite_link *link = nexus__calloc(config->alloc, 1, sizeof *link);
    if (!link)
        return nexus__nomem();
    *link = (sqlite_link){.own = *config, .db = native, .adopted = true, .writer = true};
    link->config = &link->own;
    *out = link;
    return NEXUS_OK;
}

static bool sqlite_alive(void *link)
{
    (void)link;
    return true;
}

static bool sqlite_in_transaction(void *opaque)
{
    sqlite_link *link = opaque;
    return !sqlite3_get_autocommit(link->db);
}

/* --- statements ------------------------------------------------------------------------------ */

static nexus_status prepare(sqlite_link *link, const char *sql, sqlite3_stmt **out)
{
    const char *rest = NULL;
    unsigned flags = link->adopted ? 0 : SQLITE_PREPARE_PERSISTENT;
    if (sqlite3_prepare_v3(link->db, sql, -1, flags, out, &rest) != SQLITE_OK)
        return fail(link->db);
    if (!*out)
        return nexus__fail(NEXUS_EINVAL, "the SQL is empty");
    if (rest[strspn(rest, " \t\r\n;")] != '\0') {
        sqlite3_finalize(*out);
        return nexus__fail(NEXUS_EINVAL, "one statement a call: cut off before \"%.40s\"", rest);
    }
    return NEXUS_OK;
}

/* *kept: it is in the cache of statements and is reset, not finalized, after use. */
static nexus_status find_statement(sqlite_link *link, const char *sql, sqlite3_stmt **out, bool *kept)
{
    *kept = false;
    nexus__statement *found = link->adopted ? NULL : nexus__statements_get(&link->statements, sql);
    if (found) {
        *out = found->handle;
        *kept = true;
        return NEXUS_OK;
    }
    nexus_status status = prepare(link, sql, out);
    if (status != NEXUS_OK || link->adopted)
        return status;
    found = nexus__statements_add(&link->statements, sql);
    if (found) {
        found->handle = *out;
        *kept = true;
    }
    return NEXUS_OK;
}

static int bind_value(sqlite3_stmt *stmt, int at, const nexus_value *v)
{
    switch (v->type) {
    case NEXUS_VALUE_INT:
        return sqlite3_bind_int64(stmt, at, v->i);
    case NEXUS_VALUE_DOUBLE:
        return sqlite3_bind_double(stmt, at, v->d);
    case NEXUS_VALUE_TEXT:
        return sqlite3_bind_text64(stmt, at, v->s.p ? v->s.p : "", v->s.n, SQLITE_STATIC, SQLITE_UTF8);
    case NEXUS_VALUE_BLOB:
        return sqlite3_bind_blob64(stmt, at, v->s.p ? v->s.p : "", v->s.n, SQLITE_STATIC);
    default:
        return sqlite3_bind_null(stmt, at);
    }
}

/* SQLite numbers "$2" by first appearance, not by its digits: the name tells which value it is. */
static nexus_status bind_all(sqlite3 *db, sqlite3_stmt *stmt, const nexus_value *args, size_t n)
{
    uint64_t highest = 0;
    int count = sqlite3_bind_parameter_count(stmt);
    for (int at = 1; at <= count; at++) {
        const char *name = sqlite3_bind_parameter_name(stmt, at);
        uint64_t number = 0;
        if (!name || name[0] != '$' || !nexus__parse_u64(nexus__slice_c(name + 1), &number) || number == 0)
            return nexus__fail(NEXUS_EINVAL, "parameter \"%s\": write $1 to $n", name ? name : "?");
        if (number > n)
            return nexus__fail(NEXUS_EINVAL, "the SQL names %s, but %zu values are given", name, n);
        if (bind_value(stmt, at, &args[number - 1]) != SQLITE_OK)
            return fail(db);
        highest = number > highest ? number : highest;
    }
    if (highest < n)
        return nexus__fail(NEXUS_EINVAL, "%zu values are given, but the SQL names only $1 to $%u", n, (unsigned)highest);
    return NEXUS_OK;
}

static nexus_status read_cell(nexus_rows *rows, nexus_value *cell, sqlite3_stmt *stmt, int at)
{
    switch (sqlite3_column_type(stmt, at)) {
    case SQLITE_INTEGER:
        *cell = NEXUS_INT(sqlite3_column_int64(stmt, at));
        return NEXUS_OK;
    case SQLITE_FLOAT:
        *cell = NEXUS_DOUBLE(sqlite3_column_double(stmt, at));
        return NEXUS_OK;
    case SQLITE_TEXT: {
        const void *text = sqlite3_column_text(stmt, at);
        return nexus__rows_set_bytes(rows, cell, NEXUS_VALUE_TEXT, text, (size_t)sqlite3_column_bytes(stmt, at));
    }
    case SQLITE_BLOB: {
        const void *blob = sqlite3_column_blob(stmt, at);
        return nexus__rows_set_bytes(rows, cell, NEXUS_VALUE_BLOB, blob, (size_t)sqlite3_column_bytes(stmt, at));
    }
    default:
        return NEXUS_OK;
    }
}

static nexus_status read_row(nexus_rows *rows, sqlite3_stmt *stmt)
{
    nexus_value *cells = NULL;
    nexus_status status = nexus__rows_add(rows, &cells);
    for (size_t i = 0; status == NEXUS_OK && i < rows->columns; i++)
        status = read_cell(rows, &cells[i], stmt, (int)i);
    return status;
}

static nexus_status name_columns(nexus_rows *rows, sqlite3_stmt *stmt)
{
    nexus_status status = nexus__rows_set_columns(rows, (size_t)sqlite3_column_count(stmt));
    for (size_t i = 0; status == NEXUS_OK && i < rows->columns; i++)
        status = nexus__rows_set_name(rows, i, sqlite3_column_name(stmt, (int)i));
    return status;
}

static nexus_status step_all(sqlite_link *link, sqlite3_stmt *stmt, nexus_rows *rows, int64_t *changes)
{
    sqlite3_int64 before = sqlite3_total_changes64(link->db);
    int code = sqlite3_step(stmt); /* may prepare anew when a table has changed: the columns are known only now */
    nexus_status status = rows ? name_columns(rows, stmt) : NEXUS_OK;
    for (; status == NEXUS_OK && code == SQLITE_ROW; code = sqlite3_step(stmt))
        status = rows ? read_row(rows, stmt) : NEXUS_OK;
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        return fail(link->db);
    /* sqlite3_changes keeps the figure of an earlier statement when this one changed nothing. */
    if (changes)
        *changes = sqlite3_total_changes64(link->db) == before ? 0 : sqlite3_changes64(link->db);
    return status;
}

static nexus_status sqlite_run(void *opaque, const char *sql, const nexus_value *args, size_t n, nexus_rows *rows,
                               int64_t *changes)
{
    sqlite_link *link = opaque;
    sqlite3_stmt *stmt = NULL;
    bool kept = false;
    nexus_status status = find_statement(link, sql, &stmt, &kept);
    if (status != NEXUS_OK)
        return status;
    if (!link->writer && !sqlite3_stmt_readonly(stmt))
        status = NEXUS__DB_WANTS_WRITER;
    if (status == NEXUS_OK)
        status = bind_all(link->db, stmt, args, n);
    if (status == NEXUS_OK)
        status = step_all(link, stmt, rows, changes);
    if (kept) {
        sqlite3_reset(stmt);
        sqlite3_clear_bindings(stmt);
    } else {
        sqlite3_finalize(stmt);
    }
    return status;
}

static nexus_status sqlite_script(void *opaque, const char *sql)
{
    sqlite_link *link = opaque;
    return sqlite3_exec(link->db, sql, NULL, NULL, NULL) == SQLITE_OK ? NEXUS_OK : fail(link->db);
}

static nexus_status sqlite_commit(void *opaque)
{
    sqlite_link *link = opaque;
    int code = sqlite3_exec(link->db, "COMMIT", NULL, NULL, NULL);
    if (code == SQLITE_OK)
        return NEXUS_OK;
    if ((code & 0xff) == SQLITE_IOERR) /* the log may or may not have reached the disk */
        return nexus__fail(NEXUS_EUNKNOWN, "sqlite: commit: %s", sqlite3_errmsg(link->db));
    return fail(link->db);
}

static nexus_status sqlite_lock(void *link, const char *name)
{
    (void)link;
    (void)name; /* BEGIN IMMEDIATE holds the only write lock already */
    return NEXUS_OK;
}

const nexus__db_ops nexus__sqlite_ops = {
    .size = sizeof(nexus__db_ops),
    .kind = "sqlite",
    .begin = "BEGIN IMMEDIATE",
    .open = sqlite_open,
    .adopt = sqlite_adopt,
    .close = sqlite_close,
    .alive = sqlite_alive,
    .in_transaction = sqlite_in_transaction,
    .run = sqlite_run,
    .script = sqlite_script,
    .commit = sqlite_commit,
    .lock = sqlite_lock,
};
