/*
 * A NATS server with JetStream, as the bus uses it: one connection, three streams.
 *
 *   NAME        the log, one subject NAME.log: parcels (see parcel.h), never changed
 *   NAME_state  the last message of each subject NAME.state.>: where the log ends, and checkpoints
 *   NAME_owner  the lease: one message that the server forgets when it is not renewed
 */
#ifndef NEXUS_BUS_NATS_H
#define NEXUS_BUS_NATS_H

#include <nats/nats.h>

#include "base/buf.h"
#include "base/time.h"
#include "bus/engines/parcel.h"

#define NATS_NAME_MAX 64
#define NATS_SUBJECT_MAX 160
#define NATS_LEASE_MS 2000
#define NATS_HEADERS_MAX 1024 /* of a message of ours, at most: they count against the server's max_payload */

typedef struct nexus__nats {
    const nexus_alloc *alloc;
    natsConnection *connection;
    jsCtx *js;
    size_t payload_max; /* of our data in a message */
    char name[NATS_NAME_MAX + 1];
    char log_subject[NATS_SUBJECT_MAX];
    char owner_stream[NATS_SUBJECT_MAX], owner_subject[NATS_SUBJECT_MAX], state_stream[NATS_SUBJECT_MAX];
} nexus__nats;

/* nats://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]…][#NAME]; NAME is nexus_bus when absent. NEXUS_EUNREACH: no server. */
nexus_status nexus__nats_open(nexus__nats **out, const char *url, const nexus_alloc *alloc) NEXUS_MUST_CHECK;
void nexus__nats_close(nexus__nats *n); /* NULL is fine */

/* Makes those of the streams that are not there. NEXUS_EINVAL: one is set up so that it forgets messages. */
nexus_status nexus__nats_streams(nexus__nats *n) NEXUS_MUST_CHECK;
nexus_status nexus__nats_log_range(nexus__nats *n, uint64_t *first, uint64_t *last) NEXUS_MUST_CHECK;

/* Where a message must come to lie; else nothing is stored and the answer is NEXUS_ECONFLICT. */
typedef enum nexus__nats_after {
    NATS_ANYWHERE,
    NATS_AFTER_LAST,      /* seq is the last one of the stream */
    NATS_AFTER_OF_SUBJECT /* seq is the last one of the subject; 0: there is none */
} nexus__nats_after;

typedef struct nexus__nats_put {
    const char *subject;
    nexus__nats_after after;
    uint64_t seq;
    const char *id; /* NULL, or what the server stores once */
    nexus_slice data;
    uint32_t wait_ms; /* 0 = 1000 */
} nexus__nats_put;

/* *seq (may be NULL): where it lies. NEXUS_ENOTFOUND: no stream takes the subject. NEXUS_ENOSPC: nothing was stored.
 * NEXUS_ETIMEDOUT, NEXUS_EUNREACH: it may have been. */
nexus_status nexus__nats_publish(nexus__nats *n, const nexus__nats_put *put, uint64_t *seq) NEXUS_MUST_CHECK;

/* The last message of a subject; NEXUS_ENOTFOUND. natsMsg_Destroy(*out). */
nexus_status nexus__nats_last(nexus__nats *n, natsMsg **out, const char *stream, const char *subject) NEXUS_MUST_CHECK;
/* The first message of the log at seq or behind it; NEXUS_ENOTFOUND. */
nexus_status nexus__nats_at_or_after(nexus__nats *n, natsMsg **out, uint64_t seq) NEXUS_MUST_CHECK;
/* Messages seq, seq + 1, … of the log, asked for together; out[i] is NULL where there is none. */
enum { NATS_WINDOW = 32 };
nexus_status nexus__nats_window(nexus__nats *n, natsMsg *out[static NATS_WINDOW], uint64_t seq,
                                unsigned count) NEXUS_MUST_CHECK;

nexus_status nexus__nats_fail(natsStatus s, int js_error, const char *what);
nexus_slice nexus__nats_data(natsMsg *m);

/* --- nats_lease.c: who may own ---- */

typedef struct nexus__nats_lease nexus__nats_lease;
typedef void nexus__nats_lost_fn(void *user_data);
typedef void nexus__nats_beat_fn(void *user_data);

/* Takes the lease and renews it on a thread of its own, which also calls beat each time. NEXUS_ECONFLICT: somebody
 * holds it. lost: it is somebody else's; called once, on that thread. n is borrowed. */
nexus_status nexus__nats_lease_take(nexus__nats_lease **out, nexus__nats *n, nexus__nats_beat_fn *beat,
                                    nexus__nats_lost_fn *lost, void *user_data) NEXUS_MUST_CHECK;
bool nexus__nats_lease_is_lost(nexus__nats_lease *l);
void nexus__nats_lease_end(nexus__nats_lease *l); /* gives it back; NULL is fine */
/* Who holds it: the subject where the owner is reached. NEXUS_ENOTFOUND: nobody. */
nexus_status nexus__nats_owner(nexus__nats *n, char subject[static NATS_SUBJECT_MAX]) NEXUS_MUST_CHECK;

/* --- nats_blob.c: checkpoints ---- */

nexus_status nexus__nats_put_blob(nexus__nats *n, const char *name, nexus_slice blob) NEXUS_MUST_CHECK;
nexus_status nexus__nats_get_blob(nexus__nats *n, const char *name, nexus__buf *out) NEXUS_MUST_CHECK;

#endif
