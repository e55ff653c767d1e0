/*
 * A log in a broker's stream of messages: each message is a parcel, a head and bytes of a run. A run that is too big for
 * one message comes in several parts and counts only with its last one. A parcel without parts is a mark: it says whose
 * the log is from here on, and where the log goes on, which tells of a loss when it is not where the parcels before end.
 *
 * The place of a run is its number, not the broker's: it grows in any case, also when the broker has lost the end of the
 * stream or somebody has made it anew.
 */
#ifndef NEXUS_BUS_PARCEL_H
#define NEXUS_BUS_PARCEL_H

#include "base/buf.h"
#include "wal/wal.h"

#define PARCEL_HEAD_BYTES 96u

typedef struct nexus__parcel {
    uint8_t uuid[16];
    uint64_t epoch;              /* of the owner who wrote it */
    uint64_t place;              /* of its run; in a mark, of the next one */
    uint64_t first_seq, first_pos; /* of its run: batch and position; in a mark, of the next one */
    uint64_t next_seq, next_pos; /* behind its run */
    int64_t recv_ns;
    uint32_t part, parts; /* from 0; parts 0: a mark */
    nexus_slice bytes;
} nexus__parcel;

void nexus__parcel_put(nexus__buf *out, const nexus__parcel *p);
/* False: this message is not a parcel. bytes is borrowed from it. */
bool nexus__parcel_get(nexus__parcel *out, nexus_slice message);

/* --- where a log ends ---- */

/* Kept beside the stream, with a mark of where the log ended for certain: how far it can have gone, and what was dropped.
 * Behind the reserved numbers nothing was ever given to anything. */
typedef struct nexus__end_note { /* as stored */
    uint64_t reserved_place, reserved_seq, reserved_pos;
    uint64_t begin, first_pos; /* 0, 1: nothing was dropped */
} nexus__end_note;

/* Whether this run may be written before another note is. */
bool nexus__end_covers(const nexus__end_note *note, const nexus__parcel *end, const nexus__wal_run *run);
void nexus__end_reserve(nexus__end_note *note, const nexus__parcel *end, const nexus__wal_run *run); /* run: or NULL */
/* The first mark of a new owner: where the log goes on. last: the last parcel there is; known: the mark noted; either is
 * NULL when there is none. When the stream ends before it, the log goes on behind all that was reserved. */
nexus__parcel nexus__end_find(const nexus__parcel *last, const nexus__parcel *known, const nexus__end_note *note);

/* --- runs from parcels ---- */

/* Puts whole runs together from the parcels of a stream, given in its order. */
typedef struct nexus__parcels {
    nexus__buf *out;
    size_t whole;     /* bytes of out that belong to whole runs */
    uint64_t next;    /* place behind the last whole one */
    uint64_t epoch;   /* the highest seen: what a former owner wrote later does not count */
    uint64_t place;   /* of the run that is being put together */
    uint32_t part;    /* the next one of it; 0: none is */
} nexus__parcels;

void nexus__parcels_add(nexus__parcels *s, const nexus__parcel *p); /* out->status tells of no memory */
/* Forgets a run without its end. */
void nexus__parcels_end(nexus__parcels *s);

#endif
