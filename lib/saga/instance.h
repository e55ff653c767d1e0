/* One instance of a saga: what it is, how it is stored, how it steps. */
#ifndef NEXUS_SAGA_INSTANCE_H
#define NEXUS_SAGA_INSTANCE_H

#include <nexus/saga.h>

#include "base/buf.h"
#include "base/list.h"
#include "json/read.h"
#include "saga/table.h"

#define NEXUS__SAGA_TRANSITION "saga.transition"

enum { NEXUS__SAGA_SEEN = 16, NEXUS__SAGA_STATE_MAX = 64 << 10, NEXUS__SAGA_ID_MAX = 255, NEXUS__SAGA_TEXT_MAX = 255 };

typedef enum nexus__saga_status {
    NEXUS__SAGA_RUNNING = 0,
    NEXUS__SAGA_COMPENSATING = 1,
    NEXUS__SAGA_DONE = 2,
    NEXUS__SAGA_FAILED = 3,
    NEXUS__SAGA_STUCK = 4,
} nexus__saga_status;

const char *nexus__saga_status_name(nexus__saga_status status);
bool nexus__saga_status_of(nexus_slice name, nexus__saga_status *out);

static inline bool nexus__saga_over(nexus__saga_status status) /* what is over takes no event and no time any more */
{
    return status == NEXUS__SAGA_DONE || status == NEXUS__SAGA_FAILED;
}

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
    uint32_t attempt;    /* of the waiting step's command since it began or was answered, from 1 */
    uint32_t tries;      /* failures in a row of the undo, or of the step past a pivot */
    uint32_t round;      /* commands of another round are other commands for their receivers */
    bool again;          /* at due_ns the step is begun again, rather than timed out */
    bool backward;       /* stuck on the way back */
    bool reported;       /* stuck: the dead letter is out */
    uint64_t stuck_seq;  /* transition that made it stuck */
    int64_t due_ns;      /* real time; 0 = waits for ever */
    int64_t deadline_ns; /* of the whole instance; 0 = none */
    int64_t at_ns;
    char *reason; /* why it goes back or is stuck */
    char *error;  /* what the last try of an undo or step said */
    char *subject, *traceparent, *tracestate, *correlation;
    nexus__buf state;             /* JSON object */
    char *seen[NEXUS__SAGA_SEEN]; /* ids of events that moved it, newest last */
} nexus__saga_instance;

nexus_status nexus__saga_instance_new(nexus__saga_instance **out, const nexus_alloc *alloc, nexus_slice id);
nexus_status nexus__saga_instance_copy(nexus__saga_instance **out, const nexus__saga_instance *from);
void nexus__saga_instance_free(nexus__saga_instance *i);
size_t nexus__saga_instance_bytes(const nexus__saga_instance *i); /* about what it takes in memory */
/* Replaces an owned text; NULL and "" are the same. */
nexus_status nexus__saga_set(const nexus_alloc *alloc, char **slot, nexus_slice text);
bool nexus__saga_has_seen(const nexus__saga_instance *i, nexus_slice event_id);
nexus_status nexus__saga_see(nexus__saga_instance *i, nexus_slice event_id);
/* When time moves it next; 0 = never. */
int64_t nexus__saga_next_ns(const nexus__saga_instance *i);

/* What only the history keeps of a transition. */
typedef struct nexus__saga_note {
    const char *step; /* name; may be NULL */
    const char *op;   /* by hand; NULL = no */
    nexus_slice why, cause, link;
} nexus__saga_note;

/* Data of the transition event. */
void nexus__saga_instance_write(nexus__buf *out, const nexus__saga_instance *i, const char *saga,
                                const nexus__saga_note *note);
nexus_status nexus__saga_instance_read(nexus__saga_instance **out, const nexus_alloc *alloc, nexus_slice data);

/* --- transitions: pure but for the callbacks of the table ------------------------------------------------------ */

/* What a transition publishes besides itself; texts are owned. */
typedef struct nexus__saga_out {
    nexus__list node;
    nexus_event event;
    nexus_pair command; /* extension of a repetition: the id that its receiver's inbox goes by */
    char *bytes;
} nexus__saga_out;

struct nexus_saga_ctx {
    const nexus__saga_type *type;
    const nexus__saga_table *table; /* of the instance's version */
    nexus__saga_instance *instance; /* a copy, thrown away when the transition fails */
    const nexus_event *event;       /* NULL: time-out or start by hand */
    const char *step;               /* whose callback runs */
    uint32_t emitted;               /* by this callback */
    uint32_t attempt;               /* of what is emitted; from 1 */
    uint32_t op;                    /* NEXUS_SAGA_OP_…: by hand, for the history */
    nexus_slice why;
    nexus__list out;
};

void nexus__saga_ctx_open(nexus_saga_ctx *ctx, const nexus__saga_type *type, const nexus__saga_table *table,
                          nexus__saga_instance *instance, const nexus_event *event);
void nexus__saga_ctx_close(nexus_saga_ctx *ctx);
/* The state as data of an event of that type, with "saga", "saga_id" and, on the way back, "reason" in it. */
nexus_status nexus__saga_emit_type(nexus_saga_ctx *ctx, const char *type, bool with_reason);
/* Tells the world that the instance is stuck: a system.alert, and the event that becomes its dead letter. */
nexus_status nexus__saga_emit_stuck(nexus_saga_ctx *ctx);
/* Drops what was emitted after `last` (the list's end before a callback). */
void nexus__saga_emit_undo(nexus_saga_ctx *ctx, nexus__list *last);

typedef enum nexus__saga_moved {
    NEXUS__SAGA_STAYS = 0, /* nothing to store */
    NEXUS__SAGA_MOVED = 1, /* a transition to store */
    NEXUS__SAGA_EARLY = 2  /* the event is awaited by a later step */
} nexus__saga_moved;

/* Each moves the instance and sets *moved; a failure leaves it to be thrown away. now_ns is real time. */
nexus_status nexus__saga_begin(nexus_saga_ctx *ctx, int64_t now_ns, nexus__saga_moved *moved);
nexus_status nexus__saga_on_event(nexus_saga_ctx *ctx, int64_t now_ns, nexus__saga_moved *moved);
nexus_status nexus__saga_on_time(nexus_saga_ctx *ctx, int64_t now_ns, nexus__saga_moved *moved);
/* op: NEXUS_SAGA_OP_…; of an instance that is over: NEXUS__SAGA_STAYS. */
nexus_status nexus__saga_on_control(nexus_saga_ctx *ctx, int64_t now_ns, uint32_t op, nexus_slice why,
                                    nexus__saga_moved *moved);
/* The event that tells of a stuck instance came back as an ordinary delivery: it has been seen. */
nexus_status nexus__saga_on_reported(nexus_saga_ctx *ctx, int64_t now_ns, nexus__saga_moved *moved);

const char *nexus__saga_op_name(uint32_t op); /* NULL: no such operation */
uint32_t nexus__saga_op_of(nexus_slice name); /* 0: none of that name */
/* Name of the step that an instance waits for, is stuck at or has failed in; NULL = none. */
const char *nexus__saga_step_name(const nexus__saga_table *table, const nexus__saga_instance *i);

#endif
