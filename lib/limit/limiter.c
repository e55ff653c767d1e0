/*
 * Keys in sets of six, each set with its states in two cache lines. A hash names a set and is the key in it: 64 bits
 * under a secret, so that no two clients are taken for one. Its lowest bit says whether the state is a rate or a quota,
 * because who may be pushed out is judged by when it would be fresh: of a rate the word is that moment, of a quota
 * `until` is. A client that makes up keys thus pushes out its own, which are nearly fresh, and not the used-up ones.
 */
#include "limit/limiter.h"

#include <stdatomic.h>
#include <string.h>

#include "base/status.h"
#include "base/str.h"
#include "base/time.h"

enum { WAYS = 6, KEYS_DEFAULT = 1024 * 1024, QUOTA = 1 };

typedef struct set {
    _Alignas(64) atomic_uint lock; /* held to bring a key in; looking one up takes none */
    uint32_t unused;
    _Atomic uint64_t keys[WAYS]; /* 0 = free */
    uint64_t words[WAYS];
    atomic_uint until_s[WAYS]; /* of quotas */
} set;

struct nexus_limiter {
    const nexus_alloc *alloc;
    void *memory;
    set *sets;
    uint64_t mask;
    nexus__hash_key secret;
    atomic_uint_fast64_t evictions;
};

nexus_status nexus_limiter_new(nexus_limiter **out, uint32_t keys, const nexus_alloc *alloc)
{
    uint64_t sets = 64;
    while (sets * WAYS < (keys ? keys : KEYS_DEFAULT))
        sets *= 2;
    nexus_limiter *l = nexus__calloc(alloc, 1, sizeof *l);
    void *memory = l ? nexus__calloc(alloc, sets + 1, sizeof(set)) : NULL;
    if (!memory) {
        nexus__free(alloc, l);
        return nexus__nomem();
    }
    *l = (nexus_limiter){.alloc = alloc, .memory = memory, .mask = sets - 1, .secret = nexus__hash_key_random()};
    l->sets = (set *)(((uintptr_t)memory + 63) & ~(uintptr_t)63);
    *out = l;
    return NEXUS_OK;
}

void nexus_limiter_free(nexus_limiter *l)
{
    if (!l)
        return;
    nexus__free(l->alloc, l->memory);
    nexus__free(l->alloc, l);
}

uint64_t nexus_limiter_evictions(const nexus_limiter *l)
{
    return atomic_load(&((nexus_limiter *)(uintptr_t)l)->evictions);
}

nexus__hash_key nexus__limiter_secret(const nexus_limiter *l)
{
    return l->secret;
}

static int look_up(set *s, uint64_t key)
{
    for (int i = 0; i < WAYS; i++)
        if (atomic_load_explicit(&s->keys[i], memory_order_acquire) == key)
            return i;
    return -1;
}

static uint64_t fresh_at(set *s, int i)
{
    uint64_t key = s->keys[i];
    if (!key)
        return 0;
    return key & QUOTA ? atomic_load_explicit(&s->until_s[i], memory_order_relaxed) * (uint64_t)NEXUS__NS_PER_S
                       : __atomic_load_n(&s->words[i], __ATOMIC_RELAXED);
}

/* A free way goes first: a key that was brought in for this very request is as fresh, and must not share its state with
 * the next. Of quotas that end together the one least used goes; the low half of a word is the count of its window. */
static bool goes_before(set *s, int a, int b)
{
    if (!s->keys[a] || !s->keys[b])
        return !s->keys[a] && s->keys[b];
    uint64_t first = fresh_at(s, a), second = fresh_at(s, b);
    return first < second || (first == second && (s->words[a] & 0xffffff) < (s->words[b] & 0xffffff));
}

static int bring_in(nexus_limiter *l, set *s, uint64_t key, uint64_t now)
{
    while (atomic_exchange_explicit(&s->lock, 1, memory_order_acquire))
        ;
    int found = look_up(s, key);
    if (found < 0) {
        found = 0;
        for (int i = 1; i < WAYS; i++)
            if (goes_before(s, i, found))
                found = i;
        if (fresh_at(s, found) > now)
            atomic_fetch_add_explicit(&l->evictions, 1, memory_order_relaxed);
        atomic_store_explicit(&s->keys[found], 0, memory_order_release);
        __atomic_store_n(&s->words[found], 0, __ATOMIC_RELAXED);
        atomic_store_explicit(&s->until_s[found], 0, memory_order_relaxed);
        atomic_store_explicit(&s->keys[found], key, memory_order_release);
    }
    atomic_store_explicit(&s->lock, 0, memory_order_release);
    return found;
}

/* `set` and the way in it. */
static set *find(nexus_limiter *l, uint64_t key, int64_t now, int *way)
{
    set *s = &l->sets[key >> 8 & l->mask];
    *way = look_up(s, key);
    if (*way < 0)
        *way = bring_in(l, s, key, (uint64_t)now);
    return s;
}

nexus_rate_state *nexus__limiter_rate(nexus_limiter *l, uint64_t hash, int64_t now)
{
    int way;
    uint64_t key = hash & ~(uint64_t)QUOTA;
    set *s = find(l, key ? key : 2, now, &way);
    return (nexus_rate_state *)&s->words[way];
}

nexus_quota_state *nexus__limiter_quota(nexus_limiter *l, uint64_t hash, int64_t until, int64_t now)
{
    int way;
    uint32_t until_s = (uint32_t)(until / NEXUS__NS_PER_S);
    set *s = find(l, hash | QUOTA, now, &way);
    if (atomic_load_explicit(&s->until_s[way], memory_order_relaxed) != until_s)
        atomic_store_explicit(&s->until_s[way], until_s, memory_order_relaxed);
    return (nexus_quota_state *)&s->words[way];
}

bool nexus_limiter_take(nexus_limiter *l, const char *name, const nexus_rate *rate, nexus_slice key, uint32_t cost,
                        int64_t now, nexus_limit_result *result)
{
    uint64_t parts[4] = {nexus__siphash(l->secret, name, strlen(name)), rate->emission_ns, rate->burst,
                         nexus__siphash(l->secret, key.p, key.n)};
    uint64_t hash = nexus__siphash(l->secret, parts, sizeof parts);
    return nexus_rate_take(rate, nexus__limiter_rate(l, hash, now), cost, now, result);
}
