/* Roles as JSON: definitions that somebody sends, and the document that other processes read. */
#include <nexus/roles.h>
#include <stdio.h>

#include "auth/rbac.h"
#include "auth/role_set.h"
#include "base/status.h"

/* --- reading one --------------------------------------------------------------------------------------------------- */

static const char *judge(const nexus__role_set *set, const nexus__role *role, int list, nexus_slice text)
{
    bool own;
    if (list == NEXUS__ROLE_INHERITS)
        return nexus__role_resolve(set, role->tenant, text) ? NULL : "is no role there";
    nexus_slice pattern = nexus__role_pattern(text, &own);
    if (own && list == NEXUS__ROLE_DENY)
        return "ends in :own, which only allow may";
    return nexus__permission_pattern_error(pattern);
}

static nexus_status read_list(nexus__role_set *set, nexus__role *role, nexus__json *doc, uint32_t object, int list,
                              const char *prefix)
{
    const char *name = nexus__role_lists[list];
    uint32_t most = list == NEXUS__ROLE_INHERITS ? NEXUS__ROLE_PARENTS_MAX : NEXUS__ROLE_RULES_MAX;
    uint32_t array = nexus__json_get(doc, object, name);
    nexus_status status = NEXUS_OK;
    if (array == NEXUS__JSON_NONE)
        return NEXUS_OK;
    if (!nexus__json_is(doc, array, NEXUS__JSON_ARRAY) || nexus__json_count(doc, array) > most)
        return nexus__fail(NEXUS_EINVAL, "%s%s: must be a list of at most %u texts", prefix, name, most);
    for (nexus__json_iter it = nexus__json_each(doc, array); nexus__json_step(doc, &it) && status == NEXUS_OK;) {
        nexus_slice text;
        if (!nexus__json_text(doc, it.value, &text))
            return nexus__fail(NEXUS_EINVAL, "%s%s/%u: must be a text", prefix, name, it.index);
        const char *why = judge(set, role, list, text);
        if (why)
            return nexus__fail(NEXUS_EINVAL, "%s%s/%u: \"%.*s\" %s", prefix, name, it.index,
                               text.n > 100 ? 100 : (int)text.n, text.p, why);
        bool again = false;
        for (const nexus__role_item *i = role->lists[list]; i && !again; i = i->next)
            again = nexus__slice_eq(i->text, text);
        if (!again)
            status = nexus__role_put(set, role, list, text);
    }
    return status;
}

static bool is_one_of(const nexus__json *doc, uint32_t key, const char *const *names)
{
    for (; names && *names; names++)
        if (nexus__json_text_is(doc, key, nexus__slice_c(*names)))
            return true;
    return false;
}

nexus_status nexus__role_read(nexus__role_set *set, nexus__role *role, nexus__json *doc, uint32_t object,
                              const char *prefix, const char *const *allowed)
{
    static const char *const own[] = {"description", "inherits", "allow", "deny", NULL};
    nexus_slice description = NEXUS_S("");
    for (nexus__json_iter it = nexus__json_each(doc, object); nexus__json_step(doc, &it);)
        if (!is_one_of(doc, it.key, own) && !is_one_of(doc, it.key, allowed)) {
            nexus_slice name = NEXUS_S("");
            (void)nexus__json_text(doc, it.key, &name);
            return nexus__fail(NEXUS_EINVAL, "%s%.*s: a role has no such member", prefix,
                               name.n > 64 ? 64 : (int)name.n, name.p);
        }
    if (nexus__json_get(doc, object, "description") != NEXUS__JSON_NONE &&
        (!nexus__json_get_text(doc, object, "description", &description) || description.n > 500))
        return nexus__fail(NEXUS_EINVAL, "%sdescription: must be a text of at most 500 bytes", prefix);
    nexus_status status = nexus__role_describe(set, role, description);
    for (int list = 0; list < NEXUS__ROLE_LISTS && status == NEXUS_OK; list++)
        status = read_list(set, role, doc, object, list, prefix);
    return status;
}

/* --- writing ------------------------------------------------------------------------------------------------------- */

void nexus__role_write(nexus__json_writer *w, const nexus__role *role)
{
    for (int list = 0; list < NEXUS__ROLE_LISTS; list++) {
        nexus__json_key(w, nexus__role_lists[list]);
        nexus__json_open(w, '[');
        for (const nexus__role_item *i = role->lists[list]; i; i = i->next)
            nexus__json_text_value(w, i->text);
        nexus__json_close(w, ']');
    }
}

/* --- the document -------------------------------------------------------------------------------------------------- */

static nexus_status read_names(nexus__role_set *set, nexus__json *doc, uint32_t list)
{
    nexus_status status = NEXUS_OK;
    for (nexus__json_iter it = nexus__json_each(doc, list); nexus__json_step(doc, &it) && status == NEXUS_OK;) {
        nexus_slice tenant = NEXUS_S(""), name = NEXUS_S("");
        nexus__role *role;
        (void)nexus__json_get_text(doc, it.value, "tenant", &tenant);
        (void)nexus__json_get_text(doc, it.value, "name", &name);
        status = nexus__role_check_name("roles/name", name, false);
        if (status == NEXUS_OK)
            status = nexus__role_check_name("roles/tenant", tenant, true);
        if (status == NEXUS_OK)
            status = nexus__role_add(&role, set, tenant, name);
    }
    return status;
}

static nexus_status read_rules(nexus__role_set *set, nexus__json *doc, uint32_t list)
{
    static const char *const besides[] = {"tenant", "name", NULL};
    nexus_status status = NEXUS_OK;
    for (nexus__json_iter it = nexus__json_each(doc, list); nexus__json_step(doc, &it) && status == NEXUS_OK;) {
        nexus_slice tenant = NEXUS_S(""), name = NEXUS_S("");
        (void)nexus__json_get_text(doc, it.value, "tenant", &tenant);
        (void)nexus__json_get_text(doc, it.value, "name", &name);
        nexus__role *role = nexus__role_find(set, tenant, name);
        status = role ? nexus__role_read(set, role, doc, it.value, "roles/", besides) : NEXUS_EINVAL;
    }
    return status;
}

nexus_status nexus_roles_compile(nexus_rbac **out, nexus_slice document)
{
    nexus__json doc;
    nexus__role_set *set;
    nexus__json_init(&doc, NULL);
    nexus_status status = nexus__role_set_new(&set, NULL);
    if (status != NEXUS_OK)
        return status;
    status = nexus__json_scan(&doc, document, NULL);
    uint32_t list = status == NEXUS_OK ? nexus__json_get(&doc, 0, "roles") : NEXUS__JSON_NONE;
    if (status == NEXUS_OK && !nexus__json_is(&doc, list, NEXUS__JSON_ARRAY))
        status = nexus__fail(NEXUS_EINVAL, "roles: must be a list");
    if (status == NEXUS_OK)
        status = read_names(set, &doc, list);
    if (status == NEXUS_OK)
        status = read_rules(set, &doc, list);
    if (status == NEXUS_OK)
        status = nexus__role_set_compile(out, set);
    nexus__role_set_free(set);
    nexus__json_free(&doc);
    return status;
}
