/* auth/: sealed values (attack row 72, the part about fields). */
#include <criterion/criterion.h>
#include <nexus/secret.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64], path[96];

static void set_up(void)
{
    strcpy(dir, "/tmp/nexus-secret-XXXXXX");
    cr_assert(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/kek", dir);
}

static void tear_down(void)
{
    unlink(path);
    rmdir(dir);
}

TestSuite(ring, .init = set_up, .fini = tear_down);

static nexus_secrets *opened(void)
{
    nexus_secrets *s;
    cr_assert_eq(nexus_secrets_open(&s, path, NULL), NEXUS_OK, "%s", nexus_error_message());
    return s;
}

Test(ring, opens_in_its_own_place_only)
{
    nexus_secrets *s = opened();
    char *sealed, *plain = NULL;
    size_t n, m;
    cr_assert_eq(nexus_secrets_seal(s, NEXUS_S("users/1/totp"), NEXUS_S("seed"), &sealed, &n), NEXUS_OK);
    cr_assert_eq(strncmp(sealed, "nx1.", 4), 0);
    nexus_slice text = {sealed, n};
    cr_assert_eq(nexus_secrets_unseal(s, NEXUS_S("users/1/totp"), text, &plain, &m), NEXUS_OK);
    cr_assert_str_eq(plain, "seed");
    nexus_free_wiped(plain, m);
    cr_assert_eq(nexus_secrets_unseal(s, NEXUS_S("users/2/totp"), text, &plain, &m), NEXUS_ECORRUPT);
    for (size_t i = 0; i < n; i++) {
        char kept = sealed[i];
        sealed[i] = kept == 'A' ? 'B' : 'A';
        cr_expect_neq(nexus_secrets_unseal(s, NEXUS_S("users/1/totp"), text, &plain, &m), NEXUS_OK, "byte %zu", i);
        sealed[i] = kept;
    }
    for (size_t i = 0; i < n; i++)
        cr_expect_neq(nexus_secrets_unseal(s, NEXUS_S("users/1/totp"), (nexus_slice){sealed, i}, &plain, &m), NEXUS_OK);
    nexus_free(sealed);
    nexus_secrets_close(s);
}

Test(ring, a_rotated_ring_opens_old_values_after_restart)
{
    nexus_secrets *s = opened();
    char *sealed, *plain;
    size_t n, m;
    cr_assert_eq(nexus_secrets_seal(s, NEXUS_S("c"), NEXUS_S("old"), &sealed, &n), NEXUS_OK);
    cr_expect_not(nexus_secrets_is_stale(s, (nexus_slice){sealed, n}));
    cr_assert_eq(nexus_secrets_rotate(s), NEXUS_OK, "%s", nexus_error_message());
    nexus_secrets_close(s);
    s = opened();
    cr_expect(nexus_secrets_is_stale(s, (nexus_slice){sealed, n}));
    cr_assert_eq(nexus_secrets_unseal(s, NEXUS_S("c"), (nexus_slice){sealed, n}, &plain, &m), NEXUS_OK);
    cr_assert_str_eq(plain, "old");
    nexus_free_wiped(plain, m);
    nexus_free(sealed);
    nexus_secrets_close(s);
}

/* The flags of the mapping that holds the address, as the kernel tells them. */
static bool has_flag(const void *address, const char *flag)
{
    char line[4096];
    bool here = false, found = false;
    FILE *f = fopen("/proc/self/smaps", "re");
    cr_assert(f);
    while (fgets(line, sizeof line, f)) {
        unsigned long from, to;
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            here = (uintptr_t)address >= from && (uintptr_t)address < to;
        else if (here && strncmp(line, "VmFlags:", 8) == 0)
            found = strstr(line, flag) != NULL;
    }
    fclose(f);
    return found;
}

Test(ring, keys_stay_out_of_core_dumps)
{
    nexus_secrets *s = opened();
    cr_expect(has_flag(s, " dd"));
    nexus_secrets_close(s);
}

Test(ring, a_key_file_that_is_no_secret_is_refused)
{
    nexus_secrets *s = opened();
    nexus_secrets_close(s);
    struct stat st;
    cr_assert_eq(stat(path, &st), 0);
    cr_assert_eq(st.st_mode & 0777, 0600);
    chmod(path, 0644);
    cr_expect_eq(nexus_secrets_open(&s, path, NULL), NEXUS_EPERM);
    chmod(path, 0600);
    FILE *f = fopen(path, "w");
    fputs("66687aadf862bd77 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n", f);
    fclose(f);
    cr_expect_eq(nexus_secrets_open(&s, path, NULL), NEXUS_EINVAL);
    cr_expect(strstr(nexus_error_message(), "repeated"), "%s", nexus_error_message());
}
