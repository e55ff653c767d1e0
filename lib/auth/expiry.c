/*
 * What is over goes. A family of refresh tokens has one token that was not used yet, its newest; once that has rested too long,
 * none of them is good for anything, and neither is telling that one of them came again.
 */
#include "auth/auth_private.h"

enum { BATCH = 500, AFTER_S = 3600 }; /* an hour later: whoever redeems one now has read it before */

static nexus_status forget_family(nexus_db *tx, nexus_slice id)
{
    static const char *const rows[] = {"DELETE FROM oauth_grants WHERE family = $1",
                                       "DELETE FROM auth_refresh WHERE family = $1",
                                       "DELETE FROM auth_families WHERE id = $1"};
    nexus_status status = NEXUS_OK;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && status == NEXUS_OK; i++)
        status = nexus_db_exec(tx, rows[i], (nexus_value[]){NEXUS_TEXT(id)}, 1, NULL);
    return status;
}

static nexus_status forget_families(nexus_db *tx, nexus_rows *rows)
{
    nexus_status status = NEXUS_OK;
    while (status == NEXUS_OK && nexus_rows_next(rows)) {
        nexus_slice id;
        nexus_rows_text(rows, 0, &id);
        status = forget_family(tx, id);
    }
    return status;
}

nexus_status nexus_auth_expire(nexus_auth *a)
{
    nexus_rows *rows;
    nexus_db *tx;
    int64_t before = nexus__auth_now_ns(a) - AFTER_S * NEXUS__NS_PER_S;
    nexus_status status = nexus_db_query(&rows, a->db,
                                         "SELECT family FROM auth_refresh WHERE used_at IS NULL AND idle_until < $1"
                                         " UNION SELECT id FROM auth_families WHERE expires_at < $1 LIMIT $2",
                                         (nexus_value[]){NEXUS_INT(before), NEXUS_INT(BATCH)}, 2);
    if (status != NEXUS_OK)
        return status;
    status = nexus_rows_count(rows) ? nexus_db_begin(&tx, a->db) : NEXUS_OK;
    if (status == NEXUS_OK && nexus_rows_count(rows))
        status = nexus__finish(tx, forget_families(tx, rows));
    nexus_rows_free(rows);
    return status;
}
