/* What becomes of a lease: done, again later, never again. */
#include <stdio.h>

#include "base/backoff.h"
#include "base/id.h"
#include "base/status.h"
#include "bus/internal.h"

#define LAZY_NS (5 * NEXUS__NS_PER_MS)

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
    nexus__bgroup_leave_lane(g, e);
    if (!e->back) {
        nexus__list_remove(&e->in_window);
        g->window_count--;
        nexus__bgroup_raise_floor(g);
        note_ack(g, e->pos);
    }
    nexus__bgroup_entry_free(g, e);
}

static void settle(nexus__bgroup *g, entry *e)
{
    if (e->back) {
        nexus__buf_append(&g->gone, &e->pos, sizeof e->pos);
        nexus__bgroup_drop_dead(g, e->pos);
    }
    leave(g, e);
}

/* The copy goes into the log; only then the event leaves the window (when it cannot be written now, it stays). */
void nexus__bgroup_bury(nexus__bgroup *g, entry *e, nexus_slice reason)
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
    nexus__bgroup_timer_start(g, e, nexus__mono_ns() + NEXUS__NS_PER_S);
}

static void give_back(nexus__bgroup *g, entry *e, uint32_t delay_ms)
{
    if (e->state == ENTRY_LEASED)
        g->inflight--;
    e->token = 0;
    nexus__bgroup_timer_stop(g, e);
    if (!delay_ms) {
        nexus__bgroup_ready(g, e);
        return;
    }
    e->state = ENTRY_DELAYED;
    nexus__bgroup_timer_start(g, e, nexus__mono_ns() + delay_ms * NEXUS__NS_PER_MS);
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

void nexus__bgroup_failed(nexus__bgroup *g, entry *e, uint32_t delay_ms, const char *why)
{
    if (e->attempts < g->config.max_deliver) {
        give_back(g, e, delay_ms);
        return;
    }
    char text[320];
    int n = snprintf(text, sizeof text, "%s", e->reason ? e->reason : why);
    nexus__bgroup_bury(g, e, nexus__slice(text, n < (int)sizeof text ? (size_t)n : sizeof text - 1));
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
        nexus__bgroup_timer_start(g, e, due);
    } else if (how == NEXUS__SETTLE_NAK) {
        keep_reason(g, e, reason);
        uint32_t delay = ms == UINT32_MAX ? backoff_ms(g, e->attempts) : ms;
        nexus__bgroup_failed(g, e, delay, "not accepted");
        due = nexus__mono_ns() + delay * NEXUS__NS_PER_MS;
    } else {
        nexus__bgroup_bury(g, e, reason.n ? reason : NEXUS_S("rejected"));
        due = nexus__mono_ns() + LAZY_NS;
    }
    bool ready = !nexus__list_empty(&g->ready);
    pthread_mutex_unlock(&g->lock);
    nexus__broker_tick(g->broker, false, due);
    if (ready || how == NEXUS__SETTLE_NAK || how == NEXUS__SETTLE_ACK)
        nexus__bgroup_wake(g);
    return NEXUS_OK;
}
