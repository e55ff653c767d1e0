/*
 * API keys: /api/v1/users/me/keys for one's own, /api/v1/admin/keys for everybody's, and what the gateway asks. The same
 * handlers serve both; where an administrator asks, the owner is open.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/private.h"

#define TEXT_LIST(n)                                                                                                   \
    "{\"type\":\"array\",\"maxItems\":" n ",\"items\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":256}}"
#define CREATE_FIELDS                                                                                                  \
    "\"name\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":200},\"scopes\":" TEXT_LIST(                          \
        "64") ",\"cidrs\":" TEXT_LIST("32") ",\"plan\":{\"type\":\"string\",\"maxLength\":64},\"tenant\":{\"type\":"   \
                                            "\"string\",\"maxLength\":64},"                                            \
                                            "\"expires_in\":{\"type\":\"integer\",\"minimum\":60,\"maximum\":"         \
                                            "31622400}"
#define OBJECT(required, properties)                                                                                   \
    "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[" required "],\"properties\":{" properties "}}"

/* --- who may see what ---------------------------------------------------------------------------------------------- */

static bool is_admin_path(const nexus_request *request)
{
    static const char prefix[] = "/api/v1/admin/";
    nexus_slice path;
    nexus_request_path(request, &path);
    return path.n >= sizeof prefix - 1 && memcmp(path.p, prefix, sizeof prefix - 1) == 0;
}

/* Whose keys the request may touch: its own, or anybody's (empty). */
static nexus_slice owner_of(const nexus_request *request)
{
    nexus_slice subject = {"", 0};
    if (!is_admin_path(request))
        nexus_service_subject(request, &subject);
    return subject;
}

static void refuse(backend *b, nexus_request *request, nexus_status status)
{
    if (status == NEXUS_EINVAL || status == NEXUS_EPERM)
        reply_member(request, nexus_error_message());
    else if (status == NEXUS_ENOTFOUND)
        nexus_request_problem_text(request, 404, "not-found", "There is no such key, or no such owner.");
    else if (status == NEXUS_EAUTH)
        nexus_request_problem_text(request, 409, "owner-disabled", "The owner's account may not be used now.");
    else if (status == NEXUS_ELIMIT)
        nexus_request_problem_text(request, 409, "too-many-keys", nexus_error_message());
    else
        reply_failure(b, request, status);
}

/* --- answers ------------------------------------------------------------------------------------------------------- */

/* The view of a key, and the key itself before it: the only time it is shown. Frees both. */
static void reply_key(nexus_request *request, uint16_t status, char *text, char *view, size_t n)
{
    nexus_json *json = NULL;
    nexus_json_writer *w = NULL;
    if (nexus_json_parse(&json, (nexus_slice){view, n}) == NEXUS_OK && nexus_json_writer_new(&w) == NEXUS_OK) {
        nexus_json_open_object(w, NULL);
        nexus_json_put_text_c(w, "key", text);
        for (nexus_json_iter it = {0}; nexus_json_step(json, NEXUS_JSON_ROOT, &it);) {
            char name[64];
            nexus_slice value;
            snprintf(name, sizeof name, "%.*s", TEXT_ARGS(it.name));
            nexus_json_raw(json, it.value, &value);
            nexus_json_put_raw(w, name, value);
        }
        nexus_json_close(w);
        (void)nexus_request_set_header(request, "Cache-Control", NEXUS_S("no-store"));
        reply_json(request, status, w);
    } else {
        nexus_request_problem_text(request, 503, "out-of-memory", "The server is out of memory; try again.");
    }
    nexus_json_free(json);
    nexus_free(view);
    nexus_free_wiped(text, NEXUS_APIKEY_LEN);
}

static void reply_view(backend *b, nexus_request *request, nexus_status status, char *view, size_t n)
{
    if (status != NEXUS_OK) {
        refuse(b, request, status);
        return;
    }
    nexus_request_reply(request, 200, "application/json", (nexus_slice){view, n});
    nexus_free(view);
}

/* --- handlers ------------------------------------------------------------------------------------------------------ */

/* The strings of an array, parted by spaces; false: one has a space itself, or memory ran out. */
static bool join(nexus_json *body, const char *name, nexus_slice *out, char **memory)
{
    uint32_t list = nexus_json_get(body, NEXUS_JSON_ROOT, name);
    size_t size = 1;
    nexus_slice word;
    for (nexus_json_iter it = {0}; nexus_json_step(body, list, &it);)
        if (nexus_json_text(body, it.value, &word))
            size += word.n + 1;
    char *text = malloc(size);
    if (!text)
        return false;
    *memory = text;
    *out = (nexus_slice){text, 0};
    for (nexus_json_iter it = {0}; nexus_json_step(body, list, &it);) {
        if (!nexus_json_text(body, it.value, &word) || memchr(word.p, ' ', word.n))
            return false;
        memcpy(text + out->n, word.p, word.n);
        out->n += word.n;
        text[out->n++] = ' ';
    }
    return true;
}

static nexus_status find_owner(backend *b, nexus_json *body, nexus_slice *owner, char id[static 64])
{
    nexus_user *user;
    *owner = member(body, "owner");
    if (!memchr(owner->n ? owner->p : "", '@', owner->n))
        return NEXUS_OK;
    nexus_status status = nexus_auth_user_by_email(b->auth, *owner, &user);
    if (status != NEXUS_OK)
        return status;
    snprintf(id, 64, "%s", nexus_user_id(user));
    nexus_user_free(user);
    *owner = (nexus_slice){id, strlen(id)};
    return NEXUS_OK;
}

/* A key of somebody else is shown to whoever makes it: it must not open what he may not. */
static bool may_make(backend *b, nexus_request *request, const nexus_apikey_spec *spec)
{
    return !is_admin_path(request) ||
           holds_scopes(b, request, "apikey.created", spec->owner, spec->tenant, spec->scopes);
}

static nexus_status create(backend *b, nexus_request *request, nexus_json *body, nexus_apikey_spec *spec, char **text,
                           char **view, size_t *n)
{
    char id[64];
    int64_t ttl = 0;
    nexus_status status = NEXUS_OK;
    if (is_admin_path(request))
        status = find_owner(b, body, &spec->owner, id);
    else
        spec->owner = owner_of(request);
    (void)nexus_json_int(body, nexus_json_get(body, NEXUS_JSON_ROOT, "expires_in"), &ttl);
    spec->ttl_s = (uint32_t)ttl;
    spec->name = member(body, "name");
    spec->plan = member(body, "plan");
    return status == NEXUS_OK ? nexus_apikeys_create(b->keys, spec, text, view, n) : status;
}

static void create_handler(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    nexus_json *body;
    nexus_apikey_spec spec = NEXUS_APIKEY_SPEC_INIT;
    char *scopes = NULL, *cidrs = NULL, *text, *view;
    size_t n;
    if (!read_body(request, &body))
        return;
    if (!join(body, "scopes", &spec.scopes, &scopes) || !join(body, "cidrs", &spec.cidrs, &cidrs)) {
        reply_invalid(request, "", "scopes and cidrs are lists of words without spaces");
    } else if (spec.tenant = member(body, "tenant"), may_make(b, request, &spec)) {
        current_request = request;
        nexus_status status = create(b, request, body, &spec, &text, &view, &n);
        current_request = NULL;
        nexus_outbox_relay_wake(b->relay);
        if (status == NEXUS_OK)
            reply_key(request, 201, text, view, n);
        else
            refuse(b, request, status);
    }
    free(scopes);
    free(cidrs);
    nexus_json_free(body);
}

static void list_handler(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    nexus_slice owner = owner_of(request), cursor = {"", 0}, text;
    uint32_t limit = 20;
    char *view, number[8];
    size_t n;
    if (is_admin_path(request))
        (void)nexus_request_query_param(request, "owner", &owner);
    (void)nexus_request_query_param(request, "cursor", &cursor);
    if (nexus_request_query_param(request, "limit", &text)) {
        snprintf(number, sizeof number, "%.*s", TEXT_ARGS(text));
        limit = (uint32_t)strtoul(number, NULL, 10);
    }
    nexus_status status = nexus_apikeys_list(b->keys, owner, cursor, limit, &view, &n);
    reply_view(b, request, status, view, n);
}

static void show_handler(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    nexus_slice id = {"", 0};
    char *view = NULL;
    size_t n = 0;
    nexus_request_param(request, "id", &id);
    nexus_status status = nexus_apikeys_show(b->keys, id, owner_of(request), &view, &n);
    reply_view(b, request, status, view, n);
}

/* The same for a new secret of it. */
static bool may_rotate(backend *b, nexus_request *request, nexus_slice id)
{
    char *view;
    size_t n;
    nexus_json *key = NULL;
    nexus_slice scope;
    bool good = true;
    if (!is_admin_path(request) || nexus_apikeys_show(b->keys, id, owner_of(request), &view, &n) != NEXUS_OK)
        return true; /* what is asked for will say that there is none */
    if (nexus_json_parse(&key, (nexus_slice){view, n}) == NEXUS_OK) {
        uint32_t scopes = nexus_json_get(key, NEXUS_JSON_ROOT, "scopes");
        for (nexus_json_iter it = {0}; good && nexus_json_step(key, scopes, &it);)
            good = !nexus_json_text(key, it.value, &scope) ||
                   holds_scopes(b, request, "apikey.rotated", id, member(key, "tenant"), scope);
    }
    nexus_json_free(key);
    nexus_free(view);
    return good;
}

static void rotate_handler(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    nexus_slice id = {"", 0};
    nexus_json *body;
    int64_t overlap = 0;
    char *text, *view;
    size_t n;
    if (!read_body(request, &body))
        return;
    bool given = nexus_json_int(body, nexus_json_get(body, NEXUS_JSON_ROOT, "overlap"), &overlap);
    nexus_json_free(body);
    nexus_request_param(request, "id", &id);
    if (!may_rotate(b, request, id))
        return;
    current_request = request;
    nexus_status status = nexus_apikeys_rotate(
        b->keys, id, owner_of(request), given && overlap == 0 ? UINT32_MAX : (uint32_t)overlap, &text, &view, &n);
    current_request = NULL;
    nexus_outbox_relay_wake(b->relay);
    if (status == NEXUS_OK)
        reply_key(request, 200, text, view, n);
    else
        refuse(b, request, status);
}

static void revoke_handler(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    nexus_slice id = {"", 0};
    nexus_request_param(request, "id", &id);
    current_request = request;
    nexus_status status = nexus_apikeys_revoke(b->keys, id, owner_of(request));
    current_request = NULL;
    nexus_outbox_relay_wake(b->relay);
    if (status == NEXUS_OK)
        nexus_request_reply(request, 204, NULL, (nexus_slice){0});
    else
        refuse(b, request, status);
}

/* What a gateway asks: who calls with this key? Not for people, and not routed by the gateway. */
static void check_handler(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    nexus_json *body;
    char *claims = NULL;
    size_t n = 0;
    if (!nexus_service_is_operator(request)) {
        nexus_request_problem_text(request, 401, "token-invalid", "Send the bearer in $STATE/admin.token.");
        return;
    }
    if (!read_body(request, &body))
        return;
    nexus_slice key = member(body, "key");
    nexus_status status = nexus_apikeys_introspect(b->keys, key.p, key.n, &claims, &n);
    nexus_json_free(body);
    if (status == NEXUS_EAUTH) {
        nexus_request_problem_text(request, 404, "not-found", "No such key is good.");
        return;
    }
    (void)nexus_request_set_header(request, "Cache-Control", NEXUS_S("no-store"));
    reply_view(b, request, status, claims, n);
}

/* --- opening ------------------------------------------------------------------------------------------------------- */

static void upkeep(void *user_data)
{
    backend *b = user_data;
    if (nexus_apikeys_upkeep(b->keys) != NEXUS_OK)
        nexus_log_printf(nexus_service_log(b->service), NEXUS_LOG_WARN, "backend", NULL, "API keys: %s",
                         nexus_error_message());
    nexus_outbox_relay_wake(b->relay);
}

nexus_status keys_open(backend *b)
{
    nexus_apikeys_opts opts = NEXUS_APIKEYS_OPTS_INIT;
    opts.secrets = b->secrets;
    opts.event_fn = on_auth_event;
    opts.user_data = b;
    nexus_status status = nexus_apikeys_open(&b->keys, b->db, &opts);
    return status == NEXUS_OK ? nexus_service_every(b->service, "apikeys-upkeep", 20000, upkeep, b) : status;
}

/* --- rows ---------------------------------------------------------------------------------------------------------- */

static const nexus_param id_param[] = {{"id", "path", NULL, "The key.", true}};
static const nexus_param list_params[] = {
    {"cursor", "query", "{\"type\":\"string\",\"maxLength\":12}", "next_cursor of the page before.", false},
    {"limit", "query", "{\"type\":\"integer\",\"minimum\":1,\"maximum\":100}", "Keys a page; 20.", false},
    {"owner", "query", "{\"type\":\"string\",\"maxLength\":64}", "Of this user only; administrators.", false}};
static const nexus_reply_doc created[] = {{201, "The key, shown this once.", "{\"type\":\"object\"}"},
                                          {422, "A value is not allowed.", NULL}};
static const nexus_reply_doc shown[] = {{200, "The key without its secret.", "{\"type\":\"object\"}"},
                                        {404, "No such key of yours.", NULL}};
static const nexus_reply_doc rotated[] = {{200, "The key with its new secret, shown this once.", "{\"type\":\"object\"}"},
                                          {404, "No such key of yours.", NULL}};
static const nexus_reply_doc done[] = {{204, "It is over.", NULL}, {404, "No such key of yours.", NULL}};
static const nexus_reply_doc listed[] = {{200, "A page of keys.", "{\"type\":\"object\"}"}};
static const nexus_reply_doc checked[] = {{200, "Who calls.", "{\"type\":\"object\"}"}, {404, "Nobody.", NULL}};

typedef struct row {
    const char *method, *path, *id, *summary, *schema;
    nexus_handler_fn *handler;
    const nexus_param *params;
    size_t param_count;
    const nexus_reply_doc *replies;
    size_t reply_count;
} row;

#define ROTATE                                                                                                         \
    "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\"overlap\":{\"type\":\"integer\","           \
    "\"minimum\":0,\"maximum\":604800}}}"
#define ROWS(base, who, create_schema, params)                                                                         \
    {"POST", base, "create" who "Key", "Makes an API key.", create_schema, create_handler, NULL, 0, created, 2},       \
        {"GET", base, "list" who "Keys", "Lists API keys.", NULL, list_handler, list_params, params, listed, 1},       \
        {"GET", base "/{id}", "get" who "Key", "Shows an API key.", NULL, show_handler, id_param, 1, shown, 2},        \
        {"POST",                                                                                                       \
         base "/{id}/rotate",                                                                                          \
         "rotate" who "Key",                                                                                           \
         "Gives an API key a new secret; the old one goes on for a day.",                                              \
         ROTATE,                                                                                                       \
         rotate_handler,                                                                                               \
         id_param,                                                                                                     \
         1,                                                                                                            \
         rotated,                                                                                                      \
         2},                                                                                                           \
    {                                                                                                                  \
        "DELETE", base "/{id}", "revoke" who "Key", "Ends an API key.", NULL, revoke_handler, id_param, 1, done, 2     \
    }

static const row rows[] = {
    ROWS("/api/v1/users/me/keys", "My", OBJECT("\"name\",\"scopes\"", CREATE_FIELDS), 2),
    ROWS("/api/v1/admin/keys", "",
         OBJECT("\"name\",\"scopes\",\"owner\"",
                CREATE_FIELDS ",\"owner\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":254}"),
         3),
    {"POST", "/internal/v1/keys/check", "checkKey", "Tells a gateway who calls with a key; needs the operator's bearer.",
     OBJECT("\"key\"", "\"key\":{\"type\":\"string\",\"maxLength\":256}"), check_handler, NULL, 0, checked, 2},
};

nexus_status key_routes(backend *b)
{
    nexus_status status = NEXUS_OK;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && status == NEXUS_OK; i++) {
        const row *r = &rows[i];
        nexus_route route = NEXUS_ROUTE_INIT;
        route.method = r->method;
        route.path = r->path;
        route.operation_id = r->id;
        route.summary = r->summary;
        route.tag = "keys";
        route.body_schema = r->schema;
        route.body_max = r->schema ? 32768 : 0;
        route.handler = r->handler;
        route.user_data = b;
        route.params = r->params;
        route.param_count = r->param_count;
        route.replies = r->replies;
        route.reply_count = r->reply_count;
        route.roles = r->path[1] == 'i' ? "public" : NULL;
        if (strstr(r->path, "/admin/"))
            route.permission = strcmp(r->method, "GET") == 0 ? "keys:read" : "keys:write";
        status = nexus_service_route(b->service, &route, 1);
    }
    return status;
}
