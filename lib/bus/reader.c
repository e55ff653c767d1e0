/*
 * nexus_reader. Three ways lead to the events, in this order of speed:
 *  - in the owner straight from the log, a record at a time, nothing copied;
 *  - in a client straight from the finished files of the log, which costs the owner nothing, up to the file that was being
 *    written to when the reader came there;
 *  - pages: asked for by a client, or made here for the reads that are narrowed first (one stream).
 * Whichever it is, `request.from` is where it goes on, so the ways can change in the middle.
 */
#include <nexus/stream.h>

#include "base/status.h"
#include "bus/handle.h"
#include "bus/projection.h"

#define BEHIND 10000
#define LOOK_EVERY 256 /* events between two looks at how far behind we are */

struct nexus_reader {
    nexus_bus *bus;
    nexus__read_request request; /* from = where it goes on; texts point into `texts` */
    nexus__buf texts;
    nexus_slice accept;
    bool raw;
    nexus__wal_reader *direct;
    nexus__wal *direct_of;
    nexus__wal *sealed; /* a client's own view of the finished files */
    bool sealed_over;
    nexus__buf page;
    nexus__wire_in in; /* what is left of the page */
    uint32_t left;
    nexus__event_view view;
    nexus__evolved evolved;
    size_t evolved_at;
    nexus__buf json, opened; /* opened: data that was sealed */
    uint64_t position;
    bool signals, caught_up;
    uint32_t signal, behind, unlooked;
};

void nexus_reader_opts_init(nexus_reader_opts *opts)
{
    *opts = (nexus_reader_opts)NEXUS_READER_OPTS_INIT;
}

static void keep(nexus_reader *r, const char *text, size_t *at)
{
    *at = r->texts.len;
    nexus__buf_text(&r->texts, text ? text : "");
}

static nexus_status set_filter(nexus_reader *r, const nexus_reader_opts *o)
{
    size_t at[8];
    keep(r, o->types, &at[0]);
    keep(r, o->subject_prefix, &at[1]);
    keep(r, o->source, &at[2]);
    keep(r, o->stream, &at[3]);
    keep(r, o->category, &at[4]);
    keep(r, o->tags, &at[5]);
    keep(r, o->accept_revs, &at[6]);
    at[7] = r->texts.len;
    if (r->texts.status != NEXUS_OK)
        return nexus__nomem();
    nexus_slice part[7];
    for (size_t i = 0; i < 7; i++)
        part[i] = nexus__slice(r->texts.p ? r->texts.p + at[i] : NULL, at[i + 1] - at[i]);
    r->request.filter = (nexus__filter){part[0], part[1], part[2], part[3], part[4], part[5]};
    r->accept = part[6];
    nexus_status status = nexus__types_check(part[0]);
    return status == NEXUS_OK ? nexus__accept_check(r->accept) : status;
}

static nexus_status set_start(nexus_reader *r, const nexus_reader_opts *o)
{
    r->request.to = o->to_pos;
    r->request.from_version = o->from_version;
    r->request.from = 1;
    switch (o->start) {
    case NEXUS_START_FIRST:
        return NEXUS_OK;
    case NEXUS_START_POS:
        r->request.from = o->start_pos ? o->start_pos : 1;
        return NEXUS_OK;
    case NEXUS_START_TIME:
        r->request.from_time_ns = o->start_time_ns;
        return NEXUS_OK;
    case NEXUS_START_END: {
        uint64_t head;
        nexus_status status = nexus_bus_head(r->bus, &head);
        r->request.from = status == NEXUS_OK ? head + 1 : 1;
        return status;
    }
    default:
        return nexus__fail(NEXUS_EINVAL, "reader option start is %u", o->start);
    }
}

nexus_status nexus_reader_open(nexus_reader **out, nexus_bus *bus, const nexus_reader_opts *opts)
{
    if (opts && opts->size == 0)
        return nexus__fail(NEXUS_EINVAL, "reader options: size is 0; begin with NEXUS_READER_OPTS_INIT");
    nexus_reader_opts given = NEXUS_READER_OPTS_INIT;
    if (opts)
        memcpy(&given, opts, opts->size < sizeof given ? opts->size : sizeof given);
    nexus_reader *r = nexus__calloc(bus->alloc, 1, sizeof *r);
    if (!r)
        return nexus__nomem();
    r->bus = bus;
    nexus__buf_init(&r->texts, bus->alloc, 0);
    nexus__buf_init(&r->page, bus->alloc, 0);
    nexus__buf_init(&r->json, bus->alloc, 0);
    nexus__buf_init(&r->opened, bus->alloc, 0);
    nexus__arena_init(&r->evolved.arena, bus->alloc, 0);
    r->raw = given.raw;
    r->signals = given.signals;
    r->behind = given.behind ? given.behind : BEHIND;
    nexus_status status = set_filter(r, &given);
    if (status == NEXUS_OK)
        status = set_start(r, &given);
    if (status != NEXUS_OK) {
        nexus_reader_close(r);
        return status;
    }
    r->position = r->request.from - 1;
    *out = r;
    return NEXUS_OK;
}

static void leave_direct(nexus_reader *r)
{
    nexus__wal_reader_close(r->direct);
    nexus__wal_close(r->sealed);
    r->direct = NULL;
    r->sealed = NULL;
}

void nexus_reader_close(nexus_reader *r)
{
    if (!r)
        return;
    leave_direct(r);
    nexus__arena_free(&r->evolved.arena);
    nexus__buf_free(&r->texts);
    nexus__buf_free(&r->page);
    nexus__buf_free(&r->json);
    nexus__buf_free(&r->opened);
    nexus__free(r->bus->alloc, r);
}

static nexus_status page_local(nexus_reader *r, nexus__broker *broker, uint32_t wait_ms)
{
    int64_t until = nexus__mono_ns() + wait_ms * NEXUS__NS_PER_MS;
    for (;;) {
        uint64_t head = nexus__wal_durable(nexus__broker_wal(broker)), next = r->request.from;
        uint32_t count = 0;
        nexus_status status = nexus__broker_read_page(broker, r->bus->alloc, &r->request, &r->page, &count, &next);
        r->request.from = next;
        r->left = count;
        r->in = (nexus__wire_in){.rest = nexus__buf_slice(&r->page)};
        if (status != NEXUS_OK || count || (r->request.to && next > r->request.to))
            return status;
        if (next <= head)
            continue; /* a long stretch of what does not match */
        int64_t left = until - nexus__mono_ns();
        if (left <= 0)
            return NEXUS_OK;
        nexus__broker_wait(broker, head, (uint32_t)(left / NEXUS__NS_PER_MS + 1));
    }
}

/* The owner told what cannot be read, and behind its words where it goes on: so it is told once. */
static void pass_trouble(nexus_reader *r)
{
    uint64_t next;
    if (r->page.len <= sizeof next || r->page.p[r->page.len - sizeof next - 1] != '\0')
        return;
    memcpy(&next, r->page.p + r->page.len - sizeof next, sizeof next);
    r->request.from = next > r->request.from ? next : r->request.from;
}

static nexus_status page_remote(nexus_reader *r, nexus__remote *remote, uint32_t wait_ms)
{
    nexus__buf body;
    nexus__buf_init(&body, r->bus->alloc, 0);
    r->request.wait_ms = wait_ms;
    nexus__wire_read_request(&body, &r->request);
    nexus_status status = nexus__remote_call(remote, WIRE_READ, nexus__buf_slice(&body),
                                             nexus__bus_until(r->bus, 0) + wait_ms * NEXUS__NS_PER_MS, &r->page);
    nexus__buf_free(&body);
    if (status == NEXUS_EMISSING || status == NEXUS_ECORRUPT)
        pass_trouble(r);
    if (status != NEXUS_OK)
        return status;
    r->in = (nexus__wire_in){.rest = nexus__buf_slice(&r->page)};
    r->request.from = nexus__wire_take_u64(&r->in);
    r->left = nexus__wire_take_u32(&r->in);
    return r->in.bad ? nexus__fail(NEXUS_EPROTO, "the bus owner gave an unreadable answer") : NEXUS_OK;
}

static nexus_status next_page(nexus_reader *r, uint32_t wait_ms)
{
    int64_t until = nexus__bus_until(r->bus, 0);
    for (;;) {
        nexus__broker *broker;
        nexus__remote *remote;
        nexus_status status = nexus__bus_backend(r->bus, until, &broker, &remote);
        if (status != NEXUS_OK)
            return status;
        nexus__buf_clear(&r->page);
        uint64_t before = r->request.from;
        status = broker ? page_local(r, broker, wait_ms) : page_remote(r, remote, wait_ms);
        nexus__remote_unref(remote);
        bool moved = status == NEXUS_OK && !r->left && remote && r->request.from > before;
        if (moved || status == NEXUS_ECLOSED)
            continue; /* a page of nothing that matches, or another owner */
        return status;
    }
}

/* --- straight from the files ---- */

/* The next record that is wanted, or why there is none now: NEXUS_EDONE at the end of what wal has. */
static nexus_status scan(nexus_reader *r, nexus__wal *wal)
{
    nexus__read_request *q = &r->request;
    if (r->direct && r->direct_of != wal) { /* of an owner that this handle was before */
        nexus__wal_reader_close(r->direct);
        r->direct = NULL;
    }
    if (!r->direct) {
        r->direct_of = wal;
        nexus_status status = nexus__wal_reader_open(&r->direct, wal, q->from);
        if (status == NEXUS_EMISSING)
            q->from = nexus__wal_first(wal);
        if (status != NEXUS_OK)
            return status;
        nexus__read_select(q, r->direct);
    }
    for (;;) {
        nexus__wal_record record = {0};
        nexus_status status = nexus__wal_reader_next(r->direct, &record);
        if (status == NEXUS_EDONE && nexus__wal_reader_pos(r->direct) >= q->from)
            q->from = nexus__wal_reader_pos(r->direct) + 1;
        if (status == NEXUS_ECORRUPT && record.pos >= q->from)
            q->from = record.pos + 1;
        if (status != NEXUS_OK)
            return status;
        if (record.flags & NEXUS__WAL_INTERNAL)
            continue;
        if (q->to && record.pos > q->to) {
            q->from = q->to + 1;
            return NEXUS_EDONE;
        }
        q->from = record.pos + 1;
        if (nexus__read_wants(q, &record, &r->view))
            return NEXUS_OK;
    }
}

static bool past_end(const nexus_reader *r)
{
    return r->request.to && r->request.from > r->request.to;
}

static nexus_status next_local(nexus_reader *r, nexus__broker *broker, uint32_t wait_ms)
{
    nexus__wal *wal = nexus__broker_wal(broker);
    int64_t until = wait_ms ? nexus__mono_ns() + wait_ms * NEXUS__NS_PER_MS : 0;
    for (;;) {
        uint64_t head = nexus__wal_durable(wal);
        nexus_status status = scan(r, wal);
        int64_t left = status == NEXUS_EDONE && wait_ms && !past_end(r) ? until - nexus__mono_ns() : 0;
        if (left <= 0)
            return status;
        nexus__broker_wait(broker, head, (uint32_t)(left / NEXUS__NS_PER_MS + 1));
    }
}

/* NEXUS_EDONE: go on by pages. */
static nexus_status next_sealed(nexus_reader *r)
{
    uint64_t end;
    nexus_status status = NEXUS_OK;
    if (!r->sealed && nexus__wal_view_open(&r->sealed, r->bus->dir, r->bus->alloc, &end) == NEXUS_OK &&
        r->request.from >= end)
        status = NEXUS_EDONE;
    if (status == NEXUS_OK)
        status = r->sealed ? scan(r, r->sealed) : NEXUS_EDONE;
    if (status != NEXUS_EDONE)
        return status;
    r->sealed_over = true;
    leave_direct(r);
    return NEXUS_EDONE;
}

/* --- from pages ---- */

static nexus_status next_of_page(nexus_reader *r)
{
    nexus__wire_stored w;
    nexus__wire_take_event(&r->in, &w);
    r->left--;
    if (r->in.bad)
        return nexus__fail(NEXUS_EPROTO, "the bus owner gave an unreadable answer");
    nexus_status status = nexus__event_decode(&r->view, w.meta, w.data);
    r->view.event.pos = w.pos;
    r->view.event.version = w.version;
    r->view.event.recv_ns = w.recv_ns;
    return status;
}

/* --- where we are ---- */

/* Whether the head has run away from a reader that was caught up. */
static void look_behind(nexus_reader *r)
{
    uint64_t head;
    r->unlooked = 0;
    if (!r->caught_up || nexus_bus_head(r->bus, &head) != NEXUS_OK || head < r->position + r->behind)
        return;
    r->caught_up = false;
    r->signal = NEXUS_SIGNAL_FELL_BEHIND;
}

static void at_end(nexus_reader *r)
{
    if (r->request.from > r->position + 1)
        r->position = r->request.from - 1;
    if (r->caught_up || past_end(r))
        return;
    r->caught_up = true;
    r->signal = NEXUS_SIGNAL_CAUGHT_UP;
}

uint32_t nexus_reader_signal(nexus_reader *r)
{
    uint32_t signal = r->signal;
    r->signal = NEXUS_SIGNAL_NONE;
    return signal;
}

bool nexus__reader_pending(const nexus_reader *r)
{
    return r->evolved_at < r->evolved.count;
}

uint64_t nexus_reader_position(const nexus_reader *r)
{
    return r->position;
}

/* --- next ---- */

static nexus_status next_stored(nexus_reader *r, uint32_t wait_ms)
{
    nexus__broker *broker = atomic_load(&r->bus->broker);
    if (r->left)
        return next_of_page(r);
    if (past_end(r))
        return NEXUS_EDONE;
    bool narrowed = r->request.filter.stream.n > 0; /* a page begins near the stream's events */
    if (r->sealed || (!broker && !narrowed && r->bus->dir && !r->bus->engine->open_log && !r->sealed_over)) {
        nexus_status status = next_sealed(r);
        if (status != NEXUS_EDONE || past_end(r))
            return status;
    }
    if (broker && !narrowed)
        return next_local(r, broker, wait_ms);
    look_behind(r);
    nexus_status status = next_page(r, wait_ms);
    if (status != NEXUS_OK)
        return status;
    return r->left ? next_of_page(r) : NEXUS_EDONE;
}

static nexus_status next_signalling(nexus_reader *r, uint32_t wait_ms)
{
    bool first = r->signals && !r->caught_up; /* the end is told at once, not after the wait */
    nexus_status status = next_stored(r, first ? 0 : wait_ms);
    if (status == NEXUS_EDONE)
        at_end(r);
    else if (status == NEXUS_OK) {
        r->position = r->view.event.pos;
        if (r->caught_up && ++r->unlooked >= LOOK_EVERY && atomic_load(&r->bus->broker))
            look_behind(r);
    }
    return status;
}

static nexus_status unseal(nexus_reader *r)
{
    bool gone;
    nexus__buf_clear(&r->opened);
    nexus_status status = nexus__shred_open(&r->bus->shred, &r->view.event, &r->opened, &gone);
    if (status != NEXUS_OK)
        return status;
    r->view.event.data = nexus__buf_slice(&r->opened);
    nexus__shred_mark(&r->view, gone);
    return NEXUS_OK;
}

nexus_status nexus_reader_next(nexus_reader *r, const nexus_event **event, uint32_t wait_ms)
{
    nexus__buf_clear(&r->json);
    if (r->evolved_at < r->evolved.count) {
        *event = &r->evolved.events[r->evolved_at++];
        return NEXUS_OK;
    }
    for (;;) {
        bool changed = false;
        nexus_status status = next_signalling(r, wait_ms);
        if (status == NEXUS_OK && nexus__shred_is_sealed(&r->view.event))
            status = unseal(r);
        if (status == NEXUS_OK && !r->raw)
            status = nexus__evolve(nexus__contracts_now(&r->bus->contracts), r->accept, &r->view.event, &r->evolved,
                                   &changed);
        r->evolved_at = r->evolved.count; /* nothing is left of an earlier one */
        if (status != NEXUS_OK)
            return status;
        if (!changed) {
            *event = &r->view.event;
            return NEXUS_OK;
        }
        r->evolved_at = 0;
        if (r->evolved.count) {
            *event = &r->evolved.events[r->evolved_at++];
            return NEXUS_OK;
        }
    }
}

nexus_status nexus_reader_next_json(nexus_reader *r, const char **text, size_t *n, uint32_t wait_ms)
{
    const nexus_event *event;
    nexus_status status = nexus_reader_next(r, &event, wait_ms);
    if (status != NEXUS_OK)
        return status;
    nexus__event_write_json(&r->json, event);
    nexus__buf_char(&r->json, '\0');
    if (r->json.status != NEXUS_OK)
        return nexus__nomem();
    *text = r->json.p;
    if (n)
        *n = r->json.len - 1;
    return NEXUS_OK;
}
