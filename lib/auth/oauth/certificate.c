/*
 * Clients that prove who they are by the certificate of their connection (RFC 8705): one that an authority vouches for,
 * known by a name in it, or one of their own making, known by its digest. Tokens can be bound to it whatever the client's
 * method is.
 */
#include "auth/oauth/certificate.h"

#include "base/codec.h"
#include "crypto/trust.h"
#include "json/read.h"

static const struct {
    const char *member, *kind;
    int32_t name; /* enum nexus__cert_name_kind; -1 = the subject */
} names[] = {
    {"tls_client_auth_subject_dn", "subject_dn", -1},        {"tls_client_auth_san_dns", "san_dns", NEXUS__CERT_DNS},
    {"tls_client_auth_san_uri", "san_uri", NEXUS__CERT_URI}, {"tls_client_auth_san_ip", "san_ip", NEXUS__CERT_IP},
    {"tls_client_auth_san_email", "san_email", NEXUS__CERT_EMAIL},
};
enum { NAMES = sizeof names / sizeof names[0], NAME_MAX_BYTES = 1024, CERTS_MAX = 8 };

bool nexus__oauth_is_tls_method(nexus_slice method)
{
    return nexus__slice_eq_c(method, "tls_client_auth") || nexus__slice_eq_c(method, "self_signed_tls_client_auth");
}

/* --- a call ------------------------------------------------------------------------------------------------------------- */

bool nexus__oauth_thumbprint(const nexus_oauth_call *call, char out[static NEXUS__HASH_TEXT])
{
    return call->client_cert.n > 0 && nexus__oauth_digest(call->client_cert, false, out) == NEXUS_OK;
}

static bool has_the_name(const nexus__oauth_client *c, const nexus__cert *cert)
{
    nexus_slice rest = c->tls_name, kind = nexus__slice_cut(&rest, ':');
    for (size_t i = 0; i < NAMES; i++)
        if (nexus__slice_eq_c(kind, names[i].kind))
            return names[i].name < 0 ? nexus__slice_eq(rest, cert->subject)
                                     : nexus__cert_has_name(cert, (enum nexus__cert_name_kind)names[i].name, rest);
    return false;
}

static nexus_status check_named(nexus_oauth *o, const nexus__oauth_client *c, nexus__cert *cert)
{
    nexus_status status = o->trust ? nexus__trust_check(o->trust, cert, nexus__oauth_now_s(o))
                                   : nexus__fail(NEXUS_EAUTH, "no authority of clients' certificates is configured");
    return status == NEXUS_OK && !has_the_name(c, cert)
               ? nexus__fail(NEXUS_EAUTH, "the certificate has not the name of the client")
               : status;
}

static nexus_status check_own(nexus_oauth *o, const nexus__oauth_client *c, const nexus__cert *cert)
{
    char thumbprint[NEXUS__HASH_TEXT];
    nexus_status status = nexus__oauth_digest(cert->der, false, thumbprint);
    if (status != NEXUS_OK)
        return status;
    return nexus__oauth_has(c->certs, ' ', nexus__slice_c(thumbprint)) &&
                   nexus__cert_is_current(cert, nexus__oauth_now_s(o))
               ? NEXUS_OK
               : nexus__fail(NEXUS_EAUTH, "the certificate is none of the client's, or out of date");
}

nexus_status nexus__oauth_check_certificate(nexus_oauth *o, const nexus__oauth_client *c, const nexus_oauth_call *call)
{
    nexus__cert *cert;
    if (call->client_cert.n == 0 ||
        nexus__cert_parse(&cert, o->alloc, call->client_cert, call->client_cert_chain, call->client_cert_chain_count) != NEXUS_OK)
        return nexus__fail(NEXUS_EAUTH, "there is no certificate that can be read");
    nexus_status status =
        nexus__slice_eq_c(c->method, "tls_client_auth") ? check_named(o, c, cert) : check_own(o, c, cert);
    nexus__cert_free(cert);
    return status;
}

/* --- registering ---------------------------------------------------------------------------------------------------------- */

nexus_status nexus__oauth_read_tls_name(nexus__json *doc, nexus__buf *out)
{
    for (size_t i = 0; i < NAMES; i++) {
        uint32_t v = nexus__json_get(doc, 0, names[i].member);
        nexus_slice text;
        if (v == NEXUS__JSON_NONE)
            continue;
        if (!nexus__json_text(doc, v, &text) || text.n == 0 || text.n > NAME_MAX_BYTES || memchr(text.p, 0, text.n))
            return nexus__fail(NEXUS_EINVAL, "%s: must be a text of at most %d bytes", names[i].member, NAME_MAX_BYTES);
        if (out->len)
            return nexus__fail(NEXUS_EINVAL, "%s: a client has one name in its certificate", names[i].member);
        nexus__buf_printf(out, "%s:", names[i].kind);
        nexus__buf_slice_append(out, text);
    }
    return out->status;
}

static nexus_status add_certificate(nexus__buf *out, nexus_slice base64)
{
    char thumbprint[NEXUS__HASH_TEXT];
    nexus__cert *cert = NULL;
    size_t n = 0;
    char *der = base64.n <= 2 * NEXUS__CERT_DER_MAX ? nexus__malloc(NULL, NEXUS__BASE64_DECODED_MAX(base64.n)) : NULL;
    bool good = der && nexus__base64_decode(base64, der, &n) &&
                nexus__cert_parse(&cert, NULL, nexus__slice(der, n), NULL, 0) == NEXUS_OK &&
                nexus__oauth_digest(cert->der, false, thumbprint) == NEXUS_OK;
    nexus__cert_free(cert);
    nexus__free(NULL, der);
    if (!good)
        return nexus__fail(NEXUS_EINVAL, "jwks: x5c must begin with the client's certificate, base64 of its DER");
    nexus__buf_text(out, out->len ? " " : "");
    nexus__buf_text(out, thumbprint);
    return out->status;
}

nexus_status nexus__oauth_read_certificates(nexus__json *doc, nexus__buf *out)
{
    uint32_t jwks = nexus__json_get(doc, 0, "jwks"), keys = nexus__json_get(doc, jwks, "keys");
    nexus_slice text;
    if (jwks == NEXUS__JSON_NONE)
        return NEXUS_OK;
    if (!nexus__json_is(doc, keys, NEXUS__JSON_ARRAY) || nexus__json_count(doc, keys) > CERTS_MAX)
        return nexus__fail(NEXUS_EINVAL, "jwks: must be a set of at most %d keys (RFC 7517)", CERTS_MAX);
    for (nexus__json_iter it = nexus__json_each(doc, keys); nexus__json_step(doc, &it);) {
        uint32_t x5c = nexus__json_get(doc, it.value, "x5c");
        if (!nexus__json_is(doc, x5c, NEXUS__JSON_ARRAY) || !nexus__json_text(doc, nexus__json_element(doc, x5c, 0), &text))
            return nexus__fail(NEXUS_EINVAL, "jwks: each key needs x5c, the client's certificate (RFC 8705, 2.2.2)");
        nexus_status status = add_certificate(out, text);
        if (status != NEXUS_OK)
            return status;
    }
    return NEXUS_OK;
}

void nexus__oauth_put_certificate(nexus__json_writer *w, const nexus__oauth_client *c)
{
    nexus_slice rest = c->tls_name, certs = c->certs, kind = nexus__slice_cut(&rest, ':');
    for (size_t i = 0; i < NAMES; i++)
        if (nexus__slice_eq_c(kind, names[i].kind))
            nexus__json_put_text(w, names[i].member, rest);
    if (c->cert_bound)
        nexus__json_put_bool(w, "tls_client_certificate_bound_access_tokens", true);
    if (certs.n == 0)
        return;
    nexus__json_key(w, "x5t#S256");
    nexus__json_open(w, '[');
    while (certs.n > 0)
        nexus__json_text_value(w, nexus__slice_cut(&certs, ' '));
    nexus__json_close(w, ']');
}
