/*
 * Checkpoints of what is derived from the log, so that opening need not read all of it and old files may go.
 *
 * A checkpoint is a row of parts. Each stands for the effect of every record before the cursor taken when the checkpoint
 * was begun; it is written while the bus goes on, so it may hold more than that. Opening reads the parts and then the
 * log from the cursor on. So of every part:
 *  - what the log holds before the cursor is in the state when `write` runs (change the state under the same lock as the
 *    log is appended to, or before the record is durable);
 *  - applying a record twice, in order with those that follow, ends in the same state as applying it once;
 *  - `write` holds its locks for short stretches only, some ten thousand bytes each.
 * To add one: a row in state.c, and its records in recover.c.
 */
#ifndef NEXUS_BUS_STATE_H
#define NEXUS_BUS_STATE_H

#include "bus/broker.h"

typedef struct nexus__state_out nexus__state_out;
/* One frame: given to `read` again as it is, frames in order. */
nexus_status nexus__state_put(nexus__state_out *out, nexus_slice frame) NEXUS_MUST_CHECK;
uint64_t nexus__state_until(const nexus__state_out *out); /* the position of the cursor: events below are in the parts */

typedef struct nexus__state_part {
    const char *name; /* at most 11 bytes, never used for something else again */
    nexus_status (*write)(nexus__broker *b, nexus__state_out *out);
    nexus_status (*read)(nexus__broker *b, nexus_slice frame);
    /* The first position that retention must leave in the log for its sake; NULL: whatever. */
    uint64_t (*needs)(nexus__broker *b);
} nexus__state_part;

extern const nexus__state_part nexus__state_window, nexus__state_heads; /* state_index.c */
extern const nexus__state_part nexus__state_groups, nexus__state_dead;  /* state_groups.c */
extern const nexus__state_part nexus__state_delays;                     /* delayed.c */

extern const char *const nexus__state_names[2]; /* of the checkpoints */

/* Writes one, on any thread but one at a time. NEXUS_EAGAIN: publishes failed meanwhile, so it was thrown away. */
nexus_status nexus__state_write(nexus__broker *b) NEXUS_MUST_CHECK;
/* Reads the newest one that is whole and fits the log; *from is then where the log goes on. NEXUS_ENOTFOUND: there is
 * none, and the state is empty; *why says what was wrong with those that are there. */
nexus_status nexus__state_load(nexus__broker *b, nexus__wal_cursor *from, char why[static 256]) NEXUS_MUST_CHECK;

/* The first position that some part still needs in the log; UINT64_MAX: none does. */
uint64_t nexus__state_needs(nexus__broker *b);
/* Batches before it are in both generations. 0: there are no two. */
uint64_t nexus__state_saved(const nexus__broker *b);

/* keep.c: the thread that writes them in time, and drops files of the log. */
nexus_status nexus__keeper_start(nexus__broker *b) NEXUS_MUST_CHECK;
void nexus__keeper_grew(nexus__broker *b); /* on the flush thread */
void nexus__keeper_look(nexus__broker *b); /* has it look at once */
void nexus__keeper_stop(nexus__broker *b); /* with a last checkpoint, when there is something to save by it */

#endif
