/* nexus/json.h: what a handler does with a body. */
#include <criterion/criterion.h>
#include <nexus/json.h>
#include <string.h>

Test(json, members_are_found_and_missing_ones_are_no)
{
    nexus_json *j;
    nexus_slice text;
    int64_t n;
    double d;
    bool b;
    cr_assert_eq(nexus_json_parse(&j, NEXUS_S("{\"a\":\"x\\u0041\",\"n\":7,\"o\":{\"d\":[1.5,true]}}")), NEXUS_OK);
    cr_assert(nexus_json_text(j, nexus_json_get(j, NEXUS_JSON_ROOT, "a"), &text));
    cr_assert(text.n == 2 && memcmp(text.p, "xA", 2) == 0);
    cr_assert(nexus_json_int(j, nexus_json_at(j, 0, "/n"), &n) && n == 7);
    cr_assert(nexus_json_double(j, nexus_json_at(j, 0, "/o/d/0"), &d) && d == 1.5);
    cr_assert(nexus_json_bool(j, nexus_json_at(j, 0, "/o/d/1"), &b) && b);
    cr_assert_not(nexus_json_int(j, nexus_json_get(j, nexus_json_get(j, 0, "no"), "deeper"), &n));
    cr_assert_eq(nexus_json_type(j, nexus_json_get(j, 0, "no")), NEXUS_JSON_ABSENT);
    nexus_json_free(j);
    cr_assert_eq(nexus_json_parse(&j, NEXUS_S("{\"a\":1,\"a\":2}")), NEXUS_EINVAL);
    cr_assert(strstr(nexus_error_message(), "line 1"));
}

Test(json, a_walk_sees_every_member_in_order)
{
    nexus_json *j;
    nexus_json_iter it = {0};
    char names[8] = "";
    cr_assert_eq(nexus_json_parse(&j, NEXUS_S("{\"a\":[1,[2]],\"b\":{},\"c\":3}")), NEXUS_OK);
    while (nexus_json_step(j, 0, &it))
        names[it.index] = it.name.p[0];
    cr_assert_str_eq(names, "abc");
    it = (nexus_json_iter){0};
    cr_assert(nexus_json_step(j, nexus_json_get(j, 0, "a"), &it) && nexus_json_type(j, it.value) == NEXUS_JSON_INT);
    cr_assert(nexus_json_step(j, nexus_json_get(j, 0, "a"), &it) && nexus_json_type(j, it.value) == NEXUS_JSON_ARRAY);
    cr_assert_not(nexus_json_step(j, nexus_json_get(j, 0, "a"), &it));
    it = (nexus_json_iter){0};
    cr_assert_not(nexus_json_step(j, nexus_json_get(j, 0, "b"), &it));
    it = (nexus_json_iter){0};
    cr_assert_not(nexus_json_step(j, nexus_json_get(j, 0, "c"), &it));
    nexus_json_free(j);
}

Test(json, what_is_written_reads_back)
{
    nexus_json_writer *w;
    nexus_json *j;
    size_t n;
    int64_t i;
    cr_assert_eq(nexus_json_writer_new(&w), NEXUS_OK);
    nexus_json_open_object(w, NULL);
    nexus_json_put_text(w, "t", NEXUS_S("a\"b\n"));
    nexus_json_put_int(w, "i", -3);
    nexus_json_open_array(w, "l");
    nexus_json_put_double(w, NULL, 0.5);
    nexus_json_put_null(w, NULL);
    nexus_json_put_bool(w, NULL, true);
    nexus_json_put_raw(w, NULL, NEXUS_S("{}"));
    nexus_json_close(w);
    cr_assert_null(nexus_json_writer_text(w, &n));
    nexus_json_close(w);
    const char *text = nexus_json_writer_text(w, &n);
    cr_assert_str_eq(text, "{\"t\":\"a\\\"b\\n\",\"i\":-3,\"l\":[0.5,null,true,{}]}");
    cr_assert_eq(nexus_json_parse(&j, (nexus_slice){text, n}), NEXUS_OK);
    cr_assert(nexus_json_int(j, nexus_json_get(j, 0, "i"), &i) && i == -3);
    nexus_json_free(j);
    nexus_json_writer_free(w);
}
