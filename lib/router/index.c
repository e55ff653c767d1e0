/*
 * The children of a node with many, by their text. The texts in it are the routes file's, and requests only look up: a
 * hash without a key is enough, since nobody but the file's author can make two of them meet.
 */
#include "base/status.h"
#include "router/tree.h"

static uint64_t mix(uint64_t h, uint64_t word)
{
    h = (h ^ word) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 32;
}

static uint64_t hash(nexus_slice text)
{
    uint64_t h = text.n, word;
    const char *p = text.p;
    size_t n = text.n;
    for (; n >= 8; n -= 8, p += 8) {
        memcpy(&word, p, 8);
        h = mix(h, word);
    }
    for (word = 0; n > 0; n--)
        word = word << 8 | (unsigned char)p[n - 1];
    return mix(h, word);
}

nexus__router_node *nexus__router_index_get(const nexus__router_index *index, nexus_slice text)
{
    uint64_t h = hash(text);
    for (uint64_t at = h & index->mask;; at = (at + 1) & index->mask) {
        const nexus__router_slot *slot = &index->slots[at];
        if (!slot->node || (slot->hash == h && nexus__slice_eq(slot->node->text, text)))
            return slot->node;
    }
}

static void put(nexus__router_index *index, uint64_t h, nexus__router_node *node)
{
    uint64_t at = h & index->mask;
    while (index->slots[at].node)
        at = (at + 1) & index->mask;
    index->slots[at] = (nexus__router_slot){h, node};
    index->count++;
}

static nexus_status grow(nexus__router_index *index, nexus__arena *arena)
{
    nexus__router_index old = *index;
    uint64_t slots = old.slots ? 2 * (old.mask + 1) : 32;
    index->slots = nexus__arena_get(arena, slots * sizeof *index->slots);
    if (!index->slots) {
        *index = old;
        return nexus__nomem();
    }
    memset(index->slots, 0, slots * sizeof *index->slots);
    index->mask = slots - 1;
    index->count = 0;
    for (uint64_t i = 0; old.slots && i <= old.mask; i++)
        if (old.slots[i].node)
            put(index, old.slots[i].hash, old.slots[i].node);
    return NEXUS_OK;
}

nexus_status nexus__router_index_put(nexus__router_index *index, nexus__arena *arena, nexus__router_node *node)
{
    bool full =
        !index->slots || 2 * (index->count + 1) > index->mask + 1; /* half empty: few steps for what is not there */
    nexus_status status = full ? grow(index, arena) : NEXUS_OK;
    if (!status)
        put(index, hash(node->text), node);
    return status;
}
