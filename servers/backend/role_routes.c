/*
 * /api/v1/admin/roles… and …/grants: roles of one's own, who has which, and what would be if. ?tenant=NAME asks in a tenant,
 * where the caller's roles are those he has there; without it everything of the installation is meant.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/private.h"
#include "backend/shapes.h"

static void refuse(backend *b, nexus_request *request, nexus_status status, const char *action, nexus_slice object)
{
    char why[512];
    snprintf(why, sizeof why, "%s", nexus_error_message());
    if (status == NEXUS_EINVAL)
        reply_member(request, why);
    else if (status == NEXUS_ENOTFOUND)
        nexus_request_problem_text(request, 404, "not-found", why);
    else if (status == NEXUS_ECONFLICT)
        nexus_request_problem_text(request, 409, "role-conflict", why);
    else if (status == NEXUS_EPERM)
        refuse_not_held(b, request, action, object, why);
    else
        reply_failure(b, request, status);
}

static void reply_view(backend *b, nexus_request *request, uint16_t code, nexus_status status, char *json, size_t n)
{
    if (status != NEXUS_OK) {
        refuse(b, request, status, "roles.read", NEXUS_S(""));
        return;
    }
    nexus_request_reply(request, code, "application/json", (nexus_slice){json, n});
    nexus_free(json);
}

static nexus_slice query(nexus_request *request, const char *name)
{
    nexus_slice value = {"", 0};
    (void)nexus_request_query_param(request, name, &value);
    return value;
}

static nexus_slice param(nexus_request *request, const char *name)
{
    nexus_slice value = {"", 0};
    nexus_request_param(request, name, &value);
    return value;
}

/* The schema has seen that it is a number; none is the default. */
static uint32_t limit_of(nexus_request *request)
{
    char digits[8];
    snprintf(digits, sizeof digits, "%.*s", TEXT_ARGS(query(request, "limit")));
    return (uint32_t)strtoul(digits, NULL, 10);
}

/* --- reading ------------------------------------------------------------------------------------------------------------ */

static void list_roles(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    nexus_role_filter filter;
    char *json = NULL;
    size_t n = 0;
    nexus_role_filter_init(&filter);
    filter.any_tenant = !nexus_request_query_param(request, "tenant", &filter.tenant);
    filter.cursor = query(request, "cursor");
    filter.limit = limit_of(request);
    nexus_status status = nexus_roles_list(b->roles, &filter, &json, &n);
    reply_view(b, request, 200, status, json, n);
}

static void show_role(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    char *json = NULL;
    size_t n = 0;
    nexus_status status = nexus_roles_show(b->roles, query(request, "tenant"), param(request, "name"), &json, &n);
    reply_view(b, request, 200, status, json, n);
}

static void list_grants(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    nexus_grant_filter filter;
    char *json = NULL;
    size_t n = 0;
    nexus_grant_filter_init(&filter);
    filter.any_tenant = !nexus_request_query_param(request, "tenant", &filter.tenant);
    filter.user_id = query(request, "user_id");
    filter.role = query(request, "role");
    filter.cursor = query(request, "cursor");
    filter.limit = limit_of(request);
    nexus_status status = nexus_roles_grants(b->roles, &filter, &json, &n);
    reply_view(b, request, 200, status, json, n);
}

static void explain(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    nexus_slice body;
    char *json = NULL;
    size_t n = 0;
    nexus_request_body(request, &body);
    nexus_status status = nexus_roles_explain(b->roles, query(request, "tenant"), body, &json, &n);
    reply_view(b, request, 200, status, json, n);
}

static void simulate(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    nexus_slice body;
    char *json = NULL;
    size_t n = 0;
    nexus_request_body(request, &body);
    nexus_status status = nexus_roles_simulate(b->roles, query(request, "tenant"), body, &json, &n);
    reply_view(b, request, 200, status, json, n);
}

/* For the other services, which have no database of roles: 204 when it is what they have. */
static void give_out(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    char *json = NULL, have[24], now[48];
    size_t n = 0;
    if (!nexus_service_is_operator(request)) {
        nexus_request_problem_text(request, 401, "token-invalid", "Send the bearer in $STATE/admin.token.");
        return;
    }
    nexus_status status = nexus_roles_refresh(b->roles, NULL);
    if (status == NEXUS_OK)
        status = nexus_roles_document(b->roles, &json, &n);
    snprintf(have, sizeof have, "%.*s", TEXT_ARGS(query(request, "have")));
    int len = snprintf(now, sizeof now, "{\"version\":%s,", have);
    if (status == NEXUS_OK && (size_t)len <= n && memcmp(json, now, (size_t)len) == 0) {
        nexus_free(json);
        nexus_request_reply(request, 204, NULL, (nexus_slice){0});
        return;
    }
    reply_view(b, request, 200, status, json, n);
}

/* --- writing ------------------------------------------------------------------------------------------------------------ */

/* current_request is set while auth/ tells what happens: the record of the trail names who asked. */
static void put_role(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    nexus_roles_actor actor;
    nexus_slice body, name = param(request, "name"), tenant = query(request, "tenant");
    char *json = NULL;
    size_t n = 0;
    bool made = false;
    nexus_request_body(request, &body);
    actor_of(request, &actor);
    current_request = request;
    nexus_status status = nexus_roles_put(b->roles, &actor, tenant, name, body, &made);
    current_request = NULL;
    if (status != NEXUS_OK) {
        refuse(b, request, status, "role.changed", name);
        return;
    }
    roles_take(b);
    nexus_outbox_relay_wake(b->relay);
    status = nexus_roles_show(b->roles, tenant, name, &json, &n);
    reply_view(b, request, made ? 201 : 200, status, json, n);
}

static void delete_role(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    nexus_roles_actor actor;
    nexus_slice name = param(request, "name");
    actor_of(request, &actor);
    current_request = request;
    nexus_status status = nexus_roles_delete(b->roles, &actor, query(request, "tenant"), name);
    current_request = NULL;
    if (status != NEXUS_OK) {
        refuse(b, request, status, "role.changed", name);
        return;
    }
    roles_take(b);
    nexus_outbox_relay_wake(b->relay);
    nexus_request_reply(request, 204, NULL, (nexus_slice){0});
}

/* Whoever takes his own access away is the last to notice that there is nobody left to give it back. */
static bool is_last_resort(nexus_request *request, nexus_slice user_id, nexus_slice role)
{
    nexus_slice subject = {"", 0};
    (void)nexus_service_subject(request, &subject);
    return role.n == 5 && memcmp(role.p, "admin", 5) == 0 && subject.n == user_id.n &&
           memcmp(subject.p, user_id.p, user_id.n) == 0;
}

/* PUT gives a role, DELETE takes it, and with it the tokens that say he has it. */
static void change_grant(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    nexus_roles_actor actor;
    nexus_slice id = param(request, "id"), role = param(request, "role"), method;
    nexus_request_method(request, &method);
    bool held = method.p[0] == 'P';
    if (!held && is_last_resort(request, id, role)) {
        nexus_request_problem_text(request, 409, "own-account", "Let another administrator change your account.");
        return;
    }
    actor_of(request, &actor);
    current_request = request;
    nexus_status status = nexus_roles_grant(b->roles, &actor, id, role, query(request, "tenant"), held);
    current_request = NULL;
    nexus_outbox_relay_wake(b->relay);
    if (status == NEXUS_OK)
        nexus_request_reply(request, 204, NULL, (nexus_slice){0});
    else
        refuse(b, request, status, "user.changed", id);
}

/* --- rows --------------------------------------------------------------------------------------------------------------- */

#define TEXTS(most) "{\"type\":\"array\",\"maxItems\":" most ",\"items\":{\"type\":\"string\",\"maxLength\":256}}"
#define DEFINITION                                                                                                     \
    "\"description\":{\"type\":\"string\",\"maxLength\":500},\"inherits\":" TEXTS("16") ",\"allow\":" TEXTS(           \
        "256") ",\"deny\":" TEXTS("256")
#define ROLE_NAME "\"type\":\"string\",\"minLength\":1,\"maxLength\":64"
#define QUESTION                                                                                                       \
    "\"permission\":{\"type\":\"string\",\"maxLength\":256},\"user_id\":{\"type\":\"string\",\"maxLength\":64},"       \
    "\"roles\":{\"type\":\"array\",\"maxItems\":32,\"items\":{\"type\":\"string\",\"maxLength\":129}},"                \
    "\"owner\":{\"type\":\"string\",\"maxLength\":128,\"description\":\"self, or the id of an owner\"}"
#define CHANGE                                                                                                         \
    "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\"roles\":{\"type\":\"array\",\"maxItems\":"  \
    "50,"                                                                                                              \
    "\"items\":" OBJECT("\"name\"", "\"name\":{" ROLE_NAME "}," DEFINITION) "},\"delete\":" TEXTS(                     \
        "50") ",\"grants\":{\"type\":\"array\",\"maxItems\":50,\"items\":" OBJECT("\"user_id\",\"role\"",              \
                                                                                  "\"user_id\":{\"type\":\"string\"}," \
                                                                                  "\"role\":{" ROLE_NAME "},"          \
                                                                                  "\"held\":{\"type\":\"boolean\"}") "}}}"
#define SIMULATION                                                                                                     \
    OBJECT("\"checks\"", "\"checks\":{\"type\":\"array\",\"maxItems\":200,\"items\":" OBJECT(                          \
                             "\"permission\"", QUESTION) "},\"change\":" CHANGE)
#define WHY                                                                                                            \
    "\"allowed\":{\"type\":\"boolean\"},\"reason\":{\"type\":\"string\"},\"rule\":{\"type\":[\"string\",\"null\"]},"   \
    "\"effect\":{\"enum\":[\"allow\",\"allow-own\",\"deny\",null]},\"path\":{\"type\":\"array\",\"items\":{\"type\":"  \
    "\"string\"}}"
#define WHY_ALL "\"allowed\",\"reason\",\"rule\",\"effect\",\"path\""
#define ROLE                                                                                                           \
    OBJECT("\"name\",\"tenant\",\"built_in\",\"inherits\",\"allow\",\"deny\"",                                         \
           "\"name\":{\"type\":\"string\"},\"tenant\":{\"type\":\"string\"},\"built_in\":{\"type\":\"boolean\"},"      \
           "\"changed_at\":{\"type\":[\"string\",\"null\"]}," DEFINITION)
#define PAGE(items)                                                                                                    \
    OBJECT("\"items\",\"next_cursor\"",                                                                                \
           "\"items\":{\"type\":\"array\",\"items\":" items "},\"next_cursor\":{\"type\":[\"string\",\"null\"]}")
#define GRANT                                                                                                          \
    OBJECT("\"user_id\",\"role\",\"tenant\",\"granted_at\"",                                                           \
           "\"user_id\":{\"type\":\"string\"},\"role\":{\"type\":\"string\"},\"tenant\":{\"type\":\"string\"},"        \
           "\"granted_at\":{\"type\":[\"string\",\"null\"]}")

#define TENANT                                                                                                         \
    {                                                                                                                  \
        "tenant", "query", "{\"type\":\"string\",\"maxLength\":64}", "In this tenant; without it, in all.", false      \
    }
#define CURSOR                                                                                                         \
    {"cursor", "query", "{\"type\":\"string\",\"maxLength\":192}", "next_cursor of the page before.", false},          \
    {                                                                                                                  \
        "limit", "query", "{\"type\":\"integer\",\"minimum\":1,\"maximum\":100}", "Items a page; 20.", false           \
    }
static const nexus_param tenant_param[] = {TENANT};
static const nexus_param role_params[] = {TENANT, {"name", "path", NULL, "The role.", true}};
static const nexus_param list_params[] = {TENANT, CURSOR};
static const nexus_param grants_params[] = {
    TENANT,
    CURSOR,
    {"user_id", "query", "{\"type\":\"string\",\"maxLength\":64}", "Of this user.", false},
    {"role", "query", "{\"type\":\"string\",\"maxLength\":64}", "Of this role.", false}};
static const nexus_param grant_params[] = {
    TENANT, {"id", "path", NULL, "The user.", true}, {"role", "path", NULL, "The role.", true}};
static const nexus_param have_param[] = {{"have", "query", "{\"type\":\"integer\"}", "The version one has.", false}};

static const nexus_reply_doc one[] = {{200, "The role.", ROLE}, {404, "There is none.", NULL}};
static const nexus_reply_doc many[] = {{200, "By tenant and name.", PAGE(ROLE)}};
static const nexus_reply_doc grants[] = {{200, "The newest first.", PAGE(GRANT)}};
static const nexus_reply_doc put[] = {
    {200, "It is changed.", ROLE},
    {201, "It is made.", ROLE},
    {409, "A cycle, more than 8 levels, a built-in role, or a name that is taken.", NULL},
    {422, "A value is not allowed.", NULL}};
static const nexus_reply_doc deleted[] = {{204, "It is gone.", NULL},
                                          {404, "There is none.", NULL},
                                          {409, "Built in, or somebody has it or inherits from it.", NULL}};
static const nexus_reply_doc granted[] = {
    {204, "Done.", NULL}, {404, "There is no such user.", NULL}, {422, "There is no such role.", NULL}};
static const nexus_reply_doc why[] = {{200, "The rule that decided and the way to it.", OBJECT(WHY_ALL, WHY)},
                                      {422, "A value is not allowed.", NULL}};
static const nexus_reply_doc results[] = {
    {200, "One for each check; now: without the change.",
     OBJECT("\"results\"",
            "\"results\":{\"type\":\"array\",\"items\":" OBJECT(WHY_ALL, WHY ",\"now\":" OBJECT(WHY_ALL, WHY)) "}")},
    {409, "The change is none that could be made.", NULL},
    {422, "A value is not allowed.", NULL}};
static const nexus_reply_doc document[] = {{200, "All roles.", "{\"type\":\"object\"}"}, {204, "You have them.", NULL}};

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))
#define ROW(method_, path_, handler_, permission_, id_, summary_, schema_, params_, replies_)                          \
    {                                                                                                                  \
        .method = method_, .path = path_, .handler = handler_, .permission = permission_, .operation_id = id_,         \
        .summary = summary_, .body_schema = schema_, .params = params_, .param_count = COUNT(params_),                 \
        .replies = replies_, .reply_count = COUNT(replies_), .tag = "roles", .body_max = 262144,                       \
        .flags = NEXUS_ROUTE_IN_TENANT                                                                                 \
    }
#define ROLES "/api/v1/admin/roles"

nexus_status role_routes(backend *b)
{
    nexus_route rows[] = {
        ROW("GET", ROLES, list_roles, "roles:read", "listRoles", "Lists roles.", NULL, list_params, many),
        ROW("GET", ROLES "/{name}", show_role, "roles:read", "getRole", "Shows a role.", NULL, role_params, one),
        ROW("PUT", ROLES "/{name}", put_role, "roles:write", "putRole", "Makes a role or replaces it.",
            OBJECT("", DEFINITION), role_params, put),
        ROW("DELETE", ROLES "/{name}", delete_role, "roles:write", "deleteRole", "Deletes a role that nobody has.",
            NULL, role_params, deleted),
        ROW("POST", ROLES "/explain", explain, "roles:read", "explainRoles", "Says why a check comes out as it does.",
            OBJECT("\"permission\"", QUESTION), tenant_param, why),
        ROW("POST", ROLES "/simulate", simulate, "roles:read", "simulateRoles",
            "Says how checks would come out after a change, which is not made.", SIMULATION, tenant_param, results),
        ROW("GET", "/api/v1/admin/grants", list_grants, "roles:read", "listGrants", "Lists who has which role.", NULL,
            grants_params, grants),
        ROW("PUT", "/api/v1/users/{id}/roles/{role}", change_grant, "roles:grant", "grantRole", "Gives a user a role.",
            NULL, grant_params, granted),
        ROW("DELETE", "/api/v1/users/{id}/roles/{role}", change_grant, "roles:grant", "revokeRole",
            "Takes a role from a user.", NULL, grant_params, granted),
        {.method = "GET",
         .path = "/internal/v1/roles",
         .handler = give_out,
         .operation_id = "getRoleDocument",
         .summary = "Tells a service what roles allow; needs the operator's bearer.",
         .roles = "public",
         .tag = "roles",
         .params = have_param,
         .param_count = 1,
         .replies = document,
         .reply_count = COUNT(document)},
    };
    return add_rows(b, rows, COUNT(rows));
}
