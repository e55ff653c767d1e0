/*
 * Sealing again what older keys of the ring sealed. Which values those are is told by the values themselves (their key's id
 * stands in front), so there is no progress to keep: whoever goes on after a crash finds what is left. A batch is one
 * transaction, and a value that somebody changes meanwhile is left to them.
 */
#include "auth/auth_private.h"
#include "auth/ring.h"
#include "json/write.h"

enum { BATCH_MAX = 1000 };

/* Every column of the ring $STATE/secrets.key. Its context is before, the row's key, after. */
typedef struct sealed_column {
    const char *table, *key, *column, *before, *after;
} sealed_column;

static const sealed_column columns[] = {
    {"auth_keys", "kid", "sealed", "auth_keys/", "/private"},
    {"auth_totp", "user_id", "sealed", "auth_totp/", "/seed"},
    {"auth_refresh", "hash", "successor", "auth_refresh/", "/successor"},
    {"auth_apikey_pepper", "CAST(id AS TEXT)", "sealed", "auth_apikey_pepper/", "/sealed"},
};
enum { COLUMNS = sizeof columns / sizeof columns[0] };

/* --- what each key protects ---------------------------------------------------------------------------------------- */

typedef struct tally {
    char kid[NEXUS__KID_TEXT];
    bool in_ring;
    int64_t values;
} tally;

typedef struct tallies {
    tally rows[64];
    size_t count;
} tallies;

static tally *tally_of(tallies *t, nexus_slice kid)
{
    for (size_t i = 0; i < t->count; i++)
        if (nexus__slice_eq_c(kid, t->rows[i].kid))
            return &t->rows[i];
    if (t->count == sizeof t->rows / sizeof t->rows[0])
        return NULL;
    tally *row = &t->rows[t->count++];
    *row = (tally){0};
    snprintf(row->kid, sizeof row->kid, "%.*s", (int)kid.n, kid.p);
    return row;
}

static nexus_status count_column(tallies *t, nexus_db *db, const sealed_column *c)
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
            status = nexus__fail(NEXUS_ETOOBIG, "%s: values of more than 64 keys", c->table);
    }
    nexus_rows_free(rows);
    return status;
}

static nexus_status count_all(tallies *t, nexus_auth *a)
{
    char kid[NEXUS__KID_TEXT];
    nexus_status status = NEXUS_OK;
    t->count = 0;
    for (size_t i = 0; nexus__secrets_kid(a->secrets, i, kid); i++)
        tally_of(t, nexus__slice_c(kid))->in_ring = true; /* a ring has fewer than rows */
    for (size_t i = 0; i < COLUMNS && status == NEXUS_OK; i++)
        status = count_column(t, a->db, &columns[i]);
    return status;
}

nexus_status nexus_auth_secrets(nexus_auth *a, char **json, size_t *n)
{
    tallies t;
    nexus__buf text;
    nexus_status status = count_all(&t, a);
    if (status != NEXUS_OK)
        return status;
    nexus__buf_init(&text, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&text);
    nexus__json_open(&w, '{');
    nexus__json_key(&w, "keys");
    nexus__json_open(&w, '[');
    for (size_t i = 0; i < t.count; i++) {
        nexus__json_open(&w, '{');
        nexus__json_put_text_c(&w, "kid", t.rows[i].kid);
        nexus__json_put_text_c(&w, "state", i == 0 ? "sealing" : t.rows[i].in_ring ? "opening" : "missing");
        nexus__json_put_i64(&w, "values", t.rows[i].values);
        nexus__json_close(&w, '}');
    }
    nexus__json_close(&w, ']');
    nexus__json_close(&w, '}');
    if ((*json = nexus__buf_take(&text, n)))
        return NEXUS_OK;
    nexus__buf_free(&text);
    return nexus__nomem();
}

/* --- sealing again ------------------------------------------------------------------------------------------------- */

static nexus_status seal_again(nexus_auth *a, const sealed_column *c, nexus_slice key, nexus_slice old, char **out, size_t *n)
{
    char context[192], *plain;
    size_t plain_n;
    int len = snprintf(context, sizeof context, "%s%.*s%s", c->before, (int)(key.n > 128 ? 128 : key.n), key.p, c->after);
    nexus_slice place = nexus__slice(context, (size_t)len);
    nexus_status status = nexus_secrets_unseal(a->secrets, place, old, &plain, &plain_n);
    if (status != NEXUS_OK)
        return status;
    status = nexus_secrets_seal(a->secrets, place, nexus__slice(plain, plain_n), out, n);
    nexus_free_wiped(plain, plain_n);
    return status;
}

static nexus_status reseal_row(nexus_auth *a, nexus_db *tx, const sealed_column *c, const nexus_rows *rows, uint32_t *done)
{
    char sql[192], *sealed;
    size_t n;
    int64_t changes = 0;
    nexus_slice key, old;
    nexus_rows_text(rows, 0, &key);
    nexus_rows_text(rows, 1, &old);
    nexus_status status = seal_again(a, c, key, old, &sealed, &n);
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
static nexus_status reseal_some(nexus_auth *a, nexus_db *tx, const sealed_column *c, uint32_t batch, nexus__buf *cursor,
                                uint32_t *seen, uint32_t *done)
{
    char sql[320], kid[NEXUS__KID_TEXT], current[32];
    nexus_rows *rows;
    if (!nexus__secrets_kid(a->secrets, 0, kid))
        return nexus__fail(NEXUS_EMISSING, "the ring is empty");
    snprintf(current, sizeof current, "nx1.%s.%%", kid);
    snprintf(sql, sizeof sql,
             "SELECT %s, %s FROM %s WHERE %s > $1 AND %s LIKE 'nx1.%%' AND %s NOT LIKE $2 ORDER BY 1 LIMIT $3", c->key,
             c->column, c->table, c->key, c->column, c->column);
    nexus_status status = nexus_db_query(
        &rows, tx, sql, (nexus_value[]){NEXUS_TEXT(nexus__buf_slice(cursor)), NEXUS_TEXT_C(current), NEXUS_INT(batch)}, 3);
    if (status != NEXUS_OK)
        return status;
    while (status == NEXUS_OK && nexus_rows_next(rows)) {
        nexus_slice key;
        nexus_rows_text(rows, 0, &key);
        cursor->len = 0;
        nexus__buf_slice_append(cursor, key);
        status = reseal_row(a, tx, c, rows, done);
        ++*seen;
    }
    nexus_rows_free(rows);
    return status == NEXUS_OK ? cursor->status : status;
}

/* Past values that do not open, until something is done or the column ends. */
static nexus_status reseal_column(nexus_auth *a, nexus_db *tx, const sealed_column *c, uint32_t batch, uint32_t *done)
{
    nexus__buf cursor;
    uint32_t seen = batch;
    nexus_status status = NEXUS_OK;
    nexus__buf_init(&cursor, NULL, 0);
    while (status == NEXUS_OK && *done == 0 && seen == batch) {
        seen = 0;
        status = reseal_some(a, tx, c, batch, &cursor, &seen, done);
    }
    nexus__buf_free(&cursor);
    return status;
}

nexus_status nexus_auth_reseal(nexus_auth *a, uint32_t batch, uint32_t *resealed)
{
    nexus_db *tx;
    uint32_t done = 0;
    batch = batch == 0 ? 100 : batch > BATCH_MAX ? BATCH_MAX : batch;
    nexus_status status = nexus_db_begin(&tx, a->db);
    if (status != NEXUS_OK)
        return status;
    for (size_t i = 0; i < COLUMNS && status == NEXUS_OK && done == 0; i++)
        status = reseal_column(a, tx, &columns[i], batch, &done);
    status = nexus__finish(tx, status);
    if (status == NEXUS_OK)
        *resealed = done;
    return status;
}

/* --- the ring ------------------------------------------------------------------------------------------------------ */

nexus_status nexus_auth_secrets_rotate(nexus_auth *a)
{
    return nexus_secrets_rotate(a->secrets);
}

nexus_status nexus_auth_secrets_retire(nexus_auth *a, const char *kid)
{
    tallies t;
    nexus_status status = count_all(&t, a);
    if (status != NEXUS_OK)
        return status;
    for (size_t i = 0; i < t.count; i++)
        if (t.rows[i].values && strcmp(t.rows[i].kid, kid) == 0)
            return nexus__fail(NEXUS_ECONFLICT, "%lld values are still sealed with %s; rotate --reseal first",
                               (long long)t.rows[i].values, kid);
    return nexus__secrets_retire(a->secrets, kid);
}
