/* UTF-8 as RFC 3629 has it: shortest form, no surrogates, up to U+10FFFF. */
#ifndef NEXUS_BASE_UTF8_H
#define NEXUS_BASE_UTF8_H

#include "base/str.h"

/* Length of the valid prefix: text.n when all of it is valid. */
size_t nexus__utf8_valid_prefix(nexus_slice text);

/* Bytes of the sequence that begins at p when it is well formed, else 0. left > 0. */
size_t nexus__utf8_sequence(const uint8_t *p, size_t left);

static inline bool nexus__utf8_valid(nexus_slice text)
{
    return nexus__utf8_valid_prefix(text) == text.n;
}

/* Decodes one code point of valid UTF-8 at *at (at < text.n) and moves on. */
uint32_t nexus__utf8_next(nexus_slice text, size_t *at);
size_t nexus__utf8_encode(uint32_t code_point, char out[static 4]); /* bytes written */
size_t nexus__utf8_count(nexus_slice text);                         /* code points of valid UTF-8 */

#endif
