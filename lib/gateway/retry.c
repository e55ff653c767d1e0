#include "gateway/retry.h"

#include "base/backoff.h"
#include "base/codec.h"
#include "base/time.h"

int64_t nexus__retry_wait_ms(const nexus__gw_retries *rule, const nexus__retry_ask *ask)
{
    nexus__backoff backoff = {.base_ms = rule->base_ms, .cap_ms = rule->cap_ms};
    if (ask->tries > ask->max)
        return -1;
    int64_t ms = nexus__backoff_ms(&backoff, ask->tries, ask->random);
    int64_t after_ms = (ask->after_ns + NEXUS__NS_PER_MS - 1) / NEXUS__NS_PER_MS;
    ms = after_ms > ms ? after_ms : ms;
    return ms < (ask->deadline - ask->now) / NEXUS__NS_PER_MS ? ms : -1;
}

bool nexus__retry_status(const nexus__gw_retries *rule, uint16_t status)
{
    unsigned at = status - 500u;
    return at < 100 && rule->statuses[at / 64] >> at % 64 & 1;
}

int64_t nexus__retry_after_ns(nexus_slice value, int64_t real_ns)
{
    uint64_t seconds;
    int64_t date;
    if (nexus__parse_u64(value, &seconds))
        return seconds < 86400 * 365 ? (int64_t)seconds * NEXUS__NS_PER_S : INT64_MAX / 2;
    if (nexus__parse_http_date(value, &date))
        return date > real_ns ? date - real_ns : 0;
    return 0;
}
