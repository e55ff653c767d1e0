/* How the groups are, and why one does not move. */
#include <stdio.h>

#include "base/status.h"
#include "bus/handle.h"
#include "bus/internal.h"
#include "json/write.h"

enum { KEYS_SHOWN = 5, ABSENT_S = 5 };

/* The first rule that fits says it. */
typedef struct finding {
    const char *reason;
    char detail[200];
} finding;

static void blocked_keys(const nexus__bgroup *g, char *out, size_t cap)
{
    size_t n = 0;
    uint32_t shown = 0;
    for (size_t i = 0; i < g->timer_count && shown < KEYS_SHOWN; i++) {
        const entry *e = g->timers[i];
        if (e->state != ENTRY_DELAYED)
            continue;
        nexus_slice key = e->lane ? nexus__slice(e->lane->key, e->lane->key_bytes) : NEXUS_S("(no key)");
        int wrote =
            snprintf(out + n, cap - n, "%s%.*s (attempt %u: %s)", shown ? "; " : "", key.n > 40 ? 40 : (int)key.n,
                     key.p, e->attempts, e->reason ? e->reason : "no reason given");
        n = wrote > 0 && (size_t)wrote < cap - n ? n + (size_t)wrote : cap - 1;
        shown++;
    }
}

static void find(const nexus__bgroup *g, uint64_t head, int64_t now, finding *f)
{
    bool all = nexus__list_empty(&g->window) && g->loaded >= head;
    *f = (finding){.reason = "MOVING"};
    nexus_status disk = nexus__wal_condition(g->broker->wal);
    if (g->paused) {
        f->reason = "PAUSED";
        snprintf(f->detail, sizeof f->detail, "paused by hand: nexus events resume %.100s", g->name);
    } else if (disk != NEXUS_OK) {
        f->reason = "DISK";
        snprintf(f->detail, sizeof f->detail, "the log takes no writes: %s", disk == NEXUS_ENOSPC ? "no space left" : "it is read-only, or a write failed and only a restart opens it again");
    } else if (nexus__breaker_state(&g->breaker, now) == NEXUS_BREAKER_OPEN) {
        f->reason = "BREAKER_OPEN";
        snprintf(f->detail, sizeof f->detail, "%u %% of the attempts failed; tried again in %lld ms", g->config.breaker_percent,
                 (long long)(nexus__breaker_retry_after_ns(&g->breaker, now) / NEXUS__NS_PER_MS));
    } else if (g->dead_count >= g->config.dead_max && g->config.dead_overflow == NEXUS_DEAD_BLOCK) {
        f->reason = "DLQ_FULL";
        snprintf(f->detail, sizeof f->detail, "%llu dead letters: redrive or purge them",
                 (unsigned long long)g->dead_count);
    } else if (g->by_pos.count == 0 && all && !g->matched && head >= g->config.start_pos) {
        f->reason = "NOTHING_MATCHES";
        snprintf(f->detail, sizeof f->detail, "no event since position %llu matches the filter",
                 (unsigned long long)g->config.start_pos);
    } else if (g->by_pos.count == 0 && all) {
        f->reason = "CAUGHT_UP";
    } else if (g->inflight >= g->config.max_inflight || g->inflight_bytes >= g->config.max_inflight_bytes) {
        f->reason = "INFLIGHT_FULL";
        snprintf(f->detail, sizeof f->detail, "%llu events of %llu bytes are being handled, max_inflight is %u",
                 (unsigned long long)g->inflight, (unsigned long long)g->inflight_bytes, g->config.max_inflight);
    } else if (!g->inflight && now - g->taken_ns > ABSENT_S * NEXUS__NS_PER_S) {
        f->reason = "NO_MEMBER";
        snprintf(f->detail, sizeof f->detail,
                 g->taken_ns ? "nobody has asked for events for %lld s" : "nobody has asked",
                 (long long)((now - g->taken_ns) / NEXUS__NS_PER_S));
    } else if (!nexus__bgroup_any_ready(g) && g->timer_count > g->inflight) {
        f->reason = "LANES_BLOCKED";
        blocked_keys(g, f->detail, sizeof f->detail);
    }
}

static void put_group(nexus__json_writer *w, nexus__bgroup *g, uint64_t head)
{
    static const char *const orders[] = {"key", "none", "total"};
    nexus_group_stats s = {.size = sizeof s};
    finding f;
    nexus__bgroup_stats(g, &s);
    pthread_mutex_lock(&g->lock);
    find(g, head, nexus__mono_ns(), &f);
    nexus__json_open(w, '{');
    nexus__json_put_text_c(w, "name", g->name);
    nexus__json_put_text(w, "types", g->config.types);
    nexus__json_put_text_c(w, "order", orders[g->config.order <= NEXUS_ORDER_TOTAL ? g->config.order : 0]);
    pthread_mutex_unlock(&g->lock);
    nexus__json_put_u64(w, "floor", s.floor);
    nexus__json_put_u64(w, "head", s.head);
    nexus__json_put_u64(w, "lag", s.lag);
    nexus__json_put_i64(w, "lag_ms", s.lag_ms);
    nexus__json_put_u64(w, "inflight", s.inflight);
    nexus__json_put_u64(w, "delayed", s.delayed);
    nexus__json_put_u64(w, "dead", s.dead);
    nexus__json_put_u64(w, "members", s.members);
    nexus__json_put_text_c(w, "state", f.reason);
    nexus__json_put_text_c(w, "detail", f.detail[0] ? f.detail : NULL);
    nexus__json_close(w, '}');
}

nexus_status nexus__broker_groups(nexus__broker *b, nexus__buf *json)
{
    nexus__json_writer w = nexus__json_writer_on(json);
    uint64_t head = nexus__wal_durable(b->wal);
    pthread_mutex_lock(&b->groups_lock);
    size_t n = b->group_count;
    pthread_mutex_unlock(&b->groups_lock);
    nexus__json_open(&w, '[');
    for (size_t i = 0; i < n; i++) {
        pthread_mutex_lock(&b->groups_lock);
        nexus__bgroup *g = b->group_list[i]; /* groups live as long as the broker */
        pthread_mutex_unlock(&b->groups_lock);
        put_group(&w, g, head);
    }
    nexus__json_close(&w, ']');
    return json->status;
}

nexus_status nexus__bgroup_explain(nexus__bgroup *g, nexus__buf *json)
{
    nexus__json_writer w = nexus__json_writer_on(json);
    put_group(&w, g, nexus__wal_durable(g->broker->wal));
    return json->status;
}

nexus_status nexus_bus_groups(char **out, size_t *n, nexus_bus *bus)
{
    nexus__buf body;
    nexus__broker *broker;
    nexus__buf_init(&body, NULL, 0);
    nexus_status status = nexus__bus_ask(bus, WIRE_GROUPS, NEXUS_S(""), &broker, &body);
    if (status == NEXUS_OK && broker)
        status = nexus__broker_groups(broker, &body);
    if (status == NEXUS_OK)
        status = nexus__buf_hand_over(&body, out, n);
    nexus__buf_free(&body);
    return status;
}
