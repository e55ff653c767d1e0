#include <criterion/criterion.h>
#include <stdlib.h>

#include "base/status.h"
#include "gateway/coding.h"

static nexus__buf packed(const struct iovec *pieces, size_t n)
{
    nexus__deflater *d;
    nexus__buf out;
    nexus__buf_init(&out, NULL, 0);
    cr_assert_eq(nexus__deflater_new(&d, 5, NULL), NEXUS_OK);
    for (size_t i = 0; i < n; i++)
        nexus__deflater_write(d, &pieces[i], 1, false, &out);
    nexus__deflater_write(d, NULL, 0, true, &out);
    nexus__deflater_free(d);
    return out;
}

Test(coding, what_was_packed_opens_again)
{
    struct iovec pieces[] = {{(void *)"hello ", 6}, {(void *)"", 0}, {(void *)"world", 5}};
    nexus__buf in = packed(pieces, 3), out;
    nexus__buf_init(&out, NULL, 0);
    cr_assert_eq(nexus__coding_open(&out, nexus__buf_slice(&in), 1000), NEXUS_OK, "%s", nexus_error_message());
    cr_assert(nexus__slice_eq(nexus__buf_slice(&out), NEXUS_S("hello world")));
    for (size_t n = 0; n < in.len; n++) { /* cut off anywhere */
        nexus__buf_clear(&out);
        cr_assert_eq(nexus__coding_open(&out, nexus__slice(in.p, n), 1000), NEXUS_EINVAL, "%zu bytes", n);
    }
    nexus__buf_clear(&out);
    nexus__buf_char(&in, 'x');
    cr_assert_eq(nexus__coding_open(&out, nexus__buf_slice(&in), 1000), NEXUS_EINVAL);
    nexus__buf_clear(&out);
    cr_assert_eq(nexus__coding_open(&out, NEXUS_S("{\"a\":1}"), 1000), NEXUS_EINVAL);
    nexus__buf_free(&in);
    nexus__buf_free(&out);
}

Test(coding, a_reader_can_go_on_after_every_piece)
{
    nexus__deflater *d;
    nexus__buf out;
    nexus__buf_init(&out, NULL, 0);
    cr_assert_eq(nexus__deflater_new(&d, 9, NULL), NEXUS_OK);
    for (int round = 0; round < 3; round++) { /* used again */
        size_t before = 0;
        nexus__buf_clear(&out);
        nexus__deflater_reset(d, 1 + round);
        for (int i = 0; i < 5; i++) {
            nexus__deflater_write(d, &(struct iovec){(void *)"data: 1\n\n", 9}, 1, false, &out);
            cr_assert_gt(out.len, before);
            cr_assert_arr_eq(out.p + out.len - 4, "\0\0\xff\xff", 4); /* what a flush ends with */
            before = out.len;
        }
    }
    nexus__deflater_free(d);
    nexus__buf_free(&out);
}

Test(coding, a_bomb_is_left_alone)
{
    static char zeros[1 << 20];
    nexus__buf in = packed(&(struct iovec){zeros, sizeof zeros}, 1), out;
    nexus__buf_init(&out, NULL, 0);
    cr_assert_lt(in.len * NEXUS__CODING_RATIO_MAX, sizeof zeros);
    cr_assert_eq(nexus__coding_open(&out, nexus__buf_slice(&in), SIZE_MAX), NEXUS_ETOOBIG);
    cr_assert_lt(out.len, in.len * NEXUS__CODING_RATIO_MAX + 20000, "stopped at the ratio");
    nexus__buf_clear(&out);
    cr_assert_eq(nexus__coding_open(&out, nexus__buf_slice(&in), 5000), NEXUS_ETOOBIG);
    nexus__buf_free(&in);
    nexus__buf_free(&out);
}

Test(coding, reads_the_names)
{
    static const struct {
        const char *field;
        enum nexus__coding coding;
    } codings[] = {{"gzip", NEXUS__CODING_GZIP},       {"X-GZIP", NEXUS__CODING_GZIP},  {" deflate ", NEXUS__CODING_GZIP},
                   {"identity", NEXUS__CODING_IDENTITY}, {"", NEXUS__CODING_IDENTITY},    {"br", NEXUS__CODING_UNKNOWN},
                   {"gzip, gzip", NEXUS__CODING_UNKNOWN}, {"zstd", NEXUS__CODING_UNKNOWN}};
    for (size_t i = 0; i < sizeof codings / sizeof *codings; i++)
        cr_assert_eq(nexus__coding_of(nexus__slice_c(codings[i].field)), codings[i].coding, "%s", codings[i].field);
    static const struct {
        const char *field;
        bool gzip;
    } accepts[] = {{"gzip", true},
                   {"gzip, deflate, br", true},
                   {"GZIP;q=0.5", true},
                   {"gzip;q=0", false},
                   {"gzip;q=0.000", false},
                   {"br", false},
                   {"*", true},
                   {"*;q=0.1, gzip;q=0", false},
                   {"identity, gzip;q=0.5", false},
                   {"identity;q=0.5, gzip", true},
                   {"identity;q=0, gzip;q=0.001", true},
                   {"gzip;q=x", false},
                   {"", false},
                   {",,", false}};
    for (size_t i = 0; i < sizeof accepts / sizeof *accepts; i++)
        cr_assert_eq(nexus__coding_accepts_gzip(nexus__slice_c(accepts[i].field)), accepts[i].gzip, "%s", accepts[i].field);
}
