/* http/: TLS. */
#include "peer.h"

#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sys/stat.h>

typedef struct files {
    char dir[32], cert[64], key[64];
} files;

static void make_files(files *f)
{
    strcpy(f->dir, "/tmp/nexus-tls-XXXXXX");
    cr_assert_not_null(mkdtemp(f->dir));
    snprintf(f->cert, sizeof f->cert, "%s/cert.pem", f->dir);
    snprintf(f->key, sizeof f->key, "%s/key.pem", f->dir);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1,
                               0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    cr_assert_gt(X509_sign(x, key, EVP_sha256()), 0);
    FILE *out = fopen(f->cert, "w");
    PEM_write_X509(out, x);
    fclose(out);
    out = fopen(f->key, "w");
    PEM_write_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL);
    fclose(out);
    X509_free(x);
    EVP_PKEY_free(key);
}

static void remove_files(files *f)
{
    unlink(f->cert);
    unlink(f->key);
    rmdir(f->dir);
}

static void echo(nexus_request *r, void *ud)
{
    (void)ud;
    nexus_slice body;
    cr_assert(nexus_request_is_tls(r));
    nexus_request_body(r, &body);
    nexus_request_reply(r, 200, "text/plain", body);
}

static void open_tls(peer *p, const files *f, uint32_t head_timeout_ms, bool http2_off)
{
    nexus_server_opts o = NEXUS_SERVER_OPTS_INIT;
    o.http2_off = http2_off;
    o.tls_cert_file = f->cert;
    o.tls_key_file = f->key;
    o.head_timeout_ms = head_timeout_ms;
    o.body_max_bytes = 4 * 1024 * 1024;
    peer_open(p, &o, 1);
    peer_route(p, "POST", "/echo", echo, NULL, 0);
    peer_start(p);
}

static SSL *client(SSL_CTX *ctx, int fd, int version)
{
    SSL *ssl = SSL_new(ctx);
    SSL_set_max_proto_version(ssl, version);
    SSL_set_alpn_protos(ssl, (const unsigned char *)"\x03" "foo\x08http/1.1", 13);
    SSL_set_fd(ssl, fd);
    return ssl;
}

typedef struct sender {
    SSL *ssl;
    const char *p;
    size_t n;
} sender;

Test(tls, requests_and_large_bodies_in_both_versions)
{
    files f;
    peer p;
    make_files(&f);
    open_tls(&p, &f, 0, false);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        int fd = peer_connect(&p);
        SSL *ssl = client(ctx, fd, version);
        cr_assert_eq(SSL_connect(ssl), 1);
        const unsigned char *proto;
        unsigned len;
        SSL_get0_alpn_selected(ssl, &proto, &len);
        cr_assert(len == 8 && memcmp(proto, "http/1.1", 8) == 0);
        static char body[1000000], got[1100000];
        memset(body, 'b', sizeof body);
        for (int round = 0; round < 2; round++) {
            char head[128];
            size_t size = round ? sizeof body : 5;
            int n = snprintf(head, sizeof head, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n", size);
            cr_assert_eq(SSL_write(ssl, head, n), n);
            cr_assert_eq(SSL_write(ssl, body, (int)size), (int)size);
            size_t have = 0;
            char *end = NULL;
            while (!end || have < (size_t)(end - got) + 4 + size) {
                int k = SSL_read(ssl, got + have, (int)(sizeof got - 1 - have));
                cr_assert_gt(k, 0);
                have += (size_t)k;
                got[have] = '\0';
                end = strstr(got, "\r\n\r\n");
            }
            cr_assert(strncmp(got, "HTTP/1.1 200 OK\r\n", 17) == 0);
            cr_assert_arr_eq(end + 4, body, size);
        }
        SSL_free(ssl);
        close(fd);
    }
    SSL_CTX_free(ctx);
    peer_close(&p);
    remove_files(&f);
}

static void expect_protocol(peer *p, SSL_CTX *ctx, const char *offers, const char *chosen)
{
    int fd = peer_connect(p);
    SSL *ssl = client(ctx, fd, TLS1_3_VERSION);
    SSL_set_alpn_protos(ssl, (const unsigned char *)offers, (unsigned)strlen(offers));
    const unsigned char *proto = NULL;
    unsigned len = 0;
    if (SSL_connect(ssl) == 1)
        SSL_get0_alpn_selected(ssl, &proto, &len);
    cr_assert(len == strlen(chosen) && memcmp(proto ? (const char *)proto : "", chosen, len) == 0, "%.*s", (int)len,
              proto);
    SSL_free(ssl);
    close(fd);
}

Test(tls, alpn_prefers_http2_unless_it_is_off)
{
    files f;
    make_files(&f);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    for (int off = 0; off < 2; off++) {
        peer p;
        open_tls(&p, &f, 0, off);
        expect_protocol(&p, ctx, "\x08http/1.1\x02h2", off ? "http/1.1" : "h2");
        expect_protocol(&p, ctx, "\x02h2", off ? "" : "h2");
        expect_protocol(&p, ctx, "\x03" "foo", "");
        peer_close(&p);
    }
    SSL_CTX_free(ctx);
    remove_files(&f);
}

Test(tls, old_versions_plain_text_and_silence_are_refused)
{
    files f;
    peer p;
    make_files(&f);
    open_tls(&p, &f, 300, false);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_security_level(ctx, 0);
    int fd = peer_connect(&p);
    SSL *ssl = client(ctx, fd, TLS1_1_VERSION);
    cr_assert_neq(SSL_connect(ssl), 1);
    SSL_free(ssl);
    close(fd);
    SSL_CTX_free(ctx);
    fd = peer_connect(&p);
    peer_say(fd, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    char c;
    while (recv(fd, &c, 1, 0) == 1) /* an alert, perhaps */
        cr_assert_neq(c, 'H');
    close(fd);
    fd = peer_connect(&p);
    cr_assert(peer_ended(fd)); /* after head_timeout_ms */
    close(fd);
    peer_close(&p);
    remove_files(&f);
}

Test(tls, files_that_do_not_fit_are_named)
{
    files f;
    peer p;
    nexus_server *s;
    make_files(&f);
    peer_open(&p, NULL, 1);
    nexus_server_opts o = NEXUS_SERVER_OPTS_INIT;
    o.tls_cert_file = "/nonexistent.pem";
    o.tls_key_file = f.key;
    cr_assert_eq(nexus_server_open(&s, p.runtime, &o), NEXUS_EINVAL);
    cr_assert(strstr(nexus_error_message(), "/nonexistent.pem"));
    o.tls_cert_file = f.cert;
    o.tls_key_file = NULL;
    cr_assert_eq(nexus_server_open(&s, p.runtime, &o), NEXUS_EINVAL);
    peer_close(&p);
    remove_files(&f);
}
