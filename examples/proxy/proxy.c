/* A reverse proxy in a few lines: routes from a JSON file that may change while it runs.
 *     ./proxy routes.json 8080 */
#include <nexus/nexus.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static nexus_runtime *runtime;

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
    nexus_runtime_opts opts = NEXUS_RUNTIME_OPTS_INIT;
    opts.loops = 1;
    int failed = nexus_runtime_open(&runtime, &opts) || nexus_server_open(&server, runtime, NULL) ||
                 nexus_gateway_open(&gateway, runtime, NULL) || nexus_gateway_load_file(gateway, argv[1]) ||
                 nexus_gateway_mount(gateway, server) ||
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
