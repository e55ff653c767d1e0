/*
 * The token endpoint. Who may have a token is asked here, at redemption: the client has proved who it is, and the person
 * passes nexus__subject_gate. Each grant is a row.
 */
#include "auth/oauth/certificate.h"

#include "crypto/wipe.h"

typedef struct request {
    nexus_oauth *o;
    const nexus__oauth_form *form;
    const nexus__oauth_client *client;
    const char *cert; /* that access tokens are bound to; NULL = to none */
    nexus_oauth_answer **out;
} request;

static nexus_status refuse(const request *r, const char *error, const char *description)
{
    return nexus__oauth_refuse(r->out, error, description);
}

static nexus_status invalid_grant(const request *r, const char *description)
{
    return refuse(r, "invalid_grant", description);
}

static nexus_slice field(const request *r, const char *name)
{
    return nexus__oauth_form_get(r->form, name);
}

/* --- client credentials ------------------------------------------------------------------------------------------------ */

static nexus_status client_credentials(const request *r)
{
    nexus_slice scope = field(r, "scope");
    if (nexus__slice_eq_c(r->client->method, "none"))
        return refuse(r, "unauthorized_client", "A public client has no credentials.");
    if (scope.n && (!nexus__oauth_scope_valid(scope) || !nexus__oauth_scope_within(scope, r->client->scopes)))
        return refuse(r, "invalid_scope", "The client may not have that scope.");
    nexus__oauth_grant grant = {
        .client = r->client, .scope = scope.n ? scope : r->client->scopes, .ttl_s = r->o->client_ttl_s, .cert = r->cert};
    nexus_status status = nexus__tell_token(r->o->auth, NULL, "", r->client->id, "client_credentials");
    return status == NEXUS_OK ? nexus__oauth_grant_answer(r->o, &grant, r->out) : status;
}

/* --- authorization code -------------------------------------------------------------------------------------------------- */

typedef struct code {
    nexus_rows *rows;
    nexus_slice client_id, user_id, redirect_uri, challenge, scope, nonce, family;
    int64_t auth_time, expires_at;
    bool used;
} code;

static nexus_status load_code(code *c, nexus_db *tx, const char *hash)
{
    nexus_rows_free(c->rows);
    *c = (code){0};
    nexus_status status =
        nexus_db_query_one(&c->rows, tx,
                           "SELECT client_id, user_id, redirect_uri, challenge, scope, nonce, family, auth_time,"
                           " expires_at, used_at FROM oauth_codes WHERE hash = $1",
                           (nexus_value[]){NEXUS_TEXT_C(hash)}, 1);
    if (status != NEXUS_OK) {
        c->rows = NULL;
        return status;
    }
    nexus_slice *const texts[] = {&c->client_id, &c->user_id, &c->redirect_uri, &c->challenge,
                                  &c->scope,     &c->nonce,   &c->family};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        nexus_rows_text(c->rows, i, texts[i]);
    c->auth_time = nexus_rows_int(c->rows, 7);
    c->expires_at = nexus_rows_int(c->rows, 8);
    c->used = !nexus_rows_is_null(c->rows, 9);
    return NEXUS_OK;
}

/* Somebody has had it before: all that it gave ends (RFC 6749, 4.1.2). */
static nexus_status end_reused(const request *r, nexus_db *tx, const code *c)
{
    char family[NEXUS__UUID_LEN + 1];
    nexus__buf data;
    snprintf(family, sizeof family, "%.*s", (int)c->family.n, c->family.p);
    nexus_status status = nexus__family_revoke(r->o->auth, tx, family, "code reuse", NULL);
    nexus__buf_init(&data, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&data);
    nexus__json_open(&w, '{');
    nexus__json_put_text(&w, "user_id", c->user_id);
    nexus__json_put_text(&w, "client_id", c->client_id);
    nexus__json_close(&w, '}');
    if (status == NEXUS_OK)
        status = nexus__auth_event(r->o->auth, tx, "auth.code_reused", family, &data);
    nexus__buf_free(&data);
    return status;
}

/* NULL, or why the code is not this client's to redeem so. */
static const char *mismatch(const request *r, const code *c)
{
    char challenge[NEXUS__HASH_TEXT];
    nexus_slice verifier = field(r, "code_verifier");
    if (nexus__auth_now_ns(r->o->auth) >= c->expires_at)
        return "The code has expired.";
    if (!nexus__slice_eq(c->client_id, r->client->id))
        return "The code is another client's.";
    if (!nexus__slice_eq(c->redirect_uri, field(r, "redirect_uri")))
        return "redirect_uri is not the one of the authorization request.";
    if (!nexus__oauth_pkce_valid(verifier) || nexus__oauth_digest(verifier, false, challenge) != NEXUS_OK ||
        !nexus__slice_eq_ct(nexus__slice_c(challenge), c->challenge))
        return "code_verifier does not belong to the code_challenge.";
    return NULL;
}

/* A public client proves nothing when it refreshes but that it has the certificate (RFC 8705, 7.1). */
static const char *refresh_cert(const request *r)
{
    return r->cert && nexus__slice_eq_c(r->client->method, "none") ? r->cert : "";
}

static nexus_status begin_family(const request *r, nexus_db *tx, const code *c, const char *family, bool refreshes)
{
    nexus_oauth *o = r->o;
    int64_t now = nexus__auth_now_ns(o->auth);
    int64_t ttl_s = refreshes ? o->auth->opts.refresh_absolute_s : o->auth->opts.access_ttl_s;
    nexus_status status =
        nexus_db_exec(tx, "INSERT INTO auth_families (id, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4)",
                      (nexus_value[]){NEXUS_TEXT_C(family), NEXUS_TEXT(c->user_id), NEXUS_INT(now),
                                      NEXUS_INT(now + ttl_s * NEXUS__NS_PER_S)},
                      4, NULL);
    if (status != NEXUS_OK)
        return status;
    return nexus_db_exec(
        tx, "INSERT INTO oauth_grants (family, client_id, scope, auth_time, cert) VALUES ($1, $2, $3, $4, $5)",
        (nexus_value[]){NEXUS_TEXT_C(family), NEXUS_TEXT(c->client_id), NEXUS_TEXT(c->scope), NEXUS_INT(c->auth_time),
                        NEXUS_TEXT_C(refresh_cert(r))},
        5, NULL);
}

static nexus_status first_refresh(nexus_oauth *o, nexus_db *tx, const char *family, char token[static NEXUS__TOKEN_TEXT])
{
    char hash[NEXUS__HASH_TEXT];
    nexus__token_make(token);
    nexus_status status = nexus__token_hash(nexus__slice_c(token), hash);
    return status == NEXUS_OK ? nexus__refresh_insert(o->auth, tx, hash, family) : status;
}

/* What redemption came to. */
typedef struct redeemed {
    code code;
    nexus_user *user;
    char family[NEXUS__UUID_LEN + 1], refresh_token[NEXUS__TOKEN_TEXT];
    bool refreshes, reused;
    const char *refusal;
} redeemed;

static nexus_status redeem(const request *r, nexus_db *tx, const char *hash, redeemed *d)
{
    int64_t won = 0;
    nexus_status status = load_code(&d->code, tx, hash);
    if (status == NEXUS_ENOTFOUND)
        d->refusal = "The code is not known.";
    if (status != NEXUS_OK || (!d->code.used && (d->refusal = mismatch(r, &d->code))))
        return status == NEXUS_ENOTFOUND ? NEXUS_OK : status;
    nexus__uuid7(d->family);
    if (!d->code.used)
        status = nexus_db_exec(
            tx, "UPDATE oauth_codes SET used_at = $2, family = $3 WHERE hash = $1 AND used_at IS NULL",
            (nexus_value[]){NEXUS_TEXT_C(hash), NEXUS_INT(nexus__auth_now_ns(r->o->auth)), NEXUS_TEXT_C(d->family)}, 3,
            &won);
    if (status == NEXUS_OK && !won) { /* used before, or by who was first just now */
        status = load_code(&d->code, tx, hash);
        d->refusal = "The code was used before; what it gave has ended.";
        return status == NEXUS_OK ? end_reused(r, tx, &d->code) : status;
    }
    if (status == NEXUS_OK)
        status = nexus__user_load(&d->user, tx, "id", d->code.user_id);
    if (status == NEXUS_ENOTFOUND || (status == NEXUS_OK && nexus__subject_gate(d->user) != NEXUS_OK)) {
        d->refusal = "The account may not sign in.";
        return NEXUS_OK;
    }
    d->refreshes = nexus__oauth_has(r->client->grants, ' ', NEXUS_S("refresh_token")) &&
                   nexus__oauth_has(d->code.scope, ' ', NEXUS_S("offline_access"));
    if (status == NEXUS_OK)
        status = begin_family(r, tx, &d->code, d->family, d->refreshes);
    if (status == NEXUS_OK)
        status = nexus__tell_token(r->o->auth, tx, nexus_user_id(d->user), r->client->id, "authorization_code");
    return status == NEXUS_OK && d->refreshes ? first_refresh(r->o, tx, d->family, d->refresh_token) : status;
}

static nexus_status authorization_code(const request *r)
{
    char hash[NEXUS__HASH_TEXT];
    redeemed d = {0};
    nexus_db *tx;
    if (!field(r, "code").n || !field(r, "code_verifier").n || !field(r, "redirect_uri").n)
        return refuse(r, "invalid_request", "code, redirect_uri and code_verifier are required.");
    nexus_status status = nexus__token_hash(field(r, "code"), hash);
    if (status == NEXUS_OK)
        status = nexus_db_begin(&tx, r->o->auth->db);
    if (status != NEXUS_OK)
        return status;
    status = nexus__finish(tx, redeem(r, tx, hash, &d));
    nexus__oauth_grant grant = {.client = r->client,
                                .user = d.user,
                                .scope = d.code.scope,
                                .nonce = d.code.nonce,
                                .family = d.family,
                                .auth_time_s = d.code.auth_time,
                                .ttl_s = r->o->auth->opts.access_ttl_s,
                                .refresh_token = d.refreshes ? d.refresh_token : NULL,
                                .cert = r->cert};
    if (status == NEXUS_OK)
        status = d.refusal ? invalid_grant(r, d.refusal) : nexus__oauth_grant_answer(r->o, &grant, r->out);
    nexus_user_free(d.user);
    nexus_rows_free(d.code.rows);
    nexus__wipe(d.refresh_token, sizeof d.refresh_token);
    return status;
}

/* --- refresh token ------------------------------------------------------------------------------------------------------- */

typedef struct refreshed {
    nexus__presented presented;
    nexus_rows *rows; /* of the grant */
    nexus_slice granted;
    nexus_user *user;
    char token[NEXUS__TOKEN_TEXT];
    bool reuse, too_much;
} refreshed;

/* NEXUS_EAUTH: no refresh for this. */
static nexus_status refresh_in(const request *r, nexus_db *tx, refreshed *d, nexus_slice scope)
{
    char client_id[NEXUS__UUID_LEN + 1];
    nexus_slice cert = {"", 0};
    snprintf(client_id, sizeof client_id, "%.*s", (int)r->client->id.n, r->client->id.p);
    nexus_status status = nexus__refresh_look_up(&d->presented, tx);
    if (status != NEXUS_OK || strcmp(d->presented.client_id, client_id) != 0)
        return status == NEXUS_OK ? NEXUS_EAUTH : status;
    status = nexus_db_query_one(&d->rows, tx, "SELECT scope, auth_time, cert FROM oauth_grants WHERE family = $1",
                                (nexus_value[]){NEXUS_TEXT_C(d->presented.family)}, 1);
    if (status != NEXUS_OK)
        return status;
    nexus_rows_text(d->rows, 0, &d->granted);
    nexus_rows_text(d->rows, 2, &cert);
    if (cert.n > 0 && (!r->cert || !nexus__slice_eq_c(cert, r->cert)))
        return NEXUS_EAUTH;
    d->too_much = scope.n && (!nexus__oauth_scope_valid(scope) || !nexus__oauth_scope_within(scope, d->granted));
    if (d->too_much)
        return NEXUS_OK;
    status = nexus__user_load(&d->user, tx, "id", nexus__slice_c(d->presented.user_id));
    if (status == NEXUS_OK)
        status = nexus__subject_gate(d->user);
    if (status != NEXUS_OK)
        return NEXUS_EAUTH;
    status = nexus__refresh_exchange(&d->presented, r->o->auth, tx, client_id, d->token, &d->reuse);
    return status == NEXUS_OK && !d->reuse
               ? nexus__tell_token(r->o->auth, tx, d->presented.user_id, r->client->id, "refresh_token")
               : status;
}

static nexus_status refresh_answer(const request *r, const refreshed *d, nexus_slice scope)
{
    nexus__oauth_grant grant = {.client = r->client,
                                .user = d->user,
                                .scope = scope.n ? scope : d->granted,
                                .family = d->presented.family,
                                .auth_time_s = nexus_rows_int(d->rows, 1),
                                .ttl_s = r->o->auth->opts.access_ttl_s,
                                .refresh_token = d->token,
                                .cert = r->cert};
    if (d->too_much)
        return refuse(r, "invalid_scope", "A refresh may ask for less than what was granted, not for more.");
    if (d->reuse)
        return invalid_grant(r, "The refresh token was used before; what it belongs to has ended.");
    return nexus__oauth_grant_answer(r->o, &grant, r->out);
}

static nexus_status refresh_token(const request *r)
{
    refreshed d = {0};
    nexus_db *tx;
    nexus_slice token = field(r, "refresh_token"), scope = field(r, "scope");
    if (!token.n)
        return refuse(r, "invalid_request", "refresh_token is required.");
    nexus_status status = nexus__token_hash(token, d.presented.hash);
    if (status == NEXUS_OK)
        status = nexus_db_begin(&tx, r->o->auth->db);
    if (status != NEXUS_OK)
        return status;
    status = nexus__finish(tx, refresh_in(r, tx, &d, scope));
    if (status == NEXUS_EAUTH)
        status = invalid_grant(r, "The refresh token is not valid.");
    else if (status == NEXUS_OK)
        status = refresh_answer(r, &d, scope);
    nexus_user_free(d.user);
    nexus_rows_free(d.rows);
    nexus__wipe(d.token, sizeof d.token);
    return status;
}

/* --- the endpoint -------------------------------------------------------------------------------------------------------- */

static const struct grant {
    const char *name;
    nexus_status (*run)(const request *r);
} grants[] = {
    {"authorization_code", authorization_code},
    {"client_credentials", client_credentials},
    {"refresh_token", refresh_token},
};

static nexus_status run_grant(const request *r)
{
    nexus_slice type = field(r, "grant_type");
    if (!type.n)
        return refuse(r, "invalid_request", "grant_type is required.");
    for (size_t i = 0; i < sizeof grants / sizeof grants[0]; i++) {
        if (!nexus__slice_eq_c(type, grants[i].name))
            continue;
        if (!nexus__oauth_has(r->client->grants, ' ', type))
            return refuse(r, "unauthorized_client", "The client is not registered for that grant.");
        return grants[i].run(r);
    }
    return refuse(r, "unsupported_grant_type", "Grants are authorization_code, client_credentials, refresh_token.");
}

nexus_status nexus_oauth_token(nexus_oauth *o, const nexus_oauth_call *call, nexus_oauth_answer **out)
{
    nexus__oauth_form form;
    nexus__oauth_client client;
    const char *why;
    nexus_status status = nexus__oauth_form_parse(&form, call->form, &why);
    if (status != NEXUS_OK)
        return status == NEXUS_EINVAL ? nexus__oauth_refuse(out, "invalid_request", why) : status;
    nexus_oauth_answer *refusal;
    status = nexus__oauth_caller(o, call, &form, true, &client, &refusal);
    if (status == NEXUS_OK && refusal)
        *out = refusal;
    else if (status == NEXUS_OK) {
        char cert[NEXUS__HASH_TEXT];
        bool shown = client.cert_bound && nexus__oauth_thumbprint(call, cert);
        status = client.cert_bound && !shown
                     ? nexus__oauth_refuse(out, "invalid_request",
                                           "The client's tokens are bound to a certificate; none came with this.")
                     : run_grant(&(request){o, &form, &client, shown ? cert : NULL, out});
        nexus__oauth_client_end(&client);
    }
    nexus__oauth_form_end(&form);
    return status;
}
