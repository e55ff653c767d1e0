/*
 * Frames between a client and the owner of a bus, over a stream socket: head (24 bytes), body. Both ends are of one
 * machine, so numbers are as they lie in memory. Lengths are capped before anything is allocated, and every frame has
 * a CRC. Decoding is pure; the fuzz target feeds it.
 */
#ifndef NEXUS_BUS_WIRE_H
#define NEXUS_BUS_WIRE_H

#include <nexus/stream.h>

#include "base/buf.h"
#include "bus/broker.h"

#define NEXUS__WIRE_VERSION 3u
#define NEXUS__WIRE_BODY_MAX (20u << 20)
#define NEXUS__WIRE_REPLY 0x8000u

enum {
    WIRE_HELLO = 1,    /* u32 version -> u64 caps and durability (durability.h) */
    WIRE_PUBLISH = 2,  /* i64 expect, text stream, text fail_types, text fail_tags, u64 fail_after, i64 not_before,
                          u32 n, {text meta, text data} -> result */
    WIRE_GROUP = 3,    /* text name, text config -> u32 group, u32 ack_wait_ms */
    WIRE_FETCH = 4,    /* u32 group, u32 max, u32 wait_ms -> u32 n, {lease} */
    WIRE_SETTLE = 5,   /* u32 group, u64 pos, u64 token, u32 how, u32 ms, text reason */
    WIRE_SYNC = 6,     /* u32 group */
    WIRE_STATS = 7,    /* u32 group -> nexus_group_stats */
    WIRE_DEAD = 8,     /* u32 group, query -> JSON */
    WIRE_READ = 9,     /* range and filter -> u64 next, u32 n, {event} */
    WIRE_HEAD = 10,    /* -> u64 */
    WIRE_VERSION = 11, /* text stream -> i64 */
    WIRE_WATCH = 12,   /* u32 group; from then on WIRE_WAKE frames come unasked */
    WIRE_WAKE = 13,    /* u32 group */
    WIRE_REDRIVE = 14, /* u32 group, query, text data, u32 dry -> report */
    WIRE_PURGE = 15,   /* u32 group, query, u64 expect -> report */
    WIRE_GROUPS = 16,  /* -> JSON */
    WIRE_EXPLAIN = 17, /* u32 group -> JSON */
    WIRE_AUDIT = 18,   /* u32 group -> JSON */
    WIRE_PAUSE = 19,   /* u32 group, u32 pause */
    WIRE_SEEK = 20,    /* u32 group, nexus__seek -> nexus__seek_report */
    WIRE_LEAVE = 21,   /* u32 group: the index is free again */
    WIRE_COMMIT = 22,  /* u32 n, {u32 group, u64 pos, u64 token}, then as WIRE_PUBLISH -> result */
    WIRE_REDACT = 23,  /* u64 pos */
    WIRE_COMPACT = 24, /* u64 generation to go on behind -> nexus__compact_step */
    WIRE_BUS_STATS = 25, /* -> JSON */
    WIRE_OP_MAX = 25
};

typedef struct nexus__wire_head {
    uint32_t bytes; /* of the body */
    uint32_t crc;   /* of what follows in the head, and the body */
    uint16_t op, reserved;
    int32_t status; /* of a reply; then the body is the message */
    uint64_t id;    /* of the request */
} nexus__wire_head;

/* Begins a frame in out; nexus__wire_end fills in length and CRC. Returns where the frame begins. */
size_t nexus__wire_begin(nexus__buf *out, uint16_t op, int32_t status, uint64_t id);
void nexus__wire_end(nexus__buf *out, size_t begin);

/* Looks at the front of n received bytes: NEXUS_OK with the head and body (slice into bytes) of one whole frame of
 * *used bytes; NEXUS_EAGAIN: more is needed; NEXUS_EPROTO: not a frame, the message says why. */
nexus_status nexus__wire_decode(const char *bytes, size_t n, nexus__wire_head *head, nexus_slice *body, size_t *used);

static inline void nexus__wire_u32(nexus__buf *out, uint32_t v)
{
    nexus__buf_append(out, &v, sizeof v);
}

static inline void nexus__wire_u64(nexus__buf *out, uint64_t v)
{
    nexus__buf_append(out, &v, sizeof v);
}

static inline void nexus__wire_text(nexus__buf *out, nexus_slice text)
{
    nexus__wire_u32(out, (uint32_t)text.n);
    nexus__buf_slice_append(out, text);
}

/* Reading a body: past its end everything is 0 and bad is set; one check at the end tells. */
typedef struct nexus__wire_in {
    nexus_slice rest;
    bool bad;
} nexus__wire_in;

void nexus__wire_take(nexus__wire_in *in, void *out, size_t n);
uint32_t nexus__wire_take_u32(nexus__wire_in *in);
uint64_t nexus__wire_take_u64(nexus__wire_in *in);
nexus_slice nexus__wire_take_text(nexus__wire_in *in);

/* An event as it is sent: position, version, time, attributes, data. */
void nexus__wire_event(nexus__buf *out, const nexus_event *e, nexus_slice meta);
typedef struct nexus__wire_stored {
    uint64_t pos;
    int64_t version, recv_ns;
    nexus_slice meta, data;
} nexus__wire_stored;
void nexus__wire_take_event(nexus__wire_in *in, nexus__wire_stored *out);

/* What a reader asks for. */
typedef struct nexus__read_request {
    nexus__filter filter;
    uint64_t from, to; /* positions; to 0 = no bound */
    int64_t from_time_ns, from_version;
    uint32_t max, wait_ms;
} nexus__read_request;
void nexus__wire_dead_query(nexus__buf *out, const nexus__dead_query *q);
void nexus__wire_take_dead_query(nexus__wire_in *in, nexus__dead_query *q);
void nexus__wire_read_request(nexus__buf *out, const nexus__read_request *r);
void nexus__wire_take_read_request(nexus__wire_in *in, nexus__read_request *r);

#endif
