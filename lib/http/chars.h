/* Classes of bytes in HTTP messages (RFC 9110 5.6, RFC 3986 2). */
#ifndef NEXUS_HTTP_CHARS_H
#define NEXUS_HTTP_CHARS_H

#include "base/str.h"

enum {
    NEXUS__CHAR_TOKEN = 1, /* tchar */
    NEXUS__CHAR_VALUE = 2, /* field-vchar, SP, HTAB, obs-text */
    NEXUS__CHAR_PATH = 4,  /* pchar and "/", "%" included; what the path means is router/'s */
    NEXUS__CHAR_QUERY = 8, /* what the URL Standard leaves unescaped in a query */
    NEXUS__CHAR_HOST = 16, /* reg-name: unreserved, sub-delims, "%" */
    NEXUS__CHAR_HEX = 32,
    NEXUS__CHAR_QUOTED = 64 /* in a quoted-string, besides "\" escapes */
};

extern const uint8_t nexus__chars[256];

static inline bool nexus__char_is(char c, uint8_t classes)
{
    return (nexus__chars[(uint8_t)c] & classes) != 0;
}

/* Length of the longest prefix whose bytes are all of the class. */
static inline size_t nexus__chars_span(const char *p, size_t n, uint8_t class)
{
    size_t i = 0;
    while (i < n && nexus__char_is(p[i], class))
        i++;
    return i;
}

/* The same for NEXUS__CHAR_VALUE, sixteen bytes at a time where the processor can. */
size_t nexus__chars_value_span(const char *p, size_t n);

#endif
