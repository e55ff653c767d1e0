/*
 * Power of two choices (Mitzenmacher 2001): of two hosts drawn at random, the one with the lower cost. Two costs:
 *
 *   least request   (active + 1) / weight
 *   peak EWMA       rtt x (active + 1) / weight, where rtt jumps to a time above it at once and sinks to lower ones with
 *                   a time constant of 10 s. It sinks as well while nothing is heard, so that a host that was slow is
 *                   asked again. A failure counts as one second at least: failing fast is no way to win.
 *
 * The rtt is one word: a float of nanoseconds and the moment it was true, in ms.
 */
#include <math.h>
#include <string.h>

#include "base/time.h"
#include "gateway/balance/balance.h"

typedef double cost_fn(const nexus__balance *b, const nexus__balance_ask *ask, uint32_t i);

static uint32_t better_of_two(const nexus__balance *b, const nexus__balance_ask *ask, cost_fn *cost)
{
    uint32_t one = nexus__balance_draw(b, ask, ask->random, NEXUS__BALANCE_NONE);
    if (one == NEXUS__BALANCE_NONE || b->count == 1)
        return one;
    uint32_t other = nexus__balance_draw(b, ask, ask->random >> 32, one);
    return other == NEXUS__BALANCE_NONE || cost(b, ask, one) <= cost(b, ask, other) ? one : other;
}

/* --- least request ------------------------------------------------------------------------------------------------ */

static double requests(const nexus__balance *b, const nexus__balance_ask *ask, uint32_t i)
{
    return ((double)nexus__load_active(b->hosts[i].load) + 1) / (double)nexus__balance_weight(b, i, ask->now);
}

static uint32_t pick_p2c(const nexus__balance *b, const nexus__balance_ask *ask)
{
    return better_of_two(b, ask, requests);
}

const nexus__balancer nexus__balancer_p2c = {.name = "p2c", .pick = pick_p2c};

/* --- peak EWMA ---------------------------------------------------------------------------------------------------- */

enum { TAU_MS = 10000 };
#define SEED_NS 10e6
#define FAILED_NS 1e9

static double sunk(uint64_t word, uint32_t now_ms)
{
    float ns;
    uint32_t bits = (uint32_t)word;
    if (word == 0)
        return SEED_NS;
    memcpy(&ns, &bits, sizeof ns);
    int32_t age = (int32_t)(now_ms - (uint32_t)(word >> 32));
    return age > 0 ? (double)ns * exp(-(double)age / TAU_MS) : (double)ns;
}

double nexus__balance_rtt_ns(const nexus__load *load, int64_t now)
{
    return sunk(atomic_load_explicit(&load->rtt, memory_order_relaxed), (uint32_t)(now / NEXUS__NS_PER_MS));
}

void nexus__balance_time(nexus__load *load, int64_t rtt_ns, bool failed, int64_t now)
{
    uint32_t now_ms = (uint32_t)(now / NEXUS__NS_PER_MS), bits;
    double sample = failed && (double)rtt_ns < FAILED_NS ? FAILED_NS : (double)rtt_ns;
    unsigned long long word = atomic_load_explicit(&load->rtt, memory_order_relaxed), next;
    do {
        int32_t age = word ? (int32_t)(now_ms - (uint32_t)(word >> 32)) : TAU_MS;
        double old = sunk(word, word ? (uint32_t)(word >> 32) : now_ms);
        double kept = exp(-(double)(age > 0 ? age : 0) / TAU_MS);
        float rtt = (float)(sample >= old * kept ? sample : old * kept + sample * (1 - kept));
        memcpy(&bits, &rtt, sizeof bits);
        next = (uint64_t)now_ms << 32 | bits;
    } while (!atomic_compare_exchange_weak_explicit(&load->rtt, &word, next, memory_order_relaxed, memory_order_relaxed));
}

static double rtt_requests(const nexus__balance *b, const nexus__balance_ask *ask, uint32_t i)
{
    return nexus__balance_rtt_ns(b->hosts[i].load, ask->now) * requests(b, ask, i);
}

static uint32_t pick_ewma(const nexus__balance *b, const nexus__balance_ask *ask)
{
    return better_of_two(b, ask, rtt_requests);
}

const nexus__balancer nexus__balancer_ewma = {.name = "peak_ewma", .timed = true, .pick = pick_ewma};
