/*
 * Sliding window over two buckets. The word: 16 bits of window number, 24 bits count of this window, 24 bits of the
 * last. The estimate is this + last x (share of the last window still in view), rounded up, so it refuses early rather
 * than late.
 */
#include <nexus/limit.h>

enum { COUNT_BITS = 24 };
#define COUNT_MASK (((uint64_t)1 << COUNT_BITS) - 1)

typedef struct buckets {
    uint64_t window, current, last;
} buckets;

static buckets unpack(uint64_t word, uint64_t window)
{
    buckets b = {window & 0xffff, word & COUNT_MASK, word >> COUNT_BITS & COUNT_MASK};
    uint64_t behind = (b.window - (word >> 48)) & 0xffff;
    if (word == 0 || behind > 1)
        b.current = b.last = 0;
    if (behind == 1) {
        b.last = b.current;
        b.current = 0;
    }
    return b;
}

bool nexus_quota_take(nexus_quota_state *state, uint32_t limit, int64_t window_ns, uint32_t cost, int64_t now,
                      nexus_limit_result *result)
{
    uint64_t window = (uint64_t)(now / window_ns) + 1, word = __atomic_load_n(&state->word, __ATOMIC_RELAXED), next;
    uint64_t left = (uint64_t)(window_ns - now % window_ns);
    if (limit > COUNT_MASK)
        limit = COUNT_MASK;
    do {
        buckets b = unpack(word, window);
        uint64_t carried = (uint64_t)(((__uint128_t)b.last * left + (uint64_t)window_ns - 1) / (uint64_t)window_ns);
        uint64_t used = b.current + carried;
        *result = (nexus_limit_result){.reset_ns = (int64_t)left};
        result->allowed = used + cost <= limit;
        if (!result->allowed || cost == 0) {
            result->remaining = used < limit ? (uint32_t)(limit - used) : 0;
            result->retry_after_ns = result->allowed ? 0 : cost > limit ? -1 : (int64_t)left;
            return result->allowed;
        }
        result->remaining = (uint32_t)(limit - used - cost);
        next = b.window << 48 | b.last << COUNT_BITS | (b.current + cost);
    } while (!__atomic_compare_exchange_n(&state->word, &word, next, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return true;
}
