/* Instants as senders write them: every common form, told apart by shape and magnitude. Pure. */
#ifndef NEXUS_INGEST_INSTANT_H
#define NEXUS_INGEST_INSTANT_H

#include "base/str.h"

/* RFC 3339 with any offset, "YYYY-MM-DD" (midnight UTC), or a number as text; Unix milliseconds. False: none of them,
 * or outside the years 1 to 9999. */
bool nexus__instant_parse(nexus_slice text, int64_t *ms);

/* Unix time in seconds, milliseconds, microseconds or nanoseconds: below 1e11 seconds, then a factor 1,000 each. */
bool nexus__instant_from_number(double value, int64_t *ms);

/* "90s", "15m", "24h", "7d", "2w" as milliseconds; false when it is not one or not positive. */
bool nexus__span_parse(nexus_slice text, int64_t *ms);

#endif
