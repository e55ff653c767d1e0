#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "gateway/transform.h"

static nexus_slice text_of(void *context, const nexus__pattern *pattern)
{
    (void)context;
    return pattern->pieces[0].text; /* "{query.x}" reads as "x" */
}

static nexus_status load(nexus__loader *l, const char *ops, nexus__transform *t)
{
    cr_assert_eq(nexus__json_scan(l->doc, nexus__slice_c(ops), NULL), NEXUS_OK, "%s: %s", ops, nexus_error_message());
    return nexus__transform_load(l, 0, t);
}

static void expect(const char *ops, const char *before, const char *after)
{
    nexus__json rules, doc;
    nexus__arena arena;
    nexus__buf out;
    nexus__transform t = {0};
    nexus__arena_init(&arena, NULL, 0);
    nexus__json_init(&rules, NULL);
    nexus__json_init(&doc, NULL);
    nexus__buf_init(&out, NULL, 0);
    nexus__loader l = {.file = "f", .doc = &rules, .arena = &arena};
    nexus__buf_init(&l.pointer, NULL, 4096);
    nexus_status status = load(&l, ops, &t);
    if (!after) {
        cr_assert_eq(status, NEXUS_EINVAL, "%s was taken", ops);
        cr_assert(strstr(nexus_error_message(), before), "%s: %s", ops, nexus_error_message());
    } else {
        cr_assert_eq(status, NEXUS_OK, "%s: %s", ops, nexus_error_message());
        cr_assert_eq(nexus__json_scan(&doc, nexus__slice_c(before), NULL), NEXUS_OK);
        nexus__transform_apply(&t, &doc, text_of, NULL, &out);
        nexus__buf_char(&out, 0);
        cr_assert_str_eq(out.p, after, "%s on %s", ops, before);
    }
    nexus__buf_free(&l.pointer);
    nexus__buf_free(&out);
    nexus__json_free(&doc);
    nexus__json_free(&rules);
    nexus__arena_free(&arena);
}

Test(transform, does_what_the_operations_say)
{
    static const struct {
        const char *ops, *before, *after;
    } rows[] = {
        {"[]", " {\"a\" : 1} ", "{\"a\" : 1}"},
        {"[{\"op\":\"set\",\"path\":\"/a\",\"value\":[1]}]", "{\"a\":1,\"b\":2}", "{\"a\":[1],\"b\":2}"},
        {"[{\"op\":\"set\",\"path\":\"/c\",\"value\":null}]", "{\"a\":1}", "{\"a\":1,\"c\":null}"},
        {"[{\"op\":\"set\",\"path\":\"/c\",\"value\":true}]", "{}", "{\"c\":true}"},
        {"[{\"op\":\"set\",\"path\":\"/a/b/c\",\"value\":1},{\"op\":\"set\",\"path\":\"/a/b/d\",\"value\":2}]", "{}",
         "{\"a\":{\"b\":{\"c\":1,\"d\":2}}}"},
        {"[{\"op\":\"set\",\"path\":\"/a/b\",\"value\":1}]", "{\"a\":5}", "{\"a\":5}"},
        {"[{\"op\":\"set\",\"path\":\"\",\"value\":{\"x\":1}}]", "[1,2]", "{\"x\":1}"},
        {"[{\"op\":\"set\",\"path\":\"/who\",\"text\":\"{query.a\\\"b}\"}]", "{}", "{\"who\":\"a\\\"b\"}"},
        {"[{\"op\":\"remove\",\"path\":\"/a\"}]", "{\"a\":1}", "{}"},
        {"[{\"op\":\"remove\",\"path\":\"/a\"}]", "{\"a\":1,\"b\":2,\"c\":3}", "{\"b\":2,\"c\":3}"},
        {"[{\"op\":\"remove\",\"path\":\"/b\"}]", "{\"a\":1, \"b\":2, \"c\":3, \"d\": 4}", "{\"a\":1,\"c\":3, \"d\": 4}"},
        {"[{\"op\":\"remove\",\"path\":\"/c\"}]", "{\"a\":1,\"b\":2,\"c\":3}", "{\"a\":1,\"b\":2}"},
        {"[{\"op\":\"remove\",\"path\":\"/x/y\"}]", "{\"a\":1}", "{\"a\":1}"},
        {"[{\"op\":\"remove\",\"path\":\"/a~1b\"},{\"op\":\"remove\",\"path\":\"/c~0d\"}]", "{\"a/b\":1,\"c~d\":2,\"e\":3}",
         "{\"e\":3}"},
        {"[{\"op\":\"remove\",\"path\":\"/a\"}]", "{\"\\u0061\":1,\"b\":2}", "{\"b\":2}"},
        {"[{\"op\":\"remove\",\"path\":\"/1\"}]", "[1,2,3]", "[1,3]"},
        {"[{\"op\":\"remove\",\"path\":\"/1\"}]", "{\"1\":1,\"2\":2}", "{\"2\":2}"},
        {"[{\"op\":\"set\",\"path\":\"/a/-\",\"value\":9}]", "{\"a\":[1]}", "{\"a\":[1,9]}"},
        {"[{\"op\":\"set\",\"path\":\"/a/-\",\"value\":9}]", "{\"a\":[]}", "{\"a\":[9]}"},
        {"[{\"op\":\"set\",\"path\":\"/a/-\",\"value\":9}]", "{}", "{\"a\":[9]}"},
        {"[{\"op\":\"set\",\"path\":\"/0\",\"value\":9}]", "[1,2]", "[9,2]"},
        {"[{\"op\":\"set\",\"path\":\"/7\",\"value\":9}]", "[1,2]", "[1,2]"},
        {"[{\"op\":\"rename\",\"path\":\"/a\",\"to\":\"z\"}]", "{\"a\":1,\"b\":2}", "{\"z\":1,\"b\":2}"},
        {"[{\"op\":\"rename\",\"path\":\"/a\",\"to\":\"b\"}]", "{\"b\":2,\"a\":1}", "{\"b\":1}"},
        {"[{\"op\":\"rename\",\"path\":\"/a\",\"to\":\"b\"}]", "{\"b\":2}", "{\"b\":2}"},
        {"[{\"op\":\"rename\",\"path\":\"/a\",\"to\":\"z\"},{\"op\":\"remove\",\"path\":\"/a/x\"}]",
         "{\"a\":{\"x\":1,\"y\":2}}", "{\"z\":{\"y\":2}}"},
        {"[{\"op\":\"pick\",\"names\":[\"a\",\"c\"]}]", "{\"a\":1,\"b\":2,\"c\":3}", "{\"a\":1,\"c\":3}"},
        {"[{\"op\":\"pick\",\"path\":\"/u\",\"names\":[\"id\"]}]", "{\"u\":{\"id\":1,\"pw\":2},\"x\":1}",
         "{\"u\":{\"id\":1},\"x\":1}"},
        {"[{\"op\":\"pick\",\"names\":[]}]", "{\"a\":1}", "{}"},
        {"[{\"op\":\"pick\",\"names\":[\"a\"]}]", "[{\"a\":1,\"b\":2}]", "[{\"a\":1,\"b\":2}]"},
        {"[{\"op\":\"pick\",\"names\":[\"a\"]},{\"op\":\"rename\",\"path\":\"/b\",\"to\":\"z\"},"
         "{\"op\":\"set\",\"path\":\"/n\",\"value\":0}]",
         "{\"a\":1,\"b\":2,\"c\":3,\"z\":4}", "{\"a\":1,\"z\":2,\"n\":0}"},
        {"[{\"op\":\"pick\",\"names\":[\"a\"]},{\"op\":\"rename\",\"path\":\"/b\",\"to\":\"z\"}]", "{\"z\":4}", "{}"},
        {"[{\"op\":\"map\",\"path\":\"/i\",\"ops\":[{\"op\":\"remove\",\"path\":\"/s\"},{\"op\":\"set\",\"path\":\"/n\","
         "\"value\":1}]}]",
         "{\"i\":[{\"s\":1},{\"t\":2},3]}", "{\"i\":[{\"n\":1},{\"t\":2,\"n\":1},3]}"},
        {"[{\"op\":\"map\",\"path\":\"\",\"ops\":[{\"op\":\"pick\",\"names\":[\"a\"]}]}]", "[{\"a\":1,\"b\":2},{}]",
         "[{\"a\":1},{}]"},
        {"[{\"op\":\"map\",\"path\":\"/i\",\"ops\":[{\"op\":\"map\",\"path\":\"\",\"ops\":[{\"op\":\"set\",\"path\":\"\","
         "\"value\":0}]}]}]",
         "{\"i\":[[1,2],[3]]}", "{\"i\":[[0,0],[0]]}"},
        {"[{\"op\":\"map\",\"path\":\"/i\",\"ops\":[{\"op\":\"remove\",\"path\":\"/a\"}]}]", "{\"i\":{\"a\":1}}",
         "{\"i\":{\"a\":1}}"},
        {"[{\"op\":\"remove\",\"path\":\"/a\"}]", "\"text\"", "\"text\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect(rows[i].ops, rows[i].before, rows[i].after);
}

Test(transform, refuses_what_contradicts_itself)
{
    static const struct {
        const char *ops, *message;
    } rows[] = {
        {"{}", "must be an array"},
        {"[{\"op\":\"sett\",\"path\":\"/a\"}]", "the nearest is \"set\""},
        {"[{\"path\":\"/a\"}]", "\"op\" is missing"},
        {"[{\"op\":\"set\",\"path\":\"/a\"}]", "needs \"value\""},
        {"[{\"op\":\"set\",\"path\":\"/a\",\"value\":1,\"text\":\"x\"}]", "needs \"value\""},
        {"[{\"op\":\"set\",\"path\":\"/a\",\"text\":\"{x}\"}]", "is not known"},
        {"[{\"op\":\"set\",\"path\":\"a\",\"value\":1}]", "JSON pointer"},
        {"[{\"op\":\"set\",\"path\":\"/a~2\",\"value\":1}]", "~0"},
        {"[{\"op\":\"remove\",\"path\":\"\"}]", "whole document"},
        {"[{\"op\":\"remove\",\"path\":\"/a\",\"value\":1}]", "is not for \"remove\""},
        {"[{\"op\":\"remove\",\"path\":\"/a\"},{\"op\":\"set\",\"path\":\"/a\",\"value\":1}]", "same place"},
        {"[{\"op\":\"remove\",\"path\":\"/a\"},{\"op\":\"set\",\"path\":\"/a/b\",\"value\":1}]", "lies inside"},
        {"[{\"op\":\"set\",\"path\":\"/a/b\",\"value\":1},{\"op\":\"remove\",\"path\":\"/a\"}]", "same place"},
        {"[{\"op\":\"rename\",\"path\":\"/a\",\"to\":\"a\"}]", "old one"},
        {"[{\"op\":\"rename\",\"path\":\"/a\"}]", "\"to\""},
        {"[{\"op\":\"rename\",\"path\":\"\",\"to\":\"b\"}]", "\"path\" of a member"},
        {"[{\"op\":\"rename\",\"path\":\"/a\",\"to\":\"b\"},{\"op\":\"set\",\"path\":\"/b\",\"value\":1}]", "same place"},
        {"[{\"op\":\"rename\",\"path\":\"/a\",\"to\":\"b\"},{\"op\":\"set\",\"path\":\"/b/x\",\"value\":1}]", "lies inside"},
        {"[{\"op\":\"rename\",\"path\":\"/a\",\"to\":\"b\"},{\"op\":\"set\",\"path\":\"/a/x\",\"value\":1}]", "renames"},
        {"[{\"op\":\"set\",\"path\":\"/a/x\",\"value\":1},{\"op\":\"rename\",\"path\":\"/a\",\"to\":\"b\"}]",
         "sets something inside"},
        {"[{\"op\":\"rename\",\"path\":\"/a\",\"to\":\"c\"},{\"op\":\"rename\",\"path\":\"/b\",\"to\":\"c\"}]", "same place"},
        {"[{\"op\":\"rename\",\"path\":\"/a\",\"to\":\"b\"},{\"op\":\"rename\",\"path\":\"/b\",\"to\":\"a\"}]", "same place"},
        {"[{\"op\":\"pick\",\"path\":\"/a\"}]", "\"names\""},
        {"[{\"op\":\"map\",\"path\":\"/a\"}]", "\"ops\""},
        {"[{\"op\":\"map\",\"path\":\"/a\",\"ops\":[{\"op\":\"nope\"}]}]", "/0/ops/0"},
        {"[{\"op\":\"map\",\"path\":\"/a\",\"ops\":[]},{\"op\":\"remove\",\"path\":\"/a/0\"}]", "every element"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect(rows[i].ops, rows[i].message, NULL);
}

Test(transform, walks_as_deep_as_its_paths_not_as_the_document)
{
    char deep[400], *at = deep;
    at += sprintf(at, "{\"a\":1,\"b\":");
    for (int i = 0; i < 120; i++)
        *at++ = '[';
    for (int i = 0; i < 120; i++)
        *at++ = ']';
    strcpy(at, "}");
    char after[400] = "{";
    strcat(after, deep + 7);
    expect("[{\"op\":\"remove\",\"path\":\"/a\"}]", deep, after);
}
