/*
 * One thread a connection: it reads frames, answers what it can at once, and keeps what has to wait (a fetch on an
 * empty group, a publish on its way to the disk). Whoever has news for it (the flush thread, a group) leaves it in the
 * connection's outgoing bytes or sets a flag, and wakes the thread through an eventfd. So a slow client holds up
 * nobody: its thread waits for its socket, the flush thread never does.
 */
#include "bus/server_conn.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/status.h"
#include "base/thread.h"
#include "bus/compact.h"

#define HELLO_MS 5000       /* a peer that says nothing is closed */
#define OUT_MAX (64u << 20) /* answers that a client does not read: closed */
#define IN_MAX (NEXUS__WIRE_BODY_MAX + 65536)

/* --- outgoing ---- */

void nexus__conn_poke(int fd)
{
    uint64_t one = 1;
    if (write(fd, &one, sizeof one) < 0)
        return; /* already set: somebody else woke it */
}

size_t nexus__conn_reply_begin(nexus__conn *c, uint16_t op, nexus_status status, uint64_t id)
{
    pthread_mutex_lock(&c->lock);
    return nexus__wire_begin(&c->out, op | NEXUS__WIRE_REPLY, status, id);
}

void nexus__conn_reply_end(nexus__conn *c, size_t begin)
{
    nexus__wire_end(&c->out, begin);
    bool first = !c->woken;
    c->woken = true;
    pthread_mutex_unlock(&c->lock);
    if (first)
        nexus__conn_poke(c->wake_fd);
}

/* Sends what it can; false when the peer is gone or reads nothing. */
static bool send_some(nexus__conn *c, bool *left)
{
    bool good = true;
    pthread_mutex_lock(&c->lock);
    c->woken = false;
    while (c->out.len) {
        ssize_t n = send(c->fd, c->out.p, c->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            good = errno == EAGAIN && c->out.len < OUT_MAX;
            break;
        }
        nexus__buf_consume(&c->out, (size_t)n);
    }
    *left = c->out.len > 0;
    good = good && c->out.status == NEXUS_OK;
    pthread_mutex_unlock(&c->lock);
    return good;
}

/* The log has grown, on its flush thread, after everything in this run has been answered: the answers leave from here, all
 * of a connection's at once, since waking its thread for them would cost more. Whoever begins to wait for events looks
 * once more after saying so. */
static void grown(void *user_data)
{
    nexus__conn *c = user_data;
    bool left = false, good = true;
    if (atomic_exchange(&c->answered, false))
        good = send_some(c, &left);
    if (left || !good || atomic_load(&c->hungry))
        nexus__conn_poke(c->wake_fd);
}

void nexus__conn_reply(nexus__conn *c, uint16_t op, nexus_status status, uint64_t id, nexus_slice body)
{
    if (status != NEXUS_OK && !body.n)
        body = nexus__slice_c(nexus_error_message());
    size_t begin = nexus__conn_reply_begin(c, op, status, id);
    nexus__buf_slice_append(&c->out, body);
    nexus__conn_reply_end(c, begin);
}

void nexus__conn_unref(nexus__conn *c)
{
    if (atomic_fetch_sub(&c->refs, 1) != 1)
        return;
    const nexus_alloc *alloc = c->server->alloc;
    close(c->wake_fd);
    nexus__buf_free(&c->in);
    nexus__buf_free(&c->out);
    nexus__free(alloc, c->bundle);
    pthread_mutex_destroy(&c->lock);
    nexus__free(alloc, c);
}

/* --- frames ---- */

static void on_hello(nexus__conn *c, uint64_t id, nexus__wire_in *in)
{
    uint32_t version = nexus__wire_take_u32(in);
    uint64_t caps = c->server->caps;
    c->greeted = version == NEXUS__WIRE_VERSION;
    nexus_status status = c->greeted ? NEXUS_OK
                                     : nexus__fail(NEXUS_EREV, "the bus owner speaks version %u, the client %u",
                                                   NEXUS__WIRE_VERSION, version);
    nexus__conn_reply(c, WIRE_HELLO, status, id, status == NEXUS_OK ? nexus__slice(&caps, sizeof caps) : NEXUS_S(""));
}

static void on_frame(nexus__conn *c, const nexus__wire_head *head, nexus_slice body)
{
    nexus__wire_in in = {.rest = body};
    if (!c->greeted && head->op != WIRE_HELLO) {
        atomic_store(&c->over, true);
        return;
    }
    if (head->op == WIRE_PUBLISH) {
        nexus__conn_publish(c, head->id, body);
        return;
    }
    nexus__conn_unbundle(c); /* calls are done in their order */
    switch (head->op) {
    case WIRE_HELLO:
        on_hello(c, head->id, &in);
        break;
    case WIRE_COMMIT:
        nexus__conn_commit(c, head->id, body);
        break;
    case WIRE_GROUP:
        nexus__conn_join(c, head->id, &in);
        break;
    case WIRE_FETCH:
        nexus__conn_fetch(c, head->id, &in);
        break;
    case WIRE_READ:
        nexus__conn_read(c, head->id, body);
        break;
    case WIRE_LEAVE:
        nexus__conn_leave(c, head->id, &in);
        break;
    case WIRE_SETTLE:
        nexus__conn_settle(c, head->id, &in);
        break;
    case WIRE_GROUPS: {
        nexus__buf groups;
        nexus__buf_init(&groups, c->server->alloc, NEXUS__WIRE_BODY_MAX);
        nexus_status status = nexus__broker_groups(c->server->broker, &groups);
        nexus__conn_reply(c, WIRE_GROUPS, status, head->id, nexus__buf_slice(&groups));
        nexus__buf_free(&groups);
        break;
    }
    case WIRE_HEAD: {
        uint64_t pos = nexus__wal_durable(nexus__broker_wal(c->server->broker));
        nexus__conn_reply(c, WIRE_HEAD, NEXUS_OK, head->id, nexus__slice(&pos, sizeof pos));
        break;
    }
    case WIRE_REDACT: {
        uint64_t pos = nexus__wire_take_u64(&in);
        nexus__conn_reply(c, WIRE_REDACT, nexus__broker_redact(c->server->broker, pos), head->id, NEXUS_S(""));
        break;
    }
    case WIRE_BUS_STATS: {
        nexus__buf stats;
        nexus__buf_init(&stats, c->server->alloc, NEXUS__WIRE_BODY_MAX);
        nexus_status status = nexus__broker_stats(c->server->broker, &stats);
        nexus__conn_reply(c, WIRE_BUS_STATS, status, head->id, nexus__buf_slice(&stats));
        nexus__buf_free(&stats);
        break;
    }
    case WIRE_COMPACT: {
        nexus__compact_step step = {.after = nexus__wire_take_u64(&in)};
        nexus_status status = nexus__broker_compact(c->server->broker, &step);
        nexus__conn_reply(c, WIRE_COMPACT, status, head->id, nexus__slice(&step, sizeof step));
        break;
    }
    case WIRE_VERSION: {
        int64_t version = nexus__broker_stream_version(c->server->broker, nexus__wire_take_text(&in));
        nexus__conn_reply(c, WIRE_VERSION, NEXUS_OK, head->id, nexus__slice(&version, sizeof version));
        break;
    }
    case WIRE_SYNC:
    case WIRE_STATS:
    case WIRE_DEAD:
    case WIRE_REDRIVE:
    case WIRE_PURGE:
    case WIRE_WATCH:
    case WIRE_EXPLAIN:
    case WIRE_AUDIT:
    case WIRE_PAUSE:
    case WIRE_SEEK:
        nexus__conn_group_call(c, head, &in);
        break;
    default:
        atomic_store(&c->over, true); /* a reply, or a wake: not for us */
    }
}

/* --- the connection's thread ---- */

static bool receive(nexus__conn *c)
{
    char *at = nexus__buf_reserve(&c->in, 65536);
    if (!at)
        return false;
    ssize_t n = recv(c->fd, at, 65536, MSG_DONTWAIT);
    if (n <= 0)
        return n < 0 && (errno == EAGAIN || errno == EINTR);
    c->in.len += (size_t)n;
    size_t done = 0;
    while (!atomic_load(&c->over)) {
        nexus__wire_head head;
        nexus_slice body;
        size_t used;
        nexus_status status = nexus__wire_decode(c->in.p + done, c->in.len - done, &head, &body, &used);
        if (status == NEXUS_EAGAIN)
            break;
        if (status != NEXUS_OK) {
            atomic_store(&c->over, true);
            break;
        }
        on_frame(c, &head, body);
        done += used;
    }
    nexus__conn_unbundle(c); /* its slices end here */
    nexus__buf_consume(&c->in, done);
    return !atomic_load(&c->over);
}

static void push_wakes(nexus__conn *c)
{
    for (uint32_t i = 0; i < c->group_count; i++) {
        if (!c->groups[i] || !c->groups[i]->watching || !atomic_exchange(&c->groups[i]->fresh, false))
            continue;
        pthread_mutex_lock(&c->lock);
        size_t begin = nexus__wire_begin(&c->out, WIRE_WAKE, 0, 0);
        nexus__wire_u32(&c->out, i);
        nexus__wire_end(&c->out, begin);
        pthread_mutex_unlock(&c->lock);
    }
}

static int until_ms(int64_t due_ns)
{
    if (due_ns == INT64_MAX)
        return -1;
    int64_t left = due_ns - nexus__mono_ns();
    return left <= 0 ? 0 : left > 60000 * NEXUS__NS_PER_MS ? 60000 : (int)(left / NEXUS__NS_PER_MS + 1);
}

static void serve(nexus__conn *c)
{
    int64_t hello_by = nexus__mono_ns() + HELLO_MS * NEXUS__NS_PER_MS;
    for (;;) {
        int64_t due = nexus__conn_retry(c);
        bool left;
        push_wakes(c);
        if (!send_some(c, &left) || atomic_load(&c->server->closing))
            return;
        if (!c->greeted && nexus__mono_ns() >= hello_by)
            return;
        if (!c->greeted && hello_by < due)
            due = hello_by;
        struct pollfd fds[2] = {{.fd = c->fd, .events = POLLIN | (left ? POLLOUT : 0)},
                                {.fd = c->wake_fd, .events = POLLIN}};
        int rc = poll(fds, 2, until_ms(due));
        if (rc < 0 && errno != EINTR)
            return;
        uint64_t drained;
        if (fds[1].revents && read(c->wake_fd, &drained, sizeof drained) < 0 && errno != EAGAIN)
            return;
        if (fds[0].revents & (POLLIN | POLLHUP | POLLERR) && !receive(c))
            return;
    }
}

static void *conn_main(void *arg)
{
    nexus__conn *c = arg;
    nexus__bus_server *s = c->server;
    nexus__broker_watch(s->broker, &c->grown);
    serve(c);
    atomic_store(&c->over, true);
    nexus__broker_unwatch(s->broker, &c->grown);
    nexus__conn_leave_all(c);
    nexus__conn_forget_waits(c);
    shutdown(c->fd, SHUT_RDWR);
    close(c->fd);
    pthread_mutex_lock(&s->lock);
    nexus__list_remove(&c->node);
    s->count--;
    nexus__conn_unref(c);
    pthread_cond_broadcast(&s->ended);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

void nexus__conn_start(nexus__bus_server *s, int fd)
{
    nexus__conn *c = nexus__calloc(s->alloc, 1, sizeof *c);
    int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!c || wake_fd < 0) {
        nexus__free(s->alloc, c);
        if (wake_fd >= 0)
            close(wake_fd);
        close(fd);
        return;
    }
    c->server = s;
    c->fd = fd;
    c->wake_fd = wake_fd;
    atomic_init(&c->refs, 1);
    pthread_mutex_init(&c->lock, NULL);
    nexus__buf_init(&c->in, s->alloc, IN_MAX + 65536);
    nexus__buf_init(&c->out, s->alloc, 0);
    c->grown.fn = grown;
    c->grown.user_data = c;
    nexus__list_init(&c->grown.node);
    pthread_mutex_lock(&s->lock);
    nexus__list_push(&s->conns, &c->node);
    s->count++;
    pthread_mutex_unlock(&s->lock);
    pthread_t thread; /* not in c, which its thread may have freed by then */
    if (nexus__thread_start(&thread, "nexus-bus-conn", conn_main, c) == NEXUS_OK) {
        pthread_detach(thread);
        return;
    }
    pthread_mutex_lock(&s->lock);
    nexus__list_remove(&c->node);
    s->count--;
    pthread_mutex_unlock(&s->lock);
    close(fd);
    nexus__conn_unref(c);
}
