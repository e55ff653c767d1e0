/*
 * Latency at a rate that does not follow the server: requests are due at fixed times whether or not answers came, and a
 * latency counts from when the request was due. A closed-loop generator waits with a slow server and so does not see what
 * its pauses do to users (G. Tene: coordinated omission).
 *
 *     open-loop PORT PATH REQUESTS-PER-SECOND SECONDS CONNECTIONS
 *
 * Prints {"requests","p50_us","p99_us","p999_us","max_us","unanswered"}. Keep-alive, HTTP/1.1, replies with Content-Length.
 * A request that is due while all connections are busy waits for the first free one, and its latency says so.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256, BUFFER = 16384 };

typedef struct conn {
    int fd;
    int64_t due; /* of the request under way */
    size_t left; /* of its reply's body */
    bool in_body;
    size_t len;
    char in[BUFFER + 1];
} conn;

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static conn *open_conn(int ep, uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    conn *c = calloc(1, sizeof *c);
    if (!c)
        exit(1);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(c->fd, (struct sockaddr *)&a, sizeof a)) {
        perror("connect");
        exit(1);
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &(struct epoll_event){.events = EPOLLIN, .data.ptr = c});
    return c;
}

/* True once the whole reply is here. */
static bool receive(conn *c)
{
    ssize_t n = recv(c->fd, c->in + c->len, BUFFER - c->len, MSG_DONTWAIT);
    if (n <= 0) {
        if (n < 0 && errno == EAGAIN)
            return false;
        fprintf(stderr, "the server closed a connection\n");
        exit(1);
    }
    c->len += (size_t)n;
    c->in[c->len] = 0;
    if (!c->in_body) {
        char *end = strstr(c->in, "\r\n\r\n"), *length = strcasestr(c->in, "\r\ncontent-length:");
        if (!end)
            return false;
        if (!length || length > end || strncmp(c->in + 9, "200", 3) != 0) {
            fprintf(stderr, "unexpected reply: %.*s\n", (int)(end - c->in), c->in);
            exit(1);
        }
        c->left = strtoul(length + 17, NULL, 10);
        c->in_body = true;
        c->len -= (size_t)(end + 4 - c->in);
    }
    c->left -= c->len < c->left ? c->len : c->left;
    c->len = 0;
    c->in_body = c->left > 0;
    return !c->in_body;
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void print(int64_t *latency, size_t n, size_t total)
{
    qsort(latency, n, sizeof *latency, by_size);
    if (n == 0)
        exit(1);
    printf("{\"requests\":%zu,\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f,\"unanswered\":%zu}\n", n,
           (double)latency[n / 2] / 1e3, (double)latency[n * 99 / 100] / 1e3, (double)latency[n * 999 / 1000] / 1e3,
           (double)latency[n - 1] / 1e3, total - n);
}

int main(int argc, char **argv)
{
    if (argc != 6)
        return 2;
    char request[1024];
    int ep = epoll_create1(0), count = atoi(argv[5]), free_count = 0;
    double interval = 1e9 / atof(argv[3]);
    size_t total = (size_t)(atof(argv[3]) * atof(argv[4])), sent = 0, done = 0;
    int64_t *latency = malloc((total + 1) * sizeof *latency);
    conn **idle = malloc((size_t)count * sizeof(conn *));
    struct epoll_event list[EVENTS];
    int n = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: bench\r\n\r\n", argv[2]);
    if (!latency || !idle)
        return 1;
    while (free_count < count)
        idle[free_count++] = open_conn(ep, (uint16_t)atoi(argv[1]));
    int64_t start = now_ns(), last = start + (int64_t)(interval * (double)total) + 5000000000LL;
    while (done < total && now_ns() < last) {
        for (int64_t now = now_ns(); sent < total && free_count > 0; sent++) {
            int64_t due = start + (int64_t)(interval * (double)sent);
            if (due > now)
                break;
            conn *c = idle[--free_count];
            c->due = due;
            if (send(c->fd, request, (size_t)n, MSG_NOSIGNAL) != n)
                return 1;
        }
        int64_t wait = free_count == 0 || sent == total ? 5000000 : start + (int64_t)(interval * (double)sent) - now_ns();
        struct timespec until_due = {.tv_nsec = wait < 0 ? 0 : wait > 5000000 ? 5000000 : wait};
        int ready = epoll_pwait2(ep, list, EVENTS, &until_due, NULL); /* the upstream may have the same processor */
        for (int i = 0; i < ready; i++) {
            conn *c = list[i].data.ptr;
            if (!receive(c))
                continue;
            latency[done++] = now_ns() - c->due;
            idle[free_count++] = c;
        }
    }
    print(latency, done, total);
    return 0;
}
