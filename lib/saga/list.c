/*
 * Instances in pages. Those that have not ended come from the index and are shown as their last transitions say; a cursor is
 * "i" and the id behind which it goes on. Those that have are found in the log; a cursor is "p" and a position.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/status.h"
#include "json/write.h"
#include "saga/running.h"

void nexus_saga_query_init(nexus_saga_query *query)
{
    *query = (nexus_saga_query)NEXUS_SAGA_QUERY_INIT;
}

typedef struct listing {
    nexus_bus *bus;
    const char *saga;
    uint32_t wanted; /* bit of each status */
    uint32_t limit, count;
    nexus__json_writer w;
    nexus__buf next; /* the cursor of the page after this one; empty = there is none */
} listing;

enum { OVER = 1u << NEXUS__SAGA_DONE | 1u << NEXUS__SAGA_FAILED };

static nexus_status parse_status(nexus_slice names, uint32_t *wanted)
{
    nexus__saga_status status;
    *wanted = names.n ? 0 : 1u << NEXUS__SAGA_RUNNING | 1u << NEXUS__SAGA_COMPENSATING | 1u << NEXUS__SAGA_STUCK;
    while (names.n) {
        nexus_slice name = nexus__slice_trim(nexus__slice_cut(&names, ','));
        if (!nexus__saga_status_of(name, &status))
            return nexus__fail(NEXUS_EINVAL,
                               "status \"%.*s\": running, compensating, done, failed, stuck, or several with commas",
                               (int)(name.n < 60 ? name.n : 60), name.p);
        *wanted |= 1u << status;
    }
    return NEXUS_OK;
}

static void write_instance(listing *l, const nexus__saga_instance *i, nexus_slice step)
{
    nexus__json_writer *w = &l->w;
    nexus__json_open(w, '{');
    nexus__json_put_text_c(w, "id", i->id);
    nexus__json_put_u64(w, "version", i->version);
    nexus__json_put_text_c(w, "status", nexus__saga_status_name(i->status));
    if (step.n)
        nexus__json_put_text(w, "step", step);
    else
        nexus__json_put_null(w, "step");
    nexus__json_put_text_c(w, "reason", i->reason);
    nexus__json_put_text_c(w, "error", i->error);
    nexus__saga_put_time(w, "at", i->at_ns);
    nexus__saga_put_time(w, "due_at", nexus__saga_next_ns(i));
    nexus__json_close(w, '}');
    l->count++;
}

static nexus_status write_transition(listing *l, nexus_slice data)
{
    nexus__json doc;
    nexus_slice step = NEXUS_S("");
    nexus__saga_instance *i;
    nexus_status status = nexus__saga_instance_read(&i, NULL, data);
    if (status != NEXUS_OK)
        return status;
    nexus__json_init(&doc, NULL);
    if (nexus__json_scan(&doc, data, NULL) == NEXUS_OK)
        (void)!nexus__json_get_text(&doc, 0, "step", &step);
    write_instance(l, i, step);
    nexus__json_free(&doc);
    nexus__saga_instance_free(i);
    return NEXUS_OK;
}

/* --- those that have not ended --------------------------------------------------------------------------------- */

static int by_id(const void *a, const void *b)
{
    const nexus__saga_entry *x = *(nexus__saga_entry *const *)a, *y = *(nexus__saga_entry *const *)b;
    return nexus__slice_cmp(nexus__slice(x->id, x->id_bytes), nexus__slice(y->id, y->id_bytes));
}

/* The last transition of one; one that has ended meanwhile is left out. */
static nexus_status write_entry(listing *l, const nexus__saga_entry *e)
{
    char stream[NEXUS__SAGA_STREAM_MAX];
    nexus_reader *reader;
    const nexus_event *event;
    nexus_reader_opts opts = NEXUS_READER_OPTS_INIT;
    nexus__saga_stream(stream, l->saga, nexus__slice(e->id, e->id_bytes));
    opts.stream = stream;
    opts.from_version = (int64_t)e->seq - 1;
    opts.start = NEXUS_START_POS;
    opts.start_pos = e->pos;
    nexus_status status = nexus_reader_open(&reader, l->bus, &opts);
    if (status != NEXUS_OK)
        return status;
    status = nexus_reader_next(reader, &event, 0);
    if (status == NEXUS_OK)
        status = write_transition(l, event->data);
    nexus_reader_close(reader);
    return status == NEXUS_EDONE ? NEXUS_OK : status;
}

static nexus_status page_entries(listing *l, nexus__saga_entry **rows, size_t n)
{
    nexus_status status = NEXUS_OK;
    qsort(rows, n, sizeof *rows, by_id);
    for (size_t k = 0; k < n && status == NEXUS_OK; k++) {
        if (l->count == l->limit) {
            nexus__buf_printf(&l->next, "i%s", rows[k - 1]->id);
            return NEXUS_OK;
        }
        status = write_entry(l, rows[k]);
    }
    if (status == NEXUS_OK && (l->wanted & OVER))
        nexus__buf_text(&l->next, "p0");
    return status;
}

static nexus_status list_active(listing *l, nexus_slice after)
{
    nexus__saga_index x;
    nexus_reader *reader = NULL;
    nexus__saga_entry **rows = NULL;
    size_t n = 0, cursor = 0;
    nexus__saga_index_init(&x, NULL);
    nexus_status status = nexus__saga_index_load(&x, l->bus, l->saga);
    if (status == NEXUS_OK)
        status = nexus__saga_index_follow(&x, &reader, l->bus, l->saga);
    if (status == NEXUS_OK)
        status = nexus__saga_index_catch_up(&x, reader);
    if (status == NEXUS_OK && !(rows = nexus__calloc(NULL, x.entries.count + 1, sizeof *rows)))
        status = nexus__nomem();
    for (nexus__map_entry *m; status == NEXUS_OK && (m = nexus__map_next(&x.entries, &cursor));) {
        nexus__saga_entry *e = m->value;
        if ((l->wanted >> e->status & 1) && nexus__slice_cmp(nexus__slice(e->id, e->id_bytes), after) > 0)
            rows[n++] = e;
    }
    if (status == NEXUS_OK)
        status = page_entries(l, rows, n);
    nexus__free(NULL, rows);
    nexus_reader_close(reader);
    nexus__saga_index_free(&x);
    return status;
}

/* --- those that have ------------------------------------------------------------------------------------------- */

/* Whether a transition is the one that ended its instance, in a way that is asked for. */
static bool ends(const listing *l, nexus__json *doc)
{
    nexus__saga_status how;
    nexus_slice name;
    bool late = false;
    (void)!nexus__json_get_bool(doc, 0, "late_told", &late); /* comes after the end: told once already */
    return nexus__json_get_text(doc, 0, "status", &name) && nexus__saga_status_of(name, &how) && nexus__saga_over(how) &&
           !late && (l->wanted >> how & 1);
}

static nexus_status list_ended(listing *l, uint64_t after)
{
    nexus__saga_index from = {.pos = after};
    nexus_reader *reader;
    const nexus_event *event;
    nexus__json doc;
    nexus_status status = nexus__saga_index_follow(&from, &reader, l->bus, l->saga);
    if (status != NEXUS_OK)
        return status;
    nexus__json_init(&doc, NULL);
    uint64_t last = after;
    while ((status = nexus_reader_next(reader, &event, 0)) == NEXUS_OK || status == NEXUS_ECORRUPT) {
        if (status != NEXUS_OK || nexus__json_scan(&doc, event->data, NULL) != NEXUS_OK || !ends(l, &doc))
            continue;
        if (l->count == l->limit) {
            nexus__buf_printf(&l->next, "p%" PRIu64, last);
            break;
        }
        last = event->pos;
        if ((status = write_transition(l, event->data)) != NEXUS_OK)
            break;
    }
    nexus__json_free(&doc);
    nexus_reader_close(reader);
    return status == NEXUS_EDONE ? NEXUS_OK : status;
}

/* --- the call -------------------------------------------------------------------------------------------------- */

static nexus_status fill(listing *l, nexus_slice after)
{
    uint64_t pos = 0;
    bool ended = nexus__slice_starts(after, NEXUS_S("p"));
    if (ended && !nexus__parse_u64(nexus__slice_from(after, 1), &pos))
        return nexus__fail(NEXUS_EINVAL, "saga list: after is what \"next\" of the page before says");
    if (!ended && after.n && after.p[0] != 'i')
        return nexus__fail(NEXUS_EINVAL, "saga list: after is what \"next\" of the page before says");
    if (ended || !(l->wanted & ~(uint32_t)OVER))
        return list_ended(l, pos);
    return list_active(l, after.n ? nexus__slice_from(after, 1) : after);
}

nexus_status nexus_saga_list(char **out, size_t *n, nexus_bus *bus, const char *name, const nexus_saga_query *query)
{
    nexus_saga_query q = NEXUS_SAGA_QUERY_INIT;
    listing l = {.bus = bus, .saga = name};
    nexus__buf json;
    if (query)
        memcpy(&q, query, query->size < sizeof q ? query->size : sizeof q);
    nexus_status status = nexus__saga_name_check(name);
    if (status == NEXUS_OK)
        status = parse_status(nexus__slice_c(q.status), &l.wanted);
    if (status != NEXUS_OK)
        return status;
    l.limit = q.limit == 0 ? 100 : q.limit > 1000 ? 1000 : q.limit;
    nexus__buf_init(&json, NULL, 0);
    nexus__buf_init(&l.next, NULL, 0);
    l.w = nexus__json_writer_on(&json);
    nexus__json_open(&l.w, '{');
    nexus__json_key(&l.w, "instances");
    nexus__json_open(&l.w, '[');
    status = fill(&l, nexus__slice_c(q.after));
    nexus__json_close(&l.w, ']');
    if (l.next.len)
        nexus__json_put_text(&l.w, "next", nexus__buf_slice(&l.next));
    else
        nexus__json_put_null(&l.w, "next");
    nexus__json_close(&l.w, '}');
    if (status == NEXUS_OK)
        status = nexus__buf_hand_over(&json, out, n);
    nexus__buf_free(&json);
    nexus__buf_free(&l.next);
    return status;
}
