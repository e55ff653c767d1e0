/* base/: text forms of bytes, instants and ids. */
#include <criterion/criterion.h>

#include <nexus/id.h>
#include <nexus/time.h>

#include "base/backoff.h"
#include "base/codec.h"
#include "base/id.h"
#include "base/time.h"
#include "base/utf8.h"

Test(codec, base64_vectors_of_rfc4648)
{
    static const char *const rows[][2] = {{"", ""},
                                          {"f", "Zg=="},
                                          {"fo", "Zm8="},
                                          {"foo", "Zm9v"},
                                          {"foob", "Zm9vYg=="},
                                          {"fooba", "Zm9vYmE="},
                                          {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < 7; i++) {
        nexus__buf b;
        nexus__buf_init(&b, NULL, 0);
        nexus__base64_append(&b, rows[i][0], strlen(rows[i][0]));
        cr_assert(nexus__slice_eq_c(nexus__buf_slice(&b), rows[i][1]));
        char out[16];
        size_t n;
        cr_assert(nexus__base64_decode(nexus__buf_slice(&b), out, &n));
        cr_assert(nexus__slice_eq_c(nexus__slice(out, n), rows[i][0]));
        nexus__buf_free(&b);
    }
}

Test(codec, base64url_refuses_what_is_not_canonical)
{
    char out[16];
    size_t n;
    cr_assert(nexus__base64url_decode(NEXUS_S("_-8"), out, &n) && n == 2);
    cr_assert_not(nexus__base64url_decode(NEXUS_S("Zg=="), out, &n), "padding");
    cr_assert_not(nexus__base64url_decode(NEXUS_S("Zh"), out, &n), "trailing bits");
    cr_assert_not(nexus__base64url_decode(NEXUS_S("Z"), out, &n), "lone sextet");
    cr_assert_not(nexus__base64url_decode(NEXUS_S("Zm 9v"), out, &n), "space");
    cr_assert_not(nexus__base64url_decode(NEXUS_S("a+/b"), out, &n), "other alphabet");
}

Test(codec, percent_and_query)
{
    char out[32];
    size_t n;
    cr_assert(nexus__percent_decode(NEXUS_S("a%20b+c"), true, out, &n));
    cr_assert(nexus__slice_eq_c(nexus__slice(out, n), "a b c"));
    cr_assert_not(nexus__percent_decode(NEXUS_S("a%2"), false, out, &n));
    cr_assert_not(nexus__percent_decode(NEXUS_S("%zz"), false, out, &n));
    nexus_slice value;
    cr_assert(nexus__query_find(NEXUS_S("a=1&bc=2&b=3"), NEXUS_S("b"), &value));
    cr_assert(nexus__slice_eq_c(value, "3"));
    cr_assert_not(nexus__query_find(NEXUS_S("a=1"), NEXUS_S("x"), &value));
}

Test(codec, crc32c_of_rfc3720)
{
    uint8_t zeros[32] = {0};
    cr_assert_eq(nexus__crc32c(0, zeros, 32), 0x8a9136aau);
    cr_assert_eq(nexus__crc32c(0, "123456789", 9), 0xe3069283u);
    cr_assert_eq(nexus__crc32c(nexus__crc32c(0, "1234", 4), "56789", 5), 0xe3069283u);
}

Test(codec, crc32c_of_every_length_is_that_of_its_bytes)
{
    unsigned char bytes[300];
    uint32_t fed = 0;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 7 + 3);
    for (size_t n = 0; n < sizeof bytes; n++) {
        cr_assert(nexus__crc32c(0, bytes, n) == fed, "%zu", n);
        fed = nexus__crc32c(fed, bytes + n, 1);
    }
}

Test(time, rfc3339_round_trip_and_refusals)
{
    int64_t ns;
    char text[32];
    cr_assert(nexus__parse_rfc3339(NEXUS_S("2015-05-17T10:05:03+02:00"), &ns));
    nexus__format_rfc3339(ns, text);
    cr_assert_str_eq(text, "2015-05-17T08:05:03.000Z");
    cr_assert(nexus__parse_rfc3339(NEXUS_S("1969-12-31T23:59:59.999Z"), &ns) && ns == -NEXUS__NS_PER_MS);
    nexus__format_rfc3339(ns, text);
    cr_assert_str_eq(text, "1969-12-31T23:59:59.999Z");
    static const char *const bad[] = {"2015-02-29T00:00:00Z",
                                      "2015-05-17",
                                      "2015-05-17T10:05:03",
                                      "2015-05-17T24:00:00Z",
                                      "2015-05-17T10:05:03.Z",
                                      "2015-05-17T10:05:03+2:00",
                                      "x"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_assert_not(nexus__parse_rfc3339(nexus__slice_c(bad[i]), &ns), "%s", bad[i]);
}

Test(time, http_date_of_rfc9110)
{
    int64_t ns;
    char text[32];
    cr_assert(nexus__parse_http_date(NEXUS_S("Sun, 06 Nov 1994 08:49:37 GMT"), &ns));
    cr_assert_eq(ns, 784111777 * NEXUS__NS_PER_S);
    nexus__format_http_date(ns, text);
    cr_assert_str_eq(text, "Sun, 06 Nov 1994 08:49:37 GMT");
    cr_assert_not(nexus__parse_http_date(NEXUS_S("Sunday, 06-Nov-94 08:49:37 GMT"), &ns));
}

Test(id, uuid7_grows_and_has_its_version)
{
    char previous[NEXUS__UUID_LEN + 1] = "", id[NEXUS__UUID_LEN + 1];
    for (int i = 0; i < 20000; i++) {
        nexus__uuid7(id);
        cr_assert_gt(strcmp(id, previous), 0);
        cr_assert_eq(id[14], '7');
        cr_assert(strchr("89ab", id[19]));
        memcpy(previous, id, sizeof id);
    }
}

Test(utf8, refuses_overlong_surrogates_and_beyond)
{
    cr_assert(nexus__utf8_valid(NEXUS_S("plain ascii text, long enough for words")));
    cr_assert(nexus__utf8_valid(NEXUS_S("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80")));
    static const char *const bad[] = {"\xc0\xae", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                                      "\xff",     "\xe2\x82",     "\x80"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_assert_not(nexus__utf8_valid(nexus__slice_c(bad[i])), "row %zu", i);
    cr_assert_eq(nexus__utf8_valid_prefix(NEXUS_S("12345678ab\xff")), 10);
    size_t at = 0;
    cr_assert_eq(nexus__utf8_next(NEXUS_S("\xf0\x9f\x98\x80"), &at), 0x1f600u);
    cr_assert_eq(at, 4);
}

Test(backoff, stays_within_its_ceiling)
{
    nexus__backoff b = {.base_ms = 100, .cap_ms = 1000};
    cr_assert_eq(nexus__backoff_ms(&b, 1, UINT64_MAX), 100);
    cr_assert_eq(nexus__backoff_ms(&b, 3, UINT64_MAX), 400);
    cr_assert_eq(nexus__backoff_ms(&b, 60, UINT64_MAX), 1000);
    cr_assert_eq(nexus__backoff_ms(&b, 60, 0), 0);
    b.exact = true;
    cr_assert_eq(nexus__backoff_ms(&b, 2, 0), 200);
}

Test(public, ids_sort_and_instants_read_back)
{
    char a[NEXUS_ID_LEN + 1], b[NEXUS_ID_LEN + 1], text[32];
    nexus_id_make(a);
    nexus_id_make(b);
    cr_assert_lt(strcmp(a, b), 0);
    int64_t back;
    cr_assert_eq(nexus_time_format(1800000000123000000, text), NEXUS_TIME_LEN);
    cr_assert(nexus_time_parse(nexus__slice_c(text), &back) && back == 1800000000123000000);
    cr_assert_gt(nexus_time_now_ns(), 1700000000000000000);
}
