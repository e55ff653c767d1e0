/*
 * Middlewares inside: who is there, and what one call keeps for them.
 *
 * A phase runs middleware by middleware. One that suspends leaves its place in call->mw; a resume, which may come from any
 * thread and before the phase has returned, brings the call back to that place on its loop.
 */
#ifndef NEXUS_GATEWAY_MIDDLEWARE_H
#define NEXUS_GATEWAY_MIDDLEWARE_H

#include <nexus/middleware.h>
#include <stdatomic.h>

#include "runtime/loop.h"
#include "json/write.h"

struct nexus__http_head;

enum { NEXUS__MW_MAX = 16 };

typedef enum nexus__mw_phase {
    NEXUS__MW_REQUEST,
    NEXUS__MW_ROUTE,
    NEXUS__MW_AUTH,
    NEXUS__MW_UPSTREAM,
    NEXUS__MW_RESPONSE,
    NEXUS__MW_PHASES
} nexus__mw_phase;

/* All of a gateway, in the order in which they run. */
typedef struct nexus__gw_middlewares {
    uint32_t count, slots_bytes;
    nexus_middleware items[NEXUS__MW_MAX];
    uint32_t slots[NEXUS__MW_MAX]; /* where each one's memory begins */
} nexus__gw_middlewares;

typedef struct nexus__gw_frame {
    struct nexus__call *call;
    uint32_t index; /* of its middleware */
    bool used;
    bool *went_on; /* while its around runs: tells it that the call is not its own any more */
    nexus_gateway_done_fn *done;
    void *user_data;
    struct nexus__gw_frame *outer;
} nexus__gw_frame;

typedef struct nexus__gw_answer {
    uint16_t status;
    const char *content_type;
    nexus_slice body;
} nexus__gw_answer;

/* Of one call. */
typedef struct nexus__gw_mw {
    struct nexus__call *call;
    const nexus__gw_middlewares *all;
    nexus__mw_phase phase;
    uint32_t at; /* the middleware whose turn is next in this phase, or that waits */
    _Atomic int state;
    int32_t verdict; /* of the resume */
    bool auth_passed;
    nexus__task task;
    nexus__gw_answer *answer;
    nexus__gw_frame *frame;              /* the innermost that runs */
    const struct nexus__http_head *head; /* in on_response */
    const char *base;
    char *slots;
} nexus__gw_mw;

/* Has the server ask those that judge connections. NULL is fine. */
nexus_status nexus__mw_mount(nexus__gw_middlewares *all, nexus_server *server) NEXUS_MUST_CHECK;
/* At the beginning of a call, if there are any. False: out of memory. */
bool nexus__mw_begin(struct nexus__call *call);
/* Runs a phase from its first middleware; true: the call goes on now. False: it is over, or goes on later by
 * nexus__call_passed. */
bool nexus__mw_pass(struct nexus__call *call, nexus__mw_phase phase);
/* The arounds from the outermost on, then nexus__call_start. */
void nexus__mw_around(struct nexus__call *call);
/* False: a middleware answered in upstream's place, and the call is over. */
bool nexus__mw_response(struct nexus__call *call, const struct nexus__http_head *head, const char *base);
/* The call ends with this status: frames that have not heard, then the log. */
void nexus__mw_end(struct nexus__call *call, uint16_t status);
void nexus__mw_explain(const nexus__gw_middlewares *all, nexus__json_writer *w);
void nexus__mw_free(nexus__gw_middlewares *all, const nexus_alloc *alloc);

#endif
