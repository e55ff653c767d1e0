/* auth/: people, logins, refresh tokens, reset, bootstrap, keys; the same on SQLite and, when the runner started one,
 * on a real PostgreSQL. */
#include "world.h"

TestSuite(auth, .init = set_up, .fini = tear_down);

Test(auth, a_registered_user_logs_in_with_a_token_that_verifies)
{
    register_ann();
    nexus_grant *g = ann_in();
    cr_expect_eq(nexus_grant_expires_in(g), 600);
    nexus_keyset *keys;
    cr_assert_eq(nexus_auth_keyset(auth, &keys), NEXUS_OK);
    nexus_verifier_opts opts = NEXUS_VERIFIER_OPTS_INIT;
    opts.issuer = "https://id.example";
    opts.keys = keys;
    opts.now_fn = test_now;
    nexus_verifier *v;
    nexus_principal *p;
    nexus_slice s;
    cr_assert_eq(nexus_verifier_open(&v, &opts), NEXUS_OK);
    cr_assert_eq(nexus_verifier_check(v, nexus_grant_access_token(g), strlen(nexus_grant_access_token(g)), &p),
                 NEXUS_OK, "%s", nexus_error_message());
    nexus_principal_subject(p, &s);
    cr_expect(nexus__slice_eq_c(s, nexus_grant_user_id(g)));
    cr_expect(nexus_principal_has_role(p, "customer"));
    cr_expect_not(nexus_principal_has_role(p, "admin"));
    nexus_principal_free(p);
    nexus_verifier_close(v);
    nexus_keyset_free(keys);
    nexus_grant_free(g);
    cr_expect_eq(count_events("user.registered"), 1);
    cr_expect_eq(count_events("user.login"), 1);
    cr_expect_eq(nexus__slice_search(nexus__buf_slice(&events), NEXUS_S("correct horse")), events.len);
}

Test(auth, an_address_is_unique_without_regard_to_case)
{
    register_ann();
    nexus_user *user;
    cr_expect_eq(nexus_auth_register(auth, NEXUS_S("ANN@Example.com"), GOOD, NEXUS_S("B"), &user), NEXUS_ECONFLICT);
    cr_expect(strncmp(nexus_error_message(), "email: ", 7) == 0, "%s", nexus_error_message());
    cr_expect_eq(login(NEXUS_S("Ann@EXAMPLE.com"), GOOD), NEXUS_OK);
}

Test(auth, what_may_not_be_an_address_password_or_name)
{
    static char long_password[1100];
    memset(long_password, 'x', sizeof long_password);
    static const char *const addresses[] = {"",     "a", "@b", "a@", "a@b@c", "a b@c", "a@.c", "a@c.", "a@b\r\nBcc: x",
                                            "<a@b>"};
    nexus_user *user;
    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++)
        cr_expect_eq(nexus_auth_register(auth, nexus__slice_c(addresses[i]), GOOD, NEXUS_S("A"), &user), NEXUS_EINVAL,
                     "%s", addresses[i]);
    const nexus_slice passwords[] = {NEXUS_S("1234567"),
                                     NEXUS_S("PASSWORD"),
                                     {"nul\0nul\0", 8},
                                     {long_password, 1025},
                                     NEXUS_S("\xff\xfe\xff\xfe\xff\xfe\xff\xfe")};
    for (size_t i = 0; i < sizeof passwords / sizeof passwords[0]; i++) {
        cr_expect_eq(nexus_auth_register(auth, MAIL, passwords[i], NEXUS_S("A"), &user), NEXUS_EINVAL);
        cr_expect(strncmp(nexus_error_message(), "password: ", 10) == 0, "%s", nexus_error_message());
    }
    cr_expect_eq(nexus_auth_register(auth, MAIL, GOOD, NEXUS_S(""), &user), NEXUS_EINVAL);
    cr_expect_eq(nexus_auth_register(auth, MAIL, GOOD, NEXUS_S("a\x1b[31m"), &user), NEXUS_EINVAL);
}

Test(auth, row_65_passwords_are_never_cut)
{
    static char a[1024];
    memset(a, 'x', sizeof a);
    nexus_user *user;
    cr_assert_eq(nexus_auth_register(auth, MAIL, nexus__slice(a, 1024), NEXUS_S("A"), &user), NEXUS_OK);
    nexus_user_free(user);
    cr_expect_eq(login(MAIL, nexus__slice(a, 1024)), NEXUS_OK);
    cr_expect_eq(login(MAIL, nexus__slice(a, 1023)), NEXUS_EAUTH);
    cr_expect_eq(login(MAIL, nexus__slice(a, 72)), NEXUS_EAUTH);
    static char huge[10 * 1024 * 1024];
    cr_expect_eq(login(MAIL, nexus__slice(huge, sizeof huge)), NEXUS_EINVAL); /* refused before it is hashed */
}

static void open_with_pepper(const char *pepper)
{
    nexus_auth_opts opts = NEXUS_AUTH_OPTS_INIT;
    nexus_auth_close(auth);
    opts.issuer = "https://id.example", opts.key_dir = dir, opts.hash_memory_kib = 64, opts.now_fn = test_now;
    nexus_secret *secret;
    cr_assert_eq(nexus_secret_new(&secret, nexus__slice_c(pepper)), NEXUS_OK);
    opts.pepper = secret;
    cr_assert_eq(nexus_auth_open(&auth, db, &opts), NEXUS_OK, "%s", nexus_error_message());
    nexus_secret_free(secret);
}

static char *stored_hash(void)
{
    nexus_user *user;
    cr_assert_eq(nexus_auth_user_by_email(auth, MAIL, &user), NEXUS_OK);
    char *copy = nexus__strndup(NULL, nexus__slice_c(user->password));
    nexus_user_free(user);
    return copy;
}

Test(auth, a_pepper_is_mixed_in_at_the_next_login_and_then_needed)
{
    register_ann();
    char *plain = stored_hash(), *mixed;
    cr_expect_eq(strncmp(plain, "$argon2id$v=19$m=64,t=2,p=1$", 28), 0, "%s", plain);
    open_with_pepper("sixteen secret bytes");
    cr_expect_eq(login(MAIL, GOOD), NEXUS_OK, "%s", nexus_error_message());
    mixed = stored_hash();
    cr_expect_eq(strncmp(mixed, "+$argon2id$", 11), 0, "%s", mixed);
    cr_expect_eq(nexus__password_verify(mixed + 1, GOOD), NEXUS_EAUTH, "the database alone is not enough");
    cr_expect_eq(login(MAIL, GOOD), NEXUS_OK);
    cr_expect_eq(login(MAIL, NEXUS_S("wrong password")), NEXUS_EAUTH);
    open_with_pepper("some other secret bytes");
    cr_expect_eq(login(MAIL, GOOD), NEXUS_EAUTH);
    open_with_pepper("");
    cr_expect_eq(login(MAIL, GOOD), NEXUS_EMISSING);
    open_with_pepper("sixteen secret bytes");
    cr_expect_eq(login(MAIL, GOOD), NEXUS_OK);
    nexus_free(plain), nexus_free(mixed);
}

Test(auth, hashes_at_once_are_bounded_by_their_memory)
{
    nexus_auth_opts opts = NEXUS_AUTH_OPTS_INIT;
    nexus_auth_close(auth);
    opts.issuer = "https://id.example", opts.key_dir = dir, opts.hash_memory_kib = 64, opts.now_fn = test_now;
    opts.hash_parallel = 16, opts.hash_budget_kib = 200;
    cr_assert_eq(nexus_auth_open(&auth, db, &opts), NEXUS_OK);
    cr_expect_eq(auth->opts.hash_parallel, 3);
    register_ann();
    cr_expect_eq(login(MAIL, GOOD), NEXUS_OK);
}

Test(auth, row_71_sql_is_only_text)
{
    static const char *const names[] = {"'; DROP TABLE auth_users; --",
                                        "' OR '1'='1",
                                        "%' UNION SELECT 1 --",
                                        "Robert\\'); DELETE FROM auth_users",
                                        "$1",
                                        "%27",
                                        "100%_"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char email[64];
        snprintf(email, sizeof email, "o'brien%zu@example.com", i);
        nexus_user *user, *again;
        cr_assert_eq(nexus_auth_register(auth, nexus__slice_c(email), GOOD, nexus__slice_c(names[i]), &user), NEXUS_OK);
        cr_assert_eq(nexus_auth_user(auth, nexus__slice_c(nexus_user_id(user)), &again), NEXUS_OK);
        cr_expect_str_eq(nexus_user_name(again), names[i]);
        nexus_user_free(user);
        nexus_user_free(again);
        cr_expect_eq(login(nexus__slice_c(names[i]), GOOD), NEXUS_EAUTH);
        cr_expect_eq(nexus_auth_user(auth, nexus__slice_c(names[i]), &user), NEXUS_ENOTFOUND);
    }
}

Test(auth, row_64_wrong_passwords_cost_time_known_address_or_not)
{
    register_ann();
    const nexus_slice addresses[] = {MAIL, NEXUS_S("nobody@example.com")};
    for (size_t k = 0; k < 2; k++) {
        for (int i = 0; i < 5; i++)
            cr_expect_eq(login(addresses[k], NEXUS_S("wrong password")), NEXUS_EAUTH);
        cr_expect_eq(login(addresses[k], NEXUS_S("wrong password")), NEXUS_ELIMIT);
        cr_expect_eq(nexus_auth_retry_after(auth, addresses[k]), 1);
    }
    cr_expect_eq(login(MAIL, GOOD), NEXUS_ELIMIT);
    now_s += 1;
    cr_expect_eq(login(MAIL, NEXUS_S("wrong password")), NEXUS_EAUTH);
    cr_expect_eq(nexus_auth_retry_after(auth, MAIL), 2);
    now_s += 2;
    cr_expect_eq(login(MAIL, GOOD), NEXUS_OK);
    cr_expect_eq(login(MAIL, NEXUS_S("wrong password")), NEXUS_EAUTH);
    cr_expect_eq(nexus_auth_retry_after(auth, MAIL), 0, "a good login clears the count");
}

Test(auth, a_refresh_token_is_spent_once)
{
    register_ann();
    nexus_grant *first = ann_in(), *second, *third, *lost;
    cr_assert_eq(nexus_auth_refresh(auth, refresh_of(first), &second), NEXUS_OK, "%s", nexus_error_message());
    cr_expect_str_neq(nexus_grant_refresh_token(first), nexus_grant_refresh_token(second));
    now_s += 10;
    cr_assert_eq(nexus_auth_refresh(auth, refresh_of(first), &lost), NEXUS_OK, "within the grace");
    cr_expect_str_eq(nexus_grant_refresh_token(second), nexus_grant_refresh_token(lost));
    cr_assert_eq(nexus_auth_refresh(auth, refresh_of(second), &third), NEXUS_OK);
    now_s += 1;
    nexus_grant *stolen;
    cr_expect_eq(nexus_auth_refresh(auth, refresh_of(first), &stolen), NEXUS_EAUTH, "reuse");
    cr_expect_eq(nexus_auth_refresh(auth, refresh_of(third), &stolen), NEXUS_EAUTH, "the family is over");
    nexus_grant_free(first), nexus_grant_free(second), nexus_grant_free(third), nexus_grant_free(lost);
}

Test(auth, refresh_tokens_expire_idle_and_absolutely)
{
    register_ann();
    nexus_grant *g = ann_in(), *next;
    now_s += 14 * 86400;
    cr_expect_eq(nexus_auth_refresh(auth, refresh_of(g), &next), NEXUS_EAUTH);
    nexus_grant_free(g);
    g = ann_in();
    for (int day = 0; day < 90; day += 10) {
        cr_assert_eq(nexus_auth_refresh(auth, refresh_of(g), &next), NEXUS_OK, "day %d", day);
        nexus_grant_free(g);
        g = next;
        now_s += 10 * 86400;
    }
    cr_expect_eq(nexus_auth_refresh(auth, refresh_of(g), &next), NEXUS_EAUTH);
    nexus_grant_free(g);
    cr_expect_eq(nexus_auth_refresh(auth, NEXUS_S("x"), &next), NEXUS_EAUTH);
    cr_expect_eq(nexus_auth_refresh(auth, NEXUS_S("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), &next), NEXUS_EAUTH);
}

static void *refresh_thread(void *user_data)
{
    nexus_slice *token = user_data;
    nexus_grant *g = NULL;
    return nexus_auth_refresh(auth, *token, &g) == NEXUS_OK ? g : NULL;
}

Test(auth, row_60_parallel_refreshes_get_the_same_successor)
{
    register_ann();
    nexus_grant *g = ann_in();
    nexus_slice token = refresh_of(g);
    pthread_t threads[8];
    void *got[8];
    for (int i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, refresh_thread, &token);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], &got[i]);
    for (int i = 0; i < 8; i++) {
        cr_assert_not_null(got[i]);
        cr_expect_str_eq(nexus_grant_refresh_token(got[0]), nexus_grant_refresh_token(got[i]));
    }
    for (int i = 0; i < 8; i++)
        nexus_grant_free(got[i]);
    nexus_grant_free(g);
}

Test(auth, logout_ends_the_family)
{
    register_ann();
    nexus_grant *g = ann_in(), *next;
    cr_assert_eq(nexus_auth_logout(auth, refresh_of(g)), NEXUS_OK);
    cr_assert_eq(nexus_auth_logout(auth, refresh_of(g)), NEXUS_OK);
    cr_assert_eq(nexus_auth_logout(auth, NEXUS_S("unknown")), NEXUS_OK);
    cr_expect_eq(nexus_auth_refresh(auth, refresh_of(g), &next), NEXUS_EAUTH);
    cr_expect_eq(count_events("user.logout"), 1);
    nexus_grant_free(g);
}

Test(auth, row_32_the_gate_stands_before_every_grant)
{
    register_ann();
    nexus_grant *g = ann_in(), *next;
    nexus_slice id = nexus__slice_c(nexus_grant_user_id(g));
    char *reset;
    nexus_user *user;
    cr_assert_eq(nexus_auth_reset_begin(auth, MAIL, &reset, &user), NEXUS_OK);
    cr_assert_eq(nexus_auth_set_disabled(auth, id, true), NEXUS_OK);
    cr_expect_eq(login(MAIL, GOOD), NEXUS_EAUTH);
    cr_expect_eq(nexus_auth_refresh(auth, refresh_of(g), &next), NEXUS_EAUTH);
    cr_expect_eq(nexus_auth_reset_confirm(auth, nexus__slice_c(reset), NEXUS_S("another password")), NEXUS_EAUTH);
    cr_assert_eq(nexus_auth_set_disabled(auth, id, false), NEXUS_OK);
    cr_expect_eq(login(MAIL, GOOD), NEXUS_OK);
    nexus_free(reset);
    nexus_user_free(user);
    nexus_grant_free(g);
}

Test(auth, a_reset_token_works_once_and_ends_all_sessions)
{
    register_ann();
    nexus_grant *g = ann_in(), *next;
    char *reset, *late;
    nexus_user *user;
    cr_expect_eq(nexus_auth_reset_begin(auth, NEXUS_S("nobody@example.com"), &reset, &user), NEXUS_ENOTFOUND);
    cr_assert_eq(nexus_auth_reset_begin(auth, MAIL, &reset, &user), NEXUS_OK);
    nexus_user_free(user);
    cr_expect_eq(nexus_auth_reset_confirm(auth, nexus__slice_c(reset), NEXUS_S("short")), NEXUS_EINVAL);
    cr_assert_eq(nexus_auth_reset_confirm(auth, nexus__slice_c(reset), NEXUS_S("another password")), NEXUS_OK, "%s",
                 nexus_error_message());
    cr_expect_eq(nexus_auth_reset_confirm(auth, nexus__slice_c(reset), NEXUS_S("a third password")), NEXUS_EAUTH);
    cr_expect_eq(login(MAIL, GOOD), NEXUS_EAUTH);
    cr_expect_eq(login(MAIL, NEXUS_S("another password")), NEXUS_OK);
    cr_expect_eq(nexus_auth_refresh(auth, refresh_of(g), &next), NEXUS_EAUTH);
    cr_assert_eq(nexus_auth_reset_begin(auth, MAIL, &late, &user), NEXUS_OK);
    nexus_user_free(user);
    now_s += 900;
    cr_expect_eq(nexus_auth_reset_confirm(auth, nexus__slice_c(late), NEXUS_S("a third password")), NEXUS_EAUTH);
    nexus_free(reset), nexus_free(late);
    nexus_grant_free(g);
}

Test(auth, the_first_administrator_needs_a_live_token)
{
    char *token, *newer;
    nexus_user *user;
    bool any;
    cr_assert_eq(nexus_auth_has_admin(auth, &any), NEXUS_OK);
    cr_expect_not(any);
    cr_assert_eq(nexus_auth_bootstrap_token(auth, &token), NEXUS_OK);
    cr_assert_eq(nexus_auth_bootstrap_token(auth, &newer), NEXUS_OK);
    cr_expect_eq(nexus_auth_bootstrap(auth, nexus__slice_c(token), MAIL, GOOD, NEXUS_S("A"), &user), NEXUS_EAUTH);
    cr_expect_eq(nexus_auth_bootstrap(auth, nexus__slice_c(newer), MAIL, NEXUS_S("short"), NEXUS_S("A"), &user),
                 NEXUS_EINVAL);
    cr_assert_eq(nexus_auth_bootstrap(auth, nexus__slice_c(newer), MAIL, GOOD, NEXUS_S("A"), &user), NEXUS_OK);
    cr_expect_str_eq(nexus_user_role(user, 0), "admin");
    cr_expect_eq(nexus_auth_bootstrap(auth, nexus__slice_c(newer), NEXUS_S("b@b"), GOOD, NEXUS_S("A"), &user),
                 NEXUS_EAUTH);
    cr_assert_eq(nexus_auth_has_admin(auth, &any), NEXUS_OK);
    cr_expect(any);
    nexus_user_free(user);
    nexus_free(token);
    cr_assert_eq(nexus_auth_bootstrap_token(auth, &token), NEXUS_OK);
    now_s += 900;
    cr_expect_eq(nexus_auth_bootstrap(auth, nexus__slice_c(token), NEXUS_S("b@b"), GOOD, NEXUS_S("A"), &user),
                 NEXUS_EAUTH);
    nexus_free(token), nexus_free(newer);
}

Test(auth, what_cannot_be_told_is_not_done)
{
    nexus_user *user;
    refuse_events = true;
    cr_expect_eq(nexus_auth_register(auth, MAIL, GOOD, NEXUS_S("A"), &user), NEXUS_EIO);
    refuse_events = false;
    cr_expect_eq(nexus_auth_user_by_email(auth, MAIL, &user), NEXUS_ENOTFOUND);
    register_ann();
}

Test(auth, roles_are_known_ones)
{
    register_ann();
    nexus_user *user;
    cr_assert_eq(nexus_auth_user_by_email(auth, MAIL, &user), NEXUS_OK);
    nexus_slice id = nexus__slice_c(nexus_user_id(user));
    cr_expect_eq(nexus_auth_set_role(auth, id, "root", true), NEXUS_EINVAL);
    cr_expect_eq(nexus_auth_set_role(auth, NEXUS_S("nobody"), "admin", true), NEXUS_ENOTFOUND);
    cr_expect_eq(nexus_auth_set_role(auth, id, "operator", true), NEXUS_OK);
    cr_expect_eq(nexus_auth_set_role(auth, id, "operator", true), NEXUS_OK);
    nexus_user *again;
    cr_assert_eq(nexus_auth_user(auth, id, &again), NEXUS_OK);
    cr_expect_eq(nexus_user_role_count(again), 2);
    nexus_user_free(again);
    nexus_user_free(user);
}

static bool verifies(const nexus_grant *g)
{
    nexus_keyset *keys;
    nexus_jwt_rules rules = NEXUS_JWT_RULES_INIT;
    rules.issuer = "https://id.example", rules.audience = "nexus", rules.now_s = now_s;
    cr_assert_eq(nexus_auth_keyset(auth, &keys), NEXUS_OK);
    nexus_claims *claims;
    const char *token = nexus_grant_access_token(g);
    nexus_status status = nexus_jwt_verify(keys, token, strlen(token), &rules, &claims);
    if (status == NEXUS_OK)
        nexus_claims_free(claims);
    nexus_keyset_free(keys);
    return status == NEXUS_OK;
}

static size_t published(void)
{
    nexus_keyset *keys;
    cr_assert_eq(nexus_auth_keyset(auth, &keys), NEXUS_OK);
    size_t n = nexus_keyset_count(keys);
    nexus_keyset_free(keys);
    return n;
}

static void rotate(bool emergency)
{
    cr_assert_eq(nexus_auth_rotate(auth, emergency), NEXUS_OK, "%s", nexus_error_message());
}

Test(auth, keys_are_published_before_and_after_they_sign)
{
    register_ann();
    rotate(false);
    cr_expect_eq(published(), 1);
    now_s += 90 * 86400 - 3600;
    rotate(false);
    cr_expect_eq(published(), 2, "the next one is pending");
    nexus_grant *old = ann_in();
    now_s += 3600;
    rotate(false);
    nexus_grant *new = ann_in();
    cr_expect_eq(published(), 2);
    now_s -= 3600;
    cr_expect(verifies(old));
    now_s += 3600;
    cr_expect(verifies(new));
    now_s += 721;
    rotate(false);
    cr_expect_eq(published(), 1, "nothing the retired one signed is alive");
    nexus_grant_free(old), nexus_grant_free(new);
}

Test(auth, an_emergency_ends_the_old_key_at_once)
{
    register_ann();
    nexus_grant *old = ann_in();
    rotate(true);
    cr_expect_not(verifies(old));
    nexus_grant *new = ann_in();
    cr_expect(verifies(new));
    cr_expect_eq(published(), 1);
    nexus_grant_free(old), nexus_grant_free(new);
}

Test(auth, a_restart_keeps_key_and_sessions)
{
    register_ann();
    nexus_grant *g = ann_in(), *next;
    nexus_auth_close(auth);
    open_auth();
    cr_expect(verifies(g));
    cr_expect_eq(nexus_auth_refresh(auth, refresh_of(g), &next), NEXUS_OK);
    nexus_grant_free(next);
    char *json, *etag;
    size_t n;
    cr_assert_eq(nexus_auth_jwks(auth, &json, &n, &etag), NEXUS_OK);
    cr_expect_null(strstr(json, "\"d\""));
    cr_expect_eq(etag[0], '"');
    nexus_free(json), nexus_free(etag);
    nexus_grant_free(g);
}

static int64_t rows_of(const char *table)
{
    char sql[64];
    nexus_rows *rows;
    snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", table);
    cr_assert_eq(nexus_db_query_one(&rows, db, sql, NULL, 0), NEXUS_OK, "%s", nexus_error_message());
    int64_t n = nexus_rows_int(rows, 0);
    nexus_rows_free(rows);
    return n;
}

Test(auth, families_that_are_over_go_and_others_stay)
{
    nexus_grant *old, *fresh, *next;
    register_ann();
    old = ann_in();
    now_s += 13 * 86400;
    fresh = ann_in();
    cr_assert_eq(nexus_auth_refresh(auth, refresh_of(fresh), &next), NEXUS_OK);
    cr_assert_eq(nexus_auth_expire(auth), NEXUS_OK, "%s", nexus_error_message());
    cr_expect_eq(rows_of("auth_families"), 2);
    now_s += 86400 + 3700; /* the first has rested 14 days, and an hour more */
    cr_assert_eq(nexus_auth_expire(auth), NEXUS_OK, "%s", nexus_error_message());
    cr_expect_eq(rows_of("auth_families"), 1);
    cr_expect_eq(rows_of("auth_refresh"), 2);
    nexus_grant_free(fresh);
    cr_expect_eq(nexus_auth_refresh(auth, refresh_of(next), &fresh), NEXUS_OK, "%s", nexus_error_message());
    now_s += 100 * 86400;
    cr_assert_eq(nexus_auth_expire(auth), NEXUS_OK);
    cr_expect_eq(rows_of("auth_families") + rows_of("auth_refresh"), 0);
    nexus_grant_free(old);
    nexus_grant_free(fresh);
    nexus_grant_free(next);
}
