/* Listening on DIR/bus.sock, and the end of it. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/status.h"
#include "base/thread.h"
#include "bus/server_conn.h"

static bool same_user(int fd)
{
    struct ucred who;
    socklen_t n = sizeof who;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) == 0 && (who.uid == geteuid() || who.uid == 0);
}

void nexus__bus_server_welcome(nexus__bus_server *s, int fd)
{
    pthread_mutex_lock(&s->lock);
    bool full = s->count >= s->max;
    pthread_mutex_unlock(&s->lock);
    if (full)
        close(fd);
    else
        nexus__conn_start(s, fd);
}

static void *accept_main(void *arg)
{
    nexus__bus_server *s = arg;
    for (;;) {
        struct pollfd fds[2] = {{.fd = s->fd, .events = POLLIN}, {.fd = s->wake_fd, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return NULL;
        if (atomic_load(&s->closing))
            return NULL;
        int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0)
            continue;
        if (same_user(fd))
            nexus__bus_server_welcome(s, fd);
        else
            close(fd);
    }
}

static nexus_status listen_on(nexus__bus_server *s, const char *dir)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    s->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->dir_fd < 0)
        return nexus__fail_errno(errno, "open %s", dir);
    s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->fd < 0 || s->wake_fd < 0)
        return nexus__fail_errno(errno, "make a socket");
    unlinkat(s->dir_fd, "bus.sock", 0); /* we hold the lock: whoever made it is gone */
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/bus.sock", s->dir_fd);
    if (bind(s->fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(s->fd, 128) != 0)
        return nexus__fail_errno(errno, "listen on %s/bus.sock", dir);
    fchmodat(s->dir_fd, "bus.sock", 0600, 0);
    return NEXUS_OK;
}

nexus_status nexus__bus_server_open(nexus__bus_server **out, nexus__broker *broker, const char *dir,
                                    const nexus_alloc *alloc, uint32_t connections_max, uint64_t caps)
{
    nexus__bus_server *s = nexus__calloc(alloc, 1, sizeof *s);
    if (!s)
        return nexus__nomem();
    s->alloc = alloc;
    s->broker = broker;
    s->caps = caps;
    s->max = connections_max ? connections_max : 256;
    s->dir_fd = s->fd = s->wake_fd = -1;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->ended, NULL);
    nexus__list_init(&s->conns);
    nexus_status status = dir ? listen_on(s, dir) : NEXUS_OK;
    if (status == NEXUS_OK && dir)
        status = nexus__thread_start(&s->thread, "nexus-bus-acc", accept_main, s);
    s->started = status == NEXUS_OK && dir;
    if (status != NEXUS_OK) {
        nexus__bus_server_close(s);
        return status;
    }
    *out = s;
    return NEXUS_OK;
}

void nexus__bus_server_close(nexus__bus_server *s)
{
    if (!s)
        return;
    atomic_store(&s->closing, true);
    if (s->started) {
        nexus__conn_poke(s->wake_fd);
        pthread_join(s->thread, NULL);
    }
    pthread_mutex_lock(&s->lock);
    for (nexus__list *n = s->conns.next; n != &s->conns; n = n->next)
        nexus__conn_poke(NEXUS__CONTAINER(n, nexus__conn, node)->wake_fd);
    while (s->count)
        pthread_cond_wait(&s->ended, &s->lock);
    pthread_mutex_unlock(&s->lock);
    /* Publishes of theirs that are still on their way hold references and use the allocator only: wait for them. */
    if (nexus__wal_append(nexus__broker_wal(s->broker), NULL, 0, NULL) != NEXUS_OK)
        s->started = false;
    if (s->dir_fd >= 0 && s->fd >= 0)
        unlinkat(s->dir_fd, "bus.sock", 0);
    for (int i = 0; i < 3; i++) {
        int fd = i == 0 ? s->fd : i == 1 ? s->wake_fd : s->dir_fd;
        if (fd >= 0)
            close(fd);
    }
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->ended);
    nexus__free(s->alloc, s);
}
