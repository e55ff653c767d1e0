#include <criterion/criterion.h>
#include <string.h>

#include "gateway/frames.h"

/* Passes the bytes in pieces of `step` and returns how often there was a boundary after a piece. */
static int boundaries(const char *bytes, size_t n, size_t step, nexus__frames *f)
{
    int count = 0;
    *f = (nexus__frames){0};
    for (size_t at = 0; at < n; at += step) {
        nexus__frames_pass(f, bytes + at, n - at < step ? n - at : step);
        count += nexus__frames_between(f);
    }
    return count;
}

Test(frames, ends_where_the_payload_does)
{
    nexus__frames f;
    static const char two[] = "\x81\x03"
                              "abc"
                              "\x89\x80"
                              "mask";
    cr_assert_eq(boundaries(two, sizeof two - 1, 1, &f), 2, "after each of the two frames");
    cr_assert_eq(boundaries(two, sizeof two - 1, sizeof two, &f), 1);
    cr_assert_eq(boundaries(two, sizeof two - 2, 1, &f), 1, "the mask of an empty frame is still to come");
}

Test(frames, reads_long_lengths)
{
    nexus__frames f;
    char medium[4 + 300] = "\x82\x7e\x01\x2c", large[10 + 70000] = "\x82\x7f\0\0\0\0\0\x01\x11\x70";
    cr_assert_eq(boundaries(medium, sizeof medium, 1, &f), 1);
    cr_assert_eq(boundaries(medium, sizeof medium - 1, 7, &f), 0);
    cr_assert_eq(boundaries(large, sizeof large, 4096, &f), 1);
    cr_assert(nexus__frames_between(&f));
    cr_assert_eq(boundaries(large, sizeof large - 1, 4096, &f), 0);
}

Test(frames, a_length_of_any_size_does_no_harm)
{
    nexus__frames f = {0};
    static const char huge[] = "\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff";
    nexus__frames_pass(&f, huge, sizeof huge - 1);
    for (int i = 0; i < 100; i++) {
        nexus__frames_pass(&f, huge, sizeof huge - 1);
        cr_assert_not(nexus__frames_between(&f));
    }
}
