/*
 * The server under test of http.sh: one loop, 128 bytes at every path (4 KiB at /4k), as the peers answer.
 *     bench-http PORT
 */
#include <nexus/http.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static nexus_runtime *runtime;

static void stop(int number)
{
    (void)number;
    nexus_runtime_stop(runtime);
}

static void answer(nexus_request *request, void *user_data)
{
    const nexus_slice *body = user_data;
    nexus_request_reply(request, 200, "application/json", *body);
}

static nexus_slice text(char *out, size_t n)
{
    int k = snprintf(out, n, "{\"ok\":true,\"service\":\"upstream\",\"n\":%zu,\"pad\":\"", n);
    memset(out + k, 'x', n - (size_t)k);
    memcpy(out + n - 2, "\"}", 2);
    nexus_slice s = {out, n};
    return s;
}

int main(int argc, char **argv)
{
    static char small[128], large[4096];
    nexus_slice bodies[2] = {text(small, sizeof small), text(large, sizeof large)};
    nexus_runtime_opts options = NEXUS_RUNTIME_OPTS_INIT;
    nexus_route routes[2] = {NEXUS_ROUTE_INIT, NEXUS_ROUTE_INIT};
    nexus_server *server;
    options.loops = 1;
    options.workers = 1;
    routes[0].path = "/4k";
    routes[1].path = "/{rest...}";
    for (int i = 0; i < 2; i++) {
        routes[i].method = "GET";
        routes[i].handler = answer;
        routes[i].flags = NEXUS_ROUTE_ON_LOOP;
        routes[i].user_data = &bodies[1 - i];
    }
    if (nexus_runtime_open(&runtime, &options) != NEXUS_OK || nexus_server_open(&server, runtime, NULL) != NEXUS_OK ||
        nexus_server_route(server, routes, 2) != NEXUS_OK ||
        nexus_server_listen(server, NULL, (uint16_t)atoi(argc > 1 ? argv[1] : "0"), NULL) != NEXUS_OK) {
        fprintf(stderr, "bench-http: %s\n", nexus_error_message());
        return 1;
    }
    signal(SIGTERM, stop);
    signal(SIGINT, stop);
    if (nexus_runtime_run(runtime) != NEXUS_OK)
        return 1;
    nexus_server_close(server);
    nexus_runtime_close(runtime);
    return 0;
}
