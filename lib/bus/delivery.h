/* A delivery's inside. */
#ifndef NEXUS_BUS_DELIVERY_H
#define NEXUS_BUS_DELIVERY_H

#include <nexus/trace.h>

#include "bus/handle.h"

typedef struct nexus__delivery_span {
    nexus_trace trace, link;
    int64_t start_ns; /* 0 = there is none, or it was recorded */
} nexus__delivery_span;

void nexus__delivery_span_begin(nexus__delivery_span *span, const nexus_event *e);
void nexus__delivery_span_end(nexus__delivery_span *span, nexus_bus *bus, const nexus_event *e, const char *group,
                              uint32_t attempt, const char *outcome, bool error);

struct nexus_delivery {
    nexus_group *group; /* NULL: of a replay, which lends it event after event */
    const nexus_alloc *alloc;
    nexus__stored *stored;
    const nexus_event *lent; /* of a replay */
    uint64_t token;
    uint32_t attempt;
    bool settled;
    nexus__evolved evolved; /* no events: it is as it was stored */
    nexus__delivery_span span;
    nexus__buf json;
    char reason[256];
};

void nexus__delivery_settled(nexus_delivery *d, const char *outcome, bool error);

#endif
