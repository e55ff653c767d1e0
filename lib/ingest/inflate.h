/* Compressed bodies, with a guard against bombs. */
#ifndef NEXUS_INGEST_INFLATE_H
#define NEXUS_INGEST_INFLATE_H

#include "base/buf.h"

/* Decompresses gzip (or zlib, when gzip is false) into out, whose max bounds it. NEXUS_ETOOBIG over that bound or over
 * 100 times the input; NEXUS_EINVAL when it is not the format, or cut short. */
nexus_status nexus__inflate(nexus__buf *out, nexus_slice body, bool gzip) NEXUS_MUST_CHECK;

#endif
