/* A server on a thread and a raw client, for tests of http/. */
#ifndef TEST_HTTP_PEER_H
#define TEST_HTTP_PEER_H

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <nexus/http.h>

#include "base/str.h"
#include "base/time.h"

typedef struct peer {
    nexus_runtime *runtime;
    nexus_server *server;
    uint16_t port;
} peer;

static inline void peer_open(peer *p, const nexus_server_opts *opts, uint32_t loops)
{
    nexus_runtime_opts ro = NEXUS_RUNTIME_OPTS_INIT;
    ro.loops = loops;
    ro.workers = 2;
    ro.queue_max = 64;
    memset(p, 0, sizeof *p);
    cr_assert_eq(nexus_runtime_open(&p->runtime, &ro), NEXUS_OK);
    cr_assert_eq(nexus_server_open(&p->server, p->runtime, opts), NEXUS_OK, "%s", nexus_error_message());
}

static inline void peer_route(peer *p, const char *method, const char *path, nexus_handler_fn *fn, void *user_data,
                              uint32_t flags)
{
    nexus_route r = NEXUS_ROUTE_INIT;
    r.method = method;
    r.path = path;
    r.handler = fn;
    r.user_data = user_data;
    r.flags = flags;
    cr_assert_eq(nexus_server_route(p->server, &r, 1), NEXUS_OK, "%s", nexus_error_message());
}

static inline void peer_start(peer *p)
{
    cr_assert_eq(nexus_server_listen(p->server, NULL, 0, &p->port), NEXUS_OK, "%s", nexus_error_message());
    cr_assert_eq(nexus_runtime_start(p->runtime), NEXUS_OK);
}

static inline void peer_close(peer *p)
{
    nexus_server_close(p->server);
    nexus_runtime_close(p->runtime);
}

static inline int peer_connect(const peer *p)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(p->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    cr_assert_eq(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct timeval tv = {.tv_sec = 10};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    return fd;
}

static inline void peer_send(int fd, const void *p, size_t n)
{
    while (n) {
        ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
        if (k <= 0)
            return;
        p = (const char *)p + k;
        n -= (size_t)k;
    }
}

static inline void peer_say(int fd, const char *text)
{
    peer_send(fd, text, strlen(text));
}

typedef struct answer {
    int status; /* 0 = the connection ended before */
    char head[16384];
    char body[65536];
    size_t body_len;
    bool whole;
} answer;

static inline bool read_some(int fd, char *p, size_t *len, size_t max)
{
    ssize_t n = recv(fd, p + *len, max - *len, 0);
    if (n <= 0)
        return false;
    *len += (size_t)n;
    p[*len] = '\0';
    return true;
}

/* One reply, byte exact: what follows it stays in the socket (heads are read byte by byte). */
static inline void peer_answer(int fd, answer *a, bool to_head)
{
    size_t n = 0;
    memset(a, 0, sizeof *a);
    while (n < sizeof a->head - 1 && (n < 4 || memcmp(a->head + n - 4, "\r\n\r\n", 4) != 0))
        if (recv(fd, a->head + n, 1, 0) != 1)
            return;
        else
            n++;
    a->head[n] = '\0';
    a->status = atoi(a->head + 9);
    const char *length = strcasestr(a->head, "\r\nContent-Length: ");
    if (a->status < 200 || a->status == 204 || a->status == 304 || to_head) {
        a->whole = true;
    } else if (length) {
        size_t want = (size_t)atol(length + 18);
        while (a->body_len < want && a->body_len < sizeof a->body - 1) {
            ssize_t k = recv(fd, a->body + a->body_len,
                             want - a->body_len < sizeof a->body - 1 - a->body_len ? want - a->body_len
                                                                                   : sizeof a->body - 1 - a->body_len,
                             0);
            if (k <= 0)
                return;
            a->body_len += (size_t)k;
        }
        a->whole = a->body_len == want;
    } else if (strcasestr(a->head, "\r\nTransfer-Encoding: chunked")) {
        for (;;) {
            char line[32];
            size_t k = 0;
            while (k < 30 && (k < 2 || line[k - 1] != '\n'))
                if (recv(fd, line + k, 1, 0) != 1)
                    return;
                else
                    k++;
            size_t size = strtoul(line, NULL, 16);
            for (size_t i = 0; i < size; i++) {
                char c;
                if (recv(fd, &c, 1, 0) != 1)
                    return;
                if (a->body_len < sizeof a->body - 1)
                    a->body[a->body_len++] = c;
            }
            char end[2];
            if (recv(fd, end, 2, MSG_WAITALL) != 2)
                return;
            if (!size) {
                a->whole = true;
                return;
            }
        }
    } else {
        while (read_some(fd, a->body, &a->body_len, sizeof a->body - 1)) {
        }
        a->whole = true;
    }
}

/* Whether the other side has ended the connection (waits for it). */
static inline bool peer_ended(int fd)
{
    char c;
    return recv(fd, &c, 1, 0) <= 0;
}

/* Says it on a new connection and returns the first answer. */
static inline void peer_ask(const peer *p, const char *request, answer *a)
{
    int fd = peer_connect(p);
    peer_say(fd, request);
    peer_answer(fd, a, strncmp(request, "HEAD ", 5) == 0);
    close(fd);
}

static inline bool head_has(const answer *a, const char *line)
{
    char want[256];
    snprintf(want, sizeof want, "\r\n%s\r\n", line);
    return strstr(a->head, want) != NULL;
}

/* Something that a thread waits for. */
typedef struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int value;
} gate;
#define GATE_INIT                                                                                                      \
    {                                                                                                                  \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0                                                         \
    }

static inline void gate_add(gate *g, int by)
{
    pthread_mutex_lock(&g->lock);
    g->value += by;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
}

static inline bool gate_wait(gate *g, int at_least)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    pthread_mutex_lock(&g->lock);
    int error = 0;
    while (g->value < at_least && !error)
        error = pthread_cond_timedwait(&g->changed, &g->lock, &until);
    pthread_mutex_unlock(&g->lock);
    return !error;
}

#endif
