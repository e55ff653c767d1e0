/* The pattern's grammar, by recursive descent; nesting is bounded, so the stack is too. */
#include "base/codec.h"
#include "base/status.h"
#include "base/utf8.h"
#include "regex/program.h"

typedef struct parser {
    nexus__arena *arena;
    nexus_slice text;
    size_t at;
    uint32_t depth;
    nexus__regex_groups *groups;
    nexus_status status;
} parser;

static nexus__regex_node *either(parser *p);

static nexus__regex_node *fail(parser *p, nexus_status status, const char *what)
{
    if (p->status == NEXUS_OK)
        p->status = nexus__fail(status, "regular expression, offset %zu: %s", p->at, what);
    return NULL;
}

static nexus__regex_node *node(parser *p, nexus__regex_kind kind, nexus__regex_node *left, nexus__regex_node *right)
{
    nexus__regex_node *n = nexus__arena_get(p->arena, sizeof *n);
    if (!n)
        return fail(p, NEXUS_ENOMEM, "out of memory");
    *n = (nexus__regex_node){.kind = kind, .left = left, .right = right};
    return n;
}

static nexus__regex_node *class_node(parser *p, nexus__regex_set *set, bool complement)
{
    nexus__regex_node *n = node(p, NEXUS__REGEX_CLASS, NULL, NULL);
    if (n && !(n->set = nexus__regex_set_finish(set, complement)))
        return fail(p, NEXUS_ENOMEM, "out of memory");
    return n;
}

static bool more(const parser *p)
{
    return p->at < p->text.n;
}

static char peek(const parser *p)
{
    return more(p) ? p->text.p[p->at] : '\0';
}

static bool accept(parser *p, const char *text)
{
    if (!nexus__slice_starts(nexus__slice_from(p->text, p->at), nexus__slice_c(text)))
        return false;
    p->at += strlen(text);
    return true;
}

/* Reads exactly n hexadecimal digits. */
static bool hex(parser *p, size_t n, uint32_t *out)
{
    if (p->text.n - p->at < n)
        return false;
    *out = 0;
    for (size_t i = 0; i < n; i++) {
        int digit = nexus__hex_digit(p->text.p[p->at + i]);
        if (digit < 0)
            return false;
        *out = *out << 4 | (uint32_t)digit;
    }
    p->at += n;
    return true;
}

/* Behind "\u{": digits up to '}'. */
static bool braced(parser *p, uint32_t *out)
{
    *out = 0;
    size_t start = p->at;
    while (more(p) && peek(p) != '}') {
        int digit = nexus__hex_digit(peek(p));
        if (digit < 0 || (*out = *out << 4 | (uint32_t)digit) > NEXUS__REGEX_LAST)
            return false;
        p->at++;
    }
    return p->at > start && accept(p, "}");
}

static bool unicode(parser *p, uint32_t *out)
{
    if (accept(p, "{"))
        return braced(p, out);
    if (!hex(p, 4, out))
        return false;
    uint32_t low;
    size_t mark = p->at;
    if ((*out & 0xfc00) == 0xd800 && accept(p, "\\u")) {
        if (hex(p, 4, &low) && (low & 0xfc00) == 0xdc00)
            *out = 0x10000 + ((*out - 0xd800) << 10) + (low - 0xdc00);
        else
            p->at = mark;
    }
    return true;
}

/* The character an escape means; p is behind the backslash. False: the escape is something else. */
static bool escaped_character(parser *p, uint32_t *out)
{
    static const char letters[] = "tnvfr", values[] = "\t\n\v\f\r";
    char c = peek(p);
    const char *hit = c ? strchr(letters, c) : NULL;
    p->at++;
    if (hit) {
        *out = (uint8_t)values[hit - letters];
        return true;
    }
    if (c == '0' && !(peek(p) >= '0' && peek(p) <= '9')) {
        *out = 0;
        return true;
    }
    if (c == 'x' && hex(p, 2, out))
        return true;
    if (c == 'u' && unicode(p, out))
        return true;
    char letter = peek(p);
    if (c == 'c' && ((letter >= 'A' && letter <= 'Z') || (letter >= 'a' && letter <= 'z'))) {
        p->at++;
        *out = (uint32_t)letter & 31;
        return true;
    }
    /* ASCII punctuation stands for itself: wider than ECMA-262's list, which lacks '-' and '_' outside classes */
    if (c > 0x20 && c < 0x7f && !(c >= '0' && c <= '9') && !((c | 0x20) >= 'a' && (c | 0x20) <= 'z')) {
        *out = (uint8_t)c;
        return true;
    }
    p->at--;
    return false;
}

/* \d \w \s \p{…} and their complements, added to the set; p is at the letter. */
static bool escaped_set(parser *p, nexus__regex_set *set)
{
    char c = peek(p);
    if (c && strchr("dDwWsS", c)) {
        p->at++;
        nexus__regex_set_shorthand(set, c);
        return true;
    }
    if (c != 'p' && c != 'P')
        return false;
    p->at++;
    nexus_slice rest = nexus__slice_from(p->text, p->at);
    size_t close = nexus__slice_find(rest, '}');
    if (!rest.n || rest.p[0] != '{' || close == rest.n) {
        fail(p, NEXUS_EINVAL, "\\p needs a property in braces, as in \\p{Letter}");
        return false;
    }
    if (!nexus__regex_set_property(set, nexus__slice(rest.p + 1, close - 1), c == 'P')) {
        fail(p, NEXUS_ENOTSUP, "this \\p property is not supported: general categories only, as in \\p{Letter}");
        return false;
    }
    p->at += close + 1;
    return true;
}

/* One member of a class: a character (true), or a set that is added at once (*is_set). */
static bool class_member(parser *p, nexus__regex_set *set, uint32_t *out, bool *is_set)
{
    *is_set = false;
    if (peek(p) != '\\') {
        *out = nexus__utf8_next(p->text, &p->at);
        return true;
    }
    p->at++;
    if (accept(p, "b")) {
        *out = '\b';
        return true;
    }
    if (more(p) && escaped_set(p, set)) {
        *is_set = true;
        return true;
    }
    if (p->status == NEXUS_OK && more(p) && escaped_character(p, out))
        return true;
    fail(p, NEXUS_EINVAL, "unknown escape in a class");
    return false;
}

static nexus__regex_node *class(parser *p) /* behind '[' */
{
    nexus__regex_set set = {.arena = p->arena};
    bool complement = accept(p, "^");
    while (more(p) && peek(p) != ']') {
        uint32_t low, high;
        bool low_set, high_set;
        if (!class_member(p, &set, &low, &low_set))
            return NULL;
        bool range = peek(p) == '-' && p->at + 1 < p->text.n && p->text.p[p->at + 1] != ']';
        if (!range) {
            if (!low_set)
                nexus__regex_set_add(&set, low, low);
            continue;
        }
        p->at++;
        if (!class_member(p, &set, &high, &high_set))
            return NULL;
        if (low_set || high_set)
            return fail(p, NEXUS_EINVAL, "a range in a class needs a character at both ends");
        if (high < low)
            return fail(p, NEXUS_EINVAL, "a range in a class runs backwards");
        nexus__regex_set_add(&set, low, high);
    }
    if (!accept(p, "]"))
        return fail(p, NEXUS_EINVAL, "a class is not closed: ']' is missing");
    return class_node(p, &set, complement);
}

static nexus__regex_node *escape(parser *p) /* behind '\' */
{
    if (!more(p))
        return fail(p, NEXUS_EINVAL, "a backslash at the end: write \\\\");
    if (accept(p, "b"))
        return node(p, NEXUS__REGEX_WORD, NULL, NULL);
    if (accept(p, "B"))
        return node(p, NEXUS__REGEX_NOT_WORD, NULL, NULL);
    if ((peek(p) >= '1' && peek(p) <= '9') || peek(p) == 'k')
        return fail(p, NEXUS_ENOTSUP, "back-references are not supported: they cannot be matched in linear time");
    nexus__regex_set set = {.arena = p->arena};
    if (escaped_set(p, &set))
        return class_node(p, &set, false);
    uint32_t c;
    if (p->status != NEXUS_OK)
        return NULL;
    if (!escaped_character(p, &c))
        return fail(p, NEXUS_EINVAL, "unknown escape");
    nexus__regex_node *n = node(p, NEXUS__REGEX_CHAR, NULL, NULL);
    if (n)
        n->c = c;
    return n;
}

static bool group_name(parser *p, nexus_slice *name) /* behind "(?<" */
{
    size_t start = p->at;
    while (more(p) && (peek(p) == '_' || peek(p) == '$' || (peek(p) >= '0' && peek(p) <= '9') ||
                       ((peek(p) | 0x20) >= 'a' && (peek(p) | 0x20) <= 'z')))
        p->at++;
    *name = nexus__slice(p->text.p + start, p->at - start);
    return p->at > start && accept(p, ">");
}

/* Numbers the group; UINT32_MAX: failed. */
static uint32_t number_group(parser *p, nexus_slice name)
{
    nexus__regex_groups *g = p->groups;
    if (g->count == NEXUS__REGEX_GROUPS_MAX) {
        fail(p, NEXUS_ETOOBIG, "too many groups: write (?:…) where nobody asks what a group took");
        return UINT32_MAX;
    }
    for (uint32_t i = 0; i < g->count && name.n; i++)
        if (nexus__slice_eq(g->names[i], name)) {
            fail(p, NEXUS_EINVAL, "two groups have the same name");
            return UINT32_MAX;
        }
    static const char numbers[] = "12345678910111213141516";
    uint32_t n = g->count++;
    nexus_slice number = {numbers + (n < 9 ? n : 9 + 2 * (n - 9)), n < 9 ? 1 : 2};
    g->names[n] = nexus__arena_copy(p->arena, name.n ? name : number);
    if (!g->names[n].p)
        fail(p, NEXUS_ENOMEM, "out of memory");
    return n;
}

static nexus__regex_node *group(parser *p) /* behind '(' */
{
    static const char *const around[] = {"?=", "?!", "?<=", "?<!"};
    for (size_t i = 0; i < 4; i++)
        if (accept(p, around[i]))
            return fail(p, NEXUS_ENOTSUP, "look-around is not supported: it cannot be matched in linear time");
    nexus_slice name = {0};
    bool named = accept(p, "?<"), silent = !named && accept(p, "?:");
    if (named ? !group_name(p, &name) : (!silent && peek(p) == '?'))
        return fail(p, NEXUS_EINVAL, "unknown kind of group");
    if (p->depth == NEXUS__REGEX_NESTING_MAX)
        return fail(p, NEXUS_ETOOBIG, "groups are nested too deep");
    bool wanted = p->groups && !silent;
    uint32_t number = wanted ? number_group(p, name) : 0;
    if (number == UINT32_MAX)
        return NULL;
    p->depth++;
    nexus__regex_node *inner = either(p);
    p->depth--;
    if (inner && !accept(p, ")"))
        return fail(p, NEXUS_EINVAL, "a group is not closed: ')' is missing");
    nexus__regex_node *n = inner && wanted ? node(p, NEXUS__REGEX_GROUP, inner, NULL) : inner;
    if (n && wanted)
        n->c = number;
    return n;
}

static nexus__regex_node *dot(parser *p)
{
    nexus__regex_set set = {.arena = p->arena};
    nexus__regex_set_add(&set, '\n', '\n');
    nexus__regex_set_add(&set, '\r', '\r');
    nexus__regex_set_add(&set, 0x2028, 0x2029);
    return class_node(p, &set, true);
}

static nexus__regex_node *atom(parser *p)
{
    char c = peek(p);
    if (c && strchr("*+?{", c))
        return fail(p, NEXUS_EINVAL, "nothing to repeat: put a backslash before a literal *, +, ? or {");
    if (c == ']' || c == '}')
        return fail(p, NEXUS_EINVAL, "a closing bracket without its opening one: put a backslash before it");
    if (c && strchr("[(\\.^$", c)) {
        p->at++;
        switch (c) {
        case '[':
            return class(p);
        case '(':
            return group(p);
        case '\\':
            return escape(p);
        case '.':
            return dot(p);
        case '^':
            return node(p, NEXUS__REGEX_START, NULL, NULL);
        default:
            return node(p, NEXUS__REGEX_END, NULL, NULL);
        }
    }
    nexus__regex_node *n = node(p, NEXUS__REGEX_CHAR, NULL, NULL);
    if (n)
        n->c = nexus__utf8_next(p->text, &p->at);
    return n;
}

static bool count(parser *p, uint32_t *out)
{
    size_t start = p->at;
    *out = 0;
    for (; peek(p) >= '0' && peek(p) <= '9'; p->at++)
        if ((*out = *out * 10 + (uint32_t)(peek(p) - '0')) > NEXUS__REGEX_REPEAT_MAX) {
            fail(p, NEXUS_ETOOBIG, "a repetition of more than 1000");
            return false;
        }
    return p->at > start;
}

static bool bounds(parser *p, uint32_t *min, uint32_t *max) /* behind '{' */
{
    if (!count(p, min))
        return false;
    *max = *min;
    if (accept(p, ",")) {
        *max = UINT32_MAX;
        if (peek(p) != '}' && !count(p, max))
            return false;
    }
    return accept(p, "}") && *min <= *max;
}

static bool quantifier(parser *p, uint32_t *min, uint32_t *max)
{
    *min = 0;
    *max = UINT32_MAX;
    if (accept(p, "*"))
        return true;
    if (accept(p, "+")) {
        *min = 1;
        return true;
    }
    if (accept(p, "?")) {
        *max = 1;
        return true;
    }
    if (!accept(p, "{"))
        return false;
    if (!bounds(p, min, max))
        fail(p, NEXUS_EINVAL, "a repetition is written {n}, {n,} or {n,m} with n <= m");
    return true;
}

static nexus__regex_node *repeated(parser *p)
{
    nexus__regex_node *inner = atom(p);
    uint32_t min, max;
    if (!inner || !quantifier(p, &min, &max) || p->status != NEXUS_OK)
        return p->status == NEXUS_OK ? inner : NULL;
    bool lazy = accept(p, "?"); /* the same to a match that is yes or no */
    if (inner->kind >= NEXUS__REGEX_START && inner->kind <= NEXUS__REGEX_NOT_WORD)
        return fail(p, NEXUS_EINVAL, "an anchor cannot be repeated");
    nexus__regex_node *n = node(p, NEXUS__REGEX_REPEAT, inner, NULL);
    if (n) {
        n->min = min;
        n->max = max;
        n->lazy = lazy;
    }
    return n;
}

static nexus__regex_node *sequence(parser *p)
{
    nexus__regex_node *left = NULL;
    while (more(p) && peek(p) != '|' && peek(p) != ')') {
        nexus__regex_node *right = repeated(p);
        if (!right)
            return NULL;
        left = left ? node(p, NEXUS__REGEX_CONCAT, left, right) : right;
        if (!left)
            return NULL;
    }
    return left ? left : node(p, NEXUS__REGEX_EMPTY, NULL, NULL);
}

static nexus__regex_node *either(parser *p)
{
    nexus__regex_node *left = sequence(p);
    while (left && accept(p, "|")) {
        nexus__regex_node *right = sequence(p);
        left = right ? node(p, NEXUS__REGEX_EITHER, left, right) : NULL;
    }
    return left;
}

nexus_status nexus__regex_parse(nexus__arena *arena, nexus_slice pattern, nexus__regex_groups *groups,
                                nexus__regex_node **out)
{
    parser p = {.arena = arena, .text = pattern, .groups = groups};
    if (pattern.n > NEXUS__REGEX_PATTERN_MAX)
        return nexus__fail(NEXUS_ETOOBIG, "a regular expression has at most %d bytes", NEXUS__REGEX_PATTERN_MAX);
    if (nexus__utf8_valid_prefix(pattern) != pattern.n)
        return nexus__fail(NEXUS_EINVAL, "the regular expression is not UTF-8");
    nexus__regex_node *tree = either(&p);
    if (tree && more(&p))
        fail(&p, NEXUS_EINVAL, "')' without its '('");
    if (p.status == NEXUS_OK)
        *out = tree;
    return p.status;
}
