#include "ingest/query.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/status.h"

#define POINTS_MAX 2000000 /* tallies of all series of one answer */

bool nexus__tally_value(const nexus__tally *t, nexus__agg agg, double *out)
{
    switch (agg) {
    case NEXUS__AGG_COUNT:
        *out = (double)t->count;
        return true;
    case NEXUS__AGG_UNIQUES:
        *out = (double)nexus__uniques_count(&t->uniques);
        return true;
    case NEXUS__AGG_SUM:
        *out = t->sum;
        return true;
    case NEXUS__AGG_AVG:
        *out = t->count ? t->sum / (double)t->count : 0;
        return t->count != 0;
    default:
        *out = agg == NEXUS__AGG_MIN ? t->min : t->max;
        return t->count != 0;
    }
}

static nexus_status tally_add(nexus__tally *t, const nexus__measure *m, const nexus__row *row, const nexus_alloc *alloc)
{
    nexus__fact fact = {.type = NEXUS__CELL_TEXT};
    if (m->field.kind != NEXUS__FIELD_NONE)
        fact = nexus__field_fact(&m->field, row);
    if (fact.type == 0)
        return NEXUS_OK;
    if (m->agg == NEXUS__AGG_UNIQUES)
        return nexus__uniques_add(&t->uniques, alloc, nexus__mix64(fact.text + fact.type * 0x9e3779b97f4a7c15u));
    if (m->agg != NEXUS__AGG_COUNT) {
        if (fact.type != NEXUS__CELL_NUMBER)
            return NEXUS_OK;
        t->sum += fact.number;
        t->min = t->count == 0 || fact.number < t->min ? fact.number : t->min;
        t->max = t->count == 0 || fact.number > t->max ? fact.number : t->max;
    }
    t->count++;
    return NEXUS_OK;
}

static nexus_status tally_row(nexus__tally *tallies, const nexus__question *q, const nexus__row *row,
                              const nexus_alloc *alloc)
{
    nexus_status st = NEXUS_OK;
    for (uint32_t i = 0; st == NEXUS_OK && i < q->measure_count; i++)
        st = tally_add(&tallies[i], &q->measures[i], row, alloc);
    return st;
}

static void tallies_free(nexus__tally *tallies, size_t n, const nexus_alloc *alloc)
{
    for (size_t i = 0; i < n; i++)
        nexus__uniques_free(&tallies[i].uniques, alloc);
}

static nexus_slice key_of(const nexus__question *q, const nexus__fact *facts)
{
    return nexus__slice(facts, q->group_count * sizeof *facts);
}

static nexus_status keep_group(nexus__answer *a, const nexus__question *q, const nexus__fact *facts, nexus__group **out)
{
    if (a->groups_found == a->all_cap) {
        uint32_t cap = a->all_cap ? a->all_cap * 2 : 64;
        nexus__group **all = nexus__realloc(a->alloc, a->all, cap * sizeof *all);
        if (!all)
            return nexus__nomem();
        a->all = all;
        a->all_cap = cap;
    }
    nexus__group *g = nexus__arena_get(&a->arena, sizeof *g);
    if (!g)
        return nexus__nomem();
    memset(g, 0, sizeof *g);
    memcpy(g->facts, facts, sizeof g->facts);
    nexus_status st = nexus__map_put(&a->map, key_of(q, g->facts), g, NULL);
    if (st != NEXUS_OK)
        return st;
    a->all[a->groups_found++] = g;
    *out = g;
    return NEXUS_OK;
}

static void facts_of(const nexus__question *q, const nexus__row *row, nexus__fact facts[static NEXUS__QUERY_GROUPS_MAX])
{
    memset(facts, 0, NEXUS__QUERY_GROUPS_MAX * sizeof *facts);
    for (uint32_t i = 0; i < q->group_count; i++)
        facts[i] = nexus__field_fact(&q->groups[i], row);
}

static nexus_status count_row(nexus__answer *a, const nexus__question *q, const nexus__row *row)
{
    nexus__fact facts[NEXUS__QUERY_GROUPS_MAX];
    nexus_status st = tally_row(a->totals.tallies, q, row, a->alloc);
    if (st != NEXUS_OK || q->group_count == 0)
        return st;
    facts_of(q, row, facts);
    nexus__group *g = nexus__map_get(&a->map, key_of(q, facts));
    if (!g && a->groups_found < NEXUS__QUERY_GROUPS_TRACKED_MAX && (st = keep_group(a, q, facts, &g)) != NEXUS_OK)
        return st;
    a->has_other = a->has_other || !g;
    return tally_row(g ? g->tallies : a->other.tallies, q, row, a->alloc);
}

static nexus_status point_row(nexus__answer *a, const nexus__question *q, const nexus__row *row)
{
    nexus__fact facts[NEXUS__QUERY_GROUPS_MAX];
    nexus__group *g = &a->totals;
    if (q->group_count != 0) {
        facts_of(q, row, facts);
        g = nexus__map_get(&a->map, key_of(q, facts));
    }
    if (!g || !g->points)
        return NEXUS_OK;
    int64_t i = nexus__interval_of(q, row->time_ms) - a->first;
    return i < 0 || i >= a->intervals ? NEXUS_OK : tally_row(&g->points[i * q->measure_count], q, row, a->alloc);
}

typedef nexus_status row_fn(nexus__answer *a, const nexus__question *q, const nexus__row *row);

static bool matches(const nexus__question *q, const nexus__event_rows *rows, const nexus__row *row)
{
    if (row->time_ms < q->from_ms || row->time_ms >= q->to_ms)
        return false;
    for (uint32_t i = 0; i < q->filter_count; i++)
        if (!nexus__question_matches(&q->filters[i], rows, row))
            return false;
    return true;
}

/* Calls fn for every row that matches; whole chunks outside the time are passed over unread. */
static nexus_status each_row(nexus__answer *a, const nexus__question *q, const nexus__snapshot *s, row_fn *fn,
                             bool first)
{
    nexus_status st = NEXUS_OK;
    for (uint64_t base = 0; st == NEXUS_OK && base < s->count; base += NEXUS__EVENT_ROWS_CHUNK) {
        const nexus__chunk *chunk = s->rows->locked.chunks[base / NEXUS__EVENT_ROWS_CHUNK];
        bool whole = base + NEXUS__EVENT_ROWS_CHUNK <= s->count;
        if (whole && (chunk->max_ms < q->from_ms || chunk->min_ms >= q->to_ms))
            continue;
        uint64_t n = whole ? NEXUS__EVENT_ROWS_CHUNK : s->count - base;
        a->rows_scanned += first ? n : 0;
        for (uint64_t i = 0; st == NEXUS_OK && i < n; i++) {
            const nexus__row *row = &chunk->rows[i];
            if (!matches(q, s->rows, row))
                continue;
            if (first) {
                a->rows_matched++;
                a->min_ms = row->time_ms < a->min_ms ? row->time_ms : a->min_ms;
                a->max_ms = row->time_ms > a->max_ms ? row->time_ms : a->max_ms;
            }
            st = fn(a, q, row);
        }
    }
    return st;
}

/* --- order ----------------------------------------------------------------------------------- */

typedef struct ordering {
    const nexus__question *q;
    const nexus__event_rows *rows;
} ordering;

static int compare_facts(const nexus__event_rows *rows, nexus__fact x, nexus__fact y)
{
    if (x.type != y.type)
        return x.type < y.type ? -1 : 1;
    if (x.type == NEXUS__CELL_TEXT)
        return nexus__slice_cmp(nexus__event_rows_text(rows, (uint32_t)x.text),
                                nexus__event_rows_text(rows, (uint32_t)y.text));
    if (x.type == NEXUS__CELL_NUMBER)
        return (x.number > y.number) - (x.number < y.number);
    return (x.text > y.text) - (x.text < y.text);
}

static int compare_labels(const ordering *o, const nexus__group *x, const nexus__group *y)
{
    int c = 0;
    for (uint32_t i = 0; c == 0 && i < o->q->group_count; i++)
        c = compare_facts(o->rows, x->facts[i], y->facts[i]);
    return c;
}

static int compare_groups(const void *px, const void *py, void *context)
{
    const ordering *o = context;
    const nexus__group *x = *(nexus__group *const *)px, *y = *(nexus__group *const *)py;
    double vx, vy;
    int sign = o->q->ascending ? 1 : -1;
    if (o->q->order_measure < 0)
        return sign * compare_labels(o, x, y);
    nexus__agg agg = o->q->measures[o->q->order_measure].agg;
    bool hx = nexus__tally_value(&x->tallies[o->q->order_measure], agg, &vx);
    bool hy = nexus__tally_value(&y->tallies[o->q->order_measure], agg, &vy);
    if (hx != hy)
        return hx ? -1 : 1; /* what has no value comes last either way */
    int c = (vx > vy) - (vx < vy);
    return c ? sign * c : compare_labels(o, x, y);
}

static nexus_status merge_tallies(nexus__group *into, const nexus__group *from, const nexus__question *q,
                                  const nexus_alloc *alloc)
{
    nexus_status st = NEXUS_OK;
    for (uint32_t i = 0; st == NEXUS_OK && i < q->measure_count; i++) {
        nexus__tally *t = &into->tallies[i];
        const nexus__tally *f = &from->tallies[i];
        t->min = t->count == 0 || (f->count && f->min < t->min) ? f->min : t->min;
        t->max = t->count == 0 || (f->count && f->max > t->max) ? f->max : t->max;
        t->count += f->count;
        t->sum += f->sum;
        st = nexus__uniques_merge(&t->uniques, alloc, &f->uniques);
    }
    return st;
}

static nexus_status sort_and_cut(nexus__answer *a, const nexus__question *q, const nexus__event_rows *rows)
{
    ordering o = {q, rows};
    nexus_status st = NEXUS_OK;
    if (a->groups_found > 0)
        qsort_r(a->all, a->groups_found, sizeof *a->all, compare_groups, &o);
    a->groups = a->all;
    a->group_count = a->groups_found < q->limit ? a->groups_found : q->limit;
    for (uint32_t i = a->group_count; st == NEXUS_OK && i < a->groups_found; i++) {
        a->has_other = true;
        st = merge_tallies(&a->other, a->all[i], q, a->alloc);
    }
    return st;
}

/* --- series ---------------------------------------------------------------------------------- */

static nexus_status span_of(nexus__answer *a, const nexus__question *q, uint32_t buckets_max)
{
    int64_t from = q->from_ms == INT64_MIN ? a->min_ms : q->from_ms;
    int64_t to = q->to_ms == INT64_MAX ? a->max_ms + 1 : q->to_ms;
    if ((q->from_ms == INT64_MIN || q->to_ms == INT64_MAX) && a->rows_matched == 0)
        return NEXUS_OK; /* an open span over nothing has no points */
    if (to <= from)
        return NEXUS_OK;
    a->first = nexus__interval_of(q, from);
    a->intervals = nexus__interval_of(q, to - 1) - a->first + 1;
    if (a->intervals <= buckets_max)
        return NEXUS_OK;
    int64_t n = a->intervals;
    a->intervals = 0;
    return nexus__fail(NEXUS_ETOOBIG, "/interval: %lld points, at most %u; take a longer interval or a shorter span",
                       (long long)n, buckets_max);
}

static nexus_status make_points(nexus__answer *a, const nexus__question *q)
{
    size_t n = (size_t)a->intervals * q->measure_count;
    uint32_t groups = q->group_count ? a->group_count : 1;
    if (n * groups > POINTS_MAX)
        return nexus__fail(NEXUS_ETOOBIG,
                           "/interval: %zu points in all, at most %d; lower limit or lengthen the interval", n * groups,
                           POINTS_MAX);
    for (uint32_t i = 0; n != 0 && i < groups; i++) {
        nexus__group *g = q->group_count ? a->groups[i] : &a->totals;
        g->points = nexus__calloc(a->alloc, n, sizeof *g->points);
        if (!g->points)
            return nexus__nomem();
    }
    return NEXUS_OK;
}

nexus_status nexus__query_run(nexus__answer *a, const nexus__question *q, const nexus__snapshot *s, uint32_t buckets_max)
{
    nexus_status st;
    *a = (nexus__answer){.alloc = s->rows->alloc, .min_ms = INT64_MAX, .max_ms = INT64_MIN};
    nexus__map_init(&a->map, a->alloc);
    nexus__arena_init(&a->arena, a->alloc, 0);
    if ((st = each_row(a, q, s, count_row, true)) || (st = sort_and_cut(a, q, s->rows)) || q->interval == 0)
        return st;
    if ((st = span_of(a, q, buckets_max)) || a->intervals == 0 || (st = make_points(a, q)))
        return st;
    return each_row(a, q, s, point_row, false);
}

static void group_free(nexus__group *g, const nexus__question *q, const nexus__answer *a)
{
    tallies_free(g->tallies, q->measure_count, a->alloc);
    if (g->points)
        tallies_free(g->points, (size_t)a->intervals * q->measure_count, a->alloc);
    nexus__free(a->alloc, g->points);
}

void nexus__answer_free(nexus__answer *a, const nexus__question *q)
{
    group_free(&a->totals, q, a);
    group_free(&a->other, q, a);
    for (uint32_t i = 0; i < a->groups_found; i++)
        group_free(a->all[i], q, a);
    nexus__free(a->alloc, a->all);
    nexus__map_free(&a->map);
    nexus__arena_free(&a->arena);
}
