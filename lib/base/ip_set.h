/* Is an address in one of many blocks? A path-compressed binary trie: a look-up compares once at each branching. */
#ifndef NEXUS_BASE_IP_SET_H
#define NEXUS_BASE_IP_SET_H

#include "base/ip.h"

typedef struct nexus__ip_node {
    nexus__ip_block block;
    bool member;       /* all of the block is in the set; then nothing below matters */
    uint32_t child[2]; /* by the first bit after the block; 0 = none, since nobody's child is the root */
} nexus__ip_node;

typedef struct nexus__ip_set {
    nexus__ip_node *nodes; /* [0] is the root once there is one */
    uint32_t count;
} nexus__ip_set;

/* Room for this many nodes takes n blocks. */
#define NEXUS__IP_SET_NODES(n) (2 * (n))

/* An empty set in the given room, which it borrows. */
static inline nexus__ip_set nexus__ip_set_in(nexus__ip_node *room)
{
    return (nexus__ip_set){.nodes = room};
}

void nexus__ip_set_add(nexus__ip_set *set, const nexus__ip_block *block);
bool nexus__ip_set_has(const nexus__ip_set *set, const nexus__ip *ip);

#endif
