/*
 * Transactions: a handle bound to one connection. The outermost one holds a connection of the pool; one begun inside
 * another, or on an adopted connection that is in a transaction already, is a savepoint.
 *
 * Engines differ in what a failed statement leaves behind (PostgreSQL refuses everything until the rollback, SQLite
 * goes on). Here all behave like the stricter: db->failed remembers the first failure, and a commit after it rolls
 * back.
 */
#include <stdio.h>

#include "base/status.h"
#include "store/db.h"

static nexus_status savepoint(nexus_db *tx, const char *verb)
{
    char sql[48];
    snprintf(sql, sizeof sql, "%s nexus_%u", verb, tx->depth);
    return tx->ops->script(tx->link, sql);
}

static nexus_status start(nexus_db *tx)
{
    nexus_db *db = tx->parent;
    nexus_status status = nexus__db_acquire(db, true, &tx->link);
    if (status != NEXUS_OK)
        return status;
    tx->depth = nexus_db_in_transaction(db) ? db->depth + 1 : 0;
    status = tx->depth ? savepoint(tx, "SAVEPOINT") : tx->ops->script(tx->link, tx->ops->begin);
    if (status != NEXUS_OK)
        nexus__db_release(db, true, tx->link);
    return status;
}

nexus_status nexus_db_begin(nexus_db **tx, nexus_db *db)
{
    nexus_status status = nexus__db_refuse(db);
    if (status != NEXUS_OK)
        return status;
    nexus_db *made = nexus__calloc(db->config.alloc, 1, sizeof *made);
    if (!made)
        return nexus__nomem();
    made->ops = db->ops;
    made->config = db->config;
    made->parent = db;
    made->from_pool = !db->link;
    status = start(made);
    if (status == NEXUS_EUNKNOWN && made->from_pool) /* an idle connection had died; nothing was begun */
        status = start(made);
    if (status != NEXUS_OK) {
        nexus__free(db->config.alloc, made);
        return status;
    }
    *tx = made;
    return NEXUS_OK;
}

static void undo(nexus_db *tx)
{
    nexus_status status;
    if (tx->depth) {
        status = savepoint(tx, "ROLLBACK TO SAVEPOINT");
        if (status == NEXUS_OK)
            status = savepoint(tx, "RELEASE SAVEPOINT");
        if (status != NEXUS_OK) /* the outer one cannot be trusted either */
            tx->parent->failed = status;
    } else if (tx->ops->in_transaction(tx->link)) {
        status = tx->ops->script(tx->link, "ROLLBACK"); /* where it fails, the release tries and then closes */
        (void)status;
    }
}

static void end(nexus_db *tx)
{
    if (tx->from_pool)
        nexus__db_release(tx->parent, true, tx->link);
    nexus__free(tx->config.alloc, tx);
}

nexus_status nexus_db_commit(nexus_db *tx)
{
    if (!tx || !tx->parent)
        return nexus__fail(NEXUS_EINVAL, "only a transaction made by nexus_db_begin can be committed");
    nexus_status status = nexus__db_refuse(tx);
    if (status == NEXUS_OK)
        status = tx->depth ? savepoint(tx, "RELEASE SAVEPOINT") : tx->ops->commit(tx->link);
    if (status != NEXUS_OK) {
        char why[256];
        snprintf(why, sizeof why, "%s", nexus_error_message());
        undo(tx);
        status = nexus__fail(status, "%s", why);
    }
    end(tx);
    return status;
}

void nexus_db_rollback(nexus_db *tx)
{
    if (!tx || !tx->parent)
        return;
    undo(tx);
    end(tx);
}
