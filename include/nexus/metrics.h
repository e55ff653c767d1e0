/*
 * Metrics registry: counters, gauges and histograms with labels, rendered as Prometheus text 0.0.4 or
 * OpenMetrics 1.0.
 *
 * A family is a name, a help text and label names; a series is a family with label values. Look a series up
 * once and keep it: adding to it is one atomic add on a cache line of the thread's own shard. A family holds
 * at most 1,000 series (an option); what comes after is counted in one series whose labels all say
 * "__overflow__", and in nexus_metrics_dropped_series_total.
 */
#ifndef NEXUS_METRICS_H
#define NEXUS_METRICS_H

#include <nexus/alloc.h>
#include <nexus/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nexus_metrics nexus_metrics;
typedef struct nexus_metric_family nexus_metric_family;
typedef struct nexus_metric nexus_metric; /**< one series; lives as long as its registry */

enum { NEXUS_METRIC_COUNTER = 0, NEXUS_METRIC_GAUGE = 1, NEXUS_METRIC_HISTOGRAM = 2 };

typedef struct nexus_metrics_opts {
    size_t size;
    const nexus_alloc *alloc; /**< NULL: the C library's */
    uint32_t series_max;      /**< series of one family; 0: 1,000 */
    bool process; /**< adds process_cpu_seconds_total, _resident_memory_bytes, _open_fds, _start_time_seconds
                   */
} nexus_metrics_opts;

#define NEXUS_METRICS_OPTS_INIT NEXUS_SIZED(nexus_metrics_opts)

NEXUS_API void nexus_metrics_opts_init(nexus_metrics_opts *opts);

/** Opens an empty registry. opts may be NULL. */
NEXUS_API nexus_status nexus_metrics_open(nexus_metrics **out, const nexus_metrics_opts *opts) NEXUS_MUST_CHECK;
/** Frees the registry with every family and series. NULL is fine. */
NEXUS_API void nexus_metrics_close(nexus_metrics *metrics);

/** What a family is. Everything is copied. */
typedef struct nexus_metric_desc {
    size_t size;
    const char *name; /**< [a-zA-Z_:][a-zA-Z0-9_:]*; a counter's ends in _total */
    const char *help;
    uint32_t type;         /**< NEXUS_METRIC_… */
    const char *labels;    /**< label names parted by commas, "method,route,status"; NULL: none. At most 8 */
    const double *buckets; /**< upper bounds of a histogram, rising, without +Inf; NULL: 1 ms to 10 s, in seconds */
    size_t bucket_count;   /**< at most 32 */
    const char *unit;      /**< OpenMetrics UNIT, the suffix of the name ("seconds"); NULL: none */
} nexus_metric_desc;

#define NEXUS_METRIC_DESC_INIT NEXUS_SIZED(nexus_metric_desc)

NEXUS_API void nexus_metric_desc_init(nexus_metric_desc *desc);

/**
 * The family of that name, made when it is new; *out is borrowed from the registry. Any thread.
 * NEXUS_EINVAL for a bad name, label or bucket; NEXUS_ECONFLICT when the name is taken by another type or
 * label set.
 */
NEXUS_API nexus_status nexus_metrics_family(nexus_metric_family **out, nexus_metrics *metrics,
                                            const nexus_metric_desc *desc) NEXUS_MUST_CHECK;

/**
 * The series with these label values (copied), in the order of the label names; made when it is new. Borrowed
 * from the registry, never NULL: over the limit or out of memory it is the family's overflow series. Any
 * thread; takes a read lock, so keep the result where the labels do not change.
 */
NEXUS_API nexus_metric *nexus_metric_series(nexus_metric_family *family, const nexus_slice *values, size_t count);

/** The only series of a family without labels, in one call with its family; NULL (and a message) when
 * refused. */
NEXUS_API nexus_metric *nexus_metrics_counter(nexus_metrics *metrics, const char *name, const char *help);
NEXUS_API nexus_metric *nexus_metrics_gauge(nexus_metrics *metrics, const char *name, const char *help);

/** Counter: value >= 0 (else ignored). Gauge: any. A NULL series is fine and counts nothing. Any thread, no
 * lock. */
NEXUS_API void nexus_metric_add(nexus_metric *series, double value);
/** Gauge: sets. Ignored on other types. */
NEXUS_API void nexus_metric_set(nexus_metric *series, double value);
/** Histogram: one observation (NaN is ignored). */
NEXUS_API void nexus_metric_observe(nexus_metric *series, double value);
/** The value now: of a histogram, its count. For tests and pages. */
NEXUS_API double nexus_metric_value(const nexus_metric *series);

/** Called before each rendering, on the rendering thread, to set gauges that are read on demand. */
typedef void nexus_metrics_collect_fn(nexus_metrics *metrics, void *user_data);
/** Adds a collector; user_data is borrowed until close. */
NEXUS_API nexus_status nexus_metrics_collect(nexus_metrics *metrics, nexus_metrics_collect_fn *fn, void *user_data);

enum { NEXUS_METRICS_TEXT = 0, NEXUS_METRICS_OPENMETRICS = 1 };

/** The whole registry as text, families sorted by name; *out is NUL-terminated (not counted in *n), free it
 * with nexus_free. */
NEXUS_API nexus_status nexus_metrics_render(char **out, size_t *n, nexus_metrics *metrics,
                                            uint32_t format) NEXUS_MUST_CHECK;

/** The Content-Type of a format, static. */
NEXUS_API const char *nexus_metrics_content_type(uint32_t format);
/** The format an Accept header asks for: OpenMetrics when it names application/openmetrics-text, else text.
 */
NEXUS_API uint32_t nexus_metrics_negotiate(nexus_slice accept);

#ifdef __cplusplus
}
#endif

#endif
