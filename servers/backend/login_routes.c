/* /api/v1/auth/login, /mfa, /session…, /refresh, /logout: ways to tokens and out again. */
#include <string.h>

#include "backend/private.h"
#include "backend/shapes.h"

static bool asks_for_session(nexus_json *body)
{
    bool session = false;
    (void)nexus_json_bool(body, nexus_json_get(body, NEXUS_JSON_ROOT, "session"), &session);
    return session;
}

static void put_grant(nexus_json_writer *w, const nexus_grant *grant)
{
    nexus_json_put_text_c(w, "access_token", nexus_grant_access_token(grant));
    nexus_json_put_text_c(w, "token_type", "Bearer");
    nexus_json_put_int(w, "expires_in", nexus_grant_expires_in(grant));
    if (*nexus_grant_refresh_token(grant))
        nexus_json_put_text_c(w, "refresh_token", nexus_grant_refresh_token(grant));
}

static void put_second_step(nexus_json_writer *w, const char *token)
{
    nexus_json_put_bool(w, "mfa_required", true);
    nexus_json_put_text_c(w, "mfa_token", token);
    nexus_json_put_int(w, "expires_in", 300);
    nexus_json_open_array(w, "methods");
    nexus_json_put_text_c(w, NULL, "totp");
    nexus_json_put_text_c(w, NULL, "recovery_code");
    nexus_json_close(w);
}

static void reply_login(backend *b, nexus_request *request, nexus_login *login)
{
    nexus_json_writer *w;
    const char *session = nexus_login_session(login);
    if (nexus_json_writer_new(&w) != NEXUS_OK) {
        reply_failure(b, request, NEXUS_ENOMEM);
    } else {
        (void)nexus_request_set_header(request, "Cache-Control", NEXUS_S("no-store"));
        set_device(b, request, nexus_login_device(login));
        nexus_json_open_object(w, NULL);
        if (nexus_login_grant(login))
            put_grant(w, nexus_login_grant(login));
        else
            put_second_step(w, nexus_login_second_step(login));
        if (session)
            nexus_json_put_text_c(w, "session", session);
        nexus_json_close(w);
        reply_json(request, 200, w);
    }
    nexus_login_free(login);
}

static void do_login(backend *b, nexus_request *request, nexus_json *body)
{
    nexus_login *login;
    nexus_auth_client client;
    uint32_t wait;
    if (!password_fits(request, body, "password"))
        return;
    client_of(request, &client);
    client.session = asks_for_session(body);
    nexus_status status =
        nexus_auth_login_from(b->auth, member(body, "email"), member(body, "password"), &client, &login, &wait);
    if (status == NEXUS_OK)
        reply_login(b, request, login);
    else if (status == NEXUS_EAUTH) {
        audit_denied(b, request, "user.login", member(body, "email"));
        nexus_request_problem_text(request, 401, "credentials-wrong", "The address or the password is wrong.");
    }
    else
        refuse_account(b, request, status, wait);
}

static void do_mfa(backend *b, nexus_request *request, nexus_json *body)
{
    nexus_login *login;
    nexus_auth_client client;
    uint32_t wait;
    client_of(request, &client);
    client.session = asks_for_session(body);
    nexus_status status =
        nexus_auth_login_second(b->auth, member(body, "mfa_token"), member(body, "code"), &client, &login, &wait);
    if (status == NEXUS_OK)
        reply_login(b, request, login);
    else if (status == NEXUS_EAUTH || status == NEXUS_ENOTFOUND)
        nexus_request_problem_text(request, 401, "code-wrong",
                                   "The code is wrong or was used before, or the login was begun too long ago.");
    else
        refuse_account(b, request, status, wait);
}

static void do_session(backend *b, nexus_request *request, nexus_json *body)
{
    nexus_login *login;
    nexus_status status = nexus_auth_session_use(b->auth, member(body, "session"), &login);
    if (status == NEXUS_OK)
        reply_login(b, request, login);
    else if (status == NEXUS_EAUTH)
        nexus_request_problem_text(request, 401, "session-over", "The session is over; log in again.");
    else
        refuse_account(b, request, status, 0);
}

static void do_session_end(backend *b, nexus_request *request, nexus_json *body)
{
    nexus_status status = nexus_auth_session_end(b->auth, member(body, "session"));
    if (status == NEXUS_OK)
        nexus_request_reply(request, 204, NULL, (nexus_slice){0});
    else
        refuse_account(b, request, status, 0);
}

static void do_refresh(backend *b, nexus_request *request, nexus_json *body)
{
    nexus_grant *grant;
    nexus_json_writer *w;
    nexus_status status = nexus_auth_refresh(b->auth, member(body, "refresh_token"), &grant);
    if (status == NEXUS_EAUTH) {
        nexus_request_problem_text(request, 401, "invalid-grant", "The refresh token is not valid; log in again.");
        return;
    }
    if (status != NEXUS_OK) {
        refuse_account(b, request, status, 0);
        return;
    }
    if (nexus_json_writer_new(&w) == NEXUS_OK) {
        (void)nexus_request_set_header(request, "Cache-Control", NEXUS_S("no-store"));
        nexus_json_open_object(w, NULL);
        put_grant(w, grant);
        nexus_json_close(w);
        reply_json(request, 200, w);
    } else {
        reply_failure(b, request, NEXUS_ENOMEM);
    }
    nexus_grant_free(grant);
}

static void do_logout(backend *b, nexus_request *request, nexus_json *body)
{
    nexus_status status = nexus_auth_logout(b->auth, member(body, "refresh_token"));
    if (status == NEXUS_OK)
        nexus_request_reply(request, 204, NULL, (nexus_slice){0});
    else
        refuse_account(b, request, status, 0);
}

HASHING_HANDLER(login)
ACCOUNT_HANDLER(mfa)
ACCOUNT_HANDLER(session)
ACCOUNT_HANDLER(session_end)
ACCOUNT_HANDLER(refresh)
ACCOUNT_HANDLER(logout)

#define TOKENS                                                                                                         \
    OBJECT("\"access_token\",\"token_type\",\"expires_in\"",                                                           \
           "\"access_token\":{\"type\":\"string\"},\"token_type\":{\"const\":\"Bearer\"},"                             \
           "\"expires_in\":{\"type\":\"integer\"},\"refresh_token\":{\"type\":\"string\"},"                            \
           "\"session\":{\"type\":\"string\"}")
#define LOGIN                                                                                                          \
    "{\"oneOf\":[" TOKENS "," OBJECT("\"mfa_required\",\"mfa_token\",\"expires_in\",\"methods\"",                      \
                                     "\"mfa_required\":{\"const\":true},\"mfa_token\":{\"type\":\"string\"},"          \
                                     "\"expires_in\":{\"type\":\"integer\"},\"methods\":{\"type\":\"array\","          \
                                     "\"items\":{\"type\":\"string\"}}") "]}"
#define SESSION_WISH "\"session\":{\"type\":\"boolean\"}"

REPLIES(logged_in, 200, "Tokens, or what the second step needs.", LOGIN);
REPLIES(granted, 200, "Tokens.", TOKENS);
REPLIES(done, 204, "Done.", NULL);

nexus_status login_routes(backend *b)
{
    nexus_route rows[] = {
        HASHING_POST("/api/v1/auth/login", login, "login",
                     "Trades address and password for tokens or, with \"session\", for a session.",
                     OBJECT("\"email\",\"password\"",
                            EMAIL ",\"password\":{\"type\":\"string\",\"minLength\":1}," SESSION_WISH),
                     logged_in),
        PUBLIC_POST("/api/v1/auth/mfa", mfa, "loginSecondStep", "Finishes a login with a code.",
                    OBJECT("\"mfa_token\",\"code\"", TOKEN("mfa_token") "," CODE "," SESSION_WISH), granted),
        PUBLIC_POST("/api/v1/auth/session", session, "useSession",
                    "Gives an access token for a session; \"session\" in the answer is its new id.",
                    OBJECT("\"session\"", TOKEN("session")), granted),
        PUBLIC_POST("/api/v1/auth/session/end", session_end, "endSession", "Ends a session.",
                    OBJECT("\"session\"", TOKEN("session")), done),
        PUBLIC_POST("/api/v1/auth/refresh", refresh, "refreshToken", "Trades a refresh token for the next pair.",
                    OBJECT("\"refresh_token\"", TOKEN("refresh_token")), granted),
        PUBLIC_POST("/api/v1/auth/logout", logout, "logout", "Ends the session of a refresh token.",
                    OBJECT("\"refresh_token\"", TOKEN("refresh_token")), done),
    };
    return add_rows(b, rows, sizeof rows / sizeof rows[0]);
}
