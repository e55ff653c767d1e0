/* template/: against the Mustache specification, then what is our own: escapes, limits, strict mode. */
#include <criterion/criterion.h>
#include <nexus/template.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "json/read.h"

static char *read_file(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    cr_assert(f, "%s", path);
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    rewind(f);
    char *data = malloc((size_t)size + 1);
    *n = fread(data, 1, (size_t)size, f);
    fclose(f);
    return data;
}

static bool spec_case(nexus__json *doc, uint32_t test, const char *file)
{
    nexus_slice name, text, want;
    cr_assert(nexus__json_get_text(doc, test, "name", &name));
    cr_assert(nexus__json_get_text(doc, test, "template", &text));
    cr_assert(nexus__json_get_text(doc, test, "expected", &want));
    nexus_slice data = nexus__json_raw(doc, nexus__json_get(doc, test, "data"));
    nexus_pair partials[8];
    nexus_template_opts opts = NEXUS_TEMPLATE_OPTS_INIT;
    opts.partials = partials;
    for (nexus__json_iter it = nexus__json_each(doc, nexus__json_get(doc, test, "partials"));
         nexus__json_step(doc, &it);) {
        cr_assert(nexus__json_text(doc, it.key, &partials[it.index].name));
        cr_assert(nexus__json_text(doc, it.value, &partials[it.index].value));
        opts.partial_count++;
    }
    nexus_template *tpl = NULL;
    char *out = NULL;
    size_t n = 0;
    nexus_status status = nexus_template_compile(&tpl, text.p, text.n, &opts);
    if (status == NEXUS_OK)
        status = nexus_template_render(&out, &n, tpl, data.p, data.n, NULL);
    bool good = status == NEXUS_OK && nexus__slice_eq(nexus__slice(out, n), want);
    cr_expect(good, "%s: %.*s: %s\n got [%.*s]\nwant [%.*s]", file, (int)name.n, name.p,
              status == NEXUS_OK ? "" : nexus_error_message(), (int)n, out ? out : "", (int)want.n, want.p);
    nexus_free(out);
    nexus_template_free(tpl);
    return good;
}

static int spec_file(const char *file, int count)
{
    char path[512];
    snprintf(path, sizeof path, NEXUS_TEST_DATA "/mustache/%s.json", file);
    if (access(path, R_OK) != 0)
        cr_skip("no ../shared/data/mustache here");
    size_t n;
    char *text = read_file(path, &n);
    nexus__json doc;
    nexus__json_init(&doc, NULL);
    cr_assert_eq(nexus__json_scan(&doc, nexus__slice(text, n), &(nexus__json_limits){.lenient = true}), NEXUS_OK);
    uint32_t tests = nexus__json_get(&doc, 0, "tests");
    cr_assert_eq((int)nexus__json_count(&doc, tests), count, "%s", file);
    int good = 0;
    for (nexus__json_iter it = nexus__json_each(&doc, tests); nexus__json_step(&doc, &it);)
        good += spec_case(&doc, it.value, file);
    nexus__json_free(&doc);
    free(text);
    return good;
}

Test(template, mustache_specification_core)
{
    cr_expect_eq(spec_file("comments", 12), 12);
    cr_expect_eq(spec_file("delimiters", 14), 14);
    cr_expect_eq(spec_file("interpolation", 42), 42);
    cr_expect_eq(spec_file("inverted", 22), 22);
    cr_expect_eq(spec_file("partials", 12), 12);
    cr_expect_eq(spec_file("sections", 34), 34);
}

Test(template, mustache_specification_dynamic_names)
{
    cr_expect_eq(spec_file("~dynamic-names", 21), 21);
}

Test(template, mustache_specification_inheritance)
{
    cr_expect_eq(spec_file("~inheritance", 27), 27);
}

static nexus_status render_with(const char *text, const char *data, const nexus_render_opts *opts, char **out)
{
    nexus_template *tpl = NULL;
    cr_assert_eq(nexus_template_compile(&tpl, text, strlen(text), NULL), NEXUS_OK, "%s", nexus_error_message());
    *out = NULL;
    nexus_status status = nexus_template_render(out, NULL, tpl, data, strlen(data), opts);
    nexus_template_free(tpl);
    return status;
}

Test(template, each_target_has_its_escape)
{
    static const struct {
        int32_t escape;
        const char *want;
    } rows[] = {
        {NEXUS_ESCAPE_HTML, "&lt;a href=&quot;&amp;&#39;\n@x*y&quot;&gt;"},
        {NEXUS_ESCAPE_NONE, "<a href=\"&'\n@x*y\">"},
        {NEXUS_ESCAPE_JSON, "<a href=\\\"&'\\n@x*y\\\">"},
        {NEXUS_ESCAPE_URL, "%3Ca%20href%3D%22%26%27%0A%40x%2Ay%22%3E"},
        {NEXUS_ESCAPE_SLACK, "&lt;a href=\"&amp;'\n@x*y\"&gt;"},
        {NEXUS_ESCAPE_DISCORD, "\\<a href=\"&'\n@\xe2\x80\x8bx\\*y\"\\>"},
        {NEXUS_ESCAPE_LINE, "<a href=\"&' @x*y\">"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nexus_render_opts opts = NEXUS_RENDER_OPTS_INIT;
        opts.escape = rows[i].escape;
        char *out;
        cr_assert_eq(render_with("{{v}}", "{\"v\":\"<a href=\\\"&'\\n@x*y\\\">\"}", &opts, &out), NEXUS_OK);
        cr_expect_str_eq(out, rows[i].want);
        nexus_free(out);
    }
    nexus_render_opts opts = NEXUS_RENDER_OPTS_INIT;
    opts.escape = 99;
    char *out;
    cr_expect_eq(render_with("{{v}}", "{}", &opts, &out), NEXUS_EINVAL);
}

Test(template, strict_mode_lists_what_is_missing)
{
    nexus_render_opts opts = NEXUS_RENDER_OPTS_INIT;
    opts.strict = true;
    char *out;
    const char *text = "{{a}} {{b.c}} {{#s}}{{d}}{{/s}} {{b.c}} {{e}}{{#no}}x{{/no}}";
    const char *data = "{\"a\":1,\"b\":{},\"s\":[{}],\"e\":null}";
    cr_expect_eq(render_with(text, data, &opts, &out), NEXUS_EMISSING);
    cr_expect(strstr(nexus_error_message(), "\"b.c\",\"d\""), "%s", nexus_error_message());
    cr_expect_eq(render_with("{{a}}", data, &opts, &out), NEXUS_OK);
    nexus_free(out);
    nexus_template *tpl;
    cr_assert_eq(nexus_template_compile(&tpl, text, strlen(text), NULL), NEXUS_OK);
    cr_assert_eq(nexus_template_missing(&out, NULL, tpl, data, strlen(data)), NEXUS_OK);
    cr_expect_str_eq(out, "[\"b.c\",\"d\"]");
    nexus_free(out);
    nexus_template_free(tpl);
}

Test(template, mistakes_are_named_with_their_place)
{
    static const struct {
        const char *text;
        nexus_status status;
        const char *words;
    } rows[] = {
        {"a\n  {{name", NEXUS_EINVAL, "line 2, column 3: this tag is not closed"},
        {"{{{name}}", NEXUS_EINVAL, "not closed"},
        {"{{#a}}x", NEXUS_EINVAL, "never closed: a"},
        {"{{#a}}{{/b}}", NEXUS_EINVAL, "expected the end of a"},
        {"{{/a}}", NEXUS_EINVAL, "nothing is open"},
        {"{{ }}", NEXUS_EINVAL, "without a name"},
        {"{{=x}}", NEXUS_EINVAL, "delimiters"},
        {"{{= =}}", NEXUS_EINVAL, "delimiters"},
        {"\xff", NEXUS_EINVAL, "UTF-8"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nexus_template *tpl = NULL;
        cr_expect_eq(nexus_template_compile(&tpl, rows[i].text, strlen(rows[i].text), NULL), rows[i].status, "%s",
                     rows[i].text);
        cr_expect(strstr(nexus_error_message(), rows[i].words), "%s: %s", rows[i].text, nexus_error_message());
        nexus_template_free(tpl);
    }
    nexus_template_opts opts = NEXUS_TEMPLATE_OPTS_INIT;
    opts.refuse_raw = true;
    nexus_template *tpl = NULL;
    cr_expect_eq(nexus_template_compile(&tpl, "{{{a}}}", 7, &opts), NEXUS_EPERM);
    cr_expect_eq(nexus_template_compile(&tpl, "{{&a}}", 6, &opts), NEXUS_EPERM);
    opts.template_bytes_max = 3;
    cr_expect_eq(nexus_template_compile(&tpl, "abcd", 4, &opts), NEXUS_ETOOBIG);
    opts = (nexus_template_opts)NEXUS_TEMPLATE_OPTS_INIT;
    opts.depth_max = 1;
    cr_expect_eq(nexus_template_compile(&tpl, "{{#a}}{{#b}}{{/b}}{{/a}}", 24, &opts), NEXUS_ETOOBIG);
}

Test(template, what_grows_without_end_is_stopped)
{
    char *out;
    nexus_render_opts opts = NEXUS_RENDER_OPTS_INIT;
    opts.output_bytes_max = 10;
    cr_expect_eq(render_with("{{#a}}xxxx{{/a}}", "{\"a\":[1,2]}", &opts, &out), NEXUS_OK);
    nexus_free(out);
    cr_expect_eq(render_with("{{#a}}xxxx{{/a}}", "{\"a\":[1,2,3]}", &opts, &out), NEXUS_ETOOBIG);
    opts = (nexus_render_opts)NEXUS_RENDER_OPTS_INIT;
    opts.steps_max = 50;
    cr_expect_eq(render_with("{{#a}}{{#a}}{{#a}}{{/a}}{{/a}}{{/a}}", "{\"a\":[1,2,3,4]}", &opts, &out), NEXUS_ETOOBIG);
    nexus_pair partials[] = {{NEXUS_S("me"), NEXUS_S("x{{>me}}")}, {NEXUS_S("p"), NEXUS_S("{{$b}}{{/b}}")}};
    nexus_template_opts with = NEXUS_TEMPLATE_OPTS_INIT;
    with.partials = partials;
    with.partial_count = 2;
    static const char *const endless[] = {"{{>me}}", "{{<p}}{{$b}}{{$b}}{{/b}}{{/b}}{{/p}}"};
    for (size_t i = 0; i < 2; i++) {
        nexus_template *tpl;
        cr_assert_eq(nexus_template_compile(&tpl, endless[i], strlen(endless[i]), &with), NEXUS_OK);
        cr_expect_eq(nexus_template_render(&out, NULL, tpl, NULL, 0, NULL), NEXUS_ETOOBIG, "%s", endless[i]);
        nexus_template_free(tpl);
    }
}

Test(template, values_of_every_type)
{
    char *out;
    cr_assert_eq(
        render_with(
            "{{i}} {{r}} {{t}} {{n}}|{{o}}|{{#z}}z{{/z}}{{#e}}e{{/e}}{{^e}}E{{/e}}{{^z}}Z{{/z}}{{#o}}{{a}}{{/o}}",
            "{\"i\":1,\"r\":1.50,\"t\":true,\"n\":null,\"z\":0,\"e\":\"\",\"o\":{\"a\":[]}}",
            &(nexus_render_opts){.size = sizeof(nexus_render_opts), .escape = NEXUS_ESCAPE_NONE}, &out),
        NEXUS_OK);
    cr_expect_str_eq(out, "1 1.50 true |{\"a\":[]}|EZ[]");
    nexus_free(out);
    cr_expect_eq(render_with("{{a}}", "{\"a\":", NULL, &out), NEXUS_EINVAL);
}

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

Test(template, every_allocation_may_fail)
{
    const nexus_alloc alloc = {failing_malloc, failing_realloc, plain_free, NULL};
    nexus_pair partials[] = {{NEXUS_S("p"), NEXUS_S("a\n{{$b}}\n  {{x}}\n{{/b}}\n")}};
    nexus_template_opts opts = NEXUS_TEMPLATE_OPTS_INIT;
    opts.alloc = &alloc;
    opts.partials = partials;
    opts.partial_count = 1;
    static const char text[] = "{{#l}}\n {{>p}}\n{{/l}}\n  {{<p}}{{$b}}{{y}}{{/b}}{{/p}}\n";
    static const char data[] = "{\"l\":[1,2],\"y\":\"\\n\"}";
    bool done = false;
    for (size_t n = 0; !done; n++) {
        cr_assert_lt(n, 200);
        calls_left = n;
        nexus_template *tpl = NULL;
        char *out = NULL;
        nexus_status status = nexus_template_compile(&tpl, text, sizeof text - 1, &opts);
        if (status == NEXUS_OK)
            status = nexus_template_missing(&out, NULL, tpl, data, sizeof data - 1);
        if (status == NEXUS_OK)
            cr_expect_str_eq(out, "[\"x\"]");
        nexus_free(out);
        if (status == NEXUS_OK)
            status = nexus_template_render(&out, NULL, tpl, data, sizeof data - 1, NULL);
        cr_assert(status == NEXUS_OK || status == NEXUS_ENOMEM, "%s", nexus_status_name(status));
        done = status == NEXUS_OK;
        if (done) {
            cr_expect_str_eq(out, " a\n   \n a\n   \n  a\n    \n");
            nexus_free(out);
        }
        nexus_template_free(tpl);
    }
}
