/*
 * Publishing through a handle. What is published gets its id, source and time here, before it leaves, so that it can
 * be sent again under the same id when a connection ends: the owner (the old one or whoever took over) stores it once.
 */
#include <stdio.h>

#include "base/id.h"
#include "base/status.h"
#include "bus/cause.h"
#include "bus/handle.h"
#include "bus/publish.h"

enum { USUAL_ATTRIBUTES = 400 }; /* bytes of an event besides its data, terms and lengths included */

struct nexus__pub_op {
    nexus__pub_op *next;
    atomic_uint refs;
    nexus_bus *bus;
    uint64_t bytes; /* async: of data */
    bool async;
    nexus__publish_span span;
    nexus__buf body; /* as a client sends it; empty in the owner */
    atomic_bool sent; /* the link thread may send it while its publisher gives up */
    nexus_publish_fn *fn; /* NULL: a caller waits at the gate */
    void *user_data;
    nexus__gate gate;
    nexus_status status;
    nexus_publish_result result;
    uint32_t warnings;
    char message[256];
};

/* --- completing events ---- */

static void complete_one(const nexus_bus *bus, nexus_event *e, char *id, int64_t now)
{
    e->size = sizeof *e;
    if (!e->id.n) {
        nexus__uuid7(id);
        e->id = nexus__slice(id, NEXUS__UUID_LEN);
    }
    if (!e->source.n)
        e->source = nexus__slice_c(bus->source);
    if (!e->time_ns)
        e->time_ns = now;
}

nexus_status nexus__publish_complete(nexus_bus *bus, const nexus_event *events, size_t n, const nexus_event *cause,
                                     nexus__completed *out)
{
    if (events->size < sizeof *events)
        return nexus__fail(NEXUS_EINVAL, "event: size is %zu; begin with NEXUS_EVENT_INIT", events->size);
    if (bus->shred.types)
        nexus__arena_init(&out->sealed, bus->alloc, 0);
    out->events = n == 1 ? &out->one : nexus__malloc(bus->alloc, n * sizeof *out->events);
    out->ids = n == 1 ? &out->one_id : nexus__malloc(bus->alloc, n * sizeof *out->ids);
    nexus_status status = out->events && out->ids ? NEXUS_OK : nexus__nomem();
    int64_t now = nexus__real_ns();
    for (size_t i = 0; i < n && status == NEXUS_OK; i++) {
        memcpy(&out->events[i], nexus__event_at(events, i), sizeof *out->events);
        status = nexus__event_check_like(&out->events[i], i ? nexus__event_at(events, i - 1) : NULL);
        if (status == NEXUS_OK)
            status = nexus__contract_publish(&bus->contracts, &out->events[i], &out->warnings);
        if (status != NEXUS_OK && n > 1)
            (void)nexus__fail(status, "event %zu: %s", i, nexus_error_message());
        complete_one(bus, &out->events[i], out->ids[i], now);
        nexus__cause_fill(&out->events[i], cause);
        if (status == NEXUS_OK && bus->shred.types)
            status = nexus__shred_seal(&bus->shred, &out->sealed, &out->events[i]);
    }
    if (status == NEXUS_OK)
        nexus__publish_span_begin(&out->span, bus, out->events, n);
    return status;
}

void nexus__completed_free(const nexus_bus *bus, nexus__completed *c)
{
    if (bus->shred.types)
        nexus__arena_free(&c->sealed);
    if (c->events == &c->one)
        return;
    nexus__free(bus->alloc, c->events);
    nexus__free(bus->alloc, c->ids);
}

/* --- one publish under way ---- */

static void op_unref(nexus__pub_op *op)
{
    if (atomic_fetch_sub(&op->refs, 1) != 1)
        return;
    nexus__buf_free(&op->body);
    nexus__free(op->bus->alloc, op);
}

static nexus__pub_op *op_new(nexus_bus *bus, bool async, nexus_publish_fn *fn, void *user_data)
{
    nexus__pub_op *op = nexus__calloc(bus->alloc, 1, sizeof *op);
    if (!op)
        return NULL;
    op->bus = bus;
    op->async = async;
    op->fn = fn;
    op->user_data = user_data;
    atomic_init(&op->refs, 2); /* the caller and the work */
    nexus__buf_init(&op->body, bus->alloc, 0);
    return op;
}

static void note_outcome(nexus__pub_op *op, nexus_status status, const nexus_publish_result *result, nexus_slice message)
{
    op->status = status;
    op->result = *result;
    op->result.warnings = op->warnings;
    if (message.n)
        snprintf(op->message, sizeof op->message, "%.*s", (int)(message.n < 255 ? message.n : 255), message.p);
    nexus__publish_span_end(&op->span, op->bus, status, result);
    op->next = NULL;
}

/* Callbacks run on a thread of their own: they may publish and wait, and the flush thread may not. The list is taken. */
static void hand_out(nexus_bus *bus, nexus__pub_op *list)
{
    bool called = false, polled = false;
    pthread_mutex_lock(&bus->lock);
    for (nexus__pub_op *op = list, *next; op; op = next) {
        nexus__pub_op ***tail = op->fn ? &bus->finished_tail : &bus->completed_tail;
        called |= op->fn != NULL;
        polled |= op->fn == NULL;
        next = op->next;
        op->next = NULL;
        **tail = op;
        *tail = &op->next;
    }
    if (called)
        pthread_cond_signal(&bus->done);
    if (polled)
        pthread_cond_broadcast(&bus->polled);
    pthread_mutex_unlock(&bus->lock);
}

static void answer_caller(nexus__pub_op *op)
{
    nexus__gate_open(&op->gate);
    op_unref(op);
}

static void finish(nexus__pub_op *op, nexus_status status, const nexus_publish_result *result, nexus_slice message)
{
    note_outcome(op, status, result, message);
    if (op->async)
        hand_out(op->bus, op);
    else
        answer_caller(op);
}

static void room_back(nexus_bus *bus, uint64_t bytes)
{
    bus->inflight--;
    bus->inflight_bytes -= bytes;
}

static void call_back(nexus__pub_op *op)
{
    if (op->status != NEXUS_OK)
        (void)nexus__fail(op->status, "%s", op->message);
    op->fn(op->status, &op->result, op->user_data);
    op_unref(op);
}

/* A callback may publish again: there is room for what is done before it is told. */
static void *done_main(void *arg)
{
    nexus_bus *bus = arg;
    pthread_mutex_lock(&bus->lock);
    for (;;) {
        while (!bus->finished && !bus->done_closing)
            pthread_cond_wait(&bus->done, &bus->lock);
        nexus__pub_op *list = bus->finished;
        if (!list)
            break;
        bus->finished = NULL;
        bus->finished_tail = &bus->finished;
        for (const nexus__pub_op *op = list; op; op = op->next)
            room_back(bus, op->bytes);
        pthread_cond_broadcast(&bus->room);
        pthread_mutex_unlock(&bus->lock);
        for (nexus__pub_op *op = list, *next; op; op = next) {
            next = op->next;
            call_back(op);
        }
        pthread_mutex_lock(&bus->lock);
    }
    pthread_mutex_unlock(&bus->lock);
    return NULL;
}

static nexus_status need_done_thread(nexus_bus *bus)
{
    nexus_status status = NEXUS_OK;
    pthread_mutex_lock(&bus->lock);
    if (!bus->done_started) {
        status = nexus__thread_start(&bus->done_thread, "nexus-bus-done", done_main, bus);
        bus->done_started = status == NEXUS_OK;
    }
    pthread_mutex_unlock(&bus->lock);
    return status;
}

/* --- in the owner ---- */

static void local_done(nexus_status status, const nexus_publish_result *result, void *user_data)
{
    finish(user_data, status, result, status == NEXUS_OK ? NEXUS_S("") : nexus__slice_c(nexus_error_message()));
}

/* --- in a client ---- */

static const nexus_publish_result no_result = {.size = sizeof no_result, .version = -1, .actual_version = -1};

static void send_op(nexus__pub_op *op);

void nexus__wire_take_result(nexus__wire_in *in, nexus_publish_result *r)
{
    *r = (nexus_publish_result){.size = sizeof *r};
    r->first = nexus__wire_take_u64(in);
    r->last = nexus__wire_take_u64(in);
    r->version = (int64_t)nexus__wire_take_u64(in);
    r->actual_version = (int64_t)nexus__wire_take_u64(in);
    uint32_t bits = nexus__wire_take_u32(in);
    r->dup = bits & 1;
    r->durable = bits & 2;
    r->durability = bits >> 8 & 0xff;
}

static void keep_for_later(nexus__pub_op *op)
{
    nexus_bus *bus = op->bus;
    op->next = NULL;
    *bus->again_tail = op;
    bus->again_tail = &op->next;
}

static void remote_done(nexus_status status, nexus_slice body, void *user_data)
{
    nexus__pub_op *op = user_data;
    if (status == NEXUS_ECLOSED) { /* on the link thread, before it looks for another owner */
        pthread_mutex_lock(&op->bus->lock);
        keep_for_later(op);
        pthread_mutex_unlock(&op->bus->lock);
        return;
    }
    nexus__wire_in in = {.rest = body};
    nexus_publish_result result;
    nexus__wire_take_result(&in, &result);
    note_outcome(op, in.bad && status == NEXUS_OK ? NEXUS_EPROTO : status, &result, in.rest);
    if (!op->async) {
        answer_caller(op);
        return;
    }
    *op->bus->arrived_tail = op;
    op->bus->arrived_tail = &op->next;
}

void nexus__bus_publish_arrived(nexus_bus *bus)
{
    nexus__pub_op *list = bus->arrived;
    bus->arrived = NULL;
    bus->arrived_tail = &bus->arrived;
    if (list)
        hand_out(bus, list);
}

static void publish_here(nexus__pub_op *op, nexus__broker *broker)
{
    nexus_publish_result result;
    nexus_status status =
        nexus__publish_body(broker, op->bus->alloc, nexus__buf_slice(&op->body), NULL, 0, local_done, op, &result);
    if (status != NEXUS_OK)
        finish(op, status, &result, nexus__slice_c(nexus_error_message()));
}

/* Sends it, or leaves it for the moment when there is an owner again. */
static void send_op(nexus__pub_op *op)
{
    nexus_bus *bus = op->bus;
    for (;;) {
        pthread_mutex_lock(&bus->lock);
        nexus__broker *broker = atomic_load(&bus->broker);
        nexus__remote *remote = !broker && bus->remote ? nexus__remote_ref(bus->remote) : NULL;
        if (!broker && !remote && !bus->closing) {
            keep_for_later(op);
            pthread_mutex_unlock(&bus->lock);
            return;
        }
        pthread_mutex_unlock(&bus->lock);
        if (broker) {
            publish_here(op, broker);
            return;
        }
        if (!remote) {
            finish(op, NEXUS_EUNKNOWN, &no_result, NEXUS_S("the bus was closed before the owner answered"));
            return;
        }
        op->sent = true;
        nexus_status status = (op->async ? nexus__remote_post : nexus__remote_send)(
            remote, WIRE_PUBLISH, nexus__buf_slice(&op->body), remote_done, op);
        if (status == NEXUS_ECLOSED) { /* wait until the link thread has noticed, too */
            pthread_mutex_lock(&bus->lock);
            bool same = bus->remote == remote;
            if (same)
                keep_for_later(op);
            pthread_mutex_unlock(&bus->lock);
            nexus__remote_unref(remote);
            if (same)
                return;
            continue;
        }
        nexus__remote_unref(remote);
        if (status != NEXUS_OK)
            finish(op, status, &no_result, nexus__slice_c(nexus_error_message()));
        return;
    }
}

static nexus__pub_op *take_kept(nexus_bus *bus)
{
    pthread_mutex_lock(&bus->lock);
    nexus__pub_op *list = bus->again;
    bus->again = NULL;
    bus->again_tail = &bus->again;
    pthread_mutex_unlock(&bus->lock);
    return list;
}

void nexus__bus_publish_again(nexus_bus *bus)
{
    for (nexus__pub_op *op = take_kept(bus), *next; op; op = next) {
        next = op->next;
        send_op(op);
    }
}

void nexus__bus_publish_end(nexus_bus *bus)
{
    for (nexus__pub_op *op = take_kept(bus), *next; op; op = next) {
        next = op->next;
        finish(op, NEXUS_EUNKNOWN, &no_result, NEXUS_S("the bus was closed before the owner answered"));
    }
    pthread_mutex_lock(&bus->lock);
    bus->done_closing = true;
    pthread_cond_signal(&bus->done);
    pthread_mutex_unlock(&bus->lock);
    if (bus->done_started)
        pthread_join(bus->done_thread, NULL);
    while (bus->completed) { /* nobody fetched them */
        nexus__pub_op *op = bus->completed;
        bus->completed = op->next;
        op_unref(op);
    }
}

/* --- the calls ---- */

void nexus_publish_opts_init(nexus_publish_opts *opts)
{
    *opts = (nexus_publish_opts)NEXUS_PUBLISH_OPTS_INIT;
}

static nexus_status start(nexus__pub_op *op, const nexus_event *events, size_t n, const nexus_publish_opts *opts,
                          nexus_publish_result *result)
{
    nexus__publish_terms terms = nexus__publish_terms_of(opts);
    nexus__broker *broker = atomic_load(&op->bus->broker);
    terms.waits = !op->async && nexus__bus_may_write(op->bus, opts->timeout_ms);
    nexus_status status = nexus__types_check(terms.fail_types);
    if (status != NEXUS_OK)
        return status;
    if (broker)
        return nexus__broker_publish(broker, events, n, &terms, local_done, op, result);
    size_t most = 0;
    for (size_t i = 0; i < n; i++)
        most += nexus__event_at(events, i)->data.n + USUAL_ATTRIBUTES;
    if (most < NEXUS__WIRE_BODY_MAX)
        nexus__buf_reserve(&op->body, most);
    nexus__publish_body_encode(&op->body, events, n, &terms);
    if (op->body.status != NEXUS_OK || op->body.len > NEXUS__WIRE_BODY_MAX)
        return nexus__fail(NEXUS_ETOOBIG, "a publish of %zu bytes; at most %u fit", op->body.len, NEXUS__WIRE_BODY_MAX);
    send_op(op);
    return NEXUS_OK;
}

/* The caller's options as this version knows them. */
static nexus_publish_opts whole(const nexus_publish_opts *opts)
{
    nexus_publish_opts o = NEXUS_PUBLISH_OPTS_INIT;
    if (opts)
        memcpy(&o, opts, opts->size < sizeof o ? opts->size : sizeof o);
    return o;
}

nexus__publish_terms nexus__publish_terms_of(const nexus_publish_opts *opts)
{
    nexus_publish_opts o = whole(opts);
    return (nexus__publish_terms){.stream = nexus__slice_c(o.stream),
                                  .expect = o.expect,
                                  .fail_types = nexus__slice_c(o.fail_types),
                                  .fail_tags = nexus__slice_c(o.fail_tags),
                                  .fail_after = o.fail_after,
                                  .not_before_ns = o.not_before_ns};
}

static nexus_status begin(nexus_bus *bus, const nexus_event *events, size_t n, const nexus_publish_opts *opts, bool async,
                          nexus_publish_fn *fn, void *user_data, nexus_publish_result *result, nexus__pub_op **out)
{
    nexus__completed c = {0};
    *result = no_result;
    if (n == 0)
        return nexus__fail(NEXUS_EINVAL, "publish of no events");
    const nexus_event *cause = opts->cause ? nexus_delivery_event(opts->cause) : nexus__cause_now();
    nexus_status status = nexus__publish_complete(bus, events, n, cause, &c);
    nexus__pub_op *op = status == NEXUS_OK ? op_new(bus, async, fn, user_data) : NULL;
    if (op) {
        op->warnings = c.warnings;
        op->span = c.span;
        for (size_t i = 0; async && i < n; i++)
            op->bytes += c.events[i].data.n;
    }
    if (status == NEXUS_OK)
        status = op ? start(op, c.events, n, opts, result) : nexus__nomem();
    if (status == NEXUS_EAGAIN && !async && atomic_load(&bus->broker)) { /* wait until there is room, once more */
        nexus__wal *wal = nexus__broker_wal(atomic_load(&bus->broker));
        if (nexus__wal_append(wal, NULL, 0, NULL) == NEXUS_OK)
            status = start(op, c.events, n, opts, result);
    }
    nexus__completed_free(bus, &c);
    if (status != NEXUS_OK && op) {
        op_unref(op);
        op_unref(op);
        return status;
    }
    *out = op;
    return status;
}

void nexus__publish_result_copy(nexus_publish_result *to, const nexus_publish_result *from)
{
    if (!to)
        return;
    size_t size = to->size && to->size < sizeof *from ? to->size : sizeof *from;
    memcpy(to, from, size);
    to->size = size;
}

nexus_status nexus_bus_publish(nexus_bus *bus, const nexus_event *events, size_t n, const nexus_publish_opts *opts,
                               nexus_publish_result *result)
{
    nexus_publish_result local;
    nexus__pub_op *op;
    nexus_publish_opts o = whole(opts);
    nexus_status status = begin(bus, events, n, &o, false, NULL, NULL, &local, &op);
    if (status != NEXUS_OK) {
        nexus__publish_result_copy(result, &local);
        return status;
    }
    if (!nexus__gate_wait(&op->gate, nexus__bus_until(bus, o.timeout_ms))) {
        nexus__publish_result_copy(result, &no_result);
        bool sent = op->sent || atomic_load(&bus->broker);
        op_unref(op);
        return sent ? nexus__fail(NEXUS_EUNKNOWN, "no answer in time: publish again with the same ids")
                    : nexus__fail(NEXUS_EUNKNOWN, "no owner of the bus in time; it is sent when there is one");
    }
    status = op->status;
    nexus__publish_result_copy(result, &op->result);
    if (status != NEXUS_OK)
        (void)nexus__fail(status, "%s", op->message);
    op_unref(op);
    return status;
}

nexus_status nexus_bus_publish_json(nexus_bus *bus, const char *text, size_t n, const nexus_publish_opts *opts,
                                    nexus_publish_result *result)
{
    nexus_event_doc *doc;
    nexus__publish_result_copy(result, &no_result);
    nexus_status status = nexus_event_parse(&doc, text, n, NEXUS_EVENT_LENIENT);
    if (status != NEXUS_OK)
        return status;
    status = nexus_bus_publish(bus, doc->events, doc->count, opts, result);
    nexus_event_doc_free(doc);
    return status;
}

/* Takes a place among those under way, waiting for one until until_ns (0 = not at all). */
static nexus_status take_room(nexus_bus *bus, uint64_t bytes, int64_t until_ns)
{
    uint32_t max = bus->opts.inflight_max ? bus->opts.inflight_max : 65536;
    uint64_t max_bytes = bus->opts.inflight_max_bytes ? bus->opts.inflight_max_bytes : 64u << 20;
    pthread_mutex_lock(&bus->lock);
    while (until_ns && !bus->closing &&
           (bus->inflight >= max || (bus->inflight && bus->inflight_bytes + bytes > max_bytes)))
        if (!nexus__cond_wait_until(&bus->room, &bus->lock, until_ns))
            break;
    bool room = bus->inflight < max && (!bus->inflight || bus->inflight_bytes + bytes <= max_bytes);
    nexus_status status = room ? NEXUS_OK
                               : nexus__fail(NEXUS_EAGAIN, "%u publishes of %llu bytes are under way", bus->inflight,
                                             (unsigned long long)bus->inflight_bytes);
    if (room) {
        bus->inflight++;
        bus->inflight_bytes += bytes;
    }
    pthread_mutex_unlock(&bus->lock);
    return status;
}

nexus_status nexus_bus_publish_async(nexus_bus *bus, const nexus_event *events, size_t n,
                                     const nexus_publish_opts *opts, nexus_publish_fn *done, void *user_data)
{
    nexus_publish_opts o = whole(opts);
    nexus_publish_result local;
    nexus__pub_op *op;
    uint64_t bytes = 0;
    if (n && events->size < sizeof *events)
        return nexus__fail(NEXUS_EINVAL, "event: size is %zu; begin with NEXUS_EVENT_INIT", events->size);
    for (size_t i = 0; i < n; i++)
        bytes += nexus__event_at(events, i)->data.n;
    nexus_status status = take_room(bus, bytes, o.wait_ms ? nexus__bus_until(bus, o.wait_ms) : 0);
    if (status != NEXUS_OK)
        return status;
    if (done)
        status = need_done_thread(bus);
    if (status == NEXUS_OK)
        status = begin(bus, events, n, &o, true, done, user_data, &local, &op);
    if (status == NEXUS_OK) {
        op_unref(op);
        return NEXUS_OK;
    }
    pthread_mutex_lock(&bus->lock);
    room_back(bus, bytes);
    pthread_cond_broadcast(&bus->room);
    pthread_mutex_unlock(&bus->lock);
    return status;
}

nexus_status nexus_bus_completions(nexus_bus *bus, nexus_completion *out, size_t max, uint32_t wait_ms, size_t *got)
{
    int64_t until = nexus__mono_ns() + wait_ms * NEXUS__NS_PER_MS;
    *got = 0;
    pthread_mutex_lock(&bus->lock);
    while (!bus->completed && wait_ms && !bus->closing)
        if (!nexus__cond_wait_until(&bus->polled, &bus->lock, until))
            break;
    nexus__pub_op *list = bus->completed, **end = &list;
    for (; *end && *got < max; end = &(*end)->next, ++*got)
        room_back(bus, (*end)->bytes);
    bus->completed = *end;
    if (!bus->completed)
        bus->completed_tail = &bus->completed;
    *end = NULL;
    if (*got)
        pthread_cond_broadcast(&bus->room);
    pthread_mutex_unlock(&bus->lock);
    for (nexus__pub_op *op = list, *next; op; op = next, out++) {
        next = op->next;
        *out = (nexus_completion){
            .size = sizeof *out, .status = op->status, .user_data = op->user_data, .result = op->result};
        op_unref(op);
    }
    return NEXUS_OK;
}
