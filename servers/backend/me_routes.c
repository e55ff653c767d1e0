/* /api/v1/users/me/…: what people do with their own accounts. */
#include <stdlib.h>
#include <string.h>

#include "backend/private.h"
#include "backend/shapes.h"

static nexus_slice caller(const nexus_request *request)
{
    nexus_slice subject = {"", 0};
    (void)nexus_service_subject(request, &subject);
    return subject;
}

static void reply_done(backend *b, nexus_request *request, nexus_status status, uint32_t wait_s)
{
    if (status == NEXUS_OK)
        nexus_request_reply(request, 204, NULL, (nexus_slice){0});
    else if (status == NEXUS_ENOTFOUND)
        nexus_request_problem_text(request, 404, "not-found", "There is nothing of that kind.");
    else
        refuse_account(b, request, status, wait_s);
}

/* --- password ------------------------------------------------------------------------------------------------------------ */

static void do_password(backend *b, nexus_request *request, nexus_json *body)
{
    nexus_auth_client client;
    uint32_t wait;
    if (!password_fits(request, body, "old_password") || !password_fits(request, body, "password"))
        return;
    client_of(request, &client);
    nexus_status status = nexus_auth_change_password(b->auth, caller(request), member(body, "old_password"),
                                                     member(body, "password"), &client, &wait);
    if (status == NEXUS_EAUTH)
        nexus_request_problem_text(request, 403, "credentials-wrong", "The old password is wrong.");
    else
        reply_done(b, request, status, wait);
}

/* --- sessions ------------------------------------------------------------------------------------------------------------ */

static void list_sessions(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    nexus_slice sid = {"", 0};
    char *items;
    size_t n;
    nexus_json_writer *w;
    (void)nexus_service_claim(request, "sid", &sid);
    nexus_status status = nexus_auth_sessions(b->auth, caller(request), sid, &items, &n);
    if (status == NEXUS_OK && (status = nexus_json_writer_new(&w)) == NEXUS_OK) {
        nexus_json_open_object(w, NULL);
        nexus_json_put_raw(w, "items", (nexus_slice){items, n});
        nexus_json_close(w);
        reply_json(request, 200, w);
        nexus_free(items);
    } else {
        reply_failure(b, request, status);
    }
}

static void end_session(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    nexus_slice id = {"", 0};
    nexus_request_param(request, "id", &id);
    current_request = request;
    nexus_status status = nexus_auth_session_revoke(b->auth, caller(request), id);
    current_request = NULL;
    nexus_outbox_relay_wake(b->relay);
    reply_done(b, request, status, 0);
}

static void end_sessions(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    current_request = request;
    nexus_status status = nexus_auth_change_user(b->auth, caller(request), "sign-out");
    current_request = NULL;
    nexus_outbox_relay_wake(b->relay);
    reply_done(b, request, status, 0);
}

/* --- second factor --------------------------------------------------------------------------------------------------------- */

static void reply_factor(backend *b, nexus_request *request, nexus_status status)
{
    if (status == NEXUS_ECONFLICT)
        nexus_request_problem_text(request, 409, "in-use", "There is a second factor already; end it first.");
    else if (status == NEXUS_EAUTH)
        nexus_request_problem_text(request, 403, "code-wrong", "The code is wrong, or was used before.");
    else if (status == NEXUS_ENOTFOUND)
        nexus_request_problem_text(request, 404, "not-found", "There is no second factor.");
    else
        refuse_account(b, request, status, 0);
}

static void show_totp(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    bool in_use;
    uint32_t left;
    nexus_json_writer *w;
    nexus_status status = nexus_auth_totp_state(b->auth, caller(request), &in_use, &left);
    if (status != NEXUS_OK || (status = nexus_json_writer_new(&w)) != NEXUS_OK) {
        reply_failure(b, request, status);
        return;
    }
    nexus_json_open_object(w, NULL);
    nexus_json_put_bool(w, "in_use", in_use);
    nexus_json_put_int(w, "recovery_codes", left);
    nexus_json_close(w);
    reply_json(request, 200, w);
}

/* The password once more: a token that somebody left behind must not be enough to lock its owner out. */
static void do_totp(backend *b, nexus_request *request, nexus_json *body)
{
    nexus_auth_client client;
    char *secret, *uri;
    uint32_t wait;
    nexus_json_writer *w;
    if (!password_fits(request, body, "password"))
        return;
    client_of(request, &client);
    nexus_status status = nexus_auth_check_password(b->auth, caller(request), member(body, "password"), &client, &wait);
    if (status == NEXUS_EAUTH || status == NEXUS_ELIMIT) {
        if (status == NEXUS_EAUTH)
            nexus_request_problem_text(request, 403, "credentials-wrong", "The password is wrong.");
        else
            refuse_account(b, request, status, wait);
        return;
    }
    if (status == NEXUS_OK)
        status = nexus_auth_totp_begin(b->auth, caller(request), &secret, &uri);
    if (status != NEXUS_OK) {
        reply_factor(b, request, status);
        return;
    }
    if (nexus_json_writer_new(&w) == NEXUS_OK) {
        (void)nexus_request_set_header(request, "Cache-Control", NEXUS_S("no-store"));
        nexus_json_open_object(w, NULL);
        nexus_json_put_text_c(w, "secret", secret);
        nexus_json_put_text_c(w, "uri", uri);
        nexus_json_close(w);
        reply_json(request, 201, w);
    } else {
        reply_failure(b, request, NEXUS_ENOMEM);
    }
    nexus_free_wiped(secret, strlen(secret));
    nexus_free_wiped(uri, strlen(uri));
}

static void do_totp_confirm(backend *b, nexus_request *request, nexus_json *body)
{
    char *codes;
    nexus_json_writer *w;
    nexus_status status = nexus_auth_totp_confirm(b->auth, caller(request), member(body, "code"), &codes);
    if (status != NEXUS_OK) {
        reply_factor(b, request, status);
        return;
    }
    if (nexus_json_writer_new(&w) == NEXUS_OK) {
        (void)nexus_request_set_header(request, "Cache-Control", NEXUS_S("no-store"));
        nexus_json_open_object(w, NULL);
        nexus_json_put_raw(w, "recovery_codes", (nexus_slice){codes, strlen(codes)});
        nexus_json_close(w);
        reply_json(request, 200, w);
    } else {
        reply_failure(b, request, NEXUS_ENOMEM);
    }
    nexus_free_wiped(codes, strlen(codes));
}

static void do_totp_end(backend *b, nexus_request *request, nexus_json *body)
{
    uint32_t wait;
    nexus_status status = nexus_auth_totp_end(b->auth, caller(request), member(body, "code"), &wait);
    if (status == NEXUS_OK || status == NEXUS_ELIMIT)
        reply_done(b, request, status, wait);
    else
        reply_factor(b, request, status);
}

HASHING_HANDLER(password)
HASHING_HANDLER(totp)
ACCOUNT_HANDLER(totp_confirm)
ACCOUNT_HANDLER(totp_end)

/* --- rows -------------------------------------------------------------------------------------------------------------------- */

#define TEXTS "{\"type\":\"array\",\"items\":{\"type\":\"string\"}}"
REPLIES(done, 204, "Done.", NULL);
REPLIES(listed, 200, "Where you are logged in.", "{\"type\":\"object\"}");
REPLIES(shown, 200, "Whether it is in use.",
        OBJECT("\"in_use\",\"recovery_codes\"",
               "\"in_use\":{\"type\":\"boolean\"},\"recovery_codes\":{\"type\":\"integer\"}"));
REPLIES(begun, 201, "The seed for an authenticator; it counts once it is confirmed.",
        OBJECT("\"secret\",\"uri\"", "\"secret\":{\"type\":\"string\"},\"uri\":{\"type\":\"string\"}"));
REPLIES(confirmed, 200, "Codes for the day when the authenticator is lost; shown this once.",
        OBJECT("\"recovery_codes\"", "\"recovery_codes\":" TEXTS));
static const nexus_param id_param[] = {{"id", "path", NULL, "The session.", true}};

#define MY_POST(path_, handler_, id_, summary_, schema_, replies_, flags_)                                             \
    POST_ROW(path_, handler_, id_, summary_, "users", NULL, schema_, replies_, flags_)

nexus_status me_routes(backend *b)
{
    nexus_route rows[] = {
        MY_POST("/api/v1/users/me/password", password, "changeMyPassword",
                "Sets a new password; everything you have is signed out.",
                OBJECT("\"old_password\",\"password\"",
                       "\"old_password\":{\"type\":\"string\",\"minLength\":1}," PASSWORD),
                done, NEXUS_ROUTE_ON_LOOP),
        MY_POST("/api/v1/users/me/totp", totp, "beginTotp", "Makes the seed of a second factor.",
                OBJECT("\"password\"", "\"password\":{\"type\":\"string\",\"minLength\":1}"), begun, NEXUS_ROUTE_ON_LOOP),
        MY_POST("/api/v1/users/me/totp/confirm", totp_confirm, "confirmTotp", "Takes the second factor into use.",
                OBJECT("\"code\"", CODE), confirmed, 0),
        MY_POST("/api/v1/users/me/totp/end", totp_end, "endTotp", "Ends the second factor.", OBJECT("\"code\"", CODE),
                done, 0),
        {.method = "GET",
         .path = "/api/v1/users/me/totp",
         .handler = show_totp,
         .operation_id = "getTotp",
         .summary = "Shows whether there is a second factor.",
         .tag = "users",
         .replies = shown,
         .reply_count = 1},
        {.method = "GET",
         .path = "/api/v1/users/me/sessions",
         .handler = list_sessions,
         .operation_id = "listMySessions",
         .summary = "Lists where you are logged in.",
         .tag = "users",
         .replies = listed,
         .reply_count = 1},
        {.method = "DELETE",
         .path = "/api/v1/users/me/sessions",
         .handler = end_sessions,
         .operation_id = "endMySessions",
         .summary = "Ends all of them, this one included.",
         .tag = "users",
         .replies = done,
         .reply_count = 1},
        {.method = "DELETE",
         .path = "/api/v1/users/me/sessions/{id}",
         .handler = end_session,
         .operation_id = "endMySession",
         .summary = "Ends one of them.",
         .tag = "users",
         .params = id_param,
         .param_count = 1,
         .replies = done,
         .reply_count = 1},
    };
    return add_rows(b, rows, sizeof rows / sizeof rows[0]);
}
