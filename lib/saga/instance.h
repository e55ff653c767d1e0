/* One instance of a saga: what it is, how it is stored, how it steps. */
#ifndef NEXUS_SAGA_INSTANCE_H
#define NEXUS_SAGA_INSTANCE_H

#include <nexus/saga.h>

#include "base/buf.h"
#include "base/list.h"
#include "json/read.h"

enum { NEXUS__SAGA_SEEN = 16, NEXUS__SAGA_STEPS_MAX = 64, NEXUS__SAGA_STATE_MAX = 64 << 10 };

typedef enum nexus__saga_status {
    NEXUS__SAGA_RUNNING = 0,
    NEXUS__SAGA_COMPENSATING = 1,
    NEXUS__SAGA_DONE = 2,
    NEXUS__SAGA_FAILED = 3,
    NEXUS__SAGA_STUCK = 4,
} nexus__saga_status;

const char *nexus__saga_status_name(nexus__saga_status status);

/* A copied table. */
typedef struct nexus__saga_type {
    const nexus_alloc *alloc;
    char *name;
    uint32_t version;
    nexus_saga_step *steps; /* strings point into memory of their own */
    size_t step_count;
    char *start_types, *key, *done_type, *failed_type;
    void *user_data;
} nexus__saga_type;

/* An instance as its last transition left it. Every text is owned. */
typedef struct nexus__saga_instance {
    const nexus_alloc *alloc;
    char *id;
    uint32_t version; /* of the table it began with */
    uint64_t seq;     /* transitions stored; the next one is seq */
    nexus__saga_status status;
    uint32_t step;       /* the one that waits, when running */
    uint64_t done;       /* bit i: step i is done and would have to be undone */
    int32_t failed_step; /* -1 = none */
    bool late_told;      /* the failed step's late_command is out */
    uint32_t attempt;    /* of the waiting step, from 1 */
    int64_t due_ns;      /* real time; 0 = waits for ever */
    int64_t at_ns;
    char *reason, *subject, *traceparent, *tracestate, *correlation;
    nexus__buf state;             /* JSON object */
    char *seen[NEXUS__SAGA_SEEN]; /* ids of events that moved it, newest last */

    /* of the running saga, not stored */
    nexus__list node; /* among those that wait for a time */
    bool busy;        /* a thread is at it */
} nexus__saga_instance;

nexus_status nexus__saga_instance_new(nexus__saga_instance **out, const nexus_alloc *alloc, nexus_slice id);
nexus_status nexus__saga_instance_copy(nexus__saga_instance **out, const nexus__saga_instance *from);
void nexus__saga_instance_free(nexus__saga_instance *i);
/* Replaces an owned text; NULL and "" are the same. */
nexus_status nexus__saga_set(const nexus_alloc *alloc, char **slot, nexus_slice text);
bool nexus__saga_has_seen(const nexus__saga_instance *i, nexus_slice event_id);
nexus_status nexus__saga_see(nexus__saga_instance *i, nexus_slice event_id);

/* Data of the transition event "saga.transition". step_name may be NULL. */
void nexus__saga_instance_write(nexus__buf *out, const nexus__saga_instance *i, const char *saga, const char *step_name);
nexus_status nexus__saga_instance_read(nexus__saga_instance **out, const nexus_alloc *alloc, nexus_slice data);

/* --- transitions: pure but for the callbacks of the table ------------------------------------------------------ */

/* What a transition publishes besides itself; texts are owned. */
typedef struct nexus__saga_out {
    nexus__list node;
    nexus_event event;
    char *bytes;
} nexus__saga_out;

struct nexus_saga_ctx {
    const nexus__saga_type *type;
    nexus__saga_instance *instance; /* a copy, thrown away when the transition fails */
    const nexus_event *event;       /* NULL: time-out or start by hand */
    const char *step;               /* whose callback runs */
    uint32_t emitted;               /* by this callback */
    nexus__list out;
};

void nexus__saga_ctx_open(nexus_saga_ctx *ctx, const nexus__saga_type *type, nexus__saga_instance *instance,
                          const nexus_event *event);
void nexus__saga_ctx_close(nexus_saga_ctx *ctx);

/* Each moves the instance and sets *moved; a failure leaves it to be thrown away. now_ns is real time. */
nexus_status nexus__saga_begin(nexus_saga_ctx *ctx, int64_t now_ns);
nexus_status nexus__saga_on_event(nexus_saga_ctx *ctx, int64_t now_ns, bool *moved);
nexus_status nexus__saga_on_time(nexus_saga_ctx *ctx, int64_t now_ns, bool *moved);

/* Whether a comma-separated list of patterns has one that matches. */
bool nexus__saga_listed(const char *patterns, nexus_slice type);

#endif
