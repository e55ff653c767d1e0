/* API keys in a database: made, shown, rotated, revoked. */
#include "auth/apikey_private.h"
#include "auth/rbac.h"
#include "base/utf8.h"
#include "crypto/wipe.h"
#include "json/write.h"

enum { SCOPES_MAX = 64, OWNED_MAX = 100, TTL_S = 90 * 86400, TTL_MAX_S = 366 * 86400, OVERLAP_S = 86400 };

/* --- events and texts ---------------------------------------------------------------------------------------------- */

nexus_status nexus__apikey_event(nexus_apikeys *k, nexus_db *tx, const char *type, nexus_slice id, nexus_slice owner,
                                 nexus_slice name, int64_t expires)
{
    char at[32];
    nexus__buf data;
    if (!k->opts.event_fn)
        return NEXUS_OK;
    nexus__buf_init(&data, NULL, 0);
    nexus__format_rfc3339(expires, at);
    nexus__json_writer w = nexus__json_writer_on(&data);
    nexus__json_open(&w, '{');
    nexus__json_put_text(&w, "key_id", id);
    nexus__json_put_text(&w, "user_id", owner);
    nexus__json_put_text(&w, "name", name);
    nexus__json_put_text_c(&w, "expires_at", at);
    nexus__json_close(&w, '}');
    nexus_status status = data.status != NEXUS_OK
                              ? nexus__nomem()
                              : k->opts.event_fn(tx, type, owner, nexus__buf_slice(&data), k->opts.user_data);
    nexus__buf_free(&data);
    return status;
}

void nexus__apikey_put_words(nexus__buf *out, nexus_slice words)
{
    nexus__json_writer w = nexus__json_writer_on(out);
    nexus__json_open(&w, '[');
    while (words.n) {
        nexus_slice word = nexus__slice_cut(&words, ' ');
        if (word.n)
            nexus__json_text_value(&w, word);
    }
    nexus__json_close(&w, ']');
}

static void put_instant(nexus__json_writer *w, const char *name, const nexus_rows *rows, size_t column)
{
    char at[32];
    if (nexus_rows_is_null(rows, column)) {
        nexus__json_put_null(w, name);
        return;
    }
    nexus__format_rfc3339(nexus_rows_int(rows, column), at);
    nexus__json_put_text_c(w, name, at);
}

static void put_words(nexus__json_writer *w, const char *name, const nexus_rows *rows, size_t column)
{
    nexus_slice words;
    nexus_rows_text(rows, column, &words);
    nexus__json_key(w, name);
    nexus__apikey_put_words(w->out, words);
    w->comma = true;
}

static void write_row(nexus__json_writer *w, const nexus_rows *rows, int64_t now)
{
    static const struct {
        const char *name;
        size_t column;
    } texts[] = {
        {"id", NEXUS__APIKEY_ID},     {"owner", NEXUS__APIKEY_OWNER},   {"name", NEXUS__APIKEY_NAME},
        {"plan", NEXUS__APIKEY_PLAN}, {"tenant", NEXUS__APIKEY_TENANT},
    };
    nexus__json_open(w, '{');
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        nexus_slice text;
        nexus_rows_text(rows, texts[i].column, &text);
        nexus__json_put_text(w, texts[i].name, text);
    }
    put_words(w, "scopes", rows, NEXUS__APIKEY_SCOPES);
    put_words(w, "cidrs", rows, NEXUS__APIKEY_CIDRS);
    nexus__json_put_text_c(w, "state",
                           !nexus_rows_is_null(rows, NEXUS__APIKEY_REVOKED)     ? "revoked"
                           : now >= nexus_rows_int(rows, NEXUS__APIKEY_EXPIRES) ? "expired"
                                                                                : "active");
    put_instant(w, "created_at", rows, NEXUS__APIKEY_CREATED);
    put_instant(w, "expires_at", rows, NEXUS__APIKEY_EXPIRES);
    put_instant(w, "revoked_at", rows, NEXUS__APIKEY_REVOKED);
    put_instant(w, "last_used_at", rows, NEXUS__APIKEY_LAST_USED);
    put_instant(w, "old_secret_until", rows, NEXUS__APIKEY_OLD_UNTIL);
    nexus__json_close(w, '}');
}

/* --- showing ------------------------------------------------------------------------------------------------------- */

static nexus_status not_found(void)
{
    return nexus__fail(NEXUS_ENOTFOUND, "there is no such API key");
}

static bool may_be_id(nexus_slice id)
{
    return id.n == NEXUS_APIKEY_ID_LEN && !memchr(id.p, 0, id.n);
}

/* One row of anybody's, or of the owner's. */
static nexus_status find(nexus_rows **out, nexus_db *db, nexus_slice id, nexus_slice owner)
{
    nexus_status status = !may_be_id(id)
                              ? NEXUS_ENOTFOUND
                              : nexus_db_query_one(out, db,
                                                   "SELECT " NEXUS__APIKEY_COLUMNS
                                                   " FROM auth_apikeys WHERE id = $1 AND ($2 = '' OR owner_id = $2)",
                                                   (nexus_value[]){NEXUS_TEXT(id), NEXUS_TEXT(owner)}, 2);
    return status == NEXUS_ENOTFOUND ? not_found() : status;
}

static nexus_status show_in(nexus_apikeys *k, nexus_db *db, nexus_slice id, nexus_slice owner, char **json, size_t *n)
{
    nexus_rows *rows;
    nexus__buf text;
    nexus_status status = find(&rows, db, id, owner);
    if (status != NEXUS_OK)
        return status;
    nexus__buf_init(&text, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&text);
    write_row(&w, rows, nexus__apikeys_now(k));
    nexus_rows_free(rows);
    return nexus__buf_hand_over(&text, json, n);
}

nexus_status nexus_apikeys_show(nexus_apikeys *k, nexus_slice id, nexus_slice owner, char **json, size_t *n)
{
    return show_in(k, k->db, id, owner, json, n);
}

nexus_status nexus_apikeys_list(nexus_apikeys *k, nexus_slice owner, nexus_slice cursor, uint32_t limit, char **json,
                                size_t *n)
{
    nexus_rows *rows;
    nexus__buf text;
    nexus_slice last = {0};
    uint32_t seen = 0;
    if (limit < 1 || limit > 100)
        return nexus__fail(NEXUS_EINVAL, "limit: must be 1 to 100");
    nexus_status status =
        nexus_db_query(&rows, k->db,
                       "SELECT " NEXUS__APIKEY_COLUMNS
                       " FROM auth_apikeys WHERE ($1 = '' OR owner_id = $1) AND id > $2 ORDER BY id LIMIT $3",
                       (nexus_value[]){NEXUS_TEXT(owner), NEXUS_TEXT(cursor), NEXUS_INT(limit + 1)}, 3);
    if (status != NEXUS_OK)
        return status;
    nexus__buf_init(&text, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&text);
    nexus__json_open(&w, '{');
    nexus__json_key(&w, "items");
    nexus__json_open(&w, '[');
    bool more = nexus_rows_count(rows) > limit;
    while (seen++ < limit && nexus_rows_next(rows)) {
        nexus_rows_text(rows, NEXUS__APIKEY_ID, &last);
        write_row(&w, rows, nexus__apikeys_now(k));
    }
    nexus__json_close(&w, ']');
    if (more)
        nexus__json_put_text(&w, "next_cursor", last);
    else
        nexus__json_put_null(&w, "next_cursor");
    nexus__json_close(&w, '}');
    nexus_rows_free(rows);
    return nexus__buf_hand_over(&text, json, n);
}

/* --- making -------------------------------------------------------------------------------------------------------- */

/* What somebody holds in a tenant, by the policy of now. */
typedef struct owned {
    nexus_rbac *policy;
    nexus_slice roles[NEXUS__USER_ROLES];
    size_t count;
} owned;

static void owned_begin(owned *o, nexus_apikeys *k, const nexus_user *owner, nexus_slice tenant)
{
    nexus_slice carried[NEXUS__USER_ROLES];
    pthread_mutex_lock(&k->lock);
    o->policy = nexus_rbac_ref(k->locked.policy);
    pthread_mutex_unlock(&k->lock);
    for (size_t i = 0; i < owner->role_count; i++)
        carried[i] = nexus__slice_c(owner->roles[i]);
    o->count = nexus_rbac_roles_in(o->policy, carried, owner->role_count, tenant, o->roles);
}

/* One space between words, none around; every word judged. */
static nexus_status judge_scopes(const owned *o, nexus_slice words, nexus__buf *out)
{
    size_t count = 0;
    while (words.n) {
        nexus_slice word = nexus__slice_cut(&words, ' ');
        if (word.n == 0)
            continue;
        const char *why = nexus__permission_pattern_error(word);
        int shown = word.n > 100 ? 100 : (int)word.n;
        if (why)
            return nexus__fail(NEXUS_EINVAL, "scopes: \"%.*s\" %s", shown, word.p, why);
        if (!nexus_rbac_covers(o->policy, o->roles, o->count, word, true))
            return nexus__fail(NEXUS_EPERM, "scopes: the owner does not hold \"%.*s\"", shown, word.p);
        if (++count > SCOPES_MAX)
            break;
        if (out->len)
            nexus__buf_char(out, ' ');
        nexus__buf_slice_append(out, word);
    }
    if (count == 0 || count > SCOPES_MAX)
        return nexus__fail(NEXUS_EINVAL, "scopes: name 1 to %d permissions such as orders:read", SCOPES_MAX);
    return out->status;
}

static nexus_status take_scopes(nexus_apikeys *k, const nexus_user *owner, const nexus_apikey_spec *spec, nexus__buf *out)
{
    owned o;
    owned_begin(&o, k, owner, spec->tenant);
    nexus_status status = judge_scopes(&o, spec->scopes, out);
    nexus_rbac_free(o.policy);
    return status;
}

static nexus_status take_cidrs(nexus_slice words, nexus__buf *out)
{
    uint32_t count = 0;
    nexus__ip_block block;
    while (words.n) {
        nexus_slice word = nexus__slice_cut(&words, ' ');
        if (word.n == 0)
            continue;
        if (!nexus__ip_block_parse(word, &block))
            return nexus__fail(NEXUS_EINVAL, "cidrs: \"%.*s\" is no address or block such as 10.0.0.0/8",
                               word.n > 50 ? 50 : (int)word.n, word.p);
        if (++count > NEXUS__APIKEY_CIDRS_MAX)
            return nexus__fail(NEXUS_EINVAL, "cidrs: at most %d", NEXUS__APIKEY_CIDRS_MAX);
        if (out->len)
            nexus__buf_char(out, ' ');
        nexus__buf_slice_append(out, word);
    }
    return out->status;
}

static bool is_word(nexus_slice text)
{
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] <= ' ' || text.p[i] > '~' || text.p[i] == '"' || text.p[i] == '\\')
            return false;
    return text.n <= 64;
}

static nexus_status check_spec(const nexus_apikey_spec *s)
{
    nexus_status status = nexus__check_name(s->name);
    if (status != NEXUS_OK)
        return status;
    if (!is_word(s->plan))
        return nexus__fail(NEXUS_EINVAL, "plan: at most 64 visible ASCII characters");
    if (!is_word(s->tenant))
        return nexus__fail(NEXUS_EINVAL, "tenant: at most 64 visible ASCII characters");
    if (s->ttl_s > TTL_MAX_S)
        return nexus__fail(NEXUS_EINVAL, "ttl_s: at most %d", TTL_MAX_S);
    return NEXUS_OK;
}

static nexus_status count_owned(nexus_db *tx, const char *owner, int64_t now)
{
    nexus_rows *rows;
    nexus_status status = nexus_db_query_one(
        &rows, tx, "SELECT count(*) FROM auth_apikeys WHERE owner_id = $1 AND revoked_at IS NULL AND expires_at > $2",
        (nexus_value[]){NEXUS_TEXT_C(owner), NEXUS_INT(now)}, 2);
    if (status != NEXUS_OK)
        return status;
    bool full = nexus_rows_int(rows, 0) >= OWNED_MAX;
    nexus_rows_free(rows);
    return full ? nexus__fail(NEXUS_ELIMIT, "the owner has %d API keys; revoke some", OWNED_MAX) : NEXUS_OK;
}

typedef struct made {
    char text[NEXUS_APIKEY_LEN + 1], hash[NEXUS__HASH_TEXT];
    nexus__buf scopes, cidrs;
} made;

static nexus_slice id_of(const char *text)
{
    nexus_slice id = {0};
    (void)nexus_apikey_parse(text, NEXUS_APIKEY_LEN, &id);
    return id;
}

static nexus_status insert(nexus_apikeys *k, nexus_db *tx, const nexus_apikey_spec *s, const nexus_user *owner,
                           const made *m)
{
    int64_t now = nexus__apikeys_now(k), ttl = s->ttl_s ? s->ttl_s : TTL_S, expires = now + ttl * NEXUS__NS_PER_S;
    nexus_status status = count_owned(tx, owner->id, now);
    if (status == NEXUS_OK)
        status = nexus_db_exec(tx,
                               "INSERT INTO auth_apikeys (id, owner_id, name, scopes, cidrs, plan, tenant, hash, "
                               "created_at, expires_at, ttl_s)"
                               " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
                               (nexus_value[]){NEXUS_TEXT(id_of(m->text)), NEXUS_TEXT_C(owner->id), NEXUS_TEXT(s->name),
                                               NEXUS_TEXT(nexus__buf_slice(&m->scopes)),
                                               NEXUS_TEXT(nexus__buf_slice(&m->cidrs)), NEXUS_TEXT(s->plan),
                                               NEXUS_TEXT(s->tenant), NEXUS_TEXT_C(m->hash), NEXUS_INT(now),
                                               NEXUS_INT(expires), NEXUS_INT(ttl)},
                               11, NULL);
    return status == NEXUS_OK ? nexus__apikey_event(k, tx, "apikey.created", id_of(m->text), nexus__slice_c(owner->id),
                                                    s->name, expires)
                              : status;
}

/* Hands text and view over, or neither. */
static nexus_status hand_over(const made *m, nexus_status status, char *view, size_t view_n, char **text, char **json,
                              size_t *n)
{
    char *copy = status == NEXUS_OK ? nexus__strndup(NULL, nexus__slice_c(m->text)) : NULL;
    if (status == NEXUS_OK && copy) {
        *text = copy;
        *json = view;
        *n = view_n;
        return NEXUS_OK;
    }
    nexus__free(NULL, view);
    return status != NEXUS_OK ? status : nexus__nomem();
}

static nexus_status make(nexus_apikeys *k, const nexus_apikey_spec *s, const nexus_user *owner, made *m, char **view,
                         size_t *view_n)
{
    nexus_db *tx;
    nexus_status status = nexus__subject_gate(owner);
    if (status == NEXUS_OK)
        status = take_scopes(k, owner, s, &m->scopes);
    if (status == NEXUS_OK)
        status = take_cidrs(s->cidrs, &m->cidrs);
    nexus__apikey_make(NULL, m->text);
    if (status == NEXUS_OK)
        status = nexus__apikey_hash(k, m->text, m->hash);
    if (status == NEXUS_OK)
        status = nexus_db_begin(&tx, k->db);
    if (status != NEXUS_OK)
        return status;
    status = insert(k, tx, s, owner, m);
    if (status == NEXUS_OK)
        status = show_in(k, tx, id_of(m->text), NEXUS_S(""), view, view_n);
    return nexus__finish(tx, status);
}

nexus_status nexus_apikeys_create(nexus_apikeys *k, const nexus_apikey_spec *s, char **text, char **json, size_t *n)
{
    if (!s || s->size != sizeof *s)
        return nexus__fail(NEXUS_EINVAL, "nexus_apikey_spec: size is required");
    nexus_user *owner;
    made m = {0};
    char *view = NULL;
    size_t view_n = 0;
    nexus_status status = check_spec(s);
    if (status == NEXUS_OK)
        status = nexus__user_load(&owner, k->db, "id", s->owner);
    if (status != NEXUS_OK)
        return status;
    status = make(k, s, owner, &m, &view, &view_n);
    status = hand_over(&m, status, view, view_n, text, json, n);
    nexus_user_free(owner);
    nexus__buf_free(&m.scopes);
    nexus__buf_free(&m.cidrs);
    nexus__wipe(m.text, sizeof m.text);
    return status;
}

/* --- changing ------------------------------------------------------------------------------------------------------ */

static nexus_status replace_secret(nexus_apikeys *k, nexus_db *tx, const nexus_rows *row, const char *hash,
                                   uint32_t overlap_s)
{
    int64_t now = nexus__apikeys_now(k), expires = now + nexus_rows_int(row, NEXUS__APIKEY_TTL) * NEXUS__NS_PER_S;
    int64_t until = nexus_rows_int(row, NEXUS__APIKEY_EXPIRES), over = now + overlap_s * NEXUS__NS_PER_S;
    nexus_slice id, owner, name;
    nexus_rows_text(row, NEXUS__APIKEY_ID, &id);
    nexus_rows_text(row, NEXUS__APIKEY_OWNER, &owner);
    nexus_rows_text(row, NEXUS__APIKEY_NAME, &name);
    nexus_status status = nexus_db_exec(
        tx,
        "UPDATE auth_apikeys SET old_hash = hash, old_until = $3, hash = $2, expires_at = $4, warned_at = NULL"
        " WHERE id = $1",
        (nexus_value[]){NEXUS_TEXT(id), NEXUS_TEXT_C(hash), NEXUS_INT(over < until ? over : until), NEXUS_INT(expires)},
        4, NULL);
    return status == NEXUS_OK ? nexus__apikey_event(k, tx, "apikey.rotated", id, owner, name, expires) : status;
}

/* The row, held by this transaction until it ends. */
static nexus_status take_row(nexus_rows **out, nexus_db *tx, nexus_slice id, nexus_slice owner)
{
    nexus_status status = !may_be_id(id) ? not_found()
                                         : nexus_db_exec(tx, "UPDATE auth_apikeys SET name = name WHERE id = $1",
                                                         (nexus_value[]){NEXUS_TEXT(id)}, 1, NULL);
    return status == NEXUS_OK ? find(out, tx, id, owner) : status;
}

static nexus_status rotate_in(nexus_apikeys *k, nexus_db *tx, nexus_slice id, nexus_slice owner, uint32_t overlap_s,
                              const made *m, char **view, size_t *view_n)
{
    nexus_rows *row;
    nexus_status status = take_row(&row, tx, id, owner);
    if (status != NEXUS_OK)
        return status;
    status =
        nexus_rows_is_null(row, NEXUS__APIKEY_REVOKED) ? replace_secret(k, tx, row, m->hash, overlap_s) : not_found();
    nexus_rows_free(row);
    return status == NEXUS_OK ? show_in(k, tx, id, NEXUS_S(""), view, view_n) : status;
}

nexus_status nexus_apikeys_rotate(nexus_apikeys *k, nexus_slice id, nexus_slice owner, uint32_t overlap_s, char **text,
                                  char **json, size_t *n)
{
    char name[NEXUS_APIKEY_ID_LEN + 1], *view = NULL;
    size_t view_n = 0;
    made m = {0};
    nexus_db *tx;
    overlap_s = overlap_s == 0 ? OVERLAP_S : overlap_s == UINT32_MAX ? 0 : overlap_s;
    if (overlap_s > 7 * 86400)
        return nexus__fail(NEXUS_EINVAL, "overlap_s: at most 7 days");
    if (!may_be_id(id))
        return not_found();
    snprintf(name, sizeof name, "%.*s", NEXUS_APIKEY_ID_LEN, id.p);
    nexus__apikey_make(name, m.text);
    nexus_status status = nexus__apikey_hash(k, m.text, m.hash);
    if (status == NEXUS_OK)
        status = nexus_db_begin(&tx, k->db);
    if (status == NEXUS_OK)
        status = nexus__finish(tx, rotate_in(k, tx, id, owner, overlap_s, &m, &view, &view_n));
    nexus__apikey_cache_forget(k->cache, id);
    status = hand_over(&m, status, view, view_n, text, json, n);
    nexus__wipe(m.text, sizeof m.text);
    return status;
}

static nexus_status revoke_in(nexus_apikeys *k, nexus_db *tx, nexus_slice id, nexus_slice owner)
{
    nexus_rows *row;
    nexus_slice name, whose;
    nexus_status status = take_row(&row, tx, id, owner);
    if (status != NEXUS_OK)
        return status;
    nexus_rows_text(row, NEXUS__APIKEY_OWNER, &whose);
    nexus_rows_text(row, NEXUS__APIKEY_NAME, &name);
    if (nexus_rows_is_null(row, NEXUS__APIKEY_REVOKED)) {
        status = nexus_db_exec(tx, "UPDATE auth_apikeys SET revoked_at = $2, old_hash = NULL WHERE id = $1",
                               (nexus_value[]){NEXUS_TEXT(id), NEXUS_INT(nexus__apikeys_now(k))}, 2, NULL);
        if (status == NEXUS_OK)
            status = nexus__apikey_event(k, tx, "apikey.revoked", id, whose, name,
                                         nexus_rows_int(row, NEXUS__APIKEY_EXPIRES));
    }
    nexus_rows_free(row);
    return status;
}

nexus_status nexus_apikeys_revoke(nexus_apikeys *k, nexus_slice id, nexus_slice owner)
{
    nexus_db *tx;
    nexus_status status = nexus_db_begin(&tx, k->db);
    if (status == NEXUS_OK)
        status = nexus__finish(tx, revoke_in(k, tx, id, owner));
    nexus__apikey_cache_forget(k->cache, id);
    return status;
}
