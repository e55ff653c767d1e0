#include "crypto/cert.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "base/ip.h"
#include "base/status.h"
#include "base/time.h"
#include "crypto/hash.h"

enum { SUBJECT_MAX = 1024, NAME_MAX_BYTES = 2048 };

static nexus_status unreadable(const char *what)
{
    ERR_clear_error();
    return nexus__fail(NEXUS_EINVAL, "the certificate's %s", what);
}

/* --- texts ---------------------------------------------------------------------------------------------------------- */

static bool is_plain(const unsigned char *p, int n, unsigned char last)
{
    for (int i = 0; i < n; i++)
        if (p[i] < 0x20 || p[i] == 0x7f || p[i] > last)
            return false;
    return true;
}

/* Whatever kind of string it is: its characters have no control among them. */
static bool is_text(const ASN1_STRING *s)
{
    unsigned char *utf8 = NULL;
    int n = ASN1_STRING_to_UTF8(&utf8, s);
    bool good = n >= 0 && is_plain(utf8, n, 0xff);
    OPENSSL_free(utf8);
    return good;
}

static bool subject_is_text(const X509_NAME *name)
{
    for (int i = 0; i < X509_NAME_entry_count(name); i++)
        if (!is_text(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, i))))
            return false;
    return true;
}

static nexus_status put_subject(nexus__cert *c, const X509 *x)
{
    const X509_NAME *name = X509_get_subject_name(x);
    char *p;
    if (!subject_is_text(name))
        return unreadable("subject has characters that are no text");
    BIO *bio = BIO_new(BIO_s_mem());
    if (!bio)
        return nexus__nomem();
    int ok = X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253);
    long n = BIO_get_mem_data(bio, &p);
    bool fits = ok >= 0 && n <= SUBJECT_MAX;
    if (fits)
        c->subject = nexus__arena_copy(&c->arena, nexus__slice(p, (size_t)n));
    BIO_free(bio);
    return !fits ? unreadable("subject is too long") : c->subject.p ? NEXUS_OK : nexus__nomem();
}

static const ASN1_STRING *string_of(const GENERAL_NAME *name, enum nexus__cert_name_kind *kind)
{
    switch (name->type) {
    case GEN_DNS:
        *kind = NEXUS__CERT_DNS;
        return name->d.dNSName;
    case GEN_URI:
        *kind = NEXUS__CERT_URI;
        return name->d.uniformResourceIdentifier;
    case GEN_EMAIL:
        *kind = NEXUS__CERT_EMAIL;
        return name->d.rfc822Name;
    default:
        return NULL;
    }
}

static size_t print_address(const ASN1_OCTET_STRING *octets, char out[static 48])
{
    nexus__ip ip = {{[10] = 0xff, [11] = 0xff}};
    int n = ASN1_STRING_length(octets);
    if (n != 4 && n != 16)
        return 0;
    memcpy(ip.bytes + (n == 4 ? 12 : 0), ASN1_STRING_get0_data(octets), (size_t)n);
    return nexus__ip_format(&ip, out);
}

/* Earns nothing here, but may mislead whoever reads it next. */
static bool other_is_text(const GENERAL_NAME *name)
{
    const ASN1_TYPE *value = name->d.otherName->value;
    return value->type != V_ASN1_UTF8STRING && value->type != V_ASN1_IA5STRING && value->type != V_ASN1_PRINTABLESTRING &&
                   value->type != V_ASN1_BMPSTRING
               ? true
               : is_text(value->value.asn1_string);
}

static nexus_status add_name(nexus__cert *c, enum nexus__cert_name_kind kind, nexus_slice value)
{
    if (c->name_count == NEXUS__CERT_NAMES_MAX)
        return unreadable("subjectAltName has too many names");
    nexus_slice copy = nexus__arena_copy(&c->arena, value);
    c->names[c->name_count++] = (nexus__cert_name){kind, copy};
    return copy.p ? NEXUS_OK : nexus__nomem();
}

static nexus_status put_name(nexus__cert *c, const GENERAL_NAME *name)
{
    enum nexus__cert_name_kind kind;
    char address[48];
    const ASN1_STRING *s = string_of(name, &kind);
    if (name->type == GEN_IPADD) {
        size_t n = print_address(name->d.iPAddress, address);
        return n ? add_name(c, NEXUS__CERT_IP, nexus__slice(address, n)) : unreadable("address is none");
    }
    if (name->type == GEN_OTHERNAME)
        return other_is_text(name) ? NEXUS_OK : unreadable("otherName has characters that are no text");
    if (!s)
        return NEXUS_OK;
    const unsigned char *p = ASN1_STRING_get0_data(s);
    int n = ASN1_STRING_length(s);
    if (n <= 0 || n > NAME_MAX_BYTES || !is_plain(p, n, 0x7e))
        return unreadable("subjectAltName has characters that are no text");
    return add_name(c, kind, nexus__slice((const char *)p, (size_t)n));
}

static nexus_status put_names(nexus__cert *c, X509 *x)
{
    int critical = 0;
    GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, &critical, NULL);
    if (!names)
        return critical == -1 ? NEXUS_OK : unreadable("subjectAltName cannot be read");
    nexus_status status = NEXUS_OK;
    for (int i = 0; i < sk_GENERAL_NAME_num(names) && !status; i++)
        status = put_name(c, sk_GENERAL_NAME_value(names, i));
    GENERAL_NAMES_free(names);
    return status;
}

/* --- the rest of it --------------------------------------------------------------------------------------------------- */

static nexus_status put_der(nexus__cert *c, X509 *x, nexus_slice *out)
{
    int n = i2d_X509(x, NULL);
    if (n <= 0 || n > NEXUS__CERT_DER_MAX)
        return unreadable("encoding is too long");
    unsigned char *p = nexus__arena_get(&c->arena, (size_t)n), *at = p;
    if (!p)
        return nexus__nomem();
    i2d_X509(x, &at);
    *out = nexus__slice((char *)p, (size_t)n);
    return NEXUS_OK;
}

static bool time_of(const ASN1_TIME *time, int64_t *out)
{
    struct tm tm;
    if (ASN1_TIME_to_tm(time, &tm) != 1)
        return false;
    *out = timegm(&tm);
    return true;
}

static nexus_status put_sent(nexus__cert *c, STACK_OF(X509) *sent)
{
    nexus_status status = NEXUS_OK;
    for (int i = 0; sent && i < sk_X509_num(sent) && !status; i++) {
        X509 *x = sk_X509_value(sent, i);
        if (X509_cmp(x, c->x509) == 0)
            continue;
        if (c->chain_count == NEXUS__CERT_CHAIN_MAX)
            return unreadable("chain is too long");
        if ((!c->sent && !(c->sent = sk_X509_new_null())) || X509_up_ref(x) != 1)
            return nexus__nomem();
        if (!sk_X509_push(c->sent, x)) {
            X509_free(x);
            return nexus__nomem();
        }
        status = put_der(c, x, &c->chain[c->chain_count++]);
    }
    return status;
}

static nexus_status fill(nexus__cert *c, X509 *x, STACK_OF(X509) *sent)
{
    nexus_status status = put_der(c, x, &c->der);
    if (!status)
        status = nexus__hash(NEXUS__SHA256, c->der, c->sha256);
    if (!status)
        status = put_subject(c, x);
    if (!status)
        status = put_names(c, x);
    if (!status && (!time_of(X509_get0_notBefore(x), &c->not_before_s) || !time_of(X509_get0_notAfter(x), &c->not_after_s)))
        status = unreadable("dates cannot be read");
    return status ? status : put_sent(c, sent);
}

nexus_status nexus__cert_of_x509(nexus__cert **out, const nexus_alloc *alloc, X509 *x, STACK_OF(X509) *sent)
{
    nexus__cert *c = nexus__calloc(alloc, 1, sizeof *c);
    if (!c)
        return nexus__nomem();
    atomic_init(&c->refs, 1);
    c->alloc = alloc;
    nexus__arena_init(&c->arena, alloc, 2048);
    X509_up_ref(x);
    c->x509 = x;
    nexus_status status = fill(c, x, sent);
    ERR_clear_error();
    if (status)
        nexus__cert_free(c);
    else
        *out = c;
    return status;
}

static X509 *read_der(nexus_slice der)
{
    const unsigned char *p = (const unsigned char *)der.p;
    X509 *x = der.n > 0 && der.n <= NEXUS__CERT_DER_MAX ? d2i_X509(NULL, &p, (long)der.n) : NULL;
    if (x && p != (const unsigned char *)der.p + der.n) {
        X509_free(x);
        return NULL;
    }
    return x;
}

nexus_status nexus__cert_parse(nexus__cert **out, const nexus_alloc *alloc, nexus_slice der, const nexus_slice *chain,
                               size_t n)
{
    X509 *x = read_der(der), *other;
    STACK_OF(X509) *sent = x && n ? sk_X509_new_null() : NULL;
    nexus_status status = x ? NEXUS_OK : unreadable("DER cannot be read");
    for (size_t i = 0; i < n && !status; i++)
        if (!(other = read_der(chain[i])))
            status = unreadable("chain cannot be read");
        else if (!sent || !sk_X509_push(sent, other)) {
            X509_free(other);
            status = nexus__nomem();
        }
    if (!status)
        status = nexus__cert_of_x509(out, alloc, x, sent);
    sk_X509_pop_free(sent, X509_free);
    X509_free(x);
    return status;
}

nexus__cert *nexus__cert_ref(nexus__cert *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void nexus__cert_free(nexus__cert *c)
{
    if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    X509_free(c->x509);
    sk_X509_pop_free(c->sent, X509_free);
    nexus__arena_free(&c->arena);
    nexus__free(c->alloc, c);
}

/* --- questions --------------------------------------------------------------------------------------------------------- */

bool nexus__cert_is_current(const nexus__cert *c, int64_t now_s)
{
    return now_s >= c->not_before_s && now_s <= c->not_after_s;
}

const char *nexus__cert_kind_name(enum nexus__cert_name_kind kind)
{
    static const char *const names[] = {"dns", "uri", "email", "ip"};
    return names[kind];
}

static bool email_eq(nexus_slice a, nexus_slice b)
{
    size_t at = nexus__slice_find(a, '@');
    return at < a.n && at == nexus__slice_find(b, '@') && memcmp(a.p, b.p, at) == 0 &&
           nexus__slice_ieq(nexus__slice_from(a, at), nexus__slice_from(b, at));
}

static bool ip_eq(nexus_slice a, nexus_slice b)
{
    nexus__ip x, y;
    return nexus__ip_parse(a, &x) && nexus__ip_parse(b, &y) && memcmp(&x, &y, sizeof x) == 0;
}

bool nexus__cert_name_is(const nexus__cert_name *name, nexus_slice text)
{
    switch (name->kind) {
    case NEXUS__CERT_DNS:
        return nexus__slice_ieq(name->text, text);
    case NEXUS__CERT_EMAIL:
        return email_eq(name->text, text);
    case NEXUS__CERT_IP:
        return ip_eq(name->text, text);
    default:
        return nexus__slice_eq(name->text, text);
    }
}

bool nexus__cert_has_name(const nexus__cert *c, enum nexus__cert_name_kind kind, nexus_slice text)
{
    for (size_t i = 0; i < c->name_count; i++)
        if (c->names[i].kind == kind && nexus__cert_name_is(&c->names[i], text))
            return true;
    return false;
}
