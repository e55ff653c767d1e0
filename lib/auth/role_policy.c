/* A set of roles as a policy. */
#include <stdio.h>

#include "auth/rbac.h"
#include "auth/role_set.h"
#include "base/status.h"

static nexus_status add_rules(nexus_rbac *policy, const nexus__role *role, int list)
{
    nexus_status status = NEXUS_OK;
    char pattern[260];
    bool own;
    for (const nexus__role_item *i = role->lists[list]; i && status == NEXUS_OK; i = i->next) {
        nexus_slice text = nexus__role_pattern(i->text, &own);
        snprintf(pattern, sizeof pattern, "%.*s", (int)text.n, text.p);
        status = nexus_rbac_rule(policy, role->key.p,
                                 list == NEXUS__ROLE_DENY ? NEXUS_RBAC_DENY
                                 : own                    ? NEXUS_RBAC_ALLOW_OWN
                                                          : NEXUS_RBAC_ALLOW,
                                 pattern);
    }
    return status;
}

static nexus_status add_parents(nexus_rbac *policy, const nexus__role_set *set, const nexus__role *role)
{
    nexus_status status = NEXUS_OK;
    for (const nexus__role_item *i = role->lists[NEXUS__ROLE_INHERITS]; i && status == NEXUS_OK; i = i->next) {
        const nexus__role *parent = nexus__role_resolve(set, role->tenant, i->text);
        status = parent ? nexus_rbac_inherit(policy, role->key.p, parent->key.p)
                        : nexus__fail(NEXUS_ECONFLICT, "role \"%s\" inherits from \"%s\"", role->key.p, i->text.p);
    }
    return status;
}

static nexus_status fill(nexus_rbac *policy, const nexus__role_set *set)
{
    nexus_status status = nexus__rbac_declare_default(policy);
    for (size_t i = 0; i < set->count && status == NEXUS_OK; i++)
        status = nexus_rbac_role(policy, set->order[i]->key.p);
    for (size_t i = 0; i < set->count && status == NEXUS_OK; i++) {
        status = add_parents(policy, set, set->order[i]);
        for (int list = NEXUS__ROLE_ALLOW; list <= NEXUS__ROLE_DENY && status == NEXUS_OK; list++)
            status = add_rules(policy, set->order[i], list);
    }
    return status;
}

nexus_status nexus__role_set_compile(nexus_rbac **out, const nexus__role_set *set)
{
    nexus_rbac *policy;
    nexus_status status = nexus_rbac_new(&policy, set->alloc);
    if (status != NEXUS_OK)
        return status;
    status = fill(policy, set);
    if (status == NEXUS_OK)
        status = nexus_rbac_compile(policy);
    if (status == NEXUS_OK)
        *out = policy;
    else
        nexus_rbac_free(policy);
    return status;
}
