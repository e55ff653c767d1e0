/* What is published of the server: RFC 8414, OpenID Connect Discovery, RFC 9728. */
#include "auth/oauth/oauth.h"

static void put_url(nexus__json_writer *w, const nexus_oauth *o, const char *name, const char *path)
{
    char url[1024];
    snprintf(url, sizeof url, "%s%s", o->base_url, path);
    nexus__json_put_text_c(w, name, url);
}

static void put_words(nexus__json_writer *w, const char *name, const char *words)
{
    nexus_slice rest = nexus__slice_c(words);
    nexus__json_key(w, name);
    nexus__json_open(w, '[');
    while (rest.n)
        nexus__json_text_value(w, nexus__slice_cut(&rest, ' '));
    nexus__json_close(w, ']');
}

static const struct {
    const char *name, *path;
} endpoints[] = {
    {"authorization_endpoint", "/oauth/authorize"}, {"token_endpoint", "/oauth/token"},
    {"revocation_endpoint", "/oauth/revoke"},       {"introspection_endpoint", "/oauth/introspect"},
    {"userinfo_endpoint", "/oauth/userinfo"},       {"jwks_uri", "/.well-known/jwks.json"},
};

#define SIGNED "ES256 ES384 ES512 EdDSA RS256 RS384 RS512 PS256 PS384 PS512"

static const struct {
    const char *name, *words;
} lists[] = {
    {"scopes_supported", "openid profile email offline_access api"},
    {"response_types_supported", "code"},
    {"response_modes_supported", "query"},
    {"grant_types_supported", "authorization_code refresh_token client_credentials"},
    {"code_challenge_methods_supported", "S256"},
    {"token_endpoint_auth_signing_alg_values_supported", SIGNED},
    {"revocation_endpoint_auth_signing_alg_values_supported", SIGNED},
    {"introspection_endpoint_auth_signing_alg_values_supported", SIGNED},
    {"subject_types_supported", "public"},
    {"id_token_signing_alg_values_supported", "ES256"},
    {"claims_supported", "iss sub aud exp iat auth_time nonce at_hash sid name email"},
    {"prompt_values_supported", "none login consent"},
};

static const struct {
    const char *name;
    bool public_too;
} methods[] = {
    {"token_endpoint_auth_methods_supported", true},
    {"revocation_endpoint_auth_methods_supported", true},
    {"introspection_endpoint_auth_methods_supported", false},
};

/* Endpoints where a client may have to show a certificate (RFC 8705, 5). */
static const char *const aliased[] = {"token_endpoint", "revocation_endpoint", "introspection_endpoint", "userinfo_endpoint"};

static bool takes_certificates(const nexus_oauth *o)
{
    return o->trust || o->mtls_url;
}

static void put_methods(nexus__json_writer *w, const nexus_oauth *o, size_t i)
{
    char words[160];
    snprintf(words, sizeof words, "client_secret_basic private_key_jwt%s%s%s", methods[i].public_too ? " none" : "",
             o->trust ? " tls_client_auth" : "", takes_certificates(o) ? " self_signed_tls_client_auth" : "");
    put_words(w, methods[i].name, words);
}

static bool is_aliased(const char *name)
{
    for (size_t i = 0; i < sizeof aliased / sizeof aliased[0]; i++)
        if (strcmp(name, aliased[i]) == 0)
            return true;
    return false;
}

static void put_certificates(nexus__json_writer *w, const nexus_oauth *o)
{
    char url[1024];
    nexus__json_put_bool(w, "tls_client_certificate_bound_access_tokens", true);
    if (!o->mtls_url)
        return;
    nexus__json_key(w, "mtls_endpoint_aliases");
    nexus__json_open(w, '{');
    for (size_t i = 0; i < sizeof endpoints / sizeof endpoints[0]; i++) {
        snprintf(url, sizeof url, "%s%s", o->mtls_url, endpoints[i].path);
        if (is_aliased(endpoints[i].name))
            nexus__json_put_text_c(w, endpoints[i].name, url);
    }
    nexus__json_close(w, '}');
}

nexus_status nexus_oauth_metadata(nexus_oauth *o, char **json, size_t *n)
{
    nexus__buf text;
    nexus__buf_init(&text, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&text);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "issuer", o->auth->opts.issuer);
    for (size_t i = 0; i < sizeof endpoints / sizeof endpoints[0]; i++)
        put_url(&w, o, endpoints[i].name, endpoints[i].path);
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        put_words(&w, lists[i].name, lists[i].words);
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        put_methods(&w, o, i);
    if (takes_certificates(o))
        put_certificates(&w, o);
    nexus__json_put_bool(&w, "authorization_response_iss_parameter_supported", true);
    nexus__json_put_bool(&w, "request_parameter_supported", false);
    nexus__json_put_bool(&w, "request_uri_parameter_supported", false);
    nexus__json_put_bool(&w, "claims_parameter_supported", false);
    nexus__json_close(&w, '}');
    nexus_status status = nexus__buf_hand_over(&text, json, n);
    nexus__buf_free(&text);
    return status;
}

nexus_status nexus_oauth_resource_metadata(nexus_oauth *o, char **json, size_t *n)
{
    nexus__buf text;
    nexus__buf_init(&text, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&text);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "resource", o->base_url);
    put_words(&w, "authorization_servers", o->auth->opts.issuer);
    put_url(&w, o, "jwks_uri", "/.well-known/jwks.json");
    put_words(&w, "scopes_supported", "api");
    put_words(&w, "bearer_methods_supported", "header");
    if (takes_certificates(o))
        nexus__json_put_bool(&w, "tls_client_certificate_bound_access_tokens", true);
    nexus__json_close(&w, '}');
    nexus_status status = nexus__buf_hand_over(&text, json, n);
    nexus__buf_free(&text);
    return status;
}
