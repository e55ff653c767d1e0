/*
 * Frames of HTTP/2 against a real server on a loopback socket: whatever the bytes, the server stays up and ends the
 * connection. Input: what follows the preface.
 */
#include <arpa/inet.h>
#include <nexus/http.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/exchange.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint16_t port;

static void echo(nexus_request *r, void *ud)
{
    nexus_slice body;
    (void)ud;
    nexus_request_body(r, &body);
    nexus_request_reply(r, 200, "text/plain", body);
}

static size_t piece(nexus_request *r, nexus_slice data, bool end, nexus_status status, void *ud)
{
    (void)ud;
    if (status) {
        nexus__exchange_abort(r);
        return 0;
    }
    if (end)
        nexus__buf_slice_append(nexus__exchange_trailers_out(r), nexus__exchange_trailers(r));
    nexus_status written = nexus__exchange_write(r, &(struct iovec){(void *)(uintptr_t)data.p, data.n}, 1, end);
    (void)written;
    return data.n;
}

static void gone(nexus_request *r, void *ud)
{
    (void)ud;
    nexus__exchange_abort(r);
}

static void relay(nexus_request *r, void *ud)
{
    nexus__exchange_reply reply = {.status = 200, .length = NEXUS__LENGTH_UNKNOWN};
    nexus_request_on_close(r, gone, NULL);
    nexus_status status = nexus__exchange_begin(r, &reply, NULL, 0, false);
    (void)status;
    nexus__exchange_read(r, piece, ud);
}

static void serve(void)
{
    nexus_runtime_opts ro = NEXUS_RUNTIME_OPTS_INIT;
    nexus_route routes[2] = {NEXUS_ROUTE_INIT, NEXUS_ROUTE_INIT};
    nexus_runtime *runtime;
    nexus_server *server;
    ro.loops = ro.workers = 1;
    routes[0].path = "/";
    routes[0].handler = echo;
    routes[0].flags = NEXUS_ROUTE_ON_LOOP;
    routes[1].handler = relay;
    routes[1].flags = NEXUS_ROUTE_ON_LOOP | NEXUS_ROUTE_STREAM_BODY | NEXUS_ROUTE_FALLBACK | NEXUS_ROUTE_GET_BODY;
    if (nexus_runtime_open(&runtime, &ro) || nexus_server_open(&server, runtime, NULL) ||
        nexus_server_route(server, routes, 2) || nexus_server_listen(server, NULL, 0, &port) ||
        nexus_runtime_start(runtime))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    if (!port)
        serve();
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char sink[4096];
    if (connect(fd, (struct sockaddr *)&at, sizeof at) != 0)
        abort();
    if (send(fd, preface, sizeof preface - 1, MSG_NOSIGNAL) < 0 || send(fd, data, size, MSG_NOSIGNAL) < 0)
        (void)sink;
    shutdown(fd, SHUT_WR);
    while (recv(fd, sink, sizeof sink, 0) > 0) {
    }
    close(fd);
    return 0;
}
