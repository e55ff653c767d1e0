/*
 * The index of the file that is written to: in memory, made when somebody reads by stream or type, and each time only of
 * what was written since. Publishers do nothing for it.
 */
#include "base/status.h"
#include "wal/index.h"

#define WORTH_BYTES (128u << 10) /* less than that is read as it is */

/* The pass over this file, as far as its batches are durable; NULL: none can be made. Under recent_lock. */
static nexus__wal_index_pass *pass_of(nexus__wal *wal, segment *s, nexus__wal_type_fn *type_of)
{
    nexus__wal_index_pass *p = wal->recent;
    if (p && p->s != s) {
        nexus__wal_recent_forget(wal);
        p = NULL;
    }
    if (!p && (p = nexus__malloc(wal->alloc, sizeof *p)) != NULL) {
        wal->recent = p;
        if (nexus__wal_pass_begin(p, wal, s, type_of) != NEXUS_OK)
            nexus__wal_recent_forget(wal);
    }
    if (wal->recent && nexus__wal_pass_on(wal->recent, atomic_load(&s->end)) != NEXUS_OK)
        nexus__wal_recent_forget(wal);
    return wal->recent;
}

void nexus__wal_recent_forget(nexus__wal *wal)
{
    if (wal->recent)
        nexus__wal_pass_end(wal->recent);
    nexus__free(wal->alloc, wal->recent);
    wal->recent = NULL;
}

static void mark_stream(const nexus__wal_index_pass *p, uint64_t stream, uint64_t *bits)
{
    const nexus__wal_index_pair *pairs = (const void *)p->pairs.p;
    const nexus__wal_index_block *blocks = (const void *)p->blocks.p;
    uint32_t b = 0;
    for (size_t i = 0, n = p->pairs.len / sizeof *pairs; i < n; i++) {
        if (pairs[i].stream != stream)
            continue;
        while (b + 1 < p->head.blocks && blocks[b + 1].pos <= p->head.first_pos + pairs[i].after)
            b++;
        bits[b / 64] |= (uint64_t)1 << b % 64;
    }
}

static void mark_types(const nexus__wal_index_pass *p, const nexus__wal_select *select, uint64_t *bits)
{
    uint64_t wanted[INDEX_TYPES_MAX / 64];
    nexus__wal_index_wanted(nexus__buf_slice(&p->names), p->head.types, select, wanted);
    for (uint32_t b = 0; b < p->head.blocks; b++) {
        const uint64_t *has = (const uint64_t *)(const void *)(p->bits.p + (size_t)b * INDEX_BITS_BYTES);
        uint64_t any = 0;
        for (size_t w = 0; w < INDEX_TYPES_MAX / 64; w++)
            any |= has[w] & wanted[w];
        if (!any)
            bits[b / 64] &= ~((uint64_t)1 << b % 64);
    }
}

static bool find(const nexus__wal_index_pass *p, const nexus__wal_select *select, nexus__buf *out)
{
    size_t words = (p->head.blocks + 63) / 64;
    uint64_t *bits = nexus__calloc(p->wal->alloc, words + 1, sizeof *bits);
    if (!bits)
        return false;
    if (select->stream)
        mark_stream(p, select->stream, bits);
    else
        memset(bits, 0xff, words * sizeof *bits);
    if (select->wants_type)
        mark_types(p, select, bits);
    nexus__wal_index_ranges((const void *)p->blocks.p, p->head.blocks, p->at, bits, out);
    nexus__wal_range rest = {p->at, UINT64_MAX};
    nexus__buf_append(out, &rest, sizeof rest);
    nexus__free(p->wal->alloc, bits);
    return out->status == NEXUS_OK;
}

bool nexus__wal_recent_find(nexus__wal *wal, segment *s, uint64_t from, const nexus__wal_select *select, nexus__buf *out,
                            nexus__wal_index_head *head)
{
    bool found = false;
    uint64_t end = atomic_load(&s->end);
    if (!select->type_of || end < from + WORTH_BYTES)
        return false;
    pthread_mutex_lock(&wal->recent_lock);
    bool known = wal->recent && wal->recent->s == s;
    nexus__wal_index_pass *p = known || !atomic_load(&s->sealed) ? pass_of(wal, s, select->type_of) : NULL;
    if (p)
        found = find(p, select, out);
    if (p) {
        head->end_pos = p->head.end_pos;
        head->end_seq = p->seq;
    }
    pthread_mutex_unlock(&wal->recent_lock);
    return found;
}
