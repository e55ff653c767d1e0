/*
 * What is seen of calls: metrics, a span for each try, and what loggers are told. The call keeps it in its own memory,
 * with copies of the names, because a snapshot may go before the request's line is written.
 */
#ifndef NEXUS_GATEWAY_SEEN_H
#define NEXUS_GATEWAY_SEEN_H

#include <nexus/gateway.h>
#include <nexus/trace.h>

struct nexus__call;
struct nexus__snapshot;
struct nexus__target;

/* How a try ended. Rows of a table in seen.c. */
enum nexus__seen_outcome {
    NEXUS__SEEN_CANCELLED, /* the client went, or nobody waits for it any more */
    NEXUS__SEEN_ANSWERED,
    NEXUS__SEEN_ERROR, /* answered with 5xx */
    NEXUS__SEEN_CONNECT,
    NEXUS__SEEN_CLOSED,
    NEXUS__SEEN_TIMEOUT,
    NEXUS__SEEN_PROTOCOL,
    NEXUS__SEEN_BUSY, /* no connection may be opened */
    NEXUS__SEEN_OUTCOMES
};

typedef struct nexus__gw_seen {
    nexus_slice route, upstream, target, user;
    uint64_t bytes_in;
    int64_t begun_ns, try_ns, head_ns; /* loop time: first try, this try, head of an answer; 0 = not yet */
    uint32_t tries, flags;             /* NEXUS_GATEWAY_SEEN_… */
    uint8_t outcome;
    uint16_t status;  /* of the try */
    bool trying;      /* a try has begun and not ended */
    nexus_trace span; /* the try's, when traced */
    bool traced;
} nexus__gw_seen;

/* Families, and the series of one route and of one upstream; NULL members count nothing. */
typedef struct nexus__seen_families {
    nexus_metric_family *requests, *seconds, *bytes, *tries, *upstream_seconds, *active, *connections, *targets;
} nexus__seen_families;

typedef struct nexus__seen_route {
    nexus_metric *requests[6]; /* by status class, [0] = none */
    nexus_metric *seconds, *bytes_in, *bytes_out;
} nexus__seen_route;

typedef struct nexus__seen_upstream {
    nexus_metric *tries[NEXUS__SEEN_OUTCOMES], *seconds, *active, *connections, *targets_up, *targets_down;
} nexus__seen_upstream;

nexus_status nexus__seen_open(nexus__seen_families *f, nexus_metrics *metrics) NEXUS_MUST_CHECK;
void nexus__seen_route_find(nexus__seen_route *m, const nexus__seen_families *f, nexus_slice id);
void nexus__seen_upstream_find(nexus__seen_upstream *m, const nexus__seen_families *f, nexus_slice name);
/* Sets the gauges of upstreams. On loop 0, now and then. */
void nexus__seen_gauges(const struct nexus__snapshot *s, int64_t now);

/* --- stations of a call, on its loop ------------------------------------------------------------------------------ */

void nexus__seen_begin(struct nexus__call *call);
/* A try begins. */
void nexus__seen_try(struct nexus__call *call, const struct nexus__target *target);
/* The try is lost, an enum nexus__lost says how; another may follow. */
void nexus__seen_lost(struct nexus__call *call, int how);
/* The head of an answer is there. */
void nexus__seen_answer(struct nexus__call *call, uint16_t status);
/* The answer is not passed on: another try follows. */
void nexus__seen_end_try(struct nexus__call *call);
/* We refuse ourselves. */
void nexus__seen_problem(struct nexus__call *call, const char *code);
/* The call is over; it still holds everything. status 0: the client has no whole answer. */
void nexus__seen_end(struct nexus__call *call, uint16_t status);
/* The trace context that the try passes on. */
void nexus__seen_trace(const struct nexus__call *call, nexus_trace *out);

#endif
