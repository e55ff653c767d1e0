#include "wal/format.h"

#include "base/codec.h"

static const char segment_magic[8] = "NXWAL\r\n";

uint32_t nexus__wal_seed(const uint8_t uuid[static 16])
{
    return nexus__crc32c(0, uuid, 16);
}

void nexus__wal_segment_seal(nexus__wal_segment_head *head)
{
    memcpy(head->magic, segment_magic, sizeof head->magic);
    head->version = NEXUS__WAL_VERSION;
    head->crc = nexus__crc32c(0, head, offsetof(nexus__wal_segment_head, crc));
}

bool nexus__wal_segment_ok(const nexus__wal_segment_head *head)
{
    return memcmp(head->magic, segment_magic, sizeof head->magic) == 0 &&
           head->crc == nexus__crc32c(0, head, offsetof(nexus__wal_segment_head, crc));
}

/* Zeros go first, as a whole word, since the padding alone is of any length. */
static char *put_padded(char *at, nexus_slice bytes)
{
    static const uint64_t zeros;
    if (!bytes.n)
        return at;
    char *end = at + nexus__wal_pad(bytes.n);
    memcpy(end - sizeof zeros, &zeros, sizeof zeros);
    memcpy(at, bytes.p, bytes.n);
    return end;
}

void nexus__wal_record_encode(nexus__buf *out, const nexus__wal_record *record)
{
    nexus__wal_record_head head = {
        .meta_bytes = (uint32_t)record->meta.n,
        .payload_bytes = (uint32_t)record->payload.n,
        .kind = record->kind,
        .flags = record->flags,
        .type_id = record->type_id,
        .stream = record->stream,
        .version = record->version,
        .meta_crc = nexus__crc32c(0, record->meta.p, record->meta.n),
        .payload_crc =
            record->payload_crc ? *record->payload_crc : nexus__crc32c(0, record->payload.p, record->payload.n),
    };
    size_t n = sizeof head + nexus__wal_pad(record->meta.n) + nexus__wal_pad(record->payload.n);
    char *at = nexus__buf_reserve(out, n);
    if (!at)
        return;
    memcpy(at, &head, sizeof head);
    put_padded(put_padded(at + sizeof head, record->meta), record->payload);
    out->len += n;
}

static uint32_t record_crc(const nexus__wal_record_head *head)
{
    return nexus__crc32c(0, head, offsetof(nexus__wal_record_head, crc));
}

/* Lengths that stay inside n bytes; the offset behind the record, or 0. */
static size_t record_end(const nexus__wal_record_head *head, size_t n, size_t at)
{
    uint64_t end = at + sizeof *head + nexus__wal_pad(head->meta_bytes) + nexus__wal_pad(head->payload_bytes);
    return end <= n ? (size_t)end : 0;
}

bool nexus__wal_record_decode(const char *body, size_t n, size_t at, nexus__wal_record *out, size_t *next,
                              nexus__wal_record_head *head)
{
    return nexus__wal_record_at(body, n, at, out, next, head) && head->crc == record_crc(head);
}

bool nexus__wal_record_at(const char *body, size_t n, size_t at, nexus__wal_record *out, size_t *next,
                          nexus__wal_record_head *head)
{
    if (at + sizeof *head > n)
        return false;
    memcpy(head, body + at, sizeof *head);
    *next = record_end(head, n, at);
    if (!*next)
        return false;
    const char *meta = body + at + sizeof *head;
    out->kind = head->kind;
    out->flags = head->flags;
    out->type_id = head->type_id;
    out->stream = head->stream;
    out->version = head->version;
    out->meta = nexus__slice(meta, head->meta_bytes);
    out->payload = nexus__slice(meta + nexus__wal_pad(head->meta_bytes), head->payload_bytes);
    out->payload_crc = NULL; /* it may be changed and written again */
    return true;
}

bool nexus__wal_record_intact(const nexus__wal_record *record, const nexus__wal_record_head *head)
{
    return head->meta_crc == nexus__crc32c(0, record->meta.p, record->meta.n) &&
           head->payload_crc == nexus__crc32c(0, record->payload.p, record->payload.n);
}

void nexus__wal_batch_seal(char *bytes, size_t n, const nexus__wal_batch_head *head, uint32_t seed)
{
    nexus__wal_batch_head sealed = *head;
    sealed.magic = NEXUS__WAL_BATCH_MAGIC;
    sealed.body_bytes = (uint32_t)(n - sizeof sealed);
    sealed.crc = nexus__crc32c(seed, &sealed, offsetof(nexus__wal_batch_head, crc));
    memcpy(bytes, &sealed, sizeof sealed);
    uint32_t body = sealed.crc;
    size_t at = sizeof sealed, end = n - BATCH_TRAILER_BYTES;
    while (at < end) {
        nexus__wal_record_head record;
        memcpy(&record, bytes + at, sizeof record);
        record.crc = record_crc(&record);
        memcpy(bytes + at, &record, sizeof record);
        body = nexus__crc32c(body, &record.crc, sizeof record.crc);
        at = record_end(&record, end, at);
    }
    uint32_t trailer[2] = {body, NEXUS__WAL_MARK};
    memcpy(bytes + end, trailer, sizeof trailer);
}

bool nexus__wal_head_ok(const nexus__wal_batch_head *head, uint64_t n, uint64_t generation, uint32_t seed)
{
    return head->magic == NEXUS__WAL_BATCH_MAGIC && head->generation == generation && head->body_bytes % 8 == 0 &&
           head->body_bytes >= BATCH_TRAILER_BYTES && sizeof *head + head->body_bytes <= n &&
           head->data_count <= head->count &&
           head->crc == nexus__crc32c(seed, head, offsetof(nexus__wal_batch_head, crc));
}

bool nexus__wal_body_ok(const nexus__wal_batch_head *head, const char *body, bool with_payloads)
{
    size_t n = head->body_bytes - BATCH_TRAILER_BYTES, at = 0;
    uint32_t trailer[2], crc = head->crc;
    memcpy(trailer, body + n, sizeof trailer);
    for (uint32_t i = 0; i < head->count; i++) {
        nexus__wal_record record;
        nexus__wal_record_head rh;
        if (!nexus__wal_record_decode(body, n, at, &record, &at, &rh))
            return false;
        if (with_payloads && !nexus__wal_record_intact(&record, &rh))
            return false;
        crc = nexus__crc32c(crc, &rh.crc, sizeof rh.crc);
    }
    return at == n && trailer[0] == crc && trailer[1] == NEXUS__WAL_MARK;
}
