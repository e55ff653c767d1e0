/*
 * Reading the durable prefix, file by file, batch by batch. The reader keeps a window of the file in memory; slices
 * of the present batch point into it. It never reads past the durable end, so it can never see half a batch; what it
 * finds broken was broken later.
 */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/status.h"
#include "wal/index.h"

#define WINDOW (256u << 10)
#define FIRST_WINDOW (16u << 10) /* of a reader: many want one record and no more */

struct nexus__wal_reader {
    nexus__wal *wal;
    segment *at;
    uint64_t offset;   /* of the next batch */
    uint64_t next_seq; /* 0 = any */
    uint64_t want;     /* data below and internal records before it are passed over */
    uint64_t want_seq; /* batches before it, too */
    uint64_t end;      /* durable end of the present file, as last seen; 0 = unknown (sealed in an earlier life) */
    /* window */
    char *bytes;
    size_t cap;
    uint64_t from, have;
    /* with an engine: offset is the place of the next run, page holds the last ones read */
    nexus__buf page;
    size_t page_at;
    bool begun;
    /* what it is after, and the stretches of the present file where that may be */
    nexus__wal_select select;
    bool selecting, has_plan, shows_compacted;
    const segment *planned;
    nexus__buf plan; /* nexus__wal_range */
    size_t plan_at;
    uint64_t plan_end_seq, plan_end_pos;
    /* present batch */
    nexus__wal_batch_head head;
    const char *body;
    uint32_t index;
    size_t body_at;
    uint64_t pos; /* of the last data record seen */
};

static const segment_mark *nearest(const segment *s, uint64_t pos)
{
    const segment_mark *best = NULL;
    size_t low = 0, high = s->mark_count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (s->marks[mid].pos < pos) {
            best = &s->marks[mid];
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return best;
}

/* The last file that begins strictly below pos holds what stands directly before pos, too. */
static void place(nexus__wal_reader *r, uint64_t pos)
{
    nexus__wal *wal = r->wal;
    segment *s = wal->first;
    while (s && s->next && s->next->first_pos < pos)
        s = s->next;
    r->at = s ? nexus__wal_segment_ref(s) : NULL;
    r->offset = SEGMENT_HEAD_BYTES;
    const segment_mark *mark = s ? nearest(s, pos) : NULL;
    if (mark)
        r->offset = mark->at;
    if (s && !mark) {
        r->next_seq = s->first_seq;
        r->pos = s->first_pos - 1;
    }
}

nexus_status nexus__wal_reader_open(nexus__wal_reader **out, nexus__wal *wal, uint64_t pos)
{
    nexus__wal_reader *r = nexus__calloc(wal->alloc, 1, sizeof *r);
    if (!r)
        return nexus__nomem();
    r->wal = wal;
    r->want = pos;
    nexus__buf_init(&r->page, wal->alloc, 0);
    nexus__buf_init(&r->plan, wal->alloc, 0);
    uint64_t first = wal->engine ? nexus__wal_first(wal) : 1;
    if (wal->engine) { /* what is not there of what was asked for is said, too */
        r->next_seq = UINT64_MAX;
        r->pos = (pos > first ? pos : first) - 1;
    }
    if (wal->engine) {
        nexus_status status = pos > 1 ? wal->engine->ops->find(wal->engine, pos, &r->offset) : NEXUS_OK;
        if (status != NEXUS_OK) {
            nexus__wal_reader_close(r);
            return status;
        }
    } else {
        pthread_mutex_lock(&wal->lock);
        first = wal->first ? wal->first->first_pos : 1;
        place(r, pos);
        pthread_mutex_unlock(&wal->lock);
    }
    if (pos > 1 && pos < first) {
        nexus__wal_reader_close(r);
        return nexus__fail(NEXUS_EMISSING, "positions %llu to %llu are no longer in the log", (unsigned long long)pos,
                           (unsigned long long)first - 1);
    }
    *out = r;
    return NEXUS_OK;
}

/* The last file that begins at or before the cursor. Under the log's lock. */
static segment *file_of(const nexus__wal *wal, const nexus__wal_cursor *c)
{
    segment *found = NULL;
    for (segment *s = wal->first; s && s->first_seq <= c->seq; s = s->next)
        found = s;
    return found;
}

/* Whether the hint is good: the batch of the cursor lies there, or the log ends there. */
static bool hint_holds(const nexus__wal *wal, const segment *s, const nexus__wal_cursor *c)
{
    nexus__wal_batch_head head;
    if (s->generation != c->generation || c->at < SEGMENT_HEAD_BYTES || c->at > s->size)
        return false;
    if (c->at == atomic_load(&s->end) && c->seq == wal->durable_seq)
        return true;
    return pread(s->fd, &head, sizeof head, (off_t)c->at) == sizeof head &&
           nexus__wal_head_ok(&head, s->size - c->at, s->generation, wal->seed) && head.seq == c->seq;
}

nexus_status nexus__wal_reader_open_at(nexus__wal_reader **out, nexus__wal *wal, const nexus__wal_cursor *c)
{
    nexus__wal_reader *r = nexus__calloc(wal->alloc, 1, sizeof *r);
    if (!r)
        return nexus__nomem();
    r->wal = wal;
    r->want_seq = c->seq;
    nexus__buf_init(&r->page, wal->alloc, 0);
    nexus__buf_init(&r->plan, wal->alloc, 0);
    pthread_mutex_lock(&wal->lock);
    segment *s = file_of(wal, c);
    bool early = c->seq > wal->durable_seq || c->pos > atomic_load(&wal->durable) + 1;
    bool dropped = wal->engine ? c->at < atomic_load(&wal->engine_begin) : !s && wal->first;
    if (wal->engine) { /* places never change */
        r->offset = c->at;
        r->next_seq = c->seq;
        r->pos = c->pos - 1;
    } else if (s) {
        bool near = hint_holds(wal, s, c);
        r->at = nexus__wal_segment_ref(s);
        r->offset = near ? c->at : SEGMENT_HEAD_BYTES;
        r->next_seq = near ? c->seq : s->first_seq;
        r->pos = near ? c->pos - 1 : s->first_pos - 1;
    }
    pthread_mutex_unlock(&wal->lock);
    if (early || dropped) {
        nexus__wal_reader_close(r);
        return early ? nexus__fail(NEXUS_ESTALE, "the log ends before position %llu", (unsigned long long)c->pos)
                     : nexus__fail(NEXUS_EMISSING, "what followed position %llu is no longer in the log",
                                   (unsigned long long)c->pos - 1);
    }
    *out = r;
    return NEXUS_OK;
}

void nexus__wal_reader_close(nexus__wal_reader *r)
{
    if (!r)
        return;
    nexus__wal_segment_unref(r->at);
    nexus__free(r->wal->alloc, r->bytes);
    nexus__buf_free(&r->plan);
    nexus__buf_free(&r->page);
    nexus__free(r->wal->alloc, r);
}

void nexus__wal_reader_select(nexus__wal_reader *r, const nexus__wal_select *select)
{
    r->select = *select;
    r->selecting = !r->wal->engine && (select->stream || select->wants_type);
}

void nexus__wal_reader_show_compacted(nexus__wal_reader *r)
{
    r->shows_compacted = true;
}

uint64_t nexus__wal_reader_pos(const nexus__wal_reader *r)
{
    return r->pos;
}

static const nexus__wal_range *next_range(const nexus__wal_reader *r)
{
    const nexus__wal_range *all = (const nexus__wal_range *)(const void *)r->plan.p;
    return r->has_plan && r->plan_at < r->plan.len / sizeof *all ? &all[r->plan_at] : NULL;
}

static void make_plan(nexus__wal_reader *r)
{
    r->planned = r->at;
    r->plan_at = 0;
    nexus__buf_clear(&r->plan);
    nexus__wal_index *x = nexus__wal_index_of(r->wal, r->at);
    nexus__wal_index_head head = {0};
    if (x)
        head = x->head;
    r->has_plan = x ? nexus__wal_index_find(r->wal, x, &r->select, &r->plan) == NEXUS_OK
                    : nexus__wal_recent_find(r->wal, r->at, r->offset, &r->select, &r->plan, &head);
    r->plan_end_seq = head.end_seq;
    r->plan_end_pos = head.end_pos;
    nexus__wal_index_unref(x);
}

/* Moves on to where something may be; true: the rest of the file is of no interest. */
static bool pass_over(nexus__wal_reader *r)
{
    if (r->planned != r->at)
        make_plan(r);
    const nexus__wal_range *range;
    while ((range = next_range(r)) != NULL && range->end <= r->offset)
        r->plan_at++;
    if (range && r->offset < range->at) {
        bool open = range->end == UINT64_MAX; /* behind what the plan knows */
        r->offset = range->at;
        r->next_seq = open ? r->plan_end_seq : 0;
        r->pos = open ? r->plan_end_pos - 1 : r->pos;
    }
    if (range || !r->has_plan)
        return false;
    r->next_seq = r->plan_end_seq;
    r->pos = r->plan_end_pos - 1;
    return true;
}

/* n bytes at offset in memory; NEXUS_EDONE when the file has fewer. */
static nexus_status window(nexus__wal_reader *r, uint64_t offset, size_t n, const char **out)
{
    if (offset >= r->from && offset + n <= r->from + r->have) {
        *out = r->bytes + (offset - r->from);
        return NEXUS_OK;
    }
    uint64_t limit = r->end ? r->end : r->at->size;
    if (offset + n > limit)
        return NEXUS_EDONE;
    size_t most = r->cap ? WINDOW : FIRST_WINDOW;
    const nexus__wal_range *range = next_range(r);
    uint64_t useful = range && range->end > offset && range->end < limit ? range->end : limit;
    size_t read_n = useful - offset < most ? (size_t)(useful - offset) : most;
    if (read_n < n)
        read_n = n;
    if (read_n > r->cap) {
        nexus__free(r->wal->alloc, r->bytes);
        r->have = 0;
        r->cap = 0;
        r->bytes = nexus__malloc(r->wal->alloc, read_n);
        if (!r->bytes)
            return nexus__nomem();
        r->cap = read_n;
    }
    r->from = offset;
    r->have = 0;
    while (r->have < n) {
        ssize_t got = pread(r->at->fd, r->bytes + r->have, read_n - r->have, (off_t)(offset + r->have));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return nexus__fail_errno(errno, "read %s", r->at->name);
        if (got == 0)
            return NEXUS_EDONE;
        r->have += (uint64_t)got;
    }
    *out = r->bytes;
    return NEXUS_OK;
}

/* The next file, when this one is over. NEXUS_EDONE at the end of the log. */
static nexus_status advance(nexus__wal_reader *r)
{
    pthread_mutex_lock(&r->wal->lock);
    segment *next = nexus__wal_segment_after(r->wal, r->at);
    if (next)
        nexus__wal_segment_ref(next);
    pthread_mutex_unlock(&r->wal->lock);
    if (!next)
        return NEXUS_EDONE;
    uint64_t expected = r->next_seq, pos = r->pos;
    nexus__wal_segment_unref(r->at);
    r->at = next;
    r->planned = NULL;
    r->has_plan = false;
    r->offset = SEGMENT_HEAD_BYTES;
    r->from = r->have = 0;
    r->next_seq = next->first_seq;
    r->pos = next->first_pos - 1;
    if (expected && expected < next->first_seq && pos + 1 < next->first_pos)
        return nexus__fail(NEXUS_EMISSING, "positions %llu to %llu are missing from the log before %s",
                           (unsigned long long)pos + 1, (unsigned long long)next->first_pos - 1, next->name);
    return NEXUS_OK;
}

/* Broken bytes where a batch should be: the next whole batch of this file, or the end of the file. */
static nexus_status resync(nexus__wal_reader *r)
{
    uint64_t size = r->end ? r->end : r->at->size, bad = r->offset;
    char *map = mmap(NULL, size, PROT_READ, MAP_SHARED, r->at->fd, 0);
    if (map == MAP_FAILED)
        return nexus__fail_errno(errno, "map %s", r->at->name);
    uint64_t next = nexus__wal_find_batch(map, size, bad + 8, r->at->generation, r->wal->seed);
    munmap(map, size);
    r->offset = next ? next : size;
    r->next_seq = next ? 0 : UINT64_MAX;
    r->from = r->have = 0;
    return nexus__fail(NEXUS_ECORRUPT, "%s at %llu: a batch fails its check", r->at->name, (unsigned long long)bad);
}

/* In a file sealed in an earlier life the end shows by what follows: the next file begins where this one stopped. */
static nexus_status at_unreadable(nexus__wal_reader *r, bool written)
{
    pthread_mutex_lock(&r->wal->lock);
    segment *next = nexus__wal_segment_after(r->wal, r->at);
    uint64_t first_seq = next ? next->first_seq : 0;
    pthread_mutex_unlock(&r->wal->lock);
    bool over = first_seq == r->next_seq || r->next_seq == UINT64_MAX || r->next_seq == 0 || (first_seq && !written);
    if (r->end == 0 && over) {
        atomic_store(&r->at->end, r->offset);
        return advance(r);
    }
    return resync(r);
}

/* What one reader passes, the next one finds faster. */
static void remember(const nexus__wal_reader *r)
{
    segment *s = r->at;
    if (!atomic_load(&s->sealed))
        return;
    pthread_mutex_lock(&r->wal->lock);
    if (!s->mark_count || s->marks[s->mark_count - 1].at < r->offset)
        nexus__wal_mark(s, r->head.first_pos, r->offset);
    pthread_mutex_unlock(&r->wal->lock);
}

static nexus_status load_batch(nexus__wal_reader *r)
{
    if (r->selecting && pass_over(r))
        return advance(r);
    r->end = atomic_load(&r->at->end);
    if (r->end && r->offset >= r->end)
        return atomic_load(&r->at->sealed) && r->offset >= atomic_load(&r->at->end) ? advance(r) : NEXUS_EDONE;
    const char *p;
    nexus_status status = window(r, r->offset, BATCH_HEAD_BYTES, &p);
    if (status == NEXUS_EDONE)
        return at_unreadable(r, false);
    if (status != NEXUS_OK)
        return status;
    memcpy(&r->head, p, sizeof r->head);
    uint64_t limit = (r->end ? r->end : r->at->size) - r->offset;
    if (!nexus__wal_head_ok(&r->head, limit, r->at->generation, r->wal->seed) ||
        (r->next_seq && r->next_seq != UINT64_MAX && r->head.seq != r->next_seq))
        return at_unreadable(r, r->head.magic == NEXUS__WAL_BATCH_MAGIC && r->head.generation == r->at->generation);
    status = window(r, r->offset, sizeof r->head + r->head.body_bytes, &p);
    if (status != NEXUS_OK)
        return status == NEXUS_EDONE ? at_unreadable(r, true) : status;
    if (!nexus__wal_body_ok(&r->head, p + sizeof r->head, false))
        return resync(r);
    remember(r);
    r->body = p + sizeof r->head;
    r->index = 0;
    r->body_at = 0;
    r->pos = r->head.first_pos - 1;
    r->offset += sizeof r->head + r->head.body_bytes;
    r->next_seq = r->head.seq + 1;
    return NEXUS_OK;
}

/* Where what is read comes from, for messages. */
static const char *source_name(const nexus__wal_reader *r)
{
    return r->wal->engine ? r->wal->engine->ops->name : r->at->name;
}

/* --- from an engine ---- */

static nexus_status next_page(nexus__wal_reader *r)
{
    nexus__wal *wal = r->wal;
    if (r->offset >= atomic_load(&wal->engine_end))
        return NEXUS_EDONE;
    nexus__buf_clear(&r->page);
    r->page_at = 0;
    nexus_status status = wal->engine->ops->read(wal->engine, r->offset, &r->page, &r->offset);
    if (status == NEXUS_OK)
        status = r->page.status;
    if (status != NEXUS_OK || r->page.len)
        return status;
    r->offset = atomic_load(&wal->engine_end);
    r->next_seq = 0;
    return nexus__fail(NEXUS_EMISSING, "the end of the log is gone from its %s engine", wal->engine->ops->name);
}

/* A batch of the page that fails its check: the next whole one of it, or the next page. */
static nexus_status pass_broken(nexus__wal_reader *r)
{
    uint64_t next =
        nexus__wal_find_batch(r->page.p, r->page.len, r->page_at + 8, ENGINE_GENERATION, r->wal->seed);
    r->page_at = next ? next : r->page.len;
    r->next_seq = 0;
    return nexus__fail(NEXUS_ECORRUPT, "a batch of the log in its %s engine fails its check",
                       r->wal->engine->ops->name);
}

/* Numbers are missing before this batch: rows or entries were removed behind our back. Said once, then read on, and not
 * to those who want nothing of it. */
static nexus_status pass_gap(nexus__wal_reader *r, uint64_t first_pos)
{
    uint64_t from = r->pos + 1;
    r->next_seq = 0;
    if (from >= first_pos || first_pos <= r->want)
        return NEXUS_OK;
    return nexus__fail(NEXUS_EMISSING, "positions %llu to %llu are missing from the log's %s engine",
                       (unsigned long long)from, (unsigned long long)first_pos - 1, r->wal->engine->ops->name);
}

static nexus_status load_from_engine(nexus__wal_reader *r)
{
    nexus_status status = r->page_at == r->page.len ? next_page(r) : NEXUS_OK;
    if (status != NEXUS_OK)
        return status;
    const char *p = r->page.p + r->page_at;
    size_t n = r->page.len - r->page_at;
    if (n < sizeof r->head)
        return pass_broken(r);
    memcpy(&r->head, p, sizeof r->head);
    if (!nexus__wal_head_ok(&r->head, n, ENGINE_GENERATION, r->wal->seed) ||
        !nexus__wal_body_ok(&r->head, p + sizeof r->head, false))
        return pass_broken(r);
    bool first = !r->begun; /* which begins before what is wanted, unless that is gone */
    r->begun = true;
    if (first && !r->next_seq)
        r->pos = (r->want > 1 ? r->want : nexus__wal_first(r->wal)) - 1;
    bool gap = r->next_seq ? r->head.seq != r->next_seq : first && r->head.first_pos > r->pos + 1;
    if (gap && (status = pass_gap(r, r->head.first_pos)) != NEXUS_OK)
        return status;
    r->body = p + sizeof r->head;
    r->index = 0;
    r->body_at = 0;
    r->pos = r->head.first_pos - 1;
    r->page_at += sizeof r->head + r->head.body_bytes;
    r->next_seq = r->head.seq + 1;
    return NEXUS_OK;
}

nexus_status nexus__wal_reader_next(nexus__wal_reader *r, nexus__wal_record *record)
{
    for (;;) {
        while (r->wal->engine && (!r->body || r->index == r->head.count)) {
            r->body = NULL;
            nexus_status status = load_from_engine(r);
            if (status != NEXUS_OK)
                return status;
        }
        while (!r->body || r->index == r->head.count) {
            r->body = NULL;
            if (!r->at)
                return NEXUS_EDONE;
            uint64_t offset = r->offset;
            const segment *file = r->at;
            nexus_status status = load_batch(r);
            if (status != NEXUS_OK)
                return status;
            if (!r->body && file == r->at && offset == r->offset)
                return NEXUS_EDONE;
        }
        nexus__wal_record_head head;
        size_t n = r->head.body_bytes - BATCH_TRAILER_BYTES;
        if (!nexus__wal_record_at(r->body, n, r->body_at, record, &r->body_at, &head)) {
            r->index = r->head.count;
            return nexus__fail(NEXUS_ECORRUPT, "%s: a record fails its check", source_name(r));
        }
        r->index++;
        if (r->head.seq < r->want_seq) {
            r->index = r->head.count;
            continue;
        }
        bool internal = record->flags & NEXUS__WAL_INTERNAL;
        r->pos += !internal;
        record->pos = r->pos;
        record->recv_ns = r->head.recv_ns;
        if (record->pos + internal < r->want)
            continue;
        if (record->flags & NEXUS__WAL_LOST && internal)
            continue;
        if (record->flags & NEXUS__WAL_COMPACTED && !r->shows_compacted)
            continue;
        if (record->flags & NEXUS__WAL_LOST)
            return nexus__fail(NEXUS_EMISSING, "position %llu was damaged and is no longer in the log",
                               (unsigned long long)record->pos);
        if (!nexus__wal_record_intact(record, &head))
            return nexus__fail(NEXUS_ECORRUPT, "%s: the data of position %llu fails its check", source_name(r),
                               (unsigned long long)record->pos);
        return NEXUS_OK;
    }
}
