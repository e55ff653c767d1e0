#include "ingest/uniques.h"

#include <math.h>

#include "base/status.h"

#define REGISTERS (1u << NEXUS__UNIQUES_P)
#define RANK_MAX (64 - NEXUS__UNIQUES_P + 1)

static void dense_add(uint8_t *dense, uint64_t hash)
{
    uint32_t i = (uint32_t)(hash >> (64 - NEXUS__UNIQUES_P));
    uint64_t rest = (hash << NEXUS__UNIQUES_P) | (1ull << (NEXUS__UNIQUES_P - 1)); /* a one that ends every run */
    uint8_t rank = (uint8_t)(__builtin_clzll(rest) + 1);
    if (rank > dense[i])
        dense[i] = rank;
}

static uint32_t slot_of(const uint64_t *set, uint32_t cap, uint64_t hash)
{
    uint32_t i = (uint32_t)hash & (cap - 1);
    while (set[i] != 0 && set[i] != hash)
        i = (i + 1) & (cap - 1);
    return i;
}

static nexus_status grow(nexus__uniques *u, const nexus_alloc *alloc)
{
    uint32_t cap = u->cap ? u->cap * 2 : 8;
    uint64_t *set = nexus__calloc(alloc, cap, sizeof *set);
    if (!set)
        return nexus__nomem();
    for (uint32_t i = 0; i < u->cap; i++)
        if (u->set[i] != 0)
            set[slot_of(set, cap, u->set[i])] = u->set[i];
    nexus__free(alloc, u->set);
    u->set = set;
    u->cap = cap;
    return NEXUS_OK;
}

static nexus_status densify(nexus__uniques *u, const nexus_alloc *alloc)
{
    uint8_t *dense = nexus__calloc(alloc, REGISTERS, 1);
    if (!dense)
        return nexus__nomem();
    for (uint32_t i = 0; i < u->cap; i++)
        if (u->set[i] != 0)
            dense_add(dense, u->set[i]);
    nexus__free(alloc, u->set);
    *u = (nexus__uniques){.dense = dense};
    return NEXUS_OK;
}

static nexus_status set_add(nexus__uniques *u, const nexus_alloc *alloc, uint64_t hash)
{
    if (u->cap != 0 && u->set[slot_of(u->set, u->cap, hash)] == hash)
        return NEXUS_OK;
    if (u->count == NEXUS__UNIQUES_EXACT) {
        nexus_status st = densify(u, alloc);
        if (st == NEXUS_OK)
            dense_add(u->dense, hash);
        return st;
    }
    if (u->count * 4 >= u->cap * 3) {
        nexus_status st = grow(u, alloc);
        if (st != NEXUS_OK)
            return st;
    }
    u->set[slot_of(u->set, u->cap, hash)] = hash;
    u->count++;
    return NEXUS_OK;
}

nexus_status nexus__uniques_add(nexus__uniques *u, const nexus_alloc *alloc, uint64_t hash)
{
    hash += hash == 0;
    if (!u->dense)
        return set_add(u, alloc, hash);
    dense_add(u->dense, hash);
    return NEXUS_OK;
}

nexus_status nexus__uniques_merge(nexus__uniques *into, const nexus_alloc *alloc, const nexus__uniques *from)
{
    for (uint32_t i = 0; i < from->cap; i++)
        if (from->set[i] != 0) {
            nexus_status st = nexus__uniques_add(into, alloc, from->set[i]);
            if (st != NEXUS_OK)
                return st;
        }
    if (!from->dense)
        return NEXUS_OK;
    if (!into->dense) {
        nexus_status st = densify(into, alloc);
        if (st != NEXUS_OK)
            return st;
    }
    for (uint32_t i = 0; i < REGISTERS; i++)
        if (from->dense[i] > into->dense[i])
            into->dense[i] = from->dense[i];
    return NEXUS_OK;
}

/* Ertl's sigma and tau: the corrections for registers never hit and for saturated ones. */
static double sigma(double x)
{
    if (x == 1.0)
        return INFINITY;
    double y = 1, z = x, before;
    do {
        x *= x;
        before = z;
        z += x * y;
        y += y;
    } while (z != before);
    return z;
}

static double tau(double x)
{
    if (x == 0.0 || x == 1.0)
        return 0;
    double y = 1, z = 1 - x, before;
    do {
        x = sqrt(x);
        before = z;
        y *= 0.5;
        z -= (1 - x) * (1 - x) * y;
    } while (z != before);
    return z / 3;
}

uint64_t nexus__uniques_count(const nexus__uniques *u)
{
    if (!u->dense)
        return u->count;
    double m = REGISTERS;
    uint32_t histogram[RANK_MAX + 1] = {0};
    for (uint32_t i = 0; i < REGISTERS; i++)
        histogram[u->dense[i]]++;
    double z = m * tau((m - histogram[RANK_MAX]) / m);
    for (int k = RANK_MAX - 1; k >= 1; k--)
        z = 0.5 * (z + histogram[k]);
    z += m * sigma(histogram[0] / m);
    return (uint64_t)llround(0.721347520444481703680 * m * m / z); /* 1 / (2 ln 2) */
}

void nexus__uniques_free(nexus__uniques *u, const nexus_alloc *alloc)
{
    nexus__free(alloc, u->set);
    nexus__free(alloc, u->dense);
    *u = (nexus__uniques){0};
}
