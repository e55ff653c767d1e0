/*
 * The issuer's keys. pending: published, not used yet, so that every verifier has it when it is; active: signs, one at
 * a time, 90 days; retired: published until the last token it signed is over; then deleted. Private parts are sealed.
 * All of it changes in one transaction that first takes the row 'keys' of auth_locks, so that processes which share
 * the database do it once.
 */
#include "auth/auth_private.h"
#include "auth/jose.h"
#include "json/write.h"

#define ACTIVE_S (90LL * 86400)
#define PUBLISHED_BEFORE_S 3600 /* at least twice the max-age of the published set (300 s) */
#define LOOK_AGAIN_S 30

static nexus_slice seal_context(const char *kid, char out[static 128])
{
    return (nexus_slice){out, (size_t)snprintf(out, 128, "auth_keys/%s/private", kid)};
}

static nexus_status tell(nexus_auth *a, nexus_db *tx, const char *type, const char *kid, const char *state)
{
    nexus__buf data;
    nexus__buf_init(&data, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&data);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "key_id", kid);
    nexus__json_put_text_c(&w, "state", state);
    nexus__json_close(&w, '}');
    nexus_status status = nexus__auth_event(a, tx, type, kid, &data);
    nexus__buf_free(&data);
    return status;
}

static nexus_status insert_key(nexus_auth *a, nexus_db *tx, const char *state)
{
    nexus_key *key;
    char *jwk = NULL, *private = NULL, *sealed = NULL, context[128];
    size_t jwk_n, private_n, sealed_n;
    nexus_status status = nexus_key_generate(&key, "ES256", NULL);
    if (status != NEXUS_OK)
        return status;
    status = nexus_key_print_jwk(key, false, &jwk, &jwk_n);
    if (status == NEXUS_OK)
        status = nexus_key_print_jwk(key, true, &private, &private_n);
    if (status == NEXUS_OK)
        status = nexus__sealed_enter(tx);
    if (status == NEXUS_OK)
        status = nexus_secrets_seal(a->secrets, seal_context(nexus_key_id(key), context),
                                    nexus__slice(private, private_n), &sealed, &sealed_n);
    if (status == NEXUS_OK)
        status = nexus_db_exec(tx,
                               "INSERT INTO auth_keys (kid, alg, state, sealed, public_jwk, created_at, changed_at)"
                               " VALUES ($1, 'ES256', $2, $3, $4, $5, $5)",
                               (nexus_value[]){NEXUS_TEXT_C(nexus_key_id(key)), NEXUS_TEXT_C(state),
                                               NEXUS_TEXT(nexus__slice(sealed, sealed_n)),
                                               NEXUS_TEXT(nexus__slice(jwk, jwk_n)), NEXUS_INT(nexus__auth_now_ns(a))},
                               5, NULL);
    if (status == NEXUS_OK)
        status = tell(a, tx, "key.created", nexus_key_id(key), state);
    if (private)
        nexus_free_wiped(private, private_n);
    nexus_free(jwk);
    nexus_free(sealed);
    nexus_key_free(key);
    return status;
}

static nexus_status set_state(nexus_auth *a, nexus_db *tx, const char *from, const char *to)
{
    return nexus_db_exec(tx, "UPDATE auth_keys SET state = $2, changed_at = $3 WHERE state = $1",
                         (nexus_value[]){NEXUS_TEXT_C(from), NEXUS_TEXT_C(to), NEXUS_INT(nexus__auth_now_ns(a))}, 3,
                         NULL);
}

/* The new active key; the one before it is retired. */
static nexus_status tell_active(nexus_auth *a, nexus_db *tx)
{
    nexus_rows *rows;
    char kid[64];
    nexus_slice text;
    nexus_status status = nexus_db_query_one(&rows, tx, "SELECT kid FROM auth_keys WHERE state = 'active'", NULL, 0);
    if (status != NEXUS_OK)
        return status;
    nexus_rows_text(rows, 0, &text);
    snprintf(kid, sizeof kid, "%.*s", (int)text.n, text.p);
    nexus_rows_free(rows);
    return tell(a, tx, "key.activated", kid, "active");
}

/* Age in seconds of the newest key in that state; -1 without. */
static nexus_status age_of(nexus_auth *a, nexus_db *tx, const char *state, int64_t *age)
{
    nexus_rows *rows;
    nexus_status status = nexus_db_query_one(&rows, tx, "SELECT max(changed_at) FROM auth_keys WHERE state = $1",
                                             (nexus_value[]){NEXUS_TEXT_C(state)}, 1);
    if (status != NEXUS_OK)
        return status;
    *age = nexus_rows_is_null(rows, 0) ? -1 : (nexus__auth_now_ns(a) - nexus_rows_int(rows, 0)) / NEXUS__NS_PER_S;
    nexus_rows_free(rows);
    return NEXUS_OK;
}

static nexus_status take_turn(nexus_auth *a, nexus_db *tx, int64_t active, int64_t pending)
{
    nexus_status status = NEXUS_OK;
    if (active < 0)
        return insert_key(a, tx, "active"); /* first start: nobody knows an older key */
    if (pending < 0 && active >= ACTIVE_S - PUBLISHED_BEFORE_S)
        return insert_key(a, tx, "pending");
    if (pending >= PUBLISHED_BEFORE_S && active >= ACTIVE_S) {
        status = set_state(a, tx, "active", "retired");
        if (status == NEXUS_OK)
            status = set_state(a, tx, "pending", "active");
        if (status == NEXUS_OK)
            status = tell_active(a, tx);
    }
    return status;
}

static nexus_status emergency(nexus_auth *a, nexus_db *tx)
{
    nexus_status status = nexus_db_exec(tx, "DELETE FROM auth_keys", NULL, 0, NULL);
    if (status == NEXUS_OK)
        status = tell(a, tx, "key.deleted", "all", "emergency");
    return status == NEXUS_OK ? insert_key(a, tx, "active") : status;
}

static nexus_status move_on(nexus_auth *a, nexus_db *tx, bool now)
{
    int64_t active, pending, deleted = 0;
    nexus_status status =
        nexus_db_exec(tx, "UPDATE auth_locks SET taken = taken + 1 WHERE name = 'keys'", NULL, 0, NULL);
    if (status == NEXUS_OK && now)
        return emergency(a, tx);
    if (status == NEXUS_OK)
        status = age_of(a, tx, "active", &active);
    if (status == NEXUS_OK)
        status = age_of(a, tx, "pending", &pending);
    if (status == NEXUS_OK)
        status = take_turn(a, tx, active, pending);
    int64_t over = nexus__auth_now_ns(a) - (a->opts.access_ttl_s + 120) * NEXUS__NS_PER_S;
    if (status == NEXUS_OK)
        status = nexus_db_exec(tx, "DELETE FROM auth_keys WHERE state = 'retired' AND changed_at < $1",
                               (nexus_value[]){NEXUS_INT(over)}, 1, &deleted);
    return status == NEXUS_OK && deleted ? tell(a, tx, "key.deleted", "retired", "retired") : status;
}

nexus_status nexus_auth_rotate(nexus_auth *a, bool now)
{
    nexus_db *tx;
    nexus_status status = nexus_db_begin(&tx, a->db);
    if (status != NEXUS_OK)
        return status;
    status = nexus__finish(tx, move_on(a, tx, now));
    pthread_mutex_lock(&a->lock);
    a->locked.look_again_ns = 0;
    pthread_mutex_unlock(&a->lock);
    return status;
}

nexus_status nexus__signing_keys_open(nexus_auth *a)
{
    nexus_key *key;
    nexus_status status = nexus_auth_rotate(a, false);
    if (status == NEXUS_OK)
        status = nexus__signing_key(a, &key);
    if (status == NEXUS_OK)
        nexus_key_free(key);
    return status;
}

/* --- using them ------------------------------------------------------------------------------------------------------------ */

static nexus_status load_active(nexus_auth *a, nexus_key **out)
{
    nexus_rows *rows;
    nexus_status status =
        nexus_db_query_one(&rows, a->db, "SELECT kid, sealed FROM auth_keys WHERE state = 'active'", NULL, 0);
    if (status != NEXUS_OK)
        return status == NEXUS_ENOTFOUND ? nexus__fail(NEXUS_EMISSING, "there is no active signing key") : status;
    nexus_slice kid, sealed;
    char context[128], name[64], *plain;
    size_t n;
    nexus_rows_text(rows, 0, &kid);
    nexus_rows_text(rows, 1, &sealed);
    snprintf(name, sizeof name, "%.*s", (int)kid.n, kid.p);
    status = nexus_secrets_unseal(a->secrets, seal_context(name, context), sealed, &plain, &n);
    if (status == NEXUS_OK) {
        status = nexus_key_parse_jwk(out, plain, n, "ES256");
        nexus_free_wiped(plain, n);
        nexus__auth_seal_at_use(a->db, a->secrets, NEXUS__SEALED_SIGNING_KEY, kid, sealed);
    }
    nexus_rows_free(rows);
    return status;
}

nexus_status nexus__signing_key(nexus_auth *a, nexus_key **out)
{
    int64_t now = nexus__mono_ns();
    nexus_key *key = NULL;
    pthread_mutex_lock(&a->lock);
    if (a->locked.active && now < a->locked.look_again_ns)
        key = nexus__key_ref(a->locked.active);
    pthread_mutex_unlock(&a->lock);
    if (key) {
        *out = key;
        return NEXUS_OK;
    }
    nexus_status status = load_active(a, &key);
    if (status != NEXUS_OK)
        return status;
    pthread_mutex_lock(&a->lock);
    nexus_key *old = a->locked.active;
    a->locked.active = nexus__key_ref(key);
    a->locked.look_again_ns = now + LOOK_AGAIN_S * NEXUS__NS_PER_S;
    pthread_mutex_unlock(&a->lock);
    nexus_key_free(old);
    *out = key;
    return NEXUS_OK;
}

nexus_status nexus_auth_jwks(nexus_auth *a, char **json, size_t *n, char **etag)
{
    nexus_rows *rows;
    nexus_status status =
        nexus_db_query(&rows, a->db, "SELECT public_jwk FROM auth_keys ORDER BY created_at, kid", NULL, 0);
    if (status != NEXUS_OK)
        return status;
    nexus__buf text;
    nexus__buf_init(&text, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&text);
    nexus__json_open(&w, '{');
    nexus__json_key(&w, "keys");
    nexus__json_open(&w, '[');
    while (nexus_rows_next(rows)) {
        nexus_slice jwk;
        nexus_rows_text(rows, 0, &jwk);
        nexus__json_raw_value(&w, jwk);
    }
    nexus__json_close(&w, ']');
    nexus__json_close(&w, '}');
    nexus_rows_free(rows);
    char hash[NEXUS__HASH_TEXT], quoted[NEXUS__HASH_TEXT + 2], *tag = NULL;
    status = text.status == NEXUS_OK ? nexus__token_hash(nexus__buf_slice(&text), hash) : nexus__nomem();
    snprintf(quoted, sizeof quoted, "\"%.22s\"", status == NEXUS_OK ? hash : "");
    if (status == NEXUS_OK && etag && !(tag = nexus__strndup(NULL, nexus__slice_c(quoted))))
        status = nexus__nomem();
    if (status == NEXUS_OK && (*json = nexus__buf_take(&text, n))) {
        if (etag)
            *etag = tag;
        return NEXUS_OK;
    }
    nexus__buf_free(&text);
    nexus__free(NULL, tag);
    return status != NEXUS_OK ? status : nexus__nomem();
}

nexus_status nexus_auth_keyset(nexus_auth *a, nexus_keyset **out)
{
    char *json;
    size_t n;
    nexus_status status = nexus_auth_jwks(a, &json, &n, NULL);
    if (status != NEXUS_OK)
        return status;
    status = nexus_keyset_parse(out, json, n, NULL);
    nexus_free(json);
    return status;
}
