/* OAuth's endpoints that programs call, its metadata, and the administration of clients. The pages are oauth_pages.c's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "backend/private.h"

#define FORM "application/x-www-form-urlencoded"

/* --- endpoints --------------------------------------------------------------------------------------------------------- */

static void no_store(nexus_request *request)
{
    (void)nexus_request_set_header(request, "Cache-Control", NEXUS_S("no-store"));
}

static void oauth_reply(nexus_request *request, nexus_oauth_answer *answer)
{
    char seconds[16];
    nexus_slice body;
    const char *challenge = nexus_oauth_answer_challenge(answer);
    uint32_t wait = nexus_oauth_answer_retry_after(answer);
    int n = snprintf(seconds, sizeof seconds, "%u", wait);
    no_store(request);
    if (*challenge)
        (void)nexus_request_set_header(request, "WWW-Authenticate", (nexus_slice){challenge, strlen(challenge)});
    if (wait)
        (void)nexus_request_set_header(request, "Retry-After", (nexus_slice){seconds, (size_t)n});
    nexus_oauth_answer_body(answer, &body);
    nexus_request_reply(request, nexus_oauth_answer_status(answer), body.n ? "application/json" : NULL, body);
    nexus_oauth_answer_free(answer);
}

/* Two credentials leave open which of them counts. */
static bool is_ambiguous(const nexus_request *request)
{
    nexus_pair field;
    size_t seen = 0;
    for (size_t i = 0; nexus_request_header_at(request, i, &field); i++)
        seen += field.name.n == 13 && strncasecmp(field.name.p, "authorization", 13) == 0;
    return seen > 1;
}

static void bad_request(nexus_request *request, const char *description)
{
    char body[128];
    int n = snprintf(body, sizeof body, "{\"error\":\"invalid_request\",\"error_description\":\"%s\"}", description);
    no_store(request);
    nexus_request_reply(request, 400, "application/json", (nexus_slice){body, (size_t)n});
}

typedef nexus_status endpoint_fn(nexus_oauth *oauth, const nexus_oauth_call *call, nexus_oauth_answer **out);

enum { CHAIN_MAX = 8 };

static void tell_certificate(nexus_oauth_call *call, const nexus_request *request, nexus_slice chain[static CHAIN_MAX])
{
    nexus_client_cert cert = NEXUS_CLIENT_CERT_INIT;
    if (!nexus_request_client_cert(request, &cert))
        return;
    call->client_cert = cert.der;
    call->client_cert_chain = chain;
    while (call->client_cert_chain_count < CHAIN_MAX &&
           nexus_request_client_cert_chain(request, call->client_cert_chain_count, &chain[call->client_cert_chain_count]))
        call->client_cert_chain_count++;
}

static void run(backend *b, nexus_request *request, endpoint_fn *fn)
{
    nexus_oauth_call call = NEXUS_OAUTH_CALL_INIT;
    nexus_slice chain[CHAIN_MAX];
    nexus_oauth_answer *answer;
    if (is_ambiguous(request)) {
        bad_request(request, "Send one Authorization field.");
        return;
    }
    nexus_request_body(request, &call.form);
    (void)nexus_request_header(request, "authorization", &call.authorization);
    nexus_request_remote_ip(request, &call.address);
    tell_certificate(&call, request, chain);
    current_request = request;
    nexus_status status = fn(b->oauth, &call, &answer);
    current_request = NULL;
    nexus_outbox_relay_wake(b->relay);
    if (status == NEXUS_OK)
        oauth_reply(request, answer);
    else
        reply_failure(b, request, status);
}

#define ENDPOINT(name)                                                                                                 \
    static void name##_handler(nexus_request *request, void *user_data)                                                \
    {                                                                                                                  \
        run(user_data, request, nexus_oauth_##name);                                                                   \
    }
ENDPOINT(token)
ENDPOINT(revoke)
ENDPOINT(introspect)
ENDPOINT(userinfo)

/* Secrets do not belong into URLs: what came so has been logged somewhere. */
static void get_token_handler(nexus_request *request, void *user_data)
{
    (void)user_data;
    bad_request(request, "Use POST.");
}

typedef nexus_status metadata_fn(nexus_oauth *oauth, char **json, size_t *n);

static void publish(backend *b, nexus_request *request, metadata_fn *fn)
{
    char *json;
    size_t n;
    nexus_status status = fn(b->oauth, &json, &n);
    if (status != NEXUS_OK) {
        reply_failure(b, request, status);
        return;
    }
    (void)nexus_request_set_header(request, "Cache-Control", NEXUS_S("public, max-age=300"));
    (void)nexus_request_set_header(request, "Access-Control-Allow-Origin", NEXUS_S("*"));
    nexus_request_reply(request, 200, "application/json", (nexus_slice){json, n});
    nexus_free(json);
}

static void metadata_handler(nexus_request *request, void *user_data)
{
    publish(user_data, request, nexus_oauth_metadata);
}

static void resource_handler(nexus_request *request, void *user_data)
{
    publish(user_data, request, nexus_oauth_resource_metadata);
}

/* --- clients ------------------------------------------------------------------------------------------------------------ */

/* The client as JSON, its secret in it when it is new. Frees it. */
static void reply_client(backend *b, nexus_request *request, nexus_status status, uint16_t http, char *json, size_t n)
{
    if (status == NEXUS_EINVAL)
        reply_member(request, nexus_error_message());
    else if (status == NEXUS_ENOTFOUND)
        nexus_request_problem_text(request, 404, "not-found", "There is no such client.");
    else if (status != NEXUS_OK)
        reply_failure(b, request, status);
    if (status != NEXUS_OK)
        return;
    no_store(request);
    nexus_request_reply(request, http, "application/json", (nexus_slice){json, n});
    nexus_free_wiped(json, n);
}

/* What a client may is what whoever makes it, or gets a new secret of it, may himself: its roles and its scopes. */
static bool holds_client(backend *b, nexus_request *request, const char *action, nexus_slice object, nexus_slice metadata)
{
    nexus_json *client;
    nexus_slice names[32];
    size_t count = 0;
    if (nexus_json_parse(&client, metadata) != NEXUS_OK)
        return true; /* what is wrong with it is said by what reads it */
    uint32_t roles = nexus_json_get(client, NEXUS_JSON_ROOT, "roles");
    for (nexus_json_iter it = {0}; count < 32 && nexus_json_step(client, roles, &it);)
        if (nexus_json_text(client, it.value, &names[count]))
            count++;
    bool good = holds_roles(b, request, action, object, names, count) &&
                holds_scopes(b, request, action, object, NEXUS_S(""), member(client, "scope"));
    nexus_json_free(client);
    return good;
}

static void add_client_handler(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    nexus_slice body;
    char *json = NULL;
    size_t n = 0;
    nexus_request_body(request, &body);
    if (!holds_client(b, request, "client.created", NEXUS_S(""), body))
        return;
    current_request = request;
    nexus_status status = nexus_oauth_client_add(b->oauth, body, &json, &n);
    current_request = NULL;
    nexus_outbox_relay_wake(b->relay);
    reply_client(b, request, status, 201, json, n);
}

static void list_clients_handler(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    nexus_slice cursor = {"", 0}, text;
    uint32_t limit = 20;
    char *json = NULL, number[8];
    size_t n = 0;
    (void)nexus_request_query_param(request, "cursor", &cursor);
    if (nexus_request_query_param(request, "limit", &text)) {
        snprintf(number, sizeof number, "%.*s", TEXT_ARGS(text));
        limit = (uint32_t)strtoul(number, NULL, 10);
    }
    nexus_status status = nexus_oauth_clients(b->oauth, cursor, limit, &json, &n);
    reply_client(b, request, status, 200, json, n);
}

static void show_client_handler(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    nexus_slice id = {"", 0};
    char *json = NULL;
    size_t n = 0;
    nexus_request_param(request, "id", &id);
    nexus_status status = nexus_oauth_client(b->oauth, id, &json, &n);
    reply_client(b, request, status, 200, json, n);
}

static void rotate_client_handler(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    nexus_slice id = {"", 0};
    nexus_json *body;
    int64_t overlap = 0;
    char *json = NULL;
    size_t n = 0;
    if (!read_body(request, &body))
        return;
    bool given = nexus_json_int(body, nexus_json_get(body, NEXUS_JSON_ROOT, "overlap"), &overlap);
    nexus_json_free(body);
    nexus_request_param(request, "id", &id);
    if (nexus_oauth_client(b->oauth, id, &json, &n) == NEXUS_OK) {
        bool good = holds_client(b, request, "client.rotated", id, (nexus_slice){json, n});
        nexus_free(json);
        json = NULL;
        if (!good)
            return;
    }
    current_request = request;
    nexus_status status =
        nexus_oauth_client_rotate(b->oauth, id, given && overlap == 0 ? UINT32_MAX : (uint32_t)overlap, &json, &n);
    current_request = NULL;
    nexus_outbox_relay_wake(b->relay);
    reply_client(b, request, status, 200, json, n);
}

static void delete_client_handler(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    nexus_slice id = {"", 0};
    nexus_request_param(request, "id", &id);
    current_request = request;
    nexus_status status = nexus_oauth_client_delete(b->oauth, id);
    current_request = NULL;
    nexus_outbox_relay_wake(b->relay);
    if (status == NEXUS_OK)
        nexus_request_reply(request, 204, NULL, (nexus_slice){0});
    else
        reply_client(b, request, status, 0, NULL, 0);
}

/* --- rows ---------------------------------------------------------------------------------------------------------------- */

#define ANY "{\"type\":\"object\"}"
static const nexus_reply_doc answered[] = {{200, "As the RFC says.", ANY},
                                           {400, "{error, error_description}", ANY},
                                           {401, "The client is not who it says.", ANY}};
static const nexus_reply_doc described[] = {{200, "The metadata.", ANY}};
static const nexus_reply_doc created[] = {{201, "The client; its secret is shown this once.", ANY},
                                          {422, "A value is not allowed.", NULL}};
static const nexus_reply_doc shown[] = {{200, "The client without its secret.", ANY}, {404, "No such client.", NULL}};
static const nexus_reply_doc listed[] = {{200, "A page of clients.", ANY}};
static const nexus_reply_doc rotated[] = {{200, "The client with its new secret, shown this once.", ANY},
                                          {404, "No such client.", NULL}};
static const nexus_reply_doc done[] = {{204, "It is gone.", NULL}, {404, "No such client.", NULL}};
static const nexus_param id_param[] = {{"id", "path", NULL, "The client.", true}};
static const nexus_param list_params[] = {
    {"cursor", "query", "{\"type\":\"string\",\"maxLength\":36}", "next_cursor of the page before.", false},
    {"limit", "query", "{\"type\":\"integer\",\"minimum\":1,\"maximum\":100}", "Clients a page; 20.", false}};

#define ROTATE                                                                                                         \
    "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\"overlap\":{\"type\":\"integer\","           \
    "\"minimum\":0,\"maximum\":604800}}}"
#define ADMIN "/api/v1/admin/clients"
#define WITH(list) list, sizeof list / sizeof list[0]

typedef struct row {
    const char *method, *path, *id, *summary, *schema, *types;
    nexus_handler_fn *handler;
    const nexus_param *params;
    size_t param_count;
    const nexus_reply_doc *replies;
    size_t reply_count;
} row;

static const row rows[] = {
    {"POST", "/oauth/token", "getToken", "Trades a code, a refresh token or credentials for tokens.", NULL, FORM,
     token_handler, NULL, 0, WITH(answered)},
    {"GET", "/oauth/token", NULL, NULL, NULL, NULL, get_token_handler, NULL, 0, NULL, 0},
    {"POST", "/oauth/revoke", "revokeToken", "Ends a token (RFC 7009).", NULL, FORM, revoke_handler, NULL, 0,
     WITH(answered)},
    {"POST", "/oauth/introspect", "introspectToken", "Says what a token is worth (RFC 7662).", NULL, FORM,
     introspect_handler, NULL, 0, WITH(answered)},
    {"GET", "/oauth/userinfo", "getUserinfo", "Says who the token's person is.", NULL, NULL, userinfo_handler, NULL, 0,
     WITH(answered)},
    {"POST", "/oauth/userinfo", NULL, NULL, NULL, FORM, userinfo_handler, NULL, 0, NULL, 0},
    {"GET", "/.well-known/openid-configuration", "getOpenidConfiguration", "Describes this issuer.", NULL, NULL,
     metadata_handler, NULL, 0, WITH(described)},
    {"GET", "/.well-known/oauth-authorization-server", NULL, NULL, NULL, NULL, metadata_handler, NULL, 0, NULL, 0},
    {"GET", "/.well-known/oauth-protected-resource", "getResourceMetadata", "Says whose tokens are taken here.", NULL,
     NULL, resource_handler, NULL, 0, WITH(described)},
    {"POST", ADMIN, "createClient", "Registers an OAuth client.", ANY, NULL, add_client_handler, NULL, 0, WITH(created)},
    {"GET", ADMIN, "listClients", "Lists OAuth clients.", NULL, NULL, list_clients_handler, WITH(list_params),
     WITH(listed)},
    {"GET", ADMIN "/{id}", "getClient", "Shows an OAuth client.", NULL, NULL, show_client_handler, WITH(id_param),
     WITH(shown)},
    {"POST", ADMIN "/{id}/rotate", "rotateClient", "Gives a client another secret; the old one goes on for a day.",
     ROTATE, NULL, rotate_client_handler, WITH(id_param), WITH(rotated)},
    {"DELETE", ADMIN "/{id}", "deleteClient", "Removes a client and ends all of its tokens.", NULL, NULL,
     delete_client_handler, WITH(id_param), WITH(done)},
};

nexus_status oauth_routes(backend *b)
{
    const nexus_settings *s = nexus_service_settings(b->service);
    const char *ca = nexus_settings_text(s, "oauth_client_ca"), *crl = nexus_settings_text(s, "oauth_client_crl");
    const char *mtls = nexus_settings_text(s, "oauth_mtls_url");
    nexus_oauth_opts opts = NEXUS_OAUTH_OPTS_INIT;
    opts.client_ca_file = *ca ? ca : NULL;
    opts.client_crl_file = *crl ? crl : NULL;
    opts.mtls_url = *mtls ? mtls : NULL;
    nexus_status status = nexus_oauth_open(&b->oauth, b->auth, &opts);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && status == NEXUS_OK; i++) {
        const row *r = &rows[i];
        nexus_route route = NEXUS_ROUTE_INIT;
        route.method = r->method;
        route.path = r->path;
        route.handler = r->handler;
        route.user_data = b;
        route.operation_id = r->id;
        route.summary = r->summary;
        route.tag = strncmp(r->path, ADMIN, sizeof ADMIN - 1) == 0 ? "clients" : "oauth";
        if (strcmp(route.tag, "clients") == 0)
            route.permission = strcmp(r->method, "GET") == 0 ? "clients:read" : "clients:write";
        else
            route.roles = "public";
        route.body_schema = r->schema;
        route.body_types = r->types;
        route.body_max = 32768;
        route.params = r->params;
        route.param_count = r->param_count;
        route.replies = r->replies;
        route.reply_count = r->reply_count;
        status = nexus_service_route(b->service, &route, 1);
    }
    return status;
}
