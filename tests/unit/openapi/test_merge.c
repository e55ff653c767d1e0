#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include <nexus/openapi.h>

#include "base/str.h"
#include "json/read.h"

static nexus__json doc;
static char *text;

static void merge(nexus_openapi_part *parts, size_t n)
{
    size_t len;
    cr_assert_eq(nexus_openapi_merge(&text, &len, parts, n, NULL), NEXUS_OK, "%s", nexus_error_message());
    nexus__json_init(&doc, NULL);
    cr_assert_eq(nexus__json_scan(&doc, nexus__slice(text, len), NULL), NEXUS_OK, "%s: %s", text, nexus_error_message());
}

static void done(void)
{
    nexus__json_free(&doc);
    nexus_free(text);
}

static void is(const char *pointer, const char *expected)
{
    nexus_slice raw = nexus__json_raw(&doc, nexus__json_pointer(&doc, 0, nexus__slice_c(pointer)));
    cr_assert(nexus__slice_eq_c(raw, expected), "%s is %.*s, not %s, in %s", pointer, (int)raw.n, raw.p, expected, text);
}

static nexus_openapi_part part(const char *name, const char *document)
{
    nexus_openapi_part p = NEXUS_OPENAPI_PART_INIT;
    p.name = name;
    p.document = nexus__slice_c(document);
    return p;
}

#define DOC(paths, components)                                                                                         \
    "{\"openapi\":\"3.1.0\",\"paths\":{" paths "},\"components\":{" components "}}"
#define OP(id, tag, schema)                                                                                            \
    "{\"operationId\":\"" id "\",\"tags\":[\"" tag "\"],\"responses\":{\"200\":{\"content\":{\"application/json\":"       \
    "{\"schema\":{\"$ref\":\"#/components/schemas/" schema "\"}}}}}}"

Test(merge, who_comes_first_keeps_the_names, .fini = done)
{
    nexus_openapi_part parts[] = {
        part("a", DOC("\"/a\":{\"get\":" OP("list", "things", "Thing") "}",
                      "\"schemas\":{\"Thing\":{\"type\":\"string\"},\"Problem\":{\"type\":\"object\"}},"
                      "\"responses\":{\"R\":{\"$ref\":\"#/components/schemas/Problem\"}}")),
        part("b", DOC("\"/b\":{\"get\":" OP("list", "things", "Thing") ",\"post\":" OP("make", "others", "Problem") "}",
                      "\"schemas\":{\"Thing\":{\"type\":\"number\"},\"Problem\":{\"type\":\"object\"}},"
                      "\"responses\":{\"R\":{\"$ref\":\"#/components/schemas/Problem\"}}"))};
    merge(parts, 2);
    is("/paths/~1a/get/operationId", "\"list\"");
    is("/paths/~1b/get/operationId", "\"b_list\"");
    is("/paths/~1b/post/operationId", "\"make\"");
    is("/paths/~1a/get/tags", "[\"things\"]");
    is("/paths/~1b/get/tags", "[\"b_things\"]");
    is("/paths/~1b/post/tags", "[\"others\"]");
    is("/paths/~1a/get/responses/200/content/application~1json/schema/$ref", "\"#/components/schemas/Thing\"");
    is("/paths/~1b/get/responses/200/content/application~1json/schema/$ref", "\"#/components/schemas/b_Thing\"");
    is("/paths/~1b/post/responses/200/content/application~1json/schema/$ref", "\"#/components/schemas/Problem\"");
    is("/components/schemas", "{\"Thing\":{\"type\":\"string\"},\"Problem\":{\"type\":\"object\"},"
                              "\"b_Thing\":{\"type\":\"number\"}}");
    is("/components/responses", "{\"R\":{\"$ref\":\"#/components/schemas/Problem\"}}");
    is("/paths/~1b/get/x-nexus-service", "\"b\"");
}

Test(merge, the_same_words_about_other_things_are_told_apart, .fini = done)
{
    nexus_openapi_part parts[] = {
        part("a", DOC("", "\"schemas\":{\"L\":{\"items\":{\"$ref\":\"#/components/schemas/T\"}},\"T\":{\"type\":\"string\"}}")),
        part("b", DOC("", "\"schemas\":{\"L\":{\"items\":{\"$ref\":\"#/components/schemas/T\"}},\"T\":{\"type\":\"number\"}}"))};
    merge(parts, 2);
    is("/components/schemas/L/items/$ref", "\"#/components/schemas/T\"");
    is("/components/schemas/b_L/items/$ref", "\"#/components/schemas/b_T\"");
    is("/components/schemas/b_T", "{\"type\":\"number\"}");
}

static bool only_orders(const char *name, const char *method, const char *path, char *out, size_t cap, void *user_data)
{
    cr_assert_str_eq(name, "b");
    cr_assert_eq(*(int *)user_data, 7);
    return strcmp(method, "GET") == 0 && strncmp(path, "/v1/orders", 10) == 0 &&
           snprintf(out, cap, "/shop%s", path + 3) < (int)cap;
}

Test(merge, shows_what_is_exposed_where_it_is, .fini = done)
{
    int mark = 7;
    nexus_openapi_part parts[] = {
        part("a", DOC("\"/shop/orders\":{\"get\":{\"operationId\":\"mine\"}}", "")),
        part("b", "{\"openapi\":\"3.1.0\",\"servers\":[{\"url\":\"https://b.example.com/v1/\"}],\"security\":[{\"key\":[]}],"
                  "\"paths\":{\"/orders\":{\"parameters\":[{\"name\":\"q\",\"in\":\"query\"}],"
                  "\"get\":{\"operationId\":\"theirs\"},\"post\":{}},\"/orders/{id}\":{\"parameters\":[{\"name\":\"id\"}],"
                  "\"get\":{\"parameters\":[{\"name\":\"x\"}],\"security\":[]},\"delete\":{}},\"/admin\":{\"get\":{}}}}")};
    parts[1].expose = only_orders;
    parts[1].user_data = &mark;
    parts[1].stale = true;
    merge(parts, 2);
    is("/paths/~1shop~1orders", "{\"get\":{\"operationId\":\"mine\",\"x-nexus-service\":\"a\"}}");
    is("/paths/~1shop~1orders~1{id}",
       "{\"get\":{\"parameters\":[{\"name\":\"x\"},{\"name\":\"id\"}],\"security\":[],\"x-nexus-service\":\"b\","
       "\"x-nexus-stale\":true}}");
    cr_assert_eq(nexus__json_count(&doc, nexus__json_get(&doc, 0, "paths")), 2);
    is("/x-nexus-services", "[{\"name\":\"a\",\"state\":\"current\"},{\"name\":\"b\",\"state\":\"stale\"}]");
    is("/info/description", "\"b is not reachable now: what is shown of it is the last that is known.\"");
}

Test(merge, security_schemes_and_ids_follow, .fini = done)
{
    nexus_openapi_part parts[] = {
        part("a", DOC("", "\"securitySchemes\":{\"t\":{\"type\":\"http\"}}")),
        part("b", DOC("\"/x\":{\"get\":{\"security\":[{\"t\":[\"s\"]},{}],\"requestBody\":{\"$id\":\"/schemas/x\"}}}",
                      "\"securitySchemes\":{\"t\":{\"type\":\"apiKey\"}}"))};
    merge(parts, 2);
    is("/paths/~1x/get/security", "[{\"b_t\":[\"s\"]},{}]");
    is("/components/securitySchemes/b_t", "{\"type\":\"apiKey\"}");
    is("/paths/~1x/get/requestBody/$id", "\"/b/schemas/x\"");
}

Test(merge, what_is_no_document_is_not_known, .fini = done)
{
    nexus_openapi_part parts[] = {part("a", ""), part("b", "{"), part("c", "{\"openapi\":\"2.0\"}"),
                                  part("d", "{\"openapi\":\"3.0.0\"}")};
    merge(parts, 4);
    is("/paths", "{}");
    is("/x-nexus-services", "[{\"name\":\"a\",\"state\":\"unknown\"},{\"name\":\"b\",\"state\":\"unknown\"},"
                            "{\"name\":\"c\",\"state\":\"unknown\"},{\"name\":\"d\",\"state\":\"current\"}]");
}
