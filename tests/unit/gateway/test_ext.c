/* Decisions of an authorization service, and where they are kept. */
#include <criterion/criterion.h>

#include "gateway/auth/ext.h"

static nexus__ext_key key(uint64_t place, uint64_t other)
{
    return (nexus__ext_key){{place, other}};
}

/* A known one, good until then. */
static nexus__ext_decision *put(nexus__ext_table *t, nexus__ext_key k, int64_t now, int64_t until)
{
    nexus__ext_decision *d = nexus__ext_new(t, k, now, NULL);
    d->known = until > 0;
    d->until = until;
    nexus__ext_unref(d); /* the transfer's */
    return d;
}

Test(decisions, are_found_while_they_are_fresh_or_asked_for)
{
    nexus__ext_table t = {0};
    nexus__ext_decision *asked = put(&t, key(7, 1), 10, 0), *known = put(&t, key(7, 2), 10, 20);
    cr_assert_eq(nexus__ext_find(&t, key(7, 1), 1000), asked);
    cr_assert_eq(nexus__ext_find(&t, key(7, 2), 19), known);
    cr_assert_null(nexus__ext_find(&t, key(7, 2), 20));
    cr_assert_null(nexus__ext_find(&t, key(7, 3), 10), "both words of the key count");
    for (int i = 0; i < NEXUS__EXT_SLOTS; i++)
        nexus__ext_unref(t.slots[i]);
}

Test(decisions, give_way_in_the_order_of_what_is_lost)
{
    nexus__ext_table t = {0};
    nexus__ext_decision *asked = put(&t, key(7, 1), 10, 0);
    put(&t, key(7, 2), 10, 50);
    put(&t, key(7, 3), 10, 40);
    put(&t, key(7, 4), 10, 20);
    put(&t, key(7, 5), 30, 60); /* in the place of 4, which is over */
    cr_assert(nexus__ext_find(&t, key(7, 2), 30) && nexus__ext_find(&t, key(7, 3), 30));
    put(&t, key(7, 6), 30, 70); /* in the place of 3, which is over soonest */
    cr_assert_null(nexus__ext_find(&t, key(7, 3), 30));
    cr_assert(nexus__ext_find(&t, key(7, 2), 30) && nexus__ext_find(&t, key(7, 5), 30));
    for (uint64_t i = 7; i < 20; i++)
        put(&t, key(7, i), 30, 100);
    cr_assert_eq(nexus__ext_find(&t, key(7, 1), 30), asked, "others wait for it");
    for (int i = 0; i < NEXUS__EXT_SLOTS; i++)
        nexus__ext_unref(t.slots[i]);
}

Test(decisions, silence_is_no_yes_and_is_not_kept)
{
    nexus__ext_conf conf = {.cache_ms = 1000};
    nexus__ext_table t = {0};
    nexus__ext_decision *d = nexus__ext_new(&t, key(1, 1), 10, NULL);
    nexus__ext_judge(d, &conf, NEXUS_ETIMEDOUT, NULL, 10);
    cr_assert_eq(d->answer, NEXUS__AUTH_FAILED);
    cr_assert_eq(d->refusal.status, 503);
    cr_assert_null(nexus__ext_find(&t, key(1, 1), 10));
    nexus__ext_unref(d);
    nexus__ext_unref(d);
}
