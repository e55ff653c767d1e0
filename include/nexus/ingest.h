/* Ingestion: events as JSON bytes in, validated one by one, durable before they are acknowledged. Knows no
 * HTTP. */
#ifndef NEXUS_INGEST_H
#define NEXUS_INGEST_H

#include <nexus/alloc.h>
#include <nexus/analytics.h>
#include <nexus/common.h>
#include <nexus/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * An open ingestion log with its dedupe window. Usable from any thread. Closing is the owner's: no other call
 * may still be running.
 */
typedef struct nexus_ingest nexus_ingest;

/** What became of one body: counts, the answer as JSON, and each refused event. Belongs to one thread at a
 * time. */
typedef struct nexus_ingest_result nexus_ingest_result;

/** What happens to an identity such as "null", "undefined" or "0", which would become one giant user. */
enum {
    NEXUS_IDENTITY_ANONYMISE = 0, /**< the event is accepted without it, with the warning illegal_identity */
    NEXUS_IDENTITY_REJECT = 1     /**< the event is refused with the code illegal_identity */
};

/** When an event counts as accepted. NEXUS_INGEST_OS is reserved: opening with it is NEXUS_ENOTSUP so far. */
enum {
    NEXUS_INGEST_FSYNC = 0, /**< its record is synced to disk; writers share one sync (group commit) */
    NEXUS_INGEST_OS = 1     /**< its record is written; a power cut may lose it, a crash of the process does not */
};

/** How an ingestion log is opened. Zero members mean the defaults named. */
typedef struct nexus_ingest_opts {
    size_t size;                  /**< sizeof(nexus_ingest_opts) */
    const nexus_alloc *alloc;     /**< borrowed; NULL = the C library's */
    const char *dir;              /**< copied; the log's own directory, made when missing. Needed */
    nexus_analytics *analytics;   /**< borrowed, must outlive the log; NULL = nothing can be asked about the events */
    uint32_t durability;          /**< NEXUS_INGEST_FSYNC or NEXUS_INGEST_OS */
    uint32_t identity_action;     /**< NEXUS_IDENTITY_ANONYMISE or NEXUS_IDENTITY_REJECT */
    const char *identity_illegal; /**< copied; comma-separated, compared without case; NULL = the built-in list */
    uint32_t event_max_bytes;     /**< of one event's JSON; 0 = 65,536; at most 1,048,576 */
    uint32_t batch_max_events;    /**< 0 = 10,000 */
    uint64_t batch_max_bytes;     /**< 0 = 20 MiB */
    uint64_t retention_s;         /**< events older than this are refused as too_old; 0 = kept for ever */
    uint32_t dedupe_window_s;     /**< an id is remembered at least this long; 0 = 86,400 */
    uint32_t dedupe_max;          /**< ids remembered at most; 0 = 10,000,000 */
    uint32_t rejected_max;        /**< refused events kept for inspection; 0 = 100,000 */
    uint64_t rejected_max_bytes;  /**< their bytes at most; 0 = 64 MiB */
    uint64_t queue_max_bytes;     /**< bytes that may wait for the disk; above 80 % callers get NEXUS_EAGAIN; 0 =
                                 64 MiB */
} nexus_ingest_opts;

#define NEXUS_INGEST_OPTS_INIT NEXUS_SIZED(nexus_ingest_opts)

/** The same as NEXUS_INGEST_OPTS_INIT, for callers without macros. */
NEXUS_API void nexus_ingest_opts_init(nexus_ingest_opts *opts);

/**
 * Opens the log in opts->dir, replays it into the dedupe window and into opts->analytics, and locks the
 * directory.
 *
 * @return NEXUS_OK; NEXUS_EINVAL without a directory or with a limit out of range; NEXUS_EPERM or NEXUS_EIO
 * when the directory cannot be used; NEXUS_ECONFLICT when another process holds it. A log damaged in its
 * middle opens read-only: questions go on, new events get NEXUS_ECORRUPT. (A torn tail is no damage: it was
 * never acknowledged.)
 */
NEXUS_API nexus_status nexus_ingest_open(nexus_ingest **out, const nexus_ingest_opts *opts) NEXUS_MUST_CHECK;

/** Waits for what is being written and closes. NULL is fine. */
NEXUS_API void nexus_ingest_close(nexus_ingest *ingest);

/** Flags of one call. */
enum {
    NEXUS_INGEST_ATOMIC = 1,      /**< one invalid event refuses the whole batch; nothing is stored */
    NEXUS_INGEST_ALL_RESULTS = 2, /**< the answer lists accepted events too */
    NEXUS_INGEST_STRICT_TIME = 4, /**< an unreadable timestamp refuses the event instead of becoming the receive time */
    NEXUS_INGEST_FIX_SKEW = 8,    /**< correct `timestamp` by the sender's clock error (sent_at); for browsers */
    NEXUS_INGEST_NDJSON = 16,     /**< the batch is one JSON object a line; each bad line is one refused index */
    NEXUS_INGEST_NEED_IDENTITY = 32, /**< an event without user_id and anonymous_id is refused: missing_identity */
    NEXUS_INGEST_GZIP = 64,          /**< the body is gzip (RFC 1952); over 100 times its size is NEXUS_ETOOBIG */
    NEXUS_INGEST_DEFLATE = 128       /**< the body is zlib (RFC 1950), HTTP's "deflate" */
};

/** Circumstances of one call. */
typedef struct nexus_ingest_call {
    size_t size;            /**< sizeof(nexus_ingest_call) */
    uint32_t flags;         /**< NEXUS_INGEST_… */
    int64_t received_at_ms; /**< Unix milliseconds; 0 = now */
} nexus_ingest_call;

#define NEXUS_INGEST_CALL_INIT NEXUS_SIZED(nexus_ingest_call)

/**
 * Takes one event: `{id?,event,user_id?,anonymous_id?,timestamp?,sent_at?,session_id?,properties?,context?}`.
 * Blocks until it is durable: never on a loop thread.
 *
 * @param body  the JSON text; borrowed for the call.
 * @param call  NULL = no flags, now.
 * @param out   the result, to be freed with nexus_ingest_result_free; set when NEXUS_OK is returned, also for
 * a duplicate or an invalid event, which the result's counts tell apart.
 * @return NEXUS_OK; NEXUS_EINVAL when the body is no JSON object (the message gives line and column);
 * NEXUS_ETOOBIG; NEXUS_EAGAIN when the queue to the disk is full (offer it again later); NEXUS_ENOSPC,
 * NEXUS_EROFS or NEXUS_EIO when the disk refuses; NEXUS_EDEADLK on a loop thread.
 */
NEXUS_API nexus_status nexus_ingest_event(nexus_ingest *ingest, nexus_slice body, const nexus_ingest_call *call,
                                          nexus_ingest_result **out) NEXUS_MUST_CHECK;

/**
 * Takes a batch: `{"sent_at"?,"events":[…]}`, a bare array, or lines with NEXUS_INGEST_NDJSON. Every event is
 * judged by itself (unless NEXUS_INGEST_ATOMIC); order is kept. Blocks until all that is accepted is durable.
 *
 * @return as nexus_ingest_event; NEXUS_OK whenever the envelope could be read.
 */
NEXUS_API nexus_status nexus_ingest_batch(nexus_ingest *ingest, nexus_slice body, const nexus_ingest_call *call,
                                          nexus_ingest_result **out) NEXUS_MUST_CHECK;

/** How many events of the body met each end. Always filled. */
typedef struct nexus_ingest_counts {
    size_t size; /**< sizeof(nexus_ingest_counts) */
    uint32_t accepted;
    uint32_t duplicate;
    uint32_t rejected;
    uint32_t retry; /**< not stored for a passing reason (not_persisted): send these again */
} nexus_ingest_counts;

#define NEXUS_INGEST_COUNTS_INIT NEXUS_SIZED(nexus_ingest_counts)

NEXUS_API void nexus_ingest_result_counts(const nexus_ingest_result *result, nexus_ingest_counts *counts);

/**
 * The answer as JSON. Of one event `{"id","status":"accepted"|"duplicate"|"rejected",…}`; of a batch
 * `{"accepted":n,"duplicate":n,"rejected":n,"retry":n,"results":[{"index","id","status","code","field","message"}]}`.
 * NUL-terminated, borrowed until the result is freed.
 */
NEXUS_API const char *nexus_ingest_result_json(const nexus_ingest_result *result, size_t *len);

/** One refused event. All slices are borrowed until the result is freed. */
typedef struct nexus_ingest_error {
    size_t size;       /**< sizeof(nexus_ingest_error) */
    uint32_t index;    /**< place in the batch, from 0 */
    nexus_slice code;  /**< missing_event, event_too_long, bad_type, missing_identity, illegal_identity, bad_timestamp,
                   too_old, too_large, too_deep, too_many_properties, bad_utf8, bad_json, not_persisted */
    nexus_slice field; /**< JSON Pointer into the event, "" for the event itself */
    nexus_slice message; /**< what is wrong and what would be right */
} nexus_ingest_error;

/** The i-th refusal of the body; false past the end. */
NEXUS_API bool nexus_ingest_result_error(const nexus_ingest_result *result, size_t i, nexus_ingest_error *error);

NEXUS_API void nexus_ingest_result_free(nexus_ingest_result *result); /**< NULL is fine */

/**
 * The counters since the log was opened, as the JSON document of `GET /api/v1/ingest/stats`:
 * `{"received","accepted","duplicate","rejected":{"code":n},"late","rate_1s","rate_1m","queue":{…},"wal":{…},
 * "dedupe":{…},"lag_ms","uptime_s"}`. Free *out with nexus_free.
 */
NEXUS_API nexus_status nexus_ingest_stats(nexus_ingest *ingest, char **out, size_t *len) NEXUS_MUST_CHECK;

/**
 * Refused events, oldest first, verbatim:
 * `{"events":[{"seq","at","code","field","message","body"}],"next","dropped"}`. Kept in memory, bounded by
 * rejected_max and rejected_max_bytes; the oldest make room.
 *
 * @param code   only this code; the empty slice = all.
 * @param after  only those with a greater seq; 0 = from the oldest.
 * @param limit  0 = 100, at most 1,000.
 */
NEXUS_API nexus_status nexus_ingest_rejected(nexus_ingest *ingest, nexus_slice code, uint64_t after, uint32_t limit,
                                             char **out, size_t *len) NEXUS_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
