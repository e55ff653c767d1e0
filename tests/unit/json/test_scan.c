/* json/: the scanner, alone and against nst/JSONTestSuite. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "json/read.h"
#include "json/scan.h"

static nexus_status scan_with(nexus_slice text, const nexus__json_limits *limits)
{
    nexus__json doc;
    nexus__json_init(&doc, NULL);
    nexus_status status = nexus__json_scan(&doc, text, limits);
    nexus__json_free(&doc);
    return status;
}

static bool accepts(const char *text, bool lenient)
{
    return scan_with(nexus__slice_c(text), &(nexus__json_limits){.lenient = lenient}) == NEXUS_OK;
}

Test(scan, what_only_the_strict_form_refuses)
{
    static const char *const texts[] = {
        "{\"a\":1,\"a\":2}",    "{\"a\":1,\"\\u0061\":2}", "[\"\\u0000\"]",   "[\"\\ud800\"]",
        "[\"\\udc00\\ud800\"]", "[\"\\ud800\\u0041\"]",    "{\"\":1,\"\":2}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        cr_expect(accepts(texts[i], true), "%s", texts[i]);
        cr_expect_not(accepts(texts[i], false), "%s", texts[i]);
    }
    cr_expect(accepts("[\"\\ud83d\\ude00\"]", false));
    cr_expect(accepts("{\"a\":{\"a\":1},\"b\":{\"a\":1}}", false));
}

Test(scan, duplicates_are_found_among_many_members)
{
    nexus__buf b;
    nexus__buf_init(&b, NULL, 0);
    nexus__buf_char(&b, '{');
    for (int i = 0; i < 1000; i++)
        nexus__buf_printf(&b, "\"name%d\":%d,", i, i);
    size_t length = b.len;
    nexus__buf_text(&b, "\"other\":1}");
    cr_assert_eq(scan_with(nexus__buf_slice(&b), NULL), NEXUS_OK);
    b.len = length;
    nexus__buf_text(&b, "\"name\\u00377\":1}");
    cr_assert_eq(scan_with(nexus__buf_slice(&b), NULL), NEXUS_EINVAL);
    cr_assert(strstr(nexus_error_message(), "twice"), "%s", nexus_error_message());
    nexus__buf_free(&b);
}

Test(scan, limits_have_their_own_status)
{
    nexus_slice nested = NEXUS_S("[[[1]]]");
    cr_assert_eq(scan_with(nested, &(nexus__json_limits){.max_depth = 2}), NEXUS_ETOOBIG);
    cr_assert_eq(scan_with(nested, &(nexus__json_limits){.max_depth = 3}), NEXUS_OK);
    cr_assert_eq(scan_with(nested, &(nexus__json_limits){.max_nodes = 3}), NEXUS_ETOOBIG);
    cr_assert_eq(scan_with(nested, &(nexus__json_limits){.max_bytes = 6}), NEXUS_ETOOBIG);
    cr_assert_eq(scan_with(NEXUS_S("{\"a\":1,\"b\":2}"), &(nexus__json_limits){.max_members = 1}), NEXUS_ETOOBIG);
    char deep[400];
    memset(deep, '[', 200);
    memset(deep + 200, ']', 200);
    cr_assert_eq(scan_with(nexus__slice(deep, 400), NULL), NEXUS_ETOOBIG);
}

Test(scan, errors_say_where_in_lines_and_code_points)
{
    nexus__json doc;
    nexus__json_init(&doc, NULL);
    cr_assert_eq(nexus__json_scan(&doc, NEXUS_S("{\n \"\xc3\xa4\": x}"), NULL), NEXUS_EINVAL);
    cr_assert_eq(doc.error_at, 9);
    cr_assert(strstr(nexus_error_message(), "line 2, column 7: "), "%s", nexus_error_message());
    cr_assert_eq(doc.count, 0);
    nexus__json_free(&doc);
}

/* Every prefix of a valid text is refused, whatever lies behind it in memory, and so is every one-byte change
 * that breaks a quote: the scanner never looks past the end it was given. */
Test(scan, no_prefix_of_a_text_is_a_text)
{
    static const char whole[] =
        "{\"a\":[1,-2.5e+3,true,false,null,\"\\u00e9\xe2\x82\xac\"],\"b\":{\"c\":\"0123456789abcdef\"}}";
    for (size_t n = 0; n < sizeof whole - 1; n++) {
        char *copy = malloc(n ? n : 1);
        memcpy(copy, whole, n);
        cr_expect_neq(scan_with(nexus__slice(copy, n), NULL), NEXUS_OK, "%zu", n);
        free(copy);
    }
    cr_assert_eq(scan_with(NEXUS_S(whole), NULL), NEXUS_OK);
}

Test(scan, a_string_ends_at_every_offset)
{
    char text[80];
    for (size_t n = 0; n < 70; n++) {
        for (int kind = 0; kind < 3; kind++) {
            text[0] = '"';
            memset(text + 1, 'x', n);
            text[n + 1] = '"';
            if (n && kind == 1)
                text[n] = '\x1f';
            if (n && kind == 2)
                text[n] = (char)0x80;
            nexus_status want = n && kind ? NEXUS_EINVAL : NEXUS_OK;
            cr_expect_eq(scan_with(nexus__slice(text, n + 2), NULL), want, "%zu %d", n, kind);
        }
    }
}

static char *read_file(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    cr_assert(f, "%s", path);
    char *data = malloc(1 << 20);
    *n = fread(data, 1, 1 << 20, f);
    fclose(f);
    return data;
}

static int suite_case(const char *dir, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    size_t n;
    char *data = read_file(path, &n);
    bool lenient =
        scan_with(nexus__slice(data, n), &(nexus__json_limits){.lenient = true, .max_depth = 1024}) == NEXUS_OK;
    bool strict = scan_with(nexus__slice(data, n), NULL) == NEXUS_OK;
    if (name[0] == 'y')
        cr_expect(lenient, "%s must be accepted: %s", name, nexus_error_message());
    if (name[0] == 'n')
        cr_expect_not(lenient, "%s must be refused", name);
    cr_expect(lenient || !strict, "%s: strict is never wider", name);
    static const char *const only_lenient[] = {"y_object_duplicated_key.json", "y_object_duplicated_key_and_value.json",
                                               "y_object_escaped_null_in_key.json", "y_string_null_escape.json"};
    bool expected = name[0] == 'y';
    for (size_t i = 0; i < sizeof only_lenient / sizeof *only_lenient; i++)
        expected = expected && strcmp(name, only_lenient[i]) != 0;
    if (name[0] != 'i')
        cr_expect_eq(strict, expected, "%s in the strict form", name);
    free(data);
    return 1;
}

Test(scan, jsontestsuite)
{
    const char *archive = NEXUS_TEST_DATA "/json-parsing/test_parsing.tar.xz";
    if (access(archive, R_OK) != 0)
        cr_skip("no ../shared/data/json-parsing here");
    char dir[] = "/tmp/nexus-json-XXXXXX", command[512];
    cr_assert(mkdtemp(dir));
    snprintf(command, sizeof command, "tar -xJf '%s' -C %s", archive, dir);
    cr_assert_eq(system(command), 0);
    char cases[64];
    snprintf(cases, sizeof cases, "%s/test_parsing", dir);
    DIR *list = opendir(cases);
    cr_assert(list);
    int count = 0;
    for (struct dirent *e; (e = readdir(list));)
        if (strstr(e->d_name, ".json"))
            count += suite_case(cases, e->d_name);
    closedir(list);
    cr_assert_eq(count, 318);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    cr_assert_eq(system(command), 0);
}
