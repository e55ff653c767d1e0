/* Orders as rows: adding up, storing, showing, settling. */
#include <stdio.h>
#include <string.h>

#include "backend/private.h"

/* --- adding up ------------------------------------------------------------------------------------------------------- */

static bool wrong(char pointer[64], const char **detail, uint32_t item, const char *field, const char *why)
{
    snprintf(pointer, 64, "/items/%u%s", item, field);
    *detail = why;
    return false;
}

static bool add_item(nexus_json *body, uint32_t item, uint32_t index, order_total *total, char pointer[64],
                     const char **detail)
{
    int64_t quantity = 0, amount = 0, line;
    nexus_slice currency = {0};
    nexus_json_int(body, nexus_json_get(body, item, "quantity"), &quantity);
    nexus_json_int(body, nexus_json_at(body, item, "/unit_price/amount"), &amount);
    nexus_json_text(body, nexus_json_at(body, item, "/unit_price/currency"), &currency);
    if (quantity < 1)
        return wrong(pointer, detail, index, "/quantity", "must be a whole number of at least 1");
    if (amount < 0)
        return wrong(pointer, detail, index, "/unit_price/amount",
                     "must be a whole number of minor units, not negative");
    if (currency.n != 3)
        return wrong(pointer, detail, index, "/unit_price/currency", "must be an ISO 4217 code such as EUR");
    if (index > 0 && memcmp(currency.p, total->currency, 3) != 0)
        return wrong(pointer, detail, index, "/unit_price/currency", "must be the same in all items of an order");
    memcpy(total->currency, currency.p, 3);
    if (__builtin_mul_overflow(quantity, amount, &line) ||
        __builtin_add_overflow(total->amount, line, &total->amount) || total->amount > (int64_t)1 << 53)
        return wrong(pointer, detail, index, "", "makes the total larger than 2^53 minor units");
    return true;
}

bool order_add_up(nexus_json *body, order_total *total, char pointer[64], const char **detail)
{
    nexus_json_iter it = {0};
    uint32_t items = nexus_json_get(body, NEXUS_JSON_ROOT, "items");
    *total = (order_total){0};
    if (nexus_json_count(body, items) == 0) {
        snprintf(pointer, 64, "/items");
        *detail = "must have at least one item";
        return false;
    }
    while (nexus_json_step(body, items, &it))
        if (!add_item(body, it.value, it.index, total, pointer, detail))
            return false;
    return true;
}

/* --- storing ---------------------------------------------------------------------------------------------------------- */

static nexus_status add_history(nexus_db *tx, nexus_slice id, const char *status, nexus_slice reason)
{
    return nexus_db_exec(tx,
                         "INSERT INTO order_history (order_id, seq, at, status, reason) VALUES ($1,"
                         " (SELECT count(*) FROM order_history WHERE order_id = $1), $2, $3, $4)",
                         (nexus_value[]){NEXUS_TEXT(id), NEXUS_INT(nexus_time_now_ns()), NEXUS_TEXT_C(status),
                                         reason.n ? NEXUS_TEXT(reason) : NEXUS_NULL},
                         4, NULL);
}

static nexus_status tell_created(nexus_db *tx, const char *id, const nexus_user *user, nexus_json *body,
                                 const order_total *total)
{
    nexus_json_writer *w;
    nexus_slice data, items;
    char subject[64];
    nexus_status status = nexus_json_writer_new(&w);
    if (status != NEXUS_OK)
        return status;
    nexus_slice token = {"", 0};
    nexus_json_text(body, nexus_json_at(body, NEXUS_JSON_ROOT, "/payment/token"), &token);
    nexus_json_raw(body, nexus_json_get(body, NEXUS_JSON_ROOT, "items"), &items);
    nexus_json_open_object(w, NULL);
    nexus_json_put_text_c(w, "order_id", id);
    nexus_json_put_text_c(w, "user_id", nexus_user_id(user));
    nexus_json_put_text_c(w, "email", nexus_user_email(user));
    nexus_json_put_text_c(w, "name", nexus_user_name(user));
    nexus_json_put_int(w, "amount", total->amount);
    nexus_json_put_text_c(w, "currency", total->currency);
    nexus_json_put_raw(w, "items", items);
    nexus_json_put_text(w, "payment_token", token);
    nexus_json_close(w);
    snprintf(subject, sizeof subject, "order-%s", id);
    status = writer_text(w, &data) ? publish_in(tx, "order.created", subject, data, NULL) : NEXUS_ENOMEM;
    nexus_json_writer_free(w);
    return status;
}

nexus_status order_insert(backend *b, nexus_db *tx, nexus_slice user_id, nexus_json *body, const order_total *total,
                          char id[NEXUS_ID_LEN + 1])
{
    nexus_user *user;
    nexus_slice items;
    nexus_status status = nexus_auth_user(b->auth, user_id, &user);
    if (status != NEXUS_OK)
        return status;
    nexus_id_make(id);
    nexus_json_raw(body, nexus_json_get(body, NEXUS_JSON_ROOT, "items"), &items);
    status = nexus_db_exec(tx,
                           "INSERT INTO orders (id, user_id, email, status, amount, currency, items, created_at)"
                           " VALUES ($1, $2, $3, 'pending', $4, $5, $6, $7)",
                           (nexus_value[]){NEXUS_TEXT_C(id), NEXUS_TEXT(user_id), NEXUS_TEXT_C(nexus_user_email(user)),
                                           NEXUS_INT(total->amount), NEXUS_TEXT_C(total->currency), NEXUS_TEXT(items),
                                           NEXUS_INT(nexus_time_now_ns())},
                           7, NULL);
    if (status == NEXUS_OK)
        status = add_history(tx, (nexus_slice){id, NEXUS_ID_LEN}, "pending", (nexus_slice){0});
    if (status == NEXUS_OK)
        status = tell_created(tx, id, user, body, total);
    if (status == NEXUS_OK) {
        char detail[64];
        int n = snprintf(detail, sizeof detail, "amount=%lld currency=%s", (long long)total->amount, total->currency);
        status = audit_as(b, user_id, "order.created", (nexus_slice){id, NEXUS_ID_LEN}, (nexus_slice){detail, (size_t)n});
    }
    nexus_user_free(user);
    return status;
}

nexus_status order_settle(nexus_db *tx, nexus_slice id, const char *status, nexus_slice reason, bool *changed)
{
    int64_t changes = 0;
    nexus_status st = nexus_db_exec(tx, "UPDATE orders SET status = $2 WHERE id = $1 AND status = 'pending'",
                                    (nexus_value[]){NEXUS_TEXT(id), NEXUS_TEXT_C(status)}, 2, &changes);
    *changed = changes == 1;
    return st == NEXUS_OK && *changed ? add_history(tx, id, status, reason) : st;
}

nexus_status order_note(nexus_db *tx, nexus_slice id, nexus_slice notification_id)
{
    return nexus_db_exec(tx,
                         "INSERT INTO order_notifications (order_id, notification_id)"
                         " SELECT id, CAST($2 AS TEXT) FROM orders WHERE id = $1"
                         " ON CONFLICT (order_id, notification_id) DO NOTHING",
                         (nexus_value[]){NEXUS_TEXT(id), NEXUS_TEXT(notification_id)}, 2, NULL);
}

/* --- showing ---------------------------------------------------------------------------------------------------------- */

static void put_time(nexus_json_writer *w, const char *name, int64_t at)
{
    char text[32];
    nexus_time_format(at, text);
    nexus_json_put_text_c(w, name, text);
}

static nexus_status write_history(nexus_db *db, nexus_slice id, nexus_json_writer *w)
{
    nexus_rows *rows;
    nexus_slice text;
    nexus_status status =
        nexus_db_query(&rows, db, "SELECT at, status, reason FROM order_history WHERE order_id = $1 ORDER BY seq",
                       (nexus_value[]){NEXUS_TEXT(id)}, 1);
    if (status != NEXUS_OK)
        return status;
    nexus_json_open_array(w, "history");
    while (nexus_rows_next(rows)) {
        nexus_json_open_object(w, NULL);
        put_time(w, "at", nexus_rows_int(rows, 0));
        nexus_rows_text(rows, 1, &text);
        nexus_json_put_text(w, "status", text);
        nexus_rows_text(rows, 2, &text);
        if (nexus_rows_is_null(rows, 2))
            nexus_json_put_null(w, "reason");
        else
            nexus_json_put_text(w, "reason", text);
        nexus_json_close(w);
    }
    nexus_json_close(w);
    nexus_rows_free(rows);
    return NEXUS_OK;
}

static nexus_status write_notifications(nexus_db *db, nexus_slice id, nexus_json_writer *w)
{
    nexus_rows *rows;
    nexus_slice text;
    nexus_status status = nexus_db_query(
        &rows, db, "SELECT notification_id FROM order_notifications WHERE order_id = $1 ORDER BY notification_id",
        (nexus_value[]){NEXUS_TEXT(id)}, 1);
    if (status != NEXUS_OK)
        return status;
    nexus_json_open_array(w, "notifications");
    while (nexus_rows_next(rows)) {
        nexus_rows_text(rows, 0, &text);
        nexus_json_put_text(w, NULL, text);
    }
    nexus_json_close(w);
    nexus_rows_free(rows);
    return NEXUS_OK;
}

nexus_status order_write(nexus_db *db, nexus_slice id, nexus_slice user_id, nexus_json_writer *w, const char *name)
{
    nexus_rows *rows;
    nexus_slice text, own;
    nexus_status status = nexus_db_query_one(
        &rows, db, "SELECT id, user_id, status, amount, currency, items, created_at FROM orders WHERE id = $1",
        (nexus_value[]){NEXUS_TEXT(id)}, 1);
    if (status != NEXUS_OK)
        return status;
    nexus_rows_text(rows, 1, &own);
    if (user_id.n && (own.n != user_id.n || memcmp(own.p, user_id.p, own.n) != 0)) {
        nexus_rows_free(rows);
        return NEXUS_ENOTFOUND;
    }
    nexus_json_open_object(w, name);
    nexus_rows_text(rows, 0, &text);
    nexus_json_put_text(w, "id", text);
    nexus_rows_text(rows, 2, &text);
    nexus_json_put_text(w, "status", text);
    nexus_json_open_object(w, "total");
    nexus_json_put_int(w, "amount", nexus_rows_int(rows, 3));
    nexus_rows_text(rows, 4, &text);
    nexus_json_put_text(w, "currency", text);
    nexus_json_close(w);
    nexus_rows_text(rows, 5, &text);
    nexus_json_put_raw(w, "items", text);
    put_time(w, "created_at", nexus_rows_int(rows, 6));
    status = write_history(db, id, w);
    if (status == NEXUS_OK)
        status = write_notifications(db, id, w);
    nexus_json_close(w);
    nexus_rows_free(rows);
    return status;
}
