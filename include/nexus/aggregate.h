/* Aggregates: state made from the events of one stream, and snapshots that make the next time shorter. */
#ifndef NEXUS_AGGREGATE_H
#define NEXUS_AGGREGATE_H

#include <nexus/stream.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Where snapshots are: with `file:DIR` in DIR/snapshots, one file for each stream and revision, for every process of the
 * bus; with other engines in the memory of the handle. A snapshot is never more than a shorter way to what the events
 * say: one that is missing, damaged, of another revision, or of another history of the stream is passed over, and the
 * events are read from the first. Deleting the folder is always safe.
 */

/** A snapshot that was read; the caller's. */
typedef struct nexus_snapshot nexus_snapshot;

/** Stores the state of a stream after the event of `version`, in place of an older one of this rev (of your state's form,
 * not of an event). state is copied. Written at once, not synced: after a crash it may be gone. */
NEXUS_API nexus_status nexus_snapshot_put(nexus_bus *bus, const char *stream, int64_t version, uint32_t rev,
                                          nexus_slice state) NEXUS_MUST_CHECK;
/** NEXUS_ENOTFOUND: there is none of this rev, or it fails its check. */
NEXUS_API nexus_status nexus_snapshot_get(nexus_snapshot **out, nexus_bus *bus, const char *stream,
                                          uint32_t rev) NEXUS_MUST_CHECK;
NEXUS_API int64_t nexus_snapshot_version(const nexus_snapshot *snapshot);
/** Borrowed as long as the snapshot lives. */
NEXUS_API void nexus_snapshot_state(const nexus_snapshot *snapshot, nexus_slice *out);
NEXUS_API void nexus_snapshot_free(nexus_snapshot *snapshot); /**< NULL is fine */
/** Removes those of a stream, of every revision (when what they hold must go: a redacted event). */
NEXUS_API nexus_status nexus_snapshot_drop(nexus_bus *bus, const char *stream);

/** How a state is made. All functions run on the thread that loads; `state` is the caller's object. */
typedef struct nexus_aggregate {
    size_t size;
    /** Takes one event, in the revision that is wanted here (contract.h), in order. Another status ends the load. */
    nexus_status (*apply)(void *state, const nexus_event *event);
    /** Back to what it is before the first event. */
    void (*reset)(void *state);
    /** Writes the state down: bytes borrowed until the next call with this state. NULL: no snapshots. */
    nexus_status (*save)(void *state, nexus_slice *out);
    /** Reads what save wrote. Another status than NEXUS_OK: reset is called, and all events are read. */
    nexus_status (*restore)(void *state, nexus_slice bytes);
    uint32_t rev;          /**< of what save writes; raise it when that changes: older snapshots are passed over */
    uint32_t every_events; /**< a new snapshot when a load took so many; 0 = 100 (UINT32_MAX: not by this) */
    uint32_t every_ms;     /**< or took so long; 0 = not by this */
    uint32_t reserved;     /**< 0 */
    uint64_t every_bytes;  /**< or read so much data; 0 = not by this */
} nexus_aggregate;

#define NEXUS_AGGREGATE_INIT NEXUS_SIZED(nexus_aggregate)
NEXUS_API void nexus_aggregate_init(nexus_aggregate *aggregate);

/** A report: set size, the rest is filled. */
typedef struct nexus_aggregate_report {
    size_t size;
    int64_t version;          /**< of the last event; -1 = the stream is empty: `expect` of the next publish */
    int64_t snapshot_version; /**< where the load began; -1 = at the first event */
    uint64_t events, bytes;   /**< read */
    bool snapshot;            /**< a new one is on its way to the disk, on a thread of the bus */
} nexus_aggregate_report;

/**
 * Brings state to what the stream says now: the newest snapshot, then the events behind it. report may be NULL.
 * Another status than NEXUS_OK is apply's, or the log's; the state is then of no use.
 */
NEXUS_API nexus_status nexus_aggregate_load(nexus_bus *bus, const char *stream, const nexus_aggregate *aggregate,
                                            void *state, nexus_aggregate_report *report) NEXUS_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
