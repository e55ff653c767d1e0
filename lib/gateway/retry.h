/* Whether a request that failed is tried again, and when. Pure. */
#ifndef NEXUS_GATEWAY_RETRY_H
#define NEXUS_GATEWAY_RETRY_H

#include "gateway/config.h"

typedef struct nexus__retry_ask {
    uint32_t tries, max; /* made; how many may follow the first */
    int64_t now, deadline;
    int64_t after_ns; /* what the upstream's Retry-After asks for; 0 = nothing */
    uint64_t random;
} nexus__retry_ask;

/* In how many ms, or -1 for never: full jitter under a ceiling that doubles from base to cap, not before the upstream
 * wants it, and only when it can begin before the deadline. */
int64_t nexus__retry_wait_ms(const nexus__gw_retries *rule, const nexus__retry_ask *ask);

bool nexus__retry_status(const nexus__gw_retries *rule, uint16_t status);

/* The value of Retry-After (RFC 9110 section 10.2.3) as ns from now; 0 when it cannot be read. real_ns: the time of day. */
int64_t nexus__retry_after_ns(nexus_slice value, int64_t real_ns);

#endif
