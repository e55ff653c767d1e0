#include "auth/role_set.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/status.h"

const char *const nexus__role_lists[NEXUS__ROLE_LISTS] = {"inherits", "allow", "deny"};

/* --- names --------------------------------------------------------------------------------------------------------- */

static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

nexus_status nexus__role_check_name(const char *member, nexus_slice name, bool may_be_empty)
{
    bool good = may_be_empty || name.n > 0;
    for (size_t i = 0; i < name.n; i++)
        good = good && (is_plain(name.p[i]) || (i > 0 && (name.p[i] == '_' || name.p[i] == '.' || name.p[i] == '-')));
    return good && name.n <= NEXUS__ROLE_NAME_MAX
               ? NEXUS_OK
               : nexus__fail(NEXUS_EINVAL, "%s: must be [a-z0-9] and then [a-z0-9_.-], at most %d bytes", member,
                             NEXUS__ROLE_NAME_MAX);
}

size_t nexus__role_key(char out[static NEXUS__ROLE_KEY_MAX], nexus_slice tenant, nexus_slice name)
{
    int n = snprintf(out, NEXUS__ROLE_KEY_MAX, "%.*s%s%.*s", (int)tenant.n, tenant.n ? tenant.p : "",
                     tenant.n ? "/" : "", (int)name.n, name.n ? name.p : "");
    return n < NEXUS__ROLE_KEY_MAX ? (size_t)n : NEXUS__ROLE_KEY_MAX - 1;
}

nexus_slice nexus__role_pattern(nexus_slice text, bool *own)
{
    nexus_slice cut = text;
    size_t segments = 0;
    *own = nexus__slice_ends(text, NEXUS_S(":own"));
    if (*own)
        cut.n -= sizeof ":own" - 1;
    for (nexus_slice rest = cut; *own && rest.n; segments++)
        (void)nexus__slice_cut(&rest, ':');
    if (segments >= 2)
        return cut;
    *own = false; /* "orders:own": an action of that name */
    return text;
}

/* --- the set ------------------------------------------------------------------------------------------------------- */

nexus_status nexus__role_set_new(nexus__role_set **out, const nexus_alloc *alloc)
{
    nexus__role_set *set = nexus__calloc(alloc, 1, sizeof *set);
    if (!set)
        return nexus__nomem();
    set->alloc = alloc;
    atomic_init(&set->refs, 1);
    nexus__arena_init(&set->arena, alloc, 0);
    nexus__map_init(&set->by_key, alloc);
    *out = set;
    return NEXUS_OK;
}

nexus__role_set *nexus__role_set_ref(nexus__role_set *set)
{
    atomic_fetch_add_explicit(&set->refs, 1, memory_order_relaxed);
    return set;
}

void nexus__role_set_free(nexus__role_set *set)
{
    if (!set || atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel) != 1)
        return;
    nexus__map_free(&set->by_key);
    nexus__arena_free(&set->arena);
    nexus__free(set->alloc, set);
}

nexus__role *nexus__role_find(const nexus__role_set *set, nexus_slice tenant, nexus_slice name)
{
    char key[NEXUS__ROLE_KEY_MAX];
    return nexus__map_get(&set->by_key, nexus__slice(key, nexus__role_key(key, tenant, name)));
}

nexus__role *nexus__role_resolve(const nexus__role_set *set, nexus_slice tenant, nexus_slice name)
{
    nexus__role *own = tenant.n ? nexus__role_find(set, tenant, name) : NULL;
    return own ? own : nexus__role_find(set, NEXUS_S(""), name);
}

/* A token says "acme/editor" of both a role of acme and one of all that is held in acme: they must not share a name. */
static bool is_shared(const nexus__role_set *set, nexus_slice tenant, nexus_slice name)
{
    if (tenant.n)
        return nexus__role_find(set, NEXUS_S(""), name) != NULL;
    for (size_t i = 0; i < set->count; i++)
        if (set->order[i]->tenant.n && nexus__slice_eq(set->order[i]->name, name))
            return true;
    return false;
}

nexus_status nexus__role_add(nexus__role **out, nexus__role_set *set, nexus_slice tenant, nexus_slice name)
{
    char key[NEXUS__ROLE_KEY_MAX];
    size_t n = nexus__role_key(key, tenant, name);
    *out = nexus__map_get(&set->by_key, nexus__slice(key, n));
    if (*out)
        return NEXUS_OK;
    if (set->count == NEXUS__ROLES_MAX)
        return nexus__fail(NEXUS_ECONFLICT, "there are %d roles, which is as many as there may be", NEXUS__ROLES_MAX);
    if (is_shared(set, tenant, name))
        return nexus__fail(NEXUS_ECONFLICT, "a role of %s has this name", tenant.n ? "all tenants" : "a tenant");
    nexus__role *role = nexus__arena_get(&set->arena, sizeof *role);
    if (!role)
        return nexus__nomem();
    *role = (nexus__role){.key = nexus__arena_copy(&set->arena, nexus__slice(key, n))};
    if (!role->key.p)
        return nexus__nomem();
    role->tenant = nexus__slice(role->key.p, tenant.n);
    role->name = nexus__slice_from(role->key, tenant.n ? tenant.n + 1 : 0);
    nexus_status status = nexus__map_put(&set->by_key, role->key, role, NULL);
    if (status != NEXUS_OK)
        return status;
    *out = set->order[set->count++] = role;
    return NEXUS_OK;
}

nexus_status nexus__role_describe(nexus__role_set *set, nexus__role *role, nexus_slice description)
{
    role->description = nexus__arena_copy(&set->arena, description);
    return role->description.p ? NEXUS_OK : nexus__nomem();
}

nexus_status nexus__role_put(nexus__role_set *set, nexus__role *role, int list, nexus_slice text)
{
    nexus__role_item *item = nexus__arena_get(&set->arena, sizeof *item), **end = &role->lists[list];
    if (!item || !(item->text = nexus__arena_copy(&set->arena, text)).p)
        return nexus__nomem();
    item->next = NULL;
    while (*end)
        end = &(*end)->next;
    *end = item;
    return NEXUS_OK;
}

void nexus__role_remove(nexus__role_set *set, const nexus__role *role)
{
    size_t i = 0;
    while (i < set->count && set->order[i] != role)
        i++;
    if (i == set->count)
        return;
    memmove(&set->order[i], &set->order[i + 1], (set->count - i - 1) * sizeof set->order[0]);
    set->count--;
    (void)nexus__map_remove(&set->by_key, role->key);
}

static int by_name(const void *a, const void *b)
{
    const nexus__role *x = *(nexus__role *const *)a, *y = *(nexus__role *const *)b;
    int order = nexus__slice_cmp(x->tenant, y->tenant);
    return order ? order : nexus__slice_cmp(x->name, y->name);
}

void nexus__role_set_sort(nexus__role_set *set)
{
    qsort(set->order, set->count, sizeof set->order[0], by_name);
}

static nexus_status copy_role(nexus__role_set *to, const nexus__role *from)
{
    nexus__role *role;
    nexus_status status = nexus__role_add(&role, to, from->tenant, from->name);
    if (status == NEXUS_OK)
        status = nexus__role_describe(to, role, from->description);
    if (status == NEXUS_OK)
        role->built_in = from->built_in, role->changed_at_ns = from->changed_at_ns;
    for (int list = 0; list < NEXUS__ROLE_LISTS; list++)
        for (const nexus__role_item *i = from->lists[list]; i && status == NEXUS_OK; i = i->next)
            status = nexus__role_put(to, role, list, i->text);
    return status;
}

nexus_status nexus__role_set_copy(nexus__role_set **out, const nexus__role_set *set)
{
    nexus__role_set *copy;
    nexus_status status = nexus__role_set_new(&copy, set->alloc);
    if (status != NEXUS_OK)
        return status;
    copy->version = set->version;
    for (size_t i = 0; i < set->count && status == NEXUS_OK; i++)
        status = copy_role(copy, set->order[i]);
    if (status == NEXUS_OK)
        *out = copy;
    else
        nexus__role_set_free(copy);
    return status;
}
