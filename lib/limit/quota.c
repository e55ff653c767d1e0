/*
 * Sliding window over two buckets. The word: 16 bits of window number, 24 bits count of this window, 24 bits of the
 * last. The estimate is this + last x (share of the last window still in view), rounded up, so it refuses early rather
 * than late.
 */
#include <nexus/limit.h>

enum { COUNT_BITS = 24, SHARE_BITS = 40 };
#define COUNT_MASK (((uint64_t)1 << COUNT_BITS) - 1)

typedef struct buckets {
    uint64_t window, current, last;
    uint64_t left; /* of this window, in ns */
} buckets;

static uint64_t pack(const buckets *b)
{
    return b->window << 48 | b->last << COUNT_BITS | b->current;
}

static buckets unpack(uint64_t word, uint64_t window_ns, uint64_t now)
{
    uint64_t number = now / window_ns;
    buckets b = {(number + 1) & 0xffff, word & COUNT_MASK, word >> COUNT_BITS & COUNT_MASK,
                 (number + 1) * window_ns - now};
    uint64_t behind = (b.window - (word >> 48)) & 0xffff;
    if (word == 0 || (behind > 1 && behind < 0x8000)) {
        b.current = b.last = 0;
    } else if (behind == 1) {
        b.last = b.current;
        b.current = 0;
    } else if (behind) { /* a thread whose clock is a window behind: it is the beginning of the word's */
        b.window = word >> 48;
        b.left = window_ns;
    }
    return b;
}

/* last x left / window, rounded up. Both times lose their low bits together, so that the product fits 64. */
static uint64_t carried(const buckets *b, uint64_t window_ns)
{
    int surplus = 64 - __builtin_clzll(window_ns) - SHARE_BITS;
    uint64_t window = window_ns, left = b->left;
    if (b->last == 0)
        return 0;
    if (surplus > 0) {
        window >>= surplus;
        left = (left >> surplus) + 1;
        left = left < window ? left : window;
    }
    return (b->last * left + window - 1) / window;
}

/* Whether the cost fits beside what the buckets hold. */
static bool fits(const buckets *b, uint64_t limit, uint64_t window_ns, uint32_t cost, nexus_limit_result *r)
{
    uint64_t used = b->current + carried(b, window_ns);
    *r = (nexus_limit_result){.allowed = used + cost <= limit, .reset_ns = (int64_t)b->left};
    r->remaining = used < limit ? (uint32_t)(limit - used) : 0;
    r->retry_after_ns = r->allowed ? 0 : cost > limit ? -1 : (int64_t)b->left;
    return r->allowed;
}

static uint64_t within(uint32_t limit)
{
    return limit > COUNT_MASK ? COUNT_MASK : limit;
}

bool nexus_quota_look(const nexus_quota_state *state, uint32_t limit, int64_t window_ns, uint32_t cost, int64_t now,
                      nexus_limit_result *result)
{
    buckets b = unpack(__atomic_load_n(&state->word, __ATOMIC_RELAXED), (uint64_t)window_ns, (uint64_t)now);
    return fits(&b, within(limit), (uint64_t)window_ns, cost, result);
}

bool nexus_quota_take(nexus_quota_state *state, uint32_t limit, int64_t window_ns, uint32_t cost, int64_t now,
                      nexus_limit_result *result)
{
    uint64_t word = __atomic_load_n(&state->word, __ATOMIC_RELAXED), next;
    do {
        buckets b = unpack(word, (uint64_t)window_ns, (uint64_t)now);
        if (!fits(&b, within(limit), (uint64_t)window_ns, cost, result) || cost == 0)
            return result->allowed;
        b.current += cost;
        next = pack(&b);
    } while (!__atomic_compare_exchange_n(&state->word, &word, next, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    result->remaining -= cost;
    return true;
}

/* Counts do not drain as a rate does: taken out of the bucket they are in, it is as if they had never been there. */
void nexus_quota_give(nexus_quota_state *state, int64_t window_ns, uint32_t cost, int64_t taken_at)
{
    uint64_t window = ((uint64_t)taken_at / (uint64_t)window_ns + 1) & 0xffff;
    uint64_t word = __atomic_load_n(&state->word, __ATOMIC_RELAXED), next;
    do {
        uint64_t behind = ((word >> 48) - window) & 0xffff;
        uint64_t current = word & COUNT_MASK, last = word >> COUNT_BITS & COUNT_MASK;
        next = word;
        if (behind == 0 || behind >= 0x8000)
            next -= current < cost ? current : cost;
        else if (behind == 1)
            next -= (last < cost ? last : cost) << COUNT_BITS;
    } while (!__atomic_compare_exchange_n(&state->word, &word, next, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
}
