/* nexus_reader: pages of events, read from the log in the owner and asked for by a client, in one shape. */
#include <nexus/stream.h>

#include "base/status.h"
#include "bus/handle.h"

struct nexus_reader {
    nexus_bus *bus;
    nexus__read_request request; /* from = where the next page begins; texts point into `texts` */
    nexus__buf texts;
    nexus__buf page;
    nexus__wire_in in; /* what is left of the page */
    uint32_t left;
    bool from_end;
    nexus__event_view view;
    nexus__buf json;
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
    size_t at[6];
    keep(r, o->types, &at[0]);
    keep(r, o->subject_prefix, &at[1]);
    keep(r, o->source, &at[2]);
    keep(r, o->stream, &at[3]);
    keep(r, o->category, &at[4]);
    at[5] = r->texts.len;
    if (r->texts.status != NEXUS_OK)
        return nexus__nomem();
    nexus_slice part[5];
    for (size_t i = 0; i < 5; i++)
        part[i] = nexus__slice(r->texts.p ? r->texts.p + at[i] : NULL, at[i + 1] - at[i]);
    r->request.filter = (nexus__filter){part[0], part[1], part[2], part[3], part[4]};
    return nexus__types_check(part[0]);
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
    nexus_status status = set_filter(r, &given);
    if (status == NEXUS_OK)
        status = set_start(r, &given);
    if (status != NEXUS_OK) {
        nexus_reader_close(r);
        return status;
    }
    *out = r;
    return NEXUS_OK;
}

void nexus_reader_close(nexus_reader *r)
{
    if (!r)
        return;
    nexus__buf_free(&r->texts);
    nexus__buf_free(&r->page);
    nexus__buf_free(&r->json);
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

static nexus_status page_remote(nexus_reader *r, nexus__remote *remote, uint32_t wait_ms)
{
    nexus__buf body;
    nexus__buf_init(&body, r->bus->alloc, 0);
    r->request.wait_ms = wait_ms;
    nexus__wire_read_request(&body, &r->request);
    nexus_status status = nexus__remote_call(remote, WIRE_READ, nexus__buf_slice(&body),
                                             nexus__bus_until(r->bus, 0) + wait_ms * NEXUS__NS_PER_MS, &r->page);
    nexus__buf_free(&body);
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

nexus_status nexus_reader_next(nexus_reader *r, const nexus_event **event, uint32_t wait_ms)
{
    nexus__buf_clear(&r->json);
    if (!r->left) {
        if (r->request.to && r->request.from > r->request.to)
            return NEXUS_EDONE;
        nexus_status status = next_page(r, wait_ms);
        if (status != NEXUS_OK)
            return status;
        if (!r->left)
            return NEXUS_EDONE;
    }
    nexus__wire_stored w;
    nexus__wire_take_event(&r->in, &w);
    r->left--;
    if (r->in.bad)
        return nexus__fail(NEXUS_EPROTO, "the bus owner gave an unreadable answer");
    nexus_status status = nexus__event_decode(&r->view, w.meta, w.data);
    if (status != NEXUS_OK)
        return status;
    r->view.event.pos = w.pos;
    r->view.event.version = w.version;
    r->view.event.recv_ns = w.recv_ns;
    *event = &r->view.event;
    return NEXUS_OK;
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
