/* A projection's rows: which generation is live, how far each thread is, keys and values. */
#include <inttypes.h>

#include "base/status.h"
#include "base/str.h"
#include "bus/projection.h"

static const nexus_migration tables[] = {
    {1, "projections",
     "CREATE TABLE nexus_projection (name TEXT NOT NULL, generation BIGINT NOT NULL, part BIGINT NOT NULL,"
     " parts BIGINT NOT NULL, version BIGINT NOT NULL, role TEXT NOT NULL, pos BIGINT NOT NULL,"
     " PRIMARY KEY (name, generation, part));"
     "CREATE TABLE nexus_projection_kv (name TEXT NOT NULL, generation BIGINT NOT NULL, k BLOB NOT NULL, v BLOB NOT "
     "NULL,"
     " PRIMARY KEY (name, generation, k))",
     "CREATE TABLE nexus_projection (name TEXT NOT NULL, generation BIGINT NOT NULL, part BIGINT NOT NULL,"
     " parts BIGINT NOT NULL, version BIGINT NOT NULL, role TEXT NOT NULL, pos BIGINT NOT NULL,"
     " PRIMARY KEY (name, generation, part));"
     "CREATE TABLE nexus_projection_kv (name TEXT NOT NULL, generation BIGINT NOT NULL, k BYTEA NOT NULL, v BYTEA NOT "
     "NULL,"
     " PRIMARY KEY (name, generation, k))"},
};

nexus_status nexus__projection_prepare(nexus_db *db)
{
    return nexus_db_migrate(db, "projection", tables, sizeof tables / sizeof tables[0]);
}

nexus_status nexus__projection_read_live(nexus_projection *p, nexus_db *db, uint32_t *generation, uint32_t *version,
                                         uint64_t *pos)
{
    nexus_rows *rows;
    const nexus_value name = NEXUS_TEXT_C(p->name);
    nexus_status status = nexus_db_query_one(
        &rows, db, "SELECT generation, version, pos FROM nexus_projection WHERE name = $1 AND role = 'live'", &name, 1);
    *generation = *version = 0;
    *pos = 0;
    if (status == NEXUS_ENOTFOUND)
        return NEXUS_OK;
    if (status != NEXUS_OK)
        return status;
    *generation = (uint32_t)nexus_rows_int(rows, 0);
    *version = (uint32_t)nexus_rows_int(rows, 1);
    *pos = (uint64_t)nexus_rows_int(rows, 2);
    nexus_rows_free(rows);
    return NEXUS_OK;
}

static nexus_status insert(nexus_projection *p, nexus_db *db, uint32_t generation, uint32_t part, uint32_t parts,
                           const char *role, uint64_t pos)
{
    const nexus_value row[] = {NEXUS_TEXT_C(p->name),  NEXUS_INT(generation),      NEXUS_INT(part),
                               NEXUS_INT(parts),       NEXUS_INT(p->opts.version), NEXUS_TEXT_C(role),
                               NEXUS_INT((int64_t)pos)};
    return nexus_db_exec(db,
                         "INSERT INTO nexus_projection (name, generation, part, parts, version, role, pos)"
                         " VALUES ($1, $2, $3, $4, $5, $6, $7)",
                         row, 7, NULL);
}

nexus_status nexus__projection_make_live(nexus_projection *p)
{
    nexus_status status = insert(p, p->db, 1, 0, 1, "live", 0);
    return status == NEXUS_ECONFLICT ? NEXUS_OK : status;
}

/* --- a shadow ---- */

static nexus_status make_parts(nexus_projection *p, uint32_t generation, uint32_t parts)
{
    p->parts = nexus__calloc(NULL, parts, sizeof *p->parts);
    if (!p->parts)
        return nexus__nomem();
    p->part_count = parts;
    for (uint32_t i = 0; i < parts; i++) {
        p->parts[i].projection = p;
        p->parts[i].generation = generation;
        p->parts[i].part = i;
        p->parts[i].parts = parts;
        p->parts[i].rebuild = true;
    }
    return NEXUS_OK;
}

static nexus_status clear(nexus_projection *p, nexus_db *tx, const char *rows, const char *keys, uint32_t keep)
{
    const nexus_value args[] = {NEXUS_TEXT_C(p->name), NEXUS_INT(keep)};
    nexus_status status = nexus_db_exec(tx, keys, args, 2, NULL);
    return status == NEXUS_OK ? nexus_db_exec(tx, rows, args, 2, NULL) : status;
}

/* What is left of it from before: rows of the version that is wanted, all parts of one generation. */
static nexus_status resume(nexus_projection *p, nexus_db *tx, uint32_t *generation)
{
    nexus_rows *rows;
    const nexus_value args[] = {NEXUS_TEXT_C(p->name), NEXUS_INT(p->opts.version)};
    nexus_status status = nexus_db_query(&rows, tx,
                                         "SELECT generation, part, parts, pos FROM nexus_projection WHERE name = $1"
                                         " AND role = 'shadow' AND version = $2 ORDER BY generation DESC, part",
                                         args, 2);
    *generation = 0;
    if (status != NEXUS_OK)
        return status;
    while (status == NEXUS_OK && nexus_rows_next(rows)) {
        uint32_t of = (uint32_t)nexus_rows_int(rows, 0), part = (uint32_t)nexus_rows_int(rows, 1);
        if (*generation && of != *generation)
            break;
        if (!*generation)
            status = make_parts(p, of, (uint32_t)nexus_rows_int(rows, 2));
        *generation = of;
        if (status == NEXUS_OK && part < p->part_count)
            atomic_store(&p->parts[part].pos, (uint64_t)nexus_rows_int(rows, 3));
    }
    nexus_rows_free(rows);
    return status;
}

static nexus_status begin_anew(nexus_projection *p, nexus_db *tx, uint32_t *generation)
{
    nexus_rows *rows;
    const nexus_value name = NEXUS_TEXT_C(p->name);
    nexus_status status = nexus_db_query_one(
        &rows, tx, "SELECT COALESCE(MAX(generation), 0) FROM nexus_projection WHERE name = $1", &name, 1);
    if (status != NEXUS_OK)
        return status;
    *generation = (uint32_t)nexus_rows_int(rows, 0) + 1;
    nexus_rows_free(rows);
    status = clear(p, tx, "DELETE FROM nexus_projection WHERE name = $1 AND role = 'shadow' AND generation <> $2",
                   "DELETE FROM nexus_projection_kv WHERE name = $1 AND generation <> $2 AND generation NOT IN"
                   " (SELECT generation FROM nexus_projection WHERE name = $1 AND role = 'live')",
                   *generation);
    if (status == NEXUS_OK)
        status = make_parts(p, *generation, p->opts.parallel);
    for (uint32_t i = 0; status == NEXUS_OK && i < p->opts.parallel; i++)
        status = insert(p, tx, *generation, i, p->opts.parallel, "shadow", 0);
    return status;
}

nexus_status nexus__projection_make_shadow(nexus_projection *p)
{
    nexus_db *tx;
    uint32_t generation;
    nexus_status status = nexus_db_begin(&tx, p->db);
    if (status != NEXUS_OK)
        return status;
    status = resume(p, tx, &generation);
    if (status == NEXUS_OK && !generation)
        status = begin_anew(p, tx, &generation);
    if (status == NEXUS_OK) {
        status = nexus_db_commit(tx);
    } else {
        nexus_db_rollback(tx);
    }
    if (status != NEXUS_OK) {
        nexus__free(NULL, p->parts);
        p->parts = NULL;
        p->part_count = 0;
        return status;
    }
    p->shadow = generation;
    return NEXUS_OK;
}

/* --- checkpoints ---- */

nexus_status nexus__projection_move(nexus_projection *p, nexus_db *tx, const nexus__projector *w, uint64_t to)
{
    int64_t changes = 0;
    const nexus_value args[] = {NEXUS_TEXT_C(p->name), NEXUS_INT(w->generation), NEXUS_INT(w->part),
                                NEXUS_INT((int64_t)atomic_load(&w->pos)), NEXUS_INT((int64_t)to)};
    nexus_status status = nexus_db_exec(
        tx, "UPDATE nexus_projection SET pos = $5 WHERE name = $1 AND generation = $2 AND part = $3 AND pos = $4", args,
        5, &changes);
    if (status == NEXUS_OK && changes != 1)
        return nexus__fail(NEXUS_ESTALE, "projection %s was moved on by another process", p->name);
    return status;
}

nexus_status nexus__projection_read_pos(nexus_projection *p, const nexus__projector *w, uint64_t *pos)
{
    nexus_rows *rows;
    const nexus_value args[] = {NEXUS_TEXT_C(p->name), NEXUS_INT(w->generation), NEXUS_INT(w->part)};
    nexus_status status = nexus_db_query_one(
        &rows, p->db, "SELECT pos FROM nexus_projection WHERE name = $1 AND generation = $2 AND part = $3", args, 3);
    if (status != NEXUS_OK)
        return status;
    *pos = (uint64_t)nexus_rows_int(rows, 0);
    nexus_rows_free(rows);
    return NEXUS_OK;
}

nexus_status nexus__projection_swap(nexus_projection *p, uint64_t pos)
{
    nexus_db *tx;
    uint32_t old, version;
    uint64_t was;
    nexus_status status = nexus_db_begin(&tx, p->db);
    if (status != NEXUS_OK)
        return status;
    status = nexus__projection_read_live(p, tx, &old, &version, &was);
    if (status == NEXUS_OK)
        status = clear(p, tx, "DELETE FROM nexus_projection WHERE name = $1 AND $2 > 0",
                       "DELETE FROM nexus_projection_kv WHERE name = $1 AND generation <> $2", p->shadow);
    if (status == NEXUS_OK)
        status = insert(p, tx, p->shadow, 0, 1, "live", pos);
    nexus_projection_tx given = {p, tx, p->shadow, true, NULL};
    if (status == NEXUS_OK && p->opts.on_swap)
        status = p->opts.on_swap(&given, old, p->shadow, p->opts.user_data);
    nexus_rows_free(given.rows);
    if (status != NEXUS_OK) {
        nexus_db_rollback(tx);
        return status;
    }
    return nexus_db_commit(tx);
}

/* --- keys and values ---- */

nexus_status nexus_projection_put(nexus_projection_tx *tx, nexus_slice key, nexus_slice value)
{
    const nexus_value args[] = {NEXUS_TEXT_C(tx->projection->name), NEXUS_INT(tx->generation), NEXUS_BLOB(key),
                                NEXUS_BLOB(value)};
    return nexus_db_exec(tx->db,
                         "INSERT INTO nexus_projection_kv (name, generation, k, v) VALUES ($1, $2, $3, $4)"
                         " ON CONFLICT (name, generation, k) DO UPDATE SET v = EXCLUDED.v",
                         args, 4, NULL);
}

nexus_status nexus_projection_erase(nexus_projection_tx *tx, nexus_slice key)
{
    const nexus_value args[] = {NEXUS_TEXT_C(tx->projection->name), NEXUS_INT(tx->generation), NEXUS_BLOB(key)};
    return nexus_db_exec(tx->db, "DELETE FROM nexus_projection_kv WHERE name = $1 AND generation = $2 AND k = $3", args,
                         3, NULL);
}

nexus_status nexus_projection_fetch(nexus_projection_tx *tx, nexus_slice key, nexus_slice *value)
{
    const nexus_value args[] = {NEXUS_TEXT_C(tx->projection->name), NEXUS_INT(tx->generation), NEXUS_BLOB(key)};
    nexus_rows_free(tx->rows);
    tx->rows = NULL;
    nexus_status status = nexus_db_query_one(
        &tx->rows, tx->db, "SELECT v FROM nexus_projection_kv WHERE name = $1 AND generation = $2 AND k = $3", args, 3);
    if (status == NEXUS_OK)
        nexus_rows_text(tx->rows, 0, value);
    return status;
}

nexus_db *nexus_projection_tx_db(nexus_projection_tx *tx)
{
    return tx->db;
}

uint32_t nexus_projection_tx_generation(const nexus_projection_tx *tx)
{
    return tx->generation;
}

bool nexus_projection_tx_is_rebuild(const nexus_projection_tx *tx)
{
    return tx->rebuild;
}
