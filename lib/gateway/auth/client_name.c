#include "gateway/auth/client_name.h"

#include "base/codec.h"
#include "base/ip.h"

static const struct {
    const char *word;
    uint32_t kind;
} kinds[] = {
    {"dns", NEXUS__CERT_DNS}, {"uri", NEXUS__CERT_URI},           {"email", NEXUS__CERT_EMAIL},
    {"ip", NEXUS__CERT_IP},   {"subject", NEXUS__CLIENT_SUBJECT}, {"sha256", NEXUS__CLIENT_SHA256},
};

bool nexus__client_kind(nexus_slice word, uint32_t *out)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (nexus__slice_eq_c(word, kinds[i].word)) {
            *out = kinds[i].kind;
            return true;
        }
    return false;
}

static bool read_hex(nexus_slice text, uint8_t out[static 32])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < 64; i++) {
        const char *at = i < text.n ? memchr(digits, nexus__ascii_lower(text.p[i]), 16) : NULL;
        if (!at)
            return false;
        out[i / 2] = (uint8_t)(out[i / 2] << 4 | (at - digits));
    }
    return text.n == 64;
}

/* Stars stand for a whole label in front, and nowhere else. */
static bool dns_fits(nexus_slice text)
{
    size_t star = nexus__slice_find(text, '*');
    return star == text.n ||
           (star == 0 && text.n > 2 && text.p[1] == '.' && nexus__slice_find(nexus__slice_from(text, 1), '*') == text.n - 1);
}

bool nexus__client_name_parse(nexus__client_name *out, nexus_slice text, const char **why)
{
    nexus__ip ip;
    nexus_slice rest = text, word = nexus__slice_cut(&rest, ':');
    *out = (nexus__client_name){.text = rest};
    *why = "begins with dns:, uri:, email:, ip:, subject: or sha256:";
    if (!nexus__client_kind(word, &out->kind))
        return false;
    *why = "names nothing";
    if (rest.n == 0)
        return false;
    *why = "is no name, nor \"*.\" and one";
    if (out->kind == NEXUS__CERT_DNS && !dns_fits(rest))
        return false;
    *why = "is no address";
    if (out->kind == NEXUS__CERT_IP && !nexus__ip_parse(rest, &ip))
        return false;
    *why = "is not 64 hexadecimal digits";
    return out->kind != NEXUS__CLIENT_SHA256 || read_hex(rest, out->sha256);
}

/* One label in place of the star. */
static bool dns_meets(nexus_slice pattern, nexus_slice name)
{
    size_t dot = nexus__slice_find(name, '.');
    return pattern.p[0] == '*' && dot > 0 && dot < name.n && name.p[0] != '*' &&
           nexus__slice_ieq(nexus__slice_from(pattern, 1), nexus__slice_from(name, dot));
}

static bool uri_meets(nexus_slice pattern, nexus_slice name)
{
    return pattern.p[pattern.n - 1] == '*' && nexus__slice_starts(name, nexus__slice(pattern.p, pattern.n - 1));
}

static nexus_slice name_meets(const nexus__client_name *p, const nexus__cert *cert)
{
    for (size_t i = 0; i < cert->name_count; i++) {
        const nexus__cert_name *name = &cert->names[i];
        if (name->kind != p->kind)
            continue;
        if (nexus__cert_name_is(name, p->text) || (p->kind == NEXUS__CERT_DNS && dns_meets(p->text, name->text)) ||
            (p->kind == NEXUS__CERT_URI && uri_meets(p->text, name->text)))
            return name->text;
    }
    return (nexus_slice){NULL, 0};
}

nexus_slice nexus__client_name_find(const nexus__client_name *p, const nexus__cert *cert)
{
    static const nexus_slice none = {NULL, 0};
    if (p->kind == NEXUS__CLIENT_SUBJECT)
        return nexus__slice_eq(p->text, cert->subject) ? cert->subject : none;
    if (p->kind == NEXUS__CLIENT_SHA256)
        return memcmp(p->sha256, cert->sha256, sizeof p->sha256) == 0 ? p->text : none;
    return name_meets(p, cert);
}

nexus_slice nexus__client_name_of(const nexus__cert *cert, uint32_t kind, char hex[static 65])
{
    static const char digits[] = "0123456789abcdef";
    if (kind == NEXUS__CLIENT_SUBJECT)
        return cert->subject.n > 0 ? cert->subject : (nexus_slice){NULL, 0};
    for (size_t i = 0; kind == NEXUS__CLIENT_SHA256 && i < 32; i++) {
        hex[2 * i] = digits[cert->sha256[i] >> 4];
        hex[2 * i + 1] = digits[cert->sha256[i] & 15];
    }
    if (kind == NEXUS__CLIENT_SHA256)
        return nexus__slice(hex, 64);
    for (size_t i = 0; i < cert->name_count; i++)
        if (cert->names[i].kind == kind)
            return cert->names[i].text;
    return (nexus_slice){NULL, 0};
}
