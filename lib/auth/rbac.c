/*
 * Roles, compiled. While it is filled a policy is lists; compile gives every role three bitsets over the declared
 * permissions (allow, deny, allow-own), those of its parents merged in. A check then is: find the permission's number,
 * find each role, look at three bits. What was not declared is matched pattern by pattern.
 */
#include "auth/rbac.h"

#include "base/status.h"

/* --- filling ------------------------------------------------------------------------------------------------------ */

nexus_status nexus_rbac_new(nexus_rbac **out, const nexus_alloc *alloc)
{
    nexus_rbac *r = nexus__calloc(alloc, 1, sizeof *r);
    if (!r)
        return nexus__nomem();
    r->alloc = alloc;
    nexus__arena_init(&r->arena, alloc, 0);
    nexus__map_init(&r->roles, alloc);
    nexus__map_init(&r->permissions, alloc);
    *out = r;
    return NEXUS_OK;
}

static nexus_status still_open(const nexus_rbac *r)
{
    return r->compiled ? nexus__fail(NEXUS_EINVAL, "the policy is compiled: nothing can be added") : NEXUS_OK;
}

static void *take(nexus_rbac *r, size_t size)
{
    void *p = nexus__arena_get(&r->arena, size);
    if (p)
        memset(p, 0, size);
    return p;
}

nexus_status nexus_rbac_permission(nexus_rbac *r, const char *permission)
{
    nexus_slice name = nexus__slice_c(permission);
    nexus_status status = still_open(r);
    if (status != NEXUS_OK)
        return status;
    if (!nexus__permission_valid(name))
        return nexus__fail(NEXUS_EINVAL, "permission \"%s\": must be 2 to 6 segments of [a-z0-9_.-]", permission);
    if (nexus__map_get(&r->permissions, name))
        return NEXUS_OK;
    nexus__rbac_permission *p = take(r, sizeof *p);
    if (!p || !(p->name = nexus__arena_copy(&r->arena, name)).p)
        return nexus__nomem();
    p->id = r->permissions.count;
    p->next = r->first_permission;
    r->first_permission = p;
    return nexus__map_put(&r->permissions, p->name, p, NULL);
}

nexus_status nexus_rbac_role(nexus_rbac *r, const char *role)
{
    nexus_slice name = nexus__slice_c(role);
    nexus_status status = still_open(r);
    if (status != NEXUS_OK)
        return status;
    if (name.n == 0 || name.n > 128)
        return nexus__fail(NEXUS_EINVAL, "role: must have 1 to 128 bytes");
    if (nexus__map_get(&r->roles, name))
        return NEXUS_OK;
    nexus__rbac_role *added = take(r, sizeof *added);
    if (!added || !(added->name = nexus__arena_copy(&r->arena, name)).p)
        return nexus__nomem();
    added->next = r->first_role;
    r->first_role = added;
    return nexus__map_put(&r->roles, added->name, added, NULL);
}

static nexus_status find_role(nexus_rbac *r, const char *name, nexus__rbac_role **out)
{
    *out = nexus__map_get(&r->roles, nexus__slice_c(name));
    return *out ? still_open(r) : nexus__fail(NEXUS_ENOTFOUND, "role \"%s\" does not exist", name);
}

/* Levels from role upwards, itself counted; more than the limit when there is a cycle. */
static int levels_above(const nexus__rbac_role *role, int limit)
{
    int deepest = 0;
    for (const nexus__rbac_parent *p = role->parents; p && limit > 0 && deepest < limit; p = p->next) {
        int above = levels_above(p->role, limit - 1);
        deepest = above > deepest ? above : deepest;
    }
    return deepest + 1;
}

static bool reaches(const nexus__rbac_role *from, const nexus__rbac_role *to, int limit)
{
    if (from == to)
        return true;
    for (const nexus__rbac_parent *p = from->parents; p && limit > 0; p = p->next)
        if (reaches(p->role, to, limit - 1))
            return true;
    return false;
}

static bool too_deep(const nexus_rbac *r)
{
    for (const nexus__rbac_role *role = r->first_role; role; role = role->next)
        if (levels_above(role, NEXUS__RBAC_LEVELS) > NEXUS__RBAC_LEVELS)
            return true;
    return false;
}

nexus_status nexus_rbac_inherit(nexus_rbac *r, const char *role, const char *parent)
{
    nexus__rbac_role *child, *above;
    nexus_status status = find_role(r, role, &child);
    if (status == NEXUS_OK)
        status = find_role(r, parent, &above);
    if (status != NEXUS_OK)
        return status;
    if (reaches(above, child, NEXUS__RBAC_LEVELS))
        return nexus__fail(NEXUS_ECONFLICT, "role \"%s\" would inherit from itself through \"%s\"", role, parent);
    nexus__rbac_parent *link = take(r, sizeof *link);
    if (!link)
        return nexus__nomem();
    *link = (nexus__rbac_parent){above, child->parents};
    child->parents = link;
    if (!too_deep(r))
        return NEXUS_OK;
    child->parents = link->next;
    return nexus__fail(NEXUS_ECONFLICT, "roles inherit over more than %d levels", NEXUS__RBAC_LEVELS);
}

nexus_status nexus_rbac_rule(nexus_rbac *r, const char *role, int32_t effect, const char *pattern)
{
    nexus__rbac_role *owner;
    nexus_status status = find_role(r, role, &owner);
    if (status != NEXUS_OK)
        return status;
    const char *wrong = nexus__permission_pattern_error(nexus__slice_c(pattern));
    if (wrong)
        return nexus__fail(NEXUS_EINVAL, "pattern \"%s\" %s", pattern, wrong);
    if (effect < 0 || effect >= NEXUS__RBAC_EFFECTS)
        return nexus__fail(NEXUS_EINVAL, "effect: must be allow, deny or allow-own");
    nexus__rbac_rule *rule = take(r, sizeof *rule);
    if (!rule || !(rule->pattern = nexus__arena_copy(&r->arena, nexus__slice_c(pattern))).p)
        return nexus__nomem();
    rule->effect = effect;
    rule->next = owner->rules;
    owner->rules = rule;
    return NEXUS_OK;
}

/* --- compiling ---------------------------------------------------------------------------------------------------- */

static size_t words(const nexus_rbac *r)
{
    return (r->permissions.count + 63) / 64;
}

static void set_own_bits(const nexus_rbac *r, nexus__rbac_role *role)
{
    for (const nexus__rbac_rule *rule = role->rules; rule; rule = rule->next)
        for (const nexus__rbac_permission *p = r->first_permission; p; p = p->next)
            if (nexus__permission_matches(rule->pattern, p->name))
                role->bits[rule->effect][p->id / 64] |= (uint64_t)1 << (p->id % 64);
}

/* Parents first; bits are there once a role is done. */
static nexus_status compile_role(nexus_rbac *r, nexus__rbac_role *role)
{
    if (role->bits[0])
        return NEXUS_OK;
    for (const nexus__rbac_parent *p = role->parents; p; p = p->next) {
        nexus_status status = compile_role(r, p->role);
        if (status != NEXUS_OK)
            return status;
    }
    size_t n = words(r) + 1;
    uint64_t *block = take(r, NEXUS__RBAC_EFFECTS * n * sizeof *block);
    if (!block)
        return nexus__nomem();
    for (size_t e = 0; e < NEXUS__RBAC_EFFECTS; e++)
        role->bits[e] = block + e * n;
    set_own_bits(r, role);
    for (const nexus__rbac_parent *p = role->parents; p; p = p->next)
        for (size_t e = 0; e < NEXUS__RBAC_EFFECTS; e++)
            for (size_t i = 0; i < n; i++)
                role->bits[e][i] |= p->role->bits[e][i];
    return NEXUS_OK;
}

nexus_status nexus_rbac_compile(nexus_rbac *r)
{
    nexus_status status = still_open(r);
    for (nexus__rbac_role *role = r->first_role; role && status == NEXUS_OK; role = role->next)
        status = compile_role(r, role);
    r->compiled = r->compiled || status == NEXUS_OK;
    return status;
}

bool nexus_rbac_has_role(const nexus_rbac *r, const char *role)
{
    return nexus__map_get(&r->roles, nexus__slice_c(role)) != NULL;
}

void nexus_rbac_free(nexus_rbac *r)
{
    if (!r)
        return;
    nexus__map_free(&r->roles);
    nexus__map_free(&r->permissions);
    nexus__arena_free(&r->arena);
    nexus__free(r->alloc, r);
}

/* --- the policy of the reference servers ---------------------------------------------------------------------------- */

static const struct {
    const char *role;
    int32_t effect;
    const char *pattern;
} defaults[] = {
    {"customer", NEXUS_RBAC_ALLOW_OWN, "users:read"},
    {"customer", NEXUS_RBAC_ALLOW, "orders:create"},
    {"customer", NEXUS_RBAC_ALLOW_OWN, "orders:read"},
    {"customer", NEXUS_RBAC_ALLOW_OWN, "notifications:read"},
    {"customer", NEXUS_RBAC_ALLOW, "notifications:endpoint"},
    {"operator", NEXUS_RBAC_ALLOW, "orders:read"},
    {"operator", NEXUS_RBAC_ALLOW, "users:read"},
    {"operator", NEXUS_RBAC_ALLOW, "analytics:*"},
    {"operator", NEXUS_RBAC_ALLOW, "notifications:*"},
    {"operator", NEXUS_RBAC_ALLOW, "copilot:chat"},
    {"operator", NEXUS_RBAC_ALLOW, "audit:read"},
    {"admin", NEXUS_RBAC_ALLOW, "*:**"},
};
static const char *const default_permissions[] = {
    "users:read",     "users:write",     "orders:create",      "orders:read",
    "analytics:read", "analytics:query", "notifications:read", "notifications:endpoint",
    "copilot:chat",   "audit:read",      "notifications:send", "keys:rotate",
    "roles:grant",    "loglevel:write",
};

static nexus_status fill_default(nexus_rbac *r)
{
    nexus_status status = nexus_rbac_role(r, "customer");
    if (status == NEXUS_OK)
        status = nexus_rbac_role(r, "operator");
    if (status == NEXUS_OK)
        status = nexus_rbac_role(r, "admin");
    if (status == NEXUS_OK)
        status = nexus_rbac_inherit(r, "operator", "customer");
    if (status == NEXUS_OK)
        status = nexus_rbac_inherit(r, "admin", "operator");
    for (size_t i = 0; i < sizeof default_permissions / sizeof default_permissions[0] && status == NEXUS_OK; i++)
        status = nexus_rbac_permission(r, default_permissions[i]);
    for (size_t i = 0; i < sizeof defaults / sizeof defaults[0] && status == NEXUS_OK; i++)
        status = nexus_rbac_rule(r, defaults[i].role, defaults[i].effect, defaults[i].pattern);
    return status == NEXUS_OK ? nexus_rbac_compile(r) : status;
}

nexus_status nexus_rbac_new_default(nexus_rbac **out, const nexus_alloc *alloc)
{
    nexus_rbac *r;
    nexus_status status = nexus_rbac_new(&r, alloc);
    if (status != NEXUS_OK)
        return status;
    status = fill_default(r);
    if (status == NEXUS_OK)
        *out = r;
    else
        nexus_rbac_free(r);
    return status;
}
