#include <criterion/criterion.h>
#include <nexus/trace.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/thread.h"
#include "json/read.h"

/* A receiver that may be told to fail, and to be held up. */
typedef struct receiver {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    nexus__buf last;
    uint32_t messages, refuse;
    nexus_status refusal;
    bool held, waits;
} receiver;

static nexus_status receive(const char *content_type, nexus_slice message, void *user_data)
{
    receiver *r = user_data;
    cr_assert_str_eq(content_type, "application/json");
    pthread_mutex_lock(&r->lock);
    r->messages++;
    r->waits = true;
    nexus__buf_clear(&r->last);
    nexus__buf_slice_append(&r->last, message);
    pthread_cond_broadcast(&r->changed);
    while (r->held)
        pthread_cond_wait(&r->changed, &r->lock);
    r->waits = false;
    nexus_status status = r->refuse ? r->refusal : NEXUS_OK;
    r->refuse -= r->refuse > 0;
    pthread_mutex_unlock(&r->lock);
    return status;
}

static nexus_tracer *open_tracer(receiver *r, uint32_t queue, uint32_t batch, uint32_t interval_ms)
{
    nexus_tracer_opts opts = NEXUS_TRACER_OPTS_INIT;
    nexus_tracer *t;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    nexus__buf_init(&r->last, NULL, 0);
    opts.service = "gateway";
    opts.send = receive;
    opts.send_user_data = r;
    opts.queue_max = queue;
    opts.batch_max = batch;
    opts.interval_ms = interval_ms;
    cr_assert_eq(nexus_tracer_open(&t, &opts), NEXUS_OK, "%s", nexus_error_message());
    return t;
}

static nexus_span example(void)
{
    static const nexus_log_field attrs[] = {{"http.request.method", NEXUS_LOG_FIELD_TEXT, 0, 0, {"GET", 3}},
                                            {"http.response.status_code", NEXUS_LOG_FIELD_INT, 502, 0, {0}},
                                            {"nexus.share", NEXUS_LOG_FIELD_DOUBLE, 0, 0.5, {0}},
                                            {"nexus.retried", NEXUS_LOG_FIELD_BOOL, 1, 0, {0}}};
    nexus_span s = NEXUS_SPAN_INIT;
    (void)nexus_trace_parse(&s.trace, NEXUS_S("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
    memset(s.parent, 0xee, sizeof s.parent);
    s.kind = NEXUS_SPAN_SERVER;
    s.name = NEXUS_S("GET orders");
    s.start_ns = 1795000000000000001;
    s.end_ns = 1795000000000000900;
    s.error = true;
    s.attrs = attrs;
    s.attr_count = sizeof attrs / sizeof attrs[0];
    return s;
}

static void same(nexus__json *doc, const char *pointer, const char *text)
{
    nexus_slice value;
    uint32_t at = nexus__json_pointer(doc, 0, nexus__slice_c(pointer));
    cr_assert(nexus__json_text(doc, at, &value) && nexus__slice_eq_c(value, text), "%s is %.*s", pointer, (int)value.n,
              value.p);
}

Test(tracer, a_span_arrives_as_otlp_json)
{
    receiver r = {0};
    nexus_tracer *t = open_tracer(&r, 16, 16, 60000);
    nexus_span s = example();
    nexus_tracer_record(t, &s);
    nexus_tracer_close(t); /* sends what waits */
    nexus__json doc;
    nexus__json_init(&doc, NULL);
    cr_assert_eq(nexus__json_scan(&doc, nexus__buf_slice(&r.last), NULL), NEXUS_OK, "%s", nexus_error_message());
    same(&doc, "/resourceSpans/0/resource/attributes/0/value/stringValue", "gateway");
#define SPAN "/resourceSpans/0/scopeSpans/0/spans/0/"
    same(&doc, SPAN "traceId", "4bf92f3577b34da6a3ce929d0e0e4736");
    same(&doc, SPAN "spanId", "00f067aa0ba902b7");
    same(&doc, SPAN "parentSpanId", "eeeeeeeeeeeeeeee");
    same(&doc, SPAN "name", "GET orders");
    same(&doc, SPAN "startTimeUnixNano", "1795000000000000001");
    same(&doc, SPAN "endTimeUnixNano", "1795000000000000900");
    same(&doc, SPAN "attributes/0/value/stringValue", "GET");
    same(&doc, SPAN "attributes/1/value/intValue", "502");
    cr_assert(strstr(r.last.p, "\"kind\":2,") && strstr(r.last.p, "{\"doubleValue\":0.5}") &&
              strstr(r.last.p, "{\"boolValue\":true}") && strstr(r.last.p, "\"status\":{\"code\":2}"));
    nexus__json_free(&doc);
    nexus__buf_free(&r.last);
}

static void wait_for(receiver *r, uint32_t messages)
{
    pthread_mutex_lock(&r->lock);
    while (r->messages < messages || (r->held && !r->waits))
        pthread_cond_wait(&r->changed, &r->lock);
    pthread_mutex_unlock(&r->lock);
}

Test(tracer, a_full_batch_goes_at_once_and_a_full_queue_drops_and_counts)
{
    receiver r = {.held = true};
    nexus_tracer *t = open_tracer(&r, 8, 4, 3600000);
    nexus_span s = example();
    for (int i = 0; i < 4; i++)
        nexus_tracer_record(t, &s);
    wait_for(&r, 1); /* the receiver has a message and does not answer: eight more fit, the rest does not */
    for (int i = 0; i < 20; i++)
        nexus_tracer_record(t, &s);
    nexus_tracer_counts counts = {.size = sizeof counts};
    nexus_tracer_count(t, &counts);
    cr_assert_eq(counts.dropped, 12);
    cr_assert_eq(counts.sent, 0);
    pthread_mutex_lock(&r.lock);
    r.held = false;
    pthread_cond_broadcast(&r.changed);
    pthread_mutex_unlock(&r.lock);
    wait_for(&r, 3);
    nexus_tracer_close(t);
    nexus__buf_free(&r.last);
}

Test(tracer, what_may_be_sent_again_is_and_what_may_not_is_lost_and_counted)
{
    receiver r = {.refuse = 1, .refusal = NEXUS_EAGAIN};
    nexus_tracer *t = open_tracer(&r, 8, 1, 3600000);
    nexus_span s = example();
    nexus_tracer_record(t, &s);
    wait_for(&r, 2);
    pthread_mutex_lock(&r.lock);
    r.refuse = 1;
    r.refusal = NEXUS_EPERM;
    pthread_mutex_unlock(&r.lock);
    nexus_tracer_counts counts = {.size = sizeof counts};
    do
        nexus_tracer_count(t, &counts);
    while (counts.sent == 0);
    nexus_tracer_record(t, &s);
    do
        nexus_tracer_count(t, &counts);
    while (counts.failed == 0);
    cr_assert_eq(r.messages, 3);
    nexus_tracer_close(t);
    nexus__buf_free(&r.last);
}

Test(tracer, spans_of_traces_that_are_not_sampled_stay_here)
{
    receiver r = {0};
    nexus_tracer *t = open_tracer(&r, 8, 1, 10);
    nexus_span s = example();
    s.trace.flags = 0;
    nexus_tracer_record(t, &s);
    nexus_tracer_record(NULL, &s);
    nexus_tracer_close(t);
    cr_assert_eq(r.messages, 0);
    nexus__buf_free(&r.last);
}

Test(tracer, the_share_of_sampled_traces_is_kept_and_each_id_is_always_decided_the_same)
{
    static const uint32_t shares[] = {0, 100, 2500, 10000};
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
        receiver r = {0};
        nexus_tracer_opts opts = NEXUS_TRACER_OPTS_INIT;
        nexus_tracer *t;
        opts.send = receive;
        opts.send_user_data = &r;
        opts.sample_bp = shares[i];
        cr_assert_eq(nexus_tracer_open(&t, &opts), NEXUS_OK);
        uint32_t sampled = 0, n = 20000;
        for (uint32_t k = 0; k < n; k++) {
            nexus_trace trace;
            nexus_trace_start(&trace, false);
            sampled += nexus_tracer_samples(t, &trace);
            cr_assert_eq(nexus_tracer_samples(t, &trace), nexus_tracer_samples(t, &trace));
        }
        double share = (double)sampled / n, wanted = shares[i] / 10000.0;
        cr_assert(share > wanted - 0.02 && share < wanted + 0.02, "%g of %g", share, wanted);
        nexus_tracer_close(t);
        cr_assert_not(nexus_tracer_samples(NULL, &(nexus_trace){0}));
    }
}

Test(tracer, options_are_checked)
{
    nexus_tracer_opts opts = NEXUS_TRACER_OPTS_INIT;
    nexus_tracer *t;
    cr_assert_eq(nexus_tracer_open(&t, &opts), NEXUS_EINVAL);
    opts.send = receive;
    opts.sample_bp = 10001;
    cr_assert_eq(nexus_tracer_open(&t, &opts), NEXUS_EINVAL);
}
