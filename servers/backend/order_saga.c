/*
 * The order saga: order.created → payment.requested → payment.processed → order.confirmed. A payment that is declined or
 * does not come in time ends in order.cancelled with the reason; one that is captured after that is refunded. The saga
 * lives on the bus; the orders table follows its events (order_events.c).
 */
#include <stdio.h>
#include <string.h>

#include "backend/private.h"

static nexus_status emit(nexus_saga_ctx *ctx, const char *type, const char *status, const char *reason)
{
    nexus_slice state, id, text;
    nexus_json *json;
    nexus_json_writer *w;
    char subject[64];
    nexus_saga_state(ctx, &state);
    nexus_saga_id(ctx, &id);
    nexus_status st = nexus_json_parse(&json, state);
    if (st != NEXUS_OK)
        return st;
    st = nexus_json_writer_new(&w);
    if (st != NEXUS_OK) {
        nexus_json_free(json);
        return st;
    }
    nexus_json_open_object(w, NULL);
    nexus_json_iter it = {0};
    while (nexus_json_step(json, NEXUS_JSON_ROOT, &it)) { /* what the order said, but for how it is paid */
        char name[64];
        snprintf(name, sizeof name, "%.*s", TEXT_ARGS(it.name));
        nexus_json_raw(json, it.value, &text);
        if (strcmp(name, "payment_token") != 0 || strcmp(type, "payment.requested") == 0)
            nexus_json_put_raw(w, name, text);
    }
    if (status)
        nexus_json_put_text_c(w, "status", status);
    if (reason)
        nexus_json_put_text_c(w, "reason", reason);
    nexus_json_close(w);
    snprintf(subject, sizeof subject, "order-%.*s", TEXT_ARGS(id));
    nexus_event event = NEXUS_EVENT_INIT;
    event.type = (nexus_slice){type, strlen(type)};
    event.subject = (nexus_slice){subject, strlen(subject)};
    event.source = NEXUS_S("/nexus/backend");
    st = writer_text(w, &event.data) ? nexus_saga_emit(ctx, &event) : NEXUS_ENOMEM;
    nexus_json_writer_free(w);
    nexus_json_free(json);
    return st;
}

static nexus_status open_order(nexus_saga_ctx *ctx, void *user_data)
{
    (void)ctx, (void)user_data;
    return NEXUS_OK; /* the order is there already; this step exists to be undone */
}

static nexus_status cancel_order(nexus_saga_ctx *ctx, void *user_data)
{
    (void)user_data;
    const char *reason = nexus_saga_reason(ctx);
    return emit(ctx, "order.cancelled", "cancelled", reason && *reason ? reason : "cancelled");
}

static nexus_status request_payment(nexus_saga_ctx *ctx, void *user_data)
{
    (void)user_data;
    return emit(ctx, "payment.requested", NULL, NULL);
}

static nexus_status confirm_order(nexus_saga_ctx *ctx, void *user_data)
{
    (void)user_data;
    return emit(ctx, "order.confirmed", "confirmed", NULL);
}

nexus_status order_saga_open(backend *b)
{
    const nexus_settings *settings = nexus_service_settings(b->service);
    nexus_saga_step steps[3] = {NEXUS_SAGA_STEP_INIT, NEXUS_SAGA_STEP_INIT, NEXUS_SAGA_STEP_INIT};
    steps[0].name = "order";
    steps[0].action = open_order;
    steps[0].undo = cancel_order;
    steps[1].name = "payment";
    steps[1].action = request_payment;
    steps[1].on_types = "payment.processed";
    steps[1].fail_when = "status=declined|timed_out";
    steps[1].undo_command = "payment.refund";
    steps[1].late_command = "payment.refund";
    steps[1].timeout_ms = (uint32_t)nexus_settings_int(settings, "payment_timeout_ms");
    steps[2].name = "confirm";
    steps[2].action = confirm_order;
    nexus_saga_opts opts = NEXUS_SAGA_OPTS_INIT;
    opts.start_types = "order.created";
    opts.key = "data.order_id";
    opts.user_data = b;
    return nexus_saga_open(&b->saga, b->bus, "order", steps, 3, &opts);
}

void order_saga_close(backend *b)
{
    nexus_saga_close(b->saga);
}
