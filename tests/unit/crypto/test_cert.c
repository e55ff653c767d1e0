/* crypto/: certificates of clients, and whom they must come from. What is made here is made with OpenSSL itself. */
#include <criterion/criterion.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include "base/status.h"
#include "crypto/trust.h"

#define NOW 1800000000

static EVP_PKEY *authority_key, *client_key;
static X509 *authority;
static char dir[40], ca_file[80], crl_file[80];

static void add_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    cr_assert_not_null(e, "%s", value);
    X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
}

static X509 *begin(const char *name, size_t name_n, EVP_PKEY *key, long serial, long from, long to)
{
    X509 *x = X509_new();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), serial);
    ASN1_TIME_set(X509_getm_notBefore(x), from);
    ASN1_TIME_set(X509_getm_notAfter(x), to);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8, (const unsigned char *)name, (int)name_n, -1,
                               0);
    return x;
}

static X509 *client(const char *name, const char *names, const char *usage)
{
    X509 *x = begin(name, strlen(name), client_key, 7, NOW - 100, NOW + 100);
    X509_set_issuer_name(x, X509_get_subject_name(authority));
    if (names)
        add_extension(x, authority, NID_subject_alt_name, names);
    if (usage)
        add_extension(x, authority, NID_ext_key_usage, usage);
    cr_assert_gt(X509_sign(x, authority_key, EVP_sha256()), 0);
    return x;
}

static void write_list(long revoked)
{
    X509_CRL *list = X509_CRL_new();
    ASN1_TIME *at = ASN1_TIME_set(NULL, NOW - 1000);
    X509_CRL_set_version(list, 1);
    X509_CRL_set_issuer_name(list, X509_get_subject_name(authority));
    X509_CRL_set1_lastUpdate(list, at);
    ASN1_TIME_set(at, NOW + 50);
    X509_CRL_set1_nextUpdate(list, at);
    if (revoked) {
        X509_REVOKED *r = X509_REVOKED_new();
        ASN1_INTEGER *serial = ASN1_INTEGER_new();
        ASN1_INTEGER_set(serial, revoked);
        ASN1_TIME_set(at, NOW - 10);
        X509_REVOKED_set_serialNumber(r, serial);
        X509_REVOKED_set_revocationDate(r, at);
        X509_CRL_add0_revoked(list, r);
        ASN1_INTEGER_free(serial);
    }
    cr_assert_gt(X509_CRL_sign(list, authority_key, EVP_sha256()), 0);
    FILE *out = fopen(crl_file, "w");
    PEM_write_X509_CRL(out, list);
    fclose(out);
    ASN1_TIME_free(at);
    X509_CRL_free(list);
}

static void open_all(void)
{
    strcpy(dir, "/tmp/nexus-cert-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
    snprintf(ca_file, sizeof ca_file, "%s/ca.pem", dir);
    snprintf(crl_file, sizeof crl_file, "%s/ca.crl", dir);
    authority_key = EVP_EC_gen("P-256");
    client_key = EVP_EC_gen("P-256");
    authority = begin("ca", 2, authority_key, 1, NOW - 1000, NOW + 1000);
    X509_set_issuer_name(authority, X509_get_subject_name(authority));
    add_extension(authority, authority, NID_basic_constraints, "critical,CA:TRUE");
    cr_assert_gt(X509_sign(authority, authority_key, EVP_sha256()), 0);
    FILE *out = fopen(ca_file, "w");
    PEM_write_X509(out, authority);
    fclose(out);
}

static void close_all(void)
{
    X509_free(authority);
    EVP_PKEY_free(authority_key);
    EVP_PKEY_free(client_key);
    unlink(ca_file);
    unlink(crl_file);
    rmdir(dir);
}

TestSuite(cert, .init = open_all, .fini = close_all);

static nexus__cert *parsed(X509 *x)
{
    nexus__cert *c = NULL;
    unsigned char *der = NULL;
    int n = i2d_X509(x, &der);
    nexus_status status = nexus__cert_parse(&c, NULL, nexus__slice((char *)der, (size_t)n), NULL, 0);
    cr_assert_eq(status, NEXUS_OK, "%s", nexus_error_message());
    cr_assert(c->der.n == (size_t)n && memcmp(c->der.p, der, (size_t)n) == 0);
    OPENSSL_free(der);
    X509_free(x);
    return c;
}

Test(cert, says_whom_it_belongs_to)
{
    nexus__cert *c = parsed(client("till 7, \xc3\xa4", "DNS:a.example,URI:spiffe://x/a,email:till@Example.org,IP:10.1.2.3,IP:fd00::1",
                                 NULL));
    cr_assert(nexus__slice_eq_c(c->subject, "CN=till 7\\, \\C3\\A4"), "%.*s", (int)c->subject.n, c->subject.p);
    cr_assert(c->not_before_s == NOW - 100 && c->not_after_s == NOW + 100);
    cr_assert(nexus__cert_is_current(c, NOW) && !nexus__cert_is_current(c, NOW + 101) && !nexus__cert_is_current(c, NOW - 101));
    cr_assert_eq(c->name_count, 5);
    cr_assert(nexus__cert_has_name(c, NEXUS__CERT_DNS, NEXUS_S("A.Example")));
    cr_assert(!nexus__cert_has_name(c, NEXUS__CERT_URI, NEXUS_S("spiffe://x/A")));
    cr_assert(nexus__cert_has_name(c, NEXUS__CERT_EMAIL, NEXUS_S("till@example.ORG")));
    cr_assert(!nexus__cert_has_name(c, NEXUS__CERT_EMAIL, NEXUS_S("Till@example.org")));
    cr_assert(nexus__cert_has_name(c, NEXUS__CERT_IP, NEXUS_S("10.1.2.3")));
    cr_assert(nexus__cert_has_name(c, NEXUS__CERT_IP, NEXUS_S("fd00:0::0001")));
    cr_assert(!nexus__cert_has_name(c, NEXUS__CERT_DNS, NEXUS_S("10.1.2.3")), "an address is no name");
    nexus__cert_free(nexus__cert_ref(c));
    nexus__cert_free(c);
}

/* subjectAltName of one name with these bytes. */
static X509 *with_name(int type, const char *p, int n)
{
    X509 *x = begin("x", 1, client_key, 8, NOW - 100, NOW + 100);
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    GENERAL_NAME *name = GENERAL_NAME_new();
    if (type == GEN_OTHERNAME) {
        ASN1_TYPE *value = ASN1_TYPE_new();
        ASN1_STRING *text = ASN1_STRING_type_new(V_ASN1_UTF8STRING);
        ASN1_STRING_set(text, p, n);
        ASN1_TYPE_set(value, V_ASN1_UTF8STRING, text);
        GENERAL_NAME_set0_othername(name, OBJ_txt2obj("1.3.6.1.4.1.311.20.2.3", 1), value);
    } else if (type == GEN_IPADD) {
        ASN1_OCTET_STRING *octets = ASN1_OCTET_STRING_new();
        ASN1_STRING_set(octets, p, n);
        GENERAL_NAME_set0_value(name, GEN_IPADD, octets);
    } else {
        ASN1_IA5STRING *text = ASN1_IA5STRING_new();
        ASN1_STRING_set(text, p, n);
        GENERAL_NAME_set0_value(name, type, text);
    }
    sk_GENERAL_NAME_push(names, name);
    X509_add1_ext_i2d(x, NID_subject_alt_name, names, 0, 0);
    GENERAL_NAMES_free(names);
    X509_set_issuer_name(x, X509_get_subject_name(authority));
    cr_assert_gt(X509_sign(x, authority_key, EVP_sha256()), 0);
    return x;
}

static void refused(X509 *x, const char *word)
{
    nexus__cert *c;
    cr_assert_eq(nexus__cert_of_x509(&c, NULL, x, NULL), NEXUS_EINVAL);
    cr_assert(strstr(nexus_error_message(), word), "%s", nexus_error_message());
    X509_free(x);
}

Test(cert, one_whose_names_are_no_text_is_refused_as_a_whole)
{
    static const int kinds[] = {GEN_DNS, GEN_URI, GEN_EMAIL, GEN_OTHERNAME};
    for (size_t i = 0; i < 4; i++) {
        refused(with_name(kinds[i], "a.example\0.evil", 15), "no text"); /* CVE-2025-66220 and its like */
        refused(with_name(kinds[i], "a\nb", 3), "no text");
    }
    refused(with_name(GEN_DNS, "\xc3\xa4.example", 10), "no text");
    refused(with_name(GEN_DNS, "", 0), "no text");
    refused(with_name(GEN_IPADD, "\1\2\3", 3), "address");
    X509 *x = begin("a\0b", 3, client_key, 9, NOW - 100, NOW + 100);
    cr_assert_gt(X509_sign(x, authority_key, EVP_sha256()), 0);
    refused(x, "subject");
}

Test(cert, der_is_read_to_its_end_and_no_further)
{
    nexus__cert *c, *fine = parsed(client("a", NULL, NULL));
    char longer[NEXUS__CERT_DER_MAX + 1] = {0};
    memcpy(longer, fine->der.p, fine->der.n);
    cr_assert_eq(nexus__cert_parse(&c, NULL, nexus__slice(longer, fine->der.n + 1), NULL, 0), NEXUS_EINVAL);
    for (size_t n = 0; n < fine->der.n; n++)
        cr_assert_eq(nexus__cert_parse(&c, NULL, nexus__slice(longer, n), NULL, 0), NEXUS_EINVAL);
    nexus_slice junk = NEXUS_S("junk");
    cr_assert_eq(nexus__cert_parse(&c, NULL, fine->der, &junk, 1), NEXUS_EINVAL);
    cr_assert_eq(nexus__cert_parse(&c, NULL, fine->der, &fine->der, 1), NEXUS_OK);
    cr_assert_eq(c->chain_count, 0, "it is not sent beside itself");
    nexus__cert_free(c);
    nexus__cert_free(fine);
}

static nexus__trust *trust(bool lists)
{
    nexus__trust *t = NULL;
    cr_assert_eq(nexus__trust_open(&t, NULL, ca_file, lists ? crl_file : NULL), NEXUS_OK, "%s", nexus_error_message());
    return t;
}

Test(cert, trust_is_a_matter_of_chain_dates_and_purpose)
{
    nexus__trust *t = trust(false), *again = trust(false);
    nexus__cert *good = parsed(client("a", NULL, "clientAuth")), *plain = parsed(client("b", NULL, NULL)),
                *server = parsed(client("c", NULL, "serverAuth"));
    cr_assert_eq(nexus__trust_id(t), nexus__trust_id(again), "the same files are the same trust");
    cr_assert_eq(nexus__trust_judge(t, good, NOW), 0);
    cr_assert_eq(nexus__trust_judge(t, plain, NOW), 0, "what limits no use may be used for this");
    cr_assert_eq(nexus__trust_judge(t, server, NOW), X509_V_ERR_INVALID_PURPOSE);
    cr_assert_eq(nexus__trust_judge(t, good, NOW + 101), X509_V_ERR_CERT_HAS_EXPIRED);
    cr_assert_eq(nexus__trust_judge(t, good, NOW - 101), X509_V_ERR_CERT_NOT_YET_VALID);
    cr_assert_eq(nexus__trust_check(t, server, NOW), NEXUS_EAUTH);
    cr_assert_eq(nexus__trust_check(t, good, NOW), NEXUS_OK);
    cr_assert_eq(good->trusted_by, nexus__trust_id(t));
    cr_assert_eq(nexus__trust_check(t, good, NOW), NEXUS_OK, "from memory");
    cr_assert_eq(nexus__trust_check(t, good, NOW + 101), NEXUS_EAUTH, "but for its dates");
    X509 *own = begin("own", 3, client_key, 3, NOW - 100, NOW + 100);
    X509_set_issuer_name(own, X509_get_subject_name(own));
    cr_assert_gt(X509_sign(own, client_key, EVP_sha256()), 0);
    nexus__cert *self_signed = parsed(own);
    cr_assert_neq(nexus__trust_judge(t, self_signed, NOW), 0);
    nexus__cert_free(self_signed);
    nexus__cert_free(good);
    nexus__cert_free(plain);
    nexus__cert_free(server);
    nexus__trust_free(nexus__trust_ref(t));
    nexus__trust_free(t);
    nexus__trust_free(again);
}

Test(cert, what_is_revoked_is_out_and_a_list_that_is_old_lets_nobody_in)
{
    write_list(0);
    nexus__trust *none = trust(true);
    write_list(7);
    nexus__trust *seven = trust(true);
    nexus__cert *c = parsed(client("a", NULL, NULL));
    cr_assert_eq(nexus__trust_check(none, c, NOW), NEXUS_OK, "%s", nexus_error_message());
    cr_assert_neq(nexus__trust_id(none), nexus__trust_id(seven));
    cr_assert_eq(nexus__trust_check(seven, c, NOW), NEXUS_EAUTH);
    cr_assert_eq(nexus__trust_judge(seven, c, NOW), X509_V_ERR_CERT_REVOKED);
    cr_assert_eq(nexus__trust_judge(none, c, NOW + 60), X509_V_ERR_CRL_HAS_EXPIRED);
    nexus__cert_free(c);
    nexus__trust_free(none);
    nexus__trust_free(seven);
}

Test(cert, files_without_what_they_should_have_are_named)
{
    nexus__trust *t;
    cr_assert_eq(nexus__trust_open(&t, NULL, "/nonexistent.pem", NULL), NEXUS_EINVAL);
    cr_assert(strstr(nexus_error_message(), "/nonexistent.pem"));
    cr_assert_eq(nexus__trust_open(&t, NULL, ca_file, ca_file), NEXUS_EINVAL, "no list in it");
    FILE *out = fopen(crl_file, "w");
    fputs("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", out);
    fclose(out);
    cr_assert_eq(nexus__trust_open(&t, NULL, crl_file, NULL), NEXUS_EINVAL);
}
