/* Roles in the database. What the built-in ones hold is not there: it comes with the program. */
#include "auth/roles_private.h"

const nexus_migration nexus__role_migrations[] = {
    {1, "roles of one's own, grants in tenants",
     "CREATE TABLE auth_role_names (tenant TEXT NOT NULL, name TEXT NOT NULL, description TEXT NOT NULL,"
     " built_in BIGINT NOT NULL, changed_at BIGINT NOT NULL, PRIMARY KEY (tenant, name));"
     "CREATE TABLE auth_role_rules (tenant TEXT NOT NULL, role TEXT NOT NULL, list BIGINT NOT NULL, at BIGINT NOT NULL,"
     " text TEXT NOT NULL, PRIMARY KEY (tenant, role, list, at),"
     " FOREIGN KEY (tenant, role) REFERENCES auth_role_names (tenant, name));"
     "INSERT INTO auth_role_names (tenant, name, description, built_in, changed_at) VALUES"
     " ('', 'customer', 'Whoever registers.', 1, 0), ('', 'operator', 'Runs the business.', 1, 0),"
     " ('', 'admin', 'May everything.', 1, 0);"
     "INSERT INTO auth_locks (name, taken) VALUES ('roles', 0);"
     "CREATE TABLE auth_grants (id TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES auth_users (id),"
     " tenant TEXT NOT NULL, role TEXT NOT NULL, granted_at BIGINT NOT NULL, UNIQUE (user_id, tenant, role));"
     "CREATE INDEX auth_grants_role ON auth_grants (role, tenant);"
     "INSERT INTO auth_grants (id, user_id, tenant, role, granted_at)"
     " SELECT user_id || '/' || role, user_id, '', role, granted_at FROM auth_roles;"
     "DROP TABLE auth_roles;",
     NULL},
};
const size_t nexus__role_migration_count = sizeof nexus__role_migrations / sizeof nexus__role_migrations[0];

nexus_status nexus__role_rows_version(nexus_db *db, int64_t *version)
{
    nexus_rows *rows;
    nexus_status status = nexus_db_query_one(&rows, db, "SELECT taken FROM auth_locks WHERE name = $1",
                                             (nexus_value[]){NEXUS_TEXT_C("roles")}, 1);
    if (status != NEXUS_OK)
        return status;
    *version = nexus_rows_int(rows, 0);
    nexus_rows_free(rows);
    return NEXUS_OK;
}

nexus_status nexus__role_rows_lock(nexus_db *tx, bool changes)
{
    return nexus_db_exec(tx, "UPDATE auth_locks SET taken = taken + $2 WHERE name = $1",
                         (nexus_value[]){NEXUS_TEXT_C("roles"), NEXUS_INT(changes ? 1 : 0)}, 2, NULL);
}

/* --- loading ------------------------------------------------------------------------------------------------------- */

static nexus_status add_builtin(nexus__role_set *set, nexus__role *role)
{
    nexus_status status = NEXUS_OK;
    for (size_t i = 1; i < NEXUS__RBAC_BUILTIN_ROLES && status == NEXUS_OK; i++)
        if (nexus__slice_eq_c(role->name, nexus__rbac_builtin_roles[i]))
            status = nexus__role_put(set, role, NEXUS__ROLE_INHERITS, nexus__slice_c(nexus__rbac_builtin_roles[i - 1]));
    for (size_t i = 0; i < nexus__rbac_builtin_count && status == NEXUS_OK; i++) {
        const nexus__rbac_builtin *b = &nexus__rbac_builtins[i];
        char text[64];
        snprintf(text, sizeof text, "%s%s", b->pattern, b->effect == NEXUS_RBAC_ALLOW_OWN ? ":own" : "");
        if (nexus__slice_eq_c(role->name, b->role))
            status = nexus__role_put(set, role, NEXUS__ROLE_ALLOW, nexus__slice_c(text));
    }
    return status;
}

/* One row: a rule of a role, or a role without any. */
static nexus_status take_row(nexus__role_set *set, nexus_rows *rows)
{
    nexus_slice tenant, name, text;
    nexus__role *role;
    size_t before = set->count;
    nexus_rows_text(rows, 0, &tenant);
    nexus_rows_text(rows, 1, &name);
    nexus_status status = nexus__role_add(&role, set, tenant, name);
    if (status == NEXUS_OK && set->count > before) {
        nexus_rows_text(rows, 2, &text);
        role->built_in = nexus_rows_int(rows, 3) != 0;
        role->changed_at_ns = nexus_rows_int(rows, 4);
        status = nexus__role_describe(set, role, text);
        if (status == NEXUS_OK && role->built_in)
            status = add_builtin(set, role);
    }
    set->version = nexus_rows_int(rows, 7);
    int64_t list = nexus_rows_int(rows, 5);
    if (status != NEXUS_OK || nexus_rows_is_null(rows, 5) || list < 0 || list >= NEXUS__ROLE_LISTS)
        return status;
    nexus_rows_text(rows, 6, &text);
    return nexus__role_put(set, role, (int)list, text);
}

nexus_status nexus__role_rows_load(nexus__role_view *out, nexus_auth *a, nexus_db *db)
{
    nexus_rows *rows;
    nexus__role_view view = {0};
    nexus_status status =
        nexus_db_query(&rows, db,
                       "SELECT n.tenant, n.name, n.description, n.built_in, n.changed_at, r.list, r.text,"
                       " (SELECT taken FROM auth_locks WHERE name = 'roles')"
                       " FROM auth_role_names n LEFT JOIN auth_role_rules r ON r.tenant = n.tenant AND"
                       " r.role = n.name ORDER BY n.tenant, n.name, r.list, r.at",
                       NULL, 0);
    if (status != NEXUS_OK)
        return status;
    status = nexus__role_set_new(&view.set, a->alloc);
    while (status == NEXUS_OK && nexus_rows_next(rows))
        status = take_row(view.set, rows);
    nexus_rows_free(rows);
    if (status == NEXUS_OK) {
        nexus__role_set_sort(view.set);
        status = nexus__role_set_compile(&view.policy, view.set);
    }
    if (status == NEXUS_OK)
        *out = view;
    else
        nexus__role_view_end(&view);
    return status;
}

/* --- writing ------------------------------------------------------------------------------------------------------- */

static nexus_status delete_rules(nexus_db *tx, const nexus__role *role)
{
    return nexus_db_exec(tx, "DELETE FROM auth_role_rules WHERE tenant = $1 AND role = $2",
                         (nexus_value[]){NEXUS_TEXT(role->tenant), NEXUS_TEXT(role->name)}, 2, NULL);
}

nexus_status nexus__role_rows_write(nexus_auth *a, nexus_db *tx, const nexus__role *role)
{
    nexus_status status = nexus_db_exec(
        tx,
        "INSERT INTO auth_role_names (tenant, name, description, built_in, changed_at) VALUES ($1, $2, $3, 0, $4)"
        " ON CONFLICT (tenant, name) DO UPDATE SET description = excluded.description, changed_at = "
        "excluded.changed_at",
        (nexus_value[]){NEXUS_TEXT(role->tenant), NEXUS_TEXT(role->name), NEXUS_TEXT(role->description),
                        NEXUS_INT(nexus__auth_now_ns(a))},
        4, NULL);
    if (status == NEXUS_OK)
        status = delete_rules(tx, role);
    for (int list = 0; list < NEXUS__ROLE_LISTS; list++) {
        int64_t at = 0;
        for (const nexus__role_item *i = role->lists[list]; i && status == NEXUS_OK; i = i->next)
            status = nexus_db_exec(
                tx, "INSERT INTO auth_role_rules (tenant, role, list, at, text) VALUES ($1, $2, $3, $4, $5)",
                (nexus_value[]){NEXUS_TEXT(role->tenant), NEXUS_TEXT(role->name), NEXUS_INT(list), NEXUS_INT(at++),
                                NEXUS_TEXT(i->text)},
                5, NULL);
    }
    return status;
}

nexus_status nexus__role_rows_delete(nexus_db *tx, const nexus__role *role)
{
    nexus_status status = delete_rules(tx, role);
    return status == NEXUS_OK ? nexus_db_exec(tx, "DELETE FROM auth_role_names WHERE tenant = $1 AND name = $2",
                                              (nexus_value[]){NEXUS_TEXT(role->tenant), NEXUS_TEXT(role->name)}, 2, NULL)
                              : status;
}

nexus_status nexus__role_rows_holders(nexus_db *tx, const nexus__role *role, int64_t *out)
{
    nexus_rows *rows;
    char word[NEXUS__ROLE_KEY_MAX + 2];
    snprintf(word, sizeof word, " %s ", role->key.p);
    nexus_status status = nexus_db_query_one(
        &rows, tx,
        "SELECT (SELECT count(*) FROM auth_grants WHERE role = $1 AND ($2 = '' OR tenant = $2)) +"
        " (SELECT count(*) FROM oauth_clients WHERE replace(' ' || roles || ' ', $3, '') <> ' ' || roles || ' ')",
        (nexus_value[]){NEXUS_TEXT(role->name), NEXUS_TEXT(role->tenant), NEXUS_TEXT_C(word)}, 3);
    if (status != NEXUS_OK)
        return status;
    *out = nexus_rows_int(rows, 0);
    nexus_rows_free(rows);
    return NEXUS_OK;
}

nexus_status nexus__role_rows_check(nexus_db *db, nexus_slice carried)
{
    nexus_rows *rows;
    nexus_slice tenant = NEXUS_S(""), name = carried;
    if (nexus__slice_find(carried, '/') < carried.n)
        tenant = nexus__slice_cut(&name, '/');
    nexus_status status = nexus_db_query_one(
        &rows, db, "SELECT name FROM auth_role_names WHERE name = $1 AND (tenant = '' OR tenant = $2)",
        (nexus_value[]){NEXUS_TEXT(name), NEXUS_TEXT(tenant)}, 2);
    if (status == NEXUS_OK)
        nexus_rows_free(rows);
    return status == NEXUS_ENOTFOUND
               ? nexus__fail(NEXUS_EINVAL, "roles: no role is called \"%.*s\"", (int)carried.n, carried.p)
               : status;
}
