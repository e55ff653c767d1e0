/* Questions over HTTP. */
#include <stdio.h>
#include <stdlib.h>

#include "analytics.h"

static void finish(nexus_request *request, nexus_status st, char *text, size_t n)
{
    if (st != NEXUS_OK)
        analytics_refuse(request, st);
    else
        analytics_answer(request, text, n);
}

static void ask(nexus_request *request, void *user_data)
{
    analytics *a = user_data;
    nexus_slice body;
    char *text = NULL;
    size_t n = 0;
    nexus_request_body(request, &body);
    if (body.n == 0) {
        nexus_request_problem_text(request, 400, "malformed",
                                   "The body is a question, a JSON object; {} counts everything.");
        return;
    }
    nexus_status st = nexus_analytics_query(a->store, body, 0, &text, &n);
    finish(request, st, text, n);
}

static void show_dashboard(nexus_request *request, void *user_data)
{
    analytics *a = user_data;
    nexus_slice range = {"", 0};
    char *text = NULL;
    size_t n = 0;
    (void)nexus_request_query_param(request, "range", &range);
    nexus_status st = nexus_analytics_dashboard(a->store, range, 0, &text, &n);
    finish(request, st, text, n);
}

static void show_metrics(nexus_request *request, void *user_data)
{
    analytics *a = user_data;
    nexus_analytics_metric m = NEXUS_ANALYTICS_METRIC_INIT;
    char *text = NULL;
    size_t n = 0;
    (void)nexus_request_query_param(request, "metric", &m.metric);
    (void)nexus_request_query_param(request, "agg", &m.agg);
    (void)nexus_request_query_param(request, "from", &m.from);
    (void)nexus_request_query_param(request, "to", &m.to);
    (void)nexus_request_query_param(request, "interval", &m.interval);
    (void)nexus_request_query_param(request, "group_by", &m.group_by);
    nexus_status st = nexus_analytics_metrics(a->store, &m, &text, &n);
    finish(request, st, text, n);
}

static uint64_t number_param(nexus_request *request, const char *name, uint64_t otherwise)
{
    nexus_slice v;
    char text[24];
    if (!nexus_request_query_param(request, name, &v))
        return otherwise;
    snprintf(text, sizeof text, "%.*s", (int)(v.n < 19 ? v.n : 19), v.p);
    return strtoull(text, NULL, 10);
}

/* The polling twin of the live stream. */
static void list_events(nexus_request *request, void *user_data)
{
    analytics *a = user_data;
    nexus_slice event = {"", 0};
    char *text = NULL;
    size_t n = 0;
    uint64_t next, last = number_param(request, "last", 0), newest = nexus_analytics_seq(a->store);
    uint64_t after = number_param(request, "after", 0);
    if (last != 0)
        after = newest > last ? newest - last : 0;
    (void)nexus_request_query_param(request, "event", &event);
    uint32_t limit = (uint32_t)number_param(request, "limit", last ? last : 100);
    nexus_status st = nexus_analytics_tail(a->store, after, limit, event, &text, &n, &next);
    finish(request, st, text, n);
}

static const nexus_param events_params[] = {
    {"after", "query", "{\"type\":\"integer\",\"minimum\":0}",
     "Only events behind this seq: the `next` of the last answer.", false},
    {"last", "query", "{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000}", "The newest so many, instead of after.",
     false},
    {"limit", "query", "{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000}", "At most so many; 100.", false},
    {"event", "query", NULL, "Only events of this name.", false}};
static const nexus_param dashboard_params[] = {
    {"range", "query", NULL, "1h, 24h (the default), 7d, today, yesterday or all", false}};
static const nexus_param metric_params[] = {
    {"metric", "query", NULL, "events (the default), users, an event's name, or properties.NAME", false},
    {"agg", "query", "{\"type\":\"string\",\"enum\":[\"count\",\"uniques\",\"sum\",\"avg\",\"min\",\"max\"]}",
     "By metric: count, uniques of users, sum of a property", false},
    {"from", "query", NULL, "RFC 3339, a date, Unix time, -24h (the default), today, yesterday", false},
    {"to", "query", NULL, "Likewise; now", false},
    {"interval", "query", NULL, "1m, 1h, 1d, 1w, 1mo; without it one point", false},
    {"group_by", "query", NULL, "Fields, parted by commas", false},
};
static const nexus_reply_doc object_replies[] = {{200, "The answer.", "{\"type\":\"object\"}"},
                                                 {422, "errors[] names the member that is not understood.", NULL}};
static const char query_schema[] =
    "{\"type\":\"object\",\"properties\":{"
    "\"measures\":{\"type\":\"array\",\"maxItems\":8,\"items\":{\"type\":\"object\",\"properties\":{"
    "\"agg\":{\"type\":\"string\",\"enum\":[\"count\",\"uniques\",\"sum\",\"avg\",\"min\",\"max\"]},"
    "\"field\":{\"type\":\"string\"},\"as\":{\"type\":\"string\"}}}},"
    "\"from\":{\"type\":[\"string\",\"number\",\"null\"]},\"to\":{\"type\":[\"string\",\"number\",\"null\"]},"
    "\"range\":{\"type\":\"string\"},\"interval\":{\"type\":[\"string\",\"null\"]},"
    "\"group_by\":{\"type\":\"array\",\"maxItems\":4,\"items\":{\"type\":\"string\"}},"
    "\"bucket\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"number\",\"exclusiveMinimum\":0}},"
    "\"filters\":{\"type\":\"array\",\"maxItems\":16,\"items\":{\"type\":\"object\",\"required\":[\"field\"],"
    "\"properties\":{"
    "\"field\":{\"type\":\"string\"},\"op\":{\"type\":\"string\",\"enum\":[\"eq\",\"ne\",\"in\",\"gt\","
    "\"gte\",\"lt\",\"lte\","
    "\"prefix\",\"contains\",\"exists\"]},\"value\":{}}}},"
    "\"limit\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000},\"order\":{\"type\":\"string\"},"
    "\"tz\":{\"type\":\"string\"}},\"additionalProperties\":false}";

#define COUNT(x) (sizeof(x) / sizeof *(x))

nexus_status analytics_query_routes(analytics *a)
{
    const nexus_route routes[] = {
        {.size = sizeof(nexus_route),
         .method = "GET",
         .path = "/api/v1/analytics/dashboard",
         .handler = show_dashboard,
         .user_data = a,
         .operation_id = "analyticsDashboard",
         .summary = "The built-in overview of a range of time",
         .tag = "analytics",
         .permission = "analytics:read",
         .params = dashboard_params,
         .param_count = COUNT(dashboard_params),
         .replies = object_replies,
         .reply_count = COUNT(object_replies)},
        {.size = sizeof(nexus_route),
         .method = "GET",
         .path = "/api/v1/analytics/metrics",
         .handler = show_metrics,
         .user_data = a,
         .operation_id = "analyticsMetrics",
         .summary = "One metric as series",
         .tag = "analytics",
         .permission = "analytics:read",
         .params = metric_params,
         .param_count = COUNT(metric_params),
         .replies = object_replies,
         .reply_count = COUNT(object_replies)},
        {.size = sizeof(nexus_route),
         .method = "GET",
         .path = "/api/v1/analytics/events",
         .handler = list_events,
         .user_data = a,
         .operation_id = "analyticsEvents",
         .summary = "Newest events, whole, in the order they became visible",
         .tag = "analytics",
         .permission = "analytics:read",
         .params = events_params,
         .param_count = COUNT(events_params),
         .replies = object_replies,
         .reply_count = COUNT(object_replies)},
        {.size = sizeof(nexus_route),
         .method = "POST",
         .path = "/api/v1/analytics/query",
         .handler = ask,
         .user_data = a,
         .operation_id = "analyticsQuery",
         .summary = "Ask: measures, groups, buckets, filters, intervals",
         .tag = "analytics",
         .permission = "analytics:query",
         .body_schema = query_schema,
         .replies = object_replies,
         .reply_count = COUNT(object_replies)},
    };
    return nexus_service_route(a->service, routes, COUNT(routes));
}
