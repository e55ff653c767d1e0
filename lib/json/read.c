#include "json/read.h"

#include <math.h>

#include "base/codec.h"
#include "base/status.h"
#include "base/utf8.h"

nexus__json_iter nexus__json_each(const nexus__json *doc, uint32_t v)
{
    nexus__json_type type = nexus__json_type_of(doc, v);
    if (type != NEXUS__JSON_ARRAY && type != NEXUS__JSON_OBJECT)
        return (nexus__json_iter){.key = NEXUS__JSON_NONE, .value = NEXUS__JSON_NONE};
    return (nexus__json_iter){.at = v + 1,
                              .end = doc->nodes[v].next,
                              .key = NEXUS__JSON_NONE,
                              .value = NEXUS__JSON_NONE,
                              .index = UINT32_MAX,
                              .object = type == NEXUS__JSON_OBJECT};
}

bool nexus__json_step(const nexus__json *doc, nexus__json_iter *it)
{
    if (it->at >= it->end)
        return false;
    it->key = it->object ? it->at : NEXUS__JSON_NONE;
    it->value = it->at + it->object;
    it->at = doc->nodes[it->value].next;
    it->index++;
    return true;
}

static nexus_slice content(const nexus__json *doc, uint32_t v) /* between the quotes */
{
    return nexus__slice(doc->text.p + doc->nodes[v].start + 1, doc->nodes[v].end - doc->nodes[v].start - 2);
}

uint32_t nexus__json_member(const nexus__json *doc, uint32_t object, nexus_slice name)
{
    if (!nexus__json_is(doc, object, NEXUS__JSON_OBJECT))
        return NEXUS__JSON_NONE;
    for (uint32_t key = object + 1, end = doc->nodes[object].next; key < end; key = doc->nodes[key + 1].next)
        if (nexus__json_text_is(doc, key, name))
            return key + 1;
    return NEXUS__JSON_NONE;
}

uint32_t nexus__json_element(const nexus__json *doc, uint32_t array, uint32_t index)
{
    if (!nexus__json_is(doc, array, NEXUS__JSON_ARRAY) || index >= nexus__json_count(doc, array))
        return NEXUS__JSON_NONE;
    uint32_t at = array + 1;
    while (index--)
        at = doc->nodes[at].next;
    return at;
}

/* "~1" is '/', "~0" is '~'; compares one reference token with a member name without a copy of either being
 * kept. */
static uint32_t token_member(const nexus__json *doc, uint32_t object, nexus_slice token)
{
    if (nexus__slice_find(token, '~') == token.n)
        return nexus__json_member(doc, object, token);
    char name[256];
    size_t n = 0;
    for (size_t i = 0; i < token.n; i++) {
        if (n == sizeof name)
            return NEXUS__JSON_NONE;
        if (token.p[i] != '~') {
            name[n++] = token.p[i];
        } else {
            i++;
            if (i == token.n || (token.p[i] != '0' && token.p[i] != '1'))
                return NEXUS__JSON_NONE;
            name[n++] = token.p[i] == '0' ? '~' : '/';
        }
    }
    return nexus__json_member(doc, object, nexus__slice(name, n));
}

uint32_t nexus__json_pointer(const nexus__json *doc, uint32_t v, nexus_slice pointer)
{
    if (pointer.n == 0)
        return v < doc->count ? v : NEXUS__JSON_NONE;
    if (pointer.p[0] != '/')
        return NEXUS__JSON_NONE;
    nexus_slice rest = nexus__slice_from(pointer, 1);
    for (bool last = false; !last && v != NEXUS__JSON_NONE;) {
        last = nexus__slice_find(rest, '/') == rest.n;
        nexus_slice token = nexus__slice_cut(&rest, '/');
        uint64_t index;
        if (nexus__json_is(doc, v, NEXUS__JSON_OBJECT))
            v = token_member(doc, v, token);
        else if (nexus__parse_u64(token, &index) && index < UINT32_MAX && (token.n == 1 || token.p[0] != '0'))
            v = nexus__json_element(doc, v, (uint32_t)index);
        else
            v = NEXUS__JSON_NONE;
    }
    return v;
}

bool nexus__json_bool(const nexus__json *doc, uint32_t v, bool *out)
{
    nexus__json_type type = nexus__json_type_of(doc, v);
    if (type != NEXUS__JSON_TRUE && type != NEXUS__JSON_FALSE)
        return false;
    *out = type == NEXUS__JSON_TRUE;
    return true;
}

bool nexus__json_i64(const nexus__json *doc, uint32_t v, int64_t *out)
{
    nexus__json_type type = nexus__json_type_of(doc, v);
    if (type == NEXUS__JSON_INT)
        return nexus__parse_i64(nexus__json_raw(doc, v), out);
    double real;
    if (type != NEXUS__JSON_REAL || !nexus__json_double(doc, v, &real) || real != trunc(real))
        return false;
    if (real < -9007199254740992.0 || real > 9007199254740992.0)
        return false; /* beyond 2^53 a double no longer says which integer was meant */
    *out = (int64_t)real;
    return true;
}

bool nexus__json_u64(const nexus__json *doc, uint32_t v, uint64_t *out)
{
    if (nexus__json_is(doc, v, NEXUS__JSON_INT) && nexus__parse_u64(nexus__json_raw(doc, v), out))
        return true;
    int64_t whole;
    if (!nexus__json_i64(doc, v, &whole) || whole < 0)
        return false;
    *out = (uint64_t)whole;
    return true;
}

bool nexus__json_double(const nexus__json *doc, uint32_t v, double *out)
{
    nexus__json_type type = nexus__json_type_of(doc, v);
    if (type != NEXUS__JSON_INT && type != NEXUS__JSON_REAL)
        return false;
    nexus_slice raw = nexus__json_raw(doc, v);
    int64_t whole;
    if (type == NEXUS__JSON_INT && raw.n < 16 && nexus__parse_i64(raw, &whole) && whole != 0) {
        *out = (double)whole; /* exact below 2^53; zero is left out for the sake of -0 */
        return true;
    }
    return nexus__parse_double(raw, out);
}

void nexus__json_token_append(nexus__buf *out, nexus_slice name)
{
    nexus__buf_char(out, '/');
    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] == '~' || name.p[i] == '/')
            nexus__buf_text(out, name.p[i] == '~' ? "~0" : "~1");
        else
            nexus__buf_char(out, name.p[i]);
    }
}

static void token_of(const nexus__json *doc, const nexus__json_iter *it, nexus__buf *out)
{
    if (it->key == NEXUS__JSON_NONE) {
        nexus__buf_char(out, '/');
        nexus__buf_u64(out, it->index);
        return;
    }
    nexus__buf name;
    nexus__buf_init(&name, out->alloc, 0);
    nexus__json_text_append(doc, it->key, &name);
    nexus__json_token_append(out, nexus__buf_slice(&name));
    if (name.status != NEXUS_OK && out->status == NEXUS_OK)
        out->status = name.status;
    nexus__buf_free(&name);
}

void nexus__json_pointer_append(const nexus__json *doc, uint32_t v, nexus__buf *out)
{
    uint32_t at = 0;
    while (at != v) {
        nexus__json_iter it = nexus__json_each(doc, at);
        do {
            if (!nexus__json_step(doc, &it))
                return;
        } while (it.at <= v); /* the child that holds v */
        token_of(doc, &it, out);
        at = it.value;
        if (it.key == v)
            return; /* a member's name is placed where its value is */
    }
}

static uint32_t hex4(const char *p)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++)
        value = value << 4 | (uint32_t)nexus__hex_digit(p[i]);
    return value;
}

/* The code point of the escape at p ("\uXXXX"); *n is how many bytes of text it takes. */
static uint32_t unescape_unicode(const char *p, size_t left, size_t *n)
{
    uint32_t unit = hex4(p + 2);
    *n = 6;
    if ((unit & 0xf800) != 0xd800)
        return unit;
    if (unit < 0xdc00 && left >= 12 && p[6] == '\\' && p[7] == 'u') {
        uint32_t low = hex4(p + 8);
        if (low >= 0xdc00 && low <= 0xdfff) {
            *n = 12;
            return 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
        }
    }
    return 0xfffd;
}

static char unescape_letter(char c)
{
    switch (c) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return c;
    }
}

size_t nexus__json_unescape_step(nexus_slice raw, size_t *at, char out[static 4])
{
    const char *p = raw.p + *at;
    if (*p != '\\') {
        out[0] = *p;
        *at += 1;
        return 1;
    }
    if (p[1] != 'u') {
        out[0] = unescape_letter(p[1]);
        *at += 2;
        return 1;
    }
    size_t used;
    uint32_t c = unescape_unicode(p, raw.n - *at, &used);
    *at += used;
    return nexus__utf8_encode(c, out);
}

size_t nexus__json_unescape(nexus_slice raw, char *out)
{
    size_t n = 0;
    for (size_t at = 0; at < raw.n;) {
        char unit[4];
        size_t bytes = nexus__json_unescape_step(raw, &at, unit);
        memcpy(out + n, unit, bytes);
        n += bytes;
    }
    return n;
}

bool nexus__json_text(nexus__json *doc, uint32_t v, nexus_slice *out)
{
    if (!nexus__json_is(doc, v, NEXUS__JSON_STRING))
        return false;
    nexus_slice raw = content(doc, v);
    if (doc->nodes[v].info & NEXUS__JSON_ESCAPED) {
        char *copy = nexus__arena_get(&doc->decoded, raw.n);
        if (!copy) {
            nexus__nomem();
            return false;
        }
        raw = nexus__slice(copy, nexus__json_unescape(raw, copy));
    }
    *out = raw;
    return true;
}

bool nexus__json_text_is(const nexus__json *doc, uint32_t v, nexus_slice text)
{
    if (!nexus__json_is(doc, v, NEXUS__JSON_STRING))
        return false;
    nexus_slice raw = content(doc, v);
    if (!(doc->nodes[v].info & NEXUS__JSON_ESCAPED))
        return raw.n == text.n && memcmp(raw.p, text.p ? text.p : "", raw.n) == 0;
    size_t n = 0;
    for (size_t at = 0; at < raw.n;) {
        char unit[4];
        size_t bytes = nexus__json_unescape_step(raw, &at, unit);
        if (text.n - n < bytes || memcmp(text.p + n, unit, bytes) != 0)
            return false;
        n += bytes;
    }
    return n == text.n;
}

bool nexus__json_text_append(const nexus__json *doc, uint32_t v, nexus__buf *out)
{
    if (!nexus__json_is(doc, v, NEXUS__JSON_STRING))
        return false;
    nexus_slice raw = content(doc, v);
    if (!(doc->nodes[v].info & NEXUS__JSON_ESCAPED)) {
        nexus__buf_slice_append(out, raw);
        return true;
    }
    char *at = nexus__buf_reserve(out, raw.n);
    if (at)
        out->len += nexus__json_unescape(raw, at);
    return true;
}
