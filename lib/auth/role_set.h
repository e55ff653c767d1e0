/* All roles of an installation as they are kept, before they are compiled. Immutable once shared. */
#ifndef NEXUS_AUTH_ROLE_SET_H
#define NEXUS_AUTH_ROLE_SET_H

#include <nexus/rbac.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/map.h"
#include "base/str.h"
#include "json/read.h"
#include "json/write.h"

enum { NEXUS__ROLE_INHERITS, NEXUS__ROLE_ALLOW, NEXUS__ROLE_DENY, NEXUS__ROLE_LISTS };
enum { NEXUS__ROLE_NAME_MAX = 64, NEXUS__ROLE_KEY_MAX = 2 * NEXUS__ROLE_NAME_MAX + 2 };
enum { NEXUS__ROLES_MAX = 1024, NEXUS__ROLE_RULES_MAX = 256, NEXUS__ROLE_PARENTS_MAX = 16 };

extern const char *const nexus__role_lists[NEXUS__ROLE_LISTS]; /* "inherits", "allow", "deny" */

typedef struct nexus__role_item {
    nexus_slice text;
    struct nexus__role_item *next;
} nexus__role_item;

typedef struct nexus__role {
    nexus_slice key; /* "NAME", or "TENANT/NAME": as the policy and tokens have it */
    nexus_slice tenant, name, description;
    bool built_in;
    int64_t changed_at_ns;
    nexus__role_item *lists[NEXUS__ROLE_LISTS];
} nexus__role;

typedef struct nexus__role_set {
    const nexus_alloc *alloc;
    nexus__arena arena;
    nexus__map by_key;
    nexus__role *order[NEXUS__ROLES_MAX]; /* by tenant and name, after nexus__role_set_sort */
    size_t count;
    int64_t version;
    atomic_uint refs;
} nexus__role_set;

nexus_status nexus__role_set_new(nexus__role_set **out, const nexus_alloc *alloc);
nexus__role_set *nexus__role_set_ref(nexus__role_set *set);
void nexus__role_set_free(nexus__role_set *set); /* NULL is fine */
nexus_status nexus__role_set_copy(nexus__role_set **out, const nexus__role_set *set);
void nexus__role_set_sort(nexus__role_set *set);

/* NEXUS_EINVAL: a name or tenant such as roles cannot have; the message begins with the member. */
nexus_status nexus__role_check_name(const char *member, nexus_slice name, bool may_be_empty);
size_t nexus__role_key(char out[static NEXUS__ROLE_KEY_MAX], nexus_slice tenant, nexus_slice name);

/* Adds a role without rules, or gives the one there is. Texts are copied. NEXUS_ECONFLICT: there are too many, or a role of
 * all tenants and one of a tenant would have the same name. */
nexus_status nexus__role_add(nexus__role **out, nexus__role_set *set, nexus_slice tenant, nexus_slice name);
nexus_status nexus__role_describe(nexus__role_set *set, nexus__role *role, nexus_slice description);
/* At the end of one of its lists. */
nexus_status nexus__role_put(nexus__role_set *set, nexus__role *role, int list, nexus_slice text);
void nexus__role_remove(nexus__role_set *set, const nexus__role *role);
nexus__role *nexus__role_find(const nexus__role_set *set, nexus_slice tenant, nexus_slice name); /* exactly, or NULL */
/* What a name means in a tenant: its own role, or one of all. */
nexus__role *nexus__role_resolve(const nexus__role_set *set, nexus_slice tenant, nexus_slice name);
/* "orders:read:own" is "orders:read" with own objects only. */
nexus_slice nexus__role_pattern(nexus_slice text, bool *own);

/* role_policy.c: the set as a policy. NEXUS_ECONFLICT: a cycle, or more than 8 levels. */
nexus_status nexus__role_set_compile(nexus_rbac **out, const nexus__role_set *set);

/* role_json.c: members of a definition into a role without rules; prefix stands before the member in messages ("" or
 * "change/roles/0/"). allowed: which members it may have besides, NULL-terminated. */
nexus_status nexus__role_read(nexus__role_set *set, nexus__role *role, nexus__json *doc, uint32_t object,
                              const char *prefix, const char *const *allowed);
void nexus__role_write(nexus__json_writer *w, const nexus__role *role); /* its three lists, as members */

#endif
