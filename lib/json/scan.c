/*
 * States: a value is expected, or a value has just ended inside a container, or a member name is expected.
 * While a container is open its node's `next` holds the enclosing container, so that nesting needs no stack;
 * on closing it gets its final meaning.
 */
#include "json/scan.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/codec.h"
#include "base/status.h"
#include "base/utf8.h"
#include "json/read.h"

enum { DEPTH_DEFAULT = 128, PAIRWISE_MEMBERS = 16 };

typedef struct scanner {
    const uint8_t *p, *end, *base;
    nexus__json *doc;
    bool strict;
    uint32_t depth, max_depth, max_nodes, max_members;
    uint32_t open; /* innermost open container, or NEXUS__JSON_NONE */
    nexus_status status;
} scanner;

void nexus__json_init(nexus__json *doc, const nexus_alloc *alloc)
{
    *doc = (nexus__json){.alloc = alloc};
    nexus__arena_init(&doc->decoded, alloc, 0);
}

void nexus__json_free(nexus__json *doc)
{
    nexus__free(doc->alloc, doc->nodes);
    nexus__free(doc->alloc, doc->seen);
    nexus__arena_free(&doc->decoded);
    nexus__json_init(doc, doc->alloc);
}

void nexus__json_position(nexus_slice text, size_t at, uint32_t *line, uint32_t *column)
{
    *line = *column = 1;
    for (size_t i = 0; i < at && i < text.n; i++) {
        if (text.p[i] == '\n') {
            *line += 1;
            *column = 1;
        } else if (((uint8_t)text.p[i] & 0xc0) != 0x80) {
            *column += 1;
        }
    }
}

/* Always false, so that a check reads `return fail(…)`. */
static bool fail(scanner *s, const uint8_t *at, nexus_status status, const char *what)
{
    uint32_t line, column;
    s->status = status;
    s->doc->error_at = (size_t)(at - s->base);
    nexus__json_position(s->doc->text, s->doc->error_at, &line, &column);
    nexus__fail(status, "line %u, column %u: %s", line, column, what);
    return false;
}

static bool bad(scanner *s, const uint8_t *at, const char *what)
{
    return fail(s, at, NEXUS_EINVAL,
                at >= s->end ? "the text ends here; a value, a quote or a bracket is missing" : what);
}

static inline void skip_space(scanner *s)
{
    while (s->p < s->end && *s->p <= 0x20 && (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t'))
        s->p++;
}

static bool grow(scanner *s)
{
    nexus__json *doc = s->doc;
    uint32_t cap = doc->cap ? doc->cap * 2 : 64;
    nexus__json_node *nodes = nexus__realloc(doc->alloc, doc->nodes, (size_t)cap * sizeof *nodes);
    if (!nodes)
        return fail(s, s->p, NEXUS_ENOMEM, "out of memory");
    doc->nodes = nodes;
    doc->cap = cap;
    return true;
}

static inline bool push(scanner *s, const uint8_t *start, const uint8_t *end, uint32_t info)
{
    nexus__json *doc = s->doc;
    if (doc->count == doc->cap && !grow(s))
        return false;
    if (doc->count == s->max_nodes)
        return fail(s, start, NEXUS_ETOOBIG, "more values than the limit allows");
    nexus__json_node *node = &doc->nodes[doc->count++];
    node->start = (uint32_t)(start - s->base);
    node->end = (uint32_t)(end - s->base);
    node->next = doc->count;
    node->info = info;
    return true;
}

/* The first byte from p on that is a quote, a backslash, a control or not ASCII; end when there is none. */
static inline const uint8_t *plain_run(const uint8_t *p, const uint8_t *end)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\'), space = _mm_set1_epi8(0x20);
    while (end - p >= 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        /* signed comparison: bytes from 0x80 on are negative, and so below 0x20 as well */
        __m128i stop =
            _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash)), _mm_cmplt_epi8(v, space));
        unsigned mask = (unsigned)_mm_movemask_epi8(stop);
        if (mask)
            return p + __builtin_ctz(mask);
        p += 16;
    }
#endif
    while (p < end && *p != '"' && *p != '\\' && *p >= 0x20 && *p < 0x80)
        p++;
    return p;
}

static int32_t hex4(const uint8_t *p, const uint8_t *end)
{
    if (end - p < 4)
        return -1;
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        int digit = nexus__hex_digit((char)p[i]);
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

/* p is behind "\u". Returns what follows the escape (a pair of surrogates is one), or NULL. */
static const uint8_t *unicode_escape(scanner *s, const uint8_t *p)
{
    int32_t unit = hex4(p, s->end);
    if (unit < 0) {
        bad(s, p, "\\u needs four hexadecimal digits");
        return NULL;
    }
    p += 4;
    if (!s->strict)
        return p;
    if (unit == 0) {
        bad(s, p - 6, "\\u0000 is not accepted: remove the NUL");
        return NULL;
    }
    if ((unit & 0xf800) != 0xd800)
        return p;
    int32_t low = unit < 0xdc00 && s->end - p >= 6 && p[0] == '\\' && p[1] == 'u' ? hex4(p + 2, s->end) : -1;
    if (low < 0xdc00 || low > 0xdfff) {
        bad(s, p - 6, "a surrogate stands alone: write the pair, or the character itself");
        return NULL;
    }
    return p + 6;
}

static const uint8_t *escape(scanner *s, const uint8_t *p)
{
    if (s->end - p < 2) {
        bad(s, s->end, "");
        return NULL;
    }
    switch (p[1]) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return p + 2;
    case 'u':
        return unicode_escape(s, p + 2);
    default:
        bad(s, p, "unknown escape: a backslash in a string is written \\\\");
        return NULL;
    }
}

/* s->p is at the opening quote; on success behind the closing one, and a node is pushed. */
static bool string(scanner *s)
{
    const uint8_t *start = s->p, *p = s->p + 1;
    uint32_t info = NEXUS__JSON_STRING;
    for (;;) {
        p = plain_run(p, s->end);
        if (p == s->end)
            return bad(s, p, "");
        if (*p == '"')
            break;
        if (*p == '\\') {
            info |= NEXUS__JSON_ESCAPED;
            p = escape(s, p);
            if (!p)
                return false;
        } else if (*p < 0x20) {
            return bad(s, p, "a control character in a string: write it as \\n, \\t or \\u00XX");
        }
        while (p < s->end && *p >= 0x80) {
            size_t n = nexus__utf8_sequence(p, (size_t)(s->end - p));
            if (!n)
                return bad(s, p, "not UTF-8");
            p += n;
        }
    }
    s->p = p + 1;
    return push(s, start, s->p, info);
}

static inline const uint8_t *digits(const uint8_t *p, const uint8_t *end)
{
    while (p < end && (uint8_t)(*p - '0') < 10)
        p++;
    return p;
}

static bool number(scanner *s)
{
    const uint8_t *start = s->p, *p = s->p + (*s->p == '-'), *from = p;
    uint32_t type = NEXUS__JSON_INT;
    p = digits(p, s->end);
    if (p == from)
        return bad(s, p, "a number needs a digit here");
    if (*from == '0' && p - from > 1)
        return bad(s, from, "a number must not begin with 0");
    if (p < s->end && *p == '.') {
        type = NEXUS__JSON_REAL;
        from = ++p;
        p = digits(p, s->end);
        if (p == from)
            return bad(s, p, "a decimal point needs a digit after it");
    }
    if (p < s->end && (*p | 0x20) == 'e') {
        type = NEXUS__JSON_REAL;
        p++;
        if (p < s->end && (*p == '+' || *p == '-'))
            p++;
        from = p;
        p = digits(p, s->end);
        if (p == from)
            return bad(s, p, "an exponent needs a digit");
    }
    s->p = p;
    return push(s, start, p, type);
}

static bool word(scanner *s, const char *text, size_t n, uint32_t type)
{
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, text, n) != 0)
        return bad(s, s->p, "expected a value: \"text\", a number, true, false, null, [ or {");
    s->p += n;
    return push(s, s->p - n, s->p, type);
}

/* Names compare by what they mean: "a" and "\u0061" are the same. */
static nexus_slice name_of(scanner *s, uint32_t key)
{
    nexus__json_node *node = &s->doc->nodes[key];
    nexus_slice raw = nexus__slice(s->base + node->start + 1, node->end - node->start - 2);
    if (!(node->info & NEXUS__JSON_ESCAPED))
        return raw;
    char *copy = nexus__arena_get(&s->doc->decoded, raw.n);
    return copy ? nexus__slice(copy, nexus__json_unescape(raw, copy)) : (nexus_slice){NULL, raw.n};
}

static bool duplicate(scanner *s, uint32_t key)
{
    return bad(s, s->base + s->doc->nodes[key].start, "this member name stands twice in its object: remove one");
}

static inline bool same_name(nexus_slice a, nexus_slice b)
{
    return a.n == b.n && memcmp(a.p, b.p, a.n) == 0;
}

/* Few members: a name is compared with the earlier ones only when its length and first byte were seen before.
 */
static bool unique_few(scanner *s, uint32_t object, uint32_t members)
{
    nexus_slice names[PAIRWISE_MEMBERS];
    uint64_t seen = 0;
    uint32_t key = object + 1;
    for (uint32_t i = 0; i < members; i++) {
        nexus_slice name = names[i] = name_of(s, key);
        if (!name.p)
            return fail(s, s->p, NEXUS_ENOMEM, "out of memory");
        uint64_t bit = name.n ? 1ull << ((name.n * 7 + (uint8_t)name.p[0] + (uint8_t)name.p[name.n - 1] * 3u) & 63) : 1;
        if (seen & bit)
            for (uint32_t j = 0; j < i; j++)
                if (same_name(names[j], name))
                    return duplicate(s, key);
        seen |= bit;
        key = s->doc->nodes[key + 1].next;
    }
    return true;
}

static bool table_for(scanner *s, uint32_t slots)
{
    nexus__json *doc = s->doc;
    if (doc->seen_cap < slots) {
        uint32_t *seen = nexus__realloc(doc->alloc, doc->seen, (size_t)slots * sizeof *seen);
        if (!seen)
            return fail(s, s->p, NEXUS_ENOMEM, "out of memory");
        if (!doc->seen_cap)
            doc->seen_key = nexus__hash_key_random();
        doc->seen = seen;
        doc->seen_cap = slots;
    }
    memset(doc->seen, 0, (size_t)slots * sizeof *doc->seen);
    return true;
}

static bool unique_many(scanner *s, uint32_t object, uint32_t members)
{
    uint32_t slots = 64;
    while (slots < members * 2)
        slots *= 2;
    if (!table_for(s, slots))
        return false;
    uint32_t key = object + 1;
    for (uint32_t i = 0; i < members; i++) {
        nexus_slice name = name_of(s, key);
        if (!name.p)
            return fail(s, s->p, NEXUS_ENOMEM, "out of memory");
        uint32_t at = (uint32_t)nexus__siphash(s->doc->seen_key, name.p, name.n) & (slots - 1);
        for (; s->doc->seen[at]; at = (at + 1) & (slots - 1))
            if (same_name(name_of(s, s->doc->seen[at]), name))
                return duplicate(s, key);
        s->doc->seen[at] = key;
        key = s->doc->nodes[key + 1].next;
    }
    return true;
}

static bool open_container(scanner *s, uint32_t type)
{
    if (s->depth == s->max_depth)
        return fail(s, s->p, NEXUS_ETOOBIG, "nested deeper than the limit allows");
    if (!push(s, s->p, s->p + 1, type))
        return false;
    s->depth++;
    uint32_t self = s->doc->count - 1;
    s->doc->nodes[self].next = s->open;
    s->open = self;
    s->p++;
    return true;
}

static bool close_container(scanner *s)
{
    uint32_t self = s->open;
    nexus__json_node *node = &s->doc->nodes[self];
    s->p++;
    s->depth--;
    s->open = node->next;
    node->end = (uint32_t)(s->p - s->base);
    node->next = s->doc->count;
    uint32_t members = node->info >> NEXUS__JSON_COUNT_SHIFT;
    if (!s->strict || members < 2 || (node->info & NEXUS__JSON_TYPE_MASK) != NEXUS__JSON_OBJECT)
        return true;
    return members <= PAIRWISE_MEMBERS ? unique_few(s, self, members) : unique_many(s, self, members);
}

static bool member_name(scanner *s)
{
    skip_space(s);
    if (s->p == s->end || *s->p != '"')
        return bad(s, s->p, "expected a member name in double quotes");
    if (s->max_members && nexus__json_count(s->doc, s->open) >= s->max_members)
        return fail(s, s->p, NEXUS_ETOOBIG, "an object with more members than the limit allows");
    if (!string(s))
        return false;
    skip_space(s);
    if (s->p == s->end || *s->p != ':')
        return bad(s, s->p, "expected ':' after the member name");
    s->p++;
    return true;
}

/* A scalar, or the opening of a container with its first member name; *opened says that a value must follow.
 */
static inline bool value(scanner *s, bool *opened)
{
    skip_space(s);
    *opened = false;
    if (s->p == s->end)
        return bad(s, s->p, "");
    switch (*s->p) {
    case '"':
        return string(s);
    case '{':
        if (!open_container(s, NEXUS__JSON_OBJECT))
            return false;
        skip_space(s);
        if (s->p < s->end && *s->p == '}')
            return close_container(s);
        *opened = true;
        return member_name(s);
    case '[':
        if (!open_container(s, NEXUS__JSON_ARRAY))
            return false;
        skip_space(s);
        if (s->p < s->end && *s->p == ']')
            return close_container(s);
        *opened = true;
        return true;
    case 't':
        return word(s, "true", 4, NEXUS__JSON_TRUE);
    case 'f':
        return word(s, "false", 5, NEXUS__JSON_FALSE);
    case 'n':
        return word(s, "null", 4, NEXUS__JSON_NULL);
    default:
        if (*s->p == '-' || (uint8_t)(*s->p - '0') < 10)
            return number(s);
        return bad(s, s->p, "expected a value: \"text\", a number, true, false, null, [ or {");
    }
}

/* After a value: closes what closes here; *more says that another value must follow. */
static inline bool after_value(scanner *s, bool *more)
{
    while (s->open != NEXUS__JSON_NONE) {
        nexus__json_node *node = &s->doc->nodes[s->open];
        bool object = (node->info & NEXUS__JSON_TYPE_MASK) == NEXUS__JSON_OBJECT;
        node->info += 1u << NEXUS__JSON_COUNT_SHIFT;
        skip_space(s);
        if (s->p == s->end)
            return bad(s, s->p, "");
        if (*s->p == ',') {
            s->p++;
            *more = true;
            return object ? member_name(s) : true;
        }
        if (*s->p != (object ? '}' : ']'))
            return bad(s, s->p, object ? "expected ',' or '}'" : "expected ',' or ']'");
        if (!close_container(s))
            return false;
    }
    *more = false;
    return true;
}

static bool document(scanner *s)
{
    for (bool more = true; more;) {
        bool opened;
        if (!value(s, &opened))
            return false;
        if (!opened && !after_value(s, &more))
            return false;
    }
    skip_space(s);
    return s->p == s->end ? true : bad(s, s->p, "text after the end of the value");
}

nexus_status nexus__json_scan(nexus__json *doc, nexus_slice text, const nexus__json_limits *limits)
{
    static const nexus__json_limits strict = {0};
    if (!limits)
        limits = &strict;
    doc->text = text;
    doc->count = 0;
    doc->error_at = 0;
    nexus__arena_reset(&doc->decoded);
    size_t max =
        limits->max_bytes && limits->max_bytes < NEXUS__JSON_TEXT_MAX ? limits->max_bytes : NEXUS__JSON_TEXT_MAX;
    if (text.n > max)
        return nexus__fail(NEXUS_ETOOBIG, "the JSON text has %zu bytes; at most %zu are accepted", text.n, max);
    if (text.n == 0)
        return nexus__fail(NEXUS_EINVAL, "line 1, column 1: the text is empty; a JSON value is expected");
    scanner s = {.p = (const uint8_t *)text.p,
                 .base = (const uint8_t *)text.p,
                 .end = (const uint8_t *)text.p + text.n,
                 .doc = doc,
                 .strict = !limits->lenient,
                 .max_depth = limits->max_depth ? limits->max_depth : DEPTH_DEFAULT,
                 .max_nodes = limits->max_nodes ? limits->max_nodes : UINT32_MAX,
                 .max_members = limits->max_members,
                 .open = NEXUS__JSON_NONE};
    if (document(&s))
        return NEXUS_OK;
    doc->count = 0;
    return s.status;
}
