/* Compaction: of some types the log keeps the last event of each key. */
#ifndef NEXUS_BUS_COMPACT_H
#define NEXUS_BUS_COMPACT_H

#include "bus/broker.h"

typedef struct nexus__compaction nexus__compaction;

/* NULL in *out: the options name no type. */
nexus_status nexus__compaction_open(nexus__compaction **out, const nexus_bus_opts *o) NEXUS_MUST_CHECK;
void nexus__compaction_close(nexus__compaction *c);

/* What is to be done with a file. Pure. */
typedef struct nexus__compact_file {
    uint64_t end_pos, end_seq, bytes; /* of the file, as the log tells it */
    uint64_t dead_bytes;              /* of events in it that have a later one */
    bool last;                        /* it is written to */
} nexus__compact_file;
/* needed: the first position that somebody has not passed; saved_seq: batches before it are in both checkpoints. */
bool nexus__compact_may(const nexus__compact_file *f, uint64_t needed, uint64_t saved_seq);
bool nexus__compact_should(const nexus__compact_file *f, uint64_t needed, uint64_t saved_seq);

/* Whether an event goes whose key has its last event at `last`. A redacted event is no tombstone. */
bool nexus__compact_drops(const nexus__wal_record *r, uint64_t last, int64_t now_ns, int64_t grace_ns);

/* One round of the keeper, under its lock `work`; when to come again, INT64_MAX: when something was written. */
int64_t nexus__compaction_round(nexus__broker *b);

/* A stretch of a compaction by hand. */
typedef struct nexus__compact_step {
    uint64_t after; /* the file it goes on behind; in and out, 0 = from the beginning */
    uint64_t more;  /* not over yet */
    uint64_t events, files, bytes_before, bytes_after;
} nexus__compact_step;
nexus_status nexus__broker_compact(nexus__broker *b, nexus__compact_step *step) NEXUS_MUST_CHECK;

#endif
