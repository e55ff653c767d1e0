/* A gateway with code of its own in it: a customer looked up without blocking, an answer from memory, times in the log.
 *     ./middleware routes.json 8080        (a routes file as in examples/proxy) */
#include <nexus/nexus.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static nexus_runtime *runtime;

/* What each call has for us, from on_request to on_log. */
typedef struct timing {
    char customer[64];
    uint16_t upstream_status;
} timing;

static void look_up(void *user_data)
{
    /* On a worker: a database may be asked here. Then the call goes on, on its own loop. */
    nexus_gateway_call_resume(user_data, NEXUS_MIDDLEWARE_CONTINUE);
}

static int32_t find_customer(nexus_gateway_call *call, void *slot, void *user_data)
{
    timing *t = slot;
    nexus_slice key;
    (void)user_data;
    if (!nexus_request_header(nexus_gateway_call_request(call), "x-customer", &key)) {
        (void)nexus_gateway_call_respond(call, 400, "text/plain", NEXUS_S("Say who you are in X-Customer.\n"));
        return NEXUS_MIDDLEWARE_RESPOND;
    }
    snprintf(t->customer, sizeof t->customer, "%.*s", (int)(key.n < 63 ? key.n : 63), key.p);
    if (nexus_gateway_call_set_upstream_header(call, "X-Tenant", key) || nexus_runtime_submit(runtime, look_up, call))
        return NEXUS_MIDDLEWARE_CONTINUE;
    return NEXUS_MIDDLEWARE_SUSPEND;
}

static void heard(nexus_gateway_call *call, uint16_t status, void *user_data)
{
    (void)call;
    ((timing *)user_data)->upstream_status = status;
}

/* What is known already is answered here; for everything else upstream is asked. */
static void from_memory(nexus_gateway_call *call, nexus_gateway_frame *frame, void *slot, void *user_data)
{
    nexus_slice path;
    (void)user_data;
    nexus_gateway_call_path(call, &path);
    if (path.n == 5 && memcmp(path.p, "/ping", 5) == 0)
        (void)nexus_gateway_call_respond(call, 200, "text/plain", NEXUS_S("pong\n"));
    else
        nexus_gateway_next(frame, heard, slot);
}

static void write_line(nexus_gateway_call *call, uint16_t status, void *slot, void *user_data)
{
    const timing *t = slot;
    nexus_slice path;
    (void)user_data;
    nexus_gateway_call_path(call, &path);
    printf("%s %.*s %u (upstream %u)\n", t->customer[0] ? t->customer : "-", (int)path.n, path.p, status,
           t->upstream_status);
    fflush(stdout);
}

static void stop(int number)
{
    (void)number;
    nexus_runtime_stop(runtime);
}

int main(int argc, char **argv)
{
    nexus_server *server = NULL;
    nexus_gateway *gateway = NULL;
    uint16_t port = 0;
    if (argc < 2) {
        fprintf(stderr, "usage: %s ROUTES.json [PORT]\n", argv[0]);
        return 2;
    }
    nexus_middleware mine = NEXUS_MIDDLEWARE_INIT;
    mine.name = "example";
    mine.slot_bytes = sizeof(timing);
    mine.on_route = find_customer;
    mine.around = from_memory;
    mine.on_log = write_line;
    int failed = nexus_runtime_open(&runtime, NULL) || nexus_server_open(&server, runtime, NULL) ||
                 nexus_gateway_open(&gateway, runtime, NULL) || nexus_gateway_use(gateway, &mine) ||
                 nexus_gateway_load_file(gateway, argv[1]) || nexus_gateway_mount(gateway, server) ||
                 nexus_server_listen(server, "127.0.0.1", (uint16_t)(argc > 2 ? atoi(argv[2]) : 0), &port);
    if (!failed) {
        signal(SIGINT, stop);
        signal(SIGTERM, stop);
        printf("listening on http://127.0.0.1:%u\n", port);
        fflush(stdout);
        failed = nexus_runtime_run(runtime) != NEXUS_OK;
    }
    if (failed)
        fprintf(stderr, "%s\n", nexus_error_message());
    nexus_server_close(server);
    nexus_gateway_close(gateway);
    nexus_runtime_close(runtime);
    return failed ? 1 : 0;
}
