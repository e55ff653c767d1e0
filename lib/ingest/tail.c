#include "ingest/tail.h"

#include "base/status.h"
#include "ingest/record.h"
#include "json/write.h"

#define LIMIT_DEFAULT 100
#define LIMIT_MAX 1000

nexus_status nexus__tail_open(nexus__tail *t, const nexus_alloc *alloc, uint32_t max)
{
    *t = (nexus__tail){.max = max, .alloc = alloc};
    pthread_mutex_init(&t->mutex, NULL);
    t->ring = nexus__calloc(alloc, max, sizeof *t->ring);
    if (!t->ring) {
        nexus__tail_close(t);
        return nexus__nomem();
    }
    for (uint32_t i = 0; i < max; i++)
        nexus__buf_init(&t->ring[i], alloc, 0);
    return NEXUS_OK;
}

void nexus__tail_close(nexus__tail *t)
{
    for (uint32_t i = 0; t->ring && i < t->max; i++)
        nexus__buf_free(&t->ring[i]);
    nexus__free(t->alloc, t->ring);
    pthread_mutex_destroy(&t->mutex);
}

/* A slot is a log record of one event: compact to keep, and read by the code that reads the log. */
nexus_status nexus__tail_add(nexus__tail *t, const nexus__event *event)
{
    pthread_mutex_lock(&t->mutex);
    nexus__buf *slot = &t->ring[t->seq % t->max];
    nexus__buf_clear(slot);
    nexus__record_begin(slot);
    nexus__record_add(slot, event);
    nexus_status st = slot->status;
    t->seq++; /* also when it failed: the slot's old event is gone */
    pthread_mutex_unlock(&t->mutex);
    return st == NEXUS_OK ? st : nexus__nomem();
}

uint64_t nexus__tail_seq(nexus__tail *t)
{
    pthread_mutex_lock(&t->mutex);
    uint64_t seq = t->seq;
    pthread_mutex_unlock(&t->mutex);
    return seq;
}

static bool slot_event(const nexus__tail *t, uint64_t seq, nexus__event *event)
{
    const nexus__buf *slot = &t->ring[(seq - 1) % t->max];
    size_t at = 0;
    return slot->status == NEXUS_OK && nexus__record_next(nexus__buf_slice(slot), &at, event) == NEXUS_OK;
}

void nexus__tail_write(nexus__tail *t, nexus__buf *out, uint64_t after, uint32_t limit, nexus_slice event,
                       uint64_t *next)
{
    nexus__json_writer w = nexus__json_writer_on(out);
    uint32_t written = 0;
    limit = limit == 0 ? LIMIT_DEFAULT : limit > LIMIT_MAX ? LIMIT_MAX : limit;
    pthread_mutex_lock(&t->mutex);
    uint64_t oldest = t->seq > t->max ? t->seq - t->max : 0;
    uint64_t missed = after < oldest ? oldest - after : 0;
    uint64_t at = after > t->seq ? t->seq : after + missed;
    nexus__json_open(&w, '{');
    nexus__json_key(&w, "events");
    nexus__json_open(&w, '[');
    for (; at < t->seq && written < limit; at++) {
        nexus__event e;
        if (!slot_event(t, at + 1, &e) || (event.n != 0 && !nexus__slice_eq(event, e.name)))
            continue;
        nexus__json_open(&w, '{');
        nexus__json_put_u64(&w, "seq", at + 1);
        nexus__record_write_json(&w, &e);
        nexus__json_close(&w, '}');
        written++;
    }
    nexus__json_close(&w, ']');
    nexus__json_put_u64(&w, "missed", missed);
    nexus__json_put_u64(&w, "next", at);
    nexus__json_close(&w, '}');
    pthread_mutex_unlock(&t->mutex);
    *next = at;
}
