/* Who tells what an API key is good for: the backend by an internal call, or the database that it shares with us. */
#include "gateway/gateway.h"

#include <stdio.h>
#include <string.h>

static nexus_status complain(gateway *g, nexus_status status)
{
    nexus_log_printf(nexus_service_log(g->service), NEXUS_LOG_ERROR, "gateway", NULL, "gateway_apikeys: %s",
                     nexus_error_message());
    return status;
}

/* Of the backend's own tables; its migrations are ours too, so that it does not matter who starts first. */
static nexus_status open_database(gateway *g, nexus_apikey_verifier_opts *verifier)
{
    const char *url = nexus_settings_text(nexus_service_settings(g->service), "database_url");
    nexus_db_opts db = NEXUS_DB_OPTS_INIT;
    nexus_apikeys_opts keys = NEXUS_APIKEYS_OPTS_INIT;
    db.schema = "backend";
    if (strncmp(url, "postgres", 8) != 0) {
        nexus_log_printf(
            nexus_service_log(g->service), NEXUS_LOG_ERROR, "gateway", NULL,
            "gateway_apikeys=database needs database_url=postgresql://…: a SQLite file is its owner's alone");
        return NEXUS_EINVAL;
    }
    nexus_status status = nexus_service_ring(&g->apikeys.secrets, g->service, "secrets.key");
    keys.secrets = g->apikeys.secrets;
    if (status == NEXUS_OK)
        status = nexus_db_open(&g->apikeys.db, url, &db);
    if (status == NEXUS_OK)
        status = nexus_apikeys_open(&g->apikeys.keys, g->apikeys.db, &keys);
    verifier->keys = g->apikeys.keys;
    verifier->runtime = nexus_service_runtime(g->service);
    return status;
}

static nexus_status open_backend(gateway *g, nexus_apikey_verifier_opts *verifier)
{
    static const char path[] = "/internal/v1/keys/check";
    char url[600], *bearer;
    const char *setting = nexus_settings_text(nexus_service_settings(g->service), "gateway_apikeys_url");
    nexus_client_opts client = NEXUS_CLIENT_OPTS_INIT;
    if (*setting)
        snprintf(url, sizeof url, "%s", setting);
    else
        snprintf(url, sizeof url, "http://127.0.0.1:%u%s", nexus_service_peer_port(g->service, 1), path);
    nexus_status status = nexus_service_secret(&bearer, g->service, "admin.token", 32);
    if (status != NEXUS_OK)
        return status;
    verifier->url = url;
    verifier->bearer = bearer;
    status = nexus_client_open(&g->apikeys.client, NULL, &client);
    verifier->client = g->apikeys.client;
    if (status == NEXUS_OK)
        status = nexus_apikey_verifier_open(&g->apikeys.verifier, verifier);
    nexus_free(bearer);
    return status;
}

nexus_status gateway_apikeys_open(gateway *g)
{
    const char *who = nexus_settings_text(nexus_service_settings(g->service), "gateway_apikeys");
    nexus_apikey_verifier_opts opts = NEXUS_APIKEY_VERIFIER_OPTS_INIT;
    nexus_status status;
    if (strcmp(who, "database") == 0) {
        status = open_database(g, &opts);
        if (status == NEXUS_OK)
            status = nexus_apikey_verifier_open(&g->apikeys.verifier, &opts);
    } else {
        status = open_backend(g, &opts);
    }
    return status == NEXUS_OK ? status : complain(g, status);
}

/* What is being asked ends unanswered, and requests that wait for it learn that. */
void gateway_apikeys_end(gateway *g)
{
    nexus_client_close(g->apikeys.client);
}

void gateway_apikeys_close(gateway *g)
{
    nexus_apikey_verifier_close(g->apikeys.verifier);
    nexus_apikeys_close(g->apikeys.keys);
    nexus_db_close(g->apikeys.db);
    nexus_secrets_close(g->apikeys.secrets);
}
