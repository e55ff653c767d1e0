/*
 * Threads that fetch and call a handler. One more thread renews the leases of handlers that take long, up to the group's
 * max_lease_ms, so that a slow handler is not taken for a dead one, and a stuck one is, in the end.
 */
#include "base/status.h"
#include "bus/cause.h"
#include "bus/handle.h"
#include "bus/handlers.h"

#define FETCH_WAIT_MS 200 /* how late a close is noticed while nothing comes */

typedef struct worker {
    nexus_consumer *consumer;
    pthread_t thread;
    bool started;
    /* locked: the lease of what is being handled, by value, since a handler may free its delivery */
    bool handling;
    uint64_t pos, token;
    bool kept; /* there is nothing more to renew */
} worker;

struct nexus_consumer {
    nexus_group *group;
    nexus_delivery_fn *handler;
    void *user_data;
    nexus__handlers *handlers; /* NULL: there is one, the caller's */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    atomic_bool closing;
    atomic_uint running; /* threads; the last one frees when closed from a handler */
    atomic_bool orphan;
    pthread_t keeper;
    bool keeper_started;
    uint32_t count;
    worker workers[];
};

static void settle_as(nexus_delivery *d, int32_t verdict)
{
    nexus_status status = NEXUS_OK;
    switch (verdict) {
    case NEXUS_ACK:
        status = nexus_delivery_ack(d);
        break;
    case NEXUS_REJECT:
        status = nexus_delivery_term(d, NULL);
        break;
    case NEXUS_SKIP:
        status = nexus_delivery_skip(d, NULL);
        break;
    case NEXUS_LATER:
        return;
    default:
        status = nexus_delivery_nak(d, UINT32_MAX, NULL);
    }
    (void)status; /* stale, or the owner is away: the lease runs out and the event comes again */
    nexus_delivery_free(d);
}

static void handle(worker *w, nexus_delivery *d)
{
    nexus_consumer *c = w->consumer;
    pthread_mutex_lock(&c->lock);
    w->handling = true;
    nexus__delivery_lease(d, &w->pos, &w->token);
    w->kept = false;
    pthread_mutex_unlock(&c->lock);
    nexus__stored *cause = nexus__delivery_pin(d); /* a handler may free its delivery and publish then */
    const nexus_event *before = nexus__cause_set(&cause->view.event);
    int32_t verdict = c->handler(d, c->user_data);
    (void)nexus__cause_set(before);
    nexus__stored_unref(c->group->bus->alloc, cause);
    pthread_mutex_lock(&c->lock);
    w->handling = false;
    pthread_mutex_unlock(&c->lock);
    settle_as(d, verdict);
}

static void consumer_free(nexus_consumer *c)
{
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->wake);
    nexus__handlers_free(c->handlers);
    nexus__free(c->group->bus->alloc, c);
}

static void leave(nexus_consumer *c)
{
    if (atomic_fetch_sub(&c->running, 1) == 1 && atomic_load(&c->orphan))
        consumer_free(c);
}

static void *work(void *arg)
{
    worker *w = arg;
    nexus_consumer *c = w->consumer;
    while (!atomic_load(&c->closing)) {
        nexus_delivery *d;
        size_t got;
        nexus_status status = nexus_group_fetch(c->group, &d, 1, FETCH_WAIT_MS, &got);
        if (status == NEXUS_OK && got) {
            handle(w, d);
        } else if (status != NEXUS_OK) { /* no owner, or no memory: a pause instead of a spin */
            pthread_mutex_lock(&c->lock);
            int64_t until = nexus__mono_ns() + 100 * NEXUS__NS_PER_MS;
            while (!atomic_load(&c->closing) && nexus__cond_wait_until(&c->wake, &c->lock, until))
                ;
            pthread_mutex_unlock(&c->lock);
        }
    }
    leave(c);
    return NULL;
}

/* Called with the lock held, which is let go during each call. A renewal that finds no owner is made up for at the next
 * turn. */
static void extend_all(nexus_consumer *c)
{
    for (uint32_t i = 0; i < c->count; i++) {
        worker *w = &c->workers[i];
        if (!w->handling || w->kept)
            continue;
        uint64_t pos = w->pos, token = w->token;
        pthread_mutex_unlock(&c->lock);
        nexus_status status = nexus__group_settle(c->group, pos, token, NEXUS__SETTLE_EXTEND, 0, NEXUS_S(""), false);
        pthread_mutex_lock(&c->lock);
        if ((status == NEXUS_ESTALE || status == NEXUS_ELIMIT) && w->pos == pos && w->token == token)
            w->kept = true;
    }
}

/* Renews what is being handled each third of its lease, and at once under a new owner, who waits a second for it. */
static void *keep(void *arg)
{
    nexus_consumer *c = arg;
    int64_t third = c->group->ack_wait_ms * NEXUS__NS_PER_MS / 3;
    int64_t turn = third < 200 * NEXUS__NS_PER_MS ? third : 200 * NEXUS__NS_PER_MS;
    int64_t due = nexus__mono_ns() + third;
    uint64_t epoch = nexus__bus_epoch(c->group->bus);
    pthread_mutex_lock(&c->lock);
    while (!atomic_load(&c->closing)) {
        int64_t until = nexus__mono_ns() + turn;
        while (!atomic_load(&c->closing) && nexus__cond_wait_until(&c->wake, &c->lock, until))
            ;
        uint64_t now = nexus__bus_epoch(c->group->bus);
        if (now == epoch && nexus__mono_ns() < due)
            continue;
        epoch = now;
        due = nexus__mono_ns() + third;
        extend_all(c);
    }
    pthread_mutex_unlock(&c->lock);
    leave(c);
    return NULL;
}

static nexus_status start_threads(nexus_consumer *c)
{
    atomic_fetch_add(&c->running, 1);
    nexus_status status = nexus__thread_start(&c->keeper, "nexus-bus-keep", keep, c);
    c->keeper_started = status == NEXUS_OK;
    if (status != NEXUS_OK)
        atomic_fetch_sub(&c->running, 1);
    for (uint32_t i = 0; i < c->count && status == NEXUS_OK; i++) {
        atomic_fetch_add(&c->running, 1);
        status = nexus__thread_start(&c->workers[i].thread, "nexus-consumer", work, &c->workers[i]);
        c->workers[i].started = status == NEXUS_OK;
        if (status != NEXUS_OK)
            atomic_fetch_sub(&c->running, 1);
    }
    return status;
}

/* Takes the table in any case. */
static nexus_status open_consumer(nexus_consumer **out, nexus_group *group, nexus_delivery_fn *handler, void *user_data,
                                  uint32_t threads, nexus__handlers *table)
{
    uint32_t count = threads ? threads : 1;
    nexus_consumer *c = handler && threads <= 1024
                            ? nexus__calloc(group->bus->alloc, 1, sizeof *c + count * sizeof c->workers[0])
                            : NULL;
    if (!c) {
        nexus__handlers_free(table);
        return handler && threads <= 1024
                   ? nexus__nomem()
                   : nexus__fail(NEXUS_EINVAL, "a consumer needs a handler and at most 1024 threads");
    }
    c->handlers = table;
    c->group = group;
    c->handler = handler;
    c->user_data = user_data;
    c->count = count;
    pthread_mutex_init(&c->lock, NULL);
    nexus__cond_init(&c->wake);
    for (uint32_t i = 0; i < count; i++)
        c->workers[i].consumer = c;
    nexus_status status = start_threads(c);
    if (status != NEXUS_OK) {
        nexus_consumer_close(c);
        return status;
    }
    *out = c;
    return NEXUS_OK;
}

nexus_status nexus_consumer_open(nexus_consumer **out, nexus_group *group, nexus_delivery_fn *handler, void *user_data,
                                 uint32_t threads)
{
    return open_consumer(out, group, handler, user_data, threads, NULL);
}

nexus_status nexus_consumer_open_handlers(nexus_consumer **out, nexus_group *group, const nexus_handler *handlers,
                                          size_t n, uint32_t threads)
{
    nexus__handlers *table;
    nexus_status status = nexus__handlers_new(&table, group->bus->alloc, handlers, n);
    if (status == NEXUS_OK)
        status = open_consumer(out, group, nexus__handlers_call, table, threads, table);
    return status;
}

void nexus_consumer_close(nexus_consumer *c)
{
    if (!c)
        return;
    bool inside = false;
    atomic_store(&c->closing, true);
    pthread_mutex_lock(&c->lock);
    pthread_cond_broadcast(&c->wake);
    for (uint32_t i = 0; i < c->count; i++)
        inside |= c->workers[i].started && pthread_equal(pthread_self(), c->workers[i].thread);
    pthread_mutex_unlock(&c->lock);
    if (inside) { /* from a handler: the last thread to leave frees it */
        for (uint32_t i = 0; i < c->count; i++)
            if (c->workers[i].started)
                pthread_detach(c->workers[i].thread);
        pthread_detach(c->keeper);
        atomic_store(&c->orphan, true);
        return;
    }
    for (uint32_t i = 0; i < c->count; i++)
        if (c->workers[i].started)
            pthread_join(c->workers[i].thread, NULL);
    if (c->keeper_started)
        pthread_join(c->keeper, NULL);
    consumer_free(c);
}
