/*
 * The bus as Prometheus sees it. Families and their values are rows of two tables; a collector fills them before each
 * rendering, in the owner only, so that a group is exported once however many processes share the bus.
 */
#include <nexus/metrics.h>

#include "base/status.h"
#include "bus/handle.h"
#include "bus/internal.h"

typedef struct row {
    const char *name, *help;
    uint32_t type;
    size_t offset; /* of a uint64_t */
} row;

typedef struct group_values {
    uint64_t lag, lag_ms, inflight, inflight_bytes, delayed, dead, members, paused, breaker, delivered, acked, redelivered;
} group_values;

#define GROUP(field) offsetof(group_values, field)

static const row group_rows[] = {
    {"nexus_bus_group_lag", "Events that match and wait.", NEXUS_METRIC_GAUGE, GROUP(lag)},
    {"nexus_bus_group_lag_ms", "Age of the oldest event that is not settled.", NEXUS_METRIC_GAUGE, GROUP(lag_ms)},
    {"nexus_bus_group_inflight", "Events being handled.", NEXUS_METRIC_GAUGE, GROUP(inflight)},
    {"nexus_bus_group_inflight_bytes", "Their data.", NEXUS_METRIC_GAUGE, GROUP(inflight_bytes)},
    {"nexus_bus_group_delayed", "Events waiting for another attempt.", NEXUS_METRIC_GAUGE, GROUP(delayed)},
    {"nexus_bus_group_dead", "Dead letters kept.", NEXUS_METRIC_GAUGE, GROUP(dead)},
    {"nexus_bus_group_members", "Members that asked within 5 s.", NEXUS_METRIC_GAUGE, GROUP(members)},
    {"nexus_bus_group_paused", "1 when paused by hand.", NEXUS_METRIC_GAUGE, GROUP(paused)},
    {"nexus_bus_group_breaker_open", "1 while its breaker is open.", NEXUS_METRIC_GAUGE, GROUP(breaker)},
    {"nexus_bus_group_delivered_total", "Attempts handed out.", NEXUS_METRIC_COUNTER, GROUP(delivered)},
    {"nexus_bus_group_acked_total", "Events settled as done.", NEXUS_METRIC_COUNTER, GROUP(acked)},
    {"nexus_bus_group_redelivered_total", "Second and later attempts.", NEXUS_METRIC_COUNTER, GROUP(redelivered)},
};

static const row category_rows[] = {
    {"nexus_bus_events_total", "Events stored, by category of their stream.", NEXUS_METRIC_COUNTER,
     offsetof(nexus__category, events)},
    {"nexus_bus_bytes_total", "Data stored, by category of their stream.", NEXUS_METRIC_COUNTER,
     offsetof(nexus__category, bytes)},
};

/* Counters only grow: what the registry has is brought up to what is true. After a take-over it is the new owner's
 * registry, which begins anew, as a restart does. */
static void set(nexus_metrics *metrics, const row *r, const char *label, nexus_slice value_of, uint64_t value)
{
    nexus_metric_desc desc = NEXUS_METRIC_DESC_INIT;
    nexus_metric_family *family;
    desc.name = r->name;
    desc.help = r->help;
    desc.type = r->type;
    desc.labels = label;
    if (nexus_metrics_family(&family, metrics, &desc) != NEXUS_OK)
        return;
    nexus_metric *series = nexus_metric_series(family, &value_of, 1);
    if (r->type == NEXUS_METRIC_GAUGE)
        nexus_metric_set(series, (double)value);
    else
        nexus_metric_add(series, (double)value - nexus_metric_value(series));
}

static uint64_t value_at(const void *base, size_t offset)
{
    uint64_t value;
    memcpy(&value, (const char *)base + offset, sizeof value);
    return value;
}

static void collect_group(nexus_metrics *metrics, nexus__bgroup *g)
{
    nexus_group_stats s = {.size = sizeof s};
    nexus__bgroup_stats(g, &s);
    const group_values v = {.lag = s.lag,
                            .lag_ms = s.lag_ms > 0 ? (uint64_t)s.lag_ms : 0,
                            .inflight = s.inflight,
                            .inflight_bytes = s.inflight_bytes,
                            .delayed = s.delayed,
                            .dead = s.dead,
                            .members = s.members,
                            .paused = s.paused,
                            .breaker = s.breaker_open,
                            .delivered = s.delivered,
                            .acked = s.acked,
                            .redelivered = s.redelivered};
    for (size_t i = 0; i < sizeof group_rows / sizeof *group_rows; i++)
        set(metrics, &group_rows[i], "group", nexus__slice_c(g->name), value_at(&v, group_rows[i].offset));
}

static void collect_categories(nexus_metrics *metrics, nexus__broker *b)
{
    for (size_t i = 0;; i++) {
        nexus__category c;
        pthread_mutex_lock(&b->lock);
        bool there = i < b->categories.count;
        if (there)
            c = b->categories.list[i];
        pthread_mutex_unlock(&b->lock);
        if (!there)
            return;
        for (size_t k = 0; k < sizeof category_rows / sizeof *category_rows; k++)
            set(metrics, &category_rows[k], "category", nexus__slice(c.name, c.name_bytes),
                value_at(&c, category_rows[k].offset));
    }
}

static void collect(nexus_metrics *metrics, void *user_data)
{
    nexus_bus *bus = user_data;
    nexus__broker *b = atomic_load(&bus->broker);
    static const row owner = {"nexus_bus_owner", "1 where the bus is owned.", NEXUS_METRIC_GAUGE, 0};
    static const row delayed = {"nexus_bus_delayed_events", "Events to be stored later.", NEXUS_METRIC_GAUGE, 0};
    nexus_slice engine = bus->dir ? NEXUS_S("file") : NEXUS_S("memory");
    set(metrics, &owner, "engine", engine, b != NULL);
    if (!b)
        return;
    pthread_mutex_lock(&b->delays.lock);
    uint64_t waiting = b->delays.events;
    pthread_mutex_unlock(&b->delays.lock);
    set(metrics, &delayed, "engine", engine, waiting);
    collect_categories(metrics, b);
    for (size_t i = 0;; i++) {
        pthread_mutex_lock(&b->groups_lock);
        nexus__bgroup *g = i < b->group_count ? b->group_list[i] : NULL; /* groups live as long as the broker */
        pthread_mutex_unlock(&b->groups_lock);
        if (!g)
            return;
        collect_group(metrics, g);
    }
}

nexus_status nexus_bus_metrics(nexus_bus *bus, nexus_metrics *metrics)
{
    return nexus_metrics_collect(metrics, collect, bus);
}
