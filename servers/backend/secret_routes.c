/*
 * The ring of keys that seals what stands in the database: what each key protects, a new one, sealing again, letting go. And
 * the ring of what events carry for mails: nobody can look there for values, but they are void after a while.
 */
#include <string.h>

#include "backend/private.h"

enum { MAIL_UNUSED_S = 3600 }; /* codes in mails are void after 15 minutes */

static nexus_status list(void *user_data, char **json, size_t *n)
{
    return nexus_auth_secrets(((backend *)user_data)->auth, json, n);
}

static nexus_status rotate(void *user_data)
{
    return nexus_auth_secrets_rotate(((backend *)user_data)->auth);
}

static nexus_status reseal(void *user_data, uint32_t *done)
{
    return nexus_auth_reseal(((backend *)user_data)->auth, 0, done);
}

static nexus_status retire(void *user_data, const char *kid)
{
    return nexus_auth_secrets_retire(((backend *)user_data)->auth, kid);
}

static nexus_status list_mail(void *user_data, char **json, size_t *n)
{
    return nexus_secrets_list(((backend *)user_data)->mail_secrets, json, n);
}

static nexus_status rotate_mail(void *user_data)
{
    return nexus_secrets_rotate(((backend *)user_data)->mail_secrets);
}

static nexus_status retire_mail(void *user_data, const char *kid)
{
    return nexus_secrets_retire(((backend *)user_data)->mail_secrets, kid, MAIL_UNUSED_S);
}

static const nexus_param kid_param[] = {{"kid", "path", NULL, "The key.", true}};
static const nexus_reply_doc shown[] = {{200, "The keys, the one that seals first.", "{\"type\":\"object\"}"}};
static const nexus_reply_doc resealed[] = {{200, "How many were sealed again; 0: none is left that opens.",
                                            "{\"type\":\"object\"}"}};
static const nexus_reply_doc retired[] = {{204, "It is out of the ring.", NULL}};

nexus_status secret_routes(backend *b)
{
    b->data_ring = (nexus_ring_calls){.service = b->service, .name = "data", .list = list, .rotate = rotate,
                                      .reseal = reseal, .retire = retire, .user_data = b};
    b->mail_ring = (nexus_ring_calls){.service = b->service, .name = "mail", .list = list_mail, .rotate = rotate_mail,
                                      .retire = retire_mail, .user_data = b};
    nexus_route rows[] = {
        {.method = "GET",
         .path = "/api/v1/admin/secrets",
         .user_data = &b->data_ring,
         .handler = nexus_ring_show,
         .operation_id = "getSecrets",
         .summary = "Shows how many sealed values each key protects.",
         .replies = shown},
        {.method = "POST",
         .path = "/api/v1/admin/secrets/rotate",
         .user_data = &b->data_ring,
         .handler = nexus_ring_rotate,
         .operation_id = "rotateSecrets",
         .summary = "Puts a new key in front of the ring.",
         .replies = shown},
        {.method = "POST",
         .path = "/api/v1/admin/secrets/reseal",
         .user_data = &b->data_ring,
         .handler = nexus_ring_reseal,
         .operation_id = "resealSecrets",
         .summary = "Seals a batch of values again that older keys sealed.",
         .replies = resealed},
        {.method = "DELETE",
         .path = "/api/v1/admin/secrets/{kid}",
         .user_data = &b->data_ring,
         .handler = nexus_ring_retire,
         .operation_id = "retireSecret",
         .summary = "Takes a key out of the ring that seals nothing any more.",
         .params = kid_param,
         .param_count = 1,
         .replies = retired},
        {.method = "GET",
         .path = "/api/v1/admin/secrets/mail",
         .user_data = &b->mail_ring,
         .handler = nexus_ring_show,
         .operation_id = "getMailSecrets",
         .summary = "Shows the keys that seal what events carry for mails.",
         .replies = shown},
        {.method = "POST",
         .path = "/api/v1/admin/secrets/mail/rotate",
         .user_data = &b->mail_ring,
         .handler = nexus_ring_rotate,
         .operation_id = "rotateMailSecrets",
         .summary = "Puts a new key in front of them.",
         .replies = shown},
        {.method = "DELETE",
         .path = "/api/v1/admin/secrets/mail/{kid}",
         .user_data = &b->mail_ring,
         .handler = nexus_ring_retire,
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
        rows[i].reply_count = 1;
    }
    return nexus_service_route(b->service, rows, sizeof rows / sizeof rows[0]);
}
