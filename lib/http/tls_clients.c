#include "http/tls_clients.h"

#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>

#include "base/ip.h"
#include "base/status.h"
#include "base/time.h"
#include "http/internal.h"
#include "http/tls_private.h"

enum { CONTEXT_BYTES = 32 };

/* --- names ---------------------------------------------------------------------------------------------------------- */

/* A 16-bit length at p, when that many bytes follow it and nothing else. */
static bool fills(const unsigned char *p, size_t n)
{
    return n >= 2 && (size_t)(p[0] << 8 | p[1]) == n - 2;
}

bool nexus__tls_server_name(const unsigned char *p, size_t n, char out[static NEXUS__SERVER_NAME_MAX + 1], size_t *len)
{
    if (n < 5 || !fills(p, n) || p[2] != TLSEXT_NAMETYPE_host_name || !fills(p + 3, n - 3))
        return false; /* RFC 6066 knows one kind of name, and one of a kind */
    *len = n - 5;
    if (*len == 0 || *len > NEXUS__SERVER_NAME_MAX)
        return false;
    for (size_t i = 0; i < *len; i++) {
        if (p[5 + i] <= 0x20 || p[5 + i] >= 0x7f)
            return false;
        out[i] = nexus__ascii_lower((char)p[5 + i]);
    }
    if (out[*len - 1] == '.') /* the same host */
        --*len;
    out[*len] = '\0';
    return *len > 0;
}

bool nexus__tls_name_is_host(nexus_slice server_name, nexus_slice authority)
{
    nexus__ip ip;
    nexus_slice host = nexus__slice(authority.p, nexus__slice_find(authority, ':'));
    if (authority.n > 0 && authority.p[0] == '[')
        host = nexus__slice(authority.p + 1, nexus__slice_find(authority, ']') - 1);
    if (host.n > 1 && host.p[host.n - 1] == '.')
        host.n--;
    return server_name.n > 0 ? nexus__slice_ieq(server_name, host) : nexus__ip_parse(host, &ip);
}

/* --- asking --------------------------------------------------------------------------------------------------------- */

/* No session of another connection has this context, so none is resumed; and none is given for later. */
static bool never_resume(SSL *ssl)
{
    unsigned char context[CONTEXT_BYTES];
    SSL_set_options(ssl, SSL_OP_NO_TICKET);
    return RAND_bytes(context, sizeof context) == 1 && SSL_set_num_tickets(ssl, 0) == 1 &&
           SSL_set_session_id_context(ssl, context, sizeof context) == 1;
}

static bool name_authorities(SSL *ssl, const nexus__trust *trust)
{
    STACK_OF(X509_NAME) *names = trust ? SSL_dup_CA_list(nexus__trust_names(trust)) : NULL;
    SSL_set0_CA_list(ssl, names);
    return names || !trust;
}

static bool ask(nexus__tls_conn *t, const nexus__tls_ask *what)
{
    int mode = SSL_VERIFY_PEER | SSL_VERIFY_CLIENT_ONCE;
    if (what->mode == NEXUS_CLIENT_CERT_REQUIRED)
        mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    t->ask = *what;
    if (t->ask.trust)
        nexus__trust_ref(t->ask.trust);
    SSL_set_verify(t->ssl, mode, NULL);
    return never_resume(t->ssl) && (what->mode == NEXUS_CLIENT_CERT_ANY || name_authorities(t->ssl, what->trust));
}

static int on_hello(SSL *ssl, int *alert, void *arg)
{
    nexus__tls_conn *t = SSL_get_app_data(ssl);
    const nexus__tls *tls = arg;
    nexus__tls_ask what = tls->ask;
    const unsigned char *extension;
    char name[NEXUS__SERVER_NAME_MAX + 1] = "";
    size_t n = 0, len;
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &extension, &len) == 1 &&
        !nexus__tls_server_name(extension, len, name, &n))
        n = 0;
    t->strict = what.mode != NEXUS_CLIENT_CERT_OFF;
    if (tls->ask_fn)
        t->strict |= tls->ask_fn(t->loop, nexus__slice(name, n), &what, tls->ask_user_data);
    if (!t->strict)
        return SSL_CLIENT_HELLO_SUCCESS;
    t->server_name = nexus__strndup(t->alloc, nexus__slice(name, n));
    t->by_server = what.trust == tls->ask.trust;
    if (t->server_name && (what.mode == NEXUS_CLIENT_CERT_OFF || ask(t, &what)))
        return SSL_CLIENT_HELLO_SUCCESS;
    *alert = SSL_AD_INTERNAL_ERROR;
    return SSL_CLIENT_HELLO_ERROR;
}

/* --- what came -------------------------------------------------------------------------------------------------------- */

static int refuse(X509_STORE_CTX *store, int why)
{
    X509_STORE_CTX_set_error(store, why);
    return 0;
}

static int on_certificate(X509_STORE_CTX *store, void *arg)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    nexus__tls_conn *t = SSL_get_app_data(ssl);
    int64_t now_s = nexus__real_ns() / NEXUS__NS_PER_S;
    (void)arg;
    if (t->cert || nexus__cert_of_x509(&t->cert, t->alloc, X509_STORE_CTX_get0_cert(store),
                                       X509_STORE_CTX_get0_untrusted(store)) != NEXUS_OK)
        return refuse(store, X509_V_ERR_APPLICATION_VERIFICATION);
    int error = t->ask.trust ? nexus__trust_judge(t->ask.trust, t->cert, now_s) : X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT;
    if (error != X509_V_OK && t->ask.mode != NEXUS_CLIENT_CERT_ANY)
        return refuse(store, error);
    t->cert_verified = error == X509_V_OK && t->by_server;
    if (error == X509_V_OK)
        atomic_store(&t->cert->trusted_by, nexus__trust_id(t->ask.trust));
    X509_STORE_CTX_set_error(store, X509_V_OK);
    return 1;
}

/* --- of a server ------------------------------------------------------------------------------------------------------ */

static void listen_for_them(nexus__tls *tls)
{
    SSL_CTX_set_client_hello_cb(tls->ctx, on_hello, tls);
    SSL_CTX_set_cert_verify_callback(tls->ctx, on_certificate, NULL);
    SSL_CTX_set_max_cert_list(tls->ctx, 65536);
}

nexus_status nexus__tls_ask_all(nexus__tls *tls, uint32_t mode, const char *ca_file, const char *crl_file)
{
    if (mode > NEXUS_CLIENT_CERT_ANY)
        return nexus__fail(NEXUS_EINVAL, "tls_client_cert: there is no mode %u", mode);
    if (mode != NEXUS_CLIENT_CERT_OFF && mode != NEXUS_CLIENT_CERT_ANY && !ca_file)
        return nexus__fail(NEXUS_EINVAL, "tls_client_cert: certificates that must be verified need tls_client_ca_file");
    if (mode == NEXUS_CLIENT_CERT_OFF)
        return NEXUS_OK;
    tls->ask.mode = mode;
    listen_for_them(tls);
    return ca_file ? nexus__trust_open(&tls->ask.trust, tls->alloc, ca_file, crl_file) : NEXUS_OK;
}

void nexus__tls_ask_by(nexus__tls *tls, nexus__tls_ask_fn *fn, void *user_data)
{
    tls->ask_fn = fn;
    tls->ask_user_data = user_data;
    listen_for_them(tls);
}

nexus__cert *nexus__tls_cert(const nexus__tls_conn *t, bool *verified)
{
    *verified = t->cert_verified;
    return t->established ? t->cert : NULL;
}

bool nexus__tls_is_strict(const nexus__tls_conn *t, nexus_slice *server_name)
{
    if (t->strict)
        *server_name = nexus__slice_c(t->server_name);
    return t->strict;
}
