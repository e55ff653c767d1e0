/* Batches under construction: callers encode their records by themselves, outside every lock. */
#include "base/status.h"
#include "wal/internal.h"

nexus_status nexus__wal_batch_new(nexus__wal_batch **out, nexus__wal *wal, size_t size_hint)
{
    nexus__wal_batch *b = nexus__calloc(wal->alloc, 1, sizeof *b);
    if (!b)
        return nexus__nomem();
    nexus__buf_init(&b->bytes, wal->alloc, wal->batch_max);
    nexus__buf_reserve(&b->bytes, BATCH_HEAD_BYTES + size_hint + BATCH_TRAILER_BYTES);
    if (nexus__buf_reserve(&b->bytes, BATCH_HEAD_BYTES))
        b->bytes.len = BATCH_HEAD_BYTES;
    b->cursor_at = BATCH_HEAD_BYTES;
    if (b->bytes.status != NEXUS_OK) {
        nexus_status status = b->bytes.status;
        nexus__wal_batch_free(b);
        return nexus__fail(status, "a batch of %zu bytes does not fit", size_hint);
    }
    *out = b;
    return NEXUS_OK;
}

nexus_status nexus__wal_batch_add(nexus__wal_batch *b, const nexus__wal_record *record)
{
    if (record->meta.n > UINT32_MAX / 2 || record->payload.n > UINT32_MAX / 2)
        return nexus__fail(NEXUS_ETOOBIG, "a log record is over 2 GiB");
    nexus__wal_record_encode(&b->bytes, record);
    if (b->bytes.status != NEXUS_OK)
        return nexus__fail(b->bytes.status, "a batch may hold %zu bytes", b->bytes.max);
    b->count++;
    b->data_count += !(record->flags & NEXUS__WAL_INTERNAL);
    return NEXUS_OK;
}

void nexus__wal_batch_set_version(nexus__wal_batch *b, size_t i, int64_t version)
{
    if (i < b->cursor_index) {
        b->cursor_index = 0;
        b->cursor_at = BATCH_HEAD_BYTES;
    }
    nexus__wal_record_head head;
    for (;; b->cursor_index++) {
        memcpy(&head, b->bytes.p + b->cursor_at, sizeof head);
        if (b->cursor_index == i)
            break;
        b->cursor_at += sizeof head + nexus__wal_pad(head.meta_bytes) + nexus__wal_pad(head.payload_bytes);
    }
    head.version = version;
    memcpy(b->bytes.p + b->cursor_at, &head, sizeof head);
}

void nexus__wal_batch_on_queued(nexus__wal_batch *b, void (*fn)(uint64_t, int64_t, void *))
{
    b->queued = fn;
}

void nexus__wal_batch_will_lead(nexus__wal_batch *b)
{
    b->leads = true;
}

void nexus__wal_batch_free(nexus__wal_batch *b)
{
    if (!b)
        return;
    const nexus_alloc *alloc = b->bytes.alloc;
    nexus__buf_free(&b->bytes);
    nexus__free(alloc, b);
}

