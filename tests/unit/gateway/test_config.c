#include <criterion/criterion.h>
#include <string.h>

#include "gateway/filters/cors.h"
#include "gateway/filters/limit.h"

static nexus_status parse(const char *text, nexus__gw_config **out)
{
    return nexus__gw_config_parse(out, "routes.json", nexus__slice_c(text), NULL);
}

Test(config, reads_what_is_written_and_defaults_the_rest)
{
    nexus__gw_config *c;
    cr_assert_eq(parse("{\"version\":1,"
                       "\"upstreams\":{\"a\":{\"targets\":[\"http://127.0.0.1:3001\",{\"url\":\"http://[::1]:9/\","
                       "\"weight\":3}],\"timeouts_ms\":{\"connect\":7},\"balance\":\"wrr\",\"health\":{\"path\":\"/"
                       "h\"}}},"
                       "\"routes\":[{\"id\":\"x\",\"path\":\"/x/{id:int}\",\"methods\":[\"GET\",\"POST\"],"
                       "\"upstream\":\"a\",\"auth\":\"jwt OR anonymous\",\"roles\":[\"admin\"],"
                       "\"limits\":[{\"rate\":5,\"period_s\":60,\"key\":[\"ip\",\"route\"]}]},"
                       "{\"prefix\":\"/\",\"upstream\":\"a\",\"cors\":{\"origins\":[\"https://a.com\"]}}]}",
                       &c),
                 0, "%s", nexus_error_message());
    nexus__gw_upstream_conf *u = &c->upstreams.items[0];
    cr_assert_eq(u->targets.count, 2);
    cr_assert_eq(u->targets.items[0].port, 3001);
    cr_assert(nexus__slice_eq_c(u->targets.items[1].host, "::1"));
    cr_assert_eq(u->targets.items[1].port, 9);
    cr_assert_eq(u->targets.items[1].weight, 3);
    cr_assert_eq(u->timeouts.connect_ms, 7);
    cr_assert_eq(u->timeouts.first_byte_ms, 5000);
    cr_assert_eq(u->balance.balancer, &nexus__balancer_wrr);
    cr_assert_eq(u->health.interval_ms, 10000);
    const nexus__gw_route_conf *first = &c->routes.items[0], *second = &c->routes.items[1];
    const nexus__gw_limits_conf *limits = nexus__gw_filter_conf(first, &nexus__gw_filter_limits);
    const nexus__gw_cors_conf *cors = nexus__gw_filter_conf(second, &nexus__gw_filter_cors);
    cr_assert_eq(first->filters.count, 3);
    cr_assert_eq(first->filters.items[0].filter, &nexus__gw_filter_auth, "in the order in which they run");
    cr_assert_eq(limits->policies.items[0].burst, 5);
    cr_assert_eq(limits->policies.items[0].rules.count, 1);
    cr_assert_eq(limits->policies.items[0].rules.items[0].items[1].kind, NEXUS__PART_ROUTE);
    cr_assert_eq(second->filters.count, 1);
    cr_assert(cors && cors->max_age_s == 600);
    cr_assert_null(nexus__gw_filter_conf(second, &nexus__gw_filter_auth));
    nexus__gw_config_free(c);
}

#define UP "{\"upstreams\":{\"backend\":{\"targets\":[\"http://h\"]}},\n\"routes\":["

static const struct {
    const char *text, *message;
} broken[] = {
    {"{", "routes.json:1:"},
    {"{\"routes\":[]}", "\"upstreams\" is missing"},
    {"{\"upstreams\":{},\n  \"rotes\":[]}",
     "routes.json:2:3: : unknown key \"rotes\"; the nearest known one is \"routes\""},
    {"{\"upstreams\":{\"b\":{\"targets\":[]}},\"routes\":[]}", "/upstreams/b/targets: needs at least one target"},
    {"{\"upstreams\":{\"b\":{\"targets\":[\"ftp://x\"]}},\"routes\":[]}", "must be http://host:port"},
    {"{\"upstreams\":{\"b\":{\"targets\":[\"http://x:0\"]}},\"routes\":[]}", "must be http://host:port"},
    {"{\"upstreams\":{\"b\":{\"targets\":[\"http://x\"],\"retries\":11}},\"routes\":[]}", "/upstreams/b/retries"},
    {UP "{\"prefix\":\"/\",\"upstream\":\"bakend\"}]}", "no upstream \"bakend\"; the nearest known one is \"backend\""},
    {UP "{\"upstream\":\"backend\"}]}", "either \"path\", \"prefix\" or \"regex\""},
    {UP "{\"path\":\"x\",\"upstream\":\"backend\"}]}", "routes.json:2:11: /routes/0: route \"x\""},
    {UP "{\"id\":\"a\",\"path\":\"/{x}\",\"upstream\":\"backend\"},{\"id\":\"b\",\"path\":\"/"
        "{y}\",\"upstream\":\"backend\"}]}",
     "routes a (/{x}) and b (/{y}) are equal"},
    {UP "{\"path\":\"/\",\"upstream\":\"backend\",\"metods\":[]}]}",
     "/routes/0: unknown key \"metods\"; the nearest known one is \"methods\""},
    {UP "{\"path\":\"/\",\"upstream\":\"backend\",\"methods\":[\"get\"]}]}", "upper case"},
    {UP "{\"path\":\"/\",\"upstream\":\"backend\",\"limits\":[{\"rate\":0}]}]}", "/routes/0/limits/0/rate"},
    {UP "{\"path\":\"/\",\"upstream\":\"backend\",\"limits\":[{\"rate\":1,\"key\":[\"principal\"]}]}]}",
     "needs \"auth\""},
    {UP "{\"path\":\"/\",\"upstream\":\"backend\",\"cors\":{\"origins\":[\"*\"],\"credentials\":true}}]}",
     "credentials"},
    {UP "{\"path\":\"/\",\"upstream\":\"backend\",\"request_headers\":{\"set\":{\"Host\":\"x\"}}}]}",
     "belongs to the connection"},
    {UP "{\"path\":\"/\",\"upstream\":\"backend\",\"request_headers\":{\"set\":{\"X\":\"a\\r\\nb\"}}}]}",
     "control characters"},
    {UP "{\"path\":\"/\"}]}", "\"upstream\" is missing"},
    {UP "{\"upstream\":\"backend\",\n\"regex\":\"/(a)\\\\1\"}]}", "routes.json:3:9: /routes/0/regex: regular expression, offset"},
    {UP "{\"upstream\":\"backend\",\n\"regex\":\"/(?=a)\"}]}", "routes.json:3:9: /routes/0/regex:"},
    {UP "{\"upstream\":\"backend\",\"regex\":\"(a{1000}){20}\"}]}", "more than 10000 states"},
    {UP "{\"path\":\"/\",\"upstream\":\"backend\",\"match\":{}}]}", "has no condition"},
    {UP "{\"path\":\"/\",\"upstream\":\"backend\",\"match\":{\"headers\":{\"a b\":true}}}]}", "/routes/0/match/headers/a b"},
    {UP "{\"path\":\"/\",\"upstream\":\"backend\",\"match\":{\"query\":{\"a\":{\"regex\":\"(\"}}}}]}", "/routes/0/match/query/a: regular"},
    {UP "{\"path\":\"/\",\"upstream\":\"backend\",\"match\":{\"query\":{\"a\":{}}}}]}", "\"exact\", \"prefix\" and \"regex\""},
    {UP "{\"path\":\"/\",\"upstream\":\"backend\",\"match\":{\"client\":[\"10.0.0.0/33\"]}}]}", "no address or block"},
    {UP "{\"path\":\"/\",\"upstream\":\"backend\",\"methods\":[\"CONNECT\"]}]}", "CONNECT is not served"},
    {UP "{\"path\":\"/{a}\",\"upstream\":\"backend\",\"rewrite\":\"/{path.b}\"}]}", "the route's path has no {b}"},
    {UP "{\"path\":\"/\",\"upstream\":\"backend\",\"rewrite\":\"x\"}]}", "must start with"},
    {UP "{\"path\":\"/\",\"upstream\":\"backend\",\"rewrite\":\"/a/../b\"}]}", "not in canonical form"},
    {UP "{\"path\":\"/\",\"upstream\":\"backend\",\"rewrite\":\"/{query.x}\"}]}", "only {path.NAME}"},
    {UP "{\"path\":\"/\",\"upstream\":\"backend\",\"rewrite\":\"/x\",\"add_prefix\":\"/y\"}]}", "either \"rewrite\" or"},
    {UP "{\"path\":\"/\",\"redirect\":{\"to\":\"//evil\"}}]}", "must begin with"},
    {UP "{\"path\":\"/\",\"redirect\":{\"to\":\"/\\\\evil\"}}]}", "must begin with"},
    {UP "{\"path\":\"/{a}\",\"redirect\":{\"to\":\"{path.a}\"}}]}", "must begin with"},
    {UP "{\"path\":\"/{a}\",\"redirect\":{\"to\":\"https://{path.a}/\"}}]}", "must begin with"},
    {UP "{\"path\":\"/\",\"redirect\":{\"to\":\"https:evil\"}}]}", "must begin with"},
    {UP "{\"path\":\"/\",\"redirect\":{\"to\":\"https://a@b/\"}}]}", "must begin with"},
    {UP "{\"path\":\"/\",\"redirect\":{\"to\":\"/x\",\"status\":304}}]}", "301, 302, 303, 307 or 308"},
    {UP "{\"path\":\"/\",\"upstream\":\"backend\",\"redirect\":{\"to\":\"/x\"}}]}", "a route that redirects"},
    {UP "{\"path\":\"/\",\"canary\":{\"arms\":[{\"name\":\"a\",\"upstream\":\"backend\",\"weight_bp\":9000},"
        "{\"name\":\"b\",\"upstream\":\"backend\",\"weight_bp\":999}]}}]}",
     "make 9999 basis points"},
    {UP "{\"path\":\"/\",\"canary\":{\"arms\":[{\"name\":\"a\",\"upstream\":\"backend\",\"weight_bp\":10000},"
        "{\"name\":\"b\",\"upstream\":\"bakend\",\"weight_bp\":0}]}}]}",
     "no upstream \"bakend\""},
    {UP "{\"path\":\"/\",\"canary\":{\"sticky\":\"consumer\",\"arms\":[{\"name\":\"a\",\"upstream\":\"backend\","
        "\"weight_bp\":10000},{\"name\":\"b\",\"upstream\":\"backend\",\"weight_bp\":0}]}}]}",
     "sticky by consumer needs \"auth\""},
    {UP "{\"path\":\"/\",\"upstream\":\"backend\",\"versions\":{\"default\":\"2\",\"supported\":{\"1\":{}}}}]}",
     "\"default\" is \"2\", which is not supported"},
    {UP "{\"path\":\"/\",\"upstream\":\"backend\",\"versions\":{\"supported\":{\"1\":{}}}}]}", "\"default\" is missing"},
    {UP "{\"path\":\"/\",\"upstream\":\"backend\",\"versions\":{\"default\":\"v1\",\"supported\":{\"v1\":{}}}}]}",
     "write it without \"v\""},
    {UP "{\"path\":\"/x\",\"upstream\":\"backend\",\"versions\":{\"default\":\"1\",\"at\":\"/api\",\"supported\":{\"1\":{}}}}]}",
     "the beginning of the route's path"},
    {UP "{\"path\":\"/x\",\"upstream\":\"backend\",\"deprecation\":{\"since\":\"2026-01-02T00:00:00Z\","
        "\"sunset\":\"2026-01-01T00:00:00Z\"}}]}",
     "is before"},
    {UP "{\"path\":\"/x\",\"upstream\":\"backend\",\"deprecation\":{\"since\":\"soon\"}}]}", "must be a date"},
};

Test(config, errors_name_place_and_remedy)
{
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        nexus__gw_config *c;
        cr_assert_eq(parse(broken[i].text, &c), NEXUS_EINVAL, "%s", broken[i].text);
        cr_assert(strstr(nexus_error_message(), broken[i].message), "%s\ngave %s", broken[i].text,
                  nexus_error_message());
    }
}
