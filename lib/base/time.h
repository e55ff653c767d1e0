/* Clocks and the text forms of instants. Decisions never read a clock: they take `now` as a parameter. */
#ifndef NEXUS_BASE_TIME_H
#define NEXUS_BASE_TIME_H

#include "base/str.h"

#define NEXUS__NS_PER_US 1000LL
#define NEXUS__NS_PER_MS 1000000LL
#define NEXUS__NS_PER_S 1000000000LL

int64_t nexus__mono_ns(void); /* CLOCK_MONOTONIC: leases, timers, timeouts */
int64_t nexus__real_ns(void); /* since 1970-01-01T00:00:00Z: what is stored and shown */

/* The clock as a table that tests replace; NULL members mean the real ones. */
typedef struct nexus__clock {
    int64_t (*mono_ns)(void *user_data);
    int64_t (*real_ns)(void *user_data);
    void *user_data;
} nexus__clock;

static inline int64_t nexus__clock_mono(const nexus__clock *c)
{
    return c && c->mono_ns ? c->mono_ns(c->user_data) : nexus__mono_ns();
}

static inline int64_t nexus__clock_real(const nexus__clock *c)
{
    return c && c->real_ns ? c->real_ns(c->user_data) : nexus__real_ns();
}

/* "2026-11-23T23:06:56.123Z" (RFC 3339, UTC, milliseconds): 24 bytes and a NUL. */
#define NEXUS__RFC3339_LEN 24
size_t nexus__format_rfc3339(int64_t real_ns, char out[static 32]);

/* RFC 3339 date-time with any offset and up to nine digits of fraction; false when it is not one. */
bool nexus__parse_rfc3339(nexus_slice text, int64_t *real_ns);

/* "Mon, 23 Nov 2026 23:06:56 GMT" (RFC 9110 IMF-fixdate): 29 bytes and a NUL. */
#define NEXUS__HTTP_DATE_LEN 29
size_t nexus__format_http_date(int64_t real_ns, char out[static 32]);
bool nexus__parse_http_date(nexus_slice text, int64_t *real_ns);

/* Proleptic Gregorian calendar, UTC. month 1..12, day 1..31. */
typedef struct nexus__civil {
    int32_t year, month, day, hour, minute, second;
    int32_t weekday; /* 0 = Sunday */
} nexus__civil;
int64_t nexus__days_from_civil(int32_t year, int32_t month, int32_t day); /* days since 1970-01-01 */
void nexus__civil_from_seconds(int64_t unix_seconds, nexus__civil *out);

#endif
