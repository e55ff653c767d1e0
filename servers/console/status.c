/* GET /status: whether each of the six services is ready, asked of the services themselves. */
#include <stdio.h>
#include <string.h>

#include "console.h"

#define TIMEOUT_MS 1500

static const struct {
    const char *name;
    uint16_t offset;
} services[] = {{"gateway", 0}, {"backend", 1}, {"console", 2}, {"analytics", 3}, {"notification", 4}, {"copilot", 5}};

static void put_service(nexus_json_writer *w, console *c, size_t i)
{
    char url[64];
    nexus_reply *reply = NULL;
    nexus_fetch fetch = NEXUS_FETCH_INIT;
    nexus_client *client = nexus_service_client(c->service);
    uint16_t port = nexus_service_peer_port(c->service, services[i].offset);
    int n = snprintf(url, sizeof url, "http://127.0.0.1:%u/health/ready", port);
    fetch.url = (nexus_slice){url, (size_t)n};
    fetch.timeout_ms = TIMEOUT_MS;
    fetch.connect_timeout_ms = 500;
    nexus_status st = client ? nexus_client_fetch(client, &fetch, &reply) : NEXUS_EUNREACH;
    bool ready = st == NEXUS_OK && nexus_reply_status(reply) == 200;
    nexus_json_open_object(w, NULL);
    nexus_json_put_text_c(w, "name", services[i].name);
    nexus_json_put_int(w, "port", port);
    nexus_json_put_text_c(w, "state", ready ? "ready" : st == NEXUS_OK ? "not ready" : "down");
    if (st == NEXUS_OK)
        nexus_json_put_int(w, "ms", nexus_reply_ms(reply));
    else
        nexus_json_put_text_c(w, "reason", nexus_error_message());
    if (st == NEXUS_OK && !ready) {
        nexus_slice body;
        nexus_json *doc;
        nexus_reply_body(reply, &body);
        if (nexus_json_parse(&doc, body) == NEXUS_OK) {
            nexus_json_put_raw(w, "detail", body);
            nexus_json_free(doc);
        }
    }
    nexus_json_close(w);
    nexus_reply_free(reply);
}

static void show(nexus_request *request, void *user_data)
{
    console *c = user_data;
    nexus_json_writer *w;
    nexus_slice text = {NULL, 0};
    console_session *s = console_session_of(c, request);
    if (!s) {
        console_refuse_unsigned(request);
        return;
    }
    console_session_free(s);
    if (nexus_json_writer_new(&w) != NEXUS_OK) {
        nexus_request_problem_text(request, 503, "out-of-memory", "Try again.");
        return;
    }
    nexus_json_open_object(w, NULL);
    nexus_json_open_array(w, "services");
    for (size_t i = 0; i < sizeof services / sizeof services[0]; i++)
        put_service(w, c, i);
    nexus_json_close(w);
    nexus_json_close(w);
    text.p = nexus_json_writer_text(w, &text.n);
    nexus_request_set_header(request, "Cache-Control", NEXUS_S("no-store"));
    nexus_request_reply(request, 200, "application/json", text);
    nexus_json_writer_free(w);
}

nexus_status console_status_routes(console *c)
{
    const nexus_route route = {.size = sizeof route,
                               .method = "GET",
                               .path = "/status",
                               .handler = show,
                               .user_data = c,
                               .operation_id = "consoleStatus",
                               .summary = "Readiness of all services",
                               .tag = "console",
                               .roles = "public"};
    return nexus_service_route(c->service, &route, 1);
}
