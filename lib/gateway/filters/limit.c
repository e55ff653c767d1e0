#include "gateway/filters/limit.h"

#include <arpa/inet.h>
#include <stdatomic.h>

#include "base/status.h"
#include "base/time.h"

enum { WAYS = 6, KEYS_DEFAULT = 262144 };

/* Six states, their keys and a lock in two cache lines. */
typedef struct set {
    _Alignas(64) atomic_uint lock; /* held to bring a key in; looking one up takes none */
    uint32_t unused;
    _Atomic uint64_t keys[WAYS];
    nexus_rate_state states[WAYS];
} set;

struct nexus__limit_table {
    const nexus_alloc *alloc;
    void *memory;
    set *sets;
    uint64_t mask;
    nexus__hash_key hash;
    atomic_uint_fast64_t evictions;
};

nexus_status nexus__limit_table_new(nexus__limit_table **out, uint32_t keys, const nexus_alloc *alloc)
{
    uint64_t sets = 64;
    while (sets * WAYS < (keys ? keys : KEYS_DEFAULT))
        sets *= 2;
    nexus__limit_table *t = nexus__calloc(alloc, 1, sizeof *t);
    void *memory = t ? nexus__calloc(alloc, sets + 1, sizeof(set)) : NULL;
    if (!memory) {
        nexus__free(alloc, t);
        return nexus__nomem();
    }
    *t = (nexus__limit_table){.alloc = alloc, .memory = memory, .mask = sets - 1, .hash = nexus__hash_key_random()};
    t->sets = (set *)(((uintptr_t)memory + 63) & ~(uintptr_t)63);
    *out = t;
    return NEXUS_OK;
}

void nexus__limit_table_free(nexus__limit_table *t)
{
    if (!t)
        return;
    nexus__free(t->alloc, t->memory);
    nexus__free(t->alloc, t);
}

uint64_t nexus__limit_table_evictions(nexus__limit_table *t)
{
    return atomic_load(&t->evictions);
}

static nexus_rate_state *look_up(set *s, uint64_t key)
{
    for (int i = 0; i < WAYS; i++)
        if (atomic_load_explicit(&s->keys[i], memory_order_acquire) == key)
            return &s->states[i];
    return NULL;
}

static nexus_rate_state *bring_in(nexus__limit_table *t, set *s, uint64_t key, uint64_t now)
{
    while (atomic_exchange_explicit(&s->lock, 1, memory_order_acquire))
        ;
    nexus_rate_state *found = look_up(s, key);
    if (!found) {
        int victim = 0;
        uint64_t least = UINT64_MAX;
        for (int i = 0; i < WAYS; i++) { /* the one whose arrival time is longest past has least to lose */
            uint64_t word = s->keys[i] ? __atomic_load_n(&s->states[i].word, __ATOMIC_RELAXED) : 0;
            if (word < least) {
                least = word;
                victim = i;
            }
        }
        if (least > now)
            atomic_fetch_add(&t->evictions, 1);
        atomic_store_explicit(&s->keys[victim], 0, memory_order_release);
        __atomic_store_n(&s->states[victim].word, 0, __ATOMIC_RELAXED);
        atomic_store_explicit(&s->keys[victim], key, memory_order_release);
        found = &s->states[victim];
    }
    atomic_store_explicit(&s->lock, 0, memory_order_release);
    return found;
}

nexus_rate_state *nexus__limit_table_get(nexus__limit_table *t, uint64_t key, uint64_t now)
{
    key += key == 0;
    set *s = &t->sets[nexus__mix64(key) & t->mask];
    nexus_rate_state *found = look_up(s, key);
    return found ? found : bring_in(t, s, key, now);
}

/* IPv6 clients own a /64 at least, so that is what is counted. */
static void append_ip(nexus__buf *out, nexus_slice ip)
{
    char text[64];
    uint8_t bytes[16];
    if (nexus__slice_find(ip, ':') < ip.n && ip.n < sizeof text) {
        memcpy(text, ip.p, ip.n);
        text[ip.n] = 0;
        if (inet_pton(AF_INET6, text, bytes) == 1) {
            nexus__buf_append(out, bytes, 8);
            return;
        }
    }
    nexus__buf_slice_append(out, ip);
}

/* Texts of any length take the same room. */
static void append_hash(const nexus__limit_table *t, nexus__buf *out, nexus_slice text)
{
    uint64_t hash = nexus__siphash(t->hash, text.p, text.n);
    nexus__buf_append(out, &hash, sizeof hash);
}

static uint64_t key_of(nexus__limit_table *t, const nexus__gw_limit_conf *limit, const nexus__limit_subject *subject)
{
    char space[512];
    nexus__buf key = {.p = space, .cap = sizeof space, .max = sizeof space};
    uint32_t numbers[3] = {limit->rate, limit->period_s, limit->burst};
    nexus__buf_append(&key, numbers, sizeof numbers);
    append_hash(t, &key, limit->name);
    nexus__buf_char(&key, 0);
    if (limit->key & NEXUS__KEY_ROUTE)
        append_hash(t, &key, subject->route);
    nexus__buf_char(&key, 0);
    if (limit->key & NEXUS__KEY_PRINCIPAL && subject->principal.n > 0)
        append_hash(t, &key, subject->principal);
    nexus__buf_char(&key, 0);
    if (limit->key & NEXUS__KEY_IP || (limit->key & NEXUS__KEY_PRINCIPAL && subject->principal.n == 0))
        append_ip(&key, subject->ip); /* without a principal the address stands in */
    return nexus__siphash(t->hash, key.p, key.len);
}

/* Refused before allowed, then the least remaining. */
static bool stricter(const nexus_limit_result *a, const nexus_limit_result *b)
{
    if (a->allowed != b->allowed)
        return !a->allowed;
    return a->allowed ? a->remaining < b->remaining : a->retry_after_ns > b->retry_after_ns;
}

void nexus__limits_take(nexus__limit_table *table, const nexus__gw_limit_conf *limits, const nexus_rate *rates,
                        uint32_t count, const nexus__limit_subject *subject, int64_t now, nexus__limit_outcome *out)
{
    nexus_rate_state *states[8];
    bool took[8];
    *out = (nexus__limit_outcome){.allowed = true};
    for (uint32_t i = 0; i < count; i++) {
        nexus_limit_result r;
        states[i] = nexus__limit_table_get(table, key_of(table, &limits[i], subject), (uint64_t)now);
        took[i] = nexus_rate_take(&rates[i], states[i], 1, now, &r);
        if (limits[i].shadow)
            continue;
        out->allowed &= took[i];
        if (!out->strictest || stricter(&r, &out->result)) {
            out->strictest = &limits[i];
            out->result = r;
        }
    }
    for (uint32_t i = 0; i < count && !out->allowed; i++)
        if (took[i])
            nexus_rate_give(&rates[i], states[i], 1);
}

void nexus__limits_policy_text(const nexus__gw_limit_conf *limits, uint32_t count, nexus__buf *out)
{
    const char *comma = "";
    for (uint32_t i = 0; i < count; i++) {
        if (limits[i].shadow)
            continue;
        nexus__buf_printf(out, "%s\"%.*s\";q=%u;w=%u", comma, (int)limits[i].name.n, limits[i].name.p, limits[i].rate,
                          limits[i].period_s);
        comma = ", ";
    }
}

static uint32_t seconds_up(int64_t ns)
{
    return ns <= 0 ? 0 : (uint32_t)((ns + NEXUS__NS_PER_S - 1) / NEXUS__NS_PER_S);
}

void nexus__limits_state_text(const nexus__limit_outcome *o, nexus__buf *out)
{
    nexus__buf_printf(out, "\"%.*s\";r=%u;t=%u", (int)o->strictest->name.n, o->strictest->name.p, o->result.remaining,
                      seconds_up(o->result.reset_ns));
}

uint32_t nexus__limits_retry_after_s(const nexus__limit_outcome *o)
{
    uint32_t s = seconds_up(o->result.retry_after_ns);
    return s ? s : 1;
}
