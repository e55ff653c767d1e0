/* auth/: sealed values (attack row 72, the part about fields). */
#include <criterion/criterion.h>
#include <nexus/alloc.h>
#include <nexus/secret.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/ring.h"
#include "base/codec.h"
#include "base/status.h"

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
    cr_expect(has_flag(s->keys, " dd"));
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

/* --- data keys and what wraps them ------------------------------------------------------------------------------------- */

#define KEK_ONE "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
#define KEK_TWO "ICECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"

static nexus_status open_with(nexus_secrets **out, nexus_secrets_opts *opts, const char *kek)
{
    nexus_secret *secret = NULL;
    if (kek)
        cr_assert_eq(nexus_secret_new(&secret, nexus__slice_c(kek)), NEXUS_OK);
    opts->path = path;
    opts->kek = secret;
    nexus_status status = nexus_secrets_open_with(out, opts);
    nexus_secret_free(secret);
    return status;
}

static nexus_secrets *with_kek(const char *kek)
{
    nexus_secrets *s;
    nexus_secrets_opts opts = NEXUS_SECRETS_OPTS_INIT;
    cr_assert_eq(open_with(&s, &opts, kek), NEXUS_OK, "%s", nexus_error_message());
    return s;
}

static char *sealed_for(const nexus_secrets *s, const char *tenant)
{
    char *text;
    size_t n;
    cr_assert_eq(nexus_secrets_seal_for(s, nexus__slice_c(tenant), NEXUS_S("t/1/c"), NEXUS_S("value"), &text, &n), NEXUS_OK,
                 "%s", nexus_error_message());
    return text;
}

static nexus_status opens(const nexus_secrets *s, const char *sealed)
{
    char *plain;
    size_t n;
    nexus_status status = nexus_secrets_unseal(s, NEXUS_S("t/1/c"), nexus__slice_c(sealed), &plain, &n);
    if (status == NEXUS_OK) {
        cr_expect_str_eq(plain, "value");
        nexus_free_wiped(plain, n);
    }
    return status;
}

static bool same_kid(const char *a, const char *b)
{
    return strncmp(a, b, 4 + 16) == 0;
}

static char *file_text(void)
{
    static char text[16384];
    FILE *f = fopen(path, "re");
    cr_assert(f);
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    return text;
}

static void write_file(const char *text)
{
    FILE *f = fopen(path, "we");
    cr_assert(f);
    fputs(text, f);
    fclose(f);
    chmod(path, 0600);
}

Test(ring, each_tenant_has_a_key_of_its_own)
{
    nexus_secrets *s = opened();
    char *none = sealed_for(s, ""), *a = sealed_for(s, "acme"), *b = sealed_for(s, "other"), *again = sealed_for(s, "acme");
    cr_expect_not(same_kid(none, a));
    cr_expect_not(same_kid(a, b));
    cr_expect(same_kid(a, again));
    nexus_secrets_close(s);
    s = opened();
    char *later = sealed_for(s, "acme");
    cr_expect(same_kid(a, later));
    cr_expect_eq(opens(s, a), NEXUS_OK);
    cr_expect_eq(opens(s, b), NEXUS_OK);
    char *refused;
    size_t n;
    cr_expect_eq(nexus_secrets_seal_for(s, NEXUS_S("two words"), NEXUS_S("c"), NEXUS_S("v"), &refused, &n), NEXUS_EINVAL);
    nexus_secrets_close(s);
    char *const all[] = {none, a, b, again, later};
    for (size_t i = 0; i < 5; i++)
        nexus_free(all[i]);
}

Test(ring, the_key_is_bound_into_what_it_seals)
{
    nexus_secrets *s = opened();
    char *sealed = sealed_for(s, "acme"), associated[64];
    uint8_t raw[64], out[64];
    size_t n;
    nexus__sealed_text t;
    cr_assert(nexus__sealed_text_read(&t, nexus__slice_c(sealed)));
    cr_assert(nexus__base64url_decode(t.sealed, raw, &n));
    const nexus__ring_key *key = nexus__ring_find(s, t.kid);
    snprintf(associated, sizeof associated, "t/1/c/%s", key->kid);
    cr_expect_eq(nexus__aead_open(key->aead, t.nonce, NEXUS_S("t/1/c"), nexus__slice(raw, n), out), NEXUS_ECORRUPT);
    cr_expect_eq(nexus__aead_open(key->aead, t.nonce, nexus__slice_c(associated), nexus__slice(raw, n), out), NEXUS_OK);
    nexus_free(sealed);
    nexus_secrets_close(s);
}

Test(ring, a_key_that_has_sealed_enough_is_followed_by_another)
{
    nexus_secrets *s;
    nexus_secrets_opts opts = NEXUS_SECRETS_OPTS_INIT;
    char *texts[5];
    opts.operations_max = 2;
    for (size_t i = 0; i < 5; i++) { /* a process each: what was counted is not forgotten */
        cr_assert_eq(open_with(&s, &opts, NULL), NEXUS_OK, "%s", nexus_error_message());
        texts[i] = sealed_for(s, "");
        nexus_secrets_close(s);
    }
    cr_expect(same_kid(texts[0], texts[1]));
    cr_expect_not(same_kid(texts[1], texts[2]));
    cr_expect(same_kid(texts[2], texts[3]));
    cr_expect_not(same_kid(texts[3], texts[4]));
    cr_assert_eq(open_with(&s, &opts, NULL), NEXUS_OK);
    for (size_t i = 0; i < 5; i++) {
        cr_expect_eq(opens(s, texts[i]), NEXUS_OK);
        cr_expect_eq(nexus_secrets_is_stale(s, nexus__slice_c(texts[i])), i < 4);
        nexus_free(texts[i]);
    }
    nexus_secrets_close(s);
}

Test(ring, with_a_kek_from_elsewhere_the_file_alone_opens_nothing)
{
    nexus_secrets *s = with_kek(KEK_ONE), *other;
    nexus_secrets_opts opts = NEXUS_SECRETS_OPTS_INIT;
    char *sealed = sealed_for(s, "acme");
    nexus_secrets_close(s);
    for (char *line = strtok(file_text(), "\n"); line; line = strtok(NULL, "\n"))
        cr_expect_eq(strncmp(line, "data ", 5), 0, "%s", line);
    cr_expect_eq(open_with(&other, &opts, KEK_TWO), NEXUS_EMISSING);
    cr_expect_eq(nexus_secrets_open(&other, path, NULL), NEXUS_EMISSING);
    cr_expect_eq(open_with(&other, &opts, "too short"), NEXUS_EINVAL);
    s = with_kek(KEK_TWO "," KEK_ONE); /* the first wraps from now on */
    cr_expect_eq(opens(s, sealed), NEXUS_OK);
    cr_expect_not(nexus_secrets_is_stale(s, nexus__slice_c(sealed)));
    nexus_secrets_close(s);
    s = with_kek(KEK_TWO);
    cr_expect_eq(opens(s, sealed), NEXUS_OK);
    nexus_secrets_close(s);
    nexus_free(sealed);
}

Test(ring, values_of_the_time_before_data_keys_open_and_are_stale)
{
    nexus__ring_key key = {0};
    nexus__buf sealed, file;
    uint8_t bytes[NEXUS__AEAD_KEY];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)i;
    nexus__buf_init(&sealed, NULL, 0);
    nexus__buf_init(&file, NULL, 0);
    cr_assert_eq(nexus__ring_key_set(&key, bytes), NEXUS_OK);
    cr_assert_eq(nexus__ring_seal_with(&key, NEXUS_S("t/1/c"), NEXUS_S("value"), &sealed), NEXUS_OK);
    nexus__buf_printf(&file, "%s %s\n", key.kid, KEK_ONE);
    nexus__buf_char(&file, 0);
    nexus__buf_char(&sealed, 0);
    write_file(file.p);
    nexus_secrets *s = opened();
    cr_expect_eq(opens(s, sealed.p), NEXUS_OK, "%s", nexus_error_message());
    cr_expect(nexus_secrets_is_stale(s, nexus__slice_c(sealed.p)));
    nexus_secrets_close(s);
    nexus__aead_free(key.aead);
    nexus__buf_free(&sealed);
    nexus__buf_free(&file);
}

Test(ring, the_wrapping_of_another_tenants_key_is_refused)
{
    nexus_secrets *s = with_kek(KEK_ONE), *other;
    nexus_secrets_opts opts = NEXUS_SECRETS_OPTS_INIT;
    char *a = sealed_for(s, "acme"), text[16384], *at;
    nexus_secrets_close(s);
    strcpy(text, file_text());
    at = strstr(text, " YWNtZQ "); /* acme */
    cr_assert(at);
    memcpy(at, " YWNtZA ", 8); /* acmd */
    write_file(text);
    cr_expect_eq(open_with(&other, &opts, KEK_ONE), NEXUS_ECORRUPT);
    nexus_free(a);
}

/* --- a service that wraps ------------------------------------------------------------------------------------------------ */

/* Does what such services do: keeps keys by their ids, and gives back only under the context it was given. */
typedef struct kms {
    int wrapped, unwrapped;
    bool down;
    char last_context[128];
} kms;

static uint8_t pad_of(const char *id)
{
    return (uint8_t)(id[strlen(id) - 1] * 7);
}

static nexus_status kms_wrap(nexus_slice context, nexus_slice key, uint8_t *out, size_t *n, void *user_data)
{
    kms *k = user_data;
    if (k->down)
        return nexus__fail(NEXUS_EUNREACH, "the service is down");
    cr_assert_geq(*n, 2 + context.n + key.n);
    out[0] = '1'; /* of key-1 */
    out[1] = (uint8_t)context.n;
    memcpy(out + 2, context.p, context.n);
    for (size_t i = 0; i < key.n; i++)
        out[2 + context.n + i] = (uint8_t)key.p[i] ^ pad_of("key-1");
    *n = 2 + context.n + key.n;
    snprintf(k->last_context, sizeof k->last_context, "%.*s", (int)context.n, context.p);
    k->wrapped++;
    return NEXUS_OK;
}

static nexus_status kms_unwrap(const char *id, nexus_slice context, nexus_slice wrapped, uint8_t *out, size_t *n,
                               void *user_data)
{
    kms *k = user_data;
    if (k->down)
        return nexus__fail(NEXUS_EUNREACH, "the service is down");
    if (strcmp(id, "key-1") != 0)
        return nexus__fail(NEXUS_ENOTFOUND, "no key %s", id);
    if (wrapped.n < 2 || (uint8_t)wrapped.p[1] != context.n || memcmp(wrapped.p + 2, context.p, context.n) != 0)
        return nexus__fail(NEXUS_EPERM, "another encryption context");
    *n = wrapped.n - 2 - context.n;
    for (size_t i = 0; i < *n; i++)
        out[i] = (uint8_t)wrapped.p[2 + context.n + i] ^ pad_of(id);
    k->unwrapped++;
    return NEXUS_OK;
}

static nexus_status open_kms(nexus_secrets **out, kms *k, const char *id)
{
    nexus_secrets_opts opts = NEXUS_SECRETS_OPTS_INIT;
    opts.kek_id = id;
    opts.wrap = kms_wrap;
    opts.unwrap = kms_unwrap;
    opts.user_data = k;
    return open_with(out, &opts, NULL);
}

Test(ring, a_service_wraps_under_its_id_and_a_context)
{
    nexus_secrets *s, *other;
    kms k = {0};
    cr_assert_eq(open_kms(&s, &k, "key-1"), NEXUS_OK, "%s", nexus_error_message());
    char *sealed = sealed_for(s, "acme"), text[16384], *at;
    cr_expect_eq(k.wrapped, 2);
    cr_expect_eq(strncmp(k.last_context, "nexus/dek/acme/", 15), 0, "%s", k.last_context);
    int asked = k.unwrapped;
    cr_assert_eq(open_kms(&other, &k, "key-1"), NEXUS_OK, "%s", nexus_error_message());
    cr_expect_eq(k.unwrapped, asked + 2);
    char *more = sealed_for(other, "acme"); /* sets aside anew, so the file changes: nothing known is asked for again */
    cr_expect_eq(opens(s, more), NEXUS_OK);
    char *third = sealed_for(s, "third");
    cr_expect_eq(opens(other, third), NEXUS_OK); /* one that is not known is */
    cr_expect_eq(k.unwrapped, asked + 3);
    nexus_secrets_close(other);
    nexus_secrets_close(s);
    k.down = true;
    cr_expect_eq(open_kms(&s, &k, "key-1"), NEXUS_EUNREACH);
    k.down = false;
    strcpy(text, file_text());
    at = strstr(text, " YWNtZQ ");
    cr_assert(at);
    memcpy(at, " YWNtZA ", 8);
    write_file(text);
    cr_expect_eq(open_kms(&s, &k, "key-1"), NEXUS_EPERM);
    char *const all[] = {sealed, more, third};
    for (size_t i = 0; i < 3; i++)
        nexus_free(all[i]);
}

Test(ring, a_service_is_all_or_nothing)
{
    nexus_secrets *s;
    nexus_secrets_opts opts = NEXUS_SECRETS_OPTS_INIT;
    opts.kek_id = "key-1";
    cr_expect_eq(open_with(&s, &opts, NULL), NEXUS_EINVAL);
}

/* --- letting go ---------------------------------------------------------------------------------------------------------- */

static int64_t clock_ns;

static int64_t test_clock(void *user_data)
{
    (void)user_data;
    return clock_ns;
}

Test(ring, a_key_goes_when_what_it_sealed_is_over)
{
    nexus_secrets *s;
    nexus_secrets_opts opts = NEXUS_SECRETS_OPTS_INIT;
    nexus__ring_info first;
    clock_ns = 1000000000LL * 1000;
    opts.now_fn = test_clock;
    cr_assert_eq(open_with(&s, &opts, NULL), NEXUS_OK);
    char *sealed = sealed_for(s, "");
    cr_assert(nexus__ring_info_at(s, 0, &first));
    cr_expect_eq(nexus_secrets_retire(s, first.kid, 60), NEXUS_ECONFLICT); /* it seals */
    clock_ns += 1000000000LL * 1000;
    cr_assert_eq(nexus_secrets_rotate(s), NEXUS_OK);
    cr_expect(nexus_secrets_is_stale(s, nexus__slice_c(sealed)));
    clock_ns += 1000000000LL * 59;
    cr_expect_eq(nexus_secrets_retire(s, first.kid, 60), NEXUS_ECONFLICT);
    cr_expect_eq(opens(s, sealed), NEXUS_OK);
    clock_ns += 1000000000LL;
    cr_expect_eq(nexus_secrets_retire(s, first.kid, 60), NEXUS_OK, "%s", nexus_error_message());
    cr_expect_eq(opens(s, sealed), NEXUS_EMISSING);
    cr_expect_eq(nexus_secrets_retire(s, first.kid, 60), NEXUS_ENOTFOUND);
    nexus_free(sealed);
    nexus_secrets_close(s);
}
