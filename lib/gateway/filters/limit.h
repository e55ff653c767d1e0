/* Rate states by key, bounded: what does not fit pushes out the state that is nearest to fresh. */
#ifndef NEXUS_GATEWAY_FILTERS_LIMIT_H
#define NEXUS_GATEWAY_FILTERS_LIMIT_H

#include <nexus/limit.h>

#include "base/hash.h"
#include "gateway/filter.h"

enum { NEXUS__KEY_IP = 1, NEXUS__KEY_PRINCIPAL = 2, NEXUS__KEY_ROUTE = 4 };

typedef struct nexus__gw_limit_conf {
    nexus_slice name;
    uint32_t rate, period_s, burst;
    uint32_t key; /* NEXUS__KEY_… */
    bool shadow;  /* counts, refuses nothing */
} nexus__gw_limit_conf;

/* Of the filter "limits". */
typedef struct nexus__gw_limits_conf {
    nexus__gw_limit_conf *items;
    uint32_t count;
} nexus__gw_limits_conf;

typedef struct nexus__limit_table nexus__limit_table;

/* keys: rounded up to a power of two. */
nexus_status nexus__limit_table_new(nexus__limit_table **out, uint32_t keys, const nexus_alloc *alloc) NEXUS_MUST_CHECK;
void nexus__limit_table_free(nexus__limit_table *table);
/* The state of a key; never NULL. Any thread. `now` decides who may be pushed out. */
nexus_rate_state *nexus__limit_table_get(nexus__limit_table *table, uint64_t key, uint64_t now);
uint64_t nexus__limit_table_evictions(nexus__limit_table *table);

/* Who asks. */
typedef struct nexus__limit_subject {
    nexus_slice ip, principal, route;
} nexus__limit_subject;

/* The outcome over several limits: strictest first. */
typedef struct nexus__limit_outcome {
    bool allowed;
    const nexus__gw_limit_conf *strictest;
    nexus_limit_result result;
} nexus__limit_outcome;

/* All limits are asked; when one refuses, none is consumed. */
void nexus__limits_take(nexus__limit_table *table, const nexus__gw_limit_conf *limits, const nexus_rate *rates,
                        uint32_t count, const nexus__limit_subject *subject, int64_t now, nexus__limit_outcome *out);

/* Values of the RateLimit-Policy and RateLimit fields (draft-ietf-httpapi-ratelimit-headers). */
void nexus__limits_policy_text(const nexus__gw_limit_conf *limits, uint32_t count, nexus__buf *out);
void nexus__limits_state_text(const nexus__limit_outcome *outcome, nexus__buf *out);
uint32_t nexus__limits_retry_after_s(const nexus__limit_outcome *outcome); /* rounded up, at least 1 */

#endif
