#include "gateway/seen.h"

#include <stdio.h>

#include "base/time.h"
#include "gateway/gateway.h"

static const struct {
    nexus_slice name; /* label of the metric, error.type of the span */
    bool error;
} outcomes[NEXUS__SEEN_OUTCOMES] = {
    [NEXUS__SEEN_CANCELLED] = {{"cancelled", 9}, false}, [NEXUS__SEEN_ANSWERED] = {{"answered", 8}, false},
    [NEXUS__SEEN_ERROR] = {{"error", 5}, true},          [NEXUS__SEEN_CONNECT] = {{"connect", 7}, true},
    [NEXUS__SEEN_CLOSED] = {{"closed", 6}, true},        [NEXUS__SEEN_TIMEOUT] = {{"timeout", 7}, true},
    [NEXUS__SEEN_PROTOCOL] = {{"protocol", 8}, true},    [NEXUS__SEEN_BUSY] = {{"busy", 4}, true},
};

/* --- metrics ------------------------------------------------------------------------------------------------------- */

nexus_status nexus__seen_open(nexus__seen_families *f, nexus_metrics *metrics)
{
    const struct {
        nexus_metric_family **family;
        const char *name, *help, *labels;
        uint32_t type;
        const char *unit;
    } rows[] = {
        {&f->requests, "nexus_gateway_requests_total",
         "Requests by route and class of the answer; none: the client went, or got half of one.", "route,class",
         NEXUS_METRIC_COUNTER, NULL},
        {&f->seconds, "nexus_gateway_request_duration_seconds",
         "Time from a request's head to the end of its answer.", "route", NEXUS_METRIC_HISTOGRAM, "seconds"},
        {&f->bytes, "nexus_gateway_body_bytes_total", "Bytes of bodies passed on.", "route,direction",
         NEXUS_METRIC_COUNTER, NULL},
        {&f->tries, "nexus_gateway_upstream_tries_total", "Tries at an upstream by how they ended.", "upstream,outcome",
         NEXUS_METRIC_COUNTER, NULL},
        {&f->upstream_seconds, "nexus_gateway_upstream_duration_seconds",
         "Time from the begin of a try to the head of its answer.", "upstream", NEXUS_METRIC_HISTOGRAM, "seconds"},
        {&f->active, "nexus_gateway_upstream_active", "Requests that an upstream has now.", "upstream",
         NEXUS_METRIC_GAUGE, NULL},
        {&f->connections, "nexus_gateway_upstream_connections", "Connections to an upstream now.", "upstream",
         NEXUS_METRIC_GAUGE, NULL},
        {&f->targets, "nexus_gateway_upstream_targets", "Targets of an upstream now; down: by checks, or ejected.",
         "upstream,state", NEXUS_METRIC_GAUGE, NULL},
    };
    nexus_status status = NEXUS_OK;
    for (size_t i = 0; i < sizeof rows / sizeof *rows && !status; i++) {
        nexus_metric_desc desc = NEXUS_METRIC_DESC_INIT;
        desc.name = rows[i].name;
        desc.help = rows[i].help;
        desc.labels = rows[i].labels;
        desc.type = rows[i].type;
        desc.unit = rows[i].unit;
        status = nexus_metrics_family(rows[i].family, metrics, &desc);
    }
    return status;
}

static nexus_metric *series(nexus_metric_family *f, nexus_slice first, nexus_slice second)
{
    return nexus_metric_series(f, (nexus_slice[]){first, second}, 2);
}

void nexus__seen_route_find(nexus__seen_route *m, const nexus__seen_families *f, nexus_slice id)
{
    static const nexus_slice classes[6] = {{"none", 4}, {"1xx", 3}, {"2xx", 3}, {"3xx", 3}, {"4xx", 3}, {"5xx", 3}};
    for (int i = 0; i < 6; i++)
        m->requests[i] = series(f->requests, id, classes[i]);
    m->seconds = nexus_metric_series(f->seconds, &id, 1);
    m->bytes_in = series(f->bytes, id, NEXUS_S("in"));
    m->bytes_out = series(f->bytes, id, NEXUS_S("out"));
}

void nexus__seen_upstream_find(nexus__seen_upstream *m, const nexus__seen_families *f, nexus_slice name)
{
    for (int i = 0; i < NEXUS__SEEN_OUTCOMES; i++)
        m->tries[i] = series(f->tries, name, outcomes[i].name);
    m->seconds = nexus_metric_series(f->upstream_seconds, &name, 1);
    m->active = nexus_metric_series(f->active, &name, 1);
    m->connections = nexus_metric_series(f->connections, &name, 1);
    m->targets_up = series(f->targets, name, NEXUS_S("up"));
    m->targets_down = series(f->targets, name, NEXUS_S("down"));
}

void nexus__seen_gauges(const nexus__snapshot *s, int64_t now)
{
    for (uint32_t i = 0; s && i < s->config->upstreams.count; i++) {
        nexus__upstream *u = s->upstreams[i];
        nexus__target_set *set = nexus__upstream_set(u);
        uint32_t connections = 0, up = 0;
        for (uint32_t k = 0; k < set->count; k++) {
            nexus__target *t = set->targets[k];
            connections += atomic_load_explicit(&t->shared.connections, memory_order_relaxed);
            up += nexus__load_healthy(&t->load, now);
        }
        nexus_metric_set(u->seen.active, nexus__upstream_active(u));
        nexus_metric_set(u->seen.connections, connections);
        nexus_metric_set(u->seen.targets_up, up);
        nexus_metric_set(u->seen.targets_down, set->count - up);
        nexus__target_set_unref(set);
    }
}

/* --- spans --------------------------------------------------------------------------------------------------------- */

static int64_t now_of(const nexus__call *call)
{
    return nexus_loop_now_ns(call->view->home->loop);
}

static nexus_tracer *tracer_of(const nexus__call *call)
{
    return call->view->home->gateway->opts.tracer;
}

/* The span that the try is a child of: the server's, which may have none. */
static bool parent_of(const nexus__call *call, nexus_trace *out)
{
    const nexus_trace *own = nexus_request_user(call->request, "nexus.trace");
    if (own)
        *out = *own;
    return own != NULL;
}

void nexus__seen_trace(const nexus__call *call, nexus_trace *out)
{
    nexus_slice given;
    if (call->seen.traced)
        *out = call->seen.span;
    else if (parent_of(call, out))
        return;
    else if (nexus_request_header(call->request, "traceparent", &given) && nexus_trace_parse(out, given) == NEXUS_OK)
        nexus_trace_child(out, out);
    else
        nexus_trace_start(out, true);
}

static void record_span(const nexus__call *call)
{
    const nexus__gw_seen *seen = &call->seen;
    nexus_slice method;
    nexus_trace parent = {{0}, {0}, 0};
    char name[96];
    nexus_request_method(call->request, &method);
    (void)parent_of(call, &parent);
    const nexus_log_field attrs[] = {
        NEXUS_LOG_S("http.request.method", method), NEXUS_LOG_S("server.address", seen->target),
        NEXUS_LOG_S("nexus.upstream", call->pool->upstream->conf->name),
        NEXUS_LOG_S("nexus.route", call->route->conf->id), NEXUS_LOG_S("nexus.outcome", outcomes[seen->outcome].name),
        NEXUS_LOG_I("http.request.resend_count", call->tries > 1 ? call->tries - 1 : 0),
        NEXUS_LOG_I("http.response.status_code", seen->status)};
    nexus_slice upstream = call->pool->upstream->conf->name;
    int n = snprintf(name, sizeof name, "%.*s %.*s", method.n > 20 ? 20 : (int)method.n, method.p,
                     upstream.n > 64 ? 64 : (int)upstream.n, upstream.p);
    nexus_span span = NEXUS_SPAN_INIT;
    span.trace = seen->span;
    memcpy(span.parent, parent.span_id, sizeof span.parent);
    span.kind = NEXUS_SPAN_CLIENT;
    span.name = nexus__slice(name, (size_t)n);
    span.end_ns = nexus__real_ns();
    span.start_ns = span.end_ns - (nexus__mono_ns() - seen->try_ns);
    span.error = outcomes[seen->outcome].error;
    span.attrs = attrs;
    span.attr_count = sizeof attrs / sizeof *attrs - (seen->status == 0);
    nexus_tracer_record(tracer_of(call), &span);
}

/* --- stations ------------------------------------------------------------------------------------------------------ */

void nexus__seen_begin(nexus__call *call)
{
    (void)nexus_request_set_user(call->request, "nexus.gateway", &call->seen);
}

/* In the request's memory. */
static nexus_slice copy(nexus__call *call, nexus_slice text)
{
    char *p = text.n ? nexus_request_alloc(call->request, text.n) : NULL;
    if (p)
        memcpy(p, text.p, text.n);
    return nexus__slice(p, p ? text.n : 0);
}

void nexus__seen_try(nexus__call *call, const nexus__target *target)
{
    nexus__gw_seen *seen = &call->seen;
    seen->try_ns = now_of(call);
    seen->begun_ns = seen->begun_ns ? seen->begun_ns : seen->try_ns;
    seen->outcome = NEXUS__SEEN_CANCELLED;
    seen->status = 0;
    seen->trying = true;
    seen->target = copy(call, nexus__slice_c(target->url.p));
    seen->flags |= call->tries > 1 ? NEXUS_GATEWAY_SEEN_RETRIED : 0;
    seen->traced = tracer_of(call) && parent_of(call, &seen->span) && seen->span.flags & NEXUS_TRACE_SAMPLED;
    if (seen->traced)
        nexus_trace_child(&seen->span, &seen->span);
}

void nexus__seen_end_try(nexus__call *call)
{
    nexus__gw_seen *seen = &call->seen;
    if (!seen->trying)
        return;
    seen->trying = false;
    nexus_metric_add(call->pool->upstream->seen.tries[seen->outcome], 1);
    if (seen->traced)
        record_span(call);
}

void nexus__seen_lost(nexus__call *call, int how)
{
    static const uint8_t rows[] = {[NEXUS__LOST_CONNECT] = NEXUS__SEEN_CONNECT,
                                   [NEXUS__LOST_TLS] = NEXUS__SEEN_CONNECT,
                                   [NEXUS__LOST_CERTIFICATE] = NEXUS__SEEN_CONNECT,
                                   [NEXUS__LOST_CLOSED] = NEXUS__SEEN_CLOSED,
                                   [NEXUS__LOST_REFUSED] = NEXUS__SEEN_CLOSED,
                                   [NEXUS__LOST_INVALID] = NEXUS__SEEN_PROTOCOL,
                                   [NEXUS__LOST_UNSENT] = NEXUS__SEEN_CLOSED,
                                   [NEXUS__LOST_TIMEOUT] = NEXUS__SEEN_TIMEOUT};
    call->seen.outcome = rows[how];
    nexus__seen_end_try(call);
}

void nexus__seen_answer(nexus__call *call, uint16_t status)
{
    nexus__gw_seen *seen = &call->seen;
    seen->head_ns = now_of(call);
    seen->status = status;
    seen->outcome = status >= 500 ? NEXUS__SEEN_ERROR : NEXUS__SEEN_ANSWERED;
    nexus_metric_observe(call->pool->upstream->seen.seconds, (double)(seen->head_ns - seen->try_ns) / 1e9);
}

void nexus__seen_problem(nexus__call *call, const char *code)
{
    static const struct {
        const char *code;
        uint32_t flag;
        uint8_t outcome;
    } rows[] = {
        {"upstream-timeout", NEXUS_GATEWAY_SEEN_TIMED_OUT, NEXUS__SEEN_TIMEOUT},
        {"upstream-unreachable", 0, NEXUS__SEEN_CONNECT},
        {"upstream-closed", 0, NEXUS__SEEN_CLOSED},
        {"upstream-protocol", 0, NEXUS__SEEN_PROTOCOL},
        {"upstream-busy", NEXUS_GATEWAY_SEEN_BULKHEAD, NEXUS__SEEN_BUSY},
        {"circuit-open", NEXUS_GATEWAY_SEEN_BREAKER, NEXUS__SEEN_BUSY},
        {"rate-limited", NEXUS_GATEWAY_SEEN_LIMITED, NEXUS__SEEN_CANCELLED},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].code, code) == 0) {
            call->seen.flags |= rows[i].flag;
            call->seen.outcome = rows[i].outcome;
        }
}

void nexus__seen_end(nexus__call *call, uint16_t status)
{
    nexus__gw_seen *seen = &call->seen;
    if (!call->route)
        return;
    const nexus__seen_route *m = &call->route->seen;
    unsigned class = status / 100 <= 5 ? status / 100 : 0;
    seen->flags |= (status == 429 && !seen->head_ns ? NEXUS_GATEWAY_SEEN_LIMITED : 0) |
                   (status == 0 ? NEXUS_GATEWAY_SEEN_CUT : 0);
    seen->bytes_in = call->sent;
    seen->tries = call->tries;
    seen->route = copy(call, call->route->conf->id);
    if (seen->begun_ns) {
        seen->upstream = copy(call, call->pool->upstream->conf->name);
        nexus__seen_end_try(call);
    }
    if (call->principal) {
        nexus_principal_subject(call->principal, &seen->user);
        seen->user = copy(call, seen->user);
    }
    nexus_metric_add(m->requests[class], 1);
    nexus_metric_observe(m->seconds, (double)(now_of(call) - nexus_request_start_ns(call->request)) / 1e9);
    if (call->sent)
        nexus_metric_add(m->bytes_in, (double)call->sent);
    if (call->replied && call->reply_body.received)
        nexus_metric_add(m->bytes_out, (double)call->reply_body.received);
}

/* --- for loggers --------------------------------------------------------------------------------------------------- */

void nexus_gateway_seen_init(nexus_gateway_seen *seen)
{
    *seen = (nexus_gateway_seen)NEXUS_GATEWAY_SEEN_INIT;
}

bool nexus_gateway_seen_get(const nexus_request *request, nexus_gateway_seen *out)
{
    const nexus__gw_seen *seen = nexus_request_user(request, "nexus.gateway");
    if (!seen)
        return false;
    nexus_gateway_seen all = {.size = out->size,
                              .route = seen->route,
                              .upstream = seen->upstream,
                              .target = seen->target,
                              .user = seen->user,
                              .bytes_in = seen->bytes_in,
                              .upstream_ns = seen->head_ns ? seen->head_ns - seen->begun_ns : -1,
                              .tries = seen->tries,
                              .flags = seen->flags};
    memcpy(out, &all, out->size < sizeof all ? out->size : sizeof all);
    return true;
}

size_t nexus_gateway_seen_words(uint32_t flags, char *out, size_t cap)
{
    static const struct {
        uint32_t flag;
        const char *word;
    } rows[] = {
        {NEXUS_GATEWAY_SEEN_RETRIED, "retry"},     {NEXUS_GATEWAY_SEEN_TIMED_OUT, "timeout"},
        {NEXUS_GATEWAY_SEEN_LIMITED, "limit"},     {NEXUS_GATEWAY_SEEN_BREAKER, "breaker"},
        {NEXUS_GATEWAY_SEEN_BULKHEAD, "bulkhead"}, {NEXUS_GATEWAY_SEEN_CUT, "cut"},
    };
    nexus__buf words = {.p = out, .cap = cap, .max = cap};
    for (size_t i = 0; i < sizeof rows / sizeof *rows && flags; i++)
        if (flags & rows[i].flag) {
            nexus__buf_text(&words, words.len ? "," : "");
            nexus__buf_text(&words, rows[i].word);
        }
    return words.len;
}
