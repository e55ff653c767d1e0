#include <criterion/criterion.h>

#include "base/time.h"
#include "gateway/filters/limit.h"

Test(limits, composite_keys_and_two_phases)
{
    nexus__limit_table *table;
    cr_assert_eq(nexus__limit_table_new(&table, 1000, NULL), 0);
    nexus__gw_limit_conf limits[2] = {
        {.name = NEXUS_S("burst"), .rate = 2, .period_s = 1, .burst = 2, .key = NEXUS__KEY_IP},
        {.name = NEXUS_S("total"), .rate = 3, .period_s = 60, .burst = 3, .key = NEXUS__KEY_ROUTE}};
    nexus_rate rates[2];
    for (int i = 0; i < 2; i++)
        cr_assert_eq(nexus_rate_init(&rates[i], limits[i].rate, limits[i].period_s * NEXUS__NS_PER_S, limits[i].burst),
                     0);
    nexus__limit_subject a = {NEXUS_S("1.1.1.1"), {0}, NEXUS_S("r")}, b = {NEXUS_S("2.2.2.2"), {0}, NEXUS_S("r")};
    nexus__limit_outcome o;
    int64_t now = NEXUS__NS_PER_S;
    for (int i = 0; i < 2; i++) {
        nexus__limits_take(table, limits, rates, 2, &a, now, &o);
        cr_assert(o.allowed);
    }
    nexus__limits_take(table, limits, rates, 2, &a, now, &o);
    cr_assert_not(o.allowed);
    cr_assert_eq(o.strictest, &limits[0]);
    cr_assert_eq(nexus__limits_retry_after_s(&o), 1);
    nexus__limits_take(table, limits, rates, 2, &b, now, &o);
    cr_assert(o.allowed, "what was refused for a did not consume the total");
    cr_assert_eq(o.result.remaining, 0);
    nexus__limits_take(table, limits, rates, 2, &b, now, &o);
    cr_assert_not(o.allowed);
    cr_assert_eq(o.strictest, &limits[1]);
    nexus__limit_table_free(table);
}

Test(limits, one_bucket_for_a_64)
{
    nexus__limit_table *table;
    cr_assert_eq(nexus__limit_table_new(&table, 1000, NULL), 0);
    nexus__gw_limit_conf limit = {.name = NEXUS_S("x"), .rate = 1, .period_s = 60, .burst = 1, .key = NEXUS__KEY_IP};
    nexus_rate rate;
    nexus__limit_outcome o;
    cr_assert_eq(nexus_rate_init(&rate, 1, 60 * NEXUS__NS_PER_S, 1), 0);
    const char *ips[] = {"2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"};
    for (int i = 0; i < 3; i++) {
        nexus__limit_subject s = {.ip = nexus__slice_c(ips[i])};
        nexus__limits_take(table, &limit, &rate, 1, &s, NEXUS__NS_PER_S, &o);
        cr_assert_eq(o.allowed, i != 1);
    }
    nexus__limit_table_free(table);
}
