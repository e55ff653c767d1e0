/*
 * Sessions of browsers: a random id in a cookie, its hash in a row. A session ends when it rests too long, when it is too
 * old, when it is ended here or when everything its user has is voided; until then each use asks the gate again and may
 * move the row on: "seen" once a minute, and a new id when what the user may do has changed. The id before is good for
 * ten more seconds, for requests that were under way.
 */
#include "auth/auth_private.h"
#include "json/write.h"

#define SEEN_EVERY_NS (60 * NEXUS__NS_PER_S)
#define OLD_ID_NS (10 * NEXUS__NS_PER_S)

typedef struct session {
    char id[NEXUS__UUID_LEN + 1], user_id[NEXUS__UUID_LEN + 1], hash[NEXUS__HASH_TEXT];
    int64_t created_at, seen_at, expires_at, rotated_at;
    bool current, rotation_due; /* current: found by its id of now, not by the one before */
} session;

static nexus_status refuse(void)
{
    return nexus__fail(NEXUS_EAUTH, "the session is not valid any more");
}

nexus_status nexus__session_begin(nexus_auth *a, nexus_db *tx, const nexus_user *user, const nexus_auth_client *client,
                                  char id[static NEXUS__UUID_LEN + 1], char token[static NEXUS__TOKEN_TEXT])
{
    char hash[NEXUS__HASH_TEXT];
    int64_t now = nexus__auth_now_ns(a);
    nexus__uuid7(id);
    nexus__token_make(token);
    nexus_status status = nexus__token_hash(nexus__slice_c(token), hash);
    bool all = nexus__random_u64() % 256 == 0; /* those of people who do not come back, now and then */
    if (status == NEXUS_OK)                    /* the user's own that are over, each time */
        status = nexus_db_exec(tx,
                               all ? "DELETE FROM auth_sessions WHERE $1 <> '' AND (expires_at <= $2 OR seen_at <= $3)"
                                   : "DELETE FROM auth_sessions WHERE user_id = $1 AND (expires_at <= $2 OR seen_at <= $3)",
                               (nexus_value[]){NEXUS_TEXT_C(user->id), NEXUS_INT(now),
                                               NEXUS_INT(now - a->opts.session_idle_s * NEXUS__NS_PER_S)},
                               3, NULL);
    return status == NEXUS_OK
               ? nexus_db_exec(tx,
                               "INSERT INTO auth_sessions (id, hash, rotated_at, user_id, created_at, seen_at,"
                               " expires_at, address, agent) VALUES ($1, $2, $4, $3, $4, $4, $5, $6, $7)",
                               (nexus_value[]){NEXUS_TEXT_C(id), NEXUS_TEXT_C(hash), NEXUS_TEXT_C(user->id),
                                               NEXUS_INT(now),
                                               NEXUS_INT(now + a->opts.session_absolute_s * NEXUS__NS_PER_S),
                                               NEXUS_TEXT(nexus__client_address(client)),
                                               NEXUS_TEXT(nexus__client_agent(client))},
                               7, NULL)
               : status;
}

/* --- use -------------------------------------------------------------------------------------------------------------- */

static void copy_cell(nexus_rows *rows, size_t column, char *out, size_t cap)
{
    nexus_slice text;
    nexus_rows_text(rows, column, &text);
    snprintf(out, cap, "%.*s", (int)text.n, text.p ? text.p : "");
}

static nexus_status find(session *s, nexus_auth *a, nexus_slice token)
{
    char hash[NEXUS__HASH_TEXT];
    nexus_rows *rows;
    if (token.n != NEXUS__TOKEN_TEXT - 1)
        return refuse();
    nexus_status status = nexus__token_hash(token, hash);
    if (status == NEXUS_OK)
        status = nexus_db_query_one(&rows, a->db,
                                    "SELECT id, user_id, hash, seen_at, expires_at, rotated_at, rotation_due, created_at"
                                    " FROM auth_sessions WHERE hash = $1 OR previous = $1",
                                    (nexus_value[]){NEXUS_TEXT_C(hash)}, 1);
    if (status != NEXUS_OK)
        return status == NEXUS_ENOTFOUND ? refuse() : status;
    copy_cell(rows, 0, s->id, sizeof s->id);
    copy_cell(rows, 1, s->user_id, sizeof s->user_id);
    copy_cell(rows, 2, s->hash, sizeof s->hash);
    s->seen_at = nexus_rows_int(rows, 3);
    s->expires_at = nexus_rows_int(rows, 4);
    s->rotated_at = nexus_rows_int(rows, 5);
    s->rotation_due = nexus_rows_int(rows, 6) != 0;
    s->created_at = nexus_rows_int(rows, 7);
    s->current = strcmp(s->hash, hash) == 0;
    nexus_rows_free(rows);
    return NEXUS_OK;
}

/* Pure: whether the session is good at `now`. */
static bool is_live(const session *s, int64_t idle_ns, int64_t now)
{
    return now < s->expires_at && now < s->seen_at + idle_ns && (s->current || now <= s->rotated_at + OLD_ID_NS);
}

static nexus_status touch(const session *s, nexus_auth *a)
{
    int64_t now = nexus__auth_now_ns(a);
    if (now < s->seen_at + SEEN_EVERY_NS)
        return NEXUS_OK;
    return nexus_db_exec(a->db, "UPDATE auth_sessions SET seen_at = $2 WHERE id = $1",
                         (nexus_value[]){NEXUS_TEXT_C(s->id), NEXUS_INT(now)}, 2, NULL);
}

/* Whoever comes first gets the new id; *token stays "" for the others. */
static nexus_status rotate(const session *s, nexus_auth *a, char token[static NEXUS__TOKEN_TEXT])
{
    char fresh[NEXUS__TOKEN_TEXT], hash[NEXUS__HASH_TEXT];
    int64_t changes = 0;
    nexus__token_make(fresh);
    nexus_status status = nexus__token_hash(nexus__slice_c(fresh), hash);
    if (status == NEXUS_OK)
        status = nexus_db_exec(a->db,
                               "UPDATE auth_sessions SET hash = $2, previous = $3, rotated_at = $4, rotation_due = 0"
                               " WHERE id = $1 AND hash = $3",
                               (nexus_value[]){NEXUS_TEXT_C(s->id), NEXUS_TEXT_C(hash), NEXUS_TEXT_C(s->hash),
                                               NEXUS_INT(nexus__auth_now_ns(a))},
                               4, &changes);
    if (status == NEXUS_OK && changes)
        memcpy(token, fresh, sizeof fresh);
    return status;
}

static nexus_status use(session *s, nexus_auth *a, nexus_slice token, nexus_user **out)
{
    nexus_user *user = NULL;
    nexus_status status = find(s, a, token);
    if (status == NEXUS_OK && !is_live(s, a->opts.session_idle_s * NEXUS__NS_PER_S, nexus__auth_now_ns(a)))
        status = refuse();
    if (status == NEXUS_OK)
        status = nexus__user_load(&user, a->db, "id", nexus__slice_c(s->user_id));
    if (status == NEXUS_OK && nexus__subject_gate(user) != NEXUS_OK)
        status = refuse();
    if (status == NEXUS_OK)
        status = touch(s, a);
    if (status == NEXUS_OK)
        *out = user;
    else
        nexus_user_free(user);
    return status;
}

nexus_status nexus__session_person(nexus_auth *a, nexus_slice token, nexus_user **out, int64_t *signed_in_s)
{
    session s;
    nexus_status status = use(&s, a, token, out);
    if (status == NEXUS_OK)
        *signed_in_s = s.created_at / NEXUS__NS_PER_S;
    return status;
}

nexus_status nexus_auth_session_user(nexus_auth *a, nexus_slice token, nexus_user **out)
{
    session s;
    return use(&s, a, token, out);
}

nexus_status nexus_auth_session_use(nexus_auth *a, nexus_slice token, nexus_login **out)
{
    session s;
    nexus_user *user;
    nexus_status status = use(&s, a, token, &user);
    if (status != NEXUS_OK)
        return status;
    nexus_login *l = nexus__calloc(NULL, 1, sizeof *l);
    status = l ? nexus__grant_for_session(&l->grant, s.id) : nexus__nomem();
    if (status == NEXUS_OK && s.rotation_due && s.current)
        status = rotate(&s, a, l->session);
    if (status == NEXUS_OK)
        status = nexus__tell_token(a, NULL, user->id, NEXUS_S(""), "session");
    if (status == NEXUS_OK)
        status = nexus__grant_sign(l->grant, a, user);
    nexus_user_free(user);
    if (status == NEXUS_OK)
        *out = l;
    else
        nexus_login_free(l);
    return status;
}

/* --- ending ------------------------------------------------------------------------------------------------------------ */

/* The access tokens that were made for it are void with it. */
static nexus_status tell_ended(nexus_auth *a, nexus_db *tx, const char *user_id, const char *id)
{
    nexus__buf data;
    nexus_status status = nexus__auth_revoke(a, tx, "session", id, 0);
    if (status != NEXUS_OK)
        return status;
    nexus__buf_init(&data, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&data);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "user_id", user_id);
    nexus__json_put_text_c(&w, "session_id", id);
    nexus__json_close(&w, '}');
    status = nexus__auth_event(a, tx, "user.logout", user_id, &data);
    nexus__buf_free(&data);
    return status;
}

static nexus_status end_in(nexus_auth *a, nexus_db *tx, const char *user_id, nexus_slice id, int64_t *changes)
{
    char text[NEXUS__UUID_LEN + 1];
    int64_t families = 0;
    snprintf(text, sizeof text, "%.*s", (int)id.n, id.p);
    nexus_status status = nexus_db_exec(tx, "DELETE FROM auth_sessions WHERE id = $1 AND user_id = $2",
                                        (nexus_value[]){NEXUS_TEXT_C(text), NEXUS_TEXT_C(user_id)}, 2, changes);
    if (status == NEXUS_OK)
        status = nexus_db_exec(tx,
                               "UPDATE auth_families SET revoked_at = $3, reason = 'ended'"
                               " WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL",
                               (nexus_value[]){NEXUS_TEXT_C(text), NEXUS_TEXT_C(user_id),
                                               NEXUS_INT(nexus__auth_now_ns(a))},
                               3, &families);
    *changes += families;
    return status == NEXUS_OK && *changes ? tell_ended(a, tx, user_id, text) : status;
}

nexus_status nexus_auth_session_revoke(nexus_auth *a, nexus_slice user_id, nexus_slice id)
{
    nexus_user *user;
    nexus_db *tx;
    int64_t changes = 0;
    if (id.n != NEXUS__UUID_LEN || memchr(id.p, 0, id.n))
        return nexus__fail(NEXUS_ENOTFOUND, "no such session");
    nexus_status status = nexus_auth_user(a, user_id, &user);
    if (status != NEXUS_OK)
        return status;
    status = nexus_db_begin(&tx, a->db);
    if (status == NEXUS_OK)
        status = nexus__finish(tx, end_in(a, tx, user->id, id, &changes));
    nexus_user_free(user);
    return status == NEXUS_OK && changes == 0 ? nexus__fail(NEXUS_ENOTFOUND, "no such session") : status;
}

nexus_status nexus_auth_session_end(nexus_auth *a, nexus_slice token)
{
    session s;
    nexus_status status = find(&s, a, token);
    if (status == NEXUS_OK)
        status = nexus_auth_session_revoke(a, nexus__slice_c(s.user_id), nexus__slice_c(s.id));
    return status == NEXUS_EAUTH || status == NEXUS_ENOTFOUND ? NEXUS_OK : status;
}

/* --- the list ---------------------------------------------------------------------------------------------------------- */

static const struct {
    const char *kind, *sql;
} lists[] = {
    {"browser", "SELECT id, created_at, seen_at, expires_at, address, agent FROM auth_sessions"
                " WHERE user_id = $1 AND expires_at > $2 AND seen_at > $3 ORDER BY id DESC"},
    {"token", "SELECT f.id, f.created_at, (SELECT max(r.created_at) FROM auth_refresh r WHERE r.family = f.id),"
              " f.expires_at, f.address, f.agent FROM auth_families f"
              " WHERE f.user_id = $1 AND f.expires_at > $2 AND f.revoked_at IS NULL AND $3 < $2 AND EXISTS (SELECT 1"
              " FROM auth_refresh r WHERE r.family = f.id AND r.used_at IS NULL AND r.idle_until > $2)"
              " ORDER BY f.id DESC"},
};

static void put_session(nexus__json_writer *w, nexus_rows *rows, const char *kind, nexus_slice current)
{
    static const char *const instants[] = {"created_at", "seen_at", "expires_at"};
    nexus_slice text;
    char at[32];
    nexus_rows_text(rows, 0, &text);
    nexus__json_open(w, '{');
    nexus__json_put_text(w, "id", text);
    nexus__json_put_text_c(w, "kind", kind);
    nexus__json_put_bool(w, "current", nexus__slice_eq(text, current));
    for (size_t i = 0; i < 3; i++)
        nexus__json_put_text(w, instants[i], nexus__slice(at, nexus__format_rfc3339(nexus_rows_int(rows, i + 1), at)));
    nexus_rows_text(rows, 4, &text);
    nexus__json_put_text(w, "address", text);
    nexus_rows_text(rows, 5, &text);
    nexus__json_put_text(w, "agent", text);
    nexus__json_close(w, '}');
}

nexus_status nexus_auth_sessions(nexus_auth *a, nexus_slice user_id, nexus_slice current, char **json, size_t *n)
{
    nexus__buf text;
    nexus_status status = NEXUS_OK;
    int64_t now = nexus__auth_now_ns(a);
    nexus__buf_init(&text, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&text);
    nexus__json_open(&w, '[');
    for (size_t i = 0; i < sizeof lists / sizeof lists[0] && status == NEXUS_OK; i++) {
        nexus_rows *rows;
        status = nexus_db_query(&rows, a->db, lists[i].sql,
                                (nexus_value[]){NEXUS_TEXT(user_id), NEXUS_INT(now),
                                                NEXUS_INT(now - a->opts.session_idle_s * NEXUS__NS_PER_S)},
                                3);
        if (status != NEXUS_OK)
            break;
        while (nexus_rows_next(rows))
            put_session(&w, rows, lists[i].kind, current);
        nexus_rows_free(rows);
    }
    nexus__json_close(&w, ']');
    return nexus__hand_over(&text, status, json, n);
}
