#include "ask.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLY_MAX (4u * 1024 * 1024)
#define TIMEOUT_MS 10000

/* --- the question ---------------------------------------------------------------------------- */

static void put_instant(nexus_json_writer *w, const char *name, int64_t ms)
{
    char text[32];
    size_t n = nexus_time_format(ms * 1000000, text);
    nexus_json_put_text(w, name, (nexus_slice){text, n});
}

static void put_filter(nexus_json_writer *w, const char *field, const char *op, const char *value, bool raw)
{
    nexus_json_open_object(w, NULL);
    nexus_json_put_text_c(w, "field", field);
    nexus_json_put_text_c(w, "op", op);
    if (raw)
        nexus_json_put_raw(w, "value", (nexus_slice){value, strlen(value)});
    else
        nexus_json_put_text_c(w, "value", value);
    nexus_json_close(w);
}

static void put_filters(nexus_json_writer *w, const copilot_intent *in)
{
    const copilot_metric *m = in->metric;
    nexus_json_open_array(w, "filters");
    if (m->event)
        put_filter(w, "event", "eq", m->event, false);
    if (m->filter_field)
        put_filter(w, m->filter_field, m->filter_op, m->filter_value, true);
    for (size_t i = 0; i < in->filter_count; i++)
        put_filter(w, in->filters[i].field, in->filters[i].op, in->filters[i].value, in->filters[i].numeric);
    if (in->dimension[0]) /* rows without the field are no group worth naming */
        put_filter(w, in->dimension, "exists", "true", true);
    nexus_json_close(w);
}

static void put_groups(nexus_json_writer *w, const copilot_intent *in)
{
    const char *field = in->dimension[0] ? in->dimension : in->metric->money ? "properties.currency" : NULL;
    if (!field || in->interval)
        return;
    nexus_json_open_array(w, "group_by");
    nexus_json_put_text_c(w, NULL, field);
    nexus_json_close(w);
    if (in->bucket != 0) {
        nexus_json_open_object(w, "bucket");
        nexus_json_put_double(w, field, in->bucket);
        nexus_json_close(w);
    }
    nexus_json_put_int(w, "limit", in->limit ? in->limit : 10);
}

static char *question(const copilot_intent *in, int64_t back_ms)
{
    nexus_json_writer *w;
    size_t n;
    if (nexus_json_writer_new(&w) != NEXUS_OK)
        return NULL;
    nexus_json_open_object(w, NULL);
    nexus_json_open_array(w, "measures");
    nexus_json_open_object(w, NULL);
    nexus_json_put_text_c(w, "agg", in->metric->agg);
    if (in->metric->field)
        nexus_json_put_text_c(w, "field", in->metric->field);
    nexus_json_put_text_c(w, "as", "value");
    nexus_json_close(w);
    nexus_json_close(w);
    if (in->from_ms != INT64_MIN)
        put_instant(w, "from", in->from_ms - back_ms);
    if (in->to_ms != INT64_MAX)
        put_instant(w, "to", in->to_ms - back_ms);
    if (in->interval)
        nexus_json_put_text_c(w, "interval", in->interval);
    put_filters(w, in);
    put_groups(w, in);
    nexus_json_close(w);
    const char *text = nexus_json_writer_text(w, &n);
    char *copy = text ? strdup(text) : NULL;
    nexus_json_writer_free(w);
    return copy;
}

/* --- asking ---------------------------------------------------------------------------------- */

nexus_status copilot_ask(copilot_answer *a, copilot *c, nexus_request *request, const copilot_intent *in,
                         int64_t back_ms)
{
    char url[600], parent[NEXUS_TRACEPARENT_LEN + 1];
    nexus_trace trace;
    nexus_slice token = {"", 0}, id, body;
    nexus_client *client = nexus_service_client(c->service);
    memset(a, 0, sizeof *a);
    a->query = question(in, back_ms);
    if (!a->query)
        return NEXUS_ENOMEM;
    if (!client)
        return NEXUS_EUNREACH;
    (void)nexus_request_header(request, "authorization", &token);
    nexus_request_id(request, &id);
    nexus_service_trace(request, &trace);
    nexus_trace_format(&trace, parent);
    snprintf(url, sizeof url, "%s/api/v1/analytics/query", c->analytics_url);
    const nexus_pair headers[] = {{NEXUS_S("Authorization"), token},
                                  {NEXUS_S("Content-Type"), NEXUS_S("application/json")},
                                  {NEXUS_S("X-Request-Id"), id},
                                  {NEXUS_S("traceparent"), {parent, strlen(parent)}}};
    nexus_fetch fetch = NEXUS_FETCH_INIT;
    fetch.method = "POST";
    fetch.url = (nexus_slice){url, strlen(url)};
    fetch.headers = headers;
    fetch.header_count = sizeof headers / sizeof headers[0];
    fetch.body = (nexus_slice){a->query, strlen(a->query)};
    fetch.timeout_ms = TIMEOUT_MS;
    fetch.reply_max_bytes = REPLY_MAX;
    nexus_status st = nexus_client_fetch(client, &fetch, &a->reply);
    if (st != NEXUS_OK)
        return st;
    a->status = nexus_reply_status(a->reply);
    nexus_reply_body(a->reply, &body);
    return a->status == 200 ? nexus_json_parse(&a->doc, body) : NEXUS_OK;
}

void copilot_answer_free(copilot_answer *a)
{
    free(a->query);
    nexus_json_free(a->doc);
    nexus_reply_free(a->reply);
}

/* --- reading --------------------------------------------------------------------------------- */

static uint32_t row_at(const copilot_answer *a, size_t row, const char *rest)
{
    char pointer[64];
    snprintf(pointer, sizeof pointer, "/rows/%zu%s", row, rest);
    return nexus_json_at(a->doc, NEXUS_JSON_ROOT, pointer);
}

bool copilot_answer_value(const copilot_answer *a, size_t row, double *value)
{
    return nexus_json_double(a->doc, row_at(a, row, "/values/value"), value);
}

void copilot_answer_label(copilot_answer *a, size_t row, nexus_slice *label)
{
    nexus_json_iter it = {0};
    *label = NEXUS_S("(none)");
    if (!nexus_json_step(a->doc, row_at(a, row, "/labels"), &it) || nexus_json_type(a->doc, it.value) == NEXUS_JSON_NULL)
        return;
    if (!nexus_json_text(a->doc, it.value, label))
        nexus_json_raw(a->doc, it.value, label);
}

size_t copilot_answer_rows(const copilot_answer *a)
{
    return nexus_json_count(a->doc, nexus_json_get(a->doc, NEXUS_JSON_ROOT, "rows"));
}

uint32_t copilot_answer_points(const copilot_answer *a)
{
    return nexus_json_at(a->doc, NEXUS_JSON_ROOT, "/series/0/points");
}
