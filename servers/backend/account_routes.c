/* /api/v1/auth/…, /api/v1/users/…, /.well-known/jwks.json */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/private.h"

#define EMAIL "\"email\":{\"type\":\"string\",\"minLength\":3,\"maxLength\":254}"
#define PASSWORD "\"password\":{\"type\":\"string\",\"minLength\":8,\"maxLength\":1024}"
#define NAME "\"name\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":200}"
#define TOKEN(name) "\"" name "\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":256}"
#define OBJECT(required, properties)                                                                                   \
    "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[" required "],\"properties\":{" properties "}}"
#define USER_FIELDS "\"id\":{\"type\":\"string\"},\"email\":{\"type\":\"string\"},\"name\":{\"type\":\"string\"}"
#define GRANT                                                                                                          \
    OBJECT("\"access_token\",\"token_type\",\"expires_in\",\"refresh_token\"",                                         \
           "\"access_token\":{\"type\":\"string\"},\"token_type\":{\"const\":\"Bearer\"},"                             \
           "\"expires_in\":{\"type\":\"integer\"},\"refresh_token\":{\"type\":\"string\"}")

/* --- refusals ------------------------------------------------------------------------------------------------------------ */

static void reply_busy(nexus_request *request)
{
    (void)nexus_request_set_header(request, "Retry-After", NEXUS_S("1"));
    nexus_request_problem_text(request, 503, "busy", "Too many passwords are being checked; try again in a second.");
}

/* What every account call may run into. */
static void refuse(backend *b, nexus_request *request, nexus_status status)
{
    if (status == NEXUS_EINVAL)
        reply_member(request, nexus_error_message());
    else if (status == NEXUS_ECONFLICT)
        nexus_request_problem_text(request, 409, "email-taken", "There is an account with this address.");
    else if (status == NEXUS_ELIMIT)
        reply_busy(request);
    else
        reply_failure(b, request, status);
}

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

static void reply_grant(nexus_request *request, nexus_grant *grant)
{
    nexus_json_writer *w;
    if (nexus_json_writer_new(&w) != NEXUS_OK) {
        nexus_request_problem_text(request, 503, "out-of-memory", "The server is out of memory; try again.");
    } else {
        (void)nexus_request_set_header(request, "Cache-Control", NEXUS_S("no-store"));
        nexus_json_open_object(w, NULL);
        nexus_json_put_text_c(w, "access_token", nexus_grant_access_token(grant));
        nexus_json_put_text_c(w, "token_type", "Bearer");
        nexus_json_put_int(w, "expires_in", nexus_grant_expires_in(grant));
        nexus_json_put_text_c(w, "refresh_token", nexus_grant_refresh_token(grant));
        nexus_json_close(w);
        reply_json(request, 200, w);
    }
    nexus_grant_free(grant);
}

/* --- handlers ------------------------------------------------------------------------------------------------------------- */

/* Every call here has a JSON body and may write an event: one frame around them. */
typedef void account_fn(backend *b, nexus_request *request, nexus_json *body);

static void with_body(nexus_request *request, backend *b, account_fn *fn)
{
    nexus_json *body;
    if (!read_body(request, &body))
        return;
    current_request = request;
    fn(b, request, body);
    current_request = NULL;
    nexus_outbox_relay_wake(b->relay);
    nexus_json_free(body);
}

static void do_register(backend *b, nexus_request *request, nexus_json *body)
{
    nexus_user *user;
    nexus_status status =
        nexus_auth_register(b->auth, member(body, "email"), member(body, "password"), member(body, "name"), &user);
    if (status != NEXUS_OK) {
        refuse(b, request, status);
        return;
    }
    reply_user(request, 201, user, true);
    nexus_user_free(user);
}

static void do_bootstrap(backend *b, nexus_request *request, nexus_json *body)
{
    nexus_user *user;
    nexus_status status = nexus_auth_bootstrap(b->auth, member(body, "token"), member(body, "email"),
                                               member(body, "password"), member(body, "name"), &user);
    if (status == NEXUS_EAUTH) {
        nexus_request_problem_text(request, 401, "token-invalid",
                                   "The one-time token is wrong or over; \"nexus admin token\" makes another.");
    } else if (status != NEXUS_OK) {
        refuse(b, request, status);
    } else {
        unlink(b->bootstrap_file);
        reply_user(request, 201, user, true);
        nexus_user_free(user);
    }
}

static void reply_throttled(nexus_request *request, uint32_t seconds)
{
    char text[16];
    int n = snprintf(text, sizeof text, "%u", seconds);
    (void)nexus_request_set_header(request, "Retry-After", (nexus_slice){text, (size_t)n});
    nexus_request_problem(request, 429, "too-many-attempts", "Too many wrong passwords; try again in %u s.", seconds);
}

static void do_login(backend *b, nexus_request *request, nexus_json *body)
{
    nexus_grant *grant;
    nexus_slice email = member(body, "email");
    nexus_status status = nexus_auth_login(b->auth, email, member(body, "password"), &grant);
    uint32_t wait = status == NEXUS_ELIMIT ? nexus_auth_retry_after(b->auth, email) : 0;
    if (status == NEXUS_OK)
        reply_grant(request, grant);
    else if (status == NEXUS_EAUTH)
        nexus_request_problem_text(request, 401, "credentials-wrong", "The address or the password is wrong.");
    else if (wait)
        reply_throttled(request, wait);
    else
        refuse(b, request, status);
}

static void do_refresh(backend *b, nexus_request *request, nexus_json *body)
{
    nexus_grant *grant;
    nexus_status status = nexus_auth_refresh(b->auth, member(body, "refresh_token"), &grant);
    if (status == NEXUS_OK)
        reply_grant(request, grant);
    else if (status == NEXUS_EAUTH)
        nexus_request_problem_text(request, 401, "invalid-grant", "The refresh token is not valid; log in again.");
    else
        refuse(b, request, status);
}

static void do_logout(backend *b, nexus_request *request, nexus_json *body)
{
    nexus_status status = nexus_auth_logout(b->auth, member(body, "refresh_token"));
    if (status == NEXUS_OK)
        nexus_request_reply(request, 204, NULL, (nexus_slice){0});
    else
        refuse(b, request, status);
}

/* The same answer for everybody; the mail tells who may go on. */
static void do_reset(backend *b, nexus_request *request, nexus_json *body)
{
    char *token;
    nexus_user *user;
    nexus_status status = nexus_auth_reset_begin(b->auth, member(body, "email"), &token, &user);
    if (status == NEXUS_OK) {
        nexus_free(token);
        nexus_user_free(user);
    }
    if (status == NEXUS_OK || status == NEXUS_ENOTFOUND)
        nexus_request_reply(request, 202, NULL, (nexus_slice){0});
    else
        refuse(b, request, status);
}

static void do_reset_confirm(backend *b, nexus_request *request, nexus_json *body)
{
    nexus_status status = nexus_auth_reset_confirm(b->auth, member(body, "token"), member(body, "password"));
    if (status == NEXUS_OK)
        nexus_request_reply(request, 204, NULL, (nexus_slice){0});
    else if (status == NEXUS_EAUTH)
        nexus_request_problem_text(request, 400, "token-invalid",
                                   "The reset token is wrong, used or over; ask for another.");
    else
        refuse(b, request, status);
}

#define HANDLER(name)                                                                                                  \
    static void name##_handler(nexus_request *request, void *user_data)                                                \
    {                                                                                                                  \
        with_body(request, user_data, do_##name);                                                                      \
    }
HANDLER(register)
HANDLER(bootstrap)
HANDLER(login)
HANDLER(refresh)
HANDLER(logout)
HANDLER(reset)
HANDLER(reset_confirm)

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

/* PUT gives a role, DELETE takes it; tokens already out keep theirs for ten minutes at most. */
static void role_handler(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    nexus_slice id = {"", 0}, role = {"", 0}, method;
    char name[32];
    nexus_request_param(request, "id", &id);
    nexus_request_param(request, "role", &role);
    nexus_request_method(request, &method);
    snprintf(name, sizeof name, "%.*s", TEXT_ARGS(role));
    nexus_status status = nexus_auth_set_role(b->auth, id, name, method.p[0] == 'P');
    if (status == NEXUS_OK)
        nexus_request_reply(request, 204, NULL, (nexus_slice){0});
    else if (status == NEXUS_ENOTFOUND)
        nexus_request_problem_text(request, 404, "not-found", "There is no such user.");
    else
        refuse(b, request, status);
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

#define REPLIES(name, code, text, schema)                                                                              \
    static const nexus_reply_doc name[] = {{code, text, schema}, {422, "A value is not allowed.", NULL}}
REPLIES(registered, 201, "The account.",
        OBJECT("\"user\"", "\"user\":" OBJECT("\"id\",\"email\",\"name\"", USER_FIELDS)));
REPLIES(granted, 200, "A pair of tokens.", GRANT);
REPLIES(done, 204, "Done.", NULL);
REPLIES(accepted, 202, "If there is such an account, a mail is on its way.", NULL);
REPLIES(me, 200, "You.",
        OBJECT("\"id\",\"email\",\"name\",\"roles\"",
               USER_FIELDS ",\"roles\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}}"));
REPLIES(keys, 200, "The keys that verify tokens (RFC 7517).", "{\"type\":\"object\"}");
REPLIES(one_time, 201, "A one-time token.",
        OBJECT("\"token\",\"expires_in\"", "\"token\":{\"type\":\"string\"},\"expires_in\":{\"type\":\"integer\"}"));

#define ROLE_PARAMS                                                                                                    \
    {                                                                                                                  \
        {"id", "path", NULL, "The user.", true},                                                                       \
            {"role", "path", "{\"enum\":[\"customer\",\"operator\",\"admin\"]}", "The role.", true},                   \
    }
static const nexus_param role_params[] = ROLE_PARAMS;

#define PUBLIC_POST(path_, handler_, id_, summary_, schema_, replies_)                                                 \
    {                                                                                                                  \
        .method = "POST", .path = path_, .handler = handler_##_handler, .operation_id = id_, .summary = summary_,      \
        .tag = "auth", .roles = "public", .body_schema = schema_, .body_max = 16384, .replies = replies_,              \
        .reply_count = 2                                                                                               \
    }

nexus_status account_routes(backend *b)
{
    nexus_route rows[] = {
        PUBLIC_POST("/api/v1/auth/bootstrap", bootstrap, "bootstrapAdmin",
                    "Makes the first administrator with the one-time token.",
                    OBJECT("\"token\",\"email\",\"password\",\"name\"", TOKEN("token") "," EMAIL "," PASSWORD "," NAME),
                    registered),
        PUBLIC_POST("/api/v1/auth/register", register, "registerUser", "Makes an account.",
                    OBJECT("\"email\",\"password\",\"name\"", EMAIL "," PASSWORD "," NAME), registered),
        PUBLIC_POST("/api/v1/auth/login", login, "login", "Trades address and password for tokens.",
                    OBJECT("\"email\",\"password\"",
                           EMAIL ",\"password\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":1024}"),
                    granted),
        PUBLIC_POST("/api/v1/auth/refresh", refresh, "refreshToken", "Trades a refresh token for the next pair.",
                    OBJECT("\"refresh_token\"", TOKEN("refresh_token")), granted),
        PUBLIC_POST("/api/v1/auth/logout", logout, "logout", "Ends the session of a refresh token.",
                    OBJECT("\"refresh_token\"", TOKEN("refresh_token")), done),
        PUBLIC_POST("/api/v1/auth/password-reset", reset, "requestPasswordReset", "Sends a reset token by mail.",
                    OBJECT("\"email\"", EMAIL), accepted),
        PUBLIC_POST("/api/v1/auth/password-reset/confirm", reset_confirm, "confirmPasswordReset",
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
        {.method = "PUT",
         .path = "/api/v1/users/{id}/roles/{role}",
         .handler = role_handler,
         .operation_id = "grantRole",
         .summary = "Gives a user a role.",
         .tag = "users",
         .roles = "admin",
         .params = role_params,
         .param_count = 2,
         .replies = done,
         .reply_count = 2},
        {.method = "DELETE",
         .path = "/api/v1/users/{id}/roles/{role}",
         .handler = role_handler,
         .operation_id = "revokeRole",
         .summary = "Takes a role from a user.",
         .tag = "users",
         .roles = "admin",
         .params = role_params,
         .param_count = 2,
         .replies = done,
         .reply_count = 2},
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
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        rows[i].size = sizeof rows[i];
        rows[i].user_data = b;
    }
    return nexus_service_route(b->service, rows, sizeof rows / sizeof rows[0]);
}
