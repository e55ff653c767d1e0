/*
 * The server behind the proxies of gateway.sh: one thread, epoll. The path says how large the reply is: 128 bytes, /4k,
 * /1m, or /64m, which nobody reads to its end. Bodies of requests are read and thrown away, but not those to /stall.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { IN_BYTES = 65536, BODY_BYTES = 1 << 20, EVENTS = 256, SMALL = 8192 };

typedef struct reply {
    const char *path;
    unsigned long body;
    size_t len; /* of the text: the head, and a small body */
    char text[SMALL];
} reply;

static reply replies[] = {
    {.path = " /4k", .body = 4096}, {.path = " /1m", .body = 1 << 20}, {.path = " /64m", .body = 64UL << 20}, {.path = "", .body = 128}};
static char filler[BODY_BYTES];

typedef struct conn {
    int fd;
    bool stalled, writing;
    const reply *due; /* once the request's body is here */
    unsigned long skip; /* bytes of a request's body to come */
    unsigned long body; /* bytes of a large reply to go */
    size_t len;
    char in[IN_BYTES + 1];
} conn;

static int ep;

static void make_replies(void)
{
    memset(filler, 'x', sizeof filler);
    for (size_t i = 0; i < sizeof replies / sizeof *replies; i++) {
        reply *r = &replies[i];
        r->len = (size_t)sprintf(r->text,
                                 "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Mon, 23 Nov 2026 23:06:56 GMT\r\n"
                                 "Content-Length: %lu\r\n\r\n",
                                 r->body);
        if (r->body + r->len <= SMALL) {
            memset(r->text + r->len, 'x', r->body);
            r->len += r->body;
            r->body = 0;
        }
    }
}

static void wait_for(conn *c, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = c};
    epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
}

/* What is left of a large reply. */
static int push(conn *c)
{
    while (c->body > 0) {
        ssize_t n = send(c->fd, filler, c->body < BODY_BYTES ? c->body : BODY_BYTES, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return -1;
        if (n < 0) {
            if (!c->writing)
                wait_for(c, EPOLLOUT);
            c->writing = true;
            return 0;
        }
        c->body -= (unsigned long)n;
    }
    if (c->writing)
        wait_for(c, EPOLLIN);
    c->writing = false;
    return 0;
}

static const reply *reply_to(const char *head)
{
    const char *space = strchr(head, ' ');
    size_t i = 0;
    while (strncmp(space ? space : "", replies[i].path, strlen(replies[i].path)) != 0)
        i++;
    return &replies[i];
}

static unsigned long body_of(const char *head, const char *end)
{
    const char *length = *head == 'P' ? strcasestr(head, "\r\ncontent-length:") : NULL;
    return length && length < end ? strtoul(length + 17, NULL, 10) : 0;
}

static size_t skip(conn *c, size_t at)
{
    size_t n = c->len - at < c->skip ? c->len - at : c->skip;
    c->skip -= n;
    return at + n;
}

static int serve(conn *c)
{
    char out[IN_BYTES];
    size_t n = 0, at = 0;
    if (c->writing)
        return push(c);
    ssize_t got = recv(c->fd, c->in + c->len, IN_BYTES - c->len, 0);
    if (got <= 0)
        return got < 0 && errno == EAGAIN ? 0 : -1;
    c->len += (size_t)got;
    c->in[c->len] = 0;
    at = skip(c, 0);
    for (char *end; c->body == 0 && n + SMALL < sizeof out;) {
        if (!c->due && (end = strstr(c->in + at, "\r\n\r\n"))) {
            c->due = reply_to(c->in + at);
            c->stalled = strstr(c->in + at, " /stall") != NULL;
            c->skip = body_of(c->in + at, end);
            at = skip(c, (size_t)(end + 4 - c->in));
        }
        if (!c->due || c->skip > 0)
            break;
        memcpy(out + n, c->due->text, c->due->len);
        n += c->due->len;
        c->body = c->due->body;
        c->due = NULL;
    }
    c->len -= at;
    memmove(c->in, c->in + at, c->len);
    if (c->stalled) {
        wait_for(c, 0);
        return 0;
    }
    if (n > 0 && send(c->fd, out, n, MSG_NOSIGNAL) != (ssize_t)n)
        return -1;
    return push(c);
}

static int listen_on(uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(fd, (struct sockaddr *)&a, len) || listen(fd, 4096)) {
        perror("bind");
        exit(1);
    }
    getsockname(fd, (struct sockaddr *)&a, &len);
    printf("%u\n", ntohs(a.sin_port));
    fflush(stdout);
    return fd;
}

static void accept_all(int listener)
{
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        conn *c = malloc(sizeof *c); /* its buffer stays untouched until used */
        if (!c)
            exit(1);
        memset(c, 0, offsetof(conn, in));
        c->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        epoll_ctl(ep, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.ptr = c});
    }
}

int main(int argc, char **argv)
{
    struct epoll_event list[EVENTS];
    int listener = listen_on((uint16_t)(argc > 1 ? atoi(argv[1]) : 0));
    ep = epoll_create1(0);
    make_replies();
    epoll_ctl(ep, EPOLL_CTL_ADD, listener, &(struct epoll_event){.events = EPOLLIN});
    for (;;) {
        int n = epoll_wait(ep, list, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            conn *c = list[i].data.ptr;
            if (!c) {
                accept_all(listener);
            } else if ((list[i].events & (EPOLLHUP | EPOLLERR)) || serve(c) < 0) {
                close(c->fd);
                free(c);
            }
        }
    }
}
