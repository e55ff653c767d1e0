/* Registration whose address has to be confirmed, and tokens that events carry for mails. */
#include "world.h"

TestSuite(verification, .init = set_up, .fini = tear_down);

/* The token of the newest mail, out of the event's clear text. */
static void newest_token(char out[static NEXUS__TOKEN_TEXT])
{
    const char *at = events.p, *found = NULL;
    nexus__buf_append(&events, "", 1);
    events.len--;
    while ((at = strstr(at, "\"token\":\"")))
        found = at += 9;
    cr_assert(found, "%s", events.p);
    snprintf(out, NEXUS__TOKEN_TEXT, "%.43s", found);
}

static void sign_up(nexus_slice password)
{
    cr_assert_eq(nexus_auth_register_unverified(auth, MAIL, password, NEXUS_S("Ann")), NEXUS_OK, "%s", nexus_error_message());
}

Test(verification, an_account_opens_once_its_address_is_confirmed)
{
    char token[NEXUS__TOKEN_TEXT];
    sign_up(GOOD);
    cr_expect_eq(count_events("user.registered"), 0);
    cr_expect_eq(login(MAIL, GOOD), NEXUS_EAUTH);
    newest_token(token);
    cr_expect_eq(nexus_auth_verify(auth, NEXUS_S("x")), NEXUS_EAUTH);
    cr_expect_eq(nexus_auth_verify(auth, nexus__slice_c(token)), NEXUS_OK, "%s", nexus_error_message());
    cr_expect_eq(count_events("user.registered"), 1);
    cr_expect_eq(login(MAIL, GOOD), NEXUS_OK);
    cr_expect_eq(nexus_auth_verify(auth, nexus__slice_c(token)), NEXUS_EAUTH, "once");
    cr_expect_eq(nexus_auth_verify_resend(auth, MAIL), NEXUS_ENOTFOUND);
}

Test(verification, a_token_is_over_after_a_quarter_of_an_hour_and_with_the_next_one)
{
    char first[NEXUS__TOKEN_TEXT], second[NEXUS__TOKEN_TEXT];
    sign_up(GOOD);
    newest_token(first);
    cr_assert_eq(nexus_auth_verify_resend(auth, MAIL), NEXUS_OK);
    newest_token(second);
    cr_expect_str_neq(first, second);
    cr_expect_eq(nexus_auth_verify(auth, nexus__slice_c(first)), NEXUS_EAUTH);
    now_s += 900;
    cr_expect_eq(nexus_auth_verify(auth, nexus__slice_c(second)), NEXUS_EAUTH);
    cr_assert_eq(nexus_auth_verify_resend(auth, MAIL), NEXUS_OK);
    newest_token(first);
    cr_expect_eq(nexus_auth_verify(auth, nexus__slice_c(first)), NEXUS_OK);
}

Test(verification, a_known_address_is_told_by_mail_only)
{
    register_ann();
    nexus__buf_clear(&events);
    sign_up(NEXUS_S("another password"));
    cr_expect_eq(count_events("user.verification"), 1);
    cr_expect_neq(nexus__slice_search(nexus__buf_slice(&events), NEXUS_S("\"stage\":\"exists\"")), events.len);
    cr_expect_eq(nexus__slice_search(nexus__buf_slice(&events), NEXUS_S("token")), events.len);
    cr_expect_eq(login(MAIL, GOOD), NEXUS_OK, "and nothing else has changed");
    cr_expect_eq(login(MAIL, NEXUS_S("another password")), NEXUS_EAUTH);
}

/* Both somebody else's registration before one's own and one after it: the mail of either may be the one that is confirmed. */
Test(verification, an_account_that_two_registered_belongs_to_whoever_reads_its_mail)
{
    char first[NEXUS__TOKEN_TEXT], second[NEXUS__TOKEN_TEXT], *reset;
    nexus_user *user;
    sign_up(GOOD);
    newest_token(first);
    sign_up(NEXUS_S("another password"));
    newest_token(second);
    cr_expect_eq(nexus_auth_verify(auth, nexus__slice_c(first)), NEXUS_EAUTH);
    cr_expect_eq(nexus_auth_verify(auth, nexus__slice_c(second)), NEXUS_OK);
    cr_expect_eq(login(MAIL, NEXUS_S("another password")), NEXUS_EAUTH);
    cr_expect_eq(login(MAIL, GOOD), NEXUS_EAUTH);
    now_s += 3600;
    cr_assert_eq(nexus_auth_reset_begin(auth, MAIL, &reset, &user), NEXUS_OK, "%s", nexus_error_message());
    cr_assert_eq(nexus_auth_reset_confirm(auth, nexus__slice_c(reset), NEXUS_S("a third password")), NEXUS_OK);
    cr_expect_eq(login(MAIL, NEXUS_S("a third password")), NEXUS_OK);
    nexus_free(reset);
    nexus_user_free(user);
}

Test(verification, who_registers_twice_with_one_password_keeps_it)
{
    char first[NEXUS__TOKEN_TEXT], second[NEXUS__TOKEN_TEXT];
    sign_up(GOOD);
    newest_token(first);
    sign_up(GOOD);
    newest_token(second);
    cr_expect_eq(nexus_auth_verify(auth, nexus__slice_c(first)), NEXUS_EAUTH);
    cr_expect_eq(nexus_auth_verify(auth, nexus__slice_c(second)), NEXUS_OK);
    cr_expect_eq(login(MAIL, GOOD), NEXUS_OK);
}

Test(verification, a_reset_token_confirms_nothing_and_the_other_way_round)
{
    char verify[NEXUS__TOKEN_TEXT], *reset;
    nexus_user *user;
    sign_up(GOOD);
    newest_token(verify);
    cr_expect_eq(nexus_auth_reset_confirm(auth, nexus__slice_c(verify), NEXUS_S("another password")), NEXUS_EAUTH);
    cr_expect_eq(nexus_auth_reset_begin(auth, MAIL, &reset, &user), NEXUS_ENOTFOUND, "not before it is confirmed");
    cr_assert_eq(nexus_auth_verify(auth, nexus__slice_c(verify)), NEXUS_OK);
    now_s += 3600;
    cr_assert_eq(nexus_auth_reset_begin(auth, MAIL, &reset, &user), NEXUS_OK);
    cr_expect_eq(nexus_auth_verify(auth, nexus__slice_c(reset)), NEXUS_EAUTH);
    nexus_user_free(user);
    nexus_free(reset);
}

Test(verification, what_is_not_allowed_is_said)
{
    cr_expect_eq(nexus_auth_register_unverified(auth, NEXUS_S("nobody"), GOOD, NEXUS_S("A")), NEXUS_EINVAL);
    cr_expect_eq(nexus_auth_check_registration(auth, MAIL, NEXUS_S("password"), NEXUS_S("A")), NEXUS_EINVAL);
    cr_expect_eq(nexus_auth_check_registration(auth, MAIL, GOOD, NEXUS_S("A")), NEXUS_OK);
}

Test(verification, the_token_stands_sealed_in_the_event_when_there_is_a_ring)
{
    char path[96], context[64], id[NEXUS__UUID_LEN + 1], sealed[256], *token;
    nexus_secrets *ring;
    nexus_auth_opts opts = NEXUS_AUTH_OPTS_INIT;
    size_t n;
    snprintf(path, sizeof path, "%s/mail.keys", dir);
    cr_assert_eq(nexus_secrets_open(&ring, path, NULL), NEXUS_OK);
    nexus_auth_close(auth);
    opts.issuer = "https://id.example", opts.key_dir = dir, opts.hash_memory_kib = 64, opts.now_fn = test_now;
    opts.event_fn = on_event, opts.event_secrets = ring;
    cr_assert_eq(nexus_auth_open(&auth, db, &opts), NEXUS_OK);
    sign_up(GOOD);
    nexus__buf_append(&events, "", 1);
    cr_assert_eq(sscanf(strstr(events.p, "\"user_id\":\""), "\"user_id\":\"%36[^\"]\"", id), 1);
    cr_assert_eq(sscanf(strstr(events.p, "\"sealed_token\":\""), "\"sealed_token\":\"%255[^\"]\"", sealed), 1);
    cr_expect_null(strstr(events.p, "\"token\""));
    snprintf(context, sizeof context, "mail/%s", id);
    cr_assert_eq(nexus_secrets_unseal(ring, nexus__slice_c(context), nexus__slice_c(sealed), &token, &n), NEXUS_OK);
    cr_expect_eq(nexus_auth_verify(auth, nexus__slice(token, n)), NEXUS_OK);
    nexus_free_wiped(token, n);
    nexus_auth_close(auth);
    nexus_secrets_close(ring);
    open_auth();
}

/* Row A33: what takes long is the hash, and an address that nobody has costs as many as one that somebody has. */
Test(verification, row_a33_an_unknown_address_costs_as_many_hashes)
{
    nexus_user *user;
    char *token;
    uint64_t at[5];
    register_ann();
    at[0] = nexus__hash_gate_count(auth->gate);
    cr_expect_eq(login(MAIL, NEXUS_S("wrong horse battery")), NEXUS_EAUTH);
    at[1] = nexus__hash_gate_count(auth->gate);
    cr_expect_eq(login(NEXUS_S("nobody@example.com"), NEXUS_S("wrong horse battery")), NEXUS_EAUTH);
    at[2] = nexus__hash_gate_count(auth->gate);
    sign_up(NEXUS_S("wrong horse battery"));
    at[3] = nexus__hash_gate_count(auth->gate);
    cr_expect_eq(nexus_auth_register_unverified(auth, NEXUS_S("new@example.com"), GOOD, NEXUS_S("N")), NEXUS_OK);
    at[4] = nexus__hash_gate_count(auth->gate);
    cr_expect_eq(at[1] - at[0], 1);
    cr_expect_eq(at[2] - at[1], 1);
    cr_expect_eq(at[4] - at[3], at[3] - at[2]);
    cr_expect_eq(nexus_auth_reset_begin(auth, NEXUS_S("nobody@example.com"), &token, &user), NEXUS_ENOTFOUND);
    cr_expect_eq(nexus__hash_gate_count(auth->gate), at[4], "a reset costs none for anybody");
}
