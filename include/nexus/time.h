/* Instants: nanoseconds since 1970-01-01T00:00:00Z, and their text. */
#ifndef NEXUS_TIME_H
#define NEXUS_TIME_H

#include <nexus/common.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NEXUS_TIME_LEN 24 /**< bytes of "2026-11-23T23:06:56.123Z", without the NUL */

/** The system's clock. */
NEXUS_API int64_t nexus_time_now_ns(void);

/** Writes RFC 3339 in UTC with milliseconds and a NUL into at least 32 bytes; returns the length. */
NEXUS_API size_t nexus_time_format(int64_t time_ns, char *out);

/** Reads an RFC 3339 date-time with any offset; false when it is not one. */
NEXUS_API bool nexus_time_parse(nexus_slice text, int64_t *time_ns);

#ifdef __cplusplus
}
#endif

#endif
