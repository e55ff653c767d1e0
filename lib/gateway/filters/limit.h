/*
 * Limits: policies, whom they count, and what they decide. Vocabulary:
 *
 *   policy  so many of a kind for one key: a rate (GCRA), a quota of a sliding window, or one of a calendar day or month
 *   rule    parts that make up a key ("consumer" and "route"); a policy has one or more, the first one whose parts are
 *           all there is used, and the client's address stands in when none is
 *   plan    policies under a name, which routes choose by who asks
 *   set     the policies of a route, and of one plan, opened: what a request is asked against
 *
 * All policies of a set are looked at before any is taken from: a request that one refuses costs nothing anywhere. Two
 * requests that race for the last place of a second policy may leave the loser's cost on the first one, when a third
 * came in between (nexus_rate_give); never is more admitted than a policy says.
 */
#ifndef NEXUS_GATEWAY_FILTERS_LIMIT_H
#define NEXUS_GATEWAY_FILTERS_LIMIT_H

#include <nexus/cache.h>
#include <nexus/limit.h>
#include <nexus/metrics.h>

#include "base/hash.h"
#include "base/zone.h"
#include "gateway/filter.h"

/* --- what the routes file says ------------------------------------------------------------------------------------ */

enum { NEXUS__LIMIT_POLICIES_MAX = 8, NEXUS__LIMIT_RULES_MAX = 4, NEXUS__LIMIT_PARTS_MAX = 4 };

typedef enum nexus__limit_part_kind {
    NEXUS__PART_IP,
    NEXUS__PART_CONSUMER, /* the subject of a principal that stands for somebody */
    NEXUS__PART_ROUTE,
    NEXUS__PART_HEADER,
    NEXUS__PART_CLAIM,
    NEXUS__PART_API_KEY /* the id of the key that the caller came with */
} nexus__limit_part_kind;

typedef struct nexus__limit_part {
    nexus__limit_part_kind kind;
    nexus_slice text; /* as written */
    nexus_slice name; /* of the header or claim */
} nexus__limit_part;

typedef struct nexus__limit_rule {
    const nexus__limit_part *items;
    uint32_t count;
} nexus__limit_rule;

typedef enum nexus__limit_kind { NEXUS__LIMIT_RATE, NEXUS__LIMIT_WINDOW, NEXUS__LIMIT_CALENDAR } nexus__limit_kind;

typedef enum nexus__limit_calendar {
    NEXUS__CALENDAR_NONE,
    NEXUS__CALENDAR_DAY,
    NEXUS__CALENDAR_MONTH
} nexus__limit_calendar;

/* What a shared policy does while the store is away. */
typedef enum nexus__limit_without {
    NEXUS__WITHOUT_LOCAL,
    NEXUS__WITHOUT_OPEN,
    NEXUS__WITHOUT_CLOSED
} nexus__limit_without;

typedef struct nexus__limit_conf {
    nexus_slice name;
    nexus__limit_kind kind;
    uint32_t rate, period_s, burst; /* of a rate */
    uint32_t quota, window_s;       /* of a window */
    nexus__limit_calendar calendar; /* of a window of the calendar */
    const nexus__zone *zone;        /* whose; NULL = UTC */
    struct {
        const nexus__limit_rule *items;
        uint32_t count;
    } rules;
    bool cluster;                 /* counted for all gateways together */
    nexus__limit_without without; /* its store: local is this gateway's share */
    bool enforce;                 /* false: counts and logs what it would refuse */
    bool partition_key;           /* shows a hash of the key in RateLimit */
} nexus__limit_conf;

typedef struct nexus__limit_policies {
    nexus__limit_conf *items;
    uint32_t count;
} nexus__limit_policies;

typedef struct nexus__gw_plan_conf {
    nexus_slice name;
    nexus__zone *zone;
    nexus__limit_policies policies;
} nexus__gw_plan_conf;

typedef struct nexus__gw_limits_conf {
    nexus__limit_policies policies; /* for everybody */
    struct {
        bool chosen;                /* the route has plans */
        nexus__pair_list consumers; /* subject, plan; asked first */
        nexus_slice claim, header;  /* then these, the header from trusted peers only */
        nexus_slice otherwise;
    } plan;
    uint32_t cost;
    bool silent;                           /* no fields in replies */
    bool legacy;                           /* X-RateLimit-* too */
    const struct nexus__gw_config *config; /* for its plans */
} nexus__gw_limits_conf;

nexus__loader_fn nexus__gw_load_limits;   /* nexus__gw_limits_conf */
nexus__loader_fn nexus__gw_load_policies; /* nexus__limit_policies */
nexus__loader_fn nexus__gw_load_plans;    /* of the config's plans */
nexus_status nexus__gw_check_limits(nexus__loader *l, uint32_t value, const nexus__gw_route_conf *route,
                                    const void *conf) NEXUS_MUST_CHECK;

/* --- who asks ------------------------------------------------------------------------------------------------------ */

/* What keys are made of; hashes are made when a key first needs them. */
typedef struct nexus__limit_subject {
    nexus_slice ip, consumer;                                                           /* consumer empty = none */
    bool (*field)(const void *source, const nexus__limit_part *part, nexus_slice *out); /* headers and claims */
    const void *source;
    uint64_t ip_hash, consumer_hash; /* 0 = not made */
} nexus__limit_subject;

/* --- opened -------------------------------------------------------------------------------------------------------- */

enum {
    NEXUS__LIMIT_ALLOWED,
    NEXUS__LIMIT_DENIED,
    NEXUS__LIMIT_WOULD_DENY,
    NEXUS__LIMIT_STORE_ERROR,
    NEXUS__LIMIT_VERDICTS
};

typedef struct nexus__limit_use {
    const nexus__limit_conf *conf;
    nexus_rate rate;
    nexus_rate share; /* of a shared rate: what this gateway admits alone */
    int64_t window_ns;
    uint64_t seed; /* which policy it is, in keys */
    nexus_slice route_id;
    uint64_t route;    /* which route, in keys */
    uint64_t fallback; /* the route, when a rule has it: then the address that stands in counts for each route too */
    nexus_metric *counts[NEXUS__LIMIT_VERDICTS];
    char *lines; /* what a reply says of the set when this is the strictest, up to the numbers */
    size_t lines_n;
    _Atomic int64_t logged_at; /* when a refusal that was not enforced was told last */
} nexus__limit_use;

typedef struct nexus__limit_set {
    nexus__limit_use *items;
    uint32_t count;
    bool waits; /* a policy asks somebody else: limit_wait.c */
} nexus__limit_set;

/* The policies of both lists (the second may be NULL) for one route. */
nexus_status nexus__limit_set_open(nexus__limit_set *out, const nexus__limit_policies *first,
                                   const nexus__limit_policies *second, nexus_slice route, uint32_t cost,
                                   uint32_t nodes, nexus__hash_key secret, const nexus_alloc *alloc) NEXUS_MUST_CHECK;
void nexus__limit_set_close(nexus__limit_set *set, const nexus_alloc *alloc);

/* limit_key.c: the same as text that every process writes alike, without what the policy is but its name. */
void nexus__limit_key_text(const nexus__limit_use *use, nexus__limit_subject *subject, nexus__buf *out);
/* One number for whom this policy counts here. */
uint64_t nexus__limit_key(const nexus__limit_use *use, nexus__limit_subject *subject, nexus__hash_key secret);

/* What a set decided. Bits are places in the set. */
typedef struct nexus__limit_outcome {
    uint32_t denied;                   /* by policies that are enforced */
    uint32_t would_deny;               /* by others */
    const nexus__limit_use *strictest; /* of the enforced; NULL = there are none */
    uint64_t key;                      /* of the strictest */
    nexus_limit_result result;         /* and what it said */
} nexus__limit_outcome;

/* How a policy is to be judged that somebody else counts. */
typedef enum nexus__limit_how {
    NEXUS__LIMIT_HERE,  /* not at all: it is counted here */
    NEXUS__LIMIT_GIVEN, /* it was, and has consumed */
    NEXUS__LIMIT_SHARE  /* by this gateway's share */
} nexus__limit_how;

typedef struct nexus__limit_given {
    nexus__limit_how how;
    nexus_limit_result result; /* when GIVEN */
} nexus__limit_given;

/* Looks at all policies, and takes from all when none that is enforced refuses. given: one for each; NULL = all are counted
 * here. */
void nexus__limits_take(nexus_limiter *limiter, const nexus__limit_set *set, nexus__limit_subject *subject,
                        uint32_t cost, int64_t now, const nexus__limit_given *given, nexus__limit_outcome *out);
/* Whether those that are counted here would let it pass; out is filled when not. */
bool nexus__limits_look(nexus_limiter *limiter, const nexus__limit_set *set, nexus__limit_subject *subject,
                        uint32_t cost, int64_t now, nexus__limit_outcome *out);

/* --- limit_store.c: shared rates ----------------------------------------------------------------------------------- */

typedef struct nexus__limit_loop nexus__limit_loop;

nexus_status nexus__limit_store_open(nexus_gateway *g) NEXUS_MUST_CHECK;
bool nexus__limit_store_usable(nexus__limit_loop *home, int64_t now);
void nexus__limit_store_report(nexus__limit_loop *home, bool answered, int64_t now);
/* Decides and consumes for all shared policies of the set at once; fn on the loop. */
nexus_status nexus__limit_store_ask(nexus_gateway *g, nexus__limit_loop *home, const nexus__limit_set *set,
                                    nexus__limit_subject *subject, uint32_t cost, nexus_cache_fn *fn,
                                    void *user_data) NEXUS_MUST_CHECK;
/* False: the answer cannot be understood. */
bool nexus__limit_store_read(const nexus__limit_set *set, nexus_slice answer, nexus__limit_given *given);

/* The window of the calendar that a moment is in, in seconds since 1970. Pure. */
void nexus__limit_window(const nexus__limit_conf *conf, int64_t real_s, int64_t *since, int64_t *ends);

/* --- limit_wait.c -------------------------------------------------------------------------------------------------- */

/* The rest of the filter once it is decided: counts, tells, refuses or passes. */
nexus__gw_verdict nexus__limits_finish(struct nexus__call *call, const nexus__gw_limits_conf *conf,
                                       const nexus__limit_set *set, const nexus__limit_outcome *outcome, int64_t now);
/* A set that waits. */
nexus__gw_verdict nexus__limits_wait(struct nexus__call *call, const nexus__gw_limits_conf *conf,
                                     const nexus__limit_set *set, const nexus__limit_subject *subject);

/* --- limit_fields.c: draft-ietf-httpapi-ratelimit-headers ---------------------------------------------------------- */

enum { NEXUS__LIMIT_NAME_MAX = 64, NEXUS__LIMIT_LINES_MAX = (NEXUS__LIMIT_POLICIES_MAX + 1) * 100 + 128 };

/* Writes what does not change from request to request. */
nexus_status nexus__limit_lines_open(nexus__limit_set *set, const nexus_alloc *alloc) NEXUS_MUST_CHECK;
/* "RateLimit-Policy: …\r\nRateLimit: …\r\n": all that are enforced, and how the strictest stands. */
nexus_slice nexus__limit_lines(const nexus__limit_outcome *outcome, char space[static NEXUS__LIMIT_LINES_MAX]);
/* X-RateLimit-Limit, -Remaining, -Reset of the strictest. */
void nexus__limit_legacy_lines(const nexus__limit_outcome *outcome, nexus__buf *out);
/* Rounded up, at least 1. */
uint32_t nexus__limit_retry_after_s(const nexus__limit_outcome *outcome);
/* The body of a 429. */
void nexus__limit_problem(const nexus__limit_set *set, const nexus__limit_outcome *outcome, nexus_slice id,
                          nexus__buf *out);

#endif
