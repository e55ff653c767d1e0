/* nexus_bus_commit: in the owner straight to the broker, else over the connection. */
#include <stdio.h>

#include "base/status.h"
#include "bus/cause.h"
#include "bus/delivery.h"
#include "bus/publish.h"

typedef struct waiter {
    nexus__gate gate;
    atomic_uint refs;
    const nexus_alloc *alloc;
    nexus_status status;
    nexus_publish_result result;
    char message[256];
} waiter;

static void waiter_unref(waiter *w)
{
    if (atomic_fetch_sub(&w->refs, 1) == 1)
        nexus__free(w->alloc, w);
}

static void done(nexus_status status, const nexus_publish_result *result, void *user_data)
{
    waiter *w = user_data;
    w->status = status;
    w->result = *result;
    snprintf(w->message, sizeof w->message, "%s", status == NEXUS_OK ? "" : nexus_error_message());
    nexus__gate_open(&w->gate);
    waiter_unref(w);
}

/* --- in the owner ------------------------------------------------------------------------------------------------- */

static nexus_status bind_all(nexus_delivery *const *acks, size_t n, int64_t until, nexus__commit_ack *out)
{
    nexus_status status = NEXUS_OK;
    for (size_t i = 0; i < n && status == NEXUS_OK; i++) {
        nexus__group_backend b;
        status = nexus__group_bind(acks[i]->group, until, &b);
        if (status != NEXUS_OK)
            return status;
        nexus__remote_unref(b.remote);
        out[i] = (nexus__commit_ack){b.local, acks[i]->stored->pos, acks[i]->token};
        status = b.local ? NEXUS_OK : nexus__fail(NEXUS_ECLOSED, "the bus has another owner now");
    }
    return status;
}

static nexus_status commit_local(nexus_bus *bus, nexus__broker *broker, nexus_delivery *const *acks, size_t n_acks,
                                 const nexus_event *events, size_t n, const nexus__publish_terms *terms, int64_t until,
                                 nexus_publish_result *result)
{
    nexus__commit_ack *list = nexus__malloc(bus->alloc, (n_acks + 1) * sizeof *list);
    waiter *w = nexus__calloc(bus->alloc, 1, sizeof *w);
    nexus_status status = list && w ? bind_all(acks, n_acks, until, list) : nexus__nomem();
    if (status == NEXUS_OK) {
        w->alloc = bus->alloc;
        atomic_init(&w->refs, 2);
        status = nexus__broker_commit(broker, list, n_acks, events, n, terms, done, w, result);
    }
    nexus__free(bus->alloc, list);
    if (status != NEXUS_OK) {
        nexus__free(bus->alloc, w);
        return status;
    }
    if (nexus__gate_wait(&w->gate, until)) {
        *result = w->result;
        status = w->status == NEXUS_OK ? NEXUS_OK : nexus__fail(w->status, "%s", w->message);
    } else {
        status = nexus__fail(NEXUS_EUNKNOWN, "no answer in time: commit again with the same ids");
    }
    waiter_unref(w);
    return status;
}

/* --- in a client -------------------------------------------------------------------------------------------------- */

static nexus_status encode(nexus__buf *body, nexus__remote *remote, nexus_delivery *const *acks, size_t n_acks,
                           const nexus_event *events, size_t n, const nexus__publish_terms *terms, int64_t until)
{
    nexus__wire_u32(body, (uint32_t)n_acks);
    for (size_t i = 0; i < n_acks; i++) {
        nexus__group_backend b;
        nexus_status status = nexus__group_bind(acks[i]->group, until, &b);
        if (status != NEXUS_OK)
            return status;
        bool same = b.remote == remote;
        nexus__remote_unref(b.remote);
        if (!same)
            return nexus__fail(NEXUS_ECLOSED, "the bus has another owner now");
        nexus__wire_u32(body, b.index);
        nexus__wire_u64(body, acks[i]->stored->pos);
        nexus__wire_u64(body, acks[i]->token);
    }
    nexus__publish_body_encode(body, events, n, terms);
    return body->status;
}

static void answered(nexus_status status, nexus_slice body, void *user_data)
{
    waiter *w = user_data;
    nexus__wire_in in = {.rest = body};
    nexus_publish_result result = {.size = sizeof result, .version = -1, .actual_version = -1};
    if (status != NEXUS_ECLOSED)
        nexus__wire_take_result(&in, &result);
    w->status = in.bad && status == NEXUS_OK ? NEXUS_EPROTO : status;
    w->result = result;
    snprintf(w->message, sizeof w->message, "%.*s", (int)(in.rest.n < 255 ? in.rest.n : 255), in.rest.n ? in.rest.p : "");
    nexus__gate_open(&w->gate);
    waiter_unref(w);
}

static nexus_status commit_remote(nexus_bus *bus, nexus__remote *remote, nexus_delivery *const *acks, size_t n_acks,
                                  const nexus_event *events, size_t n, const nexus__publish_terms *terms, int64_t until,
                                  bool *sent, nexus_publish_result *result)
{
    nexus__buf body;
    nexus__buf_init(&body, bus->alloc, 0);
    waiter *w = nexus__calloc(bus->alloc, 1, sizeof *w);
    nexus_status status = w ? encode(&body, remote, acks, n_acks, events, n, terms, until) : nexus__nomem();
    if (status == NEXUS_OK) {
        w->alloc = bus->alloc;
        atomic_init(&w->refs, 2);
        status = nexus__remote_send(remote, WIRE_COMMIT, nexus__buf_slice(&body), answered, w);
    }
    nexus__buf_free(&body);
    if (status != NEXUS_OK) {
        nexus__free(bus->alloc, w);
        return status;
    }
    *sent = true;
    if (nexus__gate_wait(&w->gate, until)) {
        *result = w->result;
        status = w->status == NEXUS_OK ? NEXUS_OK : nexus__fail(w->status, "%s", w->message);
    } else {
        status = nexus__fail(NEXUS_EUNKNOWN, "no answer in time: commit again with the same ids");
    }
    waiter_unref(w);
    return status;
}

/* --- the call ----------------------------------------------------------------------------------------------------- */

/* Again when the connection ends on the way: what was done is found by the events' ids. */
static nexus_status commit(nexus_bus *bus, nexus_delivery *const *acks, size_t n_acks, const nexus_event *events, size_t n,
                           const nexus__publish_terms *terms, int64_t until, nexus_publish_result *result)
{
    bool sent = false;
    for (;;) {
        nexus__broker *broker;
        nexus__remote *remote;
        nexus_status status = nexus__bus_backend(bus, until, &broker, &remote);
        if (status != NEXUS_OK)
            return status;
        status = broker ? commit_local(bus, broker, acks, n_acks, events, n, terms, until, result)
                        : commit_remote(bus, remote, acks, n_acks, events, n, terms, until, &sent, result);
        nexus__remote_unref(remote);
        if (status == NEXUS_ESTALE && sent && n == 0)
            return nexus__fail(NEXUS_EUNKNOWN, "the owner of the bus went while it settled %zu deliveries", n_acks);
        if (status != NEXUS_ECLOSED || nexus__mono_ns() >= until)
            return status;
    }
}

static nexus_status check(nexus_bus *bus, nexus_delivery *const *acks, size_t n_acks, size_t n)
{
    if (n_acks == 0 && n == 0)
        return nexus__fail(NEXUS_EINVAL, "a commit of nothing");
    for (size_t i = 0; i < n_acks; i++)
        if (!acks[i]->group || acks[i]->group->bus != bus) /* none: of a replay */
            return nexus__fail(NEXUS_EINVAL, "delivery %zu is of another bus handle", i);
        else if (acks[i]->settled)
            return nexus__fail(NEXUS_ESTALE, "delivery %zu is settled already", i);
    return NEXUS_OK;
}

nexus_status nexus_bus_commit(nexus_bus *bus, nexus_delivery *const *acks, size_t n_acks, const nexus_event *events,
                              size_t n, const nexus_publish_opts *opts, nexus_publish_result *result)
{
    nexus_publish_result local = {.size = sizeof local, .version = -1, .actual_version = -1};
    nexus__publish_terms terms = nexus__publish_terms_of(opts);
    nexus__completed c = {0};
    terms.waits = nexus__bus_may_write(bus, opts ? opts->timeout_ms : 0);
    nexus_status status = check(bus, acks, n_acks, n);
    if (status == NEXUS_OK)
        status = nexus__types_check(terms.fail_types);
    if (status == NEXUS_OK && n)
        status = nexus__publish_complete(bus, events, n, n_acks ? nexus_delivery_event(acks[0]) : nexus__cause_now(), &c);
    if (status == NEXUS_OK)
        status = commit(bus, acks, n_acks, c.events, n, &terms, nexus__bus_until(bus, opts ? opts->timeout_ms : 0), &local);
    for (size_t i = 0; i < n_acks && status == NEXUS_OK; i++)
        nexus__delivery_settled(acks[i], "commit", false);
    if (n)
        nexus__publish_span_end(&c.span, bus, status, &local);
    local.warnings = c.warnings;
    nexus__completed_free(bus, &c);
    nexus__publish_result_copy(result, &local);
    return status;
}
