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
    for (size_t h = 0; h < role->held_count; h++)
        for (const nexus__rbac_rule *rule = role->held[h].role->rules; rule; rule = rule->next)
            if (nexus__permission_matches(rule->pattern, permission))
                found |= 1u << rule->effect;
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
    for (size_t h = 0; h < role->held_count; h++)
        for (const nexus__rbac_rule *rule = role->held[h].role->rules; rule; rule = rule->next)
            if (rule->effect == NEXUS_RBAC_DENY ? nexus__pattern_meets(rule->pattern, pattern)
                                                : nexus__pattern_covers(rule->pattern, pattern))
                found |= 1u << rule->effect;
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

bool nexus__rbac_covers_role(const nexus_rbac *r, const nexus_slice *roles, size_t role_count, nexus_slice name,
                             bool denies)
{
    const nexus__rbac_role *role = nexus__map_get(&r->roles, name);
    for (size_t h = 0; role && h < role->held_count; h++)
        for (const nexus__rbac_rule *rule = role->held[h].role->rules; rule; rule = rule->next)
            if ((denies || rule->effect != NEXUS_RBAC_DENY) &&
                !nexus_rbac_covers(r, roles, role_count, rule->pattern, rule->effect == NEXUS_RBAC_ALLOW_OWN))
                return false;
    return true;
}

size_t nexus_rbac_roles_in(const nexus_rbac *r, const nexus_slice *carried, size_t count, nexus_slice tenant,
                           nexus_slice *out)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        size_t slash = nexus__slice_find(carried[i], '/');
        if (slash == carried[i].n)
            out[n++] = carried[i];
        else if (tenant.n && nexus__slice_eq(nexus__slice(carried[i].p, slash), tenant))
            out[n++] = nexus__map_get(&r->roles, carried[i]) ? carried[i] : nexus__slice_from(carried[i], slash + 1);
    }
    return n;
}

/* --- why ------------------------------------------------------------------------------------------------------------ */

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

const char *nexus__rbac_reason_text(int32_t reason)
{
    return reasons[reason].word;
}

/* The nearest rule with that effect, and the way to it. */
static bool find_rule(const nexus__rbac_role *role, nexus_slice permission, nexus__rbac_trace *t)
{
    for (size_t h = 0; h < role->held_count; h++)
        for (const nexus__rbac_rule *rule = role->held[h].role->rules; rule; rule = rule->next) {
            if (rule->effect != t->effect || !nexus__permission_matches(rule->pattern, permission))
                continue;
            size_t steps = 1;
            for (size_t at = h; at; at = role->held[at].via)
                steps++;
            t->pattern = rule->pattern;
            t->path_count = steps;
            for (size_t at = h; steps; at = role->held[at].via)
                t->path[--steps] = role->held[at].role->name;
            return true;
        }
    return false;
}

bool nexus__rbac_explain(const nexus_rbac *r, const nexus_rbac_query *q, nexus__rbac_trace *t)
{
    *t = (nexus__rbac_trace){.reason = judge(r, q)};
    t->effect = reasons[t->reason].effect;
    for (size_t i = 0; i < q->role_count && t->effect >= 0 && !t->path_count; i++) {
        const nexus__rbac_role *role = nexus__map_get(&r->roles, q->roles[i]);
        if (role)
            find_rule(role, q->permission, t);
    }
    return t->reason == NEXUS_RBAC_BY_ALLOW || t->reason == NEXUS_RBAC_BY_OWNER;
}

bool nexus_rbac_explain(const nexus_rbac *r, const nexus_rbac_query *q, int32_t *reason, char *text, size_t text_size)
{
    nexus__rbac_trace t;
    char rule[700] = "";
    size_t n = 0;
    bool may = nexus__rbac_explain(r, q, &t);
    for (size_t i = 0; i < t.path_count && n < sizeof rule; i++)
        n += (size_t)snprintf(rule + n, sizeof rule - n, "%s%.*s", i ? " > " : ": ", (int)t.path[i].n, t.path[i].p);
    if (t.path_count && n < sizeof rule)
        snprintf(rule + n, sizeof rule - n, ": %.*s", (int)t.pattern.n, t.pattern.p);
    if (text && text_size)
        snprintf(text, text_size, "%s%s", reasons[t.reason].word, rule);
    if (reason)
        *reason = t.reason;
    return may;
}
