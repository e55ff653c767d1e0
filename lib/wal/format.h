/*
 * Bytes on disk, little-endian, 8-byte aligned.
 *
 *   file   = segment header (one page), then batches, then zeros or stale bytes of an older life of the file
 *   batch  = head (64) | records | trailer (8)
 *   record = head (48) | meta, padded | payload, padded
 *
 * The generation in a batch head makes stale bytes of a recycled file recognisable; the CRC seed, drawn from the log's
 * random uuid, keeps payload bytes from passing as a batch. The payload has a CRC apart from the record head, so that a
 * copy with an erased payload keeps a valid head. The trailer holds a CRC over the record heads and the commit mark.
 */
#ifndef NEXUS_WAL_FORMAT_H
#define NEXUS_WAL_FORMAT_H

#include "base/buf.h"
#include "wal/wal.h"

enum { SEGMENT_HEAD_BYTES = 4096, BATCH_HEAD_BYTES = 64, RECORD_HEAD_BYTES = 48, BATCH_TRAILER_BYTES = 8 };
#define NEXUS__WAL_VERSION 1u
#define NEXUS__WAL_BATCH_MAGIC 0x4258574eu /* "NWXB" */
#define NEXUS__WAL_MARK 0x54494d43u        /* "CMIT" */

typedef struct nexus__wal_segment_head {
    char magic[8]; /* "NXWAL\r\n\0" */
    uint32_t version, reserved;
    uint8_t uuid[16]; /* of the log */
    uint64_t generation, first_seq, first_pos;
    int64_t created_ns;
    uint32_t reserved2, crc;
} nexus__wal_segment_head;

typedef struct nexus__wal_batch_head {
    uint32_t magic, count;
    uint64_t generation;
    uint64_t seq;       /* of the batch in the log: no gaps, so that a lost file or tail is noticed */
    uint64_t first_pos; /* of its first data record; the next position when it has none */
    int64_t recv_ns;
    uint64_t write_start; /* offset of the first batch of the same write call: they become durable together */
    uint32_t body_bytes;  /* records and trailer */
    uint32_t data_count;
    uint32_t flags, crc;
} nexus__wal_batch_head;

typedef struct nexus__wal_record_head {
    uint32_t meta_bytes, payload_bytes;
    uint16_t kind, flags;
    uint32_t type_id;
    uint64_t stream;
    int64_t version;
    uint32_t meta_crc, payload_crc;
    uint32_t reserved, crc;
} nexus__wal_record_head;

_Static_assert(sizeof(nexus__wal_batch_head) == BATCH_HEAD_BYTES, "layout");
_Static_assert(sizeof(nexus__wal_record_head) == RECORD_HEAD_BYTES, "layout");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format is written as it lies in memory");

static inline uint64_t nexus__wal_pad(uint64_t n)
{
    return (n + 7) & ~(uint64_t)7;
}

uint32_t nexus__wal_seed(const uint8_t uuid[static 16]);

void nexus__wal_segment_seal(nexus__wal_segment_head *head);
bool nexus__wal_segment_ok(const nexus__wal_segment_head *head);

/* Appends a record to the bytes of a batch under construction. */
void nexus__wal_record_encode(nexus__buf *out, const nexus__wal_record *record);
/* The fields of one record at `at` of a batch body of n bytes, trailer excluded; false when lengths or head CRC do not
 * fit. Payload and meta are not checked yet. *next is the offset behind it. */
bool nexus__wal_record_decode(const char *body, size_t n, size_t at, nexus__wal_record *out, size_t *next,
                              nexus__wal_record_head *head);
/* The same of a body that nexus__wal_body_ok has passed: the head's CRC is not computed again. */
bool nexus__wal_record_at(const char *body, size_t n, size_t at, nexus__wal_record *out, size_t *next,
                          nexus__wal_record_head *head);
bool nexus__wal_record_intact(const nexus__wal_record *record, const nexus__wal_record_head *head);

/* Fills in what the head was waiting for, the record CRCs, head CRC and trailer. bytes = the whole batch. */
void nexus__wal_batch_seal(char *bytes, size_t n, const nexus__wal_batch_head *head, uint32_t seed);
/* A head that is whole and of this generation, and fits into n bytes from here. */
bool nexus__wal_head_ok(const nexus__wal_batch_head *head, uint64_t n, uint64_t generation, uint32_t seed);
/* The trailer and every record head; with_payloads checks metas and payloads as well. */
bool nexus__wal_body_ok(const nexus__wal_batch_head *head, const char *body, bool with_payloads);

#endif
