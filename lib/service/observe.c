/*
 * What leaves a service to be looked at: its access log and its spans. The metrics are fetched, see endpoint.c.
 */
#include <stdio.h>

#include "base/status.h"
#include "service/service.h"

/* --- the access log ------------------------------------------------------------------------------------------------ */

/* "log": among the other lines. "off". Else a file of its own, with a ring and a thread of its own. */
static nexus_status open_access_log(nexus_service *s)
{
    const char *where = nexus_settings_text(s->host->settings, "access_log");
    double share = nexus_settings_double(s->host->settings, "access_log_sample");
    if (!(share >= 0 && share <= 1))
        return nexus__fail(NEXUS_EINVAL, "access_log_sample is a share from 0 to 1");
    s->access.share = (uint32_t)(share * 10000 + 0.5);
    if (strcmp(where, "off") == 0)
        return NEXUS_OK;
    if (strcmp(where, "log") == 0) {
        s->access.log = s->log;
        return NEXUS_OK;
    }
    nexus_log_opts opts = NEXUS_LOG_OPTS_INIT;
    opts.alloc = s->alloc;
    opts.service = s->module->name;
    opts.format = NEXUS_LOG_FORMAT_JSON;
    opts.fd = -1;
    opts.path = where;
    nexus_status status = nexus_log_open(&s->access.own, &opts);
    s->access.log = s->access.own;
    return status;
}

/* --- spans --------------------------------------------------------------------------------------------------------- */

static nexus_status answer_of(const nexus_reply *reply)
{
    uint16_t code = nexus_reply_status(reply);
    if (code >= 200 && code <= 299)
        return NEXUS_OK;
    (void)nexus__fail(NEXUS_EIO, "the receiver answered %u", code);
    return code == 429 || (code >= 502 && code <= 504) ? NEXUS_EAGAIN : NEXUS_EIO;
}

/* A receiver that is away is told of once, not with every message. */
static void note(nexus_service *s, nexus_status status)
{
    bool failed = status != NEXUS_OK;
    if (failed == s->trace.failing)
        return;
    s->trace.failing = failed;
    if (failed)
        nexus_log_printf(s->log, NEXUS_LOG_WARN, "trace", NULL, "spans cannot be sent to %s: %s", s->trace.url,
                         nexus_error_message());
    else
        nexus_log_printf(s->log, NEXUS_LOG_INFO, "trace", NULL, "spans are sent to %s again", s->trace.url);
}

static nexus_status send_spans(const char *content_type, nexus_slice message, void *user_data)
{
    nexus_service *s = user_data;
    nexus_pair headers[] = {{NEXUS_S("Content-Type"), nexus__slice_c(content_type)}};
    nexus_fetch fetch = NEXUS_FETCH_INIT;
    nexus_reply *reply;
    fetch.method = "POST";
    fetch.url = nexus__slice_c(s->trace.url);
    fetch.headers = headers;
    fetch.header_count = 1;
    fetch.body = message;
    fetch.timeout_ms = 10000;
    nexus_client *client = nexus_service_client(s);
    nexus_status status = client ? nexus_client_fetch(client, &fetch, &reply) : NEXUS_ENOMEM;
    if (status == NEXUS_OK) {
        status = answer_of(reply);
        nexus_reply_free(reply);
    } else if (status == NEXUS_EUNREACH || status == NEXUS_ETIMEDOUT || status == NEXUS_EUNKNOWN) {
        status = NEXUS_EAGAIN;
    }
    note(s, status);
    return status;
}

static bool is_loopback(nexus_slice authority)
{
    static const char *const hosts[] = {"127.0.0.1", "localhost", "[::1]"};
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        nexus_slice host = nexus__slice_c(hosts[i]);
        if (nexus__slice_starts(authority, host) && (authority.n == host.n || authority.p[host.n] == ':'))
            return true;
    }
    return false;
}

/* The setting may be the address of the receiver alone, as other programs have it: then the path is OTLP's. */
static nexus_status make_url(nexus_service *s, nexus_slice url)
{
    nexus_slice plain = NEXUS_S("http://"), rest = nexus__slice_from(url, nexus__slice_search(url, NEXUS_S("//")) + 2);
    size_t slash = nexus__slice_find(rest, '/');
    if (nexus__slice_starts(url, plain) && !is_loopback(nexus__slice(rest.p, slash)))
        return nexus__fail(NEXUS_EINVAL, "otlp_url: spans leave this machine by https only");
    bool bare = slash + 1 >= rest.n;
    int n = snprintf(s->trace.url, sizeof s->trace.url, "%.*s%s", (int)(url.n - (slash + 1 == rest.n)), url.p,
                     bare ? "/v1/traces" : "");
    return (size_t)n < sizeof s->trace.url ? NEXUS_OK : nexus__fail(NEXUS_ETOOBIG, "otlp_url is too long");
}

static nexus_status open_tracer(nexus_service *s)
{
    const char *url = nexus_settings_text(s->host->settings, "otlp_url");
    double share = nexus_settings_double(s->host->settings, "otlp_sample");
    if (!(share >= 0 && share <= 1))
        return nexus__fail(NEXUS_EINVAL, "otlp_sample is a share from 0 to 1");
    if (!*url)
        return NEXUS_OK;
    nexus_status status = make_url(s, nexus__slice_c(url));
    if (status != NEXUS_OK)
        return status;
    nexus_tracer_opts opts = NEXUS_TRACER_OPTS_INIT;
    opts.alloc = s->alloc;
    opts.service = s->module->name;
    opts.send = send_spans;
    opts.send_user_data = s;
    opts.sample_bp = (uint32_t)(share * 10000 + 0.5);
    return nexus_tracer_open(&s->trace.tracer, &opts);
}

nexus_tracer *nexus_service_tracer(nexus_service *service)
{
    return service->trace.tracer;
}

/* --- what was lost on the way -------------------------------------------------------------------------------------- */

static void raise_to(nexus_metric *metric, uint64_t value)
{
    nexus_metric_add(metric, (double)value - nexus_metric_value(metric));
}

static void collect(nexus_metrics *metrics, void *user_data)
{
    nexus_service *s = user_data;
    nexus_tracer_counts spans = {.size = sizeof spans};
    (void)metrics;
    pthread_mutex_lock(&s->lock); /* two scrapes at once would both add the difference */
    raise_to(s->observed.log_dropped, nexus_log_dropped(s->log));
    if (s->access.own)
        raise_to(s->observed.access_dropped, nexus_log_dropped(s->access.own));
    if (s->trace.tracer) {
        nexus_tracer_count(s->trace.tracer, &spans);
        raise_to(s->observed.spans[0], spans.sent);
        raise_to(s->observed.spans[1], spans.dropped);
        raise_to(s->observed.spans[2], spans.failed);
    }
    pthread_mutex_unlock(&s->lock);
}

static nexus_status open_counters(nexus_service *s)
{
    static const nexus_slice outcomes[] = {{"sent", 4}, {"dropped", 7}, {"failed", 6}};
    nexus_metric_family *lost, *spans = NULL;
    nexus_metric_desc desc = NEXUS_METRIC_DESC_INIT;
    desc.name = "nexus_log_dropped_total";
    desc.help = "Lines that were lost because the ring of their log was full.";
    desc.type = NEXUS_METRIC_COUNTER;
    desc.labels = "log";
    nexus_status status = nexus_metrics_family(&lost, s->metrics, &desc);
    desc.name = "nexus_spans_total";
    desc.help = "Spans by what became of them.";
    desc.labels = "outcome";
    if (status == NEXUS_OK && s->trace.tracer)
        status = nexus_metrics_family(&spans, s->metrics, &desc);
    if (status != NEXUS_OK)
        return status;
    s->observed.log_dropped = nexus_metric_series(lost, &NEXUS_S("log"), 1);
    if (s->access.own)
        s->observed.access_dropped = nexus_metric_series(lost, &NEXUS_S("access"), 1);
    for (size_t i = 0; i < 3 && spans; i++)
        s->observed.spans[i] = nexus_metric_series(spans, &outcomes[i], 1);
    return nexus_metrics_collect(s->metrics, collect, s);
}

nexus_status nexus__observe_open(nexus_service *s)
{
    nexus_status status = open_access_log(s);
    if (status == NEXUS_OK)
        status = open_tracer(s);
    return status == NEXUS_OK ? open_counters(s) : status;
}

void nexus__observe_close(nexus_service *s)
{
    if (s->host)
        nexus__host_drop_tracer(s->host, s);
    nexus_tracer_close(s->trace.tracer);
    nexus_log_close(s->access.own);
}
