/* A member's handle on a group, and its deliveries: in the owner straight to the broker, else over the connection. */
#include <errno.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/status.h"
#include "bus/delivery.h"

/* --- which backend ---- */

static nexus_status join_remote(nexus_group *g, nexus__remote *remote, int64_t until)
{
    nexus__buf body, answer;
    uint32_t out[2];
    nexus__buf_init(&body, g->bus->alloc, 0);
    nexus__buf_init(&answer, g->bus->alloc, 0);
    nexus__wire_text(&body, nexus__slice_c(g->name));
    nexus__wire_text(&body, nexus__buf_slice(&g->config));
    nexus_status status = nexus__remote_call(remote, WIRE_GROUP, nexus__buf_slice(&body), until, &answer);
    if (status == NEXUS_OK && answer.len != sizeof out)
        status = nexus__fail(NEXUS_EPROTO, "the bus owner gave an unreadable answer");
    if (status == NEXUS_OK) {
        memcpy(out, answer.p, sizeof out);
        g->index = out[0];
        g->ack_wait_ms = out[1];
        g->epoch = nexus__remote_epoch(remote);
    }
    nexus__buf_free(&body);
    nexus__buf_free(&answer);
    return status;
}

static void event_fd_set(void *user_data)
{
    uint64_t one = 1;
    if (write(((nexus_group *)user_data)->event_fd, &one, sizeof one) < 0)
        return; /* readable already */
}

static nexus_status watch(nexus_group *g, nexus__remote *remote, int64_t until)
{
    if (g->local && !g->watched) {
        g->watch.fn = event_fd_set;
        g->watch.user_data = g;
        g->watched = true;
        nexus__bgroup_watch(g->local, &g->watch);
    } else if (remote && g->watched_epoch != g->epoch) {
        nexus_status status =
            nexus__remote_call(remote, WIRE_WATCH, nexus__slice(&g->index, sizeof g->index), until, NULL);
        if (status != NEXUS_OK)
            return status;
        g->watched_epoch = g->epoch;
    }
    return NEXUS_OK;
}

static nexus_status bind_locked(nexus_group *g, int64_t until, nexus__group_backend *out)
{
    nexus__broker *broker;
    nexus_status status = nexus__bus_backend(g->bus, until, &broker, &out->remote);
    if (status != NEXUS_OK)
        return status;
    if (g->local && g->local_of != broker) { /* of an owner that this handle was before; its member ends with it */
        if (g->watched)
            nexus__bgroup_unwatch(g->local, &g->watch);
        g->watched = false;
        g->local = NULL;
        g->member = NULL;
    }
    if (broker && !g->local) {
        g->local_of = broker;
        nexus__group_config config;
        nexus__group_config_decode(nexus__buf_slice(&g->config), &config);
        nexus__bgroup *local;
        status = nexus__broker_group(broker, nexus__slice_c(g->name), &config, &local);
        if (status == NEXUS_OK && !(g->member = nexus__bgroup_join(local, false)))
            status = nexus__nomem();
        if (status == NEXUS_OK) {
            g->local = local;
            g->ack_wait_ms = nexus__bgroup_config(g->local)->ack_wait_ms;
        }
    } else if (out->remote && g->epoch != nexus__remote_epoch(out->remote)) {
        status = join_remote(g, out->remote, until);
    }
    if (status == NEXUS_OK && g->event_fd >= 0)
        status = watch(g, out->remote, until);
    out->local = g->local;
    out->member = g->member;
    out->index = g->index;
    return status;
}

/* Ready to be used, joined to whoever owns the bus now. The caller drops backend.remote. */
static nexus_status bind_group(nexus_group *g, int64_t until, nexus__group_backend *out)
{
    for (;;) {
        *out = (nexus__group_backend){0};
        pthread_mutex_lock(&g->lock);
        nexus_status status = bind_locked(g, until, out);
        pthread_mutex_unlock(&g->lock);
        if (status == NEXUS_OK)
            return NEXUS_OK;
        nexus__remote_unref(out->remote);
        if (status != NEXUS_ECLOSED || nexus__mono_ns() >= until || g->bus->closing)
            return status;
    }
}

/* --- open, close ---- */

void nexus_group_opts_init(nexus_group_opts *opts)
{
    *opts = (nexus_group_opts)NEXUS_GROUP_OPTS_INIT;
}

static nexus__group_config config_of(const nexus_group_opts *o)
{
    nexus__group_config c = {
        .types = nexus__slice_c(o->types),
        .subject_prefix = nexus__slice_c(o->subject_prefix),
        .source = nexus__slice_c(o->source),
        .tags = nexus__slice_c(o->tags),
        .start = o->start,
        .order = o->order,
        .start_pos = o->start_pos,
        .start_time_ns = o->start_time_ns,
        .ack_wait_ms = o->ack_wait_ms,
        .max_deliver = o->max_deliver,
        .max_inflight = o->max_inflight,
        .backoff_base_ms = o->backoff_base_ms,
        .backoff_cap_ms = o->backoff_cap_ms,
        .update = o->update,
        .existing = o->existing,
        .on_exhausted = o->on_exhausted,
        .max_lease_ms = o->max_lease_ms,
        .max_inflight_bytes = o->max_inflight_bytes,
        .member_inflight = o->member_inflight,
        .sticky_ms = o->sticky_ms,
        .member_inflight_bytes = o->member_inflight_bytes,
        .backoff_factor = o->backoff_factor,
        .backoff_classes = nexus__slice_c(o->backoff_classes),
        .high_types = nexus__slice_c(o->high_types),
        .low_types = nexus__slice_c(o->low_types),
        .redeliver_percent = o->redeliver_percent,
        .redeliver_per_s = o->redeliver_per_s,
        .breaker_percent = o->breaker_percent,
        .breaker_samples = o->breaker_samples,
        .breaker_pause_ms = o->breaker_pause_ms,
        .dead_max = o->dead_max,
        .dead_overflow = o->dead_overflow,
        .dead_expire_s = o->dead_expire_s,
    };
    nexus__group_config_defaults(&c);
    return c;
}

nexus_status nexus_group_open(nexus_group **out, nexus_bus *bus, const char *name, const nexus_group_opts *opts)
{
    if (opts && opts->size == 0)
        return nexus__fail(NEXUS_EINVAL, "group options: size is 0; begin with NEXUS_GROUP_OPTS_INIT");
    nexus_group_opts given = NEXUS_GROUP_OPTS_INIT;
    if (opts)
        memcpy(&given, opts, opts->size < sizeof given ? opts->size : sizeof given);
    nexus_group *g = nexus__calloc(bus->alloc, 1, sizeof *g);
    if (!g)
        return nexus__nomem();
    g->bus = bus;
    g->event_fd = -1;
    pthread_mutex_init(&g->lock, NULL);
    nexus__list_init(&g->node);
    nexus__buf_init(&g->config, bus->alloc, 0);
    g->name = nexus__strndup(bus->alloc, nexus__slice_c(name));
    g->accept = given.accept_revs ? nexus__strndup(bus->alloc, nexus__slice_c(given.accept_revs)) : NULL;
    nexus__group_config config = config_of(&given);
    nexus__group_config_encode(&g->config, &config);
    nexus__group_backend b = {0};
    nexus_status status = g->name && (g->accept || !given.accept_revs) ? g->config.status : nexus__nomem();
    if (status == NEXUS_OK)
        status = nexus__accept_check(nexus__slice_c(g->accept));
    if (status == NEXUS_OK)
        status = bind_group(g, nexus__bus_until(bus, 0), &b);
    if (status != NEXUS_OK) {
        nexus_group_close(g);
        return status;
    }
    nexus__remote_unref(b.remote);
    pthread_mutex_lock(&bus->lock);
    nexus__list_push(&bus->groups, &g->node);
    pthread_mutex_unlock(&bus->lock);
    *out = g;
    return NEXUS_OK;
}

static void left(nexus_status status, nexus_slice body, void *user_data)
{
    (void)status, (void)body, (void)user_data; /* an owner that is gone has forgotten it already */
}

/* Tells the owner, and does not wait for its answer. */
static void leave_remote(nexus_group *g)
{
    pthread_mutex_lock(&g->bus->lock);
    nexus__remote *remote = g->bus->remote && !g->bus->closing ? nexus__remote_ref(g->bus->remote) : NULL;
    pthread_mutex_unlock(&g->bus->lock);
    nexus_status status = NEXUS_ECLOSED;
    if (remote && g->epoch == nexus__remote_epoch(remote))
        status = nexus__remote_send(remote, WIRE_LEAVE, nexus__slice(&g->index, sizeof g->index), left, NULL);
    (void)status;
    nexus__remote_unref(remote);
}

void nexus_group_close(nexus_group *g)
{
    if (!g)
        return;
    pthread_mutex_lock(&g->bus->lock);
    nexus__list_remove(&g->node);
    pthread_mutex_unlock(&g->bus->lock);
    if (g->watched)
        nexus__bgroup_unwatch(g->local, &g->watch);
    if (g->member)
        nexus__bgroup_part(g->local, g->member);
    else if (g->epoch)
        leave_remote(g);
    if (g->event_fd >= 0)
        close(g->event_fd);
    nexus__buf_free(&g->config);
    nexus__free(g->bus->alloc, g->name);
    nexus__free(g->bus->alloc, g->accept);
    pthread_mutex_destroy(&g->lock);
    nexus__free(g->bus->alloc, g);
}

int nexus_group_fd(nexus_group *g)
{
    pthread_mutex_lock(&g->lock);
    bool fresh = g->event_fd < 0;
    if (fresh)
        g->event_fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    int fd = g->event_fd;
    pthread_mutex_unlock(&g->lock);
    nexus__group_backend b = {0};
    if (fresh && bind_group(g, nexus__bus_until(g->bus, 0), &b) == NEXUS_OK)
        nexus__remote_unref(b.remote);
    return fd;
}

/* --- fetch ---- */

/* A copy with the data as it was published; takes the reference. NULL: its lease runs out by itself. */
static nexus__stored *unseal(nexus_group *g, nexus__stored *sealed, nexus_status *why)
{
    bool gone;
    nexus__buf data;
    nexus__stored *plain = NULL;
    nexus__buf_init(&data, g->bus->alloc, 0);
    *why = nexus__shred_open(&g->bus->shred, &sealed->view.event, &data, &gone);
    if (*why == NEXUS_OK)
        plain = nexus__stored_new(g->bus->alloc, sealed->meta, nexus__buf_slice(&data), why);
    if (plain) {
        plain->pos = plain->view.event.pos = sealed->pos;
        plain->view.event.version = sealed->view.event.version;
        plain->view.event.recv_ns = sealed->view.event.recv_ns;
        nexus__shred_mark(&plain->view, gone);
    }
    nexus__buf_free(&data);
    nexus__stored_unref(g->bus->alloc, sealed);
    return plain;
}

static nexus_delivery *delivery_new(nexus_group *g, nexus__stored *stored, uint64_t token, uint32_t attempt,
                                    nexus_status *why)
{
    if (nexus__shred_is_sealed(&stored->view.event) && !(stored = unseal(g, stored, why)))
        return NULL;
    nexus_delivery *d = nexus__calloc(g->bus->alloc, 1, sizeof *d);
    if (!d) {
        *why = nexus__nomem();
        nexus__stored_unref(g->bus->alloc, stored);
        return NULL;
    }
    d->group = g;
    d->alloc = g->bus->alloc;
    d->stored = stored;
    d->token = token;
    d->attempt = attempt;
    nexus__buf_init(&d->json, g->bus->alloc, 0);
    nexus__arena_init(&d->evolved.arena, g->bus->alloc, 0);
    if (atomic_load_explicit(&g->bus->tracer, memory_order_relaxed))
        nexus__delivery_span_begin(&d->span, &stored->view.event);
    return d;
}

static nexus_status fetch_local(nexus_group *g, const nexus__group_backend *b, nexus_delivery **out, size_t max,
                                uint32_t wait_ms, size_t *got)
{
    nexus__lease leases[256];
    size_t n = 0;
    nexus_status status = nexus__bgroup_fetch(b->local, b->member, leases, max < 256 ? max : 256, wait_ms, &n);
    nexus_status why = NEXUS_OK;
    for (size_t i = 0; i < n; i++) {
        out[*got] = delivery_new(g, leases[i].stored, leases[i].token, leases[i].attempt, &why);
        *got += out[*got] != NULL; /* its lease runs out by itself */
    }
    return n && !*got ? why : status;
}

static nexus_status read_leases(nexus_group *g, nexus_slice body, nexus_delivery **out, size_t max, size_t *got)
{
    nexus__wire_in in = {.rest = body};
    uint32_t n = nexus__wire_take_u32(&in);
    nexus_status why = NEXUS_OK;
    for (uint32_t i = 0; i < n && *got < max && !in.bad; i++) {
        uint64_t token = nexus__wire_take_u64(&in);
        uint32_t attempt = nexus__wire_take_u32(&in);
        nexus__wire_stored w;
        nexus_status status = NEXUS_OK;
        nexus__wire_take_event(&in, &w);
        nexus__stored *stored = in.bad ? NULL : nexus__stored_new(g->bus->alloc, w.meta, w.data, &status);
        if (!stored)
            continue;
        stored->pos = stored->view.event.pos = w.pos;
        stored->view.event.version = w.version;
        stored->view.event.recv_ns = w.recv_ns;
        out[*got] = delivery_new(g, stored, token, attempt, &why);
        *got += out[*got] != NULL;
    }
    if (in.bad)
        return nexus__fail(NEXUS_EPROTO, "the bus owner gave an unreadable answer");
    return *got ? NEXUS_OK : why;
}

static nexus_status fetch_remote(nexus_group *g, const nexus__group_backend *b, nexus_delivery **out, size_t max,
                                 uint32_t wait_ms, size_t *got)
{
    uint32_t body[3] = {b->index, (uint32_t)(max < 1024 ? max : 1024), wait_ms};
    nexus__buf answer;
    nexus__buf_init(&answer, g->bus->alloc, 0);
    nexus_status status = nexus__remote_call(b->remote, WIRE_FETCH, nexus__slice(body, sizeof body),
                                             nexus__bus_until(g->bus, 0) + wait_ms * NEXUS__NS_PER_MS, &answer);
    if (status == NEXUS_OK)
        status = read_leases(g, nexus__buf_slice(&answer), out, max, got);
    nexus__buf_free(&answer);
    return status;
}

/* Brings one delivery to the revision that is wanted here. False: it is settled and freed; *why says how it went. */
static bool evolve(nexus_group *g, const nexus__contract_set *set, nexus_delivery *d, nexus_status *why)
{
    bool changed;
    nexus_status status = nexus__evolve(set, g->accept ? nexus__slice_c(g->accept) : NEXUS_S(""),
                                        &d->stored->view.event, &d->evolved, &changed);
    if (status == NEXUS_OK && !(changed && d->evolved.count == 0))
        return true;
    if (status == NEXUS_OK)
        (void)nexus_delivery_ack(d); /* of no meaning in this revision */
    else if (status == NEXUS_EREV || status == NEXUS_ENOMEM) {
        char text[256];
        snprintf(text, sizeof text, "%s", nexus_error_message());
        (void)nexus_delivery_nak(d, UINT32_MAX, text); /* another member may know it */
        *why = nexus__fail(status, "%s", text);
    } else {
        char text[256];
        snprintf(text, sizeof text, "%s", nexus_error_message());
        (void)nexus_delivery_term(d, text);
    }
    nexus_delivery_free(d);
    return false;
}

/* The same for all that were fetched; what is left stands at the front. */
static nexus_status evolve_all(nexus_group *g, nexus_delivery **out, size_t *got)
{
    const nexus__contract_set *set = nexus__contracts_now(&g->bus->contracts);
    nexus_status why = NEXUS_OK;
    size_t kept = 0;
    if (!set && !g->accept)
        return NEXUS_OK;
    for (size_t i = 0; i < *got; i++)
        if (evolve(g, set, out[i], &why))
            out[kept++] = out[i];
    *got = kept;
    return kept ? NEXUS_OK : why;
}

nexus_status nexus_group_fetch(nexus_group *g, nexus_delivery **out, size_t max, uint32_t wait_ms, size_t *got)
{
    *got = 0;
    if (max == 0)
        return NEXUS_OK;
    int64_t end = nexus__mono_ns() + wait_ms * NEXUS__NS_PER_MS;
    for (;;) {
        nexus__group_backend b;
        int64_t left = end - nexus__mono_ns();
        uint32_t rest = left > 0 ? (uint32_t)(left / NEXUS__NS_PER_MS) : 0;
        nexus_status status = bind_group(g, nexus__bus_until(g->bus, 0), &b);
        if (status != NEXUS_OK)
            return status;
        status = b.local ? fetch_local(g, &b, out, max, rest, got) : fetch_remote(g, &b, out, max, rest, got);
        nexus__remote_unref(b.remote);
        bool some = status == NEXUS_OK && *got;
        if (some)
            status = evolve_all(g, out, got);
        if (some && status == NEXUS_OK && !*got)
            continue; /* none of them has a meaning here */
        if (status != NEXUS_ECLOSED)
            return status;
    }
}

/* --- deliveries ---- */

const nexus_event *nexus_delivery_event(const nexus_delivery *d)
{
    if (d->lent)
        return d->lent;
    return d->evolved.count ? &d->evolved.events[0] : &d->stored->view.event;
}

const nexus_event *nexus_delivery_event_at(const nexus_delivery *d, size_t i)
{
    if (i < d->evolved.count)
        return &d->evolved.events[i];
    return i == 0 ? nexus_delivery_original(d) : NULL;
}

size_t nexus_delivery_event_count(const nexus_delivery *d)
{
    return d->evolved.count ? d->evolved.count : 1;
}

const nexus_event *nexus_delivery_original(const nexus_delivery *d)
{
    return d->lent ? d->lent : &d->stored->view.event;
}

bool nexus_delivery_is_replay(const nexus_delivery *d)
{
    return !d->group || (d->attempt & NEXUS__LEASE_REPLAY);
}

nexus_status nexus__delivery_for_replay(nexus_delivery **out, const nexus_alloc *alloc)
{
    nexus_delivery *d = nexus__calloc(alloc, 1, sizeof *d);
    if (!d)
        return nexus__nomem();
    d->alloc = alloc;
    nexus__buf_init(&d->json, alloc, 0);
    *out = d;
    return NEXUS_OK;
}

void nexus__delivery_show(nexus_delivery *d, const nexus_event *event, uint32_t attempt)
{
    d->lent = event;
    d->attempt = attempt;
    d->settled = false;
    d->reason[0] = '\0';
    nexus__buf_clear(&d->json);
}

const char *nexus__delivery_why(const nexus_delivery *d)
{
    return d->reason;
}

void nexus__delivery_end_replay(nexus_delivery *d)
{
    if (!d)
        return;
    nexus__buf_free(&d->json);
    nexus__free(d->alloc, d);
}

nexus__stored *nexus__delivery_pin(const nexus_delivery *d)
{
    return nexus__stored_ref(d->stored);
}

nexus_status nexus_delivery_json(nexus_delivery *d, const char **text, size_t *n)
{
    if (!d->json.len) {
        nexus__event_write_json(&d->json, nexus_delivery_event(d));
        nexus__buf_char(&d->json, '\0');
    }
    if (d->json.status != NEXUS_OK)
        return nexus__nomem();
    *text = d->json.p;
    if (n)
        *n = d->json.len - 1;
    return NEXUS_OK;
}

uint32_t nexus_delivery_attempt(const nexus_delivery *d)
{
    return d->attempt & ~NEXUS__LEASE_REPLAY;
}

void nexus_delivery_reason(nexus_delivery *d, const char *reason)
{
    snprintf(d->reason, sizeof d->reason, "%s", reason ? reason : "");
}

static nexus_status settle_remote(nexus_group *g, const nexus__group_backend *b, uint64_t pos, uint64_t token,
                                  uint32_t how, uint32_t ms, nexus_slice reason, int64_t until)
{
    nexus__buf body;
    nexus__buf_init(&body, g->bus->alloc, 0);
    nexus__wire_u32(&body, b->index);
    nexus__wire_u64(&body, pos);
    nexus__wire_u64(&body, token);
    nexus__wire_u32(&body, how);
    nexus__wire_u32(&body, ms);
    nexus__wire_text(&body, reason);
    nexus_status status = body.status == NEXUS_OK
                              ? nexus__remote_call(b->remote, WIRE_SETTLE, nexus__buf_slice(&body), until, NULL)
                              : nexus__nomem();
    nexus__buf_free(&body);
    return status;
}

static nexus_status sync_acks(const nexus__group_backend *b, int64_t until)
{
    if (b->local)
        return nexus__bgroup_sync(b->local);
    return nexus__remote_call(b->remote, WIRE_SYNC, nexus__slice(&b->index, sizeof b->index), until, NULL);
}

nexus_status nexus__group_settle(nexus_group *g, uint64_t pos, uint64_t token, uint32_t how, uint32_t ms,
                                 nexus_slice reason, bool sync)
{
    int64_t until = nexus__bus_until(g->bus, 0);
    nexus_status status;
    do {
        nexus__group_backend b;
        status = bind_group(g, until, &b);
        if (status != NEXUS_OK)
            return status;
        if (b.local)
            status = nexus__bgroup_settle(b.local, pos, token, how, ms, reason);
        else
            status = settle_remote(g, &b, pos, token, how, ms, reason, until);
        if (status == NEXUS_OK && sync)
            status = sync_acks(&b, until);
        nexus__remote_unref(b.remote);
    } while (status == NEXUS_ECLOSED && nexus__mono_ns() < until);
    return status;
}

void nexus__delivery_lease(const nexus_delivery *d, uint64_t *pos, uint64_t *token)
{
    *pos = d->stored->pos;
    *token = d->token;
}

void nexus__delivery_settled(nexus_delivery *d, const char *outcome, bool error)
{
    d->settled = true;
    if (d->span.start_ns)
        nexus__delivery_span_end(&d->span, d->group->bus, &d->stored->view.event, d->group->name, nexus_delivery_attempt(d),
                                 outcome, error);
}

void nexus_delivery_trace(const nexus_delivery *d, nexus_trace *out)
{
    *out = d->span.trace;
}

static nexus_status settle(nexus_delivery *d, uint32_t how, uint32_t ms, const char *reason, bool sync)
{
    static const char *const names[] = {"ack", "nak", "term", "", "skip"};
    if (d->settled)
        return nexus__fail(NEXUS_ESTALE, "the delivery is settled already");
    if (!d->group) { /* nothing is under a lease in a replay */
        d->settled = how != NEXUS__SETTLE_EXTEND;
        if (reason)
            nexus_delivery_reason(d, reason);
        return NEXUS_OK;
    }
    nexus_slice text = nexus__slice_c(reason && *reason ? reason : d->reason);
    text.n = text.n < 255 ? text.n : 255;
    nexus_status status = nexus__group_settle(d->group, d->stored->pos, d->token, how, ms, text, sync);
    if (how != NEXUS__SETTLE_EXTEND && (status == NEXUS_OK || status == NEXUS_ESTALE))
        nexus__delivery_settled(d, status == NEXUS_OK ? names[how] : "stale",
                                how == NEXUS__SETTLE_NAK || how == NEXUS__SETTLE_TERM);
    return status;
}

nexus_status nexus_delivery_ack(nexus_delivery *d)
{
    return settle(d, NEXUS__SETTLE_ACK, 0, NULL, false);
}

nexus_status nexus_delivery_ack_sync(nexus_delivery *d)
{
    return settle(d, NEXUS__SETTLE_ACK, 0, NULL, true);
}

nexus_status nexus_delivery_nak(nexus_delivery *d, uint32_t delay_ms, const char *reason)
{
    return settle(d, NEXUS__SETTLE_NAK, delay_ms, reason, false);
}

nexus_status nexus_delivery_term(nexus_delivery *d, const char *reason)
{
    return settle(d, NEXUS__SETTLE_TERM, 0, reason, false);
}

nexus_status nexus_delivery_skip(nexus_delivery *d, const char *reason)
{
    return settle(d, NEXUS__SETTLE_SKIP, 0, reason, false);
}

nexus_status nexus_delivery_extend(nexus_delivery *d, uint32_t ms)
{
    return settle(d, NEXUS__SETTLE_EXTEND, ms, NULL, false);
}

void nexus_delivery_free(nexus_delivery *d)
{
    if (!d || !d->group)
        return;
    const nexus_alloc *alloc = d->alloc; /* its group may be closed by now */
    nexus__stored_unref(alloc, d->stored);
    nexus__arena_free(&d->evolved.arena);
    nexus__buf_free(&d->json);
    nexus__free(alloc, d);
}

/* --- reports ---- */

nexus_status nexus__group_bind(nexus_group *g, int64_t until, nexus__group_backend *b)
{
    return bind_group(g, until, b);
}

nexus_status nexus__group_ask(nexus_group *g, uint16_t op, nexus_slice question, nexus__buf *out,
                              nexus__group_backend *b)
{
    int64_t until = nexus__bus_until(g->bus, 0);
    for (;;) {
        nexus_status status = bind_group(g, until, b);
        if (status != NEXUS_OK || b->local)
            return status;
        nexus__buf body;
        nexus__buf_init(&body, g->bus->alloc, 0);
        nexus__wire_u32(&body, b->index);
        nexus__buf_slice_append(&body, question);
        status = nexus__remote_call(b->remote, op, nexus__buf_slice(&body), until, out);
        nexus__buf_free(&body);
        nexus__remote_unref(b->remote);
        if (status != NEXUS_ECLOSED)
            return status;
    }
}

nexus_status nexus_group_read_stats(nexus_group *g, nexus_group_stats *stats)
{
    nexus__buf body;
    nexus__group_backend b;
    nexus_group_stats whole = {.size = sizeof whole};
    size_t size = stats->size && stats->size < sizeof whole ? stats->size : sizeof whole;
    nexus__buf_init(&body, g->bus->alloc, 0);
    nexus_status status = nexus__group_ask(g, WIRE_STATS, NEXUS_S(""), &body, &b);
    if (status == NEXUS_OK && b.local)
        nexus__bgroup_stats(b.local, &whole);
    else if (status == NEXUS_OK && body.len == sizeof whole)
        memcpy(&whole, body.p, sizeof whole);
    nexus__buf_free(&body);
    memcpy(stats, &whole, size);
    stats->size = size;
    return status;
}
