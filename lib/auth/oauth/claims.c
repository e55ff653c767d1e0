/* Access tokens (RFC 9068) and ID tokens (OpenID Connect Core, 2). */
#include "auth/oauth/oauth.h"

static const nexus_slice identity_scopes = {"openid profile email offline_access", 35};

/* Whether the token says only who somebody is: then it is for our userinfo endpoint, and no API takes it. */
static bool is_identity_only(nexus_slice scope)
{
    return scope.n == 0 || nexus__oauth_scope_within(scope, identity_scopes);
}

static bool has_scope(nexus_slice scope, const char *word)
{
    return nexus__oauth_has(scope, ' ', nexus__slice_c(word));
}

/* The scope "api" is to act as the person, or as the client in its roles; other scopes are permissions by themselves. */
static void put_roles(nexus__json_writer *w, const nexus__oauth_grant *g)
{
    nexus__json_key(w, "roles");
    nexus__json_open(w, '[');
    bool api = has_scope(g->scope, "api");
    for (size_t i = 0; api && g->user && i < g->user->role_count; i++)
        nexus__json_text_c_value(w, g->user->roles[i]);
    nexus_slice roles = g->client->roles;
    while (api && !g->user && roles.n)
        nexus__json_text_value(w, nexus__slice_cut(&roles, ' '));
    nexus__json_close(w, ']');
}

static nexus_slice subject_of(const nexus__oauth_grant *g)
{
    return g->user ? nexus__slice_c(g->user->id) : g->client->id;
}

/* Never older than what was voided: a second ahead at most (nexus__subject_revoke). */
static int64_t issued_at(const nexus_oauth *o, const nexus__oauth_grant *g)
{
    int64_t now = nexus__oauth_now_s(o);
    return g->user && now < g->user->tokens_after_s ? g->user->tokens_after_s : now;
}

static void write_access(nexus__buf *out, nexus_oauth *o, const nexus__oauth_grant *g)
{
    char jti[NEXUS__UUID_LEN + 1];
    int64_t now = issued_at(o, g);
    const nexus_auth_opts *opts = &o->auth->opts;
    nexus__uuid7(jti);
    nexus__json_writer w = nexus__json_writer_on(out);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "iss", opts->issuer);
    nexus__json_put_text_c(&w, "aud", is_identity_only(g->scope) ? opts->issuer : opts->audience);
    nexus__json_put_text(&w, "sub", subject_of(g));
    nexus__json_put_text(&w, "client_id", g->client->id);
    nexus__json_put_text(&w, "scope", g->scope);
    put_roles(&w, g);
    if (g->family)
        nexus__json_put_text_c(&w, "sid", g->family);
    if (g->auth_time_s)
        nexus__json_put_i64(&w, "auth_time", g->auth_time_s);
    if (g->cert) {
        nexus__json_key(&w, "cnf");
        nexus__json_open(&w, '{');
        nexus__json_put_text_c(&w, "x5t#S256", g->cert);
        nexus__json_close(&w, '}');
    }
    nexus__json_put_text_c(&w, "jti", jti);
    nexus__json_put_i64(&w, "iat", now);
    nexus__json_put_i64(&w, "exp", now + g->ttl_s);
    nexus__json_close(&w, '}');
}

void nexus__oauth_person(nexus__json_writer *w, const nexus_user *user, nexus_slice scope)
{
    if (has_scope(scope, "profile"))
        nexus__json_put_text_c(w, "name", user->name);
    if (has_scope(scope, "email"))
        nexus__json_put_text_c(w, "email", user->email);
}

static nexus_status write_id(nexus__buf *out, nexus_oauth *o, const nexus__oauth_grant *g, const char *access_token)
{
    char hash[NEXUS__HASH_TEXT];
    int64_t now = nexus__oauth_now_s(o);
    nexus_status status = nexus__oauth_digest(nexus__slice_c(access_token), true, hash);
    if (status != NEXUS_OK)
        return status;
    nexus__json_writer w = nexus__json_writer_on(out);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "iss", o->auth->opts.issuer);
    nexus__json_put_text(&w, "aud", g->client->id);
    nexus__json_put_text(&w, "sub", subject_of(g));
    nexus__json_put_text_c(&w, "sid", g->family);
    nexus__json_put_i64(&w, "auth_time", g->auth_time_s);
    nexus__json_put_text_c(&w, "at_hash", hash);
    if (g->nonce.n)
        nexus__json_put_text(&w, "nonce", g->nonce);
    nexus__oauth_person(&w, g->user, g->scope);
    nexus__json_put_i64(&w, "iat", now);
    nexus__json_put_i64(&w, "exp", now + g->ttl_s);
    nexus__json_close(&w, '}');
    return NEXUS_OK;
}

static nexus_status sign(char **out, const nexus_key *key, const char *typ, const nexus__buf *claims)
{
    size_t n;
    return claims->status == NEXUS_OK ? nexus_jwt_sign(out, &n, key, typ, claims->p, claims->len) : nexus__nomem();
}

static void write_answer(nexus__buf *out, const nexus__oauth_grant *g, const char *access_token, const char *id_token)
{
    nexus__json_writer w = nexus__json_writer_on(out);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "access_token", access_token);
    nexus__json_put_text_c(&w, "token_type", "Bearer");
    nexus__json_put_u64(&w, "expires_in", g->ttl_s);
    nexus__json_put_text(&w, "scope", g->scope);
    if (g->refresh_token)
        nexus__json_put_text_c(&w, "refresh_token", g->refresh_token);
    if (id_token)
        nexus__json_put_text_c(&w, "id_token", id_token);
    nexus__json_close(&w, '}');
}

static void wipe_token(char *token)
{
    if (token)
        nexus_free_wiped(token, strlen(token));
}

nexus_status nexus__oauth_grant_answer(nexus_oauth *o, const nexus__oauth_grant *g, nexus_oauth_answer **out)
{
    nexus_key *key;
    nexus__buf claims;
    char *access_token = NULL, *id_token = NULL;
    nexus_oauth_answer *answer = NULL;
    nexus_status status = nexus__signing_key(o->auth, &key);
    if (status != NEXUS_OK)
        return status;
    nexus__buf_init(&claims, NULL, 0);
    write_access(&claims, o, g);
    status = sign(&access_token, key, "at+jwt", &claims);
    if (status == NEXUS_OK && g->user && has_scope(g->scope, "openid")) {
        nexus__buf_clear(&claims);
        status = write_id(&claims, o, g, access_token);
        if (status == NEXUS_OK)
            status = sign(&id_token, key, "JWT", &claims);
    }
    nexus__buf_free(&claims);
    nexus_key_free(key);
    if (status == NEXUS_OK)
        status = nexus__oauth_answer_new(&answer, NEXUS_OAUTH_REPLY, 200);
    if (status == NEXUS_OK) {
        write_answer(&answer->body, g, access_token, id_token);
        status = nexus__oauth_answer_check(out, answer);
    }
    wipe_token(access_token);
    wipe_token(id_token);
    return status;
}
