/*
 * The circuit breaker as two words that lie in what they guard. See breaker.c for the states.
 *
 * The pass that enter gives tells done under which state the call went: what began before the circuit opened is no probe.
 */
#ifndef NEXUS_LIMIT_BREAKER_H
#define NEXUS_LIMIT_BREAKER_H

#include <nexus/limit.h>
#include <stdatomic.h>

/* Zero is closed. */
typedef struct nexus__breaker {
    atomic_ullong state;
    atomic_ullong window;
} nexus__breaker;

enum { NEXUS__BREAKER_REFUSED = 0, NEXUS__BREAKER_PASS = 1 }; /* any other pass is a probe's */

/* What a configuration says of a breaker. */
typedef struct nexus__breaker_conf {
    bool on;
    nexus_breaker_rule rule; /* whole */
} nexus__breaker_conf;

/* Fills in the defaults of fields that are 0. */
nexus_breaker_rule nexus__breaker_rule(const nexus_breaker_rule *rule);

/* A pass, for which exactly one done follows, or NEXUS__BREAKER_REFUSED and in how long to ask again. One relaxed load
 * while the circuit is closed. */
uint32_t nexus__breaker_enter(nexus__breaker *b, const nexus_breaker_rule *rule, int64_t now, int64_t *retry_after_ns);
/* Whether enter would give a pass. */
bool nexus__breaker_admits(const nexus__breaker *b, const nexus_breaker_rule *rule, int64_t now);
/* One relaxed load for a success in a window without a failure. Returns the state that this outcome brought about, -1 when
 * it brought about none. */
int32_t nexus__breaker_done(nexus__breaker *b, const nexus_breaker_rule *rule, uint32_t pass, int32_t outcome,
                            int64_t now);
/* In how long a call may pass that is refused now. */
int64_t nexus__breaker_retry_after_ns(const nexus__breaker *b, int64_t now);
int32_t nexus__breaker_state(const nexus__breaker *b, int64_t now);

#endif
