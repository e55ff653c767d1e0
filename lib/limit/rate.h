/* The arithmetic of GCRA, for who asks many rates and wants a description of few. */
#ifndef NEXUS_LIMIT_RATE_H
#define NEXUS_LIMIT_RATE_H

#include <nexus/limit.h>

/* Whether the cost fits on top of this word; *next is the word after it. */
static inline bool nexus__rate_fits(const nexus_rate *rate, uint64_t tat, uint32_t cost, uint64_t now, uint64_t *next)
{
    *next = (tat > now ? tat : now) + cost * rate->emission_ns;
    return cost <= rate->burst && *next <= now + rate->tolerance_ns;
}

#endif
