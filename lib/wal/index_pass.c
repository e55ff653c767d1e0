/* Reading a file for its index: whole batches, one after the other, as far as they go or a limit; and on from there later. */
#include <sys/mman.h>

#include "base/status.h"
#include "wal/index.h"

enum { TYPE_NAME_MAX = 1000 };

typedef struct type {
    uint32_t id;
    nexus_slice name; /* in the map of the file */
} type;

static void add_name(nexus__wal_index_pass *p, nexus_slice name)
{
    uint16_t n = (uint16_t)name.n;
    nexus__buf_append(&p->names, &n, sizeof n);
    nexus__buf_append(&p->names, name.p, n);
    p->head.types++;
}

/* The number of a type; the last one is for those that find no place. */
static nexus_status number_of(nexus__wal_index_pass *p, nexus_slice name, uint32_t *out)
{
    type *t = nexus__map_get(&p->types, name);
    if (!t && (p->head.types >= INDEX_TYPES_MAX - 1 || name.n > TYPE_NAME_MAX)) {
        while (p->head.types < INDEX_TYPES_MAX)
            add_name(p, NEXUS_S(""));
        *out = INDEX_TYPES_MAX - 1;
        return NEXUS_OK;
    }
    if (!t) {
        t = nexus__malloc(p->wal->alloc, sizeof *t);
        if (!t)
            return nexus__nomem();
        *t = (type){p->head.types, name};
        if (nexus__map_put(&p->types, t->name, t, NULL) != NEXUS_OK) {
            nexus__free(p->wal->alloc, t);
            return nexus__nomem();
        }
        add_name(p, name);
    }
    *out = t->id;
    return NEXUS_OK;
}

static nexus_status add_record(nexus__wal_index_pass *p, const nexus__wal_record *r)
{
    nexus_slice name = p->type_of(r);
    if (r->stream) {
        nexus__wal_index_pair pair = {r->stream, (uint32_t)(r->pos - p->head.first_pos)};
        nexus__buf_append(&p->pairs, &pair, sizeof pair);
    }
    if (!name.n)
        return NEXUS_OK;
    uint32_t id;
    nexus_status status = number_of(p, name, &id);
    if (status == NEXUS_OK && p->bits.status == NEXUS_OK)
        ((uint64_t *)(void *)(p->bits.p + p->bits.len - INDEX_BITS_BYTES))[id / 64] |= (uint64_t)1 << id % 64;
    return status;
}

static void begin_block(nexus__wal_index_pass *p, uint64_t pos, uint64_t at)
{
    static const char nothing[INDEX_BITS_BYTES];
    nexus__wal_index_block block = {pos, at};
    nexus__buf_append(&p->blocks, &block, sizeof block);
    nexus__buf_append(&p->bits, nothing, sizeof nothing);
    p->head.blocks++;
}

static nexus_status add_batch(nexus__wal_index_pass *p, const nexus__wal_batch_head *head, const char *body)
{
    size_t n = head->body_bytes - BATCH_TRAILER_BYTES, at = 0;
    uint64_t pos = head->first_pos - 1;
    nexus_status status = NEXUS_OK;
    for (uint32_t i = 0; i < head->count && status == NEXUS_OK; i++) {
        nexus__wal_record r;
        nexus__wal_record_head rh;
        if (!nexus__wal_record_at(body, n, at, &r, &at, &rh))
            return nexus__fail(NEXUS_ECORRUPT, "%s: a record fails its check", p->s->name);
        if (r.flags & NEXUS__WAL_INTERNAL)
            continue;
        r.pos = ++pos;
        if (r.flags & NEXUS__WAL_COMPACTED)
            continue;
        status = add_record(p, &r);
    }
    return status;
}

nexus_status nexus__wal_pass_on(nexus__wal_index_pass *p, uint64_t limit)
{
    nexus__wal_batch_head head;
    while (p->at + sizeof head <= limit) {
        memcpy(&head, p->map + p->at, sizeof head);
        const char *body = p->map + p->at + sizeof head;
        if (!nexus__wal_head_ok(&head, limit - p->at, p->s->generation, p->wal->seed) || head.seq != p->seq ||
            !nexus__wal_body_ok(&head, body, false))
            break;
        if (p->block_at == 0 || p->at - p->block_at >= INDEX_BLOCK_BYTES)
            begin_block(p, head.first_pos, p->block_at = p->at);
        nexus_status status = add_batch(p, &head, body);
        if (status != NEXUS_OK)
            return status;
        p->head.last_at = p->at;
        p->head.end_pos = head.first_pos + head.data_count;
        p->at += sizeof head + head.body_bytes;
        p->seq = head.seq + 1;
    }
    bool room = p->blocks.status == NEXUS_OK && p->pairs.status == NEXUS_OK && p->bits.status == NEXUS_OK &&
                p->names.status == NEXUS_OK;
    return room ? NEXUS_OK : nexus__nomem();
}

nexus_status nexus__wal_pass_begin(nexus__wal_index_pass *p, nexus__wal *wal, segment *s, nexus__wal_type_fn *type_of)
{
    *p = (nexus__wal_index_pass){
        .wal = wal, .s = nexus__wal_segment_ref(s), .type_of = type_of, .at = SEGMENT_HEAD_BYTES, .seq = s->first_seq};
    p->head.generation = s->generation;
    p->head.first_pos = p->head.end_pos = s->first_pos;
    memcpy(p->head.uuid, wal->uuid, sizeof p->head.uuid);
    nexus__buf_init(&p->blocks, wal->alloc, 0);
    nexus__buf_init(&p->pairs, wal->alloc, 0);
    nexus__buf_init(&p->bits, wal->alloc, 0);
    nexus__buf_init(&p->names, wal->alloc, 0);
    nexus__map_init(&p->types, wal->alloc);
    void *map = mmap(NULL, s->size, PROT_READ, MAP_SHARED, s->fd, 0);
    if (map != MAP_FAILED)
        p->map = map;
    return p->map ? NEXUS_OK : nexus__fail(NEXUS_EIO, "%s cannot be mapped", s->name);
}

void nexus__wal_pass_end(nexus__wal_index_pass *p)
{
    size_t cursor = 0;
    for (nexus__map_entry *e; (e = nexus__map_next(&p->types, &cursor));)
        nexus__free(p->wal->alloc, e->value);
    nexus__map_free(&p->types);
    if (p->map)
        munmap((void *)(uintptr_t)p->map, p->s->size);
    nexus__buf_free(&p->blocks);
    nexus__buf_free(&p->pairs);
    nexus__buf_free(&p->bits);
    nexus__buf_free(&p->names);
    nexus__wal_segment_unref(p->s);
}
