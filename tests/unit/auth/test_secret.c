/* auth/: secrets in memory (attack row 72 knows them at rest, test_ring.c). That none is printed: tests/meta/test_secret.py. */
#include <criterion/criterion.h>
#include <nexus/secret.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

static nexus_secret *secret_of(const char *text)
{
    nexus_secret *s;
    cr_assert_eq(nexus_secret_new(&s, (nexus_slice){text, strlen(text)}), NEXUS_OK);
    return s;
}

typedef struct lent {
    char text[64];
    const char *at;
    nexus_secret *replace; /* with "other" while it is lent */
    int calls;
} lent;

static nexus_status look(nexus_slice plain, void *user_data)
{
    lent *l = user_data;
    l->calls++;
    l->at = plain.p;
    if (l->replace)
        cr_assert_eq(nexus_secret_set(l->replace, NEXUS_S("other")), NEXUS_OK);
    snprintf(l->text, sizeof l->text, "%.*s", (int)plain.n, plain.p);
    cr_expect_eq(plain.p[plain.n], 0);
    return NEXUS_ECONFLICT;
}

Test(secret, is_lent_for_the_length_of_a_call)
{
    nexus_secret *s = secret_of("hunter2");
    lent l = {0};
    cr_expect_eq(nexus_secret_use(s, look, &l), NEXUS_ECONFLICT);
    cr_expect_str_eq(l.text, "hunter2");
    cr_expect_eq(nexus_secret_use(NULL, look, &l), NEXUS_ECONFLICT);
    cr_expect_str_eq(l.text, "");
    cr_expect_eq(l.calls, 2);
    nexus_secret_free(s);
    nexus_secret_free(NULL);
}

Test(secret, compares)
{
    nexus_secret *s = secret_of("hunter2"), *none = secret_of("");
    cr_expect(nexus_secret_equal(s, NEXUS_S("hunter2")));
    cr_expect_not(nexus_secret_equal(s, NEXUS_S("hunter3")));
    cr_expect_not(nexus_secret_equal(s, NEXUS_S("hunter")));
    cr_expect_not(nexus_secret_equal(none, NEXUS_S("")));
    cr_expect_not(nexus_secret_equal(NULL, NEXUS_S("")));
    nexus_secret_free(s);
    nexus_secret_free(none);
}

Test(secret, a_use_that_has_begun_keeps_what_it_was_lent)
{
    nexus_secret *s = secret_of("hunter2");
    lent during = {.replace = s}, after = {0};
    (void)!nexus_secret_use(s, look, &during);
    cr_expect_str_eq(during.text, "hunter2");
    (void)!nexus_secret_use(s, look, &after);
    cr_expect_str_eq(after.text, "other");
    nexus_secret_free(s);
}

/* The flags of the mapping that holds the address, as the kernel tells them; false: it is in none. */
static bool mapping_of(const void *address, char *flags, size_t cap)
{
    char line[4096];
    bool here = false, found = false;
    FILE *f = fopen("/proc/self/smaps", "re");
    cr_assert(f);
    while (!found && fgets(line, sizeof line, f)) {
        unsigned long from, to;
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            here = (uintptr_t)address >= from && (uintptr_t)address < to;
        else if (here && strncmp(line, "VmFlags:", 8) == 0)
            found = snprintf(flags, cap, "%s", line) > 0;
    }
    fclose(f);
    return found;
}

Test(secret, stays_out_of_core_dumps_and_swap_and_is_gone_when_replaced)
{
    nexus_secret *s = secret_of("hunter2");
    lent l = {0};
    char flags[256];
    (void)!nexus_secret_use(s, look, &l);
    cr_assert(mapping_of(l.at, flags, sizeof flags));
    cr_expect(strstr(flags, " dd"), "%s", flags);
#if !defined(__SANITIZE_ADDRESS__) /* which takes mlock for itself, and does nothing */
    cr_expect(strstr(flags, " lo"), "%s", flags); /* one page is within the smallest RLIMIT_MEMLOCK there is */
#endif
    cr_assert_eq(nexus_secret_set(s, NEXUS_S("other")), NEXUS_OK);
    cr_expect(!mapping_of(l.at, flags, sizeof flags) || memcmp(l.at, "hunter2", 7) != 0);
    nexus_secret_free(s);
}
