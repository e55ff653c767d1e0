#include <criterion/criterion.h>
#include <string.h>

#include "openapi/import.h"

static const char document[] =
    "{\"openapi\":\"3.1.0\",\"paths\":{"
    "\"/items/{id}\":{\"parameters\":[{\"name\":\"id\",\"in\":\"path\",\"required\":true,\"schema\":{\"type\":\"integer\"}}],"
    "\"get\":{\"parameters\":[{\"$ref\":\"#/components/parameters/Limit\"}]},"
    "\"put\":{\"requestBody\":{\"required\":true,\"content\":{\"application/json\":{\"schema\":"
    "{\"$ref\":\"#/components/schemas/Item\"}}}}},"
    "\"post\":{\"requestBody\":{\"content\":{\"application/json\":{\"schema\":{\"$id\":\"/schemas/x\",\"$defs\":"
    "{\"n\":{\"type\":\"number\"}},\"properties\":{\"n\":{\"$ref\":\"#/$defs/n\"}}}}}}}}},"
    "\"components\":{\"parameters\":{\"Limit\":{\"name\":\"limit\",\"in\":\"query\",\"schema\":"
    "{\"$ref\":\"#/components/schemas/Limit\"}}},"
    "\"schemas\":{\"Limit\":{\"type\":\"integer\",\"maximum\":9},\"Name\":{\"type\":\"string\"},"
    "\"Item\":{\"type\":\"object\",\"required\":[\"name\"],\"properties\":{\"name\":{\"$ref\":\"#/components/schemas/Name\"},"
    "\"parts\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/components/schemas/Item\"}}}}}}}";

static uint16_t check(const nexus_openapi *api, const char *method, const char *id, const char *query, const char *body,
                      const char *pointer)
{
    nexus_pair capture = {NEXUS_S("id"), nexus__slice_c(id)}, type = {NEXUS_S("Content-Type"), NEXUS_S("application/json")};
    nexus_openapi_report *report;
    nexus_openapi_input in = NEXUS_OPENAPI_INPUT_INIT;
    in.method = method;
    in.path = "/items/{id}";
    in.path_params = &capture;
    in.path_param_count = 1;
    in.query = nexus__slice_c(query);
    in.headers = &type;
    in.header_count = body != NULL;
    in.body = nexus__slice_c(body);
    size_t n;
    if (nexus_openapi_check(api, &in, &report) == NEXUS_OK)
        return 0;
    cr_assert(report, "%s", nexus_error_message());
    const nexus_problem_error *errors = nexus_openapi_report_errors(report, &n);
    cr_assert_str_eq(errors[0].pointer, pointer, "%s", errors[0].detail);
    uint16_t status = nexus_openapi_report_status(report);
    nexus_openapi_report_free(report);
    return status;
}

Test(import, checks_what_the_document_describes)
{
    nexus_openapi *api;
    cr_assert_eq(nexus__openapi_import(&api, NEXUS_S(document), false, NULL), NEXUS_OK, "%s", nexus_error_message());
    cr_assert_eq(nexus_openapi_operations(api), 3);
    cr_assert_eq(check(api, "GET", "7", "limit=9", NULL, ""), 0);
    cr_assert_eq(check(api, "GET", "x", "", NULL, "path/id"), 422);
    cr_assert_eq(check(api, "GET", "7", "limit=10", NULL, "query/limit"), 422);
    cr_assert_eq(check(api, "PUT", "7", "", "{\"name\":\"a\",\"more\":1,\"parts\":[{\"name\":\"b\"}]}", ""), 0);
    cr_assert_eq(check(api, "PUT", "7", "", "{\"name\":\"a\",\"parts\":[{\"name\":1}]}", "/parts/0/name"), 422);
    cr_assert_eq(check(api, "PUT", "7", "", "{", ""), 400);
    cr_assert_eq(check(api, "PUT", "7", "", NULL, ""), 400);
    cr_assert_eq(check(api, "POST", "7", "", NULL, ""), 0, "not required");
    cr_assert_eq(check(api, "POST", "7", "", "{\"n\":1}", ""), 0);
    cr_assert_eq(check(api, "POST", "7", "", "{\"n\":\"x\"}", "/n"), 422);
    nexus_openapi_close(api);
}

Test(import, a_closed_body_has_no_other_members)
{
    nexus_openapi *api;
    cr_assert_eq(nexus__openapi_import(&api, NEXUS_S(document), true, NULL), NEXUS_OK, "%s", nexus_error_message());
    cr_assert_eq(check(api, "PUT", "7", "", "{\"name\":\"a\"}", ""), 0);
    cr_assert_eq(check(api, "PUT", "7", "", "{\"name\":\"a\",\"more\":1}", "/more"), 422);
    nexus_openapi_close(api);
}

Test(import, says_where_a_document_is_wrong)
{
    static const char *const bad[] = {
        "", "[]", "{\"openapi\":\"2.0\"}", "{\"openapi\":\"3.1.0\",\"paths\":{\"x\":{}}}",
        "{\"openapi\":\"3.1.0\",\"paths\":{\"/x\":{\"get\":{\"parameters\":[{}]}}}}",
        "{\"openapi\":\"3.1.0\",\"paths\":{\"/x\":{\"get\":{\"parameters\":[{\"$ref\":\"#/nowhere\"}]}}}}",
        "{\"openapi\":\"3.1.0\",\"paths\":{\"/x\":{\"post\":{\"requestBody\":{\"content\":{\"application/json\":{\"schema\":"
        "{\"$ref\":\"#/components/schemas/None\"}}}}}}}}"};
    nexus_openapi *api;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert_neq(nexus__openapi_import(&api, nexus__slice_c(bad[i]), false, NULL), NEXUS_OK, "%s", bad[i]);
    cr_assert_eq(nexus__openapi_import(&api, NEXUS_S("{\"openapi\":\"3.0.3\"}"), false, NULL), NEXUS_OK);
    nexus_openapi_close(api);
}
