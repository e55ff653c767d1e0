/* One choke point: every way in against every state of an account, and what administrators do to accounts. */
#include "world.h"

TestSuite(gate, .init = set_up, .fini = tear_down);

/* What was handed out while all was well; redeemed when it is not. */
static struct {
    nexus_grant *grant;
    char *reset;
    nexus_login *session, *second;
} held;

static const nexus_auth_client browser = {.size = sizeof browser, .session = true};

static void drop_held(void)
{
    nexus_grant_free(held.grant);
    nexus_free(held.reset);
    nexus_login_free(held.session);
    nexus_login_free(held.second);
    memset(&held, 0, sizeof held);
}

/* A second step that is open, without an authenticator: the row is what a begun login leaves behind. */
static void begin_second_step(void)
{
    nexus_user *user;
    char *secret, *uri;
    cr_assert_eq(nexus_auth_user_by_email(auth, MAIL, &user), NEXUS_OK);
    nexus_slice id = nexus__slice_c(nexus_user_id(user));
    cr_assert_eq(nexus_auth_totp_begin(auth, id, &secret, &uri), NEXUS_OK, "%s", nexus_error_message());
    cr_assert_eq(nexus_db_exec(db, "UPDATE auth_totp SET confirmed = 1", NULL, 0, NULL), NEXUS_OK);
    cr_assert_eq(nexus_auth_login_from(auth, MAIL, GOOD, &browser, &held.second, NULL), NEXUS_OK);
    cr_assert_null(nexus_login_grant(held.second));
    cr_assert_eq(nexus_db_exec(db, "DELETE FROM auth_totp", NULL, 0, NULL), NEXUS_OK);
    nexus_user_free(user);
    nexus_free(secret);
    nexus_free(uri);
}

static void hold_everything(void)
{
    nexus_user *user;
    begin_second_step();
    held.grant = ann_in();
    cr_assert_eq(nexus_auth_reset_begin(auth, MAIL, &held.reset, &user), NEXUS_OK, "%s", nexus_error_message());
    nexus_user_free(user);
    cr_assert_eq(nexus_auth_login_from(auth, MAIL, GOOD, &browser, &held.session, NULL), NEXUS_OK);
}

static nexus_status by_password(void)
{
    return login(MAIL, GOOD);
}

static nexus_status by_session_login(void)
{
    nexus_login *l = NULL;
    nexus_status status = nexus_auth_login_from(auth, MAIL, GOOD, &browser, &l, NULL);
    nexus_login_free(l);
    return status;
}

static nexus_status by_second_step(void)
{
    nexus_login *l = NULL;
    nexus_slice step = nexus__slice_c(nexus_login_second_step(held.second));
    nexus_status status = nexus_auth_login_second(auth, step, NEXUS_S("123456"), &browser, &l, NULL);
    nexus_login_free(l);
    return status == NEXUS_ENOTFOUND ? NEXUS_OK : status; /* the step is good, only its seed is gone */
}

static nexus_status by_refresh(void)
{
    nexus_grant *g = NULL;
    nexus_status status = nexus_auth_refresh(auth, refresh_of(held.grant), &g);
    nexus_grant_free(g);
    return status;
}

static nexus_status by_session(void)
{
    nexus_login *l = NULL;
    nexus_status status = nexus_auth_session_use(auth, nexus__slice_c(nexus_login_session(held.session)), &l);
    nexus_login_free(l);
    return status;
}

static nexus_status by_session_page(void)
{
    nexus_user *user = NULL;
    nexus_status status = nexus_auth_session_user(auth, nexus__slice_c(nexus_login_session(held.session)), &user);
    nexus_user_free(user);
    return status;
}

static nexus_status by_reset(void)
{
    return nexus_auth_reset_confirm(auth, nexus__slice_c(held.reset), NEXUS_S("another password"));
}

static nexus_status by_old_password(void)
{
    nexus_user *user;
    cr_assert_eq(nexus__user_load(&user, db, "name", NEXUS_S("Ann")), NEXUS_OK);
    nexus_status status = nexus_auth_change_password(auth, nexus__slice_c(nexus_user_id(user)), GOOD,
                                                     NEXUS_S("another password"), NULL, NULL);
    nexus_user_free(user);
    return status;
}

static const struct {
    const char *name;
    nexus_status (*redeem)(void);
    bool is_reset;
} grants[] = {
    {"login", by_password, false},          {"login to a session", by_session_login, false},
    {"second step", by_second_step, false}, {"refresh", by_refresh, false},
    {"session", by_session, false},         {"session, for a page", by_session_page, false},
    {"reset", by_reset, true},              {"password change", by_old_password, false},
};

/* The flags alone, so that it is the gate that refuses and not what else an administrator's change takes away. */
static const struct {
    const char *name, *sql;
    bool resets; /* may get a new password by mail */
} states[] = {
    {"disabled", "UPDATE auth_users SET disabled = 1", false},
    {"locked", "UPDATE auth_users SET locked = 1", false},
    {"deleted", "UPDATE auth_users SET deleted_at = 1", false},
    {"unverified", "UPDATE auth_users SET unverified = 1", false},
    {"password-reset", "UPDATE auth_users SET must_reset = 1", true},
};

#define COUNT(x) (sizeof(x) / sizeof(x)[0])

static void start_over(void)
{
    static const char *const tables[] = {"auth_second_steps", "auth_sessions", "auth_resets", "auth_devices", "auth_attempts"};
    char sql[96];
    for (size_t i = 0; i < COUNT(tables); i++) {
        snprintf(sql, sizeof sql, "DELETE FROM %s", tables[i]);
        cr_assert_eq(nexus_db_exec(db, sql, NULL, 0, NULL), NEXUS_OK);
    }
    cr_assert_eq(nexus_db_exec(db,
                               "UPDATE auth_users SET disabled = 0, locked = 0, deleted_at = NULL, unverified = 0,"
                               " must_reset = 0",
                               NULL, 0, NULL),
                 NEXUS_OK);
    drop_held();
    now_s += 3600; /* mails are limited, too */
}

Test(gate, every_grant_opens_for_an_active_account)
{
    register_ann();
    for (size_t g = 0; g < COUNT(grants); g++) {
        hold_everything();
        cr_expect_eq(grants[g].redeem(), NEXUS_OK, "%s: %s", grants[g].name, nexus_error_message());
        if (grants[g].is_reset || grants[g].redeem == by_old_password) {
            now_s += 1;
            char hash[NEXUS__PASSWORD_HASH_MAX];
            cr_assert_eq(nexus__password_hash(&auth->cost, GOOD, hash), NEXUS_OK);
            cr_assert_eq(nexus_db_exec(db, "UPDATE auth_users SET password = $1", (nexus_value[]){NEXUS_TEXT_C(hash)}, 1, NULL),
                         NEXUS_OK);
        }
        start_over();
    }
}

Test(gate, no_grant_opens_for_an_account_in_another_state)
{
    register_ann();
    for (size_t s = 0; s < COUNT(states); s++) {
        for (size_t g = 0; g < COUNT(grants); g++) {
            hold_everything();
            cr_assert_eq(nexus_db_exec(db, states[s].sql, NULL, 0, NULL), NEXUS_OK);
            nexus_user *user;
            cr_assert_eq(nexus_auth_user_by_email(auth, MAIL, &user), NEXUS_OK);
            cr_expect_str_eq(nexus_user_state(user), states[s].name);
            nexus_user_free(user);
            if (!(grants[g].is_reset && states[s].resets))
                cr_expect_eq(grants[g].redeem(), NEXUS_EAUTH, "%s while %s", grants[g].name, states[s].name);
            start_over();
        }
    }
}

Test(gate, a_required_reset_is_over_with_the_new_password)
{
    register_ann();
    nexus_user *user;
    char *token;
    cr_assert_eq(nexus_auth_user_by_email(auth, MAIL, &user), NEXUS_OK);
    cr_assert_eq(nexus_auth_change_user(auth, nexus__slice_c(nexus_user_id(user)), "require-reset"), NEXUS_OK);
    nexus_user_free(user);
    cr_expect_eq(login(MAIL, GOOD), NEXUS_EAUTH);
    cr_assert_eq(nexus_auth_reset_begin(auth, MAIL, &token, &user), NEXUS_OK);
    cr_expect_eq(nexus_auth_reset_confirm(auth, nexus__slice_c(token), NEXUS_S("another password")), NEXUS_OK);
    cr_expect_eq(login(MAIL, NEXUS_S("another password")), NEXUS_OK);
    nexus_user_free(user);
    nexus_free(token);
}

/* --- administrators ---------------------------------------------------------------------------------------------------- */

static void change(const char *what, nexus_status wanted)
{
    nexus_user *user;
    cr_assert_eq(nexus__user_load(&user, db, "name", NEXUS_S("Ann")), NEXUS_OK);
    cr_expect_eq(nexus_auth_change_user(auth, nexus__slice_c(nexus_user_id(user)), what), wanted, "%s: %s", what,
                 nexus_error_message());
    nexus_user_free(user);
}

Test(gate, each_change_of_an_administrator_does_what_it_says)
{
    static const struct {
        const char *change, *back;
        nexus_status then;
    } rows[] = {{"disable", "enable", NEXUS_EAUTH},
                {"lock", "unlock", NEXUS_EAUTH},
                {"sign-out", NULL, NEXUS_OK},
                {"drop-second-factor", NULL, NEXUS_OK}};
    register_ann();
    for (size_t i = 0; i < COUNT(rows); i++) {
        hold_everything();
        nexus__buf_clear(&events);
        change(rows[i].change, NEXUS_OK);
        cr_expect_eq(count_events("auth.revoked"), 1, "%s", rows[i].change);
        cr_expect_eq(count_events("user.changed"), 1, "%s", rows[i].change);
        cr_expect_eq(login(MAIL, GOOD), rows[i].then, "%s", rows[i].change);
        if (rows[i].back)
            change(rows[i].back, NEXUS_OK);
        cr_expect_eq(by_refresh(), NEXUS_EAUTH, "what he had is void after %s", rows[i].change);
        cr_expect_eq(by_session(), NEXUS_EAUTH);
        cr_expect_eq(by_second_step(), NEXUS_EAUTH);
        cr_expect_eq(login(MAIL, GOOD), NEXUS_OK, "%s", rows[i].change);
        start_over();
    }
    change("promote", NEXUS_EINVAL);
}

Test(gate, a_deleted_account_keeps_its_id_and_nothing_of_the_person)
{
    register_ann();
    nexus_user *user, *again;
    cr_assert_eq(nexus_auth_user_by_email(auth, MAIL, &user), NEXUS_OK);
    nexus_slice id = nexus__slice_c(nexus_user_id(user));
    change("delete", NEXUS_OK);
    cr_expect_eq(login(MAIL, GOOD), NEXUS_EAUTH);
    cr_expect_eq(nexus_auth_change_user(auth, id, "enable"), NEXUS_ENOTFOUND);
    cr_expect_eq(nexus_auth_set_role(auth, id, "admin", true), NEXUS_ENOTFOUND);
    cr_assert_eq(nexus_auth_user(auth, id, &again), NEXUS_OK);
    cr_expect_str_eq(nexus_user_state(again), "deleted");
    cr_expect_str_empty(nexus_user_email(again));
    cr_expect_str_empty(nexus_user_name(again));
    nexus_user_free(again);
    nexus_user_free(user);
    register_ann(); /* the address is free */
    cr_expect_eq(login(MAIL, GOOD), NEXUS_OK);
}

/* Row 56: the tokens of before are void at once, and those of a second later are not, although both say the same second. */
Test(gate, row_56_what_was_issued_before_is_void_and_what_comes_after_is_not)
{
    register_ann();
    nexus_grant *before = ann_in();
    nexus_keyset *keys;
    nexus_verifier *v;
    nexus_principal *p;
    nexus_verifier_opts opts = NEXUS_VERIFIER_OPTS_INIT;
    cr_assert_eq(nexus_auth_keyset(auth, &keys), NEXUS_OK);
    opts.issuer = "https://id.example", opts.keys = keys, opts.now_fn = test_now;
    cr_assert_eq(nexus_verifier_open(&v, &opts), NEXUS_OK);
    nexus_slice id = nexus__slice_c(nexus_grant_user_id(before));
    const char *token = nexus_grant_access_token(before);
    cr_assert_eq(nexus_verifier_check(v, token, strlen(token), &p), NEXUS_OK);
    nexus_principal_free(p);
    change("disable", NEXUS_OK);
    change("enable", NEXUS_OK);
    nexus_grant *after = ann_in();
    cr_assert_eq(nexus_verifier_revoke_subject(v, id, now_s + 1), NEXUS_OK); /* as the event says */
    cr_expect_neq(nexus__slice_search(nexus__buf_slice(&events), NEXUS_S("\"issued_before\":1800000001")), events.len);
    cr_expect_eq(nexus_verifier_check(v, token, strlen(token), &p), NEXUS_EAUTH);
    token = nexus_grant_access_token(after);
    cr_assert_eq(nexus_verifier_check(v, token, strlen(token), &p), NEXUS_OK, "%s", nexus_error_message());
    nexus_principal_free(p);
    nexus_verifier_close(v);
    nexus_keyset_free(keys);
    nexus_grant_free(before), nexus_grant_free(after);
}

Test(gate, users_are_listed_in_pages_by_address_and_by_state)
{
    char email[32], *json;
    size_t n;
    nexus_user *user;
    for (int i = 0; i < 5; i++) {
        snprintf(email, sizeof email, "u%d@example.com", i);
        cr_assert_eq(nexus_auth_register(auth, nexus__slice_c(email), GOOD, NEXUS_S("Ann"), &user), NEXUS_OK);
        if (i == 2)
            cr_assert_eq(nexus_auth_change_user(auth, nexus__slice_c(nexus_user_id(user)), "lock"), NEXUS_OK);
        nexus_user_free(user);
    }
    nexus_user_filter f = NEXUS_USER_FILTER_INIT;
    f.limit = 3;
    cr_assert_eq(nexus_auth_users(auth, &f, &json, &n), NEXUS_OK, "%s", nexus_error_message());
    cr_expect(strstr(json, "u4@") && strstr(json, "u2@") && !strstr(json, "u1@"), "%s", json);
    char *cursor = strstr(json, "\"next_cursor\":\"");
    cr_assert(cursor, "%s", json);
    f.cursor = nexus__slice(cursor + 15, 36);
    char *next;
    cr_assert_eq(nexus_auth_users(auth, &f, &next, &n), NEXUS_OK);
    cr_expect(strstr(next, "u1@") && strstr(next, "u0@") && strstr(next, "\"next_cursor\":null"), "%s", next);
    nexus_free(json), nexus_free(next);
    f = (nexus_user_filter){.size = sizeof f, .email = NEXUS_S("U3@example.com")};
    cr_assert_eq(nexus_auth_users(auth, &f, &json, &n), NEXUS_OK);
    cr_expect(strstr(json, "u3@") && !strstr(json, "u4@"), "%s", json);
    nexus_free(json);
    f = (nexus_user_filter){.size = sizeof f, .state = NEXUS_S("locked")};
    cr_assert_eq(nexus_auth_users(auth, &f, &json, &n), NEXUS_OK);
    cr_expect(strstr(json, "u2@") && !strstr(json, "u4@") && strstr(json, "\"state\":\"locked\""), "%s", json);
    nexus_free(json);
}
