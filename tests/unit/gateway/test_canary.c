/* Splits and the guard of a canary: decisions only. */
#include <criterion/criterion.h>

#include "gateway/canary.h"

static nexus__canary_arm arms[] = {{.weight_bp = 9000}, {.weight_bp = 750}, {.weight_bp = 250}};
static const nexus__canary_conf conf = {.arms = {arms, 3}};

Test(canary, guard_rail)
{
    static const struct {
        nexus__canary_outcome arm, control;
        bool abort;
    } rows[] = {
        {{199, 199}, {1000, 0}, false}, /* too few */
        {{200, 4}, {1000, 0}, false},   /* exactly two points */
        {{200, 5}, {1000, 0}, true},    /* 2.5 points */
        {{200, 14}, {1000, 50}, false}, /* 7 % against 5 % */
        {{200, 15}, {1000, 50}, true},  /* 7.5 % */
        {{200, 200}, {1000, 1000}, false}, {{200, 4}, {0, 0}, false},       {{200, 5}, {0, 0}, true},
        {{0, 0}, {0, 0}, false},           {{4095, 4095}, {4095, 0}, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_expect_eq(nexus__canary_must_abort(rows[i].arm, rows[i].control, 200, 200), rows[i].abort, "row %zu", i);
}

Test(canary, turns_are_exact_and_smooth)
{
    int32_t turns[NEXUS__CANARY_ARMS_MAX] = {0};
    uint32_t counts[3] = {0}, since[3] = {0}, longest[3] = {0};
    for (int i = 0; i < 10000; i++) {
        uint32_t arm = nexus__canary_turn(&conf, 0, turns);
        counts[arm]++;
        for (int k = 0; k < 3; k++) {
            since[k] = (uint32_t)k == arm ? 0 : since[k] + 1;
            longest[k] = since[k] > longest[k] ? since[k] : longest[k];
        }
    }
    cr_assert(counts[0] == 9000 && counts[1] == 750 && counts[2] == 250, "%u %u %u", counts[0], counts[1], counts[2]);
    cr_assert_lt(longest[2], 80, "spread out, not in one run: %u", longest[2]);
}

Test(canary, an_aborted_arm_gives_its_share_to_the_control)
{
    int32_t turns[NEXUS__CANARY_ARMS_MAX] = {0};
    uint32_t counts[3] = {0};
    for (int i = 0; i < 10000; i++)
        counts[nexus__canary_turn(&conf, 1U << 1, turns)]++;
    cr_assert(counts[0] == 9750 && counts[1] == 0 && counts[2] == 250, "%u %u %u", counts[0], counts[1], counts[2]);
}

Test(canary, all_or_nothing_is_blue_green)
{
    nexus__canary_arm both[] = {{.weight_bp = 0}, {.weight_bp = 10000}};
    nexus__canary_conf c = {.arms = {both, 2}};
    int32_t turns[NEXUS__CANARY_ARMS_MAX] = {0};
    for (int i = 0; i < 100; i++) {
        cr_assert_eq(nexus__canary_turn(&c, 0, turns), 1);
        cr_assert_eq(nexus__canary_of_key(&c, 0, NEXUS_S("r"), nexus__slice(&i, sizeof i)), 1);
        cr_assert_eq(nexus__canary_turn(&c, 2, turns), 0);
    }
}

Test(canary, a_key_stays_with_its_arm)
{
    uint32_t counts[3] = {0};
    for (uint32_t i = 0; i < 20000; i++) {
        nexus_slice key = nexus__slice(&i, sizeof i);
        uint32_t arm = nexus__canary_of_key(&conf, 0, NEXUS_S("r"), key);
        cr_assert_eq(arm, nexus__canary_of_key(&conf, 0, NEXUS_S("r"), key));
        cr_assert_eq(nexus__canary_of_key(&conf, 1U << arm & ~1U, NEXUS_S("r"), key), 0);
        counts[arm]++;
    }
    cr_assert(counts[0] > 17700 && counts[0] < 18300 && counts[1] > 1300 && counts[1] < 1700, "%u %u %u", counts[0],
              counts[1], counts[2]);
}
