#include "gateway/balance.h"

static bool can(const nexus__balance_target *t)
{
    return t->usable && t->weight > 0;
}

uint32_t nexus__balance_wrr(nexus__balance_target *targets, uint32_t n)
{
    uint32_t best = NEXUS__BALANCE_NONE;
    int64_t total = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (!can(&targets[i]))
            continue;
        targets[i].current += targets[i].weight;
        total += targets[i].weight;
        if (best == NEXUS__BALANCE_NONE || targets[i].current > targets[best].current)
            best = i;
    }
    if (best != NEXUS__BALANCE_NONE)
        targets[best].current -= total;
    return best;
}

/* The k-th usable target. */
static uint32_t nth(const nexus__balance_target *targets, uint32_t n, uint32_t k)
{
    for (uint32_t i = 0; i < n; i++)
        if (can(&targets[i]) && k-- == 0)
            return i;
    return NEXUS__BALANCE_NONE;
}

uint32_t nexus__balance_p2c(const nexus__balance_target *targets, uint32_t n, uint64_t random)
{
    uint32_t usable = 0;
    for (uint32_t i = 0; i < n; i++)
        usable += can(&targets[i]);
    if (usable < 2)
        return nth(targets, n, 0);
    uint32_t first = (uint32_t)random % usable;
    uint32_t second = (first + 1 + (uint32_t)(random >> 32) % (usable - 1)) % usable;
    uint32_t a = nth(targets, n, first), b = nth(targets, n, second);
    uint64_t cost_a = ((uint64_t)targets[a].active + 1) * targets[b].weight;
    uint64_t cost_b = ((uint64_t)targets[b].active + 1) * targets[a].weight;
    return cost_a <= cost_b ? a : b;
}
