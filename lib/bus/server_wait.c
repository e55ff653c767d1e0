/* Fetches and reads of clients: answered when there is something, or when their time is over. */
#include <string.h>

#include "base/status.h"
#include "bus/server_conn.h"

#define FETCH_MAX 1024

typedef struct nexus__waiting { /* found nothing yet */
    struct nexus__waiting *next;
    uint64_t id;
    int64_t until_ns;
    uint32_t group, max;
    nexus__buf read; /* the request's body; empty = a fetch */
} waiting;

static void reply_leases(nexus__conn *c, uint64_t id, nexus__lease *leases, size_t n)
{
    size_t begin = nexus__conn_reply_begin(c, WIRE_FETCH, NEXUS_OK, id);
    nexus__wire_u32(&c->out, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        nexus__wire_u64(&c->out, leases[i].token);
        nexus__wire_u32(&c->out, leases[i].attempt);
        nexus__wire_event(&c->out, &leases[i].stored->view.event, leases[i].stored->meta);
        nexus__stored_unref(c->server->alloc, leases[i].stored);
    }
    nexus__conn_reply_end(c, begin);
}

/* False: nothing yet, and there is time left. Answers are kept under the frame cap by taking fewer at a time. */
static bool try_fetch(nexus__conn *c, uint64_t id, uint32_t group, uint32_t max, int64_t until_ns, int64_t *due_ns)
{
    nexus__lease leases[FETCH_MAX];
    size_t got = 0;
    nexus__joined *j = nexus__conn_group(c, group);
    if (!j) {
        nexus__conn_reply(c, WIRE_FETCH, nexus__fail(NEXUS_EPROTO, "no such group on this connection"), id, NEXUS_S(""));
        return true;
    }
    if (max > FETCH_MAX)
        max = FETCH_MAX;
    uint64_t bytes = 0;
    nexus_status status = NEXUS_OK;
    while (got < max && bytes < (1u << 20)) { /* a step at a time, since one event may be 16 MiB */
        size_t some = 0, step = max - got < 64 ? max - got : 64;
        if (bytes > (1u << 18))
            step = 1;
        status = nexus__bgroup_take(j->group, j->member, leases + got, got ? step : 1, &some, due_ns);
        if (!some)
            break;
        for (size_t i = got; i < got + some; i++)
            bytes += leases[i].stored->meta.n + leases[i].stored->view.event.data.n + 64;
        got += some;
    }
    if (got == 0 && status == NEXUS_OK && nexus__mono_ns() < until_ns && !atomic_load(&c->server->closing))
        return false;
    if (got == 0 && status != NEXUS_OK)
        nexus__conn_reply(c, WIRE_FETCH, status, id, NEXUS_S(""));
    else
        reply_leases(c, id, leases, got);
    return true;
}

static bool try_read(nexus__conn *c, uint64_t id, nexus_slice body, int64_t until_ns)
{
    nexus__wire_in in = {.rest = body};
    nexus__read_request r;
    nexus__wire_take_read_request(&in, &r);
    if (in.bad) {
        nexus__conn_reply(c, WIRE_READ, nexus__fail(NEXUS_EPROTO, "an unreadable read request"), id, NEXUS_S(""));
        return true;
    }
    nexus__buf page;
    uint32_t count = 0;
    uint64_t next = r.from;
    nexus__buf_init(&page, c->server->alloc, 0);
    nexus_status status = nexus__broker_read_page(c->server->broker, c->server->alloc, &r, &page, &count, &next);
    bool wait = status == NEXUS_OK && count == 0 && !(r.to && next > r.to) && nexus__mono_ns() < until_ns &&
                !atomic_load(&c->server->closing);
    if (!wait && status != NEXUS_OK) {
        nexus__buf_clear(&page); /* the message, and where the reader goes on */
        nexus__buf_append(&page, nexus_error_message(), strlen(nexus_error_message()) + 1);
        nexus__wire_u64(&page, next);
        nexus__conn_reply(c, WIRE_READ, status, id, nexus__buf_slice(&page));
    } else if (!wait) {
        size_t begin = nexus__conn_reply_begin(c, WIRE_READ, NEXUS_OK, id);
        nexus__wire_u64(&c->out, next);
        nexus__wire_u32(&c->out, count);
        nexus__buf_slice_append(&c->out, nexus__buf_slice(&page));
        nexus__conn_reply_end(c, begin);
    }
    nexus__buf_free(&page);
    return !wait;
}

static void wait_for(nexus__conn *c, uint64_t id, uint32_t group, uint32_t max, int64_t until_ns, nexus_slice read)
{
    waiting *w = nexus__calloc(c->server->alloc, 1, sizeof *w);
    if (!w) {
        nexus__conn_reply(c, read.n ? WIRE_READ : WIRE_FETCH, nexus__nomem(), id, NEXUS_S(""));
        return;
    }
    w->id = id;
    w->group = group;
    w->max = max;
    w->until_ns = until_ns;
    nexus__buf_init(&w->read, c->server->alloc, 0);
    nexus__buf_slice_append(&w->read, read);
    w->next = c->waits;
    c->waits = w;
    atomic_store(&c->hungry, true);
}

int64_t nexus__conn_retry(nexus__conn *c)
{
    int64_t due = INT64_MAX;
    for (waiting **at = &c->waits; *at;) {
        waiting *w = *at;
        int64_t next = INT64_MAX;
        bool done = w->read.len ? try_read(c, w->id, nexus__buf_slice(&w->read), w->until_ns)
                                : try_fetch(c, w->id, w->group, w->max, w->until_ns, &next);
        next = next < w->until_ns ? next : w->until_ns;
        if (!done) {
            due = next < due ? next : due;
            at = &w->next;
            continue;
        }
        *at = w->next;
        nexus__buf_free(&w->read);
        nexus__free(c->server->alloc, w);
    }
    if (!c->waits)
        atomic_store(&c->hungry, false);
    return due;
}

void nexus__conn_forget_waits(nexus__conn *c)
{
    while (c->waits) {
        waiting *w = c->waits;
        c->waits = w->next;
        nexus__buf_free(&w->read);
        nexus__free(c->server->alloc, w);
    }
}

void nexus__conn_fetch(nexus__conn *c, uint64_t id, nexus__wire_in *in)
{
    int64_t due;
    uint32_t group = nexus__wire_take_u32(in), max = nexus__wire_take_u32(in);
    int64_t until = nexus__mono_ns() + nexus__wire_take_u32(in) * NEXUS__NS_PER_MS;
    if (!try_fetch(c, id, group, max, until, &due))
        wait_for(c, id, group, max, until, NEXUS_S(""));
}

void nexus__conn_read(nexus__conn *c, uint64_t id, nexus_slice body)
{
    nexus__read_request r = {0};
    nexus__wire_in in = {.rest = body};
    nexus__wire_take_read_request(&in, &r);
    int64_t until = nexus__mono_ns() + r.wait_ms * NEXUS__NS_PER_MS;
    if (!try_read(c, id, body, until))
        wait_for(c, id, 0, 0, until, body);
}
