/* /api/v1/admin/users…: what administrators do to accounts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/private.h"
#include "backend/shapes.h"

static void refuse(backend *b, nexus_request *request, nexus_status status)
{
    if (status == NEXUS_ENOTFOUND)
        nexus_request_problem_text(request, 404, "not-found", "There is no such user.");
    else
        refuse_account(b, request, status, 0);
}

static void reply_view(backend *b, nexus_request *request, nexus_status status, char *json, size_t n)
{
    if (status != NEXUS_OK) {
        refuse(b, request, status);
        return;
    }
    nexus_request_reply(request, 200, "application/json", (nexus_slice){json, n});
    nexus_free(json);
}

static bool limit_of(nexus_request *request, uint32_t *limit)
{
    nexus_slice text;
    char digits[8];
    if (!nexus_request_query_param(request, "limit", &text))
        return true;
    snprintf(digits, sizeof digits, "%.*s", (int)(text.n < 7 ? text.n : 7), text.p);
    char *end;
    unsigned long n = strtoul(digits, &end, 10);
    if (*end || end == digits || n < 1 || n > 100) {
        reply_invalid(request, "limit", "must be a whole number from 1 to 100");
        return false;
    }
    *limit = (uint32_t)n;
    return true;
}

static void list_users(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    nexus_user_filter filter;
    char *json;
    size_t n;
    nexus_user_filter_init(&filter);
    (void)nexus_request_query_param(request, "email", &filter.email);
    (void)nexus_request_query_param(request, "state", &filter.state);
    (void)nexus_request_query_param(request, "cursor", &filter.cursor);
    if (!limit_of(request, &filter.limit))
        return;
    nexus_status status = nexus_auth_users(b->auth, &filter, &json, &n);
    reply_view(b, request, status, json, n);
}

static void show_user(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    nexus_slice id = {"", 0};
    char *json;
    size_t n;
    nexus_request_param(request, "id", &id);
    nexus_status status = nexus_auth_user_json(b->auth, id, &json, &n);
    reply_view(b, request, status, json, n);
}

/* Whoever takes his own access away is the last to notice that there is nobody left to give it back. */
static bool is_own(nexus_request *request, nexus_slice id)
{
    nexus_slice subject = {"", 0};
    (void)nexus_service_subject(request, &subject);
    if (subject.n != id.n || memcmp(subject.p, id.p, id.n) != 0)
        return false;
    nexus_request_problem_text(request, 409, "own-account", "Let another administrator change your account.");
    return true;
}

static void change_user(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    nexus_slice id = {"", 0}, change = NEXUS_S("delete");
    char name[32];
    nexus_request_param(request, "id", &id);
    (void)nexus_request_param(request, "change", &change);
    if (is_own(request, id) || !holds_all_of_user(b, request, "user.changed", id))
        return;
    snprintf(name, sizeof name, "%.*s", TEXT_ARGS(change));
    current_request = request;
    nexus_status status = nexus_auth_change_user(b->auth, id, name);
    current_request = NULL;
    nexus_outbox_relay_wake(b->relay);
    if (status == NEXUS_OK)
        nexus_request_reply(request, 204, NULL, (nexus_slice){0});
    else
        refuse(b, request, status);
}

/* --- rows -------------------------------------------------------------------------------------------------------------------- */

#define STATES "\"active\",\"unverified\",\"password-reset\",\"locked\",\"disabled\",\"deleted\""
#define CHANGES                                                                                                        \
    "{\"enum\":[\"disable\",\"enable\",\"lock\",\"unlock\",\"require-reset\",\"verify\",\"drop-second-factor\","       \
    "\"sign-out\"]}"
#define USER                                                                                                           \
    OBJECT("\"id\",\"email\",\"name\",\"state\",\"roles\",\"created_at\"",                                             \
           USER_FIELDS ",\"state\":{\"enum\":[" STATES "]},\"roles\":{\"type\":\"array\",\"items\":{\"type\":"         \
                       "\"string\"}},\"created_at\":{\"type\":\"string\"}")

static const nexus_param list_params[] = {
    {"email", "query", "{\"type\":\"string\",\"maxLength\":254}", "Of this address.", false},
    {"state", "query", "{\"enum\":[" STATES "]}", "In this state; without it all but the deleted ones.", false},
    {"cursor", "query", "{\"type\":\"string\",\"maxLength\":64}", "next_cursor of the page before.", false},
    {"limit", "query", "{\"type\":\"integer\",\"minimum\":1,\"maximum\":100}", "Users a page; 20.", false}};
static const nexus_param id_param[] = {{"id", "path", NULL, "The user.", true},
                                       {"change", "path", CHANGES, "What to do.", true}};
static const nexus_reply_doc one[] = {{200, "The user.", USER}, {404, "There is none.", NULL}};
static const nexus_reply_doc many[] = {
    {200, "Newest first.",
     OBJECT("\"items\",\"next_cursor\"", "\"items\":{\"type\":\"array\",\"items\":" USER
                                         "},\"next_cursor\":{\"type\":[\"string\",\"null\"]}")}};
static const nexus_reply_doc done[] = {{204, "Done.", NULL}, {404, "There is no such user.", NULL}};

#define ROW(method_, path_, handler_, permission_, id_, summary_, params_, count_, replies_, reply_count_)                          \
    {                                                                                                                  \
        .method = method_, .path = path_, .handler = handler_, .operation_id = id_, .summary = summary_,               \
        .tag = "users", .permission = permission_, .params = params_, .param_count = count_, .replies = replies_,               \
        .reply_count = reply_count_                                                                                    \
    }

nexus_status user_routes(backend *b)
{
    nexus_route rows[] = {
        ROW("GET", "/api/v1/admin/users", list_users, "users:list", "listUsers", "Lists users.", list_params, 4, many, 1),
        ROW("GET", "/api/v1/admin/users/{id}", show_user, "users:list", "getUser", "Shows a user.", id_param, 1, one, 2),
        ROW("DELETE", "/api/v1/admin/users/{id}", change_user, "users:write", "deleteUser",
            "Deletes an account: its id stays, the person goes.", id_param, 1, done, 2),
        ROW("POST", "/api/v1/admin/users/{id}/{change}", change_user, "users:write", "changeUser", "Changes an account.",
            id_param, 2, done, 2),
    };
    return add_rows(b, rows, sizeof rows / sizeof rows[0]);
}
