/* The registry inside: families sorted by name, series with their sharded cells. */
#ifndef NEXUS_OBSERVE_METRICS_H
#define NEXUS_OBSERVE_METRICS_H

#include <nexus/metrics.h>

#include <pthread.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/map.h"

enum {
    NEXUS__METRIC_SHARDS = 8,
    NEXUS__METRIC_LABELS_MAX = 8,
    NEXUS__METRIC_BUCKETS_MAX = 32,
    NEXUS__METRIC_SERIES_MAX = 1000
};

/* One shard of a series: `count[i]` is the whole number added (counter: i = 0) or the observations of bucket i;
 * `sum` holds bits of a double: fractions added to a counter, the sum of a histogram, the value of a gauge. */
typedef struct nexus__metric_shard {
    _Alignas(64) _Atomic uint64_t sum;
    _Atomic uint64_t count[];
} nexus__metric_shard;

struct nexus_metric {
    nexus_metric_family *family;
    nexus__list node;
    nexus_slice key;    /* label values, each with its length before it */
    nexus_slice labels; /* as rendered: method="GET",status="200" */
    int64_t created_ns;
    char *shards; /* aligned to a cache line, inside memory */
    char *memory;
};

struct nexus_metric_family {
    nexus_metrics *registry;
    char *name, *help, *labels, *unit; /* labels as given, "method,route" */
    nexus_slice label[NEXUS__METRIC_LABELS_MAX];
    size_t label_count;
    uint32_t type;
    double bounds[NEXUS__METRIC_BUCKETS_MAX];
    size_t bound_count;
    size_t shard_count, shard_bytes;
    nexus_metric *overflow;
    pthread_rwlock_t lock; /* guards what follows */
    nexus__map by_key;
    nexus__list series; /* in order of birth */
    size_t series_count;
};

typedef struct nexus__metrics_collector {
    nexus_metrics_collect_fn *fn;
    void *user_data;
} nexus__metrics_collector;

struct nexus_metrics {
    const nexus_alloc *alloc;
    uint32_t series_max;
    nexus_metric *dropped_series;
    pthread_mutex_t lock; /* guards what follows */
    nexus_metric_family **families;
    size_t family_count;
    nexus__metrics_collector *collectors;
    size_t collector_count;
};

static inline nexus__metric_shard *nexus__metric_shard_at(const nexus_metric *m, size_t i)
{
    return (nexus__metric_shard *)(void *)(m->shards + i * m->family->shard_bytes);
}

nexus_metric *nexus__metric_new(nexus_metric_family *f, const nexus_slice *values, size_t count);
void nexus__metric_free(nexus_metric *m);

/* Sums over the shards. */
uint64_t nexus__metric_count(const nexus_metric *m, size_t i);
double nexus__metric_sum(const nexus_metric *m);

/* Adds the process_* families and their collector. */
nexus_status nexus__metrics_process(nexus_metrics *metrics);

#endif
