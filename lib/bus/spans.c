/*
 * Spans of the bus. A publish is a PRODUCER span in the trace of who publishes, and its events carry that place on. Handling
 * one is a CONSUMER span in a trace of its own, linked to the publisher's: an event may be handled much later, by many, and
 * again, which no tree of parents would tell.
 */
#include <stdio.h>

#include "base/status.h"
#include "bus/delivery.h"
#include "bus/publish.h"

static nexus_log_field text_field(const char *name, nexus_slice value)
{
    return (nexus_log_field){.name = name, .type = NEXUS_LOG_FIELD_TEXT, .s = value};
}

static nexus_log_field int_field(const char *name, int64_t value)
{
    return (nexus_log_field){.name = name, .type = NEXUS_LOG_FIELD_INT, .i = value};
}

static nexus_tracer *hold(nexus_bus *bus)
{
    if (!atomic_load_explicit(&bus->tracer, memory_order_relaxed))
        return NULL;
    pthread_rwlock_rdlock(&bus->tracer_lock);
    nexus_tracer *tracer = atomic_load(&bus->tracer);
    if (!tracer)
        pthread_rwlock_unlock(&bus->tracer_lock);
    return tracer;
}

static void release(nexus_bus *bus)
{
    pthread_rwlock_unlock(&bus->tracer_lock);
}

static void record(nexus_bus *bus, const nexus_span *span)
{
    nexus_tracer *tracer = hold(bus);
    if (!tracer)
        return;
    nexus_tracer_record(tracer, span);
    release(bus);
}

void nexus_bus_set_tracer(nexus_bus *bus, nexus_tracer *tracer)
{
    pthread_rwlock_wrlock(&bus->tracer_lock);
    atomic_store(&bus->tracer, tracer);
    pthread_rwlock_unlock(&bus->tracer_lock);
}

/* --- publishing --------------------------------------------------------------------------------------------------- */

static bool same_trace(const nexus_trace *a, const nexus_trace *b)
{
    return memcmp(a->trace_id, b->trace_id, sizeof a->trace_id) == 0;
}

/* The span's own trace: that of the first event that has one, or a new one. */
static void choose_trace(nexus__publish_span *span, const nexus_tracer *tracer, const nexus_event *events, size_t n)
{
    nexus_trace parent;
    for (size_t i = 0; i < n; i++)
        if (events[i].traceparent.n && nexus_trace_parse(&parent, events[i].traceparent) == NEXUS_OK) {
            nexus_trace_child(&span->trace, &parent);
            memcpy(span->parent, parent.span_id, sizeof span->parent);
            return;
        }
    nexus_trace_start(&span->trace, false);
    span->trace.flags = nexus_tracer_samples(tracer, &span->trace) ? NEXUS_TRACE_SAMPLED : 0;
}

void nexus__publish_span_begin(nexus__publish_span *span, nexus_bus *bus, nexus_event *events, size_t n)
{
    nexus_trace own;
    for (size_t i = 0; i < n; i++)
        if (events[i].traceparent.n && nexus_trace_parse(&own, events[i].traceparent) != NEXUS_OK)
            events[i].traceparent = events[i].tracestate = NEXUS_S("");
    nexus_tracer *tracer = hold(bus);
    if (!tracer)
        return;
    choose_trace(span, tracer, events, n);
    release(bus);
    if (!(span->trace.flags & NEXUS_TRACE_SAMPLED))
        return;
    span->start_ns = nexus__real_ns();
    span->count = (uint32_t)n;
    snprintf(span->type, sizeof span->type, "%.*s", (int)events[0].type.n, events[0].type.p);
    nexus_trace_format(&span->trace, span->text);
    for (size_t i = 0; i < n; i++) {
        bool has = events[i].traceparent.n && nexus_trace_parse(&own, events[i].traceparent) == NEXUS_OK;
        if (!has || same_trace(&own, &span->trace))
            events[i].traceparent = nexus__slice(span->text, NEXUS_TRACEPARENT_LEN);
    }
}

void nexus__publish_span_end(const nexus__publish_span *span, nexus_bus *bus, nexus_status status,
                             const nexus_publish_result *result)
{
    if (!(span->trace.flags & NEXUS_TRACE_SAMPLED))
        return;
    char name[80];
    int n = snprintf(name, sizeof name, "publish %s", span->type);
    const nexus_log_field attrs[] = {text_field("messaging.system", NEXUS_S("nexus")),
                                     text_field("messaging.operation.type", NEXUS_S("send")),
                                     text_field("messaging.destination.name", nexus__slice_c(span->type)),
                                     int_field("messaging.batch.message_count", span->count),
                                     int_field("nexus.position", (int64_t)result->first)};
    nexus_span s = NEXUS_SPAN_INIT;
    s.trace = span->trace;
    memcpy(s.parent, span->parent, sizeof s.parent);
    s.kind = NEXUS_SPAN_PRODUCER;
    s.error = status != NEXUS_OK;
    s.name = nexus__slice(name, (size_t)n);
    s.start_ns = span->start_ns;
    s.end_ns = nexus__real_ns();
    s.attrs = attrs;
    s.attr_count = sizeof attrs / sizeof *attrs;
    record(bus, &s);
}

/* --- handling ----------------------------------------------------------------------------------------------------- */

void nexus__delivery_span_begin(nexus__delivery_span *span, const nexus_event *e)
{
    *span = (nexus__delivery_span){0};
    if (!e->traceparent.n || nexus_trace_parse(&span->link, e->traceparent) != NEXUS_OK ||
        !(span->link.flags & NEXUS_TRACE_SAMPLED))
        return;
    nexus_trace_start(&span->trace, true);
    span->start_ns = nexus__real_ns();
}

void nexus__delivery_span_end(nexus__delivery_span *span, nexus_bus *bus, const nexus_event *e, const char *group,
                              uint32_t attempt, const char *outcome, bool error)
{
    if (!span->start_ns)
        return;
    char name[200];
    int n = snprintf(name, sizeof name, "process %.*s", (int)(e->type.n < 128 ? e->type.n : 128), e->type.p);
    const nexus_log_field attrs[] = {text_field("messaging.system", NEXUS_S("nexus")),
                                     text_field("messaging.operation.type", NEXUS_S("process")),
                                     text_field("messaging.consumer.group.name", nexus__slice_c(group)),
                                     text_field("messaging.message.id", e->id),
                                     text_field("nexus.outcome", nexus__slice_c(outcome)),
                                     int_field("nexus.attempt", attempt),
                                     int_field("nexus.position", (int64_t)e->pos)};
    nexus_span s = NEXUS_SPAN_INIT;
    s.trace = span->trace;
    s.kind = NEXUS_SPAN_CONSUMER;
    s.error = error;
    s.name = nexus__slice(name, (size_t)n);
    s.start_ns = span->start_ns;
    s.end_ns = nexus__real_ns();
    s.attrs = attrs;
    s.attr_count = sizeof attrs / sizeof *attrs;
    s.links = &span->link;
    s.link_count = 1;
    record(bus, &s);
    span->start_ns = 0; /* once */
}
