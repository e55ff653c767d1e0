/* What is said and done about tokens that are out: revocation (RFC 7009), introspection (RFC 7662), userinfo. */
#include "auth/oauth/certificate.h"
#include "auth/confirmation.h"

/* --- one frame for both: form, caller, token ------------------------------------------------------------------------- */

typedef nexus_status token_fn(nexus_oauth *o, const nexus__oauth_client *caller, nexus_slice token,
                              nexus_oauth_answer **out);

static nexus_status with_caller(nexus_oauth *o, const nexus_oauth_call *call, bool public_too, token_fn *fn,
                                nexus_oauth_answer **out)
{
    nexus__oauth_form form;
    nexus__oauth_client caller;
    nexus_oauth_answer *refusal;
    const char *why;
    nexus_status status = nexus__oauth_form_parse(&form, call->form, &why);
    if (status != NEXUS_OK)
        return status == NEXUS_EINVAL ? nexus__oauth_refuse(out, "invalid_request", why) : status;
    status = nexus__oauth_caller(o, call, &form, public_too, &caller, &refusal);
    if (status == NEXUS_OK && refusal) {
        *out = refusal;
    } else if (status == NEXUS_OK) {
        nexus_slice token = nexus__oauth_form_get(&form, "token");
        status =
            token.n ? fn(o, &caller, token, out) : nexus__oauth_refuse(out, "invalid_request", "token is required.");
        nexus__oauth_client_end(&caller);
    }
    nexus__oauth_form_end(&form);
    return status;
}

static bool is_callers(const nexus_claims *claims, const nexus__oauth_client *caller)
{
    nexus_slice id;
    return nexus_claims_text(claims, "client_id", &id) && nexus__slice_eq(id, caller->id);
}

/* --- revocation ------------------------------------------------------------------------------------------------------ */

static nexus_status revoke_access(nexus_oauth *o, nexus_db *tx, const nexus_claims *claims)
{
    char id[65];
    nexus_slice jti;
    int64_t exp = 0;
    nexus_claims_text(claims, "jti", &jti);
    nexus_claims_int(claims, "exp", &exp);
    snprintf(id, sizeof id, "%.*s", (int)jti.n, jti.p);
    nexus_status status =
        nexus_db_exec(tx, "INSERT INTO oauth_revoked (jti, expires_at) VALUES ($1, $2) ON CONFLICT (jti) DO NOTHING",
                      (nexus_value[]){NEXUS_TEXT_C(id), NEXUS_INT(exp * NEXUS__NS_PER_S)}, 2, NULL);
    return status == NEXUS_OK ? nexus__auth_revoke(o->auth, tx, "token", id, exp) : status;
}

/* A refresh token takes its family along. NEXUS_EAUTH: it is no refresh token of this client. */
static nexus_status revoke_refresh(nexus_oauth *o, nexus_db *tx, const nexus__oauth_client *caller, nexus_slice token)
{
    nexus__presented p = {0};
    nexus_status status = nexus__token_hash(token, p.hash);
    if (status == NEXUS_OK)
        status = nexus__refresh_look_up(&p, tx);
    if (status == NEXUS_OK && !nexus__slice_eq_c(caller->id, p.client_id))
        return NEXUS_EAUTH;
    return status == NEXUS_OK ? nexus__family_revoke(o->auth, tx, p.family, "revoked by its client", NULL) : status;
}

static nexus_status revoke(nexus_oauth *o, const nexus__oauth_client *caller, nexus_slice token,
                           nexus_oauth_answer **out)
{
    nexus_claims *claims = NULL;
    nexus_oauth_answer *answer = NULL;
    nexus_db *tx;
    nexus_status status = nexus__oauth_verify(o, token, &claims);
    bool access = status == NEXUS_OK && is_callers(claims, caller), foreign = status == NEXUS_OK && !access;
    if (status == NEXUS_OK || status == NEXUS_EAUTH)
        status = nexus_db_begin(&tx, o->auth->db);
    if (status == NEXUS_OK && !foreign) {
        status = access ? revoke_access(o, tx, claims) : revoke_refresh(o, tx, caller, token);
        status = nexus__finish(tx, status);
    } else if (status == NEXUS_OK) {
        nexus_db_rollback(tx);
    }
    nexus_claims_free(claims);
    if (status != NEXUS_OK && status != NEXUS_EAUTH)
        return status;
    status = nexus__oauth_answer_new(&answer, NEXUS_OAUTH_REPLY, 200);
    return status == NEXUS_OK ? nexus__oauth_answer_check(out, answer) : status;
}

nexus_status nexus_oauth_revoke(nexus_oauth *o, const nexus_oauth_call *call, nexus_oauth_answer **out)
{
    return with_caller(o, call, true, revoke, out);
}

/* --- introspection ----------------------------------------------------------------------------------------------------- */

static nexus_status answer_inactive(nexus_oauth_answer **out)
{
    nexus_oauth_answer *a = NULL;
    nexus_status status = nexus__oauth_answer_new(&a, NEXUS_OAUTH_REPLY, 200);
    if (status != NEXUS_OK)
        return status;
    nexus__buf_text(&a->body, "{\"active\":false}");
    return nexus__oauth_answer_check(out, a);
}

/* The claims as they stand, with what RFC 7662 adds. */
static nexus_status answer_access(const nexus_claims *claims, nexus_oauth_answer **out)
{
    nexus_oauth_answer *a = NULL;
    nexus_slice json;
    nexus_status status = nexus__oauth_answer_new(&a, NEXUS_OAUTH_REPLY, 200);
    if (status != NEXUS_OK)
        return status;
    nexus_claims_json(claims, &json);
    nexus__buf_text(&a->body, "{\"active\":true,\"token_type\":\"Bearer\",");
    nexus__buf_slice_append(&a->body, nexus__slice_from(json, 1)); /* it is an object with members: ours */
    return nexus__oauth_answer_check(out, a);
}

static nexus_status introspect_access(nexus_oauth *o, const nexus__oauth_client *caller, const nexus_claims *claims,
                                      nexus_oauth_answer **out)
{
    nexus_user *user = NULL;
    if (!caller->resource_server && !is_callers(claims, caller))
        return answer_inactive(out);
    nexus_status status = nexus__oauth_subject(o, claims, &user);
    nexus_user_free(user);
    if (status == NEXUS_EAUTH)
        return answer_inactive(out);
    return status == NEXUS_OK ? answer_access(claims, out) : status;
}

static nexus_status write_refresh(nexus_oauth *o, const nexus__presented *p, nexus_oauth_answer **out)
{
    nexus_rows *rows;
    nexus_oauth_answer *a = NULL;
    nexus_slice scope;
    nexus_status status = nexus_db_query_one(&rows, o->auth->db, "SELECT scope FROM oauth_grants WHERE family = $1",
                                             (nexus_value[]){NEXUS_TEXT_C(p->family)}, 1);
    if (status != NEXUS_OK)
        return status;
    status = nexus__oauth_answer_new(&a, NEXUS_OAUTH_REPLY, 200);
    if (status == NEXUS_OK) {
        nexus_rows_text(rows, 0, &scope);
        nexus__json_writer w = nexus__json_writer_on(&a->body);
        nexus__json_open(&w, '{');
        nexus__json_put_bool(&w, "active", true);
        nexus__json_put_text_c(&w, "client_id", p->client_id);
        nexus__json_put_text_c(&w, "sub", p->user_id);
        nexus__json_put_text(&w, "scope", scope);
        nexus__json_put_i64(&w, "exp", p->idle_until / NEXUS__NS_PER_S);
        nexus__json_close(&w, '}');
        status = nexus__oauth_answer_check(out, a);
    }
    nexus_rows_free(rows);
    return status;
}

static nexus_status introspect_refresh(nexus_oauth *o, const nexus__oauth_client *caller, nexus_slice token,
                                       nexus_oauth_answer **out)
{
    nexus__presented p = {0};
    nexus_user *user = NULL;
    int64_t now = nexus__auth_now_ns(o->auth);
    nexus_status status = nexus__token_hash(token, p.hash);
    if (status == NEXUS_OK)
        status = nexus__refresh_look_up(&p, o->auth->db);
    if (status == NEXUS_OK && (!nexus__slice_eq_c(caller->id, p.client_id) || p.used || p.revoked ||
                               now >= p.idle_until || now >= p.expires_at))
        status = NEXUS_EAUTH;
    if (status == NEXUS_OK)
        status = nexus_auth_user(o->auth, nexus__slice_c(p.user_id), &user);
    if (status == NEXUS_OK)
        status = nexus__subject_gate(user);
    nexus_user_free(user);
    if (status == NEXUS_EAUTH || status == NEXUS_ENOTFOUND)
        return answer_inactive(out);
    return status == NEXUS_OK ? write_refresh(o, &p, out) : status;
}

static nexus_status introspect(nexus_oauth *o, const nexus__oauth_client *caller, nexus_slice token,
                               nexus_oauth_answer **out)
{
    nexus_claims *claims;
    nexus_status status = nexus__oauth_verify(o, token, &claims);
    if (status == NEXUS_EAUTH)
        return introspect_refresh(o, caller, token, out);
    if (status != NEXUS_OK)
        return status;
    status = introspect_access(o, caller, claims, out);
    nexus_claims_free(claims);
    return status;
}

nexus_status nexus_oauth_introspect(nexus_oauth *o, const nexus_oauth_call *call, nexus_oauth_answer **out)
{
    return with_caller(o, call, false, introspect, out);
}

/* --- userinfo ---------------------------------------------------------------------------------------------------------- */

static nexus_slice bearer_of(nexus_slice authorization)
{
    nexus_slice scheme = NEXUS_S("Bearer ");
    if (authorization.n <= scheme.n || !nexus__slice_ieq(nexus__slice(authorization.p, scheme.n), scheme))
        return (nexus_slice){0};
    return nexus__slice_trim(nexus__slice_from(authorization, scheme.n));
}

static nexus_status answer_person(const nexus_user *user, nexus_slice scope, nexus_oauth_answer **out)
{
    nexus_oauth_answer *a = NULL;
    nexus_status status = nexus__oauth_answer_new(&a, NEXUS_OAUTH_REPLY, 200);
    if (status != NEXUS_OK)
        return status;
    nexus__json_writer w = nexus__json_writer_on(&a->body);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "sub", user->id);
    nexus__oauth_person(&w, user, scope);
    nexus__json_close(&w, '}');
    return nexus__oauth_answer_check(out, a);
}

/* A bound token comes with its certificate. */
static nexus_status check_bound(const nexus_oauth_call *call, const nexus_claims *claims)
{
    uint8_t sha256[32];
    nexus__confirmation c;
    nexus__confirmation_read(&c, claims);
    bool shown = call->client_cert.n > 0 && nexus__hash(NEXUS__SHA256, call->client_cert, sha256) == NEXUS_OK;
    return nexus__confirmation_check(&c, shown ? sha256 : NULL);
}

nexus_status nexus_oauth_userinfo(nexus_oauth *o, const nexus_oauth_call *call, nexus_oauth_answer **out)
{
    nexus_claims *claims = NULL;
    nexus_user *user = NULL;
    nexus_slice scope = {"", 0}, token = bearer_of(call->authorization);
    nexus_status status = token.n ? nexus__oauth_verify(o, token, &claims) : NEXUS_EAUTH;
    if (status == NEXUS_OK)
        status = check_bound(call, claims);
    if (status == NEXUS_OK)
        status = nexus__oauth_subject(o, claims, &user);
    if (status == NEXUS_OK)
        nexus_claims_text(claims, "scope", &scope);
    if (status == NEXUS_EAUTH)
        status = nexus__oauth_refuse(out, "invalid_token", "The access token is missing, wrong, expired or revoked.");
    else if (status == NEXUS_OK && (!user || !nexus__oauth_has(scope, ' ', NEXUS_S("openid"))))
        status = nexus__oauth_refuse(out, "insufficient_scope", "The token was not granted the scope openid.");
    else if (status == NEXUS_OK)
        status = answer_person(user, scope, out);
    nexus_user_free(user);
    nexus_claims_free(claims);
    return status;
}
