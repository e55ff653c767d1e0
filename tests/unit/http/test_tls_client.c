/* http/: TLS to a server. Both ends are ours, on a socket pair, stepped by hand. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <unistd.h>

#include "crypto/hash.h"
#include "http/internal.h"

typedef struct world {
    char dir[40], ca[80], cert[80], key[80], other_ca[80];
    uint8_t pin[32];
    nexus__tls *server;
} world;

static EVP_PKEY *write_key(const char *path)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    FILE *out = fopen(path, "w");
    PEM_write_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL);
    fclose(out);
    return key;
}

static void extension(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    cr_assert_not_null(e);
    X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
}

/* issuer NULL = an authority that signs itself. */
static X509 *write_cert(const char *path, const char *name, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key,
                        const char *names, long from_s, long to_s)
{
    X509 *x = X509_new();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), issuer ? 2 : 1);
    X509_gmtime_adj(X509_getm_notBefore(x), from_s);
    X509_gmtime_adj(X509_getm_notAfter(x), to_s);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(issuer ? issuer : x));
    if (names)
        extension(x, issuer, NID_subject_alt_name, names);
    else
        extension(x, x, NID_basic_constraints, "critical,CA:TRUE");
    cr_assert_gt(X509_sign(x, issuer_key, EVP_sha256()), 0);
    FILE *out = fopen(path, "w");
    PEM_write_X509(out, x);
    fclose(out);
    return x;
}

static void open_world(world *w, long from_s, long to_s)
{
    memset(w, 0, sizeof *w);
    strcpy(w->dir, "/tmp/nexus-tlsc-XXXXXX");
    cr_assert_not_null(mkdtemp(w->dir));
    snprintf(w->ca, sizeof w->ca, "%s/ca.pem", w->dir);
    snprintf(w->other_ca, sizeof w->other_ca, "%s/other.pem", w->dir);
    snprintf(w->cert, sizeof w->cert, "%s/cert.pem", w->dir);
    snprintf(w->key, sizeof w->key, "%s/key.pem", w->dir);
    EVP_PKEY *ca_key = write_key(w->key), *key = write_key(w->key);
    X509 *ca = write_cert(w->ca, "ca", ca_key, NULL, ca_key, NULL, -3600, 3600);
    X509 *other = write_cert(w->other_ca, "other", ca_key, NULL, ca_key, NULL, -3600, 3600);
    X509 *x = write_cert(w->cert, "server", key, ca, ca_key, "DNS:api.example.com,IP:127.0.0.1", from_s, to_s);
    unsigned char *der = NULL;
    int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);
    cr_assert_eq(nexus__hash(NEXUS__SHA256, nexus__slice((char *)der, (size_t)n), w->pin), NEXUS_OK);
    OPENSSL_free(der);
    X509_free(ca);
    X509_free(other);
    X509_free(x);
    EVP_PKEY_free(ca_key);
    EVP_PKEY_free(key);
    cr_assert_eq(nexus__tls_open(&w->server, NULL, w->cert, w->key, false), NEXUS_OK, "%s", nexus_error_message());
}

static void close_world(world *w)
{
    nexus__tls_close(w->server);
    unlink(w->ca);
    unlink(w->other_ca);
    unlink(w->cert);
    unlink(w->key);
    rmdir(w->dir);
}

typedef struct outcome {
    int handshake;
    uint32_t protocol;
    bool resumed;
    char failure[120], echoed[8];
} outcome;

static outcome meet(world *w, nexus__tls_client *client, const char *host, uint32_t protocols,
                    nexus__tls_session **session)
{
    outcome o = {0};
    int fds[2], ours = 0, theirs = 0;
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    nexus__tls_conn *c = nexus__tls_client_conn(client, fds[0], host, protocols, session);
    nexus__tls_conn *s = nexus__tls_conn_open(w->server, NULL, fds[1]);
    for (int i = 0; i < 20 && (ours == 0 || theirs == 0) && ours >= 0 && theirs >= 0; i++) {
        ours = ours ? ours : nexus__tls_handshake(c);
        theirs = theirs ? theirs : nexus__tls_handshake(s);
    }
    o.handshake = ours;
    snprintf(o.failure, sizeof o.failure, "%s", nexus__tls_failure(c));
    if (ours == 1 && theirs == 1) {
        o.protocol = nexus__tls_protocol(c);
        o.resumed = nexus__tls_resumed(c);
        cr_assert_eq(nexus__tls_write(s, "hello", 5), 5);
        cr_assert_eq(nexus__tls_read(c, o.echoed, sizeof o.echoed), 5); /* and the tickets before it */
    }
    nexus__tls_conn_close(c);
    nexus__tls_conn_close(s);
    close(fds[0]);
    close(fds[1]);
    return o;
}

static nexus__tls_client *client_of(const nexus__tls_client_opts *opts)
{
    nexus__tls_client *client;
    cr_assert_eq(nexus__tls_client_open(&client, NULL, opts), NEXUS_OK, "%s", nexus_error_message());
    return client;
}

Test(tls_client, chain_and_name_are_checked)
{
    world w;
    open_world(&w, -60, 3600);
    nexus__tls_client *good = client_of(&(nexus__tls_client_opts){.ca_file = w.ca});
    nexus__tls_client *stranger = client_of(&(nexus__tls_client_opts){.ca_file = w.other_ca});
    nexus__tls_client *system = client_of(&(nexus__tls_client_opts){0});
    nexus__tls_client *insecure = client_of(&(nexus__tls_client_opts){.insecure = true});
    cr_expect_eq(meet(&w, good, "api.example.com", NEXUS__TLS_HTTP1, NULL).handshake, 1);
    cr_expect_eq(meet(&w, good, "127.0.0.1", NEXUS__TLS_HTTP1, NULL).handshake, 1);
    outcome o = meet(&w, good, "evil.example.com", NEXUS__TLS_HTTP1, NULL);
    cr_expect_eq(o.handshake, -1);
    cr_expect_str_eq(o.failure, "hostname mismatch");
    cr_expect_eq(meet(&w, good, "127.0.0.2", NEXUS__TLS_HTTP1, NULL).handshake, -1);
    cr_expect_eq(meet(&w, stranger, "api.example.com", NEXUS__TLS_HTTP1, NULL).handshake, -1);
    cr_expect_eq(meet(&w, system, "api.example.com", NEXUS__TLS_HTTP1, NULL).handshake, -1);
    cr_expect_eq(meet(&w, insecure, "whoever", NEXUS__TLS_HTTP1, NULL).handshake, 1);
    nexus__tls_client_close(good);
    nexus__tls_client_close(stranger);
    nexus__tls_client_close(system);
    nexus__tls_client_close(insecure);
    close_world(&w);
}

Test(tls_client, expired_certificates_are_refused)
{
    world w;
    open_world(&w, -7200, -3600);
    nexus__tls_client *client = client_of(&(nexus__tls_client_opts){.ca_file = w.ca});
    outcome o = meet(&w, client, "api.example.com", NEXUS__TLS_HTTP1, NULL);
    cr_expect_eq(o.handshake, -1);
    cr_expect_str_eq(o.failure, "certificate has expired");
    nexus__tls_client_close(client);
    close_world(&w);
}

Test(tls_client, pinned_keys)
{
    world w;
    open_world(&w, -60, 3600);
    uint8_t pins[2][32] = {{1}, {2}};
    nexus__tls_session *session = NULL;
    nexus__tls_client *wrong =
        client_of(&(nexus__tls_client_opts){.ca_file = w.ca, .pins = (const uint8_t(*)[32])pins, .pin_count = 2});
    outcome o = meet(&w, wrong, "api.example.com", NEXUS__TLS_HTTP1, &session);
    cr_expect_eq(o.handshake, -1);
    cr_expect_null(session);
    memcpy(pins[1], w.pin, 32);
    nexus__tls_client *right =
        client_of(&(nexus__tls_client_opts){.ca_file = w.ca, .pins = (const uint8_t(*)[32])pins, .pin_count = 2});
    cr_expect_eq(meet(&w, right, "api.example.com", NEXUS__TLS_HTTP1, &session).handshake, 1);
    nexus__tls_session_free(session);
    nexus__tls_client_close(wrong);
    nexus__tls_client_close(right);
    close_world(&w);
}

Test(tls_client, the_second_handshake_is_resumed)
{
    world w;
    open_world(&w, -60, 3600);
    nexus__tls_session *session = NULL;
    nexus__tls_client *client = client_of(&(nexus__tls_client_opts){.ca_file = w.ca});
    cr_expect_not(meet(&w, client, "api.example.com", NEXUS__TLS_HTTP1, &session).resumed);
    cr_expect_not_null(session);
    outcome o = meet(&w, client, "api.example.com", NEXUS__TLS_HTTP1, &session);
    cr_expect(o.resumed);
    cr_expect_str_eq(o.echoed, "hello");
    nexus__tls_session_free(session);
    nexus__tls_client_close(client);
    close_world(&w);
}

Test(tls_client, files_that_are_not_what_they_should_be)
{
    world w;
    open_world(&w, -60, 3600);
    nexus__tls_client *client;
    cr_expect_eq(nexus__tls_client_open(&client, NULL, &(nexus__tls_client_opts){.ca_file = "/nowhere"}), NEXUS_EINVAL);
    cr_expect_eq(nexus__tls_client_open(&client, NULL, &(nexus__tls_client_opts){.ca_file = w.key}), NEXUS_EINVAL);
    cr_expect_eq(nexus__tls_client_open(&client, NULL, &(nexus__tls_client_opts){.cert_file = w.cert}), NEXUS_EINVAL);
    cr_expect_eq(nexus__tls_client_open(&client, NULL, &(nexus__tls_client_opts){.cert_file = w.ca, .key_file = w.key}),
                 NEXUS_EINVAL);
    close_world(&w);
}
