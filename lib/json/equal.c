#include "json/equal.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/id.h"
#include "base/status.h"
#include "json/decimal.h"

/* The bytes of a string's content, one after another, escapes decoded. */
typedef struct bytes {
    nexus_slice raw;
    size_t at, used, have;
    char unit[4];
} bytes;

static bytes bytes_of(const nexus__json *doc, uint32_t v)
{
    nexus_slice raw = nexus__json_raw(doc, v);
    return (bytes){.raw = nexus__slice(raw.p + 1, raw.n - 2)};
}

static int next_byte(bytes *b) /* -1 at the end */
{
    if (b->used == b->have) {
        if (b->at == b->raw.n)
            return -1;
        b->have = nexus__json_unescape_step(b->raw, &b->at, b->unit);
        b->used = 0;
    }
    return (uint8_t)b->unit[b->used++];
}

static bool equal_text(const nexus__json *a, uint32_t left, const nexus__json *b, uint32_t right)
{
    bytes x = bytes_of(a, left), y = bytes_of(b, right);
    if (!((a->nodes[left].info | b->nodes[right].info) & NEXUS__JSON_ESCAPED))
        return nexus__slice_eq(x.raw, y.raw);
    for (;;) {
        int c = next_byte(&x);
        if (c != next_byte(&y))
            return false;
        if (c < 0)
            return true;
    }
}

static bool equal_array(const nexus__json *a, uint32_t left, const nexus__json *b, uint32_t right)
{
    nexus__json_iter x = nexus__json_each(a, left), y = nexus__json_each(b, right);
    while (nexus__json_step(a, &x))
        if (!nexus__json_step(b, &y) || !nexus__json_equal(a, x.value, b, y.value))
            return false;
    return true;
}

/* Usually both list their members in the same order, so the search for a name goes on where the last one ended. */
static bool equal_object(const nexus__json *a, uint32_t left, const nexus__json *b, uint32_t right)
{
    nexus__json_iter x = nexus__json_each(a, left), y = nexus__json_each(b, right);
    while (nexus__json_step(a, &x)) {
        uint32_t tries = nexus__json_count(b, right);
        do {
            if (!tries--)
                return false;
            if (!nexus__json_step(b, &y)) {
                y = nexus__json_each(b, right);
                nexus__json_step(b, &y);
            }
        } while (!equal_text(a, x.key, b, y.key));
        if (!nexus__json_equal(a, x.value, b, y.value))
            return false;
    }
    return true;
}

static bool is_number(nexus__json_type type)
{
    return type == NEXUS__JSON_INT || type == NEXUS__JSON_REAL;
}

bool nexus__json_equal(const nexus__json *a, uint32_t left, const nexus__json *b, uint32_t right)
{
    nexus__json_type type = nexus__json_type_of(a, left), other = nexus__json_type_of(b, right);
    if (is_number(type) && is_number(other)) {
        nexus__decimal x = nexus__decimal_of(nexus__json_raw(a, left));
        nexus__decimal y = nexus__decimal_of(nexus__json_raw(b, right));
        return nexus__decimal_cmp(&x, &y) == 0;
    }
    if (type != other || nexus__json_count(a, left) != nexus__json_count(b, right))
        return false;
    switch (type) {
    case NEXUS__JSON_STRING:
        return equal_text(a, left, b, right);
    case NEXUS__JSON_ARRAY:
        return equal_array(a, left, b, right);
    case NEXUS__JSON_OBJECT:
        return equal_object(a, left, b, right);
    default:
        return true;
    }
}

static uint64_t hash_text(const nexus__json *doc, uint32_t v, uint64_t seed)
{
    bytes b = bytes_of(doc, v);
    uint64_t h = seed;
    for (int c; (c = next_byte(&b)) >= 0;)
        h = (h ^ (uint64_t)(c + 1)) * 0x9fb21c651e98df25u;
    return nexus__mix64(h ^ seed);
}

uint64_t nexus__json_hash(const nexus__json *doc, uint32_t v, uint64_t seed)
{
    nexus__json_type type = nexus__json_type_of(doc, v);
    uint64_t h = nexus__mix64(seed + (uint64_t)type);
    nexus__json_iter it = nexus__json_each(doc, v);
    switch (type) {
    case NEXUS__JSON_INT:
    case NEXUS__JSON_REAL: {
        nexus__decimal d = nexus__decimal_of(nexus__json_raw(doc, v));
        return nexus__mix64(seed ^ nexus__decimal_hash(&d));
    }
    case NEXUS__JSON_STRING:
        return hash_text(doc, v, h);
    case NEXUS__JSON_ARRAY:
        while (nexus__json_step(doc, &it))
            h = nexus__mix64(h ^ nexus__json_hash(doc, it.value, seed));
        return h;
    case NEXUS__JSON_OBJECT: /* a sum, so that the order does not count */
        while (nexus__json_step(doc, &it))
            h += nexus__mix64(hash_text(doc, it.key, seed) ^ (nexus__json_hash(doc, it.value, seed) << 1));
        return h;
    default:
        return h;
    }
}

typedef struct hashed {
    uint64_t hash;
    uint32_t value;
} hashed;

static int by_hash(const void *a, const void *b)
{
    const hashed *x = a, *y = b;
    return x->hash != y->hash ? (x->hash > y->hash ? 1 : -1) : (x->value > y->value) - (x->value < y->value);
}

nexus_status nexus__json_twins(const nexus__json *doc, uint32_t array, const nexus_alloc *alloc, uint32_t *second)
{
    uint32_t count = nexus__json_count(doc, array);
    *second = NEXUS__JSON_NONE;
    if (count < 2)
        return NEXUS_OK;
    hashed small[32], *all = count <= 32 ? small : nexus__malloc(alloc, count * sizeof *all);
    if (!all)
        return nexus__nomem();
    uint64_t seed = nexus__random_u64();
    for (nexus__json_iter it = nexus__json_each(doc, array); nexus__json_step(doc, &it);)
        all[it.index] = (hashed){nexus__json_hash(doc, it.value, seed), it.value};
    qsort(all, count, sizeof *all, by_hash);
    for (uint32_t i = 1; i < count && *second == NEXUS__JSON_NONE; i++)
        if (all[i - 1].hash == all[i].hash && nexus__json_equal(doc, all[i - 1].value, doc, all[i].value))
            *second = all[i].value;
    if (all != small)
        nexus__free(alloc, all);
    return NEXUS_OK;
}
