/* The second factor of accounts. */
#include "auth/totp.h"
#include "world.h"

TestSuite(second_factor, .init = set_up, .fini = tear_down);

static uint8_t seed[NEXUS__TOTP_SEED];
static char recovery[10][24], ann[NEXUS__UUID_LEN + 1];

static void decode(const char *text)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    uint32_t bits = 0;
    int held = 0;
    size_t n = 0;
    for (; *text && n < sizeof seed; text++) {
        bits = bits << 5 | (uint32_t)(strchr(alphabet, *text) - alphabet);
        held += 5;
        if (held >= 8)
            seed[n++] = (uint8_t)(bits >> (held -= 8));
    }
    cr_assert_eq(n, sizeof seed);
}

static nexus_slice code_at(int64_t at_s)
{
    static char code[9];
    cr_assert_eq(nexus__totp_code(NEXUS__SHA1, nexus__slice(seed, sizeof seed), (uint64_t)(at_s / 30), 6, code), NEXUS_OK);
    return nexus__slice(code, 6);
}

static void enrol(void)
{
    char *secret, *uri, *codes;
    nexus_user *user;
    register_ann();
    cr_assert_eq(nexus_auth_user_by_email(auth, MAIL, &user), NEXUS_OK);
    snprintf(ann, sizeof ann, "%s", nexus_user_id(user));
    nexus_user_free(user);
    nexus_slice id = nexus__slice_c(ann);
    cr_assert_eq(nexus_auth_totp_begin(auth, id, &secret, &uri), NEXUS_OK, "%s", nexus_error_message());
    decode(secret);
    cr_expect_eq(strncmp(uri, "otpauth://totp/id.example:ann%40example.com?secret=", 51), 0, "%s", uri);
    cr_expect(strstr(uri, secret) && strstr(uri, "&issuer=id.example&algorithm=SHA1&digits=6&period=30"), "%s", uri);
    cr_expect_eq(nexus_auth_totp_confirm(auth, id, NEXUS_S("000000x"), &codes), NEXUS_EAUTH);
    cr_assert_eq(nexus_auth_totp_confirm(auth, id, code_at(now_s), &codes), NEXUS_OK, "%s", nexus_error_message());
    cr_expect_eq(strlen(codes), 10 * 26 + 1, "%s", codes);
    for (int i = 0; i < 10; i++)
        snprintf(recovery[i], sizeof recovery[i], "%.23s", codes + 2 + i * 26);
    nexus_free(secret), nexus_free(uri), nexus_free(codes);
    now_s += 30;
}

static char step[NEXUS__TOKEN_TEXT];

static void first_step(void)
{
    nexus_login *l;
    cr_assert_eq(nexus_auth_login_from(auth, MAIL, GOOD, NULL, &l, NULL), NEXUS_OK, "%s", nexus_error_message());
    cr_assert_null(nexus_login_grant(l));
    snprintf(step, sizeof step, "%s", nexus_login_second_step(l));
    nexus_login_free(l);
}

static nexus_status second_step(nexus_slice code, uint32_t *wait)
{
    nexus_login *l = NULL;
    nexus_status status = nexus_auth_login_second(auth, nexus__slice_c(step), code, NULL, &l, wait);
    if (status == NEXUS_OK)
        cr_expect(nexus_grant_access_token(nexus_login_grant(l)) && nexus_login_second_step(l) == NULL);
    nexus_login_free(l);
    return status;
}

Test(second_factor, login_takes_two_steps)
{
    enrol();
    nexus_grant *g;
    cr_expect_eq(nexus_auth_login(auth, MAIL, GOOD, &g), NEXUS_EPERM, "who cannot do the second step gets nothing");
    first_step();
    cr_expect_eq(second_step(code_at(now_s), NULL), NEXUS_OK, "%s", nexus_error_message());
    cr_expect_eq(second_step(code_at(now_s + 30), NULL), NEXUS_EAUTH, "a step is good for one login");
    cr_expect_eq(count_events("user.login"), 1);
    cr_expect_neq(nexus__slice_search(nexus__buf_slice(&events), NEXUS_S("\"method\":\"password+otp\"")), events.len);
}

Test(second_factor, row_67_a_code_is_good_once)
{
    enrol();
    nexus_slice code = code_at(now_s);
    char copy[7];
    snprintf(copy, sizeof copy, "%.6s", code.p);
    first_step();
    cr_expect_eq(second_step(nexus__slice_c(copy), NULL), NEXUS_OK);
    first_step();
    cr_expect_eq(second_step(nexus__slice_c(copy), NULL), NEXUS_EAUTH);
    now_s += 30;
    cr_expect_eq(second_step(code_at(now_s), NULL), NEXUS_OK);
}

Test(second_factor, row_67_guessing_ends_at_a_hundred)
{
    enrol();
    uint32_t wait;
    int judged = 0;
    for (int i = 0; i < 300; i++) {
        first_step();
        nexus_status status = second_step(NEXUS_S("-00000"), &wait);
        judged += status == NEXUS_EAUTH;
        now_s += status == NEXUS_ELIMIT && wait < 86400 ? wait : 0;
    }
    cr_expect_eq(judged, 100);
    first_step();
    cr_expect_eq(second_step(code_at(now_s), &wait), NEXUS_ELIMIT, "not even the right one");
    now_s += 7 * 86400;
    first_step();
    cr_expect_eq(second_step(code_at(now_s), &wait), NEXUS_ELIMIT, "nor later");
    cr_assert_eq(nexus_auth_change_user(auth, nexus__slice_c(ann), "unlock"), NEXUS_OK);
    first_step();
    cr_expect_eq(second_step(code_at(now_s), NULL), NEXUS_OK);
}

Test(second_factor, a_recovery_code_helps_once_and_opens_what_guessing_closed)
{
    enrol();
    uint32_t left;
    bool in_use;
    cr_assert_eq(nexus_db_exec(db, "UPDATE auth_totp SET failures = 100", NULL, 0, NULL), NEXUS_OK);
    first_step();
    cr_expect_eq(second_step(NEXUS_S("aaaaa-aaaaa-aaaaa-aaaaa"), NULL), NEXUS_EAUTH);
    char longer[40];
    snprintf(longer, sizeof longer, "%sa", recovery[0]);
    cr_expect_eq(second_step(nexus__slice_c(longer), NULL), NEXUS_EAUTH, "and it is not cut");
    cr_expect_eq(second_step(nexus__slice_c(recovery[0]), NULL), NEXUS_OK, "%s", nexus_error_message());
    first_step();
    cr_expect_eq(second_step(nexus__slice_c(recovery[0]), NULL), NEXUS_EAUTH);
    cr_expect_eq(second_step(code_at(now_s), NULL), NEXUS_OK, "the count is cleared");
    cr_assert_eq(nexus_auth_totp_state(auth, nexus__slice_c(ann), &in_use, &left), NEXUS_OK);
    cr_expect(in_use);
    cr_expect_eq(left, 9);
    nexus_rows *rows;
    cr_expect_eq(nexus_db_query_one(&rows, db, "SELECT 1 FROM auth_recovery WHERE hash = $1",
                                    (nexus_value[]){NEXUS_TEXT_C(recovery[1])}, 1),
                 NEXUS_ENOTFOUND, "stored as a hash");
}

Test(second_factor, a_begun_login_is_over_after_five_minutes_or_a_new_password)
{
    enrol();
    first_step();
    now_s += 300;
    cr_expect_eq(second_step(code_at(now_s), NULL), NEXUS_EAUTH);
    first_step();
    cr_assert_eq(nexus_auth_change_password(auth, nexus__slice_c(ann), GOOD, NEXUS_S("another password"), NULL, NULL), NEXUS_OK);
    cr_expect_eq(second_step(code_at(now_s), NULL), NEXUS_EAUTH);
    cr_expect_eq(nexus_auth_login_second(auth, NEXUS_S("x"), NEXUS_S("123456"), NULL, NULL, NULL), NEXUS_EAUTH);
}

Test(second_factor, the_seed_is_sealed_for_its_user)
{
    enrol();
    nexus_rows *rows;
    nexus_slice sealed;
    cr_assert_eq(nexus_db_query_one(&rows, db, "SELECT sealed FROM auth_totp", NULL, 0), NEXUS_OK);
    nexus_rows_text(rows, 0, &sealed);
    cr_expect_eq(strncmp(sealed.p, "nx1.", 4), 0);
    nexus_rows_free(rows);
}

Test(second_factor, ends_with_a_code_only)
{
    enrol();
    char *secret, *uri;
    nexus_slice id = nexus__slice_c(ann);
    cr_expect_eq(nexus_auth_totp_begin(auth, id, &secret, &uri), NEXUS_ECONFLICT);
    cr_expect_eq(nexus_auth_totp_end(auth, id, NEXUS_S("-00000"), NULL), NEXUS_EAUTH);
    cr_expect_eq(nexus_auth_totp_end(auth, id, code_at(now_s), NULL), NEXUS_OK, "%s", nexus_error_message());
    cr_expect_eq(login(MAIL, GOOD), NEXUS_OK);
    cr_expect_eq(nexus_auth_totp_end(auth, id, code_at(now_s + 30), NULL), NEXUS_ENOTFOUND);
}
