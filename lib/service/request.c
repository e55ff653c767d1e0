/*
 * What every request passes: a context (trace, ids), the token check, metrics and the access log.
 *
 * The token check is two filters, because a filter that suspends is not called again: the first one asks the verifier
 * and, when keys must be fetched, resumes when they are there; the second one decides.
 */
#include <math.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/status.h"
#include "base/time.h"
#include "crypto/wipe.h"
#include "service/service.h"

static const char context_key[] = "nexus.service";

typedef struct context {
    nexus_service *service;
    nexus_trace trace;
    char trace_id[33], span_id[17];
    nexus_log_context log;
    nexus_principal *principal; /* NULL: nobody, or not yet checked */
    nexus_status checked;       /* of the token; NEXUS_ENOTFOUND: there is none */
    bool asked;                 /* a handler of a public route wanted to know who it is */
} context;

static context *context_of(const nexus_request *request)
{
    return nexus_request_user(request, context_key);
}

/* --- context ------------------------------------------------------------------------------------------------------ */

static int32_t context_filter(nexus_request *request, void *user_data)
{
    context *c = nexus_request_alloc(request, sizeof *c);
    if (!c) {
        nexus_request_problem_text(request, 503, "out-of-memory", "The server is out of memory; try again.");
        return NEXUS_FILTER_DONE;
    }
    *c = (context){.service = user_data, .checked = NEXUS_ENOTFOUND};
    nexus_slice parent;
    if (nexus_request_header(request, "traceparent", &parent) && nexus_trace_parse(&c->trace, parent) == NEXUS_OK)
        nexus_trace_child(&c->trace, &c->trace);
    else
        nexus_trace_start(&c->trace, true);
    nexus_trace_hex(&c->trace, c->trace_id, c->span_id);
    c->log.trace_id = nexus__slice(c->trace_id, 32);
    c->log.span_id = nexus__slice(c->span_id, 16);
    nexus_request_id(request, &c->log.correlation_id);
    if (nexus_request_set_user(request, context_key, c) != NEXUS_OK ||
        nexus_request_set_user(request, "nexus.trace", &c->trace) != NEXUS_OK) { /* the gateway passes it on */
        nexus_request_problem_text(request, 500, "internal", "The request has too many slots in use.");
        return NEXUS_FILTER_DONE;
    }
    return NEXUS_FILTER_NEXT;
}

/* --- who asks ----------------------------------------------------------------------------------------------------- */

static bool bearer(const nexus_request *request, nexus_slice *token)
{
    nexus_slice value;
    if (!nexus_request_header(request, "authorization", &value) || value.n < 8 ||
        !nexus__slice_ieq(nexus__slice(value.p, 7), NEXUS_S("Bearer ")))
        return false;
    *token = nexus__slice_trim(nexus__slice_from(value, 7));
    return token->n > 0;
}

/* Two credentials leave open which of them counts, and a proxy may have looked at the other one. */
static bool is_ambiguous(const nexus_request *request)
{
    nexus_pair field;
    size_t seen = 0;
    for (size_t i = 0; nexus_request_header_at(request, i, &field); i++)
        seen += nexus__slice_ieq(field.name, NEXUS_S("authorization"));
    return seen > 1;
}

static bool is_public(const nexus_route *route)
{
    return route->roles && strcmp(route->roles, "public") == 0;
}

static void check_token(const nexus_request *request, context *c)
{
    nexus_slice token;
    if (!bearer(request, &token))
        return;
    nexus_verifier *verifier = nexus_service_verifier(c->service);
    c->checked = verifier ? nexus_verifier_check(verifier, token.p, token.n, &c->principal) : NEXUS_EAGAIN;
}

static void keys_came(nexus_status status, void *user_data)
{
    (void)status; /* the next filter checks again and knows */
    nexus_request_resume(user_data);
}

static int32_t token_filter(nexus_request *request, void *user_data)
{
    const nexus_route *route = nexus_request_route(request);
    context *c = context_of(request);
    if (!route || is_public(route)) /* there the token is looked at when the handler asks who it is */
        return NEXUS_FILTER_NEXT;
    if (is_ambiguous(request)) {
        nexus_request_problem_text(request, 400, "invalid-request", "Send one Authorization header, not several.");
        return NEXUS_FILTER_DONE;
    }
    check_token(request, c);
    if (c->checked != NEXUS_EAGAIN)
        return NEXUS_FILTER_NEXT;
    nexus_verifier *verifier = nexus_service_verifier(user_data);
    if (!verifier || nexus_verifier_wait_async(verifier, keys_came, request) != NEXUS_OK)
        return NEXUS_FILTER_NEXT;
    return NEXUS_FILTER_SUSPEND;
}

static bool has_one_of(const nexus_principal *principal, const char *roles)
{
    char role[64];
    nexus_slice rest = nexus__slice_c(roles);
    while (rest.n > 0) {
        nexus_slice word = nexus__slice_trim(nexus__slice_cut(&rest, ','));
        snprintf(role, sizeof role, "%.*s", (int)word.n, word.p);
        if (nexus_principal_has_role(principal, role))
            return true;
    }
    return false;
}

static int32_t refuse(nexus_request *request, uint16_t status, const char *code, const char *detail)
{
    if (status == 401)
        (void)nexus_request_set_header(request, "WWW-Authenticate",
                                       strcmp(code, "token-missing") == 0
                                           ? NEXUS_S("Bearer realm=\"nexus\"")
                                           : NEXUS_S("Bearer realm=\"nexus\", error=\"invalid_token\""));
    if (status == 503)
        (void)nexus_request_set_header(request, "Retry-After", NEXUS_S("1"));
    nexus_request_problem_text(request, status, code, detail);
    return NEXUS_FILTER_DONE;
}

static int32_t role_filter(nexus_request *request, void *user_data)
{
    (void)user_data;
    const nexus_route *route = nexus_request_route(request);
    context *c = context_of(request);
    if (!route || is_public(route))
        return NEXUS_FILTER_NEXT;
    if (c->checked == NEXUS_EAGAIN)
        check_token(request, c);
    if (c->checked == NEXUS_ENOTFOUND)
        return refuse(request, 401, "token-missing",
                      "Send \"Authorization: Bearer TOKEN\"; POST /api/v1/auth/login gives one.");
    if (c->checked == NEXUS_EAGAIN)
        return refuse(request, 503, "keys-unavailable", "The keys that verify tokens cannot be fetched yet; try again.");
    if (c->checked != NEXUS_OK)
        return refuse(request, 401, "token-invalid", "The token is wrong, expired or revoked; log in again.");
    if (route->roles && !has_one_of(c->principal, route->roles))
        return refuse(request, 403, "role-missing", "Your account lacks the role that this call needs.");
    return NEXUS_FILTER_NEXT;
}

/* --- what is recorded --------------------------------------------------------------------------------------------- */

static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};
enum { METHOD_COUNT = sizeof methods / sizeof methods[0] };

static uint32_t method_index(const nexus_request *request)
{
    nexus_slice method;
    nexus_request_method(request, &method);
    uint32_t i = 0;
    while (i < METHOD_COUNT && !nexus__slice_eq_c(method, methods[i]))
        i++;
    return i;
}

static nexus_slice route_label(const nexus_route *route)
{
    if (!route)
        return NEXUS_S("unmatched");
    return route->flags & NEXUS_ROUTE_FALLBACK || !route->path ? NEXUS_S("*") : nexus__slice_c(route->path);
}

static nexus_metric *series_make(nexus_service *s, const nexus_route *route, uint32_t method, uint16_t status)
{
    char code[8];
    int n = snprintf(code, sizeof code, "%u", status);
    const nexus_slice values[] = {nexus__slice_c(method < METHOD_COUNT ? methods[method] : "other"), route_label(route),
                                  nexus__slice(code, (size_t)n)};
    return nexus_metric_series(s->requests, values, 3);
}

/* Methods, routes and statuses that occur are few: after the first time a look-up is one probe without a lock. */
static nexus_metric *series_of(nexus_service *s, const nexus_request *request)
{
    const nexus_route *route = nexus_request_route(request);
    uint32_t method = method_index(request), key = method << 16 | nexus_request_status(request);
    size_t at = nexus__mix64((uint64_t)(uintptr_t)route ^ key) % NEXUS__REQUEST_SERIES_MAX;
    nexus__request_series *slot = &s->series[at];
    nexus_metric *metric = atomic_load_explicit(&slot->metric, memory_order_acquire);
    if (metric && slot->route == route && slot->key == key)
        return metric;
    nexus_metric *made = series_make(s, route, method, nexus_request_status(request));
    if (!metric) {
        pthread_mutex_lock(&s->lock);
        if (!atomic_load(&slot->metric)) {
            slot->route = route;
            slot->key = key;
            atomic_store_explicit(&slot->metric, made, memory_order_release);
        }
        pthread_mutex_unlock(&s->lock);
    }
    return made;
}

static bool is_probe(nexus_slice path)
{
    return nexus__slice_starts(path, NEXUS_S("/health")) || nexus__slice_eq_c(path, "/metrics") ||
           nexus__slice_eq_c(path, "/livez") || nexus__slice_eq_c(path, "/readyz");
}

static void access_log(nexus_service *s, const nexus_request *request, double seconds)
{
    context *c = context_of(request);
    nexus_slice method, path, ip, subject = {0};
    nexus_request_method(request, &method);
    nexus_request_path(request, &path);
    nexus_request_remote_ip(request, &ip);
    if (c && c->principal)
        nexus_principal_subject(c->principal, &subject);
    uint16_t status = nexus_request_status(request);
    int32_t level = status >= 500 ? NEXUS_LOG_WARN : is_probe(path) ? NEXUS_LOG_DEBUG : NEXUS_LOG_INFO;
    if (!nexus_log_enabled(s->log, level, "access"))
        return;
    nexus_slice problem = nexus__slice_c(nexus_request_problem_code(request));
    nexus_log_field fields[8] = {NEXUS_LOG_S("method", method),
                                 NEXUS_LOG_S("path", path),
                                 NEXUS_LOG_I("status", status),
                                 NEXUS_LOG_D("ms", round(seconds * 1e6) / 1e3),
                                 NEXUS_LOG_I("bytes", nexus_request_bytes_out(request)),
                                 NEXUS_LOG_S("ip", ip)};
    size_t count = 6;
    if (subject.n > 0)
        fields[count++] = NEXUS_LOG_S("user", subject);
    if (problem.n > 0)
        fields[count++] = NEXUS_LOG_S("problem", problem);
    const nexus_log_record record = {.size = sizeof record,
                                     .level = level,
                                     .module = "access",
                                     .message = NEXUS_S("request"),
                                     .context = c ? &c->log : NULL,
                                     .fields = fields,
                                     .field_count = count};
    nexus_log_write(s->log, &record);
}

static void request_logger(const nexus_request *request, void *user_data)
{
    nexus_service *s = user_data;
    context *c = context_of(request);
    double seconds = (double)(nexus__mono_ns() - nexus_request_start_ns(request)) / 1e9;
    nexus_metric_observe(series_of(s, request), seconds < 0 ? 0 : seconds);
    if (s->access_log)
        access_log(s, request, seconds);
    if (c) {
        nexus_principal_free(c->principal);
        c->principal = NULL;
    }
}

nexus_status nexus__request_hooks(nexus_service *s)
{
    nexus_metric_desc desc = NEXUS_METRIC_DESC_INIT;
    desc.name = "http_server_request_duration_seconds";
    desc.help = "Time from a request's head to the end of its answer.";
    desc.type = NEXUS_METRIC_HISTOGRAM;
    desc.labels = "method,route,status";
    desc.unit = "seconds";
    nexus_status status = nexus_metrics_family(&s->requests, s->metrics, &desc);
    if (status == NEXUS_OK)
        status = nexus_server_filter(s->server, context_filter, s);
    if (status == NEXUS_OK)
        status = nexus_server_filter(s->server, token_filter, s);
    if (status == NEXUS_OK)
        status = nexus_server_filter(s->server, role_filter, s);
    if (status == NEXUS_OK)
        status = nexus_server_logger(s->server, request_logger, s);
    return status;
}

/* --- for handlers ------------------------------------------------------------------------------------------------- */

/* On a public route the token is checked now, if the keys are there. */
static const nexus_principal *principal_of(const nexus_request *request)
{
    context *c = context_of(request);
    if (c && !c->principal && !c->asked) {
        c->asked = true;
        check_token(request, c);
    }
    return c ? c->principal : NULL;
}

bool nexus_service_subject(const nexus_request *request, nexus_slice *out)
{
    const nexus_principal *principal = principal_of(request);
    if (!principal)
        return false;
    nexus_principal_subject(principal, out);
    return true;
}

bool nexus_service_has_role(const nexus_request *request, const char *role)
{
    const nexus_principal *principal = principal_of(request);
    return principal && nexus_principal_has_role(principal, role);
}

bool nexus_service_is_operator(const nexus_request *request)
{
    context *c = context_of(request);
    nexus_slice token;
    if (!c || !bearer(request, &token))
        return false;
    nexus_slice own = nexus__slice_c(c->service->host->admin_token);
    if (token.n == own.n && nexus__equal_ct(token.p, own.p, own.n))
        return true;
    return nexus_service_has_role(request, "admin");
}

void nexus_service_context(const nexus_request *request, nexus_log_context *out)
{
    context *c = context_of(request);
    *out = c ? c->log : (nexus_log_context){0};
}

void nexus_service_trace(const nexus_request *request, nexus_trace *out)
{
    context *c = context_of(request);
    if (c)
        *out = c->trace;
    else
        nexus_trace_start(out, true);
}
