/*
 * The judge of the bus. A history is what was published (before and after its answer), delivered, acknowledged, read back
 * and crashed, as one program saw it; the judge knows nothing of how the bus works. It decides:
 *
 *   no acknowledged loss   what a publish was told is stored is read back, and delivered
 *   no phantom             nothing is read or delivered that was not published, and nothing with other content
 *   once                   no event is stored twice; positions rise, without gaps
 *   atomic batches         of a batch all events are stored side by side, or none
 *   monotone versions      a stream's versions go 0, 1, 2, … in the order of positions
 *   per-key order          an event is delivered when the one before it of its key is being acknowledged, not earlier
 *   bounded duplicates     one owner hands an event out again only when it was given back or its lease had run out; never
 *                          after it took the ack; after a synchronous ack nobody does, nor what that owner took before
 *   no foreign ack         an owner takes no ack under a lease that it has given to somebody else since
 *   liveness               at the end everything stored was acknowledged by the group
 *
 * Threads write a thing down earlier or later than it happened. So each call is known by its beginning and its end, in time
 * and in the count of crashes: what happened in it, happened in between, and two calls met the same owner for certain only
 * when there was no crash during either of them nor between them. The judge complains of what cannot have been otherwise.
 *
 * Not thread-safe but for calls' begin and end: its user locks, though never across a call of the bus. Used by bus_crash.c
 * and bus_soak.c; tests/unit/bus/test_history.c judges it.
 */
#ifndef TESTS_HISTORY_H
#define TESTS_HISTORY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct history history;

/* keys and per_key bound the event names: event n of key k. lease_ms: the group's ack_wait. */
history *history_new(uint32_t keys, uint32_t per_key, uint32_t lease_ms);
void history_free(history *h);

/* A call of the bus as its caller saw it. */
typedef struct history_call {
    uint32_t from, to;          /* how many crashes there had been before it, and at its return */
    int64_t begun_ns, over_ns; /* monotonic */
} history_call;
void history_begin(const history *h, history_call *call);
void history_end(const history *h, history_call *call);

/* Event n (0, 1, …) of key k is about to be published, in the batch of this number; then what came of it. */
void history_publish(history *h, uint32_t key, uint32_t n, uint64_t batch);
void history_published(history *h, uint32_t key, uint32_t n);                /* it is told to be stored */
void history_refused(history *h, uint32_t key, uint32_t n);                  /* it is told not to be */

/* To be told before the next one of its fetch is settled. lease: shown with complaints. */
void history_delivered(history *h, uint32_t key, uint32_t n, uint32_t attempt, uint64_t lease, const history_call *fetch);
void history_acking(history *h, uint32_t key, uint32_t n); /* an ack is about to be asked for */
/* It is told to be done. fetch: the call that had brought this delivery. */
void history_acked(history *h, uint32_t key, uint32_t n, bool sync, const history_call *fetch, const history_call *ack);
void history_ack_unknown(history *h, uint32_t key, uint32_t n, const history_call *ack);    /* it may be done */
void history_failed(history *h, uint32_t key, uint32_t n); /* a nak is about to be asked for: one more delivery is due */
/* The owner, or a member, has been killed, and nobody followed it yet: what was in flight comes again. */
void history_crashed(history *h);

/* Reads back what is stored, in the order of positions. */
void history_stored(history *h, uint64_t pos, uint32_t key, uint32_t n, int64_t version);

/* The verdict; every offence is written to `out` (at most 20). drained: the group had time to finish, so liveness counts. */
bool history_judge(history *h, bool drained, FILE *out);

typedef struct history_figures {
    uint64_t again, undone; /* deliveries of what was delivered before; those of them whose ack a crash took back */
    double undone_ms;       /* how long before the crash was known the oldest of these acks had been told */
} history_figures;
void history_count(const history *h, history_figures *out);

#endif
