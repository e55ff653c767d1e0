/* gateway/: what discovery decides. */
#include "gateway/discovery.h"

#include <criterion/criterion.h>

#include "base/time.h"

static nexus__address address(const char *host)
{
    nexus__address a;
    cr_assert(nexus__address_parse(host, 80, &a));
    return a;
}

static bool same(const nexus__address *a, const char *host)
{
    nexus__address b = address(host);
    return a->len == b.len && memcmp(&a->sa, &b.sa, a->len) == 0;
}

Test(discovery, time_to_live_within_a_second_and_five_minutes)
{
    cr_expect_eq(nexus__discovery_wait_ns(0), NEXUS__NS_PER_S);
    cr_expect_eq(nexus__discovery_wait_ns(42), 42 * NEXUS__NS_PER_S);
    cr_expect_eq(nexus__discovery_wait_ns(86400), 300 * NEXUS__NS_PER_S);
}

Test(discovery, the_first_family_has_the_other_as_alternate)
{
    nexus__address given[] = {address("::1"), address("10.0.0.1"), address("::2"), address("10.0.0.2"), address("::3")};
    nexus__address first[5], second[5];
    cr_assert_eq(nexus__discovery_pair(given, 5, first, second), 3);
    cr_expect(same(&first[0], "::1") && same(&first[1], "::2") && same(&first[2], "::3"));
    cr_expect(same(&second[0], "10.0.0.1") && same(&second[1], "10.0.0.2") && same(&second[2], "10.0.0.1"));
}

Test(discovery, one_family_alone_has_none)
{
    nexus__address given[] = {address("10.0.0.1"), address("10.0.0.2")}, first[2], second[2];
    cr_assert_eq(nexus__discovery_pair(given, 2, first, second), 2);
    cr_expect(second[0].len == 0 && second[1].len == 0);
    cr_expect_eq(nexus__discovery_pair(given, 0, first, second), 0);
}
