/* Paths and targets that are put together: what may come out, and what is refused. */
#include <criterion/criterion.h>
#include <stdio.h>

#include <nexus/router.h>

#include "gateway/config.h"
#include "gateway/rewrite.h"

/* A config with one route, so that templates are read as a routes file has them. */
static nexus__gw_config *config_with(const char *route)
{
    nexus__gw_config *c;
    char text[1024];
    snprintf(text, sizeof text, "{\"upstreams\":{\"a\":{\"targets\":[\"http://h\"]}},\"routes\":[{%s}]}", route);
    cr_assert_eq(nexus__gw_config_parse(&c, "r", nexus__slice_c(text), NULL), 0, "%s", nexus_error_message());
    return c;
}

static const char *rewritten(const char *route, const char *path, char out[static 512])
{
    nexus__gw_config *c = config_with(route);
    nexus_router_match m;
    nexus_slice result;
    const nexus__gw_route_conf *r = &c->routes.items[0];
    if (nexus_router_find(c->router, NEXUS_S(""), nexus__slice_c(path), NEXUS_METHOD_GET, NULL, NULL, &m)) {
        snprintf(out, 512, "no route");
    } else {
        nexus__rewrite_input in = {nexus__slice_c(path), m.captures, m.capture_count, nexus__gw_path_flags(r)};
        char room[512];
        cr_assert_lt(nexus__rewrite_room(&r->rewrite, &in), sizeof room);
        nexus_status status = nexus__rewrite_path(&r->rewrite, &in, room, &result);
        snprintf(out, 512, "%.*s", status ? 7 : (int)result.n,
                 status == NEXUS_EPERM ? "refused"
                 : status              ? "invalid"
                                       : result.p);
    }
    nexus__gw_config_free(c);
    return out;
}

Test(rewrite, gives_canonical_paths_or_none)
{
    static const struct {
        const char *route, *path, *expected;
    } rows[] = {
        {"\"prefix\":\"/api\",\"strip_prefix\":\"/api\"", "/api/admin", "/admin"},
        {"\"prefix\":\"/api\",\"strip_prefix\":\"/api/\"", "/api/admin", "/admin"},
        {"\"prefix\":\"/api\",\"strip_prefix\":\"/api\"", "/api", "/"},
        {"\"prefix\":\"/\",\"strip_prefix\":\"/api\"", "/api./admin", "/api./admin"},
        {"\"prefix\":\"/\",\"strip_prefix\":\"/api\",\"add_prefix\":\"/v2\"", "/api/x", "/v2/x"},
        {"\"prefix\":\"/\",\"add_prefix\":\"/v2/\"", "/x", "/v2/x"},
        {"\"path\":\"/u/{id}/o/{o}\",\"rewrite\":\"/orders/{path.o}/of/{path.id}\"", "/u/7/o/a%20b",
         "/orders/a%20b/of/7"},
        {"\"regex\":\"/api(.*)\",\"rewrite\":\"/{path.1}\"", "/api/admin", "/admin"},
        {"\"regex\":\"/api(.*)\",\"rewrite\":\"/{path.1}\"", "/api./admin", "refused"},
        {"\"regex\":\"/api(.*)\",\"rewrite\":\"/x/{path.1}\"", "/api../admin", "refused"},
        {"\"regex\":\"/(?<a>[a-z]+)-(?<b>.*)\",\"rewrite\":\"/{path.b}/{path.a}\"", "/x-y/z", "/y/z/x"},
        {"\"path\":\"/u/{id}\",\"rewrite\":\"/{path.id}\"", "/u/a%0D%0AX", "refused"},
        {"\"path\":\"/u/{r...}\",\"rewrite\":\"/x/{path.r}\",\"merge_slashes\":false", "/u/a//b", "/x/a//b"},
        {"\"path\":\"/u/{r...}\",\"rewrite\":\"/x/{path.r}\"", "/u/a//b", "/x/a/b"},
        {"\"path\":\"/u/{r}\",\"rewrite\":\"/x/{path.r}\",\"encoded_slash\":\"pass\"", "/u/a%2Fb", "/x/a%2Fb"},
        {"\"path\":\"/u/{r}\",\"rewrite\":\"/x/{path.r}\"", "/u/a%2Fb", "refused"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char route[300], out[512];
        snprintf(route, sizeof route, "%s,\"upstream\":\"a\"", rows[i].route);
        cr_expect_str_eq(rewritten(route, rows[i].path, out), rows[i].expected, "%s on %s gave %s", rows[i].route,
                         rows[i].path, out);
    }
}

static const char *target(const char *to, const char *path, const char *query, char out[static 512])
{
    char route[300];
    snprintf(route, sizeof route, "\"path\":\"/go/{r...}\",\"encoded_slash\":\"pass\",\"redirect\":{\"to\":\"%s\"}", to);
    nexus__gw_config *c = config_with(route);
    nexus_router_match m;
    nexus_slice result;
    const nexus__gw_route_conf *r = &c->routes.items[0];
    const nexus__redirect_conf *conf = r->filters.items[0].conf;
    cr_assert_eq(conf->status, 308);
    cr_assert_eq(nexus_router_find(c->router, NEXUS_S(""), nexus__slice_c(path), NEXUS_METHOD_GET, NULL, NULL, &m), 0);
    nexus__rewrite_input in = {nexus__slice_c(path), m.captures, m.capture_count, nexus__gw_path_flags(r)};
    char room[512];
    cr_assert_lt(nexus__redirect_room(conf, &in, nexus__slice_c(query)), sizeof room);
    nexus_status status = nexus__redirect_target(conf, &in, nexus__slice_c(query), room, &result);
    snprintf(out, 512, "%.*s", status ? 7 : (int)result.n,
             status == NEXUS_EPERM ? "refused"
             : status              ? "invalid"
                                   : result.p);
    nexus__gw_config_free(c);
    return out;
}

Test(redirect, targets_lead_where_the_file_says)
{
    static const struct {
        const char *to, *path, *query, *expected;
    } rows[] = {
        {"/new/{path.r}", "/go/a/b", "", "/new/a/b"},
        {"/new/{path.r}", "/go/a/b", "x=1&y", "/new/a/b?x=1&y"},
        {"https://example.com/new/{path.r}", "/go/a", "q", "https://example.com/new/a?q"},
        {"https://example.com:8443/", "/go/a", "", "https://example.com:8443/"},
        {"/find?q={path.r}&all", "/go/a&b=c/d%20e", "x", "/find?q=a%26b%3Dc%2Fd%20e&all"},
        {"/{path.r}", "/go/a", "", "/a"},
        {"/{path.r}", "/go//evil.com", "", "refused"},
        {"/{path.r}", "/go/%2Fevil.com", "", "refused"},
        {"/{path.r}", "/go/%5Cevil.com", "", "refused"},
        {"/{path.r}", "/go/https:evil.com", "", "refused"},
        {"/{path.r}", "/go/javascript%3Aalert(1)", "", "refused"},
        {"https://example.com/{path.r}", "/go//evil.com", "", "refused"},
        {"/new/{path.r}", "/go/https:evil.com", "", "/new/https:evil.com"},
        {"/new/{path.r}", "/go/a%0D%0ASet-Cookie:x", "", "refused"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[512];
        cr_expect_str_eq(target(rows[i].to, rows[i].path, rows[i].query, out), rows[i].expected, "%s on %s gave %s",
                         rows[i].to, rows[i].path, out);
    }
}
