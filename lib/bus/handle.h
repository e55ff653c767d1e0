/* The public handles' insides, shared by bus.c, link.c, publish.c, group_handle.c, reader.c. */
#ifndef NEXUS_BUS_HANDLE_H
#define NEXUS_BUS_HANDLE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/thread.h"
#include "bus/broker.h"
#include "bus/contract.h"
#include "bus/engines/engine.h"
#include "bus/remote.h"
#include "bus/server.h"
#include "bus/shred.h"
#include "bus/snapshot.h"

typedef struct nexus__pub_op nexus__pub_op;

/*
 * A handle is either the owner (broker set) or a client (remote set while connected). The link thread of a client reads
 * its connection; when that ends it tries to become the owner, or connects to whoever did. An owner stays one for good
 * where a lock of this machine says so; where a server elsewhere does, it may lose its log, and is a client again. Its
 * broker is kept until close, since others may still be looking at it.
 */
struct nexus_bus {
    const nexus_alloc *alloc;
    nexus_bus_opts opts;
    const nexus__bus_engine *engine;
    char *url, *dir, *source, *compact_types, *shred_types; /* dir: of the lock and the socket, or NULL */
    int dir_fd;
    _Atomic(nexus__broker *) broker;
    _Atomic uint64_t caps;
    nexus__bus_server *server; /* the link's, as are the next three */
    nexus__bus_porter *porter;
    nexus__broker **former;
    size_t former_count;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* locked */
    nexus__remote *remote;
    int greeting; /* a second descriptor of a connection whose owner has not said hello yet; -1: none */
    uint64_t epoch;
    bool closing, lost; /* lost: the broker's log takes no more, somebody may have taken it over */
    nexus_status broken; /* the log cannot be opened: why */
    char broken_text[300];
    nexus__pub_op *again, **again_tail; /* publishes whose connection ended */
    nexus__list groups;                 /* handles, for waking their eventfds */
    nexus__pub_op *finished, **finished_tail;
    pthread_cond_t done;
    bool done_started, done_closing;
    pthread_t done_thread, link_thread;
    bool link_started;
    uint32_t inflight; /* locked */
    uint64_t inflight_bytes;
    nexus__pub_op *completed, **completed_tail; /* those without a callback, until they are fetched */
    pthread_cond_t room, polled;
    nexus__pub_op *arrived, **arrived_tail; /* the link thread's: answered, and not yet handed out */
    nexus__contracts contracts;
    nexus__snapshots snapshots;
    nexus__shred shred;
    pthread_rwlock_t tracer_lock; /* held for reading while the tracer is used */
    _Atomic(struct nexus_tracer *) tracer;
};

struct nexus_group {
    nexus_bus *bus;
    nexus__list node; /* in bus->groups */
    char *name, *accept; /* accept: pinned revisions, NULL = none */
    nexus__buf config;
    pthread_mutex_t lock;
    /* locked */
    nexus__bgroup *local;
    nexus__member *member; /* of local */
    nexus__broker *local_of;
    uint64_t epoch; /* of the connection that `index` belongs to; 0 = none */
    uint32_t index;
    nexus__watch_group watch;
    bool watched; /* locally */
    uint64_t watched_epoch;
    int event_fd;
    uint32_t ack_wait_ms;
};

/* Whom to ask: *broker, or *remote with a reference. Waits for one until until_ns. */
nexus_status nexus__bus_backend(nexus_bus *bus, int64_t until_ns, nexus__broker **broker,
                                nexus__remote **remote) NEXUS_MUST_CHECK;
int64_t nexus__bus_until(const nexus_bus *bus, uint32_t timeout_ms);
/* Whether who waits that long may write the log itself: then a disk that hangs keeps it longer, so short times are left to
 * the flush thread, which hangs in its place. */
bool nexus__bus_may_write(const nexus_bus *bus, uint32_t timeout_ms);

/* Grows with each owner that this handle has had. */
uint64_t nexus__bus_epoch(nexus_bus *bus);

/* group_handle.c: settles by position and token, without the delivery. */
nexus_status nexus__group_settle(nexus_group *g, uint64_t pos, uint64_t token, uint32_t how, uint32_t ms,
                                 nexus_slice reason, bool sync) NEXUS_MUST_CHECK;
/* A delivery that a replay shows to handlers, one event after the other; the words that a handler gave. */
nexus_status nexus__delivery_for_replay(nexus_delivery **out, const nexus_alloc *alloc) NEXUS_MUST_CHECK;
void nexus__delivery_show(nexus_delivery *d, const nexus_event *event, uint32_t attempt);
const char *nexus__delivery_why(const nexus_delivery *d);
void nexus__delivery_end_replay(nexus_delivery *d);
nexus__stored *nexus__delivery_pin(const nexus_delivery *d); /* a reference to its event as stored */
void nexus__delivery_lease(const nexus_delivery *d, uint64_t *pos, uint64_t *token);

/* link.c */
nexus_status nexus__bus_link(nexus_bus *bus);
void nexus__bus_unlink(nexus_bus *bus);

/* publish.c */
void nexus__bus_publish_again(nexus_bus *bus); /* after the link is up */
void nexus__bus_publish_arrived(nexus_bus *bus); /* the link thread, when it has read answers */
void nexus__bus_publish_end(nexus_bus *bus);   /* at close */

/* A call that can simply be made again when the connection ends on the way. With *broker the caller asks by itself. */
nexus_status nexus__bus_ask(nexus_bus *bus, uint16_t op, nexus_slice body, nexus__broker **broker,
                            nexus__buf *answer) NEXUS_MUST_CHECK;

/* Who answers for a group now: the broker of this process, or the connection to its owner. */
typedef struct nexus__group_backend {
    nexus__bgroup *local;
    nexus__member *member;
    nexus__remote *remote; /* a reference */
    uint32_t index;
} nexus__group_backend;

/* Asks the owner about the group, again after a take-over: out is the answer. With b->local the caller asks by itself. */
nexus_status nexus__group_bind(nexus_group *g, int64_t until, nexus__group_backend *b) NEXUS_MUST_CHECK;
nexus_status nexus__group_ask(nexus_group *g, uint16_t op, nexus_slice question, nexus__buf *out,
                              nexus__group_backend *b) NEXUS_MUST_CHECK;

#endif
