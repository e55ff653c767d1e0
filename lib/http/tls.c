/*
 * TLS of a connection, and of the server side (clients: tls_client.c), TLS 1.2 and up, through a BIO of our own: OpenSSL's socket BIO calls write(2), and a peer that
 * has closed then kills the process by SIGPIPE.
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/status.h"
#include "http/internal.h"
#include "http/tls_private.h"

nexus_status nexus__tls_fail(const char *what, const char *name)
{
    char text[160];
    unsigned long code = ERR_get_error();
    ERR_error_string_n(code, text, sizeof text);
    ERR_clear_error();
    return nexus__fail(NEXUS_EINVAL, "%s '%s': %s", what, name, text);
}

/* --- the BIO ----------------------------------------------------------------------------------------------------- */

static int fd_of(BIO *bio)
{
    return (int)(intptr_t)BIO_get_data(bio);
}

static int finish_io(BIO *bio, ssize_t n, int retry_flag)
{
    BIO_clear_retry_flags(bio);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_flags(bio, retry_flag | BIO_FLAGS_SHOULD_RETRY);
    return (int)n;
}

static int bio_write(BIO *bio, const char *p, int n)
{
    return finish_io(bio, send(fd_of(bio), p, (size_t)n, MSG_NOSIGNAL), BIO_FLAGS_WRITE);
}

static int bio_read(BIO *bio, char *p, int n)
{
    return finish_io(bio, recv(fd_of(bio), p, (size_t)n, 0), BIO_FLAGS_READ);
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

static int bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

BIO_METHOD *nexus__tls_method_new(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "nexus socket");
    if (m) {
        BIO_meth_set_write(m, bio_write);
        BIO_meth_set_read(m, bio_read);
        BIO_meth_set_ctrl(m, bio_ctrl);
        BIO_meth_set_create(m, bio_create);
    }
    return m;
}

/* --- of a server ------------------------------------------------------------------------------------------------- */

/* arg: what we offer, in the form that ALPN has on the wire. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
                           unsigned in_len, void *arg)
{
    const char *ours = arg;
    (void)ssl;
    if (SSL_select_next_proto((unsigned char **)out, out_len, (const unsigned char *)ours, (unsigned)strlen(ours), in,
                              in_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    return SSL_TLSEXT_ERR_OK;
}

nexus_status nexus__tls_open(nexus__tls **out, const nexus_alloc *alloc, const char *cert_file, const char *key_file,
                             bool h2)
{
    nexus__tls *t = nexus__calloc(alloc, 1, sizeof *t);
    if (!t)
        return nexus__nomem();
    t->alloc = alloc;
    t->ctx = SSL_CTX_new(TLS_server_method());
    t->method = nexus__tls_method_new();
    nexus_status status = NEXUS_OK;
    if (!t->ctx || !t->method)
        status = nexus__nomem();
    else if (SSL_CTX_use_certificate_chain_file(t->ctx, cert_file) != 1)
        status = nexus__tls_fail("certificate file", cert_file);
    else if (!key_file || SSL_CTX_use_PrivateKey_file(t->ctx, key_file, SSL_FILETYPE_PEM) != 1)
        status = nexus__tls_fail("key file", key_file ? key_file : "(none given)");
    else if (SSL_CTX_check_private_key(t->ctx) != 1)
        status = nexus__tls_fail("the certificate does not belong to key file", key_file);
    if (status) {
        nexus__tls_close(t);
        return status;
    }
    SSL_CTX_set_min_proto_version(t->ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(t->ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(t->ctx,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_cipher_list(t->ctx, "ECDHE+AESGCM:ECDHE+CHACHA20"); /* of TLS 1.2 */
    SSL_CTX_set_ciphersuites(t->ctx, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256");
    SSL_CTX_set_num_tickets(t->ctx, 1); /* who opens several connections at once resumes one of them; a second costs all */
    SSL_CTX_set_session_cache_mode(t->ctx, SSL_SESS_CACHE_OFF); /* tickets carry sessions; nothing is shared by loops */
    SSL_CTX_set_session_id_context(t->ctx, (const unsigned char *)"nexus", 5);
    static const char http1[] = "\x08http/1.1", both[] = "\x02h2\x08http/1.1";
    SSL_CTX_set_alpn_select_cb(t->ctx, choose_protocol, (void *)(uintptr_t)(h2 ? both : http1));
    *out = t;
    return NEXUS_OK;
}

void nexus__tls_close(nexus__tls *t)
{
    if (!t)
        return;
    SSL_CTX_free(t->ctx);
    BIO_meth_free(t->method);
    nexus__trust_free(t->ask.trust);
    nexus__free(t->alloc, t);
}

/* --- of a connection --------------------------------------------------------------------------------------------- */

nexus__tls_conn *nexus__tls_conn_make(SSL_CTX *ctx, BIO_METHOD *method, const nexus_alloc *alloc, int fd)
{
    nexus__tls_conn *t = nexus__calloc(alloc, 1, sizeof *t);
    SSL *ssl = t ? SSL_new(ctx) : NULL;
    BIO *bio = ssl ? BIO_new(method) : NULL;
    if (!bio) {
        SSL_free(ssl);
        nexus__free(alloc, t);
        ERR_clear_error();
        return NULL;
    }
    BIO_set_data(bio, (void *)(intptr_t)fd);
    SSL_set_bio(ssl, bio, bio);
    t->ssl = ssl;
    t->alloc = alloc;
    return t;
}

nexus__tls_conn *nexus__tls_conn_open(nexus__tls *tls, nexus_loop *loop, int fd)
{
    nexus__tls_conn *t = nexus__tls_conn_make(tls->ctx, tls->method, tls->alloc, fd);
    if (!t)
        return NULL;
    t->loop = loop;
    SSL_set_app_data(t->ssl, t);
    SSL_set_accept_state(t->ssl);
    return t;
}

void nexus__tls_conn_close(nexus__tls_conn *t)
{
    if (!t)
        return;
    if (t->established && !t->broken)
        SSL_shutdown(t->ssl); /* close_notify, if the socket takes it */
    ERR_clear_error();
    SSL_free(t->ssl);
    nexus__trust_free(t->ask.trust);
    nexus__cert_free(t->cert);
    nexus__free(t->alloc, t->server_name);
    nexus__free(t->alloc, t);
}

static ssize_t outcome(nexus__tls_conn *t, int n)
{
    int error = SSL_get_error(t->ssl, n);
    ERR_clear_error(); /* the queue is the thread's, and others use it */
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return -1;
    if (error == SSL_ERROR_ZERO_RETURN)
        return 0;
    t->broken = true;
    return -2;
}

ssize_t nexus__tls_read(nexus__tls_conn *t, void *p, size_t n)
{
    size_t got = 0;
    int ok = SSL_read_ex(t->ssl, p, n, &got);
    return ok == 1 ? (ssize_t)got : outcome(t, ok);
}

ssize_t nexus__tls_write(nexus__tls_conn *t, const void *p, size_t n)
{
    size_t sent = 0;
    int ok = SSL_write_ex(t->ssl, p, n, &sent);
    return ok == 1 ? (ssize_t)sent : outcome(t, ok);
}

static void keep_failure(nexus__tls_conn *t)
{
    long verdict = SSL_get_verify_result(t->ssl);
    unsigned long code = ERR_peek_error();
    t->untrusted = verdict != X509_V_OK;
    const char *why = verdict != X509_V_OK ? X509_verify_cert_error_string(verdict)
                      : code               ? ERR_reason_error_string(code)
                                           : NULL;
    snprintf(t->failure, sizeof t->failure, "%s", why ? why : "");
}

int nexus__tls_handshake(nexus__tls_conn *t)
{
    int ok = SSL_do_handshake(t->ssl);
    if (ok == 1) {
        t->established = true;
        return !t->client || nexus__tls_client_accepts(t) ? 1 : -1;
    }
    if (t->client)
        keep_failure(t);
    return outcome(t, ok) == -1 ? 0 : -1;
}
