/* The relying party: what it is made of, sessions, logout by the provider. */
#include "auth/oidc/oidc.h"

#include "auth/jose.h"
#include "auth/oauth/form.h"
#include "crypto/wipe.h"

void nexus_oidc_opts_init(nexus_oidc_opts *opts)
{
    *opts = (nexus_oidc_opts)NEXUS_OIDC_OPTS_INIT;
}

static nexus_status check(const nexus_oidc_opts *o)
{
    const char *why;
    if (!o || o->size != sizeof *o || !o->client || !o->issuer || !o->client_id || !o->redirect_uri ||
        (!o->key_file && !o->secrets))
        return nexus__fail(NEXUS_EINVAL,
                           "nexus_oidc_opts: size, client, issuer, client_id, redirect_uri, and key_file or "
                           "secrets are required");
    if (!nexus__issuer_url_allowed(o->issuer))
        return nexus__fail(NEXUS_EINVAL, "issuer: \"%s\" must be https, unless loopback", o->issuer);
    if (!nexus__oauth_redirect_valid(nexus__slice_c(o->redirect_uri), &why))
        return nexus__fail(NEXUS_EINVAL, "redirect_uri: %s", why);
    if (o->scope && !nexus__oauth_has(nexus__slice_c(o->scope), ' ', NEXUS_S("openid")))
        return nexus__fail(NEXUS_EINVAL, "scope: must have openid in it");
    return NEXUS_OK;
}

static bool keep(nexus_oidc *o, char **to, const char *text)
{
    *to = text ? nexus__strndup(o->alloc, nexus__slice_c(text)) : NULL;
    return !text || *to;
}

nexus_status nexus_oidc_open(nexus_oidc **out, const nexus_oidc_opts *given)
{
    nexus_status status = check(given);
    if (status != NEXUS_OK)
        return status;
    nexus_oidc *o = nexus__calloc(given->alloc, 1, sizeof *o);
    if (!o)
        return nexus__nomem();
    o->alloc = given->alloc;
    o->client = given->client;
    o->client_secret = given->client_secret;
    o->session_s = given->session_s ? given->session_s : 8 * 3600;
    o->now_fn = given->now_fn;
    o->user_data = given->user_data;
    pthread_mutex_init(&o->lock, NULL);
    nexus__revocations_init(&o->ended, o->alloc);
    nexus__revocations_init(&o->states, o->alloc);
    bool kept = keep(o, &o->issuer, given->issuer) && keep(o, &o->client_id, given->client_id) &&
                keep(o, &o->redirect_uri, given->redirect_uri) &&
                keep(o, &o->scope, given->scope ? given->scope : "openid profile email") &&
                keep(o, &o->roles_claim, given->roles_claim);
    status = kept ? NEXUS_OK : nexus__nomem();
    if (status == NEXUS_OK && !given->secrets)
        status = nexus_secrets_open(&o->own_secrets, given->key_file, o->alloc);
    o->secrets = given->secrets ? given->secrets : o->own_secrets;
    if (status == NEXUS_OK)
        *out = o;
    else
        nexus_oidc_close(o);
    return status;
}

void nexus_oidc_close(nexus_oidc *o)
{
    if (!o)
        return;
    char *const texts[] = {o->issuer, o->client_id, o->redirect_uri, o->scope, o->roles_claim};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        nexus__free(o->alloc, texts[i]);
    nexus_secrets_close(o->own_secrets);
    nexus__jwks_close(o->locked.keys);
    nexus__revocations_free(&o->ended);
    nexus__revocations_free(&o->states);
    pthread_mutex_destroy(&o->lock);
    nexus__free(o->alloc, o);
}

/* --- sessions ------------------------------------------------------------------------------------------------------- */

static nexus_status refuse(const char *why)
{
    return nexus__fail(NEXUS_EAUTH, "session refused: %s", why);
}

static nexus_status open_cookie(const nexus_oidc *o, nexus_slice cookie, nexus_claims **out)
{
    char *plain;
    size_t n;
    if (cookie.n == 0 || cookie.n > 8192)
        return refuse("it is no cookie of ours");
    nexus_status status = nexus_secrets_unseal(o->secrets, NEXUS_S("oidc/session"), cookie, &plain, &n);
    if (status != NEXUS_OK)
        return status == NEXUS_ENOMEM ? status : refuse("it is no cookie of ours");
    status = nexus__claims_parse(out, nexus__slice(plain, n));
    nexus_free_wiped(plain, n);
    return status;
}

nexus_status nexus_oidc_session(nexus_oidc *o, nexus_slice session, nexus_principal **out)
{
    nexus_claims *claims;
    nexus_principal *p = NULL;
    nexus_slice issuer = {"", 0};
    nexus_status status = open_cookie(o, session, &claims);
    if (status != NEXUS_OK)
        return status;
    nexus_claims_text(claims, "iss", &issuer);
    status = nexus__slice_eq_c(issuer, o->issuer) ? nexus__principal_new(&p, o->alloc, claims, NEXUS_S(""))
                                                  : refuse("it is of another provider");
    if (status != NEXUS_OK) {
        nexus_claims_free(claims);
        return status;
    }
    if (nexus__oidc_now_s(o) >= p->expires_s)
        status = refuse("it is over");
    else if (nexus__revocations_match(&o->ended, p))
        status = refuse("the provider has ended it");
    if (status == NEXUS_OK)
        *out = p;
    else
        nexus_principal_free(p);
    return status;
}

/* --- logout by the provider ------------------------------------------------------------------------------------------- */

static bool has_event(const nexus_claims *claims)
{
    nexus__json doc;
    nexus_slice json;
    nexus_claims_json(claims, &json);
    nexus__json_init(&doc, NULL);
    bool found = nexus__json_scan(&doc, json, NULL) == NEXUS_OK &&
                 nexus__json_is(&doc,
                                nexus__json_get(&doc, nexus__json_get(&doc, 0, "events"),
                                                "http://schemas.openid.net/event/backchannel-logout"),
                                NEXUS__JSON_OBJECT) &&
                 nexus__json_get(&doc, 0, "nonce") == NEXUS__JSON_NONE;
    nexus__json_free(&doc);
    return found;
}

static nexus_status end_sessions(nexus_oidc *o, const nexus_claims *claims)
{
    nexus_slice sid, sub;
    int64_t now = nexus__oidc_now_s(o), until = now + o->session_s + 120;
    if (!has_event(claims))
        return nexus__fail(NEXUS_EAUTH, "this is no logout token");
    if (nexus_claims_text(claims, "sid", &sid) && sid.n)
        return nexus__revocations_add(&o->ended, NEXUS__REVOKED_SESSION, sid, until, INT64_MAX, now);
    if (nexus_claims_text(claims, "sub", &sub) && sub.n)
        return nexus__revocations_add(&o->ended, NEXUS__REVOKED_SUBJECT, sub, until, now + 1, now);
    return nexus__fail(NEXUS_EAUTH, "the logout token names nobody");
}

nexus_status nexus_oidc_logout(nexus_oidc *o, nexus_slice form)
{
    nexus__oauth_form fields;
    nexus_claims *claims;
    const char *why;
    if (nexus__oauth_form_parse(&fields, form, &why) != NEXUS_OK)
        return nexus__fail(NEXUS_EAUTH, "the form cannot be read");
    nexus_slice token = nexus__oauth_form_get(&fields, "logout_token");
    nexus_status status = nexus__oidc_verify(o, token, "logout+jwt", &claims);
    if (status == NEXUS_OK) {
        status = end_sessions(o, claims);
        nexus_claims_free(claims);
    }
    nexus__oauth_form_end(&fields);
    return status;
}
