/* Projections: what events add up to, kept with the position it stands for, rebuilt beside the old one. */
#ifndef NEXUS_PROJECTION_H
#define NEXUS_PROJECTION_H

#include <nexus/db.h>
#include <nexus/stream.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * A projection reads the log in order and gives each event to a handler inside a database transaction; the position it
 * has come to (its checkpoint) is written in the same one. So effects and position are there together or not at all, and
 * after a crash it goes on behind the last commit: each event counts once. The handler writes either into the
 * projection's own keys and values (nexus_projection_put), or into tables of yours in the database you gave.
 *
 * Where it is: tables nexus_projection and nexus_projection_kv in opts.db; without one, in DIR/projections.db of a `file:`
 * bus, and in memory with `memory:` (other engines need a db: NEXUS_ENOTSUP). All of it can be built again from the log.
 *
 * Several processes may run one projection: one of them gets each commit through, the others follow.
 */
typedef struct nexus_projection nexus_projection;
/** The transaction of one batch, for the handler's calls; its thread only. */
typedef struct nexus_projection_tx nexus_projection_tx;

/** Returns NEXUS_ACK; NEXUS_RETRY: the batch is rolled back and comes again after a while; NEXUS_REJECT: what the handler
 * wrote for this event should be nothing, it is passed over and counted. */
typedef int32_t nexus_projection_fn(nexus_projection_tx *tx, const nexus_event *event, void *user_data);
/** Called in the transaction that puts a rebuilt generation in place of the old one (0 = there was none): rename or empty
 * tables of yours here. Another status than NEXUS_OK: no swap now, it is tried again. */
typedef nexus_status nexus_projection_swap_fn(nexus_projection_tx *tx, uint32_t old_generation, uint32_t new_generation,
                                              void *user_data);

/** Texts are copied. */
typedef struct nexus_projection_opts {
    size_t size;
    const char *types;          /**< patterns, comma-separated; NULL = all */
    const char *category;       /**< streams whose name begins with this and a '-'; NULL = all */
    const char *subject_prefix; /**< NULL = any */
    const char *source;         /**< NULL = any */
    const char *tags;           /**< comma-separated, all wanted; NULL = any */
    uint32_t version;           /**< of the handler; another one than what is live rebuilds it. 0 = 1 */
    uint32_t batch;             /**< events a transaction, at most; 0 = 256 */
    uint32_t parallel; /**< threads of a rebuild, each with its share of the keys (partitionkey, else subject); 0 = 1 */
    uint32_t swap_lag; /**< a rebuild takes over when so few positions are left; 0 = 1000 */
    uint32_t retry_ms; /**< before a batch comes again; 0 = 200 */
    uint32_t reserved; /**< 0 */
    nexus_db *db;      /**< borrowed until close; NULL = the library's own */
    nexus_projection_fn *handler;
    nexus_projection_swap_fn *on_swap; /**< NULL = none */
    void *user_data;                   /**< of both */
} nexus_projection_opts;

#define NEXUS_PROJECTION_OPTS_INIT NEXUS_SIZED(nexus_projection_opts)
NEXUS_API void nexus_projection_opts_init(nexus_projection_opts *opts);

/**
 * Starts it on a thread of its own, where it left off. name: [A-Za-z0-9._-]{1,128}. When what is live was made by another
 * opts.version, that stays readable while a new generation is built beside it (as nexus_projection_rebuild does).
 */
NEXUS_API nexus_status nexus_projection_open(nexus_projection **out, nexus_bus *bus, const char *name,
                                             const nexus_projection_opts *opts) NEXUS_MUST_CHECK;

/**
 * Builds it anew from the first event into a shadow generation, on opts.parallel threads; the live one goes on meanwhile.
 * When it has caught up it takes over in one transaction. Returns at once. One that was interrupted (a crash, a close) is
 * resumed by the next open. NEXUS_ECONFLICT: one is under way.
 */
NEXUS_API nexus_status nexus_projection_rebuild(nexus_projection *projection) NEXUS_MUST_CHECK;

/** Waits until what is live has come to position pos: read what you have written. NEXUS_ETIMEDOUT. */
NEXUS_API nexus_status nexus_projection_wait(nexus_projection *projection, uint64_t pos,
                                             uint32_t wait_ms) NEXUS_MUST_CHECK;

/** A report: set size, the rest is filled. */
typedef struct nexus_projection_stats {
    size_t size;
    uint32_t generation;        /**< live; 0 = none yet */
    uint32_t shadow_generation; /**< being built; 0 = none */
    uint64_t position, head;    /**< of the live one; of the log */
    uint64_t shadow_position;   /**< of the slowest thread of the rebuild */
    uint64_t events, rejected;  /**< handled and passed over since it was opened, rebuilds included */
    nexus_status error;         /**< of the last batch that failed, NEXUS_OK after one that did not */
} nexus_projection_stats;
NEXUS_API void nexus_projection_read_stats(nexus_projection *projection, nexus_projection_stats *stats);

/** Value of a key in what is live; nexus_free(*out). NEXUS_ENOTFOUND. Any thread. */
NEXUS_API nexus_status nexus_projection_get(char **out, size_t *n, nexus_projection *projection,
                                            nexus_slice key) NEXUS_MUST_CHECK;
/** Keys that begin with prefix, in order, behind `after` (empty = from the first), at most limit (0 = 100), as a JSON
 * array of {"key","value"}; both must be UTF-8 text. nexus_free(*out). */
NEXUS_API nexus_status nexus_projection_list(char **out, size_t *n, nexus_projection *projection, nexus_slice prefix,
                                             nexus_slice after, uint32_t limit) NEXUS_MUST_CHECK;
/** Ends its threads; a batch under way is finished or rolled back. NULL is fine. Close it before bus and db. */
NEXUS_API void nexus_projection_close(nexus_projection *projection);

/* --- in the handler ------------------------------------------------------------------------- */

NEXUS_API nexus_status nexus_projection_put(nexus_projection_tx *tx, nexus_slice key, nexus_slice value);
NEXUS_API nexus_status nexus_projection_erase(nexus_projection_tx *tx, nexus_slice key);
/** What the key holds in this generation and transaction, borrowed until the next fetch of this transaction.
 * NEXUS_ENOTFOUND. */
NEXUS_API nexus_status nexus_projection_fetch(nexus_projection_tx *tx, nexus_slice key, nexus_slice *value);
/** The open transaction, for your own tables; do not commit it. */
NEXUS_API nexus_db *nexus_projection_tx_db(nexus_projection_tx *tx);
/** Which generation is written: keep tables of yours apart by it. */
NEXUS_API uint32_t nexus_projection_tx_generation(const nexus_projection_tx *tx);
/** Whether this is a rebuild: leave out what is only meant to happen once (mails). */
NEXUS_API bool nexus_projection_tx_is_rebuild(const nexus_projection_tx *tx);

#ifdef __cplusplus
}
#endif

#endif
