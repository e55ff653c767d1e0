/* The index in memory: a map by id, and a heap of those that wait for a time. */
#include "saga/index.h"

#include "base/status.h"

void nexus__saga_index_init(nexus__saga_index *x, const nexus_alloc *alloc)
{
    *x = (nexus__saga_index){.alloc = alloc};
    nexus__map_init(&x->entries, alloc);
    nexus__json_init(&x->doc, alloc);
}

void nexus__saga_index_free(nexus__saga_index *x)
{
    size_t cursor = 0;
    for (nexus__map_entry *e; (e = nexus__map_next(&x->entries, &cursor));)
        nexus__free(x->alloc, e->value);
    nexus__map_free(&x->entries);
    nexus__json_free(&x->doc);
    nexus__free(x->alloc, x->heap);
}

/* --- heap ------------------------------------------------------------------------------------------------------ */

static void set_at(nexus__saga_index *x, size_t at, nexus__saga_entry *e)
{
    x->heap[at] = e;
    e->look_at = (uint32_t)at + 1;
}

static void sift_up(nexus__saga_index *x, size_t at)
{
    nexus__saga_entry *e = x->heap[at];
    for (; at > 0 && x->heap[(at - 1) / 2]->look_ns > e->look_ns; at = (at - 1) / 2)
        set_at(x, at, x->heap[(at - 1) / 2]);
    set_at(x, at, e);
}

static void sift_down(nexus__saga_index *x, size_t at)
{
    nexus__saga_entry *e = x->heap[at];
    for (size_t child; (child = 2 * at + 1) < x->heap_count; at = child) {
        if (child + 1 < x->heap_count && x->heap[child + 1]->look_ns < x->heap[child]->look_ns)
            child++;
        if (x->heap[child]->look_ns >= e->look_ns)
            break;
        set_at(x, at, x->heap[child]);
    }
    set_at(x, at, e);
}

static void heap_remove(nexus__saga_index *x, nexus__saga_entry *e)
{
    if (!e->look_at)
        return;
    size_t at = e->look_at - 1;
    nexus__saga_entry *last = x->heap[--x->heap_count];
    e->look_at = 0;
    if (last == e)
        return;
    set_at(x, at, last);
    sift_up(x, at);
    sift_down(x, last->look_at - 1);
}

static nexus_status heap_add(nexus__saga_index *x, nexus__saga_entry *e)
{
    if (x->heap_count == x->heap_cap) {
        size_t cap = x->heap_cap ? x->heap_cap * 2 : 64;
        nexus__saga_entry **grown = nexus__realloc(x->alloc, x->heap, cap * sizeof *grown);
        if (!grown)
            return nexus__nomem();
        x->heap = grown;
        x->heap_cap = cap;
    }
    set_at(x, x->heap_count++, e);
    sift_up(x, x->heap_count - 1);
    return NEXUS_OK;
}

nexus__saga_entry *nexus__saga_index_first(const nexus__saga_index *x)
{
    return x->heap_count ? x->heap[0] : NULL;
}

nexus_status nexus__saga_index_plan(nexus__saga_index *x, nexus__saga_entry *e, int64_t look_ns)
{
    heap_remove(x, e);
    e->look_ns = look_ns;
    return look_ns ? heap_add(x, e) : NEXUS_OK;
}

/* --- entries --------------------------------------------------------------------------------------------------- */

static void drop(nexus__saga_index *x, nexus__saga_entry *e)
{
    heap_remove(x, e);
    (void)!nexus__map_remove(&x->entries, nexus__slice(e->id, e->id_bytes));
    nexus__free(x->alloc, e);
}

static nexus_status make(nexus__saga_index *x, nexus_slice id, nexus__saga_entry **out)
{
    nexus__saga_entry *e = nexus__calloc(x->alloc, 1, sizeof *e + id.n + 1);
    if (!e)
        return nexus__nomem();
    e->id_bytes = (uint32_t)id.n;
    memcpy(e->id, id.p, id.n);
    nexus_status status = nexus__map_put(&x->entries, nexus__slice(e->id, id.n), e, NULL);
    if (status != NEXUS_OK)
        nexus__free(x->alloc, e);
    else
        *out = e;
    return status;
}

nexus_status nexus__saga_index_put(nexus__saga_index *x, nexus_slice id, const nexus__saga_entry *row)
{
    nexus__saga_entry *e = nexus__map_get(&x->entries, id);
    if (e && e->seq >= row->seq)
        return NEXUS_OK;
    if (nexus__saga_over(row->status)) {
        if (e)
            drop(x, e);
        return NEXUS_OK;
    }
    nexus_status status = e ? NEXUS_OK : make(x, id, &e);
    if (status != NEXUS_OK)
        return status;
    e->seq = row->seq;
    e->pos = row->pos;
    e->version = row->version;
    e->status = row->status;
    e->due_ns = row->due_ns;
    return nexus__saga_index_plan(x, e, row->due_ns);
}

nexus_status nexus__saga_index_apply(nexus__saga_index *x, const nexus_event *transition)
{
    nexus__saga_instance t = {.version = 1};
    nexus_slice id, status_name;
    int64_t version = 1;
    x->pos = transition->pos;
    x->since++;
    if (nexus__json_scan(&x->doc, transition->data, NULL) != NEXUS_OK || !nexus__json_get_text(&x->doc, 0, "id", &id) ||
        !nexus__json_get_text(&x->doc, 0, "status", &status_name) || !nexus__saga_status_of(status_name, &t.status))
        return NEXUS_OK; /* not ours: whoever asks for the instance is told */
    (void)!nexus__json_get_i64(&x->doc, 0, "due_ns", &t.due_ns);
    (void)!nexus__json_get_i64(&x->doc, 0, "deadline_ns", &t.deadline_ns);
    (void)!nexus__json_get_i64(&x->doc, 0, "version", &version);
    nexus__saga_entry row = {.seq = (uint64_t)transition->version + 1,
                             .pos = transition->pos,
                             .due_ns = nexus__saga_next_ns(&t),
                             .version = (uint32_t)version,
                             .status = t.status};
    return nexus__saga_index_put(x, id, &row);
}

nexus_status nexus__saga_index_catch_up(nexus__saga_index *x, nexus_reader *reader)
{
    const nexus_event *event;
    nexus_status status;
    uint32_t holes = 0; /* in a row: what retention took is told once */
    while ((status = nexus_reader_next(reader, &event, 0)) == NEXUS_OK ||
           ((status == NEXUS_ECORRUPT || status == NEXUS_EMISSING) && holes++ < 100)) {
        if (status != NEXUS_OK)
            continue;
        holes = 0;
        if ((status = nexus__saga_index_apply(x, event)) != NEXUS_OK)
            return status;
    }
    return status == NEXUS_EDONE ? NEXUS_OK : status;
}
