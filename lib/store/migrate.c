/*
 * Migrations: the table nexus_migrations remembers which steps of which component were applied, with a checksum of
 * their text. All that is due runs in one transaction that holds the engine's lock: a crash leaves the old schema,
 * and of two processes that start at once the second finds nothing to do.
 */
#include <stdio.h>

#include "base/hash.h"
#include "base/status.h"
#include "base/time.h"
#include "store/db.h"

typedef struct plan {
    nexus_db *tx;
    const char *component;
    const nexus_migration *steps;
    size_t n;
} plan;

static const char *text_of(const plan *p, const nexus_migration *step)
{
    bool postgres = strcmp(nexus_db_kind(p->tx), "postgres") == 0;
    return postgres && step->sql_postgres ? step->sql_postgres : step->sql;
}

/* Against edits by mistake, not against an attacker: he could rewrite the table as well. */
static void checksum(const char *sql, char out[static 17])
{
    snprintf(out, 17, "%016llx", (unsigned long long)nexus__siphash((nexus__hash_key){0, 0}, sql, strlen(sql)));
}

static nexus_status check_arguments(const char *component, const nexus_migration *steps, size_t n)
{
    if (!component || !*component)
        return nexus__fail(NEXUS_EINVAL, "migrations need the name of their component");
    for (size_t i = 0; i < n; i++)
        if (steps[i].version != i + 1 || !steps[i].name || !steps[i].sql)
            return nexus__fail(NEXUS_EINVAL, "migration %zu of %s: number them 1, 2, 3 … and give name and sql", i + 1,
                               component);
    return NEXUS_OK;
}

static nexus_status check_applied(const plan *p, nexus_rows *rows)
{
    uint32_t version = (uint32_t)nexus_rows_int(rows, 0);
    nexus_slice stored;
    nexus_rows_text(rows, 1, &stored);
    if (version == 0 || version > p->n)
        return nexus__fail(NEXUS_EREV, "the database has migration %u of %s, this build knows %zu: use a newer build",
                           version, p->component, p->n);
    char now[17];
    checksum(text_of(p, &p->steps[version - 1]), now);
    if (nexus__slice_eq_c(stored, now))
        return NEXUS_OK;
    return nexus__fail(NEXUS_ECONFLICT,
                       "migration %u of %s (%s) was edited after it was applied: restore it and add a new one", version,
                       p->component, p->steps[version - 1].name);
}

static nexus_status count_applied(const plan *p, size_t *applied)
{
    nexus_rows *rows = NULL;
    nexus_status status = nexus_db_query(
        &rows, p->tx, "SELECT version, checksum FROM nexus_migrations WHERE component = $1 ORDER BY version",
        (nexus_value[]){NEXUS_TEXT_C(p->component)}, 1);
    if (status != NEXUS_OK)
        return status;
    *applied = nexus_rows_count(rows);
    while (status == NEXUS_OK && nexus_rows_next(rows))
        status = check_applied(p, rows);
    nexus_rows_free(rows);
    return status;
}

static nexus_status apply(const plan *p, const nexus_migration *step)
{
    const char *sql = text_of(p, step);
    nexus_status status = p->tx->ops->script(p->tx->link, sql);
    if (status != NEXUS_OK)
        return nexus__fail(status, "migration %u of %s (%s): %s", step->version, p->component, step->name,
                           nexus_error_message());
    char sum[17];
    checksum(sql, sum);
    return nexus_db_exec(p->tx,
                         "INSERT INTO nexus_migrations (component, version, name, checksum, applied_at) "
                         "VALUES ($1,$2,$3,$4,$5)",
                         (nexus_value[]){NEXUS_TEXT_C(p->component), NEXUS_INT(step->version), NEXUS_TEXT_C(step->name),
                                         NEXUS_TEXT_C(sum), NEXUS_INT(nexus__real_ns())},
                         5, NULL);
}

static nexus_status apply_due(const plan *p)
{
    size_t applied = 0;
    /* One lock for all components: they share the table, and two IF NOT EXISTS at once can collide. */
    nexus_status status = p->tx->ops->lock(p->tx->link, "nexus_migrations");
    if (status == NEXUS_OK)
        status = p->tx->ops->script(p->tx->link, "CREATE TABLE IF NOT EXISTS nexus_migrations (component TEXT NOT NULL,"
                                                 " version BIGINT NOT NULL, name TEXT NOT NULL, checksum TEXT NOT NULL,"
                                                 " applied_at BIGINT NOT NULL, PRIMARY KEY (component, version))");
    if (status == NEXUS_OK)
        status = count_applied(p, &applied);
    for (size_t i = applied; status == NEXUS_OK && i < p->n; i++)
        status = apply(p, &p->steps[i]);
    return status;
}

nexus_status nexus_db_migrate(nexus_db *db, const char *component, const nexus_migration *migrations, size_t n)
{
    nexus_status status = check_arguments(component, migrations, n);
    plan p = {.component = component, .steps = migrations, .n = n};
    if (status == NEXUS_OK)
        status = nexus_db_begin(&p.tx, db);
    if (status != NEXUS_OK)
        return status;
    status = apply_due(&p);
    if (status == NEXUS_OK)
        return nexus_db_commit(p.tx);
    nexus_db_rollback(p.tx);
    return status;
}
