/*
 * The roles of an installation, in memory: the set as it is kept, to be shown and changed, and the policy compiled from it.
 * Both are immutable; a change makes new ones and puts them in place of the old, which go with their last reader.
 */
#include "auth/roles_private.h"

void nexus__role_view_end(nexus__role_view *view)
{
    nexus__role_set_free(view->set);
    nexus_rbac_free(view->policy);
    *view = (nexus__role_view){0};
}

void nexus__role_view_begin(nexus__role_view *view, nexus_roles *r)
{
    pthread_mutex_lock(&r->lock);
    view->set = nexus__role_set_ref(r->locked.set);
    view->policy = nexus_rbac_ref(r->locked.policy);
    pthread_mutex_unlock(&r->lock);
}

/* Of two that loaded at once the newer stays. */
static void put_in_place(nexus_roles *r, nexus__role_view *view)
{
    nexus__role_view old = *view;
    pthread_mutex_lock(&r->lock);
    if (!r->locked.set || r->locked.set->version < view->set->version) {
        old = (nexus__role_view){r->locked.set, r->locked.policy};
        r->locked.set = view->set;
        r->locked.policy = view->policy;
    }
    pthread_mutex_unlock(&r->lock);
    nexus__role_view_end(&old);
}

static nexus_status load(nexus_roles *r)
{
    nexus__role_view view;
    nexus_status status = nexus__role_rows_load(&view, r->auth, r->auth->db);
    if (status == NEXUS_OK)
        put_in_place(r, &view);
    return status;
}

nexus_status nexus_roles_open(nexus_roles **out, nexus_auth *auth)
{
    nexus_roles *r = nexus__calloc(auth->alloc, 1, sizeof *r);
    if (!r)
        return nexus__nomem();
    r->auth = auth;
    pthread_mutex_init(&r->lock, NULL);
    nexus_status status = load(r);
    if (status == NEXUS_OK)
        *out = r;
    else
        nexus_roles_close(r);
    return status;
}

void nexus_roles_close(nexus_roles *r)
{
    if (!r)
        return;
    nexus__role_set_free(r->locked.set);
    nexus_rbac_free(r->locked.policy);
    pthread_mutex_destroy(&r->lock);
    nexus__free(r->auth->alloc, r);
}

void nexus_roles_policy(nexus_roles *r, nexus_rbac **out)
{
    pthread_mutex_lock(&r->lock);
    *out = nexus_rbac_ref(r->locked.policy);
    pthread_mutex_unlock(&r->lock);
}

static int64_t version_of(nexus_roles *r)
{
    pthread_mutex_lock(&r->lock);
    int64_t version = r->locked.set->version;
    pthread_mutex_unlock(&r->lock);
    return version;
}

nexus_status nexus_roles_refresh(nexus_roles *r, bool *changed)
{
    int64_t there = 0, here = version_of(r);
    nexus_status status = nexus__role_rows_version(r->auth->db, &there);
    if (status == NEXUS_OK && there != here)
        status = load(r);
    if (status == NEXUS_OK && changed)
        *changed = there != here;
    return status;
}

nexus_status nexus_roles_document(nexus_roles *r, char **json, size_t *n)
{
    nexus__role_view view;
    nexus__buf text;
    nexus__role_view_begin(&view, r);
    nexus__buf_init(&text, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&text);
    nexus__json_open(&w, '{');
    nexus__json_put_i64(&w, "version", view.set->version);
    nexus__json_key(&w, "roles");
    nexus__json_open(&w, '[');
    for (size_t i = 0; i < view.set->count; i++) {
        nexus__json_open(&w, '{');
        nexus__json_put_text(&w, "tenant", view.set->order[i]->tenant);
        nexus__json_put_text(&w, "name", view.set->order[i]->name);
        nexus__role_write(&w, view.set->order[i]);
        nexus__json_close(&w, '}');
    }
    nexus__json_close(&w, ']');
    nexus__json_close(&w, '}');
    nexus__role_view_end(&view);
    return nexus__hand_over(&text, NEXUS_OK, json, n);
}

/* --- who asks ------------------------------------------------------------------------------------------------------ */

void nexus_roles_actor_init(nexus_roles_actor *actor)
{
    *actor = (nexus_roles_actor)NEXUS_ROLES_ACTOR_INIT;
}

nexus_status nexus__role_giver_init(nexus__role_giver *g, const nexus_rbac *policy, const nexus_roles_actor *actor,
                                    nexus_slice tenant)
{
    *g = (nexus__role_giver){.policy = policy, .everything = !actor};
    if (!actor)
        return NEXUS_OK;
    if (actor->size != sizeof *actor || actor->role_count > NEXUS__USER_ROLES)
        return nexus__fail(NEXUS_EINVAL, "nexus_roles_actor: size is required, and at most %d roles", NEXUS__USER_ROLES);
    g->count = nexus_rbac_roles_in(policy, actor->roles, actor->role_count, tenant, g->roles);
    return NEXUS_OK;
}

bool nexus_roles_covers(nexus_roles *r, const nexus_roles_actor *actor, nexus_slice tenant, nexus_slice pattern)
{
    nexus_rbac *policy;
    nexus__role_giver g;
    nexus_roles_policy(r, &policy);
    bool good = nexus__role_giver_init(&g, policy, actor, tenant) == NEXUS_OK &&
                (g.everything || nexus_rbac_covers(policy, g.roles, g.count, pattern, true));
    nexus_rbac_free(policy);
    return good;
}

/* By its name for all tenants, or as TENANT/NAME. */
static bool holds(const nexus__role_view *view, const nexus_roles_actor *actor, nexus_slice carried)
{
    nexus_slice tenant = NEXUS_S(""), name = carried;
    nexus__role_giver g;
    if (nexus__slice_find(carried, '/') < carried.n)
        tenant = nexus__slice_cut(&name, '/');
    if (nexus__role_giver_init(&g, view->policy, actor, tenant) != NEXUS_OK)
        return false;
    const nexus__role *role = nexus__role_resolve(view->set, tenant, name);
    return !role || g.everything || nexus__rbac_covers_role(view->policy, g.roles, g.count, role->key, false);
}

bool nexus_roles_holds(nexus_roles *r, const nexus_roles_actor *actor, const nexus_slice *names, size_t count)
{
    nexus__role_view view;
    bool good = true;
    nexus__role_view_begin(&view, r);
    for (size_t i = 0; i < count && good; i++)
        good = holds(&view, actor, names[i]);
    nexus__role_view_end(&view);
    return good;
}
