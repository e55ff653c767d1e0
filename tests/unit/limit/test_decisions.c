#include <criterion/criterion.h>

#include <nexus/limit.h>

#include "base/str.h"
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
    cr_assert(nexus_rate_take(&rate, &state, 5, now + 10 * S, &r), "idle time does not add up beyond the burst");
    cr_assert_not(nexus_rate_take(&rate, &state, 1, now + 10 * S, &r));
    cr_assert_not(nexus_rate_take(&rate, &state, 6, now + 99 * S, &r));
    cr_assert_eq(r.retry_after_ns, -1);
}

Test(rate, gives_back_only_what_nobody_built_on)
{
    nexus_rate rate;
    nexus_rate_state state = {0};
    nexus_limit_result first, second;
    cr_assert_eq(nexus_rate_init(&rate, 10, S, 3), 0);
    cr_assert(nexus_rate_look(&rate, &state, 3, 5 * S, &first));
    cr_assert_eq(first.remaining, 3);
    cr_assert_not(nexus_rate_look(&rate, &state, 4, 5 * S, &first));
    cr_assert_eq(state.word, 0);
    cr_assert(nexus_rate_take(&rate, &state, 2, 5 * S, &first));
    cr_assert_not(nexus_rate_look(&rate, &state, 2, 5 * S, &second));
    cr_assert_eq(second.retry_after_ns, 100 * MS);
    cr_assert(nexus_rate_give(&rate, &state, 2, &first, 5 * S));
    cr_assert(nexus_rate_take(&rate, &state, 3, 5 * S, &second));
    cr_assert(nexus_rate_give(&rate, &state, 3, &second, 5 * S));
    /* A long wait between take and give: the cost has drained, another caller has the room already. */
    cr_assert(nexus_rate_take(&rate, &state, 1, 6 * S, &first));
    cr_assert(nexus_rate_take(&rate, &state, 3, 9 * S, &second));
    cr_assert_not(nexus_rate_give(&rate, &state, 1, &first, 6 * S));
    cr_assert_not(nexus_rate_take(&rate, &state, 1, 9 * S, &second), "three of three are taken");
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

Test(quota, a_clock_behind_the_edge_forgets_nothing)
{
    nexus_quota_state state = {0};
    nexus_limit_result r;
    int64_t window = 60 * S, edge = 1000 * window;
    for (int i = 0; i < 10; i++)
        cr_assert(nexus_quota_take(&state, 10, window, 1, edge + i, &r));
    cr_assert_not(nexus_quota_take(&state, 10, window, 1, edge - 1, &r));
    cr_assert_not(nexus_quota_take(&state, 10, window, 1, edge + 10, &r));
}

Test(quota, gives_back_in_any_window)
{
    nexus_quota_state state = {0};
    nexus_limit_result r;
    int64_t window = 60 * S, edge = 1000 * window;
    cr_assert(nexus_quota_take(&state, 10, window, 4, edge, &r));
    cr_assert(nexus_quota_look(&state, 10, window, 6, edge, &r));
    cr_assert_not(nexus_quota_look(&state, 10, window, 7, edge, &r));
    nexus_quota_give(&state, window, 1, edge);
    cr_assert(nexus_quota_look(&state, 10, window, 7, edge, &r));
    cr_assert(nexus_quota_take(&state, 10, window, 1, edge + window, &r), "three of the last window are in view");
    nexus_quota_give(&state, window, 3, edge);
    cr_assert(nexus_quota_take(&state, 10, window, 9, edge + window, &r));
    cr_assert_not(nexus_quota_look(&state, 10, window, 1, edge + window, &r));
    nexus_quota_give(&state, window, 3, edge - 5 * window);
    cr_assert_not(nexus_quota_look(&state, 10, window, 1, edge + window, &r));
}

/* Against a log of every request: requests at random moments, 1.3 times as many as the limit. */
Test(quota, is_within_a_hundredth_of_an_exact_log)
{
    enum { LIMIT = 1000, ROUNDS = 40000 };
    static int64_t log[ROUNDS];
    nexus_quota_state state = {0};
    nexus_limit_result r;
    int64_t window = 60 * S, now = 1000 * window;
    uint64_t random = 88172645463325252u;
    size_t passed = 0, oldest = 0, most = 0;
    for (int i = 0; i < ROUNDS; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        now += (int64_t)(random % (uint64_t)(2 * window / (LIMIT * 13 / 10)));
        if (!nexus_quota_take(&state, LIMIT, window, 1, now, &r))
            continue;
        log[passed++] = now;
        while (log[oldest] <= now - window)
            oldest++;
        most = passed - oldest > most ? passed - oldest : most;
    }
    size_t ideal = (size_t)((now - 1000 * window) / (window / LIMIT));
    cr_assert_leq(most, LIMIT + LIMIT / 100, "%zu in one window", most);
    cr_assert_geq(passed, ideal - ideal / 100, "%zu of %zu", passed, ideal);
}

Test(limiter, keys_are_apart_and_bounded)
{
    nexus_limiter *l;
    nexus_rate rate, slow;
    nexus_limit_result r;
    cr_assert_eq(nexus_limiter_new(&l, 1, NULL), 0);
    cr_assert_eq(nexus_rate_init(&rate, 1, 3600 * S, 1), 0);
    cr_assert_eq(nexus_rate_init(&slow, 1, 60 * S, 1), 0);
    cr_assert(nexus_limiter_take(l, "a", &rate, NEXUS_S("x"), 1, S, &r));
    cr_assert_not(nexus_limiter_take(l, "a", &rate, NEXUS_S("x"), 1, S, &r));
    cr_assert(nexus_limiter_take(l, "b", &rate, NEXUS_S("x"), 1, S, &r));
    cr_assert(nexus_limiter_take(l, "a", &slow, NEXUS_S("x"), 1, S, &r));
    cr_assert(nexus_limiter_take(l, "a", &rate, NEXUS_S("y"), 1, S, &r));
    cr_assert_eq(nexus_limiter_evictions(l), 0);
    for (int i = 0; i < 100000; i++)
        (void)nexus_limiter_take(l, "c", &slow, nexus__slice(&i, sizeof i), 1, S, &r);
    cr_assert(nexus_limiter_evictions(l) > 90000);
    cr_assert_not(nexus_limiter_take(l, "a", &rate, NEXUS_S("x"), 1, S, &r), "made-up keys push out each other");
    nexus_limiter_free(l);
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
