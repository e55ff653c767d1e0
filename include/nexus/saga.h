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
 * tried again); what it had emitted until then is dropped.
 */
typedef nexus_status nexus_saga_fn(nexus_saga_ctx *ctx, void *user_data);

/** What an awaited event means. */
enum { NEXUS_SAGA_NEXT = 0, NEXUS_SAGA_FAIL = 1, NEXUS_SAGA_WAIT = 2 };
/** Judges an event of the step's on_types (nexus_saga_event); nexus_saga_reason explains a FAIL. Pure. */
typedef int32_t nexus_saga_judge_fn(nexus_saga_ctx *ctx, void *user_data);

/** What becomes of an event that comes before anything waits for it: its instance is not there, or at an earlier step. */
enum {
    NEXUS_SAGA_EARLY_DEFAULT = 0, /**< of a step: as the saga says; of a saga: RETRY */
    NEXUS_SAGA_EARLY_RETRY = 1,   /**< again early_attempts times with doubling waits, then a dead letter */
    NEXUS_SAGA_EARLY_START = 2,   /**< starts the instance with its data as state, then counts; else like RETRY */
    NEXUS_SAGA_EARLY_DEAD = 3,    /**< a dead letter at once */
    NEXUS_SAGA_EARLY_DISCARD = 4  /**< forgotten */
};

/**
 * One step. It publishes (by `action`, or `command` without one), then waits for an event of on_types; a step without
 * on_types is done once it has published. Without functions, what is published carries the instance's state (a JSON
 * object) with "saga", "saga_id", and on the way back "reason".
 */
typedef struct nexus_saga_step {
    size_t size;
    const char *name;           /**< unique in the table, at most 64 bytes */
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
    uint32_t attempts;          /**< tries in all. After a time-out the command is sent again, for a receiver's inbox the same
                                    one. Past a pivot a failure is tried again too, as a new command. 0 = 1, past a pivot 8 */
    bool optional;              /**< a time-out or failure is recorded and the saga goes on */
    bool pivot;                 /**< once done there is no way back: later steps are only tried again, then "stuck" */
    uint32_t early;             /**< NEXUS_SAGA_EARLY_… for events of on_types */
    uint32_t undo_attempts;     /**< of compensating this step, then "stuck"; 0 = 8 */
    uint32_t backoff_ms;        /**< before the second try of an undo, or of a step past a pivot, doubling; 0 = 1000 */
    uint32_t backoff_cap_ms;    /**< 0 = 60000 */
} nexus_saga_step;

#define NEXUS_SAGA_STEP_INIT NEXUS_SIZED(nexus_saga_step)

/** A table of another version, kept for the instances that began with it. */
typedef struct nexus_saga_table {
    size_t size;
    uint32_t version;
    uint32_t reserved; /**< 0 */
    const nexus_saga_step *steps;
    size_t step_count;
} nexus_saga_table;

#define NEXUS_SAGA_TABLE_INIT NEXUS_SIZED(nexus_saga_table)

typedef struct nexus_saga_opts {
    size_t size;
    const nexus_alloc *alloc;
    uint32_t version;        /**< of the table; an instance stays with the one it began with; 0 = 1 */
    uint32_t threads;        /**< that run callbacks; 0 = 1. Transitions of different instances are stored together anyway */
    const char *start_types; /**< an event of these starts an instance (once per id); NULL = nexus_saga_start only */
    const char *key;         /**< where the instance id stands in an event, tried in order: "data.order_id,subject,
                                   correlationid"; NULL = "subject" */
    const char *done_type;   /**< published when the last step is done; NULL = none */
    const char *failed_type; /**< published when compensation is over ("order.cancelled"), with "reason" */
    void *user_data;         /**< of every callback of the tables */
    uint32_t timeout_ms;     /**< of a whole instance, from its start; then it goes back, or past a pivot is stuck. 0 = none */
    uint32_t early;          /**< NEXUS_SAGA_EARLY_… for steps that say nothing */
    uint32_t early_attempts; /**< of RETRY; 0 = 8 */
    uint32_t early_backoff_ms;      /**< before the second attempt, doubling, at most a minute; 0 = 500 */
    uint64_t cache_bytes;           /**< instances kept in memory for their next event; 0 = 128 MiB */
    const nexus_saga_table *older;  /**< tables of earlier versions; the stride is the first one's size */
    size_t older_count;
} nexus_saga_opts;

#define NEXUS_SAGA_OPTS_INIT NEXUS_SIZED(nexus_saga_opts)
NEXUS_API void nexus_saga_step_init(nexus_saga_step *step);
NEXUS_API void nexus_saga_table_init(nexus_saga_table *table);
NEXUS_API void nexus_saga_opts_init(nexus_saga_opts *opts);

/**
 * Registers a table (copied; strings and functions in it included) and runs it until close. name: [a-z0-9_]{1,40}. Instances
 * that were running go on; time-outs that fell due meanwhile fire once. NEXUS_EREV: instances of versions that are neither
 * this table nor among `older` are running; the message lists them. Borrows bus until close.
 */
NEXUS_API nexus_status nexus_saga_open(nexus_saga **out, nexus_bus *bus, const char *name, const nexus_saga_step *steps,
                                       size_t step_count, const nexus_saga_opts *opts) NEXUS_MUST_CHECK;
/**
 * The same from JSON, for languages without these structs: {"name":…,"steps":[{…}]} with the members named as the fields
 * above, those of the options beside "steps", and "older":[{"version":…,"steps":[…]}]. There are no functions in it.
 * NEXUS_EINVAL names the member.
 */
NEXUS_API nexus_status nexus_saga_open_json(nexus_saga **out, nexus_bus *bus, const char *json, size_t n) NEXUS_MUST_CHECK;
NEXUS_API void nexus_saga_close(nexus_saga *saga);

/** Starts an instance by hand; state is a JSON object of at most 64 KiB. Idempotent by id; durable on return. */
NEXUS_API nexus_status nexus_saga_start(nexus_saga *saga, nexus_slice id, nexus_slice state) NEXUS_MUST_CHECK;

/**
 * One instance as JSON: {"saga","id","version","status","step","reason","error","due_at","state":{…},"history":[{"at",
 * "state","step","reason","error","op","why","cause","link"}]}. status: running, compensating, done, failed, stuck. cause and
 * link: id and traceparent of the event that led to the transition. Needs no open saga. NEXUS_ENOTFOUND. nexus_free(*out).
 */
NEXUS_API nexus_status nexus_saga_get(char **out, size_t *n, nexus_bus *bus, const char *name,
                                      nexus_slice id) NEXUS_MUST_CHECK;

/** Which instances; texts are borrowed for the call. */
typedef struct nexus_saga_query {
    size_t size;
    const char *status; /**< comma-separated; NULL = running, compensating, stuck */
    const char *after;  /**< "next" of the page before; NULL = the first page */
    uint32_t limit;     /**< 0 = 100, at most 1000 */
    uint32_t reserved;  /**< 0 */
} nexus_saga_query;

#define NEXUS_SAGA_QUERY_INIT NEXUS_SIZED(nexus_saga_query)
NEXUS_API void nexus_saga_query_init(nexus_saga_query *query);

/**
 * A page of instances as JSON: {"instances":[{"id","version","status","step","reason","error","at","due_at"}],"next":text or
 * null}. Those that have not ended come first, by id; those that have, in the order in which they ended, read from the log.
 * Needs no open saga; query may be NULL. nexus_free(*out).
 */
NEXUS_API nexus_status nexus_saga_list(char **out, size_t *n, nexus_bus *bus, const char *name,
                                       const nexus_saga_query *query) NEXUS_MUST_CHECK;

/** What a person may do to an instance that has not ended. */
enum {
    NEXUS_SAGA_OP_RETRY = 1,       /**< again what it is stuck at or waits for, as a new command */
    NEXUS_SAGA_OP_SKIP = 2,        /**< without what it is stuck at or waits for: the next step, or the next undo */
    NEXUS_SAGA_OP_FORCE_DONE = 3,  /**< it is done as it stands; done_type is published */
    NEXUS_SAGA_OP_FORCE_FAILED = 4 /**< it has failed as it stands, nothing more is undone; failed_type is published */
};

/**
 * Has the process that runs the saga do it, as one transition with `why` (1 to 255 bytes) in its history, and waits up to
 * timeout_ms (0 = 10000) for it. NEXUS_ENOTFOUND. NEXUS_ECONFLICT: it has ended, or moved meanwhile. NEXUS_ETIMEDOUT: nobody
 * runs the saga now; it is done when somebody does, if the instance is still where it was.
 */
NEXUS_API nexus_status nexus_saga_control(nexus_bus *bus, const char *name, nexus_slice id, uint32_t op, const char *why,
                                          uint32_t timeout_ms) NEXUS_MUST_CHECK;

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
