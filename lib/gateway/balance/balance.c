#include "gateway/balance/balance.h"

#include <math.h>

#include "base/time.h"

const nexus__balancer *const nexus__balancers[] = {&nexus__balancer_p2c, &nexus__balancer_wrr, &nexus__balancer_ewma,
                                                   &nexus__balancer_maglev, NULL};

enum { DRAWS = 4 };

nexus_status nexus__balance_open(nexus__balance *b, const nexus__balance_rule *rule, const nexus__balance_host *hosts,
                                 uint32_t count, nexus__hash_key key, const nexus_alloc *alloc)
{
    *b = (nexus__balance){.rule = rule, .hosts = hosts, .count = count};
    for (uint32_t i = 0; i < count; i++)
        b->weights += hosts[i].weight;
    return rule->balancer->open ? rule->balancer->open(b, key, alloc) : NEXUS_OK;
}

void nexus__balance_close(nexus__balance *b, const nexus_alloc *alloc)
{
    nexus__free(alloc, b->table);
    b->table = NULL;
}

bool nexus__balance_may(const nexus__balance *b, const nexus__balance_ask *ask, uint32_t i)
{
    const nexus__balance_host *h = &b->hosts[i];
    return h->weight > 0 && (ask->any_health || nexus__load_healthy(h->load, ask->now)) &&
           !(ask->tried >> (i & 63) & 1) &&
           (!b->rule->breaker.on || nexus__breaker_admits(&h->load->breaker, &b->rule->breaker.rule, ask->now));
}

uint32_t nexus__balance_pick(const nexus__balance *b, nexus__balance_ask ask)
{
    if (b->count == 0)
        return NEXUS__BALANCE_NONE;
    uint32_t pick = b->rule->balancer->pick(b, &ask);
    if (pick == NEXUS__BALANCE_NONE && ask.tried) {
        ask.tried = 0;
        pick = b->rule->balancer->pick(b, &ask);
    }
    if (pick == NEXUS__BALANCE_NONE) {
        ask.any_health = true;
        pick = b->rule->balancer->pick(b, &ask);
    }
    return pick;
}

/* 32 random bits to [0, n) by multiplication. */
static uint32_t scale(uint64_t random, uint32_t n)
{
    return (uint32_t)((uint64_t)(uint32_t)random * n >> 32);
}

uint32_t nexus__balance_draw(const nexus__balance *b, const nexus__balance_ask *ask, uint64_t random, uint32_t other)
{
    bool but_one = other < b->count;
    uint32_t n = b->count - but_one, at = 0;
    if (n == 0)
        return NEXUS__BALANCE_NONE;
    for (int i = 0; i < DRAWS; i++, random = nexus__mix64(random + 1)) {
        at = scale(random, n);
        at += but_one && at >= other;
        if (nexus__balance_may(b, ask, at))
            return at;
    }
    for (uint32_t i = 0; i < b->count; i++, at = at + 1 < b->count ? at + 1 : 0) /* most are out: rare */
        if (at != other && nexus__balance_may(b, ask, at))
            return at;
    return NEXUS__BALANCE_NONE;
}

bool nexus__balance_has_other(const nexus__balance *b, const nexus__balance_ask *ask)
{
    return nexus__balance_draw(b, ask, ask->random, NEXUS__BALANCE_NONE) != NEXUS__BALANCE_NONE;
}

uint64_t nexus__balance_weight(const nexus__balance *b, uint32_t i, int64_t now)
{
    uint64_t weight = (uint64_t)b->hosts[i].weight * 1000;
    uint32_t window_ms = b->rule->slow_start.window_ms;
    int64_t since = window_ms ? atomic_load_explicit(&b->hosts[i].load->back_since, memory_order_relaxed) : 0;
    int64_t window = window_ms * NEXUS__NS_PER_MS;
    if (since == 0 || now - since >= window)
        return weight;
    double grown = now > since ? (double)(now - since) / (double)window : 0;
    double least = b->rule->slow_start.min_percent / 100.0;
    if (b->rule->slow_start.aggression_percent != 100)
        grown = pow(grown, 100.0 / b->rule->slow_start.aggression_percent);
    return 1 + (uint64_t)((double)weight * (grown > least ? grown : least));
}
