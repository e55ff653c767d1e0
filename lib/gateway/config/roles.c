/*
 * The member "roles" of the routes file: who holds which permissions.
 *
 *     "roles": {"customer": ["orders:read"],
 *               "operator": {"inherits": ["customer"], "allow": ["orders:*"], "deny": ["orders:delete"]}}
 */
#include <nexus/rbac.h>
#include <stdio.h>

#include "gateway/auth/access.h"
#include "gateway/config/rows.h"
#include "gateway/filter.h"

typedef struct role_conf {
    nexus__text_list inherits, allow, own, deny;
} role_conf;

/* What the policy said of itself, with the place in the file. */
static nexus_status refused(nexus__loader *l, uint32_t value, nexus_status status)
{
    char why[300];
    if (status == NEXUS_OK || status == NEXUS_ENOMEM)
        return status;
    snprintf(why, sizeof why, "%s", nexus_error_message());
    return nexus__loader_fail(l, value, "%s", why);
}

static nexus_status add_rules(nexus__loader *l, uint32_t value, nexus_rbac *policy, nexus_slice role, int32_t effect,
                              const nexus__text_list *patterns)
{
    nexus_status status = NEXUS_OK;
    for (uint32_t i = 0; i < patterns->count && !status; i++)
        status = nexus_rbac_rule(policy, role.p, effect, patterns->items[i].p);
    return refused(l, value, status);
}

static nexus_status add_parents(nexus__loader *l, uint32_t value, nexus_rbac *policy, nexus_slice role,
                                const nexus__text_list *parents)
{
    for (uint32_t i = 0; i < parents->count; i++) {
        if (!nexus_rbac_has_role(policy, parents->items[i].p))
            return nexus__loader_fail(l, value, "inherits from \"%s\", which is no role here", parents->items[i].p);
        nexus_status status = nexus_rbac_inherit(policy, role.p, parents->items[i].p);
        if (status)
            return refused(l, value, status);
    }
    return NEXUS_OK;
}

static nexus_status load_role(nexus__loader *l, uint32_t value, nexus_rbac *policy, nexus_slice role)
{
    static const nexus__loader_row rows[] = {
        CALL("inherits", nexus__loader_texts, role_conf, inherits),
        CALL("allow", nexus__loader_texts, role_conf, allow),
        CALL("own", nexus__loader_texts, role_conf, own),
        CALL("deny", nexus__loader_texts, role_conf, deny),
    };
    role_conf c = {0};
    nexus_status status = nexus__json_is(l->doc, value, NEXUS__JSON_ARRAY)
                              ? nexus__loader_texts(l, value, &c.allow)
                              : nexus__loader_object(l, value, rows, COUNT(rows), &c);
    if (!status)
        status = add_parents(l, value, policy, role, &c.inherits);
    if (!status)
        status = add_rules(l, value, policy, role, NEXUS_RBAC_ALLOW, &c.allow);
    if (!status)
        status = add_rules(l, value, policy, role, NEXUS_RBAC_ALLOW_OWN, &c.own);
    return status ? status : add_rules(l, value, policy, role, NEXUS_RBAC_DENY, &c.deny);
}

/* All names first: a role may inherit from one that stands below it. */
static nexus_status add_names(nexus__loader *l, uint32_t value, nexus_rbac *policy)
{
    for (nexus__json_iter it = nexus__json_each(l->doc, value); nexus__json_step(l->doc, &it);) {
        nexus_slice name;
        nexus_status status = nexus__loader_text(l, it.key, &name);
        status = status ? status : refused(l, it.key, nexus_rbac_role(policy, name.p));
        if (status)
            return status;
    }
    return NEXUS_OK;
}

nexus_status nexus__gw_load_roles(nexus__loader *l, uint32_t value, void *out)
{
    nexus__gw_config *c = NEXUS__CONTAINER(out, nexus__gw_config, policy);
    if (!nexus__json_is(l->doc, value, NEXUS__JSON_OBJECT))
        return nexus__loader_fail(l, value, "must be an object of roles by name");
    nexus_status status = nexus_rbac_new(&c->policy, c->alloc);
    status = status ? status : add_names(l, value, c->policy);
    for (nexus__json_iter it = nexus__json_each(l->doc, value); !status && nexus__json_step(l->doc, &it);) {
        nexus_slice name;
        status = nexus__loader_text(l, it.key, &name);
        size_t mark = nexus__loader_push(l, name);
        status = status ? status : load_role(l, it.value, c->policy, name);
        nexus__loader_pop(l, mark);
    }
    return status;
}

static nexus_status declare(nexus_rbac *policy, const nexus__text_list *permissions)
{
    nexus_status status = NEXUS_OK;
    for (uint32_t i = 0; i < permissions->count && !status; i++)
        status = nexus_rbac_permission(policy, permissions->items[i].p);
    return status;
}

nexus_status nexus__gw_compile_policy(nexus__gw_config *c)
{
    if (!c->policy) /* whoever names no roles has those of the nexus services */
        return nexus_rbac_new_default(&c->policy, c->alloc);
    nexus_status status = NEXUS_OK;
    for (uint32_t i = 0; i < c->routes.count && !status; i++) {
        const nexus__gw_require_conf *r = nexus__gw_filter_conf(&c->routes.items[i], &nexus__gw_filter_require);
        if (!r)
            continue;
        status = declare(c->policy, &r->all);
        status = status ? status : declare(c->policy, &r->any);
    }
    return status ? status : nexus_rbac_compile(c->policy);
}
