#include <criterion/criterion.h>

#include "base/time.h"
#include "base/zone.h"

static nexus__arena arena;

static nexus__zone *load(const char *name)
{
    nexus__zone *z = NULL;
    nexus__arena_init(&arena, NULL, 4096);
    cr_assert_eq(nexus__zone_load(&z, nexus__slice_c(name), &arena), 0, "%s", nexus_error_message());
    return z;
}

static int64_t utc(const char *text)
{
    int64_t ns;
    cr_assert(nexus__parse_rfc3339(nexus__slice_c(text), &ns));
    return ns / NEXUS__NS_PER_S;
}

static void finish(void)
{
    nexus__arena_free(&arena);
}

static const struct {
    const char *zone, *at;
    int32_t offset;
} rows[] = {
    {"Europe/Berlin", "2026-01-15T00:00:00Z", 3600},      {"Europe/Berlin", "2026-03-29T00:59:59Z", 3600},
    {"Europe/Berlin", "2026-03-29T01:00:00Z", 7200},      {"Europe/Berlin", "2026-10-25T00:59:59Z", 7200},
    {"Europe/Berlin", "2026-10-25T01:00:00Z", 3600},      {"Europe/Berlin", "2090-07-01T00:00:00Z", 7200},
    {"America/New_York", "2050-03-13T06:59:59Z", -18000}, {"America/New_York", "2050-03-13T07:00:00Z", -14400},
    {"America/New_York", "1970-06-01T00:00:00Z", -14400}, {"Australia/Sydney", "2060-01-01T00:00:00Z", 39600},
    {"Australia/Sydney", "2060-07-01T00:00:00Z", 36000},  {"Asia/Kolkata", "2026-05-05T00:00:00Z", 19800},
    {"Asia/Kathmandu", "2026-05-05T00:00:00Z", 20700},    {"UTC", "2026-05-05T00:00:00Z", 0},
    {"America/Sao_Paulo", "2018-11-04T03:00:00Z", -7200}, {"Pacific/Apia", "2030-01-01T00:00:00Z", 46800},
};

Test(zone, offsets_of_past_and_future)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int32_t offset = nexus__zone_offset(load(rows[i].zone), utc(rows[i].at));
        cr_assert_eq(offset, rows[i].offset, "%s %s: %d", rows[i].zone, rows[i].at, offset);
        finish();
    }
    cr_assert_eq(nexus__zone_offset(NULL, 0), 0);
}

Test(zone, days_begin_at_local_midnight)
{
    nexus__zone *berlin = load("Europe/Berlin");
    cr_assert_eq(nexus__zone_day(berlin, 2026, 7, 1), utc("2026-06-30T22:00:00Z"));
    cr_assert_eq(nexus__zone_day(berlin, 2026, 12, 32), utc("2026-12-31T23:00:00Z"));
    cr_assert_eq(nexus__zone_day(berlin, 2026, 13, 1), utc("2026-12-31T23:00:00Z"));
    cr_assert_eq(nexus__zone_day(berlin, 2026, 3, 29), utc("2026-03-28T23:00:00Z"));
    cr_assert_eq(nexus__zone_day(berlin, 2026, 3, 30), utc("2026-03-29T22:00:00Z"), "a day of 23 hours");
    finish();
    /* The clock went forward at midnight: 2018-11-04 began at one o'clock. */
    cr_assert_eq(nexus__zone_day(load("America/Sao_Paulo"), 2018, 11, 4), utc("2018-11-04T03:00:00Z"));
    finish();
    /* And back at midnight: 2018-02-17 ended twice, the 18th began after the second time. */
    cr_assert_eq(nexus__zone_day(load("America/Sao_Paulo"), 2018, 2, 18), utc("2018-02-18T03:00:00Z"));
    finish();
    cr_assert_eq(nexus__zone_day(NULL, 2026, 2, 1), utc("2026-02-01T00:00:00Z"));
}

Test(zone, what_is_no_zone_is_refused)
{
    static const char *const names[] = {
        "", "Europe/Nowhere", "../../etc/passwd", "/etc/passwd", "Europe", "tzdata.zi", "a\nb"};
    nexus__zone *z = NULL;
    nexus__arena_init(&arena, NULL, 4096);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        cr_assert_neq(nexus__zone_load(&z, nexus__slice_c(names[i]), &arena), 0, "%s", names[i]);
    cr_assert_eq(nexus__zone_parse(&z, NEXUS_S("TZif"), &arena), NEXUS_EINVAL);
    cr_assert_null(z);
    finish();
}
