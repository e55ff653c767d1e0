/*
 * The log behind the public calls. An event's way: scanned and judged on the caller's thread; then, under the mutex,
 * checked against the dedupe window and queued to the write-ahead log, so that the order of ids in the window is the
 * order in the log; then the caller waits for the disk, makes the events visible, and answers. A duplicate waits too:
 * what it repeats may still be on its way to the disk, and "duplicate" promises that it is safe.
 */
#ifndef NEXUS_INGEST_INGEST_H
#define NEXUS_INGEST_INGEST_H

#include <pthread.h>

#include "ingest/analytics.h"
#include "ingest/dedupe.h"
#include "ingest/meter.h"
#include "ingest/rejected.h"
#include "ingest/result.h"
#include "wal/wal.h"

struct nexus_ingest {
    nexus__wal *wal;
    nexus_analytics *analytics;
    nexus__event_rules rules; /* illegal_identities points into illegal */
    char *illegal, *dir;
    uint32_t batch_max_events;
    uint64_t batch_max_bytes, queue_max_bytes;
    int64_t opened_ns;
    uint64_t replayed;
    struct {
        pthread_mutex_t mutex;
        nexus__dedupe dedupe;
        nexus__rejected rejected;
        nexus__meter meter;
        uint64_t queued_bytes, queued;
        int64_t oldest_ns; /* when the oldest of the queue was put there; meaningful while queued > 0 */
    } locked;
    const nexus_alloc *alloc;
};

/* Judges what a body holds into the result's entries. NEXUS_EINVAL or NEXUS_ETOOBIG when it cannot be read at all. */
nexus_status nexus__ingest_read_event(nexus_ingest *ingest, const nexus__event_rules *rules, nexus__json *doc,
                                      nexus_slice body, int64_t received_ms, nexus_ingest_result **out) NEXUS_MUST_CHECK;
nexus_status nexus__ingest_read_batch(nexus_ingest *ingest, const nexus__event_rules *rules, nexus__json *doc,
                                      nexus_slice body, int64_t received_ms, nexus_ingest_result **out) NEXUS_MUST_CHECK;
nexus_status nexus__ingest_read_lines(nexus_ingest *ingest, const nexus__event_rules *rules, nexus__json *doc,
                                      nexus_slice body, int64_t received_ms, nexus_ingest_result **out) NEXUS_MUST_CHECK;

/* Stores what is valid, durably, and settles every entry's state. */
nexus_status nexus__ingest_commit(nexus_ingest *ingest, nexus_ingest_result *result) NEXUS_MUST_CHECK;

/* Fills the dedupe window and the store from the log. */
nexus_status nexus__ingest_replay(nexus_ingest *ingest) NEXUS_MUST_CHECK;

#endif
