/*
 * What stands for files in a log that an engine keeps, so that it can be bounded by age and size: pieces, each a stretch
 * of places. Only their beginnings are remembered: those of this life as they are written, those of before are looked up
 * once, when somebody asks. Dropping to a piece keeps the run before it: whatever the piece's first batch is, nothing goes
 * that stands behind what was asked for.
 */
#include "base/status.h"
#include "wal/internal.h"

#define PIECES_MAX 256 /* of the lives before */

static uint64_t piece_bytes(const nexus__wal *wal)
{
    return wal->segment_bytes / 8;
}

static bool add(engine_marks *m, const nexus_alloc *alloc, const engine_mark *mark)
{
    if (m->count == m->cap) {
        size_t cap = m->cap ? m->cap * 2 : 16;
        engine_mark *grown = nexus__realloc(alloc, m->at, cap * sizeof *grown);
        if (!grown)
            return false; /* a longer piece */
        m->at = grown;
        m->cap = cap;
    }
    m->at[m->count++] = *mark;
    return true;
}

static uint64_t last_place(const engine_marks *m)
{
    return m->at[m->count - 1].place;
}

void nexus__wal_piece_written(nexus__wal *wal, const engine_mark *mark)
{
    pthread_mutex_lock(&wal->lock);
    engine_marks *m = &wal->engine_marks;
    if (!m->count || mark->place - last_place(m) >= piece_bytes(wal))
        add(m, wal->alloc, mark);
    pthread_mutex_unlock(&wal->lock);
}

void nexus__wal_piece_end(nexus__wal *wal)
{
    pthread_mutex_lock(&wal->lock);
    engine_marks *m = &wal->engine_marks;
    engine_mark mark = {atomic_load(&wal->engine_end), atomic_load(&wal->durable) + 1, wal->durable_seq,
                        nexus__clock_real(wal->clock)};
    if (m->count && last_place(m) < mark.place)
        add(m, wal->alloc, &mark);
    pthread_mutex_unlock(&wal->lock);
}

/* The first batch at the place or behind it. NEXUS_EDONE: none that can be read. */
static nexus_status look_up(nexus__wal *wal, uint64_t place, engine_mark *out)
{
    nexus__buf page;
    nexus__wal_batch_head head;
    uint64_t next;
    nexus__buf_init(&page, wal->alloc, 0);
    nexus_status status = wal->engine->ops->read(wal->engine, place, &page, &next);
    if (status == NEXUS_OK && page.len >= sizeof head) {
        memcpy(&head, page.p, sizeof head);
        *out = (engine_mark){place, head.first_pos, head.seq, head.recv_ns};
        status = nexus__wal_head_ok(&head, page.len, ENGINE_GENERATION, wal->seed) ? NEXUS_OK : NEXUS_EDONE;
    } else if (status == NEXUS_OK) {
        status = NEXUS_EDONE;
    }
    nexus__buf_free(&page);
    return status;
}

/* The pieces of the lives before, in front of those of this one. One caller at a time. */
static nexus_status complete(nexus__wal *wal)
{
    engine_marks old = {0};
    engine_mark mark;
    nexus_status status = NEXUS_OK;
    pthread_mutex_lock(&wal->lock);
    bool done = wal->engine_marks.complete;
    uint64_t end = wal->engine_marks.count ? wal->engine_marks.at[0].place : atomic_load(&wal->engine_end);
    pthread_mutex_unlock(&wal->lock);
    uint64_t begin = atomic_load(&wal->engine_begin), step = piece_bytes(wal);
    if (done)
        return NEXUS_OK;
    step = (end - begin) / PIECES_MAX > step ? (end - begin) / PIECES_MAX : step;
    for (uint64_t place = begin; place < end && status == NEXUS_OK; place += step) {
        status = look_up(wal, place, &mark);
        if (status == NEXUS_OK && !add(&old, wal->alloc, &mark))
            status = nexus__nomem();
        if (status == NEXUS_EDONE)
            status = NEXUS_OK;
    }
    pthread_mutex_lock(&wal->lock);
    for (size_t i = 0; i < wal->engine_marks.count && status == NEXUS_OK; i++)
        if (!add(&old, wal->alloc, &wal->engine_marks.at[i]))
            status = nexus__nomem();
    if (status == NEXUS_OK) {
        nexus__free(wal->alloc, wal->engine_marks.at);
        wal->engine_marks = old;
        wal->engine_marks.complete = true;
    }
    pthread_mutex_unlock(&wal->lock);
    if (status != NEXUS_OK)
        nexus__free(wal->alloc, old.at);
    return status;
}

nexus_status nexus__wal_pieces(nexus__wal *wal, nexus__wal_file **out, size_t *n)
{
    nexus_status status = complete(wal);
    if (status != NEXUS_OK)
        return status;
    pthread_mutex_lock(&wal->lock);
    const engine_marks *m = &wal->engine_marks;
    nexus__wal_file *files = nexus__calloc(wal->alloc, m->count + 1, sizeof *files);
    for (size_t i = 0; files && i < m->count; i++) {
        const engine_mark *next = i + 1 < m->count ? &m->at[i + 1] : NULL;
        files[i] = (nexus__wal_file){.generation = i + 1,
                                     .first_pos = m->at[i].pos,
                                     .end_pos = next ? next->pos : atomic_load(&wal->durable) + 1,
                                     .end_seq = next ? next->seq : wal->durable_seq,
                                     .bytes = (next ? next->place : atomic_load(&wal->engine_end)) - m->at[i].place,
                                     .begun_ns = m->at[i].ns,
                                     .ended_ns = next ? next->ns : 0};
    }
    *n = m->count;
    pthread_mutex_unlock(&wal->lock);
    *out = files;
    return files ? NEXUS_OK : nexus__nomem();
}

nexus_status nexus__wal_pieces_drop(nexus__wal *wal, uint64_t generation)
{
    pthread_mutex_lock(&wal->lock);
    engine_marks *m = &wal->engine_marks;
    bool some = generation && generation < m->count;
    uint64_t pos = some ? m->at[generation].pos - 1 : 0;
    pthread_mutex_unlock(&wal->lock);
    nexus_status status = some && pos ? nexus__wal_engine_drop_below(wal, pos) : NEXUS_OK;
    if (status != NEXUS_OK || !some)
        return status;
    pthread_mutex_lock(&wal->lock);
    m->count -= generation;
    memmove(m->at, m->at + generation, m->count * sizeof *m->at);
    pthread_mutex_unlock(&wal->lock);
    return NEXUS_OK;
}
