/* What administrators do to accounts: states, roles, lists. */
#include "auth/auth_private.h"
#include "json/write.h"

/* --- voiding what a user has ------------------------------------------------------------------------------------------- */

/*
 * Instants in tokens are whole seconds, so "before now" cannot part what was issued in this second. The mark is the next
 * second: all that was issued until now is older, and what is issued from now on is dated no earlier than the mark.
 */
static nexus_status void_access_tokens(nexus_auth *a, nexus_db *tx, const nexus_user *user)
{
    int64_t mark = nexus__auth_now_ns(a) / NEXUS__NS_PER_S + 1;
    nexus_status status = nexus_db_exec(tx, "UPDATE auth_users SET tokens_after = $2 WHERE id = $1",
                                        (nexus_value[]){NEXUS_TEXT_C(user->id), NEXUS_INT(mark)}, 2, NULL);
    return status == NEXUS_OK ? nexus__auth_revoke(a, tx, "subject", user->id, 0) : status;
}

nexus_status nexus__subject_revoke(nexus_auth *a, nexus_db *tx, const nexus_user *user, const char *reason)
{
    static const char *const ends[] = {"DELETE FROM auth_sessions WHERE user_id = $1",
                                       "DELETE FROM auth_second_steps WHERE user_id = $1"};
    nexus_status status = nexus__families_revoke(a, tx, user->id, reason);
    for (size_t i = 0; i < sizeof ends / sizeof ends[0] && status == NEXUS_OK; i++)
        status = nexus_db_exec(tx, ends[i], (nexus_value[]){NEXUS_TEXT_C(user->id)}, 1, NULL);
    return status == NEXUS_OK ? void_access_tokens(a, tx, user) : status;
}

/* --- states --------------------------------------------------------------------------------------------------------------- */

static nexus_status tell(nexus_auth *a, nexus_db *tx, const nexus_user *user, const char *name, nexus_slice word,
                         nexus_slice tenant)
{
    nexus__buf data;
    nexus__buf_init(&data, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&data);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "user_id", user->id);
    nexus__json_put_text(&w, name, word);
    if (tenant.n)
        nexus__json_put_text(&w, "tenant", tenant);
    nexus__json_close(&w, '}');
    nexus_status status = nexus__auth_event(a, tx, "user.changed", user->id, &data);
    nexus__buf_free(&data);
    return status;
}

static nexus_status forget_attempts(nexus_auth *a, nexus_db *tx, const nexus_user *user)
{
    (void)a;
    char key[256], hash[NEXUS__HASH_TEXT];
    nexus__email_key(nexus__slice_c(user->email), key);
    nexus_status status = nexus__token_hash(nexus__slice_c(key), hash);
    if (status == NEXUS_OK)
        status = nexus_db_exec(tx, "DELETE FROM auth_attempts WHERE email_hash = $1",
                               (nexus_value[]){NEXUS_TEXT_C(hash)}, 1, NULL);
    return status == NEXUS_OK
               ? nexus_db_exec(tx, "UPDATE auth_totp SET failures = 0, blocked_until = 0 WHERE user_id = $1",
                               (nexus_value[]){NEXUS_TEXT_C(user->id)}, 1, NULL)
               : status;
}

/* The row stays, for what refers to it; who it was does not, and the address is free again. */
static nexus_status forget_person(nexus_auth *a, nexus_db *tx, const nexus_user *user)
{
    static const char *const ends[] = {
        "DELETE FROM auth_grants WHERE user_id = $1", "DELETE FROM auth_totp WHERE user_id = $1",
        "DELETE FROM auth_recovery WHERE user_id = $1", "DELETE FROM auth_devices WHERE user_id = $1",
        "DELETE FROM auth_resets WHERE user_id = $1"};
    nexus_status status = forget_attempts(a, tx, user);
    for (size_t i = 0; i < sizeof ends / sizeof ends[0] && status == NEXUS_OK; i++)
        status = nexus_db_exec(tx, ends[i], (nexus_value[]){NEXUS_TEXT_C(user->id)}, 1, NULL);
    return status == NEXUS_OK
               ? nexus_db_exec(tx,
                               "UPDATE auth_users SET deleted_at = $2, email = '', name = '', password = '',"
                               " email_key = 'deleted ' || id WHERE id = $1",
                               (nexus_value[]){NEXUS_TEXT_C(user->id), NEXUS_INT(nexus__auth_now_ns(a))}, 2, NULL)
               : status;
}

static nexus_status forget_second_factor(nexus_auth *a, nexus_db *tx, const nexus_user *user)
{
    (void)a;
    nexus_status status = nexus_db_exec(tx, "DELETE FROM auth_totp WHERE user_id = $1",
                                        (nexus_value[]){NEXUS_TEXT_C(user->id)}, 1, NULL);
    return status == NEXUS_OK ? nexus_db_exec(tx, "DELETE FROM auth_recovery WHERE user_id = $1",
                                              (nexus_value[]){NEXUS_TEXT_C(user->id)}, 1, NULL)
                              : status;
}

static const struct change {
    const char *name, *sql; /* sql NULL: none */
    bool revokes;
    nexus_status (*more)(nexus_auth *a, nexus_db *tx, const nexus_user *user);
} changes[] = {
    {"disable", "UPDATE auth_users SET disabled = 1 WHERE id = $1", true, NULL},
    {"enable", "UPDATE auth_users SET disabled = 0 WHERE id = $1", false, NULL},
    {"lock", "UPDATE auth_users SET locked = 1 WHERE id = $1", true, NULL},
    {"unlock", "UPDATE auth_users SET locked = 0 WHERE id = $1", false, forget_attempts},
    {"require-reset", "UPDATE auth_users SET must_reset = 1 WHERE id = $1", true, NULL},
    {"verify", "UPDATE auth_users SET unverified = 0 WHERE id = $1", false, NULL},
    {"drop-second-factor", NULL, true, forget_second_factor},
    {"sign-out", NULL, true, NULL},
    {"delete", NULL, true, forget_person},
};

static const struct change *find_change(const char *name)
{
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++)
        if (strcmp(changes[i].name, name) == 0)
            return &changes[i];
    return NULL;
}

static nexus_status apply(nexus_auth *a, nexus_db *tx, const nexus_user *user, const struct change *change)
{
    nexus_status status = NEXUS_OK;
    if (change->revokes)
        status = nexus__subject_revoke(a, tx, user, change->name);
    if (status == NEXUS_OK && change->sql)
        status = nexus_db_exec(tx, change->sql, (nexus_value[]){NEXUS_TEXT_C(user->id)}, 1, NULL);
    if (status == NEXUS_OK && change->more)
        status = change->more(a, tx, user);
    return status == NEXUS_OK ? tell(a, tx, user, "change", nexus__slice_c(change->name), NEXUS_S("")) : status;
}

nexus_status nexus_auth_change_user(nexus_auth *a, nexus_slice user_id, const char *name)
{
    const struct change *change = find_change(name);
    nexus_user *user;
    nexus_db *tx;
    if (!change)
        return nexus__fail(NEXUS_EINVAL, "change: must be disable, enable, lock, unlock, require-reset, verify, "
                                         "drop-second-factor, sign-out or delete");
    nexus_status status = nexus_auth_user(a, user_id, &user);
    if (status != NEXUS_OK)
        return status;
    if (user->deleted)
        status = nexus__fail(NEXUS_ENOTFOUND, "no such user");
    if (status == NEXUS_OK)
        status = nexus_db_begin(&tx, a->db);
    if (status == NEXUS_OK)
        status = nexus__finish(tx, apply(a, tx, user, change));
    nexus_user_free(user);
    return status;
}

nexus_status nexus_auth_set_disabled(nexus_auth *a, nexus_slice user_id, bool disabled)
{
    return nexus_auth_change_user(a, user_id, disabled ? "disable" : "enable");
}

/* --- roles ----------------------------------------------------------------------------------------------------------------- */

static nexus_status count_roles(nexus_db *tx, const nexus_user *user)
{
    nexus_rows *rows;
    nexus_status status = nexus__user_roles(&rows, tx, user->id);
    if (status != NEXUS_OK)
        return status;
    bool fits = nexus_rows_count(rows) <= NEXUS__USER_ROLES;
    nexus_rows_free(rows);
    return fits ? NEXUS_OK : nexus__fail(NEXUS_EINVAL, "role: a user has at most %d", NEXUS__USER_ROLES);
}

static nexus_status take_role(nexus_db *tx, const nexus_user *user, nexus_slice role, nexus_slice tenant)
{
    return nexus_db_exec(tx, "DELETE FROM auth_grants WHERE user_id = $1 AND role = $2 AND tenant = $3",
                         (nexus_value[]){NEXUS_TEXT_C(user->id), NEXUS_TEXT(role), NEXUS_TEXT(tenant)}, 3, NULL);
}

/* Sessions carry on with the new roles, under new ids; tokens that say he still has a role he lost do not. */
nexus_status nexus__change_role(nexus_auth *a, nexus_db *tx, const nexus_user *user, nexus_slice role,
                                nexus_slice tenant, bool held)
{
    nexus_status status =
        held ? nexus__add_role(a, tx, user->id, role, tenant) : take_role(tx, user, role, tenant);
    if (status == NEXUS_OK && held)
        status = count_roles(tx, user);
    if (status == NEXUS_OK)
        status = nexus_db_exec(tx, "UPDATE auth_sessions SET rotation_due = 1 WHERE user_id = $1",
                               (nexus_value[]){NEXUS_TEXT_C(user->id)}, 1, NULL);
    if (status == NEXUS_OK && !held)
        status = void_access_tokens(a, tx, user);
    return status == NEXUS_OK ? tell(a, tx, user, held ? "role_given" : "role_taken", role, tenant) : status;
}

/* --- lists ----------------------------------------------------------------------------------------------------------------- */

void nexus_user_filter_init(nexus_user_filter *filter)
{
    *filter = (nexus_user_filter)NEXUS_USER_FILTER_INIT;
}

static void put_user(nexus__json_writer *w, const nexus_user *u)
{
    char at[32];
    nexus__json_open(w, '{');
    nexus__json_put_text_c(w, "id", u->id);
    nexus__json_put_text_c(w, "email", u->email);
    nexus__json_put_text_c(w, "name", u->name);
    nexus__json_put_text_c(w, "state", nexus_user_state(u));
    nexus__json_key(w, "roles");
    nexus__json_open(w, '[');
    for (size_t i = 0; i < u->role_count; i++)
        nexus__json_text_c_value(w, u->roles[i]);
    nexus__json_close(w, ']');
    nexus__json_put_text(w, "created_at", nexus__slice(at, nexus__format_rfc3339(u->created_at_ns, at)));
    nexus__json_close(w, '}');
}

/* The state in SQL, in the order of gate.c. */
#define STATE                                                                                                          \
    "CASE WHEN deleted_at IS NOT NULL THEN 'deleted' WHEN disabled = 1 THEN 'disabled' WHEN locked = 1 THEN 'locked'"  \
    " WHEN unverified = 1 THEN 'unverified' WHEN must_reset = 1 THEN 'password-reset' ELSE 'active' END"

static nexus_status query_ids(nexus_rows **out, nexus_auth *a, const nexus_user_filter *f, int64_t limit)
{
    char key[256];
    nexus__email_key(f->email, key);
    return nexus_db_query(out, a->db,
                          "SELECT id FROM auth_users WHERE id < $1 AND ($2 = '' OR email_key = $2)"
                          " AND (($3 = '' AND deleted_at IS NULL) OR $3 = " STATE ") ORDER BY id DESC LIMIT $4",
                          (nexus_value[]){NEXUS_TEXT(f->cursor.n ? f->cursor : NEXUS_S("~")), NEXUS_TEXT_C(key),
                                          NEXUS_TEXT(f->state.n ? f->state : NEXUS_S("")), NEXUS_INT(limit + 1)},
                          4);
}

static nexus_status write_users(nexus_auth *a, nexus_rows *rows, int64_t limit, nexus__json_writer *w)
{
    nexus_status status = NEXUS_OK;
    char last[NEXUS__UUID_LEN + 1] = "";
    int64_t n = 0;
    nexus__json_open(w, '{');
    nexus__json_key(w, "items");
    nexus__json_open(w, '[');
    while (nexus_rows_next(rows) && status == NEXUS_OK && n++ < limit) {
        nexus_slice id;
        nexus_user *user;
        nexus_rows_text(rows, 0, &id);
        snprintf(last, sizeof last, "%.*s", (int)id.n, id.p);
        status = nexus_auth_user(a, id, &user);
        if (status == NEXUS_OK) {
            put_user(w, user);
            nexus_user_free(user);
        }
    }
    nexus__json_close(w, ']');
    nexus__json_put_text_c(w, "next_cursor", n > limit ? last : NULL);
    nexus__json_close(w, '}');
    return status;
}

nexus_status nexus_auth_users(nexus_auth *a, const nexus_user_filter *filter, char **json, size_t *n)
{
    static const nexus_user_filter all = NEXUS_USER_FILTER_INIT;
    const nexus_user_filter *f = filter ? filter : &all;
    nexus_rows *rows;
    nexus__buf text;
    if (f->size != sizeof *f)
        return nexus__fail(NEXUS_EINVAL, "nexus_user_filter: size is required");
    int64_t limit = f->limit ? f->limit : 20;
    nexus_status status = query_ids(&rows, a, f, limit);
    if (status != NEXUS_OK)
        return status;
    nexus__buf_init(&text, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&text);
    status = write_users(a, rows, limit, &w);
    nexus_rows_free(rows);
    return nexus__hand_over(&text, status, json, n);
}

nexus_status nexus_auth_user_json(nexus_auth *a, nexus_slice id, char **json, size_t *n)
{
    nexus_user *user;
    nexus__buf text;
    nexus_status status = nexus_auth_user(a, id, &user);
    if (status != NEXUS_OK)
        return status;
    nexus__buf_init(&text, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&text);
    put_user(&w, user);
    nexus_user_free(user);
    return nexus__hand_over(&text, NEXUS_OK, json, n);
}
