/* What nobody may choose: the embedded list, and a file of leaked passwords. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "auth/common_password.h"
#include "base/buf.h"
#include "base/codec.h"
#include "crypto/hash.h"

Test(password_policy, the_list_has_ten_thousand_in_order)
{
    cr_expect_eq(nexus__common_password_count, 10000);
    for (size_t i = 1; i < nexus__common_password_count; i++)
        cr_assert_lt(nexus__common_passwords[i - 1], nexus__common_passwords[i]);
}

Test(password_policy, common_ones_are_known_in_any_case)
{
    static const char *const common[] = {"password",  "PASSWORD", "Password123", "12345678",  "qwertyuiop",
                                         "iloveyou",  "trustno1", "1qaz2wsx",    "P@ssw0rd",  "administrator",
                                         "liverpool", "starwars", "butterfly",   "asdfghjkl", "corvette"};
    for (size_t i = 0; i < sizeof common / sizeof common[0]; i++)
        cr_expect(nexus__password_is_common(nexus__slice_c(common[i])), "%s", common[i]);
    static const char *const rare[] = {"", "correct horse battery", "password ", "qwertyuiop\xc3\xa4", "kC8!vVq2#zP"};
    for (size_t i = 0; i < sizeof rare / sizeof rare[0]; i++)
        cr_expect_not(nexus__password_is_common(nexus__slice_c(rare[i])), "%s", rare[i]);
    cr_expect_not(nexus__password_is_common((nexus_slice){"password\0", 9}));
}

static char path[64];

static void put(const char *text, size_t n)
{
    strcpy(path, "/tmp/nexus-breach-XXXXXX");
    int fd = mkstemp(path);
    cr_assert(fd >= 0 && write(fd, text, n) == (ssize_t)n);
    close(fd);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* n made-up passwords; line ends and counts as they come. */
static void make(int n, const char *end, bool upper)
{
    char (*lines)[64] = calloc((size_t)n, sizeof *lines), name[32];
    uint8_t digest[NEXUS__DIGEST_MAX];
    nexus__buf text;
    nexus__buf_init(&text, NULL, 0);
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "leaked password %d", i);
        cr_assert_eq(nexus__hash(NEXUS__SHA1, nexus__slice_c(name), digest), NEXUS_OK);
        for (int k = 0; k < 20; k++)
            snprintf(lines[i] + 2 * k, 3, upper ? "%02X" : "%02x", digest[k]);
        if (i % 3)
            snprintf(lines[i] + 40, 20, ":%d", i * i);
    }
    qsort(lines, (size_t)n, sizeof *lines, by_text);
    for (int i = 0; i < n; i++)
        nexus__buf_printf(&text, "%s%s", lines[i], end);
    put(text.p, text.len);
    nexus__buf_free(&text);
    free(lines);
}

static void expect_all(int n)
{
    nexus__breach_file *f;
    char name[32];
    bool found;
    cr_assert_eq(nexus__breach_file_open(&f, NULL, path), NEXUS_OK);
    for (int i = 0; i < n + 50; i++) {
        snprintf(name, sizeof name, "leaked password %d", i);
        cr_assert_eq(nexus__breach_file_has(f, nexus__slice_c(name), &found), NEXUS_OK);
        cr_assert_eq(found, i < n, "%s of %d", name, n);
    }
    nexus__breach_file_close(f);
    unlink(path);
}

Test(password_policy, every_line_of_a_breach_file_is_found_and_nothing_else)
{
    for (int n = 1; n < 20; n++) {
        make(n, "\n", true);
        expect_all(n);
    }
    make(500, "\r\n", true);
    expect_all(500);
    make(500, "\n", false);
    expect_all(500);
}

Test(password_policy, what_is_no_breach_file)
{
    nexus__breach_file *f;
    static const char *const texts[] = {"", "hello\n", "0123456789abcdef\n", "0018A45C4D1DEF81644B54AB7F969B88D65D1AB!:1\n"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        put(texts[i], strlen(texts[i]));
        cr_expect_eq(nexus__breach_file_open(&f, NULL, path), NEXUS_EINVAL, "%s", texts[i]);
        unlink(path);
    }
    cr_expect_neq(nexus__breach_file_open(&f, NULL, "/nonexistent"), NEXUS_OK);
}
