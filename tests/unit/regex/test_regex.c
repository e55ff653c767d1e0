/* regex/: language, refusals, and time linear in the text. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "regex/regex.h"

static bool matches(const char *pattern, const char *text)
{
    nexus__regex *re;
    cr_assert_eq(nexus__regex_compile(&re, nexus__slice_c(pattern), NULL), NEXUS_OK, "%s", nexus_error_message());
    bool matched;
    cr_assert_eq(nexus__regex_search(re, nexus__slice_c(text), &matched), NEXUS_OK);
    nexus__regex_free(re);
    return matched;
}

Test(regex, language)
{
    static const struct {
        const char *pattern, *text;
        bool match;
    } rows[] = {
        {"", "", true},
        {"b", "abc", true},
        {"^b", "abc", false},
        {"^abc$", "abc", true},
        {"^abc$", "abc\n", false},
        {"^a*$", "", true},
        {"^a+$", "", false},
        {"^(ab|cd)+?$", "abcdab", true},
        {"^(ab|cd)+$", "abc", false},
        {"^a{2,3}$", "a", false},
        {"^a{2,3}$", "aa", true},
        {"^a{2,3}$", "aaa", true},
        {"^a{2,3}$", "aaaa", false},
        {"^a{2}$", "aa", true},
        {"^a{2,}$", "aaaaa", true},
        {"^a{0}$", "", true},
        {"^(a|b|)$", "", true},
        {"^(a*)*$", "aaab", false},
        {"^(a*)+$", "aaa", true},
        {"^[a-c]+$", "abcabc", true},
        {"^[^a-c]+$", "xyz", true},
        {"^[^a-c]+$", "xaz", false},
        {"^[]$", "a", false},
        {"^[^]$", "\n", true},
        {"^[a\\-z]$", "-", true},
        {"^[a-]$", "-", true},
        {"^[\\d\\s]+$", "1 2", true},
        {"^[^\\W]$", "_", true},
        {"^\\D$", "\xdf\x80", true},
        {"^.$", "\n", false},
        {"^.$", "\xf0\x9f\x90\xb2", true},
        {"^..$", "\xf0\x9f\x90\xb2", false},
        {"^\\u{1f432}$", "\xf0\x9f\x90\xb2", true},
        {"^\\ud83d\\udc32$", "\xf0\x9f\x90\xb2", true},
        {"^[\\u{1f430}-\\u{1f440}]$", "\xf0\x9f\x90\xb2", true},
        {"^\\x41\\u0042\\cC\\0?$", "AB\x03", true},
        {"\\bfoo\\b", "a foo b", true},
        {"\\bfoo\\b", "afoo b", false},
        {"\\Boo\\b", "afoo b", true},
        {"^\\p{Letter}+$", "\xc3\xa9\xd0\x96z", true},
        {"^\\p{Lu}$", "\xc3\xa9", false},
        {"^\\P{gc=Lu}$", "\xc3\xa9", true},
        {"^[\\p{Nd}_]+$", "4\xe0\xa7\xaa_", true},
        {"^\\s$", "\xef\xbb\xbf", true},
        {"^(?<year>\\d{4})-(?:\\d{2})$", "2026-11", true},
        {"^\\.\\*\\/\\-\\_$", ".*/-_", true},
        {"a|^b$|c", "b", true},
        {"^(^a|b)c", "ac", true},
        {"^(((){1000}){1000}){1000}$", "", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_expect_eq(matches(rows[i].pattern, rows[i].text), rows[i].match, "%s on %s", rows[i].pattern, rows[i].text);
}

Test(regex, refuses_with_a_reason)
{
    static const struct {
        const char *pattern;
        nexus_status status;
        const char *words;
    } rows[] = {
        {"(?=a)", NEXUS_ENOTSUP, "look-around"},
        {"(?<!a)b", NEXUS_ENOTSUP, "look-around"},
        {"(a)\\1", NEXUS_ENOTSUP, "back-reference"},
        {"(?<n>a)\\k<n>", NEXUS_ENOTSUP, "back-reference"},
        {"\\p{Script=Greek}", NEXUS_ENOTSUP, "general categories"},
        {"(a", NEXUS_EINVAL, "')'"},
        {"a)", NEXUS_EINVAL, "')'"},
        {"[a", NEXUS_EINVAL, "']'"},
        {"[z-a]", NEXUS_EINVAL, "backwards"},
        {"[\\d-z]", NEXUS_EINVAL, "both ends"},
        {"*a", NEXUS_EINVAL, "nothing to repeat"},
        {"a**", NEXUS_EINVAL, "nothing to repeat"},
        {"a{2,1}", NEXUS_EINVAL, "n <= m"},
        {"a{x}", NEXUS_EINVAL, "{n}"},
        {"\\Z", NEXUS_EINVAL, "escape"},
        {"\\", NEXUS_EINVAL, "backslash"},
        {"(?i)a", NEXUS_EINVAL, "group"},
        {"a{1001}", NEXUS_ETOOBIG, "1000"},
        {"((a{100}){100}){100}", NEXUS_ETOOBIG, "states"},
        {"\xff", NEXUS_EINVAL, "UTF-8"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nexus__regex *re = NULL;
        cr_expect_eq(nexus__regex_compile(&re, nexus__slice_c(rows[i].pattern), NULL), rows[i].status, "%s",
                     rows[i].pattern);
        cr_expect(strstr(nexus_error_message(), rows[i].words), "%s: %s", rows[i].pattern, nexus_error_message());
        nexus__regex_free(re);
    }
    char deep[200];
    memset(deep, '(', 100);
    memset(deep + 100, ')', 100);
    nexus__regex *re = NULL;
    cr_expect_eq(nexus__regex_compile(&re, nexus__slice(deep, 200), NULL), NEXUS_ETOOBIG);
    char long_pattern[NEXUS__REGEX_PATTERN_MAX + 1];
    memset(long_pattern, 'a', sizeof long_pattern);
    cr_expect_eq(nexus__regex_compile(&re, nexus__slice(long_pattern, sizeof long_pattern), NULL), NEXUS_ETOOBIG);
}

static double seconds(const nexus__regex *re, const char *text, size_t n)
{
    struct timespec a, b;
    bool matched;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
    cr_assert_eq(nexus__regex_search(re, nexus__slice(text, n), &matched), NEXUS_OK);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
    cr_assert_not(matched);
    return (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
}

/* Texts that take a backtracking matcher longer than the universe has existed. */
Test(regex, evil_patterns_take_linear_time)
{
    static const char *const patterns[] = {"^(a+)+$",     "^(a|aa)+$", "^(a*)*b$",
                                           "^(.*a){12}$", "(x+x+)+y",  "^(([a-z])+.)+[A-Z]([a-z])+$"};
    enum { N = 200000 };
    char *text = malloc(N);
    memset(text, 'a', N);
    text[N - 1] = '!';
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        nexus__regex *re;
        cr_assert_eq(nexus__regex_compile(&re, nexus__slice_c(patterns[i]), NULL), NEXUS_OK);
        text[N / 10 - 1] = '!';
        double tenth = seconds(re, text, N / 10);
        text[N / 10 - 1] = 'a';
        double whole = seconds(re, text, N);
        cr_expect(whole < tenth * 40 + 0.05, "%s: %g s, then %g s", patterns[i], tenth, whole);
        nexus__regex_free(re);
    }
    free(text);
}

static void groups_are(const char *pattern, const char *text, const char *expected)
{
    nexus__regex *re;
    nexus_slice groups[NEXUS__REGEX_GROUPS_MAX];
    bool matched;
    char all[256] = "";
    cr_assert_eq(nexus__regex_compile_whole(&re, nexus__slice_c(pattern), NULL), NEXUS_OK, "%s", nexus_error_message());
    cr_assert_eq(nexus__regex_groups_of(re, nexus__slice_c(text), groups, &matched), NEXUS_OK);
    for (uint32_t i = 0; matched && i < nexus__regex_group_count(re); i++) {
        nexus_slice name = nexus__regex_group_name(re, i);
        size_t n = strlen(all);
        snprintf(all + n, sizeof all - n, "%s%.*s=%.*s", n ? " " : "", (int)name.n, name.p, (int)groups[i].n,
                 groups[i].p ? groups[i].p : "");
    }
    cr_assert_str_eq(matched ? all : "no", expected, "%s on %s gave %s", pattern, text, all);
    nexus__regex_free(re);
}

Test(regex, groups_take_what_a_backtracking_matcher_gives_them)
{
    groups_are("/a/(.*)/b/(.*)", "/a/x/b/y/b/z", "1=x/b/y 2=z");
    groups_are("/a/(.*?)/b/(.*)", "/a/x/b/y/b/z", "1=x 2=y/b/z");
    groups_are("(?<year>[0-9]{4})-(?<month>[0-9]{2})(?:-.*)?", "2026-11-28", "year=2026 month=11");
    groups_are("(a|ab)(c|bcd)(d*)", "abcd", "1=a 2=bcd 3=");
    groups_are("(a)|(b)", "b", "1= 2=b");
    groups_are("(a*)*", "aaa", "1=aaa");
    groups_are("((x)y)+", "xyxy", "1=xy 2=x");
    groups_are("(x{1,2}?)(x*)", "xxx", "1=x 2=xx");
    groups_are("a", "ab", "no");
    groups_are("b", "ab", "no");
    groups_are("(\\bfoo\\b) (.)", "foo \xc3\xa9", "1=foo 2=\xc3\xa9");
    groups_are("(a){0,600}(b)", "aaab", "1=a 2=b");
}

Test(regex, groups_have_limits_and_names)
{
    nexus__regex *re;
    cr_assert_eq(nexus__regex_compile_whole(&re, NEXUS_S("()()()()()()()()()()()()()()()()()"), NULL), NEXUS_ETOOBIG);
    cr_assert_eq(nexus__regex_compile_whole(&re, NEXUS_S("(?<a>x)(?<a>y)"), NULL), NEXUS_EINVAL);
    cr_assert_eq(nexus__regex_compile_whole(&re, NEXUS_S("()()()()()()()()()()()"), NULL), NEXUS_OK);
    cr_assert(nexus__slice_eq_c(nexus__regex_group_name(re, 10), "11"));
    nexus__regex_free(re);
}
