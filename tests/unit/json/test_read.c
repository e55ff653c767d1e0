/* json/: reader and writer. */
#include <criterion/criterion.h>

#include "json/read.h"
#include "json/write.h"

static nexus__json doc;

static void scan(const char *text)
{
    nexus__json_init(&doc, NULL);
    cr_assert_eq(nexus__json_scan(&doc, nexus__slice_c(text), NULL), NEXUS_OK, "%s", nexus_error_message());
}

static void done(void)
{
    nexus__json_free(&doc);
}

Test(read, members_elements_and_pointers, .fini = done)
{
    scan("{\"a\":{\"b\":[10,{\"c/d\":true,\"m~n\":null}]},\"e\\u0066\":\"x\",\"\":0}");
    cr_assert_eq(nexus__json_count(&doc, 0), 3);
    int64_t i;
    cr_assert(nexus__json_i64(&doc, nexus__json_pointer(&doc, 0, NEXUS_S("/a/b/0")), &i) && i == 10);
    bool b;
    cr_assert(nexus__json_bool(&doc, nexus__json_pointer(&doc, 0, NEXUS_S("/a/b/1/c~1d")), &b) && b);
    cr_assert(nexus__json_is(&doc, nexus__json_pointer(&doc, 0, NEXUS_S("/a/b/1/m~0n")), NEXUS__JSON_NULL));
    cr_assert(nexus__json_is(&doc, nexus__json_pointer(&doc, 0, NEXUS_S("/")), NEXUS__JSON_INT));
    cr_assert_eq(nexus__json_pointer(&doc, 0, NEXUS_S("")), 0);
    static const char *const absent[] = {"a", "/a/b/2", "/a/b/01", "/a/b/-", "/zz", "/a/b/0/x", "/~2"};
    for (size_t k = 0; k < sizeof absent / sizeof *absent; k++)
        cr_expect_eq(nexus__json_pointer(&doc, 0, nexus__slice_c(absent[k])), NEXUS__JSON_NONE, "%s", absent[k]);
    nexus_slice text;
    cr_assert(nexus__json_get_text(&doc, 0, "ef", &text) && nexus__slice_eq_c(text, "x"));
    cr_assert_not(nexus__json_get_text(&doc, nexus__json_get(&doc, 0, "none"), "x", &text));
    cr_assert(nexus__slice_eq_c(nexus__json_raw(&doc, nexus__json_get(&doc, 0, "ef")), "\"x\""));
}

Test(read, iteration_visits_children_only, .fini = done)
{
    scan("[[1,2],{\"k\":[3]},\"s\"]");
    uint32_t steps = 0;
    for (nexus__json_iter it = nexus__json_each(&doc, 0); nexus__json_step(&doc, &it);) {
        cr_assert_eq(it.index, steps);
        cr_assert_eq(it.key, NEXUS__JSON_NONE);
        steps++;
    }
    cr_assert_eq(steps, 3);
    uint32_t object = nexus__json_element(&doc, 0, 1);
    nexus__json_iter it = nexus__json_each(&doc, object);
    cr_assert(nexus__json_step(&doc, &it));
    cr_assert(nexus__json_text_is(&doc, it.key, NEXUS_S("k")));
    cr_assert_not(nexus__json_step(&doc, &it));
    it = nexus__json_each(&doc, nexus__json_element(&doc, 0, 2));
    cr_assert_not(nexus__json_step(&doc, &it));
    it = nexus__json_each(&doc, NEXUS__JSON_NONE);
    cr_assert_not(nexus__json_step(&doc, &it));
}

Test(read, escapes_decode, .fini = done)
{
    scan("[\"a\\n\\\"\\\\\\/\\b\\f\\r\\t\\u00e9\\u20ac\\ud83d\\ude00z\"]");
    nexus_slice text;
    cr_assert(nexus__json_text(&doc, 1, &text));
    nexus_slice want = NEXUS_S("a\n\"\\/\b\f\r\t\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z");
    cr_assert(nexus__slice_eq(text, want));
    cr_assert(nexus__json_text_is(&doc, 1, want));
    want.n--;
    cr_assert_not(nexus__json_text_is(&doc, 1, want));
}

Test(read, numbers, .fini = done)
{
    scan("[9223372036854775807,18446744073709551615,-1,1.0,1.5,1e3,1e400,-0,9223372036854775808]");
    int64_t i;
    uint64_t u;
    double d;
    cr_assert(nexus__json_i64(&doc, 1, &i) && i == INT64_MAX);
    cr_assert_not(nexus__json_i64(&doc, 2, &i));
    cr_assert(nexus__json_u64(&doc, 2, &u) && u == UINT64_MAX);
    cr_assert_not(nexus__json_u64(&doc, 3, &u));
    cr_assert(nexus__json_i64(&doc, 4, &i) && i == 1);
    cr_assert_not(nexus__json_i64(&doc, 5, &i));
    cr_assert(nexus__json_i64(&doc, 6, &i) && i == 1000);
    cr_assert_not(nexus__json_double(&doc, 7, &d));
    cr_assert(nexus__json_double(&doc, 8, &d) && d == 0 && 1 / d < 0);
    cr_assert(nexus__json_double(&doc, 9, &d) && d == 9223372036854775808.0);
}

Test(write, commas_and_escapes_are_the_writers)
{
    nexus__buf b;
    nexus__buf_init(&b, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&b);
    nexus__json_open(&w, '{');
    nexus__json_put_text(&w, "t", NEXUS_S("q\"\\\n\x01\x7f\xc3\xa9\xff"));
    nexus__json_key(&w, "list");
    nexus__json_open(&w, '[');
    nexus__json_open(&w, '[');
    nexus__json_close(&w, ']');
    nexus__json_i64_value(&w, -5);
    nexus__json_bool_value(&w, true);
    nexus__json_close(&w, ']');
    nexus__json_put_double(&w, "d", 0.5);
    nexus__json_put_u64(&w, "u", UINT64_MAX);
    nexus__json_put_null(&w, "n");
    nexus__json_put_text_c(&w, "c", NULL);
    nexus__json_put_raw(&w, "r", NEXUS_S("{\"x\":1}"));
    nexus__json_close(&w, '}');
    nexus__buf_char(&b, '\0');
    cr_assert_eq(b.status, NEXUS_OK);
    cr_assert_str_eq(b.p, "{\"t\":\"q\\\"\\\\\\n\\u0001\\u007f\xc3\xa9\xef\xbf\xbd\",\"list\":[[],-5,true],\"d\":0.5,"
                          "\"u\":18446744073709551615,\"n\":null,\"c\":null,\"r\":{\"x\":1}}");
    nexus__buf_free(&b);
}

Test(write, what_is_written_is_read_back)
{
    char all[256];
    for (int i = 0; i < 128; i++)
        all[i] = (char)(i ? i : 1);
    nexus__buf b;
    nexus__buf_init(&b, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&b);
    nexus__json_text_value(&w, nexus__slice(all, 128));
    nexus__json_init(&doc, NULL);
    cr_assert_eq(nexus__json_scan(&doc, nexus__buf_slice(&b), NULL), NEXUS_OK);
    cr_assert(nexus__json_text_is(&doc, 0, nexus__slice(all, 128)));
    nexus__json_free(&doc);
    nexus__buf_free(&b);
}
