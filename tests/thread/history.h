/*
 * The judge of the bus. A history is what was published (before and after its answer), delivered, acknowledged, read back
 * and crashed, as one program saw it, in its order; the judge knows nothing of how the bus works. It decides:
 *
 *   no acknowledged loss   what a publish was told is stored is read back, and delivered
 *   no phantom             nothing is read or delivered that was not published, and nothing with other content
 *   once                   no event is stored twice; positions rise, without gaps
 *   atomic batches         of a batch all events are stored side by side, or none
 *   monotone versions      a stream's versions go 0, 1, 2, … in the order of positions
 *   per-key order          first deliveries of a key come in the order of its versions; after an ack never an older one
 *   bounded duplicates     an event is delivered more than once only as often as something failed or crashed
 *   liveness               at the end everything stored was acknowledged by the group
 *
 * Not thread-safe: its user locks. Used by bus_crash.c and bus_soak.c; tests/unit/bus/test_history.c judges it.
 */
#ifndef TESTS_HISTORY_H
#define TESTS_HISTORY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct history history;

/* keys and per_key bound the event names: event n of key k. */
history *history_new(uint32_t keys, uint32_t per_key);
void history_free(history *h);

/* Event n (0, 1, …) of key k is about to be published, in the batch of this number; then what came of it. */
void history_publish(history *h, uint32_t key, uint32_t n, uint64_t batch);
void history_published(history *h, uint32_t key, uint32_t n);                /* it is told to be stored */
void history_refused(history *h, uint32_t key, uint32_t n);                  /* it is told not to be */
void history_delivered(history *h, uint32_t key, uint32_t n, uint32_t attempt);
void history_acked(history *h, uint32_t key, uint32_t n); /* an ack that was told to be done */
/* An ack whose answer says neither: it may come again, and may be done. */
void history_ack_unknown(history *h, uint32_t key, uint32_t n);
void history_failed(history *h, uint32_t key, uint32_t n); /* nak, or a lease left to run out: one more delivery is due */
void history_crashed(history *h);                         /* the owner, or a member: what was in flight comes again */

/* Reads back what is stored, in the order of positions. */
void history_stored(history *h, uint64_t pos, uint32_t key, uint32_t n, int64_t version);

/* The verdict; every offence is written to `out` (at most 20). drained: the group had time to finish, so liveness counts. */
bool history_judge(const history *h, bool drained, FILE *out);

#endif
