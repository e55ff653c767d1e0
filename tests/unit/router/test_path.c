#include <criterion/criterion.h>
#include <string.h>

#include <nexus/router.h>

#include "base/str.h"

static const struct {
    const char *raw, *canonical; /* NULL = refused with `status` */
    nexus_status status;
} rows[] = {
    {"/", "/", 0},
    {"/a/b", "/a/b", 0},
    {"/a/b/", "/a/b/", 0},
    {"/a.b/c..d/...", "/a.b/c..d/...", 0},
    {"//admin", "/admin", 0},
    {"/a///b//", "/a/b/", 0},
    {"/public/../admin", "/admin", 0},
    {"/public/%2e%2E/admin", "/admin", 0},
    {"/a/./b/.", "/a/b/", 0},
    {"/a/b/..", "/a/", 0},
    {"/../../x", "/x", 0},
    {"/..", "/", 0},
    {"/a//../b", "/b", 0},
    {"/%61%2d%7E", "/a-~", 0},
    {"/caf%c3%a9", "/caf%C3%A9", 0},
    {"/a%20b", "/a%20b", 0},
    {"/a:b@c!$&'()*+,=", "/a:b@c!$&'()*+,=", 0},
    {"/%e2%82%ac%f0%9f%98%80", "/%E2%82%AC%F0%9F%98%80", 0},
    {"", NULL, NEXUS_EINVAL},
    {"a", NULL, NEXUS_EINVAL},
    {"*", NULL, NEXUS_EINVAL},
    {"/a b", NULL, NEXUS_EINVAL},
    {"/a\\b", NULL, NEXUS_EINVAL},
    {"/a?b", NULL, NEXUS_EINVAL},
    {"/a#b", NULL, NEXUS_EINVAL},
    {"/a\x80", NULL, NEXUS_EINVAL},
    {"/%", NULL, NEXUS_EINVAL},
    {"/%4", NULL, NEXUS_EINVAL},
    {"/%zz", NULL, NEXUS_EINVAL},
    {"/%c0%ae", NULL, NEXUS_EINVAL},
    {"/%ed%a0%80", NULL, NEXUS_EINVAL},
    {"/%c3x", NULL, NEXUS_EINVAL},
    {"/%c3/%a9", NULL, NEXUS_EINVAL},
    {"/%f0%9f%98", NULL, NEXUS_EINVAL},
    {"/a%2fb", NULL, NEXUS_EPERM},
    {"/a%5Cb", NULL, NEXUS_EPERM},
    {"/a%00", NULL, NEXUS_EPERM},
    {"/a%252e", NULL, NEXUS_EPERM},
    {"/a%3B", NULL, NEXUS_EPERM},
    {"/a;b", NULL, NEXUS_EPERM},
    {"/a%3f", NULL, NEXUS_EPERM},
    {"/a%23", NULL, NEXUS_EPERM},
};

Test(path, canonical)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char buf[256];
        nexus_slice out = {0};
        nexus_status status = nexus_path_canonical(nexus__slice_c(rows[i].raw), 0, buf, &out);
        cr_assert_eq(status, rows[i].status, "%s: %d", rows[i].raw, status);
        if (rows[i].canonical) {
            cr_assert(nexus__slice_eq_c(out, rows[i].canonical), "%s gave %.*s", rows[i].raw, (int)out.n, out.p);
            char again[256];
            nexus_slice twice;
            cr_assert_eq(nexus_path_canonical(out, 0, again, &twice), 0);
            cr_assert(nexus__slice_eq(out, twice), "%s is not stable", rows[i].raw);
        }
    }
}

Test(path, works_in_place)
{
    char buf[] = "/x/%7e//%c3%a9/../b";
    nexus_slice out;
    cr_assert_eq(nexus_path_canonical(nexus__slice_c(buf), 0, buf, &out), 0);
    cr_assert(nexus__slice_eq_c(out, "/x/~/b"), "%.*s", (int)out.n, out.p);
}

Test(path, options)
{
    char buf[64];
    nexus_slice out;
    cr_assert_eq(nexus_path_canonical(NEXUS_S("/a%2fb;c"), NEXUS_PATH_AMBIGUOUS_PASS, buf, &out), 0);
    cr_assert(nexus__slice_eq_c(out, "/a%2Fb;c"));
    cr_assert_eq(nexus_path_canonical(NEXUS_S("/a//b"), NEXUS_PATH_KEEP_SLASHES, buf, &out), 0);
    cr_assert(nexus__slice_eq_c(out, "/a//b"));
}

Test(path, segments_decode_once)
{
    char buf[64];
    size_t n = nexus_path_decode(NEXUS_S("a%20b%C3%A9%2541"), buf);
    cr_assert(nexus__slice_eq_c(nexus__slice(buf, n), "a b\xc3\xa9%41"));
}

Test(method, allow_lists_head_and_options)
{
    char out[96];
    nexus_method_allow(NEXUS_METHOD_GET | NEXUS_METHOD_POST, out, sizeof out);
    cr_assert_str_eq(out, "GET, HEAD, POST, OPTIONS");
    cr_assert_eq(nexus_method_parse(NEXUS_S("get")), NEXUS_METHOD_OTHER);
    cr_assert_eq(nexus_method_parse(NEXUS_S("PATCH")), NEXUS_METHOD_PATCH);
}
