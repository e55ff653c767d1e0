/* The server behind the proxies of gateway.sh: one thread, epoll, a fixed reply of 128 bytes (4 KiB for /4k). */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER = 16384, EVENTS = 256 };

typedef struct conn {
    int fd;
    size_t len;
    char in[BUFFER];
} conn;

static char reply_small[1024], reply_large[8192];
static size_t small_len, large_len;

static size_t make_reply(char *out, size_t body)
{
    int n = sprintf(out,
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Mon, 23 Nov 2026 23:06:56 GMT\r\n"
                    "Content-Length: %zu\r\n\r\n",
                    body);
    memset(out + n, 'x', body);
    return (size_t)n + body;
}

static int serve(conn *c)
{
    char out[65536];
    size_t n = 0;
    ssize_t got = recv(c->fd, c->in + c->len, BUFFER - c->len - 1, 0);
    if (got <= 0)
        return got < 0 && errno == EAGAIN ? 0 : -1;
    c->len += (size_t)got;
    c->in[c->len] = 0;
    char *at = c->in;
    for (char *end; (end = strstr(at, "\r\n\r\n")) && n + sizeof reply_large < sizeof out; at = end + 4) {
        char *space = strchr(at, ' ');
        int large = space && strncmp(space, " /4k", 4) == 0;
        memcpy(out + n, large ? reply_large : reply_small, large ? large_len : small_len);
        n += large ? large_len : small_len;
    }
    c->len -= (size_t)(at - c->in);
    memmove(c->in, at, c->len);
    return n == 0 || send(c->fd, out, n, MSG_NOSIGNAL) == (ssize_t)n ? 0 : -1;
}

int main(int argc, char **argv)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), ep = epoll_create1(0);
    a.sin_port = htons((uint16_t)(argc > 1 ? atoi(argv[1]) : 0));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&a, len) || listen(listener, 1024)) {
        perror("bind");
        return 1;
    }
    getsockname(listener, (struct sockaddr *)&a, &len);
    printf("%u\n", ntohs(a.sin_port));
    fflush(stdout);
    small_len = make_reply(reply_small, 128);
    large_len = make_reply(reply_large, 4096);
    struct epoll_event e = {.events = EPOLLIN}, list[EVENTS];
    epoll_ctl(ep, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        int n = epoll_wait(ep, list, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            conn *c = list[i].data.ptr;
            if (c && serve(c) < 0) {
                close(c->fd);
                free(c);
            }
            for (int fd; !c && (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
                conn *fresh = calloc(1, sizeof *fresh);
                if (!fresh)
                    return 1;
                fresh->fd = fd;
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                e = (struct epoll_event){.events = EPOLLIN, .data.ptr = fresh};
                epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
            }
        }
    }
}
