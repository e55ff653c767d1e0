/* The routes that every service has: health, metrics, log level. */
#include <stdio.h>

#include "base/status.h"
#include "base/time.h"
#include "service/service.h"
#include "json/read.h"
#include "json/write.h"
#include <nexus/version.h>

enum { CHECKS_MAX = 16, DETAIL_BYTES = 256, TTL_MAX_S = 86400 };

static void reply_json(nexus_request *request, uint16_t status, nexus__buf *json)
{
    if (json->status != NEXUS_OK)
        nexus_request_problem_text(request, 503, "out-of-memory", "The server is out of memory; try again.");
    else
        nexus_request_reply(request, status, "application/json", nexus__buf_slice(json));
    nexus__buf_free(json);
}

/* --- health ------------------------------------------------------------------------------------------------------- */

static void state_append(nexus__json_writer *w, const nexus_service *s, const char *state)
{
    nexus__json_put_text_c(w, "status", state);
    nexus__json_put_text_c(w, "service", s->module->name);
    nexus__json_put_text_c(w, "version", nexus_version());
    nexus__json_put_i64(w, "uptime_s", (nexus__mono_ns() - s->opened_ns) / NEXUS__NS_PER_S);
}

/* The loop that answers is alive: nothing else is asked, and nothing remote is touched. */
static void live(nexus_request *request, void *user_data)
{
    nexus__buf json;
    nexus__buf_init(&json, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&json);
    nexus__json_open(&w, '{');
    state_append(&w, user_data, "pass");
    nexus__json_close(&w, '}');
    reply_json(request, 200, &json);
}

typedef struct finding {
    const char *name;
    bool fine;
    char detail[DETAIL_BYTES];
} finding;

static size_t run_checks(nexus_service *s, finding out[static CHECKS_MAX], size_t *failed, size_t *warned)
{
    size_t n = 0;
    *failed = *warned = 0;
    for (nexus__list *node = s->checks.next; node != &s->checks && n < CHECKS_MAX; node = node->next, n++) {
        const nexus__check *check = NEXUS__CONTAINER(node, nexus__check, node);
        out[n] = (finding){.name = check->name};
        out[n].fine = check->fn(out[n].detail, DETAIL_BYTES, check->user_data);
        *failed += !out[n].fine;
        *warned += out[n].fine && out[n].detail[0];
    }
    return n;
}

static void unready(nexus_request *request, const finding *findings, size_t n)
{
    nexus_problem_error errors[CHECKS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        if (!findings[i].fine)
            errors[count++] = (nexus_problem_error){findings[i].name, "unready", findings[i].detail};
    (void)nexus_request_set_header(request, "Retry-After", NEXUS_S("1"));
    nexus_request_problem_errors(request, 503, "unready", "Something that the service depends on does not work.",
                                 errors, count);
}

static void ready(nexus_request *request, void *user_data)
{
    nexus_service *s = user_data;
    if (atomic_load(&s->draining) || !atomic_load(&s->ready)) {
        nexus_request_problem_text(request, 503, atomic_load(&s->draining) ? "draining" : "starting",
                                   atomic_load(&s->draining) ? "The service is ending." : "The service is starting.");
        return;
    }
    finding findings[CHECKS_MAX];
    size_t failed, warned, n = run_checks(s, findings, &failed, &warned);
    if (failed > 0) {
        unready(request, findings, n);
        return;
    }
    nexus__buf json;
    nexus__buf_init(&json, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&json);
    nexus__json_open(&w, '{');
    state_append(&w, s, warned ? "warn" : "pass");
    nexus__json_key(&w, "checks");
    nexus__json_open(&w, '{');
    for (size_t i = 0; i < n; i++)
        nexus__json_put_text_c(&w, findings[i].name, findings[i].detail[0] ? findings[i].detail : "pass");
    nexus__json_close(&w, '}');
    nexus__json_close(&w, '}');
    reply_json(request, 200, &json);
}

/* --- metrics ------------------------------------------------------------------------------------------------------ */

/* Asked by this machine itself: what a proxy on it passed on, believed or not, is not. */
static bool is_loopback(const nexus_request *request)
{
    nexus_slice ip;
    if (nexus_request_header(request, "x-forwarded-for", &ip) || nexus_request_header(request, "forwarded", &ip))
        return false;
    nexus_request_remote_ip(request, &ip);
    return nexus__slice_starts(ip, NEXUS_S("127.")) || nexus__slice_eq_c(ip, "::1") ||
           nexus__slice_starts(ip, NEXUS_S("::ffff:127."));
}

static void metrics(nexus_request *request, void *user_data)
{
    nexus_service *s = user_data;
    if (!s->host->dev && !is_loopback(request) && !nexus_service_operates(request, "metrics:read")) {
        (void)nexus_request_set_header(request, "WWW-Authenticate", NEXUS_S("Bearer realm=\"nexus\""));
        nexus_request_problem_text(request, 401, "token-missing",
                                   "Metrics are for this machine, or with the bearer token of $STATE/admin.token.");
        return;
    }
    nexus_slice accept = {0};
    (void)nexus_request_header(request, "accept", &accept);
    uint32_t format = nexus_metrics_negotiate(accept);
    char *text = NULL;
    size_t n = 0;
    if (nexus_metrics_render(&text, &n, s->metrics, format) != NEXUS_OK) {
        nexus_request_problem_text(request, 503, "out-of-memory", nexus_error_message());
        return;
    }
    nexus_request_reply(request, 200, nexus_metrics_content_type(format), nexus__slice(text, n));
    nexus_free(text);
}

/* --- log level ---------------------------------------------------------------------------------------------------- */

static nexus_status apply_level(nexus_service *s, nexus__json *doc, int64_t *ttl_s)
{
    nexus_slice module = NEXUS_S("*"), level;
    char name[64];
    (void)nexus__json_get_text(doc, 0, "module", &module);
    if (!nexus__json_get_text(doc, 0, "level", &level) || nexus_log_level_parse(level) < 0)
        return nexus__fail(NEXUS_EINVAL, "level: one of trace, debug, info, warn, error, fatal, off");
    *ttl_s = 0;
    uint32_t ttl = nexus__json_get(doc, 0, "ttl_s");
    if (ttl != NEXUS__JSON_NONE && (!nexus__json_i64(doc, ttl, ttl_s) || *ttl_s < 0 || *ttl_s > TTL_MAX_S))
        return nexus__fail(NEXUS_EINVAL, "ttl_s: a number of seconds from 0 (for ever) to %d", TTL_MAX_S);
    if (module.n >= sizeof name)
        return nexus__fail(NEXUS_EINVAL, "module: at most %zu bytes", sizeof name - 1);
    snprintf(name, sizeof name, "%.*s", (int)module.n, module.p);
    return nexus_log_set_level(s->log, name, nexus_log_level_parse(level), (uint32_t)*ttl_s * 1000);
}

static void put_level(nexus_request *request, void *user_data)
{
    nexus_service *s = user_data;
    if (!nexus_service_operates(request, "loglevel:write")) {
        (void)nexus_request_set_header(request, "WWW-Authenticate", NEXUS_S("Bearer realm=\"nexus\""));
        nexus_request_problem_text(request, 401, "token-missing",
                                   "Send the bearer token of $STATE/admin.token, or that of somebody with loglevel:write.");
        return;
    }
    nexus_slice body;
    int64_t ttl_s = 0;
    nexus__json doc;
    nexus_request_body(request, &body);
    nexus__json_init(&doc, NULL);
    nexus_status status = nexus__json_scan(&doc, body, NULL);
    if (status != NEXUS_OK)
        nexus_request_problem(request, 400, "json-invalid", "%s", nexus_error_message());
    else if (apply_level(s, &doc, &ttl_s) != NEXUS_OK)
        nexus_request_problem(request, 422, "invalid", "%s", nexus_error_message());
    else
        nexus_request_reply(request, 200, "application/json", body);
    nexus__json_free(&doc);
}

/* --- all of them -------------------------------------------------------------------------------------------------- */

#define LEVEL_SCHEMA                                                                                                   \
    "{\"type\":\"object\",\"required\":[\"level\"],\"additionalProperties\":false,\"properties\":{"                    \
    "\"module\":{\"type\":\"string\",\"maxLength\":31,\"description\":\"* for all\"},"                                 \
    "\"level\":{\"enum\":[\"trace\",\"debug\",\"info\",\"warn\",\"error\",\"fatal\",\"off\"]},"                        \
    "\"ttl_s\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":86400,\"description\":\"then it reverts; 0: "           \
    "never\"}}}"

nexus_status nexus__endpoint_mount(nexus_service *service)
{
    static const struct {
        const char *method, *path, *id, *summary;
        nexus_handler_fn *handler;
        uint32_t flags;
    } rows[] = {
        {"GET", "/health", "health", "Whether the service can do its work, and what it depends on", ready, 0},
        {"GET", "/health/ready", "healthReady", "The same: for load balancers", ready, 0},
        {"GET", "/health/live", "healthLive", "Whether the process answers at all", live,
         NEXUS_ROUTE_ON_LOOP | NEXUS_ROUTE_VITAL},
        {"GET", "/readyz", NULL, NULL, ready, 0},
        {"GET", "/livez", NULL, NULL, live, NEXUS_ROUTE_ON_LOOP | NEXUS_ROUTE_VITAL},
        {"GET", "/startupz", NULL, NULL, ready, 0},
        {"GET", "/metrics", "metrics", "Prometheus text, or OpenMetrics when asked for", metrics, 0},
        {"PUT", "/admin/v1/loglevel", "setLogLevel", "Changes what is logged, for a while or for good", put_level, 0},
    };
    nexus_status status = NEXUS_OK;
    for (size_t i = 0; status == NEXUS_OK && i < sizeof rows / sizeof rows[0]; i++) {
        nexus_route route = NEXUS_ROUTE_INIT;
        route.method = rows[i].method;
        route.path = rows[i].path;
        route.handler = rows[i].handler;
        route.user_data = service;
        route.flags = rows[i].flags;
        route.operation_id = rows[i].id;
        route.summary = rows[i].summary;
        route.tag = "service";
        route.roles = "public";
        route.body_schema = rows[i].handler == put_level ? LEVEL_SCHEMA : NULL;
        status = nexus_server_route(service->server, &route, 1);
    }
    return status;
}
