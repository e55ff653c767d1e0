/*
 * The file has a block for 32-bit times, which is passed over, one for 64-bit times, and a footer: a POSIX TZ text that
 * says how it goes on after the last transition.
 */
#include "base/zone.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/status.h"
#include "base/time.h"

enum { HEADER = 44, FILE_MAX = 256 * 1024, TRANSITIONS_MAX = 20000, TYPES_MAX = 256 };

/* When summer time begins or ends: month.week.weekday, or a day of the year. */
typedef struct rule {
    enum { MONTH_WEEK_DAY, DAY_WITHOUT_LEAP, DAY_OF_YEAR } kind;
    int32_t month, week, day;
    int32_t time_s; /* local, of the regime that ends */
} rule;

typedef struct tail {
    int32_t standard, summer; /* offsets east of UTC */
    bool has_summer;
    rule begin, end;
} tail;

struct nexus__zone {
    uint32_t count;
    int64_t *times;   /* rising */
    int32_t *offsets; /* from each time on */
    int32_t before;   /* the first */
    bool has_tail;
    tail tail;
};

/* --- the footer ---------------------------------------------------------------------------------------------------- */

typedef struct text {
    const char *p, *end;
    bool bad;
} text;

static bool next_is(text *t, char c)
{
    if (t->p < t->end && *t->p == c) {
        t->p++;
        return true;
    }
    return false;
}

static int32_t number(text *t, int32_t max)
{
    int32_t n = 0;
    const char *start = t->p;
    while (t->p < t->end && *t->p >= '0' && *t->p <= '9' && t->p - start < 4)
        n = n * 10 + (*t->p++ - '0');
    t->bad |= t->p == start || n > max;
    return n;
}

static void skip_name(text *t)
{
    const char *start = t->p;
    if (next_is(t, '<')) {
        while (t->p < t->end && *t->p != '>')
            t->p++;
        t->bad |= !next_is(t, '>');
        return;
    }
    while (t->p < t->end && nexus__ascii_lower(*t->p) >= 'a' && nexus__ascii_lower(*t->p) <= 'z')
        t->p++;
    t->bad |= t->p - start < 3;
}

/* [+-]hh[:mm[:ss]] in seconds. */
static int32_t clock_of(text *t, int32_t hours_max)
{
    bool minus = next_is(t, '-');
    if (!minus)
        (void)next_is(t, '+');
    int32_t s = number(t, hours_max) * 3600;
    if (next_is(t, ':'))
        s += number(t, 59) * 60;
    if (next_is(t, ':'))
        s += number(t, 59);
    return minus ? -s : s;
}

static rule rule_of(text *t)
{
    rule r = {.kind = DAY_OF_YEAR, .time_s = 7200};
    t->bad |= !next_is(t, ',');
    if (next_is(t, 'M')) {
        r.kind = MONTH_WEEK_DAY;
        r.month = number(t, 12);
        t->bad |= !next_is(t, '.') || r.month == 0;
        r.week = number(t, 5);
        t->bad |= !next_is(t, '.') || r.week == 0;
        r.day = number(t, 6);
    } else {
        if (next_is(t, 'J'))
            r.kind = DAY_WITHOUT_LEAP;
        r.day = number(t, 365);
    }
    if (next_is(t, '/'))
        r.time_s = clock_of(t, 167);
    return r;
}

static bool parse_tail(tail *out, nexus_slice line)
{
    text t = {line.p, line.p + line.n, false};
    skip_name(&t);
    out->standard = -clock_of(&t, 24); /* POSIX counts west */
    out->has_summer = t.p < t.end;
    if (out->has_summer) {
        skip_name(&t);
        out->summer = t.p < t.end && *t.p != ',' ? -clock_of(&t, 24) : out->standard + 3600;
        out->begin = rule_of(&t);
        out->end = rule_of(&t);
    }
    return !t.bad && t.p == t.end;
}

static bool is_leap(int32_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* Seconds since 1970 of the rule in a year, read as if local time were UTC. */
static int64_t local_moment(const rule *r, int32_t year)
{
    int64_t day;
    if (r->kind == MONTH_WEEK_DAY) {
        int64_t first = nexus__days_from_civil(year, r->month, 1);
        int64_t next =
            r->month == 12 ? nexus__days_from_civil(year + 1, 1, 1) : nexus__days_from_civil(year, r->month + 1, 1);
        int64_t weekday = ((first + 4) % 7 + 7) % 7; /* 1970-01-01 was a Thursday */
        day = first + (r->day - weekday + 7) % 7 + (r->week - 1) * 7;
        if (day >= next)
            day -= 7;
    } else {
        day = nexus__days_from_civil(year, 1, 1) + r->day;
        if (r->kind == DAY_WITHOUT_LEAP)
            day += is_leap(year) && r->day >= 60 ? 0 : -1;
    }
    return day * 86400 + r->time_s;
}

static int32_t offset_by_tail(const tail *t, int64_t unix_s)
{
    nexus__civil c;
    if (!t->has_summer)
        return t->standard;
    nexus__civil_from_seconds(unix_s + t->standard, &c);
    int64_t begin = local_moment(&t->begin, c.year) - t->standard, end = local_moment(&t->end, c.year) - t->summer;
    bool summer = begin < end ? unix_s >= begin && unix_s < end : unix_s >= begin || unix_s < end;
    return summer ? t->summer : t->standard;
}

/* --- the file ------------------------------------------------------------------------------------------------------ */

static uint32_t be32(const char *p)
{
    const uint8_t *b = (const uint8_t *)p;
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static int64_t be64(const char *p)
{
    return (int64_t)((uint64_t)be32(p) << 32 | be32(p + 4));
}

typedef struct counts {
    uint32_t isut, isstd, leap, time, type, letters;
} counts;

static bool read_header(nexus_slice file, counts *c)
{
    if (file.n < HEADER || memcmp(file.p, "TZif", 4) != 0 || file.p[4] < '2')
        return false;
    uint32_t *fields[] = {&c->isut, &c->isstd, &c->leap, &c->time, &c->type, &c->letters};
    for (size_t i = 0; i < 6; i++) {
        *fields[i] = be32(file.p + 20 + i * 4);
        if (*fields[i] > TRANSITIONS_MAX)
            return false;
    }
    return c->type > 0 && c->type <= TYPES_MAX;
}

static size_t block_bytes(const counts *c, size_t time_bytes)
{
    return c->time * time_bytes + c->time + c->type * 6 + c->letters + c->leap * (time_bytes + 4) + c->isstd + c->isut;
}

static bool read_block(nexus__zone *z, const char *p, const counts *c)
{
    const char *types = p + c->time * 8, *infos = types + c->time;
    z->before = (int32_t)be32(infos);
    for (uint32_t i = 0; i < c->time; i++) {
        uint8_t type = (uint8_t)types[i];
        z->times[i] = be64(p + i * 8);
        if (type >= c->type || (i > 0 && z->times[i] <= z->times[i - 1]))
            return false;
        z->offsets[i] = (int32_t)be32(infos + type * 6);
        if (z->offsets[i] < -93600 || z->offsets[i] > 93600)
            return false;
    }
    z->count = c->time;
    return z->before >= -93600 && z->before <= 93600;
}

static nexus_status bad_file(void)
{
    return nexus__fail(NEXUS_EINVAL, "not a TZif file of version 2 or later");
}

nexus_status nexus__zone_parse(nexus__zone **out, nexus_slice file, nexus__arena *arena)
{
    counts c;
    if (!read_header(file, &c) || file.n - HEADER < block_bytes(&c, 4))
        return bad_file();
    file = nexus__slice_from(file, HEADER + block_bytes(&c, 4));
    if (!read_header(file, &c) || file.n - HEADER < block_bytes(&c, 8))
        return bad_file();
    nexus__zone *z = nexus__arena_get(arena, sizeof *z);
    if (!z)
        return nexus__nomem();
    *z = (nexus__zone){.times = nexus__arena_get(arena, (c.time + 1) * sizeof *z->times),
                       .offsets = nexus__arena_get(arena, (c.time + 1) * sizeof *z->offsets)};
    if (!z->times || !z->offsets)
        return nexus__nomem();
    if (!read_block(z, file.p + HEADER, &c))
        return bad_file();
    nexus_slice foot = nexus__slice_from(file, HEADER + block_bytes(&c, 8));
    if (foot.n < 2 || foot.p[0] != '\n' || foot.p[foot.n - 1] != '\n')
        return bad_file();
    foot = nexus__slice(foot.p + 1, foot.n - 2);
    z->has_tail = foot.n > 0;
    if (z->has_tail && !parse_tail(&z->tail, foot))
        return bad_file();
    *out = z;
    return NEXUS_OK;
}

static bool is_name(nexus_slice name)
{
    for (size_t i = 0; i < name.n; i++) {
        char c = nexus__ascii_lower(name.p[i]);
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '_' && c != '-' && c != '+' && c != '/')
            return false; /* no dots: nothing leads out of the folder */
    }
    return name.n > 0 && name.n < 64 && name.p[0] != '/';
}

nexus_status nexus__zone_load(nexus__zone **out, nexus_slice name, nexus__arena *arena)
{
    char path[128];
    if (!is_name(name))
        return nexus__fail(NEXUS_ENOTFOUND, "\"%.*s\" is no time zone", (int)(name.n > 64 ? 64 : name.n), name.p);
    snprintf(path, sizeof path, "/usr/share/zoneinfo/%.*s", (int)name.n, name.p);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *bytes = fd < 0 ? NULL : nexus__malloc(NULL, FILE_MAX);
    ssize_t n = bytes ? read(fd, bytes, FILE_MAX) : -1;
    if (fd >= 0)
        close(fd);
    nexus_status status =
        n < 0 ? nexus__fail(NEXUS_ENOTFOUND, "no time zone \"%.*s\" in /usr/share/zoneinfo", (int)name.n, name.p)
              : nexus__zone_parse(out, nexus__slice(bytes, (size_t)n), arena);
    nexus__free(NULL, bytes);
    return status;
}

/* --- what is wanted of it ------------------------------------------------------------------------------------------ */

int32_t nexus__zone_offset(const nexus__zone *z, int64_t unix_s)
{
    if (!z)
        return 0;
    if (z->has_tail && (z->count == 0 || unix_s >= z->times[z->count - 1]))
        return offset_by_tail(&z->tail, unix_s);
    uint32_t low = 0, high = z->count; /* the first transition after it */
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (z->times[middle] <= unix_s)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? z->offsets[low - 1] : z->before;
}

/* Midnight may come twice (the first counts) or not at all (then the day begins where the clock was put forward). */
int64_t nexus__zone_day(const nexus__zone *z, int32_t year, int32_t month, int32_t day)
{
    year += (month - 1) / 12;
    month = (month - 1) % 12 + 1;
    int64_t local = (nexus__days_from_civil(year, month, 1) + day - 1) * 86400;
    int64_t earlier = local - nexus__zone_offset(z, local - 86400), later = local - nexus__zone_offset(z, local + 86400);
    bool first = earlier + nexus__zone_offset(z, earlier) == local,
         second = later + nexus__zone_offset(z, later) == local;
    if (first && second)
        return earlier < later ? earlier : later;
    return second ? later : earlier;
}
