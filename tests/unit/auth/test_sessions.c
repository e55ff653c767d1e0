/* Sessions of browsers. */
#include "world.h"

TestSuite(sessions, .init = set_up, .fini = tear_down);

static const nexus_auth_client browser = {
    .size = sizeof browser, .session = true, .address = {"192.0.2.7", 9}, .agent = {"Firefox/1 \x1b[31m", 15}};

static char id[NEXUS__TOKEN_TEXT];

static void sign_in(void)
{
    nexus_login *l;
    cr_assert_eq(nexus_auth_login_from(auth, MAIL, GOOD, &browser, &l, NULL), NEXUS_OK, "%s", nexus_error_message());
    cr_assert(nexus_login_session(l));
    cr_expect_str_empty(nexus_grant_refresh_token(nexus_login_grant(l)));
    snprintf(id, sizeof id, "%s", nexus_login_session(l));
    nexus_login_free(l);
}

/* Uses a session; what it is called from now on is in `id`. */
static nexus_status use(const char *session)
{
    nexus_login *l;
    nexus_status status = nexus_auth_session_use(auth, nexus__slice_c(session), &l);
    if (status != NEXUS_OK)
        return status;
    cr_expect(nexus_grant_access_token(nexus_login_grant(l)));
    if (nexus_login_session(l))
        snprintf(id, sizeof id, "%s", nexus_login_session(l));
    nexus_login_free(l);
    return NEXUS_OK;
}

static char *ann_id(void)
{
    nexus_user *user;
    cr_assert_eq(nexus_auth_user_by_email(auth, MAIL, &user), NEXUS_OK);
    char *copy = nexus__strndup(NULL, nexus__slice_c(nexus_user_id(user)));
    nexus_user_free(user);
    return copy;
}

Test(sessions, is_stored_as_a_hash_only)
{
    register_ann();
    sign_in();
    nexus_rows *rows;
    cr_expect_eq(nexus_db_query_one(&rows, db, "SELECT 1 FROM auth_sessions WHERE hash = $1 OR id = $1 OR previous = $1",
                                    (nexus_value[]){NEXUS_TEXT_C(id)}, 1),
                 NEXUS_ENOTFOUND);
    cr_expect_eq(strlen(id), 43);
}

Test(sessions, ends_when_it_rests_for_half_an_hour)
{
    register_ann();
    sign_in();
    for (int i = 0; i < 4; i++) {
        now_s += 1799;
        cr_expect_eq(use(id), NEXUS_OK, "used every half hour it goes on");
    }
    now_s += 1800;
    cr_expect_eq(use(id), NEXUS_EAUTH);
}

Test(sessions, ends_after_twelve_hours_however_busy)
{
    register_ann();
    sign_in();
    for (int i = 0; i < 47; i++) {
        now_s += 900;
        cr_expect_eq(use(id), NEXUS_OK);
    }
    now_s += 900;
    cr_expect_eq(use(id), NEXUS_EAUTH);
}

Test(sessions, row_66_a_login_makes_a_new_id_and_logout_ends_it)
{
    register_ann();
    sign_in();
    char first[NEXUS__TOKEN_TEXT];
    memcpy(first, id, sizeof first);
    sign_in();
    cr_expect_str_neq(first, id);
    cr_assert_eq(nexus_auth_session_end(auth, nexus__slice_c(id)), NEXUS_OK);
    cr_expect_eq(use(id), NEXUS_EAUTH);
    cr_expect_eq(use(first), NEXUS_OK, "the other one goes on");
    cr_expect_eq(nexus_auth_session_end(auth, nexus__slice_c(id)), NEXUS_OK, "twice is fine");
    cr_expect_eq(count_events("auth.revoked"), 1);
    cr_expect_eq(use("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), NEXUS_EAUTH);
    cr_expect_eq(use(""), NEXUS_EAUTH);
}

Test(sessions, row_66_all_end_with_the_password)
{
    register_ann();
    sign_in();
    nexus_grant *tokens = ann_in(), *next;
    char *user = ann_id();
    nexus_slice who = nexus__slice_c(user);
    cr_expect_eq(nexus_auth_change_password(auth, who, NEXUS_S("not this one"), NEXUS_S("another password"), NULL, NULL),
                 NEXUS_EAUTH);
    cr_expect_eq(use(id), NEXUS_OK);
    cr_assert_eq(nexus_auth_change_password(auth, who, GOOD, NEXUS_S("another password"), NULL, NULL), NEXUS_OK, "%s",
                 nexus_error_message());
    cr_expect_eq(use(id), NEXUS_EAUTH);
    cr_expect_eq(nexus_auth_refresh(auth, refresh_of(tokens), &next), NEXUS_EAUTH);
    cr_expect_eq(login(MAIL, NEXUS_S("another password")), NEXUS_OK);
    nexus_grant_free(tokens);
    nexus_free(user);
}

Test(sessions, gets_a_new_id_when_roles_change)
{
    register_ann();
    sign_in();
    char old[NEXUS__TOKEN_TEXT], *user = ann_id();
    memcpy(old, id, sizeof old);
    cr_assert_eq(use(id), NEXUS_OK);
    cr_expect_str_eq(old, id);
    cr_assert_eq(nexus_auth_set_role(auth, nexus__slice_c(user), "operator", true), NEXUS_OK);
    cr_assert_eq(use(id), NEXUS_OK);
    cr_expect_str_neq(old, id);
    cr_expect_eq(use(old), NEXUS_OK, "for requests under way");
    now_s += 11;
    cr_expect_eq(use(old), NEXUS_EAUTH);
    cr_expect_eq(use(id), NEXUS_OK);
    nexus_free(user);
}

Test(sessions, are_listed_and_revoked_one_by_one)
{
    register_ann();
    sign_in();
    nexus_grant *tokens = ann_in(), *next;
    char *user = ann_id(), *json, sid[NEXUS__UUID_LEN + 1];
    size_t n;
    nexus_slice who = nexus__slice_c(user);
    cr_assert_eq(nexus_auth_sessions(auth, who, NEXUS_S(""), &json, &n), NEXUS_OK, "%s", nexus_error_message());
    cr_expect(strstr(json, "\"kind\":\"browser\"") && strstr(json, "\"kind\":\"token\""), "%s", json);
    cr_expect(strstr(json, "192.0.2.7") && strstr(json, "Firefox/1 ") && !strstr(json, "[31m"), "%s", json);
    snprintf(sid, sizeof sid, "%.36s", strstr(json, "\"id\":\"") + 6);
    nexus_free(json);
    cr_expect_eq(nexus_auth_session_revoke(auth, NEXUS_S("nobody"), nexus__slice_c(sid)), NEXUS_ENOTFOUND);
    cr_expect_eq(use(id), NEXUS_OK);
    cr_assert_eq(nexus_auth_session_revoke(auth, who, nexus__slice_c(sid)), NEXUS_OK);
    cr_expect_eq(nexus_auth_session_revoke(auth, who, nexus__slice_c(sid)), NEXUS_ENOTFOUND);
    cr_expect_eq(use(id), NEXUS_EAUTH);
    cr_assert_eq(nexus_auth_sessions(auth, who, NEXUS_S(""), &json, &n), NEXUS_OK);
    cr_expect(!strstr(json, "browser"), "%s", json);
    snprintf(sid, sizeof sid, "%.36s", strstr(json, "\"id\":\"") + 6);
    nexus_free(json);
    cr_assert_eq(nexus_auth_session_revoke(auth, who, nexus__slice_c(sid)), NEXUS_OK);
    cr_expect_eq(nexus_auth_refresh(auth, refresh_of(tokens), &next), NEXUS_EAUTH);
    nexus_grant_free(tokens);
    nexus_free(user);
}
