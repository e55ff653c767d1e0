/* Balancers as functions: who is picked, how evenly, and how little changes when targets do. */
#include <criterion/criterion.h>
#include <math.h>

#include "base/time.h"
#include "gateway/balance/balance.h"

#define S NEXUS__NS_PER_S
enum { MANY = 10000 };

static nexus__load loads[MANY];
static nexus__balance_host hosts[MANY];
static int64_t turns[MANY];
static uint32_t hits[MANY];
static nexus__balance_rule rule;
static nexus__balance balance;
static nexus__balance_ask ask;
static const nexus__hash_key key = {1, 2};

static void setup(const nexus__balancer *balancer, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        hosts[i] = (nexus__balance_host){.load = &loads[i], .weight = 1, .id = i + 100};
    rule = (nexus__balance_rule){.balancer = balancer, .breaker = {true, nexus__breaker_rule(NULL)}};
    cr_assert_eq(nexus__balance_open(&balance, &rule, hosts, n, key, NULL), 0);
    ask = (nexus__balance_ask){.now = 1000 * S, .turns = turns};
}

static uint32_t pick(uint64_t seed)
{
    ask.random = nexus__mix64(seed + 1);
    return nexus__balance_pick(&balance, ask);
}

static void spread(uint32_t n, uint32_t times)
{
    memset(hits, 0, n * sizeof *hits);
    for (uint32_t i = 0; i < times; i++)
        hits[pick(i)]++;
}

static void open_circuit(nexus__load *load)
{
    for (int i = 0; i < 20; i++)
        (void)nexus__breaker_done(&load->breaker, &rule.breaker.rule, NEXUS__BREAKER_PASS, NEXUS_BREAKER_FAILED,
                                  ask.now);
}

Test(wrr, spreads_smoothly_by_weight)
{
    setup(&nexus__balancer_wrr, 3);
    hosts[0].weight = 5;
    char order[8] = {0};
    for (int i = 0; i < 7; i++)
        order[i] = (char)('a' + pick(0));
    cr_assert_str_eq(order, "aabacaa");
    loads[0].down = true;
    hosts[1].weight = 0;
    cr_assert_eq(pick(0), 2);
    open_circuit(&loads[2]);
    cr_assert_eq(pick(0), 0, "nobody is healthy with a closed circuit: the checks may be wrong");
    hosts[0].weight = 0;
    cr_assert_eq(pick(0), NEXUS__BALANCE_NONE, "drained is drained");
}

Test(every_balancer, gives_nothing_to_those_that_are_out)
{
    for (uint32_t k = 0; nexus__balancers[k]; k++) {
        memset(loads, 0, sizeof loads);
        setup(nexus__balancers[k], 5);
        loads[0].down = true;
        loads[1].ejected_until = ask.now + 1;
        hosts[2].weight = 0;
        open_circuit(&loads[3]);
        for (uint64_t i = 0; i < 1000; i++) {
            ask.keyed = i & 1;
            ask.key = nexus__mix64(i);
            cr_assert_eq(pick(i), 4, "%s", rule.balancer->name);
        }
        ask.tried = 1 << 4;
        cr_assert_eq(pick(1), 4, "%s: rather the same again than none", rule.balancer->name);
        ask.tried = 0;
        open_circuit(&loads[4]);
        cr_assert_lt(pick(1), 2, "%s: unhealthy ones at last", rule.balancer->name);
        open_circuit(&loads[0]);
        open_circuit(&loads[1]);
        cr_assert_eq(pick(1), NEXUS__BALANCE_NONE, "%s", rule.balancer->name);
        ask.now += 5 * S;
        cr_assert_neq(pick(1), NEXUS__BALANCE_NONE, "%s: half open", rule.balancer->name);
        nexus__balance_close(&balance, NULL);
    }
}

Test(every_balancer, spreads_by_weight)
{
    static const uint32_t weights[4] = {1, 2, 3, 4};
    for (uint32_t k = 0; nexus__balancers[k]; k++) {
        memset(loads, 0, sizeof loads);
        memset(turns, 0, sizeof turns);
        setup(nexus__balancers[k], 4);
        for (uint32_t i = 0; i < 4; i++)
            hosts[i].weight = weights[i];
        nexus__balance_close(&balance, NULL);
        cr_assert_eq(nexus__balance_open(&balance, &rule, hosts, 4, key, NULL), 0);
        memset(hits, 0, sizeof hits);
        for (uint32_t i = 0; i < 40000; i++) { /* a hundred under way: the oldest of them ends */
            static uint32_t under_way[100];
            ask.keyed = true;
            ask.key = nexus__mix64(i);
            if (i >= 100)
                nexus__load_end(hosts[under_way[i % 100]].load);
            uint32_t at = under_way[i % 100] = pick(i);
            nexus__load_begin(hosts[at].load);
            hits[at]++;
        }
        for (uint32_t i = 0; i < 4; i++)
            cr_assert_float_eq(hits[i], 4000.0 * weights[i], 400, "%s: %u of weight %u", rule.balancer->name, hits[i],
                               weights[i]);
        nexus__balance_close(&balance, NULL);
    }
}

Test(p2c, prefers_the_less_loaded)
{
    setup(&nexus__balancer_p2c, 2);
    for (int i = 0; i < 9; i++)
        nexus__load_begin(&loads[0]);
    spread(2, 1000);
    cr_assert_eq(hits[0], 0);
    hosts[0].weight = 100;
    spread(2, 1000);
    cr_assert_eq(hits[1], 0, "nine on a hundred is less than none on one");
    for (int i = 0; i < 9; i++)
        nexus__load_end(&loads[0]);
    cr_assert_eq(nexus__load_active(&loads[0]), 0);
    cr_assert_eq(atomic_load(&loads[0].work) >> 32, 9, "and counts what ended");
}

Test(p2c, looks_at_two_of_many)
{
    setup(&nexus__balancer_p2c, MANY);
    spread(MANY, 3000000); /* would not end in the time of a test if it were linear */
    uint32_t least = UINT32_MAX;
    for (uint32_t i = 0; i < MANY; i++)
        least = hits[i] < least ? hits[i] : least;
    cr_assert_gt(least, 150, "each is drawn about 300 times");
}

Test(slow_start, grows_after_an_absence_only)
{
    setup(&nexus__balancer_wrr, 2);
    rule.slow_start.window_ms = 30000;
    rule.slow_start.aggression_percent = 100;
    rule.slow_start.min_percent = 10;
    cr_assert_eq(nexus__balance_weight(&balance, 0, ask.now), 1000, "a new one starts at full weight");
    loads[0].back_since = ask.now;
    cr_assert_eq(nexus__balance_weight(&balance, 0, ask.now), 101);
    cr_assert_eq(nexus__balance_weight(&balance, 0, ask.now + 15 * S), 501);
    cr_assert_eq(nexus__balance_weight(&balance, 0, ask.now + 30 * S), 1000);
    rule.slow_start.aggression_percent = 200;
    cr_assert_eq(nexus__balance_weight(&balance, 0, ask.now + 15 * S), 1 + (uint64_t)(1000 * sqrt(0.5)));
    rule.slow_start.aggression_percent = 100;
    ask.now += 3 * S;
    spread(2, 1100);
    cr_assert_float_eq(hits[0], 100.0, 2, "a tenth of the other's: %u", hits[0]);
}

Test(ewma, a_slow_or_failing_host_gets_less)
{
    setup(&nexus__balancer_ewma, 2);
    cr_assert_float_eq(nexus__balance_rtt_ns(&loads[0], ask.now), 10e6, 1);
    nexus__balance_time(&loads[0], 50000000, false, ask.now);
    cr_assert_float_eq(nexus__balance_rtt_ns(&loads[0], ask.now), 50e6, 10, "up at once");
    spread(2, 100);
    cr_assert_eq(hits[0], 0);
    cr_assert_float_eq(nexus__balance_rtt_ns(&loads[0], ask.now + 10 * S), 50e6 * exp(-1), 100);
    nexus__balance_time(&loads[0], 1000000, false, ask.now + 10 * S);
    cr_assert_float_eq(nexus__balance_rtt_ns(&loads[0], ask.now + 10 * S), 50e6 * exp(-1) + 1e6 * (1 - exp(-1)), 100);
    nexus__balance_time(&loads[1], 1000, true, ask.now);
    cr_assert_float_eq(nexus__balance_rtt_ns(&loads[1], ask.now), 1e9, 100, "failing fast does not win");
    spread(2, 100);
    cr_assert_eq(hits[1], 0);
    nexus__balance_time(&loads[1], 2 * S, true, ask.now);
    cr_assert_float_eq(nexus__balance_rtt_ns(&loads[1], ask.now), 2e9, 1000);
}

/* --- maglev ------------------------------------------------------------------------------------------------------- */

static uint16_t before[NEXUS__MAGLEV_SIZE];

Test(maglev, shares_slots_evenly)
{
    setup(&nexus__balancer_maglev, 50);
    for (uint32_t i = 0; i < NEXUS__MAGLEV_SIZE; i++)
        hits[balance.table[i]]++;
    for (uint32_t i = 0; i < 50; i++)
        cr_assert(hits[i] == NEXUS__MAGLEV_SIZE / 50 || hits[i] == NEXUS__MAGLEV_SIZE / 50 + 1, "%u", hits[i]);
    nexus__balance_close(&balance, NULL);
}

Test(maglev, few_keys_move_when_a_host_goes)
{
    uint32_t moved = 0, orphans = 0;
    setup(&nexus__balancer_maglev, 20);
    memcpy(before, balance.table, sizeof before);
    nexus__balance_close(&balance, NULL);
    cr_assert_eq(nexus__balance_open(&balance, &rule, hosts, 19, key, NULL), 0);
    for (uint32_t i = 0; i < NEXUS__MAGLEV_SIZE; i++) {
        orphans += before[i] == 19;
        moved += before[i] != 19 && before[i] != balance.table[i];
    }
    cr_assert_lt(orphans, NEXUS__MAGLEV_SIZE / 20 + 2);
    cr_assert_lt(moved, NEXUS__MAGLEV_SIZE * 3 / 100, "%u slots of others moved", moved);
    nexus__balance_close(&balance, NULL);
}

Test(maglev, a_key_stays_and_only_those_of_a_dead_host_move)
{
    setup(&nexus__balancer_maglev, 10);
    ask.keyed = true;
    for (uint32_t i = 0; i < 10000; i++) {
        ask.key = nexus__mix64(i);
        before[i] = (uint16_t)pick(i);
        cr_assert_eq(pick(i + 77777), before[i], "random bits are no matter");
    }
    loads[3].down = true;
    for (uint32_t i = 0; i < 10000; i++) {
        ask.key = nexus__mix64(i);
        uint32_t now = pick(i);
        cr_assert(before[i] == 3 ? now != 3 : now == before[i]);
    }
    nexus__balance_close(&balance, NULL);
}

Test(maglev, no_host_has_more_than_its_share_of_the_load)
{
    setup(&nexus__balancer_maglev, 4);
    rule.bound_percent = 125;
    ask.keyed = true;
    ask.key = 7; /* everybody asks for the same */
    for (ask.total = 0; ask.total < 1000; ask.total++)
        nexus__load_begin(&loads[pick(0)]);
    for (uint32_t i = 0; i < 4; i++)
        cr_assert_leq(nexus__load_active(&loads[i]), 313, "host %u: %u", i, nexus__load_active(&loads[i]));
    nexus__balance_close(&balance, NULL);
}

Test(maglev, another_secret_is_another_table)
{
    uint32_t same = 0;
    setup(&nexus__balancer_maglev, 10);
    memcpy(before, balance.table, sizeof before);
    nexus__balance_close(&balance, NULL);
    cr_assert_eq(nexus__balance_open(&balance, &rule, hosts, 10, (nexus__hash_key){3, 4}, NULL), 0);
    for (uint32_t i = 0; i < NEXUS__MAGLEV_SIZE; i++)
        same += before[i] == balance.table[i];
    cr_assert_lt(same, NEXUS__MAGLEV_SIZE / 5);
    nexus__balance_close(&balance, NULL);
}
