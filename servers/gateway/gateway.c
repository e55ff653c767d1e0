#include "gateway/gateway.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const nexus_setting settings[] = {
    {"gateway_routes", NEXUS_SETTING_TEXT, NULL, 0, 0, NULL,
     "Routes file; it is watched for changes. Unset: the routes of the nexus services."},
    {"gateway_watch_ms", NEXUS_SETTING_INT, "1000", 50, 3600000, NULL, "How often the routes file is looked at."},
    {"gateway_nodes", NEXUS_SETTING_INT, "1", 1, 10000, NULL,
     "Gateways that share limits of scope cluster: what each admits while redis_url does not answer is its share."},
    {"gateway_limit_keys", NEXUS_SETTING_INT, "1048576", 64, 0x7fffffff, NULL,
     "Keys that the limits remember at most, rounded up; about 21 bytes each."},
    {"gateway_body_max", NEXUS_SETTING_INT, "67108864", 1, 0x7fffffff, NULL,
     "Bytes of a request's body that are passed on, where a route sets no limit of its own."},
    {"gateway_dns_servers", NEXUS_SETTING_TEXT, NULL, 0, 0, NULL,
     "Name servers for names of targets, ADDRESS:PORT separated by commas. Unset: those of the system."},
    {"gateway_identity_key", NEXUS_SETTING_TEXT, NULL, 0, 0, NULL,
     "File with the private key, PEM or JWK, that signs X-Nexus-Identity for routes with \"identity\"; readable by its "
     "owner only."},
    {"gateway_signature_keys", NEXUS_SETTING_TEXT, NULL, 0, 0, NULL,
     "File with the JWK set of callers that sign requests (RFC 9421), for routes whose \"auth\" names signature; readable by "
     "its owner only."},
    {"gateway_public_url", NEXUS_SETTING_URL, NULL, 0, 0, "http,https",
     "Under which clients reach this gateway, such as https://api.example: in the metadata of protected resources (RFC 9728). "
     "Unset: what each request asked for."},
    {"gateway_login_issuer", NEXUS_SETTING_TEXT, NULL, 0, 0, NULL,
     "OpenID Connect provider where people sign in for routes with \"auth\": \"oidc\"; https, unless loopback. Unset: none."},
    {"gateway_login_client_id", NEXUS_SETTING_TEXT, NULL, 0, 0, NULL, "How the provider knows this gateway."},
    {"gateway_login_client_secret", NEXUS_SETTING_SECRET, NULL, 0, 0, NULL, "Its secret there; unset: a public client."},
    {"gateway_login_url", NEXUS_SETTING_TEXT, NULL, 0, 0, NULL,
     "Under which people reach this gateway, such as https://app.example; /.nexus/callback there is registered at the "
     "provider. Unset: the issuer of our own tokens."},
    {"gateway_login_scope", NEXUS_SETTING_TEXT, "openid profile email", 0, 0, NULL, "What the provider is asked for."},
    {"gateway_login_roles_claim", NEXUS_SETTING_TEXT, NULL, 0, 0, NULL,
     "Claim of the provider's ID token whose texts are roles here. Unset: whoever signs in so has no roles."},
    {"gateway_introspection_url", NEXUS_SETTING_TEXT, NULL, 0, 0, NULL,
     "Introspection endpoint (RFC 7662) that is asked about tokens of routes with \"auth\": \"introspect\"; https, unless "
     "loopback. Unset: none."},
    {"gateway_introspection_client_id", NEXUS_SETTING_TEXT, NULL, 0, 0, NULL, "How that server knows this gateway."},
    {"gateway_introspection_client_secret", NEXUS_SETTING_SECRET, NULL, 0, 0, NULL, "Its secret there."},
    {"gateway_apikeys", NEXUS_SETTING_CHOICE, "backend", 0, 0, "backend,database",
     "Who tells what an API key is good for: the backend, or its database (database_url must be PostgreSQL)."},
    {"gateway_apikeys_url", NEXUS_SETTING_URL, NULL, 0, 0, "http,https",
     "Where the backend is asked about API keys, with the bearer of admin.token. Unset: the backend on this machine."},
    {"gateway_docs_ms", NEXUS_SETTING_INT, "30000", 500, 86400000, NULL,
     "How often the descriptions of upstreams are fetched again."},
    {"gateway_security_headers", NEXUS_SETTING_BOOL, "true", 0, 0, NULL,
     "Security headers on what the gateway answers itself; upstreams' answers get them where a route says so."},
};

static nexus_status load_routes(gateway *g)
{
    const char *file = nexus_settings_text(nexus_service_settings(g->service), "gateway_routes");
    char edited[4096], *text;
    size_t n;
    if (*file)
        return nexus_gateway_load_file(g->gateway, file);
    snprintf(edited, sizeof edited, "%s/gateway-routes.json", nexus_service_state_dir(g->service));
    if (access(edited, F_OK) == 0) {
        nexus_log_printf(nexus_service_log(g->service), NEXUS_LOG_INFO, "gateway", NULL,
                         "routes as edited through the admin API, from %s; remove it to return to the built-in ones",
                         edited);
        return nexus_gateway_load_file(g->gateway, edited);
    }
    nexus_status status = gateway_default_routes(&text, &n, g->service);
    if (status)
        return status;
    nexus_service_administers(g->service); /* /api/v1/admin is among them */
    status = nexus_gateway_load(g->gateway, "built-in routes", (nexus_slice){text, n});
    free(text);
    return status ? status : nexus_gateway_keep_in(g->gateway, edited);
}

/* Routes that could not be loaded are worth a look, not a restart: the last good ones are in force. */
static bool routes_are_fine(char *detail, size_t cap, void *user_data)
{
    gateway *g = user_data;
    nexus_gateway_last_error(g->gateway, detail, cap);
    return true;
}

static void on_reload(void *user_data)
{
    gateway *g = user_data;
    if (load_routes(g))
        nexus_log_printf(nexus_service_log(g->service), NEXUS_LOG_ERROR, "gateway", NULL,
                         "routes not loaded, the last good ones stay: %s", nexus_error_message());
}

static void on_warning(const char *text, void *user_data)
{
    gateway *g = user_data;
    nexus_log_printf(nexus_service_log(g->service), NEXUS_LOG_WARN, "gateway", NULL, "%s", text);
}

static nexus_status open_gateway(gateway *g)
{
    const nexus_settings *s = nexus_service_settings(g->service);
    nexus_gateway_opts opts = NEXUS_GATEWAY_OPTS_INIT;
    opts.traffic_alloc = nexus_memory_alloc(nexus_service_memory(g->service));
    opts.verifier = nexus_service_verifier(g->service);
    opts.oidc = g->oidc;
    opts.introspector = g->introspector;
    opts.oidc_cookie = g->login_cookie;
    opts.metrics = nexus_service_metrics(g->service);
    opts.log = nexus_service_log(g->service);
    opts.tracer = nexus_service_tracer(g->service);
    opts.on_health = gateway_on_health;
    opts.on_warning = on_warning;
    opts.user_data = g;
    opts.development = nexus_service_dev(g->service);
    const char *dns = nexus_settings_text(s, "gateway_dns_servers");
    opts.dns_servers = *dns ? dns : NULL;
    const char *public_url = nexus_settings_text(s, "gateway_public_url");
    opts.public_url = *public_url ? public_url : NULL;
    opts.watch_ms = (uint32_t)nexus_settings_int(s, "gateway_watch_ms");
    opts.security_headers = nexus_settings_bool(s, "gateway_security_headers");
    opts.db = nexus_service_db(g->service);
    opts.limit_nodes = (uint32_t)nexus_settings_int(s, "gateway_nodes");
    const char *store = nexus_settings_text(s, "redis_url");
    opts.limit_store = strncmp(store, "redis:", 6) == 0 ? store : NULL;
    opts.limiter = nexus_service_limiter(g->service);
    opts.body_max_bytes = (uint64_t)nexus_settings_int(s, "gateway_body_max");
    nexus_status status = gateway_identity_open(g);
    opts.identity_key = g->identity;
    if (!status)
        status = gateway_signatures_open(g);
    opts.signature_keys = g->signature_keys;
    if (!status)
        status = gateway_apikeys_open(g);
    opts.apikeys = g->apikeys.verifier;
    if (!status)
        status = nexus_gateway_open(&g->gateway, nexus_service_runtime(g->service), &opts);
    if (!status)
        status = load_routes(g);
    if (!status)
        status = nexus_gateway_mount(g->gateway, nexus_service_server(g->service));
    return status;
}

static nexus_status open_introspector(gateway *g)
{
    const nexus_settings *s = nexus_service_settings(g->service);
    nexus_introspector_opts opts = NEXUS_INTROSPECTOR_OPTS_INIT;
    opts.url = nexus_settings_text(s, "gateway_introspection_url");
    opts.client_id = nexus_settings_text(s, "gateway_introspection_client_id");
    opts.client_secret = nexus_settings_secret(s, "gateway_introspection_client_secret");
    opts.client = nexus_service_client(g->service);
    return *opts.url ? nexus_introspector_open(&g->introspector, &opts) : NEXUS_OK;
}

static void unmount(void *mounted)
{
    gateway *g = mounted;
    nexus_server_close(g->admin);
    gateway_apikeys_end(g);
    nexus_gateway_close(g->gateway);
    nexus_oidc_close(g->oidc);
    nexus_secrets_close(g->login_secrets);
    nexus_introspector_close(g->introspector);
    gateway_apikeys_close(g);
    gateway_health_end(g);
    nexus_key_free(g->identity);
    nexus_keyset_free(g->signature_keys);
    pthread_cond_destroy(&g->told);
    pthread_mutex_destroy(&g->lock);
    gateway_docs_close(g);
    nexus_free(g->token);
    free(g);
}

static nexus_status mount(nexus_service *service, void **out)
{
    gateway *g = calloc(1, sizeof *g);
    if (!g)
        return NEXUS_ENOMEM;
    g->service = service;
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->told, NULL);
    nexus_status status = gateway_audit_open(g);
    if (!status)
        status = gateway_login_open(g);
    if (!status)
        status = open_introspector(g);
    if (!status)
        status = open_gateway(g);
    if (!status)
        status = gateway_admin_open(g);
    if (!status)
        status = gateway_docs_open(g);
    if (!status)
        status = nexus_service_check(service, "routes", routes_are_fine, g);
    if (!status)
        status = nexus_service_on_reload(service, on_reload, g);
    if (status) {
        unmount(g);
        return status;
    }
    *out = g;
    return NEXUS_OK;
}

const nexus_service_module gateway_module = {
    .size = sizeof gateway_module,
    .name = "gateway",
    .text = "Routes every request to the service it belongs to.",
    .port_offset = 0,
    .bus = NEXUS_SERVICE_BUS_CLIENT,
    .settings = settings,
    .setting_count = sizeof settings / sizeof settings[0],
    .mount = mount,
    .unmount = unmount,
};
