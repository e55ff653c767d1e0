/* Domain events of the bus become analytics events by themselves. The event's own id makes a redelivery harmless. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analytics.h"

#define ID_MAX 64
#define TYPES "user.>,order.>,payment.>,notification.>,system.>"

struct analytics_feed {
    analytics *a;
    nexus_group *group;
    nexus_consumer *consumer;
};

/* Whom the event is about, where its data says so. */
static void put_user(nexus_json_writer *w, nexus_json *data)
{
    static const char *const names[] = {"user_id", "customer_id", "recipient_id"};
    nexus_slice user;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (nexus_json_text(data, nexus_json_get(data, NEXUS_JSON_ROOT, names[i]), &user)) {
            nexus_json_put_text(w, "user_id", user);
            return;
        }
}

static void put_context(nexus_json_writer *w, const nexus_event *e)
{
    nexus_json_open_object(w, "context");
    nexus_json_put_text(w, "source", e->source);
    if (e->subject.n)
        nexus_json_put_text(w, "subject", e->subject);
    if (e->correlationid.n)
        nexus_json_put_text(w, "correlation_id", e->correlationid);
    if (e->traceparent.n == 55)
        nexus_json_put_text(w, "trace_id", (nexus_slice){e->traceparent.p + 3, 32});
    nexus_json_close(w);
}

static void write_event(nexus_json_writer *w, const nexus_event *e, nexus_json *data)
{
    char id[ID_MAX];
    nexus_json_open_object(w, NULL);
    if (e->id.n <= ID_MAX) {
        nexus_json_put_text(w, "id", e->id);
    } else {
        snprintf(id, sizeof id, "bus-%llu", (unsigned long long)e->pos);
        nexus_json_put_text_c(w, "id", id);
    }
    nexus_json_put_text(w, "event", e->type);
    if (e->time_ns != 0)
        nexus_json_put_int(w, "timestamp", e->time_ns / 1000000);
    if (data) {
        put_user(w, data);
        if (nexus_json_type(data, NEXUS_JSON_ROOT) == NEXUS_JSON_OBJECT)
            nexus_json_put_raw(w, "properties", e->data);
    }
    put_context(w, e);
    nexus_json_close(w);
}

static nexus_status take(analytics_feed *feed, const nexus_event *e, nexus_ingest_result **out)
{
    nexus_json_writer *w;
    nexus_json *data = NULL;
    nexus_slice body;
    nexus_status st = nexus_json_writer_new(&w);
    if (st != NEXUS_OK)
        return st;
    if (e->data.n != 0 && nexus_json_parse(&data, e->data) == NEXUS_ENOMEM) {
        nexus_json_writer_free(w);
        return NEXUS_ENOMEM;
    }
    write_event(w, e, data);
    body.p = nexus_json_writer_text(w, &body.n);
    st = body.p ? nexus_ingest_event(feed->a->ingest, body, NULL, out) : NEXUS_ENOMEM;
    nexus_json_free(data);
    nexus_json_writer_free(w);
    return st;
}

static int32_t on_delivery(nexus_delivery *delivery, void *user_data)
{
    analytics_feed *feed = user_data;
    nexus_ingest_result *result;
    nexus_ingest_counts counts = NEXUS_INGEST_COUNTS_INIT;
    nexus_ingest_error error = {sizeof error, 0, {0, 0}, {0, 0}, {0, 0}};
    nexus_status st = take(feed, nexus_delivery_event(delivery), &result);
    if (st != NEXUS_OK) {
        nexus_delivery_reason(delivery, nexus_error_message());
        return st == NEXUS_EINVAL || st == NEXUS_ETOOBIG ? NEXUS_REJECT : NEXUS_RETRY;
    }
    nexus_ingest_result_counts(result, &counts);
    nexus_metric_add(feed->a->accepted, counts.accepted);
    nexus_metric_add(feed->a->duplicate, counts.duplicate);
    nexus_metric_add(feed->a->rejected, counts.rejected);
    int32_t decision = NEXUS_ACK;
    if (nexus_ingest_result_error(result, 0, &error)) {
        char reason[256];
        snprintf(reason, sizeof reason, "%.*s: %.*s", (int)error.code.n, error.code.p, (int)error.message.n,
                 error.message.p);
        nexus_delivery_reason(delivery, reason);
        decision = NEXUS_REJECT;
    }
    nexus_ingest_result_free(result);
    return decision;
}

nexus_status analytics_feed_open(analytics_feed **out, analytics *a)
{
    nexus_group_opts opts = NEXUS_GROUP_OPTS_INIT;
    nexus_bus *bus = nexus_service_bus(a->service);
    analytics_feed *feed = calloc(1, sizeof *feed);
    if (!feed)
        return NEXUS_ENOMEM;
    feed->a = a;
    opts.types = TYPES;
    opts.ack_wait_ms = 3000;
    opts.order = NEXUS_ORDER_NONE;
    opts.backoff_cap_ms = 5000;
    opts.max_deliver = 100000; /* a full disk must not make dead letters of good events */
    opts.update = true;
    nexus_status st = bus ? nexus_group_open(&feed->group, bus, "analytics", &opts) : NEXUS_EUNREACH;
    if (st == NEXUS_OK)
        st = nexus_consumer_open(&feed->consumer, feed->group, on_delivery, feed, 2);
    if (st != NEXUS_OK) {
        analytics_feed_close(feed);
        return st;
    }
    *out = feed;
    return NEXUS_OK;
}

void analytics_feed_close(analytics_feed *feed)
{
    if (!feed)
        return;
    nexus_consumer_close(feed->consumer);
    nexus_group_close(feed->group);
    free(feed);
}
