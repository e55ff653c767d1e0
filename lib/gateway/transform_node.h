/* The tree that operations become; between transform_load.c, which makes it, and transform.c, which walks it. */
#ifndef NEXUS_GATEWAY_TRANSFORM_NODE_H
#define NEXUS_GATEWAY_TRANSFORM_NODE_H

#include "gateway/transform.h"

enum nexus__transform_action { NEXUS__TRANSFORM_NONE, NEXUS__TRANSFORM_SET, NEXUS__TRANSFORM_REMOVE, NEXUS__TRANSFORM_RENAME };

struct nexus__transform_node {
    nexus_slice name;                   /* of the member, or an index in digits, or "-" */
    nexus_slice key;                    /* the name as JSON, quotes included */
    nexus__transform_node *first, *next; /* children, in the order of the operations */
    nexus__transform_node *each;        /* map: for every element */
    uint32_t children;
    uint32_t index; /* of an array; UINT32_MAX = the name is none */
    enum nexus__transform_action action;
    bool fills;                               /* SET: pattern, else value */
    bool pick;                                /* members that no child names are left out */
    bool kept;                                /* where its parent picks: an operation is about it */
    bool makes;                               /* it, or something below it, is SET */
    nexus_slice value;                        /* SET: JSON */
    nexus__pattern pattern;                   /* SET */
    nexus_slice to, to_key;                   /* RENAME */
    const nexus__transform_node *yields_to; /* left out when a member is there that will be renamed to its name */
};

#endif
