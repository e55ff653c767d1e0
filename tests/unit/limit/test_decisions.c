#include <criterion/criterion.h>

#include <nexus/limit.h>

#include "limit/breaker.h"

#define MS 1000000LL
#define S 1000000000LL

Test(rate, burst_then_the_rate)
{
    nexus_rate rate;
    nexus_rate_state state = {0};
    nexus_limit_result r;
    int64_t now = 50 * S;
    cr_assert_eq(nexus_rate_init(&rate, 10, S, 5), 0);
    for (uint32_t i = 0; i < 5; i++) {
        cr_assert(nexus_rate_take(&rate, &state, 1, now, &r));
        cr_assert_eq(r.remaining, 4 - i);
    }
    cr_assert_not(nexus_rate_take(&rate, &state, 1, now, &r));
    cr_assert_eq(r.retry_after_ns, 100 * MS);
    cr_assert_eq(r.reset_ns, 500 * MS);
    cr_assert_not(nexus_rate_take(&rate, &state, 1, now + 100 * MS - 1, &r));
    cr_assert(nexus_rate_take(&rate, &state, 1, now + 100 * MS, &r));
    cr_assert_not(nexus_rate_take(&rate, &state, 1, now + 100 * MS, &r));
    nexus_rate_give(&rate, &state, 1);
    cr_assert(nexus_rate_take(&rate, &state, 1, now + 100 * MS, &r));
    cr_assert(nexus_rate_take(&rate, &state, 5, now + 10 * S, &r), "idle time does not add up beyond the burst");
    cr_assert_not(nexus_rate_take(&rate, &state, 1, now + 10 * S, &r));
    cr_assert_not(nexus_rate_take(&rate, &state, 6, now + 99 * S, &r));
    cr_assert_eq(r.retry_after_ns, -1);
}

Test(rate, looks_without_consuming_and_refuses_nonsense)
{
    nexus_rate rate;
    nexus_rate_state state = {0};
    nexus_limit_result r;
    cr_assert_eq(nexus_rate_init(&rate, 0, S, 0), NEXUS_EINVAL);
    cr_assert_eq(nexus_rate_init(&rate, 1, 0, 0), NEXUS_EINVAL);
    cr_assert_eq(nexus_rate_init(&rate, 3, S, 0), 0);
    cr_assert(nexus_rate_take(&rate, &state, 0, S, &r));
    cr_assert_eq(r.remaining, 3);
    cr_assert_eq(state.word, 0);
}

Test(quota, slides_between_windows)
{
    nexus_quota_state state = {0};
    nexus_limit_result r;
    int64_t window = 60 * S, start = 1000 * window;
    for (int i = 0; i < 100; i++)
        cr_assert(nexus_quota_take(&state, 100, window, 1, start + 59 * S, &r));
    cr_assert_not(nexus_quota_take(&state, 100, window, 1, start + 59 * S, &r));
    cr_assert_not(nexus_quota_take(&state, 100, window, 1, start + window, &r));
    int passed = 0;
    for (int i = 0; i < 200; i++)
        passed += nexus_quota_take(&state, 100, window, 1, start + window + 30 * S, &r);
    cr_assert_eq(passed, 50);
    passed = 0;
    for (int i = 0; i < 200; i++)
        passed += nexus_quota_take(&state, 100, window, 1, start + 5 * window, &r);
    cr_assert_eq(passed, 100);
}

Test(breaker, opens_probes_and_closes)
{
    nexus_breaker *b;
    int64_t now = S, wait;
    cr_assert_eq(nexus_breaker_new(&b, NULL), 0);
    for (int i = 0; i < 19; i++) {
        cr_assert(nexus_breaker_enter(b, now, NULL));
        nexus_breaker_done(b, NEXUS_BREAKER_FAILED, now);
    }
    cr_assert_eq(nexus_breaker_state(b, now), NEXUS_BREAKER_CLOSED);
    nexus_breaker_done(b, NEXUS_BREAKER_IGNORED, now);
    cr_assert_eq(nexus_breaker_state(b, now), NEXUS_BREAKER_CLOSED);
    nexus_breaker_done(b, NEXUS_BREAKER_FAILED, now);
    cr_assert_eq(nexus_breaker_state(b, now), NEXUS_BREAKER_OPEN);
    cr_assert_not(nexus_breaker_enter(b, now + S, &wait));
    cr_assert_eq(wait, 4 * S);
    now += 5 * S;
    cr_assert(nexus_breaker_enter(b, now, NULL));
    nexus_breaker_done(b, NEXUS_BREAKER_FAILED, now);
    cr_assert_not(nexus_breaker_enter(b, now + 9 * S, NULL), "the pause doubles");
    now += 10 * S;
    for (int i = 0; i < 3; i++)
        cr_assert(nexus_breaker_enter(b, now, NULL));
    cr_assert_not(nexus_breaker_enter(b, now, NULL), "three probes at once");
    for (int i = 0; i < 3; i++)
        nexus_breaker_done(b, NEXUS_BREAKER_OK, now);
    cr_assert_eq(nexus_breaker_state(b, now), NEXUS_BREAKER_CLOSED);
    nexus_breaker_free(b);
}

Test(breaker, a_window_begins_with_a_failure_and_ends)
{
    nexus_breaker_rule rule = nexus__breaker_rule(NULL);
    nexus__breaker b = {0};
    int64_t now = 7 * S;
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(nexus__breaker_done(&b, &rule, NEXUS__BREAKER_PASS, NEXUS_BREAKER_OK, now), -1);
    cr_assert_eq(atomic_load(&b.window), 0, "successes alone write nothing");
    for (int i = 0; i < 19; i++)
        cr_assert_eq(nexus__breaker_done(&b, &rule, NEXUS__BREAKER_PASS, NEXUS_BREAKER_FAILED, now), -1);
    for (int i = 0; i < 20; i++)
        cr_assert_eq(nexus__breaker_done(&b, &rule, NEXUS__BREAKER_PASS, NEXUS_BREAKER_OK, now + S), -1);
    cr_assert_eq(nexus__breaker_done(&b, &rule, NEXUS__BREAKER_PASS, NEXUS_BREAKER_FAILED, now + 9 * S),
                 NEXUS_BREAKER_OPEN, "20 of 40");
    b = (nexus__breaker){0};
    for (int i = 0; i < 19; i++)
        cr_assert_eq(nexus__breaker_done(&b, &rule, NEXUS__BREAKER_PASS, NEXUS_BREAKER_FAILED, now), -1);
    cr_assert_eq(nexus__breaker_done(&b, &rule, NEXUS__BREAKER_PASS, NEXUS_BREAKER_FAILED, now + 11 * S), -1,
                 "the first nineteen are forgotten");
    cr_assert_eq(nexus__breaker_done(&b, &rule, NEXUS__BREAKER_PASS, NEXUS_BREAKER_OK, now + 30 * S), -1);
    cr_assert_eq(atomic_load(&b.window), 0, "quiet again");
}

Test(breaker, what_began_before_the_pause_is_no_probe)
{
    nexus_breaker_rule rule = nexus__breaker_rule(NULL);
    nexus__breaker b = {0};
    int64_t now = 7 * S, wait;
    uint32_t early = nexus__breaker_enter(&b, &rule, now, &wait);
    for (int i = 0; i < 20; i++)
        (void)nexus__breaker_done(&b, &rule, NEXUS__BREAKER_PASS, NEXUS_BREAKER_FAILED, now);
    cr_assert_not(nexus__breaker_admits(&b, &rule, now));
    now += 5 * S;
    cr_assert(nexus__breaker_admits(&b, &rule, now));
    uint32_t probe = nexus__breaker_enter(&b, &rule, now, &wait);
    cr_assert_neq(probe, early);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(nexus__breaker_done(&b, &rule, early, NEXUS_BREAKER_OK, now), -1);
    cr_assert_eq(nexus__breaker_state(&b, now), NEXUS_BREAKER_HALF_OPEN, "late answers close nothing");
    cr_assert_eq(nexus__breaker_done(&b, &rule, probe, NEXUS_BREAKER_IGNORED, now), -1);
    uint32_t probes[3];
    for (int i = 0; i < 3; i++)
        cr_assert_neq(probes[i] = nexus__breaker_enter(&b, &rule, now, &wait), NEXUS__BREAKER_REFUSED);
    cr_assert_eq(nexus__breaker_enter(&b, &rule, now, &wait), NEXUS__BREAKER_REFUSED);
    cr_assert_eq(nexus__breaker_done(&b, &rule, probes[0], NEXUS_BREAKER_FAILED, now), NEXUS_BREAKER_OPEN);
    cr_assert_eq(nexus__breaker_done(&b, &rule, probes[1], NEXUS_BREAKER_OK, now + 10 * S), -1,
                 "a probe of an earlier time counts no more");
    for (int i = 0; i < 3; i++) {
        probe = nexus__breaker_enter(&b, &rule, now + 10 * S, &wait);
        int32_t became = nexus__breaker_done(&b, &rule, probe, NEXUS_BREAKER_OK, now + 10 * S);
        cr_assert_eq(became, i == 2 ? NEXUS_BREAKER_CLOSED : -1);
    }
}

Test(budget, a_share_of_what_is_under_way)
{
    nexus_retry_budget b = {.percent = 20, .min = 3};
    for (int i = 0; i < 3; i++)
        cr_assert(nexus_retry_budget_take(&b));
    cr_assert_not(nexus_retry_budget_take(&b));
    for (int i = 0; i < 20; i++)
        nexus_retry_budget_begin(&b);
    cr_assert(nexus_retry_budget_take(&b));
    cr_assert_not(nexus_retry_budget_take(&b));
    nexus_retry_budget_put(&b);
    cr_assert(nexus_retry_budget_take(&b));
}

Test(semaphore, bounds)
{
    nexus_semaphore s = {.max = 1};
    cr_assert(nexus_semaphore_take(&s));
    cr_assert_not(nexus_semaphore_take(&s));
    nexus_semaphore_put(&s);
    cr_assert(nexus_semaphore_take(&s));
}
