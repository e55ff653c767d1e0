/*
 * A replay: a reader, a pace, and either a thread that calls handlers or a caller who takes the events.
 *
 * One thread at a time takes (`on_taker`); any other may change the speed, pause, or ask how far it is. Without a limit
 * nothing is locked for an event: `free_run` says so.
 */
#include <nexus/replay.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/status.h"
#include "base/thread.h"
#include "bus/cause.h"
#include "bus/handle.h"
#include "bus/handlers.h"
#include "bus/pace.h"

#define ATTEMPTS 3
#define RETRY_MS 50 /* before the second call of a handler; doubles */

struct nexus_replay {
    nexus_bus *bus;
    uint64_t from, to;
    int64_t to_time_ns, opened_ns;
    uint32_t attempts;
    /* on_taker */
    nexus_reader *reader;
    nexus__handlers *handlers; /* NULL = the caller takes */
    nexus_delivery *delivery;
    const nexus_event *held; /* read, and not due yet */
    nexus__buf json;
    /* atomic */
    _Atomic uint64_t position, events, bytes, failed, skipped;
    atomic_bool free_run, over;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* locked */
    nexus__pace pace;
    bool paused, closing;
    nexus_status error;
    bool broken;
    char error_text[256];
    pthread_t thread;
    bool started;
};

void nexus_replay_opts_init(nexus_replay_opts *opts)
{
    *opts = (nexus_replay_opts)NEXUS_REPLAY_OPTS_INIT;
}

/* --- open ---- */

static nexus_status take_opts(nexus_replay_opts *out, const nexus_replay_opts *given)
{
    *out = (nexus_replay_opts)NEXUS_REPLAY_OPTS_INIT;
    if (!given)
        return NEXUS_OK;
    if (given->size == 0)
        return nexus__fail(NEXUS_EINVAL, "replay options: size is 0; begin with NEXUS_REPLAY_OPTS_INIT");
    memcpy(out, given, given->size < sizeof *out ? given->size : sizeof *out);
    bool fine = out->factor >= 0 && out->max_events_s >= 0 && out->max_bytes_s >= 0;
    if (!fine || out->start == NEXUS_START_END || out->start > NEXUS_START_TIME)
        return nexus__fail(NEXUS_EINVAL, "replay options: %s",
                           fine ? "start is FIRST, POS or TIME" : "a speed is below 0");
    return NEXUS_OK;
}

static nexus_status open_reader(nexus_reader **out, nexus_bus *bus, const nexus_replay_opts *o, uint64_t *to)
{
    nexus_reader_opts r = NEXUS_READER_OPTS_INIT;
    nexus_status status = NEXUS_OK;
    *to = o->to_pos;
    if (!*to)
        status = nexus_bus_head(bus, to);
    if (status != NEXUS_OK)
        return status;
    r.stream = o->stream;
    r.category = o->category;
    r.types = o->types;
    r.subject_prefix = o->subject_prefix;
    r.source = o->source;
    r.tags = o->tags;
    r.accept_revs = o->accept_revs;
    r.raw = o->raw;
    r.start = o->start;
    r.start_pos = o->start_pos;
    r.start_time_ns = o->start_time_ns;
    r.to_pos = *to ? *to : 1; /* an empty log: nothing of what may come */
    return nexus_reader_open(out, bus, &r);
}

static bool unlimited(const nexus_replay *r)
{
    return !r->paused && !r->closing && r->pace.factor == 0 && r->pace.events_s == 0 && r->pace.bytes_s == 0;
}

static void *run(void *arg);

static nexus_status start(nexus_replay *r, const nexus_replay_opts *o, const nexus_handler *handlers, size_t n)
{
    nexus_status status = open_reader(&r->reader, r->bus, o, &r->to);
    if (status != NEXUS_OK)
        return status;
    r->from = nexus_reader_position(r->reader);
    atomic_store(&r->position, r->from);
    atomic_store(&r->over, r->to == 0);
    nexus__pace_set(&r->pace, o->factor, o->max_events_s, o->max_bytes_s);
    atomic_store(&r->free_run, unlimited(r));
    if (!n)
        return NEXUS_OK;
    status = nexus__handlers_new(&r->handlers, r->bus->alloc, handlers, n);
    if (status == NEXUS_OK)
        status = nexus__delivery_for_replay(&r->delivery, r->bus->alloc);
    if (status == NEXUS_OK)
        status = nexus__thread_start(&r->thread, "nexus-replay", run, r);
    r->started = status == NEXUS_OK;
    return status;
}

nexus_status nexus_replay_open(nexus_replay **out, nexus_bus *bus, const nexus_replay_opts *opts,
                               const nexus_handler *handlers, size_t n)
{
    nexus_replay_opts o;
    nexus_status status = take_opts(&o, opts);
    if (status != NEXUS_OK)
        return status;
    nexus_replay *r = nexus__calloc(bus->alloc, 1, sizeof *r);
    if (!r)
        return nexus__nomem();
    r->bus = bus;
    r->attempts = o.attempts ? o.attempts : ATTEMPTS;
    r->to_time_ns = o.to_time_ns ? o.to_time_ns : INT64_MAX;
    r->opened_ns = nexus__mono_ns();
    r->paused = o.paused;
    pthread_mutex_init(&r->lock, NULL);
    nexus__cond_init(&r->changed);
    nexus__buf_init(&r->json, bus->alloc, 0);
    status = start(r, &o, handlers, n);
    if (status != NEXUS_OK) {
        nexus_replay_close(r);
        return status;
    }
    *out = r;
    return NEXUS_OK;
}

void nexus_replay_close(nexus_replay *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->closing = true;
    atomic_store(&r->free_run, false);
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    if (r->started)
        pthread_join(r->thread, NULL);
    nexus_reader_close(r->reader);
    nexus__handlers_free(r->handlers);
    nexus__delivery_end_replay(r->delivery);
    nexus__buf_free(&r->json);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->changed);
    nexus__free(r->bus->alloc, r);
}

/* --- steering ---- */

nexus_status nexus_replay_rate(nexus_replay *r, double factor, double max_events_s, double max_bytes_s)
{
    if (!(factor >= 0 && max_events_s >= 0 && max_bytes_s >= 0))
        return nexus__fail(NEXUS_EINVAL, "replay: a speed is below 0");
    pthread_mutex_lock(&r->lock);
    nexus__pace_set(&r->pace, factor, max_events_s, max_bytes_s);
    atomic_store(&r->free_run, unlimited(r));
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    return NEXUS_OK;
}

void nexus_replay_pause(nexus_replay *r, bool paused)
{
    pthread_mutex_lock(&r->lock);
    r->paused = paused;
    nexus__pace_rest(&r->pace);
    atomic_store(&r->free_run, unlimited(r));
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

/* --- taking ---- */

static void end(nexus_replay *r, nexus_status error)
{
    pthread_mutex_lock(&r->lock);
    if (error != NEXUS_OK) {
        r->broken = true;
        r->error = error;
        snprintf(r->error_text, sizeof r->error_text, "%s", nexus_error_message());
    }
    atomic_store(&r->over, true);
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

static void count_failed(nexus_replay *r, nexus_status why)
{
    atomic_fetch_add(&r->failed, 1);
    pthread_mutex_lock(&r->lock);
    r->error = why;
    snprintf(r->error_text, sizeof r->error_text, "%s", nexus_error_message());
    pthread_mutex_unlock(&r->lock);
}

/* Fills held; false when there is no more. */
static bool hold(nexus_replay *r)
{
    while (!r->held) {
        nexus_status status = nexus_reader_next(r->reader, &r->held, 0);
        if (status == NEXUS_OK) {
            if (r->held->recv_ns <= r->to_time_ns)
                return true;
            r->held = NULL;
            status = NEXUS_EDONE;
        }
        switch (status) {
        case NEXUS_EDONE:
            atomic_store(&r->position, r->to);
            end(r, NEXUS_OK);
            return false;
        case NEXUS_ECORRUPT:
        case NEXUS_EMISSING:
            atomic_fetch_add(&r->skipped, 1);
            break;
        case NEXUS_ENOMEM:
        case NEXUS_EIO:
        case NEXUS_ETIMEDOUT:
        case NEXUS_ECLOSED:
        case NEXUS_EPROTO:
        case NEXUS_EUNREACH:
            end(r, status);
            return false;
        default:
            count_failed(r, status); /* an upcaster, or a revision that is not known */
        }
    }
    return true;
}

/* Waits for the moment of the held event. False: not until until_ns. */
static bool wait_turn(nexus_replay *r, int64_t until_ns)
{
    bool due = false;
    pthread_mutex_lock(&r->lock);
    while (!due && !r->closing) {
        int64_t now = nexus__mono_ns();
        int64_t at = r->paused ? INT64_MAX : nexus__pace_due(&r->pace, r->held->recv_ns, now);
        due = at <= now;
        if (due)
            nexus__pace_spend(&r->pace, r->held->data.n, now);
        else if (now >= until_ns)
            break;
        else
            (void)nexus__cond_wait_until(&r->changed, &r->lock, at < until_ns ? at : until_ns);
    }
    pthread_mutex_unlock(&r->lock);
    return due;
}

static void add(_Atomic uint64_t *counter, uint64_t n) /* one writer */
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

static nexus_status take(nexus_replay *r, const nexus_event **event, int64_t until_ns)
{
    if (atomic_load_explicit(&r->over, memory_order_relaxed) || !hold(r))
        return r->broken ? nexus__fail(r->error, "%s", r->error_text) : NEXUS_EDONE;
    if (!atomic_load_explicit(&r->free_run, memory_order_acquire) && !wait_turn(r, until_ns))
        return NEXUS_EAGAIN;
    *event = r->held;
    r->held = NULL;
    atomic_store_explicit(&r->position, (*event)->pos - 1, memory_order_relaxed); /* what is before it is done */
    add(&r->events, 1);
    add(&r->bytes, (*event)->data.n);
    return NEXUS_OK;
}

nexus_status nexus_replay_next(nexus_replay *r, const nexus_event **event, uint32_t wait_ms)
{
    if (r->handlers)
        return nexus__fail(NEXUS_EINVAL, "replay: its handlers take the events");
    return take(r, event, wait_ms ? nexus__mono_ns() + wait_ms * NEXUS__NS_PER_MS : 0);
}

nexus_status nexus_replay_next_json(nexus_replay *r, const char **text, size_t *n, uint32_t wait_ms)
{
    const nexus_event *event;
    nexus_status status = nexus_replay_next(r, &event, wait_ms);
    if (status != NEXUS_OK)
        return status;
    nexus__buf_clear(&r->json);
    nexus__event_write_json(&r->json, event);
    nexus__buf_char(&r->json, '\0');
    if (r->json.status != NEXUS_OK)
        return nexus__nomem();
    *text = r->json.p;
    if (n)
        *n = r->json.len - 1;
    return NEXUS_OK;
}

/* --- the thread that calls handlers ---- */

static bool rest(nexus_replay *r, uint32_t ms)
{
    int64_t until = nexus__mono_ns() + ms * NEXUS__NS_PER_MS;
    pthread_mutex_lock(&r->lock);
    while (!r->closing && nexus__cond_wait_until(&r->changed, &r->lock, until))
        ;
    bool closing = r->closing;
    pthread_mutex_unlock(&r->lock);
    return !closing;
}

static void handle(nexus_replay *r, const nexus_event *event)
{
    int32_t verdict = NEXUS_RETRY;
    const nexus_event *before = nexus__cause_set(event);
    for (uint32_t i = 0; i < r->attempts && verdict == NEXUS_RETRY; i++) {
        if (i && !rest(r, (uint32_t)RETRY_MS << (i < 8 ? i - 1 : 7)))
            break;
        nexus__delivery_show(r->delivery, event, i + 1);
        verdict = nexus__handlers_call(r->delivery, r->handlers);
    }
    (void)nexus__cause_set(before);
    if (verdict != NEXUS_ACK)
        count_failed(r, nexus__fail(NEXUS_EPERM, "a handler refused event %llu: %s", (unsigned long long)event->pos,
                                    nexus__delivery_why(r->delivery)));
}

static void *run(void *arg)
{
    nexus_replay *r = arg;
    const nexus_event *event;
    nexus_status status;
    while ((status = take(r, &event, INT64_MAX)) == NEXUS_OK)
        handle(r, event);
    return NULL; /* over, or closing */
}

/* --- reports ---- */

void nexus_replay_read_progress(nexus_replay *r, nexus_replay_progress *out)
{
    nexus_replay_progress p = {.size = sizeof p};
    size_t size = out->size && out->size < sizeof p ? out->size : sizeof p;
    double s = (double)(nexus__mono_ns() - r->opened_ns) / 1e9;
    pthread_mutex_lock(&r->lock);
    bool over = atomic_load(&r->over);
    p.state = r->broken   ? NEXUS_REPLAY_FAILED
              : over      ? NEXUS_REPLAY_DONE
              : r->paused ? NEXUS_REPLAY_PAUSED
                          : NEXUS_REPLAY_RUNNING;
    p.error = r->error;
    pthread_mutex_unlock(&r->lock);
    p.position = atomic_load(&r->position);
    p.to = r->to;
    p.events = atomic_load(&r->events);
    p.bytes = atomic_load(&r->bytes);
    p.failed = atomic_load(&r->failed);
    p.skipped = atomic_load(&r->skipped);
    p.events_s = s > 0 ? (double)p.events / s : 0;
    double all = r->to > r->from ? (double)(r->to - r->from) : 0;
    double gone = p.position > r->from ? (double)(p.position - r->from) : 0;
    p.done = p.state == NEXUS_REPLAY_DONE || all == 0 ? 1 : gone / all;
    p.done = p.done > 1 ? 1 : p.done;
    p.eta_ms = p.state == NEXUS_REPLAY_DONE ? 0 : gone > 0 ? (int64_t)(s * 1e3 * (all - gone) / gone) : -1;
    memcpy(out, &p, size);
    out->size = size;
}

nexus_status nexus_replay_wait(nexus_replay *r, uint32_t wait_ms)
{
    int64_t until = nexus__mono_ns() + wait_ms * NEXUS__NS_PER_MS;
    pthread_mutex_lock(&r->lock);
    while (!atomic_load(&r->over) && nexus__cond_wait_until(&r->changed, &r->lock, until))
        ;
    bool over = atomic_load(&r->over);
    nexus_status error = r->broken ? r->error : NEXUS_OK;
    char why[256];
    snprintf(why, sizeof why, "%s", r->error_text);
    pthread_mutex_unlock(&r->lock);
    if (!over)
        return nexus__fail(NEXUS_ETIMEDOUT, "the replay is not over yet");
    return error == NEXUS_OK ? NEXUS_OK : nexus__fail(error, "%s", why);
}

/* --- dry run ---- */

static int64_t estimate(const nexus_replay_opts *o, const nexus_replay_count *c, int64_t took_ns)
{
    double s = (double)took_ns / 1e9, t;
    if (o->max_events_s > 0 && (t = (double)c->events / o->max_events_s) > s)
        s = t;
    if (o->max_bytes_s > 0 && (t = (double)c->bytes / o->max_bytes_s) > s)
        s = t;
    if (o->factor > 0 && (t = (double)(c->last_ns - c->first_ns) / 1e9 / o->factor) > s)
        s = t;
    return (int64_t)(s * 1e3);
}

nexus_status nexus_replay_dry_run(nexus_bus *bus, const nexus_replay_opts *opts, nexus_replay_count *out)
{
    nexus_replay_opts o;
    nexus_replay_count c = {.size = sizeof c};
    size_t size = out->size && out->size < sizeof c ? out->size : sizeof c;
    nexus_reader *reader;
    uint64_t to;
    const nexus_event *e;
    nexus_status status = take_opts(&o, opts);
    o.raw = true;
    if (status == NEXUS_OK)
        status = open_reader(&reader, bus, &o, &to);
    if (status != NEXUS_OK)
        return status;
    int64_t begin = nexus__mono_ns();
    while ((status = to ? nexus_reader_next(reader, &e, 0) : NEXUS_EDONE) != NEXUS_EDONE) {
        if (status == NEXUS_ECORRUPT || status == NEXUS_EMISSING)
            continue;
        if (status != NEXUS_OK || (o.to_time_ns && e->recv_ns > o.to_time_ns))
            break;
        if (!c.events++) {
            c.first_pos = e->pos;
            c.first_ns = e->recv_ns;
        }
        c.last_pos = e->pos;
        c.last_ns = e->recv_ns;
        c.bytes += e->data.n;
    }
    nexus_reader_close(reader);
    c.eta_ms = estimate(&o, &c, nexus__mono_ns() - begin);
    memcpy(out, &c, size);
    out->size = size;
    return status == NEXUS_EDONE ? NEXUS_OK : status;
}
