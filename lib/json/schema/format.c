/* The formats of JSON Schema (validation vocabulary, section 7): each a predicate over the string's content. */
#include "base/codec.h"
#include "base/utf8.h"
#include "json/schema/compiled.h"
#include "json/schema/uri.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alpha(char c)
{
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

static bool is_alnum(char c)
{
    return is_digit(c) || is_alpha(c);
}

/* Exactly n digits at the start of *t, which moves on; -1 when they are not there. */
static int take(nexus_slice *t, size_t n)
{
    int value = 0;
    if (t->n < n)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (!is_digit(t->p[i]))
            return -1;
        value = value * 10 + (t->p[i] - '0');
    }
    *t = nexus__slice_from(*t, n);
    return value;
}

static bool skip(nexus_slice *t, const char *one_of)
{
    if (!t->n || !t->p[0] || !strchr(one_of, t->p[0]))
        return false;
    *t = nexus__slice_from(*t, 1);
    return true;
}

static bool take_date(nexus_slice *t)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year = take(t, 4);
    if (year < 0 || !skip(t, "-"))
        return false;
    int month = take(t, 2);
    if (month < 1 || month > 12 || !skip(t, "-"))
        return false;
    int day = take(t, 2);
    bool leap = month == 2 && ((year % 4 == 0 && year % 100 != 0) || year % 400 == 0);
    return day >= 1 && day <= days[month - 1] + leap;
}

/* RFC 3339 full-time; a leap second only where UTC has them. */
static bool take_time(nexus_slice *t)
{
    int hour = take(t, 2);
    if (hour < 0 || hour > 23 || !skip(t, ":"))
        return false;
    int minute = take(t, 2);
    if (minute < 0 || minute > 59 || !skip(t, ":"))
        return false;
    int second = take(t, 2), shift = 0;
    if (second < 0 || second > 60)
        return false;
    if (skip(t, ".")) {
        if (take(t, 1) < 0)
            return false;
        while (take(t, 1) >= 0)
            ;
    }
    if (!skip(t, "zZ")) {
        int sign = t->n && t->p[0] == '-' ? 1 : -1;
        if (!skip(t, "+-"))
            return false;
        int hours = take(t, 2);
        if (hours < 0 || hours > 23 || !skip(t, ":"))
            return false;
        int minutes = take(t, 2);
        if (minutes < 0 || minutes > 59)
            return false;
        shift = sign * (hours * 60 + minutes);
    }
    return second < 60 || (hour * 60 + minute + shift + 2 * 1440) % 1440 == 23 * 60 + 59;
}

static bool date(nexus_slice t)
{
    return take_date(&t) && !t.n;
}

static bool time_of_day(nexus_slice t)
{
    return take_time(&t) && !t.n;
}

static bool date_time(nexus_slice t)
{
    return take_date(&t) && skip(&t, "tT") && take_time(&t) && !t.n;
}

/* A run of "12X" parts, X from units in that order, none left out between two (RFC 3339 appendix A). */
static bool take_parts(nexus_slice *t, const char *units)
{
    bool any = false;
    const char *at = units;
    while (t->n && is_digit(t->p[0])) {
        while (take(t, 1) >= 0)
            ;
        const char *hit = t->n && t->p[0] ? strchr(any ? at : units, t->p[0]) : NULL;
        if (!hit || (any && hit != at))
            return false;
        at = hit + 1;
        any = true;
        *t = nexus__slice_from(*t, 1);
    }
    return any;
}

static bool duration(nexus_slice t)
{
    if (!skip(&t, "P"))
        return false;
    if (t.n && t.p[t.n - 1] == 'W')
        return take_parts(&t, "W") && !t.n;
    bool date_part = t.n && t.p[0] != 'T';
    if (date_part && !take_parts(&t, "YMD"))
        return false;
    if (skip(&t, "T"))
        return take_parts(&t, "HMS") && !t.n;
    return date_part && !t.n;
}

static bool ipv4(nexus_slice t)
{
    int parts = 0;
    for (bool more = true; more; parts++) {
        size_t dot = nexus__slice_find(t, '.');
        more = dot < t.n;
        nexus_slice part = nexus__slice_cut(&t, '.');
        uint64_t value;
        if (part.n > 3 || (part.n > 1 && part.p[0] == '0') || !nexus__parse_u64(part, &value) || value > 255)
            return false;
    }
    return parts == 4;
}

static bool ipv6(nexus_slice t)
{
    int groups = 0;
    bool gap = nexus__slice_starts(t, NEXUS_S("::"));
    if (gap)
        t = nexus__slice_from(t, 2);
    while (t.n) {
        size_t colon = nexus__slice_find(t, ':');
        if (colon == t.n && nexus__slice_find(t, '.') < t.n) {
            groups += 2;
            if (!ipv4(t))
                return false;
            break;
        }
        if (colon == 0 || colon > 4)
            return false;
        for (size_t i = 0; i < colon; i++)
            if (nexus__hex_digit(t.p[i]) < 0)
                return false;
        groups++;
        t = nexus__slice_from(t, colon);
        if (!t.n)
            break;
        t = nexus__slice_from(t, 1);
        if (!t.n)
            return false;
        if (t.p[0] == ':') {
            if (gap)
                return false;
            gap = true;
            t = nexus__slice_from(t, 1);
        }
    }
    return gap ? groups < 8 : groups == 8;
}

static bool label(nexus_slice l)
{
    if (!l.n || l.n > 63 || l.p[0] == '-' || l.p[l.n - 1] == '-')
        return false;
    for (size_t i = 0; i < l.n; i++)
        if (!is_alnum(l.p[i]) && l.p[i] != '-')
            return false;
    /* "--" in the third place is reserved for encodings, of which "xn" alone exists (RFC 5891 4.2.3.1) */
    return l.n < 4 || l.p[2] != '-' || l.p[3] != '-' || ((l.p[0] | 0x20) == 'x' && (l.p[1] | 0x20) == 'n' && l.n > 4);
}

static bool hostname(nexus_slice t)
{
    if (!t.n || t.n > 253)
        return false;
    for (bool more = true; more;) {
        more = nexus__slice_find(t, '.') < t.n;
        if (!label(nexus__slice_cut(&t, '.')))
            return false;
    }
    return true;
}

static bool mail_domain(nexus_slice t, bool wide)
{
    if (t.n > 2 && t.p[0] == '[' && t.p[t.n - 1] == ']') {
        nexus_slice inner = nexus__slice(t.p + 1, t.n - 2);
        return nexus__slice_starts(inner, NEXUS_S("IPv6:")) ? ipv6(nexus__slice_from(inner, 5)) : ipv4(inner);
    }
    if (!wide)
        return hostname(t);
    for (size_t i = 0; i < t.n; i++)
        if (!is_alnum(t.p[i]) && t.p[i] != '-' && t.p[i] != '.' && (uint8_t)t.p[i] < 0x80)
            return false;
    return t.n && t.p[0] != '.' && t.p[t.n - 1] != '.';
}

static bool quoted_local(nexus_slice l)
{
    for (size_t i = 1; i + 1 < l.n; i++) {
        if (l.p[i] == '\\' && ++i + 1 >= l.n)
            return false;
        if (l.p[i] == '"' && l.p[i - 1] != '\\')
            return false;
        if ((uint8_t)l.p[i] < 0x20)
            return false;
    }
    return true;
}

static bool mail(nexus_slice t, bool wide)
{
    size_t at = t.n;
    while (at && t.p[at - 1] != '@')
        at--;
    if (at < 2)
        return false;
    nexus_slice local = nexus__slice(t.p, at - 1);
    if (!mail_domain(nexus__slice_from(t, at), wide))
        return false;
    if (local.n >= 2 && local.p[0] == '"' && local.p[local.n - 1] == '"')
        return quoted_local(local);
    bool dot = true;
    for (size_t i = 0; i < local.n; i++) {
        char c = local.p[i];
        if (c == '.' ? dot : !(is_alnum(c) || (c && strchr("!#$%&'*+-/=?^_`{|}~", c)) || (wide && (uint8_t)c >= 0x80)))
            return false;
        dot = c == '.';
    }
    return !dot;
}

static bool email(nexus_slice t)
{
    return mail(t, false);
}

static bool idn_email(nexus_slice t)
{
    return mail(t, true);
}

static bool uuid(nexus_slice t)
{
    if (t.n != 36)
        return false;
    for (size_t i = 0; i < 36; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? t.p[i] != '-' : nexus__hex_digit(t.p[i]) < 0)
            return false;
    }
    return true;
}

/* Bytes of one part of a URI: unreserved, percent escapes, and what `also` lists; non-ASCII in an IRI. */
static bool uri_part(nexus_slice t, const char *also, bool wide)
{
    for (size_t i = 0; i < t.n; i++) {
        char c = t.p[i];
        if (c == '%') {
            if (t.n - i < 3 || nexus__hex_digit(t.p[i + 1]) < 0 || nexus__hex_digit(t.p[i + 2]) < 0)
                return false;
            i += 2;
        } else if (!is_alnum(c) && !(c && strchr("-._~!$&'()*+,;=", c)) && !(c && strchr(also, c)) &&
                   !(wide && (uint8_t)c >= 0x80)) {
            return false;
        }
    }
    return true;
}

static bool future_address(nexus_slice t) /* "v1.…" inside the brackets */
{
    size_t dot = nexus__slice_find(t, '.');
    if (t.n < 4 || (t.p[0] | 0x20) != 'v' || dot < 2 || dot + 1 >= t.n)
        return false;
    for (size_t i = 1; i < dot; i++)
        if (nexus__hex_digit(t.p[i]) < 0)
            return false;
    nexus_slice rest = nexus__slice_from(t, dot + 1);
    return nexus__slice_find(rest, '%') == rest.n && uri_part(rest, ":", false);
}

static bool authority(nexus_slice t, bool wide)
{
    size_t at = nexus__slice_find(t, '@');
    if (at < t.n) {
        if (!uri_part(nexus__slice(t.p, at), ":", wide))
            return false;
        t = nexus__slice_from(t, at + 1);
    }
    size_t port;
    if (t.n && t.p[0] == '[') {
        size_t close = nexus__slice_find(t, ']');
        nexus_slice inner = nexus__slice(t.p + 1, close - 1);
        if (close == t.n || !(ipv6(inner) || future_address(inner)))
            return false;
        port = close + 1;
        if (port < t.n && t.p[port] != ':')
            return false;
    } else {
        port = nexus__slice_find(t, ':');
        if (!uri_part(nexus__slice(t.p, port), "", wide))
            return false;
    }
    for (size_t i = port + 1; i < t.n; i++)
        if (!is_digit(t.p[i]))
            return false;
    return true;
}

static bool uri_text(nexus_slice t, bool absolute, bool wide)
{
    nexus__uri u = nexus__uri_split(t);
    if (u.scheme.p) {
        if (!is_alpha(u.scheme.p[0]))
            return false;
        for (size_t i = 0; i < u.scheme.n; i++)
            if (!is_alnum(u.scheme.p[i]) && !strchr("+-.", u.scheme.p[i]))
                return false;
    } else if (absolute || (!u.authority.p && t.n && t.p[0] == ':')) {
        return false;
    }
    if (u.authority.p && !authority(u.authority, wide))
        return false;
    return uri_part(u.path, ":@/", wide) && uri_part(u.query, ":@/?", wide) && uri_part(u.fragment, ":@/?", wide);
}

static bool uri(nexus_slice t)
{
    return uri_text(t, true, false);
}

static bool uri_reference(nexus_slice t)
{
    return uri_text(t, false, false);
}

static bool iri(nexus_slice t)
{
    return uri_text(t, true, true);
}

static bool iri_reference(nexus_slice t)
{
    return uri_text(t, false, true);
}

static bool json_pointer(nexus_slice t)
{
    if (t.n && t.p[0] != '/')
        return false;
    for (size_t i = 0; i < t.n; i++)
        if (t.p[i] == '~' && (i + 1 == t.n || (t.p[i + 1] != '0' && t.p[i + 1] != '1')))
            return false;
    return true;
}

static bool relative_json_pointer(nexus_slice t)
{
    size_t n = 0;
    while (n < t.n && is_digit(t.p[n]))
        n++;
    if (!n || (n > 1 && t.p[0] == '0'))
        return false;
    t = nexus__slice_from(t, n);
    return nexus__slice_eq_c(t, "#") || json_pointer(t);
}

/* One expression of RFC 6570 between its braces. */
static bool template_expression(nexus_slice t)
{
    if (t.n && t.p[0] && strchr("+#./;?&", t.p[0]))
        t = nexus__slice_from(t, 1);
    if (!t.n)
        return false;
    for (bool more = true; more;) {
        more = nexus__slice_find(t, ',') < t.n;
        nexus_slice name = nexus__slice_cut(&t, ',');
        size_t colon = nexus__slice_find(name, ':');
        if (colon < name.n) {
            uint64_t length;
            nexus_slice digits = nexus__slice_from(name, colon + 1);
            if (!nexus__parse_u64(digits, &length) || length == 0 || length > 9999 || digits.p[0] == '0')
                return false;
            name.n = colon;
        } else if (name.n && name.p[name.n - 1] == '*') {
            name.n--;
        }
        if (!name.n || name.p[0] == '.' || name.p[name.n - 1] == '.')
            return false;
        for (size_t i = 0; i < name.n; i++) {
            char c = name.p[i];
            if (c == '%') {
                if (name.n - i < 3 || nexus__hex_digit(name.p[i + 1]) < 0 || nexus__hex_digit(name.p[i + 2]) < 0)
                    return false;
                i += 2;
            } else if (!is_alnum(c) && c != '_' && (c != '.' || name.p[i - 1] == '.')) {
                return false;
            }
        }
    }
    return true;
}

static bool uri_template(nexus_slice t)
{
    while (t.n) {
        size_t open = 0;
        while (open < t.n && t.p[open] != '{') {
            char c = t.p[open];
            if ((uint8_t)c <= 0x20 || c == 0x7f || strchr("\"<>\\^`|}", c))
                return false;
            if (c == '%' &&
                (t.n - open < 3 || nexus__hex_digit(t.p[open + 1]) < 0 || nexus__hex_digit(t.p[open + 2]) < 0))
                return false;
            open++;
        }
        if (open == t.n)
            return true;
        t = nexus__slice_from(t, open + 1);
        size_t close = nexus__slice_find(t, '}');
        if (close == t.n || !template_expression(nexus__slice(t.p, close)))
            return false;
        t = nexus__slice_from(t, close + 1);
    }
    return true;
}

static bool regex(nexus_slice t)
{
    nexus__regex *re;
    nexus_status status = nexus__regex_compile(&re, t, NULL);
    if (status == NEXUS_OK)
        nexus__regex_free(re);
    return status != NEXUS_EINVAL; /* what we cannot run is a regular expression all the same */
}

nexus__format_fn *nexus__format_find(nexus_slice name)
{
    static const struct {
        const char *name;
        nexus__format_fn *fn;
    } rows[] = {
        {"date-time", date_time},
        {"date", date},
        {"time", time_of_day},
        {"duration", duration},
        {"email", email},
        {"idn-email", idn_email},
        {"hostname", hostname},
        {"ipv4", ipv4},
        {"ipv6", ipv6},
        {"uri", uri},
        {"uri-reference", uri_reference},
        {"iri", iri},
        {"iri-reference", iri_reference},
        {"uuid", uuid},
        {"json-pointer", json_pointer},
        {"relative-json-pointer", relative_json_pointer},
        {"uri-template", uri_template},
        {"regex", regex},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (nexus__slice_eq_c(name, rows[i].name))
            return rows[i].fn;
    return NULL;
}
