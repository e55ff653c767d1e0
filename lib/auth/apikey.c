/*
 * API keys in a database: opening, checking, upkeep. A check that finds the key in memory, read within the last second, asks
 * nobody; every other outcome, a wrong secret of a known id too, costs the same one look into the database, so that its
 * time tells nothing about which ids there are.
 */
#include "auth/apikey_private.h"
#include "base/codec.h"
#include "crypto/wipe.h"
#include "json/write.h"

enum { USED_MAX = 65536 };
#define WARN_NS (14 * 86400 * NEXUS__NS_PER_S)

const nexus_migration nexus__apikey_migrations[] = {
    {1, "API keys and their pepper",
     "CREATE TABLE auth_apikeys (id TEXT PRIMARY KEY, owner_id TEXT NOT NULL REFERENCES auth_users (id),"
     " name TEXT NOT NULL, scopes TEXT NOT NULL, cidrs TEXT NOT NULL, plan TEXT NOT NULL, tenant TEXT NOT NULL,"
     " hash TEXT NOT NULL, old_hash TEXT, old_until BIGINT, created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL,"
     " ttl_s BIGINT NOT NULL, revoked_at BIGINT, last_used_at BIGINT, warned_at BIGINT);"
     "CREATE INDEX auth_apikeys_owner ON auth_apikeys (owner_id, id);"
     "CREATE INDEX auth_apikeys_expires ON auth_apikeys (expires_at);"
     "CREATE TABLE auth_apikey_pepper (id BIGINT PRIMARY KEY, sealed TEXT NOT NULL);",
     NULL},
};
const size_t nexus__apikey_migration_count = sizeof nexus__apikey_migrations / sizeof nexus__apikey_migrations[0];

/* When a key was used, to be written down. */
typedef struct used {
    char id[NEXUS_APIKEY_ID_LEN];
    int64_t at_ns;
} used;

void nexus_apikeys_opts_init(nexus_apikeys_opts *opts)
{
    *opts = (nexus_apikeys_opts)NEXUS_APIKEYS_OPTS_INIT;
}

void nexus_apikey_spec_init(nexus_apikey_spec *spec)
{
    *spec = (nexus_apikey_spec)NEXUS_APIKEY_SPEC_INIT;
}

int64_t nexus__apikeys_now(const nexus_apikeys *k)
{
    return k->opts.now_fn ? k->opts.now_fn(k->opts.user_data) : nexus__real_ns();
}

/* --- the pepper ---------------------------------------------------------------------------------------------------- */

#define PEPPER_CONTEXT NEXUS_S("auth_apikey_pepper/1/sealed")

static nexus_status insert_pepper(nexus_apikeys *k, nexus_db *tx)
{
    char text[NEXUS__TOKEN_TEXT], *sealed;
    size_t n;
    nexus_status status = nexus__sealed_enter(tx);
    if (status != NEXUS_OK)
        return status;
    nexus__token_make(text);
    status = nexus_secrets_seal(k->secrets, PEPPER_CONTEXT, nexus__slice_c(text), &sealed, &n);
    nexus__wipe(text, sizeof text);
    if (status != NEXUS_OK)
        return status;
    status =
        nexus_db_exec(tx, "INSERT INTO auth_apikey_pepper (id, sealed) VALUES (1, $1) ON CONFLICT (id) DO NOTHING",
                      (nexus_value[]){NEXUS_TEXT(nexus__slice(sealed, n))}, 1, NULL);
    nexus_free(sealed);
    return status;
}

static nexus_status make_pepper(nexus_apikeys *k)
{
    nexus_db *tx;
    nexus_status status = nexus_db_begin(&tx, k->db);
    return status == NEXUS_OK ? nexus__finish(tx, insert_pepper(k, tx)) : status;
}

static nexus_status load_pepper(nexus_apikeys *k)
{
    nexus_rows *rows;
    nexus_slice sealed;
    char *text;
    size_t n;
    nexus_status status =
        nexus_db_query_one(&rows, k->db, "SELECT sealed FROM auth_apikey_pepper WHERE id = 1", NULL, 0);
    if (status != NEXUS_OK)
        return status;
    nexus_rows_text(rows, 0, &sealed);
    status = nexus_secrets_unseal(k->secrets, PEPPER_CONTEXT, sealed, &text, &n);
    if (status == NEXUS_OK)
        nexus__auth_seal_at_use(k->db, k->secrets, NEXUS__SEALED_PEPPER, NEXUS_S("1"), sealed);
    nexus_rows_free(rows);
    if (status != NEXUS_OK)
        return status;
    status = nexus__hmac_new(&k->pepper, NEXUS__SHA256, text, n);
    nexus_free_wiped(text, n);
    return status;
}

nexus_status nexus__apikey_hash(nexus_apikeys *k, const char *text, char out[static NEXUS__HASH_TEXT])
{
    uint8_t digest[NEXUS__DIGEST_MAX];
    nexus_slice secret = nexus__slice(text + NEXUS__APIKEY_SECRET_AT, NEXUS__APIKEY_SECRET_LEN);
    char space[64];
    nexus__buf b = {.p = space, .cap = sizeof space, .max = sizeof space};
    nexus_status status = nexus__hmac_compute(k->pepper, &secret, 1, digest);
    if (status != NEXUS_OK)
        return status;
    nexus__base64url_append(&b, digest, 32);
    memcpy(out, b.p, b.len);
    out[b.len] = 0;
    return NEXUS_OK;
}

/* --- opening ------------------------------------------------------------------------------------------------------- */

static nexus_status open_parts(nexus_apikeys *k, const char *key_dir)
{
    char path[4096];
    nexus_status status = NEXUS_OK;
    k->secrets = k->opts.secrets;
    if (!k->secrets) {
        snprintf(path, sizeof path, "%s/secrets.key", key_dir);
        status = nexus_secrets_open(&k->own_secrets, path, k->alloc);
        k->secrets = k->own_secrets;
    }
    if (status == NEXUS_OK && k->opts.policy)
        k->locked.policy = nexus_rbac_ref(k->opts.policy);
    else if (status == NEXUS_OK)
        status = nexus_rbac_new_default(&k->locked.policy, k->alloc);
    k->opts.policy = NULL;
    if (status == NEXUS_OK)
        status = nexus__apikey_cache_new(&k->cache, k->alloc, k->opts.cache_keys ? k->opts.cache_keys : 8192);
    if (status == NEXUS_OK)
        status = nexus_db_migrate(k->db, "auth", nexus__auth_migrations, nexus__auth_migration_count);
    if (status == NEXUS_OK)
        status = nexus_db_migrate(k->db, "roles", nexus__role_migrations, nexus__role_migration_count);
    if (status == NEXUS_OK)
        status = nexus_db_migrate(k->db, "apikeys", nexus__apikey_migrations, nexus__apikey_migration_count);
    if (status == NEXUS_OK && (status = load_pepper(k)) == NEXUS_ENOTFOUND) {
        status = make_pepper(k); /* of two processes that start at once, one makes it */
        if (status == NEXUS_OK)
            status = load_pepper(k);
    }
    return status;
}

nexus_status nexus_apikeys_open(nexus_apikeys **out, nexus_db *db, const nexus_apikeys_opts *opts)
{
    if (!db || !opts || opts->size != sizeof *opts || (!opts->key_dir && !opts->secrets))
        return nexus__fail(NEXUS_EINVAL, "nexus_apikeys_opts: size, and key_dir or secrets are required");
    nexus_apikeys *k = nexus__calloc(opts->alloc, 1, sizeof *k);
    if (!k)
        return nexus__nomem();
    k->alloc = opts->alloc;
    k->db = db;
    k->opts = *opts;
    k->opts.key_dir = NULL;
    pthread_mutex_init(&k->lock, NULL);
    nexus__map_init(&k->locked.used, k->alloc);
    nexus_status status = open_parts(k, opts->key_dir);
    if (status == NEXUS_OK)
        *out = k;
    else
        nexus_apikeys_close(k);
    return status;
}

static void free_used(nexus_apikeys *k, nexus__map *map)
{
    size_t cursor = 0;
    for (nexus__map_entry *e; (e = nexus__map_next(map, &cursor));)
        nexus__free(k->alloc, e->value);
    nexus__map_free(map);
}

void nexus_apikeys_close(nexus_apikeys *k)
{
    if (!k)
        return;
    nexus__apikey_cache_free(k->cache);
    nexus__hmac_free(k->pepper);
    nexus_secrets_close(k->own_secrets);
    nexus_rbac_free(k->locked.policy);
    free_used(k, &k->locked.used);
    pthread_mutex_destroy(&k->lock);
    nexus__free(k->alloc, k);
}

void nexus_apikeys_set_policy(nexus_apikeys *k, const nexus_rbac *policy)
{
    pthread_mutex_lock(&k->lock);
    nexus_rbac *old = k->locked.policy;
    k->locked.policy = nexus_rbac_ref(policy);
    pthread_mutex_unlock(&k->lock);
    nexus_rbac_free(old);
}

/* --- checking ------------------------------------------------------------------------------------------------------ */

/* To the minute; what does not fit is not written down. */
static void note_used(nexus_apikeys *k, nexus_slice id, int64_t now)
{
    pthread_mutex_lock(&k->lock);
    used *u = nexus__map_get(&k->locked.used, id);
    if (!u && k->locked.used.count < USED_MAX && (u = nexus__malloc(k->alloc, sizeof *u))) {
        memcpy(u->id, id.p, sizeof u->id);
        if (nexus__map_put(&k->locked.used, nexus__slice(u->id, sizeof u->id), u, NULL) != NEXUS_OK) {
            nexus__free(k->alloc, u);
            u = NULL;
        }
    }
    if (u)
        u->at_ns = now - now % (60 * NEXUS__NS_PER_S);
    pthread_mutex_unlock(&k->lock);
}

/* Until when the secret is good; 0 = it is not the key's. Both places are compared, whatever comes out. */
static int64_t good_until(const nexus_rows *rows, const char *hash, int64_t now)
{
    nexus_slice current, old, mine = nexus__slice_c(hash);
    nexus_rows_text(rows, NEXUS__APIKEY_HASH, &current);
    nexus_rows_text(rows, NEXUS__APIKEY_OLD_HASH, &old);
    int64_t expires = nexus_rows_int(rows, NEXUS__APIKEY_EXPIRES), over = nexus_rows_int(rows, NEXUS__APIKEY_OLD_UNTIL);
    bool is_current = nexus__slice_eq_ct(current, mine), is_old = nexus__slice_eq_ct(old, mine);
    if (!nexus_rows_is_null(rows, NEXUS__APIKEY_REVOKED) || now >= expires)
        return 0;
    if (is_current)
        return expires;
    return is_old && now < over ? (over < expires ? over : expires) : 0;
}

static void put_column(nexus__json_writer *w, const char *name, const nexus_rows *rows, size_t column)
{
    nexus_slice text;
    nexus_rows_text(rows, column, &text);
    if (text.n)
        nexus__json_put_text(w, name, text);
}

static void write_claims(nexus__buf *out, const nexus_rows *rows, const nexus_user *owner, int64_t until)
{
    nexus_slice cidrs;
    nexus__json_writer w = nexus__json_writer_on(out);
    nexus_rows_text(rows, NEXUS__APIKEY_CIDRS, &cidrs);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "sub", owner->id);
    put_column(&w, "jti", rows, NEXUS__APIKEY_ID);
    put_column(&w, "key_id", rows, NEXUS__APIKEY_ID);
    nexus__json_put_i64(&w, "iat", nexus_rows_int(rows, NEXUS__APIKEY_CREATED) / NEXUS__NS_PER_S);
    nexus__json_put_i64(&w, "exp", until / NEXUS__NS_PER_S);
    put_column(&w, "scope", rows, NEXUS__APIKEY_SCOPES);
    put_column(&w, "plan", rows, NEXUS__APIKEY_PLAN);
    put_column(&w, "tenant", rows, NEXUS__APIKEY_TENANT);
    nexus__json_key(&w, "roles");
    nexus__json_open(&w, '[');
    for (size_t i = 0; i < owner->role_count; i++)
        nexus__json_text_c_value(&w, owner->roles[i]);
    nexus__json_close(&w, ']');
    nexus__json_key(&w, "cidrs");
    nexus__apikey_put_words(out, cidrs);
    nexus__buf_char(out, '}');
}

static nexus_status judge_row(nexus_apikeys *k, const nexus_rows *rows, const char *hash, int64_t now,
                              nexus__buf *claims)
{
    nexus_slice owner_id;
    nexus_user *owner;
    int64_t until = good_until(rows, hash, now);
    if (!until)
        return nexus__apikey_refused();
    nexus_rows_text(rows, NEXUS__APIKEY_OWNER, &owner_id);
    nexus_status status = nexus__user_load(&owner, k->db, "id", owner_id);
    if (status != NEXUS_OK)
        return status == NEXUS_ENOTFOUND ? nexus__apikey_refused() : status;
    if (nexus__subject_gate(owner) != NEXUS_OK)
        status = nexus__apikey_refused();
    else
        write_claims(claims, rows, owner, until);
    nexus_user_free(owner);
    return status != NEXUS_OK ? status : claims->status;
}

static nexus_status look_up(nexus_apikeys *k, nexus_slice text, int64_t now, nexus__buf *claims)
{
    static const char sql[] = "SELECT " NEXUS__APIKEY_COLUMNS " FROM auth_apikeys WHERE id = $1";
    char hash[NEXUS__HASH_TEXT];
    nexus_slice id;
    nexus_rows *rows;
    if (!nexus_apikey_parse(text.p, text.n, &id))
        return nexus__apikey_refused();
    nexus_status status = nexus__apikey_hash(k, text.p, hash);
    if (status == NEXUS_OK)
        status = nexus_db_query_one(&rows, k->db, sql, (nexus_value[]){NEXUS_TEXT(id)}, 1);
    if (status != NEXUS_OK)
        return status == NEXUS_ENOTFOUND ? nexus__apikey_refused() : status;
    status = judge_row(k, rows, hash, now, claims);
    nexus_rows_free(rows);
    if (status == NEXUS_OK)
        note_used(k, id, now);
    return status;
}

nexus_status nexus_apikeys_introspect(nexus_apikeys *k, const char *text, size_t n, char **json, size_t *json_n)
{
    nexus__buf claims;
    nexus__buf_init(&claims, NULL, 0);
    nexus_status status = look_up(k, nexus__slice(text, n), nexus__apikeys_now(k), &claims);
    if (status == NEXUS_OK)
        return nexus__buf_hand_over(&claims, json, json_n);
    nexus__buf_free(&claims);
    return status;
}

static nexus_status read_known(nexus_apikeys *k, nexus_slice text, int64_t now, nexus__apikey_known **out)
{
    nexus__buf claims;
    nexus__buf_init(&claims, NULL, 0);
    nexus_status status = look_up(k, text, now, &claims);
    if (status == NEXUS_OK)
        status = nexus__apikey_known_new(out, k->alloc, nexus__buf_slice(&claims));
    nexus__buf_free(&claims);
    if (status == NEXUS_OK)
        nexus__apikey_cache_put(k->cache, text, *out, now);
    else
        nexus__apikey_cache_drop(k->cache, text);
    return status;
}

nexus_status nexus_apikeys_check(nexus_apikeys *k, const char *text, size_t n, nexus_slice ip, nexus_principal **out)
{
    nexus_slice key = nexus__slice(text, n);
    int64_t now = nexus__apikeys_now(k), age;
    if (!nexus_apikey_parse(text, n, NULL))
        return nexus__apikey_refused();
    nexus__apikey_known *known = nexus__apikey_cache_get(k->cache, key, now, &age);
    nexus_status status = known ? NEXUS_OK : read_known(k, key, now, &known);
    if (status != NEXUS_OK)
        return status;
    status = nexus__apikey_judge(known, ip, now);
    if (status == NEXUS_OK)
        *out = nexus_principal_ref(known->principal);
    nexus__apikey_known_unref(known);
    return status;
}

/* --- upkeep -------------------------------------------------------------------------------------------------------- */

static nexus_status write_used(nexus_apikeys *k, const nexus__map *map)
{
    nexus_db *tx;
    size_t cursor = 0;
    nexus_status status = nexus_db_begin(&tx, k->db);
    if (status != NEXUS_OK)
        return status;
    for (nexus__map_entry *e; status == NEXUS_OK && (e = nexus__map_next(map, &cursor));)
        status = nexus_db_exec(tx,
                               "UPDATE auth_apikeys SET last_used_at = $2 WHERE id = $1"
                               " AND (last_used_at IS NULL OR last_used_at < $2)",
                               (nexus_value[]){NEXUS_TEXT(e->key), NEXUS_INT(((used *)e->value)->at_ns)}, 2, NULL);
    return nexus__finish(tx, status);
}

static nexus_status flush_used(nexus_apikeys *k)
{
    nexus__map taken;
    pthread_mutex_lock(&k->lock);
    taken = k->locked.used;
    nexus__map_init(&k->locked.used, k->alloc);
    pthread_mutex_unlock(&k->lock);
    nexus_status status = taken.count ? write_used(k, &taken) : NEXUS_OK;
    free_used(k, &taken);
    return status;
}

static nexus_status warn_in(nexus_apikeys *k, nexus_db *tx, int64_t now)
{
    nexus_rows *rows;
    nexus_status status =
        nexus_db_query(&rows, tx,
                       "UPDATE auth_apikeys SET warned_at = $1 WHERE expires_at > $1 AND expires_at <= $2"
                       " AND warned_at IS NULL AND revoked_at IS NULL RETURNING id, owner_id, name, expires_at",
                       (nexus_value[]){NEXUS_INT(now), NEXUS_INT(now + WARN_NS)}, 2);
    if (status != NEXUS_OK)
        return status;
    while (status == NEXUS_OK && nexus_rows_next(rows)) {
        nexus_slice id, owner, name;
        nexus_rows_text(rows, 0, &id);
        nexus_rows_text(rows, 1, &owner);
        nexus_rows_text(rows, 2, &name);
        status = nexus__apikey_event(k, tx, "apikey.expiring", id, owner, name, nexus_rows_int(rows, 3));
    }
    nexus_rows_free(rows);
    return status;
}

nexus_status nexus_apikeys_upkeep(nexus_apikeys *k)
{
    nexus_db *tx;
    nexus_status status = flush_used(k);
    if (status == NEXUS_OK)
        status = nexus_db_begin(&tx, k->db);
    return status == NEXUS_OK ? nexus__finish(tx, warn_in(k, tx, nexus__apikeys_now(k))) : status;
}
