/* The compiled tree of path templates of one host pattern. */
#ifndef NEXUS_ROUTER_TREE_H
#define NEXUS_ROUTER_TREE_H

#include <nexus/router.h>

#include "base/arena.h"
#include "base/map.h"

enum {
    NEXUS__ROUTER_SEGMENTS_MAX = 64, /* of one template */
    NEXUS__ROUTER_SEGMENT_BYTES_MAX = 1024,
};

/* What a segment of a template takes, in order of precedence. */
enum nexus__segment_kind {
    NEXUS__SEGMENT_TEXT,
    NEXUS__SEGMENT_INT,
    NEXUS__SEGMENT_UUID,
    NEXUS__SEGMENT_ANY,
    NEXUS__SEGMENT_REST,
    NEXUS__SEGMENT_KINDS
};

typedef struct nexus__router_leaf {
    nexus_router_rule rule; /* texts copied to the arena */
    struct nexus__router_leaf *next;
    uint32_t capture_count;
    struct {
        nexus_slice name;
        uint32_t segment; /* index into the path */
        bool rest;        /* to the end of the path */
    } captures[];
} nexus__router_leaf;

typedef struct nexus__router_node nexus__router_node;
struct nexus__router_node {
    nexus_slice text;                                /* of the segment that leads here */
    nexus__router_node *texts;                       /* children by text: a short chain … */
    nexus__map *index;                               /* … or, when many, a map */
    nexus__router_node *sibling;                     /* in the parent's chain */
    nexus__router_node *typed[NEXUS__SEGMENT_KINDS]; /* [INT], [UUID], [ANY]; [TEXT] and [REST] unused */
    nexus__router_leaf *exact, *rest, *prefix;       /* rules that end here, best first */
    uint32_t depth, text_count;
};

/* What a walk is looking for, and what it has seen. */
typedef struct nexus__router_walk {
    nexus_slice path;
    uint32_t starts[NEXUS__ROUTER_SEGMENTS_MAX + 2]; /* offset of each segment; one past the last says where it ends */
    uint32_t count;                                  /* segments split, at most SEGMENTS_MAX + 1: enough for any rule */
    bool whole;                                      /* these are all segments of the path */
    uint32_t method;
    nexus_router_accept_fn *accept;
    void *user_data;
    uint32_t methods; /* of rules with this path that lacked only the method */
    bool hit;
    const nexus__router_node *prefixes[NEXUS__ROUTER_SEGMENTS_MAX + 1]; /* by depth; valid where the bit is set */
    uint64_t prefix_depths, prefix_again;                               /* bit per depth: some node; more than one */
    bool prefix_root;
} nexus__router_walk;

void nexus__router_split(nexus__router_walk *w, nexus_slice path);
nexus_status nexus__router_insert(nexus__arena *arena, nexus__router_node *root, const nexus_router_rule *rule,
                                  const nexus_alloc *alloc) NEXUS_MUST_CHECK;
const nexus__router_leaf *nexus__router_walk_tree(nexus__router_walk *w, const nexus__router_node *root);
void nexus__router_node_free(nexus__router_node *node, const nexus_alloc *alloc); /* the maps; nodes are the arena's */

#endif
