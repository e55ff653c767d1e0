#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include <nexus/router.h>

#include "base/str.h"
#include "base/time.h"

static nexus_status add(nexus_router *r, const char *id, const char *host, uint32_t methods, const char *path,
                        uint32_t flags)
{
    nexus_router_rule rule = NEXUS_ROUTER_RULE_INIT;
    rule.id = id;
    rule.host = host;
    rule.methods = methods;
    rule.path = path;
    rule.flags = flags;
    rule.value = (void *)(uintptr_t)1;
    return nexus_router_add(r, &rule);
}

static const char *find(nexus_router *r, const char *host, uint32_t method, const char *path, nexus_router_match *m)
{
    nexus_status status = nexus_router_find(r, nexus__slice_c(host), nexus__slice_c(path), method, NULL, NULL, m);
    return status == 0 ? m->id : status == NEXUS_EPERM ? "405" : "404";
}

static nexus_router *sample(void)
{
    static const struct {
        const char *id, *host;
        uint32_t methods;
        const char *path;
        uint32_t flags;
    } rules[] = {
        {"me", NULL, NEXUS_METHOD_GET, "/users/me", 0},
        {"int", NULL, NEXUS_METHOD_GET, "/users/{id:int}", 0},
        {"uuid", NULL, NEXUS_METHOD_GET, "/users/{id:uuid}", 0},
        {"any", NULL, NEXUS_METHOD_GET | NEXUS_METHOD_DELETE, "/users/{id}", 0},
        {"order", NULL, 0, "/users/{id}/orders/{order}", 0},
        {"files", NULL, 0, "/files/{rest...}", 0},
        {"api", NULL, 0, "/api", NEXUS_ROUTER_PREFIX},
        {"api-v1", NULL, NEXUS_METHOD_GET, "/api/v1", NEXUS_ROUTER_PREFIX},
        {"tenant", NULL, 0, "/t/{tenant}/x", NEXUS_ROUTER_PREFIX},
        {"tenant-a", NULL, 0, "/t/a", NEXUS_ROUTER_PREFIX},
        {"host", "api.example.com", 0, "/", NEXUS_ROUTER_PREFIX},
        {"wild", "*.example.com", 0, "/", NEXUS_ROUTER_PREFIX},
        {"deep", "*.b.example.com", 0, "/", NEXUS_ROUTER_PREFIX},
        {"cafe", NULL, 0, "/caf\xc3\xa9", 0},
    };
    nexus_router *r;
    cr_assert_eq(nexus_router_new(&r, NULL), 0);
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        cr_assert_eq(add(r, rules[i].id, rules[i].host, rules[i].methods, rules[i].path, rules[i].flags), 0, "%s",
                     nexus_error_message());
    return r;
}

Test(find, precedence)
{
    static const struct {
        const char *host;
        uint32_t method;
        const char *path, *id;
    } rows[] = {
        {"", NEXUS_METHOD_GET, "/users/me", "me"},
        {"", NEXUS_METHOD_HEAD, "/users/me", "me"},
        {"", NEXUS_METHOD_DELETE, "/users/me", "any"},
        {"", NEXUS_METHOD_POST, "/users/me", "405"},
        {"", NEXUS_METHOD_GET, "/users/-42", "int"},
        {"", NEXUS_METHOD_GET, "/users/4x", "any"},
        {"", NEXUS_METHOD_GET, "/users/018f2f6e-7b4d-7000-8000-0123456789AB", "uuid"},
        {"", NEXUS_METHOD_GET, "/users/", "404"},
        {"", NEXUS_METHOD_GET, "/users", "404"},
        {"", NEXUS_METHOD_PUT, "/users/7/orders/9", "order"},
        {"", NEXUS_METHOD_GET, "/files/a/b/c", "files"},
        {"", NEXUS_METHOD_GET, "/files/", "files"},
        {"", NEXUS_METHOD_GET, "/files", "404"},
        {"", NEXUS_METHOD_GET, "/api", "api"},
        {"", NEXUS_METHOD_GET, "/api/", "api"},
        {"", NEXUS_METHOD_GET, "/apix", "404"},
        {"", NEXUS_METHOD_GET, "/api/v1/x", "api-v1"},
        {"", NEXUS_METHOD_POST, "/api/v1/x", "api"},
        {"", NEXUS_METHOD_GET, "/api/v10", "api"},
        {"", NEXUS_METHOD_GET, "/t/a/x/y", "tenant"},
        {"", NEXUS_METHOD_GET, "/t/a/y", "tenant-a"},
        {"", NEXUS_METHOD_GET, "/caf%C3%A9", "cafe"},
        {"", NEXUS_METHOD_TRACE, "/api", "405"},
        {"API.Example.com:8080", NEXUS_METHOD_GET, "/users/me", "host"},
        {"x.example.com.", NEXUS_METHOD_GET, "/", "wild"},
        {"a.b.example.com", NEXUS_METHOD_GET, "/", "deep"},
        {"example.com", NEXUS_METHOD_GET, "/users/me", "me"},
        {"notexample.com", NEXUS_METHOD_GET, "/nothing", "404"},
    };
    nexus_router *r = sample();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nexus_router_match m;
        cr_assert_str_eq(find(r, rows[i].host, rows[i].method, rows[i].path, &m), rows[i].id, "%s%s", rows[i].host,
                         rows[i].path);
    }
    nexus_router_free(r);
}

Test(find, captures_and_allow)
{
    nexus_router *r = sample();
    nexus_router_match m;
    find(r, "", NEXUS_METHOD_GET, "/users/a%20b/orders/9", &m);
    cr_assert_eq(m.capture_count, 2);
    cr_assert(nexus__slice_eq_c(m.captures[0].name, "id") && nexus__slice_eq_c(m.captures[0].value, "a%20b"));
    cr_assert(nexus__slice_eq_c(m.captures[1].value, "9"));
    find(r, "", NEXUS_METHOD_GET, "/files/a/b", &m);
    cr_assert(nexus__slice_eq_c(m.captures[0].name, "rest") && nexus__slice_eq_c(m.captures[0].value, "a/b"));
    find(r, "", NEXUS_METHOD_POST, "/users/me", &m);
    cr_assert_eq(m.methods, NEXUS_METHOD_GET | NEXUS_METHOD_DELETE);
    nexus_router_free(r);
}

Test(add, equal_rules_name_both)
{
    nexus_router *r = sample();
    cr_assert_eq(add(r, "second", NULL, NEXUS_METHOD_GET, "/users/{other}", 0), NEXUS_ECONFLICT);
    cr_assert(strstr(nexus_error_message(), "any") && strstr(nexus_error_message(), "second"));
    cr_assert_eq(add(r, "third", NULL, NEXUS_METHOD_PUT, "/users/{other}", 0), 0);
    nexus_router_free(r);
}

Test(add, refuses_broken_templates)
{
    static const char *bad[] = {"",      "x",        "/{}",   "/{a:float}", "/{a...}/b",
                                "/a{b}", "/{a}/{a}", "/a//b", "/a/../b",    "/%zz"};
    nexus_router *r;
    cr_assert_eq(nexus_router_new(&r, NULL), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert_eq(add(r, NULL, NULL, 0, bad[i], 0), NEXUS_EINVAL, "%s", bad[i]);
    cr_assert_eq(add(r, NULL, "*.", 0, "/", 0), NEXUS_EINVAL);
    cr_assert_eq(add(r, NULL, "a b", 0, "/", 0), NEXUS_EINVAL);
    nexus_router_free(r);
}

static bool odd(void *value, void *user_data)
{
    (*(int *)user_data)++;
    return (uintptr_t)value & 1;
}

Test(find, conditions_and_priority)
{
    nexus_router *r;
    cr_assert_eq(nexus_router_new(&r, NULL), 0);
    nexus_router_rule rule = NEXUS_ROUTER_RULE_INIT;
    rule.path = "/x";
    const struct {
        const char *id, *conditions;
        uint32_t predicates;
        int32_t priority;
        uintptr_t value;
    } rules[] = {{"plain", NULL, 0, 0, 3}, {"two", "h=1", 2, 0, 5}, {"three", "h=2", 3, 0, 4}, {"late", "h=3", 9, -1, 7}};
    for (size_t i = 0; i < 4; i++) {
        rule.id = rules[i].id;
        rule.conditions = rules[i].conditions;
        rule.predicates = rules[i].predicates;
        rule.priority = rules[i].priority;
        rule.value = (void *)rules[i].value;
        cr_assert_eq(nexus_router_add(r, &rule), 0);
    }
    int asked = 0;
    nexus_router_match m;
    cr_assert_eq(nexus_router_find(r, NEXUS_S(""), NEXUS_S("/x"), NEXUS_METHOD_GET, odd, &asked, &m), 0);
    cr_assert_str_eq(m.id, "two");
    cr_assert_eq(asked, 2);
    nexus_router_free(r);
}

Test(find, rank_goes_before_what_is_more_specific)
{
    static const struct {
        const char *id, *path;
        uint32_t flags;
        int32_t priority;
        uint32_t predicates;
    } rules[] = {
        {"int", "/u/{id:int}", 0, 0, 0},    {"any", "/u/{id}", 0, 1, 0},      {"exact", "/u/7", 0, -5, 0},
        {"rest", "/u/{r...}", 0, 0, 0},     {"cond", "/w/{a}", 0, 0, 1},      {"int2", "/w/{a:int}", 0, 0, 0},
        {"px", "/p/{a}", 1, 0, 0},          {"py", "/{b}/q", 1, 3, 0},        {"re-b", "/z/.*", 2, 0, 0},
        {"re-a", "/z/[a-z]+", 2, 0, 0},     {"re-high", "/z/high.*", 2, 2, 0}, {"z-prefix", "/z/pre", 1, -9, 0},
        {"ver", "/{v:version}/x", 0, 0, 0},
    };
    static const struct {
        const char *path, *id;
    } rows[] = {
        {"/u/7", "exact"}, {"/u/8", "any"},     {"/u/8/9", "rest"}, {"/w/5", "cond"},         {"/p/q", "py"},
        {"/p/r", "px"},    {"/z/a", "re-a"},    {"/z/1", "re-b"},   {"/z/highest", "re-high"}, {"/z/pre", "z-prefix"},
        {"/v1/x", "ver"},  {"/v1.2-b/x", "ver"}, {"/vx/x", "404"},   {"/v/x", "404"},           {"/zz/a", "404"},
    };
    nexus_router *r;
    nexus_router_match m;
    cr_assert_eq(nexus_router_new(&r, NULL), 0);
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        nexus_router_rule rule = NEXUS_ROUTER_RULE_INIT;
        rule.id = rules[i].id;
        rule.path = rules[i].path;
        rule.flags = rules[i].flags;
        rule.priority = rules[i].priority;
        rule.predicates = rules[i].predicates;
        cr_assert_eq(nexus_router_add(r, &rule), 0, "%s", nexus_error_message());
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_assert_str_eq(find(r, "", NEXUS_METHOD_GET, rows[i].path, &m), rows[i].id, "%s", rows[i].path);
    nexus_router_free(r);
}

Test(find, patterns_capture_and_are_refused_when_not_linear)
{
    static const struct {
        const char *pattern;
        nexus_status status;
    } bad[] = {{"(a)\\1", NEXUS_ENOTSUP}, {"(?=a)", NEXUS_ENOTSUP}, {"(?<!a)b", NEXUS_ENOTSUP}, {"(", NEXUS_EINVAL},
               {"(a{1000}){20}", NEXUS_ETOOBIG}};
    nexus_router *r;
    nexus_router_match m;
    cr_assert_eq(nexus_router_new(&r, NULL), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert_eq(add(r, NULL, NULL, 0, bad[i].pattern, NEXUS_ROUTER_REGEX), bad[i].status, "%s", bad[i].pattern);
    cr_assert_eq(add(r, "one", "h", NEXUS_METHOD_GET, "/(?<a>[^/]+)/(.*)", NEXUS_ROUTER_REGEX), 0);
    cr_assert_eq(add(r, "two", "h", NEXUS_METHOD_GET, "/(?<a>[^/]+)/(.*)", NEXUS_ROUTER_REGEX), NEXUS_ECONFLICT);
    cr_assert(strstr(nexus_error_message(), "one") && strstr(nexus_error_message(), "two"));
    cr_assert_str_eq(find(r, "h", NEXUS_METHOD_GET, "/x/y/z", &m), "one");
    cr_assert_eq(m.capture_count, 2);
    cr_assert(nexus__slice_eq_c(m.captures[0].name, "a") && nexus__slice_eq_c(m.captures[0].value, "x"));
    cr_assert(nexus__slice_eq_c(m.captures[1].name, "2") && nexus__slice_eq_c(m.captures[1].value, "y/z"));
    cr_assert_str_eq(find(r, "h", NEXUS_METHOD_POST, "/x/y", &m), "405");
    cr_assert_str_eq(find(r, "h", NEXUS_METHOD_GET, "/x", &m), "404");
    nexus_router_free(r);
}

static int64_t cost_ns(size_t routes)
{
    nexus_router *r;
    cr_assert_eq(nexus_router_new(&r, NULL), 0);
    for (size_t i = 0; i < routes; i++) {
        char path[64];
        snprintf(path, sizeof path, "/service%zu/v1/items%zu/{id}", i % 100, i);
        cr_assert_eq(add(r, NULL, NULL, 0, path, 0), 0);
    }
    nexus_router_match m;
    int64_t best = INT64_MAX;
    for (int round = 0; round < 5; round++) {
        int64_t start = nexus__mono_ns();
        for (int i = 0; i < 20000; i++)
            cr_assert_eq(
                nexus_router_find(r, NEXUS_S(""), NEXUS_S("/service7/v1/items7/42"), NEXUS_METHOD_GET, NULL, NULL, &m),
                0);
        int64_t took = (nexus__mono_ns() - start) / 20000;
        best = took < best ? took : best;
    }
    nexus_router_free(r);
    return best;
}

Test(find, ten_thousand_routes_cost_about_what_ten_do)
{
    int64_t ten = cost_ns(10), many = cost_ns(10000);
    cr_log_info("10 routes %ld ns, 10,000 routes %ld ns", (long)ten, (long)many);
    fprintf(stderr, "10 routes %ld ns, 10,000 routes %ld ns\n", (long)ten, (long)many);
    cr_assert_lt(many, ten * 3 + 200);
}
