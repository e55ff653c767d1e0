/*
 * The floor that gateway.sh measures against: a proxy that understands nothing. Each client's connection has one of its own
 * to the upstream, and what comes on one side goes out on the other: two receives, two sends and the share of an
 * epoll_wait for a request. Nothing is kept: a peer that does not take its bytes at once (never, with small replies on one
 * machine) ends the pair.
 *
 *     epoll-proxy PORT UPSTREAM-PORT
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, BUFFER = 65536 };

typedef struct side {
    struct side *other;
    int fd;
} side;

typedef struct pair {
    side sides[2];
    struct pair *next_dead;
} pair;

static int ep;
static pair *dead; /* freed after the events of this turn, which may name them once more */

static int tcp(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    return fd;
}

static struct sockaddr_in loopback(const char *port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)atoi(port))};
}

static void end(side *s)
{
    pair *p = (pair *)(void *)(s->other > s ? s : s->other);
    if (s->fd < 0)
        return;
    for (int i = 0; i < 2; i++) {
        close(p->sides[i].fd);
        p->sides[i].fd = -1;
    }
    p->next_dead = dead;
    dead = p;
}

static void pass(side *from)
{
    static char buffer[BUFFER];
    if (from->fd < 0)
        return;
    ssize_t n = recv(from->fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0 || send(from->other->fd, buffer, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) != n)
        end(from);
}

static void begin(int listener, const struct sockaddr_in *upstream)
{
    int fd = accept(listener, NULL, NULL), up = tcp();
    pair *p = calloc(1, sizeof *p);
    if (fd < 0 || !p || connect(up, (const struct sockaddr *)upstream, sizeof *upstream)) {
        close(fd);
        close(up);
        free(p);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    p->sides[0] = (side){&p->sides[1], fd};
    p->sides[1] = (side){&p->sides[0], up};
    for (int i = 0; i < 2; i++)
        epoll_ctl(ep, EPOLL_CTL_ADD, p->sides[i].fd,
                  &(struct epoll_event){.events = EPOLLIN | EPOLLET, .data.ptr = &p->sides[i]});
}

int main(int argc, char **argv)
{
    struct epoll_event list[EVENTS];
    if (argc != 3)
        return 2;
    struct sockaddr_in own = loopback(argv[1]), upstream = loopback(argv[2]);
    int listener = tcp();
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(listener, (struct sockaddr *)&own, sizeof own) || listen(listener, 4096)) {
        perror("bind");
        return 1;
    }
    ep = epoll_create1(0);
    epoll_ctl(ep, EPOLL_CTL_ADD, listener, &(struct epoll_event){.events = EPOLLIN});
    for (;;) {
        int n = epoll_wait(ep, list, EVENTS, -1);
        for (int i = 0; i < n; i++)
            if (list[i].data.ptr)
                pass(list[i].data.ptr);
            else
                begin(listener, &upstream);
        for (pair *p; (p = dead); free(p))
            dead = p->next_dead;
    }
}
