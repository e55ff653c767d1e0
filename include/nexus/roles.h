/*
 * Roles of one's own, kept in the database of a nexus_auth: who holds what (rbac.h judges it), in which tenant, and what
 * would be if it were changed. customer, operator and admin are there from the start and stay as they are.
 *
 * A role has a name ([a-z0-9] then [a-z0-9_.-], 64 bytes at most) and belongs to one tenant, or, with the tenant "", to all.
 * It inherits from roles of its tenant and from those of all, allows permissions ("orders:read", "orders:*", "orders:**"; the
 * suffix ":own" allows it with one's own objects) and denies some. A grant gives a user a role in one tenant, or in all;
 * tokens carry it as "NAME" or "TENANT/NAME", and a change reaches tokens that are out already.
 *
 * Nobody gives what he does not hold, and nobody frees anybody of a deny that binds himself: see nexus_roles_actor.
 *
 * Calls block (SQL): worker threads only. Every handle call is usable from any thread.
 */
#ifndef NEXUS_ROLES_H
#define NEXUS_ROLES_H

#include <nexus/alloc.h>
#include <nexus/common.h>
#include <nexus/rbac.h>
#include <nexus/status.h>

#ifdef __cplusplus
extern "C" {
#endif

struct nexus_auth;
typedef struct nexus_roles nexus_roles;

/** Loads and compiles what auth's database holds; auth is borrowed until close and hears of changes through its event_fn:
 * role.changed and, of grants, user.changed. Close with nexus_roles_close. */
NEXUS_API nexus_status nexus_roles_open(nexus_roles **out, struct nexus_auth *auth) NEXUS_MUST_CHECK;
NEXUS_API void nexus_roles_close(nexus_roles *roles); /**< NULL is fine */

/** The policy of now, compiled; it stays what it is while it is used. Free with nexus_rbac_free. */
NEXUS_API void nexus_roles_policy(nexus_roles *roles, nexus_rbac **out);
/** Takes over what other processes changed; call it twice a second or so. *changed (may be NULL): there was something. */
NEXUS_API nexus_status nexus_roles_refresh(nexus_roles *roles, bool *changed) NEXUS_MUST_CHECK;

/**
 * All roles as {"version","roles":[{tenant,name,inherits,allow,deny}]}, for processes that have no database; the version grows
 * with each change. nexus_roles_compile makes the policy of it. Free *json with nexus_free.
 */
NEXUS_API nexus_status nexus_roles_document(nexus_roles *roles, char **json, size_t *n) NEXUS_MUST_CHECK;
/** NEXUS_EINVAL: not such a document. Free *out with nexus_rbac_free. */
NEXUS_API nexus_status nexus_roles_compile(nexus_rbac **out, nexus_slice document) NEXUS_MUST_CHECK;

/** Who asks, with the roles that his token carries; borrowed for the call. Where NULL is passed it is whoever runs the
 * machine, who may everything. */
typedef struct nexus_roles_actor {
    size_t size;
    const nexus_slice *roles;
    size_t role_count;
} nexus_roles_actor;

#define NEXUS_ROLES_ACTOR_INIT NEXUS_SIZED(nexus_roles_actor)
NEXUS_API void nexus_roles_actor_init(nexus_roles_actor *actor);

/** Whether the actor holds all that these roles give, so that he may pass them on or touch who has them: names as tokens
 * carry them. */
NEXUS_API bool nexus_roles_holds(nexus_roles *roles, const nexus_roles_actor *actor, const nexus_slice *names,
                                 size_t count);
/** The same for permissions or patterns in a tenant. */
NEXUS_API bool nexus_roles_covers(nexus_roles *roles, const nexus_roles_actor *actor, nexus_slice tenant,
                                  nexus_slice pattern);

/* --- roles -------------------------------------------------------------------------------------------------------- */

typedef struct nexus_role_filter {
    size_t size;
    nexus_slice tenant; /**< of this tenant only, empty = those of all tenants; unless any_tenant */
    bool any_tenant;    /**< everything */
    nexus_slice cursor; /**< next_cursor of the page before; empty = from the first */
    uint32_t limit;     /**< 0 = 20 */
} nexus_role_filter;

#define NEXUS_ROLE_FILTER_INIT NEXUS_SIZED(nexus_role_filter)
NEXUS_API void nexus_role_filter_init(nexus_role_filter *filter);

/** {"items":[{name,tenant,description,built_in,inherits,allow,deny,changed_at}],"next_cursor"} by tenant and name. Free
 * *json with nexus_free. */
NEXUS_API nexus_status nexus_roles_list(nexus_roles *roles, const nexus_role_filter *filter, char **json,
                                        size_t *n) NEXUS_MUST_CHECK;
/** One of those items. NEXUS_ENOTFOUND. */
NEXUS_API nexus_status nexus_roles_show(nexus_roles *roles, nexus_slice tenant, nexus_slice name, char **json,
                                        size_t *n) NEXUS_MUST_CHECK;

/**
 * Makes or replaces a role: definition is {"description","inherits":[…],"allow":[…],"deny":[…]}, all optional. *made: there
 * was none. NEXUS_EINVAL: the message begins with the member ("inherits/0: no role is called …"); NEXUS_ECONFLICT: a cycle,
 * more than 8 levels, a built-in role, a name that a role of all tenants and one of a tenant would share, or too many;
 * NEXUS_EPERM: it gives what the actor does not hold, or no longer denies it.
 */
NEXUS_API nexus_status nexus_roles_put(nexus_roles *roles, const nexus_roles_actor *actor, nexus_slice tenant,
                                       nexus_slice name, nexus_slice definition, bool *made) NEXUS_MUST_CHECK;
/** NEXUS_ENOTFOUND; NEXUS_ECONFLICT: built in, or somebody has it or inherits from it; NEXUS_EPERM: as above. */
NEXUS_API nexus_status nexus_roles_delete(nexus_roles *roles, const nexus_roles_actor *actor, nexus_slice tenant,
                                          nexus_slice name) NEXUS_MUST_CHECK;

/* --- grants ------------------------------------------------------------------------------------------------------- */

/**
 * Gives a user a role in a tenant (empty: in all), or takes it, and with it the tokens that say he has it. NEXUS_EINVAL: no
 * such role there, or more than 32; NEXUS_ENOTFOUND: no such user; NEXUS_EPERM: the actor does not hold what it gives.
 */
NEXUS_API nexus_status nexus_roles_grant(nexus_roles *roles, const nexus_roles_actor *actor, nexus_slice user_id,
                                         nexus_slice role, nexus_slice tenant, bool held) NEXUS_MUST_CHECK;

typedef struct nexus_grant_filter {
    size_t size;
    nexus_slice user_id; /**< of this user; empty = anybody */
    nexus_slice role;    /**< of this role; empty = any */
    nexus_slice tenant;  /**< in this tenant, empty = those for all tenants; unless any_tenant */
    bool any_tenant;
    nexus_slice cursor;
    uint32_t limit; /**< 0 = 20 */
} nexus_grant_filter;

#define NEXUS_GRANT_FILTER_INIT NEXUS_SIZED(nexus_grant_filter)
NEXUS_API void nexus_grant_filter_init(nexus_grant_filter *filter);

/** {"items":[{user_id,role,tenant,granted_at}],"next_cursor"}, the newest first. Free *json with nexus_free. */
NEXUS_API nexus_status nexus_roles_grants(nexus_roles *roles, const nexus_grant_filter *filter, char **json,
                                          size_t *n) NEXUS_MUST_CHECK;

/* --- what if ------------------------------------------------------------------------------------------------------ */

/**
 * Why a check in a tenant comes out as it does. question: {"permission","user_id" or "roles":[…],"owner"}; roles as tokens
 * carry them, owner "self" (the user's own object) or an id. The answer:
 * {"allowed","reason","rule","effect","path":["operator","customer"]}, where the path leads from a role the user has to the
 * one whose rule decided. NEXUS_EINVAL names the member, a permission with a wildcard for one, or no such user.
 */
NEXUS_API nexus_status nexus_roles_explain(nexus_roles *roles, nexus_slice tenant, nexus_slice question, char **json,
                                           size_t *n) NEXUS_MUST_CHECK;
/**
 * Many questions at once, against a change that is not made: {"checks":[question,…],"change":
 * {"roles":[{"name","inherits","allow","deny"}],"delete":[name,…],"grants":[{"user_id","role","held"}]}}. The answer:
 * {"results":[{…as above,"now":…}]}, now being what it is without the change. At most 200 checks and 50 of each change.
 */
NEXUS_API nexus_status nexus_roles_simulate(nexus_roles *roles, nexus_slice tenant, nexus_slice body, char **json,
                                            size_t *n) NEXUS_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
