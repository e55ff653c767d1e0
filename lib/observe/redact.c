#include "observe/redact.h"

/* Without '-' and '_', lower case. A name that ends in one of the tails after a separator counts too. */
static const char *const names[] = {"authorization", "proxyauthorization", "cookie", "setcookie", "apikey",   "xapikey",
                                    "writekey",      "xwritekey",          "token",  "secret",    "password", "passwd",
                                    "code",          "privatekey",         "csrf",   "otp"};
static const char *const tails[] = {"token", "secret", "password", "apikey"};

enum { NAME_MAX_BYTES = 64, TOKEN_MIN = 8 };

static size_t plain_name(nexus_slice name, char out[static NAME_MAX_BYTES])
{
    size_t n = 0;
    for (size_t i = 0; i < name.n && n < NAME_MAX_BYTES; i++)
        if (name.p[i] != '-' && name.p[i] != '_')
            out[n++] = nexus__ascii_lower(name.p[i]);
    return n;
}

bool nexus__redact_name(nexus_slice name)
{
    char plain[NAME_MAX_BYTES];
    nexus_slice p = {plain, plain_name(name, plain)};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (nexus__slice_eq_c(p, names[i]))
            return true;
    for (size_t i = 0; i < sizeof tails / sizeof tails[0]; i++)
        if (nexus__slice_ends(p, nexus__slice_c(tails[i])))
            return true;
    return false;
}

static bool is_alnum(char c)
{
    char l = nexus__ascii_lower(c);
    return (l >= 'a' && l <= 'z') || (c >= '0' && c <= '9');
}

static bool is_name(char c)
{
    return is_alnum(c) || c == '_' || c == '-';
}

static bool is_token(char c) /* token68 of RFC 9110 */
{
    return is_name(c) || c == '.' || c == '~' || c == '+' || c == '/' || c == '=';
}

static size_t run(nexus_slice text, size_t from, bool (*accepts)(char))
{
    size_t i = from;
    while (i < text.n && accepts(text.p[i]))
        i++;
    return i;
}

static bool begins(nexus_slice text, size_t at, const char *word)
{
    size_t n = strlen(word);
    return text.n - at >= n && nexus__slice_ieq(nexus__slice(text.p + at, n), nexus__slice(word, n));
}

/* The run of name characters that ends before `end`. */
static nexus_slice name_before(nexus_slice text, size_t end)
{
    size_t start = end;
    while (start > 0 && is_name(text.p[start - 1]))
        start--;
    return nexus__slice(text.p + start, end - start);
}

static bool ends_value(char c)
{
    return c == '&' || c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '"' || c == '\'' || c == ';' ||
           c == ',' || c == ')';
}

/* Each finder looks at position `at` and, when a credential begins near it, gives its bytes [*from, *to). */

static bool find_scheme(nexus_slice text, size_t at, size_t *from, size_t *to)
{
    const char *word = begins(text, at, "bearer ") ? "bearer " : begins(text, at, "basic ") ? "basic " : NULL;
    if (!word || (at > 0 && is_alnum(text.p[at - 1])))
        return false;
    *from = at + strlen(word);
    *to = run(text, *from, is_token);
    return *to - *from >= TOKEN_MIN;
}

static bool find_token(nexus_slice text, size_t at, size_t *from, size_t *to)
{
    if (at > 0 && is_name(text.p[at - 1]))
        return false;
    *from = at;
    *to = run(text, at, is_token);
    if (nexus__slice_starts(nexus__slice_from(text, at), NEXUS_S("whsec_")))
        return true;
    if (!nexus__slice_starts(nexus__slice_from(text, at), NEXUS_S("eyJ")))
        return false;
    size_t dots = 0;
    for (size_t i = at; i < *to; i++)
        dots += text.p[i] == '.';
    return dots >= 2 && *to - at >= 20;
}

static bool find_pair(nexus_slice text, size_t at, size_t *from, size_t *to)
{
    if (!nexus__redact_name(name_before(text, at)))
        return false;
    *from = *to = at + 1;
    while (*to < text.n && !ends_value(text.p[*to]))
        ++*to;
    return *to > *from;
}

static bool find_password(nexus_slice text, size_t at, size_t *from, size_t *to) /* at is the ':' of "://" */
{
    size_t colon = 0;
    for (size_t i = at + 3; i < text.n && text.p[i] != '/' && text.p[i] != ' ' && text.p[i] != '"'; i++) {
        if (text.p[i] == ':' && !colon)
            colon = i;
        if (text.p[i] == '@' && colon) {
            *from = colon + 1;
            *to = i;
            return *to > *from;
        }
    }
    return false;
}

static bool find_member(nexus_slice text, size_t at, size_t *from, size_t *to) /* at is the ':' after a quote */
{
    if (at < 2 || text.p[at - 1] != '"' || !nexus__redact_name(name_before(text, at - 1)))
        return false;
    size_t i = at + 1;
    while (i < text.n && text.p[i] == ' ')
        i++;
    if (i >= text.n || text.p[i] != '"')
        return false;
    *from = *to = i + 1;
    while (*to < text.n && text.p[*to] != '"')
        *to += text.p[*to] == '\\' && *to + 1 < text.n ? 2 : 1;
    return *to > *from;
}

static bool find(nexus_slice text, size_t at, size_t *from, size_t *to)
{
    switch (text.p[at]) {
    case 'B':
    case 'b':
        return find_scheme(text, at, from, to);
    case 'e':
    case 'w':
        return find_token(text, at, from, to);
    case '=':
        return find_pair(text, at, from, to);
    case ':':
        return begins(text, at, "://") ? find_password(text, at, from, to) : find_member(text, at, from, to);
    default:
        return false;
    }
}

void nexus__redact_append(nexus__buf *out, nexus_slice text)
{
    size_t done = 0, from = 0, to = 0;
    for (size_t at = 0; at < text.n; at++) {
        if (!find(text, at, &from, &to) || from < done)
            continue;
        nexus__buf_append(out, text.p + done, from - done);
        nexus__buf_text(out, NEXUS__REDACTED);
        done = to;
        at = to - 1;
    }
    nexus__buf_append(out, text.p + done, text.n - done);
}
