/*
 * The authorization server. Vocabulary: a client is registered; a person consents to what it asks for; a code is the
 * receipt of that, good for a minute and one redemption; redemption begins a family of refresh tokens (refresh.c) that
 * belongs to the client; access tokens name their family as sid, so that ending it ends them.
 *
 * Nothing is remembered between the pages of one authorization: the query is judged anew at each step. Codes, secrets
 * and one-time ids are stored hashed. What ends before its time is told as auth.revoked, in the transaction that makes
 * it true, and every verifier hears of it over the bus.
 */
#include "auth/oauth/oauth.h"

#include "base/codec.h"
#include "crypto/trust.h"
#include "crypto/wipe.h"

#define KEYS_S 5 /* our own keys are looked at so often: an emergency rotation ends what they signed */

void nexus_oauth_opts_init(nexus_oauth_opts *opts)
{
    *opts = (nexus_oauth_opts)NEXUS_OAUTH_OPTS_INIT;
}

void nexus_oauth_call_init(nexus_oauth_call *call)
{
    *call = (nexus_oauth_call)NEXUS_OAUTH_CALL_INIT;
}

void nexus_oauth_visit_init(nexus_oauth_visit *visit)
{
    *visit = (nexus_oauth_visit)NEXUS_OAUTH_VISIT_INIT;
}

nexus_status nexus_oauth_open(nexus_oauth **out, nexus_auth *auth, const nexus_oauth_opts *opts)
{
    static const nexus_oauth_opts defaults = NEXUS_OAUTH_OPTS_INIT;
    const nexus_oauth_opts *given = opts ? opts : &defaults;
    if (!auth || given->size != sizeof *given)
        return nexus__fail(NEXUS_EINVAL, "nexus_oauth_opts: size and an open auth are required");
    nexus_oauth *o = nexus__calloc(given->alloc, 1, sizeof *o);
    if (!o)
        return nexus__nomem();
    o->alloc = given->alloc;
    o->auth = auth;
    o->code_ttl_s = given->code_ttl_s ? given->code_ttl_s : 60;
    o->client_ttl_s = given->client_ttl_s ? given->client_ttl_s : 600;
    pthread_mutex_init(&o->lock, NULL);
    nexus_verifier_opts keys = NEXUS_VERIFIER_OPTS_INIT;
    keys.alloc = given->alloc;
    nexus_status status = nexus__jwks_open(&o->keys, &keys);
    if (status == NEXUS_OK && given->client_ca_file)
        status = nexus__trust_open(&o->trust, o->alloc, given->client_ca_file, given->client_crl_file);
    o->mtls_url = given->mtls_url ? nexus__strndup(o->alloc, nexus__slice_c(given->mtls_url)) : NULL;
    if (status == NEXUS_OK && given->mtls_url && !o->mtls_url)
        status = nexus__nomem();
    o->base_url = nexus__strndup(o->alloc, nexus__slice_c(given->base_url ? given->base_url : auth->opts.issuer));
    if (status == NEXUS_OK && !o->base_url)
        status = nexus__nomem();
    if (status == NEXUS_OK)
        *out = o;
    else
        nexus_oauth_close(o);
    return status;
}

void nexus_oauth_close(nexus_oauth *o)
{
    if (!o)
        return;
    nexus__jwks_close(o->keys);
    pthread_mutex_destroy(&o->lock);
    nexus__trust_free(o->trust);
    nexus__free(o->alloc, o->mtls_url);
    nexus__free(o->alloc, o->base_url);
    nexus__free(o->alloc, o);
}

nexus_status nexus_oauth_expire(nexus_oauth *o)
{
    static const struct {
        const char *sql;
        int64_t later_s; /* a code that was used is kept for as long as its tokens may live */
    } rows[] = {
        {"DELETE FROM oauth_assertions WHERE expires_at < $1", 0},
        {"DELETE FROM oauth_revoked WHERE expires_at < $1", 120},
        {"DELETE FROM oauth_codes WHERE used_at IS NULL AND expires_at < $1", 0},
        {"DELETE FROM oauth_codes WHERE expires_at < $1", 86400},
    };
    nexus_status status = NEXUS_OK;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && status == NEXUS_OK; i++)
        status = nexus_db_exec(
            o->auth->db, rows[i].sql,
            (nexus_value[]){NEXUS_INT(nexus__auth_now_ns(o->auth) - rows[i].later_s * NEXUS__NS_PER_S)}, 1, NULL);
    return status;
}

nexus_status nexus__oauth_digest(nexus_slice text, bool half, char out[static NEXUS__HASH_TEXT])
{
    uint8_t digest[NEXUS__DIGEST_MAX];
    nexus__buf b;
    nexus_status status = nexus__hash(NEXUS__SHA256, text, digest);
    if (status != NEXUS_OK)
        return status;
    nexus__buf_init(&b, NULL, 0);
    nexus__base64url_append(&b, digest, half ? 16 : 32);
    status = b.status == NEXUS_OK ? NEXUS_OK : nexus__nomem();
    if (status == NEXUS_OK)
        snprintf(out, NEXUS__HASH_TEXT, "%.*s", (int)b.len, b.p);
    nexus__buf_free(&b);
    return status;
}

/* --- answers ----------------------------------------------------------------------------------------------------------- */

nexus_status nexus__oauth_answer_new(nexus_oauth_answer **out, uint32_t kind, uint16_t status)
{
    nexus_oauth_answer *a = nexus__calloc(NULL, 1, sizeof *a);
    if (!a)
        return nexus__nomem();
    a->kind = kind;
    a->status = status;
    nexus__buf_init(&a->body, NULL, 0);
    nexus__buf_init(&a->location, NULL, 0);
    *out = a;
    return NEXUS_OK;
}

nexus_status nexus__oauth_answer_check(nexus_oauth_answer **out, nexus_oauth_answer *a)
{
    nexus__buf_append(&a->location, "", 1);
    if (a->body.status == NEXUS_OK && a->location.status == NEXUS_OK) {
        *out = a;
        return NEXUS_OK;
    }
    nexus_oauth_answer_free(a);
    return nexus__nomem();
}

nexus_status nexus__oauth_refuse(nexus_oauth_answer **out, const char *error, const char *description)
{
    static const struct {
        const char *error, *challenge;
        uint16_t status;
    } rows[] = {
        {"invalid_client", "Basic realm=\"nexus\"", 401},
        {"invalid_token", "Bearer error=\"invalid_token\"", 401},
        {"insufficient_scope", "Bearer error=\"insufficient_scope\", scope=\"openid\"", 403},
        {"slow_down", NULL, 429},
    };
    nexus_oauth_answer *a = NULL;
    nexus_status status = nexus__oauth_answer_new(&a, NEXUS_OAUTH_REPLY, 400);
    if (status != NEXUS_OK)
        return status;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(rows[i].error, error) == 0) {
            a->status = rows[i].status;
            a->challenge = rows[i].challenge;
        }
    nexus__json_writer w = nexus__json_writer_on(&a->body);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "error", error);
    nexus__json_put_text_c(&w, "error_description", description);
    nexus__json_close(&w, '}');
    return nexus__oauth_answer_check(out, a);
}

uint32_t nexus_oauth_answer_kind(const nexus_oauth_answer *a)
{
    return a->kind;
}

uint16_t nexus_oauth_answer_status(const nexus_oauth_answer *a)
{
    return a->status;
}

void nexus_oauth_answer_body(const nexus_oauth_answer *a, nexus_slice *out)
{
    *out = nexus__buf_slice(&a->body);
}

const char *nexus_oauth_answer_challenge(const nexus_oauth_answer *a)
{
    return a->challenge ? a->challenge : "";
}

const char *nexus_oauth_answer_location(const nexus_oauth_answer *a)
{
    return a->location.p;
}

const char *nexus_oauth_answer_text(const nexus_oauth_answer *a)
{
    return a->text;
}

uint32_t nexus_oauth_answer_retry_after(const nexus_oauth_answer *a)
{
    return a->retry_after;
}

void nexus_oauth_answer_free(nexus_oauth_answer *a)
{
    if (!a)
        return;
    nexus__wipe(a->body.p, a->body.cap);
    nexus__wipe(a->location.p, a->location.cap);
    nexus__buf_free(&a->body);
    nexus__buf_free(&a->location);
    nexus__free(NULL, a);
}

/* --- verifying our own ------------------------------------------------------------------------------------------------ */

static nexus_status take_keys(nexus_oauth *o)
{
    char *json;
    size_t n;
    int64_t now = nexus__mono_ns();
    pthread_mutex_lock(&o->lock);
    bool due = now >= o->locked.keys_due_ns;
    if (due)
        o->locked.keys_due_ns = now + KEYS_S * NEXUS__NS_PER_S;
    pthread_mutex_unlock(&o->lock);
    if (!due)
        return NEXUS_OK;
    nexus_status status = nexus_auth_jwks(o->auth, &json, &n, NULL);
    if (status != NEXUS_OK)
        return status;
    status = nexus__jwks_use(o->keys, nexus__slice(json, n));
    nexus_free(json);
    return status;
}

static nexus_status is_revoked(nexus_oauth *o, const nexus_claims *claims)
{
    nexus_slice jti, sid;
    nexus_rows *rows;
    nexus_claims_text(claims, "jti", &jti);
    if (!nexus_claims_text(claims, "jti", &jti) || !nexus_claims_text(claims, "sid", &sid))
        sid = NEXUS_S("");
    nexus_status status =
        nexus_db_query_one(&rows, o->auth->db,
                           "SELECT (SELECT count(*) FROM oauth_revoked WHERE jti = $1),"
                           " (SELECT count(*) FROM auth_families WHERE id = $2 AND revoked_at IS NOT NULL)",
                           (nexus_value[]){NEXUS_TEXT(jti), NEXUS_TEXT(sid)}, 2);
    if (status != NEXUS_OK)
        return status;
    bool revoked = nexus_rows_int(rows, 0) || nexus_rows_int(rows, 1);
    nexus_rows_free(rows);
    return revoked ? nexus__fail(NEXUS_EAUTH, "token refused: it was revoked") : NEXUS_OK;
}

nexus_status nexus__oauth_verify(nexus_oauth *o, nexus_slice token, nexus_claims **claims)
{
    const char *audiences[] = {o->auth->opts.audience, o->auth->opts.issuer};
    nexus_jwt_rules rules = NEXUS_JWT_RULES_INIT;
    nexus_status status = take_keys(o);
    nexus__shared_keys *keys = status == NEXUS_OK ? nexus__jwks_keys(o->keys) : NULL;
    if (!keys)
        return status == NEXUS_OK ? nexus__fail(NEXUS_EAGAIN, "there are no keys yet") : status;
    rules.issuer = o->auth->opts.issuer;
    rules.now_s = nexus__oauth_now_s(o);
    status = NEXUS_EAUTH;
    for (size_t i = 0; i < 2 && status == NEXUS_EAUTH; i++) {
        rules.audience = audiences[i];
        status = nexus_jwt_verify(keys->set, token.p, token.n, &rules, claims);
    }
    nexus__shared_keys_free(keys);
    if (status != NEXUS_OK)
        return status == NEXUS_ENOTFOUND ? NEXUS_EAUTH : status;
    nexus_slice jti;
    status = nexus_claims_text(*claims, "jti", &jti) ? is_revoked(o, *claims)
                                                     : nexus__fail(NEXUS_EAUTH, "token refused: it has no jti");
    if (status != NEXUS_OK)
        nexus_claims_free(*claims);
    return status;
}

nexus_status nexus__oauth_subject(nexus_oauth *o, const nexus_claims *claims, nexus_user **user)
{
    nexus_slice sub = {"", 0}, client_id = {"", 0};
    nexus_claims_text(claims, "sub", &sub);
    nexus_claims_text(claims, "client_id", &client_id);
    *user = NULL;
    if (!nexus__slice_eq_c(client_id, o->auth->opts.audience)) { /* else the first party, which is no client */
        nexus__oauth_client client;
        nexus_status status = nexus__oauth_client_load(&client, o->auth->db, client_id);
        if (status != NEXUS_OK)
            return status == NEXUS_ENOTFOUND ? nexus__fail(NEXUS_EAUTH, "token refused: its client is gone") : status;
        nexus__oauth_client_end(&client);
        if (nexus__slice_eq(sub, client_id))
            return NEXUS_OK;
    }
    int64_t issued = 0;
    nexus_claims_int(claims, "iat", &issued);
    nexus_status status = nexus_auth_user(o->auth, sub, user);
    if (status == NEXUS_OK)
        status = issued < (*user)->tokens_after_s ? nexus__fail(NEXUS_EAUTH, "token refused: it was revoked")
                                                  : nexus__subject_gate(*user);
    if (status != NEXUS_OK) {
        nexus_user_free(*user);
        *user = NULL;
    }
    return status == NEXUS_ENOTFOUND ? nexus__fail(NEXUS_EAUTH, "token refused: its subject is gone") : status;
}
