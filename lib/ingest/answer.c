#include "ingest/answer.h"

#include <math.h>

#include "base/time.h"

#define EXACT_MAX 9007199254740992.0 /* 2^53: whole numbers of a double up to here */

void nexus__answer_value(nexus__json_writer *w, const nexus__tally *t, nexus__agg agg)
{
    double v;
    if (!nexus__tally_value(t, agg, &v))
        nexus__json_null_value(w);
    else if (fabs(v) < EXACT_MAX && v == floor(v))
        nexus__json_i64_value(w, (int64_t)v);
    else
        nexus__json_double_value(w, v);
}

void nexus__answer_fact(nexus__json_writer *w, const nexus__event_rows *rows, nexus__fact fact)
{
    if (fact.type == NEXUS__CELL_TEXT)
        nexus__json_text_value(w, nexus__event_rows_text(rows, (uint32_t)fact.text));
    else if (fact.type == NEXUS__CELL_BOOL)
        nexus__json_bool_value(w, fact.text != 0);
    else if (fact.type == NEXUS__CELL_NUMBER)
        nexus__answer_value(w, &(nexus__tally){.sum = fact.number}, NEXUS__AGG_SUM);
    else
        nexus__json_null_value(w);
}

void nexus__answer_instant(nexus__json_writer *w, const char *name, int64_t ms)
{
    char text[32];
    if (ms > INT64_MAX / NEXUS__NS_PER_MS || ms < INT64_MIN / NEXUS__NS_PER_MS) {
        nexus__json_put_null(w, name);
        return;
    }
    size_t n = nexus__format_rfc3339(ms * NEXUS__NS_PER_MS, text);
    nexus__json_put_text(w, name, nexus__slice(text, n));
}

static void write_labels(nexus__json_writer *w, const nexus__question *q, const nexus__event_rows *rows,
                         const nexus__group *g)
{
    nexus__json_key(w, "labels");
    nexus__json_open(w, '{');
    for (uint32_t i = 0; i < q->group_count; i++) {
        nexus__json_key_slice(w, q->groups[i].name);
        nexus__answer_fact(w, rows, g->facts[i]);
    }
    nexus__json_close(w, '}');
}

static void write_values(nexus__json_writer *w, const char *name, const nexus__question *q, const nexus__group *g)
{
    nexus__json_key(w, name);
    nexus__json_open(w, '{');
    for (uint32_t i = 0; i < q->measure_count; i++) {
        nexus__json_key_slice(w, q->measures[i].as);
        nexus__answer_value(w, &g->tallies[i], q->measures[i].agg);
    }
    nexus__json_close(w, '}');
}

static uint32_t shown(const nexus__question *q, const nexus__answer *a)
{
    return q->group_count ? a->group_count : 1;
}

static const nexus__group *shown_at(const nexus__question *q, const nexus__answer *a, uint32_t i)
{
    return q->group_count ? a->groups[i] : &a->totals;
}

static void write_rows(nexus__json_writer *w, const nexus__question *q, const nexus__answer *a,
                       const nexus__event_rows *rows)
{
    nexus__json_key(w, "rows");
    nexus__json_open(w, '[');
    for (uint32_t i = 0; i < shown(q, a); i++) {
        nexus__json_open(w, '{');
        write_labels(w, q, rows, shown_at(q, a, i));
        write_values(w, "values", q, shown_at(q, a, i));
        nexus__json_close(w, '}');
    }
    nexus__json_close(w, ']');
}

static void write_point(nexus__json_writer *w, int64_t ms, const nexus__tally *t, nexus__agg agg)
{
    nexus__json_open(w, '[');
    nexus__json_i64_value(w, ms);
    nexus__answer_value(w, t, agg);
    nexus__json_close(w, ']');
}

static void write_points(nexus__json_writer *w, const nexus__question *q, const nexus__answer *a, const nexus__group *g,
                         uint32_t measure)
{
    nexus__json_key(w, "points");
    nexus__json_open(w, '[');
    for (int64_t i = 0; g->points && i < a->intervals; i++)
        write_point(w, nexus__interval_start(q, a->first + i), &g->points[i * q->measure_count + measure],
                    q->measures[measure].agg);
    nexus__json_close(w, ']');
}

static void write_series(nexus__json_writer *w, const nexus__question *q, const nexus__answer *a,
                         const nexus__event_rows *rows)
{
    nexus__json_key(w, "series");
    nexus__json_open(w, '[');
    for (uint32_t i = 0; i < shown(q, a); i++)
        for (uint32_t m = 0; m < q->measure_count; m++) {
            nexus__json_open(w, '{');
            write_labels(w, q, rows, shown_at(q, a, i));
            nexus__json_put_text(w, "measure", q->measures[m].as);
            write_points(w, q, a, shown_at(q, a, i), m);
            nexus__json_close(w, '}');
        }
    nexus__json_close(w, ']');
}

static bool any_estimate(const nexus__question *q, const nexus__answer *a)
{
    for (uint32_t m = 0; m < q->measure_count; m++)
        if (!nexus__uniques_exact(&a->totals.tallies[m].uniques))
            return true;
    return false;
}

static void write_meta(nexus__json_writer *w, const nexus__question *q, const nexus__answer *a,
                       const nexus__answer_meta *meta)
{
    nexus__json_key(w, "meta");
    nexus__json_open(w, '{');
    nexus__answer_instant(w, "from", q->from_ms);
    nexus__answer_instant(w, "to", q->to_ms);
    if (q->interval != 0)
        nexus__json_put_text(w, "interval", q->interval_text);
    else
        nexus__json_put_null(w, "interval");
    nexus__json_put_u64(w, "rows_scanned", a->rows_scanned);
    nexus__json_put_u64(w, "rows_matched", a->rows_matched);
    nexus__json_put_u64(w, "groups_found", a->groups_found);
    nexus__json_put_i64(w, "took_us", meta->took_us);
    nexus__json_put_i64(w, "lag_ms", meta->lag_ms);
    nexus__json_key(w, "error");
    nexus__json_open(w, '{');
    nexus__json_put_double(w, "uniques_relative", any_estimate(q, a) ? 0.016 : 0);
    nexus__json_put_double(w, "confidence", any_estimate(q, a) ? 0.95 : 1);
    nexus__json_close(w, '}');
    nexus__json_put_raw(w, "query", meta->question);
    nexus__json_close(w, '}');
}

void nexus__answer_write(nexus__buf *out, const nexus__question *q, const nexus__answer *a,
                         const nexus__event_rows *rows, const nexus__answer_meta *meta)
{
    nexus__json_writer w = nexus__json_writer_on(out);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "query_id", meta->query_id);
    write_rows(&w, q, a, rows);
    if (q->interval != 0)
        write_series(&w, q, a, rows);
    write_values(&w, "totals", q, &a->totals);
    if (a->has_other)
        write_values(&w, "other", q, &a->other);
    write_meta(&w, q, a, meta);
    nexus__json_close(&w, '}');
}

void nexus__answer_write_metric(nexus__buf *out, const nexus__question *q, const nexus__answer *a,
                                const nexus__event_rows *rows, const nexus__answer_meta *meta)
{
    nexus__json_writer w = nexus__json_writer_on(out);
    int64_t start = q->from_ms != INT64_MIN ? q->from_ms : a->rows_matched ? a->min_ms : 0;
    nexus__json_open(&w, '{');
    nexus__json_key(&w, "series");
    nexus__json_open(&w, '[');
    for (uint32_t i = 0; i < shown(q, a); i++) {
        const nexus__group *g = shown_at(q, a, i);
        nexus__json_open(&w, '{');
        write_labels(&w, q, rows, g);
        if (q->interval != 0) {
            write_points(&w, q, a, g, 0);
        } else {
            nexus__json_key(&w, "points");
            nexus__json_open(&w, '[');
            write_point(&w, start, &g->tallies[0], q->measures[0].agg);
            nexus__json_close(&w, ']');
        }
        nexus__json_close(&w, '}');
    }
    nexus__json_close(&w, ']');
    write_meta(&w, q, a, meta);
    nexus__json_close(&w, '}');
}
