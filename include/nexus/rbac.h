/*
 * Role based access control. Permissions are "resource:action" in 2 to 6 segments of [a-z0-9_.-]; grants may
 * use `*` for one segment and `**` for all that follow. Default deny; a deny beats every allow. A policy is
 * built once and then immutable: a check is two hash look-ups and some words of bitset, without allocation or
 * lock.
 */
#ifndef NEXUS_RBAC_H
#define NEXUS_RBAC_H

#include <nexus/alloc.h>
#include <nexus/common.h>
#include <nexus/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A policy: roles, what they inherit, allow and deny. Fill it on one thread; after compile any thread may
 * check. */
typedef struct nexus_rbac nexus_rbac;

enum {
    NEXUS_RBAC_ALLOW = 0,
    NEXUS_RBAC_DENY = 1,
    NEXUS_RBAC_ALLOW_OWN = 2 /**< allowed when the object's owner is the subject */
};

/** Why a check came out as it did. */
enum {
    NEXUS_RBAC_BY_ALLOW = 1,
    NEXUS_RBAC_BY_OWNER = 2,
    NEXUS_RBAC_NO_RULE = 3, /**< nothing allows it: default deny */
    NEXUS_RBAC_BY_DENY = 4,
    NEXUS_RBAC_NOT_OWNER = 5, /**< only an :own rule matched and the subject is not the owner */
    NEXUS_RBAC_OTHER_TENANT = 6,
    NEXUS_RBAC_BAD_REQUEST = 7 /**< the permission asked for is no concrete permission (a wildcard, say) */
};

NEXUS_API nexus_status nexus_rbac_new(nexus_rbac **out, const nexus_alloc *alloc) NEXUS_MUST_CHECK;

/** customer, operator, admin with the permissions of the reference servers, compiled (docs/auth.md lists
 * them). */
NEXUS_API nexus_status nexus_rbac_new_default(nexus_rbac **out, const nexus_alloc *alloc) NEXUS_MUST_CHECK;

/** Declares a permission, so that checks of it are bitset work; others are matched pattern by pattern.
 * Repeats are fine. */
NEXUS_API nexus_status nexus_rbac_permission(nexus_rbac *rbac, const char *permission) NEXUS_MUST_CHECK;
/** Adds a role (repeats are fine). */
NEXUS_API nexus_status nexus_rbac_role(nexus_rbac *rbac, const char *role) NEXUS_MUST_CHECK;
/** role holds all of parent too. NEXUS_ECONFLICT: a cycle, or more than 8 levels. */
NEXUS_API nexus_status nexus_rbac_inherit(nexus_rbac *rbac, const char *role, const char *parent) NEXUS_MUST_CHECK;
/** Adds a rule; pattern as above. NEXUS_EINVAL names what is wrong with it. */
NEXUS_API nexus_status nexus_rbac_rule(nexus_rbac *rbac, const char *role, int32_t effect,
                                       const char *pattern) NEXUS_MUST_CHECK;
/** Ends the filling; no rule can be added later. */
NEXUS_API nexus_status nexus_rbac_compile(nexus_rbac *rbac) NEXUS_MUST_CHECK;

/** One question: may a subject with these roles do this? All borrowed for the call. */
typedef struct nexus_rbac_query {
    size_t size;
    const nexus_slice *roles; /**< role names; unknown ones earn nothing */
    size_t role_count;
    nexus_slice permission;             /**< concrete, no wildcards */
    nexus_slice subject, owner;         /**< for :own rules; an empty owner is owned by nobody */
    nexus_slice subject_tenant, tenant; /**< must be equal; both empty without tenants */
} nexus_rbac_query;

#define NEXUS_RBAC_QUERY_INIT                                                                                          \
    {                                                                                                                  \
        sizeof(nexus_rbac_query), NULL, 0, {NULL, 0}, {NULL, 0}, {NULL, 0}, {NULL, 0},                                 \
        {                                                                                                              \
            NULL, 0                                                                                                    \
        }                                                                                                              \
    }
NEXUS_API void nexus_rbac_query_init(nexus_rbac_query *query);

/** The answer. Never fails; false for anything odd. */
NEXUS_API bool nexus_rbac_check(const nexus_rbac *rbac, const nexus_rbac_query *query);

/**
 * The answer with its reason (NEXUS_RBAC_BY_…) and the rule that decided, as one line of text such as
 * "allow: operator > customer: orders:read" (role path, then pattern), cut at text_size. Both may be NULL.
 */
NEXUS_API bool nexus_rbac_explain(const nexus_rbac *rbac, const nexus_rbac_query *query, int32_t *reason, char *text,
                                  size_t text_size);

/**
 * Whether who has these roles holds all that a pattern matches, so that he may pass it on: one rule covers it and no deny
 * touches it. own: what he may with his own objects counts too. False for what is no pattern.
 */
NEXUS_API bool nexus_rbac_covers(const nexus_rbac *rbac, const nexus_slice *roles, size_t role_count,
                                 nexus_slice pattern, bool own);

/**
 * Of the roles that a token carries those that count in a tenant, written to out (room for count) and counted: one for all
 * tenants is carried by its name ("operator"), one held in a tenant only as TENANT/NAME ("acme/editor"). With an empty tenant
 * only the former count. A role held in a tenant may be the tenant's own, which the policy knows as TENANT/NAME, or one of
 * all, which it knows by its name. What out holds is borrowed from carried.
 */
NEXUS_API size_t nexus_rbac_roles_in(const nexus_rbac *rbac, const nexus_slice *carried, size_t count,
                                     nexus_slice tenant, nexus_slice *out);

NEXUS_API bool nexus_rbac_has_role(const nexus_rbac *rbac, const char *role);
/** One more owner of a compiled policy; each ends with nexus_rbac_free. */
NEXUS_API nexus_rbac *nexus_rbac_ref(const nexus_rbac *rbac);
NEXUS_API void nexus_rbac_free(nexus_rbac *rbac); /**< NULL is fine */

#ifdef __cplusplus
}
#endif

#endif
