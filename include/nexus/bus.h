/* The event bus: durable publish, groups with leases and key lanes, dead letters, outbox and inbox. */
#ifndef NEXUS_BUS_H
#define NEXUS_BUS_H

#include <nexus/event.h>

#ifdef __cplusplus
extern "C" {
#endif

struct nexus_db;      /* nexus/db.h */
struct nexus_tracer;  /* nexus/trace.h */
struct nexus_trace;   /* nexus/trace.h */
struct nexus_metrics; /* nexus/metrics.h */

/* --- the bus -------------------------------------------------------------------------------- */

/** A bus. Every call on it may be made from any thread. */
typedef struct nexus_bus nexus_bus;

/** Who may own the log of a bus that several processes share. */
enum {
    NEXUS_BUS_AUTO = 0,   /**< own it when nobody does, else be a client of the owner, and take over when it dies */
    NEXUS_BUS_CLIENT = 1, /**< never own it: wait for an owner, at open at most connect_timeout_ms */
    NEXUS_BUS_OWNER = 2   /**< own it or fail with NEXUS_ECONFLICT (nexus-busd) */
};

/** When a publish is answered. What a weaker one can lose at a power cut (never when a process dies) is the end of the log. */
enum {
    NEXUS_DURABILITY_DEFAULT = 0,  /**< owner: ALWAYS. Client: whatever the owner gives */
    NEXUS_DURABILITY_ALWAYS = 1,   /**< when it is on the disk */
    NEXUS_DURABILITY_INTERVAL = 2, /**< at once; it is on the disk within durability_ms */
    NEXUS_DURABILITY_OS = 3,       /**< at once; it is on the disk when the system pleases, half a minute or more */
    NEXUS_DURABILITY_NONE = 4      /**< only told: memory:, and engines whose server syncs nothing */
};

typedef struct nexus_bus_opts {
    size_t size;
    const nexus_alloc *alloc;    /**< NULL: the C library's */
    const char *source;          /**< `source` of events that have none; NULL: "/nexus" */
    uint32_t role;               /**< NEXUS_BUS_…; 0 = auto */
    uint32_t connect_timeout_ms; /**< client: wait at open for an owner; 0 = 5000 */
    uint32_t timeout_ms;         /**< of calls that have none of their own; 0 = 10000 */
    uint32_t segment_bytes;      /**< log files; 0 = 64 MiB, smallest 64 KiB. The first one is at most 4 MiB */
    uint64_t event_max_bytes;    /**< of data and attributes together; 0 = 1 MiB, at least 64 KiB, at most 16 MiB */
    uint32_t dedupe_max;         /**< ids remembered; 0 = 1,048,576 */
    uint32_t dedupe_s;           /**< for so long; 0 = 86,400 */
    uint32_t inflight_max;       /**< async publishes not yet done; 0 = 65,536, then NEXUS_EAGAIN */
    uint32_t connections_max;    /**< owner: clients served at once; 0 = 256 */
    uint32_t retention_s;        /**< owner: log files whose events are all older may go; 0 = kept for ever */
    uint64_t retention_bytes;    /**< owner: the oldest log files may go above so much; 0 = any */
    bool retention_hard;         /**< they go although a group has not passed them: it gets an event nexus.gap instead.
                                      false: what a group has not settled is kept */
    uint64_t disk_watermark_bytes; /**< owner: with fewer bytes free on the disk publishes fail with NEXUS_ENOSPC, while
                                      acks and readers go on; by itself again when there is room. 0 = 5 % of the disk, at
                                      most 1 GiB; UINT64_MAX = none */
    uint64_t checkpoint_bytes;   /**< owner: log written between two checkpoints of what is derived from it, and so what
                                      opening reads again at most; 0 = 64 MiB. A big state is saved less often */
    uint64_t ahead_bytes; /**< of log files made before they are needed, in the background; 0 = only the next one. Take what is
                               published in a burst: a burst beyond it waits for the disk to fill new files with zeros */
    uint64_t inflight_max_bytes; /**< of data of async publishes not yet done; 0 = 64 MiB, then NEXUS_EAGAIN */
    struct nexus_tracer *tracer; /**< borrowed until close: a span for each publish and each handling; NULL: none */
    uint32_t durability;    /**< NEXUS_DURABILITY_…, of logs of files. An owner gives it to everybody; a client that asks for
                                 more than its owner gives is refused (NEXUS_ECONFLICT). memory: ignores it */
    uint32_t durability_ms; /**< of INTERVAL; 0 = 100, at most an hour */
    const char *compact_types; /**< owner: of these types (patterns, comma-separated) the last event of each key
                                    (partitionkey, else subject) is kept (nexus_bus_compact); NULL = everything. Copied */
    uint32_t tombstone_grace_s; /**< a last event without data stays for so long; 0 = 86,400 */
    const char *shred_types; /**< what this handle publishes of these types (patterns, comma-separated) and has a subject is
                                  stored sealed with the subject's key (nexus_bus_shred); NULL = nothing. Copied */
} nexus_bus_opts;

#define NEXUS_BUS_OPTS_INIT NEXUS_SIZED(nexus_bus_opts)
NEXUS_API void nexus_bus_opts_init(nexus_bus_opts *opts);

/** What an engine can do. A call that needs a missing bit returns NEXUS_ENOTSUP. */
enum {
    NEXUS_CAP_DURABLE = 1,      /**< on disk before the ack */
    NEXUS_CAP_EXPECT = 2,       /**< expected stream version */
    NEXUS_CAP_ATOMIC_BATCH = 4, /**< all events of a call or none */
    NEXUS_CAP_GLOBAL_ORDER = 8, /**< one gapless position */
    NEXUS_CAP_DEDUPE = 16,      /**< by (source, id) */
    NEXUS_CAP_KEY_LANES = 32,   /**< order per key kept through retries */
    NEXUS_CAP_PROCESSES = 64,   /**< several processes on one bus */
    NEXUS_CAP_MACHINES = 128,   /**< and they may be on several machines */
    NEXUS_CAP_DCB = 256,        /**< a condition on what was stored meanwhile (fail_types) */
    NEXUS_CAP_DELAY = 512,      /**< publish at a later time (not_before_ns) */
    NEXUS_CAP_TXN = 1024        /**< acks and publishes in one commit (nexus_bus_commit) */
};

/**
 * Opens `memory:` (private to this handle, gone at close), `file:DIR` or `sqlite:PATH` (made when absent; shared by every
 * process that opens it), `postgresql://…[#NAME]` (shared by every process that reaches the database; NAME is the
 * schema of the bus, "nexus_bus" when absent), `redis://…[#NAME]` (the same with a Redis server; NAME is in the names of
 * its keys), `nats://…[#NAME]` (with a NATS server with JetStream; NAME is the stream) or `kafka://…[#NAME]` (a topic of
 * Kafka). opts may be NULL. NEXUS_ENOTSUP: the engine is not in this build.
 * NEXUS_EUNREACH: role client and no owner in time, or the server cannot be reached. NEXUS_ECORRUPT: the log is damaged in
 * its middle; the message has file and offset. NEXUS_ECONFLICT: somebody owns it already (role owner), or gives a weaker
 * durability than opts ask for.
 */
NEXUS_API nexus_status nexus_bus_open(nexus_bus **out, const char *url, const nexus_bus_opts *opts) NEXUS_MUST_CHECK;
NEXUS_API uint64_t nexus_bus_caps(const nexus_bus *bus);
/** Whether this handle owns the log at the moment (memory: always). On a server (postgresql:, redis:, nats:) it may lose it again: when the server
 * was out of reach for some seconds, another process may have taken over, and this one becomes its client. */
NEXUS_API bool nexus_bus_is_owner(const nexus_bus *bus);
/** Position of the last stored event; 0 = none. */
NEXUS_API nexus_status nexus_bus_head(nexus_bus *bus, uint64_t *pos) NEXUS_MUST_CHECK;
/** Ends it: waits for publishes under way, flushes acks. Close consumers, groups, readers and sagas of it before. */
NEXUS_API void nexus_bus_close(nexus_bus *bus);

/* --- publish -------------------------------------------------------------------------------- */

/** Values of nexus_publish_opts.expect beside an exact version (>= 0: the stream's last event has this one). */
enum { NEXUS_EXPECT_ANY = -1, NEXUS_EXPECT_NO_STREAM = -2, NEXUS_EXPECT_EXISTS = -3 };

typedef struct nexus_publish_opts {
    size_t size;
    const char *stream;  /**< where all events of the call go; NULL: each into the stream of its subject */
    int64_t expect;      /**< version the stream must have; needs all events in one stream. INIT: ANY */
    uint32_t timeout_ms; /**< 0 = the bus's. From 1000 on, a disk that hangs may hold up a publish in the owner for longer */
    const struct nexus_delivery *cause; /**< gives the events their causationid and correlationid where they have none;
                             NULL = the delivery whose handler this thread runs, if any */
    /**
     * A condition on what others have stored: NEXUS_ECONFLICT when an event after fail_after has one of these types
     * (patterns, comma-separated) and, with fail_tags, all of these tags. The result's `first` is the first such event.
     */
    const char *fail_types;
    const char *fail_tags; /**< comma-separated, as in the extension `tags` of an event; alone: of any type */
    uint64_t fail_after;   /**< the position up to which the caller has read */
    int64_t not_before_ns; /**< since 1970: kept, durably, and stored at that time, once, also when nobody ran then; the
                             result has no position. Not with expect or a condition. 0 or past = now */
    uint32_t wait_ms; /**< async: waits so long for room instead of NEXUS_EAGAIN at once; 0 = never waits */
} nexus_publish_opts;

#define NEXUS_PUBLISH_OPTS_INIT                                                                                        \
    {                                                                                                                  \
        sizeof(nexus_publish_opts), NULL, NEXUS_EXPECT_ANY, 0, NULL, NULL, NULL, 0, 0, 0                               \
    }
NEXUS_API void nexus_publish_opts_init(nexus_publish_opts *opts);

/** A report: set size, the rest is filled, on failure too. */
typedef struct nexus_publish_result {
    size_t size;
    uint64_t first, last;   /**< positions; of a duplicate the original ones */
    int64_t version;        /**< of the last event in its stream; -1 = in none */
    int64_t actual_version; /**< NEXUS_ECONFLICT by `expect`: what the stream has; -1 = no stream */
    bool dup;               /**< every event had been stored before */
    bool durable;           /**< it is on the disk: durability is ALWAYS */
    uint32_t warnings;      /**< events that were stored although their contract refuses them (NEXUS_CONTRACT_WARN) */
    uint32_t durability;    /**< NEXUS_DURABILITY_… of the owner, never DEFAULT */
} nexus_publish_result;

#define NEXUS_PUBLISH_RESULT_INIT NEXUS_SIZED(nexus_publish_result)

/**
 * Stores n events, all or none, and returns when they are durable (as far as the bus's durability goes). opts and result may be NULL. An event whose (source,
 * id) is stored already is not stored again: the call succeeds and tells its position; the same id with other type,
 * subject or data is NEXUS_ECONFLICT. NEXUS_EINVAL names the attribute. NEXUS_ETOOBIG and NEXUS_ENOSPC: nothing was
 * stored. NEXUS_EUNKNOWN: the outcome is not known; publish again with the same ids.
 */
NEXUS_API nexus_status nexus_bus_publish(nexus_bus *bus, const nexus_event *events, size_t n,
                                         const nexus_publish_opts *opts, nexus_publish_result *result);

/** The same from JSON: one event or an array, as nexus_event_parse reads them with NEXUS_EVENT_LENIENT. */
NEXUS_API nexus_status nexus_bus_publish_json(nexus_bus *bus, const char *text, size_t n,
                                              const nexus_publish_opts *opts, nexus_publish_result *result);

/** Called once for each accepted asynchronous publish, on a thread of the bus; it may publish again. */
typedef void nexus_publish_fn(nexus_status status, const nexus_publish_result *result, void *user_data);

/** Returns at once; events are copied. NEXUS_EAGAIN: inflight_max or inflight_max_bytes reached (after opts.wait_ms). On
 * failure done is not called. done NULL: the outcome is fetched with nexus_bus_completions. */
NEXUS_API nexus_status nexus_bus_publish_async(nexus_bus *bus, const nexus_event *events, size_t n,
                                               const nexus_publish_opts *opts, nexus_publish_fn *done,
                                               void *user_data) NEXUS_MUST_CHECK;

/** The outcome of an asynchronous publish that had no callback. */
typedef struct nexus_completion {
    size_t size;         /**< set by the bus */
    nexus_status status;
    void *user_data;     /**< of the publish */
    nexus_publish_result result;
} nexus_completion;

/**
 * Fetches outcomes into the array, waiting up to wait_ms for the first (0 = never waits): the polling form of the
 * callback. NEXUS_OK with *got == 0: none yet. Outcomes not fetched count as in flight, and are dropped at close.
 */
NEXUS_API nexus_status nexus_bus_completions(nexus_bus *bus, nexus_completion *out, size_t max, uint32_t wait_ms,
                                             size_t *got) NEXUS_MUST_CHECK;

/* --- groups --------------------------------------------------------------------------------- */

/** A durable group of consumers, by name; this is one member's handle. */
typedef struct nexus_group nexus_group;
/** One event handed to one member, under a lease. */
typedef struct nexus_delivery nexus_delivery;
/** Threads that call a handler. */
typedef struct nexus_consumer nexus_consumer;

enum { NEXUS_START_FIRST = 0, NEXUS_START_END = 1, NEXUS_START_POS = 2, NEXUS_START_TIME = 3 };
enum {
    NEXUS_ORDER_KEY = 0,  /**< one in flight per key (partitionkey, else subject); a failing key blocks only itself */
    NEXUS_ORDER_NONE = 1, /**< as fast as members take them */
    NEXUS_ORDER_TOTAL = 2 /**< one in flight */
};

/** What becomes of an event that used up its attempts: a dead letter in any case. */
enum {
    NEXUS_PARK_EVENT = 0, /**< the next event of its key goes on */
    NEXUS_PARK_LANE = 1   /**< all later events of its key become dead letters behind it, in order, until it is redriven
                               or purged */
};
/** What happens when a group has dead_max dead letters; in any case system.alert is published. */
enum {
    NEXUS_DEAD_BLOCK = 0,      /**< failing events wait */
    NEXUS_DEAD_DROP_OLDEST = 1 /**< the oldest letter is removed */
};

/** What a group is. It is stored at first open; later opens must agree. */
typedef struct nexus_group_opts {
    size_t size;
    const char *types;          /**< patterns, comma-separated: "order.*,payment.>"; NULL = every type */
    const char *subject_prefix; /**< NULL = any */
    const char *source;         /**< NULL = any */
    uint32_t start;             /**< NEXUS_START_…, where a new group begins */
    uint32_t order;             /**< NEXUS_ORDER_… */
    uint64_t start_pos;         /**< NEXUS_START_POS: the first position delivered */
    int64_t start_time_ns;      /**< NEXUS_START_TIME: events stored at or after */
    uint32_t ack_wait_ms;       /**< lease; 0 = 30000 */
    uint32_t max_deliver;       /**< attempts before it is a dead letter; 0 = 8 */
    uint32_t max_inflight;      /**< leased at once over all members; 0 = 1024 */
    uint32_t backoff_base_ms;   /**< wait after the first failed attempt, doubling, full jitter; 0 = 200 */
    uint32_t backoff_cap_ms;    /**< 0 = 60000 */
    bool update;                /**< another configuration than the stored one replaces it, instead of ECONFLICT */
    bool existing; /**< joins it as it is stored, whatever else is said here; NEXUS_ENOTFOUND: there is none */
    const char *accept_revs; /**< of this member: "order.created=2,…", these types in this revision; NULL = the latest that
                             this handle knows (contract.h) */
    const char *tags; /**< comma-separated: events whose extension `tags` has all of them; NULL = any */
    uint32_t on_exhausted;          /**< NEXUS_PARK_… */
    uint32_t max_lease_ms;          /**< a lease with all its extensions; 0 = ten times ack_wait_ms */
    uint64_t max_inflight_bytes;    /**< data leased at once over all members; 0 = 64 MiB. One event always fits */
    uint32_t member_inflight;       /**< leased at once by one member; 0 = max_inflight */
    uint32_t sticky_ms;             /**< a key goes to the same member while that one takes it within so long; 0 = to any */
    uint64_t member_inflight_bytes; /**< 0 = max_inflight_bytes */
    double backoff_factor;          /**< 0 = 2 */
    /**
     * Other waits for some errors: "timeout=50/1000,throttled=5000/60000" (class=base_ms/cap_ms). The class of a failure is
     * its reason up to the first ":"; a lease that ran out is of class "lease". NULL = none.
     */
    const char *backoff_classes;
    const char *high_types, *low_types; /**< patterns: handed out before and after the others; of 9 deliveries at least
                                             one is of a lower class that waits. NULL = none */
    uint32_t redeliver_percent; /**< second and later attempts, in percent of first ones; 0 = 10 */
    uint32_t redeliver_per_s;   /**< and at least so many a second, with max_inflight (at least 100) at once; 0 = 10 */
    uint32_t breaker_percent;   /**< when so many of the attempts of 10 s fail, nothing is handed out for a while, and
                                     system.alert is published; 0 = no breaker */
    uint32_t breaker_samples;   /**< of at least so many attempts; 0 = 20 */
    uint32_t breaker_pause_ms;  /**< the first pause, doubling up to a minute; 0 = 5000 */
    uint32_t dead_max;          /**< dead letters kept; 0 = 1,000,000, which is the most */
    uint32_t dead_overflow;     /**< NEXUS_DEAD_… */
    uint32_t dead_expire_s;     /**< dead letters older than this are removed; 0 = never */
} nexus_group_opts;

#define NEXUS_GROUP_OPTS_INIT NEXUS_SIZED(nexus_group_opts)
NEXUS_API void nexus_group_opts_init(nexus_group_opts *opts);

/**
 * Joins the group, making it when new. name: [A-Za-z0-9._-]{1,128}. opts may be NULL (all defaults). NEXUS_ECONFLICT:
 * it exists with another filter, order or limit; the message says which (start is only compared with nothing: it
 * matters once). Does not keep bus alive: close it first.
 */
NEXUS_API nexus_status nexus_group_open(nexus_group **out, nexus_bus *bus, const char *name,
                                        const nexus_group_opts *opts) NEXUS_MUST_CHECK;
/** Leaves. Deliveries not settled stay leased until their time is over. */
NEXUS_API void nexus_group_close(nexus_group *group);

/**
 * Takes up to max deliveries into the array, waiting up to wait_ms for the first (0 = never waits: the polling form).
 * NEXUS_OK with *got == 0: nothing came. Each is the caller's: settle it, then nexus_delivery_free. NEXUS_EREV: all that
 * came are of a revision that this handle does not know; they go back (nak) for a member that does.
 */
NEXUS_API nexus_status nexus_group_fetch(nexus_group *group, nexus_delivery **deliveries, size_t max, uint32_t wait_ms,
                                         size_t *got) NEXUS_MUST_CHECK;

/** An eventfd, readable when a fetch may find something; for epoll loops: read it, then fetch with wait_ms 0 until
 * nothing comes. Borrowed; -1 when the system refuses one. */
NEXUS_API int nexus_group_fd(nexus_group *group);

/** What a handler decides. */
enum {
    NEXUS_ACK = 0,    /**< done */
    NEXUS_RETRY = 1,  /**< again, after the group's backoff */
    NEXUS_REJECT = 2, /**< never again: dead letter */
    NEXUS_LATER = 3,  /**< the handler took the delivery over: it settles and frees it, from any thread */
    NEXUS_SKIP = 4    /**< done, without effect: an ack that leaves a record (nexus_group_audit) */
};
/** reason for RETRY, REJECT and SKIP: nexus_delivery_reason(delivery, …) before returning. */
typedef int32_t nexus_delivery_fn(nexus_delivery *delivery, void *user_data);

enum { NEXUS_HANDLER_LIVE_ONLY = 1 /**< never called when nexus_delivery_is_replay: mails, payments */ };

/** One row of a table of handlers. */
typedef struct nexus_handler {
    size_t size;
    const char *types; /**< patterns, comma-separated; NULL = every type. Copied */
    nexus_delivery_fn *fn;
    void *user_data;
    uint32_t flags;    /**< NEXUS_HANDLER_… */
    uint32_t reserved; /**< 0 */
} nexus_handler;

#define NEXUS_HANDLER_INIT NEXUS_SIZED(nexus_handler)
NEXUS_API void nexus_handler_init(nexus_handler *handler);

/**
 * Starts `threads` threads (0 = 1) that fetch and call handler; the lease is extended while the handler runs, up to the
 * group's max_lease_ms. nexus_consumer_close waits for running handlers; called from a handler it marks and returns.
 */
NEXUS_API nexus_status nexus_consumer_open(nexus_consumer **out, nexus_group *group, nexus_delivery_fn *handler,
                                           void *user_data, uint32_t threads) NEXUS_MUST_CHECK;
/**
 * The same with a table (copied; in an array the stride is the first one's size): each handler whose types match is called,
 * in the order of the table, until one does not say NEXUS_ACK; what none matches is acked. The same table serves a replay.
 */
NEXUS_API nexus_status nexus_consumer_open_handlers(nexus_consumer **out, nexus_group *group,
                                                    const nexus_handler *handlers, size_t n,
                                                    uint32_t threads) NEXUS_MUST_CHECK;
NEXUS_API void nexus_consumer_close(nexus_consumer *consumer);

/** The event, borrowed as long as the delivery lives; in the revision that is wanted (contract.h), and the first when
 * upcasters made several of it. One that they leave out altogether is acked and not delivered. */
NEXUS_API const nexus_event *nexus_delivery_event(const nexus_delivery *delivery);
/** All that upcasters made of it; usually 1. _at is NULL past the end. */
NEXUS_API size_t nexus_delivery_event_count(const nexus_delivery *delivery);
NEXUS_API const nexus_event *nexus_delivery_event_at(const nexus_delivery *delivery, size_t i);
/** The event as it was stored. */
NEXUS_API const nexus_event *nexus_delivery_original(const nexus_delivery *delivery);
/** The event as JSON text (nexus_event_format), made at the first call; borrowed as long as the delivery lives. */
NEXUS_API nexus_status nexus_delivery_json(nexus_delivery *delivery, const char **text, size_t *n);
/** Whether it is given out again on purpose: by a replay (replay.h), or because the group was moved back behind it
 * (nexus_group_seek). A first delivery and a retry are none. */
NEXUS_API bool nexus_delivery_is_replay(const nexus_delivery *delivery);
NEXUS_API uint32_t nexus_delivery_attempt(const nexus_delivery *delivery); /**< 1 = the first */

/** Settles it as done. Kept in memory and written within 5 ms: a crash in between means one more delivery.
 * NEXUS_ESTALE: the lease is over and the event may be another member's; nothing was done. */
NEXUS_API nexus_status nexus_delivery_ack(nexus_delivery *delivery);
/** The same, durable on return. NEXUS_ENOSPC, NEXUS_EROFS: settled, and not on the disk; it is offered to the disk again. */
NEXUS_API nexus_status nexus_delivery_ack_sync(nexus_delivery *delivery);
/** Settles it as failed: again after delay_ms (UINT32_MAX = the group's backoff). reason: copied, may be NULL. */
NEXUS_API nexus_status nexus_delivery_nak(nexus_delivery *delivery, uint32_t delay_ms, const char *reason);
/** Settles it as hopeless: dead letter at once. */
NEXUS_API nexus_status nexus_delivery_term(nexus_delivery *delivery, const char *reason);
/** Settles it as done without effect: an ack with a durable record of who skipped what, and why (nexus_group_audit). */
NEXUS_API nexus_status nexus_delivery_skip(nexus_delivery *delivery, const char *reason);
/** Renews the lease for ms from now (0 = ack_wait_ms), at most until max_lease_ms after it was given. NEXUS_ELIMIT: that
 * time is reached; the lease stands until it. */
NEXUS_API nexus_status nexus_delivery_extend(nexus_delivery *delivery, uint32_t ms);
/** The reason a handler gives with NEXUS_RETRY, NEXUS_REJECT or NEXUS_SKIP; copied, cut at 255 bytes. */
NEXUS_API void nexus_delivery_reason(nexus_delivery *delivery, const char *reason);
/** Frees it, also after its group was closed; when it was not settled, its lease runs out by itself. */
NEXUS_API void nexus_delivery_free(nexus_delivery *delivery);

/** Where the handling of this delivery stands in a trace of its own, which is linked to the publisher's: pass it on. All
 * zero without a tracer (nexus_bus_opts) or when the publisher's trace is not sampled. */
NEXUS_API void nexus_delivery_trace(const nexus_delivery *delivery, struct nexus_trace *out);

/**
 * Settles n_acks deliveries (any groups of this bus) and publishes n events, in one commit: all of it or nothing. Events
 * without causationid and correlationid get those of the first delivery. NEXUS_ESTALE: one of the leases is over; nothing
 * was done. NEXUS_EUNKNOWN: call it again with the same ids: it succeeds, as a duplicate, if it was done. opts (stream,
 * expect, condition) and result may be NULL; not_before_ns is refused. On success the deliveries are settled; free them.
 */
NEXUS_API nexus_status nexus_bus_commit(nexus_bus *bus, nexus_delivery *const *acks, size_t n_acks,
                                        const nexus_event *events, size_t n, const nexus_publish_opts *opts,
                                        nexus_publish_result *result);

/** A report: set size, the rest is filled. */
typedef struct nexus_group_stats {
    size_t size;
    uint64_t floor;                               /**< every matching event up to here is settled */
    uint64_t head;                                /**< last stored position */
    uint64_t inflight;                            /**< leased now */
    uint64_t delayed;                             /**< waiting for another attempt */
    uint64_t delivered, acked, redelivered, dead; /**< since the owner started; dead: kept now */
    uint64_t lag;   /**< events that match and are not settled or in flight */
    int64_t lag_ms; /**< age of the oldest event that matches and is not settled; 0 = none */
    uint64_t inflight_bytes; /**< data of what is leased now */
    uint64_t members;        /**< handles that have asked within 5 s */
    bool paused;             /**< nexus_group_pause */
    bool breaker_open;
} nexus_group_stats;
NEXUS_API nexus_status nexus_group_read_stats(nexus_group *group, nexus_group_stats *stats);

/**
 * All groups of the bus as a JSON array of {"name","types","order","floor","head","lag","lag_ms","inflight","delayed","dead",
 * "state","detail"}. state says why a group does not move, the first that fits: PAUSED, DISK (the log takes no writes),
 * DLQ_FULL, BREAKER_OPEN, NOTHING_MATCHES (its filter has matched no event yet), CAUGHT_UP, INFLIGHT_FULL, NO_MEMBER (nobody
 * has asked for 5 s), LANES_BLOCKED (detail: keys, attempts, reasons), MOVING. nexus_free(*out).
 */
NEXUS_API nexus_status nexus_bus_groups(char **out, size_t *n, nexus_bus *bus) NEXUS_MUST_CHECK;

/** The same of one group, as a JSON object. nexus_free(*out). */
NEXUS_API nexus_status nexus_group_explain(char **out, size_t *n, nexus_group *group) NEXUS_MUST_CHECK;

/** Stops handing out to every member, or goes on. Durable. What is leased may still be settled. */
NEXUS_API nexus_status nexus_group_pause(nexus_group *group, bool pause) NEXUS_MUST_CHECK;

typedef struct nexus_seek_opts {
    size_t size;
    uint32_t start;        /**< NEXUS_START_…: where the group goes on; FIRST is a reset */
    uint64_t start_pos;    /**< NEXUS_START_POS: the first position delivered */
    int64_t start_time_ns; /**< NEXUS_START_TIME: events stored at or after */
    bool dry_run;          /**< only reports */
} nexus_seek_opts;

#define NEXUS_SEEK_OPTS_INIT NEXUS_SIZED(nexus_seek_opts)
NEXUS_API void nexus_seek_opts_init(nexus_seek_opts *opts);

/** A report: set size, the rest is filled. */
typedef struct nexus_seek_result {
    size_t size;
    uint64_t floor_before, floor; /**< everything up to here counts as settled */
    uint64_t again;               /**< events that match, were settled, and come again */
    uint64_t skipped;             /**< events that match, were not settled, and never come */
    uint64_t inflight;            /**< leases that end: their acks are NEXUS_ESTALE */
} nexus_seek_result;

/**
 * Moves the group to another place of the log, durably, and tells what that means (with dry_run: would mean; others may
 * settle meanwhile). Attempts begin anew; dead letters stay. result may be NULL.
 */
NEXUS_API nexus_status nexus_group_seek(nexus_group *group, const nexus_seek_opts *opts, nexus_seek_result *result);

/**
 * What was done to the group by hand, the last 1,000 entries, oldest first, as a JSON array of
 * {"at","what","pos","detail"}: skip, edit, purge, redrive, seek, pause, resume. nexus_free(*out).
 */
NEXUS_API nexus_status nexus_group_audit(char **out, size_t *n, nexus_group *group) NEXUS_MUST_CHECK;

/** Records spans here from now on; NULL: no more. What was the tracer before is not used any more when it returns. */
NEXUS_API void nexus_bus_set_tracer(nexus_bus *bus, struct nexus_tracer *tracer);

/**
 * Adds the families of the bus to a registry: events and bytes stored by category (the stream's name up to its first "-";
 * at most 256), and for each group lag, deliveries, acks, redeliveries, dead letters, state. They are filled before each
 * rendering, while this handle owns the log. The bus must outlive the registry's renderings.
 */
NEXUS_API nexus_status nexus_bus_metrics(nexus_bus *bus, struct nexus_metrics *metrics) NEXUS_MUST_CHECK;

/* --- verify and repair ----------------------------------------------------------------------- */

/**
 * Reads every byte of a `file:DIR` bus that nobody has open: {"ok","bad":[{"file","offset","bytes","from","to","what"}],
 * "state_lost","files","bytes","batches","records","first","last","tail_bytes","checkpoints","repaired"} as JSON. from and
 * to are positions that cannot be read. tail_bytes: an unfinished write, which opening removes; that is no damage.
 * state_lost: the log does not reach back to position 1 and no checkpoint is whole. nexus_free(*out). NEXUS_OK when it
 * could look, whatever it found. NEXUS_ECONFLICT: a process has it open. NEXUS_ENOTFOUND: no bus there.
 */
NEXUS_API nexus_status nexus_bus_verify(char **out, size_t *n, const char *url) NEXUS_MUST_CHECK;
/**
 * The same report, and what is bad is cut out: each file with bad bytes is replaced by a copy without them, bad checkpoints
 * are removed. Positions stay; those that were lost are NEXUS_EMISSING to readers and nexus.gap to groups. With
 * state_lost the bus begins with the groups and streams that can be seen in what is left. Verify first: what it lists is
 * what this gives up.
 */
NEXUS_API nexus_status nexus_bus_repair(char **out, size_t *n, const char *url) NEXUS_MUST_CHECK;

/**
 * What the log takes now, told by its owner, as a JSON object of {"files","bytes","first","last","written","durability"}: first
 * and last position kept, bytes written since the owner opened it. nexus_free(*out).
 */
NEXUS_API nexus_status nexus_bus_stats(char **out, size_t *n, nexus_bus *bus) NEXUS_MUST_CHECK;

/* --- compaction ----------------------------------------------------------------------------- */

/** A report: set size, the rest is filled. */
typedef struct nexus_compact_result {
    size_t size;
    uint64_t events, files;            /**< events that went; files of the log that were written anew */
    uint64_t bytes_before, bytes_after; /**< of all files */
} nexus_compact_result;

/**
 * Removes now what the owner otherwise removes by and by, when half of a file has been superseded: of each type of
 * compact_types the events that have a later one of the same type and key, and last ones without data whose grace is over.
 * Only what every group has passed and no delayed publish needs; the last event of a stream stays. Positions stay: readers and
 * groups pass over those that went, versions of streams have holes. result may be NULL. NEXUS_EINVAL: the owner has no
 * compact_types. NEXUS_ENOTSUP at open: not a log of files.
 */
NEXUS_API nexus_status nexus_bus_compact(nexus_bus *bus, nexus_compact_result *result);

/* --- erasure -------------------------------------------------------------------------------- */

/**
 * Removes the data of a stored event for good: from the log, by a copy of the file that takes its place, from memory, from
 * dead letters of it and from checkpoints. The event stays at its position with its attributes and the extension
 * `redacted` = "true"; what had been handed out before stays with whoever has it. Its id stays known, whatever data it is
 * published with again. Looks through the log from there on, so it takes seconds for gigabytes. Again on the same event:
 * nothing happens. NEXUS_ENOTFOUND: no such event. NEXUS_EMISSING: retention has dropped it. NEXUS_ENOTSUP: not an engine
 * of files.
 */
NEXUS_API nexus_status nexus_bus_redact(nexus_bus *bus, uint64_t pos) NEXUS_MUST_CHECK;

/**
 * Deletes the key of a subject: the data of every event that was sealed with it (shred_types) can be read by nobody any more,
 * wherever it stands. Such events keep their place and attributes, and are read without data and with the extension
 * `shredded` = "true". What is published for the subject from then on gets a new key. What was handed out stays with whoever
 * has it; snapshots, projections and copies of the key files are the caller's. Any process of the bus may call it.
 * NEXUS_ENOTFOUND: the subject has no key. NEXUS_ENOTSUP: the bus has no directory for keys (memory:, postgresql:, …).
 */
NEXUS_API nexus_status nexus_bus_shred(nexus_bus *bus, const char *subject) NEXUS_MUST_CHECK;

/* --- dead letters ----------------------------------------------------------------------------- */

/** Which dead letters of a group; NULL and 0 mean any. Texts are borrowed for the call. */
typedef struct nexus_dead_query {
    size_t size;
    const char *types;  /**< patterns, comma-separated */
    const char *key;    /**< partitionkey, else subject */
    const char *reason; /**< a part of the reason */
    uint64_t pos;       /**< only this one */
    uint64_t after;     /**< only of later positions: for paging */
    int64_t before_ns;  /**< dead at or before this time */
    uint32_t limit;     /**< the first so many by position; listing: 0 = 100, redrive: 0 = all, purge: not used */
} nexus_dead_query;

#define NEXUS_DEAD_QUERY_INIT NEXUS_SIZED(nexus_dead_query)
NEXUS_API void nexus_dead_query_init(nexus_dead_query *query);

/**
 * The dead letters that match, as a JSON array of {"pos","attempts","reason","first_at","dead_at","event":{…}}, by
 * position. They are copies: what happens to the log does not empty it. query may be NULL. nexus_free(*out).
 */
NEXUS_API nexus_status nexus_group_dead(char **out, size_t *n, nexus_group *group,
                                        const nexus_dead_query *query) NEXUS_MUST_CHECK;

typedef struct nexus_redrive_opts {
    size_t size;
    uint32_t max_per_s; /**< 0 = as fast as it goes */
    bool dry_run;       /**< only counts */
    nexus_slice data;   /**< in place of the event's data; for a query that matches one. The event in the log stays; the
                             event bus.letter_edited is published in the same commit, with the data as it was */
} nexus_redrive_opts;

#define NEXUS_REDRIVE_OPTS_INIT NEXUS_SIZED(nexus_redrive_opts)
NEXUS_API void nexus_redrive_opts_init(nexus_redrive_opts *opts);

/** A report: set size, the rest is filled. */
typedef struct nexus_redrive_result {
    size_t size;
    uint64_t matched, redriven;
} nexus_redrive_result;

/**
 * Hands dead letters to this group again (no other group sees them), with a fresh count of attempts; one that fails again
 * is a dead letter again. Each comes before younger events of its key that wait; the group's floor does not move. What was
 * handed out is durable when the call returns, so that after a crash the same call goes on with the rest. Blocks as long as
 * max_per_s makes it. result may be NULL.
 */
NEXUS_API nexus_status nexus_group_redrive(nexus_group *group, const nexus_dead_query *query,
                                           const nexus_redrive_opts *opts, nexus_redrive_result *result);

/** Removes those that match for good, if they are exactly `expect` (what a listing or a dry run counted), durably;
 * NEXUS_ECONFLICT with the true number in the message otherwise. */
NEXUS_API nexus_status nexus_group_purge(nexus_group *group, const nexus_dead_query *query, uint64_t expect);

/* --- outbox and inbox: one transaction with your own tables ---------------------------------- */

/** Makes the tables nexus_outbox and nexus_inbox when absent (a migration of component "bus"). Once at start. */
NEXUS_API nexus_status nexus_outbox_prepare(struct nexus_db *db) NEXUS_MUST_CHECK;

/**
 * Writes events into the outbox inside the caller's open transaction; the relay publishes them after the commit, as
 * often as a crash makes it necessary and, by their ids, stored once. Ids are made here when absent. Order: that of the
 * commits; for it, transactions with outbox records commit one after the other on PostgreSQL. NEXUS_EINVAL outside a
 * transaction, or naming the attribute.
 */
NEXUS_API nexus_status nexus_outbox_append(struct nexus_db *tx, const nexus_event *events, size_t n) NEXUS_MUST_CHECK;
/** The same from JSON (see nexus_bus_publish_json). */
NEXUS_API nexus_status nexus_outbox_append_json(struct nexus_db *tx, const char *text, size_t n) NEXUS_MUST_CHECK;

/** A thread that moves the outbox onto the bus. db and bus are borrowed until close. */
typedef struct nexus_outbox_relay nexus_outbox_relay;
typedef struct nexus_outbox_relay_opts {
    size_t size;
    const nexus_alloc *alloc;
    const char *source; /**< `source` of events that have none; NULL: the bus's */
    uint32_t poll_ms;   /**< looks by itself so often; 0 = 100. On PostgreSQL every commit wakes it, everywhere
                             nexus_outbox_relay_wake does */
    uint32_t batch;     /**< events a publish; 0 = 256 */
} nexus_outbox_relay_opts;
#define NEXUS_OUTBOX_RELAY_OPTS_INIT NEXUS_SIZED(nexus_outbox_relay_opts)
NEXUS_API void nexus_outbox_relay_opts_init(nexus_outbox_relay_opts *opts);
NEXUS_API nexus_status nexus_outbox_relay_open(nexus_outbox_relay **out, struct nexus_db *db, nexus_bus *bus,
                                               const nexus_outbox_relay_opts *opts) NEXUS_MUST_CHECK;
/** Call it after a commit: the relay looks now instead of at its next poll. Any thread, never blocks. */
NEXUS_API void nexus_outbox_relay_wake(nexus_outbox_relay *relay);
/** Publishes what is committed now, on the calling thread; *moved (may be NULL) counts. For tests and shutdown. */
NEXUS_API nexus_status nexus_outbox_relay_run(nexus_outbox_relay *relay, uint64_t *moved);
NEXUS_API void nexus_outbox_relay_close(nexus_outbox_relay *relay);

/**
 * Claims an event for a group inside the caller's transaction: *is_new is false when an earlier committed transaction
 * claimed it, and then its effects are there already. Keyed by group, source and id; of a command that a saga sent again,
 * the extension "commandid" stands for the id.
 */
NEXUS_API nexus_status nexus_inbox_claim(struct nexus_db *tx, const char *group, const nexus_event *event,
                                         bool *is_new) NEXUS_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
