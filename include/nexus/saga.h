/* Sagas: a process over several events, as a table of steps with compensation. */
#ifndef NEXUS_SAGA_H
#define NEXUS_SAGA_H

#include <nexus/bus.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * A running saga type: it consumes its events from the bus (group "saga-NAME"), keeps each instance as events of the
 * stream "saga-NAME-ID", and publishes commands. A transition and what it publishes are one atomic append, so a crash
 * leaves neither without the other.
 */
typedef struct nexus_saga nexus_saga;
/** One transition under way, valid during a callback. */
typedef struct nexus_saga_ctx nexus_saga_ctx;

/**
 * Called to begin (or undo) a step: publishes through nexus_saga_emit, reads event and state. It must have no other
 * effect, since a transition that loses a race is run again. A failure status makes the step fail (or its undoing be
 * tried again).
 */
typedef nexus_status nexus_saga_fn(nexus_saga_ctx *ctx, void *user_data);

/** What an awaited event means. */
enum { NEXUS_SAGA_NEXT = 0, NEXUS_SAGA_FAIL = 1, NEXUS_SAGA_WAIT = 2 };
/** Judges an event of the step's on_types (nexus_saga_event); nexus_saga_reason explains a FAIL. Pure. */
typedef int32_t nexus_saga_judge_fn(nexus_saga_ctx *ctx, void *user_data);

/**
 * One step. It publishes (by `action`, or `command` without one), then waits for an event of on_types; a step without
 * on_types is done once it has published. Without functions, what is published carries the instance's state (a JSON
 * object) with "saga", "saga_id", and on the way back "reason".
 */
typedef struct nexus_saga_step {
    size_t size;
    const char *name;           /**< unique in the table */
    const char *command;        /**< type published when the step begins; NULL = none */
    nexus_saga_fn *action;      /**< instead of command; NULL = command */
    const char *on_types;       /**< types waited for, comma-separated; NULL = none */
    nexus_saga_judge_fn *judge; /**< NULL: NEXT, unless fail_when says otherwise */
    const char *fail_when;      /**< "status=declined|timed_out": a top-level text member of the event's data and the
                                    values that mean failure; the value becomes the reason. NULL = never */
    const char *undo_command;   /**< type published to compensate this step once done; NULL = none */
    nexus_saga_fn *undo;        /**< instead of undo_command */
    const char *late_command;   /**< type published when the event that would have completed this step comes after it
                                    failed ("captured late is refunded"); NULL = ignored */
    uint32_t timeout_ms;        /**< wait for on_types; durable. 0 = for ever */
    uint32_t attempts;          /**< the command is published again at each timeout, this many times in all; 0 = 1 */
    bool optional;              /**< a time-out or failure is recorded and the saga goes on */
    bool pivot;                 /**< once done, earlier steps are not undone: a later failure ends in state "stuck" */
} nexus_saga_step;

#define NEXUS_SAGA_STEP_INIT NEXUS_SIZED(nexus_saga_step)

typedef struct nexus_saga_opts {
    size_t size;
    const nexus_alloc *alloc;
    uint32_t version;        /**< of the table; an instance stays with the one it began with; 0 = 1 */
    uint32_t threads;        /**< that run transitions; 0 = 1 */
    const char *start_types; /**< an event of these starts an instance (once per id); NULL = nexus_saga_start only */
    const char *key;         /**< where the instance id stands in an event, tried in order: "data.order_id,subject,
                                   correlationid"; NULL = "subject" */
    const char *done_type;   /**< published when the last step is done; NULL = none */
    const char *failed_type; /**< published when compensation is over ("order.cancelled"), with "reason" */
    void *user_data;         /**< of every callback of the table */
} nexus_saga_opts;

#define NEXUS_SAGA_OPTS_INIT NEXUS_SIZED(nexus_saga_opts)
NEXUS_API void nexus_saga_step_init(nexus_saga_step *step);
NEXUS_API void nexus_saga_opts_init(nexus_saga_opts *opts);

/**
 * Registers a table (copied; strings and functions in it included) and runs it until close. name: [a-z0-9_]{1,40}. Instances
 * that were running go on; time-outs that fell due meanwhile fire once. NEXUS_EREV: instances of another version are
 * running; the message lists them. Borrows bus until close.
 */
NEXUS_API nexus_status nexus_saga_open(nexus_saga **out, nexus_bus *bus, const char *name, const nexus_saga_step *steps,
                                       size_t step_count, const nexus_saga_opts *opts) NEXUS_MUST_CHECK;
NEXUS_API void nexus_saga_close(nexus_saga *saga);

/** Starts an instance by hand; state is a JSON object of at most 64 KiB. Idempotent by id. */
NEXUS_API nexus_status nexus_saga_start(nexus_saga *saga, nexus_slice id, nexus_slice state) NEXUS_MUST_CHECK;

/**
 * One instance as JSON: {"saga","id","version","status","step","reason","state":{…},"history":[{"at","state","step",
 * "reason"}]}. status: running, compensating, done, failed, stuck. Needs no open saga. NEXUS_ENOTFOUND. nexus_free(*out).
 */
NEXUS_API nexus_status nexus_saga_get(char **out, size_t *n, nexus_bus *bus, const char *name,
                                      nexus_slice id) NEXUS_MUST_CHECK;

/* In callbacks */
NEXUS_API void nexus_saga_id(const nexus_saga_ctx *ctx, nexus_slice *out);
NEXUS_API void nexus_saga_state(const nexus_saga_ctx *ctx, nexus_slice *out); /**< JSON object */
NEXUS_API nexus_status nexus_saga_set_state(nexus_saga_ctx *ctx, nexus_slice state) NEXUS_MUST_CHECK; /**< copied */
/** The event that led here; NULL in a time-out and in nexus_saga_start. */
NEXUS_API const nexus_event *nexus_saga_event(const nexus_saga_ctx *ctx);
/** Publishes with the transition; the id is derived from instance, step and type, so a repetition is one event. */
NEXUS_API nexus_status nexus_saga_emit(nexus_saga_ctx *ctx, const nexus_event *event) NEXUS_MUST_CHECK;
/** Why: set by a judge that answers FAIL, read by an undo. Copied, cut at 255 bytes. */
NEXUS_API void nexus_saga_set_reason(nexus_saga_ctx *ctx, const char *reason);
NEXUS_API const char *nexus_saga_reason(const nexus_saga_ctx *ctx);

#ifdef __cplusplus
}
#endif

#endif
