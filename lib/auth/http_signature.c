#include "auth/http_signature.h"

#include "base/codec.h"
#include "base/status.h"

/* --- structured fields, as far as signatures need them (RFC 8941) -------------------------------------------------- */

typedef struct cursor {
    nexus_slice rest;
} cursor;

static bool take(cursor *c, char expected)
{
    if (c->rest.n == 0 || c->rest.p[0] != expected)
        return false;
    c->rest = nexus__slice_from(c->rest, 1);
    return true;
}

/* A quoted string without escapes: nothing signed here needs one. */
static bool take_string(cursor *c, nexus_slice *out)
{
    size_t n = 1;
    if (c->rest.n < 2 || c->rest.p[0] != '"')
        return false;
    while (n < c->rest.n && c->rest.p[n] != '"') {
        if (c->rest.p[n] < 0x20 || c->rest.p[n] > 0x7e || c->rest.p[n] == '\\')
            return false;
        n++;
    }
    if (n == c->rest.n)
        return false;
    *out = nexus__slice(c->rest.p + 1, n - 1);
    c->rest = nexus__slice_from(c->rest, n + 1);
    return true;
}

static bool is_key_char(char c, bool first)
{
    bool letter = (c >= 'a' && c <= 'z') || c == '*';
    return letter || (!first && ((c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.'));
}

static bool take_key(cursor *c, nexus_slice *out)
{
    size_t n = 0;
    while (n < c->rest.n && is_key_char(c->rest.p[n], n == 0))
        n++;
    *out = nexus__slice(c->rest.p, n);
    c->rest = nexus__slice_from(c->rest, n);
    return n > 0;
}

static bool take_time(cursor *c, int64_t *out)
{
    size_t n = 0;
    while (n < c->rest.n && c->rest.p[n] >= '0' && c->rest.p[n] <= '9')
        n++;
    bool good = n > 0 && n <= 15 && (n == 1 || c->rest.p[0] != '0') &&
                nexus__parse_i64(nexus__slice(c->rest.p, n), out);
    c->rest = nexus__slice_from(c->rest, n);
    return good;
}

/* ":base64:" */
static bool take_bytes(cursor *c, nexus_slice *out)
{
    if (!take(c, ':'))
        return false;
    size_t n = nexus__slice_find(c->rest, ':');
    if (n == c->rest.n)
        return false;
    *out = nexus__slice(c->rest.p, n);
    c->rest = nexus__slice_from(c->rest, n + 1);
    return true;
}

/* --- Signature-Input and Signature --------------------------------------------------------------------------------- */

static bool is_lower(nexus_slice name)
{
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] >= 'A' && name.p[i] <= 'Z')
            return false;
    return name.n > 0;
}

static bool covers(const nexus__http_signature *s, const char *name)
{
    for (uint32_t i = 0; i < s->component_count; i++)
        if (nexus__slice_eq_c(s->components[i], name))
            return true;
    return false;
}

static bool take_components(cursor *c, nexus__http_signature *s)
{
    if (!take(c, '('))
        return false;
    while (!take(c, ')')) {
        nexus_slice name;
        if (s->component_count == NEXUS__SIGNED_COMPONENTS_MAX || (s->component_count > 0 && !take(c, ' ')) ||
            !take_string(c, &name) || !is_lower(name))
            return false;
        for (uint32_t i = 0; i < s->component_count; i++)
            if (nexus__slice_eq(s->components[i], name))
                return false;
        s->components[s->component_count++] = name;
    }
    return true;
}

static bool take_text_once(cursor *c, nexus_slice *out)
{
    return !out->p && take_string(c, out);
}

static bool take_time_once(cursor *c, bool *has, int64_t *out)
{
    if (*has)
        return false;
    *has = true;
    return take_time(c, out);
}

static bool take_param(cursor *c, nexus__http_signature *s)
{
    nexus_slice name;
    if (!take_key(c, &name) || !take(c, '='))
        return false;
    if (nexus__slice_eq_c(name, "created"))
        return take_time_once(c, &s->has_created, &s->created_s);
    if (nexus__slice_eq_c(name, "expires"))
        return take_time_once(c, &s->has_expires, &s->expires_s);
    nexus_slice *text = nexus__slice_eq_c(name, "keyid")   ? &s->keyid
                        : nexus__slice_eq_c(name, "alg")   ? &s->alg
                        : nexus__slice_eq_c(name, "nonce") ? &s->nonce
                        : nexus__slice_eq_c(name, "tag")   ? &s->tag
                                                           : NULL;
    return text && take_text_once(c, text);
}

nexus_status nexus__http_signature_parse(nexus__http_signature *out, nexus_slice input, nexus_slice signature)
{
    nexus__http_signature s = {0};
    cursor c = {nexus__slice_trim(input)}, v = {nexus__slice_trim(signature)};
    nexus_slice label;
    bool good = take_key(&c, &s.label) && take(&c, '=');
    s.params = c.rest;
    good = good && take_components(&c, &s);
    while (good && c.rest.n > 0)
        good = take(&c, ';') && take_param(&c, &s);
    if (!good)
        return nexus__fail(NEXUS_EINVAL, "Signature-Input is not one signature of RFC 9421");
    if (!take_key(&v, &label) || !take(&v, '=') || !take_bytes(&v, &s.signature) || v.rest.n > 0)
        return nexus__fail(NEXUS_EINVAL, "Signature is not one signature of RFC 9421");
    if (!nexus__slice_eq(label, s.label))
        return nexus__fail(NEXUS_EINVAL, "Signature and Signature-Input bear different labels");
    *out = s;
    return NEXUS_OK;
}

nexus_status nexus__http_signature_covers(const nexus__http_signature *s, const nexus__signed_request *request,
                                          int64_t now_s)
{
    bool where = covers(s, "@target-uri") || (covers(s, "@authority") && covers(s, "@path") && covers(s, "@query"));
    if (!covers(s, "@method") || !where)
        return nexus__fail(NEXUS_EAUTH, "the signature must cover @method and @target-uri");
    if (request->has_body && !covers(s, "content-digest"))
        return nexus__fail(NEXUS_EAUTH, "the signature of a request with a body must cover content-digest");
    if (s->keyid.n == 0 || s->nonce.n == 0 || !s->has_created)
        return nexus__fail(NEXUS_EAUTH, "the signature needs keyid, nonce and created");
    if (s->created_s > now_s + NEXUS__SIGNED_TIME_S || s->created_s < now_s - NEXUS__SIGNED_TIME_S ||
        (s->has_expires && s->expires_s <= now_s))
        return nexus__fail(NEXUS_EAUTH, "the signature is too old, expired or from the future");
    return NEXUS_OK;
}

/* --- the base ------------------------------------------------------------------------------------------------------ */

static bool append_derived(nexus__buf *out, nexus_slice name, const nexus__signed_request *r)
{
    const struct {
        const char *name;
        nexus_slice value;
    } derived[] = {{"@method", r->method}, {"@authority", r->authority},      {"@scheme", r->scheme},
                   {"@path", r->path},     {"@request-target", r->target}, {"@query", r->query}};
    for (size_t i = 0; i < sizeof derived / sizeof derived[0]; i++)
        if (nexus__slice_eq_c(name, derived[i].name)) {
            nexus__buf_slice_append(out, derived[i].value);
            return true;
        }
    if (!nexus__slice_eq_c(name, "@target-uri"))
        return false;
    nexus__buf_slice_append(out, r->scheme);
    nexus__buf_text(out, "://");
    nexus__buf_slice_append(out, r->authority);
    nexus__buf_slice_append(out, r->target);
    return true;
}

static bool append_field(nexus__buf *out, nexus_slice name, const nexus__signed_request *r)
{
    nexus_slice value;
    uint32_t i = 0;
    for (; r->field(r->user_data, name, i, &value); i++) {
        value = nexus__slice_trim(value);
        for (size_t k = 0; k < value.n; k++) /* a line of ours must not be made by a field */
            if (value.p[k] == '\n' || value.p[k] == '\r')
                return false;
        nexus__buf_text(out, i ? ", " : "");
        nexus__buf_slice_append(out, value);
    }
    return i > 0;
}

nexus_status nexus__http_signature_base(const nexus__http_signature *s, const nexus__signed_request *request,
                                        nexus__buf *out)
{
    for (uint32_t i = 0; i < s->component_count; i++) {
        nexus_slice name = s->components[i];
        nexus__buf_char(out, '"');
        nexus__buf_slice_append(out, name);
        nexus__buf_text(out, "\": ");
        if (!(name.p[0] == '@' ? append_derived(out, name, request) : append_field(out, name, request)))
            return nexus__fail(NEXUS_EINVAL, "the request has no \"%.*s\" that could be signed", (int)name.n, name.p);
        nexus__buf_char(out, '\n');
    }
    nexus__buf_text(out, "\"@signature-params\": ");
    nexus__buf_slice_append(out, s->params);
    return out->status;
}

/* --- keys and digests ---------------------------------------------------------------------------------------------- */

/* RFC 9421, 3.3, beside the JOSE names of the same algorithms. */
static const struct {
    const char *alg, *jose;
} algorithms[] = {
    {"hmac-sha256", "HS256"},
    {"ecdsa-p256-sha256", "ES256"},
    {"ed25519", "EdDSA"},
    {"rsa-pss-sha512", "PS512"},
};

nexus_status nexus__http_signature_verify(const nexus__http_signature *s, const nexus__pkey *key, nexus_slice base)
{
    uint8_t bytes[NEXUS__BASE64_DECODED_MAX(NEXUS__SIGNATURE_MAX * 4 / 3 + 4)];
    size_t n = 0, row = 0, rows = sizeof algorithms / sizeof algorithms[0];
    while (row < rows && strcmp(algorithms[row].jose, nexus__pkey_alg(key)->name) != 0)
        row++;
    if (row == rows || (s->alg.p && !nexus__slice_eq_c(s->alg, algorithms[row].alg)))
        return nexus__fail(NEXUS_EAUTH, "the signature's algorithm is not its key's");
    if (NEXUS__BASE64_DECODED_MAX(s->signature.n) > sizeof bytes || !nexus__base64_decode(s->signature, bytes, &n) ||
        !nexus__pkey_verify(key, base, nexus__slice(bytes, n)))
        return nexus__fail(NEXUS_EAUTH, "the signature does not verify");
    return NEXUS_OK;
}

/* 1: it is the body's; 0: an algorithm that says nothing here; -1: it is not. */
static int judge_digest(nexus_slice name, nexus_slice text, nexus_slice body)
{
    uint8_t told[NEXUS__BASE64_DECODED_MAX(96)], real[NEXUS__DIGEST_MAX];
    size_t n = 0;
    bool is256 = nexus__slice_eq_c(name, "sha-256");
    if (!is256 && !nexus__slice_eq_c(name, "sha-512"))
        return 0;
    nexus__digest digest = is256 ? NEXUS__SHA256 : NEXUS__SHA512;
    bool same = text.n <= 96 && nexus__base64_decode(text, told, &n) && n == nexus__digest_size(digest) &&
                nexus__hash(digest, body, real) == NEXUS_OK && memcmp(told, real, n) == 0;
    return same ? 1 : -1;
}

bool nexus__content_digest_is(nexus_slice value, nexus_slice body)
{
    cursor c = {nexus__slice_trim(value)};
    bool any = false;
    while (c.rest.n > 0) {
        nexus_slice name, text;
        if (!take_key(&c, &name) || !take(&c, '=') || !take_bytes(&c, &text))
            return false;
        int verdict = judge_digest(name, text, body);
        if (verdict < 0)
            return false;
        any = any || verdict > 0;
        c.rest = nexus__slice_trim(c.rest);
        if (c.rest.n > 0 && !take(&c, ','))
            return false;
        c.rest = nexus__slice_trim(c.rest);
    }
    return any;
}
