/* Counters that bound: retries against requests under way, and plain concurrency. */
#include <nexus/limit.h>

/* Takes one while below max, in one compare-and-swap. */
static bool take_below(uint32_t *counter, uint32_t max)
{
    uint32_t held = __atomic_load_n(counter, __ATOMIC_RELAXED);
    do {
        if (held >= max)
            return false;
    } while (!__atomic_compare_exchange_n(counter, &held, held + 1, true, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
    return true;
}

void nexus_retry_budget_begin(nexus_retry_budget *budget)
{
    __atomic_fetch_add(&budget->active, 1, __ATOMIC_RELAXED);
}

void nexus_retry_budget_end(nexus_retry_budget *budget)
{
    __atomic_fetch_sub(&budget->active, 1, __ATOMIC_RELAXED);
}

bool nexus_retry_budget_take(nexus_retry_budget *budget)
{
    uint64_t share = (uint64_t)__atomic_load_n(&budget->active, __ATOMIC_RELAXED) * budget->percent / 100;
    return take_below(&budget->retries, share > budget->min ? (uint32_t)share : budget->min);
}

void nexus_retry_budget_put(nexus_retry_budget *budget)
{
    __atomic_fetch_sub(&budget->retries, 1, __ATOMIC_RELAXED);
}

bool nexus_semaphore_take(nexus_semaphore *semaphore)
{
    return take_below(&semaphore->held, semaphore->max);
}

void nexus_semaphore_put(nexus_semaphore *semaphore)
{
    __atomic_fetch_sub(&semaphore->held, 1, __ATOMIC_RELEASE);
}
