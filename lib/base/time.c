#include "base/time.h"

#include <nexus/time.h>

#include <stdio.h>
#include <time.h>

static int64_t read_clock(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * NEXUS__NS_PER_S + t.tv_nsec;
}

int64_t nexus__mono_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

int64_t nexus__real_ns(void)
{
    return read_clock(CLOCK_REALTIME);
}

/* Days since the epoch for years of any sign, with March as the first month so that leap days come last. */
int64_t nexus__days_from_civil(int32_t year, int32_t month, int32_t day)
{
    int64_t y = (int64_t)year - (month <= 2);
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

void nexus__civil_from_seconds(int64_t unix_seconds, nexus__civil *out)
{
    int64_t days = unix_seconds / 86400;
    int64_t rest = unix_seconds % 86400;
    if (rest < 0) {
        rest += 86400;
        days--;
    }
    out->weekday = (int32_t)(((days + 4) % 7 + 7) % 7);
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t day_of_era = z - era * 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t shifted = (5 * day_of_year + 2) / 153;
    out->day = (int32_t)(day_of_year - (153 * shifted + 2) / 5 + 1);
    out->month = (int32_t)(shifted < 10 ? shifted + 3 : shifted - 9);
    out->year = (int32_t)(year_of_era + era * 400 + (out->month <= 2));
    out->hour = (int32_t)(rest / 3600);
    out->minute = (int32_t)(rest % 3600 / 60);
    out->second = (int32_t)(rest % 60);
}

static int64_t floor_seconds(int64_t real_ns)
{
    return real_ns / NEXUS__NS_PER_S - (real_ns % NEXUS__NS_PER_S < 0);
}

size_t nexus__format_rfc3339(int64_t real_ns, char out[static 32])
{
    int64_t seconds = floor_seconds(real_ns);
    nexus__civil t;
    nexus__civil_from_seconds(seconds, &t);
    int ms = (int)((real_ns - seconds * NEXUS__NS_PER_S) / NEXUS__NS_PER_MS);
    return (size_t)snprintf(out, 32, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", t.year % 10000, t.month, t.day, t.hour,
                            t.minute, t.second, ms);
}

/* Reads exactly `digits` decimal digits at *at. */
static bool take_number(nexus_slice text, size_t *at, int digits, int32_t *out)
{
    int32_t value = 0;
    for (int i = 0; i < digits; i++, (*at)++) {
        if (*at >= text.n || text.p[*at] < '0' || text.p[*at] > '9')
            return false;
        value = value * 10 + (text.p[*at] - '0');
    }
    *out = value;
    return true;
}

static bool take_char(nexus_slice text, size_t *at, char c)
{
    if (*at >= text.n || nexus__ascii_lower(text.p[*at]) != nexus__ascii_lower(c))
        return false;
    (*at)++;
    return true;
}

static int32_t days_in_month(int32_t year, int32_t month)
{
    static const int8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

static bool take_fraction(nexus_slice text, size_t *at, int64_t *ns)
{
    *ns = 0;
    if (*at >= text.n || text.p[*at] != '.')
        return true;
    size_t start = ++*at;
    int64_t scale = NEXUS__NS_PER_S;
    for (; *at < text.n && text.p[*at] >= '0' && text.p[*at] <= '9'; (*at)++) {
        scale /= 10;
        *ns += (text.p[*at] - '0') * scale; /* digits beyond the ninth add nothing */
    }
    return *at > start;
}

static bool take_offset(nexus_slice text, size_t *at, int64_t *seconds)
{
    *seconds = 0;
    if (take_char(text, at, 'Z'))
        return true;
    int sign = 1;
    if (!take_char(text, at, '+')) {
        if (!take_char(text, at, '-'))
            return false;
        sign = -1;
    }
    int32_t hours, minutes;
    if (!take_number(text, at, 2, &hours) || !take_char(text, at, ':') || !take_number(text, at, 2, &minutes) ||
        hours > 23 || minutes > 59)
        return false;
    *seconds = sign * (hours * 3600 + minutes * 60);
    return true;
}

bool nexus__parse_rfc3339(nexus_slice text, int64_t *real_ns)
{
    size_t at = 0;
    int32_t year, month, day, hour, minute, second;
    int64_t fraction, offset;
    if (!take_number(text, &at, 4, &year) || !take_char(text, &at, '-') || !take_number(text, &at, 2, &month) ||
        !take_char(text, &at, '-') || !take_number(text, &at, 2, &day) ||
        !(take_char(text, &at, 'T') || take_char(text, &at, ' ')) || !take_number(text, &at, 2, &hour) ||
        !take_char(text, &at, ':') || !take_number(text, &at, 2, &minute) || !take_char(text, &at, ':') ||
        !take_number(text, &at, 2, &second) || !take_fraction(text, &at, &fraction) ||
        !take_offset(text, &at, &offset) || at != text.n)
        return false;
    if (month < 1 || month > 12 || day < 1 || day > days_in_month(year, month) || hour > 23 || minute > 59 ||
        second > 60)
        return false;
    int64_t seconds = nexus__days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset;
    return !__builtin_mul_overflow(seconds, NEXUS__NS_PER_S, &seconds) &&
           !__builtin_add_overflow(seconds, fraction, real_ns);
}

static const char weekdays[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

size_t nexus__format_http_date(int64_t real_ns, char out[static 32])
{
    nexus__civil t;
    nexus__civil_from_seconds(floor_seconds(real_ns), &t);
    return (size_t)snprintf(out, 32, "%s, %02d %s %04d %02d:%02d:%02d GMT", weekdays[t.weekday], t.day,
                            months[t.month - 1], t.year % 10000, t.hour, t.minute, t.second);
}

bool nexus__parse_http_date(nexus_slice text, int64_t *real_ns)
{
    if (text.n != NEXUS__HTTP_DATE_LEN || text.p[3] != ',' || memcmp(text.p + 25, " GMT", 4) != 0)
        return false;
    size_t at = 5;
    int32_t day, year, hour, minute, second, month = 0;
    if (!take_number(text, &at, 2, &day))
        return false;
    for (int32_t i = 0; i < 12; i++)
        if (memcmp(text.p + 8, months[i], 3) == 0)
            month = i + 1;
    at = 12;
    if (!month || !take_number(text, &at, 4, &year) || !take_char(text, &at, ' ') ||
        !take_number(text, &at, 2, &hour) || !take_char(text, &at, ':') || !take_number(text, &at, 2, &minute) ||
        !take_char(text, &at, ':') || !take_number(text, &at, 2, &second))
        return false;
    if (day < 1 || day > days_in_month(year, month) || hour > 23 || minute > 59 || second > 60)
        return false;
    *real_ns = (nexus__days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second) * NEXUS__NS_PER_S;
    return true;
}

int64_t nexus_time_now_ns(void)
{
    return nexus__real_ns();
}

size_t nexus_time_format(int64_t time_ns, char *out)
{
    return nexus__format_rfc3339(time_ns, out);
}

bool nexus_time_parse(nexus_slice text, int64_t *time_ns)
{
    return nexus__parse_rfc3339(text, time_ns);
}
