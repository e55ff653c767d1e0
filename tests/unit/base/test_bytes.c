/* base/: slices, buffers, arenas, maps. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/map.h"

Test(str, numbers_are_whole_or_refused)
{
    uint64_t u;
    int64_t i;
    cr_assert(nexus__parse_u64(NEXUS_S("18446744073709551615"), &u) && u == UINT64_MAX);
    cr_assert_not(nexus__parse_u64(NEXUS_S("18446744073709551616"), &u));
    cr_assert_not(nexus__parse_u64(NEXUS_S("+5"), &u));
    cr_assert_not(nexus__parse_u64(NEXUS_S(""), &u));
    cr_assert_not(nexus__parse_u64(NEXUS_S("1e3"), &u));
    cr_assert(nexus__parse_i64(NEXUS_S("-9223372036854775808"), &i) && i == INT64_MIN);
    cr_assert_not(nexus__parse_i64(NEXUS_S("9223372036854775808"), &i));
    cr_assert_not(nexus__parse_i64(NEXUS_S("-"), &i));
}

Test(str, doubles_read_back_as_written)
{
    const double values[] = {0, 1, -1.5, 0.1, 1e300, 5e-324, 123456789.123};
    for (size_t k = 0; k < sizeof values / sizeof values[0]; k++) {
        char text[32];
        double back;
        size_t n = nexus__format_double(values[k], text);
        cr_assert(nexus__parse_double(nexus__slice(text, n), &back) && back == values[k], "%s", text);
    }
    double out;
    cr_assert_not(nexus__parse_double(NEXUS_S("1e999"), &out));
    cr_assert_not(nexus__parse_double(NEXUS_S("nan"), &out));
    cr_assert_not(nexus__parse_double(NEXUS_S("0x10"), &out));
}

Test(str, cut_walks_a_list)
{
    nexus_slice rest = NEXUS_S("a,,bc");
    cr_assert(nexus__slice_eq_c(nexus__slice_cut(&rest, ','), "a"));
    cr_assert(nexus__slice_eq_c(nexus__slice_cut(&rest, ','), ""));
    cr_assert(nexus__slice_eq_c(nexus__slice_cut(&rest, ','), "bc"));
    cr_assert_eq(rest.n, 0);
}

Test(buf, remembers_the_first_failure)
{
    nexus__buf b;
    nexus__buf_init(&b, NULL, 8);
    nexus__buf_text(&b, "12345");
    nexus__buf_text(&b, "6789");
    nexus__buf_text(&b, "x");
    cr_assert_eq(b.status, NEXUS_ETOOBIG);
    cr_assert_eq(b.len, 5);
    nexus__buf_free(&b);
}

Test(buf, formats_and_hands_over)
{
    nexus__buf b;
    nexus__buf_init(&b, NULL, 0);
    nexus__buf_i64(&b, INT64_MIN);
    nexus__buf_printf(&b, " %0300d", 7);
    cr_assert_eq(b.len, 20 + 301);
    nexus__buf_consume(&b, 20);
    size_t n;
    char *text = nexus__buf_take(&b, &n);
    cr_assert_eq(n, 301);
    cr_assert_eq(text[n], '\0');
    cr_assert_null(b.p);
    nexus__free(NULL, text);
}

Test(arena, is_aligned_and_keeps_one_chunk)
{
    nexus__arena a;
    nexus__arena_init(&a, NULL, 256);
    for (size_t n = 1; n < 600; n += 7) {
        char *p = nexus__arena_get(&a, n);
        cr_assert_eq((uintptr_t)p % 16, 0);
        memset(p, 1, n);
    }
    nexus__arena_reset(&a);
    cr_assert_not_null(a.chunks);
    nexus_slice copy = nexus__arena_copy(&a, NEXUS_S("hello"));
    cr_assert_str_eq(copy.p, "hello");
    nexus__arena_free(&a);
}

Test(map, survives_growth_and_removal)
{
    enum { N = 2000 };
    static char keys[N][8];
    nexus__map m;
    nexus__map_init(&m, NULL);
    for (int i = 0; i < N; i++) {
        snprintf(keys[i], sizeof keys[i], "k%d", i);
        cr_assert_eq(nexus__map_put(&m, nexus__slice_c(keys[i]), keys[i], NULL), NEXUS_OK);
    }
    for (int i = 0; i < N; i += 2)
        cr_assert_eq(nexus__map_remove(&m, nexus__slice_c(keys[i])), keys[i]);
    for (int i = 0; i < N; i++)
        cr_assert_eq(nexus__map_get(&m, nexus__slice_c(keys[i])), i % 2 ? keys[i] : NULL);
    size_t cursor = 0, seen = 0;
    while (nexus__map_next(&m, &cursor))
        seen++;
    cr_assert_eq(seen, N / 2);
    void *old;
    cr_assert_eq(nexus__map_put(&m, nexus__slice_c(keys[1]), "new", &old), NEXUS_OK);
    cr_assert_eq(old, keys[1]);
    nexus__map_free(&m);
}

/* Every allocation fails once: nothing leaks, nothing crashes, the status says so. */
static int countdown;

static void *failing_malloc(size_t n, void *ud)
{
    (void)ud;
    return countdown-- == 0 ? NULL : malloc(n);
}

static void *failing_realloc(void *p, size_t n, void *ud)
{
    (void)ud;
    return countdown-- == 0 ? NULL : realloc(p, n);
}

static void plain_free(void *p, void *ud)
{
    (void)ud;
    free(p);
}

Test(map, reports_out_of_memory)
{
    const nexus_alloc alloc = {failing_malloc, failing_realloc, plain_free, NULL};
    static char keys[40][8];
    for (int fail_at = 0; fail_at < 3; fail_at++) {
        countdown = fail_at;
        nexus__map m;
        nexus__map_init(&m, &alloc);
        bool failed = false;
        for (int i = 0; i < 40 && !failed; i++) {
            snprintf(keys[i], sizeof keys[i], "%d", i);
            nexus_status status = nexus__map_put(&m, nexus__slice_c(keys[i]), keys[i], NULL);
            failed = status == NEXUS_ENOMEM;
            for (int j = 0; j <= i - failed; j++)
                cr_assert_not_null(nexus__map_get(&m, nexus__slice_c(keys[j])));
        }
        cr_assert(failed);
        nexus__map_free(&m);
    }
}
