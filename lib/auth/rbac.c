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
    atomic_init(&r->refs, 1);
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

/*
 * Roles form a graph, and one is reached on many ways: a walk marks where it was, so that it comes by each role once. Its
 * depth is bounded, since no link is made that would let a chain grow over the limit.
 */
static bool reaches(nexus__rbac_role *from, const nexus__rbac_role *to, unsigned mark)
{
    if (from == to)
        return true;
    from->mark = mark;
    for (const nexus__rbac_link *p = from->parents; p; p = p->next)
        if (p->role->mark != mark && reaches(p->role, to, mark))
            return true;
    return false;
}

/* Levels of the longest chain from a role, itself counted, upwards or downwards. */
static int longest(nexus__rbac_role *role, bool upwards, unsigned mark)
{
    int most = 0;
    if (role->mark == mark)
        return role->chain;
    for (const nexus__rbac_link *l = upwards ? role->parents : role->children; l; l = l->next) {
        int chain = longest(l->role, upwards, mark);
        most = chain > most ? chain : most;
    }
    role->mark = mark;
    return role->chain = most + 1;
}

nexus_status nexus_rbac_inherit(nexus_rbac *r, const char *role, const char *parent)
{
    nexus__rbac_role *child, *above;
    nexus_status status = find_role(r, role, &child);
    if (status == NEXUS_OK)
        status = find_role(r, parent, &above);
    if (status != NEXUS_OK)
        return status;
    if (reaches(above, child, ++r->mark))
        return nexus__fail(NEXUS_ECONFLICT, "role \"%s\" would inherit from itself through \"%s\"", role, parent);
    int below = longest(child, false, ++r->mark);
    if (below + longest(above, true, ++r->mark) > NEXUS__RBAC_LEVELS)
        return nexus__fail(NEXUS_ECONFLICT, "roles inherit over more than %d levels", NEXUS__RBAC_LEVELS);
    nexus__rbac_link *links = take(r, 2 * sizeof *links);
    if (!links)
        return nexus__nomem();
    links[0] = (nexus__rbac_link){above, child->parents};
    links[1] = (nexus__rbac_link){child, above->children};
    child->parents = &links[0];
    above->children = &links[1];
    return NEXUS_OK;
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
                role->own_bits[rule->effect][p->id / 64] |= (uint64_t)1 << (p->id % 64);
}

/* Level by level, so that the way to each role is a shortest one. room is for all roles there are. */
static size_t walk(nexus__rbac_held *room, nexus__rbac_role *role, unsigned mark)
{
    size_t n = 0;
    room[n++] = (nexus__rbac_held){role, 0};
    role->mark = mark;
    for (size_t at = 0; at < n; at++)
        for (const nexus__rbac_link *p = room[at].role->parents; p; p = p->next)
            if (p->role->mark != mark) {
                p->role->mark = mark;
                room[n++] = (nexus__rbac_held){p->role, at};
            }
    return n;
}

static nexus_status keep_held(nexus_rbac *r, nexus__rbac_role *role, nexus__rbac_held *room)
{
    role->held_count = walk(room, role, ++r->mark);
    role->held = take(r, role->held_count * sizeof *role->held);
    if (!role->held)
        return nexus__nomem();
    memcpy(role->held, room, role->held_count * sizeof *room);
    return NEXUS_OK;
}

static nexus_status own_bits(nexus_rbac *r, nexus__rbac_role *role)
{
    size_t n = words(r) + 1;
    uint64_t *block = take(r, NEXUS__RBAC_EFFECTS * 2 * n * sizeof *block);
    if (!block)
        return nexus__nomem();
    for (size_t e = 0; e < NEXUS__RBAC_EFFECTS; e++) {
        role->bits[e] = block + e * n;
        role->own_bits[e] = block + (NEXUS__RBAC_EFFECTS + e) * n;
    }
    set_own_bits(r, role);
    return NEXUS_OK;
}

static void merge_bits(const nexus_rbac *r, nexus__rbac_role *role)
{
    for (size_t h = 0; h < role->held_count; h++)
        for (size_t e = 0; e < NEXUS__RBAC_EFFECTS; e++)
            for (size_t i = 0; i < words(r); i++)
                role->bits[e][i] |= role->held[h].role->own_bits[e][i];
}

static nexus_status compile_roles(nexus_rbac *r, nexus__rbac_held *room)
{
    nexus_status status = NEXUS_OK;
    for (nexus__rbac_role *role = r->first_role; role && status == NEXUS_OK; role = role->next) {
        status = keep_held(r, role, room);
        if (status == NEXUS_OK)
            status = own_bits(r, role);
    }
    for (nexus__rbac_role *role = r->first_role; role && status == NEXUS_OK; role = role->next)
        merge_bits(r, role);
    return status;
}

nexus_status nexus_rbac_compile(nexus_rbac *r)
{
    nexus_status status = still_open(r);
    if (status != NEXUS_OK)
        return status;
    nexus__rbac_held *room = nexus__calloc(r->alloc, r->roles.count + 1, sizeof *room);
    status = room ? compile_roles(r, room) : nexus__nomem();
    nexus__free(r->alloc, room);
    r->compiled = status == NEXUS_OK;
    return status;
}

bool nexus_rbac_has_role(const nexus_rbac *r, const char *role)
{
    return nexus__map_get(&r->roles, nexus__slice_c(role)) != NULL;
}

nexus_rbac *nexus_rbac_ref(const nexus_rbac *rbac)
{
    nexus_rbac *r = (nexus_rbac *)(uintptr_t)rbac;
    atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
    return r;
}

void nexus_rbac_free(nexus_rbac *r)
{
    if (!r || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
        return;
    nexus__map_free(&r->roles);
    nexus__map_free(&r->permissions);
    nexus__arena_free(&r->arena);
    nexus__free(r->alloc, r);
}
