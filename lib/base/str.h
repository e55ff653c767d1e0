/* Slices: borrowed runs of bytes. */
#ifndef NEXUS_BASE_STR_H
#define NEXUS_BASE_STR_H

#include <string.h>

#include "base/alloc.h"

static inline nexus_slice nexus__slice(const void *p, size_t n)
{
    return (nexus_slice){(const char *)p, n};
}

static inline nexus_slice nexus__slice_c(const char *text) /* NULL gives the empty slice */
{
    return (nexus_slice){text, text ? strlen(text) : 0};
}

static inline bool nexus__slice_eq(nexus_slice a, nexus_slice b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool nexus__slice_eq_c(nexus_slice a, const char *text)
{
    return nexus__slice_eq(a, nexus__slice_c(text));
}

static inline bool nexus__slice_starts(nexus_slice a, nexus_slice prefix)
{
    return a.n >= prefix.n && (prefix.n == 0 || memcmp(a.p, prefix.p, prefix.n) == 0);
}

static inline bool nexus__slice_ends(nexus_slice a, nexus_slice suffix)
{
    return a.n >= suffix.n && (suffix.n == 0 || memcmp(a.p + a.n - suffix.n, suffix.p, suffix.n) == 0);
}

static inline nexus_slice nexus__slice_from(nexus_slice a, size_t start) /* start <= a.n */
{
    return (nexus_slice){a.p ? a.p + start : NULL, a.n - start};
}

static inline char nexus__ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* ASCII case-insensitive. */
bool nexus__slice_ieq(nexus_slice a, nexus_slice b);
int nexus__slice_cmp(nexus_slice a, nexus_slice b); /* bytewise, shorter first */

/* Without spaces and tabs at both ends (RFC 9110 OWS). */
nexus_slice nexus__slice_trim(nexus_slice a);

/* Index of the byte or of the first occurrence, or a.n. */
size_t nexus__slice_find(nexus_slice a, char c);
size_t nexus__slice_search(nexus_slice a, nexus_slice needle);

/* Cuts off and returns what stands before the first `sep` (all, when there is none); *rest is what follows it. */
nexus_slice nexus__slice_cut(nexus_slice *rest, char sep);

/* Whole slice as decimal digits only (a leading '-' for i64); false on empty, other bytes or overflow. */
bool nexus__parse_u64(nexus_slice text, uint64_t *out);
bool nexus__parse_i64(nexus_slice text, int64_t *out);

/* A finite JSON-style number, without the host's locale. */
bool nexus__parse_double(nexus_slice text, double *out);
/* Shortest text that reads back as the same double; returns its length (< 32). NaN and infinities give "null". */
size_t nexus__format_double(double value, char out[static 32]);

/* A NUL-terminated copy; NULL when out of memory. Free with nexus__free. */
char *nexus__strndup(const nexus_alloc *a, nexus_slice text);

#endif
