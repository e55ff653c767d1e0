/* openapi/: the filter in front of a real server. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <nexus/openapi.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void answer(nexus_request *request, void *user_data)
{
    (void)user_data;
    nexus_request_reply(request, 200, "text/plain", NEXUS_S("kept"));
}

/* One request, its whole answer. */
static void talk(uint16_t port, const char *request, char *reply, size_t size)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    cr_assert_eq(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    cr_assert_eq(send(fd, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
    size_t n = 0;
    for (ssize_t got; n < size - 1 && (got = recv(fd, reply + n, size - 1 - n, 0)) > 0;)
        n += (size_t)got;
    reply[n] = '\0';
    close(fd);
}

Test(filter, holds_requests_to_their_rows)
{
    static const nexus_param params[] = {{"n", "query", "{\"type\":\"integer\"}", NULL, false},
                                         {"id", "path", "{\"type\":\"string\",\"maxLength\":3}", NULL, true}};
    nexus_route rows[2] = {NEXUS_ROUTE_INIT, NEXUS_ROUTE_INIT};
    rows[0].method = "POST";
    rows[0].path = "/things/{id}";
    rows[0].handler = answer;
    rows[0].operation_id = "putThing";
    rows[0].params = params;
    rows[0].param_count = 2;
    rows[0].body_schema = "{\"type\":\"object\",\"required\":[\"name\"]}";
    rows[1] = rows[0];
    rows[1].path = "/unlisted";
    rows[1].operation_id = NULL;
    nexus_runtime *runtime;
    nexus_server *server;
    nexus_openapi *api;
    uint16_t port;
    nexus_runtime_opts opts = NEXUS_RUNTIME_OPTS_INIT;
    opts.loops = 1;
    cr_assert_eq(nexus_runtime_open(&runtime, &opts), NEXUS_OK);
    cr_assert_eq(nexus_server_open(&server, runtime, NULL), NEXUS_OK);
    cr_assert_eq(nexus_server_route(server, rows, 2), NEXUS_OK, "%s", nexus_error_message());
    cr_assert_eq(nexus_openapi_of_server(&api, server, NULL), NEXUS_OK, "%s", nexus_error_message());
    cr_assert_eq(nexus_openapi_operations(api), 1);
    cr_assert_eq(nexus_server_body_filter(server, nexus_openapi_filter, api), NEXUS_OK);
    cr_assert_eq(nexus_server_listen(server, NULL, 0, &port), NEXUS_OK, "%s", nexus_error_message());
    cr_assert_eq(nexus_runtime_start(runtime), NEXUS_OK);
    static const struct {
        const char *target, *type, *body, *status, *words;
    } cases[] = {
        {"/things/abc?n=1", "application/json", "{\"name\":1}", " 200 ", "kept"},
        {"/things/abc", "application/json", "{}", " 422 ", "\"pointer\":\"/name\""},
        {"/things/abc", "application/json", "{\"name\":", " 400 ", "malformed-json"},
        {"/things/abc", "text/plain", "x", " 415 ", "unsupported-media-type"},
        {"/things/abcd?n=x", "application/json", "{\"name\":1}", " 422 ", "\"pointer\":\"path/id\""},
        {"/things/abc?n=x", "application/json", "{\"name\":1}", " 422 ", "\"pointer\":\"query/n\""},
        {"/unlisted", "text/plain", "x", " 200 ", "kept"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char request[512], reply[4096];
        snprintf(
            request, sizeof request,
            "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
            cases[i].target, cases[i].type, strlen(cases[i].body), cases[i].body);
        talk(port, request, reply, sizeof reply);
        cr_expect(strstr(reply, cases[i].status) && strstr(reply, cases[i].words), "%s %s: %s", cases[i].target,
                  cases[i].body, reply);
    }
    nexus_server_close(server);
    nexus_runtime_close(runtime);
    nexus_openapi_close(api);
}
