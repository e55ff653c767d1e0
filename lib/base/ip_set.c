#include "base/ip_set.h"

static unsigned bit_at(const nexus__ip *ip, unsigned i)
{
    return ip->bytes[i / 8] >> (7 - i % 8) & 1;
}

/* How many leading bits two blocks share. */
static uint8_t common_bits(const nexus__ip_block *a, const nexus__ip_block *b)
{
    uint8_t max = a->bits < b->bits ? a->bits : b->bits, n = 0;
    while (n + 8 <= max && a->ip.bytes[n / 8] == b->ip.bytes[n / 8])
        n += 8;
    while (n < max && bit_at(&a->ip, n) == bit_at(&b->ip, n))
        n++;
    return n;
}

static uint32_t new_node(nexus__ip_set *set, const nexus__ip_block *block, uint8_t bits, bool member)
{
    nexus__ip_node *n = &set->nodes[set->count];
    *n = (nexus__ip_node){.block = {block->ip, bits}, .member = member};
    return set->count++;
}

/* The node splits where the new block departs from it; it keeps its place, so that its parent need not change. */
static void split(nexus__ip_set *set, uint32_t at, uint8_t bits, const nexus__ip_block *block)
{
    nexus__ip_node old = set->nodes[at];
    uint32_t lower = new_node(set, &old.block, old.block.bits, old.member);
    memcpy(set->nodes[lower].child, old.child, sizeof old.child);
    uint32_t added = new_node(set, block, block->bits, true);
    unsigned side = bit_at(&block->ip, bits);
    set->nodes[at] = (nexus__ip_node){.block = {old.block.ip, bits}};
    set->nodes[at].child[side] = added;
    set->nodes[at].child[!side] = lower;
}

void nexus__ip_set_add(nexus__ip_set *set, const nexus__ip_block *block)
{
    uint32_t at = 0;
    if (set->count == 0) {
        new_node(set, block, block->bits, true);
        return;
    }
    for (;;) {
        nexus__ip_node *n = &set->nodes[at];
        uint8_t bits = common_bits(&n->block, block);
        if (bits == block->bits) { /* it covers the node, or is it */
            *n = (nexus__ip_node){.block = *block, .member = true};
            return;
        }
        if (bits < n->block.bits) {
            split(set, at, bits, block);
            return;
        }
        if (n->member)
            return;
        uint32_t *next = &n->child[bit_at(&block->ip, bits)];
        if (!*next) {
            *next = new_node(set, block, block->bits, true);
            return;
        }
        at = *next;
    }
}

bool nexus__ip_set_has(const nexus__ip_set *set, const nexus__ip *ip)
{
    if (set->count == 0)
        return false;
    for (uint32_t at = 0;;) {
        const nexus__ip_node *n = &set->nodes[at];
        if (!nexus__ip_block_has(&n->block, ip))
            return false;
        if (n->member)
            return true;
        at = n->child[bit_at(ip, n->block.bits)];
        if (!at)
            return false;
    }
}
