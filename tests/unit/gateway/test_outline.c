#include <criterion/criterion.h>
#include <string.h>

#include "gateway/history.h"
#include "gateway/outline.h"

#define FILE_TEXT                                                                                                      \
    "{ \"version\" : 1, \"upstreams\": {\"a\": { \"targets\" :[\"http://h\"]}},\n\"routes\":[{\"id\":\"x\",  "         \
    "\"path\":\"/x\",\"upstream\":\"a\"}, {\"prefix\":\"/\",\"upstream\":\"a\"}]}"

static nexus__outline o;

static void read_text(const char *text)
{
    cr_assert_eq(nexus__outline_read(&o, nexus__slice_c(text), NULL), 0, "%s", nexus_error_message());
}

static char *written(void)
{
    nexus__buf buf;
    size_t n;
    nexus__buf_init(&buf, NULL, 0);
    nexus__outline_write(&o, &buf);
    return nexus__buf_take(&buf, &n);
}

Test(outline, keeps_the_text_of_entries)
{
    read_text(FILE_TEXT);
    const nexus__outline_entry *e = nexus__outline_find(&o, NEXUS_S("upstreams"), NEXUS_S("a"));
    cr_assert(e && nexus__slice_eq_c(e->text, "{ \"targets\" :[\"http://h\"]}"));
    cr_assert_not_null(nexus__outline_find(&o, NEXUS_S("routes"), NEXUS_S("/")), "without an id the path names it");
    char *text = written();
    cr_assert_str_eq(text, "{\n  \"version\": 1,\n  \"upstreams\": {\n    \"a\": { \"targets\" :[\"http://h\"]}\n  },\n"
                           "  \"routes\": [\n    {\"id\":\"x\",  \"path\":\"/x\",\"upstream\":\"a\"},\n"
                           "    {\"prefix\":\"/\",\"upstream\":\"a\"}\n  ]\n}\n");
    nexus__free(NULL, text);
    nexus__outline_free(&o);
}

Test(outline, changes_one_entry_and_no_other)
{
    read_text(FILE_TEXT);
    cr_assert_eq(nexus__outline_put(&o, NEXUS_S("routes"), NEXUS_S("y"), NEXUS_S("{\"path\":\"/y\"}")), 0);
    cr_assert_eq(nexus__outline_put(&o, NEXUS_S("routes"), NEXUS_S("z"), NEXUS_S("{ }")), 0);
    cr_assert_eq(nexus__outline_put(&o, NEXUS_S("routes"), NEXUS_S("w"), NEXUS_S("{\"id\":\"v\"}")), NEXUS_EINVAL);
    cr_assert_eq(nexus__outline_put(&o, NEXUS_S("routes"), NEXUS_S("w"), NEXUS_S("[]")), NEXUS_EINVAL);
    cr_assert_eq(nexus__outline_put(&o, NEXUS_S("plans"), NEXUS_S("q\"p"), NEXUS_S("7")), 0,
                 "a collection that was not there");
    cr_assert_eq(nexus__outline_remove(&o, NEXUS_S("routes"), NEXUS_S("x")), 0);
    cr_assert_eq(nexus__outline_remove(&o, NEXUS_S("routes"), NEXUS_S("x")), NEXUS_ENOTFOUND);
    cr_assert_eq(nexus__outline_remove(&o, NEXUS_S("none"), NEXUS_S("x")), NEXUS_ENOTFOUND);
    char *text = written();
    cr_assert_not_null(strstr(text, "{\"id\":\"y\",\"path\":\"/y\"}"));
    cr_assert_not_null(strstr(text, "{\"id\":\"z\" }"));
    cr_assert_not_null(strstr(text, "\"plans\": {\n    \"q\\\"p\": 7\n  }"));
    cr_assert_null(strstr(text, "/x"));
    nexus__outline again;
    cr_assert_eq(nexus__outline_read(&again, nexus__slice_c(text), NULL), 0, "what was written can be read");
    nexus__outline_free(&again);
    nexus__free(NULL, text);
    nexus__outline_free(&o);
}

Test(outline, tells_what_differs)
{
    nexus__outline to;
    nexus__buf buf;
    nexus__buf_init(&buf, NULL, 0);
    read_text("{\"routes\":[{\"id\":\"a\"},{\"id\":\"b\",\"n\":1}]}");
    cr_assert_eq(nexus__outline_read(&to, NEXUS_S("{\"routes\":[{\"id\":\"b\",\"n\":2},{\"id\":\"c\"}]}"), NULL), 0);
    nexus__json_writer w = nexus__json_writer_on(&buf);
    nexus__outline_diff(&o, &to, &w);
    size_t n;
    char *said = nexus__buf_take(&buf, &n);
    cr_assert_str_eq(said,
                     "[{\"change\":\"changed\",\"collection\":\"routes\",\"id\":\"b\",\"from\":{\"id\":\"b\",\"n\":1},"
                     "\"to\":{\"id\":\"b\",\"n\":2}},"
                     "{\"change\":\"added\",\"collection\":\"routes\",\"id\":\"c\",\"to\":{\"id\":\"c\"}},"
                     "{\"change\":\"removed\",\"collection\":\"routes\",\"id\":\"a\",\"from\":{\"id\":\"a\"}}]");
    nexus__free(NULL, said);
    nexus__outline_free(&o);
    nexus__outline_free(&to);
}

Test(outline, etags_follow_the_text)
{
    char a[NEXUS__ETAG_MAX], b[NEXUS__ETAG_MAX];
    nexus__outline_etag(NEXUS_S("{}"), a);
    nexus__outline_etag(NEXUS_S("{ }"), b);
    cr_assert_eq(strlen(a), 34);
    cr_assert_str_neq(a, b);
}

Test(outline, refuses_what_is_no_file)
{
    static const char *const broken[] = {"", "[]", "7", "{\"a\":1,\"a\":2}", "{\"routes\":[}"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        cr_assert_neq(nexus__outline_read(&o, nexus__slice_c(broken[i]), NULL), 0, "%s", broken[i]);
        nexus__outline_free(&o);
    }
}

Test(history, keeps_the_last_ten)
{
    nexus__history h = {0};
    for (uint64_t v = 1; v <= 12; v++)
        nexus__history_add(&h, v, "test", NEXUS_S("text"), NULL);
    cr_assert_null(nexus__history_find(&h, 2));
    cr_assert_null(nexus__history_find(&h, 0));
    cr_assert_null(nexus__history_find(&h, 13));
    cr_assert_eq(nexus__history_find(&h, 3)->version, 3);
    nexus__history_free(&h, NULL);
}
