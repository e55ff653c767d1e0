/* Smooth weighted round robin (nginx): each turn adds its weight to every host's turn, the highest wins and pays the
 * total. Linear in the hosts, as the algorithm is. */
#include "gateway/balance/balance.h"

static uint32_t pick(const nexus__balance *b, const nexus__balance_ask *ask)
{
    uint32_t best = NEXUS__BALANCE_NONE;
    int64_t total = 0;
    for (uint32_t i = 0; i < b->count; i++) {
        if (!nexus__balance_may(b, ask, i))
            continue;
        int64_t weight = (int64_t)nexus__balance_weight(b, i, ask->now);
        ask->turns[i] += weight;
        total += weight;
        if (best == NEXUS__BALANCE_NONE || ask->turns[i] > ask->turns[best])
            best = i;
    }
    if (best != NEXUS__BALANCE_NONE)
        ask->turns[best] -= total;
    return best;
}

const nexus__balancer nexus__balancer_wrr = {.name = "wrr", .pick = pick};
