/* Grants: access tokens, and refresh tokens that are spent one by one (RFC 9700, 4.14). */
#include "auth/auth_private.h"
#include "crypto/wipe.h"
#include "json/write.h"

struct nexus_grant {
    char *access_token;
    char refresh_token[NEXUS__TOKEN_TEXT];
    uint32_t expires_in;
    char user_id[NEXUS__UUID_LEN + 1], family[NEXUS__UUID_LEN + 1];
};

const char *nexus_grant_access_token(const nexus_grant *g)
{
    return g->access_token;
}

const char *nexus_grant_refresh_token(const nexus_grant *g)
{
    return g->refresh_token;
}

uint32_t nexus_grant_expires_in(const nexus_grant *g)
{
    return g->expires_in;
}

const char *nexus_grant_user_id(const nexus_grant *g)
{
    return g->user_id;
}

void nexus_grant_free(nexus_grant *g)
{
    if (!g)
        return;
    if (g->access_token)
        nexus_free_wiped(g->access_token, strlen(g->access_token));
    nexus__wipe(g, sizeof *g);
    nexus__free(NULL, g);
}

/* --- the access token ------------------------------------------------------------------------------------------------ */

static void write_claims(nexus__buf *out, nexus_auth *a, const nexus_user *user, const char *family)
{
    char jti[NEXUS__UUID_LEN + 1];
    nexus__uuid7(jti);
    int64_t now = nexus__auth_now_ns(a) / NEXUS__NS_PER_S;
    now = now < user->tokens_after_s ? user->tokens_after_s : now; /* a second ahead at most, see nexus__subject_revoke */
    nexus__json_writer w = nexus__json_writer_on(out);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "iss", a->opts.issuer);
    nexus__json_put_text_c(&w, "aud", a->opts.audience);
    nexus__json_put_text_c(&w, "sub", user->id);
    nexus__json_put_text_c(&w, "client_id", a->opts.audience); /* RFC 9068 requires one: the first party itself */
    nexus__json_key(&w, "roles");
    nexus__json_open(&w, '[');
    for (size_t i = 0; i < user->role_count; i++)
        nexus__json_text_c_value(&w, user->roles[i]);
    nexus__json_close(&w, ']');
    nexus__json_put_text_c(&w, "sid", family);
    nexus__json_put_text_c(&w, "jti", jti);
    nexus__json_put_i64(&w, "iat", now);
    nexus__json_put_i64(&w, "exp", now + a->opts.access_ttl_s);
    nexus__json_close(&w, '}');
}

nexus_status nexus__grant_sign(nexus_grant *grant, nexus_auth *a, const nexus_user *user)
{
    nexus_key *key;
    nexus_status status = nexus__signing_key(a, &key);
    if (status != NEXUS_OK)
        return status;
    nexus__buf claims;
    nexus__buf_init(&claims, NULL, 0);
    write_claims(&claims, a, user, grant->family);
    size_t n;
    status = claims.status == NEXUS_OK ? nexus_jwt_sign(&grant->access_token, &n, key, "at+jwt", claims.p, claims.len)
                                       : nexus__nomem();
    nexus__buf_free(&claims);
    nexus_key_free(key);
    grant->expires_in = a->opts.access_ttl_s;
    snprintf(grant->user_id, sizeof grant->user_id, "%s", user->id);
    return status;
}

nexus_status nexus__grant_for_session(nexus_grant **out, const char *session_id)
{
    nexus_grant *g = nexus__calloc(NULL, 1, sizeof *g);
    if (!g)
        return nexus__nomem();
    snprintf(g->family, sizeof g->family, "%s", session_id);
    *out = g;
    return NEXUS_OK;
}

/* --- families ---------------------------------------------------------------------------------------------------------- */

nexus_status nexus__refresh_insert(nexus_auth *a, nexus_db *tx, const char *hash, const char *family)
{
    int64_t now = nexus__auth_now_ns(a);
    return nexus_db_exec(tx, "INSERT INTO auth_refresh (hash, family, created_at, idle_until) VALUES ($1, $2, $3, $4)",
                         (nexus_value[]){NEXUS_TEXT_C(hash), NEXUS_TEXT_C(family), NEXUS_INT(now),
                                         NEXUS_INT(now + a->opts.refresh_idle_s * NEXUS__NS_PER_S)},
                         4, NULL);
}

nexus_status nexus__grant_begin(nexus_grant **out, nexus_auth *a, nexus_db *tx, const nexus_user *user)
{
    char family[NEXUS__UUID_LEN + 1], hash[NEXUS__HASH_TEXT];
    nexus_grant *g = nexus__calloc(NULL, 1, sizeof *g);
    if (!g)
        return nexus__nomem();
    nexus__uuid7(family);
    nexus__token_make(g->refresh_token);
    int64_t now = nexus__auth_now_ns(a);
    nexus_status status = nexus__token_hash(nexus__slice_c(g->refresh_token), hash);
    if (status == NEXUS_OK)
        status =
            nexus_db_exec(tx, "INSERT INTO auth_families (id, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4)",
                          (nexus_value[]){NEXUS_TEXT_C(family), NEXUS_TEXT_C(user->id), NEXUS_INT(now),
                                          NEXUS_INT(now + a->opts.refresh_absolute_s * NEXUS__NS_PER_S)},
                          4, NULL);
    if (status == NEXUS_OK)
        status = nexus__refresh_insert(a, tx, hash, family);
    snprintf(g->family, sizeof g->family, "%s", family);
    if (status == NEXUS_OK)
        *out = g;
    else
        nexus_grant_free(g);
    return status;
}

nexus_status nexus__grant_note(nexus_db *tx, const nexus_grant *grant, const nexus_auth_client *client)
{
    return nexus_db_exec(tx, "UPDATE auth_families SET address = $2, agent = $3 WHERE id = $1",
                         (nexus_value[]){NEXUS_TEXT_C(grant->family), NEXUS_TEXT(nexus__client_address(client)),
                                         NEXUS_TEXT(nexus__client_agent(client))},
                         3, NULL);
}

nexus_status nexus__family_revoke(nexus_auth *a, nexus_db *tx, const char *family, const char *reason, int64_t *changes)
{
    int64_t ended = 0;
    nexus_status status = nexus_db_exec(
        tx, "UPDATE auth_families SET revoked_at = $2, reason = $3 WHERE id = $1 AND revoked_at IS NULL",
        (nexus_value[]){NEXUS_TEXT_C(family), NEXUS_INT(nexus__auth_now_ns(a)), NEXUS_TEXT_C(reason)}, 3, &ended);
    if (changes)
        *changes = ended;
    return status == NEXUS_OK && ended ? nexus__auth_revoke(a, tx, "session", family, 0) : status;
}

nexus_status nexus__families_revoke(nexus_auth *a, nexus_db *tx, const char *user_id, const char *reason)
{
    return nexus_db_exec(tx,
                         "UPDATE auth_families SET revoked_at = $2, reason = $3"
                         " WHERE user_id = $1 AND revoked_at IS NULL",
                         (nexus_value[]){NEXUS_TEXT_C(user_id), NEXUS_INT(nexus__auth_now_ns(a)), NEXUS_TEXT_C(reason)},
                         3, NULL);
}

/* --- spending a token ---------------------------------------------------------------------------------------------------- */

static nexus_status refuse(void)
{
    return nexus__fail(NEXUS_EAUTH, "the refresh token is not valid");
}

static void copy_cell(nexus_rows *rows, size_t column, char *out, size_t cap)
{
    nexus_slice text;
    nexus_rows_text(rows, column, &text);
    snprintf(out, cap, "%.*s", (int)text.n, text.p ? text.p : "");
}

nexus_status nexus__refresh_look_up(nexus__presented *p, nexus_db *tx)
{
    nexus_rows *rows;
    nexus_status status = nexus_db_query_one(
        &rows, tx,
        "SELECT r.family, f.user_id, r.used_at, f.revoked_at, r.idle_until, f.expires_at, r.successor, g.client_id"
        " FROM auth_refresh r JOIN auth_families f ON f.id = r.family LEFT JOIN oauth_grants g ON g.family = f.id"
        " WHERE r.hash = $1",
        (nexus_value[]){NEXUS_TEXT_C(p->hash)}, 1);
    if (status != NEXUS_OK)
        return status == NEXUS_ENOTFOUND ? refuse() : status;
    copy_cell(rows, 0, p->family, sizeof p->family);
    copy_cell(rows, 1, p->user_id, sizeof p->user_id);
    p->used = !nexus_rows_is_null(rows, 2);
    p->used_at = nexus_rows_int(rows, 2);
    p->revoked = !nexus_rows_is_null(rows, 3);
    p->idle_until = nexus_rows_int(rows, 4);
    p->expires_at = nexus_rows_int(rows, 5);
    copy_cell(rows, 6, p->successor, sizeof p->successor);
    copy_cell(rows, 7, p->client_id, sizeof p->client_id);
    nexus_rows_free(rows);
    return NEXUS_OK;
}

static nexus_slice seal_context(const nexus__presented *p, char out[static 96])
{
    return (nexus_slice){out, (size_t)snprintf(out, 96, "auth_refresh/%s/successor", p->hash)};
}

/* Marks it used and stores its successor; *won is false when another call was first. */
static nexus_status spend(nexus__presented *p, nexus_auth *a, nexus_db *tx, char token[static NEXUS__TOKEN_TEXT], bool *won)
{
    char context[96], hash[NEXUS__HASH_TEXT], *sealed;
    size_t n;
    int64_t changes = 0;
    nexus__token_make(token);
    nexus_status status = nexus__sealed_enter(tx);
    if (status != NEXUS_OK)
        return status;
    status = nexus_secrets_seal(a->secrets, seal_context(p, context), nexus__slice_c(token), &sealed, &n);
    if (status != NEXUS_OK)
        return status;
    status = nexus_db_exec(
        tx, "UPDATE auth_refresh SET used_at = $2, successor = $3 WHERE hash = $1 AND used_at IS NULL",
        (nexus_value[]){NEXUS_TEXT_C(p->hash), NEXUS_INT(nexus__auth_now_ns(a)), NEXUS_TEXT(nexus__slice(sealed, n))},
        3, &changes);
    nexus_free(sealed);
    *won = changes == 1;
    if (status == NEXUS_OK && *won)
        status = nexus__token_hash(nexus__slice_c(token), hash);
    return status == NEXUS_OK && *won ? nexus__refresh_insert(a, tx, hash, p->family) : status;
}

/* A token used before: within the grace the reply may have been lost, and the same successor goes out again. */
static nexus_status repeat(nexus__presented *p, nexus_auth *a, char token[static NEXUS__TOKEN_TEXT], bool *reuse)
{
    char context[96], *plain;
    size_t n;
    *reuse = nexus__auth_now_ns(a) > p->used_at + a->opts.refresh_grace_s * NEXUS__NS_PER_S;
    if (*reuse)
        return NEXUS_OK;
    nexus_status status =
        nexus_secrets_unseal(a->secrets, seal_context(p, context), nexus__slice_c(p->successor), &plain, &n);
    if (status != NEXUS_OK)
        return status;
    snprintf(token, NEXUS__TOKEN_TEXT, "%s", plain);
    nexus_free_wiped(plain, n);
    return NEXUS_OK;
}

nexus_status nexus__refresh_exchange(nexus__presented *p, nexus_auth *a, nexus_db *tx, const char *client_id,
                                     char token[static NEXUS__TOKEN_TEXT], bool *reuse)
{
    bool won = false;
    int64_t now = nexus__auth_now_ns(a);
    nexus_status status = nexus__refresh_look_up(p, tx);
    if (status == NEXUS_OK && strcmp(p->client_id, client_id) != 0) /* before anything changes */
        return refuse();
    if (status == NEXUS_OK && (p->revoked || now >= p->expires_at || (!p->used && now >= p->idle_until)))
        return refuse();
    if (status == NEXUS_OK && !p->used)
        status = spend(p, a, tx, token, &won);
    if (status != NEXUS_OK || won)
        return status;
    if (!p->used) /* lost a race: read what the winner wrote */
        status = nexus__refresh_look_up(p, tx);
    if (status == NEXUS_OK)
        status = repeat(p, a, token, reuse);
    return status == NEXUS_OK && *reuse ? nexus__family_revoke(a, tx, p->family, "reuse", NULL) : status;
}

nexus_status nexus_auth_refresh(nexus_auth *a, nexus_slice refresh_token, nexus_grant **out)
{
    nexus__presented p = {0};
    nexus_db *tx;
    nexus_user *user = NULL;
    bool reuse = false;
    if (refresh_token.n != NEXUS__TOKEN_TEXT - 1)
        return refuse();
    nexus_grant *g = nexus__calloc(NULL, 1, sizeof *g);
    nexus_status status = g ? nexus__token_hash(refresh_token, p.hash) : nexus__nomem();
    if (status == NEXUS_OK)
        status = nexus_db_begin(&tx, a->db);
    if (status == NEXUS_OK) {
        status = nexus__refresh_exchange(&p, a, tx, "", g->refresh_token, &reuse);
        if (status == NEXUS_OK && !reuse)
            status = nexus__user_load(&user, tx, "id", nexus__slice_c(p.user_id));
        if (status == NEXUS_OK && user && nexus__subject_gate(user) != NEXUS_OK)
            status = refuse();
        if (status == NEXUS_OK && user)
            status = nexus__tell_token(a, tx, p.user_id, NEXUS_S(""), "refresh_token");
        status = nexus__finish(tx, status); /* commits the revocation, too */
    }
    if (status == NEXUS_OK)
        status = reuse ? refuse() : NEXUS_OK;
    if (status == NEXUS_OK) {
        memcpy(g->family, p.family, sizeof g->family);
        status = nexus__grant_sign(g, a, user);
    }
    nexus_user_free(user);
    if (status == NEXUS_OK)
        *out = g;
    else
        nexus_grant_free(g);
    return status;
}

/* --- logout ---------------------------------------------------------------------------------------------------------------- */

static nexus_status tell_logout(nexus_auth *a, nexus_db *tx, const nexus__presented *p)
{
    nexus__buf data;
    nexus__buf_init(&data, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&data);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "user_id", p->user_id);
    nexus__json_put_text_c(&w, "session_id", p->family);
    nexus__json_close(&w, '}');
    nexus_status status = nexus__auth_event(a, tx, "user.logout", p->user_id, &data);
    nexus__buf_free(&data);
    return status;
}

nexus_status nexus_auth_logout(nexus_auth *a, nexus_slice refresh_token)
{
    nexus__presented p = {0};
    nexus_db *tx;
    int64_t changes = 0;
    nexus_status status = nexus__token_hash(refresh_token, p.hash);
    if (status == NEXUS_OK)
        status = nexus_db_begin(&tx, a->db);
    if (status != NEXUS_OK)
        return status;
    status = nexus__refresh_look_up(&p, tx);
    if (status == NEXUS_EAUTH) {
        nexus_db_rollback(tx);
        return NEXUS_OK;
    }
    if (status == NEXUS_OK)
        status = nexus__family_revoke(a, tx, p.family, "logout", &changes);
    if (status == NEXUS_OK && changes)
        status = tell_logout(a, tx, &p);
    return nexus__finish(tx, status);
}
