/* auth/: roles (attack row 69). */
#include <criterion/criterion.h>
#include <nexus/rbac.h>
#include <stdio.h>
#include <string.h>

#include "auth/rbac.h"

static bool ask(const nexus_rbac *r, const char *role, const char *permission, const char *subject, const char *owner)
{
    nexus_slice roles[] = {nexus__slice_c(role)};
    nexus_rbac_query q = NEXUS_RBAC_QUERY_INIT;
    q.roles = roles;
    q.role_count = 1;
    q.permission = nexus__slice_c(permission);
    q.subject = nexus__slice_c(subject);
    q.owner = nexus__slice_c(owner);
    return nexus_rbac_check(r, &q);
}

Test(rbac, patterns)
{
    static const struct {
        const char *pattern, *permission;
        bool matches;
    } rows[] = {
        {"orders:read", "orders:read", true},
        {"orders:*", "orders:read", true},
        {"orders:*", "orders:items:read", false},
        {"orders:**", "orders:items:read", true},
        {"orders:**", "orders:read", true},
        {"*:read", "users:read", true},
        {"*:**", "a:b:c:d", true},
        {"orders:read", "orders:rea", false},
        {"orders:read", "orders:read:all", false},
        {"orders:read:all", "orders:read", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        cr_expect_eq(nexus__permission_matches(nexus__slice_c(rows[i].pattern), nexus__slice_c(rows[i].permission)),
                     rows[i].matches, "%s %s", rows[i].pattern, rows[i].permission);
    static const char *const bad[] = {"",     "orders", "orders:", ":read", "a::b", "a:b:c:d:e:f:g", "A:b", "a:**:b",
                                      "a:b*", "a:***",  "a b:c",   "a:b\n", "**"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_expect_not_null(nexus__permission_pattern_error(nexus__slice_c(bad[i])), "%s", bad[i]);
}

Test(rbac, the_default_policy)
{
    nexus_rbac *r;
    cr_assert_eq(nexus_rbac_new_default(&r, NULL), NEXUS_OK, "%s", nexus_error_message());
    cr_expect(ask(r, "customer", "orders:create", "u1", ""));
    cr_expect(ask(r, "customer", "orders:read", "u1", "u1"));
    cr_expect_not(ask(r, "customer", "orders:read", "u1", "u2"));
    cr_expect_not(ask(r, "customer", "orders:read", "", ""), "nobody's object is not an anonymous subject's");
    cr_expect_not(ask(r, "customer", "analytics:read", "u1", "u1"));
    cr_expect(ask(r, "operator", "analytics:read", "u1", ""));
    cr_expect(ask(r, "operator", "orders:create", "u1", ""), "inherited");
    cr_expect_not(ask(r, "operator", "roles:grant", "u1", ""));
    cr_expect(ask(r, "admin", "roles:grant", "u1", ""));
    cr_expect(ask(r, "admin", "something:never:declared", "u1", ""));
    cr_expect_not(ask(r, "nobody", "orders:read", "u1", "u1"));
    nexus_rbac_free(r);
}

Test(rbac, row_69_a_request_has_no_wildcards)
{
    nexus_rbac *r;
    cr_assert_eq(nexus_rbac_new_default(&r, NULL), NEXUS_OK);
    static const char *const odd[] = {"orders:*", "*:**", "**", "orders:", "", "ORDERS:read", "orders:read "};
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++)
        cr_expect_not(ask(r, "admin", odd[i], "u1", "u1"), "%s", odd[i]);
    nexus_rbac_free(r);
}

Test(rbac, deny_beats_allow_from_wherever_it_comes)
{
    nexus_rbac *r;
    char text[200];
    int32_t reason;
    cr_assert_eq(nexus_rbac_new(&r, NULL), NEXUS_OK);
    cr_assert_eq(nexus_rbac_role(r, "base"), NEXUS_OK);
    cr_assert_eq(nexus_rbac_role(r, "top"), NEXUS_OK);
    cr_assert_eq(nexus_rbac_inherit(r, "top", "base"), NEXUS_OK);
    cr_assert_eq(nexus_rbac_permission(r, "a:known"), NEXUS_OK);
    cr_assert_eq(nexus_rbac_rule(r, "top", NEXUS_RBAC_ALLOW, "a:**"), NEXUS_OK);
    cr_assert_eq(nexus_rbac_rule(r, "base", NEXUS_RBAC_DENY, "a:*"), NEXUS_OK);
    cr_assert_eq(nexus_rbac_rule(r, "base", NEXUS_RBAC_ALLOW, "b:read"), NEXUS_OK);
    cr_assert_eq(nexus_rbac_compile(r), NEXUS_OK);
    cr_expect_eq(nexus_rbac_rule(r, "top", NEXUS_RBAC_ALLOW, "c:d"), NEXUS_EINVAL);
    cr_expect_not(ask(r, "top", "a:known", "", ""));
    cr_expect_not(ask(r, "top", "a:unknown", "", ""));
    cr_expect(ask(r, "top", "a:deep:down", "", ""));
    nexus_slice roles[] = {NEXUS_S("top")};
    nexus_rbac_query q = NEXUS_RBAC_QUERY_INIT;
    q.roles = roles, q.role_count = 1, q.permission = NEXUS_S("a:known");
    cr_expect_not(nexus_rbac_explain(r, &q, &reason, text, sizeof text));
    cr_expect_eq(reason, NEXUS_RBAC_BY_DENY);
    cr_expect_str_eq(text, "deny: top > base: a:*");
    q.permission = NEXUS_S("b:read");
    cr_expect(nexus_rbac_explain(r, &q, &reason, text, sizeof text));
    cr_expect_str_eq(text, "allow: top > base: b:read");
    q.tenant = NEXUS_S("t2");
    cr_expect_not(nexus_rbac_explain(r, &q, &reason, text, sizeof text));
    cr_expect_eq(reason, NEXUS_RBAC_OTHER_TENANT);
    nexus_rbac_free(r);
}

Test(rbac, hierarchies_have_no_cycle_and_eight_levels)
{
    nexus_rbac *r;
    char a[8], b[8];
    cr_assert_eq(nexus_rbac_new(&r, NULL), NEXUS_OK);
    for (int i = 0; i < 9; i++) {
        snprintf(a, sizeof a, "r%d", i);
        cr_assert_eq(nexus_rbac_role(r, a), NEXUS_OK);
    }
    for (int i = 0; i < 7; i++) {
        snprintf(a, sizeof a, "r%d", i);
        snprintf(b, sizeof b, "r%d", i + 1);
        cr_assert_eq(nexus_rbac_inherit(r, a, b), NEXUS_OK, "%d", i);
    }
    cr_expect_eq(nexus_rbac_inherit(r, "r7", "r8"), NEXUS_ECONFLICT);
    cr_expect_eq(nexus_rbac_inherit(r, "r7", "r0"), NEXUS_ECONFLICT);
    cr_expect_eq(nexus_rbac_inherit(r, "r3", "r3"), NEXUS_ECONFLICT);
    cr_expect_eq(nexus_rbac_inherit(r, "r0", "unknown"), NEXUS_ENOTFOUND);
    cr_expect_eq(nexus_rbac_compile(r), NEXUS_OK);
    nexus_rbac_free(r);
}

/* 8 levels of 24 roles, each of which inherits from all of the next: 24^7 ways from the top to the bottom. */
Test(rbac, many_ways_to_a_role_are_walked_once)
{
    nexus_rbac *r;
    char a[16], b[16];
    cr_assert_eq(nexus_rbac_new(&r, NULL), NEXUS_OK);
    for (int level = 7; level >= 0; level--)
        for (int i = 0; i < 24; i++) {
            snprintf(a, sizeof a, "l%d-%d", level, i);
            cr_assert_eq(nexus_rbac_role(r, a), NEXUS_OK);
            for (int k = 0; level < 7 && k < 24; k++) {
                snprintf(b, sizeof b, "l%d-%d", level + 1, k);
                cr_assert_eq(nexus_rbac_inherit(r, a, b), NEXUS_OK, "%s", nexus_error_message());
            }
        }
    cr_assert_eq(nexus_rbac_rule(r, "l7-23", NEXUS_RBAC_ALLOW, "a:**"), NEXUS_OK);
    cr_assert_eq(nexus_rbac_compile(r), NEXUS_OK);
    cr_expect(ask(r, "l0-0", "a:b", "", ""));
    cr_expect_not(ask(r, "l0-0", "b:b", "", ""));
    char text[200];
    nexus_slice roles[] = {NEXUS_S("l0-0")};
    nexus_rbac_query q = NEXUS_RBAC_QUERY_INIT;
    q.roles = roles;
    q.role_count = 1;
    q.permission = NEXUS_S("a:b:c");
    cr_expect(nexus_rbac_explain(r, &q, NULL, text, sizeof text));
    cr_expect(strstr(text, "allow: l0-0 > l1-") && strstr(text, " > l7-23: a:**"), "%s", text);
    cr_expect(nexus_rbac_covers(r, roles, 1, NEXUS_S("a:*"), false));
    nexus_rbac_free(r);
}
