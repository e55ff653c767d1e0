/*
 * One login. The state cookie holds what the answer must fit: a state of its own, the nonce, the PKCE verifier, the way
 * back. It is sealed, so nobody can make or change one, and its state is taken once.
 */
#include <nexus/client.h>
#include <stdio.h>

#include "auth/auth_private.h"
#include "auth/basic.h"
#include "auth/oauth/oauth.h"
#include "auth/oidc/oidc.h"
#include "base/codec.h"
#include "crypto/wipe.h"
#include "json/read.h"

enum { LOGIN_S = 600, RETURN_MAX = 1024 };

static nexus_status abort_login(const char *why)
{
    return nexus__fail(NEXUS_EAUTH, "login aborted: %s", why);
}

/* --- beginning --------------------------------------------------------------------------------------------------------- */

/* A path of ours: it begins with one slash, and no browser reads a host into it. */
static bool is_local(nexus_slice path)
{
    if (path.n == 0 || path.n > RETURN_MAX || path.p[0] != '/' ||
        (path.n > 1 && (path.p[1] == '/' || path.p[1] == '\\')))
        return false;
    for (size_t i = 0; i < path.n; i++)
        if ((unsigned char)path.p[i] <= 0x20 || (unsigned char)path.p[i] >= 0x7f || path.p[i] == '\\')
            return false;
    return true;
}

typedef struct attempt {
    char state[NEXUS__TOKEN_TEXT], nonce[NEXUS__TOKEN_TEXT], verifier[NEXUS__TOKEN_TEXT];
    char return_to[RETURN_MAX + 1];
    int64_t expires_s;
} attempt;

static nexus_status seal_attempt(const nexus_oidc *o, const attempt *a, char **out)
{
    nexus__buf text;
    size_t n;
    nexus__buf_init(&text, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&text);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "state", a->state);
    nexus__json_put_text_c(&w, "nonce", a->nonce);
    nexus__json_put_text_c(&w, "verifier", a->verifier);
    nexus__json_put_text_c(&w, "return_to", a->return_to);
    nexus__json_put_i64(&w, "exp", a->expires_s);
    nexus__json_close(&w, '}');
    nexus_status status = text.status == NEXUS_OK
                              ? nexus_secrets_seal(o->secrets, NEXUS_S("oidc/state"), nexus__buf_slice(&text), out, &n)
                              : nexus__nomem();
    nexus__wipe(text.p, text.cap);
    nexus__buf_free(&text);
    return status;
}

static void add(nexus__buf *url, char sep, const char *name, const char *value)
{
    nexus__buf_char(url, sep);
    nexus__buf_text(url, name);
    nexus__buf_char(url, '=');
    nexus__percent_append(url, nexus__slice_c(value));
}

static nexus_status write_location(const nexus_oidc *o, const nexus__oidc_provider *p, const attempt *a, char **out)
{
    char challenge[NEXUS__HASH_TEXT];
    nexus__buf url;
    nexus_status status = nexus__oauth_digest(nexus__slice_c(a->verifier), false, challenge);
    if (status != NEXUS_OK)
        return status;
    nexus__buf_init(&url, NULL, 0);
    nexus__buf_text(&url, p->authorization);
    add(&url, strchr(p->authorization, '?') ? '&' : '?', "response_type", "code");
    add(&url, '&', "client_id", o->client_id);
    add(&url, '&', "redirect_uri", o->redirect_uri);
    add(&url, '&', "scope", o->scope);
    add(&url, '&', "state", a->state);
    add(&url, '&', "nonce", a->nonce);
    add(&url, '&', "code_challenge", challenge);
    add(&url, '&', "code_challenge_method", "S256");
    status = nexus__buf_hand_over(&url, out, NULL);
    nexus__buf_free(&url);
    return status;
}

nexus_status nexus_oidc_begin(nexus_oidc *o, nexus_slice return_to, char **location, char **state)
{
    nexus__oidc_provider p;
    attempt a = {.expires_s = nexus__oidc_now_s(o) + LOGIN_S};
    char *sealed = NULL;
    nexus_status status = nexus__oidc_provider_get(o, &p);
    if (status != NEXUS_OK)
        return status;
    nexus__token_make(a.state);
    nexus__token_make(a.nonce);
    nexus__token_make(a.verifier);
    bool local = is_local(return_to);
    snprintf(a.return_to, sizeof a.return_to, "%.*s", local ? (int)return_to.n : 1, local ? return_to.p : "/");
    status = seal_attempt(o, &a, &sealed);
    if (status == NEXUS_OK)
        status = write_location(o, &p, &a, location);
    if (status == NEXUS_OK)
        *state = sealed;
    else
        nexus_free(sealed);
    nexus__wipe(&a, sizeof a);
    return status;
}

/* --- the answer -------------------------------------------------------------------------------------------------------- */

static bool take(nexus__json *doc, const char *name, char *out, size_t cap)
{
    nexus_slice text;
    if (!nexus__json_get_text(doc, 0, name, &text) || text.n >= cap)
        return false;
    memcpy(out, text.p, text.n);
    out[text.n] = 0;
    return true;
}

static nexus_status open_attempt(const nexus_oidc *o, nexus_slice cookie, attempt *a)
{
    char *plain;
    size_t n;
    nexus__json doc;
    nexus_status status = nexus_secrets_unseal(o->secrets, NEXUS_S("oidc/state"), cookie, &plain, &n);
    if (status != NEXUS_OK)
        return status == NEXUS_ENOMEM ? status : abort_login("its beginning is not known in this browser");
    nexus__json_init(&doc, NULL);
    bool fine = nexus__json_scan(&doc, nexus__slice(plain, n), NULL) == NEXUS_OK &&
                take(&doc, "state", a->state, sizeof a->state) && take(&doc, "nonce", a->nonce, sizeof a->nonce) &&
                take(&doc, "verifier", a->verifier, sizeof a->verifier) &&
                take(&doc, "return_to", a->return_to, sizeof a->return_to) &&
                nexus__json_get_i64(&doc, 0, "exp", &a->expires_s);
    nexus__json_free(&doc);
    nexus_free_wiped(plain, n);
    if (!fine)
        return abort_login("its beginning is not known in this browser");
    return nexus__oidc_now_s(o) < a->expires_s ? NEXUS_OK : abort_login("it took too long");
}

/* Of two that come with the same state one goes on. */
static bool spend_state(nexus_oidc *o, const attempt *a)
{
    const nexus_principal asked = {.jti = nexus__slice_c(a->state)};
    int64_t now = nexus__oidc_now_s(o);
    pthread_mutex_lock(&o->lock);
    bool fresh =
        !nexus__revocations_match(&o->states, &asked) &&
        nexus__revocations_add(&o->states, NEXUS__REVOKED_TOKEN, asked.jti, a->expires_s, INT64_MAX, now) == NEXUS_OK;
    pthread_mutex_unlock(&o->lock);
    return fresh;
}

static nexus_status check_answer(nexus_oidc *o, const nexus__oauth_form *form, const nexus__oidc_provider *p,
                                 const attempt *a)
{
    nexus_slice state = nexus__oauth_form_get(form, "state"), issuer = nexus__oauth_form_get(form, "iss");
    nexus_slice error = nexus__oauth_form_get(form, "error");
    if (!nexus__slice_eq_ct(state, nexus__slice_c(a->state)))
        return abort_login("state is another");
    if (issuer.n ? !nexus__slice_eq_c(issuer, o->issuer) : p->names_issuer)
        return abort_login("iss is another, or missing");
    if (!spend_state(o, a))
        return abort_login("this answer was used before");
    if (error.n)
        return nexus__fail(NEXUS_EAUTH, "login aborted: the provider says %.*s", (int)(error.n < 64 ? error.n : 64),
                           error.p);
    return nexus__oauth_form_get(form, "code").n ? NEXUS_OK : abort_login("there is no code");
}

/* --- the code ----------------------------------------------------------------------------------------------------------- */

static void write_form(const nexus_oidc *o, nexus__buf *out, nexus_slice code, const attempt *a)
{
    nexus__buf_text(out, "grant_type=authorization_code&code=");
    nexus__percent_append(out, code);
    add(out, '&', "redirect_uri", o->redirect_uri);
    add(out, '&', "code_verifier", a->verifier);
    if (!o->client_secret)
        add(out, '&', "client_id", o->client_id);
}

/* The provider's JSON answer. NEXUS_EAUTH: it refuses. */
static nexus_status redeem(nexus_oidc *o, const nexus__oidc_provider *p, nexus_slice code, const attempt *a,
                           nexus_reply **out)
{
    nexus__buf form, credentials;
    nexus_fetch fetch = NEXUS_FETCH_INIT;
    nexus__buf_init(&form, NULL, 0);
    nexus__buf_init(&credentials, NULL, 0);
    write_form(o, &form, code, a);
    nexus_status status =
        o->client_secret ? nexus__basic_append(&credentials, o->client_id, o->client_secret) : NEXUS_OK;
    const nexus_pair headers[] = {{NEXUS_S("Content-Type"), NEXUS_S("application/x-www-form-urlencoded")},
                                  {NEXUS_S("Accept"), NEXUS_S("application/json")},
                                  {NEXUS_S("Authorization"), nexus__buf_slice(&credentials)}};
    fetch.url = nexus__slice_c(p->token);
    fetch.body = nexus__buf_slice(&form);
    fetch.headers = headers;
    fetch.header_count = o->client_secret ? 3 : 2;
    fetch.timeout_ms = 10000;
    if (status == NEXUS_OK)
        status = form.status == NEXUS_OK ? nexus_client_fetch(o->client, &fetch, out) : nexus__nomem();
    nexus__wipe(form.p, form.cap);
    nexus__wipe(credentials.p, credentials.cap);
    nexus__buf_free(&form);
    nexus__buf_free(&credentials);
    if (status != NEXUS_OK || nexus_reply_status(*out) == 200)
        return status;
    status = nexus_reply_status(*out) / 100 == 4
                 ? abort_login("the provider refuses the code")
                 : nexus__fail(NEXUS_EPROTO, "%s answered %u", p->token, nexus_reply_status(*out));
    nexus_reply_free(*out);
    return status;
}

/* --- the ID token -------------------------------------------------------------------------------------------------------- */

/* at_hash is the left half of the hash that the signature's algorithm has (OpenID Connect Core, 3.1.3.6): its length tells
 * which. */
static bool fits_access_token(nexus_slice at_hash, nexus_slice access_token)
{
    static const nexus__digest digests[] = {NEXUS__SHA256, NEXUS__SHA384, NEXUS__SHA512};
    uint8_t hash[NEXUS__DIGEST_MAX], given[96];
    size_t n;
    if (at_hash.n > 64 || !nexus__base64url_decode(at_hash, given, &n))
        return false;
    for (size_t i = 0; i < 3; i++)
        if (n == nexus__digest_size(digests[i]) / 2 && nexus__hash(digests[i], access_token, hash) == NEXUS_OK)
            return nexus__equal_ct(hash, given, n);
    return false;
}

static nexus_status check_id_token(const nexus_oidc *o, const nexus_claims *claims, const attempt *a,
                                   nexus_slice access_token)
{
    nexus_slice nonce = {"", 0}, azp, second, at_hash;
    nexus_claims_text(claims, "nonce", &nonce);
    if (!nexus__slice_eq_ct(nonce, nexus__slice_c(a->nonce)))
        return abort_login("nonce is another");
    bool named = nexus_claims_text(claims, "azp", &azp);
    if (named ? !nexus__slice_eq_c(azp, o->client_id) : nexus_claims_item(claims, "aud", 1, &second))
        return abort_login("the ID token is for another client");
    if (nexus_claims_text(claims, "at_hash", &at_hash) && !fits_access_token(at_hash, access_token))
        return abort_login("at_hash does not fit the access token");
    return NEXUS_OK;
}

static void put_text(nexus__json_writer *w, const nexus_claims *claims, const char *name)
{
    nexus_slice text;
    if (nexus_claims_text(claims, name, &text) && text.n <= 256)
        nexus__json_put_text(w, name, text);
}

/* The session: what the ID token said that is needed later. */
static nexus_status seal_session(const nexus_oidc *o, const nexus_claims *claims, char **out)
{
    static const char *const kept[] = {"sub", "sid", "name", "email"};
    nexus__buf text;
    nexus_slice role;
    size_t n;
    int64_t now = nexus__oidc_now_s(o);
    nexus__buf_init(&text, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&text);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "iss", o->issuer);
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        put_text(&w, claims, kept[i]);
    nexus__json_key(&w, "roles");
    nexus__json_open(&w, '[');
    for (size_t i = 0;
         o->roles_claim && i < NEXUS__PRINCIPAL_ROLES && nexus_claims_item(claims, o->roles_claim, i, &role); i++)
        if (role.n <= 64)
            nexus__json_text_value(&w, role);
    nexus__json_close(&w, ']');
    nexus__json_put_i64(&w, "iat", now);
    nexus__json_put_i64(&w, "exp", now + o->session_s);
    nexus__json_close(&w, '}');
    nexus_status status =
        text.status != NEXUS_OK ? nexus__nomem()
        : text.len > 2800       ? abort_login("its claims do not fit a cookie")
                          : nexus_secrets_seal(o->secrets, NEXUS_S("oidc/session"), nexus__buf_slice(&text), out, &n);
    nexus__buf_free(&text);
    return status;
}

static nexus_status take_tokens(nexus_oidc *o, const attempt *a, nexus_slice body, char **session)
{
    nexus__json doc;
    nexus_slice id_token, access_token = {"", 0};
    nexus_claims *claims;
    nexus__json_init(&doc, NULL);
    nexus_status status = nexus__json_scan(&doc, body, NULL);
    if (status != NEXUS_OK || !nexus__json_get_text(&doc, 0, "id_token", &id_token))
        status = abort_login("the provider's answer has no ID token");
    (void)nexus__json_get_text(&doc, 0, "access_token", &access_token);
    if (status == NEXUS_OK)
        status = nexus__oidc_verify(o, id_token, "", &claims);
    if (status == NEXUS_OK) {
        status = check_id_token(o, claims, a, access_token);
        if (status == NEXUS_OK)
            status = seal_session(o, claims, session);
        nexus_claims_free(claims);
    }
    nexus__json_free(&doc);
    return status;
}

static nexus_status finish(nexus_oidc *o, const nexus__oauth_form *form, const attempt *a, char **session)
{
    nexus__oidc_provider p;
    nexus_reply *reply;
    nexus_slice body;
    nexus_status status = nexus__oidc_provider_get(o, &p);
    if (status == NEXUS_OK)
        status = check_answer(o, form, &p, a);
    if (status == NEXUS_OK)
        status = redeem(o, &p, nexus__oauth_form_get(form, "code"), a, &reply);
    if (status != NEXUS_OK)
        return status;
    nexus_reply_body(reply, &body);
    status = take_tokens(o, a, body, session);
    nexus_reply_free(reply);
    return status;
}

nexus_status nexus_oidc_finish(nexus_oidc *o, nexus_slice query, nexus_slice state, char **session, char **return_to)
{
    nexus__oauth_form form;
    attempt a = {0};
    const char *why;
    char *way, *made = NULL;
    nexus_status status = open_attempt(o, state, &a);
    if (status == NEXUS_OK && nexus__oauth_form_parse(&form, query, &why) != NEXUS_OK)
        status = abort_login("the answer cannot be read");
    if (status != NEXUS_OK)
        return status;
    status = finish(o, &form, &a, &made);
    nexus__oauth_form_end(&form);
    way = status == NEXUS_OK ? nexus__strndup(NULL, nexus__slice_c(a.return_to)) : NULL;
    nexus__wipe(&a, sizeof a);
    if (status == NEXUS_OK && !way)
        status = nexus__nomem();
    if (status == NEXUS_OK) {
        *session = made;
        *return_to = way;
    } else {
        nexus_free(made);
    }
    return status;
}
