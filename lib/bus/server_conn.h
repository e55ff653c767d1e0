/* A connection of a client to the owner, and what its frames ask for; shared by server*.c. */
#ifndef NEXUS_BUS_SERVER_CONN_H
#define NEXUS_BUS_SERVER_CONN_H

#include <pthread.h>
#include <stdatomic.h>

#include "bus/server.h"

enum { NEXUS__CONN_GROUPS_MAX = 256 };

typedef struct nexus__conn nexus__conn;

/* A group that a client has joined. */
typedef struct nexus__joined {
    nexus__conn *conn;
    nexus__bgroup *group;
    nexus__member *member;
    nexus__watch_group watch;
    bool watching; /* the client wants WAKE frames */
    atomic_bool fresh;
} nexus__joined;

struct nexus__conn {
    nexus__list node;
    nexus__bus_server *server;
    int fd, wake_fd;
    bool greeted;
    nexus__buf in;
    struct nexus__bundle *bundle;
    struct nexus__waiting *waits;
    atomic_bool hungry;   /* waits is not empty */
    atomic_bool answered; /* publishes of the run that the log reports now */
    nexus__joined *groups[NEXUS__CONN_GROUPS_MAX];
    uint32_t group_count;
    nexus__watch_group grown;
    atomic_uint refs; /* the thread, and each publish on its way */
    atomic_bool over;
    pthread_mutex_t lock;
    nexus__buf out; /* locked */
    bool woken;     /* locked */
};

struct nexus__bus_server {
    const nexus_alloc *alloc;
    nexus__broker *broker;
    int dir_fd, fd, wake_fd;
    uint32_t max;
    uint64_t caps;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    nexus__list conns; /* locked */
    uint32_t count;
    atomic_bool closing;
};

/* server_conn.c: its thread, the frames that come and the bytes that go */

/* Takes fd; one more connection of the server, which is counted already if this succeeds. */
void nexus__conn_start(nexus__bus_server *s, int fd);
void nexus__conn_unref(nexus__conn *c);
void nexus__conn_poke(int wake_fd); /* wakes the thread behind it */
void nexus__conn_reply(nexus__conn *c, uint16_t op, nexus_status status, uint64_t id, nexus_slice body);
/* The same in pieces: c->out is locked in between. */
size_t nexus__conn_reply_begin(nexus__conn *c, uint16_t op, nexus_status status, uint64_t id);
void nexus__conn_reply_end(nexus__conn *c, size_t begin);

/* server_publish.c. A publish may be kept until unbundle; body must live until then. */
void nexus__conn_publish(nexus__conn *c, uint64_t id, nexus_slice body);
void nexus__conn_commit(nexus__conn *c, uint64_t id, nexus_slice body);
void nexus__conn_unbundle(nexus__conn *c);

/* server_group.c */
nexus__joined *nexus__conn_group(nexus__conn *c, uint32_t index); /* NULL: none */
void nexus__conn_join(nexus__conn *c, uint64_t id, nexus__wire_in *in);
void nexus__conn_leave(nexus__conn *c, uint64_t id, nexus__wire_in *in);
void nexus__conn_leave_all(nexus__conn *c);
void nexus__conn_settle(nexus__conn *c, uint64_t id, nexus__wire_in *in);
void nexus__conn_group_call(nexus__conn *c, const nexus__wire_head *head, nexus__wire_in *in);

/* server_wait.c: what may have to wait for events. */
void nexus__conn_fetch(nexus__conn *c, uint64_t id, nexus__wire_in *in);
void nexus__conn_read(nexus__conn *c, uint64_t id, nexus_slice body);
int64_t nexus__conn_retry(nexus__conn *c); /* until when to wait; INT64_MAX = as long as it takes */
void nexus__conn_forget_waits(nexus__conn *c);

#endif
