/* Content codings: what bodies are wrapped in (RFC 9110 section 8.4), gzip both ways. */
#ifndef NEXUS_GATEWAY_CODING_H
#define NEXUS_GATEWAY_CODING_H

#include <sys/uio.h>

#include "base/buf.h"

enum nexus__coding { NEXUS__CODING_IDENTITY, NEXUS__CODING_GZIP, NEXUS__CODING_UNKNOWN };

enum { NEXUS__CODING_RATIO_MAX = 100 }; /* a body that grows more than this is a bomb */

/* Of a Content-Encoding field; GZIP stands for deflate too, which the same function opens. More than one coding is
 * UNKNOWN: nobody needs it. */
enum nexus__coding nexus__coding_of(nexus_slice field);
/* Whether an Accept-Encoding field takes gzip, and does not like identity better. */
bool nexus__coding_accepts_gzip(nexus_slice field);

/* Opens gzip or deflate. NEXUS_EINVAL: it is neither, or cut off. NEXUS_ETOOBIG: over `max` bytes, or over
 * NEXUS__CODING_RATIO_MAX times what came. */
nexus_status nexus__coding_open(nexus__buf *out, nexus_slice in, size_t max) NEXUS_MUST_CHECK;

/* A stream of gzip being made: 64 KiB, reused. */
typedef struct nexus__deflater nexus__deflater;
nexus_status nexus__deflater_new(nexus__deflater **out, int level, const nexus_alloc *alloc) NEXUS_MUST_CHECK;
void nexus__deflater_free(nexus__deflater *d); /* NULL is fine */
/* Back to the beginning. */
void nexus__deflater_reset(nexus__deflater *d, int level);
/* Appends to out what becomes of the pieces; all of it: a reader can go on with what is there. `end` writes the trailer. */
void nexus__deflater_write(nexus__deflater *d, const struct iovec *pieces, size_t n, bool end, nexus__buf *out);

#endif
