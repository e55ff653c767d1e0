/* May they? And why. Pure functions of a compiled policy. */
#include <stdio.h>

#include "auth/rbac.h"

void nexus_rbac_query_init(nexus_rbac_query *query)
{
    *query = (nexus_rbac_query)NEXUS_RBAC_QUERY_INIT;
}

/* What the roles say, as a set of effects. */
typedef unsigned effects;
#define HAS(found, effect) ((found) >> (effect)&1u)

static effects of_bits(const nexus__rbac_role *role, size_t id)
{
    effects found = 0;
    for (size_t e = 0; e < NEXUS__RBAC_EFFECTS; e++)
        found |= (effects)(role->bits[e][id / 64] >> (id % 64) & 1) << e;
    return found;
}

static effects of_patterns(const nexus__rbac_role *role, nexus_slice permission)
{
    effects found = 0;
    for (const nexus__rbac_rule *rule = role->rules; rule; rule = rule->next)
        if (nexus__permission_matches(rule->pattern, permission))
            found |= 1u << rule->effect;
    for (const nexus__rbac_parent *p = role->parents; p; p = p->next)
        found |= of_patterns(p->role, permission);
    return found;
}

static int32_t judge(const nexus_rbac *r, const nexus_rbac_query *q)
{
    if (!r->compiled || !nexus__slice_eq(q->subject_tenant, q->tenant))
        return r->compiled ? NEXUS_RBAC_OTHER_TENANT : NEXUS_RBAC_NO_RULE;
    const nexus__rbac_permission *known = nexus__map_get(&r->permissions, q->permission);
    if (!known && !nexus__permission_valid(q->permission))
        return NEXUS_RBAC_BAD_REQUEST;
    effects found = 0;
    for (size_t i = 0; i < q->role_count; i++) {
        const nexus__rbac_role *role = nexus__map_get(&r->roles, q->roles[i]);
        if (role)
            found |= known ? of_bits(role, known->id) : of_patterns(role, q->permission);
    }
    if (HAS(found, NEXUS_RBAC_DENY))
        return NEXUS_RBAC_BY_DENY;
    if (HAS(found, NEXUS_RBAC_ALLOW))
        return NEXUS_RBAC_BY_ALLOW;
    if (!HAS(found, NEXUS_RBAC_ALLOW_OWN))
        return NEXUS_RBAC_NO_RULE;
    return q->owner.n && nexus__slice_eq(q->owner, q->subject) ? NEXUS_RBAC_BY_OWNER : NEXUS_RBAC_NOT_OWNER;
}

bool nexus_rbac_check(const nexus_rbac *r, const nexus_rbac_query *q)
{
    int32_t reason = judge(r, q);
    return reason == NEXUS_RBAC_BY_ALLOW || reason == NEXUS_RBAC_BY_OWNER;
}

/* --- passing on what one holds ------------------------------------------------------------------------------------- */

/* What the rules of a role, inherited ones included, say of all that a pattern matches. */
static effects of_whole(const nexus__rbac_role *role, nexus_slice pattern)
{
    effects found = 0;
    for (const nexus__rbac_rule *rule = role->rules; rule; rule = rule->next)
        if (rule->effect == NEXUS_RBAC_DENY ? nexus__pattern_meets(rule->pattern, pattern)
                                            : nexus__pattern_covers(rule->pattern, pattern))
            found |= 1u << rule->effect;
    for (const nexus__rbac_parent *p = role->parents; p; p = p->next)
        found |= of_whole(p->role, pattern);
    return found;
}

bool nexus_rbac_covers(const nexus_rbac *r, const nexus_slice *roles, size_t role_count, nexus_slice pattern, bool own)
{
    effects found = 0;
    if (!r->compiled || nexus__permission_pattern_error(pattern))
        return false;
    for (size_t i = 0; i < role_count; i++) {
        const nexus__rbac_role *role = nexus__map_get(&r->roles, roles[i]);
        if (role)
            found |= of_whole(role, pattern);
    }
    return !HAS(found, NEXUS_RBAC_DENY) &&
           (HAS(found, NEXUS_RBAC_ALLOW) || (own && HAS(found, NEXUS_RBAC_ALLOW_OWN)));
}

/* --- why ------------------------------------------------------------------------------------------------------------ */

/* Writes "role > parent: pattern" of the first rule with that effect, depth first. */
static bool trace(const nexus__rbac_role *role, int32_t effect, nexus_slice permission, const char *path, char *text,
                  size_t size)
{
    char here[600];
    snprintf(here, sizeof here, "%s%s%.*s", path, *path ? " > " : "", (int)role->name.n, role->name.p);
    for (const nexus__rbac_rule *rule = role->rules; rule; rule = rule->next)
        if (rule->effect == effect && nexus__permission_matches(rule->pattern, permission)) {
            snprintf(text, size, "%s: %.*s", here, (int)rule->pattern.n, rule->pattern.p);
            return true;
        }
    for (const nexus__rbac_parent *p = role->parents; p; p = p->next)
        if (trace(p->role, effect, permission, here, text, size))
            return true;
    return false;
}

static const struct {
    const char *word;
    int32_t effect; /* of the rule that decided; -1 = none did */
} reasons[] = {
    [NEXUS_RBAC_BY_ALLOW] = {"allow", NEXUS_RBAC_ALLOW},
    [NEXUS_RBAC_BY_OWNER] = {"allow, own object", NEXUS_RBAC_ALLOW_OWN},
    [NEXUS_RBAC_NO_RULE] = {"deny: no rule allows it", -1},
    [NEXUS_RBAC_BY_DENY] = {"deny", NEXUS_RBAC_DENY},
    [NEXUS_RBAC_NOT_OWNER] = {"deny, another's object", NEXUS_RBAC_ALLOW_OWN},
    [NEXUS_RBAC_OTHER_TENANT] = {"deny: another tenant", -1},
    [NEXUS_RBAC_BAD_REQUEST] = {"deny: not a concrete permission", -1},
};

bool nexus_rbac_explain(const nexus_rbac *r, const nexus_rbac_query *q, int32_t *reason, char *text, size_t text_size)
{
    int32_t why = judge(r, q);
    char rule[700] = "";
    for (size_t i = 0; i < q->role_count && reasons[why].effect >= 0 && !*rule; i++) {
        const nexus__rbac_role *role = nexus__map_get(&r->roles, q->roles[i]);
        if (role)
            trace(role, reasons[why].effect, q->permission, "", rule, sizeof rule);
    }
    if (text && text_size)
        snprintf(text, text_size, "%s%s%s", reasons[why].word, *rule ? ": " : "", rule);
    if (reason)
        *reason = why;
    return why == NEXUS_RBAC_BY_ALLOW || why == NEXUS_RBAC_BY_OWNER;
}
