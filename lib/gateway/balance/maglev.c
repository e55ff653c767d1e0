/*
 * Maglev (Eisenbud et al., NSDI 2016): each host walks the slots of a table in an order of its own and takes the next
 * free one in its turn, until none is free. When a host comes or goes, few keys of the others move. With bounded loads
 * (Mirrokni, Thorup, Zadimoghaddam 2018): a host that has more than its share of the mean load passes the key on to the
 * next slot's.
 *
 * The orders and the keys are hashed with a secret, so that no client can aim at one host.
 */
#include "base/status.h"
#include "gateway/balance/balance.h"

enum { SIZE = NEXUS__MAGLEV_SIZE, NOBODY = UINT16_MAX, STEPS = 256 };

typedef struct walk {
    uint32_t at, step;
    double owed; /* slots, by weight; a host takes one when it is owed one */
} walk;

static walk *walks_of(const nexus__balance *b, nexus__hash_key key, const nexus_alloc *alloc)
{
    walk *list = nexus__calloc(alloc, b->count + 1, sizeof *list);
    for (uint32_t i = 0; list && i < b->count; i++) {
        uint64_t hash = nexus__siphash(key, &b->hosts[i].id, sizeof b->hosts[i].id);
        list[i].at = (uint32_t)(hash >> 32) % SIZE;
        list[i].step = (uint32_t)hash % (SIZE - 1) + 1;
    }
    return list;
}

static void take_slot(nexus__balance *b, walk *w, uint16_t host)
{
    while (b->table[w->at] != NOBODY)
        w->at = (w->at + w->step) % SIZE;
    b->table[w->at] = host;
}

static void fill(nexus__balance *b, walk *list)
{
    uint32_t heaviest = 0;
    for (uint32_t i = 0; i < b->count; i++)
        heaviest = b->hosts[i].weight > heaviest ? b->hosts[i].weight : heaviest;
    for (uint32_t taken = 0; taken < SIZE && heaviest > 0;)
        for (uint32_t i = 0; i < b->count && taken < SIZE; i++) {
            list[i].owed += (double)b->hosts[i].weight / heaviest;
            if (list[i].owed < 1)
                continue;
            list[i].owed -= 1;
            take_slot(b, &list[i], (uint16_t)i);
            taken++;
        }
}

static nexus_status open_table(nexus__balance *b, nexus__hash_key key, const nexus_alloc *alloc)
{
    if (b->count >= NOBODY)
        return nexus__fail(NEXUS_EINVAL, "maglev: more than %d targets", NOBODY - 1);
    walk *list = walks_of(b, key, alloc);
    b->table = list ? nexus__malloc(alloc, SIZE * sizeof *b->table) : NULL;
    if (!b->table) {
        nexus__free(alloc, list);
        return nexus__nomem();
    }
    for (uint32_t i = 0; i < SIZE; i++)
        b->table[i] = NOBODY;
    fill(b, list);
    nexus__free(alloc, list);
    return NEXUS_OK;
}

static bool has_room(const nexus__balance *b, const nexus__balance_ask *ask, uint32_t i)
{
    uint64_t share = (ask->total + 1) * b->hosts[i].weight * b->rule->bound_percent, whole = b->weights * 100;
    return b->rule->bound_percent == 0 || nexus__load_active(b->hosts[i].load) < (share + whole - 1) / whole;
}

static uint32_t pick(const nexus__balance *b, const nexus__balance_ask *ask)
{
    uint32_t second = NEXUS__BALANCE_NONE;
    if (!ask->keyed)
        return nexus__balancer_p2c.pick(b, ask);
    uint32_t slot = (uint32_t)(ask->key % SIZE);
    for (int i = 0; i < STEPS; i++, slot = slot + 1 < SIZE ? slot + 1 : 0) {
        uint32_t host = b->table[slot];
        if (host == NOBODY || !nexus__balance_may(b, ask, host))
            continue;
        if (has_room(b, ask, host))
            return host;
        second = second == NEXUS__BALANCE_NONE ? host : second;
    }
    return second != NEXUS__BALANCE_NONE ? second : nexus__balance_draw(b, ask, ask->key, NEXUS__BALANCE_NONE);
}

const nexus__balancer nexus__balancer_maglev = {.name = "maglev", .keyed = true, .open = open_table, .pick = pick};
