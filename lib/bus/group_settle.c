/* What becomes of a lease: done, again later, never again. */
#include <stdio.h>

#include "base/id.h"
#include "base/status.h"
#include "bus/internal.h"

#define LAZY_NS (5 * NEXUS__NS_PER_MS)

/* --- the end of a lease ------------------------------------------------------------------------------------------- */

void nexus__bgroup_release(nexus__bgroup *g, entry *e, int32_t outcome)
{
    if (e->state != ENTRY_LEASED && e->state != ENTRY_COMMITTING)
        return;
    size_t bytes = e->stored->view.event.data.n;
    g->inflight--;
    g->inflight_bytes -= bytes;
    if (e->member) {
        e->member->inflight--;
        e->member->inflight_bytes -= bytes;
        e->member = NULL;
    }
    e->token = 0;
    e->state = ENTRY_WAITING;
    nexus__bgroup_timer_stop(g, e);
    if (e->pass) {
        nexus_breaker_rule rule = nexus__bgroup_breaker_rule(g);
        int32_t state = nexus__breaker_done(&g->breaker, &rule, e->pass, outcome, nexus__mono_ns());
        e->pass = 0;
        nexus__bgroup_breaker_changed(g, state);
    }
}

static void leave(nexus__bgroup *g, entry *e)
{
    nexus__bgroup_unready(e);
    nexus__map_remove(&g->by_pos, nexus__pos_key(&e->pos));
    nexus__bgroup_leave_lane(g, e);
    if (!e->back) {
        nexus__list_remove(&e->in_window);
        g->window_count--;
        nexus__bgroup_raise_floor(g);
        nexus__buf_append(&g->acks, &e->pos, sizeof e->pos);
    }
    nexus__bgroup_entry_free(g, e);
}

void nexus__bgroup_supplant(nexus__bgroup *g, uint64_t pos)
{
    entry *e = nexus__map_get(&g->by_pos, nexus__pos_key(&pos));
    if (e)
        leave(g, e);
}

void nexus__bgroup_done(nexus__bgroup *g, entry *e)
{
    nexus__bgroup_release(g, e, NEXUS_BREAKER_OK);
    g->acked++;
    if (e->back) {
        nexus__buf_append(&g->gone, &e->pos, sizeof e->pos);
        nexus__bgroup_drop_dead(g, e->pos);
    }
    leave(g, e);
}

/* --- given up ----------------------------------------------------------------------------------------------------- */

typedef struct letter {
    nexus__bgroup *group;
    nexus__buf body;
} letter;

/* Not written: the event has left the window, so its copy goes with the ack that says so. On the flush thread. */
static void letter_done(nexus_status status, uint64_t first_pos, void *user_data)
{
    letter *l = user_data;
    nexus__bgroup *g = l->group;
    (void)first_pos;
    if (status != NEXUS_OK) {
        uint32_t n = (uint32_t)l->body.len;
        pthread_mutex_lock(&g->lock);
        nexus__buf_append(&g->letters, &n, sizeof n);
        nexus__buf_slice_append(&g->letters, nexus__buf_slice(&l->body));
        pthread_mutex_unlock(&g->lock);
    }
    nexus__buf_free(&l->body);
    nexus__free(g->broker->alloc, l);
}

static nexus_status write_dead(nexus__bgroup *g, const dead_record *d, nexus_slice reason, const nexus__stored *s)
{
    nexus__buf body;
    nexus__buf_init(&body, g->broker->alloc, 0);
    nexus__buf_append(&body, d, sizeof *d);
    nexus__buf_slice_append(&body, reason);
    nexus__buf_slice_append(&body, s->meta);
    nexus__buf_slice_append(&body, s->view.event.data);
    nexus__wal_record r = {.kind = KIND_DEAD,
                           .flags = NEXUS__WAL_INTERNAL,
                           .meta = nexus__slice_c(g->name),
                           .payload = nexus__buf_slice(&body)};
    letter *l = nexus__malloc(g->broker->alloc, sizeof *l);
    nexus_status status = l ? body.status : nexus__nomem();
    if (status == NEXUS_OK) {
        *l = (letter){g, body};
        status = nexus__wal_append_async(g->broker->wal, &r, 1, letter_done, l);
    }
    if (status == NEXUS_OK)
        return NEXUS_OK;
    nexus__buf_free(&body);
    nexus__free(g->broker->alloc, l);
    return status;
}

/* The copy goes into the log; only then the event leaves the window (when it cannot be written now, it stays). */
static bool bury_one(nexus__bgroup *g, entry *e, nexus_slice reason)
{
    nexus__stored *s = e->stored;
    bool parks = g->config.on_exhausted == NEXUS_PARK_LANE && e->lane;
    dead_record d = {.pos = e->pos,
                     .first_at_ns = e->first_at_ns,
                     .dead_at_ns = nexus__real_ns(),
                     .attempts = e->attempts | (parks ? DEAD_PARKED : 0),
                     .reason_bytes = (uint32_t)reason.n,
                     .meta_bytes = (uint32_t)s->meta.n,
                     .data_bytes = (uint32_t)s->view.event.data.n};
    nexus__bgroup_release(g, e, NEXUS_BREAKER_FAILED);
    nexus_status status = nexus__bgroup_dead_room(g, e->pos);
    if (status == NEXUS_OK)
        status = write_dead(g, &d, reason, s);
    if (status == NEXUS_OK)
        status = nexus__bgroup_add_dead(g, &d, reason, nexus__stored_ref(s));
    if (status == NEXUS_OK) {
        leave(g, e);
        return true;
    }
    nexus__bgroup_unready(e);
    e->state = ENTRY_DELAYED;
    nexus__bgroup_timer_start(g, e, nexus__mono_ns() + NEXUS__NS_PER_S);
    return false;
}

void nexus__bgroup_bury(nexus__bgroup *g, entry *e, nexus_slice reason)
{
    nexus__stored *s = nexus__stored_ref(e->stored); /* the key outlives the entry */
    if (bury_one(g, e, reason) && g->parked.count)
        nexus__bgroup_park_behind(g, nexus__bgroup_lane_key(g, &s->view.event));
    nexus__stored_unref(g->broker->alloc, s);
}

/* The first of the lane that came after the oldest parked letter and is not being tried. */
static entry *straggler(nexus__bgroup *g, nexus_slice key, const parked *p)
{
    lane *l = nexus__map_get(&g->lanes, key);
    const dead *oldest = NEXUS__CONTAINER(p->letters.next, dead, in_parked);
    for (nexus__list *n = l ? l->entries.next : NULL; l && n != &l->entries; n = n->next) {
        entry *e = NEXUS__CONTAINER(n, entry, in_lane);
        if (e->pos > oldest->pos && e->state != ENTRY_LEASED && e->state != ENTRY_COMMITTING)
            return e;
    }
    return NULL;
}

void nexus__bgroup_park_behind(nexus__bgroup *g, nexus_slice key)
{
    char reason[64];
    for (;;) {
        parked *p = nexus__bgroup_parked(g, key);
        entry *e = p ? straggler(g, key, p) : NULL;
        if (!e)
            return;
        const dead *oldest = NEXUS__CONTAINER(p->letters.next, dead, in_parked);
        int n = snprintf(reason, sizeof reason, "parked: behind %llu of its key", (unsigned long long)oldest->pos);
        if (!bury_one(g, e, nexus__slice(reason, (size_t)n)))
            return; /* tried again with its timer */
    }
}

/* --- again -------------------------------------------------------------------------------------------------------- */

static void give_back(nexus__bgroup *g, entry *e, uint32_t delay_ms)
{
    nexus__bgroup_release(g, e, NEXUS_BREAKER_FAILED);
    if (!delay_ms) {
        nexus__bgroup_ready(g, e);
        return;
    }
    e->state = ENTRY_DELAYED;
    nexus__bgroup_timer_start(g, e, nexus__mono_ns() + delay_ms * NEXUS__NS_PER_MS);
}

static uint32_t backoff_ms(const nexus__bgroup *g, uint32_t attempts, nexus_slice reason)
{
    nexus__backoff b = nexus__group_config_backoff(&g->config, reason);
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
    nexus__bgroup_bury(g, e, nexus__slice(text, n < (int)sizeof text ? (size_t)n : sizeof text - 1));
}

void nexus__bgroup_lease_over(nexus__bgroup *g, entry *e)
{
    failed(g, e, backoff_ms(g, e->attempts, NEXUS_S("lease")), "lease: it ran out without an answer");
}

/* --- settling ----------------------------------------------------------------------------------------------------- */

entry *nexus__bgroup_leased(nexus__bgroup *g, uint64_t pos, uint64_t token)
{
    entry *e = nexus__map_get(&g->by_pos, nexus__pos_key(&pos));
    if (e && e->state == ENTRY_LEASED && e->token == token)
        return e;
    (void)nexus__fail(NEXUS_ESTALE, "the lease on event %llu of group %s is over", (unsigned long long)pos, g->name);
    return NULL;
}

static nexus_status extend(nexus__bgroup *g, entry *e, uint32_t ms, int64_t *due_ns)
{
    int64_t wanted = nexus__mono_ns() + (ms ? ms : g->config.ack_wait_ms) * NEXUS__NS_PER_MS;
    if (e->due_ns >= e->from_ns)
        return nexus__fail(NEXUS_ELIMIT, "event %llu of group %s has been leased for max_lease_ms, %u",
                           (unsigned long long)e->pos, g->name, g->config.max_lease_ms);
    *due_ns = wanted < e->from_ns ? wanted : e->from_ns;
    nexus__bgroup_timer_start(g, e, *due_ns);
    return NEXUS_OK;
}

/* With the lock held; *due_ns: when the tick thread has something to do. */
static nexus_status settle(nexus__bgroup *g, entry *e, uint32_t how, uint32_t ms, nexus_slice reason, int64_t now_ns,
                           int64_t *due_ns)
{
    uint32_t delay = ms;
    *due_ns = now_ns + LAZY_NS;
    switch (how) {
    case NEXUS__SETTLE_EXTEND:
        return extend(g, e, ms, due_ns);
    case NEXUS__SETTLE_NAK:
        keep_reason(g, e, reason);
        if (ms == UINT32_MAX)
            delay = backoff_ms(g, e->attempts, reason);
        failed(g, e, delay, "not accepted");
        *due_ns = now_ns + delay * NEXUS__NS_PER_MS;
        return NEXUS_OK;
    case NEXUS__SETTLE_TERM:
        nexus__bgroup_bury(g, e, reason.n ? reason : NEXUS_S("rejected"));
        return NEXUS_OK;
    case NEXUS__SETTLE_SKIP:
        nexus__bgroup_note(g, AUDIT_SKIP, e->pos, reason);
        nexus__bgroup_done(g, e);
        return NEXUS_OK;
    default:
        nexus__bgroup_done(g, e);
        return NEXUS_OK;
    }
}

nexus_status nexus__bgroup_settle(nexus__bgroup *g, uint64_t pos, uint64_t token, uint32_t how, uint32_t ms,
                                  nexus_slice reason)
{
    int64_t now = nexus__mono_ns(), due = INT64_MAX;
    pthread_mutex_lock(&g->lock);
    entry *e = nexus__bgroup_leased(g, pos, token);
    nexus_status status = e ? settle(g, e, how, ms, reason, now, &due) : NEXUS_ESTALE;
    bool ready = nexus__bgroup_any_ready(g);
    pthread_mutex_unlock(&g->lock);
    if (status != NEXUS_OK)
        return status;
    nexus__broker_owes(g->broker, false, now, due);
    if (ready || how != NEXUS__SETTLE_EXTEND)
        nexus__bgroup_wake(g);
    return NEXUS_OK;
}
