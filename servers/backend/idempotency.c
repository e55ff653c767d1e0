/*
 * Idempotency-Key (draft-ietf-httpapi-idempotency-key-header): the answer of a request that creates is kept for a day
 * in the transaction that created, by user, operation and key. Two at the same time: the second is told 409 while the
 * first runs in this process; in another process it waits for that transaction and then replays.
 */
#include <stdio.h>
#include <string.h>

#include "backend/private.h"

#define DAY_NS (24 * 3600 * 1000000000LL)

static bool valid_key(nexus_slice key)
{
    for (size_t i = 0; i < key.n; i++)
        if (key.p[i] <= ' ' || key.p[i] > '~')
            return false;
    return key.n > 0 && key.n <= 64;
}

/* Marks the key as running; false when it is already. Without a free place it is not marked, which only costs the 409. */
static bool mark(running *r, idempotency *i)
{
    char text[96];
    size_t spare = RUNNING_MAX;
    snprintf(text, sizeof text, "%.8s/%.20s/%.*s", i->user_id.n >= 8 ? i->user_id.p + i->user_id.n - 8 : "",
             i->operation, TEXT_ARGS(i->key));
    bool free_to_run = true;
    pthread_mutex_lock(&r->lock);
    for (size_t k = 0; k < RUNNING_MAX && free_to_run; k++) {
        free_to_run = strcmp(r->locked.keys[k], text) != 0;
        if (!*r->locked.keys[k] && spare == RUNNING_MAX)
            spare = k;
    }
    if (free_to_run && spare < RUNNING_MAX) {
        memcpy(r->locked.keys[spare], text, sizeof text);
        memcpy(i->running, text, sizeof text);
    }
    pthread_mutex_unlock(&r->lock);
    return free_to_run;
}

bool idempotency_begin(idempotency *i, backend *b, nexus_request *request, const char *operation, nexus_slice user_id)
{
    *i = (idempotency){.user_id = user_id, .operation = operation};
    if (!nexus_request_header(request, "Idempotency-Key", &i->key)) {
        i->key = (nexus_slice){"", 0};
        return true;
    }
    if (!valid_key(i->key)) {
        const nexus_problem_error error = {"Idempotency-Key", "invalid", "must have 1 to 64 visible ASCII characters"};
        nexus_request_problem_errors(request, 400, "idempotency-key-invalid",
                                     "The header Idempotency-Key is not usable.", &error, 1);
        return false;
    }
    if (mark(&b->running, i))
        return true;
    (void)nexus_request_set_header(request, "Retry-After", NEXUS_S("1"));
    nexus_request_problem_text(request, 409, "idempotency-running",
                               "A request with this Idempotency-Key is still running; ask again in a second.");
    return false;
}

void idempotency_end(idempotency *i, backend *b)
{
    if (!*i->running)
        return;
    pthread_mutex_lock(&b->running.lock);
    for (size_t k = 0; k < RUNNING_MAX; k++)
        if (strcmp(b->running.locked.keys[k], i->running) == 0)
            b->running.locked.keys[k][0] = 0;
    pthread_mutex_unlock(&b->running.lock);
}

static nexus_status read_stored(const idempotency *i, nexus_db *tx, nexus_slice body, char **replay, uint16_t *status)
{
    nexus_rows *rows;
    nexus_slice stored, reply;
    nexus_status st = nexus_db_query_one(
        &rows, tx,
        "SELECT body, status, reply FROM idempotency WHERE user_id = $1 AND operation = $2 AND idempotency_key = $3",
        (nexus_value[]){NEXUS_TEXT(i->user_id), NEXUS_TEXT_C(i->operation), NEXUS_TEXT(i->key)}, 3);
    if (st != NEXUS_OK)
        return st;
    nexus_rows_text(rows, 0, &stored);
    nexus_rows_text(rows, 2, &reply);
    *status = (uint16_t)nexus_rows_int(rows, 1);
    if (stored.n != body.n || memcmp(stored.p, body.p, body.n) != 0)
        st = NEXUS_ECONFLICT;
    else if (!(*replay = strndup(reply.p, reply.n)))
        st = NEXUS_ENOMEM;
    nexus_rows_free(rows);
    return st;
}

nexus_status idempotency_claim(const idempotency *i, nexus_db *tx, nexus_slice body, char **replay, uint16_t *status)
{
    int64_t changes = 0, now = nexus_time_now_ns();
    if (i->key.n == 0)
        return NEXUS_OK;
    nexus_status st = nexus_db_exec(
        tx, "DELETE FROM idempotency WHERE user_id = $1 AND operation = $2 AND idempotency_key = $3 AND created_at < $4",
        (nexus_value[]){NEXUS_TEXT(i->user_id), NEXUS_TEXT_C(i->operation), NEXUS_TEXT(i->key), NEXUS_INT(now - DAY_NS)},
        4, NULL);
    if (st == NEXUS_OK)
        st = nexus_db_exec(
            tx,
            "INSERT INTO idempotency (user_id, operation, idempotency_key, body, status, reply, created_at)"
            " VALUES ($1, $2, $3, $4, 0, '', $5)"
            " ON CONFLICT (user_id, operation, idempotency_key) DO NOTHING",
            (nexus_value[]){NEXUS_TEXT(i->user_id), NEXUS_TEXT_C(i->operation), NEXUS_TEXT(i->key), NEXUS_TEXT(body),
                            NEXUS_INT(now)},
            5, &changes);
    return st == NEXUS_OK && changes == 0 ? read_stored(i, tx, body, replay, status) : st;
}

nexus_status idempotency_store(const idempotency *i, nexus_db *tx, uint16_t status, nexus_slice reply)
{
    if (i->key.n == 0)
        return NEXUS_OK;
    return nexus_db_exec(tx,
                         "UPDATE idempotency SET status = $4, reply = $5"
                         " WHERE user_id = $1 AND operation = $2 AND idempotency_key = $3",
                         (nexus_value[]){NEXUS_TEXT(i->user_id), NEXUS_TEXT_C(i->operation), NEXUS_TEXT(i->key),
                                         NEXUS_INT(status), NEXUS_TEXT(reply)},
                         5, NULL);
}

nexus_status idempotency_expire(backend *b)
{
    return nexus_db_exec(b->db, "DELETE FROM idempotency WHERE created_at < $1",
                         (nexus_value[]){NEXUS_INT(nexus_time_now_ns() - DAY_NS)}, 1, NULL);
}
