/* Handing out what is ready, under leases, and the members who ask for it. */
#include "base/id.h"
#include "base/status.h"
#include "bus/internal.h"

/* --- members ------------------------------------------------------------------------------------------------------ */

nexus__member *nexus__bgroup_join(nexus__bgroup *g, bool remote)
{
    nexus__member *m = nexus__calloc(g->broker->alloc, 1, sizeof *m);
    if (!m)
        return NULL;
    m->id = nexus__random_u64();
    m->remote = remote;
    nexus__queue_init(&m->ready);
    pthread_mutex_lock(&g->lock);
    nexus__list_push(&g->members, &m->node);
    pthread_mutex_unlock(&g->lock);
    return m;
}

static void hand_on(nexus__bgroup *g, nexus__list *list)
{
    while (!nexus__list_empty(list)) {
        entry *e = NEXUS__CONTAINER(list->next, entry, in_ready);
        nexus__bgroup_unready(e);
        nexus__bgroup_ready(g, e);
    }
}

void nexus__bgroup_part(nexus__bgroup *g, nexus__member *m)
{
    if (!m)
        return;
    pthread_mutex_lock(&g->lock);
    nexus__list_remove(&m->node);
    size_t cursor = 0;
    for (nexus__map_entry *at; m->inflight && (at = nexus__map_next(&g->by_pos, &cursor));) {
        entry *e = at->value;
        if (e->member == m)
            e->member = NULL; /* its lease runs out by itself */
    }
    for (size_t i = 0; i < CLASSES; i++)
        hand_on(g, &m->ready.first[i]);
    hand_on(g, &m->ready.again);
    pthread_mutex_unlock(&g->lock);
    nexus__free(g->broker->alloc, m);
    nexus__bgroup_wake(g);
}

/* --- time --------------------------------------------------------------------------------------------------------- */

static void delay_over(nexus__bgroup *g, entry *e)
{
    nexus__bgroup_timer_stop(g, e);
    bool first = !e->lane || e->lane->entries.next == &e->in_lane;
    if (e->lane && g->parked.count) { /* a letter of its lane may have come before it meanwhile */
        nexus__stored *s = nexus__stored_ref(e->stored);
        e->state = ENTRY_WAITING;
        uint64_t pos = e->pos;
        nexus__bgroup_park_behind(g, nexus__bgroup_lane_key(g, &s->view.event));
        nexus__stored_unref(g->broker->alloc, s);
        e = nexus__map_get(&g->by_pos, nexus__pos_key(&pos));
        if (!e || e->state != ENTRY_WAITING)
            return;
        first = e->lane->entries.next == &e->in_lane;
    }
    if (e->attempts >= g->config.max_deliver)
        nexus__bgroup_bury(g, e, nexus__slice_c(e->reason ? e->reason : "not accepted"));
    else if (first)
        nexus__bgroup_ready(g, e);
    else
        e->state = ENTRY_WAITING;
}

static void expire_locked(nexus__bgroup *g, int64_t now_ns)
{
    while (g->timer_count && g->timers[0]->due_ns <= now_ns) {
        entry *e = g->timers[0];
        if (e->state == ENTRY_LEASED)
            nexus__bgroup_lease_over(g, e);
        else
            delay_over(g, e);
    }
}

int64_t nexus__bgroup_expire(nexus__bgroup *g, int64_t now_ns)
{
    pthread_mutex_lock(&g->lock);
    expire_locked(g, now_ns);
    int64_t due = g->timer_count ? g->timers[0]->due_ns : INT64_MAX, letters = nexus__bgroup_expire_dead(g, now_ns);
    bool ready = nexus__bgroup_any_ready(g);
    pthread_mutex_unlock(&g->lock);
    if (ready)
        nexus__bgroup_wake(g);
    return letters < due ? letters : due;
}

/* --- handing out -------------------------------------------------------------------------------------------------- */

static void lease_out(nexus__bgroup *g, nexus__member *m, entry *e, uint32_t pass, nexus__lease *out, int64_t now_ns)
{
    size_t bytes = e->stored->view.event.data.n;
    nexus__guard_rule rule = nexus__bgroup_guard_rule(g);
    nexus__bgroup_unready(e);
    if (e->attempts)
        nexus__guard_take(&g->guard);
    else
        nexus__guard_earn(&g->guard, &rule);
    e->state = ENTRY_LEASED;
    e->attempts++;
    e->token = ++g->next_token;
    e->pass = pass;
    e->member = m;
    e->from_ns = now_ns + g->config.max_lease_ms * NEXUS__NS_PER_MS;
    e->remote = m->remote;
    if (!e->first_at_ns)
        e->first_at_ns = nexus__real_ns();
    nexus__bgroup_timer_start(g, e, now_ns + g->config.ack_wait_ms * NEXUS__NS_PER_MS);
    g->inflight++;
    g->inflight_bytes += bytes;
    m->inflight++;
    m->inflight_bytes += bytes;
    g->delivered++;
    g->redelivered += e->attempts > 1;
    lease_record record = {.pos = e->pos, .token = e->token, .attempts = e->attempts, .remote = m->remote};
    nexus__buf_append(&g->leases, &record, sizeof record);
    *out = (nexus__lease){nexus__stored_ref(e->stored), e->token, e->attempts};
    out->attempt |= e->pos <= g->replay_until ? NEXUS__LEASE_REPLAY : 0;
    g->handed = e->pos > g->handed ? e->pos : g->handed;
}

static size_t room_of(const nexus__bgroup *g, const nexus__member *m, size_t max)
{
    uint64_t group = g->inflight < g->config.max_inflight ? g->config.max_inflight - g->inflight : 0;
    uint64_t member = m->inflight < g->config.member_inflight ? g->config.member_inflight - m->inflight : 0;
    uint64_t room = group < member ? group : member;
    return room < max ? (size_t)room : max;
}

/* One event always fits, however big. */
static bool bytes_fit(const nexus__bgroup *g, const nexus__member *m, const entry *e)
{
    size_t n = e->stored->view.event.data.n;
    return (!g->inflight || g->inflight_bytes + n <= g->config.max_inflight_bytes) &&
           (!m->inflight || m->inflight_bytes + n <= g->config.member_inflight_bytes);
}

/* The breaker's leave for one more attempt; 0: not now. */
static uint32_t breaker_pass(nexus__bgroup *g, int64_t now_ns, int64_t *due_ns)
{
    nexus_breaker_rule rule = nexus__bgroup_breaker_rule(g);
    int64_t wait;
    if (!g->config.breaker_percent)
        return NEXUS__BREAKER_PASS;
    uint32_t pass = nexus__breaker_enter(&g->breaker, &rule, now_ns, &wait);
    if (pass == NEXUS__BREAKER_REFUSED && now_ns + wait < *due_ns)
        *due_ns = now_ns + wait;
    return pass;
}

static size_t hand_out(nexus__bgroup *g, nexus__member *m, nexus__lease *out, size_t room, int64_t now_ns, int64_t *due_ns)
{
    size_t got = 0;
    while (got < room) {
        entry *e = nexus__bgroup_pick(g, m, now_ns, due_ns);
        if (!e || !bytes_fit(g, m, e))
            break;
        if (e->attempts >= g->config.max_deliver) { /* used up before a restart */
            nexus__bgroup_bury(g, e, NEXUS_S("lease: every attempt ended without an answer"));
            continue;
        }
        uint32_t pass = breaker_pass(g, now_ns, due_ns);
        if (!pass)
            break;
        lease_out(g, m, e, g->config.breaker_percent ? pass : 0, &out[got++], now_ns);
    }
    return got;
}

nexus_status nexus__bgroup_take(nexus__bgroup *g, nexus__member *m, nexus__lease *out, size_t max, size_t *got,
                                int64_t *next_due_ns)
{
    int64_t now = nexus__mono_ns(), due = INT64_MAX;
    nexus_status status = NEXUS_OK;
    *got = 0;
    pthread_mutex_lock(&g->lock);
    g->taken_ns = m->asked_ns = now;
    expire_locked(g, now);
    size_t room = g->paused ? 0 : room_of(g, m, max);
    if (room)
        status = nexus__bgroup_load(g, m, room);
    *got = hand_out(g, m, out, room, now, &due);
    if (g->timer_count && g->timers[0]->due_ns < due)
        due = g->timers[0]->due_ns;
    *next_due_ns = due;
    pthread_mutex_unlock(&g->lock);
    if (*got)
        nexus__broker_owes(g->broker, true, now, due);
    return *got ? NEXUS_OK : status;
}
