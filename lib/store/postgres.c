/*
 * PostgreSQL through libpq. Parameters go as text whose type the server infers (blobs as binary), results come as
 * text and are told apart by their column's type. Each connection keeps its prepared statements.
 */
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/status.h"
#include "store/driver.h"
#include "store/statements.h"

enum { OID_BOOL = 16, OID_BYTEA = 17, OID_INT8 = 20, OID_INT2 = 21, OID_INT4 = 23, OID_FLOAT4 = 700, OID_FLOAT8 = 701 };

typedef struct postgres_link {
    const nexus__db_config *config; /* of the pool, or &own */
    nexus__db_config own;
    PGconn *conn;
    bool adopted;
    nexus__arena arena; /* of the parameters of one call */
    nexus__statements statements;
} postgres_link;

/* --- errors ---------------------------------------------------------------------------------- */

static const struct {
    const char *state; /* SQLSTATE, or the two bytes of its class */
    nexus_status status;
} states[] = {
    {"23505", NEXUS_ECONFLICT}, {"23P01", NEXUS_ECONFLICT}, {"40001", NEXUS_EAGAIN}, {"40P01", NEXUS_EAGAIN},
    {"55P03", NEXUS_ETIMEDOUT}, {"57014", NEXUS_ETIMEDOUT}, {"25006", NEXUS_EROFS},  {"25P02", NEXUS_ECANCELED},
    {"53100", NEXUS_ENOSPC},    {"53200", NEXUS_ENOMEM},    {"53300", NEXUS_ELIMIT}, {"42501", NEXUS_EPERM},
    {"3D000", NEXUS_ENOTFOUND}, {"54", NEXUS_ETOOBIG},      {"57P", NEXUS_EUNREACH}, {"08P01", NEXUS_EINVAL},
    {"08", NEXUS_EUNREACH},     {"28", NEXUS_EAUTH},        {"XX", NEXUS_EIO},       {"58", NEXUS_EIO},
};

static nexus_status map_state(const char *state)
{
    for (size_t i = 0; state && i < sizeof states / sizeof states[0]; i++)
        if (strncmp(state, states[i].state, strlen(states[i].state)) == 0)
            return states[i].status;
    return NEXUS_EINVAL;
}

/* libpq's messages end in a newline and may have several lines. */
static int first_line(const char *message)
{
    return (int)strcspn(message, "\n");
}

static nexus_status fail_connection(const postgres_link *link, nexus_status status)
{
    const char *why = PQerrorMessage(link->conn);
    return nexus__fail(status, "postgres: %.*s", first_line(why), why);
}

/* Frees the result. `in_transaction` is what held before the statement: work that was not committed is undone by the
 * server when the connection goes, so then nothing was done. */
static nexus_status fail_result(const postgres_link *link, PGresult *result, bool in_transaction)
{
    nexus_status status;
    if (PQstatus(link->conn) != CONNECTION_OK || !result) {
        status = fail_connection(link, in_transaction ? NEXUS_EUNREACH : NEXUS_EUNKNOWN);
    } else {
        const char *why = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
        why = why ? why : PQerrorMessage(link->conn);
        status = nexus__fail(map_state(PQresultErrorField(result, PG_DIAG_SQLSTATE)), "postgres: %.*s", first_line(why),
                             why);
    }
    PQclear(result);
    return status;
}

static bool succeeded(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY;
}

static bool postgres_in_transaction(void *opaque)
{
    postgres_link *link = opaque;
    PGTransactionStatusType status = PQtransactionStatus(link->conn);
    return status == PQTRANS_INTRANS || status == PQTRANS_INERROR;
}

static nexus_status postgres_script(void *opaque, const char *sql)
{
    postgres_link *link = opaque;
    bool inside = postgres_in_transaction(link);
    PGresult *result = PQexec(link->conn, sql);
    if (!succeeded(result))
        return fail_result(link, result, inside);
    PQclear(result);
    return NEXUS_OK;
}

/* --- opening --------------------------------------------------------------------------------- */

static void ignore_notice(void *user_data, const char *message)
{
    (void)user_data; /* libpq would print it on stderr, which is not ours */
    (void)message;
}

static void drop_statement(void *opaque, nexus__statement *statement)
{
    postgres_link *link = opaque;
    char sql[64];
    if (!link->conn || PQstatus(link->conn) != CONNECTION_OK || !statement->handle)
        return;
    snprintf(sql, sizeof sql, "DEALLOCATE nexus_%llu", (unsigned long long)statement->name);
    PQclear(PQexec(link->conn, sql));
}

static void postgres_close(void *opaque)
{
    postgres_link *link = opaque;
    if (!link->adopted) {
        PQfinish(link->conn);
        link->conn = NULL;
        nexus__statements_free(&link->statements);
    }
    nexus__arena_free(&link->arena);
    nexus__free(link->config->alloc, link);
}

static PGconn *dial(const nexus__db_config *config)
{
    char seconds[16];
    snprintf(seconds, sizeof seconds, "%u", (config->connect_timeout_ms + 999) / 1000);
    /* Later entries win over earlier ones: the URL over our defaults, but not over what the driver relies on. */
    const char *names[] = {"connect_timeout",
                           "keepalives_idle",
                           "tcp_user_timeout",
                           "fallback_application_name",
                           "dbname",
                           "client_encoding",
                           NULL};
    const char *values[] = {seconds, "30", "30000", "nexus", config->address, "UTF8", NULL};
    return PQconnectdbParams(names, values, 1);
}

/* The schema is created under a lock, since two IF NOT EXISTS at once can still collide. */
static nexus_status enter_schema(postgres_link *link)
{
    char sql[256];
    const char *schema = link->config->schema; /* held to an identifier by db.c */
    snprintf(sql, sizeof sql, "SET search_path = \"%s\"", schema);
    nexus_status status = postgres_script(link, sql);
    PGresult *found =
        PQexecParams(link->conn, "SELECT 1 FROM pg_namespace WHERE nspname = $1", 1, NULL, &schema, NULL, NULL, 0);
    bool exists = PQresultStatus(found) == PGRES_TUPLES_OK && PQntuples(found) == 1;
    PQclear(found);
    if (status != NEXUS_OK || exists)
        return status;
    snprintf(sql, sizeof sql,
             "BEGIN; SELECT pg_advisory_xact_lock(7230478320); CREATE SCHEMA IF NOT EXISTS \"%s\"; COMMIT", schema);
    return postgres_script(link, sql);
}

static nexus_status dial_failure(const postgres_link *link)
{
    /* A refused login has no SQLSTATE here; libpq only says it in words. */
    const char *why = PQerrorMessage(link->conn);
    bool refused = PQconnectionNeedsPassword(link->conn) || PQconnectionUsedPassword(link->conn) ||
                   strstr(why, "authentication failed") || strstr(why, "no pg_hba.conf entry");
    return fail_connection(link, refused && strstr(why, "FATAL") ? NEXUS_EAUTH : NEXUS_EUNREACH);
}

static nexus_status postgres_open(void **out, const nexus__db_config *config, bool writer)
{
    (void)writer;
    postgres_link *link = nexus__calloc(config->alloc, 1, sizeof *link);
    if (!link)
        return nexus__nomem();
    link->config = config;
    nexus__arena_init(&link->arena, config->alloc, 0);
    nexus__statements_init(&link->statements, config->alloc, config->statements, drop_statement, link);
    link->conn = dial(config);
    nexus_status status = NEXUS_OK;
    if (!link->conn)
        status = nexus__nomem();
    else if (PQstatus(link->conn) != CONNECTION_OK)
        status = dial_failure(link);
    if (status == NEXUS_OK) {
        PQsetNoticeProcessor(link->conn, ignore_notice, NULL);
        status = config->schema ? enter_schema(link) : NEXUS_OK;
    }
    if (status != NEXUS_OK) {
        postgres_close(link);
        return status;
    }
    *out = link;
    return NEXUS_OK;
}

static nexus_status postgres_adopt(void **out, const nexus__db_config *config, void *native)
{
    postgres_link *link = nexus__calloc(config->alloc, 1, sizeof *link);
    if (!link)
        return nexus__nomem();
    *link = (postgres_link){.own = *config, .conn = native, .adopted = true};
    link->config = &link->own;
    nexus__arena_init(&link->arena, config->alloc, 0);
    *out = link;
    return NEXUS_OK;
}

/* The server ends idle connections with a message and a close: both make the socket readable. */
static bool postgres_alive(void *opaque)
{
    postgres_link *link = opaque;
    struct pollfd fd = {.fd = PQsocket(link->conn), .events = POLLIN};
    if (PQstatus(link->conn) != CONNECTION_OK || PQtransactionStatus(link->conn) != PQTRANS_IDLE)
        return false;
    for (int reads = 0; reads < 4 && PQstatus(link->conn) == CONNECTION_OK && poll(&fd, 1, 0) > 0; reads++)
        PQconsumeInput(link->conn); /* first the message, then the end */
    return PQstatus(link->conn) == CONNECTION_OK;
}

/* --- parameters ------------------------------------------------------------------------------ */

typedef struct parameters {
    const char **values;
    int *lengths, *formats;
    Oid *types;
} parameters;

static nexus_status put_parameter(nexus__arena *arena, const nexus_value *v, parameters *p, size_t i)
{
    char number[32];
    nexus_slice text = v->s;
    switch (v->type) {
    case NEXUS_VALUE_INT:
        text = nexus__slice(number, (size_t)snprintf(number, sizeof number, "%lld", (long long)v->i));
        break;
    case NEXUS_VALUE_DOUBLE:
        text = nexus__slice(number, nexus__format_double(v->d, number));
        break;
    case NEXUS_VALUE_TEXT:
        if (nexus__slice_find(text, '\0') < text.n)
            return nexus__fail(NEXUS_EINVAL, "text parameter $%zu holds a NUL byte: PostgreSQL keeps none", i + 1);
        break;
    case NEXUS_VALUE_BLOB:
        p->formats[i] = 1;
        p->types[i] = OID_BYTEA;
        break;
    default:
        return NEXUS_OK; /* values[i] stays NULL */
    }
    p->lengths[i] = (int)text.n;
    p->values[i] = nexus__arena_copy(arena, text).p;
    return p->values[i] ? NEXUS_OK : nexus__nomem();
}

static nexus_status put_parameters(postgres_link *link, const nexus_value *args, size_t n, parameters *p)
{
    nexus__arena_reset(&link->arena);
    p->values = nexus__arena_get(&link->arena, (n + 1) * sizeof *p->values);
    p->lengths = nexus__arena_get(&link->arena, (n + 1) * sizeof *p->lengths);
    p->formats = nexus__arena_get(&link->arena, (n + 1) * sizeof *p->formats);
    p->types = nexus__arena_get(&link->arena, (n + 1) * sizeof *p->types);
    if (!p->values || !p->lengths || !p->formats || !p->types)
        return nexus__nomem();
    memset(p->values, 0, (n + 1) * sizeof *p->values);
    memset(p->formats, 0, (n + 1) * sizeof *p->formats);
    memset(p->types, 0, (n + 1) * sizeof *p->types);
    nexus_status status = n <= 65535 ? NEXUS_OK : nexus__fail(NEXUS_ETOOBIG, "more than 65535 parameters");
    for (size_t i = 0; status == NEXUS_OK && i < n; i++)
        status = put_parameter(&link->arena, &args[i], p, i);
    return status;
}

/* --- results --------------------------------------------------------------------------------- */

static nexus_status read_bytea(nexus_rows *rows, nexus_value *cell, const char *text)
{
    size_t n = 0;
    unsigned char *bytes = PQunescapeBytea((const unsigned char *)text, &n);
    if (!bytes)
        return nexus__nomem();
    nexus_status status = nexus__rows_set_bytes(rows, cell, NEXUS_VALUE_BLOB, bytes, n);
    PQfreemem(bytes);
    return status;
}

static nexus_status read_cell(nexus_rows *rows, nexus_value *cell, const PGresult *result, int row, int column)
{
    if (PQgetisnull(result, row, column))
        return NEXUS_OK;
    nexus_slice text = nexus__slice(PQgetvalue(result, row, column), (size_t)PQgetlength(result, row, column));
    switch (PQftype(result, column)) {
    case OID_BOOL:
        *cell = NEXUS_INT(text.p[0] == 't');
        return NEXUS_OK;
    case OID_INT2:
    case OID_INT4:
    case OID_INT8:
        cell->type = NEXUS_VALUE_INT;
        return nexus__parse_i64(text, &cell->i) ? NEXUS_OK : nexus__fail(NEXUS_EPROTO, "postgres: not an integer");
    case OID_FLOAT4:
    case OID_FLOAT8:
        if (nexus__parse_double(text, &cell->d)) {
            cell->type = NEXUS_VALUE_DOUBLE;
            return NEXUS_OK;
        }
        break; /* NaN and infinities stay text */
    case OID_BYTEA:
        return read_bytea(rows, cell, text.p);
    default:
        break;
    }
    return nexus__rows_set_bytes(rows, cell, NEXUS_VALUE_TEXT, text.p, text.n);
}

static nexus_status read_rows(nexus_rows *rows, const PGresult *result)
{
    nexus_status status = nexus__rows_set_columns(rows, (size_t)PQnfields(result));
    for (size_t i = 0; status == NEXUS_OK && i < rows->columns; i++)
        status = nexus__rows_set_name(rows, i, PQfname(result, (int)i));
    for (int row = 0; status == NEXUS_OK && row < PQntuples(result); row++) {
        nexus_value *cells = NULL;
        status = nexus__rows_add(rows, &cells);
        for (size_t i = 0; status == NEXUS_OK && i < rows->columns; i++)
            status = read_cell(rows, &cells[i], result, row, (int)i);
    }
    return status;
}

static int64_t count_changes(PGresult *result)
{
    int64_t count = 0;
    const char *tag = PQcmdStatus(result);
    if (strncmp(tag, "INSERT", 6) == 0 || strncmp(tag, "UPDATE", 6) == 0 || strncmp(tag, "DELETE", 6) == 0 ||
        strncmp(tag, "MERGE", 5) == 0)
        nexus__parse_i64(nexus__slice_c(PQcmdTuples(result)), &count);
    return count;
}

/* --- running --------------------------------------------------------------------------------- */

/* Blobs are typed by the caller, so a text asked for once with a blob and once without is two statements; that does
 * not happen in practice, and the server then says so. */
static PGresult *run_prepared(postgres_link *link, const char *sql, int n, const parameters *p)
{
    char name[32];
    nexus__statement *kept = nexus__statements_get(&link->statements, sql);
    if (!kept) {
        kept = nexus__statements_add(&link->statements, sql);
        if (!kept)
            return NULL;
        snprintf(name, sizeof name, "nexus_%llu", (unsigned long long)kept->name);
        PGresult *made = PQprepare(link->conn, name, sql, n, p->types);
        if (!succeeded(made)) {
            nexus__statements_remove(&link->statements, kept);
            return made;
        }
        PQclear(made);
        kept->handle = link;
    }
    snprintf(name, sizeof name, "nexus_%llu", (unsigned long long)kept->name);
    return PQexecPrepared(link->conn, name, n, p->values, p->lengths, p->formats, 0);
}

/* A table changed under a prepared statement, or somebody dropped it (DISCARD ALL, a proxy): prepare it again. */
static bool is_outdated(const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *why = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    return state && (strcmp(state, "26000") == 0 || (strcmp(state, "0A000") == 0 && why && strstr(why, "cached plan")));
}

static PGresult *run_text(postgres_link *link, const char *sql, int n, const parameters *p)
{
    if (link->adopted)
        return PQexecParams(link->conn, sql, n, p->types, p->values, p->lengths, p->formats, 0);
    PGresult *result = run_prepared(link, sql, n, p);
    if (!is_outdated(result))
        return result;
    nexus__statements_remove(&link->statements, nexus__statements_get(&link->statements, sql));
    if (postgres_in_transaction(link))
        return result;
    PQclear(result);
    return run_prepared(link, sql, n, p);
}

static nexus_status postgres_run(void *opaque, const char *sql, const nexus_value *args, size_t n, nexus_rows *rows,
                                 int64_t *changes)
{
    postgres_link *link = opaque;
    parameters p;
    bool inside = postgres_in_transaction(link);
    nexus_status status = put_parameters(link, args, n, &p);
    if (status != NEXUS_OK)
        return status;
    PGresult *result = run_text(link, sql, (int)n, &p);
    if (!succeeded(result))
        return fail_result(link, result, inside);
    if (PQresultStatus(result) == PGRES_EMPTY_QUERY)
        status = nexus__fail(NEXUS_EINVAL, "the SQL is empty");
    if (changes)
        *changes = count_changes(result);
    if (status == NEXUS_OK && rows)
        status = read_rows(rows, result);
    PQclear(result);
    return status;
}

static nexus_status postgres_commit(void *opaque)
{
    postgres_link *link = opaque;
    PGresult *result = PQexec(link->conn, "COMMIT");
    if (!succeeded(result))
        return fail_result(link, result, false);
    /* A transaction that had failed answers COMMIT with ROLLBACK, and no error. */
    bool committed = strcmp(PQcmdStatus(result), "COMMIT") == 0;
    PQclear(result);
    return committed ? NEXUS_OK : nexus__fail(NEXUS_ECANCELED, "postgres: the transaction was rolled back");
}

static nexus_status postgres_lock(void *opaque, const char *name)
{
    postgres_link *link = opaque;
    char key[32];
    const char *values[] = {key};
    int64_t hash = (int64_t)nexus__siphash((nexus__hash_key){7, 7}, name, strlen(name));
    snprintf(key, sizeof key, "%lld", (long long)hash);
    PGresult *result =
        PQexecParams(link->conn, "SELECT pg_advisory_xact_lock($1)", 1, (Oid[]){OID_INT8}, values, NULL, NULL, 0);
    if (!succeeded(result))
        return fail_result(link, result, true);
    PQclear(result);
    return NEXUS_OK;
}

static bool take_notifications(PGconn *conn)
{
    bool any = false;
    for (PGnotify *n; (n = PQnotifies(conn)) != NULL; any = true)
        PQfreemem(n);
    return any;
}

static nexus_status postgres_wait(void *opaque, struct pollfd *fds, size_t n, int timeout_ms, bool *notified)
{
    postgres_link *link = opaque;
    *notified = take_notifications(link->conn); /* those that came along with an earlier answer */
    fds[n] = (struct pollfd){.fd = PQsocket(link->conn), .events = POLLIN};
    if (fds[n].fd < 0)
        return fail_connection(link, NEXUS_EUNREACH);
    int ready = poll(fds, n + 1, *notified ? 0 : timeout_ms);
    for (size_t i = 0; ready <= 0 && i <= n; i++)
        fds[i].revents = 0;
    if (fds[n].revents && (!PQconsumeInput(link->conn) || PQstatus(link->conn) != CONNECTION_OK))
        return fail_connection(link, NEXUS_EUNREACH);
    *notified |= take_notifications(link->conn);
    return NEXUS_OK;
}

const nexus__db_ops nexus__postgres_ops = {
    .size = sizeof(nexus__db_ops),
    .kind = "postgres",
    .begin = "BEGIN",
    .open = postgres_open,
    .adopt = postgres_adopt,
    .close = postgres_close,
    .alive = postgres_alive,
    .in_transaction = postgres_in_transaction,
    .run = postgres_run,
    .script = postgres_script,
    .commit = postgres_commit,
    .lock = postgres_lock,
    .wait = postgres_wait,
};
