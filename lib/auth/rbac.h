/* A policy, inside. */
#ifndef NEXUS_AUTH_RBAC_H
#define NEXUS_AUTH_RBAC_H

#include <nexus/rbac.h>
#include <stdatomic.h>

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

typedef struct nexus__rbac_link {
    nexus__rbac_role *role;
    struct nexus__rbac_link *next;
} nexus__rbac_link;

/* A role that another one holds all of, and which of that one's list inherits from it. */
typedef struct nexus__rbac_held {
    const nexus__rbac_role *role;
    size_t via;
} nexus__rbac_held;

struct nexus__rbac_role {
    nexus_slice name;
    nexus__rbac_rule *rules; /* its own */
    nexus__rbac_link *parents, *children;
    unsigned mark; /* of the walk that came by last, and what it found */
    int chain;
    nexus__rbac_held *held; /* itself, then all it inherits from, each once, the nearest first; after compile */
    size_t held_count;
    uint64_t *bits[NEXUS__RBAC_EFFECTS];     /* over declared permissions, inherited ones included; after compile */
    uint64_t *own_bits[NEXUS__RBAC_EFFECTS]; /* without them */
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
    unsigned mark; /* of the last walk */
    atomic_uint refs;
};

/* rbac_default.c: what the reference servers ask for, declared in an open policy; the same and their three roles. */
nexus_status nexus__rbac_declare_default(nexus_rbac *rbac);
nexus_status nexus__rbac_fill_default(nexus_rbac *rbac);
/* What the built-in roles hold by themselves, a row for each rule. */
typedef struct nexus__rbac_builtin {
    const char *role;
    int32_t effect;
    const char *pattern;
} nexus__rbac_builtin;
extern const nexus__rbac_builtin nexus__rbac_builtins[];
extern const size_t nexus__rbac_builtin_count;
enum { NEXUS__RBAC_BUILTIN_ROLES = 3 };
extern const char *const nexus__rbac_builtin_roles[NEXUS__RBAC_BUILTIN_ROLES]; /* each inherits from the one before */

/* rbac_check.c: which rule decided. */
typedef struct nexus__rbac_trace {
    int32_t reason;                       /* NEXUS_RBAC_BY_… */
    nexus_slice path[NEXUS__RBAC_LEVELS]; /* roles from the subject's own to the rule's; borrowed from the policy */
    size_t path_count;                    /* 0: no rule did */
    nexus_slice pattern;
    int32_t effect;
} nexus__rbac_trace;
bool nexus__rbac_explain(const nexus_rbac *rbac, const nexus_rbac_query *query, nexus__rbac_trace *out);
const char *nexus__rbac_reason_text(int32_t reason); /* for people: "deny: no rule allows it" */

/* Whether who has these roles holds all that another role gives, denies of his own minded; and, with denies set, all that it
 * denies, so that he may free somebody of it. */
bool nexus__rbac_covers_role(const nexus_rbac *rbac, const nexus_slice *roles, size_t role_count, nexus_slice role,
                             bool denies);

/* pattern.c. Pure. */
bool nexus__permission_valid(nexus_slice text);                /* concrete */
const char *nexus__permission_pattern_error(nexus_slice text); /* NULL when it is a pattern */
bool nexus__permission_matches(nexus_slice pattern, nexus_slice permission);
bool nexus__pattern_covers(nexus_slice outer, nexus_slice inner); /* all that inner matches, outer does too */
bool nexus__pattern_meets(nexus_slice a, nexus_slice b);          /* some permission matches both */

#endif
