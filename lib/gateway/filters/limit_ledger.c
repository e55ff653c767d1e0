/*
 * The ledger: one row for each key and window, with how many are used. Changes queue up and a worker books all that are
 * there in one transaction; no loop waits for the database.
 */
#include <nexus/db.h>
#include <stdlib.h>

#include "base/status.h"
#include "gateway/filters/limit_lease.h"
#include "gateway/gateway.h"

enum { TRIES = 16, KEPT_S = 7 * 86400, PURGE_S = 3600 };

static const nexus_migration migrations[] = {
    {1, "quotas of calendar windows",
     "CREATE TABLE gateway_quota (id TEXT NOT NULL, since BIGINT NOT NULL, ends BIGINT NOT NULL, used BIGINT NOT NULL,"
     " PRIMARY KEY (id, since))",
     NULL},
};

nexus_status nexus__ledger_open(nexus_gateway *g)
{
    if (g->ledger.open)
        return NEXUS_OK;
    nexus_status status = nexus_db_migrate(g->opts.db, "gateway_quota", migrations, 1);
    g->ledger.open = status == NEXUS_OK;
    return status;
}

/* --- one row ------------------------------------------------------------------------------------------------------- */

uint64_t nexus__ledger_grant(uint64_t left, uint64_t want, uint64_t least)
{
    uint64_t share = left / 4 > least ? left / 4 : least;
    if (left < least)
        return 0;
    return want < share ? want : share;
}

static nexus_status read_used(nexus_db *tx, const nexus__ledger_change *c, int64_t *used)
{
    nexus_rows *rows;
    nexus_status status = nexus_db_query_one(&rows, tx, "SELECT used FROM gateway_quota WHERE id = $1 AND since = $2",
                                             (nexus_value[]){NEXUS_TEXT_C(c->key), NEXUS_INT(c->since)}, 2);
    if (status == NEXUS_ENOTFOUND) {
        *used = 0;
        return nexus_db_exec(tx,
                             "INSERT INTO gateway_quota (id, since, ends, used) VALUES ($1, $2, $3, 0)"
                             " ON CONFLICT (id, since) DO NOTHING",
                             (nexus_value[]){NEXUS_TEXT_C(c->key), NEXUS_INT(c->since), NEXUS_INT(c->ends)}, 3, NULL);
    }
    if (status)
        return status;
    *used = nexus_rows_int(rows, 0);
    nexus_rows_free(rows);
    return NEXUS_OK;
}

/* Books what is owed and what is granted, when nobody changed the row since it was read. */
static nexus_status book(nexus_db *tx, nexus__ledger_change *c, bool *done)
{
    int64_t used, changes = 0;
    nexus_status status = read_used(tx, c, &used);
    if (status)
        return status;
    int64_t after = used + c->owed > 0 ? used + c->owed : 0;
    uint64_t left = (uint64_t)after < c->quota ? c->quota - (uint64_t)after : 0;
    c->granted = nexus__ledger_grant(left, c->want, c->least);
    c->used = (uint64_t)after + c->granted;
    *done = (int64_t)c->used == used;
    if (*done)
        return NEXUS_OK;
    status = nexus_db_exec(
        tx, "UPDATE gateway_quota SET used = $1 WHERE id = $2 AND since = $3 AND used = $4",
        (nexus_value[]){NEXUS_INT(c->used), NEXUS_TEXT_C(c->key), NEXUS_INT(c->since), NEXUS_INT(used)}, 4, &changes);
    *done = changes == 1;
    return status;
}

static nexus_status book_all(nexus_db *tx, nexus__ledger_change *changes)
{
    nexus_status status = NEXUS_OK;
    for (nexus__ledger_change *c = changes; c && !status; c = c->next) {
        bool done = false;
        for (int i = 0; i < TRIES && !done && !status; i++)
            status = book(tx, c, &done);
        if (!done && !status)
            status = nexus__fail(NEXUS_EAGAIN, "the row of a quota changed %d times while it was read", TRIES);
    }
    return status;
}

/* --- a batch ------------------------------------------------------------------------------------------------------- */

static nexus_status transact(nexus_db *db, nexus__ledger_change *changes)
{
    nexus_db *tx;
    nexus_status status = nexus_db_begin(&tx, db);
    if (status)
        return status;
    status = book_all(tx, changes);
    if (!status)
        return nexus_db_commit(tx);
    nexus_db_rollback(tx);
    return status;
}

static int by_key(const void *a, const void *b)
{
    return memcmp((*(nexus__ledger_change *const *)a)->key, (*(nexus__ledger_change *const *)b)->key, 33);
}

/* Rows are locked in one order everywhere, so that two gateways never wait for each other. */
static nexus__ledger_change *sorted(const nexus_alloc *alloc, nexus__ledger_change *changes)
{
    size_t n = 0;
    for (nexus__ledger_change *c = changes; c; c = c->next)
        n++;
    nexus__ledger_change **all = nexus__malloc(alloc, n * sizeof *all);
    if (!all)
        return changes;
    n = 0;
    for (nexus__ledger_change *c = changes; c; c = c->next)
        all[n++] = c;
    qsort(all, n, sizeof *all, by_key);
    for (size_t i = 0; i < n; i++)
        all[i]->next = i + 1 < n ? all[i + 1] : NULL;
    changes = all[0];
    nexus__free(alloc, all);
    return changes;
}

static void purge(nexus_gateway *g)
{
    int64_t now = nexus__real_ns() / NEXUS__NS_PER_S;
    if (now - g->ledger.purged_at < PURGE_S)
        return;
    g->ledger.purged_at = now;
    nexus_status status = nexus_db_exec(g->opts.db, "DELETE FROM gateway_quota WHERE ends < $1",
                                        (nexus_value[]){NEXUS_INT(now - KEPT_S)}, 1, NULL);
    if (status)
        nexus_log_printf(g->opts.log, NEXUS_LOG_WARN, "gateway", NULL, "old quotas are not removed: %s",
                         nexus_error_message());
}

static void run(nexus_gateway *g, nexus__ledger_change *changes)
{
    nexus_status status = NEXUS_EAGAIN;
    changes = sorted(g->alloc, changes);
    for (int i = 0; i < 3 && status == NEXUS_EAGAIN; i++)
        status = transact(g->opts.db, changes);
    if (status)
        nexus_log_printf(g->opts.log, NEXUS_LOG_WARN, "gateway", NULL, "quotas cannot be counted: %s",
                         nexus_error_message());
    while (changes) {
        nexus__ledger_change *c = changes;
        changes = c->next;
        c->status = status;
        if (c->lease) {
            nexus__loop_post_task(c->home->loop, &c->task);
        } else {
            nexus__free(g->alloc, c);
            nexus__gateway_unref(g);
        }
    }
}

/* --- the queue ----------------------------------------------------------------------------------------------------- */

static nexus__ledger_change *take_queue(nexus__ledger *l)
{
    nexus__ledger_change *all = l->first;
    l->first = NULL;
    l->last = &l->first;
    return all;
}

static void drain(void *user_data)
{
    nexus_gateway *g = user_data;
    nexus__ledger *l = &g->ledger;
    pthread_mutex_lock(&l->mutex);
    for (nexus__ledger_change *all; (all = take_queue(l));) {
        pthread_mutex_unlock(&l->mutex);
        run(g, all);
        purge(g);
        pthread_mutex_lock(&l->mutex);
    }
    l->busy = false;
    pthread_cond_broadcast(&l->idle);
    pthread_mutex_unlock(&l->mutex);
}

/* No worker takes it: those who wait are told that it did not come about. */
static void refuse_all(nexus__ledger_change *changes, nexus_gateway *g)
{
    while (changes) {
        nexus__ledger_change *c = changes;
        changes = c->next;
        c->status = NEXUS_EAGAIN;
        if (c->lease) {
            nexus__loop_post_task(c->home->loop, &c->task);
        } else {
            nexus__free(g->alloc, c);
            nexus__gateway_unref(g);
        }
    }
}

void nexus__ledger_push(nexus_gateway *g, nexus__ledger_change *c)
{
    nexus__ledger *l = &g->ledger;
    nexus__ledger_change *refused = NULL;
    nexus__gateway_ref(g);
    c->next = NULL;
    pthread_mutex_lock(&l->mutex);
    *l->last = c;
    l->last = &c->next;
    if (!l->busy && !atomic_load(&g->closed)) {
        l->busy = nexus_runtime_submit(g->runtime, drain, g) == NEXUS_OK;
        if (!l->busy)
            refused = take_queue(l);
    }
    pthread_mutex_unlock(&l->mutex);
    refuse_all(refused, g);
}

void nexus__ledger_wait(nexus_gateway *g)
{
    pthread_mutex_lock(&g->ledger.mutex);
    while (g->ledger.busy)
        pthread_cond_wait(&g->ledger.idle, &g->ledger.mutex);
    pthread_mutex_unlock(&g->ledger.mutex);
}

void nexus__ledger_close(nexus_gateway *g)
{
    nexus__ledger_change *all = take_queue(&g->ledger);
    if (all)
        run(g, all);
}
