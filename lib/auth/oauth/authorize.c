/*
 * The authorization endpoint (RFC 6749, 4.1.1; OpenID Connect Core, 3.1.2). First whether there is anybody to redirect to,
 * then what the request asks for, then the person: signed in, recently enough, willing. The query is judged from its
 * beginning at every step, so a page cannot change what was asked.
 */
#include "auth/oauth/oauth.h"

#include "base/codec.h"
#include "crypto/wipe.h"

#define FRESH_S 60 /* what prompt=login takes for a new login */

typedef struct request {
    nexus_oauth *o;
    const nexus_oauth_visit *visit;
    nexus__oauth_form form;
    nexus__oauth_client client;
    nexus_slice redirect_uri, state, scope, prompt;
    nexus_user *user; /* who is signed in; NULL: nobody, or nobody who may */
    int64_t signed_in_s;
    nexus_oauth_answer **out;
} request;

static nexus_slice field(const request *r, const char *name)
{
    return nexus__oauth_form_get(&r->form, name);
}

/* --- answers --------------------------------------------------------------------------------------------------------- */

static nexus_status page(nexus_oauth_answer **out, const char *text)
{
    nexus_oauth_answer *a = NULL;
    nexus_status status = nexus__oauth_answer_new(&a, NEXUS_OAUTH_PAGE, 400);
    if (status != NEXUS_OK)
        return status;
    snprintf(a->text, sizeof a->text, "%s", text);
    return nexus__oauth_answer_check(out, a);
}

static nexus_status ask(const request *r, uint32_t kind)
{
    nexus_oauth_answer *a = NULL;
    nexus_slice rest = r->scope;
    nexus_status status = nexus__oauth_answer_new(&a, kind, 200);
    if (status != NEXUS_OK)
        return status;
    nexus__json_writer w = nexus__json_writer_on(&a->body);
    nexus__json_open(&w, '{');
    nexus__json_key(&w, "client");
    nexus__json_open(&w, '{');
    nexus__json_put_text(&w, "id", r->client.id);
    nexus__json_put_text(&w, "name", r->client.name);
    nexus__json_close(&w, '}');
    nexus__json_key(&w, "scopes");
    nexus__json_open(&w, '[');
    while (rest.n)
        nexus__json_text_value(&w, nexus__slice_cut(&rest, ' '));
    nexus__json_close(&w, ']');
    nexus__json_close(&w, '}');
    return nexus__oauth_answer_check(r->out, a);
}

static void add_param(nexus__buf *url, bool *first, const char *name, nexus_slice value)
{
    if (!value.n)
        return;
    nexus__buf_char(url, *first ? '?' : '&');
    nexus__buf_text(url, name);
    nexus__buf_char(url, '=');
    nexus__percent_append(url, value);
    *first = false;
}

/* Back to the client with a code, or with an error and why. */
static nexus_status redirect(const request *r, nexus_slice code, const char *error, const char *description)
{
    nexus_oauth_answer *a = NULL;
    nexus_status status = nexus__oauth_answer_new(&a, NEXUS_OAUTH_REDIRECT, 303);
    if (status != NEXUS_OK)
        return status;
    bool first = nexus__slice_find(r->redirect_uri, '?') == r->redirect_uri.n;
    nexus__buf_slice_append(&a->location, r->redirect_uri);
    add_param(&a->location, &first, "code", code);
    add_param(&a->location, &first, "error", nexus__slice_c(error));
    add_param(&a->location, &first, "error_description", nexus__slice_c(description));
    add_param(&a->location, &first, "state", r->state);
    add_param(&a->location, &first, "iss", nexus__slice_c(r->o->auth->opts.issuer));
    return nexus__oauth_answer_check(r->out, a);
}

static nexus_status redirect_error(const request *r, const char *error, const char *description)
{
    return redirect(r, (nexus_slice){0}, error, description);
}

/* --- what was asked ---------------------------------------------------------------------------------------------------- */

/* The client and where it wants the answer. NULL, or what the page says. */
static const char *find_client(request *r)
{
    nexus_slice given = field(r, "redirect_uri");
    nexus_status status = nexus__oauth_client_load(&r->client, r->o->auth->db, field(r, "client_id"));
    if (status != NEXUS_OK)
        return status == NEXUS_ENOTFOUND ? "The application that sent you here is not known." : "";
    for (nexus_slice rest = r->client.redirect_uris; rest.n;)
        if (nexus__oauth_redirect_is(nexus__slice_cut(&rest, '\n'), given)) {
            r->redirect_uri = given;
            return NULL;
        }
    return "The application that sent you here named an address (redirect_uri) that is not registered for it.";
}

/* NULL, or the error that the client is told. */
static const char *judge(request *r, const char **description)
{
    nexus_slice challenge = field(r, "code_challenge"), mode = field(r, "response_mode");
    r->scope = field(r, "scope");
    r->prompt = field(r, "prompt");
    *description = "request objects are not taken.";
    if (field(r, "request").n)
        return "request_not_supported";
    if (field(r, "request_uri").n)
        return "request_uri_not_supported";
    *description = "response_type must be code.";
    if (!nexus__slice_eq_c(field(r, "response_type"), "code"))
        return field(r, "response_type").n ? "unsupported_response_type" : "invalid_request";
    *description = "The client is not registered for authorization codes.";
    if (!nexus__oauth_has(r->client.grants, ' ', NEXUS_S("authorization_code")))
        return "unauthorized_client";
    *description = "response_mode must be query.";
    if (mode.n && !nexus__slice_eq_c(mode, "query"))
        return "invalid_request";
    *description = "code_challenge with code_challenge_method=S256 is required (RFC 7636).";
    if (challenge.n != 43 || !nexus__oauth_pkce_valid(challenge) ||
        !nexus__slice_eq_c(field(r, "code_challenge_method"), "S256"))
        return "invalid_request";
    *description = "state and nonce: at most 512 bytes.";
    if (r->state.n > 512 || field(r, "nonce").n > 512)
        return "invalid_request";
    *description = "scope must be words that the client is registered for.";
    if (!nexus__oauth_scope_valid(r->scope) || !nexus__oauth_scope_within(r->scope, r->client.scopes))
        return "invalid_scope";
    *description = "prompt must be none, or login and consent.";
    bool none = nexus__oauth_has(r->prompt, ' ', NEXUS_S("none"));
    return none && r->prompt.n > 4 ? "invalid_request" : NULL;
}

/* --- the person ---------------------------------------------------------------------------------------------------------- */

static bool prompts(const request *r, const char *word)
{
    return nexus__oauth_has(r->prompt, ' ', nexus__slice_c(word));
}

static bool needs_login(const request *r)
{
    uint64_t max_age;
    int64_t age = nexus__oauth_now_s(r->o) - r->signed_in_s;
    nexus_slice given = field(r, "max_age");
    if (!r->user)
        return true;
    if ((prompts(r, "login") || prompts(r, "select_account")) && age > FRESH_S)
        return true;
    return given.n && nexus__parse_u64(given, &max_age) && (max_age > INT32_MAX || age > (int64_t)max_age) &&
           age > 1; /* max_age=0 is met by the login that was just made */
}

/* A public client on a machine can be anybody who has its id (RFC 8252, 8.6): consent of yesterday is not its. */
static nexus_status has_consent(const request *r, const char *user_id, bool *out)
{
    nexus_rows *rows;
    *out = r->client.first_party || r->visit->decision == NEXUS_OAUTH_ALLOW;
    if (*out || prompts(r, "consent") || nexus__slice_eq_c(r->client.method, "none"))
        return NEXUS_OK;
    nexus_status status = nexus_db_query_one(&rows, r->o->auth->db,
                                             "SELECT scope FROM oauth_consents WHERE user_id = $1 AND client_id = $2",
                                             (nexus_value[]){NEXUS_TEXT_C(user_id), NEXUS_TEXT(r->client.id)}, 2);
    if (status != NEXUS_OK)
        return status == NEXUS_ENOTFOUND ? NEXUS_OK : status;
    nexus_slice granted;
    nexus_rows_text(rows, 0, &granted);
    *out = nexus__oauth_scope_within(r->scope, granted);
    nexus_rows_free(rows);
    return NEXUS_OK;
}

static nexus_status keep(const request *r, nexus_db *tx, const nexus_user *user, const char *hash)
{
    int64_t now = nexus__auth_now_ns(r->o->auth);
    nexus_status status =
        nexus_db_exec(tx,
                      "INSERT INTO oauth_codes (hash, client_id, user_id, redirect_uri, challenge, scope, nonce, "
                      "auth_time, expires_at)"
                      " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                      (nexus_value[]){NEXUS_TEXT_C(hash), NEXUS_TEXT(r->client.id), NEXUS_TEXT_C(user->id),
                                      NEXUS_TEXT(r->redirect_uri), NEXUS_TEXT(field(r, "code_challenge")),
                                      NEXUS_TEXT(r->scope), NEXUS_TEXT(field(r, "nonce")), NEXUS_INT(r->signed_in_s),
                                      NEXUS_INT(now + r->o->code_ttl_s * NEXUS__NS_PER_S)},
                      9, NULL);
    if (status != NEXUS_OK || r->visit->decision != NEXUS_OAUTH_ALLOW)
        return status;
    return nexus_db_exec(
        tx,
        "INSERT INTO oauth_consents (user_id, client_id, scope, granted_at) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (user_id, client_id) DO UPDATE SET scope = $3, granted_at = $4",
        (nexus_value[]){NEXUS_TEXT_C(user->id), NEXUS_TEXT(r->client.id), NEXUS_TEXT(r->scope), NEXUS_INT(now)}, 4,
        NULL);
}

static nexus_status give_code(const request *r, const nexus_user *user)
{
    char code[NEXUS__TOKEN_TEXT], hash[NEXUS__HASH_TEXT];
    nexus_db *tx;
    nexus__token_make(code);
    nexus_status status = nexus__token_hash(nexus__slice_c(code), hash);
    if (status == NEXUS_OK)
        status = nexus_db_begin(&tx, r->o->auth->db);
    if (status == NEXUS_OK)
        status = nexus__finish(tx, keep(r, tx, user, hash));
    if (status == NEXUS_OK)
        status = redirect(r, nexus__slice_c(code), NULL, NULL);
    nexus__wipe(code, sizeof code);
    return status;
}

static nexus_status decide(const request *r, const nexus_user *user)
{
    bool consent;
    bool silent = prompts(r, "none");
    if (r->visit->decision == NEXUS_OAUTH_DENY)
        return redirect_error(r, "access_denied", "The person said no.");
    nexus_status status = has_consent(r, user->id, &consent);
    if (status != NEXUS_OK)
        return status;
    if (!consent && silent)
        return redirect_error(r, "consent_required", "The person has to be asked.");
    return consent ? give_code(r, user) : ask(r, NEXUS_OAUTH_CONSENT);
}

/* A session that is over is nobody's, and so is one of an account that may not sign in. */
static nexus_status find_person(request *r)
{
    nexus_auth *a = r->o->auth;
    r->signed_in_s = r->visit->signed_in_s;
    nexus_status status = NEXUS_ENOTFOUND;
    if (r->visit->session.n)
        status = nexus__session_person(a, r->visit->session, &r->user, &r->signed_in_s);
    else if (r->visit->user_id.n)
        status = nexus_auth_user(a, r->visit->user_id, &r->user);
    if (status == NEXUS_OK)
        status = nexus__subject_gate(r->user);
    if (status != NEXUS_ENOTFOUND && status != NEXUS_EAUTH)
        return status;
    nexus_user_free(r->user);
    r->user = NULL;
    return NEXUS_OK;
}

static nexus_status with_person(request *r)
{
    nexus_status status = find_person(r);
    if (status != NEXUS_OK)
        return status;
    if (!needs_login(r))
        return decide(r, r->user);
    return prompts(r, "none") ? redirect_error(r, "login_required", "Nobody is signed in.") : ask(r, NEXUS_OAUTH_LOGIN);
}

nexus_status nexus_oauth_authorize(nexus_oauth *o, const nexus_oauth_visit *visit, nexus_oauth_answer **out)
{
    request r = {.o = o, .visit = visit, .out = out};
    const char *why, *description;
    if (visit->size != sizeof *visit)
        return nexus__fail(NEXUS_EINVAL, "nexus_oauth_visit: size is wrong");
    nexus_status status = nexus__oauth_form_parse(&r.form, visit->query, &why);
    if (status != NEXUS_OK)
        return status == NEXUS_EINVAL ? page(out, why) : status;
    r.state = field(&r, "state");
    why = find_client(&r);
    if (why)
        status = *why ? page(out, why) : NEXUS_EAGAIN;
    else if ((why = judge(&r, &description)))
        status = redirect_error(&r, why, description);
    else
        status = with_person(&r);
    nexus_user_free(r.user);
    nexus__oauth_client_end(&r.client);
    nexus__oauth_form_end(&r.form);
    return status;
}
