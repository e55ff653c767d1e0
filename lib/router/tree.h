/* The compiled tree of path templates of one host pattern. */
#ifndef NEXUS_ROUTER_TREE_H
#define NEXUS_ROUTER_TREE_H

#include <nexus/router.h>

#include "base/arena.h"
#include "base/map.h"
#include "regex/regex.h"

enum {
    NEXUS__ROUTER_SEGMENTS_MAX = 64, /* of one template */
    NEXUS__ROUTER_SEGMENT_BYTES_MAX = 1024,
};

/* What a segment of a template takes, in order of precedence. */
enum nexus__segment_kind {
    NEXUS__SEGMENT_TEXT,
    NEXUS__SEGMENT_INT,
    NEXUS__SEGMENT_UUID,
    NEXUS__SEGMENT_VERSION,
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

typedef struct nexus__router_slot {
    uint64_t hash;
    nexus__router_node *node; /* NULL = free */
} nexus__router_slot;

typedef struct nexus__router_index {
    nexus__router_slot *slots; /* mask + 1, the arena's; NULL = no index yet */
    uint64_t mask, count;
} nexus__router_index;

struct nexus__router_node {
    nexus_slice text;                                /* of the segment that leads here */
    nexus__router_node *texts;                       /* children by text: a short chain … */
    nexus__router_index index;                       /* … or, when many, a table */
    nexus__router_node *sibling;                     /* in the parent's chain */
    nexus__router_node *typed[NEXUS__SEGMENT_KINDS]; /* [INT] to [ANY]; [TEXT] and [REST] unused */
    nexus__router_leaf *exact, *rest, *prefix;       /* rules that end here, best first */
    uint32_t depth, text_count;
};

/* A rule whose path is a regular expression. */
typedef struct nexus__router_pattern {
    nexus__router_leaf *leaf;
    nexus__regex *re;
    struct nexus__router_pattern *next; /* the next best */
} nexus__router_pattern;

/* All rules of one host pattern. */
typedef struct nexus__router_tree {
    nexus__router_node root;
    nexus__router_pattern *patterns; /* best first */
    bool ranked; /* some template has a priority or conditions: the first that fits may not be the best */
} nexus__router_tree;

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
    const nexus__router_pattern *pattern; /* what the winner is, if it is one */
} nexus__router_walk;

void nexus__router_split(nexus__router_walk *w, nexus_slice path);
nexus_status nexus__router_insert(nexus__arena *arena, nexus__router_tree *tree, const nexus_router_rule *rule,
                                  const nexus_alloc *alloc) NEXUS_MUST_CHECK;
const nexus__router_leaf *nexus__router_walk_tree(nexus__router_walk *w, const nexus__router_tree *tree);
/* The first rule of the list that takes the request; what lacks only the method is noted for Allow. */
const nexus__router_leaf *nexus__router_try(nexus__router_walk *w, const nexus__router_leaf *leaf);
bool nexus__router_before(const nexus_router_rule *a, const nexus_router_rule *b); /* in rank, then in id */
void nexus__router_tree_free(nexus__router_tree *tree); /* patterns; all else is the arena's */

/* index.c */
nexus__router_node *nexus__router_index_get(const nexus__router_index *index, nexus_slice text); /* NULL: not there */
nexus_status nexus__router_index_put(nexus__router_index *index, nexus__arena *arena,
                                     nexus__router_node *node) NEXUS_MUST_CHECK;
/* pattern.c */
nexus_status nexus__router_pattern_insert(nexus__arena *arena, nexus__router_tree *tree, const nexus_router_rule *rule,
                                          const nexus_alloc *alloc) NEXUS_MUST_CHECK;
const nexus__router_leaf *nexus__router_walk_patterns(nexus__router_walk *w, const nexus__router_tree *tree);
void nexus__router_fill_groups(const nexus__router_pattern *pattern, nexus_slice path, nexus_router_match *match);
/* insert.c: what is the same for both kinds. */
nexus_status nexus__router_leaf_init(nexus__arena *arena, nexus__router_leaf *leaf, const nexus_router_rule *rule);
bool nexus__router_equal(const nexus_router_rule *a, const nexus_router_rule *b);
nexus_status nexus__router_conflict(const nexus_router_rule *a, const nexus_router_rule *b);

#endif
