/*
 * Limits as decisions: rate (GCRA), quota window, circuit breaker, retry budget, semaphore. Each is a small struct that
 * the caller places where it likes; any thread may use it; none reads a clock: `now` is nanoseconds of any clock that
 * does not go backwards by much.
 */
#ifndef NEXUS_LIMIT_H
#define NEXUS_LIMIT_H

#include <nexus/alloc.h>
#include <nexus/common.h>
#include <nexus/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What a limit decided, with what the RateLimit fields of a reply need. */
typedef struct nexus_limit_result {
    bool allowed;
    uint32_t remaining;     /**< how many more would pass now */
    int64_t reset_ns;       /**< until `remaining` is full again */
    int64_t retry_after_ns; /**< when refused: until the same cost would pass; -1 = never (cost over the burst) */
} nexus_limit_result;

/* --- rate ------------------------------------------------------------------------------------------------------- */

/** count requests each period_ns, of which burst may come at once. */
typedef struct nexus_rate {
    uint64_t emission_ns;  /**< period / count: what one request costs */
    uint64_t tolerance_ns; /**< burst x emission */
    uint32_t burst;
} nexus_rate;

/** burst 0 = count. NEXUS_EINVAL: count or period 0, or a rate of more than one a nanosecond. */
NEXUS_API nexus_status nexus_rate_init(nexus_rate *rate, uint32_t count, int64_t period_ns,
                                       uint32_t burst) NEXUS_MUST_CHECK;

/**
 * The state of one key under a rate: the theoretical arrival time of GCRA (ITU-T I.371) in one word. Zero is a fresh
 * key. Read and written with atomic operations only; lay it on a cache line of its own when threads contend.
 */
typedef struct nexus_rate_state {
    uint64_t word;
} nexus_rate_state;

/**
 * Decides and consumes in one compare-and-swap: over any span t no more than burst + t / emission pass, whatever the
 * number of threads. cost 0 only looks.
 */
NEXUS_API bool nexus_rate_take(const nexus_rate *rate, nexus_rate_state *state, uint32_t cost, int64_t now,
                               nexus_limit_result *result);
/** What nexus_rate_take would decide now, without consuming. */
NEXUS_API bool nexus_rate_look(const nexus_rate *rate, const nexus_rate_state *state, uint32_t cost, int64_t now,
                               nexus_limit_result *result);
/**
 * Gives back what a take consumed (a second policy refused the request), when nobody took from the state since: true.
 * Otherwise the cost stays consumed: it might have drained meanwhile, and handing it out again would admit too many. To
 * ask several policies, look at all first and take when all allow: then a give is needed only where two callers raced.
 * @param taken what the take reported, with the `now` it was given
 */
NEXUS_API bool nexus_rate_give(const nexus_rate *rate, nexus_rate_state *state, uint32_t cost,
                               const nexus_limit_result *taken, int64_t taken_at);

/* --- quota ------------------------------------------------------------------------------------------------------ */

/**
 * limit requests each window, judged by a sliding estimate over this window and the last (two counters in one word, so
 * limit < 2^24). Requests that come evenly are judged as by an exact log, within 1 %; those that crowd at the end of a
 * window are taken for spread over it, so that a window that lies across the edge may see more. Zero state is fresh.
 */
typedef struct nexus_quota_state {
    uint64_t word;
} nexus_quota_state;

/** Decides and consumes in one compare-and-swap; cost 0 only looks. A `now` of the window before the state's counts as
 * the beginning of the state's. */
NEXUS_API bool nexus_quota_take(nexus_quota_state *state, uint32_t limit, int64_t window_ns, uint32_t cost, int64_t now,
                                nexus_limit_result *result);
/** What nexus_quota_take would decide now, without consuming. */
NEXUS_API bool nexus_quota_look(const nexus_quota_state *state, uint32_t limit, int64_t window_ns, uint32_t cost,
                                int64_t now, nexus_limit_result *result);
/** Gives back what a take at taken_at consumed, wherever the windows have gone since. */
NEXUS_API void nexus_quota_give(nexus_quota_state *state, int64_t window_ns, uint32_t cost, int64_t taken_at);

/* --- many keys ---------------------------------------------------------------------------------------------------- */

/**
 * The states of many keys in bounded memory; any thread, no lock for a key that is known. A key that does not fit pushes
 * out the one, of those in its place, that would be fresh soonest; whether that had room left to lose is counted.
 * Keys are hashed under a secret of the object, so nobody can aim at another's state.
 */
typedef struct nexus_limiter nexus_limiter;

/** keys: how many at least fit, rounded up; 0 = 1,048,576 (about 21 bytes each). alloc NULL = the C library's. */
NEXUS_API nexus_status nexus_limiter_new(nexus_limiter **out, uint32_t keys, const nexus_alloc *alloc) NEXUS_MUST_CHECK;
NEXUS_API void nexus_limiter_free(nexus_limiter *limiter); /**< NULL is fine */
/**
 * nexus_rate_take on the state of a key under this rate: the same key under another name or another rate is another
 * state. cost 0 only looks.
 * @param name of the policy ("login"); key: who is limited ("10.0.0.1"); both of any bytes
 */
NEXUS_API bool nexus_limiter_take(nexus_limiter *limiter, const char *name, const nexus_rate *rate, nexus_slice key,
                                  uint32_t cost, int64_t now, nexus_limit_result *result);
/** Keys pushed out while they still had something to lose. */
NEXUS_API uint64_t nexus_limiter_evictions(const nexus_limiter *limiter);

/* --- circuit breaker -------------------------------------------------------------------------------------------- */

enum { NEXUS_BREAKER_CLOSED = 0, NEXUS_BREAKER_OPEN = 1, NEXUS_BREAKER_HALF_OPEN = 2 };

typedef struct nexus_breaker_rule {
    size_t size;
    uint32_t failures_percent; /**< opens at this share of failures; 0 = 50 */
    uint32_t samples_min;      /**< of at least so many in the window; 0 = 20 */
    uint32_t window_ms;        /**< 0 = 10,000 */
    uint32_t open_ms;          /**< first pause, doubled each time; 0 = 5,000 */
    uint32_t open_max_ms;      /**< 0 = 60,000 */
    uint32_t probes;           /**< at once when half open, and successes that close it; 0 = 3 */
} nexus_breaker_rule;

#define NEXUS_BREAKER_RULE_INIT NEXUS_SIZED(nexus_breaker_rule)

typedef struct nexus_breaker nexus_breaker;

/** rule may be NULL; copied. */
NEXUS_API nexus_status nexus_breaker_new(nexus_breaker **out, const nexus_breaker_rule *rule) NEXUS_MUST_CHECK;
NEXUS_API void nexus_breaker_free(nexus_breaker *breaker);
/** Whether a call may go. When it may, exactly one nexus_breaker_done must follow. retry_after_ns may be NULL. */
NEXUS_API bool nexus_breaker_enter(nexus_breaker *breaker, int64_t now, int64_t *retry_after_ns);

enum {
    NEXUS_BREAKER_OK = 0,
    NEXUS_BREAKER_FAILED = 1,
    NEXUS_BREAKER_IGNORED = 2 /**< cancelled, client's fault */
};
NEXUS_API void nexus_breaker_done(nexus_breaker *breaker, int32_t outcome, int64_t now);
NEXUS_API int32_t nexus_breaker_state(nexus_breaker *breaker, int64_t now);

/* --- retry budget ----------------------------------------------------------------------------------------------- */

/** Retries may be percent of the requests under way, and at least min. Zero state with percent and min set is fresh. */
typedef struct nexus_retry_budget {
    uint32_t percent, min;
    uint32_t active, retries; /**< atomic */
} nexus_retry_budget;

NEXUS_API void nexus_retry_budget_begin(nexus_retry_budget *budget);
NEXUS_API void nexus_retry_budget_end(nexus_retry_budget *budget);
/** Whether one more retry may run; when true, nexus_retry_budget_put when it ended. */
NEXUS_API bool nexus_retry_budget_take(nexus_retry_budget *budget);
NEXUS_API void nexus_retry_budget_put(nexus_retry_budget *budget);

/* --- semaphore -------------------------------------------------------------------------------------------------- */

/** At most max at once; never waits. */
typedef struct nexus_semaphore {
    uint32_t max;
    uint32_t held; /**< atomic */
} nexus_semaphore;

NEXUS_API bool nexus_semaphore_take(nexus_semaphore *semaphore);
NEXUS_API void nexus_semaphore_put(nexus_semaphore *semaphore);

#ifdef __cplusplus
}
#endif

#endif
