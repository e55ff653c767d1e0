/* ingest/: instants, the dedupe window, uniques. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "base/hash.h"
#include "ingest/dedupe.h"
#include "ingest/inflate.h"
#include "ingest/instant.h"
#include "ingest/uniques.h"

Test(instant, common_forms_read_the_same)
{
    static const char *const forms[] = {
        "2015-05-17T10:05:03Z", "2015-05-17T12:05:03+02:00", "2015-05-17T10:05:03.000Z", "1431857103",
        "1431857103000",        "1431857103000000",          "1431857103000000000"};
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        int64_t ms = 0;
        cr_assert(nexus__instant_parse((nexus_slice){forms[i], strlen(forms[i])}, &ms), "%s", forms[i]);
        cr_assert_eq(ms, 1431857103000, "%s", forms[i]);
    }
    int64_t ms;
    cr_assert(nexus__instant_parse(NEXUS_S("2015-05-17"), &ms) && ms == 1431820800000);
    cr_assert_not(nexus__instant_parse(NEXUS_S("2015-02-30"), &ms));
    cr_assert_not(nexus__instant_parse(NEXUS_S("yesterday"), &ms));
    cr_assert_not(nexus__instant_parse(NEXUS_S(""), &ms));
}

Test(instant, spans_have_a_unit)
{
    int64_t ms;
    cr_assert(nexus__span_parse(NEXUS_S("24h"), &ms) && ms == 86400000);
    cr_assert_not(nexus__span_parse(NEXUS_S("24"), &ms));
    cr_assert_not(nexus__span_parse(NEXUS_S("0h"), &ms));
    cr_assert_not(nexus__span_parse(NEXUS_S("-1h"), &ms));
}

static nexus__print print_of(nexus__dedupe *d, int i)
{
    char id[16];
    int n = snprintf(id, sizeof id, "id-%d", i);
    return nexus__dedupe_print(d, nexus__slice(id, (size_t)n));
}

Test(dedupe, an_id_is_remembered_for_the_window)
{
    nexus__dedupe d;
    nexus__dedupe_init(&d, NULL, 1000, 1000000);
    for (int i = 0; i < 5000; i++)
        cr_assert_eq(nexus__dedupe_add(&d, print_of(&d, i), 0), NEXUS_OK);
    for (int i = 0; i < 5000; i++)
        cr_assert(nexus__dedupe_has(&d, print_of(&d, i)));
    cr_assert_eq(nexus__dedupe_add(&d, print_of(&d, 9000), 1001), NEXUS_OK); /* the generation turns */
    cr_assert(nexus__dedupe_has(&d, print_of(&d, 1)));
    cr_assert_eq(nexus__dedupe_add(&d, print_of(&d, 9001), 2500), NEXUS_OK);
    cr_assert_not(nexus__dedupe_has(&d, print_of(&d, 1)));
    cr_assert(nexus__dedupe_has(&d, print_of(&d, 9000)));
    nexus__dedupe_free(&d);
}

Test(dedupe, the_budget_bounds_it)
{
    nexus__dedupe d;
    nexus__dedupe_init(&d, NULL, 1000000, 100);
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(nexus__dedupe_add(&d, print_of(&d, i), 0), NEXUS_OK);
    cr_assert_leq(nexus__dedupe_count(&d), 100);
    cr_assert(nexus__dedupe_has(&d, print_of(&d, 999)));
    nexus__dedupe_free(&d);
}

Test(dedupe, removal_leaves_the_others)
{
    nexus__dedupe d;
    nexus__dedupe_init(&d, NULL, 1000, 1000000);
    for (int i = 0; i < 700; i++)
        cr_assert_eq(nexus__dedupe_add(&d, print_of(&d, i), 0), NEXUS_OK);
    for (int i = 0; i < 700; i += 2)
        nexus__dedupe_remove(&d, print_of(&d, i));
    for (int i = 0; i < 700; i++)
        cr_assert_eq(nexus__dedupe_has(&d, print_of(&d, i)), i % 2 == 1);
    cr_assert_eq(nexus__dedupe_count(&d), 350);
    nexus__dedupe_free(&d);
}

Test(uniques, exact_up_to_its_limit_then_within_the_bound)
{
    nexus__uniques u = {0};
    for (uint64_t i = 1; i <= 200000; i++) {
        cr_assert_eq(nexus__uniques_add(&u, NULL, nexus__mix64(i)), NEXUS_OK);
        cr_assert_eq(nexus__uniques_add(&u, NULL, nexus__mix64(i / 2 + 1)), NEXUS_OK);
        if (i == NEXUS__UNIQUES_EXACT)
            cr_assert(nexus__uniques_exact(&u) && nexus__uniques_count(&u) == NEXUS__UNIQUES_EXACT);
    }
    double error = ((double)nexus__uniques_count(&u) - 200000) / 200000;
    cr_assert_not(nexus__uniques_exact(&u));
    cr_assert(error > -0.024 && error < 0.024, "%f", error); /* three standard errors */
    nexus__uniques_free(&u, NULL);
}

Test(uniques, merging_is_counting_together)
{
    nexus__uniques a = {0}, b = {0}, all = {0};
    for (uint64_t i = 1; i <= 20000; i++) {
        cr_assert_eq(nexus__uniques_add(i % 3 ? &a : &b, NULL, nexus__mix64(i)), NEXUS_OK);
        cr_assert_eq(nexus__uniques_add(&all, NULL, nexus__mix64(i)), NEXUS_OK);
    }
    cr_assert_eq(nexus__uniques_merge(&a, NULL, &b), NEXUS_OK);
    cr_assert_eq(nexus__uniques_count(&a), nexus__uniques_count(&all));
    nexus__uniques_free(&a, NULL);
    nexus__uniques_free(&b, NULL);
    nexus__uniques_free(&all, NULL);
}

Test(inflate, broken_bodies_are_refused)
{
    nexus__buf out;
    nexus__buf_init(&out, NULL, 1000);
    cr_assert_eq(nexus__inflate(&out, NEXUS_S("not gzip"), true), NEXUS_EINVAL);
    cr_assert_eq(nexus__inflate(&out, NEXUS_S(""), true), NEXUS_EINVAL);
    nexus__buf_free(&out);
}
