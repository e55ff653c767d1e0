/*
 * The ring of keys that seals what stands in the database: what each key protects, a new one, sealing again, letting go. And
 * the ring of what events carry for mails: nobody can look there for values, but they are void after a while.
 */
#include <stdio.h>
#include <string.h>

#include "backend/private.h"

enum { MAIL_UNUSED_S = 3600 }; /* codes in mails are void after 15 minutes */

/* What cannot be recorded is not done: the record comes first, and a second one tells when it failed. */
static nexus_status record(backend *b, nexus_request *request, const char *action, nexus_slice kid)
{
    current_request = request;
    nexus_status status = audit_event(b, action, kid, (nexus_slice){"{}", 2});
    current_request = NULL;
    return status;
}

static void status_handler(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    char *json;
    size_t n;
    nexus_status status = nexus_auth_secrets(b->auth, &json, &n);
    if (status != NEXUS_OK) {
        reply_failure(b, request, status);
        return;
    }
    nexus_request_reply(request, 200, "application/json", (nexus_slice){json, n});
    nexus_free(json);
}

static void rotate_handler(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    nexus_status status = record(b, request, "secrets.rotate", (nexus_slice){"", 0});
    if (status == NEXUS_OK)
        status = nexus_auth_secrets_rotate(b->auth);
    if (status == NEXUS_OK)
        status_handler(request, b);
    else if (status == NEXUS_ETOOBIG)
        nexus_request_problem_text(request, 409, "conflict", nexus_error_message());
    else
        reply_failure(b, request, status);
}

static void reseal_handler(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    nexus_json_writer *w;
    uint32_t done = 0;
    nexus_status status = nexus_auth_reseal(b->auth, 0, &done);
    if (status == NEXUS_OK)
        status = nexus_json_writer_new(&w);
    if (status != NEXUS_OK) {
        reply_failure(b, request, status);
        return;
    }
    nexus_json_open_object(w, NULL);
    nexus_json_put_int(w, "resealed", done);
    nexus_json_close(w);
    reply_json(request, 200, w);
}

static void refuse_retiring(backend *b, nexus_request *request, nexus_slice kid, nexus_status status)
{
    bool missing = status == NEXUS_ENOTFOUND;
    char why[256];
    if (status != NEXUS_ECONFLICT && !missing) {
        reply_failure(b, request, status);
        return;
    }
    snprintf(why, sizeof why, "%s", nexus_error_message());
    audit_refused(b, request, "secrets.retire", kid);
    nexus_request_problem_text(request, missing ? 404 : 409, missing ? "not-found" : "conflict", why);
}

static void retire_from(nexus_request *request, backend *b, bool mail)
{
    nexus_slice id = {"", 0};
    char kid[32];
    nexus_request_param(request, "kid", &id);
    snprintf(kid, sizeof kid, "%.*s", TEXT_ARGS(id));
    nexus_status status = record(b, request, "secrets.retire", id);
    if (status == NEXUS_OK)
        status = mail ? nexus_secrets_retire(b->mail_secrets, kid, MAIL_UNUSED_S) : nexus_auth_secrets_retire(b->auth, kid);
    if (status == NEXUS_OK)
        nexus_request_reply(request, 204, NULL, (nexus_slice){0});
    else
        refuse_retiring(b, request, id, status);
}

static void retire_handler(nexus_request *request, void *user_data)
{
    retire_from(request, user_data, false);
}

static void mail_status_handler(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    char *json;
    size_t n;
    nexus_status status = nexus_secrets_list(b->mail_secrets, &json, &n);
    if (status != NEXUS_OK) {
        reply_failure(b, request, status);
        return;
    }
    nexus_request_reply(request, 200, "application/json", (nexus_slice){json, n});
    nexus_free(json);
}

static void mail_rotate_handler(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    nexus_status status = record(b, request, "secrets.rotate", (nexus_slice){"mail", 4});
    if (status == NEXUS_OK)
        status = nexus_secrets_rotate(b->mail_secrets);
    if (status == NEXUS_OK)
        mail_status_handler(request, b);
    else
        reply_failure(b, request, status);
}

static void mail_retire_handler(nexus_request *request, void *user_data)
{
    retire_from(request, user_data, true);
}

static const nexus_param kid_param[] = {{"kid", "path", NULL, "The key.", true}};
static const nexus_reply_doc shown[] = {{200, "The keys, the one that seals first.", "{\"type\":\"object\"}"}};
static const nexus_reply_doc resealed[] = {{200, "How many were sealed again; 0: none is left that opens.",
                                            "{\"type\":\"object\"}"}};
static const nexus_reply_doc retired[] = {{204, "It is out of the ring.", NULL}};

nexus_status secret_routes(backend *b)
{
    nexus_route rows[] = {
        {.method = "GET",
         .path = "/api/v1/admin/secrets",
         .handler = status_handler,
         .operation_id = "getSecrets",
         .summary = "Shows how many sealed values each key protects.",
         .replies = shown},
        {.method = "POST",
         .path = "/api/v1/admin/secrets/rotate",
         .handler = rotate_handler,
         .operation_id = "rotateSecrets",
         .summary = "Puts a new key in front of the ring.",
         .replies = shown},
        {.method = "POST",
         .path = "/api/v1/admin/secrets/reseal",
         .handler = reseal_handler,
         .operation_id = "resealSecrets",
         .summary = "Seals a batch of values again that older keys sealed.",
         .replies = resealed},
        {.method = "DELETE",
         .path = "/api/v1/admin/secrets/{kid}",
         .handler = retire_handler,
         .operation_id = "retireSecret",
         .summary = "Takes a key out of the ring that seals nothing any more.",
         .params = kid_param,
         .param_count = 1,
         .replies = retired},
        {.method = "GET",
         .path = "/api/v1/admin/secrets/mail",
         .handler = mail_status_handler,
         .operation_id = "getMailSecrets",
         .summary = "Shows the keys that seal what events carry for mails.",
         .replies = shown},
        {.method = "POST",
         .path = "/api/v1/admin/secrets/mail/rotate",
         .handler = mail_rotate_handler,
         .operation_id = "rotateMailSecrets",
         .summary = "Puts a new key in front of them.",
         .replies = shown},
        {.method = "DELETE",
         .path = "/api/v1/admin/secrets/mail/{kid}",
         .handler = mail_retire_handler,
         .operation_id = "retireMailSecret",
         .summary = "Takes one out that has sealed nothing for an hour.",
         .params = kid_param,
         .param_count = 1,
         .replies = retired},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        rows[i].size = sizeof rows[i];
        rows[i].tag = "secrets";
        rows[i].permission = strcmp(rows[i].method, "GET") == 0 ? "secrets:read" : "secrets:write";
        rows[i].user_data = b;
        rows[i].reply_count = 1;
    }
    return nexus_service_route(b->service, rows, sizeof rows / sizeof rows[0]);
}
