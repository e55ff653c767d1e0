/* Conditions of routes, and versions that requests name. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "gateway/config.h"
#include "gateway/usage.h"

static const nexus_pair headers[] = {
    {{"X-Env", 5}, {"beta-2", 6}},  {{"X-Twice", 7}, {"1", 1}},
    {{"x-twice", 7}, {"1", 1}},     {{"Cookie", 6}, {"a=1; uid=u-7;empty=", 19}},
    {{"cookie", 6}, {"late=x", 6}},
};

static bool holds(const char *match)
{
    char text[600];
    nexus__gw_config *c;
    snprintf(text, sizeof text,
             "{\"upstreams\":{\"a\":{\"targets\":[\"http://h\"]}},\"routes\":[{\"prefix\":\"/\",\"upstream\":\"a\","
             "\"match\":%s}]}",
             match);
    cr_assert_eq(nexus__gw_config_parse(&c, "r", nexus__slice_c(text), NULL), 0, "%s", nexus_error_message());
    nexus__match_subject subject = {.headers = headers,
                                    .header_count = sizeof headers / sizeof *headers,
                                    .query = NEXUS_S("v=2%2e1&flag&v2=a+b&twice=1&twice=1&%76x=7"),
                                    .ip = NEXUS_S("10.1.2.3")};
    bool result = nexus__match_holds(c->routes.items[0].match, &subject);
    nexus__gw_config_free(c);
    return result;
}

Test(match, conditions)
{
    static const struct {
        const char *match;
        bool expected;
    } rows[] = {
        {"{\"headers\":{\"x-env\":\"beta-2\"}}", true},
        {"{\"headers\":{\"X-ENV\":\"beta\"}}", false},
        {"{\"headers\":{\"X-Env\":{\"prefix\":\"beta\"}}}", true},
        {"{\"headers\":{\"X-Env\":{\"regex\":\"[a-z]+-[0-9]\"}}}", true},
        {"{\"headers\":{\"X-Env\":{\"regex\":\"beta\"}}}", false},
        {"{\"headers\":{\"X-Env\":true,\"X-No\":false}}", true},
        {"{\"headers\":{\"X-Env\":false}}", false},
        {"{\"headers\":{\"X-Twice\":true}}", true},
        {"{\"headers\":{\"X-Twice\":\"1\"}}", false},
        {"{\"cookies\":{\"uid\":\"u-7\",\"empty\":\"\",\"late\":{\"exact\":\"x\"}}}", true},
        {"{\"cookies\":{\"UID\":true}}", false},
        {"{\"query\":{\"v\":\"2.1\",\"flag\":\"\",\"v2\":\"a b\",\"vx\":\"7\"}}", true},
        {"{\"query\":{\"twice\":\"1\"}}", false},
        {"{\"query\":{\"twice\":true,\"none\":false}}", true},
        {"{\"client\":[\"10.0.0.0/8\",\"fd00::/8\"]}", true},
        {"{\"client\":[\"192.168.0.0/16\"]}", false},
        {"{\"client\":[\"10.0.0.0/8\"],\"headers\":{\"X-Env\":\"other\"}}", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_expect_eq(holds(rows[i].match), rows[i].expected, "%s", rows[i].match);
}

#define ROUTES(a, b)                                                                                                   \
    "{\"upstreams\":{\"a\":{\"targets\":[\"http://h\"]}},\"routes\":[{\"id\":\"one\",\"path\":\"/x\","                 \
    "\"upstream\":\"a\",\"match\":" a "},\n{\"id\":\"two\",\"path\":\"/x\",\"upstream\":\"a\",\"match\":" b "}]}"

Test(match, routes_equal_on_all_are_refused_by_name)
{
    nexus__gw_config *c;
    static const char *const equal =
        ROUTES("{\"headers\":{\"A\":\"1\",\"B\":true},\"client\":[\"10.0.0.0/8\",\"::1\"]}",
               "{\"client\":[\"::1\",\"10.0.0.0/8\"],\"headers\":{\"b\":true,\"a\":\"1\"}}");
    static const char *const other = ROUTES("{\"headers\":{\"A\":\"1\"}}", "{\"headers\":{\"A\":\"2\"}}");
    cr_assert_eq(nexus__gw_config_parse(&c, "r", nexus__slice_c(equal), NULL), NEXUS_EINVAL);
    cr_assert(strstr(nexus_error_message(), "r:2:1") && strstr(nexus_error_message(), "one") &&
                  strstr(nexus_error_message(), "two"),
              "%s", nexus_error_message());
    cr_assert_eq(nexus__gw_config_parse(&c, "r", nexus__slice_c(other), NULL), 0, "%s", nexus_error_message());
    nexus__gw_config_free(c);
}

/* --- versions ----------------------------------------------------------------------------------------------------- */

static const char versions[] =
    "{\"upstreams\":{\"a\":{\"targets\":[\"http://h\"]}},\"routes\":[{\"prefix\":\"/api/orders\",\"upstream\":\"a\","
    "\"versions\":{\"default\":\"2\",\"vendor\":\"shop\",\"at\":\"/"
    "api\",\"supported\":{\"1\":{\"deprecation\":{\"since\":"
    "\"2026-01-01T00:00:00Z\",\"sunset\":\"2026-07-01T00:00:00Z\",\"link\":\"https://d/1\",\"successor\":\"/api/v2\"}},"
    "\"2\":{},\"2026-11\":{}}}}]}";

Test(version, the_first_that_says_anything_decides)
{
    static const struct {
        const char *path, *header, *accept, *query, *name;
    } rows[] = {
        {"", "", "", "", "2"},
        {"v1", "2", "application/vnd.shop.v2+json", "api-version=2", "1"},
        {"", "1", "application/vnd.shop.v2+json", "api-version=2", "1"},
        {"", "v1", "", "", "1"},
        {"", "", "text/html, application/vnd.SHOP.v1+json;q=0.9", "api-version=2", "1"},
        {"", "", "application/vnd.shop+json, application/vnd.shops.v9+json", "api-version=1", "1"},
        {"", "", "application/vnd.shop.v2026-11+json", "", "2026-11"},
        {"", "", "", "a=b&api-version=1", "1"},
        {"", "9", "", "api-version=1", "none"},
        {"v9", "1", "", "", "none"},
        {"", "", "application/vnd.shop.v", "", "2"},
    };
    nexus__gw_config *c;
    cr_assert_eq(nexus__gw_config_parse(&c, "r", nexus__slice_c(versions), NULL), 0, "%s", nexus_error_message());
    const nexus__versions_conf *v = c->routes.items[0].versions;
    cr_assert(nexus__slice_eq_c(v->vary, "API-Version, Accept"));
    cr_assert(nexus__slice_eq_c(v->names, "[\"1\",\"2\",\"2026-11\"]"));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nexus_pair pairs[2];
        size_t n = 0;
        char room[256];
        if (rows[i].header[0])
            pairs[n++] = (nexus_pair){NEXUS_S("API-Version"), nexus__slice_c(rows[i].header)};
        if (rows[i].accept[0])
            pairs[n++] = (nexus_pair){NEXUS_S("Accept"), nexus__slice_c(rows[i].accept)};
        nexus__match_subject s = {.headers = pairs, .header_count = n, .query = nexus__slice_c(rows[i].query)};
        nexus__version_said said = nexus__version_read(v, &s, nexus__slice_c(rows[i].path), room, sizeof room);
        const nexus__version *version = nexus__version_choose(v, &said);
        cr_expect_str_eq(version ? version->name.p : "none", rows[i].name, "row %zu", i);
    }
    nexus__gw_config_free(c);
}

Test(version, fields_and_ages)
{
    nexus__gw_config *c;
    char room[64];
    cr_assert_eq(nexus__gw_config_parse(&c, "r", nexus__slice_c(versions), NULL), 0);
    const nexus__deprecation *d = c->routes.items[0].versions->supported.items[0].deprecation;
    cr_assert_str_eq(d->deprecation_field.p, "@1767225600");
    cr_assert_str_eq(d->sunset_field.p, "Wed, 01 Jul 2026 00:00:00 GMT");
    cr_assert_str_eq(d->link_field.p, "<https://d/1>; rel=\"deprecation\", </api/v2>; rel=\"successor-version\"");
    cr_assert_eq(nexus__deprecation_age(d, 1767225599), NEXUS__AGE_CURRENT);
    cr_assert_eq(nexus__deprecation_age(d, 1767225600), NEXUS__AGE_DEPRECATED);
    cr_assert_eq(nexus__deprecation_age(d, d->sunset_s - 1), NEXUS__AGE_DEPRECATED);
    cr_assert_eq(nexus__deprecation_age(d, d->sunset_s), NEXUS__AGE_GONE);
    cr_assert_eq(nexus__deprecation_age(NULL, 0), NEXUS__AGE_CURRENT);
    nexus_slice path = NEXUS_S("/api/v1/orders");
    cr_assert(nexus__slice_eq_c(nexus__version_strip(path, nexus__slice(path.p + 5, 2), room), "/api/orders"));
    path = NEXUS_S("/v1");
    cr_assert(nexus__slice_eq_c(nexus__version_strip(path, nexus__slice(path.p + 1, 2), room), "/"));
    nexus__gw_config_free(c);
}

Test(usage, counts_consumers_within_bounds)
{
    nexus__usage *u;
    nexus__buf buf;
    cr_assert_eq(nexus__usage_new(&u, NULL), 0);
    nexus__usage_count(u, NEXUS_S("r"), NEXUS_S("1"), NEXUS_S("ada"), 1767225600);
    nexus__usage_count(u, NEXUS_S("r"), NEXUS_S("1"), NEXUS_S("ada"), 1767225601);
    nexus__usage_count(u, NEXUS_S("r"), NEXUS_S("2"), NEXUS_S("bob"), 1);
    nexus__buf_init(&buf, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&buf);
    nexus__json_open(&w, '{');
    nexus__usage_put(u, NEXUS_S("r"), NEXUS_S("1"), &w);
    nexus__json_close(&w, '}');
    nexus__buf_char(&buf, 0);
    cr_assert_str_eq(
        buf.p, "{\"consumers\":[{\"consumer\":\"ada\",\"requests\":2,\"last_seen\":\"2026-01-01T00:00:01.000Z\"}]}");
    nexus__buf_free(&buf);
    for (int i = 0; i < 10 * NEXUS__USAGE_ROWS; i++) {
        char name[200];
        int n = snprintf(name, sizeof name, "%0150d", i);
        nexus__usage_count(u, NEXUS_S("r"), NEXUS_S("1"), nexus__slice(name, (size_t)n), 1);
    }
    cr_assert_gt(nexus__usage_overflow(u), 0);
    nexus__usage_free(u);
}
