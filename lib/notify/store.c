/* The rows of new notifications. */
#include "base/id.h"
#include "base/status.h"
#include "base/time.h"
#include "notify/notify.h"

nexus_status nexus__insert_notification(nexus_db *tx, nexus__new_notification *n)
{
    int64_t changes = 0;
    nexus__uuid7(n->id);
    nexus_value key = n->key.n ? NEXUS_TEXT(n->key) : NEXUS_NULL;
    nexus_status status = nexus_db_exec(
        tx,
        "INSERT INTO notify_notifications (id, owner, user_id, idem_key, request_hash, template, category, event_id,"
        " event_type, subject, order_id, traceparent, correlationid, created_at, announce, announce_channel,"
        " announce_status) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,0,'','') ON CONFLICT DO NOTHING",
        (nexus_value[]){NEXUS_TEXT_C(n->id), NEXUS_TEXT(n->owner), NEXUS_TEXT(n->user_id), key,
                        NEXUS_TEXT(n->request_hash), NEXUS_TEXT(n->template_id), NEXUS_TEXT(n->category),
                        NEXUS_TEXT(n->event_id), NEXUS_TEXT(n->event_type), NEXUS_TEXT(n->subject),
                        NEXUS_TEXT(n->order_id), NEXUS_TEXT(n->traceparent), NEXUS_TEXT(n->correlationid),
                        NEXUS_INT(n->now_ns)},
        14, &changes);
    if (status == NEXUS_OK && changes == 0)
        return nexus__fail(NEXUS_ECONFLICT, "a notification with this key exists");
    return status;
}

nexus_status nexus__insert_delivery(nexus_db *tx, const nexus__new_notification *n, const nexus__new_delivery *d)
{
    char id[NEXUS__UUID_LEN + 1];
    nexus__uuid7(id);
    return nexus_db_exec(
        tx,
        "INSERT INTO notify_deliveries (id, notification_id, channel, recipient, endpoint_id, status, attempts, due_at,"
        " lease_until, lease, expires_at, subject, text_body, html_body, created_at, updated_at)"
        " VALUES ($1,$2,$3,$4,$5,$6,0,$7,0,'',$8,$9,$10,$11,$12,$12)",
        (nexus_value[]){NEXUS_TEXT_C(id), NEXUS_TEXT_C(n->id), NEXUS_TEXT(d->channel), NEXUS_TEXT(d->recipient),
                        NEXUS_TEXT(d->endpoint_id), NEXUS_TEXT_C(d->status), NEXUS_INT(d->due_ns),
                        NEXUS_INT(d->expires_ns), NEXUS_TEXT(d->subject), NEXUS_TEXT(d->text), NEXUS_TEXT(d->html),
                        NEXUS_INT(n->now_ns)},
        12, NULL);
}

nexus_status nexus__preference(nexus_db *db, nexus_slice recipient, nexus_slice category, nexus_slice channel,
                               bool *wanted)
{
    nexus_rows *rows = NULL;
    *wanted = true;
    nexus_status status = nexus_db_query(
        &rows, db,
        "SELECT wanted FROM notify_preferences WHERE recipient = $1 AND channel = $2 AND category IN ($3, '*')"
        " ORDER BY CASE WHEN category = '*' THEN 1 ELSE 0 END LIMIT 1",
        (nexus_value[]){NEXUS_TEXT(recipient), NEXUS_TEXT(channel), NEXUS_TEXT(category)}, 3);
    if (status != NEXUS_OK)
        return status;
    if (nexus_rows_next(rows))
        *wanted = nexus_rows_int(rows, 0) != 0;
    nexus_rows_free(rows);
    return NEXUS_OK;
}

nexus_status nexus_notify_set_preference(nexus_notify *notify, nexus_slice recipient, nexus_slice category,
                                         nexus_slice channel, bool wanted)
{
    if (!nexus__channel_find(channel) || recipient.n == 0 || category.n == 0)
        return nexus__fail(NEXUS_EINVAL, "a preference needs recipient, category and one of the channels");
    return nexus_db_exec(notify->db,
                         "INSERT INTO notify_preferences (recipient, category, channel, wanted, updated_at)"
                         " VALUES ($1,$2,$3,$4,$5) ON CONFLICT (recipient, category, channel)"
                         " DO UPDATE SET wanted = excluded.wanted, updated_at = excluded.updated_at",
                         (nexus_value[]){NEXUS_TEXT(recipient), NEXUS_TEXT(category), NEXUS_TEXT(channel),
                                         NEXUS_INT(wanted), NEXUS_INT(nexus__real_ns())},
                         5, NULL);
}

nexus_status nexus__notify_finish(nexus_db *tx, nexus_status status)
{
    if (status == NEXUS_OK)
        return nexus_db_commit(tx);
    nexus_db_rollback(tx);
    return status;
}
