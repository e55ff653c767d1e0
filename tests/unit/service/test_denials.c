/* service/: what is denied is recorded, and an attacker does not fill the disk with it. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/time.h"
#include "service/denials.h"

#define MINUTE (60 * NEXUS__NS_PER_S)

static nexus__denials counted;
static nexus__denial due[NEXUS__DENIALS_MAX + 1];

static void deny(const char *actor, const char *ip, const char *object)
{
    nexus__denial d = {.action = "access.denied", .reason = "role-missing"};
    snprintf(d.actor, sizeof d.actor, "%s", actor);
    snprintf(d.ip, sizeof d.ip, "%s", ip);
    snprintf(d.object, sizeof d.object, "%s", object);
    nexus__denials_add(&counted, &d);
}

static size_t due_at(int64_t now, bool last)
{
    return nexus__denials_due(&counted, now, last, due);
}

Test(denials, the_first_is_told_soon_and_the_same_again_once_a_minute_with_a_count)
{
    cr_expect_eq(due_at(0, false), 0);
    deny("ann", "10.0.0.1", "GET /a");
    cr_assert_eq(due_at(1, false), 1);
    cr_expect_eq(due[0].count, 1);
    for (int i = 0; i < 1000; i++)
        deny("ann", i % 2 ? "10.0.0.1" : "10.0.0.2", "GET /a"); /* her address does not matter: it is she */
    cr_expect_eq(due_at(MINUTE - 1, false), 0);
    cr_assert_eq(due_at(MINUTE, false), 1);
    cr_expect_eq(due[0].count, 1000);
    cr_expect_str_eq(due[0].actor, "ann");
    cr_expect_eq(due_at(2 * MINUTE, false), 0);
}

Test(denials, who_has_no_name_is_told_by_the_address_and_what_he_wanted)
{
    deny("", "10.0.0.1", "GET /a");
    deny("", "10.0.0.2", "GET /a");
    deny("", "10.0.0.2", "GET /b");
    deny("", "10.0.0.2", "GET /b");
    cr_assert_eq(due_at(1, false), 3);
    cr_expect_eq(due[2].count, 2);
}

Test(denials, a_flood_of_different_ones_is_bounded)
{
    char object[32];
    size_t records = 0;
    for (int i = 0; i < 100000; i++) {
        snprintf(object, sizeof object, "GET /%d", i);
        deny("", "10.0.0.1", object);
        if (i % 1000 == 0)
            records += due_at(i, false);
    }
    records += due_at(MINUTE, false);
    cr_expect_eq(records, NEXUS__DENIALS_MAX + 1);
    cr_expect_str_eq(due[0].object, "*");
    cr_expect_eq(due[0].count, 100000 - NEXUS__DENIALS_MAX);
    deny("", "10.0.0.1", "GET /again"); /* the next minute has room */
    cr_assert_eq(due_at(MINUTE + 1, false), 1);
    cr_expect_str_eq(due[0].object, "GET /again");
}

Test(denials, at_the_end_nothing_is_lost)
{
    deny("ann", "", "GET /a");
    (void)due_at(1, false);
    deny("ann", "", "GET /a");
    cr_assert_eq(due_at(2, true), 1);
    cr_expect_eq(due[0].count, 1);
}
