/* Going through stored events again: at a chosen speed, apart from the groups, with progress. */
#ifndef NEXUS_REPLAY_H
#define NEXUS_REPLAY_H

#include <nexus/stream.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What is replayed, and how fast. Texts are copied. */
typedef struct nexus_replay_opts {
    size_t size;
    const char *stream;         /**< this stream (aggregate) only; NULL = all */
    const char *category;       /**< streams whose name begins with this and a '-'; NULL = all */
    const char *types;          /**< patterns, comma-separated; NULL = all */
    const char *subject_prefix; /**< NULL = any */
    const char *source;         /**< NULL = any */
    const char *tags;           /**< comma-separated, all wanted; NULL = any */
    const char *accept_revs;    /**< as of a reader */
    bool raw;                   /**< as stored: no upcaster runs */
    bool paused;                /**< begins paused */
    uint32_t start;             /**< NEXUS_START_FIRST, _POS or _TIME */
    uint64_t start_pos;         /**< NEXUS_START_POS: first position */
    int64_t start_time_ns;      /**< NEXUS_START_TIME: stored at or after */
    uint64_t to_pos;            /**< last position; 0 = the head at the time of opening */
    int64_t to_time_ns;         /**< stored at or before; 0 = no bound by time */
    double factor;       /**< speed against the times of storing: 1 = as it was, 60 = an hour a minute; 0 = not bound */
    double max_events_s; /**< 0 = no limit */
    double max_bytes_s;  /**< of data; 0 = no limit */
    uint32_t attempts;   /**< calls of a handler that says NEXUS_RETRY; 0 = 3 */
    uint32_t reserved;   /**< 0 */
} nexus_replay_opts;

#define NEXUS_REPLAY_OPTS_INIT NEXUS_SIZED(nexus_replay_opts)
NEXUS_API void nexus_replay_opts_init(nexus_replay_opts *opts);

/** A replay under way. Calls may be made from any thread, nexus_replay_next from one at a time. */
typedef struct nexus_replay nexus_replay;

/**
 * Starts a replay. With handlers a thread of it calls them, each event in log order, with deliveries of which
 * nexus_delivery_is_replay is true and whose settling does nothing: no group moves, no dead letter is made. Handlers
 * with NEXUS_HANDLER_LIVE_ONLY are never called. NEXUS_RETRY calls again (opts.attempts), then and after NEXUS_REJECT or
 * NEXUS_LATER the event counts as failed and the replay goes on. Without handlers (n 0) the caller takes events with
 * nexus_replay_next. opts may be NULL. Close it before the bus.
 */
NEXUS_API nexus_status nexus_replay_open(nexus_replay **out, nexus_bus *bus, const nexus_replay_opts *opts,
                                         const nexus_handler *handlers, size_t n) NEXUS_MUST_CHECK;

/** The next event when its time has come; borrowed until the next call. NEXUS_EAGAIN: not within wait_ms (or paused).
 * NEXUS_EDONE: the replay is over. */
NEXUS_API nexus_status nexus_replay_next(nexus_replay *replay, const nexus_event **event,
                                         uint32_t wait_ms) NEXUS_MUST_CHECK;
/** The same as JSON text (nexus_event_format), borrowed until the next call. */
NEXUS_API nexus_status nexus_replay_next_json(nexus_replay *replay, const char **text, size_t *n,
                                              uint32_t wait_ms) NEXUS_MUST_CHECK;

/** Another speed from now on; 0 = not bound, no limit, as in the options. */
NEXUS_API nexus_status nexus_replay_rate(nexus_replay *replay, double factor, double max_events_s, double max_bytes_s);
/** Stops handing out, or goes on. The time of a pause is left out of the original times. */
NEXUS_API void nexus_replay_pause(nexus_replay *replay, bool paused);

enum {
    NEXUS_REPLAY_RUNNING = 0,
    NEXUS_REPLAY_PAUSED = 1,
    NEXUS_REPLAY_DONE = 2,
    NEXUS_REPLAY_FAILED = 3 /**< the log could not be read on: `error` */
};

/** A report: set size, the rest is filled. */
typedef struct nexus_replay_progress {
    size_t size;
    uint32_t state;         /**< NEXUS_REPLAY_… */
    nexus_status error;     /**< of NEXUS_REPLAY_FAILED; else of the event that failed last, NEXUS_OK = none */
    uint64_t position;      /**< done up to here: start_pos of a replay that goes on is one more */
    uint64_t to;            /**< last position */
    uint64_t events, bytes; /**< handed out; of data */
    uint64_t failed;        /**< events that a handler or an upcaster refused */
    uint64_t skipped;       /**< events whose bytes fail their check */
    double events_s;        /**< since it was opened, pauses included */
    double done;            /**< share of the positions, 0 to 1 */
    int64_t eta_ms;         /**< at the pace so far; -1 = not known yet */
} nexus_replay_progress;

NEXUS_API void nexus_replay_read_progress(nexus_replay *replay, nexus_replay_progress *progress);
/** Waits until it is over. NEXUS_ETIMEDOUT: not within wait_ms; else NEXUS_OK, or the error of a replay that failed. */
NEXUS_API nexus_status nexus_replay_wait(nexus_replay *replay, uint32_t wait_ms) NEXUS_MUST_CHECK;
/** Stops it and waits for a handler that runs. NULL is fine. */
NEXUS_API void nexus_replay_close(nexus_replay *replay);

/** A report: set size, the rest is filled. */
typedef struct nexus_replay_count {
    size_t size;
    uint64_t events, bytes;       /**< that match; of data */
    uint64_t first_pos, last_pos; /**< 0 = none */
    int64_t first_ns, last_ns;    /**< when they were stored */
    int64_t eta_ms;               /**< at the speed of the options; without one, the time that counting took */
} nexus_replay_count;

/** The dry run: what a replay with these options would hand out. No handler and no upcaster is called. */
NEXUS_API nexus_status nexus_replay_dry_run(nexus_bus *bus, const nexus_replay_opts *opts,
                                            nexus_replay_count *count) NEXUS_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
