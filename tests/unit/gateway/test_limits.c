/* What a set of policies decides for whom, and what clients are told of it. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/time.h"
#include "gateway/filters/limit_lease.h"
#include "limit/limiter.h"

#define S NEXUS__NS_PER_S

static nexus_limiter *limiter;
static nexus__gw_config *config;
static nexus__limit_set set;

static const nexus__gw_limits_conf *load(const char *limits)
{
    char text[4096];
    snprintf(text, sizeof text,
             "{\"upstreams\":{\"u\":{\"targets\":[\"http://h\"]}},\"routes\":[{\"id\":\"r\",\"prefix\":\"/\","
             "\"upstream\":\"u\",\"auth\":\"jwt\",\"limits\":%s}]}",
             limits);
    cr_assert_eq(nexus__gw_config_parse(&config, "f", nexus__slice_c(text), NULL), 0, "%s", nexus_error_message());
    return nexus__gw_filter_conf(&config->routes.items[0], &nexus__gw_filter_limits);
}

static void open_set(const char *limits, const char *route)
{
    const nexus__gw_limits_conf *c = load(limits);
    if (!limiter)
        cr_assert_eq(nexus_limiter_new(&limiter, 1000, NULL), 0);
    cr_assert_eq(nexus__limit_set_open(&set, &c->policies, NULL, nexus__slice_c(route), c->cost, 1,
                                       nexus__limiter_secret(limiter), NULL),
                 0, "%s", nexus_error_message());
}

static void close_set(void)
{
    nexus__limit_set_close(&set, NULL);
    nexus__gw_config_free(config);
}

static void finish(void)
{
    nexus_limiter_free(limiter);
    limiter = NULL;
}

static nexus__limit_outcome ask(const char *ip, const char *consumer, int64_t now)
{
    nexus__limit_subject s = {.ip = nexus__slice_c(ip), .consumer = nexus__slice_c(consumer)};
    nexus__limit_outcome o;
    nexus__limits_take(limiter, &set, &s, 1, now, NULL, &o);
    return o;
}

/* How many pass at once. */
static int pass(const char *ip, const char *consumer, int64_t now)
{
    int n = 0;
    while (n < 1000 && !ask(ip, consumer, now).denied)
        n++;
    return n;
}

Test(limits, an_ipv6_client_is_its_64, .fini = finish)
{
    open_set("[{\"rate\":3,\"period_s\":60}]", "r");
    cr_assert_eq(pass("2001:db8:1:2::1", "", S), 3);
    cr_assert_eq(pass("2001:db8:1:2:ffff::9", "", S), 0);
    cr_assert_eq(pass("2001:db8:1:3::1", "", S), 3);
    cr_assert_eq(pass("10.0.0.1", "", S), 3);
    cr_assert_eq(pass("10.0.0.1", "somebody", S), 0, "the consumer is no part of this key");
    close_set();
}

Test(limits, the_first_rule_whose_parts_are_there_counts_then_the_address, .fini = finish)
{
    open_set("[{\"rate\":2,\"period_s\":60,\"key\":[\"consumer\",\"route\"]}]", "r");
    cr_assert_eq(pass("10.0.0.1", "ann", S), 2);
    cr_assert_eq(pass("10.0.0.2", "ann", S), 0);
    cr_assert_eq(pass("10.0.0.1", "bob", S), 2);
    cr_assert_eq(pass("10.0.0.1", "", S), 2, "without a consumer the address");
    cr_assert_eq(pass("10.0.0.1", "10.0.0.1", S), 2, "a consumer that is called like an address is somebody else");
    close_set();
    open_set("[{\"rate\":2,\"period_s\":60,\"key\":[\"consumer\",\"route\"]}]", "other");
    cr_assert_eq(pass("10.0.0.1", "ann", S), 2, "another route");
    cr_assert_eq(pass("10.0.0.1", "", S), 2, "and its own count of addresses");
    close_set();
}

static bool tenant_of(const void *source, const nexus__limit_part *part, nexus_slice *out)
{
    *out = nexus__slice_c(source);
    return nexus__slice_eq_c(part->name, "tenant") && source;
}

Test(limits, rules_over_claims_and_headers, .fini = finish)
{
    open_set("[{\"rate\":1,\"period_s\":60,\"key\":[[\"claim:tenant\",\"route\"],[\"consumer\"]]}]", "r");
    static const struct {
        const char *tenant, *consumer, *ip;
        bool allowed;
    } rows[] = {
        {"acme", "ann", "10.0.0.1", true}, {"acme", "bob", "10.0.0.2", false}, {"zeta", "bob", "10.0.0.2", true},
        {NULL, "bob", "10.0.0.2", true},   {NULL, "bob", "10.0.0.3", false},   {NULL, "", "10.0.0.3", true},
        {NULL, "", "10.0.0.3", false},     {"", "", "10.0.0.3", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nexus__limit_subject s = {.ip = nexus__slice_c(rows[i].ip),
                                  .consumer = nexus__slice_c(rows[i].consumer),
                                  .field = tenant_of,
                                  .source = rows[i].tenant};
        nexus__limit_outcome o;
        nexus__limits_take(limiter, &set, &s, 1, S, NULL, &o);
        cr_assert_eq(!o.denied, rows[i].allowed, "row %zu", i);
    }
    close_set();
}

/* In one of eighty of these limiters two of the three keys share a set. */
Test(limits, keys_that_share_a_set_share_nothing_else)
{
    for (int i = 0; i < 400; i++) {
        open_set("[{\"name\":\"a\",\"rate\":100,\"period_s\":60},{\"name\":\"b\",\"quota\":50,\"window_s\":86400},"
                 "{\"name\":\"c\",\"rate\":2,\"period_s\":60}]",
                 "r");
        cr_assert_eq(pass("10.0.0.1", "", S), 2);
        close_set();
        finish();
    }
}

Test(limits, when_one_refuses_nothing_is_taken_from_the_others, .fini = finish)
{
    open_set("[{\"name\":\"wide\",\"rate\":100,\"period_s\":60},{\"name\":\"day\",\"quota\":50,\"window_s\":86400},"
             "{\"name\":\"narrow\",\"rate\":2,\"period_s\":60}]",
             "r");
    cr_assert_eq(pass("10.0.0.1", "", S), 2);
    for (int i = 0; i < 500; i++) {
        nexus__limit_outcome o = ask("10.0.0.1", "", S);
        cr_assert_eq(o.denied, 4);
        cr_assert(nexus__slice_eq_c(o.strictest->conf->name, "narrow"));
    }
    set.count = 1;
    cr_assert_eq(pass("10.0.0.1", "", S), 98);
    set.items++;
    cr_assert_eq(pass("10.0.0.1", "", S), 48);
    set.items--;
    set.count = 3;
    close_set();
}

Test(limits, the_strictest_is_told, .fini = finish)
{
    char space[512];
    nexus__buf text = {.p = space, .cap = sizeof space, .max = sizeof space};
    open_set("[{\"name\":\"burst\",\"rate\":100,\"period_s\":60},{\"name\":\"day\",\"quota\":43,\"window_s\":86400},"
             "{\"name\":\"quiet\",\"rate\":1,\"enforce\":false}]",
             "r");
    nexus__limit_outcome o = ask("10.0.0.1", "", 1000 * 86400 * S + 1);
    char lines[NEXUS__LIMIT_LINES_MAX];
    cr_assert(nexus__slice_eq_c(nexus__limit_lines(&o, lines),
                                "RateLimit-Policy: \"burst\";q=100;w=60, \"day\";q=43;w=86400\r\n"
                                "RateLimit: \"day\";r=42;t=86400\r\n"));
    nexus__limit_legacy_lines(&o, &text);
    cr_assert(nexus__slice_eq_c(nexus__buf_slice(&text), "X-RateLimit-Limit: 43\r\nX-RateLimit-Remaining: "
                                                         "42\r\nX-RateLimit-Reset: 86400\r\n"));
    o = ask("10.0.0.1", "", 1000 * 86400 * S + 1);
    cr_assert_eq(o.would_deny, 4);
    cr_assert_eq(o.denied, 0);
    nexus__buf_clear(&text);
    o.denied = 3;
    o.result.retry_after_ns = S + 1;
    nexus__limit_problem(&set, &o, NEXUS_S("id"), &text);
    nexus__buf_char(&text, 0);
    cr_assert(strstr(text.p, "http-problem-types#quota-exceeded\""));
    cr_assert(strstr(text.p, "Try again in 2 s."));
    cr_assert(strstr(text.p, "\"violated-policies\":[\"burst\",\"day\"]"), "%s", text.p);
    cr_assert_eq(nexus__limit_retry_after_s(&o), 2);
    close_set();
}

Test(limits, a_request_costs_what_the_route_says, .fini = finish)
{
    open_set("{\"cost\":4,\"policies\":[{\"rate\":10,\"period_s\":60}]}", "r");
    nexus__limit_subject s = {.ip = NEXUS_S("10.0.0.1")};
    nexus__limit_outcome o;
    nexus__limits_take(limiter, &set, &s, 4, S, NULL, &o);
    cr_assert_eq(o.result.remaining, 6);
    nexus__limits_take(limiter, &set, &s, 4, S, NULL, &o);
    nexus__limits_take(limiter, &set, &s, 4, S, NULL, &o);
    cr_assert_eq(o.denied, 1);
    cr_assert_eq(o.result.remaining, 2);
    close_set();
    const nexus__gw_limits_conf *c = load("{\"cost\":40,\"policies\":[{\"rate\":10}]}");
    cr_assert_eq(
        nexus__limit_set_open(&set, &c->policies, NULL, NEXUS_S("r"), c->cost, 1, nexus__limiter_secret(limiter), NULL),
        NEXUS_EINVAL);
    close_set();
}

#define ROUTE(limits)                                                                                                  \
    "{\"upstreams\":{\"u\":{\"targets\":[\"http://h\"]}},\"plans\":{\"gold\":{\"policies\":[]}},\"routes\":[{"         \
    "\"prefix\":\"/\",\"upstream\":\"u\",\"limits\":" limits "}]}"

static const struct {
    const char *text, *message;
} broken[] = {
    {ROUTE("[{}]"), "/routes/0/limits/0: needs either \"rate\" or \"quota\""},
    {ROUTE("[{\"rate\":1,\"quota\":1}]"), "needs either"},
    {ROUTE("[{\"quota\":1}]"), "either \"window_s\" or \"window\""},
    {ROUTE("[{\"quota\":1,\"window\":\"week\"}]"), "must be \"day\" or \"month\""},
    {ROUTE("[{\"rate\":1,\"window\":\"day\"}]"), "belongs to a quota"},
    {ROUTE("[{\"quota\":1,\"window\":\"day\",\"scope\":\"cluster\"}]"), "of the calendar is counted for all"},
    {ROUTE("[{\"rate\":1,\"on_store_error\":\"open\"}]"), "that a store counts"},
    {ROUTE("[{\"quota\":1,\"window_s\":1,\"burst\":3}]"), "belong to a rate"},
    {ROUTE("[{\"quota\":16777216,\"window_s\":1}]"), "a sliding window is at most 16777215"},
    {ROUTE("[{\"rate\":1,\"window_s\":1}]"), "belongs to a quota"},
    {ROUTE("[{\"rate\":1,\"key\":[\"host\"]}]"), "/routes/0/limits/0/key/0: \"host\" is no part of a key"},
    {ROUTE("[{\"rate\":1,\"key\":[\"header:\"]}]"), "needs a name"},
    {ROUTE("[{\"rate\":1,\"key\":[]}]"), "1 to 4 parts"},
    {ROUTE("[{\"rate\":1,\"key\":[[\"ip\"],\"ip\"]}]"), "/routes/0/limits/0/key/1: must be an array"},
    {ROUTE("[{\"rate\":1,\"key\":[\"claim:x\"]}]"), "needs \"auth\""},
    {ROUTE("[{\"rate\":1},{\"rate\":2}]"), "two policies named \"default\""},
    {ROUTE("[{\"rate\":1,\"name\":\"a b\"}]"), "must be a token"},
    {ROUTE("{\"headers\":\"on\"}"), "must be \"draft\" or \"off\""},
    {ROUTE("{\"plan\":{\"default\":\"silver\"}}"), "/routes/0: no plan \"silver\""},
    {ROUTE("{\"plan\":{\"consumers\":{\"ann\":\"silver\"}}}"), "no plan \"silver\""},
    {ROUTE("{\"plan\":{\"header\":\"a b\"}}"), "no name of a header"},
};

Test(limits, a_routes_file_that_cannot_be_meant_is_refused)
{
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        nexus__gw_config *c;
        cr_assert_eq(nexus__gw_config_parse(&c, "f", nexus__slice_c(broken[i].text), NULL), NEXUS_EINVAL, "%s",
                     broken[i].text);
        cr_assert(strstr(nexus_error_message(), broken[i].message), "%s gave %s", broken[i].text, nexus_error_message());
    }
}

Test(limits, windows_of_the_calendar_in_the_plans_zone)
{
    nexus__gw_config *c;
    nexus_slice text =
        NEXUS_S("{\"upstreams\":{\"u\":{\"targets\":[\"http://h\"]}},\"plans\":{\"gold\":{\"timezone\":\"Europe/"
                "Berlin\",\"policies\":[{\"name\":\"m\",\"quota\":9,\"window\":\"month\"},{\"name\":\"d\",\"quota\":9,"
                "\"window\":\"day\"}]},\"utc\":{\"policies\":[{\"quota\":9,\"window\":\"day\"}]}},\"routes\":[]}");
    cr_assert_eq(nexus__gw_config_parse(&c, "f", text, NULL), 0, "%s", nexus_error_message());
    static const struct {
        int plan, policy;
        int64_t at, since, ends;
    } rows[] = {
        {0, 0, 1782856800, 1782856800, 1785535200}, /* 2026-07-01T00:00 in Berlin to August's */
        {0, 0, 1782856799, 1780264800, 1782856800}, /* a second before */
        {0, 1, 1774738800, 1774738800, 1774821600}, /* 2026-03-29: 23 hours */
        {0, 1, 1792879200, 1792879200, 1792969200}, /* 2026-10-25: 25 hours */
        {1, 0, 1774785600, 1774742400, 1774828800},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t since, ends;
        nexus__limit_window(&c->plans.items[rows[i].plan].policies.items[rows[i].policy], rows[i].at, &since, &ends);
        cr_assert(since == rows[i].since && ends == rows[i].ends, "row %zu: %lld %lld", i, (long long)since,
                  (long long)ends);
    }
    nexus__gw_config_free(c);
}

Test(limits, the_last_tokens_are_leased_in_smaller_pieces)
{
    cr_assert_eq(nexus__ledger_grant(1000, 10, 1), 10);
    cr_assert_eq(nexus__ledger_grant(20, 10, 1), 5);
    cr_assert_eq(nexus__ledger_grant(3, 10, 1), 1);
    cr_assert_eq(nexus__ledger_grant(1, 10, 1), 1);
    cr_assert_eq(nexus__ledger_grant(0, 10, 1), 0);
    cr_assert_eq(nexus__ledger_grant(9, 10, 5), 5);
    cr_assert_eq(nexus__ledger_grant(4, 10, 5), 0);
    cr_assert_eq(nexus__ledger_grant(100, 0, 0), 0);
}
