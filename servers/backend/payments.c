/*
 * The payment sandbox: stands for a provider outside. It takes payment.requested and payment.refund commands from the
 * bus and answers with payment.processed, by the token: tok_ok captures, tok_declined declines, tok_timeout never
 * answers. The setting payment_delay_ms makes it late, for tests of what is captured after the saga gave up.
 */
#include <stdio.h>
#include <string.h>

#include "backend/private.h"

static nexus_slice data_text(nexus_json *data, const char *name)
{
    nexus_slice text = {"", 0};
    nexus_json_text(data, nexus_json_get(data, NEXUS_JSON_ROOT, name), &text);
    return text;
}

static nexus_status tell_processed(nexus_db *tx, nexus_json *data, const char *result, const nexus_event *cause)
{
    nexus_json_writer *w;
    nexus_slice text, order = data_text(data, "order_id"), user = data_text(data, "user_id");
    char subject[64];
    int64_t amount = 0;
    nexus_status status = nexus_json_writer_new(&w);
    if (status != NEXUS_OK)
        return status;
    nexus_json_int(data, nexus_json_get(data, NEXUS_JSON_ROOT, "amount"), &amount);
    nexus_json_open_object(w, NULL);
    nexus_json_put_text(w, "order_id", order);
    nexus_json_put_text(w, "user_id", user);
    nexus_json_put_text_c(w, "status", result);
    nexus_json_put_int(w, "amount", amount);
    nexus_json_put_text(w, "currency", data_text(data, "currency"));
    nexus_json_close(w);
    snprintf(subject, sizeof subject, "order-%.*s", TEXT_ARGS(order));
    status = writer_text(w, &text) ? publish_in(tx, "payment.processed", subject, text, cause) : NEXUS_ENOMEM;
    nexus_json_writer_free(w);
    return status;
}

static nexus_status store(nexus_db *tx, nexus_json *data, const char *result)
{
    int64_t amount = 0, now = nexus_time_now_ns();
    nexus_json_int(data, nexus_json_get(data, NEXUS_JSON_ROOT, "amount"), &amount);
    return nexus_db_exec(tx,
                         "INSERT INTO payments (order_id, status, amount, currency, created_at, updated_at)"
                         " SELECT id, CAST($2 AS TEXT), amount, currency, CAST($3 AS BIGINT), CAST($3 AS BIGINT)"
                         " FROM orders WHERE id = $1"
                         " ON CONFLICT (order_id) DO UPDATE SET status = $2, updated_at = $3",
                         (nexus_value[]){NEXUS_TEXT(data_text(data, "order_id")), NEXUS_TEXT_C(result), NEXUS_INT(now)},
                         3, NULL);
}

/* What was never captured is not refunded. */
static nexus_status refund(nexus_db *tx, nexus_json *data)
{
    return nexus_db_exec(tx,
                         "UPDATE payments SET status = 'refunded', updated_at = $2"
                         " WHERE order_id = $1 AND status = 'captured'",
                         (nexus_value[]){NEXUS_TEXT(data_text(data, "order_id")), NEXUS_INT(nexus_time_now_ns())}, 2,
                         NULL);
}

static nexus_status charge(nexus_db *tx, nexus_json *data, const nexus_event *event)
{
    nexus_slice token = data_text(data, "payment_token");
    const char *result = token.n == 6 && memcmp(token.p, "tok_ok", 6) == 0 ? "captured" : "declined";
    if (token.n == 11 && memcmp(token.p, "tok_timeout", 11) == 0)
        return store(tx, data, "requested"); /* and never a word */
    nexus_status status = store(tx, data, result);
    return status == NEXUS_OK ? tell_processed(tx, data, result, event) : status;
}

static nexus_status handle(backend *b, const nexus_event *event, nexus_json *data)
{
    nexus_db *tx;
    bool is_new;
    nexus_status status = nexus_db_begin(&tx, b->db);
    if (status != NEXUS_OK)
        return status;
    status = nexus_inbox_claim(tx, "payments", event, &is_new);
    bool is_refund = event->type.n == 14 && memcmp(event->type.p, "payment.refund", 14) == 0;
    if (status == NEXUS_OK && is_new)
        status = is_refund ? refund(tx, data) : charge(tx, data, event);
    if (status != NEXUS_OK) {
        nexus_db_rollback(tx);
        return status;
    }
    status = nexus_db_commit(tx);
    nexus_outbox_relay_wake(b->relay);
    return status;
}

static int32_t on_command(nexus_delivery *delivery, void *user_data)
{
    backend *b = user_data;
    const nexus_event *event = nexus_delivery_event(delivery);
    nexus_json *data;
    if (b->payment_delay_ms && nexus_delivery_attempt(delivery) == 1) { /* come again later: the provider is slow */
        (void)nexus_delivery_nak(delivery, (uint32_t)b->payment_delay_ms, "sandbox delay");
        nexus_delivery_free(delivery);
        return NEXUS_LATER;
    }
    if (nexus_json_parse(&data, event->data) != NEXUS_OK) {
        nexus_delivery_reason(delivery, "data is not JSON");
        return NEXUS_REJECT;
    }
    nexus_status status = handle(b, event, data);
    nexus_json_free(data);
    if (status == NEXUS_OK)
        return NEXUS_ACK;
    nexus_delivery_reason(delivery, nexus_error_message());
    return NEXUS_RETRY;
}

nexus_status payments_open(backend *b)
{
    nexus_group_opts opts = NEXUS_GROUP_OPTS_INIT;
    opts.types = "payment.requested,payment.refund";
    opts.ack_wait_ms = 1000; /* the saga waits two seconds for the answer, a crash of ours included */
    nexus_status status = nexus_group_open(&b->payment_group, b->bus, "backend-payments", &opts);
    return status == NEXUS_OK ? nexus_consumer_open(&b->payment_consumer, b->payment_group, on_command, b, 1) : status;
}
