/* What an upstream does against failure: the knobs of the routes file, and the decisions on retries and ejection. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>

#include "base/str.h"
#include "base/time.h"
#include "gateway/health.h"
#include "gateway/retry.h"
#include "gateway/upstream.h"

#define S NEXUS__NS_PER_S
#define MS NEXUS__NS_PER_MS

/* --- the routes file ---------------------------------------------------------------------------------------------- */

static nexus_status parse(nexus__gw_config **out, const char *members, const char *route)
{
    char text[1200];
    snprintf(
        text,
        sizeof text, "{\"upstreams\":{\"a\":{\"targets\":[\"http://127.0.0.1:1\"]%s}},\"routes\":[{\"prefix\":\"/\",\"upstream\":\"a\"%s}]}",
        members, route);
    return nexus__gw_config_parse(out, "r", nexus__slice_c(text), NULL);
}

Test(config, what_is_left_out_is_as_the_documentation_says)
{
    nexus__gw_config *c;
    cr_assert_eq(parse(&c, "", ""), 0, "%s", nexus_error_message());
    const nexus__gw_upstream_conf *u = &c->upstreams.items[0];
    cr_assert_eq(u->balance.balancer, &nexus__balancer_p2c);
    cr_assert_eq(u->balance.bound_percent, 125);
    cr_assert_eq(u->balance.slow_start.window_ms, 0);
    cr_assert(u->balance.breaker.on);
    cr_assert_eq(u->balance.breaker.rule.samples_min, 20);
    cr_assert_eq(u->timeouts.connect_ms, 2000);
    cr_assert_eq(u->timeouts.first_byte_ms, 5000);
    cr_assert_eq(u->timeouts.try_ms, 10000);
    cr_assert_eq(u->timeouts.total_ms, 15000);
    cr_assert_eq(u->timeouts.idle_ms, 60000);
    cr_assert_eq(u->retries.max, 1);
    cr_assert(nexus__retry_status(&u->retries, 502) && nexus__retry_status(&u->retries, 503) &&
              nexus__retry_status(&u->retries, 504));
    cr_assert(!nexus__retry_status(&u->retries, 500) && !nexus__retry_status(&u->retries, 404) &&
              !nexus__retry_status(&u->retries, 600));
    cr_assert_eq(u->retries.budget_percent, 20);
    cr_assert_eq(u->ejection.deviations_percent, 190);
    cr_assert_eq(u->health.kind, NEXUS__GW_CHECK_NONE);
    cr_assert_eq(u->max_pending, 1024);
    cr_assert_eq(u->max_requests, 0);
    cr_assert_not(c->routes.items[0].breaker.on);
    cr_assert_eq(c->routes.items[0].retries, UINT32_MAX);
    nexus__gw_config_free(c);
}

Test(config, every_knob)
{
    nexus__gw_config *c;
    cr_assert_eq(
        parse(&c,
              ",\"balance\":{\"type\":\"maglev\",\"key\":{\"cookie\":\"sid\"},\"secret\":\"s\",\"bound_percent\":150},"
              "\"slow_start\":{\"window_ms\":5000,\"aggression_percent\":200,\"min_percent\":20},"
              "\"timeouts_ms\":{\"per_try\":7},\"breaker\":{\"failures_percent\":30,\"probes\":5},"
              "\"retries\":{\"max\":3,\"base_ms\":5,\"cap_ms\":50,\"statuses\":[500,599],\"budget\":false},"
              "\"ejection\":{\"failures\":2,\"max_percent\":10,\"sweep_ms\":100,\"success_rate\":false},"
              "\"health\":{\"type\":\"grpc\",\"service\":\"shop\",\"expect\":[200,204]},"
              "\"max_pending\":0,\"max_requests\":9",
              ",\"breaker\":true,\"retries\":0"),
        0, "%s", nexus_error_message());
    const nexus__gw_upstream_conf *u = &c->upstreams.items[0];
    cr_assert_eq(u->balance.balancer, &nexus__balancer_maglev);
    cr_assert_eq(u->hash.source, NEXUS__GW_HASH_COOKIE);
    cr_assert(nexus__slice_eq_c(u->hash.name, "sid"));
    cr_assert_eq(u->balance.bound_percent, 150);
    cr_assert_eq(u->balance.slow_start.aggression_percent, 200);
    cr_assert_eq(u->timeouts.try_ms, 7);
    cr_assert_eq(u->balance.breaker.rule.failures_percent, 30);
    cr_assert_eq(u->balance.breaker.rule.samples_min, 20);
    cr_assert_eq(u->retries.max, 3);
    cr_assert(nexus__retry_status(&u->retries, 500) && nexus__retry_status(&u->retries, 599) &&
              !nexus__retry_status(&u->retries, 502));
    cr_assert_eq(u->retries.budget_percent, UINT32_MAX);
    cr_assert_eq(u->ejection.failures, 2);
    cr_assert_eq(u->ejection.deviations_percent, 0);
    cr_assert_eq(u->health.kind, NEXUS__GW_CHECK_GRPC);
    cr_assert_eq(u->health.status_max, 204);
    cr_assert_eq(u->max_pending, 0);
    cr_assert_eq(u->max_requests, 9);
    cr_assert(c->routes.items[0].breaker.on);
    cr_assert_eq(c->routes.items[0].retries, 0);
    nexus__gw_config_free(c);
}

static const struct {
    const char *members, *message;
} broken[] = {
    {",\"balance\":\"p3c\"", "no balancer \"p3c\"; the nearest is \"p2c\""},
    {",\"balance\":{\"key\":\"ip\"}", "\"type\" is missing"},
    {",\"balance\":{\"type\":\"maglev\",\"key\":\"host\"}", "/balance/key: must be \"ip\", \"principal\" or"},
    {",\"balance\":{\"type\":\"maglev\",\"key\":{\"headr\":\"x\"}}",
     "/balance/key: must be header, cookie, query or param"},
    {",\"balance\":{\"type\":\"maglev\",\"key\":{\"header\":\"x y\"}}", "is no name of a header"},
    {",\"balance\":{\"type\":\"maglev\",\"bound_percent\":90}", "must be over 100"},
    {",\"retries\":{\"statuses\":[404]}", "must be a status from 500 to 599"},
    {",\"retries\":{\"budget\":{\"percent\":101}}", "/retries/budget/percent: must be a whole number from 0 to 100"},
    {",\"breaker\":{\"failure_percent\":1}", "nearest known one is \"failures_percent\""},
    {",\"ejection\":{\"success_rate\":{\"hosts_min\":1}}", "/ejection/success_rate/hosts_min"},
    {",\"health\":{\"type\":\"udp\"}", "must be \"http\", \"tcp\" or \"grpc\""},
    {",\"health\":{\"expect\":[200]}", "must be two statuses"},
    {",\"health\":{\"path\":\"x\"}", "must start with \"/\""},
};

Test(config, says_what_is_wrong)
{
    nexus__gw_config *c;
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        cr_assert_eq(parse(&c, broken[i].members, ""), NEXUS_EINVAL, "%s", broken[i].members);
        cr_assert(strstr(nexus_error_message(), broken[i].message), "%s gave %s", broken[i].members,
                  nexus_error_message());
    }
}

/* --- retries ------------------------------------------------------------------------------------------------------ */

static const nexus__gw_retries retries = {.max = 3, .base_ms = 25, .cap_ms = 250};

Test(retry, full_jitter_within_a_doubling_ceiling)
{
    static const int64_t ceilings[] = {25, 50, 100, 200, 250, 250};
    for (uint32_t i = 0; i < 6; i++) {
        nexus__retry_ask ask = {.tries = i + 1, .max = 10, .now = S, .deadline = 10 * S, .random = UINT64_MAX};
        cr_assert_eq(nexus__retry_wait_ms(&retries, &ask), ceilings[i]);
        ask.random = 0;
        cr_assert_eq(nexus__retry_wait_ms(&retries, &ask), 0);
    }
}

Test(retry, ends_with_the_tries_or_the_time)
{
    nexus__retry_ask ask = {.tries = 3, .max = 3, .now = S, .deadline = 2 * S};
    cr_assert_eq(nexus__retry_wait_ms(&retries, &ask), 0);
    ask.tries = 4;
    cr_assert_eq(nexus__retry_wait_ms(&retries, &ask), -1);
    ask.tries = 1;
    ask.random = UINT64_MAX;
    ask.deadline = S + 25 * MS;
    cr_assert_eq(nexus__retry_wait_ms(&retries, &ask), -1, "it would begin when the time is up");
    ask.deadline = S - 1;
    ask.random = 0;
    cr_assert_eq(nexus__retry_wait_ms(&retries, &ask), -1);
}

Test(retry, waits_as_long_as_upstream_asks)
{
    nexus__retry_ask ask = {.tries = 1, .max = 1, .now = S, .deadline = 5 * S, .after_ns = 2 * S, .random = UINT64_MAX};
    cr_assert_eq(nexus__retry_wait_ms(&retries, &ask), 2000);
    ask.after_ns = 4 * S;
    cr_assert_eq(nexus__retry_wait_ms(&retries, &ask), -1, "no time for that");
    cr_assert_eq(nexus__retry_after_ns(NEXUS_S("120"), 0), 120 * S);
    cr_assert_eq(nexus__retry_after_ns(NEXUS_S("0"), 0), 0);
    cr_assert_eq(nexus__retry_after_ns(NEXUS_S("soon"), 0), 0);
    cr_assert_gt(nexus__retry_after_ns(NEXUS_S("18446744073709551615"), 0), 86400 * S);
    cr_assert_eq(nexus__retry_after_ns(NEXUS_S("Sun, 06 Nov 1994 08:49:37 GMT"), 784111770 * S), 7 * S);
    cr_assert_eq(nexus__retry_after_ns(NEXUS_S("Sun, 06 Nov 1994 08:49:37 GMT"), 784111790 * S), 0, "in the past");
}

/* --- ejection ----------------------------------------------------------------------------------------------------- */

static const nexus__gw_ejection ejection = {
    .failures = 5, .base_ms = 30000, .max_ms = 300000, .max_percent = 50, .deviations_percent = 190};

Test(ejection, at_most_half_but_always_one)
{
    cr_assert(nexus__eject_may(&ejection, 0, 1));
    cr_assert(nexus__eject_may(&ejection, 0, 2));
    cr_assert_not(nexus__eject_may(&ejection, 1, 2));
    cr_assert_not(nexus__eject_may(&ejection, 1, 3));
    cr_assert(nexus__eject_may(&ejection, 1, 4));
    cr_assert_not(nexus__eject_may(&ejection, 2, 5));
}

Test(ejection, pauses_grow_up_to_a_cap_and_jitter)
{
    cr_assert_eq(nexus__eject_pause_ns(&ejection, 1, 0), 30 * S);
    cr_assert_eq(nexus__eject_pause_ns(&ejection, 3, 0), 90 * S);
    cr_assert_eq(nexus__eject_pause_ns(&ejection, 99, 0), 300 * S);
    cr_assert_eq(nexus__eject_pause_ns(&ejection, 1, 3000), 33 * S);
    cr_assert_eq(nexus__eject_pause_ns(&ejection, 1, 3001), 30 * S);
}

Test(ejection, far_below_the_mean)
{
    double rates[6] = {1, 1, 1, 1, 1, 0.4};
    double mean = 0.9, deviation = sqrt((5 * 0.01 + 0.25) / 6);
    double least = nexus__eject_threshold(&ejection, rates, 6);
    cr_assert_float_eq(least, mean - 1.9 * deviation, 1e-9);
    cr_assert(0.4 < least);
    double alike[5] = {0.5, 0.5, 0.5, 0.5, 0.5};
    cr_assert_not(0.5 < nexus__eject_threshold(&ejection, alike, 5), "all bad alike is nobody's fault");
}

/* --- active checks ------------------------------------------------------------------------------------------------ */

Test(checks, count_in_a_row_and_fail_open)
{
    static const nexus__gw_health rule = {.fails = 3, .passes = 2};
    static const struct {
        nexus__check_outcome outcome;
        nexus__check_turn turn;
    } steps[] = {
        {NEXUS__CHECK_BAD, NEXUS__CHECK_STAY},     {NEXUS__CHECK_BAD, NEXUS__CHECK_STAY},
        {NEXUS__CHECK_GOOD, NEXUS__CHECK_STAY},    {NEXUS__CHECK_BAD, NEXUS__CHECK_STAY},
        {NEXUS__CHECK_BAD, NEXUS__CHECK_STAY},     {NEXUS__CHECK_UNKNOWN, NEXUS__CHECK_STAY},
        {NEXUS__CHECK_BAD, NEXUS__CHECK_DOWN},     {NEXUS__CHECK_GOOD, NEXUS__CHECK_STAY},
        {NEXUS__CHECK_GOOD, NEXUS__CHECK_UP},      {NEXUS__CHECK_UNKNOWN, NEXUS__CHECK_STAY},
        {NEXUS__CHECK_UNKNOWN, NEXUS__CHECK_STAY}, {NEXUS__CHECK_UNKNOWN, NEXUS__CHECK_UP},
    };
    nexus__check_counts counts = {0};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        cr_assert_eq(nexus__check_count(&counts, &rule, steps[i].outcome), steps[i].turn, "step %zu", i);
}
