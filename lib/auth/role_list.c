/* Roles and grants as pages. Roles come from memory, where their order is the same whatever the database sorts by. */
#include "auth/roles_private.h"

enum { PAGE = 20, PAGE_MAX = 200 };

void nexus_role_filter_init(nexus_role_filter *filter)
{
    *filter = (nexus_role_filter)NEXUS_ROLE_FILTER_INIT;
}

void nexus_grant_filter_init(nexus_grant_filter *filter)
{
    *filter = (nexus_grant_filter)NEXUS_GRANT_FILTER_INIT;
}

static int64_t page_size(uint32_t limit)
{
    return limit == 0 ? PAGE : limit > PAGE_MAX ? PAGE_MAX : limit;
}

static void put_instant(nexus__json_writer *w, const char *name, int64_t ns)
{
    char at[32];
    if (ns)
        nexus__json_put_text(w, name, nexus__slice(at, nexus__format_rfc3339(ns, at)));
    else
        nexus__json_put_null(w, name);
}

static void put_role(nexus__json_writer *w, const nexus__role *role)
{
    nexus__json_open(w, '{');
    nexus__json_put_text(w, "name", role->name);
    nexus__json_put_text(w, "tenant", role->tenant);
    nexus__json_put_text(w, "description", role->description);
    nexus__json_put_bool(w, "built_in", role->built_in);
    nexus__role_write(w, role);
    put_instant(w, "changed_at", role->changed_at_ns);
    nexus__json_close(w, '}');
}

/* --- roles ---------------------------------------------------------------------------------------------------------- */

/* The key of the last one shown; where it is gone, the next in order follows. */
static bool is_behind(const nexus__role *role, nexus_slice cursor)
{
    nexus_slice tenant = NEXUS_S(""), name = cursor;
    if (cursor.n == 0)
        return true;
    if (nexus__slice_find(cursor, '/') < cursor.n)
        tenant = nexus__slice_cut(&name, '/');
    int order = nexus__slice_cmp(role->tenant, tenant);
    return order > 0 || (order == 0 && nexus__slice_cmp(role->name, name) > 0);
}

static void write_roles(nexus__json_writer *w, const nexus__role_set *set, const nexus_role_filter *f)
{
    int64_t n = 0, limit = page_size(f->limit);
    const nexus__role *last = NULL;
    nexus__json_open(w, '{');
    nexus__json_key(w, "items");
    nexus__json_open(w, '[');
    for (size_t i = 0; i < set->count && n <= limit; i++) {
        const nexus__role *role = set->order[i];
        if ((!f->any_tenant && !nexus__slice_eq(role->tenant, f->tenant)) || !is_behind(role, f->cursor) || n++ == limit)
            continue;
        put_role(w, role);
        last = role;
    }
    nexus__json_close(w, ']');
    nexus__json_put_text_c(w, "next_cursor", n > limit ? last->key.p : NULL);
    nexus__json_close(w, '}');
}

nexus_status nexus_roles_list(nexus_roles *r, const nexus_role_filter *filter, char **json, size_t *n)
{
    nexus__role_view view;
    nexus__buf text;
    if (!filter || filter->size != sizeof *filter)
        return nexus__fail(NEXUS_EINVAL, "nexus_role_filter: size is required");
    nexus_status status = nexus_roles_refresh(r, NULL);
    if (status != NEXUS_OK)
        return status;
    nexus__role_view_begin(&view, r);
    nexus__buf_init(&text, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&text);
    write_roles(&w, view.set, filter);
    nexus__role_view_end(&view);
    return nexus__hand_over(&text, NEXUS_OK, json, n);
}

nexus_status nexus_roles_show(nexus_roles *r, nexus_slice tenant, nexus_slice name, char **json, size_t *n)
{
    nexus__role_view view;
    nexus__buf text;
    nexus_status status = nexus_roles_refresh(r, NULL);
    if (status != NEXUS_OK)
        return status;
    nexus__role_view_begin(&view, r);
    nexus__buf_init(&text, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&text);
    const nexus__role *role = nexus__role_find(view.set, tenant, name);
    if (role)
        put_role(&w, role);
    else
        status = nexus__fail(NEXUS_ENOTFOUND, "no such role");
    nexus__role_view_end(&view);
    return nexus__hand_over(&text, status, json, n);
}

/* --- grants --------------------------------------------------------------------------------------------------------- */

static void write_grants(nexus__json_writer *w, nexus_rows *rows, int64_t limit)
{
    static const char *const names[] = {"user_id", "role", "tenant"};
    nexus_slice text, last = NEXUS_S("");
    int64_t n = 0;
    nexus__json_open(w, '{');
    nexus__json_key(w, "items");
    nexus__json_open(w, '[');
    while (nexus_rows_next(rows) && n++ < limit) {
        nexus__json_open(w, '{');
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
            nexus_rows_text(rows, i + 1, &text);
            nexus__json_put_text(w, names[i], text);
        }
        put_instant(w, "granted_at", nexus_rows_int(rows, 4));
        nexus__json_close(w, '}');
        nexus_rows_text(rows, 0, &last);
    }
    nexus__json_close(w, ']');
    if (n > limit)
        nexus__json_put_text(w, "next_cursor", last);
    else
        nexus__json_put_null(w, "next_cursor");
    nexus__json_close(w, '}');
}

nexus_status nexus_roles_grants(nexus_roles *r, const nexus_grant_filter *f, char **json, size_t *n)
{
    nexus_rows *rows;
    nexus__buf text;
    if (!f || f->size != sizeof *f)
        return nexus__fail(NEXUS_EINVAL, "nexus_grant_filter: size is required");
    int64_t limit = page_size(f->limit);
    nexus_status status = nexus_db_query(
        &rows, r->auth->db,
        "SELECT id, user_id, role, tenant, granted_at FROM auth_grants WHERE id < $1 AND ($2 = '' OR user_id = $2)"
        " AND ($3 = '' OR role = $3) AND ($4 = 1 OR tenant = $5) ORDER BY id DESC LIMIT $6",
        (nexus_value[]){NEXUS_TEXT(f->cursor.n ? f->cursor : NEXUS_S("~")),
                        NEXUS_TEXT(f->user_id.n ? f->user_id : NEXUS_S("")),
                        NEXUS_TEXT(f->role.n ? f->role : NEXUS_S("")), NEXUS_INT(f->any_tenant ? 1 : 0),
                        NEXUS_TEXT(f->tenant.n ? f->tenant : NEXUS_S("")), NEXUS_INT(limit + 1)},
        6);
    if (status != NEXUS_OK)
        return status;
    nexus__buf_init(&text, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&text);
    write_grants(&w, rows, limit);
    nexus_rows_free(rows);
    return nexus__hand_over(&text, NEXUS_OK, json, n);
}
