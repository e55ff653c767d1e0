/*
 * The tracer: spans are packed into a ring by whoever records them, and sent by its own thread, which comes by every
 * interval or when a batch is full. A message that the receiver wants again is tried a few times; meanwhile the ring fills
 * up, and what does not fit is counted.
 */
#include <nexus/trace.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/backoff.h"
#include "base/id.h"
#include "base/status.h"
#include "base/thread.h"
#include "base/time.h"
#include "observe/log_ring.h"
#include "observe/otlp.h"

enum { QUEUE_DEFAULT = 4096, BATCH_DEFAULT = 512, INTERVAL_DEFAULT_MS = 1000, ATTEMPTS = 4, PACKED_MAX = 20 * 1024 };

struct nexus_tracer {
    const nexus_alloc *alloc;
    char *service;
    nexus_tracer_opts opts;
    nexus__log_ring ring;
    int wake;
    bool started;
    pthread_t thread;
    struct {
        _Atomic bool ending;
        _Atomic uint32_t waiting; /* recorded and not yet taken: whoever fills a batch wakes the thread */
        _Atomic uint64_t sent, dropped, failed;
    } atomic;
    nexus__buf message; /* the thread's */
};

void nexus_tracer_opts_init(nexus_tracer_opts *opts)
{
    *opts = (nexus_tracer_opts)NEXUS_TRACER_OPTS_INIT;
}

void nexus_span_init(nexus_span *span)
{
    *span = (nexus_span)NEXUS_SPAN_INIT;
}

/* --- sending ------------------------------------------------------------------------------------------------------ */

static void wake(nexus_tracer *t)
{
    uint64_t one = 1;
    if (write(t->wake, &one, sizeof one) < 0)
        return; /* the counter is full: it is awake */
}

static void pause_for(nexus_tracer *t, uint32_t ms)
{
    struct pollfd fd = {.fd = t->wake, .events = POLLIN};
    uint64_t count;
    if (poll(&fd, 1, (int)ms) == 1 && read(t->wake, &count, sizeof count) < 0)
        return;
}

/* While it waits for the next attempt only the end hurries it. */
static void back_off(nexus_tracer *t, uint32_t attempt)
{
    static const nexus__backoff backoff = {.base_ms = 500, .cap_ms = 5000};
    int64_t until = nexus__mono_ns() + nexus__backoff_ms(&backoff, attempt, nexus__random_u64()) * NEXUS__NS_PER_MS;
    for (int64_t left; !atomic_load(&t->atomic.ending) && (left = until - nexus__mono_ns()) > 0;)
        pause_for(t, (uint32_t)(left / NEXUS__NS_PER_MS) + 1);
}

static bool send_message(nexus_tracer *t, uint32_t spans)
{
    nexus_status status = t->message.status;
    for (uint32_t attempt = 1; status == NEXUS_OK && attempt <= ATTEMPTS; attempt++) {
        status = t->opts.send("application/json", nexus__buf_slice(&t->message), t->opts.send_user_data);
        if (status != NEXUS_EAGAIN || atomic_load(&t->atomic.ending))
            break;
        back_off(t, attempt);
        status = attempt < ATTEMPTS ? NEXUS_OK : status;
    }
    atomic_fetch_add(status == NEXUS_OK ? &t->atomic.sent : &t->atomic.failed, spans);
    return status == NEXUS_OK;
}

/* Puts a batch into the message; returns how many spans are in it. */
static uint32_t gather(nexus_tracer *t)
{
    uint32_t spans = 0;
    nexus_slice packed;
    nexus__buf_clear(&t->message);
    nexus__json_writer w = nexus__json_writer_on(&t->message);
    nexus__otlp_begin(&w, nexus__slice_c(t->service));
    for (; spans < t->opts.batch_max && nexus__log_ring_peek(&t->ring, &packed); spans++) {
        (void)nexus__otlp_span(&w, packed);
        nexus__log_ring_pop(&t->ring);
    }
    nexus__otlp_end(&w);
    atomic_fetch_sub(&t->atomic.waiting, spans);
    return spans;
}

/* Sends what waits. At the end a receiver that fails once is not asked again: closing must not take for ever. */
static void empty(nexus_tracer *t, bool ending)
{
    bool answers = true;
    for (uint32_t spans; (spans = gather(t)) > 0;)
        if (answers || !ending)
            answers = send_message(t, spans);
        else
            atomic_fetch_add(&t->atomic.failed, spans);
}

static void *tracer_main(void *arg)
{
    nexus_tracer *t = arg;
    for (;;) {
        bool ending = atomic_load(&t->atomic.ending); /* read before: what was recorded before the close is sent */
        empty(t, ending);
        if (ending)
            return NULL;
        if (atomic_load(&t->atomic.waiting) < t->opts.batch_max)
            pause_for(t, t->opts.interval_ms);
    }
}

/* --- open and close ----------------------------------------------------------------------------------------------- */

static nexus_status start(nexus_tracer *t)
{
    t->wake = eventfd(0, EFD_CLOEXEC);
    if (t->wake < 0)
        return nexus__fail_errno(errno, "tracer: eventfd");
    if (!t->service || nexus__log_ring_open(&t->ring, t->alloc, t->opts.queue_max) != NEXUS_OK)
        return nexus__nomem();
    nexus_status status = nexus__thread_start(&t->thread, "nexus-tracer", tracer_main, t);
    t->started = status == NEXUS_OK;
    return status;
}

nexus_status nexus_tracer_open(nexus_tracer **out, const nexus_tracer_opts *opts)
{
    if (!opts || opts->size != sizeof *opts || !opts->send || opts->sample_bp > 10000)
        return nexus__fail(NEXUS_EINVAL, "tracer: options need their size and a send function; sample_bp is at most 10,000");
    nexus_tracer *t = nexus__calloc(opts->alloc, 1, sizeof *t);
    if (!t)
        return nexus__nomem();
    t->alloc = opts->alloc;
    t->opts = *opts;
    t->opts.queue_max = opts->queue_max ? opts->queue_max : QUEUE_DEFAULT;
    t->opts.batch_max = opts->batch_max ? opts->batch_max : BATCH_DEFAULT;
    t->opts.interval_ms = opts->interval_ms ? opts->interval_ms : INTERVAL_DEFAULT_MS;
    t->service = nexus__strndup(t->alloc, nexus__slice_c(opts->service ? opts->service : "nexus"));
    nexus__buf_init(&t->message, t->alloc, 0);
    nexus_status status = start(t);
    if (status != NEXUS_OK)
        nexus_tracer_close(t);
    else
        *out = t;
    return status;
}

void nexus_tracer_close(nexus_tracer *t)
{
    if (!t)
        return;
    if (t->started) {
        atomic_store(&t->atomic.ending, true);
        wake(t);
        pthread_join(t->thread, NULL);
    }
    nexus__log_ring_close(&t->ring);
    if (t->wake >= 0)
        close(t->wake);
    nexus__buf_free(&t->message);
    nexus__free(t->alloc, t->service);
    nexus__free(t->alloc, t);
}

/* --- recording ---------------------------------------------------------------------------------------------------- */

/* By the last seven bytes of the id, which every version of W3C Trace Context wants to be random. */
bool nexus_tracer_samples(const nexus_tracer *t, const nexus_trace *trace)
{
    uint64_t random = 0;
    for (size_t i = 9; i < 16; i++)
        random = random << 8 | trace->trace_id[i];
    return t && (t->opts.sample_bp >= 10000 || random < (UINT64_C(1) << 56) / 10000 * t->opts.sample_bp);
}

void nexus_tracer_record(nexus_tracer *t, const nexus_span *span)
{
    if (!t || !(span->trace.flags & NEXUS_TRACE_SAMPLED))
        return;
    char memory[PACKED_MAX];
    nexus__buf packed = {.p = memory, .cap = sizeof memory, .max = sizeof memory};
    nexus__span_pack(&packed, span);
    if (packed.status != NEXUS_OK || !nexus__log_ring_push(&t->ring, 0, 0, nexus__buf_slice(&packed))) {
        atomic_fetch_add_explicit(&t->atomic.dropped, 1, memory_order_relaxed);
        return;
    }
    if (atomic_fetch_add(&t->atomic.waiting, 1) + 1 == t->opts.batch_max)
        wake(t);
}

void nexus_tracer_count(const nexus_tracer *t, nexus_tracer_counts *out)
{
    out->sent = atomic_load(&t->atomic.sent);
    out->dropped = atomic_load(&t->atomic.dropped);
    out->failed = atomic_load(&t->atomic.failed);
}
