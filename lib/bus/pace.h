/* When the next event of a replay may be handed out. Pure: `now` is a parameter. */
#ifndef NEXUS_BUS_PACE_H
#define NEXUS_BUS_PACE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct nexus__pace {
    double factor, events_s, bytes_s; /* 0 = not bound, no limit */
    bool anchored;
    int64_t anchor_ns, anchor_recv_ns; /* this event was due at this time */
    double event_ns, byte_ns;          /* the next one is due */
} nexus__pace;

/* Another speed: original times count from the next event on. */
void nexus__pace_set(nexus__pace *p, double factor, double events_s, double bytes_s);
/* Original times count from the next event on, after a pause. */
void nexus__pace_rest(nexus__pace *p);
/* The earliest moment for an event that was stored at recv_ns. */
int64_t nexus__pace_due(nexus__pace *p, int64_t recv_ns, int64_t now_ns);
/* It was handed out. */
void nexus__pace_spend(nexus__pace *p, uint64_t bytes, int64_t now_ns);

#endif
