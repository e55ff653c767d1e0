#include "bus/remote.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/status.h"
#include "base/thread.h"

#define BUCKETS 256
#define SEND_MS 10000

typedef struct pending {
    struct pending *next;
    uint64_t id;
    nexus__remote_fn *fn;
    void *user_data;
} pending;

struct nexus__remote {
    const nexus_alloc *alloc;
    atomic_uint refs;
    int fd, wake_fd; /* wake_fd: frames are posted */
    uint64_t epoch;
    nexus__buf in; /* the running thread's */
    pthread_mutex_t send_lock;
    nexus__buf out; /* locked by send_lock */
    pthread_mutex_t post_lock; /* taken within send_lock */
    nexus__buf posted;         /* frames that the running thread will send, many at a time; locked by post_lock */
    pthread_mutex_t lock;
    pending *calls[BUCKETS]; /* locked */
    uint64_t next_id;
    bool down;
};

/* --- sending ---- */

static bool send_all(nexus__remote *r, const char *p, size_t n)
{
    while (n) {
        ssize_t sent = send(r->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0) {
            p += sent;
            n -= (size_t)sent;
        } else if (sent < 0 && errno == EAGAIN) {
            struct pollfd wait = {.fd = r->fd, .events = POLLOUT};
            if (poll(&wait, 1, SEND_MS) == 0)
                return false;
        } else if (sent < 0 && errno != EINTR) {
            return false;
        }
    }
    return true;
}

static void append_frame(nexus__buf *out, uint16_t op, uint64_t id, nexus_slice body)
{
    size_t begin = nexus__wire_begin(out, op, 0, id);
    nexus__buf_slice_append(out, body);
    nexus__wire_end(out, begin);
}

/* What was posted before goes first: calls of one thread arrive in their order. With send_lock held. */
static void take_posted(nexus__remote *r)
{
    nexus__buf_clear(&r->out);
    pthread_mutex_lock(&r->post_lock);
    if (r->posted.len) {
        nexus__buf empty = r->out;
        r->out = r->posted;
        r->posted = empty;
    }
    pthread_mutex_unlock(&r->post_lock);
}

static nexus_status ended(void)
{
    return nexus__fail(NEXUS_ECLOSED, "the connection to the bus owner ended");
}

static nexus_status send_out(nexus__remote *r)
{
    if (r->out.status != NEXUS_OK)
        return r->out.status;
    if (!r->out.len || send_all(r, r->out.p, r->out.len))
        return NEXUS_OK;
    shutdown(r->fd, SHUT_RDWR); /* half a frame may be out: the connection is of no more use */
    return ended();
}

static nexus_status send_frame(nexus__remote *r, uint16_t op, uint64_t id, nexus_slice body)
{
    pthread_mutex_lock(&r->send_lock);
    take_posted(r);
    append_frame(&r->out, op, id, body);
    nexus_status status = send_out(r);
    pthread_mutex_unlock(&r->send_lock);
    return status;
}

static void send_posted(nexus__remote *r)
{
    uint64_t times;
    if (read(r->wake_fd, &times, sizeof times) < 0)
        return;
    pthread_mutex_lock(&r->send_lock);
    take_posted(r);
    (void)send_out(r); /* a failure ends the connection, and with it each call */
    pthread_mutex_unlock(&r->send_lock);
}

static nexus_status post_frame(nexus__remote *r, uint16_t op, uint64_t id, nexus_slice body)
{
    pthread_mutex_lock(&r->post_lock);
    size_t before = r->posted.len;
    append_frame(&r->posted, op, id, body);
    nexus_status status = r->posted.status;
    if (status != NEXUS_OK) {
        r->posted.len = before;
        r->posted.status = NEXUS_OK;
    }
    pthread_mutex_unlock(&r->post_lock);
    uint64_t one = 1;
    if (status == NEXUS_OK && before == 0 && write(r->wake_fd, &one, sizeof one) < 0)
        return NEXUS_OK; /* it is set already */
    return status;
}

static pending *take_call(nexus__remote *r, uint64_t id)
{
    pending *found = NULL;
    pthread_mutex_lock(&r->lock);
    for (pending **at = &r->calls[id % BUCKETS]; *at; at = &(*at)->next)
        if ((*at)->id == id) {
            found = *at;
            *at = found->next;
            break;
        }
    pthread_mutex_unlock(&r->lock);
    return found;
}

typedef nexus_status frame_fn(nexus__remote *r, uint16_t op, uint64_t id, nexus_slice body);

static nexus_status call_with(nexus__remote *r, frame_fn *send, uint16_t op, nexus_slice body, nexus__remote_fn *fn,
                              void *user_data)
{
    if (body.n > NEXUS__WIRE_BODY_MAX)
        return nexus__fail(NEXUS_ETOOBIG, "a call of %zu bytes to the bus owner; at most %u fit", body.n,
                           NEXUS__WIRE_BODY_MAX);
    pending *call = nexus__malloc(r->alloc, sizeof *call);
    if (!call)
        return nexus__nomem();
    pthread_mutex_lock(&r->lock);
    bool down = r->down;
    uint64_t id = ++r->next_id;
    *call = (pending){r->calls[id % BUCKETS], id, fn, user_data};
    if (!down)
        r->calls[id % BUCKETS] = call;
    pthread_mutex_unlock(&r->lock);
    if (down) {
        nexus__free(r->alloc, call);
        return ended();
    }
    nexus_status status = send(r, op, id, body);
    if (status == NEXUS_OK)
        return NEXUS_OK;
    call = take_call(r, id); /* gone: its function was called already, which is the answer */
    if (!call)
        return NEXUS_OK;
    nexus__free(r->alloc, call);
    return status;
}

nexus_status nexus__remote_send(nexus__remote *r, uint16_t op, nexus_slice body, nexus__remote_fn *fn, void *user_data)
{
    return call_with(r, send_frame, op, body, fn, user_data);
}

nexus_status nexus__remote_post(nexus__remote *r, uint16_t op, nexus_slice body, nexus__remote_fn *fn, void *user_data)
{
    return call_with(r, post_frame, op, body, fn, user_data);
}

/* --- receiving ---- */

static void answer(nexus__remote *r, const nexus__wire_head *head, nexus_slice body)
{
    pending *call = take_call(r, head->id);
    if (!call)
        return;
    call->fn(head->status, body, call->user_data);
    nexus__free(r->alloc, call);
}

static bool receive(nexus__remote *r, const nexus__remote_events *told)
{
    char *at = nexus__buf_reserve(&r->in, 65536);
    ssize_t n = at ? recv(r->fd, at, 65536, 0) : -1;
    if (n < 0 && at && errno == EINTR)
        return true;
    if (n <= 0)
        return false;
    r->in.len += (size_t)n;
    size_t done = 0;
    for (;;) {
        nexus__wire_head head;
        nexus_slice body;
        size_t used;
        nexus_status status = nexus__wire_decode(r->in.p + done, r->in.len - done, &head, &body, &used);
        if (status == NEXUS_EAGAIN)
            break;
        if (status != NEXUS_OK)
            return false;
        if (head.op == WIRE_WAKE && body.n == sizeof(uint32_t))
            told->on_wake(*(const uint32_t *)(const void *)body.p, told->user_data);
        else
            answer(r, &head, body);
        done += used;
    }
    nexus__buf_consume(&r->in, done);
    return true;
}

void nexus__remote_run(nexus__remote *r, const nexus__remote_events *told)
{
    struct pollfd ready[] = {{.fd = r->fd, .events = POLLIN}, {.fd = r->wake_fd, .events = POLLIN}};
    bool up = true;
    while (up) {
        if (poll(ready, 2, -1) < 0 && errno != EINTR)
            break;
        if (ready[1].revents)
            send_posted(r);
        if (ready[0].revents) {
            up = receive(r, told);
            told->on_answers(told->user_data);
        }
    }
    pthread_mutex_lock(&r->lock);
    r->down = true;
    pthread_mutex_unlock(&r->lock);
    shutdown(r->fd, SHUT_RDWR);
    for (size_t i = 0; i < BUCKETS; i++) {
        pthread_mutex_lock(&r->lock);
        pending *list = r->calls[i];
        r->calls[i] = NULL;
        pthread_mutex_unlock(&r->lock);
        while (list) {
            pending *call = list;
            list = call->next;
            call->fn(NEXUS_ECLOSED, NEXUS_S(""), call->user_data);
            nexus__free(r->alloc, call);
        }
    }
}

void nexus__remote_shutdown(nexus__remote *r)
{
    shutdown(r->fd, SHUT_RDWR);
}

/* --- calls ---- */

typedef struct blocked {
    atomic_uint refs;
    const nexus_alloc *alloc;
    nexus__gate gate;
    nexus_status status;
    nexus__buf body;
} blocked;

static void blocked_unref(blocked *b)
{
    if (atomic_fetch_sub(&b->refs, 1) != 1)
        return;
    nexus__buf_free(&b->body);
    nexus__free(b->alloc, b);
}

static void unblock(nexus_status status, nexus_slice body, void *user_data)
{
    blocked *b = user_data;
    b->status = status;
    nexus__buf_slice_append(&b->body, body);
    nexus__gate_open(&b->gate);
    blocked_unref(b);
}

nexus_status nexus__remote_call(nexus__remote *r, uint16_t op, nexus_slice body, int64_t until_ns, nexus__buf *out)
{
    blocked *b = nexus__calloc(r->alloc, 1, sizeof *b);
    if (!b)
        return nexus__nomem();
    b->alloc = r->alloc;
    atomic_init(&b->refs, 2);
    nexus__buf_init(&b->body, r->alloc, 0);
    nexus_status status = nexus__remote_send(r, op, body, unblock, b);
    if (status != NEXUS_OK) {
        blocked_unref(b);
        blocked_unref(b);
        return status;
    }
    if (!nexus__gate_wait(&b->gate, until_ns)) {
        blocked_unref(b);
        return nexus__fail(NEXUS_ETIMEDOUT, "the bus owner did not answer in time");
    }
    status = b->status;
    if (status == NEXUS_OK && out)
        nexus__buf_slice_append(out, nexus__buf_slice(&b->body));
    else if (status == NEXUS_ECLOSED)
        (void)ended();
    else if (status != NEXUS_OK)
        (void)nexus__fail(status, "%.*s", (int)b->body.len, b->body.len ? b->body.p : "");
    if (status != NEXUS_OK && out)
        nexus__buf_slice_append(out, nexus__buf_slice(&b->body));
    blocked_unref(b);
    return status;
}

/* --- connecting ---- */

nexus_status nexus__remote_dial(int *fd, int dir_fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/bus.sock", dir_fd);
    int made = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (made >= 0 && connect(made, (struct sockaddr *)&address, sizeof address) == 0) {
        *fd = made;
        return NEXUS_OK;
    }
    int error = errno;
    if (made >= 0)
        close(made);
    return nexus__fail(NEXUS_EUNREACH, "no owner of the bus listens yet (errno %d)", error);
}

/* Before any other thread knows of it: the answer is waited for here. */
static nexus_status hello(nexus__remote *r, uint64_t *caps)
{
    uint32_t version = NEXUS__WIRE_VERSION;
    struct timeval limit = {.tv_sec = 5};
    setsockopt(r->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    nexus_status status = send_frame(r, WIRE_HELLO, 0, nexus__slice(&version, sizeof version));
    if (status == NEXUS_ECLOSED) /* it ended between our connecting and our first word: there will be another */
        return nexus__fail(NEXUS_EUNREACH, "the bus owner closed the connection");
    nexus__wire_head head = {0};
    nexus_slice body;
    size_t used = 0;
    while (status == NEXUS_OK) {
        char *at = nexus__buf_reserve(&r->in, 4096);
        ssize_t n = at ? recv(r->fd, at, 4096, 0) : -1;
        if (n < 0 && at && errno == EINTR)
            continue;
        if (n <= 0)
            return nexus__fail(NEXUS_EUNREACH, "the bus owner closed the connection");
        r->in.len += (size_t)n;
        nexus_status decoded = nexus__wire_decode(r->in.p, r->in.len, &head, &body, &used);
        if (decoded == NEXUS_EAGAIN)
            continue;
        if (decoded == NEXUS_OK && head.status != NEXUS_OK)
            decoded = nexus__fail(head.status, "%.*s", (int)body.n, body.p);
        if (decoded == NEXUS_OK && body.n == sizeof *caps)
            memcpy(caps, body.p, sizeof *caps);
        nexus__buf_consume(&r->in, used);
        status = decoded;
        break;
    }
    limit.tv_sec = 0;
    setsockopt(r->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    return status;
}

nexus_status nexus__remote_open(nexus__remote **out, int fd, const nexus_alloc *alloc, uint64_t epoch, uint64_t *caps)
{
    nexus__remote *r = nexus__calloc(alloc, 1, sizeof *r);
    if (!r) {
        close(fd);
        return nexus__nomem();
    }
    r->alloc = alloc;
    r->epoch = epoch;
    r->fd = fd;
    r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    atomic_init(&r->refs, 1);
    nexus__buf_init(&r->in, alloc, NEXUS__WIRE_BODY_MAX + 131072);
    nexus__buf_init(&r->out, alloc, 0);
    nexus__buf_init(&r->posted, alloc, 0);
    pthread_mutex_init(&r->lock, NULL);
    pthread_mutex_init(&r->post_lock, NULL);
    pthread_mutex_init(&r->send_lock, NULL);
    nexus_status status = r->wake_fd >= 0 ? hello(r, caps) : nexus__fail_errno(errno, "make an eventfd");
    if (status != NEXUS_OK) {
        nexus__remote_unref(r);
        return status;
    }
    *out = r;
    return NEXUS_OK;
}

nexus__remote *nexus__remote_ref(nexus__remote *r)
{
    atomic_fetch_add(&r->refs, 1);
    return r;
}

void nexus__remote_unref(nexus__remote *r)
{
    if (!r || atomic_fetch_sub(&r->refs, 1) != 1)
        return;
    if (r->fd >= 0)
        close(r->fd);
    if (r->wake_fd >= 0)
        close(r->wake_fd);
    nexus__buf_free(&r->in);
    nexus__buf_free(&r->out);
    nexus__buf_free(&r->posted);
    pthread_mutex_destroy(&r->lock);
    pthread_mutex_destroy(&r->post_lock);
    pthread_mutex_destroy(&r->send_lock);
    nexus__free(r->alloc, r);
}

uint64_t nexus__remote_epoch(const nexus__remote *r)
{
    return r->epoch;
}
