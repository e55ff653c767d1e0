/* The provider: its metadata, kept for an hour, and its keys. */
#include <nexus/client.h>
#include <stdio.h>

#include "auth/oidc/oidc.h"
#include "json/read.h"

enum { METADATA_S = 3600, KEYS_AGAIN_S = 30 };

/* --- metadata --------------------------------------------------------------------------------------------------------- */

static bool take_url(nexus__json *doc, const char *name, char out[static 1024])
{
    nexus_slice text;
    if (!nexus__json_get_text(doc, 0, name, &text) || text.n >= 1024)
        return false;
    snprintf(out, 1024, "%.*s", (int)text.n, text.p);
    return nexus__issuer_url_allowed(out);
}

static nexus_status read_metadata(const nexus_oidc *o, nexus_slice body, nexus__oidc_provider *p)
{
    nexus__json doc;
    nexus_slice issuer = {"", 0};
    nexus__json_init(&doc, NULL);
    nexus_status status = nexus__json_scan(&doc, body, NULL);
    if (status != NEXUS_OK)
        status = nexus__fail(NEXUS_EPROTO, "the metadata of %s is no JSON", o->issuer);
    else if (!nexus__json_get_text(&doc, 0, "issuer", &issuer) || !nexus__slice_eq_c(issuer, o->issuer))
        status = nexus__fail(NEXUS_EPROTO, "%s says its issuer is \"%.*s\"", o->issuer, (int)issuer.n, issuer.p);
    else if (!take_url(&doc, "authorization_endpoint", p->authorization) ||
             !take_url(&doc, "token_endpoint", p->token) || !take_url(&doc, "jwks_uri", p->jwks))
        status = nexus__fail(NEXUS_EPROTO, "the metadata of %s lacks an endpoint, or has one without https", o->issuer);
    p->names_issuer = false;
    (void)nexus__json_get_bool(&doc, 0, "authorization_response_iss_parameter_supported", &p->names_issuer);
    nexus__json_free(&doc);
    return status;
}

static nexus_status fetch_metadata(nexus_oidc *o, nexus__oidc_provider *out)
{
    char url[1200];
    nexus_reply *reply = NULL;
    nexus_slice body;
    nexus_fetch fetch = NEXUS_FETCH_INIT;
    size_t n = strlen(o->issuer);
    snprintf(url, sizeof url, "%.*s/.well-known/openid-configuration", (int)(n && o->issuer[n - 1] == '/' ? n - 1 : n),
             o->issuer);
    fetch.url = nexus__slice_c(url);
    fetch.timeout_ms = 5000;
    nexus_status status = nexus_client_fetch(o->client, &fetch, &reply);
    if (status == NEXUS_OK && nexus_reply_status(reply) != 200)
        status = nexus__fail(NEXUS_EPROTO, "%s answered %u", url, nexus_reply_status(reply));
    if (status == NEXUS_OK) {
        nexus_reply_body(reply, &body);
        status = read_metadata(o, body, out);
    }
    nexus_reply_free(reply);
    return status;
}

nexus_status nexus__oidc_provider_get(nexus_oidc *o, nexus__oidc_provider *out)
{
    int64_t now = nexus__mono_ns();
    pthread_mutex_lock(&o->lock);
    bool there = o->locked.provider_due_ns != 0, fresh = there && now < o->locked.provider_due_ns;
    *out = o->locked.provider;
    pthread_mutex_unlock(&o->lock);
    if (fresh)
        return NEXUS_OK;
    nexus__oidc_provider *news = nexus__calloc(o->alloc, 1, sizeof *news);
    nexus_status status = news ? fetch_metadata(o, news) : nexus__nomem();
    if (status == NEXUS_OK) {
        pthread_mutex_lock(&o->lock);
        o->locked.provider = *news;
        o->locked.provider_due_ns = now + METADATA_S * NEXUS__NS_PER_S;
        pthread_mutex_unlock(&o->lock);
        *out = *news;
    }
    nexus__free(o->alloc, news);
    return status != NEXUS_OK && there ? NEXUS_OK : status; /* what was true an hour ago is likely true now */
}

/* --- keys ------------------------------------------------------------------------------------------------------------- */

static nexus_status open_keys(nexus_oidc *o, nexus__jwks **out)
{
    nexus__oidc_provider p;
    nexus__jwks *keys;
    pthread_mutex_lock(&o->lock);
    *out = o->locked.keys;
    pthread_mutex_unlock(&o->lock);
    if (*out)
        return NEXUS_OK;
    nexus_status status = nexus__oidc_provider_get(o, &p);
    if (status != NEXUS_OK)
        return status;
    nexus_verifier_opts opts = NEXUS_VERIFIER_OPTS_INIT;
    opts.alloc = o->alloc;
    opts.jwks_url = p.jwks;
    opts.client = o->client;
    status = nexus__jwks_open(&keys, &opts);
    if (status != NEXUS_OK)
        return status;
    pthread_mutex_lock(&o->lock);
    nexus__jwks *other = o->locked.keys ? keys : NULL; /* somebody was first */
    if (!other)
        o->locked.keys = keys;
    *out = o->locked.keys;
    pthread_mutex_unlock(&o->lock);
    nexus__jwks_close(other);
    return NEXUS_OK;
}

static nexus_status try_verify(const nexus_oidc *o, nexus__jwks *jwks, nexus_slice token, const char *typ,
                               nexus_claims **claims)
{
    nexus_jwt_rules rules = NEXUS_JWT_RULES_INIT;
    nexus__shared_keys *keys = nexus__jwks_keys(jwks);
    if (!keys)
        return NEXUS_ENOTFOUND;
    rules.issuer = o->issuer;
    rules.audience = o->client_id;
    rules.typ = typ;
    rules.now_s = nexus__oidc_now_s(o);
    nexus_status status = nexus_jwt_verify(keys->set, token.p, token.n, &rules, claims);
    nexus__shared_keys_free(keys);
    return status;
}

/* Whether keys may be fetched for a key nobody knows: made-up ones must not make us ask again and again. */
static bool may_fetch(nexus_oidc *o, bool none_yet)
{
    int64_t now = nexus__mono_ns();
    pthread_mutex_lock(&o->lock);
    bool may = none_yet || now >= o->locked.keys_again_ns;
    if (may)
        o->locked.keys_again_ns = now + KEYS_AGAIN_S * NEXUS__NS_PER_S;
    pthread_mutex_unlock(&o->lock);
    return may;
}

nexus_status nexus__oidc_verify(nexus_oidc *o, nexus_slice token, const char *typ, nexus_claims **claims)
{
    nexus__jwks *jwks;
    nexus_status status = open_keys(o, &jwks);
    if (status == NEXUS_OK)
        status = try_verify(o, jwks, token, typ, claims);
    if (status != NEXUS_ENOTFOUND)
        return status;
    if (!may_fetch(o, !nexus__jwks_has_keys(jwks)))
        return nexus__fail(NEXUS_EAUTH, "token refused: its key is not known");
    status = nexus__jwks_refresh(jwks);
    if (status == NEXUS_OK)
        status = try_verify(o, jwks, token, typ, claims);
    return status == NEXUS_ENOTFOUND ? nexus__fail(NEXUS_EAUTH, "token refused: its key is not known") : status;
}
