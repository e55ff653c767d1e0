/*
 * TLS to a server. What is checked: the chain against the authorities, the name (or address) against the certificate,
 * and, if public keys are pinned, that the verified chain has one of them (as RFC 7469 section 2.6 has it).
 *
 * Sessions for resumed handshakes are kept by the caller, one place for each server, so that nothing is shared between
 * threads: OpenSSL's own cache is off, its callback hands every new session to the connection's place.
 */
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#include "base/status.h"
#include "crypto/hash.h"
#include "http/tls_private.h"

struct nexus__tls_client {
    SSL_CTX *ctx;
    BIO_METHOD *method;
    const nexus_alloc *alloc;
    size_t pin_count;
    uint8_t pins[][32];
};

/* --- sessions ----------------------------------------------------------------------------------------------------- */

static int on_session(SSL *ssl, SSL_SESSION *session)
{
    nexus__tls_conn *t = SSL_get_app_data(ssl);
    if (!t || !t->session)
        return 0;
    nexus__tls_session_free(*t->session);
    *t->session = (nexus__tls_session *)session;
    return 1; /* ours now */
}

void nexus__tls_session_free(nexus__tls_session *session)
{
    SSL_SESSION_free((SSL_SESSION *)session);
}

/* --- what connections share --------------------------------------------------------------------------------------- */

static nexus_status trust(nexus__tls_client *c, const nexus__tls_client_opts *o)
{
    if (o->insecure)
        return NEXUS_OK;
    SSL_CTX_set_verify(c->ctx, SSL_VERIFY_PEER, NULL);
    if (!o->ca_file)
        return SSL_CTX_set_default_verify_paths(c->ctx) == 1 ? NEXUS_OK
                                                             : nexus__tls_fail("authorities", "of the system");
    return SSL_CTX_load_verify_file(c->ctx, o->ca_file) == 1 ? NEXUS_OK : nexus__tls_fail("CA file", o->ca_file);
}

static nexus_status own_certificate(nexus__tls_client *c, const nexus__tls_client_opts *o)
{
    if (!o->cert_file)
        return NEXUS_OK;
    if (SSL_CTX_use_certificate_chain_file(c->ctx, o->cert_file) != 1)
        return nexus__tls_fail("certificate file", o->cert_file);
    if (!o->key_file || SSL_CTX_use_PrivateKey_file(c->ctx, o->key_file, SSL_FILETYPE_PEM) != 1)
        return nexus__tls_fail("key file", o->key_file ? o->key_file : "(none given)");
    if (SSL_CTX_check_private_key(c->ctx) != 1)
        return nexus__tls_fail("the certificate does not belong to key file", o->key_file);
    return NEXUS_OK;
}

static void set_up(SSL_CTX *ctx)
{
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20");
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, on_session);
}

nexus_status nexus__tls_client_open(nexus__tls_client **out, const nexus_alloc *alloc, const nexus__tls_client_opts *o)
{
    nexus__tls_client *c = nexus__calloc(alloc, 1, sizeof *c + o->pin_count * sizeof *c->pins);
    if (!c)
        return nexus__nomem();
    c->alloc = alloc;
    c->ctx = SSL_CTX_new(TLS_client_method());
    c->method = nexus__tls_method_new();
    c->pin_count = o->pin_count;
    if (o->pin_count > 0)
        memcpy(c->pins, o->pins, o->pin_count * sizeof *c->pins);
    nexus_status status = c->ctx && c->method ? NEXUS_OK : nexus__nomem();
    if (!status)
        set_up(c->ctx);
    status = status ? status : trust(c, o);
    status = status ? status : own_certificate(c, o);
    ERR_clear_error();
    if (status)
        nexus__tls_client_close(c);
    else
        *out = c;
    return status;
}

void nexus__tls_client_close(nexus__tls_client *c)
{
    if (!c)
        return;
    SSL_CTX_free(c->ctx);
    BIO_meth_free(c->method);
    nexus__free(c->alloc, c);
}

/* --- a connection ------------------------------------------------------------------------------------------------- */

static bool name_it(SSL *ssl, const char *host)
{
    unsigned char address[16];
    if (inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

static bool offer(SSL *ssl, uint32_t protocols)
{
    static const unsigned char both[] = "\x02h2\x08http/1.1";
    const unsigned char *first = protocols & NEXUS__TLS_H2 ? both : both + 3;
    unsigned n = (protocols & NEXUS__TLS_H2 ? 3 : 0) + (protocols & NEXUS__TLS_HTTP1 ? 9 : 0);
    return SSL_set_alpn_protos(ssl, first, n) == 0;
}

nexus__tls_conn *nexus__tls_client_conn(nexus__tls_client *client, int fd, const char *host, uint32_t protocols,
                                        nexus__tls_session **session)
{
    nexus__tls_conn *t = nexus__tls_conn_make(client->ctx, client->method, client->alloc, fd);
    if (!t)
        return NULL;
    t->client = client;
    t->session = session;
    SSL_set_app_data(t->ssl, t);
    SSL_set_connect_state(t->ssl);
    if (!name_it(t->ssl, host) || !offer(t->ssl, protocols)) {
        nexus__tls_conn_close(t);
        return NULL;
    }
    if (session && *session)
        SSL_set_session(t->ssl, (SSL_SESSION *)*session);
    return t;
}

static bool is_pinned(const nexus__tls_client *client, X509 *cert)
{
    unsigned char *der = NULL, digest[32];
    int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
    bool found = false;
    if (n > 0 && nexus__hash(NEXUS__SHA256, nexus__slice((char *)der, (size_t)n), digest) == NEXUS_OK)
        for (size_t i = 0; i < client->pin_count; i++)
            found |= memcmp(client->pins[i], digest, sizeof digest) == 0;
    OPENSSL_free(der);
    return found;
}

bool nexus__tls_client_accepts(nexus__tls_conn *t)
{
    STACK_OF(X509) *chain = SSL_get0_verified_chain(t->ssl);
    bool found = t->client->pin_count == 0 || SSL_session_reused(t->ssl); /* it was, when the session was made */
    for (int i = 0; !found && chain && i < sk_X509_num(chain); i++)
        found = is_pinned(t->client, sk_X509_value(chain, i));
    if (!found && SSL_get_verify_mode(t->ssl) == SSL_VERIFY_NONE && SSL_get0_peer_certificate(t->ssl))
        found = is_pinned(t->client, SSL_get0_peer_certificate(t->ssl));
    if (found)
        return true;
    t->untrusted = true;
    snprintf(t->failure, sizeof t->failure, "none of the pinned keys is in the server's chain");
    if (t->session) { /* TLS 1.2 has handed it over already */
        nexus__tls_session_free(*t->session);
        *t->session = NULL;
    }
    return false;
}

uint32_t nexus__tls_protocol(const nexus__tls_conn *t)
{
    const unsigned char *name;
    unsigned n;
    SSL_get0_alpn_selected(t->ssl, &name, &n);
    return n == 2 && memcmp(name, "h2", 2) == 0 ? NEXUS__TLS_H2 : NEXUS__TLS_HTTP1;
}

bool nexus__tls_resumed(const nexus__tls_conn *t)
{
    return SSL_session_reused(t->ssl);
}

bool nexus__tls_untrusted(const nexus__tls_conn *t)
{
    return t->untrusted;
}

const char *nexus__tls_failure(const nexus__tls_conn *t)
{
    return t->failure;
}
