/*
 * Server under threads: clients that ask, pipeline, leave in the middle; handlers on loops and workers; suspended filters
 * resumed elsewhere; streams written by several threads. For -Db_sanitize=thread; a plain test otherwise.
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <nexus/http.h>

enum { CLIENTS = 6, ROUNDS = 150 };

#define CHECK(x)                                                                                                       \
    do {                                                                                                               \
        if (!(x)) {                                                                                                    \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                                                    \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

static nexus_runtime *runtime;
static uint16_t port;
static _Atomic int logged, gone;

static void hello(nexus_request *r, void *ud)
{
    nexus_slice ip;
    (void)ud;
    nexus_request_remote_ip(r, &ip);
    nexus_request_reply(r, 200, "text/plain", ip);
}

static void resume(void *r)
{
    nexus_request_resume(r);
}

static int32_t filter(nexus_request *r, void *ud)
{
    nexus_slice path;
    (void)ud;
    nexus_request_path(r, &path);
    if (path.n < 6 || memcmp(path.p, "/later", 6) != 0)
        return NEXUS_FILTER_NEXT;
    return nexus_runtime_submit(runtime, resume, r) == NEXUS_OK ? NEXUS_FILTER_SUSPEND : NEXUS_FILTER_NEXT;
}

static void on_close(nexus_request *r, void *ud)
{
    (void)r;
    (void)ud;
    atomic_fetch_add(&gone, 1);
}

static void *write_some(void *r)
{
    for (int i = 0; i < 20; i++)
        if (nexus_request_stream_write(r, NEXUS_S("0123456789abcdef")) != NEXUS_OK)
            break;
    return NULL;
}

static void stream(nexus_request *r, void *ud)
{
    pthread_t other;
    (void)ud;
    nexus_request_on_close(r, on_close, NULL);
    if (nexus_request_stream_start(r, 200, "text/plain") != NEXUS_OK)
        return;
    CHECK(pthread_create(&other, NULL, write_some, r) == 0);
    write_some(r);
    pthread_join(other, NULL);
    nexus_request_stream_end(r);
}

static void logger(const nexus_request *r, void *ud)
{
    (void)r;
    (void)ud;
    atomic_fetch_add(&logged, 1);
}

static int dial(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    CHECK(connect(fd, (struct sockaddr *)&at, sizeof at) == 0);
    return fd;
}

static void *client(void *arg)
{
    static const char *const asks[] = {
        "GET /loop HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET /work HTTP/1.1\r\nHost: a\r\n\r\nGET /later HTTP/1.1\r\nHost: a\r\n\r\nGET /loop HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET /stream HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET /later HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    };
    size_t seed = (size_t)(uintptr_t)arg;
    for (size_t i = 0; i < ROUNDS; i++) {
        int fd = dial();
        const char *ask = asks[(seed + i) % 4];
        CHECK(send(fd, ask, strlen(ask), MSG_NOSIGNAL) == (ssize_t)strlen(ask));
        char text[4096];
        bool leave = (seed + i) % 5 == 0;
        while (!leave && recv(fd, text, sizeof text, 0) > 0) {
        }
        if (leave) {
            struct linger reset = {1, 0};
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        }
        close(fd);
    }
    return NULL;
}

int main(void)
{
    static const struct {
        const char *path;
        nexus_handler_fn *fn;
        uint32_t flags;
    } rows[] = {{"/loop", hello, NEXUS_ROUTE_ON_LOOP}, {"/work", hello, 0}, {"/later", hello, 0}, {"/stream", stream, 0}};
    nexus_runtime_opts options = NEXUS_RUNTIME_OPTS_INIT;
    nexus_server *server;
    options.loops = 2;
    options.workers = 3;
    CHECK(nexus_runtime_open(&runtime, &options) == NEXUS_OK);
    CHECK(nexus_server_open(&server, runtime, NULL) == NEXUS_OK);
    for (int i = 0; i < 4; i++) {
        nexus_route route = NEXUS_ROUTE_INIT;
        route.path = rows[i].path;
        route.handler = rows[i].fn;
        route.flags = rows[i].flags;
        CHECK(nexus_server_route(server, &route, 1) == NEXUS_OK);
    }
    CHECK(nexus_server_filter(server, filter, NULL) == NEXUS_OK);
    CHECK(nexus_server_logger(server, logger, NULL) == NEXUS_OK);
    CHECK(nexus_server_listen(server, NULL, 0, &port) == NEXUS_OK);
    CHECK(nexus_runtime_start(runtime) == NEXUS_OK);
    pthread_t clients[CLIENTS];
    for (size_t i = 0; i < CLIENTS; i++)
        CHECK(pthread_create(&clients[i], NULL, client, (void *)(uintptr_t)i) == 0);
    for (size_t i = 0; i < CLIENTS; i++)
        pthread_join(clients[i], NULL);
    CHECK(nexus_server_drain(server, 10000) == NEXUS_OK);
    CHECK(nexus_server_connections(server) == 0);
    nexus_server_close(server);
    nexus_runtime_close(runtime);
    printf("%d requests logged, %d streams left by their reader\n", atomic_load(&logged), atomic_load(&gone));
    return 0;
}
