/*
 * Connections between processes that share nothing but a NATS server: the bytes of each travel as messages of core NATS.
 * To the owner's server and to the client they look like the socket of a `file:` bus.
 *
 * A line is one connection: a socket pair whose far end belongs to the server or the client. The owner listens on the
 * subject that its lease names, a client on an inbox of its own, which is also the name of its line. Messages are
 * numbered in each direction: core NATS may lose some, then the line is over, and what was on its way is asked again on
 * the next one. Each message also says how many bytes its sender has taken, and nobody sends more than WINDOW bytes
 * beyond that, so a slow side fills no memory. When the process at the other end is gone the NATS server answers in its
 * place; when it is only silent, as a stopped one is, the line is over after SILENCE_NS.
 *
 * The library's threads only queue what arrives; one thread of ours does the rest.
 */
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/status.h"
#include "base/thread.h"
#include "bus/engines/engine.h"
#include "bus/engines/nats.h"

#define CHUNK (256u << 10)
#define WINDOW (1u << 20)
#define BEAT_NS (400 * NEXUS__NS_PER_MS)
#define SILENCE_NS (3 * NEXUS__NS_PER_S)
#define LINES_MAX 512
#define WAITING_MAX 65536 /* messages that have arrived and are not looked at yet: beyond, they are lost */

enum { KIND_BYTES = 1, KIND_BEAT = 2, KIND_BYE = 3 };

typedef struct note { /* as sent, before the bytes */
    uint32_t kind, reserved;
    uint64_t number; /* of the messages with bytes, from 1 */
    uint64_t taken;  /* bytes of the other direction that have reached their end */
} note;

typedef struct line {
    int fd;
    char name[NATS_SUBJECT_MAX]; /* where the other side listens */
    uint64_t id;
    nexus__buf out;                    /* towards fd */
    uint64_t sent_number, got_number;  /* messages with bytes */
    uint64_t sent, taken_there;        /* bytes from here: sent, and arrived at their end */
    uint64_t taken, told;              /* bytes from there: arrived at fd, and what of that the other side knows */
    int64_t heard_ns;
    bool over;
} line;

typedef struct arrival {
    struct arrival *next;
    natsMsg *message;
} arrival;

struct nexus__bus_porter {
    const nexus_alloc *alloc;
    nexus__nats *nats;
    nexus__bus_server *server; /* NULL: the client's side, with one line */
    char subject[NATS_SUBJECT_MAX]; /* where we listen */
    natsSubscription *bytes, *gone;
    size_t chunk; /* bytes of a message, at most */
    int wake_fd;
    line lines[LINES_MAX];
    size_t count;
    uint64_t next_id;
    int64_t beat_ns;
    pthread_mutex_t lock;
    arrival *first, **last; /* locked, as is waiting */
    unsigned waiting;
    pthread_t thread;
    bool started;
    atomic_bool closing;
};

/* --- lines ---------------------------------------------------------------------------------------------------------- */

static line *line_named(nexus__bus_porter *p, const char *name)
{
    for (size_t i = 0; i < p->count; i++)
        if (strcmp(p->lines[i].name, name) == 0)
            return &p->lines[i];
    return NULL;
}

/* The near end stays here; *far is the other one. */
static line *line_add(nexus__bus_porter *p, const char *name, int *far)
{
    int pair[2];
    if (p->count == LINES_MAX || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return NULL;
    line *l = &p->lines[p->count++];
    *l = (line){.fd = pair[0], .id = p->next_id++, .heard_ns = nexus__mono_ns()};
    snprintf(l->name, sizeof l->name, "%s", name);
    nexus__buf_init(&l->out, p->alloc, 0);
    *far = pair[1];
    return l;
}

static void line_end(nexus__bus_porter *p, line *l)
{
    shutdown(l->fd, SHUT_RDWR);
    close(l->fd);
    nexus__buf_free(&l->out);
    *l = p->lines[--p->count];
}

static void end_those_over(nexus__bus_porter *p)
{
    for (size_t i = p->count; i-- > 0;)
        if (p->lines[i].over)
            line_end(p, &p->lines[i]);
}

/* --- sending -------------------------------------------------------------------------------------------------------- */

/* Where the other side's answers go, and the server's when there is no other side. */
static void reply_subject(const nexus__bus_porter *p, const line *l, char out[static NATS_SUBJECT_MAX])
{
    if (p->server)
        snprintf(out, NATS_SUBJECT_MAX, "%.120s.gone.%llu", p->subject, (unsigned long long)l->id);
    else
        snprintf(out, NATS_SUBJECT_MAX, "%s", p->subject);
}

static void send_note(nexus__bus_porter *p, line *l, uint32_t kind, nexus_slice bytes)
{
    char reply[NATS_SUBJECT_MAX];
    nexus__buf body;
    note n = {.kind = kind, .number = l->sent_number + (kind == KIND_BYTES), .taken = l->taken};
    reply_subject(p, l, reply);
    nexus__buf_init(&body, p->alloc, 0);
    nexus__buf_append(&body, &n, sizeof n);
    nexus__buf_slice_append(&body, bytes);
    natsStatus s = body.status == NEXUS_OK ? natsConnection_PublishRequest(p->nats->connection, l->name, reply, body.p,
                                                                           (int)body.len)
                                           : NATS_NO_MEMORY;
    nexus__buf_free(&body);
    if (s != NATS_OK) {
        l->over = true;
        return;
    }
    l->told = l->taken;
    l->sent_number = n.number;
    l->sent += bytes.n;
}

static bool has_room(const line *l)
{
    return l->sent - l->taken_there + CHUNK <= WINDOW;
}

/* What the far end has written goes out, some at a time. */
static void pull(nexus__bus_porter *p, line *l)
{
    nexus__buf bytes;
    nexus__buf_init(&bytes, p->alloc, 0);
    char *at = nexus__buf_reserve(&bytes, p->chunk);
    ssize_t n = at ? recv(l->fd, at, p->chunk, MSG_DONTWAIT) : 0;
    if (n > 0)
        send_note(p, l, KIND_BYTES, nexus__slice(at, (size_t)n));
    else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        send_note(p, l, KIND_BYE, NEXUS_S(""));
        l->over = true;
    }
    nexus__buf_free(&bytes);
}

static void push(nexus__bus_porter *p, line *l)
{
    while (l->out.len) {
        ssize_t n = send(l->fd, l->out.p, l->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            l->over |= errno != EAGAIN;
            return;
        }
        l->taken += (uint64_t)n;
        nexus__buf_consume(&l->out, (size_t)n);
    }
    if (l->taken - l->told >= WINDOW / 4)
        send_note(p, l, KIND_BEAT, NEXUS_S(""));
}

/* --- what arrives --------------------------------------------------------------------------------------------------- */

static void wake(const nexus__bus_porter *p)
{
    uint64_t one = 1;
    if (write(p->wake_fd, &one, sizeof one) < 0) /* it is readable already */
        return;
}

/* On a thread of the library. */
static void on_message(natsConnection *c, natsSubscription *sub, natsMsg *m, void *user_data)
{
    (void)c, (void)sub;
    nexus__bus_porter *p = user_data;
    arrival *a = nexus__malloc(p->alloc, sizeof *a);
    pthread_mutex_lock(&p->lock);
    bool keep = a && p->waiting < WAITING_MAX;
    if (keep) {
        *a = (arrival){.message = m};
        *p->last = a;
        p->last = &a->next;
        p->waiting++;
    }
    pthread_mutex_unlock(&p->lock);
    if (!keep) { /* the gap in the numbers tells */
        nexus__free(p->alloc, a);
        natsMsg_Destroy(m);
        return;
    }
    wake(p);
}

static void on_bytes(nexus__bus_porter *p, line *l, const note *n, nexus_slice bytes)
{
    if (n->number != l->got_number + 1 || l->out.len + bytes.n > WINDOW) { /* lost on the way, or no peer of ours */
        send_note(p, l, KIND_BYE, NEXUS_S(""));
        l->over = true;
        return;
    }
    l->got_number++;
    nexus__buf_slice_append(&l->out, bytes);
    l->over |= l->out.status != NEXUS_OK;
    push(p, l);
}

/* A client that we do not know: a new one, or one whose line has ended here. */
static line *line_of_stranger(nexus__bus_porter *p, const char *name, const note *n)
{
    int far;
    bool fresh = n->kind == KIND_BYTES && n->number == 1;
    line *l = fresh ? line_add(p, name, &far) : NULL;
    if (l) {
        nexus__bus_server_welcome(p->server, far);
        return l;
    }
    if (n->kind != KIND_BYE) {
        line nobody = {.fd = -1, .id = p->next_id++};
        snprintf(nobody.name, sizeof nobody.name, "%s", name);
        send_note(p, &nobody, KIND_BYE, NEXUS_S(""));
    }
    return NULL;
}

static void on_nobody_there(nexus__bus_porter *p, const char *subject)
{
    const char *id = strrchr(subject, '.');
    for (size_t i = 0; i < p->count; i++)
        if (!p->server || (id && p->lines[i].id == strtoull(id + 1, NULL, 10)))
            p->lines[i].over = true;
}

static void receive(nexus__bus_porter *p, natsMsg *m)
{
    note n;
    nexus_slice body = nexus__nats_data(m);
    const char *reply = natsMsg_GetReply(m);
    if (natsMsg_IsNoResponders(m)) {
        on_nobody_there(p, natsMsg_GetSubject(m));
        return;
    }
    if (body.n < sizeof n || !reply || strlen(reply) >= NATS_SUBJECT_MAX)
        return;
    memcpy(&n, body.p, sizeof n);
    line *l = !p->server ? (p->count ? &p->lines[0] : NULL) : line_named(p, reply);
    if (!l && p->server)
        l = line_of_stranger(p, reply, &n);
    if (!l)
        return;
    l->heard_ns = nexus__mono_ns();
    if (n.taken > l->taken_there && n.taken <= l->sent)
        l->taken_there = n.taken;
    if (n.kind == KIND_BYTES)
        on_bytes(p, l, &n, nexus__slice_from(body, sizeof n));
    else if (n.kind == KIND_BYE)
        l->over = true;
    else if (n.number != l->got_number) /* the last ones were lost */
        l->over = true;
}

static arrival *take_arrivals(nexus__bus_porter *p)
{
    pthread_mutex_lock(&p->lock);
    arrival *list = p->first;
    p->first = NULL;
    p->last = &p->first;
    p->waiting = 0;
    pthread_mutex_unlock(&p->lock);
    return list;
}

static void receive_all(nexus__bus_porter *p)
{
    for (arrival *a = take_arrivals(p), *next; a; a = next) {
        next = a->next;
        receive(p, a->message);
        natsMsg_Destroy(a->message);
        nexus__free(p->alloc, a);
    }
}

/* --- the thread ----------------------------------------------------------------------------------------------------- */

static void beat(nexus__bus_porter *p, int64_t now)
{
    if (now - p->beat_ns < BEAT_NS)
        return;
    p->beat_ns = now;
    for (size_t i = 0; i < p->count; i++) {
        line *l = &p->lines[i];
        if (now - l->heard_ns > SILENCE_NS)
            l->over = true;
        else
            send_note(p, l, KIND_BEAT, NEXUS_S(""));
    }
}

static void turn(nexus__bus_porter *p)
{
    struct pollfd fds[LINES_MAX + 1];
    size_t n = p->count;
    for (size_t i = 0; i < n; i++)
        fds[i] = (struct pollfd){.fd = p->lines[i].fd,
                                 .events = (short)((has_room(&p->lines[i]) ? POLLIN : 0) |
                                                   (p->lines[i].out.len ? POLLOUT : 0))};
    fds[n] = (struct pollfd){.fd = p->wake_fd, .events = POLLIN};
    poll(fds, n + 1, BEAT_NS / NEXUS__NS_PER_MS);
    uint64_t times;
    if (fds[n].revents & POLLIN && read(p->wake_fd, &times, sizeof times) < 0)
        return;
    for (size_t i = 0; i < n; i++) {
        if (fds[i].revents & POLLOUT)
            push(p, &p->lines[i]);
        if (fds[i].revents & (POLLIN | POLLHUP | POLLERR))
            pull(p, &p->lines[i]);
    }
    end_those_over(p);
    receive_all(p);
    beat(p, nexus__mono_ns());
    end_those_over(p);
}

static void hang_up(nexus__bus_porter *p)
{
    for (size_t i = 0; i < p->count; i++)
        send_note(p, &p->lines[i], KIND_BYE, NEXUS_S(""));
    while (p->count)
        line_end(p, &p->lines[0]);
}

static void *porter_main(void *arg)
{
    nexus__bus_porter *p = arg;
    while (!atomic_load(&p->closing) && (p->server || p->count))
        turn(p);
    hang_up(p);
    return NULL;
}

/* --- open, close ---------------------------------------------------------------------------------------------------- */

/* After it no callback of the subscription runs. */
static void on_subscription_ended(void *user_data)
{
    nexus__gate_open(user_data);
}

static void end_subscription(natsSubscription *sub)
{
    nexus__gate over = {0};
    if (!sub)
        return;
    bool tells = natsSubscription_SetOnCompleteCB(sub, on_subscription_ended, &over) == NATS_OK;
    if (natsSubscription_Unsubscribe(sub) == NATS_OK && tells)
        nexus__gate_wait(&over, INT64_MAX);
    natsSubscription_Destroy(sub);
}

void nexus__nats_porter_close(nexus__bus_porter *p)
{
    if (!p)
        return;
    atomic_store(&p->closing, true);
    if (p->wake_fd >= 0)
        wake(p);
    if (p->started)
        pthread_join(p->thread, NULL);
    hang_up(p);
    if (p->nats)
        (void)natsConnection_FlushTimeout(p->nats->connection, 200); /* so that the others need not find out */
    end_subscription(p->bytes);
    end_subscription(p->gone);
    for (arrival *a = take_arrivals(p), *next; a; a = next) {
        next = a->next;
        natsMsg_Destroy(a->message);
        nexus__free(p->alloc, a);
    }
    if (p->wake_fd >= 0)
        close(p->wake_fd);
    nexus__nats_close(p->nats);
    pthread_mutex_destroy(&p->lock);
    nexus__free(p->alloc, p);
}

static nexus_status porter_new(nexus__bus_porter **out, const char *url, const nexus_alloc *alloc)
{
    nexus__bus_porter *p = nexus__calloc(alloc, 1, sizeof *p);
    if (!p)
        return nexus__nomem();
    p->alloc = alloc;
    p->last = &p->first;
    pthread_mutex_init(&p->lock, NULL);
    p->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    nexus_status status = p->wake_fd >= 0 ? NEXUS_OK : nexus__fail_errno(errno, "make an eventfd");
    if (status == NEXUS_OK)
        status = nexus__nats_open(&p->nats, url, alloc);
    if (status == NEXUS_OK)
        p->chunk = p->nats->payload_max < CHUNK ? p->nats->payload_max : CHUNK;
    if (status != NEXUS_OK) {
        nexus__nats_porter_close(p);
        return status;
    }
    *out = p;
    return NEXUS_OK;
}

static nexus_status listen_on(nexus__bus_porter *p, natsSubscription **sub, const char *subject)
{
    natsStatus s = natsConnection_Subscribe(sub, p->nats->connection, subject, on_message, p);
    if (s == NATS_OK)
        s = natsSubscription_SetPendingLimits(*sub, WAITING_MAX, LINES_MAX * (int)WINDOW);
    return s == NATS_OK ? NEXUS_OK : nexus__nats_fail(s, 0, "subscribe");
}

/* The server knows of our subscriptions before anybody can answer on them. */
static nexus_status start(nexus__bus_porter *p)
{
    natsStatus s = natsConnection_FlushTimeout(p->nats->connection, 2000);
    nexus_status status = s == NATS_OK ? nexus__thread_start(&p->thread, "nexus-bus-port", porter_main, p)
                                       : nexus__nats_fail(s, 0, "subscribe");
    p->started = status == NEXUS_OK;
    return status;
}

nexus_status nexus__nats_serve(nexus__bus_porter **out, const char *url, nexus__bus_server *server,
                               const nexus_alloc *alloc)
{
    nexus__bus_porter *p;
    char gone[NATS_SUBJECT_MAX];
    nexus_status status = porter_new(&p, url, alloc);
    if (status != NEXUS_OK)
        return status;
    p->server = server;
    status = nexus__nats_owner(p->nats, p->subject);
    if (status == NEXUS_OK)
        status = listen_on(p, &p->bytes, p->subject);
    if (status == NEXUS_OK) {
        snprintf(gone, sizeof gone, "%.120s.gone.*", p->subject);
        status = listen_on(p, &p->gone, gone);
    }
    if (status == NEXUS_OK)
        status = start(p);
    if (status != NEXUS_OK) {
        nexus__nats_porter_close(p);
        return status;
    }
    *out = p;
    return NEXUS_OK;
}

static nexus_status call_owner(nexus__bus_porter *p, int *far)
{
    char owner[NATS_SUBJECT_MAX];
    natsInbox *inbox = NULL;
    nexus_status status = nexus__nats_owner(p->nats, owner);
    if (status == NEXUS_ENOTFOUND)
        return nexus__fail(NEXUS_EUNREACH, "nobody owns the bus of this NATS server");
    natsStatus s = status == NEXUS_OK ? natsInbox_Create(&inbox) : NATS_OK;
    if (status == NEXUS_OK && s != NATS_OK)
        status = nexus__nats_fail(s, 0, "make an inbox");
    if (status != NEXUS_OK)
        return status;
    snprintf(p->subject, sizeof p->subject, "%s", inbox);
    natsInbox_Destroy(inbox);
    status = listen_on(p, &p->bytes, p->subject);
    if (status == NEXUS_OK && !line_add(p, owner, far))
        status = nexus__fail_errno(errno, "make a socket pair");
    return status;
}

nexus_status nexus__nats_dial(nexus__bus_porter **out, int *fd, const char *url, const nexus_alloc *alloc)
{
    nexus__bus_porter *p;
    int far = -1;
    nexus_status status = porter_new(&p, url, alloc);
    if (status != NEXUS_OK)
        return status;
    status = call_owner(p, &far);
    if (status == NEXUS_OK)
        status = start(p);
    if (status != NEXUS_OK) {
        if (far >= 0)
            close(far);
        nexus__nats_porter_close(p);
        return status;
    }
    *out = p;
    *fd = far;
    return NEXUS_OK;
}
