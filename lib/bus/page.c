/* What the owner does for a client's publish and read, apart from sockets. */
#include <stdio.h>

#include "base/status.h"
#include "bus/internal.h"
#include "bus/server.h"
#include "bus/wire.h"

#define PAGE_BYTES (1u << 20)
#define SCAN_MAX 200000 /* records looked at for one page, so that a rare type does not hold up a connection */

void nexus__publish_body_encode(nexus__buf *out, const nexus_event *events, size_t n, const nexus__publish_terms *terms)
{
    nexus__wire_u64(out, (uint64_t)terms->expect);
    nexus__wire_text(out, terms->stream);
    nexus__wire_text(out, terms->fail_types);
    nexus__wire_text(out, terms->fail_tags);
    nexus__wire_u64(out, terms->fail_after);
    nexus__wire_u64(out, (uint64_t)terms->not_before_ns);
    nexus__wire_u32(out, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        const nexus_event *e = nexus__event_at(events, i);
        size_t at = out->len;
        nexus__wire_u32(out, 0);
        nexus__event_encode(out, e, NEXUS_S(""));
        if (out->status != NEXUS_OK)
            return;
        uint32_t meta = (uint32_t)(out->len - at - sizeof meta);
        memcpy(out->p + at, &meta, sizeof meta);
        nexus__wire_text(out, e->data);
    }
}

static nexus_status read_events(nexus__wire_in *in, uint32_t n, nexus__event_view *views, nexus_event *events)
{
    for (uint32_t i = 0; i < n; i++) {
        nexus_slice meta = nexus__wire_take_text(in), data = nexus__wire_take_text(in);
        if (in->bad || nexus__event_decode(&views[i], meta, data) != NEXUS_OK)
            return nexus__fail(NEXUS_EPROTO, "a publish with unreadable events");
        events[i] = views[i].event;
        nexus_status status = nexus_event_check(&events[i]);
        if (status != NEXUS_OK)
            return status;
        if (!events[i].id.n || !events[i].source.n)
            return nexus__fail(NEXUS_EINVAL, "attribute \"id\" or \"source\" is empty");
    }
    return NEXUS_OK;
}

static bool take_terms(nexus__wire_in *in, nexus__publish_terms *terms)
{
    *terms = (nexus__publish_terms)NEXUS__PUBLISH_TERMS;
    terms->expect = (int64_t)nexus__wire_take_u64(in);
    terms->stream = nexus__wire_take_text(in);
    terms->fail_types = nexus__wire_take_text(in);
    terms->fail_tags = nexus__wire_take_text(in);
    terms->fail_after = nexus__wire_take_u64(in);
    terms->not_before_ns = (int64_t)nexus__wire_take_u64(in);
    return !in->bad;
}

nexus_status nexus__publish_body(nexus__broker *b, const nexus_alloc *alloc, nexus_slice body,
                                 const nexus__commit_ack *acks, size_t n_acks, nexus__publish_done_fn *done,
                                 void *user_data, nexus_publish_result *result)
{
    nexus__wire_in in = {.rest = body};
    nexus__publish_terms terms;
    bool good = take_terms(&in, &terms);
    uint32_t n = nexus__wire_take_u32(&in);
    if (!good || in.bad || (n == 0 && !n_acks) ||
        n > in.rest.n / 8) /* each event has two lengths: no allocation beyond the frame's size */
        return nexus__fail(NEXUS_EPROTO, "a publish of %u events in %zu bytes", n, in.rest.n);
    nexus__event_view one_view, *views = n <= 1 ? &one_view : nexus__malloc(alloc, n * sizeof *views);
    nexus_event one_event, *events = n <= 1 ? &one_event : nexus__malloc(alloc, n * sizeof *events);
    nexus_status status = views && events ? read_events(&in, n, views, events) : nexus__nomem();
    if (status == NEXUS_OK && n_acks)
        status = nexus__broker_commit(b, acks, n_acks, events, n, &terms, done, user_data, result);
    else if (status == NEXUS_OK)
        status = nexus__broker_publish(b, events, n, &terms, done, user_data, result);
    if (n > 1) {
        nexus__free(alloc, views);
        nexus__free(alloc, events);
    }
    return status;
}

bool nexus__publish_body_plain(nexus_slice body, nexus__event_view *view)
{
    nexus__wire_in in = {.rest = body};
    nexus__publish_terms terms;
    nexus_event event;
    bool bare = take_terms(&in, &terms) && nexus__wire_take_u32(&in) == 1 && terms.expect == NEXUS_EXPECT_ANY &&
                !terms.stream.n && !terms.fail_types.n && !terms.fail_tags.n && !terms.not_before_ns;
    return bare && read_events(&in, 1, view, &event) == NEXUS_OK;
}

bool nexus__read_wants(const nexus__read_request *r, const nexus__wal_record *record, nexus__event_view *view)
{
    if ((record->flags & NEXUS__WAL_INTERNAL) || record->recv_ns < r->from_time_ns)
        return false;
    if (r->filter.stream.n && record->version < r->from_version)
        return false;
    if (nexus__event_decode(view, record->meta, record->payload) != NEXUS_OK ||
        !nexus__filter_match(&r->filter, &view->event))
        return false;
    view->event.pos = record->pos;
    view->event.version = record->version;
    view->event.recv_ns = record->recv_ns;
    return true;
}

nexus_slice nexus__record_type(const nexus__wal_record *r)
{
    nexus__event_view view;
    bool readable = r->kind == KIND_EVENT && nexus__event_decode(&view, r->meta, r->payload) == NEXUS_OK;
    return readable ? view.event.type : NEXUS_S("");
}

static bool wants_type(nexus_slice type, void *user_data)
{
    return nexus__types_match(*(const nexus_slice *)user_data, type);
}

void nexus__read_select(const nexus__read_request *r, nexus__wal_reader *reader)
{
    const nexus__filter *f = &r->filter;
    nexus__wal_select select = {.stream = f->stream.n ? nexus__stream_hash(f->stream) : 0,
                                .wants_type = f->types.n ? wants_type : NULL,
                                .user_data = (void *)(uintptr_t)&f->types,
                                .type_of = nexus__record_type};
    nexus__wal_reader_select(reader, &select);
}

/* Where a read of one stream may begin and end. */
typedef struct span {
    uint64_t from;
    uint64_t last; /* the stream's last event; 0 = not known, or no stream is asked for */
    uint64_t rest; /* behind it: where the next read goes on */
} span;

/* A read of one stream can often begin at its last event, or not at all, and ends at it. False: there is nothing for it up
 * to from. */
static bool narrow(nexus__broker *b, const nexus__read_request *r, span *s)
{
    uint64_t durable = nexus__wal_durable(nexus__broker_wal(b)); /* before the look: what comes later is read later */
    if (!r->filter.stream.n)
        return true;
    int64_t version = nexus__broker_stream_head(b, r->filter.stream, &s->last);
    s->rest = durable + 1 > s->from ? durable + 1 : s->from;
    if (version < r->from_version || (s->last && s->last < s->from)) {
        s->from = s->rest;
        return false;
    }
    if (s->last > s->from && version == r->from_version)
        s->from = s->last;
    return true;
}

/* What the reader has just told is told once: the next page begins with the next record that can be read. */
static void pass_trouble(nexus__broker *b, nexus__wal_reader *reader, nexus__wal_record *record, nexus_status told,
                         uint64_t *next)
{
    char said[256];
    snprintf(said, sizeof said, "%s", nexus_error_message());
    nexus_status status = told;
    uint64_t behind = told == NEXUS_ECORRUPT ? record->pos + 1 : 0; /* known, where one record is damaged */
    while (behind <= *next && (status == NEXUS_ECORRUPT || status == NEXUS_EMISSING || status == NEXUS_OK)) {
        status = nexus__wal_reader_next(reader, record);
        if (status == NEXUS_OK && !(record->flags & NEXUS__WAL_INTERNAL))
            break;
    }
    if (behind > *next)
        *next = behind;
    else if (status == NEXUS_OK)
        *next = record->pos;
    else if (status == NEXUS_EDONE)
        *next = nexus__wal_durable(nexus__broker_wal(b)) + 1;
    (void)nexus__fail(told, "%s", said);
}

nexus_status nexus__broker_read_page(nexus__broker *b, const nexus_alloc *alloc, const nexus__read_request *r,
                                     nexus__buf *out, uint32_t *count, uint64_t *next)
{
    (void)alloc;
    nexus__wal_reader *reader;
    span s = {.from = r->from ? r->from : 1};
    bool any = narrow(b, r, &s);
    *next = s.from;
    nexus_status status = any ? nexus__wal_reader_open(&reader, nexus__broker_wal(b), s.from) : NEXUS_OK;
    if (status == NEXUS_EMISSING)
        *next = nexus__wal_first(nexus__broker_wal(b)); /* told once, then it goes on with what is left */
    if (status != NEXUS_OK || !any)
        return status;
    nexus__read_select(r, reader);
    for (uint32_t looked = 0; looked < SCAN_MAX && out->len < PAGE_BYTES && *count < (r->max ? r->max : UINT32_MAX);
         looked++) {
        nexus__wal_record record = {0};
        nexus__event_view view;
        status = nexus__wal_reader_next(reader, &record);
        if (status != NEXUS_OK) {
            if (status == NEXUS_EDONE && nexus__wal_reader_pos(reader) >= *next)
                *next = nexus__wal_reader_pos(reader) + 1; /* the end was passed over, not read */
            if (status == NEXUS_EDONE || *count)
                status = NEXUS_OK; /* what was found first; the trouble comes with the next page */
            else if (status == NEXUS_ECORRUPT || status == NEXUS_EMISSING)
                pass_trouble(b, reader, &record, status, next);
            break;
        }
        if (r->to && record.pos > r->to)
            break;
        if (nexus__read_wants(r, &record, &view)) {
            nexus__wire_event(out, &view.event, record.meta);
            (*count)++;
        }
        if (!(record.flags & NEXUS__WAL_INTERNAL))
            *next = record.pos + 1;
        if (s.last && record.pos == s.last && !(record.flags & NEXUS__WAL_INTERNAL)) {
            *next = s.rest > *next ? s.rest : *next;
            break;
        }
    }
    nexus__wal_reader_close(reader);
    return status == NEXUS_OK ? out->status : status;
}
