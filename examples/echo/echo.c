/*
 * Returns the body of any request, whatever its method, with its content type.
 *
 *     cc echo.c $(pkg-config --cflags --libs nexus) -o echo && ./echo 8080
 *     curl -d hello http://127.0.0.1:8080/
 *
 * With a second argument it also says "hello" at /hello from the event loop, which is what the bench measures:
 * ./echo 8080 1  makes one loop.
 */
#include <nexus/http.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static nexus_runtime *runtime;

static void stop(int signal_number)
{
    (void)signal_number;
    nexus_runtime_stop(runtime);
}

static void echo(nexus_request *request, void *user_data)
{
    nexus_slice body, type;
    char text[128] = "application/octet-stream";
    (void)user_data;
    nexus_request_body(request, &body);
    if (nexus_request_header(request, "content-type", &type) && type.n < sizeof text)
        snprintf(text, sizeof text, "%.*s", (int)type.n, type.p);
    nexus_request_reply(request, 200, text, body);
}

/* 128 bytes, as the peers of the bench answer. */
static void hello(nexus_request *request, void *user_data)
{
    static const char text[] =
        "{\"ok\":true,\"service\":\"upstream\",\"n\":128,\"pad\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}";
    nexus_slice body = {text, sizeof text - 1};
    (void)user_data;
    nexus_request_reply(request, 200, "application/json", body);
}

static int fail(const char *what)
{
    fprintf(stderr, "echo: %s: %s\n", what, nexus_error_message());
    return 1;
}

int main(int argc, char **argv)
{
    nexus_runtime_opts options = NEXUS_RUNTIME_OPTS_INIT;
    nexus_route routes[2] = {NEXUS_ROUTE_INIT, NEXUS_ROUTE_INIT};
    nexus_server *server = NULL;
    uint16_t port = 0;

    options.loops = argc > 2 ? (uint32_t)atoi(argv[2]) : 0;
    if (nexus_runtime_open(&runtime, &options) != NEXUS_OK)
        return fail("runtime");
    routes[0].path = "/{rest...}";
    routes[0].handler = echo;
    routes[0].flags = NEXUS_ROUTE_GET_BODY;
    routes[1].method = "GET";
    routes[1].path = "/hello";
    routes[1].handler = hello;
    routes[1].flags = NEXUS_ROUTE_ON_LOOP;
    if (nexus_server_open(&server, runtime, NULL) != NEXUS_OK || nexus_server_route(server, routes, 2) != NEXUS_OK ||
        nexus_server_listen(server, NULL, argc > 1 ? (uint16_t)atoi(argv[1]) : 0, &port) != NEXUS_OK)
        return fail("server");

    signal(SIGINT, stop);
    signal(SIGTERM, stop);
    printf("http://127.0.0.1:%u\n", (unsigned)port);
    fflush(stdout);
    if (nexus_runtime_run(runtime) != NEXUS_OK)
        return fail("run");
    nexus_server_close(server);
    nexus_runtime_close(runtime);
    return 0;
}
