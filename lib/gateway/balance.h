/* Which of several targets gets the next request. Pure. */
#ifndef NEXUS_GATEWAY_BALANCE_H
#define NEXUS_GATEWAY_BALANCE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct nexus__balance_target {
    uint32_t weight; /* 0 = gets nothing */
    uint32_t active; /* requests under way */
    bool usable;
    int64_t current; /* smooth weighted round robin: the caller keeps it between calls */
} nexus__balance_target;

#define NEXUS__BALANCE_NONE UINT32_MAX

/* Smooth weighted round robin (nginx): each turn adds its weight to every target's current, the highest wins and pays
 * the total. */
uint32_t nexus__balance_wrr(nexus__balance_target *targets, uint32_t n);

/* Power of two choices: of two random targets the one with the lower (active + 1) / weight. */
uint32_t nexus__balance_p2c(const nexus__balance_target *targets, uint32_t n, uint64_t random);

#endif
