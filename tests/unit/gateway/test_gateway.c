/* The public calls, without traffic: loading, explaining, closing at any time. */
#include <criterion/criterion.h>
#include <string.h>

#include <nexus/gateway.h>

#include "base/str.h"

static const char routes[] =
    "{\"upstreams\":{\"a\":{\"targets\":[\"http://127.0.0.1:1\",\"http://[::1]:2\"]},\"b\":{\"targets\":"
    "[\"http://127.0.0.1:3\"],\"balance\":\"wrr\"}},\"routes\":[{\"id\":\"one\",\"path\":\"/x/{id:int}\","
    "\"methods\":[\"GET\"],\"upstream\":\"a\",\"limits\":[{\"rate\":5,\"key\":[\"ip\",\"route\"]}]},"
    "{\"id\":\"raw\",\"prefix\":\"/raw\",\"encoded_slash\":\"pass\",\"upstream\":\"b\"}]}";

static nexus_runtime *runtime;
static nexus_gateway *gateway;

static void open_both(void)
{
    nexus_runtime_opts opts = NEXUS_RUNTIME_OPTS_INIT;
    opts.loops = 2;
    opts.workers = 1;
    cr_assert_eq(nexus_runtime_open(&runtime, &opts), 0);
    cr_assert_eq(nexus_gateway_open(&gateway, runtime, NULL), 0, "%s", nexus_error_message());
}

static void close_both(void)
{
    nexus_gateway_close(gateway);
    nexus_runtime_close(runtime);
}

static void explain(const char *method, const char *target, const char *expected)
{
    char *text;
    size_t n;
    cr_assert_eq(nexus_gateway_explain(gateway, method, nexus__slice_c(target), NULL, 0, &text, &n), 0);
    cr_assert(strstr(text, expected), "%s %s gave %s", method, target, text);
    nexus_free(text);
}

Test(gateway, explains_what_is_loaded, .init = open_both, .fini = close_both)
{
    char *text, error[200];
    size_t n;
    uint64_t version;
    cr_assert_eq(nexus_gateway_config(gateway, &text, &n, &version), NEXUS_ENOTFOUND);
    cr_assert_eq(nexus_gateway_load(gateway, "r", nexus__slice_c(routes)), 0, "%s", nexus_error_message());
    explain("GET", "/x/./7?q", "\"route\":\"one\"");
    explain("HEAD", "http://h/x/7", "\"why\":\"template\"");
    explain("GET", "/x/7", "\"params\":{\"id\":\"7\"}");
    explain("POST", "/x/7", "\"allow\":\"GET, HEAD, OPTIONS\"");
    explain("GET", "/nothing", "\"status\":404");
    explain("GET", "/x/a%2fb", "ambiguous-path");
    explain("GET", "/raw/a%2fb", "\"route\":\"raw\"");
    explain("GET", "/%zz", "\"status\":400");
    cr_assert_eq(nexus_gateway_load(gateway, "r", nexus__slice_c("{")), NEXUS_EINVAL);
    nexus_gateway_last_error(gateway, error, sizeof error);
    cr_assert(strstr(error, "r:1:"), "%s", error);
    cr_assert_eq(nexus_gateway_config(gateway, &text, &n, &version), 0);
    cr_assert_str_eq(text, routes);
    cr_assert_eq(version, 1);
    nexus_free(text);
    cr_assert_eq(nexus_gateway_status(gateway, &text, &n), 0);
    cr_assert(strstr(text, "\"url\":\"http://[::1]:2\",\"weight\":1,\"state\":\"up\""), "%s", text);
    nexus_free(text);
}

Test(gateway, refuses_jwt_without_a_verifier, .init = open_both, .fini = close_both)
{
    cr_assert_eq(nexus_gateway_load(gateway, "r",
                                    NEXUS_S("{\"upstreams\":{\"a\":{\"targets\":[\"http://127.0.0.1:1\"]}},"
                                            "\"routes\":[{\"prefix\":\"/\",\"upstream\":\"a\",\"auth\":\"jwt\"}]}")),
                 NEXUS_ENOTSUP);
    cr_assert_eq(nexus_gateway_reload(gateway), NEXUS_ENOTFOUND);
}

Test(gateway, closes_while_loops_run, .init = open_both, .fini = close_both)
{
    cr_assert_eq(nexus_runtime_start(runtime), 0);
    for (int i = 0; i < 50; i++)
        cr_assert_eq(nexus_gateway_load(gateway, "r", nexus__slice_c(routes)), 0);
}

static const char prefixed[] =
    "{\"upstreams\":{\"a\":{\"targets\":[\"http://127.0.0.1:1\"]},\"b\":{\"targets\":[\"http://127.0.0.1:2\"]}},\"routes\":["
    "{\"prefix\":\"/shop\",\"strip_prefix\":\"/shop\",\"add_prefix\":\"/v1\",\"upstream\":\"a\"},"
    "{\"path\":\"/users/{id:uuid}\",\"methods\":[\"GET\"],\"upstream\":\"b\"},"
    "{\"host\":\"*.example.com\",\"prefix\":\"/h\",\"upstream\":\"b\"},{\"prefix\":\"/\",\"upstream\":\"b\",\"methods\":[\"POST\"]}]}";

static void found(const char *upstream, const char *method, const char *path, const char *expected)
{
    char out[100];
    nexus_status status = nexus_gateway_public_path(gateway, upstream, method, nexus__slice_c(path), out, sizeof out);
    cr_assert_eq(status, expected ? NEXUS_OK : NEXUS_ENOTFOUND, "%s of %s: %d", path, upstream, status);
    if (expected)
        cr_assert_str_eq(out, expected);
}

Test(gateway, finds_where_clients_reach_a_path, .init = open_both, .fini = close_both)
{
    char small[4];
    found("a", "GET", "/v1/x", NULL);
    cr_assert_eq(nexus_gateway_load(gateway, "r", nexus__slice_c(prefixed)), 0, "%s", nexus_error_message());
    found("a", "GET", "/v1/orders/{id}", "/shop/orders/{id}");
    found("a", "GET", "/v1", "/shop");
    found("a", "GET", "/v2/orders", NULL);
    found("a", "GET", "/v1x", NULL);
    found("b", "GET", "/users/{id}", "/users/{id}");
    found("b", "DELETE", "/users/{id}", NULL);
    found("b", "GET", "/h/{x}", "/h/{x}");
    found("b", "GET", "/elsewhere", NULL);
    found("b", "POST", "/elsewhere", "/elsewhere");
    found("b", "POST", "/shop/x", NULL);
    found("c", "GET", "/v1/x", NULL);
    cr_assert_eq(nexus_gateway_public_path(gateway, "a", "GET", NEXUS_S("/v1/x"), small, sizeof small), NEXUS_ETOOBIG);
}
