/* The ring of keys that seals the secrets of webhook endpoints: what each key protects, a new one, sealing again, letting go. */
#include <string.h>

#include "notification/private.h"

static nexus_status list(void *user_data, char **json, size_t *len)
{
    return nexus_notify_secrets(((notification *)user_data)->notify, json, len);
}

static nexus_status rotate(void *user_data)
{
    return nexus_secrets_rotate(((notification *)user_data)->secrets);
}

static nexus_status reseal(void *user_data, uint32_t *done)
{
    return nexus_notify_reseal(((notification *)user_data)->notify, 0, done);
}

static nexus_status retire(void *user_data, const char *kid)
{
    return nexus_notify_secrets_retire(((notification *)user_data)->notify, kid);
}

static const nexus_param kid_param[] = {{"kid", "path", NULL, "The key.", true}};
static const nexus_reply_doc shown[] = {{200, "The keys, those that seal first.", "{\"type\":\"object\"}"}};
static const nexus_reply_doc resealed[] = {{200, "How many were sealed again; 0: none is left that opens.",
                                            "{\"type\":\"object\"}"}};
static const nexus_reply_doc retired[] = {{204, "It is out of the ring.", NULL}};

nexus_status notification_secret_routes(notification *n)
{
    n->ring = (nexus_ring_calls){.service = n->service, .name = "notification", .list = list, .rotate = rotate,
                                 .reseal = reseal, .retire = retire, .user_data = n};
    nexus_route rows[] = {
        {.method = "GET",
         .path = "/api/v1/notifications/secrets",
         .handler = nexus_ring_show,
         .operation_id = "getWebhookSecrets",
         .summary = "Shows how many secrets of endpoints each key protects.",
         .replies = shown},
        {.method = "POST",
         .path = "/api/v1/notifications/secrets/rotate",
         .handler = nexus_ring_rotate,
         .operation_id = "rotateWebhookSecrets",
         .summary = "Puts a new key in front of the ring.",
         .replies = shown},
        {.method = "POST",
         .path = "/api/v1/notifications/secrets/reseal",
         .handler = nexus_ring_reseal,
         .operation_id = "resealWebhookSecrets",
         .summary = "Seals a batch of secrets again that older keys sealed.",
         .replies = resealed},
        {.method = "DELETE",
         .path = "/api/v1/notifications/secrets/{kid}",
         .handler = nexus_ring_retire,
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
        rows[i].user_data = &n->ring;
        rows[i].reply_count = 1;
    }
    return nexus_service_route(n->service, rows, sizeof rows / sizeof rows[0]);
}
