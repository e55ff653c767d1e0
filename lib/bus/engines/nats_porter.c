/*
 * Connections between processes that share nothing but a NATS server: the bytes of each travel as messages of core NATS
 * (lines.h). The owner listens on the subject that its lease names, a client on an inbox of its own, which is also the name
 * of its line. When the process at the other end is gone the NATS server answers in its place; what it says of a client
 * comes on a subject with the number of the line.
 *
 * The library's threads only queue what arrives; one thread of ours does the rest.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/status.h"
#include "base/thread.h"
#include "bus/engines/engine.h"
#include "bus/engines/lines.h"
#include "bus/engines/nats.h"

#define CHUNK (256u << 10)
#define WINDOW (1u << 20)
#define WAITING_MAX 65536 /* messages that have arrived and are not looked at yet: beyond, they are lost */

typedef struct arrival {
    struct arrival *next;
    natsMsg *message;
} arrival;

struct nexus__bus_porter {
    const nexus_alloc *alloc;
    nexus__nats *nats;
    char subject[NATS_SUBJECT_MAX]; /* where we listen */
    natsSubscription *bytes, *gone;
    int wake_fd;
    nexus__lines lines;
    pthread_mutex_t lock;
    arrival *first, **last; /* locked, as is waiting */
    unsigned waiting;
    pthread_t thread;
    bool started;
    atomic_bool closing;
};

/* --- speaking ------------------------------------------------------------------------------------------------------- */

/* Where the other side's answers go, and the server's when there is no other side. */
static void reply_subject(const nexus__bus_porter *p, const nexus__line *line, char out[static NATS_SUBJECT_MAX])
{
    if (p->lines.server)
        snprintf(out, NATS_SUBJECT_MAX, "%.120s.gone.%llu", p->subject, (unsigned long long)line->id);
    else
        snprintf(out, NATS_SUBJECT_MAX, "%s", p->subject);
}

static bool say(void *user_data, const nexus__line *line, nexus_slice message)
{
    nexus__bus_porter *p = user_data;
    char reply[NATS_SUBJECT_MAX];
    reply_subject(p, line, reply);
    return natsConnection_PublishRequest(p->nats->connection, line->name, reply, message.p, (int)message.n) == NATS_OK;
}

/* --- listening ------------------------------------------------------------------------------------------------------ */

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

static void on_nobody_there(nexus__bus_porter *p, const char *subject)
{
    const char *id = strrchr(subject, '.');
    if (!p->lines.server)
        nexus__lines_nobody(&p->lines, p->lines.count ? p->lines.at[0].id : 0);
    else if (id)
        nexus__lines_nobody(&p->lines, strtoull(id + 1, NULL, 10));
}

static void receive(nexus__bus_porter *p, natsMsg *m)
{
    nexus_slice body = nexus__nats_data(m);
    const char *reply = natsMsg_GetReply(m);
    if (natsMsg_IsNoResponders(m))
        on_nobody_there(p, natsMsg_GetSubject(m));
    else if (reply && body.n)
        nexus__lines_receive(&p->lines, reply, body);
    else if (reply && p->lines.server) /* is there somebody? */
        (void)natsConnection_Publish(p->nats->connection, reply, NULL, 0);
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

static void receive_all(void *user_data)
{
    nexus__bus_porter *p = user_data;
    for (arrival *a = take_arrivals(p), *next; a; a = next) {
        next = a->next;
        receive(p, a->message);
        natsMsg_Destroy(a->message);
        nexus__free(p->alloc, a);
    }
}

/* --- the thread ----------------------------------------------------------------------------------------------------- */

static void *porter_main(void *arg)
{
    nexus__bus_porter *p = arg;
    while (!atomic_load(&p->closing) && (p->lines.server || p->lines.count))
        nexus__lines_turn(&p->lines, p->wake_fd, -1, receive_all);
    nexus__lines_hang_up(&p->lines, true);
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
    nexus__lines_hang_up(&p->lines, false);
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

static nexus_status porter_new(nexus__bus_porter **out, const char *url, nexus__bus_server *server,
                               const nexus_alloc *alloc)
{
    nexus__bus_porter *p = nexus__calloc(alloc, 1, sizeof *p);
    if (!p)
        return nexus__nomem();
    p->alloc = alloc;
    p->lines = (nexus__lines){.alloc = alloc, .server = server, .send = say, .user_data = p, .window = WINDOW};
    p->last = &p->first;
    pthread_mutex_init(&p->lock, NULL);
    p->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    nexus_status status = p->wake_fd >= 0 ? NEXUS_OK : nexus__fail_errno(errno, "make an eventfd");
    if (status == NEXUS_OK)
        status = nexus__nats_open(&p->nats, url, alloc);
    if (status == NEXUS_OK)
        p->lines.chunk = p->nats->payload_max / 2 < CHUNK ? p->nats->payload_max / 2 : CHUNK;
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
        s = natsSubscription_SetPendingLimits(*sub, WAITING_MAX, NEXUS__LINES_MAX * (int)WINDOW);
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
    nexus_status status = porter_new(&p, url, server, alloc);
    if (status != NEXUS_OK)
        return status;
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

/* Who has the lease may not listen yet, or not any more. */
static nexus_status owner_listens(nexus__bus_porter *p, const char *owner)
{
    natsMsg *answer = NULL;
    natsStatus s = natsConnection_Request(&answer, p->nats->connection, owner, NULL, 0, 1000);
    natsMsg_Destroy(answer);
    return s == NATS_OK ? NEXUS_OK
                        : nexus__fail(NEXUS_EUNREACH, "the owner of the bus %s does not listen", p->nats->name);
}

static nexus_status call_owner(nexus__bus_porter *p, int *far)
{
    char owner[NATS_SUBJECT_MAX];
    natsInbox *inbox = NULL;
    nexus_status status = nexus__nats_owner(p->nats, owner);
    if (status == NEXUS_ENOTFOUND)
        return nexus__fail(NEXUS_EUNREACH, "nobody owns the bus of this NATS server");
    if (status == NEXUS_OK)
        status = owner_listens(p, owner);
    natsStatus s = status == NEXUS_OK ? natsInbox_Create(&inbox) : NATS_OK;
    if (status == NEXUS_OK && s != NATS_OK)
        status = nexus__nats_fail(s, 0, "make an inbox");
    if (status != NEXUS_OK)
        return status;
    snprintf(p->subject, sizeof p->subject, "%s", inbox);
    natsInbox_Destroy(inbox);
    status = listen_on(p, &p->bytes, p->subject);
    if (status == NEXUS_OK && !nexus__lines_add(&p->lines, owner, far))
        status = nexus__fail_errno(errno, "make a socket pair");
    return status;
}

nexus_status nexus__nats_dial(nexus__bus_porter **out, int *fd, const char *url, const nexus_alloc *alloc)
{
    nexus__bus_porter *p;
    int far = -1;
    nexus_status status = porter_new(&p, url, NULL, alloc);
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
