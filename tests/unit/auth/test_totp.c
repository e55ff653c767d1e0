/* TOTP against the vectors of RFC 6238, appendix B, and the window. */
#include <criterion/criterion.h>

#include "auth/totp.h"

static const char seeds[3][65] = {"12345678901234567890", "12345678901234567890123456789012",
                                  "1234567890123456789012345678901234567890123456789012345678901234"};
static const nexus__digest digests[3] = {NEXUS__SHA1, NEXUS__SHA256, NEXUS__SHA512};

Test(totp, the_published_vectors)
{
    static const struct {
        uint64_t at;
        const char *codes[3];
    } vectors[] = {
        {59, {"94287082", "46119246", "90693936"}},          {1111111109, {"07081804", "68084774", "25091201"}},
        {1111111111, {"14050471", "67062674", "99943326"}},  {1234567890, {"89005924", "91819424", "93441116"}},
        {2000000000, {"69279037", "90698825", "38618901"}},  {20000000000, {"65353130", "77737706", "47863826"}},
    };
    char code[9];
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++)
        for (int d = 0; d < 3; d++) {
            cr_assert_eq(nexus__totp_code(digests[d], nexus__slice_c(seeds[d]), vectors[i].at / 30, 8, code), NEXUS_OK);
            cr_expect_str_eq(code, vectors[i].codes[d]);
        }
}

static nexus_status check(int64_t of_step, int64_t now_s, int64_t last, int64_t *step)
{
    char code[9];
    nexus_slice seed = nexus__slice_c(seeds[0]);
    cr_assert_eq(nexus__totp_code(NEXUS__SHA1, seed, (uint64_t)of_step, 6, code), NEXUS_OK);
    return nexus__totp_check(seed, nexus__slice(code, 6), now_s, last, step);
}

Test(totp, one_step_back_and_one_ahead_and_none_twice)
{
    int64_t step = 0;
    cr_expect_eq(check(1000, 30000, 0, &step), NEXUS_OK);
    cr_expect_eq(step, 1000);
    cr_expect_eq(check(999, 30000, 0, &step), NEXUS_OK);
    cr_expect_eq(step, 999);
    cr_expect_eq(check(1001, 30000, 0, &step), NEXUS_OK);
    cr_expect_eq(check(998, 30000, 0, &step), NEXUS_EAUTH);
    cr_expect_eq(check(1002, 30000, 0, &step), NEXUS_EAUTH);
    cr_expect_eq(check(1000, 30029, 1000, &step), NEXUS_EAUTH, "seen");
    cr_expect_eq(check(999, 30000, 1000, &step), NEXUS_EAUTH, "older than the last one seen");
    cr_expect_eq(check(1001, 30000, 1000, &step), NEXUS_OK);
}

Test(totp, what_is_no_code)
{
    int64_t step;
    nexus_slice seed = nexus__slice_c(seeds[0]);
    const nexus_slice texts[] = {NEXUS_S(""), NEXUS_S("1"), NEXUS_S("1234567"), {"12\0" "456", 6}, NEXUS_S("      ")};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        cr_expect_eq(nexus__totp_check(seed, texts[i], 30000, 0, &step), NEXUS_EAUTH);
}
