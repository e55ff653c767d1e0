/*
 * GCRA. The word holds the theoretical arrival time (TAT): the moment at which the key would be idle again. A request
 * of cost c passes when max(TAT, now) + c x emission <= now + tolerance, and that sum is the new TAT. One CAS both
 * decides and consumes, so nothing can pass twice on the same room.
 *
 * `now` may be read before a slower thread's CAS and be behind the word: that only refuses more, never less.
 */
#include "limit/rate.h"

#include "base/status.h"

nexus_status nexus_rate_init(nexus_rate *rate, uint32_t count, int64_t period_ns, uint32_t burst)
{
    if (count == 0 || period_ns <= 0 || (uint64_t)period_ns < count)
        return nexus__fail(NEXUS_EINVAL, "rate: %u in %lld ns; count and period must be positive", count,
                           (long long)period_ns);
    /* Rounded up: the rate may be a hair slower than asked for, never faster. */
    rate->emission_ns = ((uint64_t)period_ns + count - 1) / count;
    rate->burst = burst ? burst : count;
    if (rate->emission_ns > (uint64_t)INT64_MAX / 4 / rate->burst)
        return nexus__fail(NEXUS_EINVAL, "rate: burst x period is too long");
    rate->tolerance_ns = rate->emission_ns * rate->burst;
    return NEXUS_OK;
}

static void describe(const nexus_rate *rate, uint64_t tat, uint64_t now, nexus_limit_result *r)
{
    uint64_t used = tat > now ? tat - now : 0;
    r->remaining = used >= rate->tolerance_ns ? 0 : (uint32_t)((rate->tolerance_ns - used) / rate->emission_ns);
    r->reset_ns = (int64_t)used;
}

static bool fits(const nexus_rate *rate, uint64_t tat, uint32_t cost, uint64_t now, uint64_t *next,
                 nexus_limit_result *r)
{
    *r = (nexus_limit_result){.allowed = nexus__rate_fits(rate, tat, cost, now, next)};
    if (!r->allowed) {
        describe(rate, tat, now, r);
        r->retry_after_ns = cost > rate->burst ? -1 : (int64_t)(*next - now - rate->tolerance_ns);
    }
    return r->allowed;
}

bool nexus_rate_look(const nexus_rate *rate, const nexus_rate_state *state, uint32_t cost, int64_t now_ns,
                     nexus_limit_result *result)
{
    uint64_t now = now_ns > 0 ? (uint64_t)now_ns : 0, next;
    uint64_t tat = __atomic_load_n(&state->word, __ATOMIC_RELAXED);
    if (fits(rate, tat, cost, now, &next, result))
        describe(rate, tat, now, result);
    return result->allowed;
}

bool nexus_rate_take(const nexus_rate *rate, nexus_rate_state *state, uint32_t cost, int64_t now_ns,
                     nexus_limit_result *result)
{
    uint64_t now = now_ns > 0 ? (uint64_t)now_ns : 0, next;
    uint64_t tat = __atomic_load_n(&state->word, __ATOMIC_RELAXED);
    if (cost == 0)
        return nexus_rate_look(rate, state, 0, now_ns, result);
    do
        if (!fits(rate, tat, cost, now, &next, result))
            return false;
    while (!__atomic_compare_exchange_n(&state->word, &tat, next, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    describe(rate, next, now, result);
    return true;
}

/* Only while nothing was taken since: what another one found of room it may have found because time drained our cost
 * already, and lowering the word beneath it would let that room be used twice. */
bool nexus_rate_give(const nexus_rate *rate, nexus_rate_state *state, uint32_t cost, const nexus_limit_result *taken,
                     int64_t taken_at)
{
    uint64_t after = (uint64_t)(taken_at > 0 ? taken_at : 0) + (uint64_t)taken->reset_ns;
    return __atomic_compare_exchange_n(&state->word, &after, after - cost * rate->emission_ns, false, __ATOMIC_RELAXED,
                                       __ATOMIC_RELAXED);
}
