/*
 * What every request passes: a context (trace, ids), the token check, metrics and the access log.
 *
 * The token check is two filters, because a filter that suspends is not called again: the first one asks the verifier
 * and, when keys must be fetched, resumes when they are there; the second one decides.
 */
#include <nexus/gateway.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/status.h"
#include "base/time.h"
#include "crypto/wipe.h"
#include "http/exchange.h"
#include "observe/access.h"
#include "service/service.h"

static const char context_key[] = "nexus.service";

typedef struct context {
    nexus_service *service;
    nexus_trace trace;
    uint8_t parent[8]; /* span id of who called; all zero: the trace begins here */
    char trace_id[33], span_id[17]; /* written when asked for: most requests log nothing but their line */
    nexus_log_context log;
    nexus_principal *principal; /* NULL: nobody, or not yet checked */
    nexus_status checked;       /* of the token; NEXUS_ENOTFOUND: there is none */
    bool asked;                 /* a handler of a public route wanted to know who it is */
} context;

static context *context_of(const nexus_request *request)
{
    return nexus_request_user(request, context_key);
}

static const nexus_log_context *log_of(context *c)
{
    if (c->log.trace_id.n == 0) {
        nexus_trace_hex(&c->trace, c->trace_id, c->span_id);
        c->log.trace_id = nexus__slice(c->trace_id, 32);
        c->log.span_id = nexus__slice(c->span_id, 16);
    }
    return &c->log;
}

/* --- context ------------------------------------------------------------------------------------------------------ */

static void begin_trace(context *c, const nexus_request *request)
{
    nexus_slice given;
    nexus_tracer *tracer = c->service->trace.tracer;
    if (nexus_request_header(request, "traceparent", &given) && nexus_trace_parse(&c->trace, given) == NEXUS_OK) {
        memcpy(c->parent, c->trace.span_id, sizeof c->parent);
        nexus_trace_child(&c->trace, &c->trace);
        return;
    }
    nexus_trace_start(&c->trace, true);
    if (tracer && !nexus_tracer_samples(tracer, &c->trace))
        c->trace.flags = 0;
}

static int32_t context_filter(nexus_request *request, void *user_data)
{
    context *c = nexus_request_alloc(request, sizeof *c);
    if (!c) {
        nexus_request_problem_text(request, 503, "out-of-memory", "The server is out of memory; try again.");
        return NEXUS_FILTER_DONE;
    }
    *c = (context){.service = user_data, .checked = NEXUS_ENOTFOUND};
    begin_trace(c, request);
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
    nexus_client_cert cert = NEXUS_CLIENT_CERT_INIT;
    if (!bearer(request, &token))
        return;
    nexus_verifier *verifier = nexus_service_verifier(c->service);
    const uint8_t *sha256 = nexus_request_client_cert(request, &cert) ? cert.sha256 : NULL;
    c->checked = verifier ? nexus_verifier_check_bound(verifier, token.p, token.n, sha256, &c->principal) : NEXUS_EAGAIN;
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

/* With where to read whose tokens are taken (RFC 9728, 5.1): the backend says it under the issuer's address. */
static void challenge(nexus_request *request, const char *error)
{
    char text[1024];
    const char *issuer = context_of(request)->service->host->issuer;
    int n = snprintf(text, sizeof text,
                     "Bearer realm=\"nexus\"%s, resource_metadata=\"%s/.well-known/oauth-protected-resource\"", error, issuer);
    if (n > 0 && (size_t)n < sizeof text)
        (void)nexus_request_set_header(request, "WWW-Authenticate", nexus__slice(text, (size_t)n));
}

static int32_t refuse(nexus_request *request, uint16_t status, const char *code, const char *detail)
{
    if (status == 401)
        challenge(request, strcmp(code, "token-missing") == 0 ? "" : ", error=\"invalid_token\"");
    if (strcmp(code, "scope-missing") == 0)
        challenge(request, ", error=\"insufficient_scope\", scope=\"api\"");
    if (status == 503)
        (void)nexus_request_set_header(request, "Retry-After", NEXUS_S("1"));
    nexus_request_problem_text(request, status, code, detail);
    return NEXUS_FILTER_DONE;
}

static int32_t permission_filter(nexus_request *request, const nexus_route *route, const context *c)
{
    nexus_slice tenant = NEXUS_S(""), nobody = NEXUS_S("");
    if (route->flags & NEXUS_ROUTE_IN_TENANT)
        (void)nexus_request_query_param(request, "tenant", &tenant);
    nexus_status status =
        nexus__authorize(c->service->host, c->principal, nexus__slice_c(route->permission), tenant, nobody);
    if (status == NEXUS_OK)
        return NEXUS_FILTER_NEXT;
    if (status == NEXUS_EAGAIN)
        return refuse(request, 503, "roles-unavailable", "What your roles allow cannot be fetched yet; try again.");
    nexus_request_problem(request, 403, "role-missing", "Your roles do not allow %s%s.", route->permission,
                          tenant.n ? " in this tenant" : "");
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
    if (nexus__lacks_scope(c->principal))
        return refuse(request, 403, "scope-missing", "The token was not granted the scope \"api\".");
    if (route->roles && !has_one_of(c->principal, route->roles))
        return refuse(request, 403, "role-missing", "Your account lacks the role that this call needs.");
    return route->permission ? permission_filter(request, route, c) : NEXUS_FILTER_NEXT;
}

/* --- what is recorded --------------------------------------------------------------------------------------------- */

static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};
enum { METHOD_COUNT = sizeof methods / sizeof methods[0], FLAGS_BYTES = 64 };

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

/* What went well is logged for a share of the traces; each trace whole or not at all. */
static bool is_logged(const nexus_service *s, const context *c, uint16_t status)
{
    if (s->access.share >= 10000 || status >= 400 || status == 0 || !c)
        return true;
    const uint8_t *id = c->trace.trace_id;
    uint32_t random = (uint32_t)id[12] << 24 | (uint32_t)id[13] << 16 | (uint32_t)id[14] << 8 | id[15];
    return (uint64_t)random * 10000 >> 32 < s->access.share;
}

/* What only the gateway knows. flags has room for its words. */
static void add_seen(nexus__access *a, const nexus_request *request, char flags[static FLAGS_BYTES])
{
    nexus_gateway_seen seen = NEXUS_GATEWAY_SEEN_INIT;
    if (!nexus_gateway_seen_get(request, &seen))
        return;
    a->n.proxied = true;
    a->n.bytes_in = seen.bytes_in;
    a->n.tries = seen.tries;
    a->n.upstream_ns = seen.upstream_ns;
    nexus_request_query(request, &a->text[NEXUS__ACCESS_QUERY]);
    a->text[NEXUS__ACCESS_ROUTE] = seen.route;
    a->text[NEXUS__ACCESS_UPSTREAM] = seen.upstream;
    a->text[NEXUS__ACCESS_TARGET] = seen.target;
    a->text[NEXUS__ACCESS_USER] = seen.user;
    a->text[NEXUS__ACCESS_FLAGS] = nexus__slice(flags, nexus_gateway_seen_words(seen.flags, flags, FLAGS_BYTES));
}

static void access_log(nexus_service *s, const nexus_request *request, int64_t took_ns)
{
    const context *c = context_of(request);
    char flags[FLAGS_BYTES];
    nexus_slice *text;
    nexus__access a = {.n = {.took_ns = took_ns, .upstream_ns = -1, .status = nexus_request_status(request)}};
    text = a.text;
    nexus_request_path(request, &text[NEXUS__ACCESS_PATH]);
    a.n.level = a.n.status >= 500                          ? NEXUS_LOG_WARN
                : is_probe(text[NEXUS__ACCESS_PATH]) ? NEXUS_LOG_DEBUG
                                                           : NEXUS_LOG_INFO;
    if (!is_logged(s, c, a.n.status) || !nexus_log_enabled(s->access.log, a.n.level, "access"))
        return;
    nexus_request_id(request, &text[NEXUS__ACCESS_ID]);
    nexus_request_remote_ip(request, &text[NEXUS__ACCESS_IP]);
    nexus_request_method(request, &text[NEXUS__ACCESS_METHOD]);
    nexus_request_host(request, &text[NEXUS__ACCESS_HOST]);
    text[NEXUS__ACCESS_PROBLEM] = nexus__slice_c(nexus_request_problem_code(request));
    if (c && c->principal)
        nexus_principal_subject(c->principal, &text[NEXUS__ACCESS_USER]);
    add_seen(&a, request, flags);
    a.n.real_ns = nexus__real_ns();
    a.n.bytes_out = nexus_request_bytes_out(request);
    a.n.minor = nexus__exchange_head(request)->minor;
    a.n.traced = c != NULL;
    if (c) {
        memcpy(a.n.trace_id, c->trace.trace_id, sizeof a.n.trace_id);
        memcpy(a.n.span_id, c->trace.span_id, sizeof a.n.span_id);
    }
    nexus__log_access(s->access.log, &a);
}

static void record_span(nexus_service *s, const nexus_request *request, int64_t took_ns)
{
    const context *c = context_of(request);
    char name[160];
    nexus_slice method, path, host, ip, route = route_label(nexus_request_route(request));
    nexus_gateway_seen seen = NEXUS_GATEWAY_SEEN_INIT;
    if (!c || !(c->trace.flags & NEXUS_TRACE_SAMPLED))
        return;
    if (nexus_gateway_seen_get(request, &seen) && seen.route.n > 0)
        route = seen.route;
    uint32_t known = method_index(request);
    uint16_t status = nexus_request_status(request);
    method = nexus__slice_c(known < METHOD_COUNT ? methods[known] : "_OTHER");
    nexus_request_path(request, &path);
    nexus_request_host(request, &host);
    nexus_request_remote_ip(request, &ip);
    const nexus_log_field attrs[] = {
        NEXUS_LOG_S("http.request.method", method),
        NEXUS_LOG_S("url.scheme", nexus_request_is_tls(request) ? NEXUS_S("https") : NEXUS_S("http")),
        NEXUS_LOG_S("url.path", path),
        NEXUS_LOG_S("http.route", route),
        NEXUS_LOG_S("server.address", host),
        NEXUS_LOG_S("client.address", ip),
        NEXUS_LOG_I("http.response.status_code", status),
        NEXUS_LOG_I("http.response.body.size", nexus_request_bytes_out(request)),
        NEXUS_LOG_S("nexus.request_id", c->log.correlation_id),
        NEXUS_LOG_S("error.type", nexus__slice_c(nexus_request_problem_code(request)))};
    int n = snprintf(name, sizeof name, "%.*s %.*s", (int)method.n, method.p, route.n > 128 ? 128 : (int)route.n, route.p);
    nexus_span span = NEXUS_SPAN_INIT;
    span.trace = c->trace;
    memcpy(span.parent, c->parent, sizeof span.parent);
    span.kind = NEXUS_SPAN_SERVER;
    span.name = nexus__slice(name, (size_t)n);
    span.end_ns = nexus__real_ns();
    span.start_ns = span.end_ns - took_ns;
    span.error = status >= 500 || status == 0;
    span.attrs = attrs;
    span.attr_count = sizeof attrs / sizeof attrs[0] - (*nexus_request_problem_code(request) == 0);
    nexus_tracer_record(s->trace.tracer, &span);
}

static void note_refusal(nexus_service *s, const nexus_request *request, const context *c)
{
    nexus_slice subject = {"", 0};
    if (c && c->principal)
        nexus_principal_subject(c->principal, &subject);
    nexus__trail_refused(s, request, subject, route_label(nexus_request_route(request)));
}

static void request_logger(const nexus_request *request, void *user_data)
{
    nexus_service *s = user_data;
    context *c = context_of(request);
    int64_t took_ns = nexus__mono_ns() - nexus_request_start_ns(request);
    if (took_ns < 0 || nexus_request_start_ns(request) == 0) /* the head was never whole */
        took_ns = 0;
    nexus_metric_observe(series_of(s, request), (double)took_ns / 1e9);
    uint16_t code = nexus_request_status(request);
    if (s->trail && (code == 401 || code == 403))
        note_refusal(s, request, c);
    if (s->access.log)
        access_log(s, request, took_ns);
    if (s->trace.tracer)
        record_span(s, request, took_ns);
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

bool nexus_service_claim(const nexus_request *request, const char *name, nexus_slice *out)
{
    const nexus_principal *principal = principal_of(request);
    const nexus_claims *claims = principal ? nexus_principal_claims(principal) : NULL;
    return claims && nexus_claims_text(claims, name, out);
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

const nexus_slice *nexus_service_roles(const nexus_request *request, size_t *count)
{
    const nexus_principal *principal = principal_of(request);
    *count = 0;
    return principal ? nexus_principal_roles(principal, count) : NULL;
}

const nexus_principal *nexus__request_principal(const nexus_request *request)
{
    return principal_of(request);
}

nexus_service *nexus__request_service(const nexus_request *request)
{
    context *c = context_of(request);
    return c ? c->service : NULL;
}

static bool has_admin_token(const nexus_request *request)
{
    context *c = context_of(request);
    nexus_slice token;
    if (!c || !bearer(request, &token))
        return false;
    nexus_slice own = nexus__slice_c(c->service->host->admin_token);
    return token.n == own.n && nexus__equal_ct(token.p, own.p, own.n);
}

bool nexus_service_operates(const nexus_request *request, const char *permission)
{
    return has_admin_token(request) || nexus_service_may(request, permission);
}

bool nexus_service_is_operator(const nexus_request *request)
{
    return nexus_service_operates(request, "machine:operate");
}

void nexus_service_context(const nexus_request *request, nexus_log_context *out)
{
    context *c = context_of(request);
    *out = c ? *log_of(c) : (nexus_log_context){0};
}

void nexus_service_trace(const nexus_request *request, nexus_trace *out)
{
    context *c = context_of(request);
    if (c)
        *out = c->trace;
    else
        nexus_trace_start(out, true);
}
