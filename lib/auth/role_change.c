/*
 * Roles made, changed, given and taken. Each change is one transaction that holds the lock of the roles: it sees them as they
 * are, compiles what they would be, judges who asks by what they are, and tells before it commits.
 */
#include "auth/roles_private.h"

/* --- nobody gives what he does not hold ------------------------------------------------------------------------------- */

static bool gives(const nexus__role_giver *g, const nexus__rbac_rule *rule)
{
    return g->everything ||
           nexus_rbac_covers(g->policy, g->roles, g->count, rule->pattern, rule->effect == NEXUS_RBAC_ALLOW_OWN);
}

static bool denies(const nexus__rbac_role *role, nexus_slice pattern)
{
    for (size_t h = 0; role && h < role->held_count; h++)
        for (const nexus__rbac_rule *rule = role->held[h].role->rules; rule; rule = rule->next)
            if (rule->effect == NEXUS_RBAC_DENY && nexus__slice_eq(rule->pattern, pattern))
                return true;
    return false;
}

/* What the role allows afterwards, and what it denied before and does not any more: the rule somebody may not pass on. */
static const nexus__rbac_rule *too_much(const nexus__role_giver *g, const nexus__rbac_role *before,
                                        const nexus__rbac_role *after)
{
    for (size_t h = 0; h < after->held_count; h++)
        for (const nexus__rbac_rule *rule = after->held[h].role->rules; rule; rule = rule->next)
            if (rule->effect != NEXUS_RBAC_DENY && !gives(g, rule))
                return rule;
    for (size_t h = 0; before && h < before->held_count; h++)
        for (const nexus__rbac_rule *rule = before->held[h].role->rules; rule; rule = rule->next)
            if (rule->effect == NEXUS_RBAC_DENY && !denies(after, rule->pattern) && !gives(g, rule))
                return rule;
    return NULL;
}

static nexus_status judge_giver(const nexus__role_view *before, const nexus_rbac *after, const nexus_roles_actor *actor,
                                const nexus__role *role)
{
    nexus__role_giver g;
    nexus_status status = nexus__role_giver_init(&g, before->policy, actor, role->tenant);
    if (status != NEXUS_OK)
        return status;
    const nexus__rbac_rule *rule =
        too_much(&g, nexus__map_get(&before->policy->roles, role->key), nexus__map_get(&after->roles, role->key));
    return rule ? nexus__fail(NEXUS_EPERM, "you do not hold \"%.*s\", which the role would give", (int)rule->pattern.n,
                              rule->pattern.p)
                : NEXUS_OK;
}

/* --- telling --------------------------------------------------------------------------------------------------------- */

static nexus_status tell(nexus_auth *a, nexus_db *tx, const nexus__role *role, const char *change, int64_t version)
{
    nexus__buf data;
    nexus__buf_init(&data, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&data);
    nexus__json_open(&w, '{');
    nexus__json_put_text(&w, "role", role->name);
    nexus__json_put_text(&w, "tenant", role->tenant);
    nexus__json_put_text_c(&w, "change", change);
    nexus__json_put_i64(&w, "version", version);
    nexus__role_write(&w, role);
    nexus__json_close(&w, '}');
    nexus_status status = nexus__auth_event(a, tx, "role.changed", role->key.p, &data);
    nexus__buf_free(&data);
    return status;
}

/* --- putting --------------------------------------------------------------------------------------------------------- */

static nexus_status read_definition(nexus__role_set *set, nexus__role *role, nexus_slice definition)
{
    nexus__json doc;
    nexus__json_init(&doc, NULL);
    nexus_status status = nexus__json_scan(&doc, definition, NULL);
    if (status == NEXUS_OK && !nexus__json_is(&doc, 0, NEXUS__JSON_OBJECT))
        status = nexus__fail(NEXUS_EINVAL, "role: must be an object");
    if (status == NEXUS_OK)
        status = nexus__role_read(set, role, &doc, 0, "", NULL);
    nexus__json_free(&doc);
    return status;
}

/* The role as it would be, in a copy of the set. */
static nexus_status draft(nexus__role_set *after, nexus_slice tenant, nexus_slice name, nexus_slice definition,
                          nexus__role **role, bool *made)
{
    size_t count = after->count;
    nexus_status status = nexus__role_add(role, after, tenant, name);
    if (status != NEXUS_OK)
        return status;
    if ((*role)->built_in)
        return nexus__fail(NEXUS_ECONFLICT, "the role is built in and stays as it is");
    *made = after->count > count;
    memset((*role)->lists, 0, sizeof(*role)->lists);
    return read_definition(after, *role, definition);
}

typedef struct put {
    const nexus_roles_actor *actor;
    nexus_slice tenant, name, definition;
    bool *made;
} put;

static nexus_status put_drafted(nexus_auth *a, nexus_db *tx, const put *p, const nexus__role_view *before,
                                nexus__role_set *after)
{
    nexus__role *role;
    nexus_rbac *policy = NULL;
    nexus_status status = draft(after, p->tenant, p->name, p->definition, &role, p->made);
    if (status == NEXUS_OK)
        status = nexus__role_set_compile(&policy, after);
    if (status == NEXUS_OK)
        status = judge_giver(before, policy, p->actor, role);
    nexus_rbac_free(policy);
    if (status == NEXUS_OK)
        status = nexus__role_rows_write(a, tx, role);
    return status == NEXUS_OK ? tell(a, tx, role, "set", after->version) : status;
}

static nexus_status put_in(nexus_auth *a, nexus_db *tx, const put *p)
{
    nexus__role_view before = {0};
    nexus__role_set *after = NULL;
    nexus_status status = nexus__role_rows_lock(tx, true);
    if (status == NEXUS_OK)
        status = nexus__role_rows_load(&before, a, tx);
    if (status == NEXUS_OK)
        status = nexus__role_set_copy(&after, before.set);
    if (status == NEXUS_OK)
        status = put_drafted(a, tx, p, &before, after);
    nexus__role_set_free(after);
    nexus__role_view_end(&before);
    return status;
}

/* What another change of the database wants is a matter of time: here it is taken over at once. */
static nexus_status finish(nexus_roles *r, nexus_db *tx, nexus_status status)
{
    status = nexus__finish(tx, status);
    if (status == NEXUS_OK && nexus_roles_refresh(r, NULL) != NEXUS_OK)
        return NEXUS_OK; /* it is done; the next refresh takes it over */
    return status;
}

nexus_status nexus_roles_put(nexus_roles *r, const nexus_roles_actor *actor, nexus_slice tenant, nexus_slice name,
                             nexus_slice definition, bool *made)
{
    nexus_db *tx;
    nexus_status status = nexus__role_check_name("name", name, false);
    if (status == NEXUS_OK)
        status = nexus__role_check_name("tenant", tenant, true);
    if (status == NEXUS_OK)
        status = nexus_db_begin(&tx, r->auth->db);
    if (status != NEXUS_OK)
        return status;
    bool fresh = false;
    status = finish(r, tx, put_in(r->auth, tx, &(put){actor, tenant, name, definition, &fresh}));
    if (status == NEXUS_OK && made)
        *made = fresh;
    return status;
}

/* --- deleting --------------------------------------------------------------------------------------------------------- */

static const nexus__role *heir_of(const nexus__role_set *set, const nexus__role *role)
{
    for (size_t i = 0; i < set->count; i++)
        for (const nexus__role_item *item = set->order[i]->lists[NEXUS__ROLE_INHERITS]; item; item = item->next)
            if (nexus__role_resolve(set, set->order[i]->tenant, item->text) == role)
                return set->order[i];
    return NULL;
}

static nexus_status delete_role(nexus_auth *a, nexus_db *tx, const nexus__role_set *set, const nexus__role *role)
{
    int64_t holders = 0;
    if (role->built_in)
        return nexus__fail(NEXUS_ECONFLICT, "the role is built in and stays as it is");
    const nexus__role *heir = heir_of(set, role);
    if (heir)
        return nexus__fail(NEXUS_ECONFLICT, "the role \"%s\" inherits from it", heir->key.p);
    nexus_status status = nexus__role_rows_holders(tx, role, &holders);
    if (status == NEXUS_OK && holders > 0)
        return nexus__fail(NEXUS_ECONFLICT, "%lld users and clients have the role: take it from them first",
                           (long long)holders);
    if (status == NEXUS_OK)
        status = nexus__role_rows_delete(tx, role);
    return status == NEXUS_OK ? tell(a, tx, role, "deleted", set->version) : status;
}

/* Nobody has it, so that nothing it denies is freed. */
static nexus_status delete_in(nexus_auth *a, nexus_db *tx, const nexus_roles_actor *actor, nexus_slice tenant,
                              nexus_slice name)
{
    nexus__role_view view = {0};
    nexus__role_giver g;
    nexus_status status = nexus__role_rows_lock(tx, true);
    if (status == NEXUS_OK)
        status = nexus__role_rows_load(&view, a, tx);
    if (status != NEXUS_OK)
        return status;
    const nexus__role *role = nexus__role_find(view.set, tenant, name);
    if (!role)
        status = nexus__fail(NEXUS_ENOTFOUND, "no such role");
    if (status == NEXUS_OK)
        status = nexus__role_giver_init(&g, view.policy, actor, tenant);
    if (status == NEXUS_OK && !g.everything && !nexus__rbac_covers_role(view.policy, g.roles, g.count, role->key, false))
        status = nexus__fail(NEXUS_EPERM, "you do not hold all that the role gives");
    if (status == NEXUS_OK)
        status = delete_role(a, tx, view.set, role);
    nexus__role_view_end(&view);
    return status;
}

nexus_status nexus_roles_delete(nexus_roles *r, const nexus_roles_actor *actor, nexus_slice tenant, nexus_slice name)
{
    nexus_db *tx;
    nexus_status status = nexus_db_begin(&tx, r->auth->db);
    return status == NEXUS_OK ? finish(r, tx, delete_in(r->auth, tx, actor, tenant, name)) : status;
}

/* --- giving and taking ------------------------------------------------------------------------------------------------ */

/* A role that is taken takes its denies along: they, too, must be the actor's to lift. */
static nexus_status judge_grant(const nexus__role_view *view, const nexus_roles_actor *actor, nexus_slice role_name,
                                nexus_slice tenant, bool held)
{
    nexus__role_giver g;
    const nexus__role *role = nexus__role_resolve(view->set, tenant, role_name);
    if (!role)
        return nexus__fail(NEXUS_EINVAL, "role: there is no such role%s", tenant.n ? " in this tenant" : "");
    nexus_status status = nexus__role_giver_init(&g, view->policy, actor, tenant);
    if (status == NEXUS_OK && !g.everything && !nexus__rbac_covers_role(view->policy, g.roles, g.count, role->key, !held))
        status = nexus__fail(NEXUS_EPERM, "you do not hold all that the role \"%s\" gives", role->key.p);
    return status;
}

static nexus_status grant_in(nexus_auth *a, nexus_db *tx, const nexus_roles_actor *actor, const nexus_user *user,
                             nexus_slice role, nexus_slice tenant, bool held)
{
    nexus__role_view view = {0};
    nexus_status status = nexus__role_rows_lock(tx, false);
    if (status == NEXUS_OK)
        status = nexus__role_rows_load(&view, a, tx);
    if (status == NEXUS_OK)
        status = judge_grant(&view, actor, role, tenant, held);
    nexus__role_view_end(&view);
    return status == NEXUS_OK ? nexus__change_role(a, tx, user, role, tenant, held) : status;
}

nexus_status nexus__grant_role(nexus_auth *a, const nexus_roles_actor *actor, nexus_slice user_id, nexus_slice role,
                               nexus_slice tenant, bool held)
{
    nexus_user *user;
    nexus_db *tx;
    nexus_status status = nexus__role_check_name("role", role, false);
    if (status == NEXUS_OK)
        status = nexus__role_check_name("tenant", tenant, true);
    if (status == NEXUS_OK)
        status = nexus_auth_user(a, user_id, &user);
    if (status != NEXUS_OK)
        return status;
    if (user->deleted)
        status = nexus__fail(NEXUS_ENOTFOUND, "no such user");
    if (status == NEXUS_OK)
        status = nexus_db_begin(&tx, a->db);
    if (status == NEXUS_OK)
        status = nexus__finish(tx, grant_in(a, tx, actor, user, role, tenant, held));
    nexus_user_free(user);
    return status;
}

nexus_status nexus_roles_grant(nexus_roles *r, const nexus_roles_actor *actor, nexus_slice user_id, nexus_slice role,
                               nexus_slice tenant, bool held)
{
    return nexus__grant_role(r->auth, actor, user_id, role, tenant, held);
}

nexus_status nexus_auth_set_role(nexus_auth *a, nexus_slice user_id, const char *role, bool held)
{
    return nexus__grant_role(a, NULL, user_id, nexus__slice_c(role), NEXUS_S(""), held);
}
