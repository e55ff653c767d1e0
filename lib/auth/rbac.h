/* A policy, inside. */
#ifndef NEXUS_AUTH_RBAC_H
#define NEXUS_AUTH_RBAC_H

#include <nexus/rbac.h>

#include "base/arena.h"
#include "base/map.h"

#define NEXUS__RBAC_LEVELS 8
#define NEXUS__RBAC_EFFECTS 3

typedef struct nexus__rbac_role nexus__rbac_role;

typedef struct nexus__rbac_rule {
    int32_t effect;
    nexus_slice pattern;
    struct nexus__rbac_rule *next;
} nexus__rbac_rule;

typedef struct nexus__rbac_parent {
    nexus__rbac_role *role;
    struct nexus__rbac_parent *next;
} nexus__rbac_parent;

struct nexus__rbac_role {
    nexus_slice name;
    nexus__rbac_rule *rules; /* its own */
    nexus__rbac_parent *parents;
    uint64_t *bits[NEXUS__RBAC_EFFECTS]; /* over declared permissions, inherited ones included; after compile */
    nexus__rbac_role *next;
};

typedef struct nexus__rbac_permission {
    nexus_slice name;
    size_t id;
    struct nexus__rbac_permission *next;
} nexus__rbac_permission;

struct nexus_rbac {
    const nexus_alloc *alloc;
    nexus__arena arena; /* everything below */
    nexus__map roles, permissions;
    nexus__rbac_role *first_role;
    nexus__rbac_permission *first_permission;
    bool compiled;
};

/* pattern.c. Pure. */
bool nexus__permission_valid(nexus_slice text);                /* concrete */
const char *nexus__permission_pattern_error(nexus_slice text); /* NULL when it is a pattern */
bool nexus__permission_matches(nexus_slice pattern, nexus_slice permission);
bool nexus__pattern_covers(nexus_slice outer, nexus_slice inner); /* all that inner matches, outer does too */
bool nexus__pattern_meets(nexus_slice a, nexus_slice b);          /* some permission matches both */

#endif
