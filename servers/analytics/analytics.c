#include "analytics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void collect(nexus_metrics *metrics, void *user_data)
{
    analytics *a = user_data;
    (void)metrics;
    nexus_metric_set(a->held, (double)nexus_analytics_count(a->store));
}

static nexus_status open_metrics(analytics *a)
{
    nexus_metrics *m = nexus_service_metrics(a->service);
    nexus_metric_family *family;
    nexus_metric_desc desc = NEXUS_METRIC_DESC_INIT;
    desc.name = "nexus_ingest_events_total";
    desc.help = "Events offered for ingestion, by what became of them.";
    desc.type = NEXUS_METRIC_COUNTER;
    desc.labels = "result";
    nexus_status st = nexus_metrics_family(&family, m, &desc);
    if (st != NEXUS_OK)
        return st;
    a->accepted = nexus_metric_series(family, &NEXUS_S("accepted"), 1);
    a->duplicate = nexus_metric_series(family, &NEXUS_S("duplicate"), 1);
    a->rejected = nexus_metric_series(family, &NEXUS_S("rejected"), 1);
    a->held = nexus_metrics_gauge(m, "nexus_analytics_events", "Events that can be asked about.");
    return nexus_metrics_collect(m, collect, a);
}

static nexus_status open_log(analytics *a)
{
    char dir[4096];
    nexus_ingest_opts opts = NEXUS_INGEST_OPTS_INIT;
    const nexus_settings *settings = nexus_service_settings(a->service);
    snprintf(dir, sizeof dir, "%s/ingest", nexus_service_state_dir(a->service));
    opts.dir = dir;
    opts.analytics = a->store;
    opts.event_max_bytes = (uint32_t)nexus_settings_int(settings, "ingest_event_max_bytes");
    opts.retention_s = (uint64_t)nexus_settings_int(settings, "ingest_retention_days") * 86400;
    opts.dedupe_window_s = (uint32_t)nexus_settings_int(settings, "ingest_dedupe_hours") * 3600;
    opts.identity_action = strcmp(nexus_settings_text(settings, "ingest_illegal_identity"), "reject") == 0
                               ? NEXUS_IDENTITY_REJECT
                               : NEXUS_IDENTITY_ANONYMISE;
    return nexus_ingest_open(&a->ingest, &opts);
}

static void unmount(void *mounted)
{
    analytics *a = mounted;
    if (!a)
        return;
    analytics_feed_close(a->feed);
    if (a->store)
        nexus_analytics_listen(a->store, NULL, NULL);
    analytics_live_close(a->live);
    nexus_ingest_close(a->ingest);
    nexus_analytics_close(a->store);
    nexus_secret_free(a->own_write_key);
    free(a);
}

static nexus_status mount(nexus_service *service, void **out)
{
    nexus_status st;
    analytics *a = calloc(1, sizeof *a);
    if (!a)
        return NEXUS_ENOMEM;
    a->service = service;
    if ((st = nexus_service_audit(service) ? NEXUS_OK : NEXUS_EIO) || (st = nexus_analytics_open(&a->store, NULL)) || (st = open_log(a)) || (st = analytics_write_key(a)) ||
        (st = open_metrics(a)) || (st = analytics_live_open(&a->live, a)) || (st = analytics_ingest_routes(a)) ||
        (st = analytics_query_routes(a)) || (st = analytics_feed_open(&a->feed, a))) {
        unmount(a);
        return st;
    }
    *out = a;
    return NEXUS_OK;
}

static const nexus_setting settings[] = {
    {"ingest_event_max_bytes", NEXUS_SETTING_INT, "65536", 1024, 1048576, NULL, "Largest event that is taken."},
    {"ingest_retention_days", NEXUS_SETTING_INT, "0", 0, 36500, NULL,
     "Events older than this are refused as too_old; 0: kept for ever."},
    {"ingest_dedupe_hours", NEXUS_SETTING_INT, "24", 1, 8760, NULL, "How long an event's id is remembered at least."},
    {"ingest_illegal_identity", NEXUS_SETTING_CHOICE, "anonymise", 0, 0, "anonymise,reject",
     "What happens to an event whose user_id is a placeholder such as null or undefined."},
};

const nexus_service_module analytics_module = {.size = sizeof analytics_module,
                                               .name = "analytics",
                                               .text = "Takes events and answers questions about them.",
                                               .port_offset = 3,
                                               .bus = NEXUS_SERVICE_BUS_OWNER,
                                               .settings = settings,
                                               .setting_count = sizeof settings / sizeof settings[0],
                                               .mount = mount,
                                               .unmount = unmount};

/* --- shared by the routes -------------------------------------------------------------------- */

void analytics_refuse(nexus_request *request, nexus_status status)
{
    const char *why = nexus_error_message();
    switch (status) {
    case NEXUS_EINVAL:
        if (why[0] == '/') { /* the message of a question names the member: "/filters: …" */
            char pointer[64];
            snprintf(pointer, sizeof pointer, "%.*s", (int)strcspn(why, ":"), why);
            const nexus_problem_error error = {pointer, "invalid", why};
            nexus_request_problem_errors(request, 422, "invalid", why, &error, 1);
        } else {
            nexus_request_problem_text(request, 400, "malformed", why);
        }
        return;
    case NEXUS_ETOOBIG:
        nexus_request_problem_text(request, why[0] == '/' ? 422 : 413, "too-large", why);
        return;
    case NEXUS_EAGAIN:
        nexus_request_set_header(request, "Retry-After", NEXUS_S("1"));
        nexus_request_problem_text(request, 429, "queue-full", why);
        return;
    default:
        nexus_request_set_header(request, "Retry-After", NEXUS_S("5"));
        nexus_request_problem_text(request, 503, "not-persisted", why);
    }
}

void analytics_answer(nexus_request *request, char *text, size_t len)
{
    nexus_request_reply(request, 200, "application/json", (nexus_slice){text, len});
    nexus_free(text);
}
