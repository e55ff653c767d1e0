/* What wrong guesses cost, and whom they do not lock out. */
#include "world.h"

TestSuite(throttle, .init = set_up, .fini = tear_down);

static nexus_status try_from(const char *address, const char *device, nexus_slice email, nexus_slice password,
                             uint32_t *wait, char *new_device)
{
    nexus_login *l = NULL;
    nexus_auth_client client = NEXUS_AUTH_CLIENT_INIT;
    client.address = nexus__slice_c(address);
    client.device = nexus__slice_c(device);
    nexus_status status = nexus_auth_login_from(auth, email, password, &client, &l, wait);
    if (new_device && status == NEXUS_OK)
        snprintf(new_device, NEXUS__TOKEN_TEXT, "%s", nexus_login_device(l) ? nexus_login_device(l) : "");
    nexus_login_free(l);
    return status;
}

Test(throttle, row_64_a_thousand_wrong_ones_do_not_lock_the_victim_out_of_his_own_device)
{
    register_ann();
    char device[NEXUS__TOKEN_TEXT], address[32];
    uint32_t wait;
    int judged = 0;
    cr_assert_eq(try_from("198.51.100.1", NULL, MAIL, GOOD, NULL, device), NEXUS_OK);
    cr_assert_eq(strlen(device), 43);
    for (int i = 0; i < 1000; i++) { /* a botnet: each from elsewhere */
        snprintf(address, sizeof address, "203.0.%d.%d", i / 200, i % 200 + 1);
        nexus_status status = try_from(address, NULL, MAIL, NEXUS_S("wrong password"), &wait, NULL);
        judged += status == NEXUS_EAUTH;
        cr_assert(status == NEXUS_EAUTH || (status == NEXUS_ELIMIT && wait > 0));
        now_s += 1;
    }
    cr_expect_lt(judged, 20, "%d were looked at", judged);
    cr_expect_eq(try_from("198.51.100.1", NULL, MAIL, GOOD, &wait, NULL), NEXUS_ELIMIT, "without the device he waits");
    char none[NEXUS__TOKEN_TEXT] = "x";
    cr_expect_eq(try_from("198.51.100.1", device, MAIL, GOOD, &wait, none), NEXUS_OK, "%s", nexus_error_message());
    cr_expect_str_empty(none, "it has one");
}

Test(throttle, a_known_device_has_a_record_of_its_own)
{
    register_ann();
    char device[NEXUS__TOKEN_TEXT];
    nexus_user *user;
    uint32_t wait;
    cr_assert_eq(try_from(NULL, NULL, MAIL, GOOD, NULL, device), NEXUS_OK);
    for (int i = 0; i < 5; i++)
        cr_expect_eq(try_from(NULL, device, MAIL, NEXUS_S("wrong password"), NULL, NULL), NEXUS_EAUTH);
    cr_expect_eq(try_from(NULL, device, MAIL, GOOD, &wait, NULL), NEXUS_ELIMIT, "a stolen one guesses no better");
    cr_expect_eq(wait, 1);
    cr_expect_eq(try_from(NULL, NULL, MAIL, GOOD, NULL, NULL), NEXUS_OK);
    cr_assert_eq(nexus_auth_register(auth, NEXUS_S("bob@example.com"), GOOD, NEXUS_S("Bob"), &user), NEXUS_OK);
    nexus_user_free(user);
    for (int i = 0; i < 6; i++)
        (void)!try_from(NULL, device, NEXUS_S("bob@example.com"), NEXUS_S("wrong password"), NULL, NULL);
    cr_expect_eq(try_from(NULL, device, NEXUS_S("bob@example.com"), GOOD, NULL, NULL), NEXUS_ELIMIT, "it is Ann's");
}

Test(throttle, an_address_that_guesses_at_many_accounts_waits)
{
    register_ann();
    char email[40];
    uint32_t wait;
    for (int i = 0; i < 20; i++) {
        snprintf(email, sizeof email, "somebody%d@example.com", i);
        cr_expect_eq(try_from("203.0.113.9", NULL, nexus__slice_c(email), NEXUS_S("wrong password"), NULL, NULL), NEXUS_EAUTH);
    }
    cr_expect_eq(try_from("203.0.113.9", NULL, MAIL, GOOD, &wait, NULL), NEXUS_ELIMIT);
    cr_expect(wait > 0 && wait <= 30, "%u", wait);
    cr_expect_eq(try_from("203.0.113.10", NULL, MAIL, GOOD, NULL, NULL), NEXUS_OK);
    cr_expect_eq(try_from("::ffff:203.0.113.9", NULL, MAIL, GOOD, NULL, NULL), NEXUS_ELIMIT, "the same in other words");
    now_s += 30;
    cr_expect_eq(try_from("203.0.113.9", NULL, MAIL, GOOD, NULL, NULL), NEXUS_OK);
}

Test(throttle, a_network_of_ipv6_is_counted_as_one)
{
    register_ann();
    char email[40], address[40];
    int judged = 0;
    for (int i = 0; i < 200; i++) {
        snprintf(email, sizeof email, "somebody%d@example.com", i);
        snprintf(address, sizeof address, "2001:db8:1:2::%x", i + 1);
        judged += try_from(address, NULL, nexus__slice_c(email), NEXUS_S("wrong password"), NULL, NULL) == NEXUS_EAUTH;
    }
    cr_expect_eq(judged, 80);
    cr_expect_eq(try_from("2001:db8:1:2:ffff::1", NULL, MAIL, GOOD, NULL, NULL), NEXUS_ELIMIT);
    cr_expect_eq(try_from("2001:db8:1:3::1", NULL, MAIL, GOOD, NULL, NULL), NEXUS_OK);
}

Test(throttle, loopback_stands_for_whoever_the_proxy_speaks_for)
{
    char email[40];
    for (int i = 0; i < 60; i++) {
        snprintf(email, sizeof email, "somebody%d@example.com", i);
        cr_expect_eq(try_from(i % 2 ? "127.0.0.1" : "::1", NULL, nexus__slice_c(email), NEXUS_S("wrong password"), NULL, NULL),
                     NEXUS_EAUTH);
    }
}

Test(throttle, mails_to_one_address_are_few)
{
    register_ann();
    char *token;
    nexus_user *user;
    int sent = 0;
    for (int i = 0; i < 10; i++)
        if (nexus_auth_reset_begin(auth, MAIL, &token, &user) == NEXUS_OK) {
            sent++;
            nexus_free(token);
            nexus_user_free(user);
        }
    cr_expect_eq(sent, 3);
    now_s += 300;
    cr_expect_eq(nexus_auth_reset_begin(auth, MAIL, &token, &user), NEXUS_OK);
    nexus_free(token);
    nexus_user_free(user);
}

Test(throttle, a_limiter_is_shared_by_who_is_given_it)
{
    nexus_limiter *shared;
    nexus_rate rate;
    nexus_limit_result r;
    nexus_auth_opts opts = NEXUS_AUTH_OPTS_INIT;
    cr_assert_eq(nexus_limiter_new(&shared, 64, NULL), NEXUS_OK);
    nexus_auth_close(auth);
    opts.issuer = "https://id.example", opts.key_dir = dir, opts.hash_memory_kib = 64, opts.now_fn = test_now;
    opts.limiter = shared;
    opts.address_failures = 20;
    cr_assert_eq(nexus_auth_open(&auth, db, &opts), NEXUS_OK);
    for (int i = 0; i < 3; i++)
        cr_expect_eq(try_from("203.0.113.9", NULL, NEXUS_S("nobody@example.com"), NEXUS_S("wrong password"), NULL, NULL),
                     NEXUS_EAUTH);
    uint8_t key[16] = {[10] = 0xff, 0xff, 203, 0, 113, 9};
    cr_assert_eq(nexus_rate_init(&rate, 20, 600 * NEXUS__NS_PER_S, 0), NEXUS_OK);
    cr_assert(nexus_limiter_take(shared, "auth.failures", &rate, nexus__slice(key, sizeof key), 0, now_s * NEXUS__NS_PER_S, &r));
    cr_expect_eq(r.remaining, 17);
    nexus_auth_close(auth);
    nexus_limiter_free(shared);
    open_auth();
}

/* --- no enumeration ------------------------------------------------------------------------------------------------------ */

static double seconds_of(nexus_slice email)
{
    int64_t start = nexus__mono_ns();
    cr_assert_eq(login(email, NEXUS_S("wrong password")), NEXUS_EAUTH);
    return (double)(nexus__mono_ns() - start);
}

/*
 * Row 33: a known and an unknown address in turn; how often the known one took longer (the statistic of Mann and Whitney).
 * Alike is a half. What a difference of a hash would do is 1 or 0; the bound is wide, so that a busy machine does not fail
 * it: 0.25 to 0.75 of 200 pairs, where chance alone stays within 0.42 to 0.58.
 */
Test(throttle, row_64_known_and_unknown_addresses_take_the_same_time)
{
    enum { PAIRS = 200 };
    double known[PAIRS], unknown[PAIRS], wins = 0;
    char email[40];
    nexus_user *user;
    for (int i = 0; i < PAIRS; i++) { /* an account each: nobody is delayed */
        snprintf(email, sizeof email, "known%d@example.com", i);
        if (i % 5 == 0) {
            cr_assert_eq(nexus_auth_register(auth, nexus__slice_c(email), GOOD, NEXUS_S("K"), &user), NEXUS_OK);
            nexus_user_free(user);
        }
    }
    for (int i = 0; i < PAIRS; i++) {
        bool first = nexus__random_u64() & 1;
        char other[40];
        snprintf(email, sizeof email, "known%d@example.com", i / 5 * 5);
        snprintf(other, sizeof other, "unknown%d@example.com", i / 5 * 5);
        if (i % 5 == 0)
            cr_assert_eq(nexus_db_exec(db, "DELETE FROM auth_attempts", NULL, 0, NULL), NEXUS_OK);
        if (first)
            known[i] = seconds_of(nexus__slice_c(email));
        unknown[i] = seconds_of(nexus__slice_c(other));
        if (!first)
            known[i] = seconds_of(nexus__slice_c(email));
    }
    for (int i = 0; i < PAIRS; i++)
        for (int k = 0; k < PAIRS; k++)
            wins += known[i] > unknown[k] ? 1 : known[i] == unknown[k] ? 0.5 : 0;
    double share = wins / ((double)PAIRS * PAIRS);
    cr_expect(share > 0.25 && share < 0.75, "a known address takes longer in %.2f of the pairs", share);
}
