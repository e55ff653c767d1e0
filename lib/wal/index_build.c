/* Making the index of a finished file: one pass over it, a sort, and a file that is written beside its place. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/codec.h"
#include "base/status.h"
#include "wal/index.h"

#define TEMPORARY "index.tmp"

static int by_stream(const void *a, const void *b)
{
    const nexus__wal_index_pair *x = a, *y = b;
    if (x->stream != y->stream)
        return x->stream < y->stream ? -1 : 1;
    return (x->after > y->after) - (x->after < y->after);
}

static void put_bitmaps(const nexus__wal_index_pass *b, nexus__buf *out)
{
    size_t words = (b->head.types + 63) / 64;
    for (uint32_t i = 0; i < b->head.blocks; i++)
        nexus__buf_append(out, b->bits.p + (size_t)i * INDEX_BITS_BYTES, words * sizeof(uint64_t));
}

static void put_bloom(nexus__wal_index_pass *b, const nexus__wal_index_pair *pairs, size_t n, nexus__buf *out)
{
    size_t streams = 0;
    for (size_t i = 0; i < n; i++)
        streams += i == 0 || pairs[i].stream != pairs[i - 1].stream;
    b->head.bloom_lines = (uint32_t)((streams + BLOOM_LINE_STREAMS - 1) / BLOOM_LINE_STREAMS);
    size_t bytes = (size_t)b->head.bloom_lines * BLOOM_LINE_BYTES;
    uint8_t *bloom = bytes ? (uint8_t *)nexus__buf_reserve(out, bytes) : NULL;
    if (!bloom)
        return;
    memset(bloom, 0, bytes);
    for (size_t i = 0; i < n; i++)
        nexus__wal_bloom_add(bloom, b->head.bloom_lines, pairs[i].stream);
    out->len += bytes;
}

static void put_pages(const nexus__wal_index_pair *pairs, size_t n, nexus__buf *out)
{
    for (size_t at = 0; at < n; at += INDEX_PAGE_ENTRIES) {
        nexus__wal_index_page page = {.count = (uint32_t)(n - at < INDEX_PAGE_ENTRIES ? n - at : INDEX_PAGE_ENTRIES)};
        for (uint32_t i = 0; i < page.count; i++) {
            page.streams[i] = pairs[at + i].stream;
            page.after[i] = pairs[at + i].after;
        }
        page.crc = nexus__wal_index_page_crc(&page);
        nexus__buf_append(out, &page, sizeof page);
    }
}

static void encode(nexus__wal_index_pass *b, nexus__buf *out)
{
    static const char magic[8] = "NXWIDX1";
    nexus__wal_index_pair *pairs = (nexus__wal_index_pair *)(void *)b->pairs.p;
    size_t n = b->pairs.len / sizeof *pairs;
    if (n)
        qsort(pairs, n, sizeof *pairs, by_stream);
    nexus__buf_append(out, &b->head, sizeof b->head); /* again below, when all of it is known */
    nexus__buf_slice_append(out, nexus__buf_slice(&b->blocks));
    for (size_t at = 0; at < n; at += INDEX_PAGE_ENTRIES, b->head.pages++)
        nexus__buf_append(out, &pairs[at].stream, sizeof pairs[at].stream);
    put_bitmaps(b, out);
    put_bloom(b, pairs, n, out);
    nexus__buf_slice_append(out, nexus__buf_slice(&b->names));
    if (out->status != NEXUS_OK)
        return;
    memcpy(b->head.magic, magic, sizeof magic);
    b->head.names_bytes = (uint32_t)b->names.len;
    b->head.end_at = b->at;
    b->head.end_seq = b->seq;
    b->head.summary_crc = nexus__crc32c(0, out->p + sizeof b->head, out->len - sizeof b->head);
    b->head.crc = nexus__crc32c(0, &b->head, offsetof(nexus__wal_index_head, crc));
    memcpy(out->p, &b->head, sizeof b->head);
    put_pages(pairs, n, out);
}

/* It takes its place only while the file is the one it was made from. */
static nexus_status put_in_place(nexus__wal_index_pass *b)
{
    nexus__wal *wal = b->wal;
    char name[SEGMENT_NAME_MAX];
    nexus_status status = NEXUS_OK;
    nexus__wal_index_name(b->s, name);
    pthread_mutex_lock(&wal->lock);
    segment *at = wal->first;
    while (at && at != b->s)
        at = at->next;
    if (!at)
        status = nexus__fail(NEXUS_EMISSING, "%s was dropped meanwhile", b->s->name);
    else if (renameat(wal->dir_fd, TEMPORARY, wal->dir_fd, name) != 0)
        status = nexus__fail(NEXUS_EIO, "the index of %s cannot be renamed", b->s->name);
    nexus__wal_index *old = NULL;
    if (status == NEXUS_OK) {
        old = at->index;
        at->index = NULL;
        at->index_looked = false;
    }
    pthread_mutex_unlock(&wal->lock);
    nexus__wal_index_unref(old);
    return status;
}

static nexus_status write_file(nexus__wal_index_pass *b, const nexus__buf *bytes)
{
    if (bytes->status != NEXUS_OK)
        return nexus__nomem();
    int fd = nexus__wal_io_open(b->wal, TEMPORARY, O_WRONLY | O_CREAT | O_TRUNC);
    if (fd < 0)
        return nexus__fail(NEXUS_EIO, "the index of %s cannot be written", b->s->name);
    nexus_status status = nexus__wal_io_write(b->wal, fd, bytes->p, bytes->len, 0); /* not synced: its CRCs tell */
    close(fd);
    if (status == NEXUS_OK)
        status = put_in_place(b);
    if (status != NEXUS_OK)
        unlinkat(b->wal->dir_fd, TEMPORARY, 0);
    return status;
}

static bool is_whole(const nexus__wal_index_pass *b)
{
    pthread_mutex_lock(&b->wal->lock);
    const segment *next = nexus__wal_segment_after(b->wal, b->s);
    bool whole = next && next->first_seq == b->seq && b->head.blocks;
    pthread_mutex_unlock(&b->wal->lock);
    return whole;
}

static nexus_status index_segment(nexus__wal *wal, segment *s, nexus__wal_type_fn *type_of)
{
    nexus__wal_index_pass pass;
    nexus__buf out;
    nexus__buf_init(&out, wal->alloc, 0);
    nexus_status status = nexus__wal_pass_begin(&pass, wal, s, type_of);
    if (status == NEXUS_OK)
        status = nexus__wal_pass_on(&pass, s->size);
    if (status == NEXUS_OK && !is_whole(&pass))
        status = nexus__fail(NEXUS_ECORRUPT, "%s is damaged or empty", s->name);
    if (status == NEXUS_OK) {
        encode(&pass, &out);
        status = write_file(&pass, &out);
    }
    nexus__wal_pass_end(&pass);
    nexus__buf_free(&out);
    return status;
}

/* The oldest finished file that was not tried yet and has no good index. */
static segment *find_bare(nexus__wal *wal)
{
    for (;;) {
        pthread_mutex_lock(&wal->lock);
        segment *s = wal->first;
        while (s && s->next && s->index_done && !(s->index && atomic_load(&s->index->broken)))
            s = s->next;
        s = s && s->next ? nexus__wal_segment_ref(s) : NULL;
        nexus__wal_index *broken = NULL;
        if (s && s->index_done) { /* it was good once */
            broken = s->index;
            s->index = NULL;
            s->index_looked = true;
        }
        if (s)
            s->index_done = true;
        pthread_mutex_unlock(&wal->lock);
        nexus__wal_index_unref(broken);
        nexus__wal_index *x = s ? nexus__wal_index_of(wal, s) : NULL;
        if (!x)
            return s;
        nexus__wal_index_unref(x);
        nexus__wal_segment_unref(s);
    }
}

bool nexus__wal_index_one(nexus__wal *wal, nexus__wal_type_fn *type_of)
{
    if (!wal->dir || wal->engine)
        return false;
    segment *s = find_bare(wal);
    if (!s)
        return false;
    (void)!index_segment(wal, s, type_of); /* damaged, or no room: it is read through, as before */
    nexus__wal_segment_unref(s);
    return true;
}
