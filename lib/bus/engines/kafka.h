/*
 * A Kafka cluster, as the bus uses it: four topics, of each the partition 0, which the operator makes.
 *
 *   NAME        the log: parcels (see parcel.h) in transactions, kept for ever
 *   NAME-owner  a note of the owner every half second: that it lives, and where the log ends
 *   NAME-state  checkpoints in pieces, compacted
 *   NAME-wire   what processes say to each other, of no use a minute later
 */
#ifndef NEXUS_BUS_KAFKA_H
#define NEXUS_BUS_KAFKA_H

#include <librdkafka/rdkafka.h>

#include "base/buf.h"
#include "base/time.h"
#include "bus/engines/parcel.h"

#define KAFKA_NAME_MAX 100
#define KAFKA_MESSAGE_MAX 900000u /* of our bytes; a broker takes about a million unless told otherwise */
#define KAFKA_BEAT_MS 500
#define KAFKA_LEASE_MS 2000 /* without a note the owner is gone */

typedef struct nexus__kafka {
    const nexus_alloc *alloc;
    char *servers;
    char log_topic[KAFKA_NAME_MAX + 1], owner_topic[KAFKA_NAME_MAX + 8], state_topic[KAFKA_NAME_MAX + 8],
        wire_topic[KAFKA_NAME_MAX + 8];
    rd_kafka_t *notes; /* a producer without transactions: owner, state and wire */
    rd_kafka_topic_t *warm[4]; /* kept for their leaders, else a first message waits a second for it; 3: the writer's */
} nexus__kafka;

/* kafka://HOST[:PORT][,HOST[:PORT]…][#NAME]; NAME is nexus_bus when absent. NEXUS_EUNREACH: no broker. NEXUS_ENOTFOUND: a
 * topic is not there. */
nexus_status nexus__kafka_open(nexus__kafka **out, const char *url, const nexus_alloc *alloc) NEXUS_MUST_CHECK;
void nexus__kafka_close(nexus__kafka *k); /* NULL is fine */

/* Whoever makes one later shuts out everybody who made one before. */
nexus_status nexus__kafka_writer(rd_kafka_t **out, nexus__kafka *k) NEXUS_MUST_CHECK; /* one at a time */
void nexus__kafka_writer_close(rd_kafka_t *writer, nexus__kafka *k); /* NULL is fine */
/* Where the messages of a transaction came to lie. */
typedef struct nexus__kafka_sent {
    int64_t first, last; /* offsets; -1: none */
} nexus__kafka_sent;
/* Adds a message to the transaction; *sent is kept until it has ended. */
nexus_status nexus__kafka_add(rd_kafka_t *writer, const char *topic, nexus_slice value,
                              nexus__kafka_sent *sent) NEXUS_MUST_CHECK;
nexus_status nexus__kafka_begin(rd_kafka_t *writer) NEXUS_MUST_CHECK;
/* NEXUS_ESTALE: another writer was made. NEXUS_ETIMEDOUT, NEXUS_EUNREACH: nothing was stored. NEXUS_EUNKNOWN. */
nexus_status nexus__kafka_commit(rd_kafka_t *writer) NEXUS_MUST_CHECK;
/* Ends it without effect; status, or NEXUS_EUNKNOWN when that failed, too. */
nexus_status nexus__kafka_abort(rd_kafka_t *writer, nexus_status status) NEXUS_MUST_CHECK;

/* Stores one message of owner or state, all replicas in sync, and waits for it. Any thread. */
nexus_status nexus__kafka_note(nexus__kafka *k, const char *topic, nexus_slice key, nexus_slice value) NEXUS_MUST_CHECK;

/* The same without waiting: it may get lost, but not out of order. False: the queue is full. Call poll now and then. */
bool nexus__kafka_send(nexus__kafka *k, const char *topic, nexus_slice key, nexus_slice value);
void nexus__kafka_poll(nexus__kafka *k);

/* Reads a topic; one thread at a time. */
typedef struct nexus__kafka_reader {
    rd_kafka_t *consumer;
    const char *topic;
    int64_t next; /* offset of the next message; -1: not placed yet */
} nexus__kafka_reader;

nexus_status nexus__kafka_reader_open(nexus__kafka_reader *r, nexus__kafka *k, const char *topic) NEXUS_MUST_CHECK;
void nexus__kafka_reader_close(nexus__kafka_reader *r);
nexus_status nexus__kafka_range(nexus__kafka_reader *r, int64_t *first, int64_t *behind) NEXUS_MUST_CHECK;
nexus_status nexus__kafka_seek(nexus__kafka_reader *r, int64_t offset) NEXUS_MUST_CHECK;
/* The next message; NEXUS_EDONE: there is none. rd_kafka_message_destroy(*out). */
nexus_status nexus__kafka_next(nexus__kafka_reader *r, rd_kafka_message_t **out) NEXUS_MUST_CHECK;
/* The last parcel of the topic, copied to *body; NEXUS_ENOTFOUND. *offset (may be NULL): where it lies. */
nexus_status nexus__kafka_last(nexus__kafka_reader *r, nexus__parcel *out, nexus__buf *body,
                               int64_t *offset) NEXUS_MUST_CHECK;
nexus_slice nexus__kafka_value(const rd_kafka_message_t *m);

/* The next message if it is there already; wake_fd gets an eventfd's worth of bytes when one arrives. */
nexus_status nexus__kafka_wake_by(nexus__kafka_reader *r, int wake_fd) NEXUS_MUST_CHECK;
rd_kafka_message_t *nexus__kafka_arrived(nexus__kafka_reader *r);

/* --- kafka_log.c: who owns ---- */

typedef struct nexus__kafka_owner_note { /* as stored behind the mark of the end */
    nexus__end_note end;
    uint64_t owner;    /* who wrote it */
    uint32_t released; /* he is none any more */
    uint32_t reserved;
} nexus__kafka_owner_note;

/* What the last note says; NEXUS_ENOTFOUND: there never was an owner. */
nexus_status nexus__kafka_last_note(nexus__kafka *k, nexus__kafka_reader *owners, nexus__parcel *mark,
                                    nexus__kafka_owner_note *note) NEXUS_MUST_CHECK;

/* --- kafka_blob.c: checkpoints ---- */

nexus_status nexus__kafka_put_blob(nexus__kafka *k, const char *name, nexus_slice blob) NEXUS_MUST_CHECK;
nexus_status nexus__kafka_get_blob(nexus__kafka *k, const char *name, nexus__buf *out) NEXUS_MUST_CHECK;

#endif
