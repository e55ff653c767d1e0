/* JSON numbers as what they say, exactly: no rounding to a double. Works on the text, allocates nothing. */
#ifndef NEXUS_JSON_DECIMAL_H
#define NEXUS_JSON_DECIMAL_H

#include "base/str.h"

/* 0.d1d2d3… * 10^point with d1 and the last digit not 0; count 0 is zero. digits borrow the number's text. */
typedef struct nexus__decimal {
    const char *digits; /* of the text: a '.' may stand among them */
    size_t count;       /* significant digits */
    int64_t point;
    bool negative;
} nexus__decimal;

nexus__decimal nexus__decimal_of(nexus_slice number); /* a JSON number, as the scanner accepts it */
int nexus__decimal_cmp(const nexus__decimal *a, const nexus__decimal *b);
bool nexus__decimal_whole(const nexus__decimal *a); /* no fraction, however it is written */
/* Whether a is a whole multiple of b (b > 0). Exact when b has at most 18 significant digits, else by doubles. */
bool nexus__decimal_multiple(const nexus__decimal *a, const nexus__decimal *b, nexus_slice a_text, nexus_slice b_text);
/* The same for equal numbers, however they are written. */
uint64_t nexus__decimal_hash(const nexus__decimal *a);

#endif
