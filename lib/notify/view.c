/* What people see of notifications: JSON made from the rows. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/status.h"
#include "base/time.h"
#include "notify/notify.h"
#include "json/write.h"

enum { LIMIT = 50, LIMIT_MAX = 200, MAIL_BYTES_MAX = 4 << 20 };

static void put_time(nexus__json_writer *w, const char *name, int64_t ns)
{
    char text[32];
    if (ns == 0) {
        nexus__json_put_null(w, name);
        return;
    }
    size_t n = nexus__format_rfc3339(ns, text);
    nexus__json_put_text(w, name, nexus__slice(text, n));
}

static void put_cell(nexus__json_writer *w, const char *name, const nexus_rows *rows, size_t column)
{
    nexus_slice text = nexus__cell(rows, column);
    if (text.n)
        nexus__json_put_text(w, name, text);
}

/* --- attempts and deliveries ---------------------------------------------------------------------- */

static nexus_status put_attempts(nexus__json_writer *w, nexus_db *db, nexus_slice delivery_id)
{
    nexus_rows *rows = NULL;
    nexus_status status = nexus_db_query(
        &rows, db,
        "SELECT at, ms, code, outcome, response, error, next_at FROM notify_attempts WHERE delivery_id = $1 ORDER BY n",
        (nexus_value[]){NEXUS_TEXT(delivery_id)}, 1);
    if (status != NEXUS_OK)
        return status;
    nexus__json_key(w, "attempts");
    nexus__json_open(w, '[');
    while (nexus_rows_next(rows)) {
        nexus__json_open(w, '{');
        put_time(w, "at", nexus_rows_int(rows, 0));
        nexus__json_put_i64(w, "ms", nexus_rows_int(rows, 1));
        if (nexus_rows_int(rows, 2))
            nexus__json_put_i64(w, "code", nexus_rows_int(rows, 2));
        else
            nexus__json_put_null(w, "code");
        nexus__json_put_text(w, "outcome", nexus__cell(rows, 3));
        nexus__json_put_text(w, "response", nexus__cell(rows, 4));
        nexus__json_put_text(w, "error", nexus__cell(rows, 5));
        put_time(w, "next_at", nexus_rows_int(rows, 6));
        nexus__json_close(w, '}');
    }
    nexus__json_close(w, ']');
    nexus_rows_free(rows);
    return NEXUS_OK;
}

/* The whole of a notification in one word: what still moves first, then what got through, then what did not. */
static const char *const order_of_status[] = {"sending", "queued", "sent",    "delivered",  "captured",
                                              "unknown", "failed", "bounced", "suppressed", "expired"};

static size_t rank_of(nexus_slice status)
{
    size_t n = sizeof order_of_status / sizeof order_of_status[0];
    for (size_t i = 0; i < n; i++)
        if (nexus__slice_eq_c(status, order_of_status[i]))
            return i;
    return n - 1;
}

static nexus_status put_deliveries(nexus__json_writer *w, nexus_db *db, nexus_slice id, bool attempts)
{
    nexus_rows *rows = NULL;
    size_t rank = sizeof order_of_status / sizeof order_of_status[0] - 1;
    nexus_status status = nexus_db_query(&rows, db,
                                         "SELECT id, channel, recipient, status, subject, attempts, due_at FROM"
                                         " notify_deliveries WHERE notification_id = $1 ORDER BY id",
                                         (nexus_value[]){NEXUS_TEXT(id)}, 1);
    if (status != NEXUS_OK)
        return status;
    nexus__json_key(w, "deliveries");
    nexus__json_open(w, '[');
    while (status == NEXUS_OK && nexus_rows_next(rows)) {
        nexus__json_open(w, '{');
        nexus__json_put_text(w, "id", nexus__cell(rows, 0));
        nexus__json_put_text(w, "channel", nexus__cell(rows, 1));
        nexus__json_put_text(w, "to", nexus__cell(rows, 2));
        nexus__json_put_text(w, "status", nexus__cell(rows, 3));
        put_cell(w, "subject", rows, 4);
        size_t own = rank_of(nexus__cell(rows, 3));
        rank = own < rank ? own : rank;
        if (attempts)
            status = put_attempts(w, db, nexus__cell(rows, 0));
        nexus__json_close(w, '}');
    }
    nexus__json_close(w, ']');
    nexus__json_put_text_c(w, "status", order_of_status[rank]);
    nexus_rows_free(rows);
    return status;
}

/* --- notifications ---------------------------------------------------------------------------------- */

#define COLUMNS "id, created_at, template, category, event_type, order_id, user_id, correlationid"

static nexus_status put_notification(nexus__json_writer *w, nexus_db *db, const nexus_rows *rows, bool attempts)
{
    nexus__json_open(w, '{');
    nexus__json_put_text(w, "id", nexus__cell(rows, 0));
    put_time(w, "created_at", nexus_rows_int(rows, 1));
    put_cell(w, "template", rows, 2);
    put_cell(w, "category", rows, 3);
    put_cell(w, "event", rows, 4);
    put_cell(w, "order_id", rows, 5);
    put_cell(w, "user_id", rows, 6);
    put_cell(w, "correlation_id", rows, 7);
    nexus_status status = put_deliveries(w, db, nexus__cell(rows, 0), attempts);
    nexus__json_close(w, '}');
    return status;
}

nexus_status nexus__view_submitted(char **out, size_t *n, nexus_db *db, nexus_slice id)
{
    nexus__buf text;
    nexus__buf_init(&text, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&text);
    nexus__json_open(&w, '{');
    nexus__json_put_text(&w, "id", id);
    nexus_status status = put_deliveries(&w, db, id, false);
    nexus__json_close(&w, '}');
    if (status == NEXUS_OK)
        return nexus__notify_hand_over(&text, out, n);
    nexus__buf_free(&text);
    return status;
}

nexus_status nexus_notify_get(char **out, size_t *n, nexus_notify *notify, nexus_slice id, nexus_slice owner)
{
    nexus_rows *rows = NULL;
    nexus__buf text;
    nexus_status status = nexus_db_query_one(&rows, notify->db,
                                             "SELECT " COLUMNS " FROM notify_notifications WHERE id = $1 AND"
                                             " (CAST($2 AS TEXT) = '' OR owner = $2 OR user_id = $2)",
                                             (nexus_value[]){NEXUS_TEXT(id), NEXUS_TEXT(owner)}, 2);
    if (status == NEXUS_ENOTFOUND)
        return nexus__fail(status, "there is no such notification");
    if (status != NEXUS_OK)
        return status;
    nexus__buf_init(&text, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&text);
    status = put_notification(&w, notify->db, rows, true);
    nexus_rows_free(rows);
    if (status == NEXUS_OK)
        return nexus__notify_hand_over(&text, out, n);
    nexus__buf_free(&text);
    return status;
}

static nexus_status put_page(nexus__json_writer *w, nexus_notify *notify, nexus_rows *rows, uint32_t limit)
{
    nexus_status status = NEXUS_OK;
    nexus_slice last = NEXUS_S("");
    nexus__json_open(w, '{');
    nexus__json_key(w, "items");
    nexus__json_open(w, '[');
    for (uint32_t i = 0; status == NEXUS_OK && i < limit && nexus_rows_next(rows); i++) {
        status = put_notification(w, notify->db, rows, false);
        last = nexus__cell(rows, 0);
    }
    nexus__json_close(w, ']');
    if (nexus_rows_count(rows) > limit)
        nexus__json_put_text(w, "next_cursor", last);
    else
        nexus__json_put_null(w, "next_cursor");
    nexus__json_close(w, '}');
    return status;
}

nexus_status nexus_notify_list(char **out, size_t *n, nexus_notify *notify, nexus_slice status_wanted,
                               nexus_slice cursor, uint32_t limit)
{
    nexus_rows *rows = NULL;
    nexus__buf text;
    limit = limit == 0 ? LIMIT : limit > LIMIT_MAX ? LIMIT_MAX : limit;
    for (size_t i = 0; i < cursor.n; i++) /* an id of ours, which sort by time */
        if (cursor.n != 36 || !strchr("0123456789abcdef-", cursor.p[i]))
            return nexus__fail(NEXUS_EINVAL, "cursor is not one that this list gave");
    nexus_status status =
        nexus_db_query(&rows, notify->db,
                       "SELECT " COLUMNS " FROM notify_notifications WHERE (CAST($1 AS TEXT) = '' OR id < $1) AND"
                       " (CAST($2 AS TEXT) = '' OR EXISTS (SELECT 1 FROM notify_deliveries d WHERE"
                       " d.notification_id = notify_notifications.id AND d.status = $2)) ORDER BY id DESC LIMIT $3",
                       (nexus_value[]){NEXUS_TEXT(cursor), NEXUS_TEXT(status_wanted), NEXUS_INT(limit + 1)}, 3);
    if (status != NEXUS_OK)
        return status;
    nexus__buf_init(&text, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&text);
    status = put_page(&w, notify, rows, limit);
    nexus_rows_free(rows);
    if (status == NEXUS_OK)
        return nexus__notify_hand_over(&text, out, n);
    nexus__buf_free(&text);
    return status;
}

/* --- the development mailbox -------------------------------------------------------------------------- */

nexus_status nexus_notify_mailbox(char **out, size_t *n, nexus_notify *notify, uint32_t limit)
{
    nexus_rows *rows = NULL;
    nexus__buf text;
    nexus_status status = nexus_db_query(
        &rows, notify->db,
        "SELECT id, notification_id, recipient, subject, updated_at FROM notify_deliveries WHERE status = 'captured'"
        " ORDER BY id DESC LIMIT $1",
        (nexus_value[]){NEXUS_INT(limit == 0 || limit > LIMIT_MAX ? LIMIT : limit)}, 1);
    if (status != NEXUS_OK)
        return status;
    nexus__buf_init(&text, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&text);
    nexus__json_open(&w, '{');
    nexus__json_key(&w, "items");
    nexus__json_open(&w, '[');
    while (nexus_rows_next(rows)) {
        nexus__json_open(&w, '{');
        nexus__json_put_text(&w, "id", nexus__cell(rows, 0));
        nexus__json_put_text(&w, "notification_id", nexus__cell(rows, 1));
        nexus__json_put_text(&w, "to", nexus__cell(rows, 2));
        nexus__json_put_text(&w, "subject", nexus__cell(rows, 3));
        put_time(&w, "at", nexus_rows_int(rows, 4));
        nexus__json_close(&w, '}');
    }
    nexus__json_close(&w, ']');
    nexus__json_close(&w, '}');
    nexus_rows_free(rows);
    return nexus__notify_hand_over(&text, out, n);
}

static void append_file(nexus__buf *out, const nexus_notify *notify, nexus_slice id)
{
    char path[4200];
    int len =
        snprintf(path, sizeof path, "%s/%.*s.eml", notify->mailbox_dir ? notify->mailbox_dir : "", (int)id.n, id.p);
    FILE *file = len > 0 && (size_t)len < sizeof path ? fopen(path, "rbe") : NULL;
    size_t got = 0;
    while (file && out->len < MAIL_BYTES_MAX) {
        char *at = nexus__buf_reserve(out, 16384);
        got = at ? fread(at, 1, 16384, file) : 0;
        if (got == 0)
            break;
        out->len += got;
    }
    if (file)
        fclose(file);
}

nexus_status nexus_notify_mailbox_get(char **out, size_t *n, nexus_notify *notify, nexus_slice id)
{
    nexus_rows *rows = NULL;
    nexus__buf text, message;
    /* The id names a file only after the table has known it. */
    nexus_status status = nexus_db_query_one(
        &rows, notify->db,
        "SELECT id, notification_id, recipient, subject, updated_at, text_body, html_body FROM notify_deliveries"
        " WHERE id = $1 AND status = 'captured'",
        (nexus_value[]){NEXUS_TEXT(id)}, 1);
    if (status == NEXUS_ENOTFOUND)
        return nexus__fail(status, "there is no such mail in the mailbox");
    if (status != NEXUS_OK)
        return status;
    nexus__buf_init(&message, notify->alloc, 0);
    append_file(&message, notify, nexus__cell(rows, 0));
    nexus__buf_init(&text, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&text);
    nexus__json_open(&w, '{');
    nexus__json_put_text(&w, "id", nexus__cell(rows, 0));
    nexus__json_put_text(&w, "notification_id", nexus__cell(rows, 1));
    nexus__json_put_text(&w, "to", nexus__cell(rows, 2));
    nexus__json_put_text(&w, "subject", nexus__cell(rows, 3));
    put_time(&w, "at", nexus_rows_int(rows, 4));
    nexus__json_put_text(&w, "text", nexus__cell(rows, 5));
    nexus__json_put_text(&w, "html", nexus__cell(rows, 6));
    nexus__json_put_text(&w, "message", nexus__buf_slice(&message));
    nexus__json_close(&w, '}');
    nexus__buf_free(&message);
    nexus_rows_free(rows);
    return nexus__notify_hand_over(&text, out, n);
}
