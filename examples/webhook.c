/* A signed webhook, made and checked (Standard Webhooks): a receiver needs the secret and three header fields. */
#include <nexus/nexus.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
    char *secret, *signature;
    nexus_slice body = NEXUS_S("{\"type\":\"order.confirmed\"}"), id = NEXUS_S("msg_1");
    if (nexus_webhook_secret(&secret) ||
        nexus_webhook_sign(&signature, NULL, (nexus_slice){secret, strlen(secret)}, id, 1700000000, body))
        return 1;
    nexus_status status = nexus_webhook_verify((nexus_slice){secret, strlen(secret)}, id, NEXUS_S("1700000000"),
                                               (nexus_slice){signature, strlen(signature)}, body, 1700000000, 0);
    printf("webhook-signature: %s\n%s\n", signature, nexus_status_name(status));
    nexus_free(signature);
    nexus_free(secret);
    return status == NEXUS_OK ? 0 : 1;
}
