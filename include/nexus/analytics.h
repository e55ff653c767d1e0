/* Analytics: counts, uniques, series and tops over ingested events. Questions and answers are JSON text. */
#ifndef NEXUS_ANALYTICS_H
#define NEXUS_ANALYTICS_H

#include <nexus/alloc.h>
#include <nexus/common.h>
#include <nexus/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * The events that can be asked about, in memory and filled by the nexus_ingest it is given to (which replays
 * its log into it when opened). Usable from any thread; questions run side by side.
 */
typedef struct nexus_analytics nexus_analytics;

/** How the store is opened. Zero members mean the defaults named. */
typedef struct nexus_analytics_opts {
    size_t size;              /**< sizeof(nexus_analytics_opts) */
    const nexus_alloc *alloc; /**< borrowed; NULL = the C library's */
    uint32_t groups_max;      /**< groups one question may list; 0 = 1,000 */
    uint32_t buckets_max;     /**< intervals one question may span; 0 = 10,000 */
    uint32_t tail_max;        /**< newest events kept whole for nexus_analytics_tail; 0 = 10,000 */
} nexus_analytics_opts;

#define NEXUS_ANALYTICS_OPTS_INIT NEXUS_SIZED(nexus_analytics_opts)

/** The same as NEXUS_ANALYTICS_OPTS_INIT, for callers without macros. */
NEXUS_API void nexus_analytics_opts_init(nexus_analytics_opts *opts);

NEXUS_API nexus_status nexus_analytics_open(nexus_analytics **out, const nexus_analytics_opts *opts) NEXUS_MUST_CHECK;
NEXUS_API void nexus_analytics_close(nexus_analytics *analytics); /**< NULL is fine */

/** Events held. */
NEXUS_API uint64_t nexus_analytics_count(const nexus_analytics *analytics);

/**
 * Answers one question.
 *
 * The question is a JSON object; every member is optional:
 * - `measures`: array of `{"agg","field"?,"as"?}`; agg is count (the default), uniques (of `user` unless
 * field says otherwise), sum, avg, min or max of a numeric field;
 * - `from`, `to`: RFC 3339, a date, Unix time (seconds to nanoseconds by magnitude), or relative: "now",
 * "-24h",
 *   "-7d", "today", "yesterday"; `from` is inside, `to` outside. Without them: everything;
 * - `range`: "24h" is short for from = -24h, to = now; "all" for everything;
 * - `interval`: "1s" … "30s", "1m", "5m", "1h", "1d", "1w", "1mo" gives a series, silent intervals as zero;
 * the span is that of from/to or, where open, of the events found;
 * - `group_by`: array of fields; `bucket`: `{"properties.status":100}` groups a numeric field by its lower
 * edge (200 for 200-299) and puts it in group_by;
 * - `filters`: array of `{"field","op","value"}`; op is eq (default), ne, in, gt, gte, lt, lte, prefix,
 * contains, exists;
 * - `limit` (groups, default 100), `order` ("-count" = by first measure downwards, the default; "count";
 * "label"), `tz`
 *   ("UTC" or a fixed offset "+02:00"; names of zones are refused).
 *
 * Fields: event, user (user_id, else anonymous_id), user_id, anonymous_id, session_id, and properties.NAME, context.NAME (dots reach
 * into nested objects).
 *
 * The answer:
 * `{"query_id","rows":[{"labels":{},"values":{}}],"series":[{"labels":{},"measure","points":[[ms,v]]}],
 * "totals":{},"other":{},"meta":{"from","to","interval","rows_scanned","rows_matched","took_us","lag_ms","error",…}}`;
 * `series` only with an interval, `other` only when groups were cut off. Uniques are exact up to 4,096 in a
 * cell and HyperLogLog with p = 14 beyond (Flajolet et al. 2007, estimate of Ertl 2017);
 * meta.error says which.
 *
 * @param query   borrowed for the call; the empty slice counts everything.
 * @param now_ms  what "now" means, Unix milliseconds; 0 = the clock.
 * @param out     the answer, NUL-terminated; free with nexus_free.
 * @return NEXUS_OK; NEXUS_EINVAL when the question cannot be understood (the message names the member as a
 * JSON Pointer); NEXUS_ETOOBIG when it spans more intervals than buckets_max.
 */
NEXUS_API nexus_status nexus_analytics_query(nexus_analytics *analytics, nexus_slice query, int64_t now_ms, char **out,
                                             size_t *len) NEXUS_MUST_CHECK;

/** One metric as `GET /api/v1/analytics/metrics` asks for it. Empty slices mean the defaults named. */
typedef struct nexus_analytics_metric {
    size_t size;          /**< sizeof(nexus_analytics_metric) */
    nexus_slice metric;   /**< events (default), users, an event's name, or a numeric field "properties.amount" */
    nexus_slice agg;      /**< count, uniques, sum, avg, min, max; default by metric */
    nexus_slice from, to; /**< as in a query; default the last 24 hours */
    nexus_slice interval; /**< as in a query; default one point for the whole span */
    nexus_slice group_by; /**< fields, comma-separated */
    int64_t now_ms;       /**< 0 = the clock */
} nexus_analytics_metric;

#define NEXUS_ANALYTICS_METRIC_INIT NEXUS_SIZED(nexus_analytics_metric)

/** `{"series":[{"labels":{},"points":[[ms,v]]}],"meta":{…}}`; statuses as nexus_analytics_query. */
NEXUS_API nexus_status nexus_analytics_metrics(nexus_analytics *analytics, const nexus_analytics_metric *metric,
                                               char **out, size_t *len) NEXUS_MUST_CHECK;

/**
 * The built-in overview: `{from,to,totals:{events,users,previous:{events,users}},series:[{t,events}],
 * top_events:[{event,count}],top_paths:[{path,count}],orders:{created,confirmed,cancelled},revenue:[{currency,amount}],
 * freshness_ms}`. Revenue is the sum of captured payments (`payment.processed`), in minor units.
 *
 * @param range   "1h", "24h" (the empty slice), "7d", …, or "all".
 * @param now_ms  0 = the clock.
 */
NEXUS_API nexus_status nexus_analytics_dashboard(nexus_analytics *analytics, nexus_slice range, int64_t now_ms,
                                                 char **out, size_t *len) NEXUS_MUST_CHECK;

/**
 * Newest events in the order they became visible: `{"events":[{"seq",…event}],"missed":n,"next":n}`. This is the
 * polling twin of nexus_analytics_listen.
 *
 * @param after  the greatest seq already seen; 0 = from the oldest still kept.
 * @param limit  0 = 100. A negative-looking UINT32_MAX is clamped to 1,000.
 * @param event  only events of this name; the empty slice = all.
 * @param next   receives the seq to pass as `after` next time.
 */
NEXUS_API nexus_status nexus_analytics_tail(nexus_analytics *analytics, uint64_t after, uint32_t limit,
                                            nexus_slice event, char **out, size_t *len, uint64_t *next) NEXUS_MUST_CHECK;

/** The seq of the newest visible event; 0 when there is none. */
NEXUS_API uint64_t nexus_analytics_seq(const nexus_analytics *analytics);

/** Called after events became visible, on the thread that ingested them, without any lock held: hand over and
 * return. */
typedef void nexus_analytics_listen_fn(uint64_t seq, void *user_data);

/** Sets the one listener; NULL takes it away (a call already under way on another thread may still end after
 * this). */
NEXUS_API void nexus_analytics_listen(nexus_analytics *analytics, nexus_analytics_listen_fn *fn, void *user_data);

#ifdef __cplusplus
}
#endif

#endif
