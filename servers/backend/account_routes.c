/* Accounts: registration, the first administrator, password reset, who one is, the published keys. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/private.h"
#include "backend/shapes.h"

static void reply_user(nexus_request *request, uint16_t status, const nexus_user *user, bool wrapped)
{
    nexus_json_writer *w;
    if (nexus_json_writer_new(&w) != NEXUS_OK) {
        nexus_request_problem_text(request, 503, "out-of-memory", "The server is out of memory; try again.");
        return;
    }
    nexus_json_open_object(w, NULL);
    if (wrapped)
        nexus_json_open_object(w, "user");
    nexus_json_put_text_c(w, "id", nexus_user_id(user));
    nexus_json_put_text_c(w, "email", nexus_user_email(user));
    nexus_json_put_text_c(w, "name", nexus_user_name(user));
    if (!wrapped) {
        nexus_json_open_array(w, "roles");
        for (size_t i = 0; i < nexus_user_role_count(user); i++)
            nexus_json_put_text_c(w, NULL, nexus_user_role(user, i));
        nexus_json_close(w);
    }
    nexus_json_close(w);
    if (wrapped)
        nexus_json_close(w);
    reply_json(request, status, w);
}

/* --- handlers ------------------------------------------------------------------------------------------------------------- */

/* Everybody is answered alike, and at once; the mail tells what became of it. */
static void register_unverified(backend *b, nexus_request *request, nexus_json *body)
{
    early e;
    char email[256], password[1025], name[256];
    nexus_slice from[] = {member(body, "email"), member(body, "password"), member(body, "name")};
    nexus_status status = nexus_auth_check_registration(b->auth, from[0], from[1], from[2]);
    if (status != NEXUS_OK) {
        refuse_account(b, request, status, 0);
        return;
    }
    char *const to[] = {email, password, name}; /* they have been found short enough */
    for (size_t i = 0; i < 3; i++)
        memcpy(to[i], from[i].p, from[i].n);
    answer_early(&e, request);
    status = nexus_auth_register_unverified(b->auth, (nexus_slice){email, from[0].n}, (nexus_slice){password, from[1].n},
                                            (nexus_slice){name, from[2].n});
    explicit_bzero(password, sizeof password);
    answer_early_end(b, status, "registration");
}

/* Says whether an address is taken, so that whoever asks too often waits. */
static void register_open(backend *b, nexus_request *request, nexus_json *body)
{
    nexus_user *user;
    nexus_auth_client client;
    uint32_t wait;
    client_of(request, &client);
    nexus_status status = nexus_auth_guess_check(b->auth, &client, &wait);
    if (status == NEXUS_OK)
        status =
            nexus_auth_register(b->auth, member(body, "email"), member(body, "password"), member(body, "name"), &user);
    if (status == NEXUS_ECONFLICT)
        nexus_auth_guess_count(b->auth, &client);
    if (status != NEXUS_OK) {
        refuse_account(b, request, status, wait);
        return;
    }
    reply_user(request, 201, user, true);
    nexus_user_free(user);
}

static void do_register(backend *b, nexus_request *request, nexus_json *body)
{
    const char *mode = nexus_settings_text(nexus_service_settings(b->service), "registration");
    if (strcmp(mode, "closed") == 0)
        nexus_request_problem_text(request, 403, "registration-closed", "Accounts are made by administrators only.");
    else if (!password_fits(request, body, "password"))
        return;
    else if (strcmp(mode, "verify") == 0)
        register_unverified(b, request, body);
    else
        register_open(b, request, body);
}

static void do_resend(backend *b, nexus_request *request, nexus_json *body)
{
    early e;
    char email[256];
    nexus_slice from = member(body, "email");
    size_t n = from.n < sizeof email ? from.n : 0; /* longer: nobody's */
    memcpy(email, from.p, n);
    answer_early(&e, request);
    answer_early_end(b, nexus_auth_verify_resend(b->auth, (nexus_slice){email, n}), "mail of a confirmation");
}

static void do_verify(backend *b, nexus_request *request, nexus_json *body)
{
    nexus_status status = nexus_auth_verify(b->auth, member(body, "token"));
    if (status == NEXUS_OK)
        nexus_request_reply(request, 204, NULL, (nexus_slice){0});
    else if (status == NEXUS_EAUTH)
        nexus_request_problem_text(request, 400, "token-invalid", "The code is wrong, used or over; ask for another.");
    else
        refuse_account(b, request, status, 0);
}

static void do_bootstrap(backend *b, nexus_request *request, nexus_json *body)
{
    nexus_user *user;
    if (!password_fits(request, body, "password"))
        return;
    nexus_status status = nexus_auth_bootstrap(b->auth, member(body, "token"), member(body, "email"),
                                               member(body, "password"), member(body, "name"), &user);
    if (status == NEXUS_EAUTH) {
        nexus_request_problem_text(request, 401, "token-invalid",
                                   "The one-time token is wrong or over; \"nexus admin token\" makes another.");
    } else if (status != NEXUS_OK) {
        refuse_account(b, request, status, 0);
    } else {
        unlink(b->bootstrap_file);
        reply_user(request, 201, user, true);
        nexus_user_free(user);
    }
}

/* The same answer for everybody; the mail tells who may go on. */
static void do_reset(backend *b, nexus_request *request, nexus_json *body)
{
    early e;
    char email[256], *token;
    nexus_user *user;
    nexus_slice from = member(body, "email");
    size_t n = from.n < sizeof email ? from.n : 0; /* longer: nobody's */
    memcpy(email, from.p, n);
    answer_early(&e, request);
    nexus_status status = nexus_auth_reset_begin(b->auth, (nexus_slice){email, n}, &token, &user);
    if (status == NEXUS_OK) {
        nexus_free_wiped(token, strlen(token));
        nexus_user_free(user);
    }
    answer_early_end(b, status, "mail of a reset");
}

static void do_reset_confirm(backend *b, nexus_request *request, nexus_json *body)
{
    if (!password_fits(request, body, "password"))
        return;
    nexus_status status = nexus_auth_reset_confirm(b->auth, member(body, "token"), member(body, "password"));
    if (status == NEXUS_OK)
        nexus_request_reply(request, 204, NULL, (nexus_slice){0});
    else if (status == NEXUS_EAUTH)
        nexus_request_problem_text(request, 400, "token-invalid",
                                   "The reset token is wrong, used or over; ask for another.");
    else
        refuse_account(b, request, status, 0);
}

HASHING_HANDLER(register)
HASHING_HANDLER(bootstrap)
ACCOUNT_HANDLER(reset)
ACCOUNT_HANDLER(resend)
ACCOUNT_HANDLER(verify)
HASHING_HANDLER(reset_confirm)

/* For `nexus admin token`: the operator's own bearer, from this machine. */
static void bootstrap_token_handler(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    char *token;
    nexus_json_writer *w;
    if (!nexus_service_is_operator(request)) {
        nexus_request_problem_text(request, 401, "token-invalid", "Send the bearer in $STATE/admin.token.");
        return;
    }
    nexus_status status = nexus_auth_bootstrap_token(b->auth, &token);
    if (status != NEXUS_OK || nexus_json_writer_new(&w) != NEXUS_OK) {
        reply_failure(b, request, status);
        return;
    }
    nexus_json_open_object(w, NULL);
    nexus_json_put_text_c(w, "token", token);
    nexus_json_put_int(w, "expires_in", 900);
    nexus_json_close(w);
    (void)nexus_request_set_header(request, "Cache-Control", NEXUS_S("no-store"));
    reply_json(request, 201, w);
    nexus_free(token);
}

static void me_handler(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    nexus_slice subject = {"", 0};
    nexus_user *user;
    nexus_service_subject(request, &subject);
    nexus_status status = nexus_auth_user(b->auth, subject, &user);
    if (status == NEXUS_ENOTFOUND) {
        nexus_request_problem_text(request, 401, "token-invalid", "The account of this token is gone; log in again.");
    } else if (status != NEXUS_OK) {
        reply_failure(b, request, status);
    } else {
        reply_user(request, 200, user, false);
        nexus_user_free(user);
    }
}

static void jwks_handler(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    char *json, *etag;
    size_t n;
    nexus_slice known;
    nexus_status status = nexus_auth_jwks(b->auth, &json, &n, &etag);
    if (status != NEXUS_OK) {
        reply_failure(b, request, status);
        return;
    }
    (void)nexus_request_set_header(request, "Cache-Control", NEXUS_S("public, max-age=300"));
    (void)nexus_request_set_header(request, "ETag", (nexus_slice){etag, strlen(etag)});
    bool same = nexus_request_header(request, "If-None-Match", &known) && known.n == strlen(etag) &&
                memcmp(known.p, etag, known.n) == 0;
    nexus_request_reply(request, same ? 304 : 200, "application/jwk-set+json", (nexus_slice){json, n});
    nexus_free(json);
    nexus_free(etag);
}

/* --- rows -------------------------------------------------------------------------------------------------------------------- */

REPLIES(registered, 201, "The account.",
        OBJECT("\"user\"", "\"user\":" OBJECT("\"id\",\"email\",\"name\"", USER_FIELDS)));
REPLIES(done, 204, "Done.", NULL);
REPLIES(accepted, 202, "If there is such an account, a mail is on its way.", NULL);
REPLIES(me, 200, "You.",
        OBJECT("\"id\",\"email\",\"name\",\"roles\"",
               USER_FIELDS ",\"roles\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}}"));
REPLIES(keys, 200, "The keys that verify tokens (RFC 7517).", "{\"type\":\"object\"}");
REPLIES(one_time, 201, "A one-time token.",
        OBJECT("\"token\",\"expires_in\"", "\"token\":{\"type\":\"string\"},\"expires_in\":{\"type\":\"integer\"}"));

nexus_status account_routes(backend *b)
{
    nexus_route rows[] = {
        HASHING_POST("/api/v1/auth/bootstrap", bootstrap, "bootstrapAdmin",
                    "Makes the first administrator with the one-time token.",
                    OBJECT("\"token\",\"email\",\"password\",\"name\"", TOKEN("token") "," EMAIL "," PASSWORD "," NAME),
                    registered),
        HASHING_POST("/api/v1/auth/register", register, "registerUser",
                     "Makes an account; where addresses are confirmed first, 202 to everybody.",
                    OBJECT("\"email\",\"password\",\"name\"", EMAIL "," PASSWORD "," NAME), registered),
        PUBLIC_POST("/api/v1/auth/verify", verify, "verifyAddress", "Confirms the address of an account.",
                    OBJECT("\"token\"", TOKEN("token")), done),
        PUBLIC_POST("/api/v1/auth/verify/resend", resend, "resendVerification", "Sends another code by mail.",
                    OBJECT("\"email\"", EMAIL), accepted),
        PUBLIC_POST("/api/v1/auth/password-reset", reset, "requestPasswordReset", "Sends a reset token by mail.",
                    OBJECT("\"email\"", EMAIL), accepted),
        HASHING_POST("/api/v1/auth/password-reset/confirm", reset_confirm, "confirmPasswordReset",
                    "Sets a new password with a reset token.",
                    OBJECT("\"token\",\"password\"", TOKEN("token") "," PASSWORD), done),
        PUBLIC_POST("/api/v1/auth/bootstrap-token", bootstrap_token, "createBootstrapToken",
                    "Makes a one-time token for an administrator; needs the operator's bearer.", NULL, one_time),
        {.method = "GET",
         .path = "/api/v1/users/me",
         .handler = me_handler,
         .operation_id = "getMe",
         .summary = "Shows who you are.",
         .tag = "users",
         .replies = me,
         .reply_count = 1},
        {.method = "GET",
         .path = "/.well-known/jwks.json",
         .handler = jwks_handler,
         .operation_id = "getKeys",
         .summary = "Publishes the keys that verify tokens.",
         .tag = "auth",
         .roles = "public",
         .replies = keys,
         .reply_count = 1},
    };
    return add_rows(b, rows, sizeof rows / sizeof rows[0]);
}
