/* Registering a client: its metadata (RFC 7591) read, judged member by member and together, and kept. */
#include "auth/oauth/certificate.h"
#include "auth/roles_private.h"
#include "crypto/wipe.h"
#include "json/read.h"

static const char *const known_grants[] = {"authorization_code", "refresh_token", "client_credentials"};
static const char *const known_methods[] = {"client_secret_basic", "private_key_jwt", "none", "tls_client_auth",
                                            "self_signed_tls_client_auth"};

static bool is_known(const char *const *names, size_t n, nexus_slice name)
{
    for (size_t i = 0; i < n; i++)
        if (nexus__slice_eq_c(name, names[i]))
            return true;
    return false;
}
#define KNOWN(names, name) is_known(names, sizeof names / sizeof names[0], name)

/* Metadata read and judged. */
typedef struct draft {
    nexus_slice name, method, scopes;
    nexus__buf redirect_uris, grants, roles, jwks, tls_name, certs;
    bool first_party, resource_server, cert_bound;
} draft;

static void draft_end(draft *d)
{
    nexus__buf_free(&d->redirect_uris);
    nexus__buf_free(&d->grants);
    nexus__buf_free(&d->roles);
    nexus__buf_free(&d->jwks);
    nexus__buf_free(&d->tls_name);
    nexus__buf_free(&d->certs);
}

/* Why an item of a list is refused; NULL: it is fine. */
typedef const char *item_fn(nexus_slice item);

static const char *judge_redirect(nexus_slice item)
{
    const char *why;
    return nexus__oauth_redirect_valid(item, &why) ? NULL : why;
}

static const char *judge_grant(nexus_slice item)
{
    return KNOWN(known_grants, item) ? NULL : "must be authorization_code, refresh_token or client_credentials";
}

static const char *judge_role(nexus_slice item)
{
    return item.n && item.n < NEXUS__ROLE_KEY_MAX && nexus__slice_find(item, ' ') == item.n
               ? NULL
               : "must be names of roles"; /* which there are, the database knows */
}

static nexus_status read_list(nexus__json *doc, const char *name, char sep, item_fn *judge, nexus__buf *out)
{
    uint32_t list = nexus__json_get(doc, 0, name);
    if (list == NEXUS__JSON_NONE)
        return NEXUS_OK;
    if (!nexus__json_is(doc, list, NEXUS__JSON_ARRAY) || nexus__json_count(doc, list) > 32)
        return nexus__fail(NEXUS_EINVAL, "%s: must be a list of at most 32 texts", name);
    for (nexus__json_iter it = nexus__json_each(doc, list); nexus__json_step(doc, &it);) {
        nexus_slice item;
        const char *why = nexus__json_text(doc, it.value, &item) ? judge(item) : "must be texts";
        if (!why && nexus__oauth_has(nexus__buf_slice(out), sep, item))
            why = "must not repeat one";
        if (why)
            return nexus__fail(NEXUS_EINVAL, "%s: %s", name, why);
        if (out->len)
            nexus__buf_char(out, sep);
        nexus__buf_slice_append(out, item);
    }
    return out->status == NEXUS_OK ? NEXUS_OK : nexus__nomem();
}

static nexus_status read_flag(nexus__json *doc, const char *name, bool *out)
{
    uint32_t v = nexus__json_get(doc, 0, name);
    if (v == NEXUS__JSON_NONE || nexus__json_bool(doc, v, out))
        return NEXUS_OK;
    return nexus__fail(NEXUS_EINVAL, "%s: must be true or false", name);
}

static nexus_status read_text(nexus__json *doc, const char *name, nexus_slice initial, nexus_slice *out)
{
    uint32_t v = nexus__json_get(doc, 0, name);
    *out = initial;
    if (v == NEXUS__JSON_NONE || nexus__json_text(doc, v, out))
        return NEXUS_OK;
    return nexus__fail(NEXUS_EINVAL, "%s: must be a text", name);
}

static nexus_status read_jwks(nexus__json *doc, draft *d)
{
    uint32_t v = nexus__json_get(doc, 0, "jwks");
    nexus_keyset *set;
    if (v == NEXUS__JSON_NONE)
        return NEXUS_OK;
    nexus_slice raw = nexus__json_raw(doc, v);
    if (raw.n > 16384 || nexus_keyset_parse(&set, raw.p, raw.n, NULL) != NEXUS_OK)
        return nexus__fail(NEXUS_EINVAL, "jwks: must be a set of public keys (RFC 7517) of at most 16 KiB");
    /* What is stored and shown is written anew: a private part that was sent along stays out. */
    char *text;
    size_t n;
    nexus_status status = nexus_keyset_count(set) ? nexus_keyset_print(set, &text, &n)
                                                  : nexus__fail(NEXUS_EINVAL, "jwks: has no key that can sign");
    nexus_keyset_free(set);
    if (status != NEXUS_OK)
        return status;
    nexus__buf_append(&d->jwks, text, n);
    nexus_free(text);
    return d->jwks.status == NEXUS_OK ? NEXUS_OK : nexus__nomem();
}

static nexus_status refuse_unknown(nexus__json *doc)
{
    static const char *const members[] = {
        "client_name", "redirect_uris", "grant_types",     "scope", "token_endpoint_auth_method",
        "jwks",        "first_party",   "resource_server", "roles", "tls_client_auth_subject_dn", "tls_client_auth_san_dns",
        "tls_client_auth_san_uri", "tls_client_auth_san_ip", "tls_client_auth_san_email",
        "tls_client_certificate_bound_access_tokens"};
    for (nexus__json_iter it = nexus__json_each(doc, 0); nexus__json_step(doc, &it);) {
        nexus_slice name;
        if (!nexus__json_text(doc, it.key, &name) || !KNOWN(members, name))
            return nexus__fail(NEXUS_EINVAL, "%.*s: there is no such member of a client", (int)name.n, name.p);
    }
    return NEXUS_OK;
}

static bool has_grant(const draft *d, const char *name)
{
    return nexus__oauth_has(nexus__buf_slice(&d->grants), ' ', nexus__slice_c(name));
}

/* What the members say together. */
static nexus_status check_draft(const draft *d)
{
    bool code = has_grant(d, "authorization_code"), public = nexus__slice_eq_c(d->method, "none");
    if (nexus__check_name(d->name) != NEXUS_OK)
        return nexus__fail(NEXUS_EINVAL, "client_name: must have 1 to 200 bytes of text without control characters");
    if (!KNOWN(known_methods, d->method))
        return nexus__fail(NEXUS_EINVAL, "token_endpoint_auth_method: must be client_secret_basic, private_key_jwt, "
                                         "tls_client_auth, self_signed_tls_client_auth or none");
    if (d->scopes.n && !nexus__oauth_scope_valid(d->scopes))
        return nexus__fail(NEXUS_EINVAL, "scope: must be words parted by one space, none twice");
    if (code != (d->redirect_uris.len > 0))
        return nexus__fail(NEXUS_EINVAL, "redirect_uris: authorization_code needs at least one, other grants none");
    if (has_grant(d, "refresh_token") && !code)
        return nexus__fail(NEXUS_EINVAL, "grant_types: refresh_token goes with authorization_code");
    if (public && (has_grant(d, "client_credentials") || d->resource_server))
        return nexus__fail(NEXUS_EINVAL, "grant_types: a public client proves nothing, so it has no credentials of its "
                                         "own and is no resource server");
    if (nexus__slice_eq_c(d->method, "private_key_jwt") != (d->jwks.len > 0))
        return nexus__fail(NEXUS_EINVAL, "jwks: goes with private_key_jwt and self_signed_tls_client_auth, and only with them");
    if (nexus__slice_eq_c(d->method, "self_signed_tls_client_auth") != (d->certs.len > 0))
        return nexus__fail(NEXUS_EINVAL, "jwks: self_signed_tls_client_auth needs the client's certificate as x5c");
    if (nexus__slice_eq_c(d->method, "tls_client_auth") != (d->tls_name.len > 0))
        return nexus__fail(NEXUS_EINVAL, "tls_client_auth_subject_dn: one of it and the tls_client_auth_san_… members goes "
                                         "with tls_client_auth, and only with it");
    return NEXUS_OK;
}

static nexus_status read_draft(nexus__json *doc, draft *d)
{
    nexus_status status = nexus__json_is(doc, 0, NEXUS__JSON_OBJECT)
                              ? refuse_unknown(doc)
                              : nexus__fail(NEXUS_EINVAL, "client: must be a JSON object");
    if (status == NEXUS_OK)
        status = read_text(doc, "client_name", NEXUS_S(""), &d->name);
    if (status == NEXUS_OK)
        status = read_text(doc, "token_endpoint_auth_method", NEXUS_S("client_secret_basic"), &d->method);
    if (status == NEXUS_OK)
        status = read_text(doc, "scope", NEXUS_S(""), &d->scopes);
    if (status == NEXUS_OK)
        status = read_list(doc, "redirect_uris", '\n', judge_redirect, &d->redirect_uris);
    if (status == NEXUS_OK)
        status = read_list(doc, "grant_types", ' ', judge_grant, &d->grants);
    if (status == NEXUS_OK && d->grants.len == 0)
        nexus__buf_text(&d->grants, "authorization_code");
    if (status == NEXUS_OK)
        status = read_list(doc, "roles", ' ', judge_role, &d->roles);
    if (status == NEXUS_OK)
        status = read_flag(doc, "first_party", &d->first_party);
    if (status == NEXUS_OK)
        status = read_flag(doc, "resource_server", &d->resource_server);
    if (status == NEXUS_OK)
        status = read_flag(doc, "tls_client_certificate_bound_access_tokens", &d->cert_bound);
    if (status == NEXUS_OK)
        status = nexus__oauth_read_tls_name(doc, &d->tls_name);
    if (status == NEXUS_OK)
        status = nexus__slice_eq_c(d->method, "self_signed_tls_client_auth") ? nexus__oauth_read_certificates(doc, &d->certs)
                                                                             : read_jwks(doc, d);
    return status == NEXUS_OK ? check_draft(d) : status;
}

static nexus_value text_of(const nexus__buf *b)
{
    return NEXUS_TEXT(b->len ? nexus__buf_slice(b) : NEXUS_S(""));
}

/* None of them goes away until the client is there. */
static nexus_status check_roles(nexus_db *tx, const draft *d)
{
    nexus_slice rest = nexus__buf_slice(&d->roles);
    nexus_status status = rest.n ? nexus__role_rows_lock(tx, false) : NEXUS_OK;
    while (rest.n && status == NEXUS_OK)
        status = nexus__role_rows_check(tx, nexus__slice_cut(&rest, ' '));
    return status;
}

static nexus_status insert(nexus_oauth *o, const char *id, const char *secret_hash, const draft *d)
{
    nexus_db *tx;
    nexus_status status = nexus_db_begin(&tx, o->auth->db);
    if (status != NEXUS_OK)
        return status;
    status = check_roles(tx, d);
    if (status == NEXUS_OK)
        status = nexus_db_exec(tx,
                               "INSERT INTO oauth_clients (id, name, method, secret, previous, previous_until, jwks, "
                               "redirect_uris, grants, scopes,"
                               " roles, first_party, resource_server, created_at, updated_at, tls_name, certs, cert_bound)"
                               " VALUES ($1, $2, $3, $4, '', 0, $5, $6, $7, $8, $9, $10, $11, $12, $12, $13, $14, $15)",
                               (nexus_value[]){NEXUS_TEXT_C(id), NEXUS_TEXT(d->name), NEXUS_TEXT(d->method),
                                               NEXUS_TEXT_C(secret_hash), text_of(&d->jwks), text_of(&d->redirect_uris),
                                               text_of(&d->grants), NEXUS_TEXT(d->scopes), text_of(&d->roles),
                                               NEXUS_INT(d->first_party), NEXUS_INT(d->resource_server),
                                               NEXUS_INT(nexus__auth_now_ns(o->auth)), text_of(&d->tls_name),
                                               text_of(&d->certs), NEXUS_INT(d->cert_bound)},
                               15, NULL);
    if (status == NEXUS_OK)
        status = nexus__oauth_client_tell(o, tx, "client.created", id);
    return nexus__finish(tx, status);
}

nexus_status nexus_oauth_client_add(nexus_oauth *o, nexus_slice metadata, char **json, size_t *n)
{
    char id[NEXUS__UUID_LEN + 1], secret[NEXUS__TOKEN_TEXT], hash[NEXUS__HASH_TEXT] = "";
    draft d = {0};
    nexus__json doc;
    nexus__json_init(&doc, NULL);
    nexus_status status = nexus__json_scan(&doc, metadata, NULL);
    if (status == NEXUS_OK)
        status = read_draft(&doc, &d);
    nexus__uuid7(id);
    nexus__token_make(secret);
    bool has_secret = nexus__slice_eq_c(d.method, "client_secret_basic");
    if (status == NEXUS_OK && has_secret)
        status = nexus__token_hash(nexus__slice_c(secret), hash);
    if (status == NEXUS_OK)
        status = insert(o, id, hash, &d);
    if (status == NEXUS_OK)
        status = nexus__oauth_client_show(o, nexus__slice_c(id), has_secret ? secret : NULL, json, n);
    nexus__wipe(secret, sizeof secret);
    draft_end(&d);
    nexus__json_free(&doc);
    return status;
}
