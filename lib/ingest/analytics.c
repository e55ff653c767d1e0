#include "ingest/analytics.h"

#include <stdatomic.h>
#include <stdio.h>

#include "base/id.h"
#include "base/status.h"
#include "base/time.h"

#define GROUPS_MAX 1000
#define BUCKETS_MAX 10000
#define TAIL_MAX 10000

void nexus_analytics_opts_init(nexus_analytics_opts *opts)
{
    *opts = (nexus_analytics_opts)NEXUS_ANALYTICS_OPTS_INIT;
}

nexus_status nexus_analytics_open(nexus_analytics **out, const nexus_analytics_opts *given)
{
    nexus_analytics_opts opts = NEXUS_ANALYTICS_OPTS_INIT;
    if (given)
        memcpy(&opts, given, given->size < sizeof opts ? given->size : sizeof opts);
    nexus_analytics *a = nexus__calloc(opts.alloc, 1, sizeof *a);
    if (!a)
        return nexus__nomem();
    a->alloc = opts.alloc;
    a->groups_max = opts.groups_max ? opts.groups_max : GROUPS_MAX;
    a->buckets_max = opts.buckets_max ? opts.buckets_max : BUCKETS_MAX;
    nexus_status st = nexus__event_rows_open(&a->rows, opts.alloc);
    if (st == NEXUS_OK) {
        st = nexus__tail_open(&a->tail, opts.alloc, opts.tail_max ? opts.tail_max : TAIL_MAX);
        if (st != NEXUS_OK)
            nexus__event_rows_close(&a->rows);
    }
    if (st != NEXUS_OK) {
        nexus__free(opts.alloc, a);
        return st;
    }
    pthread_mutex_init(&a->listener.mutex, NULL);
    *out = a;
    return NEXUS_OK;
}

void nexus_analytics_close(nexus_analytics *a)
{
    if (!a)
        return;
    nexus__tail_close(&a->tail);
    nexus__event_rows_close(&a->rows);
    pthread_mutex_destroy(&a->listener.mutex);
    nexus__free(a->alloc, a);
}

/* --- filling --------------------------------------------------------------------------------- */

nexus_status nexus__analytics_add(nexus_analytics *a, const nexus__event *event)
{
    nexus_status st = nexus__event_rows_add(&a->rows, event);
    return st == NEXUS_OK ? nexus__tail_add(&a->tail, event) : st;
}

void nexus__analytics_notify(nexus_analytics *a, int64_t lag_ms)
{
    atomic_store(&a->lag_ms, lag_ms < 0 ? 0 : lag_ms);
    pthread_mutex_lock(&a->listener.mutex);
    nexus_analytics_listen_fn *fn = a->listener.fn;
    void *user_data = a->listener.user_data;
    pthread_mutex_unlock(&a->listener.mutex);
    if (fn)
        fn(nexus__tail_seq(&a->tail), user_data);
}

void nexus_analytics_listen(nexus_analytics *a, nexus_analytics_listen_fn *fn, void *user_data)
{
    pthread_mutex_lock(&a->listener.mutex);
    a->listener.fn = fn;
    a->listener.user_data = user_data;
    pthread_mutex_unlock(&a->listener.mutex);
}

/* --- asking ---------------------------------------------------------------------------------- */

uint64_t nexus_analytics_count(const nexus_analytics *a)
{
    /* the mutex inside is not part of what the caller sees as const */
    return nexus__event_rows_snapshot((nexus__event_rows *)(uintptr_t)&a->rows).count;
}

nexus_status nexus__ask(nexus__asked *asked, nexus_analytics *a, nexus_slice text, int64_t now_ms)
{
    char id[NEXUS__UUID_LEN + 1];
    int64_t began = nexus__mono_ns();
    memset(asked, 0, sizeof *asked);
    text = text.n == 0 ? NEXUS_S("{}") : text;
    nexus_status st = nexus__question_read(&asked->q, &a->rows, text, now_ms, a->groups_max);
    if (st != NEXUS_OK)
        return st;
    nexus__snapshot snapshot = nexus__event_rows_snapshot(&a->rows);
    asked->answered = true;
    st = nexus__query_run(&asked->a, &asked->q, &snapshot, a->buckets_max);
    nexus__uuid7(id);
    snprintf(asked->query_id, sizeof asked->query_id, "q_%s", id);
    asked->meta = (nexus__answer_meta){.query_id = asked->query_id,
                                       .question = text,
                                       .took_us = (nexus__mono_ns() - began) / NEXUS__NS_PER_US,
                                       .lag_ms = atomic_load(&a->lag_ms)};
    return st;
}

void nexus__asked_free(nexus__asked *asked)
{
    if (asked->answered)
        nexus__answer_free(&asked->a, &asked->q);
    nexus__question_free(&asked->q);
}

static int64_t now_or_clock(int64_t now_ms)
{
    return now_ms != 0 ? now_ms : nexus__real_ns() / NEXUS__NS_PER_MS;
}

static nexus_status hand_over(nexus__buf *text, char **out, size_t *len)
{
    *out = nexus__buf_take(text, len);
    return *out ? NEXUS_OK : nexus__nomem();
}

nexus_status nexus_analytics_query(nexus_analytics *a, nexus_slice query, int64_t now_ms, char **out, size_t *len)
{
    nexus__asked asked;
    nexus__buf text;
    nexus__buf_init(&text, NULL, 0); /* handed over: freed with nexus_free */
    nexus_status st = nexus__ask(&asked, a, query, now_or_clock(now_ms));
    if (st == NEXUS_OK) {
        nexus__answer_write(&text, &asked.q, &asked.a, &a->rows, &asked.meta);
        st = hand_over(&text, out, len);
    }
    nexus__asked_free(&asked);
    nexus__buf_free(&text);
    return st;
}

/* --- metrics --------------------------------------------------------------------------------- */

static void put_measure(nexus__json_writer *w, const nexus_analytics_metric *m, bool users, bool field)
{
    const char *agg = users ? "uniques" : field ? "sum" : "count";
    nexus__json_key(w, "measures");
    nexus__json_open(w, '[');
    nexus__json_open(w, '{');
    nexus__json_put_text(w, "agg", m->agg.n ? m->agg : nexus__slice_c(agg));
    if (field)
        nexus__json_put_text(w, "field", m->metric);
    nexus__json_close(w, '}');
    nexus__json_close(w, ']');
}

static void put_groups(nexus__json_writer *w, nexus_slice list)
{
    if (list.n == 0)
        return;
    nexus__json_key(w, "group_by");
    nexus__json_open(w, '[');
    while (list.n != 0)
        nexus__json_text_value(w, nexus__slice_trim(nexus__slice_cut(&list, ',')));
    nexus__json_close(w, ']');
}

static void put_event_filter(nexus__json_writer *w, nexus_slice name)
{
    nexus__json_key(w, "filters");
    nexus__json_open(w, '[');
    nexus__json_open(w, '{');
    nexus__json_put_text_c(w, "field", "event");
    nexus__json_put_text(w, "value", name);
    nexus__json_close(w, '}');
    nexus__json_close(w, ']');
}

static void write_metric_question(nexus__buf *out, const nexus_analytics_metric *m)
{
    nexus__json_writer w = nexus__json_writer_on(out);
    bool users = nexus__slice_eq_c(m->metric, "users");
    bool field =
        nexus__slice_starts(m->metric, NEXUS_S("properties.")) || nexus__slice_starts(m->metric, NEXUS_S("context."));
    nexus__json_open(&w, '{');
    put_measure(&w, m, users, field);
    nexus__json_put_text(&w, "from", m->from.n ? m->from : NEXUS_S("-24h"));
    nexus__json_put_text(&w, "to", m->to.n ? m->to : NEXUS_S("now"));
    if (m->interval.n)
        nexus__json_put_text(&w, "interval", m->interval);
    put_groups(&w, m->group_by);
    if (m->metric.n && !users && !field && !nexus__slice_eq_c(m->metric, "events"))
        put_event_filter(&w, m->metric);
    nexus__json_close(&w, '}');
}

nexus_status nexus_analytics_metrics(nexus_analytics *a, const nexus_analytics_metric *given, char **out, size_t *len)
{
    nexus_analytics_metric m = NEXUS_ANALYTICS_METRIC_INIT;
    memcpy(&m, given, given->size < sizeof m ? given->size : sizeof m);
    nexus__asked asked;
    nexus__buf question, text;
    nexus__buf_init(&question, a->alloc, 0);
    nexus__buf_init(&text, NULL, 0);
    write_metric_question(&question, &m);
    if (question.status != NEXUS_OK) {
        nexus__buf_free(&question);
        return nexus__nomem();
    }
    /* "now" is inside: an event of this very millisecond counts */
    nexus_status st = nexus__ask(&asked, a, nexus__buf_slice(&question), now_or_clock(m.now_ms) + 1);
    if (st == NEXUS_OK) {
        nexus__answer_write_metric(&text, &asked.q, &asked.a, &a->rows, &asked.meta);
        st = hand_over(&text, out, len);
    }
    nexus__asked_free(&asked);
    nexus__buf_free(&text);
    nexus__buf_free(&question);
    return st;
}

/* --- tail ------------------------------------------------------------------------------------ */

nexus_status nexus_analytics_tail(nexus_analytics *a, uint64_t after, uint32_t limit, nexus_slice event, char **out,
                                  size_t *len, uint64_t *next)
{
    nexus__buf text;
    nexus__buf_init(&text, NULL, 0);
    nexus__tail_write(&a->tail, &text, after, limit, event, next);
    nexus_status st = hand_over(&text, out, len);
    nexus__buf_free(&text);
    return st;
}

uint64_t nexus_analytics_seq(const nexus_analytics *a)
{
    return nexus__tail_seq((nexus__tail *)(uintptr_t)&a->tail);
}
