/* Users and their roles. */
#include "auth/auth_private.h"
#include "auth/role_set.h"
#include "crypto/wipe.h"
#include "json/write.h"

void nexus__email_key(nexus_slice email, char out[static 256])
{
    size_t n = email.n < 255 ? email.n : 255;
    for (size_t i = 0; i < n; i++)
        out[i] = nexus__ascii_lower(email.p[i]);
    out[n] = 0;
}

/* --- loading ------------------------------------------------------------------------------------------------------- */

/* "operator", or "acme/operator" when he has it in one tenant only: as tokens carry it. */
static nexus_status load_roles(nexus_user *u, nexus_db *db)
{
    nexus_rows *rows;
    nexus_status status = nexus__user_roles(&rows, db, u->id);
    if (status != NEXUS_OK)
        return status;
    while (nexus_rows_next(rows) && u->role_count < NEXUS__USER_ROLES && status == NEXUS_OK) {
        char key[NEXUS__ROLE_KEY_MAX];
        nexus_slice tenant, role;
        nexus_rows_text(rows, 0, &tenant);
        nexus_rows_text(rows, 1, &role);
        nexus_slice carried = nexus__slice(key, nexus__role_key(key, tenant, role));
        if ((u->roles[u->role_count] = nexus__strndup(NULL, carried)))
            u->role_count++;
        else
            status = nexus__nomem();
    }
    nexus_rows_free(rows);
    return status;
}

nexus_status nexus__user_roles(nexus_rows **out, nexus_db *db, const char *user_id)
{
    return nexus_db_query(out, db, "SELECT tenant, role FROM auth_grants WHERE user_id = $1 ORDER BY tenant, role",
                          (nexus_value[]){NEXUS_TEXT_C(user_id)}, 1);
}

static char *cell(nexus_rows *rows, size_t column)
{
    nexus_slice text;
    nexus_rows_text(rows, column, &text);
    return nexus__strndup(NULL, text);
}

/* column is one of ours, never input. */
nexus_status nexus__user_load(nexus_user **out, nexus_db *db, const char *column, nexus_slice value)
{
    char sql[320];
    nexus_rows *rows;
    snprintf(sql, sizeof sql,
             "SELECT id, email, name, password, disabled, password_at, created_at, locked, unverified, must_reset,"
             " deleted_at, tokens_after FROM auth_users WHERE %s = $1",
             column);
    if (value.n && memchr(value.p, 0, value.n))
        return nexus__fail(NEXUS_ENOTFOUND, "no such user");
    nexus_status status = nexus_db_query_one(&rows, db, sql, (nexus_value[]){NEXUS_TEXT(value)}, 1);
    if (status != NEXUS_OK)
        return status == NEXUS_ENOTFOUND ? nexus__fail(status, "no such user") : status;
    nexus_user *u = nexus__calloc(NULL, 1, sizeof *u);
    if (u) {
        nexus_slice hash;
        nexus_rows_text(rows, 3, &hash);
        u->id = cell(rows, 0), u->email = cell(rows, 1), u->name = cell(rows, 2);
        snprintf(u->password, sizeof u->password, "%.*s", (int)hash.n, hash.p);
        u->disabled = nexus_rows_int(rows, 4) != 0;
        u->password_at_ns = nexus_rows_int(rows, 5);
        u->created_at_ns = nexus_rows_int(rows, 6);
        u->locked = nexus_rows_int(rows, 7) != 0;
        u->unverified = nexus_rows_int(rows, 8) != 0;
        u->must_reset = nexus_rows_int(rows, 9) != 0;
        u->deleted = !nexus_rows_is_null(rows, 10);
        u->tokens_after_s = nexus_rows_int(rows, 11);
    }
    nexus_rows_free(rows);
    status = u && u->id && u->email && u->name ? load_roles(u, db) : nexus__nomem();
    if (status == NEXUS_OK)
        *out = u;
    else
        nexus_user_free(u);
    return status;
}

nexus_status nexus_auth_user(nexus_auth *a, nexus_slice id, nexus_user **out)
{
    return nexus__user_load(out, a->db, "id", id);
}

nexus_status nexus_auth_user_by_email(nexus_auth *a, nexus_slice email, nexus_user **out)
{
    char key[256];
    nexus__email_key(email, key);
    return nexus__user_load(out, a->db, "email_key", nexus__slice_c(key));
}

const char *nexus_user_id(const nexus_user *u)
{
    return u->id;
}

const char *nexus_user_email(const nexus_user *u)
{
    return u->email;
}

const char *nexus_user_name(const nexus_user *u)
{
    return u->name;
}

size_t nexus_user_role_count(const nexus_user *u)
{
    return u->role_count;
}

const char *nexus_user_role(const nexus_user *u, size_t index)
{
    return index < u->role_count ? u->roles[index] : NULL;
}

void nexus_user_free(nexus_user *u)
{
    if (!u)
        return;
    nexus__free(NULL, u->id);
    nexus__free(NULL, u->email);
    nexus__free(NULL, u->name);
    for (size_t i = 0; i < u->role_count; i++)
        nexus__free(NULL, u->roles[i]);
    nexus__wipe(u->password, sizeof u->password);
    nexus__free(NULL, u);
}

/* --- making -------------------------------------------------------------------------------------------------------- */

nexus_status nexus__add_role(nexus_auth *a, nexus_db *db, const char *user_id, nexus_slice role, nexus_slice tenant)
{
    char id[NEXUS__UUID_LEN + 1];
    nexus__uuid7(id);
    return nexus_db_exec(db,
                         "INSERT INTO auth_grants (id, user_id, tenant, role, granted_at) VALUES ($1, $2, $3, $4, $5)"
                         " ON CONFLICT (user_id, tenant, role) DO NOTHING",
                         (nexus_value[]){NEXUS_TEXT_C(id), NEXUS_TEXT_C(user_id), NEXUS_TEXT(tenant), NEXUS_TEXT(role),
                                         NEXUS_INT(nexus__auth_now_ns(a))},
                         5, NULL);
}

nexus_status nexus__tell_registered(nexus_auth *a, nexus_db *tx, const nexus_user *user)
{
    nexus__buf data;
    nexus__buf_init(&data, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&data);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "user_id", user->id);
    nexus__json_put_text_c(&w, "email", user->email);
    nexus__json_put_text_c(&w, "name", user->name);
    nexus__json_put_text_c(&w, "role", user->role_count ? user->roles[0] : "customer");
    nexus__json_close(&w, '}');
    nexus_status status = nexus__auth_event(a, tx, "user.registered", user->id, &data);
    nexus__buf_free(&data);
    return status;
}

nexus_status nexus__user_insert(nexus_user **out, nexus_auth *a, nexus_db *tx, nexus_slice email, nexus_slice name,
                                const char *password_hash, const char *role)
{
    char id[NEXUS__UUID_LEN + 1], key[256];
    nexus_user *user = NULL;
    nexus__uuid7(id);
    nexus__email_key(email, key);
    int64_t now = nexus__auth_now_ns(a);
    nexus_status status =
        nexus_db_exec(tx,
                      "INSERT INTO auth_users (id, email, email_key, name, password, disabled, created_at, password_at,"
                      " unverified) VALUES ($1, $2, $3, $4, $5, 0, $6, $6, $7)",
                      (nexus_value[]){NEXUS_TEXT_C(id), NEXUS_TEXT(email), NEXUS_TEXT_C(key), NEXUS_TEXT(name),
                                      NEXUS_TEXT_C(password_hash), NEXUS_INT(now), NEXUS_INT(role ? 0 : 1)},
                      7, NULL);
    if (status == NEXUS_ECONFLICT)
        return nexus__fail(status, "email: the address is taken");
    if (status == NEXUS_OK)
        status = nexus__add_role(a, tx, id, nexus__slice_c(role ? role : "customer"), NEXUS_S(""));
    if (status == NEXUS_OK)
        status = nexus__user_load(&user, tx, "id", nexus__slice_c(id));
    if (status == NEXUS_OK && role)
        status = nexus__tell_registered(a, tx, user);
    if (status == NEXUS_OK)
        *out = user;
    else
        nexus_user_free(user);
    return status;
}

nexus_status nexus_auth_register(nexus_auth *a, nexus_slice email, nexus_slice password, nexus_slice name,
                                 nexus_user **out)
{
    char hash[NEXUS__PASSWORD_HASH_MAX];
    nexus_status status = nexus__check_email(email);
    if (status == NEXUS_OK)
        status = nexus__check_password(a, password);
    if (status == NEXUS_OK)
        status = nexus__check_name(name);
    if (status == NEXUS_OK)
        status = nexus__hash_new_password(a, password, hash);
    nexus_db *tx;
    if (status == NEXUS_OK)
        status = nexus_db_begin(&tx, a->db);
    if (status != NEXUS_OK)
        return status;
    nexus_user *user = NULL;
    status = nexus__finish(tx, nexus__user_insert(&user, a, tx, email, name, hash, "customer"));
    if (status == NEXUS_OK)
        *out = user;
    else
        nexus_user_free(user);
    return status;
}

nexus_status nexus_auth_has_admin(nexus_auth *a, bool *out)
{
    nexus_rows *rows;
    nexus_status status = nexus_db_query_one(&rows, a->db,
                                             "SELECT count(*) FROM auth_grants r JOIN auth_users u ON u.id = r.user_id"
                                             " WHERE r.role = 'admin' AND r.tenant = '' AND u.disabled = 0 AND u.deleted_at IS NULL",
                                             NULL, 0);
    if (status != NEXUS_OK)
        return status;
    *out = nexus_rows_int(rows, 0) > 0;
    nexus_rows_free(rows);
    return NEXUS_OK;
}
