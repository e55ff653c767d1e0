#include "bus/table.h"

void nexus__table_init(nexus__table *t, const nexus_alloc *alloc)
{
    *t = (nexus__table){.alloc = alloc, .key = nexus__hash_key_random()};
}

void nexus__table_free(nexus__table *t)
{
    nexus__free_table(t->alloc, t->slots);
    t->slots = NULL;
    t->count = t->cap = 0;
}

nexus__key128 nexus__key128_of(nexus__hash_key key, nexus_slice first, nexus_slice second)
{
    char joined[512];
    size_t n = first.n + 1 + second.n;
    uint64_t out[2];
    if (n > sizeof joined) { /* long ones: hash of hashes */
        uint64_t parts[4];
        nexus__siphash128(key, first.p, first.n, parts);
        nexus__siphash128(key, second.p, second.n, parts + 2);
        nexus__siphash128(key, parts, sizeof parts, out);
    } else {
        if (first.n)
            memcpy(joined, first.p, first.n);
        joined[first.n] = '\0';
        if (second.n)
            memcpy(joined + first.n + 1, second.p, second.n);
        nexus__siphash128(key, joined, n, out);
    }
    return (nexus__key128){out[0] | !(out[0] | out[1]), out[1]};
}

nexus__key128 nexus__table_key(const nexus__table *t, nexus_slice first, nexus_slice second)
{
    return nexus__key128_of(t->key, first, second);
}

static bool is_free(const nexus__table_entry *e)
{
    return !(e->key.a | e->key.b);
}

static size_t probe(const nexus__table *t, nexus__key128 key)
{
    size_t i = key.a & (t->cap - 1);
    while (!is_free(&t->slots[i]) && (t->slots[i].key.a != key.a || t->slots[i].key.b != key.b))
        i = (i + 1) & (t->cap - 1);
    return i;
}

nexus__table_entry *nexus__table_get(const nexus__table *t, nexus__key128 key)
{
    if (!t->count)
        return NULL;
    nexus__table_entry *e = &t->slots[probe(t, key)];
    return is_free(e) ? NULL : e;
}

static bool grow_to(nexus__table *t, size_t cap)
{
    nexus__table bigger = *t;
    bigger.cap = cap;
    bigger.slots = nexus__calloc_table(t->alloc, bigger.cap, sizeof *bigger.slots);
    if (!bigger.slots)
        return false;
    for (size_t i = 0; i < t->cap; i++)
        if (!is_free(&t->slots[i]))
            bigger.slots[probe(&bigger, t->slots[i].key)] = t->slots[i];
    nexus__free_table(t->alloc, t->slots);
    *t = bigger;
    return true;
}

nexus__table_entry *nexus__table_put(nexus__table *t, nexus__key128 key)
{
    if (t->count >= t->cap / 2 && !grow_to(t, t->cap ? t->cap * 2 : 64))
        return NULL;
    nexus__table_entry *e = &t->slots[probe(t, key)];
    if (is_free(e)) {
        *e = (nexus__table_entry){.key = key};
        t->count++;
    }
    return e;
}

bool nexus__table_reserve(nexus__table *t, size_t n)
{
    size_t cap = t->cap ? t->cap : 64;
    while (n > cap / 2)
        cap *= 2;
    return cap == t->cap || grow_to(t, cap);
}
