/*
 * The backend owns users, keys, orders and payments. Handlers write rows and outbox records in one transaction; a relay
 * moves the records to the bus; saga and payment sandbox live on the bus and lead back to rows through consumers whose
 * inbox makes each event count once.
 */
#include "backend/backend.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "backend/private.h"

static const nexus_setting settings[] = {
    {"payment_timeout_ms", NEXUS_SETTING_INT, "2000", 100, 600000, NULL,
     "How long an order waits for its payment before it is cancelled."},
    {"payment_delay_ms", NEXUS_SETTING_INT, "0", 0, 600000, NULL,
     "How late the payment sandbox answers; for tests of late payments."},
    {"hash_parallel", NEXUS_SETTING_INT, "0", 0, 64, NULL, "Passwords hashed at once; 0: one per core."},
    {"hash_memory_max_mib", NEXUS_SETTING_INT, "0", 0, 1048576, NULL,
     "Memory of passwords hashed at once, 19 MiB each, which bounds hash_parallel; 0: no bound of its own."},
    {"password_pepper", NEXUS_SETTING_SECRET, NULL, 0, 0, NULL,
     "Secret that passwords are mixed with before they are hashed, to be kept apart from the database and its backups. Once "
     "set it must stay: without it no password is right any more."},
    {"hash_queue", NEXUS_SETTING_INT, "64", 1, 10000, NULL, "Logins that wait for that; more are answered 503."},
    {"oauth_client_ca", NEXUS_SETTING_TEXT, NULL, 0, 0, NULL,
     "PEM file of the authorities of OAuth clients that use tls_client_auth (RFC 8705). Unset: there are none."},
    {"oauth_client_crl", NEXUS_SETTING_TEXT, NULL, 0, 0, NULL,
     "PEM file of what they have revoked: a current list for each authority. Unset: not checked."},
    {"oauth_mtls_url", NEXUS_SETTING_URL, NULL, 0, 0, "http,https",
     "Where the OAuth endpoints ask for certificates, such as https://mtls.id.example: mtls_endpoint_aliases of the metadata. "
     "Unset: no aliases."},
    {"registration", NEXUS_SETTING_CHOICE, "open", 0, 0, "open,verify,closed",
     "Who may register: open: everybody, at once; verify: everybody, once the code of a mail has confirmed the address; "
     "closed: nobody."},
    {"login_failures_max", NEXUS_SETTING_INT, "50", 0, 1000000, NULL,
     "Wrong passwords and codes from one client address in ten minutes, four times as many from an IPv6 /64; 0: not "
     "counted. Loopback never is: it stands for whoever a proxy on this machine speaks for, see trusted_proxies."},
    {"password_breach_file", NEXUS_SETTING_TEXT, NULL, 0, 0, NULL,
     "File of leaked passwords that nobody may choose: lines SHA1HEX:COUNT, sorted, as Have I Been Pwned publishes them."},
    {"session_idle_s", NEXUS_SETTING_INT, "1800", 60, 86400, NULL, "A browser's session that rests so long is over."},
    {"session_max_s", NEXUS_SETTING_INT, "43200", 60, 2592000, NULL, "A browser's session that is so old is over."},
};

/* --- the first administrator -------------------------------------------------------------------------------------------- */

static nexus_status write_bootstrap(backend *b, const char *token)
{
    unlink(b->bootstrap_file);
    int fd = open(b->bootstrap_file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return NEXUS_EIO;
    bool ok = write(fd, token, strlen(token)) == (ssize_t)strlen(token) && write(fd, "\n", 1) == 1;
    close(fd);
    return ok ? NEXUS_OK : NEXUS_EIO;
}

static nexus_status offer_bootstrap(backend *b)
{
    bool any;
    char *token;
    nexus_status status = nexus_auth_has_admin(b->auth, &any);
    if (status != NEXUS_OK || any)
        return status;
    status = nexus_auth_bootstrap_token(b->auth, &token);
    if (status != NEXUS_OK)
        return status;
    status = write_bootstrap(b, token);
    nexus_free(token);
    nexus_log_printf(nexus_service_log(b->service), NEXUS_LOG_INFO, "backend", NULL,
                     "there is no administrator yet: the one-time token is in %s for 15 minutes", b->bootstrap_file);
    return status;
}

static void forget_bootstrap(backend *b)
{
    struct stat st;
    if (stat(b->bootstrap_file, &st) == 0 && time(NULL) - st.st_mtime > 900)
        unlink(b->bootstrap_file);
}

/* --- keys and upkeep ------------------------------------------------------------------------------------------------------- */

static nexus_status take_keys(backend *b)
{
    char *json;
    size_t n;
    nexus_status status = nexus_auth_jwks(b->auth, &json, &n, NULL);
    if (status != NEXUS_OK)
        return status;
    status = nexus_verifier_use(b->verifier, json, n);
    nexus_free(json);
    return status;
}

static void upkeep(void *user_data)
{
    backend *b = user_data;
    nexus_status status = nexus_auth_rotate(b->auth, false);
    if (status == NEXUS_OK)
        status = take_keys(b);
    if (status == NEXUS_OK)
        status = idempotency_expire(b);
    if (status == NEXUS_OK)
        status = nexus_oauth_expire(b->oauth);
    if (status == NEXUS_OK)
        status = nexus_auth_expire(b->auth);
    if (status != NEXUS_OK)
        nexus_log_printf(nexus_service_log(b->service), NEXUS_LOG_WARN, "backend", NULL, "upkeep: %s",
                         nexus_error_message());
    forget_bootstrap(b);
}

/* --- mount -------------------------------------------------------------------------------------------------------------------- */

/* What an event is about, in the name of its stream on the bus. */
static const char *noun_of(const char *type)
{
    static const char *const nouns[] = {"client", "auth", "role"};
    for (size_t i = 0; i < sizeof nouns / sizeof nouns[0]; i++)
        if (strncmp(type, nouns[i], strlen(nouns[i])) == 0 && type[strlen(nouns[i])] == '.')
            return nouns[i];
    return "user";
}

nexus_status on_auth_event(nexus_db *tx, const char *type, nexus_slice subject, nexus_slice data, void *user_data)
{
    backend *b = user_data;
    char name[192];
    if (strncmp(type, "token.", 6) == 0 || strncmp(type, "key.", 4) == 0) /* the trail's, which tells them as audit.* */
        return audit_event(b, type, subject, data);
    snprintf(name, sizeof name, "%s-%.*s", noun_of(type), TEXT_ARGS(subject));
    nexus_status status = publish_in(tx, type, name, data, NULL);
    return status == NEXUS_OK ? audit_event(b, type, subject, data) : status;
}

static nexus_status open_auth(backend *b)
{
    const nexus_settings *s = nexus_service_settings(b->service);
    nexus_auth_opts opts = NEXUS_AUTH_OPTS_INIT;
    opts.issuer = nexus_service_issuer(b->service);
    opts.hash_parallel = (uint32_t)nexus_settings_int(s, "hash_parallel");
    opts.hash_budget_kib = (uint32_t)nexus_settings_int(s, "hash_memory_max_mib") * 1024;
    opts.pepper = nexus_settings_secret(s, "password_pepper");
    opts.hash_queue = (uint32_t)nexus_settings_int(s, "hash_queue");
    opts.address_failures = (uint32_t)nexus_settings_int(s, "login_failures_max");
    if (opts.address_failures == 0)
        opts.address_failures = NEXUS_AUTH_UNLIMITED;
    opts.session_idle_s = (uint32_t)nexus_settings_int(s, "session_idle_s");
    opts.session_absolute_s = (uint32_t)nexus_settings_int(s, "session_max_s");
    const char *breach = nexus_settings_text(s, "password_breach_file");
    opts.breach_file = *breach ? breach : NULL;
    opts.limiter = nexus_service_limiter(b->service);
    nexus_status status = nexus_service_ring(&b->secrets, b->service, "secrets.key");
    if (status == NEXUS_OK)
        status = nexus_service_ring(&b->mail_secrets, b->service, "mail.keys");
    if (status != NEXUS_OK)
        return status;
    opts.secrets = b->secrets;
    opts.event_secrets = b->mail_secrets;
    opts.event_fn = on_auth_event;
    opts.user_data = b;
    status = nexus_auth_open(&b->auth, b->db, &opts);
    if (status != NEXUS_OK)
        return status;
    nexus_verifier_opts verifier = NEXUS_VERIFIER_OPTS_INIT;
    verifier.issuer = opts.issuer;
    status = nexus_verifier_open(&b->verifier, &verifier);
    if (status == NEXUS_OK)
        status = take_keys(b);
    if (status == NEXUS_OK)
        nexus_service_set_verifier(b->service, b->verifier);
    return status;
}

static nexus_status open_metrics(backend *b)
{
    nexus_metric_desc desc = NEXUS_METRIC_DESC_INIT;
    desc.name = "nexus_orders_total";
    desc.help = "Orders by what became of them.";
    desc.type = NEXUS_METRIC_COUNTER;
    desc.labels = "status";
    return nexus_metrics_family(&b->orders_total, nexus_service_metrics(b->service), &desc);
}

static nexus_status open_bus(backend *b)
{
    nexus_outbox_relay_opts relay = NEXUS_OUTBOX_RELAY_OPTS_INIT;
    relay.source = "/nexus/backend";
    nexus_status status = nexus_outbox_relay_open(&b->relay, b->db, b->bus, &relay);
    if (status == NEXUS_OK)
        status = payments_open(b);
    if (status == NEXUS_OK)
        status = order_events_open(b);
    return status == NEXUS_OK ? order_saga_open(b) : status;
}

static void backend_unmount(void *mounted)
{
    backend *b = mounted;
    if (!b)
        return;
    nexus_runtime_close(b->hashers); /* what waits there is answered */
    order_saga_close(b);
    nexus_consumer_close(b->order_consumer);
    nexus_consumer_close(b->payment_consumer);
    nexus_group_close(b->order_group);
    nexus_group_close(b->payment_group);
    nexus_outbox_relay_close(b->relay);
    nexus_service_set_verifier(b->service, NULL);
    nexus_verifier_close(b->verifier);
    nexus_apikeys_close(b->keys);
    roles_close(b);
    oauth_pages_close(b);
    nexus_oauth_close(b->oauth);
    nexus_auth_close(b->auth);
    nexus_secrets_close(b->mail_secrets);
    nexus_secrets_close(b->secrets);
    pthread_mutex_destroy(&b->running.lock);
    free(b);
}

static nexus_status mount_parts(backend *b)
{
    snprintf(b->bootstrap_file, sizeof b->bootstrap_file, "%s/bootstrap.token", nexus_service_state_dir(b->service));
    b->payment_delay_ms = nexus_settings_int(nexus_service_settings(b->service), "payment_delay_ms");
    b->db = nexus_service_db(b->service);
    b->bus = b->db ? nexus_service_bus(b->service) : NULL;
    if (!b->bus)
        return NEXUS_EIO;
    nexus_status status = backend_migrate(b->db);
    if (status == NEXUS_OK)
        status = hashers_open(b);
    if (status == NEXUS_OK)
        status = open_metrics(b);
    if (status == NEXUS_OK)
        status = audit_open(b);
    if (status == NEXUS_OK)
        status = open_auth(b);
    if (status == NEXUS_OK)
        status = roles_open(b);
    if (status == NEXUS_OK)
        status = open_bus(b);
    if (status == NEXUS_OK)
        status = account_routes(b);
    if (status == NEXUS_OK)
        status = oauth_routes(b);
    if (status == NEXUS_OK)
        status = oauth_pages(b);
    if (status == NEXUS_OK)
        status = login_routes(b);
    if (status == NEXUS_OK)
        status = me_routes(b);
    if (status == NEXUS_OK)
        status = user_routes(b);
    if (status == NEXUS_OK)
        status = role_routes(b);
    if (status == NEXUS_OK)
        status = order_routes(b);
    if (status == NEXUS_OK)
        status = keys_open(b);
    if (status == NEXUS_OK)
        status = key_routes(b);
    if (status == NEXUS_OK)
        status = audit_routes(b);
    if (status == NEXUS_OK)
        status = secret_routes(b);
    if (status == NEXUS_OK)
        status = nexus_service_every(b->service, "backend-upkeep", 30000, upkeep, b);
    return status == NEXUS_OK ? offer_bootstrap(b) : status;
}

static nexus_status backend_mount(nexus_service *service, void **out)
{
    backend *b = calloc(1, sizeof *b);
    if (!b)
        return NEXUS_ENOMEM;
    b->service = service;
    nexus_service_administers(service);
    pthread_mutex_init(&b->running.lock, NULL);
    nexus_status status = mount_parts(b);
    if (status == NEXUS_OK)
        *out = b;
    else
        backend_unmount(b);
    return status;
}

const nexus_service_module backend_module = {
    .size = sizeof(nexus_service_module),
    .name = "backend",
    .text = "Users, tokens, orders and payments.",
    .port_offset = 1,
    .bus = NEXUS_SERVICE_BUS_OWNER,
    .settings = settings,
    .setting_count = sizeof settings / sizeof settings[0],
    .mount = backend_mount,
    .unmount = backend_unmount,
};
