/* openapi/: the document's shape, and requests checked against their rows. */
#include <criterion/criterion.h>
#include <nexus/openapi.h>
#include <stdio.h>

#include "json/read.h"

static const nexus_param list_params[] = {
    {"limit", "query", "{\"type\":\"integer\",\"minimum\":1,\"maximum\":100}", "Page size.", false},
    {"status", "query", "{\"type\":\"array\",\"items\":{\"enum\":[\"pending\",\"confirmed\"]}}", NULL, false},
    {"flag", "query", "{\"type\":\"boolean\"}", NULL, false},
    {"Idempotency-Key", "header", "{\"type\":\"string\",\"minLength\":8}", NULL, true},
};
static const nexus_reply_doc replies[] = {
    {201, "Made.", "{\"type\":\"object\",\"$ref\":\"#/$defs/x\",\"$defs\":{\"x\":{}}}"},
    {409, NULL, NULL},
};
static const nexus_route rows[] = {
    {.size = sizeof(nexus_route),
     .method = "GET",
     .path = "/orders",
     .operation_id = "listOrders",
     .summary = "Orders",
     .tag = "orders",
     .params = list_params,
     .param_count = 4},
    {.size = sizeof(nexus_route),
     .method = "POST",
     .path = "/orders",
     .operation_id = "createOrder",
     .roles = "customer, admin",
     .body_schema = "{\"type\":\"object\",\"required\":[\"sku\"],\"properties\":{\"sku\":{\"type\":\"string\"},"
                    "\"quantity\":{\"type\":\"integer\",\"minimum\":1}}}",
     .replies = replies,
     .reply_count = 2},
    {.size = sizeof(nexus_route),
     .method = "GET",
     .path = "/orders/{id:int}/files/{rest...}",
     .operation_id = "getFile",
     .roles = "public"},
    {.size = sizeof(nexus_route),
     .method = "PUT",
     .path = "/raw",
     .operation_id = "putRaw",
     .body_types = "text/*, application/x"},
    {.size = sizeof(nexus_route), .method = "GET", .path = "/hidden"},
    {.size = sizeof(nexus_route), .method = "*", .path = "/any", .operation_id = "any"},
};

static nexus_openapi *api;
static nexus__json doc;

static void open_api(void)
{
    nexus_openapi_opts opts = NEXUS_OPENAPI_OPTS_INIT;
    opts.title = "Orders \"here\"";
    opts.version = "1.2";
    cr_assert_eq(nexus_openapi_open(&api, rows, sizeof rows / sizeof *rows, &opts), NEXUS_OK, "%s",
                 nexus_error_message());
    nexus_slice text;
    nexus_openapi_document(api, &text);
    nexus__json_init(&doc, NULL);
    cr_assert_eq(nexus__json_scan(&doc, text, NULL), NEXUS_OK, "%s: %.*s", nexus_error_message(), (int)text.n, text.p);
}

static void close_api(void)
{
    nexus__json_free(&doc);
    nexus_openapi_close(api);
}

static uint32_t at(const char *pointer)
{
    return nexus__json_pointer(&doc, 0, nexus__slice_c(pointer));
}

static bool is(const char *pointer, const char *json)
{
    return nexus__slice_eq_c(nexus__json_raw(&doc, at(pointer)), json);
}

/* What OpenAPI 3.1 requires of an operation, whatever the rows say. */
static void check_operation(uint32_t operation, nexus_slice path)
{
    cr_assert(nexus__json_is(&doc, nexus__json_get(&doc, operation, "operationId"), NEXUS__JSON_STRING));
    uint32_t responses = nexus__json_get(&doc, operation, "responses");
    cr_assert_gt(nexus__json_count(&doc, responses), 0);
    for (nexus__json_iter it = nexus__json_each(&doc, responses); nexus__json_step(&doc, &it);)
        cr_assert(nexus__json_get(&doc, it.value, "description") != NEXUS__JSON_NONE ||
                  nexus__json_text_is(&doc, nexus__json_get(&doc, it.value, "$ref"),
                                      NEXUS_S("#/components/responses/Problem")));
    uint32_t body = nexus__json_get(&doc, operation, "requestBody");
    cr_assert(body == NEXUS__JSON_NONE || nexus__json_count(&doc, nexus__json_get(&doc, body, "content")) > 0);
    size_t in_path = 0, braces = 0;
    for (nexus__json_iter it = nexus__json_each(&doc, nexus__json_get(&doc, operation, "parameters"));
         nexus__json_step(&doc, &it);) {
        bool required;
        nexus_slice in, name;
        cr_assert(nexus__json_get_text(&doc, it.value, "name", &name) && nexus__json_get_text(&doc, it.value, "in", &in));
        cr_assert_neq(nexus__json_get(&doc, it.value, "schema"), NEXUS__JSON_NONE);
        if (!nexus__slice_eq_c(in, "path"))
            continue;
        in_path++;
        cr_assert(nexus__json_get_bool(&doc, it.value, "required", &required) && required);
        char braced[64];
        snprintf(braced, sizeof braced, "{%.*s}", (int)name.n, name.p);
        cr_assert_lt(nexus__slice_search(path, nexus__slice_c(braced)), path.n, "%s", braced);
    }
    for (size_t i = 0; i < path.n; i++)
        braces += path.p[i] == '{';
    cr_assert_eq(in_path, braces);
}

Test(openapi, document_has_the_shape_of_3_1, .init = open_api, .fini = close_api)
{
    cr_assert(is("/openapi", "\"3.1.0\""));
    cr_assert(is("/info/title", "\"Orders \\\"here\\\"\""));
    cr_assert(is("/info/version", "\"1.2\""));
    cr_assert(nexus__json_is(&doc, at("/servers/0/url"), NEXUS__JSON_STRING));
    static const char *const methods[] = {"get", "put", "post", "delete", "options", "head", "patch", "trace"};
    size_t operations = 0;
    for (nexus__json_iter p = nexus__json_each(&doc, at("/paths")); nexus__json_step(&doc, &p);) {
        nexus_slice path;
        cr_assert(nexus__json_text(&doc, p.key, &path) && path.p[0] == '/');
        for (nexus__json_iter o = nexus__json_each(&doc, p.value); nexus__json_step(&doc, &o);) {
            bool known = false;
            for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
                known |= nexus__json_text_is(&doc, o.key, nexus__slice_c(methods[i]));
            cr_assert(known);
            check_operation(o.value, path);
            operations++;
        }
    }
    cr_assert_eq(operations, 4);
    cr_assert_eq(nexus_openapi_operations(api), 4);
}

Test(openapi, document_says_what_the_rows_say, .init = open_api, .fini = close_api)
{
    cr_expect(is("/paths/~1orders/get/operationId", "\"listOrders\""));
    cr_expect(is("/paths/~1orders/get/parameters/0/schema/maximum", "100"));
    cr_expect(is("/paths/~1orders/get/security", "[{\"bearer\":[]}]"));
    cr_expect(is("/paths/~1orders/post/x-roles", "[\"customer\",\"admin\"]"));
    cr_expect(is("/paths/~1orders/post/requestBody/content/application~1json/schema/required/0", "\"sku\""));
    cr_expect(is("/paths/~1orders/post/responses/201/description", "\"Made.\""));
    cr_expect(is("/paths/~1orders/post/responses/201/content/application~1json/schema/$id",
                 "\"/schemas/createOrder/reply-201\""));
    cr_expect_neq(at("/paths/~1orders/post/responses/409"), NEXUS__JSON_NONE);
    cr_expect_neq(at("/paths/~1orders/post/responses/403"), NEXUS__JSON_NONE);
    cr_expect(is("/paths/~1orders~1{id}~1files~1{rest}/get/security", "[]"));
    cr_expect(is("/paths/~1orders~1{id}~1files~1{rest}/get/parameters/0/schema/type", "\"integer\""));
    cr_expect_neq(at("/paths/~1raw/put/requestBody/content/text~1*"), NEXUS__JSON_NONE);
    cr_expect_neq(at("/components/securitySchemes/bearer"), NEXUS__JSON_NONE);
}

static const nexus_pair json_type = {{"Content-Type", 12}, {"application/json; charset=utf-8", 31}};
static const nexus_pair key_header = {{"idempotency-key", 15}, {"12345678", 8}};

typedef struct expectation {
    const char *method, *path, *query;
    const nexus_pair *header;
    const char *body;
    uint16_t status; /* 0 = keeps to the row */
    const char *pointer, *words;
} expectation;

static void expect(const expectation *want)
{
    nexus_openapi_input in = NEXUS_OPENAPI_INPUT_INIT;
    nexus_pair path_params[] = {{NEXUS_S("id"), NEXUS_S("7")}, {NEXUS_S("rest"), NEXUS_S("a/b")}};
    in.method = want->method;
    in.path = want->path;
    in.query = nexus__slice_c(want->query);
    in.headers = want->header;
    in.header_count = want->header != NULL;
    in.body = nexus__slice_c(want->body);
    in.path_params = path_params;
    in.path_param_count = 2;
    nexus_openapi_report *report;
    nexus_status status = nexus_openapi_check(api, &in, &report);
    if (!want->status) {
        cr_expect_eq(status, NEXUS_OK, "%s %s?%s: %s", want->method, want->path, want->query, nexus_error_message());
        return;
    }
    cr_assert_eq(status, NEXUS_EINVAL, "%s %s?%s %s", want->method, want->path, want->query, want->body);
    size_t n;
    const nexus_problem_error *errors = nexus_openapi_report_errors(report, &n);
    cr_assert_gt(n, 0);
    cr_expect_eq(nexus_openapi_report_status(report), want->status, "%d", nexus_openapi_report_status(report));
    cr_expect_str_eq(errors[0].pointer, want->pointer);
    cr_expect(strstr(errors[0].detail, want->words), "%s", errors[0].detail);
    cr_expect(nexus_openapi_report_code(report)[0] && nexus_openapi_report_detail(report)[0]);
    nexus_openapi_report_free(report);
}

Test(openapi, requests_are_held_to_their_rows, .init = open_api, .fini = close_api)
{
    const expectation all[] = {
        {"GET", "/orders", "limit=10&flag=true&status=pending,confirmed", &key_header, "", 0, NULL, NULL},
        {"GET", "/orders", "", &key_header, "", 0, NULL, NULL},
        {"GET", "/orders", "", NULL, "", 422, "header/Idempotency-Key", "is missing: add it"},
        {"GET", "/orders", "limit=0", &key_header, "", 422, "query/limit", "\"limit\" must be at least 1"},
        {"GET", "/orders", "limit=ten", &key_header, "", 422, "query/limit", "must be a whole number, not a string"},
        {"GET", "/orders", "limit=+1", &key_header, "", 422, "query/limit", "whole number"},
        {"GET", "/orders", "limit=%zz", &key_header, "", 422, "query/limit", "percent"},
        {"GET", "/orders", "status=pending,lost", &key_header, "", 422, "query/status", "must be one of"},
        {"GET", "/orders", "flag=yes", &key_header, "", 422, "query/flag", "true or false"},
        {"POST", "/orders", "", &json_type, "{\"sku\":\"a\",\"quantity\":2}", 0, NULL, NULL},
        {"POST", "/orders", "", &json_type, "{\"quantity\":2}", 422, "/sku", "add it"},
        {"POST", "/orders", "", &json_type, "{\"sku\":\"a\",\"quantity\":0}", 422, "/quantity", "at least 1"},
        {"POST", "/orders", "", &json_type, "{\"sku\":", 400, "", "line 1"},
        {"POST", "/orders", "", &json_type, "", 400, "", "line 1"},
        {"POST", "/orders", "", NULL, "", 400, "", "empty"},
        {"POST", "/orders", "", NULL, "{}", 415, "header/content-type", "send application/json"},
        {"GET", "/orders/{id:int}/files/{rest...}", "", NULL, "", 0, NULL, NULL},
        {"PUT", "/raw", "", NULL, "", 0, NULL, NULL},
        {"PUT", "/raw", "", &json_type, "x", 415, "header/content-type", "text/*"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        expect(&all[i]);
    nexus_openapi_input in = NEXUS_OPENAPI_INPUT_INIT;
    in.method = "GET";
    in.path = "/nowhere";
    cr_expect_eq(nexus_openapi_check(api, &in, NULL), NEXUS_ENOTFOUND);
}

Test(openapi, mistakes_in_rows_are_named)
{
    nexus_route twice[2] = {rows[0], rows[0]};
    twice[1].path = "/other";
    cr_expect_eq(nexus_openapi_open(&api, twice, 2, NULL), NEXUS_EINVAL);
    cr_expect(strstr(nexus_error_message(), "listOrders"), "%s", nexus_error_message());
    nexus_route wrong = rows[1];
    wrong.body_schema = "{\"type\":\"objekt\"}";
    cr_expect_eq(nexus_openapi_open(&api, &wrong, 1, NULL), NEXUS_EINVAL);
    cr_expect(strstr(nexus_error_message(), "POST /orders: body_schema"), "%s", nexus_error_message());
}
