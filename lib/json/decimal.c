#include "json/decimal.h"

#include <math.h>

#include "base/hash.h"

__extension__ typedef unsigned __int128 u128;

enum { EXPONENT_MAX = 1000000000 }; /* beyond it all exponents are one: nobody can tell the numbers apart */

static int64_t exponent(nexus_slice text)
{
    int64_t value = 0;
    bool negative = text.n && text.p[0] == '-';
    for (size_t i = text.n && (text.p[0] == '-' || text.p[0] == '+'); i < text.n; i++)
        if ((value = value * 10 + (text.p[i] - '0')) > EXPONENT_MAX)
            value = EXPONENT_MAX;
    return negative ? -value : value;
}

nexus__decimal nexus__decimal_of(nexus_slice number)
{
    nexus__decimal d = {.negative = number.n && number.p[0] == '-'};
    bool fraction = false;
    size_t zeros = 0; /* seen since the last digit that counts */
    size_t i = d.negative;
    for (; i < number.n && (number.p[i] | 0x20) != 'e'; i++) {
        char c = number.p[i];
        if (c == '.') {
            fraction = true;
            continue;
        }
        if (c != '0') {
            if (!d.count)
                d.digits = number.p + i;
            d.count += d.count ? zeros + 1 : 1;
            zeros = 0;
        } else {
            zeros++;
        }
        if (!fraction && (d.count || c != '0'))
            d.point++;
        else if (fraction && !d.count)
            d.point--;
    }
    if (i < number.n)
        d.point += exponent(nexus__slice_from(number, i + 1));
    if (!d.count)
        d = (nexus__decimal){0};
    return d;
}

static char digit(const char **p)
{
    if (**p == '.')
        ++*p;
    return *(*p)++;
}

static int cmp_magnitude(const nexus__decimal *a, const nexus__decimal *b)
{
    if (!a->count || !b->count)
        return (a->count != 0) - (b->count != 0);
    if (a->point != b->point)
        return a->point < b->point ? -1 : 1;
    const char *x = a->digits, *y = b->digits;
    size_t shorter = a->count < b->count ? a->count : b->count;
    for (size_t i = 0; i < shorter; i++) {
        char left = digit(&x), right = digit(&y);
        if (left != right)
            return left < right ? -1 : 1;
    }
    return (a->count > b->count) - (a->count < b->count);
}

int nexus__decimal_cmp(const nexus__decimal *a, const nexus__decimal *b)
{
    if (a->negative != b->negative)
        return a->negative ? -1 : 1;
    int order = cmp_magnitude(a, b);
    return a->negative ? -order : order;
}

bool nexus__decimal_whole(const nexus__decimal *a)
{
    return !a->count || a->point >= (int64_t)a->count;
}

bool nexus__decimal_multiple(const nexus__decimal *a, const nexus__decimal *b, nexus_slice a_text, nexus_slice b_text)
{
    if (!a->count)
        return true;
    if (b->count > 18) {
        double x, y;
        return nexus__parse_double(a_text, &x) && nexus__parse_double(b_text, &y) && fmod(x, y) == 0;
    }
    uint64_t divisor = 0;
    const char *p = b->digits;
    for (size_t i = 0; i < b->count; i++)
        divisor = divisor * 10 + (uint64_t)(digit(&p) - '0');
    /* a = A * 10^ea and b = divisor * 10^eb; A does not end in 0, so with ea < eb it cannot be a multiple */
    int64_t shift = (a->point - (int64_t)a->count) - (b->point - (int64_t)b->count);
    if (shift < 0)
        return false;
    u128 rest = 0, factor = 10 % divisor;
    p = a->digits;
    for (size_t i = 0; i < a->count; i++)
        rest = (rest * 10 + (unsigned)(digit(&p) - '0')) % divisor;
    for (; shift; shift >>= 1) { /* rest * 10^shift modulo the divisor */
        if (shift & 1)
            rest = rest * factor % divisor;
        factor = factor * factor % divisor;
    }
    return rest == 0;
}

uint64_t nexus__decimal_hash(const nexus__decimal *a)
{
    uint64_t h = nexus__mix64((uint64_t)a->point * 2 + a->negative);
    const char *p = a->digits;
    for (size_t i = 0; i < a->count; i++)
        h = nexus__mix64(h ^ (uint8_t)digit(&p));
    return h;
}
