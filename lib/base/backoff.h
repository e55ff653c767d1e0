/* How long to wait before the next attempt: exponential, capped, full jitter. Pure. */
#ifndef NEXUS_BASE_BACKOFF_H
#define NEXUS_BASE_BACKOFF_H

#include <stdbool.h>
#include <stdint.h>

typedef struct nexus__backoff {
    uint32_t base_ms; /* ceiling of the first wait */
    uint32_t cap_ms;  /* ceiling of every wait */
    double factor;    /* 0 = 2 */
    bool exact;       /* wait the ceiling itself, without jitter */
} nexus__backoff;

/* The wait after `attempt` failures (1 = after the first). `random` is 64 uniform bits; with jitter the result is
 * uniform in [0, ceiling]. */
uint32_t nexus__backoff_ms(const nexus__backoff *b, uint32_t attempt, uint64_t random);

#endif
