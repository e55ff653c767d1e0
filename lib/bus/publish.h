/* What publishing through a handle is made of; shared by publish.c, commit_handle.c, spans.c. */
#ifndef NEXUS_BUS_PUBLISH_H
#define NEXUS_BUS_PUBLISH_H

#include <nexus/trace.h>

#include "base/id.h"
#include "bus/broker.h"
#include "bus/wire.h"

/* A PRODUCER span around a publish; nothing when trace.flags has no sampled bit. */
typedef struct nexus__publish_span {
    nexus_trace trace;
    uint8_t parent[8];
    int64_t start_ns;
    uint32_t count;
    char type[64]; /* of the first event, cut */
    char text[NEXUS_TRACEPARENT_LEN + 1];
} nexus__publish_span;

/* Drops traceparents that are none. With a tracer and a sampled trace: begins the span, and gives the events of that trace,
 * and those of none, its place: their traceparents then point into *span, which must not move before they are encoded. */
void nexus__publish_span_begin(nexus__publish_span *span, nexus_bus *bus, nexus_event *events, size_t n);
void nexus__publish_span_end(const nexus__publish_span *span, nexus_bus *bus, nexus_status status,
                             const nexus_publish_result *result);

/* Events with id, source, time and cause, that are as their contracts want them. */
typedef struct nexus__completed {
    nexus_event *events;
    char (*ids)[NEXUS__UUID_LEN + 1];
    nexus_event one; /* a single event lies here */
    char one_id[NEXUS__UUID_LEN + 1];
    uint32_t warnings; /* of contracts that warn */
    nexus__publish_span span;
    nexus__arena sealed; /* what events point to whose data is sealed */
} nexus__completed;

/* n > 0. Free it in any case; it must not move. */
nexus_status nexus__publish_complete(nexus_bus *bus, const nexus_event *events, size_t n, const nexus_event *cause,
                                     nexus__completed *out);
void nexus__completed_free(const nexus_bus *bus, nexus__completed *c);
nexus__publish_terms nexus__publish_terms_of(const nexus_publish_opts *opts); /* NULL: defaults */
void nexus__publish_result_copy(nexus_publish_result *to, const nexus_publish_result *from); /* to may be NULL */
void nexus__wire_take_result(nexus__wire_in *in, nexus_publish_result *r);

#endif
