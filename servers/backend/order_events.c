/* The orders table follows the saga's events and the notifications that were sent, each at most once (inbox). */
#include <stdio.h>
#include <string.h>

#include "backend/private.h"

static bool is_type(const nexus_event *event, const char *type)
{
    return event->type.n == strlen(type) && memcmp(event->type.p, type, event->type.n) == 0;
}

/* A payment that never answered gets its word from us, so that every payment.requested has one payment.processed. */
static nexus_status tell_timed_out(nexus_db *tx, nexus_json *data, const nexus_event *cause)
{
    nexus_json_writer *w;
    nexus_slice text, order = member(data, "order_id");
    int64_t amount = 0, changes = 0;
    char subject[64];
    nexus_status status = nexus_db_exec(
        tx, "UPDATE payments SET status = 'timed_out', updated_at = $2 WHERE order_id = $1 AND status = 'requested'",
        (nexus_value[]){NEXUS_TEXT(order), NEXUS_INT(nexus_time_now_ns())}, 2, &changes);
    if (status != NEXUS_OK)
        return status;
    status = nexus_json_writer_new(&w);
    if (status != NEXUS_OK)
        return status;
    nexus_json_int(data, nexus_json_get(data, NEXUS_JSON_ROOT, "amount"), &amount);
    nexus_json_open_object(w, NULL);
    nexus_json_put_text(w, "order_id", order);
    nexus_json_put_text(w, "user_id", member(data, "user_id"));
    nexus_json_put_text_c(w, "status", "timed_out");
    nexus_json_put_int(w, "amount", amount);
    nexus_json_put_text(w, "currency", member(data, "currency"));
    nexus_json_close(w);
    snprintf(subject, sizeof subject, "order-%.*s", TEXT_ARGS(order));
    status = writer_text(w, &text) ? publish_in(tx, "payment.processed", subject, text, cause) : NEXUS_ENOMEM;
    nexus_json_writer_free(w);
    return status;
}

static bool timed_out(nexus_slice reason)
{
    for (size_t i = 0; i + 4 <= reason.n; i++)
        if (memcmp(reason.p + i, "time", 4) == 0)
            return true;
    return false;
}

static nexus_status follow(backend *b, nexus_db *tx, const nexus_event *event, nexus_json *data, const char **settled)
{
    nexus_slice order = member(data, "order_id"), reason = member(data, "reason");
    bool changed = false;
    if (is_type(event, "notification.sent")) {
        nexus_slice id = member(data, "notification_id");
        if (id.n == 0)
            id = member(data, "id");
        return order.n && id.n ? order_note(tx, order, id) : NEXUS_OK;
    }
    const char *status = is_type(event, "order.confirmed") ? "confirmed" : "cancelled";
    if (strcmp(status, "cancelled") == 0 && timed_out(reason))
        reason = NEXUS_S("payment timed out");
    nexus_status st = order_settle(tx, order, status, reason, &changed);
    if (changed)
        *settled = status;
    if (st == NEXUS_OK && changed)
        st = audit_as(b, NEXUS_S("order-saga"), strcmp(status, "confirmed") == 0 ? "order.confirmed" : "order.cancelled",
                      order, reason);
    if (st == NEXUS_OK && changed && strcmp(status, "cancelled") == 0 && timed_out(reason))
        st = tell_timed_out(tx, data, event);
    return st;
}

static void count_settled(backend *b, const nexus_event *event, const char *settled)
{
    const nexus_slice label = {settled, strlen(settled)};
    nexus_metric_add(nexus_metric_series(b->orders_total, &label, 1), 1);
    nexus_trace trace;
    char trace_id[33] = "", span_id[17] = "";
    if (nexus_trace_parse(&trace, event->traceparent) == NEXUS_OK)
        nexus_trace_hex(&trace, trace_id, span_id);
    nexus_log_context context = {.trace_id = {trace_id, strlen(trace_id)},
                                 .span_id = {span_id, strlen(span_id)},
                                 .correlation_id = event->correlationid};
    nexus_log_printf(nexus_service_log(b->service), NEXUS_LOG_INFO, "orders", &context, "%.*s is %s",
                     TEXT_ARGS(event->subject), settled);
}

static nexus_status handle(backend *b, const nexus_event *event, nexus_json *data)
{
    nexus_db *tx;
    bool is_new;
    const char *settled = NULL;
    nexus_status status = nexus_db_begin(&tx, b->db);
    if (status != NEXUS_OK)
        return status;
    status = nexus_inbox_claim(tx, "orders", event, &is_new);
    if (status == NEXUS_OK && is_new)
        status = follow(b, tx, event, data, &settled);
    if (status != NEXUS_OK) {
        nexus_db_rollback(tx);
        return status;
    }
    status = nexus_db_commit(tx);
    if (status == NEXUS_OK && settled)
        count_settled(b, event, settled);
    nexus_outbox_relay_wake(b->relay);
    return status;
}

static int32_t on_event(nexus_delivery *delivery, void *user_data)
{
    const nexus_event *event = nexus_delivery_event(delivery);
    nexus_json *data;
    if (nexus_json_parse(&data, event->data) != NEXUS_OK) {
        nexus_delivery_reason(delivery, "data is not JSON");
        return NEXUS_REJECT;
    }
    nexus_status status = handle(user_data, event, data);
    nexus_json_free(data);
    if (status == NEXUS_OK)
        return NEXUS_ACK;
    nexus_delivery_reason(delivery, nexus_error_message());
    return NEXUS_RETRY;
}

nexus_status order_events_open(backend *b)
{
    nexus_group_opts opts = NEXUS_GROUP_OPTS_INIT;
    opts.types = "order.confirmed,order.cancelled,notification.sent";
    opts.ack_wait_ms = 3000;
    nexus_status status = nexus_group_open(&b->order_group, b->bus, "backend-orders", &opts);
    if (status == NEXUS_OK)
        status = nexus_consumer_open(&b->order_consumer, b->order_group, on_event, b, 1);
    return status;
}
