/* The admin API: on its own port of this machine, for whoever can read $STATE/admin.token. */
#include "gateway/gateway.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { ADMIN_OFFSET = 10, TOKEN_BYTES = 32, BODY_MAX = 64 * 1024 * 1024 };

/* Takes as long for a wrong first byte as for a wrong last one. */
static bool same(nexus_slice a, const char *b)
{
    size_t n = strlen(b);
    unsigned char differ = a.n != n;
    for (size_t i = 0; i < a.n && n > 0; i++)
        differ |= (unsigned char)(a.p[i] ^ b[i % n]);
    return differ == 0;
}

static int32_t check_token(nexus_request *request, void *user_data)
{
    gateway *g = user_data;
    nexus_slice value;
    if (nexus_request_header(request, "authorization", &value) && value.n > 7 &&
        strncasecmp(value.p, "Bearer ", 7) == 0 && same((nexus_slice){value.p + 7, value.n - 7}, g->token))
        return NEXUS_FILTER_NEXT;
    gateway_audit_stranger(g, request);
    (void)nexus_request_set_header(request, "WWW-Authenticate", NEXUS_S("Bearer"));
    nexus_request_problem_text(request, 401, "unauthorized", "Send the bearer token of the file admin.token.");
    return NEXUS_FILTER_DONE;
}

static void reply_text(nexus_request *request, nexus_status status, char *text, size_t n)
{
    if (status == NEXUS_ENOTFOUND)
        nexus_request_problem_text(request, 404, "nothing-loaded", nexus_error_message());
    else if (status)
        nexus_request_problem_text(request, 500, "failed", nexus_error_message());
    else
        nexus_request_reply(request, 200, "application/json", (nexus_slice){text, n});
    if (!status)
        nexus_free(text);
}

static void get_config(nexus_request *request, void *user_data)
{
    gateway *g = user_data;
    char *text = NULL, etag[32];
    size_t n = 0;
    uint64_t version = 0;
    nexus_status status = nexus_gateway_config(g->gateway, &text, &n, &version);
    int len = snprintf(etag, sizeof etag, "\"%llu\"", (unsigned long long)version);
    if (!status)
        (void)nexus_request_set_header(request, "ETag", (nexus_slice){etag, (size_t)len});
    reply_text(request, status, text, n);
}

static void get_status(nexus_request *request, void *user_data)
{
    gateway *g = user_data;
    char *text = NULL;
    size_t n = 0;
    nexus_status status = nexus_gateway_status(g->gateway, &text, &n);
    reply_text(request, status, text, n);
}

static void post_reload(nexus_request *request, void *user_data)
{
    gateway *g = user_data;
    if (!gateway_audited(g, request, "POST /admin/v1/reload"))
        return;
    nexus_status status = nexus_gateway_reload(g->gateway);
    char why[512];
    snprintf(why, sizeof why, "%s", nexus_error_message());
    if (status)
        gateway_audit_refused(g, request, "POST /admin/v1/reload", status, why);
    if (status == NEXUS_ENOTFOUND)
        nexus_request_problem_text(request, 409, "no-routes-file",
                                   "The built-in routes are in force; there is no file.");
    else if (status)
        nexus_request_problem_text(request, 422, "routes-refused", why);
    else
        get_status(request, user_data);
}

static void post_check(nexus_request *request, void *user_data)
{
    nexus_slice body;
    (void)user_data;
    nexus_request_body(request, &body);
    if (nexus_config_validate("body", body))
        nexus_request_problem_text(request, 422, "routes-refused", nexus_error_message());
    else
        nexus_request_reply(request, 204, NULL, (nexus_slice){0});
}

static void get_explain(nexus_request *request, void *user_data)
{
    gateway *g = user_data;
    nexus_slice method, target, host;
    nexus_pair header = {NEXUS_S("host"), {0}};
    char name[16] = "GET", *text = NULL;
    size_t n = 0;
    if (nexus_request_query_param(request, "method", &method) && method.n < sizeof name) {
        memcpy(name, method.p, method.n);
        name[method.n] = 0;
    }
    if (!nexus_request_query_param(request, "target", &target)) {
        nexus_request_problem_text(request, 400, "target-missing", "Name the target: ?method=GET&target=/path");
        return;
    }
    bool has_host = nexus_request_query_param(request, "host", &host);
    header.value = has_host ? host : header.value;
    nexus_status status = nexus_gateway_explain(g->gateway, name, target, &header, has_host, &text, &n);
    reply_text(request, status, text, n);
}

/* The same with any header: {"method","target","headers":{…},"client_ip"}. */
static void post_explain(nexus_request *request, void *user_data)
{
    enum { HEADERS_MAX = 64 };
    gateway *g = user_data;
    nexus_slice body, method = NEXUS_S("GET"), target;
    nexus_pair headers[HEADERS_MAX];
    nexus_json *json;
    char name[16], *text = NULL;
    size_t n = 0, count = 0;
    nexus_request_body(request, &body);
    if (nexus_json_parse(&json, body)) {
        nexus_request_problem_text(request, 400, "json-invalid", nexus_error_message());
        return;
    }
    (void)nexus_json_text(json, nexus_json_get(json, NEXUS_JSON_ROOT, "method"), &method);
    snprintf(name, sizeof name, "%.*s", (int)method.n, method.p);
    uint32_t given = nexus_json_get(json, NEXUS_JSON_ROOT, "headers");
    for (nexus_json_iter it = {0}; count + 1 < HEADERS_MAX && nexus_json_step(json, given, &it);) {
        headers[count].name = it.name;
        count += nexus_json_text(json, it.value, &headers[count].value);
    }
    if (nexus_json_text(json, nexus_json_get(json, NEXUS_JSON_ROOT, "client_ip"), &headers[count].value))
        headers[count++].name = NEXUS_S(":client-ip");
    if (!nexus_json_text(json, nexus_json_get(json, NEXUS_JSON_ROOT, "target"), &target))
        nexus_request_problem_text(request, 422, "invalid", "target: must be a string such as \"/path?query\"");
    else {
        nexus_status status = nexus_gateway_explain(g->gateway, name, target, headers, count, &text, &n);
        reply_text(request, status, text, n);
    }
    nexus_json_free(json);
}

nexus_status gateway_admin_add(gateway *g, const gateway_admin_route *rows, size_t n)
{
    nexus_status status = NEXUS_OK;
    for (size_t i = 0; i < n && !status; i++) {
        nexus_route route = NEXUS_ROUTE_INIT;
        route.method = rows[i].method;
        route.path = rows[i].path;
        route.operation_id = rows[i].id;
        route.summary = rows[i].summary;
        route.handler = rows[i].fn;
        route.user_data = g;
        route.body_max = BODY_MAX;
        status = nexus_server_route(g->admin, &route, 1);
    }
    return status;
}

static nexus_status add_routes(gateway *g)
{
    static const gateway_admin_route rows[] = {
        {"GET", "/admin/v1/config", "getConfig", "The routes in force", get_config},
        {"GET", "/admin/v1/status", "getStatus", "Upstreams and their targets", get_status},
        {"POST", "/admin/v1/reload", "reload", "Load the routes file again", post_reload},
        {"POST", "/admin/v1/check", "check", "Check a routes file without loading it", post_check},
        {"GET", "/admin/v1/explain", "explain", "What would happen to a request", get_explain},
        {"POST", "/admin/v1/explain", "explainWith", "The same, with headers", post_explain},
    };
    return gateway_admin_add(g, rows, sizeof rows / sizeof rows[0]);
}

nexus_status gateway_admin_open(gateway *g)
{
    nexus_status status = nexus_service_secret(&g->token, g->service, "admin.token", TOKEN_BYTES);
    if (!status)
        status = nexus_server_open(&g->admin, nexus_service_runtime(g->service), NULL);
    if (!status)
        status = nexus_server_filter(g->admin, check_token, g);
    if (!status)
        status = add_routes(g);
    if (!status)
        status = gateway_admin_edit_routes(g);
    if (!status)
        status = gateway_admin_versions_routes(g);
    if (!status)
        status = gateway_registry_routes(g);
    if (!status)
        status = gateway_secrets_routes(g);
    if (status)
        return status;
    return nexus_server_listen(g->admin, "127.0.0.1", nexus_service_peer_port(g->service, ADMIN_OFFSET), NULL);
}
