/* The ring of keys that seals the secrets of webhook endpoints: what each key protects, a new one, sealing again, letting go. */
#include <stdio.h>
#include <string.h>

#include "notification/private.h"

/* action NULL: nothing was recorded. */
static void fail(notification *n, nexus_request *request, nexus_status status, const char *action, nexus_slice object)
{
    char why[256];
    snprintf(why, sizeof why, "%s", nexus_error_message());
    if (action)
        notification_audit_failed(n, request, action, object, status);
    if (status == NEXUS_ECONFLICT || status == NEXUS_ETOOBIG) {
        nexus_request_problem_text(request, 409, "conflict", why);
    } else if (status == NEXUS_ENOTFOUND) {
        nexus_request_problem_text(request, 404, "not-found", why);
    } else {
        nexus_log_printf(nexus_service_log(n->service), NEXUS_LOG_ERROR, "notification", NULL, "secrets: %s", why);
        nexus_request_problem_text(request, 500, "internal", "The keys cannot be changed or read; see the log.");
    }
}

static void status_handler(nexus_request *request, void *user_data)
{
    notification *n = user_data;
    char *json;
    size_t len;
    nexus_status status = nexus_notify_secrets(n->notify, &json, &len);
    if (status != NEXUS_OK) {
        fail(n, request, status, NULL, (nexus_slice){0});
        return;
    }
    nexus_request_reply(request, 200, "application/json", (nexus_slice){json, len});
    nexus_free(json);
}

static void rotate_handler(nexus_request *request, void *user_data)
{
    notification *n = user_data;
    if (!notification_audited(n, request, "secrets.rotate", (nexus_slice){"notification", 12}))
        return;
    nexus_status status = nexus_secrets_rotate(n->secrets);
    if (status == NEXUS_OK) {
        status_handler(request, n);
        return;
    }
    fail(n, request, status, "secrets.rotate", (nexus_slice){"notification", 12});
}

static void reseal_handler(nexus_request *request, void *user_data)
{
    notification *n = user_data;
    char text[40];
    uint32_t done = 0;
    nexus_status status = nexus_notify_reseal(n->notify, 0, &done);
    if (status != NEXUS_OK) {
        fail(n, request, status, NULL, (nexus_slice){0});
        return;
    }
    int len = snprintf(text, sizeof text, "{\"resealed\":%u}", done);
    nexus_request_reply(request, 200, "application/json", (nexus_slice){text, (size_t)len});
}

static void retire_handler(nexus_request *request, void *user_data)
{
    notification *n = user_data;
    nexus_slice id = {"", 0};
    char kid[32];
    nexus_request_param(request, "kid", &id);
    snprintf(kid, sizeof kid, "%.*s", TEXT_ARGS(id));
    if (!notification_audited(n, request, "secrets.retire", id))
        return;
    nexus_status status = nexus_notify_secrets_retire(n->notify, kid);
    if (status == NEXUS_OK) {
        nexus_request_reply(request, 204, NULL, (nexus_slice){0});
        return;
    }
    fail(n, request, status, "secrets.retire", id);
}

static const nexus_param kid_param[] = {{"kid", "path", NULL, "The key.", true}};
static const nexus_reply_doc shown[] = {{200, "The keys, those that seal first.", "{\"type\":\"object\"}"}};
static const nexus_reply_doc resealed[] = {{200, "How many were sealed again; 0: none is left that opens.",
                                            "{\"type\":\"object\"}"}};
static const nexus_reply_doc retired[] = {{204, "It is out of the ring.", NULL}};

nexus_status notification_secret_routes(notification *n)
{
    nexus_route rows[] = {
        {.method = "GET",
         .path = "/api/v1/notifications/secrets",
         .handler = status_handler,
         .operation_id = "getWebhookSecrets",
         .summary = "Shows how many secrets of endpoints each key protects.",
         .replies = shown},
        {.method = "POST",
         .path = "/api/v1/notifications/secrets/rotate",
         .handler = rotate_handler,
         .operation_id = "rotateWebhookSecrets",
         .summary = "Puts a new key in front of the ring.",
         .replies = shown},
        {.method = "POST",
         .path = "/api/v1/notifications/secrets/reseal",
         .handler = reseal_handler,
         .operation_id = "resealWebhookSecrets",
         .summary = "Seals a batch of secrets again that older keys sealed.",
         .replies = resealed},
        {.method = "DELETE",
         .path = "/api/v1/notifications/secrets/{kid}",
         .handler = retire_handler,
         .operation_id = "retireWebhookSecret",
         .summary = "Takes a key out of the ring that seals nothing any more.",
         .params = kid_param,
         .param_count = 1,
         .replies = retired},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        rows[i].size = sizeof rows[i];
        rows[i].tag = "secrets";
        rows[i].permission = strcmp(rows[i].method, "GET") == 0 ? "secrets:read" : "secrets:write";
        rows[i].user_data = n;
        rows[i].reply_count = 1;
    }
    return nexus_service_route(n->service, rows, sizeof rows / sizeof rows[0]);
}
