#include "base/str.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

bool nexus__slice_ieq(nexus_slice a, nexus_slice b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (nexus__ascii_lower(a.p[i]) != nexus__ascii_lower(b.p[i]))
            return false;
    return true;
}

int nexus__slice_cmp(nexus_slice a, nexus_slice b)
{
    size_t shorter = a.n < b.n ? a.n : b.n;
    int order = shorter ? memcmp(a.p, b.p, shorter) : 0;
    if (order)
        return order;
    return a.n < b.n ? -1 : a.n > b.n;
}

nexus_slice nexus__slice_trim(nexus_slice a)
{
    while (a.n && (*a.p == ' ' || *a.p == '\t')) {
        a.p++;
        a.n--;
    }
    while (a.n && (a.p[a.n - 1] == ' ' || a.p[a.n - 1] == '\t'))
        a.n--;
    return a;
}

size_t nexus__slice_find(nexus_slice a, char c)
{
    const char *hit = a.n ? memchr(a.p, c, a.n) : NULL;
    return hit ? (size_t)(hit - a.p) : a.n;
}

size_t nexus__slice_search(nexus_slice a, nexus_slice needle)
{
    if (!needle.n)
        return 0;
    const char *hit = a.n ? memmem(a.p, a.n, needle.p, needle.n) : NULL;
    return hit ? (size_t)(hit - a.p) : a.n;
}

nexus_slice nexus__slice_cut(nexus_slice *rest, char sep)
{
    size_t at = nexus__slice_find(*rest, sep);
    nexus_slice head = {rest->p, at};
    *rest = nexus__slice_from(*rest, at < rest->n ? at + 1 : at);
    return head;
}

bool nexus__parse_u64(nexus_slice text, uint64_t *out)
{
    if (text.n == 0 || text.n > 20)
        return false;
    uint64_t value = 0;
    for (size_t i = 0; i < text.n; i++) {
        unsigned digit = (unsigned)(text.p[i] - '0');
        if (digit > 9 || __builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, digit, &value))
            return false;
    }
    *out = value;
    return true;
}

bool nexus__parse_i64(nexus_slice text, int64_t *out)
{
    bool negative = text.n && *text.p == '-';
    uint64_t magnitude;
    if (!nexus__parse_u64(nexus__slice_from(text, negative), &magnitude))
        return false;
    if (magnitude > (uint64_t)INT64_MAX + negative)
        return false;
    *out = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return true;
}

/* strtod and printf use the thread's locale; a comma as decimal point is the only difference that can arise. */
static char host_point(void)
{
    const struct lconv *conv = localeconv();
    return conv && conv->decimal_point && conv->decimal_point[0] ? conv->decimal_point[0] : '.';
}

bool nexus__parse_double(nexus_slice text, double *out)
{
    char copy[512];
    if (text.n == 0 || text.n >= sizeof copy)
        return false;
    char point = host_point();
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (!((c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E'))
            return false;
        copy[i] = c == '.' ? point : c;
    }
    copy[text.n] = '\0';
    char *end;
    double value = strtod(copy, &end);
    if (end != copy + text.n || !isfinite(value))
        return false;
    *out = value;
    return true;
}

size_t nexus__format_double(double value, char out[static 32])
{
    if (!isfinite(value))
        return (size_t)snprintf(out, 32, "null");
    int length = 0;
    for (int precision = 15; precision <= 17; precision++) {
        length = snprintf(out, 32, "%.*g", precision, value);
        if (strtod(out, NULL) == value)
            break;
    }
    char point = host_point();
    if (point != '.')
        for (int i = 0; i < length; i++)
            if (out[i] == point)
                out[i] = '.';
    return (size_t)length;
}

char *nexus__strndup(const nexus_alloc *a, nexus_slice text)
{
    char *copy = nexus__malloc(a, text.n + 1);
    if (!copy)
        return NULL;
    if (text.n)
        memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    return copy;
}
