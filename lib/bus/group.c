/*
 * A group: which events are handed to whom, and what became of them.
 *
 * Vocabulary. The floor: everything at or below it is settled. The window: matching events above it that are loaded
 * and not settled, at most GROUP_WINDOW, in log order. A lane: the events of one key in the window; only its first is
 * ready, leased or delayed, so a key keeps its order through retries, and a failing key holds up nobody else (until
 * its own backlog fills the window).
 *
 * States of an entry: waiting (behind another of its lane) -> ready -> leased -> settled (leaves the window), or from
 * leased back: delayed (nak) or ready (lease over), until max_deliver is used up and it becomes a dead letter. The
 * lease token makes a late ack harmless.
 *
 * A dead letter that is handed out again (dead.c) has an entry too, in its lane but not in the window: the floor has
 * passed it and stays where it is.
 *
 * Durable are: the configuration, settled positions, attempts, dead letters with copies; all but the first lazily.
 */
#include <stdio.h>

#include "base/backoff.h"
#include "base/id.h"
#include "base/status.h"
#include "base/thread.h"
#include "bus/internal.h"

#define LAZY_NS (5 * NEXUS__NS_PER_MS)
#define TAKEOVER_GRACE_MS 1000u /* for holders of leases to find the new owner */

/* --- timers: a heap by due_ns ---- */

static void heap_set(nexus__bgroup *g, size_t at, entry *e)
{
    g->timers[at] = e;
    e->heap_at = at + 1;
}

static void heap_up(nexus__bgroup *g, size_t at)
{
    entry *e = g->timers[at];
    for (; at && g->timers[(at - 1) / 2]->due_ns > e->due_ns; at = (at - 1) / 2)
        heap_set(g, at, g->timers[(at - 1) / 2]);
    heap_set(g, at, e);
}

static void heap_down(nexus__bgroup *g, size_t at)
{
    entry *e = g->timers[at];
    for (;;) {
        size_t child = at * 2 + 1;
        if (child >= g->timer_count)
            break;
        if (child + 1 < g->timer_count && g->timers[child + 1]->due_ns < g->timers[child]->due_ns)
            child++;
        if (g->timers[child]->due_ns >= e->due_ns)
            break;
        heap_set(g, at, g->timers[child]);
        at = child;
    }
    heap_set(g, at, e);
}

static void timer_stop(nexus__bgroup *g, entry *e)
{
    if (!e->heap_at)
        return;
    size_t at = e->heap_at - 1;
    e->heap_at = 0;
    entry *last = g->timers[--g->timer_count];
    if (last == e)
        return;
    heap_set(g, at, last);
    heap_up(g, at);
    heap_down(g, last->heap_at - 1);
}

/* Room for one more event of the window: any number of them may come to wait for a time. */
static nexus_status timer_reserve(nexus__bgroup *g)
{
    if (g->by_pos.count < g->timer_cap)
        return NEXUS_OK;
    size_t cap = g->timer_cap ? g->timer_cap * 2 : 64;
    entry **grown = nexus__realloc(g->broker->alloc, g->timers, cap * sizeof *grown);
    if (!grown)
        return nexus__nomem();
    g->timers = grown;
    g->timer_cap = cap;
    return NEXUS_OK;
}

static void timer_start(nexus__bgroup *g, entry *e, int64_t due_ns) /* room is reserved when the entry is loaded */
{
    timer_stop(g, e);
    e->due_ns = due_ns;
    g->timers[g->timer_count++] = e;
    heap_up(g, g->timer_count - 1);
}

/* --- lanes ---- */

static nexus_slice lane_key(const nexus__bgroup *g, const nexus_event *e)
{
    if (g->config.order == NEXUS_ORDER_TOTAL)
        return NEXUS_S("*");
    if (g->config.order == NEXUS_ORDER_NONE)
        return NEXUS_S("");
    return e->partitionkey.n ? e->partitionkey : e->subject;
}

static lane *lane_of(nexus__bgroup *g, nexus_slice key)
{
    lane *l = nexus__map_get(&g->lanes, key);
    if (l)
        return l;
    l = nexus__malloc(g->broker->alloc, sizeof *l + key.n);
    if (!l)
        return NULL;
    nexus__list_init(&l->entries);
    l->key_bytes = key.n;
    memcpy(l->key, key.p, key.n);
    if (nexus__map_put(&g->lanes, nexus__slice(l->key, key.n), l, NULL) != NEXUS_OK) {
        nexus__free(g->broker->alloc, l);
        return NULL;
    }
    return l;
}

static void make_ready(nexus__bgroup *g, entry *e)
{
    e->state = ENTRY_READY;
    nexus__list_push(&g->ready, &e->in_ready);
}

/* Before younger events of its key, but never before one that is being tried. */
static void enter_lane(nexus__bgroup *g, lane *l, entry *e)
{
    nexus__list *at = l->entries.next;
    for (; at != &l->entries; at = at->next) {
        const entry *other = NEXUS__CONTAINER(at, entry, in_lane);
        if (other->pos > e->pos && (other->state == ENTRY_WAITING || other->state == ENTRY_READY))
            break;
    }
    nexus__list_insert(at, &e->in_lane);
    if (l->entries.next != &e->in_lane)
        return;
    if (e->in_lane.next != &l->entries) {
        entry *second = NEXUS__CONTAINER(e->in_lane.next, entry, in_lane);
        nexus__list_remove(&second->in_ready);
        second->state = ENTRY_WAITING;
    }
    make_ready(g, e);
}

static void leave_lane(nexus__bgroup *g, entry *e)
{
    lane *l = e->lane;
    if (!l)
        return;
    nexus__list_remove(&e->in_lane);
    if (nexus__list_empty(&l->entries)) {
        nexus__map_remove(&g->lanes, nexus__slice(l->key, l->key_bytes));
        nexus__free(g->broker->alloc, l);
        return;
    }
    entry *next = NEXUS__CONTAINER(l->entries.next, entry, in_lane);
    if (next->state == ENTRY_WAITING)
        make_ready(g, next);
}

/* --- loading ---- */

static void raise_floor(nexus__bgroup *g)
{
    g->floor = nexus__list_empty(&g->window) ? g->loaded : NEXUS__CONTAINER(g->window.next, entry, in_window)->pos - 1;
}

static void entry_free(nexus__bgroup *g, entry *e)
{
    timer_stop(g, e);
    nexus__stored_unref(g->broker->alloc, e->stored);
    nexus__free(g->broker->alloc, e->reason);
    nexus__free(g->broker->alloc, e);
}

static nexus_status admit(nexus__bgroup *g, nexus__stored *stored, const known *k)
{
    entry *e = nexus__calloc(g->broker->alloc, 1, sizeof *e);
    nexus_slice key = lane_key(g, &stored->view.event);
    lane *l = e && key.n ? lane_of(g, key) : NULL;
    if (!e || (key.n && !l) || timer_reserve(g) != NEXUS_OK) {
        nexus__free(g->broker->alloc, e);
        return nexus__nomem();
    }
    e->pos = stored->pos;
    e->stored = stored;
    e->lane = l;
    e->attempts = k ? k->attempts : 0;
    nexus__list_init(&e->in_ready);
    nexus__list_init(&e->in_lane);
    if (nexus__map_put(&g->by_pos, nexus__pos_key(&e->pos), e, NULL) != NEXUS_OK) {
        nexus__free(g->broker->alloc, e);
        return nexus__nomem();
    }
    bool first = !l || nexus__list_empty(&l->entries);
    nexus__list_push(&g->window, &e->in_window);
    g->window_count++;
    if (l)
        nexus__list_push(&l->entries, &e->in_lane);
    if (first && k && k->remote && k->attempts) {
        /* Another process held it when the former owner died. If it is still at work it renews its lease as soon as it
         * has found us; a lease that was given in the owner's last words never arrived, and is not waited for. */
        uint32_t grace_ms = g->config.ack_wait_ms < TAKEOVER_GRACE_MS ? g->config.ack_wait_ms : TAKEOVER_GRACE_MS;
        e->state = ENTRY_LEASED;
        e->token = k->token;
        g->inflight++;
        timer_start(g, e, nexus__mono_ns() + grace_ms * NEXUS__NS_PER_MS);
    } else if (first) {
        make_ready(g, e);
    }
    return NEXUS_OK;
}

static nexus_status consider(nexus__bgroup *g, const nexus__wal_record *r)
{
    nexus__event_view view;
    known *k = g->known.count ? nexus__map_remove(&g->known, nexus__pos_key(&r->pos)) : NULL, kept = {0};
    if (k)
        kept = *k;
    nexus__free(g->broker->alloc, k);
    if (kept.done || nexus__event_decode(&view, r->meta, r->payload) != NEXUS_OK ||
        !nexus__filter_match(&g->filter, &view.event))
        return NEXUS_OK;
    nexus_status status;
    nexus__stored *stored = nexus__stored_new(g->broker->alloc, r->meta, r->payload, &status);
    if (!stored)
        return status;
    stored->pos = stored->view.event.pos = r->pos;
    stored->view.event.version = r->version;
    stored->view.event.recv_ns = r->recv_ns;
    status = admit(g, stored, &kept);
    if (status != NEXUS_OK)
        nexus__stored_unref(g->broker->alloc, stored);
    return status;
}

/* Reads on until `wanted` events are ready, the window is full, or the log is at its end. */
static nexus_status load(nexus__bgroup *g, size_t wanted)
{
    nexus_status status = NEXUS_OK;
    size_t ready = 0;
    for (nexus__list *n = g->ready.next; n != &g->ready && ready < wanted; n = n->next)
        ready++;
    if (ready >= wanted)
        return NEXUS_OK;
    if (!g->reader)
        status = nexus__wal_reader_open(&g->reader, g->broker->wal, g->loaded + 1);
    if (status == NEXUS_EMISSING) { /* dropped by retention: what is left */
        g->loaded = nexus__wal_first(g->broker->wal) - 1;
        status = nexus__wal_reader_open(&g->reader, g->broker->wal, g->loaded + 1);
    }
    while (status == NEXUS_OK && ready < wanted && g->window_count < GROUP_WINDOW) {
        nexus__wal_record r;
        status = nexus__wal_reader_next(g->reader, &r);
        if (status == NEXUS_ECORRUPT || status == NEXUS_EMISSING) { /* cannot be delivered; readers report it */
            status = NEXUS_OK;
            continue;
        }
        if (status != NEXUS_OK || r.kind != KIND_EVENT || (r.flags & NEXUS__WAL_INTERNAL))
            continue;
        bool was_empty = nexus__list_empty(&g->ready);
        const nexus__list *last = g->ready.prev;
        status = consider(g, &r);
        if (status == NEXUS_OK)
            g->loaded = r.pos;
        ready += was_empty ? !nexus__list_empty(&g->ready) : g->ready.prev != last;
    }
    if (status != NEXUS_OK && status != NEXUS_EDONE) { /* begin again at the same place */
        nexus__wal_reader_close(g->reader);
        g->reader = NULL;
    }
    raise_floor(g);
    return status == NEXUS_EDONE ? NEXUS_OK : status;
}

/* --- settling ---- */

static void note_ack(nexus__bgroup *g, uint64_t pos)
{
    nexus__buf_append(&g->acks, &pos, sizeof pos);
}

static void leave(nexus__bgroup *g, entry *e)
{
    if (e->state == ENTRY_LEASED)
        g->inflight--;
    nexus__list_remove(&e->in_ready);
    nexus__map_remove(&g->by_pos, nexus__pos_key(&e->pos));
    leave_lane(g, e);
    if (!e->back) {
        nexus__list_remove(&e->in_window);
        g->window_count--;
        raise_floor(g);
        note_ack(g, e->pos);
    }
    entry_free(g, e);
}

static void settle(nexus__bgroup *g, entry *e)
{
    if (e->back) {
        nexus__buf_append(&g->gone, &e->pos, sizeof e->pos);
        nexus__bgroup_drop_dead(g, e->pos);
    }
    leave(g, e);
}

nexus_status nexus__bgroup_readmit(nexus__bgroup *g, nexus__stored *stored, uint32_t attempts)
{
    nexus_slice key = lane_key(g, &stored->view.event);
    entry *e = nexus__calloc(g->broker->alloc, 1, sizeof *e);
    lane *l = e && key.n ? lane_of(g, key) : NULL;
    if (!e || (key.n && !l) || timer_reserve(g) != NEXUS_OK) {
        nexus__free(g->broker->alloc, e);
        return nexus__nomem();
    }
    *e = (entry){.pos = stored->pos, .stored = stored, .lane = l, .attempts = attempts, .back = true};
    nexus__list_init(&e->in_ready);
    nexus__list_init(&e->in_lane);
    nexus__list_init(&e->in_window);
    if (nexus__map_put(&g->by_pos, nexus__pos_key(&e->pos), e, NULL) != NEXUS_OK) {
        nexus__free(g->broker->alloc, e);
        return nexus__nomem();
    }
    if (l)
        enter_lane(g, l, e);
    else
        make_ready(g, e);
    return NEXUS_OK;
}

/* The copy goes into the log; only then the event leaves the window (when it cannot be written now, it stays). */
static void bury(nexus__bgroup *g, entry *e, nexus_slice reason)
{
    nexus__broker *b = g->broker;
    nexus__stored *s = e->stored;
    nexus_slice data = s->view.event.data;
    dead_record d = {.pos = e->pos,
                     .first_at_ns = e->first_at_ns,
                     .dead_at_ns = nexus__real_ns(),
                     .attempts = e->attempts,
                     .reason_bytes = (uint32_t)reason.n,
                     .meta_bytes = (uint32_t)s->meta.n,
                     .data_bytes = (uint32_t)data.n};
    nexus__buf body;
    nexus__buf_init(&body, b->alloc, 0);
    nexus__buf_append(&body, &d, sizeof d);
    nexus__buf_slice_append(&body, reason);
    nexus__buf_slice_append(&body, s->meta);
    nexus__buf_slice_append(&body, data);
    nexus__wal_record r = {.kind = KIND_DEAD,
                           .flags = NEXUS__WAL_INTERNAL,
                           .meta = nexus__slice_c(g->name),
                           .payload = nexus__buf_slice(&body)};
    nexus_status status = body.status;
    if (status == NEXUS_OK)
        status = nexus__wal_append_async(b->wal, &r, 1, NULL, NULL);
    nexus__buf_free(&body);
    if (status == NEXUS_OK)
        status = nexus__bgroup_add_dead(g, &d, reason, nexus__stored_ref(s));
    if (status == NEXUS_OK) {
        leave(g, e);
        return;
    }
    g->inflight -= e->state == ENTRY_LEASED;
    e->state = ENTRY_DELAYED;
    timer_start(g, e, nexus__mono_ns() + NEXUS__NS_PER_S);
}

static void give_back(nexus__bgroup *g, entry *e, uint32_t delay_ms)
{
    if (e->state == ENTRY_LEASED)
        g->inflight--;
    e->token = 0;
    timer_stop(g, e);
    if (!delay_ms) {
        make_ready(g, e);
        return;
    }
    e->state = ENTRY_DELAYED;
    timer_start(g, e, nexus__mono_ns() + delay_ms * NEXUS__NS_PER_MS);
}

static uint32_t backoff_ms(const nexus__bgroup *g, uint32_t attempts)
{
    nexus__backoff b = {.base_ms = g->config.backoff_base_ms, .cap_ms = g->config.backoff_cap_ms};
    return nexus__backoff_ms(&b, attempts ? attempts : 1, nexus__random_u64());
}

static void keep_reason(nexus__bgroup *g, entry *e, nexus_slice reason)
{
    if (!reason.n)
        return;
    nexus__free(g->broker->alloc, e->reason);
    e->reason = nexus__strndup(g->broker->alloc, reason);
}

static void failed(nexus__bgroup *g, entry *e, uint32_t delay_ms, const char *why)
{
    if (e->attempts < g->config.max_deliver) {
        give_back(g, e, delay_ms);
        return;
    }
    char text[320];
    int n = snprintf(text, sizeof text, "%s", e->reason ? e->reason : why);
    bury(g, e, nexus__slice(text, n < (int)sizeof text ? (size_t)n : sizeof text - 1));
}

nexus_status nexus__bgroup_settle(nexus__bgroup *g, uint64_t pos, uint64_t token, uint32_t how, uint32_t ms,
                                  nexus_slice reason)
{
    int64_t due = INT64_MAX;
    pthread_mutex_lock(&g->lock);
    entry *e = nexus__map_get(&g->by_pos, nexus__pos_key(&pos));
    if (!e || e->state != ENTRY_LEASED || e->token != token) {
        pthread_mutex_unlock(&g->lock);
        return nexus__fail(NEXUS_ESTALE, "the lease on event %llu of group %s is over", (unsigned long long)pos,
                           g->name);
    }
    if (how == NEXUS__SETTLE_ACK) {
        g->acked++;
        settle(g, e);
        due = nexus__mono_ns() + LAZY_NS;
    } else if (how == NEXUS__SETTLE_EXTEND) {
        due = nexus__mono_ns() + (ms ? ms : g->config.ack_wait_ms) * NEXUS__NS_PER_MS;
        timer_start(g, e, due);
    } else if (how == NEXUS__SETTLE_NAK) {
        keep_reason(g, e, reason);
        uint32_t delay = ms == UINT32_MAX ? backoff_ms(g, e->attempts) : ms;
        failed(g, e, delay, "not accepted");
        due = nexus__mono_ns() + delay * NEXUS__NS_PER_MS;
    } else {
        bury(g, e, reason.n ? reason : NEXUS_S("rejected"));
        due = nexus__mono_ns() + LAZY_NS;
    }
    bool ready = !nexus__list_empty(&g->ready);
    pthread_mutex_unlock(&g->lock);
    nexus__broker_tick(g->broker, false, due);
    if (ready || how == NEXUS__SETTLE_NAK || how == NEXUS__SETTLE_ACK)
        nexus__bgroup_wake(g);
    return NEXUS_OK;
}

/* --- handing out ---- */

static void expire_locked(nexus__bgroup *g, int64_t now_ns)
{
    while (g->timer_count && g->timers[0]->due_ns <= now_ns) {
        entry *e = g->timers[0];
        if (e->state == ENTRY_LEASED) {
            failed(g, e, 0, "the lease ran out");
        } else {
            timer_stop(g, e);
            if (e->attempts >= g->config.max_deliver)
                bury(g, e, nexus__slice_c(e->reason ? e->reason : "not accepted"));
            else
                make_ready(g, e);
        }
    }
}

int64_t nexus__bgroup_expire(nexus__bgroup *g, int64_t now_ns)
{
    pthread_mutex_lock(&g->lock);
    expire_locked(g, now_ns);
    int64_t due = g->timer_count ? g->timers[0]->due_ns : INT64_MAX;
    bool ready = !nexus__list_empty(&g->ready);
    pthread_mutex_unlock(&g->lock);
    if (ready)
        nexus__bgroup_wake(g);
    return due;
}

static void lease_out(nexus__bgroup *g, entry *e, bool remote, nexus__lease *out, int64_t now_ns)
{
    nexus__list_remove(&e->in_ready);
    e->state = ENTRY_LEASED;
    e->attempts++;
    e->token = ++g->next_token;
    if (!e->first_at_ns)
        e->first_at_ns = nexus__real_ns();
    timer_start(g, e, now_ns + g->config.ack_wait_ms * NEXUS__NS_PER_MS);
    g->inflight++;
    g->delivered++;
    g->redelivered += e->attempts > 1;
    lease_record record = {.pos = e->pos, .token = e->token, .attempts = e->attempts, .remote = remote};
    nexus__buf_append(&g->leases, &record, sizeof record);
    *out = (nexus__lease){nexus__stored_ref(e->stored), e->token, e->attempts};
}

nexus_status nexus__bgroup_take(nexus__bgroup *g, bool remote, nexus__lease *out, size_t max, size_t *got,
                                int64_t *next_due_ns)
{
    int64_t now = nexus__mono_ns();
    *got = 0;
    pthread_mutex_lock(&g->lock);
    g->taken_ns = now;
    expire_locked(g, now);
    size_t room = g->inflight < g->config.max_inflight ? (size_t)(g->config.max_inflight - g->inflight) : 0;
    nexus_status status = room ? load(g, max < room ? max : room) : NEXUS_OK;
    while (*got < max && *got < room && !nexus__list_empty(&g->ready)) {
        entry *e = NEXUS__CONTAINER(g->ready.next, entry, in_ready);
        if (e->attempts >= g->config.max_deliver) { /* used up before a restart */
            nexus__list_remove(&e->in_ready);
            bury(g, e, NEXUS_S("every attempt ended without an answer"));
            continue;
        }
        lease_out(g, e, remote, &out[(*got)++], now);
    }
    *next_due_ns = g->timer_count ? g->timers[0]->due_ns : INT64_MAX;
    pthread_mutex_unlock(&g->lock);
    if (*got)
        nexus__broker_tick(g->broker, true, *next_due_ns); /* attempts are written at once: a crash counts */
    return *got ? NEXUS_OK : status;
}

nexus_status nexus__bgroup_fetch(nexus__bgroup *g, nexus__lease *out, size_t max, uint32_t wait_ms, size_t *got)
{
    int64_t until = nexus__mono_ns() + wait_ms * NEXUS__NS_PER_MS, due;
    for (;;) {
        pthread_mutex_lock(&g->wake_lock);
        uint64_t generation = g->generation;
        pthread_mutex_unlock(&g->wake_lock);
        nexus_status status = nexus__bgroup_take(g, false, out, max, got, &due);
        if (*got || status != NEXUS_OK || nexus__mono_ns() >= until)
            return status;
        pthread_mutex_lock(&g->wake_lock);
        int64_t limit = due < until ? due : until;
        while (g->generation == generation && nexus__cond_wait_until(&g->wake, &g->wake_lock, limit))
            ;
        pthread_mutex_unlock(&g->wake_lock);
    }
}

void nexus__bgroup_wake(nexus__bgroup *g)
{
    pthread_mutex_lock(&g->wake_lock);
    g->generation++;
    pthread_cond_broadcast(&g->wake);
    for (nexus__list *n = g->watchers.next; n != &g->watchers; n = n->next) {
        nexus__watch_group *w = NEXUS__CONTAINER(n, nexus__watch_group, node);
        w->fn(w->user_data);
    }
    pthread_mutex_unlock(&g->wake_lock);
}

void nexus__bgroup_watch(nexus__bgroup *g, nexus__watch_group *w)
{
    pthread_mutex_lock(&g->wake_lock);
    nexus__list_push(&g->watchers, &w->node);
    w->fn(w->user_data);
    pthread_mutex_unlock(&g->wake_lock);
}

void nexus__bgroup_unwatch(nexus__bgroup *g, nexus__watch_group *w)
{
    pthread_mutex_lock(&g->wake_lock);
    nexus__list_remove(&w->node);
    pthread_mutex_unlock(&g->wake_lock);
}

/* --- writing ---- */

static void add_record(nexus__bgroup *g, nexus__wal_batch *batch, uint16_t kind, nexus__buf *bytes)
{
    nexus__wal_record r = {
        .kind = kind, .flags = NEXUS__WAL_INTERNAL, .meta = nexus__slice_c(g->name), .payload = nexus__buf_slice(bytes)};
    if (nexus__wal_batch_add(batch, &r) == NEXUS_OK)
        nexus__buf_clear(bytes);
}

bool nexus__bgroup_drain(nexus__bgroup *g, nexus__wal_batch *batch)
{
    pthread_mutex_lock(&g->lock);
    bool acks = g->acks.len > 0, leases = g->leases.len > 0;
    if (leases)
        add_record(g, batch, KIND_LEASE, &g->leases);
    if (acks) {
        nexus__buf all;
        nexus__buf_init(&all, g->broker->alloc, 0);
        nexus__buf_append(&all, &g->floor, sizeof g->floor);
        for (size_t at = 0; at < g->acks.len; at += sizeof(uint64_t)) {
            uint64_t pos;
            memcpy(&pos, g->acks.p + at, sizeof pos);
            if (pos > g->floor)
                nexus__buf_append(&all, &pos, sizeof pos);
        }
        if (all.status == NEXUS_OK) {
            add_record(g, batch, KIND_ACK, &all);
            nexus__buf_clear(&g->acks);
            g->written_floor = g->floor;
        }
        nexus__buf_free(&all);
    }
    bool gone = g->gone.len > 0;
    if (gone)
        add_record(g, batch, KIND_GONE, &g->gone);
    pthread_mutex_unlock(&g->lock);
    return acks || leases || gone;
}

nexus_status nexus__bgroup_sync(nexus__bgroup *g)
{
    nexus__wal_batch *batch;
    nexus_status status = nexus__wal_batch_new(&batch, g->broker->wal, 256);
    if (status != NEXUS_OK)
        return status;
    nexus__bgroup_drain(g, batch);
    status = nexus__wal_submit(g->broker->wal, batch, NULL, NULL, NULL, NULL);
    return status == NEXUS_OK ? nexus__wal_append(g->broker->wal, NULL, 0, NULL) : status;
}

/* --- what is known from before ---- */

known *nexus__bgroup_know(nexus__bgroup *g, uint64_t pos)
{
    known *k = nexus__map_get(&g->known, nexus__pos_key(&pos));
    if (k)
        return k;
    k = nexus__calloc(g->broker->alloc, 1, sizeof *k);
    if (!k)
        return NULL;
    k->pos = pos;
    if (nexus__map_put(&g->known, nexus__pos_key(&k->pos), k, NULL) == NEXUS_OK)
        return k;
    nexus__free(g->broker->alloc, k);
    return NULL;
}

void nexus__bgroup_forget(nexus__bgroup *g)
{
    nexus__map kept;
    nexus__map_init(&kept, g->broker->alloc);
    size_t cursor = 0;
    for (nexus__map_entry *e; (e = nexus__map_next(&g->known, &cursor));) {
        known *k = e->value;
        if (k->pos <= g->floor || nexus__map_put(&kept, nexus__pos_key(&k->pos), k, NULL) != NEXUS_OK)
            nexus__free(g->broker->alloc, k);
    }
    nexus__map_free(&g->known);
    g->known = kept;
}

/* --- reports ---- */

void nexus__bgroup_stats(nexus__bgroup *g, nexus_group_stats *s)
{
    uint64_t head = nexus__wal_durable(g->broker->wal);
    pthread_mutex_lock(&g->lock);
    const entry *oldest = nexus__list_empty(&g->window) ? NULL : NEXUS__CONTAINER(g->window.next, entry, in_window);
    *s = (nexus_group_stats){.size = s->size,
                             .floor = g->floor,
                             .head = head,
                             .inflight = g->inflight,
                             .delayed = g->timer_count - g->inflight,
                             .delivered = g->delivered,
                             .acked = g->acked,
                             .redelivered = g->redelivered,
                             .dead = g->dead_count,
                             .lag = g->by_pos.count - g->inflight + (head - (g->loaded < head ? g->loaded : head))};
    if (oldest)
        s->lag_ms = (nexus__real_ns() - oldest->stored->view.event.recv_ns) / NEXUS__NS_PER_MS;
    pthread_mutex_unlock(&g->lock);
}

const nexus__group_config *nexus__bgroup_config(const nexus__bgroup *g)
{
    return &g->config;
}

/* --- making and ending ---- */

static nexus_status add_to_broker(nexus__broker *b, nexus__bgroup *g)
{
    nexus__bgroup **grown = nexus__realloc(b->alloc, b->group_list, (b->group_count + 1) * sizeof *grown);
    if (!grown)
        return nexus__nomem();
    b->group_list = grown;
    nexus_status status = nexus__map_put(&b->groups, nexus__slice_c(g->name), g, NULL);
    if (status == NEXUS_OK)
        b->group_list[b->group_count++] = g;
    return status;
}

/* Called with groups_lock held, or in recovery. */
nexus_status nexus__bgroup_new(nexus__broker *b, nexus_slice name, nexus_slice config, nexus__bgroup **out)
{
    nexus__bgroup *g = nexus__calloc(b->alloc, 1, sizeof *g);
    if (!g)
        return nexus__nomem();
    g->broker = b;
    pthread_mutex_init(&g->lock, NULL);
    pthread_mutex_init(&g->wake_lock, NULL);
    nexus__cond_init(&g->wake);
    nexus__list_init(&g->window);
    nexus__list_init(&g->ready);
    nexus__list_init(&g->dead);
    nexus__list_init(&g->watchers);
    nexus__map_init(&g->by_pos, b->alloc);
    nexus__map_init(&g->lanes, b->alloc);
    nexus__map_init(&g->known, b->alloc);
    nexus__map_init(&g->dead_by_pos, b->alloc);
    nexus__buf_init(&g->gone, b->alloc, 0);
    nexus__buf_init(&g->acks, b->alloc, 0);
    nexus__buf_init(&g->leases, b->alloc, 0);
    g->next_token = nexus__random_u64() >> 1; /* tokens of an earlier owner never fit */
    g->name = nexus__strndup(b->alloc, name);
    g->config_bytes = nexus__strndup(b->alloc, config);
    nexus_status status = g->name && g->config_bytes ? NEXUS_OK : nexus__nomem();
    if (status == NEXUS_OK && !nexus__group_config_decode(nexus__slice(g->config_bytes, config.n), &g->config))
        status = nexus__fail(NEXUS_ECORRUPT, "the configuration of group %s is not readable", g->name);
    g->filter = (nexus__filter){
        .types = g->config.types, .subject_prefix = g->config.subject_prefix, .source = g->config.source};
    if (status == NEXUS_OK)
        status = add_to_broker(b, g);
    if (status != NEXUS_OK) {
        nexus__bgroup_free(g);
        return status;
    }
    *out = g;
    return NEXUS_OK;
}

void nexus__bgroup_free(nexus__bgroup *g)
{
    if (!g)
        return;
    const nexus_alloc *alloc = g->broker->alloc;
    size_t cursor = 0;
    for (nexus__map_entry *e; (e = nexus__map_next(&g->by_pos, &cursor));)
        entry_free(g, e->value);
    nexus__bgroup_free_dead(g);
    cursor = 0;
    for (nexus__map_entry *e; (e = nexus__map_next(&g->lanes, &cursor));)
        nexus__free(alloc, e->value);
    cursor = 0;
    for (nexus__map_entry *e; (e = nexus__map_next(&g->known, &cursor));)
        nexus__free(alloc, e->value);
    nexus__map_free(&g->by_pos);
    nexus__map_free(&g->lanes);
    nexus__map_free(&g->known);
    nexus__wal_reader_close(g->reader);
    nexus__buf_free(&g->acks);
    nexus__buf_free(&g->leases);
    nexus__buf_free(&g->gone);
    nexus__free(alloc, g->timers);
    nexus__free(alloc, g->name);
    nexus__free(alloc, g->config_bytes);
    pthread_mutex_destroy(&g->lock);
    pthread_mutex_destroy(&g->wake_lock);
    pthread_cond_destroy(&g->wake);
    nexus__free(alloc, g);
}
