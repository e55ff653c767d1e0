/* /api/…: passed on to the gateway as the signed-in user. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "console.h"

#define BODY_MAX (20u * 1024 * 1024)

static const char *const request_headers[] = {"Content-Type", "Accept",        "Idempotency-Key",
                                              "If-Match",     "If-None-Match", "Accept-Language"};
static const char *const reply_headers[] = {"retry-after",          "location", "etag",
                                            "idempotency-replayed", "allow",    "x-request-id"};

#define COUNT(x) (sizeof(x) / sizeof *(x))

static size_t pick_headers(nexus_request *request, nexus_pair *out, char parent[static NEXUS_TRACEPARENT_LEN + 1])
{
    size_t n = 0;
    nexus_trace trace;
    nexus_slice id;
    for (size_t i = 0; i < COUNT(request_headers); i++) {
        nexus_slice v;
        if (nexus_request_header(request, request_headers[i], &v))
            out[n++] = (nexus_pair){{request_headers[i], strlen(request_headers[i])}, v};
    }
    nexus_request_id(request, &id);
    nexus_service_trace(request, &trace);
    nexus_trace_format(&trace, parent);
    out[n++] = (nexus_pair){NEXUS_S("X-Request-Id"), id};
    out[n++] = (nexus_pair){NEXUS_S("traceparent"), {parent, NEXUS_TRACEPARENT_LEN}};
    return n;
}

static void relay(nexus_request *request, const nexus_reply *reply)
{
    nexus_slice body, v, type = {"", 0};
    char type_text[128] = "";
    for (size_t i = 0; i < COUNT(reply_headers); i++)
        if (nexus_reply_header(reply, reply_headers[i], &v))
            (void)nexus_request_set_header(request, reply_headers[i], v);
    (void)nexus_request_set_header(request, "Cache-Control", NEXUS_S("no-store"));
    if (nexus_reply_header(reply, "content-type", &type))
        snprintf(type_text, sizeof type_text, "%.*s", (int)type.n, type.p);
    nexus_reply_body(reply, &body);
    nexus_request_reply(request, nexus_reply_status(reply), type_text[0] ? type_text : NULL, body);
}

static void pass(nexus_request *request, void *user_data)
{
    console *c = user_data;
    nexus_slice target, method, body, again;
    nexus_pair headers[COUNT(request_headers) + 2];
    char method_text[16], parent[NEXUS_TRACEPARENT_LEN + 1];
    nexus_reply *reply = NULL;
    if (nexus_request_header(request, "console-pass", &again)) { /* the gateway sent it back: it has no such route */
        nexus_request_problem_text(request, 404, "no-route", "There is no such API path.");
        return;
    }
    console_session *s = console_session_of(c, request);
    if (!s) {
        console_refuse_unsigned(request);
        return;
    }
    if (console_same_origin(request)) {
        nexus_request_target(request, &target);
        nexus_request_method(request, &method);
        nexus_request_body(request, &body);
        snprintf(method_text, sizeof method_text, "%.*s", (int)(method.n < 15 ? method.n : 15), method.p);
        size_t n = pick_headers(request, headers, parent);
        if (target.n == 0 || target.p[0] != '/')
            nexus_request_problem_text(request, 400, "bad-target", "Use a path.");
        else if (console_session_call(&reply, c, s, method_text, target, headers, n, body) == NEXUS_OK) {
            console_session_keep(c, request, s);
            relay(request, reply);
        }
        else
            nexus_request_problem_text(request, 503, "gateway-unreachable", nexus_error_message());
    }
    nexus_reply_free(reply);
    console_session_free(s);
}

nexus_status console_proxy_routes(console *c)
{
    const nexus_route route = {.size = sizeof route,
                               .method = "*",
                               .path = "/api/v1/{rest...}",
                               .handler = pass,
                               .user_data = c,
                               .body_max = BODY_MAX,
                               .roles = "public",
                               .body_types = "*/*"};
    return nexus_service_route(c->service, &route, 1);
}
