#include <criterion/criterion.h>

#include "base/time.h"
#include "gateway/balance.h"
#include "gateway/filters/limit.h"

Test(wrr, spreads_smoothly_by_weight)
{
    nexus__balance_target t[3] = {
        {.weight = 5, .usable = true}, {.weight = 1, .usable = true}, {.weight = 1, .usable = true}};
    char order[8] = {0};
    for (int i = 0; i < 7; i++)
        order[i] = (char)('a' + nexus__balance_wrr(t, 3));
    cr_assert_str_eq(order, "aabacaa");
    t[0].usable = false;
    t[1].weight = 0;
    cr_assert_eq(nexus__balance_wrr(t, 3), 2);
    t[2].usable = false;
    cr_assert_eq(nexus__balance_wrr(t, 3), NEXUS__BALANCE_NONE);
}

Test(p2c, prefers_the_less_loaded_and_never_the_unusable)
{
    nexus__balance_target t[4] = {{.weight = 1, .active = 9, .usable = true},
                                  {.weight = 1, .usable = true},
                                  {.weight = 1, .usable = false},
                                  {.weight = 0, .usable = true}};
    for (uint64_t r = 0; r < 1000; r++)
        cr_assert_eq(nexus__balance_p2c(t, 4, r * 0x9e3779b97f4a7c15u), 1);
    t[0].weight = 100;
    cr_assert_eq(nexus__balance_p2c(t, 4, 5), 0, "nine on a hundred is less than none on one");
}

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
