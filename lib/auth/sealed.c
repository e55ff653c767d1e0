/*
 * Sealing again what older keys of the ring sealed. Which values those are is told by the values themselves (their key's id
 * stands in front), so there is no progress to keep: whoever goes on after a crash finds what is left. A batch is one
 * transaction, and a value that somebody changes meanwhile is left to them.
 *
 * Retiring a key: whoever seals enters first, shared, until his transaction ends (PostgreSQL: an advisory lock; SQLite: its
 * one writer). Who retires enters alone, counts, and takes the key out of the file before he lets go. So values that are
 * sealed before are counted, and whoever seals after sees the file without the key.
 */
#include "auth/sealed.h"

#include <stdio.h>

#include "base/status.h"
#include "crypto/wipe.h"
#include "json/write.h"

enum { BATCH_MAX = 1000, TALLIES_MAX = NEXUS__RING_KEYS_MAX + 64 };

/* --- entering ------------------------------------------------------------------------------------------------------ */

static nexus_status enter(nexus_db *tx, const char *lock)
{
    char sql[192];
    nexus_rows *rows;
    if (strcmp(nexus_db_kind(tx), "postgres") != 0)
        return NEXUS_OK; /* a transaction has the one right to write */
    snprintf(sql, sizeof sql, "SELECT CASE WHEN %s(hashtextextended('nexus secrets ' || current_schema(), 0)) IS NULL THEN 1 ELSE 0 END",
             lock);
    nexus_status status = nexus_db_query_one(&rows, tx, sql, NULL, 0);
    if (status == NEXUS_OK)
        nexus_rows_free(rows);
    return status;
}

nexus_status nexus__sealed_enter(nexus_db *tx)
{
    return enter(tx, "pg_advisory_xact_lock_shared");
}

static nexus_status finish(nexus_db *tx, nexus_status status)
{
    if (status == NEXUS_OK)
        return nexus_db_commit(tx);
    nexus_db_rollback(tx);
    return status;
}

static nexus_status enter_alone(nexus_db *tx)
{
    return enter(tx, "pg_advisory_xact_lock");
}

/* --- what each key protects ---------------------------------------------------------------------------------------- */

typedef struct tally {
    nexus__ring_info key;
    int64_t values;
} tally;

typedef struct tallies {
    size_t count;
    tally rows[TALLIES_MAX];
} tallies;

static tally *tally_of(tallies *t, nexus_slice kid)
{
    for (size_t i = 0; i < t->count; i++)
        if (nexus__slice_eq_c(kid, t->rows[i].key.kid))
            return &t->rows[i];
    if (t->count == TALLIES_MAX)
        return NULL;
    tally *row = &t->rows[t->count++];
    *row = (tally){.key = {.state = "missing"}};
    snprintf(row->key.kid, sizeof row->key.kid, "%.*s", (int)kid.n, kid.p);
    return row;
}

static nexus_status count_column(tallies *t, nexus_db *db, const nexus__sealed_column *c)
{
    char sql[256];
    nexus_rows *rows;
    snprintf(sql, sizeof sql, "SELECT substr(%s, 5, 16), count(*) FROM %s WHERE %s LIKE 'nx1.%%' GROUP BY 1", c->column,
             c->table, c->column);
    nexus_status status = nexus_db_query(&rows, db, sql, NULL, 0);
    if (status != NEXUS_OK)
        return status;
    while (nexus_rows_next(rows) && status == NEXUS_OK) {
        nexus_slice kid;
        nexus_rows_text(rows, 0, &kid);
        tally *row = tally_of(t, kid);
        if (row)
            row->values += nexus_rows_int(rows, 1);
        else
            status = nexus__fail(NEXUS_ETOOBIG, "%s: values of too many keys", c->table);
    }
    nexus_rows_free(rows);
    return status;
}

/* Free it with nexus__free. */
static nexus_status count_all(tallies **out, const nexus__sealed *set, nexus_db *db)
{
    nexus_status status = NEXUS_OK;
    tallies *t = nexus__calloc(NULL, 1, sizeof *t);
    if (!t)
        return nexus__nomem();
    while (t->count < TALLIES_MAX && nexus__ring_info_at(set->secrets, t->count, &t->rows[t->count].key))
        t->count++;
    for (size_t i = 0; i < set->count && status == NEXUS_OK; i++)
        status = count_column(t, db, &set->columns[i]);
    if (status == NEXUS_OK)
        *out = t;
    else
        nexus__free(NULL, t);
    return status;
}

static void put_key(nexus__json_writer *w, const tally *t)
{
    nexus__json_open(w, '{');
    nexus__json_put_text_c(w, "kid", t->key.kid);
    nexus__json_put_text_c(w, "state", t->key.state);
    if (*t->key.tenant)
        nexus__json_put_text_c(w, "tenant", t->key.tenant);
    nexus__json_put_i64(w, "values", t->values);
    nexus__json_close(w, '}');
}

nexus_status nexus__sealed_list(const nexus__sealed *set, char **json, size_t *n)
{
    tallies *t;
    nexus__buf text;
    nexus_status status = count_all(&t, set, set->db);
    if (status != NEXUS_OK)
        return status;
    nexus__buf_init(&text, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&text);
    nexus__json_open(&w, '{');
    nexus__json_key(&w, "keys");
    nexus__json_open(&w, '[');
    for (size_t i = 0; i < t->count; i++)
        put_key(&w, &t->rows[i]);
    nexus__json_close(&w, ']');
    nexus__json_close(&w, '}');
    nexus__free(NULL, t);
    return nexus__buf_hand_over(&text, json, n);
}

/* --- sealing again ------------------------------------------------------------------------------------------------- */

/* What was sealed must open again, and be the same. */
static nexus_status verify(const nexus_secrets *secrets, nexus_slice place, nexus_slice plain, nexus_slice sealed)
{
    char *again;
    size_t n;
    nexus_status status = nexus_secrets_unseal(secrets, place, sealed, &again, &n);
    if (status != NEXUS_OK)
        return status;
    bool same = nexus__slice_eq_ct(plain, nexus__slice(again, n));
    nexus_free_wiped(again, n);
    return same ? NEXUS_OK : nexus__fail(NEXUS_EIO, "a value that was sealed again does not open");
}

static nexus_status seal_again(const nexus__sealed *set, const nexus__sealed_column *c, nexus_slice key, nexus_slice old,
                               char **out, size_t *n)
{
    char context[192], *plain;
    size_t plain_n;
    int len = snprintf(context, sizeof context, "%s%.*s%s", c->before, (int)(key.n > 128 ? 128 : key.n), key.p, c->after);
    nexus_slice place = nexus__slice(context, (size_t)len);
    nexus_status status = nexus_secrets_unseal(set->secrets, place, old, &plain, &plain_n);
    if (status != NEXUS_OK)
        return status;
    status = nexus_secrets_seal(set->secrets, place, nexus__slice(plain, plain_n), out, n);
    if (status == NEXUS_OK && (status = verify(set->secrets, place, nexus__slice(plain, plain_n), nexus__slice(*out, *n))) !=
                                  NEXUS_OK)
        nexus_free(*out);
    nexus_free_wiped(plain, plain_n);
    return status;
}

static nexus_status reseal_row(const nexus__sealed *set, nexus_db *tx, const nexus__sealed_column *c, nexus_slice key,
                               nexus_slice old, uint32_t *done)
{
    char sql[192], *sealed;
    size_t n;
    int64_t changes = 0;
    nexus_status status = seal_again(set, c, key, old, &sealed, &n);
    if (status == NEXUS_ECORRUPT || status == NEXUS_EMISSING || status == NEXUS_EINVAL)
        return NEXUS_OK; /* stays, and stays counted under its key */
    if (status != NEXUS_OK)
        return status;
    snprintf(sql, sizeof sql, "UPDATE %s SET %s = $1 WHERE %s = $2 AND %s = $3", c->table, c->column, c->key, c->column);
    status = nexus_db_exec(tx, sql,
                           (nexus_value[]){NEXUS_TEXT(nexus__slice(sealed, n)), NEXUS_TEXT(key), NEXUS_TEXT(old)}, 3,
                           &changes);
    nexus_free(sealed);
    *done += (uint32_t)changes;
    return status;
}

/* The rows of one column after `cursor`; *cursor_n 0: there are no more. */
static nexus_status reseal_some(const nexus__sealed *set, nexus_db *tx, const nexus__sealed_column *c, uint32_t batch,
                                nexus__buf *cursor, uint32_t *seen, uint32_t *done)
{
    char sql[320], kid[NEXUS__KID_TEXT], current[32];
    nexus_rows *rows;
    nexus_status status = nexus__ring_sealing_kid(set->secrets, kid);
    if (status != NEXUS_OK)
        return status;
    snprintf(current, sizeof current, "nx1.%s.%%", kid);
    snprintf(sql, sizeof sql,
             "SELECT %s, %s FROM %s WHERE %s > $1 AND %s LIKE 'nx1.%%' AND %s NOT LIKE $2 ORDER BY 1 LIMIT $3", c->key,
             c->column, c->table, c->key, c->column, c->column);
    status = nexus_db_query(
        &rows, tx, sql, (nexus_value[]){NEXUS_TEXT(nexus__buf_slice(cursor)), NEXUS_TEXT_C(current), NEXUS_INT(batch)}, 3);
    if (status != NEXUS_OK)
        return status;
    while (status == NEXUS_OK && nexus_rows_next(rows)) {
        nexus_slice key, old;
        nexus_rows_text(rows, 0, &key);
        nexus_rows_text(rows, 1, &old);
        cursor->len = 0;
        nexus__buf_slice_append(cursor, key);
        status = reseal_row(set, tx, c, key, old, done);
        ++*seen;
    }
    nexus_rows_free(rows);
    return status == NEXUS_OK ? cursor->status : status;
}

/* Past values that do not open, until something is done or the column ends. */
static nexus_status reseal_column(const nexus__sealed *set, nexus_db *tx, const nexus__sealed_column *c, uint32_t batch,
                                  uint32_t *done)
{
    nexus__buf cursor;
    uint32_t seen = batch;
    nexus_status status = NEXUS_OK;
    nexus__buf_init(&cursor, NULL, 0);
    while (status == NEXUS_OK && *done == 0 && seen == batch) {
        seen = 0;
        status = reseal_some(set, tx, c, batch, &cursor, &seen, done);
    }
    nexus__buf_free(&cursor);
    return status;
}

nexus_status nexus__sealed_again(const nexus__sealed *set, uint32_t batch, uint32_t *resealed)
{
    nexus_db *tx;
    uint32_t done = 0;
    batch = batch == 0 ? 100 : batch > BATCH_MAX ? BATCH_MAX : batch;
    nexus_status status = nexus_db_begin(&tx, set->db);
    if (status != NEXUS_OK)
        return status;
    status = nexus__sealed_enter(tx);
    for (size_t i = 0; i < set->count && status == NEXUS_OK && done == 0; i++)
        status = reseal_column(set, tx, &set->columns[i], batch, &done);
    status = finish(tx, status);
    if (status == NEXUS_OK)
        *resealed = done;
    return status;
}

void nexus__sealed_at_use(const nexus__sealed *set, const nexus__sealed_column *column, nexus_slice key, nexus_slice sealed)
{
    nexus_db *tx;
    uint32_t done = 0;
    if (!nexus__slice_starts(sealed, NEXUS_S("nx1.")) || !nexus_secrets_is_stale(set->secrets, sealed) ||
        nexus_db_begin(&tx, set->db) != NEXUS_OK)
        return;
    nexus_status status = nexus__sealed_enter(tx);
    if (status == NEXUS_OK)
        status = reseal_row(set, tx, column, key, sealed, &done);
    (void)!finish(tx, status);
}

/* --- letting go ---------------------------------------------------------------------------------------------------- */

static nexus_status refuse_used(const nexus__sealed *set, nexus_db *tx, const char *kid)
{
    tallies *t;
    int64_t values = 0;
    nexus_status status = count_all(&t, set, tx);
    if (status != NEXUS_OK)
        return status;
    for (size_t i = 0; i < t->count; i++)
        if (strcmp(t->rows[i].key.kid, kid) == 0)
            values = t->rows[i].values;
    nexus__free(NULL, t);
    return values == 0 ? NEXUS_OK
                       : nexus__fail(NEXUS_ECONFLICT, "%lld values are still sealed with %s; rotate --reseal-only first",
                                     (long long)values, kid);
}

nexus_status nexus__sealed_retire(const nexus__sealed *set, const char *kid)
{
    nexus_db *tx;
    nexus_status status = nexus_db_begin(&tx, set->db);
    if (status != NEXUS_OK)
        return status;
    status = enter_alone(tx);
    if (status == NEXUS_OK)
        status = refuse_used(set, tx, kid);
    if (status == NEXUS_OK)
        status = nexus__ring_retire(set->secrets, kid);
    return finish(tx, status);
}
