/* The built-in overview: a handful of questions, one document. */
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/status.h"
#include "base/time.h"
#include "ingest/analytics.h"
#include "ingest/instant.h"

#define HOUR_MS 3600000ll
#define DAY_MS (24 * HOUR_MS)

typedef struct board {
    nexus_analytics *a;
    int64_t now_ms, from_ms, to_ms; /* from INT64_MIN: everything */
    nexus__json_writer *w;
} board;

/* Asks with the board's span in front of the rest of the question. */
NEXUS_PRINTF(4, 5)
static nexus_status ask(const board *b, nexus__asked *asked, int64_t back_ms, const char *format, ...)
{
    char text[1024], from[32], to[32], rest[768];
    va_list args;
    va_start(args, format);
    vsnprintf(rest, sizeof rest, format, args);
    va_end(args);
    nexus__format_rfc3339((b->to_ms - back_ms) * NEXUS__NS_PER_MS, to);
    if (b->from_ms == INT64_MIN) {
        snprintf(text, sizeof text, "{%s}", rest);
    } else {
        nexus__format_rfc3339((b->from_ms - back_ms) * NEXUS__NS_PER_MS, from);
        snprintf(text, sizeof text, "{\"from\":\"%s\",\"to\":\"%s\",%s}", from, to, rest);
    }
    return nexus__ask(asked, b->a, nexus__slice_c(text), b->now_ms);
}

static void put_tally(nexus__json_writer *w, const char *name, const nexus__asked *asked, const nexus__group *g,
                      uint32_t i)
{
    nexus__json_key(w, name);
    nexus__answer_value(w, &g->tallies[i], asked->q.measures[i].agg);
}

#define TOTALS "\"measures\":[{\"agg\":\"count\"},{\"agg\":\"uniques\"}]"

static nexus_status write_previous(const board *b)
{
    nexus__asked asked;
    nexus__json_key(b->w, "previous");
    nexus__json_open(b->w, '{');
    if (b->from_ms == INT64_MIN) { /* before everything there was nothing */
        nexus__json_put_u64(b->w, "events", 0);
        nexus__json_put_u64(b->w, "users", 0);
        nexus__json_close(b->w, '}');
        return NEXUS_OK;
    }
    nexus_status st = ask(b, &asked, b->to_ms - b->from_ms, TOTALS);
    if (st == NEXUS_OK) {
        put_tally(b->w, "events", &asked, &asked.a.totals, 0);
        put_tally(b->w, "users", &asked, &asked.a.totals, 1);
    }
    nexus__json_close(b->w, '}');
    nexus__asked_free(&asked);
    return st;
}

static nexus_status write_totals(const board *b, int64_t *span_ms)
{
    nexus__asked asked;
    nexus_status st = ask(b, &asked, 0, TOTALS);
    if (st == NEXUS_OK) {
        *span_ms = b->from_ms != INT64_MIN     ? b->to_ms - b->from_ms
                   : asked.a.rows_matched != 0 ? asked.a.max_ms - asked.a.min_ms
                                               : 0;
        nexus__json_key(b->w, "totals");
        nexus__json_open(b->w, '{');
        put_tally(b->w, "events", &asked, &asked.a.totals, 0);
        put_tally(b->w, "users", &asked, &asked.a.totals, 1);
        st = write_previous(b);
        nexus__json_close(b->w, '}');
    }
    nexus__asked_free(&asked);
    return st;
}

/* About 60 points, in units people read. */
static const char *interval_for(int64_t span_ms)
{
    return span_ms <= 3 * HOUR_MS     ? "1m"
           : span_ms <= 5 * DAY_MS    ? "1h"
           : span_ms <= 200 * DAY_MS  ? "1d"
           : span_ms <= 2000 * DAY_MS ? "1w"
                                      : "1mo";
}

static nexus_status write_series(const board *b, int64_t span_ms)
{
    nexus__asked asked;
    nexus_status st = ask(b, &asked, 0, "\"interval\":\"%s\"", interval_for(span_ms));
    nexus__json_key(b->w, "series");
    nexus__json_open(b->w, '[');
    for (int64_t i = 0; st == NEXUS_OK && asked.a.totals.points && i < asked.a.intervals; i++) {
        nexus__json_open(b->w, '{');
        nexus__json_put_i64(b->w, "t", nexus__interval_start(&asked.q, asked.a.first + i));
        nexus__json_put_u64(b->w, "events", asked.a.totals.points[i].count);
        nexus__json_close(b->w, '}');
    }
    nexus__json_close(b->w, ']');
    nexus__asked_free(&asked);
    return st;
}

/* A list of {label: value, measure: value} from a grouped question. */
static nexus_status write_top(const board *b, const char *name, const char *label, const char *value,
                              const char *question)
{
    nexus__asked asked;
    nexus_status st = ask(b, &asked, 0, "%s", question);
    nexus__json_key(b->w, name);
    nexus__json_open(b->w, '[');
    for (uint32_t i = 0; st == NEXUS_OK && i < asked.a.group_count; i++) {
        nexus__json_open(b->w, '{');
        nexus__json_key(b->w, label);
        nexus__answer_fact(b->w, &b->a->rows, asked.a.groups[i]->facts[0]);
        put_tally(b->w, value, &asked, asked.a.groups[i], 0);
        nexus__json_close(b->w, '}');
    }
    nexus__json_close(b->w, ']');
    nexus__asked_free(&asked);
    return st;
}

static nexus_status write_orders(const board *b)
{
    static const char *const ends[] = {"created", "confirmed", "cancelled"};
    nexus__json_key(b->w, "orders");
    nexus__json_open(b->w, '{');
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        nexus__asked asked;
        nexus_status st = ask(b, &asked, 0, "\"filters\":[{\"field\":\"event\",\"value\":\"order.%s\"}]", ends[i]);
        if (st == NEXUS_OK)
            put_tally(b->w, ends[i], &asked, &asked.a.totals, 0);
        nexus__asked_free(&asked);
        if (st != NEXUS_OK)
            return st;
    }
    nexus__json_close(b->w, '}');
    return NEXUS_OK;
}

static nexus_status write_board(const board *b)
{
    nexus_status st;
    int64_t span_ms = 0;
    nexus__json_open(b->w, '{');
    nexus__answer_instant(b->w, "from", b->from_ms);
    nexus__answer_instant(b->w, "to", b->to_ms);
    if ((st = write_totals(b, &span_ms)) || (st = write_series(b, span_ms)) ||
        (st = write_top(b, "top_events", "event", "count", "\"group_by\":[\"event\"],\"limit\":10")) ||
        (st = write_top(b, "top_paths", "path", "count",
                        "\"group_by\":[\"properties.path\"],\"limit\":10,"
                        "\"filters\":[{\"field\":\"properties.path\",\"op\":\"exists\"}]")) ||
        (st = write_orders(b)) ||
        (st = write_top(b, "revenue", "currency", "amount",
                        "\"measures\":[{\"agg\":\"sum\",\"field\":\"properties.amount\"}],"
                        "\"group_by\":[\"properties.currency\"],"
                        "\"filters\":[{\"field\":\"event\",\"value\":\"payment.processed\"},"
                        "{\"field\":\"properties.status\",\"value\":\"captured\"}]")))
        return st;
    nexus__json_put_i64(b->w, "freshness_ms", atomic_load(&b->a->lag_ms));
    nexus__json_close(b->w, '}');
    return NEXUS_OK;
}

/* "24h", "today", "yesterday" or "all". "now" is inside. */
static nexus_status read_range(board *b, nexus_slice range)
{
    int64_t span, today = b->now_ms / DAY_MS * DAY_MS;
    b->to_ms = b->now_ms + 1;
    range = range.n == 0 ? NEXUS_S("24h") : range;
    if (nexus__slice_eq_c(range, "all"))
        b->from_ms = INT64_MIN;
    else if (nexus__slice_eq_c(range, "today"))
        b->from_ms = today;
    else if (nexus__slice_eq_c(range, "yesterday"))
        b->from_ms = today - DAY_MS, b->to_ms = today;
    else if (nexus__span_parse(range, &span) && span < b->now_ms / 2)
        b->from_ms = b->now_ms - span;
    else
        return nexus__fail(NEXUS_EINVAL, "range: 1h, 24h, 7d, today, yesterday or all");
    return NEXUS_OK;
}

nexus_status nexus_analytics_dashboard(nexus_analytics *a, nexus_slice range, int64_t now_ms, char **out, size_t *len)
{
    nexus__buf text;
    nexus__buf_init(&text, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&text);
    board b = {.a = a, .now_ms = now_ms ? now_ms : nexus__real_ns() / NEXUS__NS_PER_MS, .w = &w};
    nexus_status st = read_range(&b, range);
    if (st == NEXUS_OK)
        st = write_board(&b);
    if (st == NEXUS_OK) {
        *out = nexus__buf_take(&text, len);
        st = *out ? NEXUS_OK : nexus__nomem();
    }
    nexus__buf_free(&text);
    return st;
}
