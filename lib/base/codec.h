/* Base64, hex, percent-encoding, CRC-32C. */
#ifndef NEXUS_BASE_CODEC_H
#define NEXUS_BASE_CODEC_H

#include "base/buf.h"

/* RFC 4648. Standard alphabet with padding; URL alphabet without. */
void nexus__base64_append(nexus__buf *out, const void *data, size_t n);
void nexus__base64url_append(nexus__buf *out, const void *data, size_t n);

#define NEXUS__BASE64_DECODED_MAX(n) ((n) / 4 * 3 + 3)
/* Strict: canonical trailing bits, no white space; padding required (standard) or refused (URL). Writes at most
 * NEXUS__BASE64_DECODED_MAX(text.n) bytes; false when it is not base64. out may be the text's own memory. */
bool nexus__base64_decode(nexus_slice text, void *out, size_t *n);
bool nexus__base64url_decode(nexus_slice text, void *out, size_t *n);

void nexus__hex_append(nexus__buf *out, const void *data, size_t n); /* lower case */
void nexus__hex_write(char *out, const void *data, size_t n);        /* the same to where 2 * n bytes are free */
bool nexus__hex_decode(nexus_slice text, void *out);                 /* writes text.n / 2 bytes */
int nexus__hex_digit(char c);                                        /* 0..15, or -1 */

/* Decodes %XX (and '+' as a space when form is set) into out, which needs text.n bytes and may be the text's own
 * memory; false on a broken escape. */
bool nexus__percent_decode(nexus_slice text, bool form, char *out, size_t *n);
/* Encodes all but RFC 3986 unreserved bytes. */
void nexus__percent_append(nexus__buf *out, nexus_slice text);

/* The value of `name` in an application/x-www-form-urlencoded text (a query), still encoded; false when absent. */
bool nexus__query_find(nexus_slice query, nexus_slice name, nexus_slice *value);

/* CRC-32C (Castagnoli, RFC 3720 B.4); start with crc 0 and feed on. Uses SSE4.2 where the processor has it. */
uint32_t nexus__crc32c(uint32_t crc, const void *data, size_t n);
/* The CRC-32 of zlib and Ethernet, the same way; for short texts. */
uint32_t nexus__crc32(uint32_t crc, const void *data, size_t n);

#endif
