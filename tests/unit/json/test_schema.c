/* json/: the schema validator, alone and against JSON-Schema-Test-Suite (draft 2020-12). */
#include <criterion/criterion.h>
#include <dirent.h>
#include <nexus/schema.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "json/read.h"
#include "json/write.h"

#define SUITE NEXUS_TEST_DATA "/json-schema"

static char *read_file(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    cr_assert(f, "%s", path);
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    rewind(f);
    char *data = malloc((size_t)size + 1);
    *n = fread(data, 1, (size_t)size, f);
    data[*n] = '\0';
    fclose(f);
    return data;
}

static nexus_pair remotes[64];
static size_t remote_count;

static void load_remotes(const char *dir, const char *uri)
{
    DIR *list = opendir(dir);
    cr_assert(list, "%s", dir);
    for (struct dirent *e; (e = readdir(list));) {
        char path[1024], name[1024];
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        snprintf(name, sizeof name, "%s/%s", uri, e->d_name);
        if (e->d_name[0] == '.')
            continue;
        if (!strstr(e->d_name, ".json")) {
            load_remotes(path, name);
            continue;
        }
        nexus_pair *r = &remotes[remote_count++];
        r->name = nexus__slice_c(strdup(name));
        r->value.p = read_file(path, &r->value.n);
    }
    closedir(list);
}

/* tests/unit/json/schema-not-supported.txt: lines "file | group | test | reason"; '*' is any. */
static char *unsupported;

static bool wild; /* the row found names several cases: some of them may pass */

static bool field_is(nexus_slice field, nexus_slice text)
{
    field = nexus__slice_trim(field);
    wild |= nexus__slice_eq_c(field, "*");
    return nexus__slice_eq_c(field, "*") || nexus__slice_eq(field, text);
}

static bool is_listed(const char *file, nexus_slice group, nexus_slice test)
{
    nexus_slice rest = nexus__slice_c(unsupported);
    while (rest.n) {
        nexus_slice line = nexus__slice_cut(&rest, '\n');
        if (!line.n || line.p[0] == '#')
            continue;
        nexus_slice f = nexus__slice_cut(&line, '|'), g = nexus__slice_cut(&line, '|'), t = nexus__slice_cut(&line, '|');
        wild = false;
        cr_assert(nexus__slice_trim(line).n, "a line of schema-not-supported.txt has no reason");
        if (field_is(f, nexus__slice_c(file)) && field_is(g, group) && field_is(t, test))
            return true;
    }
    return false;
}

static int passed, listed, failed;

static void run_group(nexus__json *doc, uint32_t group, const char *file, bool formats)
{
    nexus_slice schema_text = nexus__json_raw(doc, nexus__json_get(doc, group, "schema")), about, what;
    cr_assert(nexus__json_get_text(doc, group, "description", &about));
    nexus_schema_opts opts = NEXUS_SCHEMA_OPTS_INIT;
    opts.remotes = remotes;
    opts.remote_count = remote_count;
    opts.assert_format = formats;
    nexus_schema *schema = NULL;
    nexus_status compiled = nexus_schema_compile(&schema, schema_text.p, schema_text.n, &opts);
    char why[512];
    snprintf(why, sizeof why, "%s", compiled == NEXUS_OK ? "" : nexus_error_message());
    for (nexus__json_iter it = nexus__json_each(doc, nexus__json_get(doc, group, "tests")); nexus__json_step(doc, &it);) {
        bool valid;
        cr_assert(nexus__json_get_text(doc, it.value, "description", &what));
        cr_assert(nexus__json_get_bool(doc, it.value, "valid", &valid));
        nexus_slice data = nexus__json_raw(doc, nexus__json_get(doc, it.value, "data"));
        nexus_schema_report *report = NULL;
        nexus_status status = compiled == NEXUS_OK ? nexus_schema_check(schema, data.p, data.n, &report) : compiled;
        nexus_status quick = compiled == NEXUS_OK ? nexus_schema_check(schema, data.p, data.n, NULL) : compiled;
        bool good = status == (valid ? NEXUS_OK : NEXUS_EINVAL) && quick == status &&
                    (nexus_schema_report_count(report) > 0) == !valid;
        nexus_schema_report_free(report);
        if (is_listed(file, about, what)) {
            listed++;
            cr_expect(!good || wild, "%s: %.*s: %.*s passes: strike it from the list", file, (int)about.n, about.p,
                      (int)what.n, what.p);
            continue;
        }
        passed += good;
        failed += !good;
        cr_expect(good, "%s: %.*s: %.*s (%s, want %s) %s", file, (int)about.n, about.p, (int)what.n, what.p,
                  nexus_status_name(status), valid ? "valid" : "invalid", why);
    }
    nexus_schema_free(schema);
}

static void run_folder(const char *folder, bool formats)
{
    char dir[512];
    snprintf(dir, sizeof dir, SUITE "/draft2020-12/%s", folder);
    DIR *list = opendir(dir);
    cr_assert(list, "%s", dir);
    for (struct dirent *e; (e = readdir(list));) {
        char path[1024], file[600];
        if (!strstr(e->d_name, ".json"))
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        snprintf(file, sizeof file, "%s%s", folder, e->d_name);
        size_t n;
        char *text = read_file(path, &n);
        nexus__json doc;
        nexus__json_init(&doc, NULL);
        cr_assert_eq(nexus__json_scan(&doc, nexus__slice(text, n), &(nexus__json_limits){.lenient = true}), NEXUS_OK);
        for (nexus__json_iter it = nexus__json_each(&doc, 0); nexus__json_step(&doc, &it);)
            run_group(&doc, it.value, file, formats);
        nexus__json_free(&doc);
        free(text);
    }
    closedir(list);
}

Test(schema, json_schema_test_suite)
{
    if (access(SUITE "/draft2020-12", R_OK) != 0)
        cr_skip("no ../shared/data/json-schema here");
    size_t n;
    unsupported = read_file(NEXUS_SOURCE_ROOT "/tests/unit/json/schema-not-supported.txt", &n);
    load_remotes(SUITE "/remotes/draft2020-12", "http://localhost:1234/draft2020-12");
    run_folder("", false);
    run_folder("optional/", false);
    run_folder("optional/format/", true);
    printf("schema suite: %d passed, %d listed as not supported, %d failed\n", passed, listed, failed);
    cr_assert_gt(passed, 1900);
    for (size_t i = 0; i < remote_count; i++) {
        free((void *)remotes[i].name.p);
        free((void *)remotes[i].value.p);
    }
    free(unsupported);
}

static nexus_schema *compiled(const char *text)
{
    nexus_schema *schema = NULL;
    nexus_status status = nexus_schema_compile(&schema, text, strlen(text), NULL);
    cr_assert_eq(status, NEXUS_OK, "%s", nexus_error_message());
    return schema;
}

static const char order_schema[] =
    "{\"type\":\"object\",\"required\":[\"items\",\"payment\"],\"additionalProperties\":false,\"properties\":"
    "{"
    "\"items\":{\"type\":\"array\",\"minItems\":1,\"items\":{\"type\":\"object\",\"required\":[\"sku\"],"
    "\"properties\":{\"sku\":{\"type\":\"string\",\"pattern\":\"^[a-z/"
    "~]+$\"},\"quantity\":{\"type\":\"integer\","
    "\"minimum\":1}}}},\"payment\":{\"type\":[\"string\",\"null\"]}}}";

Test(schema, findings_name_the_field_and_the_remedy)
{
    static const struct {
        const char *json, *pointer, *keyword, *words;
    } rows[] = {
        {"{\"items\":[{\"sku\":\"a\"}]}", "/payment", "required", "\"payment\" is missing: add it"},
        {"{\"items\":[{\"sku\":\"A\"}],\"payment\":null}", "/items/0/sku", "pattern", "pattern ^[a-z/~]+$"},
        {"{\"items\":[{\"sku\":\"a\",\"quantity\":0}],\"payment\":null}", "/items/0/quantity", "minimum", "at least 1"},
        {"{\"items\":[{\"sku\":\"a\",\"quantity\":1.5}],\"payment\":null}", "/items/0/quantity", "type",
         "must be a whole number, not a number"},
        {"{\"items\":[],\"payment\":null}", "/items", "minItems", "at least 1 element, not 0"},
        {"{\"items\":[{\"sku\":\"a\"}],\"payment\":1}", "/payment", "type", "must be a string or null, not a number"},
        {"{\"items\":[{\"sku\":\"a\"}],\"payment\":null,\"x/~y\":1}", "/x~1~0y", "additionalProperties", "remove it"},
        {"[]", "", "type", "must be an object, not an array"},
    };
    nexus_schema *schema = compiled(order_schema);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nexus_schema_report *report;
        cr_assert_eq(nexus_schema_check(schema, rows[i].json, strlen(rows[i].json), &report), NEXUS_EINVAL);
        nexus_schema_error e = {sizeof e};
        cr_assert_eq(nexus_schema_report_count(report), 1, "%s", rows[i].json);
        cr_assert(nexus_schema_report_at(report, 0, &e));
        cr_expect(nexus__slice_eq_c(e.pointer, rows[i].pointer), "%.*s", (int)e.pointer.n, e.pointer.p);
        cr_expect(nexus__slice_eq_c(e.keyword, rows[i].keyword), "%.*s", (int)e.keyword.n, e.keyword.p);
        cr_expect(strstr(e.detail.p, rows[i].words), "%s", e.detail.p);
        cr_expect_not(nexus_schema_report_at(report, 1, &e));
        nexus_schema_report_free(report);
    }
    nexus_schema_free(schema);
}

Test(schema, text_that_is_not_json_is_told_apart)
{
    nexus_schema *schema = compiled("true");
    nexus_schema_report *report;
    cr_assert_eq(nexus_schema_check(schema, "{\n\"a\":}", 7, &report), NEXUS_EPROTO);
    nexus_schema_error e = {sizeof e};
    cr_assert(nexus_schema_report_at(report, 0, &e));
    cr_assert(nexus__slice_eq_c(e.keyword, "json") && e.line == 2 && e.column == 5, "%u:%u", e.line, e.column);
    nexus_schema_report_free(report);
    cr_assert_eq(nexus_schema_check(schema, "{\"a\":1,\"a\":2}", 13, NULL), NEXUS_EPROTO);
    nexus_schema_free(schema);
}

Test(schema, mistakes_in_a_schema_are_named)
{
    static const struct {
        const char *schema;
        nexus_status status;
        const char *words;
    } rows[] = {
        {"{\"properties\":{\"a\":{\"minLength\":-1}}}", NEXUS_EINVAL, "/properties/a/minLength"},
        {"{\"type\":\"text\"}", NEXUS_EINVAL, "/type"},
        {"{\"items\":3}", NEXUS_EINVAL, "/items"},
        {"3", NEXUS_EINVAL, "an object, true or false"},
        {"{\"type\":", NEXUS_EINVAL, "line 1"},
        {"{\"$ref\":\"#/nowhere\"}", NEXUS_ENOTFOUND, "#/nowhere"},
        {"{\"$ref\":\"http://example.com/x\"}", NEXUS_ENOTFOUND, "remotes"},
        {"{\"pattern\":\"(?=a)\"}", NEXUS_ENOTSUP, "look-around"},
        {"{\"multipleOf\":0}", NEXUS_EINVAL, "above 0"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nexus_schema *schema = NULL;
        cr_expect_eq(nexus_schema_compile(&schema, rows[i].schema, strlen(rows[i].schema), NULL), rows[i].status, "%s",
                     rows[i].schema);
        cr_expect(strstr(nexus_error_message(), rows[i].words), "%s: %s", rows[i].schema, nexus_error_message());
        nexus_schema_free(schema);
    }
}

Test(schema, what_would_not_end_is_refused)
{
    nexus_schema *schema = compiled("{\"$ref\":\"#\"}");
    cr_assert_eq(nexus_schema_check(schema, "1", 1, NULL), NEXUS_ETOOBIG);
    nexus_schema_free(schema);
    nexus__buf b; /* 2^40 ways through */
    nexus__buf_init(&b, NULL, 0);
    nexus__buf_text(&b, "{\"$ref\":\"#/$defs/0\",\"$defs\":{");
    for (int i = 0; i < 40; i++)
        nexus__buf_printf(&b, "\"%d\":{\"allOf\":[{\"$ref\":\"#/$defs/%d\"},{\"$ref\":\"#/$defs/%d\"}]},", i, i + 1,
                          i + 1);
    nexus__buf_text(&b, "\"40\":true}}");
    nexus__buf_char(&b, '\0');
    schema = compiled(b.p);
    cr_assert_eq(nexus_schema_check(schema, "1", 1, NULL), NEXUS_ETOOBIG);
    nexus_schema_free(schema);
    nexus__buf_free(&b);
}

/* An allocator that fails from the n-th call on. */
static size_t calls_left;

static void *failing_malloc(size_t size, void *user_data)
{
    (void)user_data;
    return calls_left ? calls_left--, malloc(size) : NULL;
}

static void *failing_realloc(void *ptr, size_t size, void *user_data)
{
    (void)user_data;
    return calls_left ? calls_left--, realloc(ptr, size) : NULL;
}

static void plain_free(void *ptr, void *user_data)
{
    (void)user_data;
    free(ptr);
}

Test(schema, every_allocation_may_fail)
{
    static const char schema_text[] =
        "{\"$id\":\"http://x/\",\"type\":\"object\",\"required\":[\"a\"],\"properties\":{\"a\":{\"$ref\":\"#/"
        "$defs/d\"},"
        "\"u\":{\"uniqueItems\":true}},\"patternProperties\":{\"^x{3,200}\":{\"$dynamicRef\":\"#n\"}},"
        "\"unevaluatedProperties\":false,\"$defs\":{\"d\":{\"$dynamicAnchor\":\"n\",\"enum\":[1,2],"
        "\"pattern\":\"a|b\"}}}";
    static const char json[] =
        "{\"a\":3,\"\\u0041\":\"\\n\",\"xxxx\":2,\"u\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,"
        "20,21,22,23,24,25,26,27,28,29,30,31,32,33,34,35,36]}";
    const nexus_alloc alloc = {failing_malloc, failing_realloc, plain_free, NULL};
    nexus_schema_opts opts = NEXUS_SCHEMA_OPTS_INIT;
    opts.alloc = &alloc;
    bool done = false;
    for (size_t n = 0; !done; n++) {
        cr_assert_lt(n, 1000);
        calls_left = n;
        nexus_schema *schema = NULL;
        nexus_schema_report *report = NULL;
        nexus_status status = nexus_schema_compile(&schema, schema_text, sizeof schema_text - 1, &opts);
        if (status == NEXUS_OK)
            status = nexus_schema_check(schema, json, sizeof json - 1, &report);
        cr_assert(status == NEXUS_ENOMEM || status == NEXUS_EINVAL, "%s after %zu: %s", nexus_status_name(status), n,
                  nexus_error_message());
        done = status == NEXUS_EINVAL;
        cr_assert_eq(nexus_schema_report_count(report) > 0, done);
        nexus_schema_report_free(report);
        nexus_schema_free(schema);
    }
}
