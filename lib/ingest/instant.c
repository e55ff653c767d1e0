#include "ingest/instant.h"

#include <math.h>

#include "base/time.h"

#define INSTANT_MIN_MS (-62135596800000.0) /* 0001-01-01 */
#define INSTANT_MAX_MS 253402300799999.0   /* 9999-12-31 */

static bool in_range(double ms, int64_t *out)
{
    if (!(ms >= INSTANT_MIN_MS && ms <= INSTANT_MAX_MS))
        return false;
    *out = (int64_t)floor(ms + 0.0005);
    return true;
}

bool nexus__instant_from_number(double value, int64_t *ms)
{
    double size = fabs(value);
    if (size < 1e11)
        return in_range(value * 1000, ms);
    if (size < 1e14)
        return in_range(value, ms);
    return in_range(size < 1e17 ? value / 1e3 : value / 1e6, ms);
}

static bool parse_date(nexus_slice text, int64_t *ms)
{
    uint64_t year, month, day;
    if (text.n != 10 || text.p[4] != '-' || text.p[7] != '-')
        return false;
    if (!nexus__parse_u64(nexus__slice(text.p, 4), &year) || !nexus__parse_u64(nexus__slice(text.p + 5, 2), &month) ||
        !nexus__parse_u64(nexus__slice(text.p + 8, 2), &day))
        return false;
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > 31)
        return false;
    int64_t days = nexus__days_from_civil((int32_t)year, (int32_t)month, (int32_t)day);
    nexus__civil civil;
    nexus__civil_from_seconds(days * 86400, &civil);
    *ms = days * 86400000;
    return civil.day == (int32_t)day; /* refuses 30 February */
}

/* Seconds of a leap-free calendar keep RFC 3339's own range; nanoseconds in 64 bits reach only 1678 to 2262. */
static bool parse_date_time(nexus_slice text, int64_t *ms)
{
    int64_t ns;
    if (!nexus__parse_rfc3339(text, &ns))
        return false;
    *ms = ns / NEXUS__NS_PER_MS - (ns % NEXUS__NS_PER_MS < 0);
    return true;
}

bool nexus__instant_parse(nexus_slice text, int64_t *ms)
{
    double number;
    text = nexus__slice_trim(text);
    if (parse_date(text, ms) || parse_date_time(text, ms))
        return true;
    return nexus__parse_double(text, &number) && nexus__instant_from_number(number, ms);
}

bool nexus__span_parse(nexus_slice text, int64_t *ms)
{
    static const struct {
        char unit;
        int64_t ms;
    } units[] = {{'s', 1000}, {'m', 60000}, {'h', 3600000}, {'d', 86400000}, {'w', 604800000}};
    uint64_t count;
    if (text.n < 2 || !nexus__parse_u64(nexus__slice(text.p, text.n - 1), &count) || count == 0 || count > 1000000)
        return false;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (text.p[text.n - 1] == units[i].unit) {
            *ms = (int64_t)count * units[i].ms;
            return true;
        }
    return false;
}
