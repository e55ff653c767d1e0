#include "wording.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *const copilot_examples[] = {"how many orders were confirmed today?",
                                        "revenue this month",
                                        "top 5 pages in May 2015",
                                        "how many users last week?",
                                        "orders per day in the last 7 days",
                                        "busiest hour yesterday",
                                        "page views by status class of all time",
                                        "logins today compared to yesterday"};
const size_t copilot_example_count = sizeof copilot_examples / sizeof copilot_examples[0];

/* --- text ------------------------------------------------------------------------------------ */

/* Appends; what does not fit is left out. */
__attribute__((format(printf, 2, 3))) static void add(char *text, const char *format, ...)
{
    size_t n = strlen(text);
    va_list args;
    va_start(args, format);
    vsnprintf(text + n, COPILOT_TEXT_MAX - n, format, args);
    va_end(args);
}

static void add_number(char *text, double v)
{
    if (v == floor(v) && fabs(v) < 1e15)
        add(text, "%lld", (long long)v);
    else
        add(text, "%.2f", v);
}

/* Minor units as people write them. */
static void add_money(char *text, double v, nexus_slice currency)
{
    add(text, "%.2f %.*s", v / 100, (int)currency.n, currency.p);
}

/* "orders were confirmed" for one: "order was confirmed". */
static void add_noun(char *text, const char *noun, double v)
{
    const char *were = strstr(noun, "s were ");
    size_t first = strcspn(noun, " ");
    if (v != 1)
        add(text, "%s", noun);
    else if (were)
        add(text, "%.*s was %s", (int)(were - noun), noun, were + 7);
    else if (first > 0 && noun[first - 1] == 's')
        add(text, "%.*s%s", (int)first - 1, noun, noun + first);
    else
        add(text, "%s", noun);
}

static void add_when(char *text, const copilot_intent *in)
{
    add(text, "%s%s", in->when[0] ? " " : "", in->when);
    for (size_t i = 0; i < in->filter_count; i++)
        add(text, "%s %s = %s", i == 0 ? ", where" : " and", in->filters[i].field, in->filters[i].value);
}

/* --- shapes ---------------------------------------------------------------------------------- */

static void word_money(char *text, const copilot_intent *in, copilot_answer *a)
{
    double v;
    nexus_slice currency;
    size_t rows = copilot_answer_rows(a), said = 0;
    for (size_t i = 0; i < rows; i++)
        if (copilot_answer_value(a, i, &v)) {
            copilot_answer_label(a, i, &currency);
            add(text, "%s", said++ == 0 ? "" : i + 1 == rows ? " and " : ", ");
            add_money(text, v, currency);
        }
    if (said == 0)
        add(text, "Nothing");
    add(text, " %s", in->metric->noun);
    add_when(text, in);
    add(text, ".");
}

static void word_list(char *text, const copilot_intent *in, copilot_answer *a)
{
    double v;
    nexus_slice label;
    size_t rows = copilot_answer_rows(a);
    if (rows == 0) {
        add(text, "There is nothing to list by %s", in->dimension_noun);
        add_when(text, in);
        add(text, ".");
        return;
    }
    add(text, "By %s", in->dimension_noun);
    add_when(text, in);
    add(text, ":");
    for (size_t i = 0; i < rows; i++) {
        copilot_answer_label(a, i, &label);
        add(text, "%s %.*s ", i ? "," : "", (int)(label.n < 120 ? label.n : 120), label.p);
        if (!copilot_answer_value(a, i, &v))
            add(text, "none");
        else
            add_number(text, v);
    }
    add(text, ".");
}

/* The point with the greatest figure; false when there are no points. */
static bool peak(const copilot_answer *a, int64_t *ms, double *value, size_t *points)
{
    uint32_t list = copilot_answer_points(a);
    nexus_json_iter it = {0};
    bool any = false;
    *points = nexus_json_count(a->doc, list);
    while (nexus_json_step(a->doc, list, &it)) {
        double v;
        int64_t t;
        if (nexus_json_double(a->doc, nexus_json_at(a->doc, it.value, "/1"), &v) &&
            nexus_json_int(a->doc, nexus_json_at(a->doc, it.value, "/0"), &t) && (!any || v > *value)) {
            *value = v;
            *ms = t;
            any = true;
        }
    }
    return any;
}

static const char *interval_noun(const char *interval)
{
    return strcmp(interval, "1mo") == 0  ? "month"
           : strcmp(interval, "1m") == 0 ? "minute"
           : strcmp(interval, "1h") == 0 ? "hour"
           : strcmp(interval, "1d") == 0 ? "day"
                                         : "week";
}

static void word_series(char *text, const copilot_intent *in, copilot_answer *a)
{
    char when[32];
    int64_t ms = 0;
    double most = 0, total = 0;
    size_t points;
    bool any = peak(a, &ms, &most, &points);
    if (copilot_answer_value(a, 0, &total)) {
        add_number(text, total);
        add(text, " ");
    } else {
        add(text, "No ");
    }
    add_noun(text, in->metric->noun, total);
    add_when(text, in);
    if (any) {
        nexus_time_format(ms * 1000000, when);
        when[16] = '\0'; /* minutes are fine enough */
        when[10] = ' ';
        add(text, "; the busiest %s began %s UTC with ", interval_noun(in->interval), when);
        add_number(text, most);
    }
    add(text, ".");
}

static void word_compare(char *text, double now, double before)
{
    double by = now - before;
    if (by == 0) {
        add(text, " That is as many as in the period before.");
        return;
    }
    add(text, " That is ");
    add_number(text, fabs(by));
    add(text, " %s than in the period before (", by > 0 ? "more" : "fewer");
    add_number(text, before);
    if (before != 0)
        add(text, ", %+.0f %%", by / before * 100);
    add(text, ").");
}

static void word_single(char *text, const copilot_intent *in, copilot_answer *a, copilot_answer *before)
{
    double v = 0, was;
    bool any = copilot_answer_value(a, 0, &v);
    if (any)
        add_number(text, v);
    else
        add(text, "No value:");
    add(text, " ");
    add_noun(text, in->metric->noun, v);
    add_when(text, in);
    add(text, ".");
    if (before && any && copilot_answer_value(before, 0, &was))
        word_compare(text, v, was);
}

void copilot_wording(char *text, const copilot_intent *in, copilot_answer *a, copilot_answer *before)
{
    text[0] = '\0';
    if (in->interval)
        word_series(text, in, a);
    else if (in->dimension[0])
        word_list(text, in, a);
    else if (in->metric->money)
        word_money(text, in, a);
    else
        word_single(text, in, a, before);
    if (in->when_assumed)
        add(text, " (No time was named, so the last 24 hours were taken.)");
}

/* --- the figure ------------------------------------------------------------------------------ */

static void put_number(nexus_json_writer *w, const char *name, double v)
{
    if (v == floor(v) && fabs(v) < 9e15)
        nexus_json_put_int(w, name, (int64_t)v);
    else
        nexus_json_put_double(w, name, v);
}

static void put_list(nexus_json_writer *w, const char *name, copilot_answer *a)
{
    nexus_json_open_array(w, name);
    for (size_t i = 0; i < copilot_answer_rows(a); i++) {
        nexus_slice label;
        double v;
        copilot_answer_label(a, i, &label);
        nexus_json_open_object(w, NULL);
        nexus_json_put_text(w, "label", label);
        if (copilot_answer_value(a, i, &v))
            put_number(w, "value", v);
        else
            nexus_json_put_null(w, "value");
        nexus_json_close(w);
    }
    nexus_json_close(w);
}

void copilot_value(nexus_json_writer *w, const char *name, const copilot_intent *in, copilot_answer *a)
{
    double v = 0;
    int64_t ms;
    size_t points;
    bool grouped = !in->interval && (in->dimension[0] || in->metric->money);
    if (in->busiest && peak(a, &ms, &v, &points))
        put_number(w, name, v);
    else if (grouped && (in->dimension[0] || copilot_answer_rows(a) > 1))
        put_list(w, name, a);
    else if (copilot_answer_value(a, 0, &v) || (grouped && strcmp(in->metric->agg, "sum") == 0))
        put_number(w, name, v);
    else
        nexus_json_put_null(w, name);
}
