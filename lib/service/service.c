/*
 * Life of a service: open (host, lock, log, server, mount) → start (listen, jobs, ready) → run (wait, then drain) →
 * close (server, unmount, stores, host). What a signal handler may call only sets a flag and writes to an eventfd.
 */
#include "service/service.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/status.h"
#include "base/time.h"
#include "service/exposure.h"

enum { REREAD_MS = 1000 };

static nexus_service_job_fn reread_secrets;

void nexus_service_opts_init(nexus_service_opts *opts)
{
    *opts = (nexus_service_opts)NEXUS_SERVICE_OPTS_INIT;
}

/* --- open --------------------------------------------------------------------------------------------------------- */

/* Who sits on this machine beside a service in production may be anybody's: trust is said, not taken. */
static const char *trusted_proxies(const nexus_service *s)
{
    const char *setting = nexus_settings_text(s->host->settings, "trusted_proxies");
    if (*setting)
        return strcmp(setting, "none") == 0 ? NULL : setting;
    return s->host->dev ? "127.0.0.0/8, ::1/128" : NULL;
}

/* NULL when it is not set. */
static const char *text_of(const nexus_service *s, const char *name)
{
    const char *text = nexus_settings_text(s->host->settings, name);
    return *text ? text : NULL;
}

static uint32_t client_cert_mode(const nexus_service *s)
{
    static const char *const modes[] = {"off", "optional", "required", "any"}; /* as NEXUS_CLIENT_CERT_… counts */
    const char *mode = nexus_settings_text(s->host->settings, "tls_client_cert");
    uint32_t i = 0;
    while (i < 3 && strcmp(mode, modes[i]) != 0)
        i++;
    return i;
}

static nexus_status open_server(nexus_service *s)
{
    static const nexus_pair headers[] = {
        {{"X-Content-Type-Options", 22}, {"nosniff", 7}},
        {{"Referrer-Policy", 15}, {"no-referrer", 11}},
        {{"X-Frame-Options", 15}, {"DENY", 4}},
        {{"Cross-Origin-Resource-Policy", 28}, {"same-origin", 11}},
    };
    nexus_server_opts opts = NEXUS_SERVER_OPTS_INIT;
    opts.alloc = nexus_memory_alloc(s->host->memory);
    opts.memory = s->host->memory;
    opts.tls_cert_file = text_of(s, "tls_cert");
    opts.tls_key_file = text_of(s, "tls_key");
    opts.tls_client_cert = client_cert_mode(s);
    opts.tls_client_ca_file = text_of(s, "tls_client_ca");
    opts.tls_client_crl_file = text_of(s, "tls_client_crl");
    opts.client_cert_header = nexus_settings_bool(s->host->settings, "client_cert_header");
    opts.trusted_proxies = trusted_proxies(s);
    opts.head_timeout_ms = (uint32_t)nexus_settings_int(s->host->settings, "head_timeout_ms");
    opts.body_window_ms = (uint32_t)nexus_settings_int(s->host->settings, "body_window_ms");
    opts.idle_timeout_ms = (uint32_t)nexus_settings_int(s->host->settings, "idle_timeout_ms");
    opts.connections_max = (uint32_t)nexus_settings_int(s->host->settings, "connections_max");
    opts.proxy_protocol = nexus_settings_bool(s->host->settings, "proxy_protocol");
    opts.http2_off = !nexus_settings_bool(s->host->settings, "http2");
    opts.http2_streams_max = (uint32_t)nexus_settings_int(s->host->settings, "http2_streams_max");
    opts.http2_resets_max = (uint32_t)nexus_settings_int(s->host->settings, "http2_resets_max");
    opts.headers = headers;
    opts.header_count = sizeof headers / sizeof headers[0];
    return nexus_server_open(&s->server, s->host->runtime, &opts);
}

static nexus_status fill(nexus_service *s)
{
    nexus_metrics_opts metrics = NEXUS_METRICS_OPTS_INIT;
    metrics.alloc = s->alloc;
    metrics.process = true;
    nexus_status status = nexus__service_lock(&s->lock_fd, s->host->state_dir, s->module->name);
    if (status == NEXUS_OK)
        status = nexus_log_child(&s->log, s->host->log, s->module->name);
    if (status == NEXUS_OK)
        status = nexus_metrics_open(&s->metrics, &metrics);
    if (status == NEXUS_OK)
        status = nexus__observe_open(s);
    if (status == NEXUS_OK)
        status = open_server(s);
    if (status == NEXUS_OK)
        status = nexus__request_hooks(s);
    if (status == NEXUS_OK)
        status = nexus__endpoint_mount(s);
    if (status == NEXUS_OK)
        status = nexus__docs_mount(s);
    if (status == NEXUS_OK && s->host->services.next == &s->node && nexus__settings_follow(s->host->settings))
        status = nexus_service_every(s, "secrets", REREAD_MS, reread_secrets, s->host);
    if (status == NEXUS_OK)
        status = s->module->mount(s, &s->mounted);
    return status;
}

static nexus_service *service_new(const nexus_service_opts *o)
{
    nexus_service *s = nexus__calloc(o->alloc, 1, sizeof *s);
    if (!s)
        return NULL;
    s->alloc = o->alloc;
    s->module = o->module;
    s->lock_fd = -1;
    s->opened_ns = nexus__mono_ns();
    nexus__list_init(&s->node);
    nexus__list_init(&s->jobs);
    nexus__list_init(&s->reloads);
    nexus__list_init(&s->checks);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->idle, NULL);
    return s;
}

static nexus_status enter_host(nexus_service *s, const nexus_service_opts *o)
{
    if (!o->host) {
        nexus_status status = nexus__host_open(&s->host, o);
        if (status != NEXUS_OK)
            return status;
    } else {
        s->host = o->host->host;
        nexus__host_ref(s->host);
    }
    pthread_mutex_lock(&s->host->lock);
    nexus__list_push(&s->host->services, &s->node);
    pthread_mutex_unlock(&s->host->lock);
    return NEXUS_OK;
}

nexus_status nexus_service_open(nexus_service **out, const nexus_service_opts *opts)
{
    if (!opts || opts->size != sizeof *opts || !opts->module || opts->module->size != sizeof *opts->module ||
        !opts->module->name || !opts->module->mount || !opts->settings)
        return nexus__fail(NEXUS_EINVAL, "service: options need their size, a module with a mount, and settings");
    nexus_service *s = service_new(opts);
    if (!s)
        return nexus__nomem();
    nexus_status status = enter_host(s, opts);
    if (status == NEXUS_OK)
        status = fill(s);
    if (status != NEXUS_OK) {
        char why[512]; /* closing may set messages of its own */
        snprintf(why, sizeof why, "%s", nexus_error_message());
        nexus_service_close(s);
        return nexus__fail(status, "%s", why);
    }
    *out = s;
    return NEXUS_OK;
}

nexus_status nexus_service_route(nexus_service *service, const nexus_route *routes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        service->needs_keys |= !routes[i].roles || strcmp(routes[i].roles, "public") != 0;
        service->administers |= routes[i].path && nexus__slice_starts(nexus__slice_c(routes[i].path), NEXUS_S("/api/v1/admin/"));
    }
    return nexus_server_route(service->server, routes, count);
}

void nexus_service_administers(nexus_service *service)
{
    service->administers = true;
}

/* --- start, run --------------------------------------------------------------------------------------------------- */

static const char *bind_address(const nexus__host *h)
{
    const char *setting = nexus_settings_text(h->settings, "bind");
    return *setting ? setting : h->dev ? "127.0.0.1" : "0.0.0.0";
}

static nexus_status check_exposure(const nexus_service *s, const char *host)
{
    const nexus_settings *settings = s->host->settings;
    return nexus__exposure_check(&(nexus__exposure){.service = s->module->name,
                                                    .address = host,
                                                    .administers = s->administers,
                                                    .development = s->host->dev,
                                                    .tls = *nexus_settings_text(settings, "tls_cert") != '\0',
                                                    .tls_in_front = nexus_settings_bool(settings, "tls_in_front")});
}

static nexus_status listen_on(nexus_service *s, const char *host, uint16_t *bound)
{
    uint16_t port = nexus_service_peer_port(s, s->module->port_offset);
    nexus_status status = check_exposure(s, host);
    if (!status)
        status = nexus_server_listen(s->server, host, port, bound);
    if (status != NEXUS_ECONFLICT)
        return status;
    char holder[128];
    nexus__port_holder(port, holder, sizeof holder);
    return nexus__fail(NEXUS_ECONFLICT, "port %u, which %s listens on, is taken%s%s; stop that, or set NEXUS_PORT_BASE",
                       port, s->module->name, *holder ? " by " : "", holder);
}

/* Ready means that a token can be checked: until the issuer was heard once, every answer would be 503. */
static bool keys_are_there(char *detail, size_t cap, void *user_data)
{
    nexus_verifier *verifier = nexus_service_verifier(user_data);
    if (verifier && nexus_verifier_ready(verifier))
        return true;
    snprintf(detail, cap, "the keys that verify tokens cannot be fetched yet; is the backend up?");
    return false;
}

nexus_status nexus_service_start(nexus_service *s)
{
    uint16_t bound = 0;
    const char *host = bind_address(s->host);
    (void)nexus_service_verifier(s); /* begins to fetch the keys; a request that needs them waits for them */
    nexus_status status = nexus__docs_finish(s);
    if (status == NEXUS_OK && s->needs_keys)
        status = nexus_service_check(s, "keys", keys_are_there, s);
    if (status == NEXUS_OK)
        status = listen_on(s, host, &bound);
    if (status != NEXUS_OK)
        return status;
    atomic_store(&s->port, bound);
    pthread_mutex_lock(&s->lock);
    s->started = true;
    pthread_mutex_unlock(&s->lock);
    status = nexus__jobs_start(s);
    if (status == NEXUS_OK && !s->host->revoked) /* services of a host start one after the other */
        status = nexus__revoked_feed_open(&s->host->revoked, s->host);
    if (status != NEXUS_OK)
        return status;
    atomic_store(&s->ready, true);
    NEXUS_LOG(s->log, NEXUS_LOG_INFO, "service", NULL, "listening", NEXUS_LOG_S("host", nexus__slice_c(host)),
              NEXUS_LOG_I("port", bound),
              NEXUS_LOG_S("env", nexus__slice_c(s->host->dev ? "development" : "production")),
              NEXUS_LOG_S("state", nexus__slice_c(s->host->state_dir)), NEXUS_LOG_I("pid", getpid()));
    return NEXUS_OK;
}

static void signal_host(nexus_service *service, _Atomic int *flag)
{
    int before = errno;
    uint64_t one = 1;
    atomic_store(flag, 1);
    if (write(service->host->wake, &one, sizeof one) < 0)
        errno = before; /* the counter is full: it will wake */
    errno = before;
}

void nexus_service_stop(nexus_service *service)
{
    signal_host(service, &service->host->stop);
}

void nexus_service_reload(nexus_service *service)
{
    signal_host(service, &service->host->reload);
}

void nexus_service_cycle_log(nexus_service *service)
{
    signal_host(service, &service->host->cycle);
}

/* Secrets whose files have changed; what is wrong with one is told once. */
static void reread_secrets(void *user_data)
{
    nexus__host *h = user_data;
    uint32_t changed = 0;
    if (nexus_settings_reread(h->settings, &changed) != NEXUS_OK)
        nexus_log_printf(h->log, NEXUS_LOG_ERROR, "service", NULL, "secrets, the last good ones stay: %s",
                         nexus_error_message());
    if (changed)
        nexus_log_printf(h->log, NEXUS_LOG_INFO, "service", NULL, "secrets that were read again: %u", changed);
}

static void reload_all(nexus__host *h)
{
    nexus_log_text(h->log, NEXUS_LOG_INFO, "service", NULL, NEXUS_S("reloading"));
    reread_secrets(h);
    for (nexus__list *n = h->services.next; n != &h->services; n = n->next)
        nexus__reload(NEXUS__CONTAINER(n, nexus_service, node));
}

static void cycle_level(nexus__host *h)
{
    int32_t level = nexus_log_level(h->log, NULL);
    level = level == NEXUS_LOG_INFO ? NEXUS_LOG_DEBUG : level == NEXUS_LOG_DEBUG ? NEXUS_LOG_TRACE : NEXUS_LOG_INFO;
    if (nexus_log_set_level(h->log, NULL, level, 0) == NEXUS_OK)
        nexus_log_printf(h->log, NEXUS_LOG_INFO, "service", NULL, "log level is now %s", nexus_log_level_name(level));
}

/* The last one opened leads in requests for the others: it drains first. All share one deadline. */
static void drain_all(nexus__host *h)
{
    int64_t deadline = nexus__mono_ns() + nexus_settings_int(h->settings, "drain_ms") * NEXUS__NS_PER_MS;
    for (nexus__list *n = h->services.prev; n != &h->services; n = n->prev) {
        nexus_service *s = NEXUS__CONTAINER(n, nexus_service, node);
        atomic_store(&s->draining, true);
        int64_t left = (deadline - nexus__mono_ns()) / NEXUS__NS_PER_MS;
        if (nexus_server_drain(s->server, left > 1 ? (uint32_t)left : 1) == NEXUS_ETIMEDOUT)
            nexus_log_text(s->log, NEXUS_LOG_WARN, "service", NULL,
                           NEXUS_S("requests were still running after drain_ms"));
    }
    for (nexus__list *n = h->services.prev; n != &h->services; n = n->prev)
        nexus__jobs_stop(NEXUS__CONTAINER(n, nexus_service, node));
}

nexus_status nexus_service_run(nexus_service *service)
{
    nexus__host *h = service->host;
    while (!atomic_load(&h->stop)) {
        uint64_t count;
        if (read(h->wake, &count, sizeof count) < 0 && errno != EINTR)
            return nexus__fail_errno(errno, "waiting for signals");
        if (atomic_exchange(&h->reload, 0))
            reload_all(h);
        if (atomic_exchange(&h->cycle, 0))
            cycle_level(h);
    }
    nexus_log_text(h->log, NEXUS_LOG_INFO, "service", NULL, NEXUS_S("draining"));
    drain_all(h);
    nexus_log_text(h->log, NEXUS_LOG_INFO, "service", NULL, NEXUS_S("ended"));
    return NEXUS_OK;
}

/* --- close -------------------------------------------------------------------------------------------------------- */

static void leave_host(nexus_service *s)
{
    pthread_mutex_lock(&s->host->lock);
    nexus__list_remove(&s->node);
    pthread_mutex_unlock(&s->host->lock);
    nexus__host_unref(s->host);
}

void nexus_service_close(nexus_service *s)
{
    if (!s)
        return;
    atomic_store(&s->draining, true);
    if (s->host)
        nexus__jobs_stop(s);
    nexus_server_close(s->server);
    nexus_openapi_close(s->openapi);
    if (s->mounted && s->module->unmount)
        s->module->unmount(s->mounted);
    nexus__trail_close(s);
    nexus__jobs_free(s);
    nexus_cache_close(s->cache);
    nexus_db_close(s->db);
    nexus__observe_close(s);
    nexus_metrics_close(s->metrics);
    nexus_log_close(s->log);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    if (s->host)
        leave_host(s);
    nexus__free(s->alloc, s->document);
    pthread_cond_destroy(&s->idle);
    pthread_mutex_destroy(&s->lock);
    nexus__free(s->alloc, s);
}

/* --- getters ------------------------------------------------------------------------------------------------------ */

const char *nexus_service_name(const nexus_service *service)
{
    return service->module->name;
}

nexus_runtime *nexus_service_runtime(nexus_service *service)
{
    return service->host->runtime;
}

nexus_memory *nexus_service_memory(nexus_service *service)
{
    return service->host->memory;
}

nexus_server *nexus_service_server(nexus_service *service)
{
    return service->server;
}

nexus_log *nexus_service_log(nexus_service *service)
{
    return service->log;
}

nexus_metrics *nexus_service_metrics(nexus_service *service)
{
    return service->metrics;
}

const nexus_settings *nexus_service_settings(const nexus_service *service)
{
    return service->host->settings;
}

const char *nexus_service_state_dir(const nexus_service *service)
{
    return service->host->state_dir;
}

bool nexus_service_dev(const nexus_service *service)
{
    return service->host->dev;
}

uint16_t nexus_service_port(const nexus_service *service)
{
    return atomic_load(&service->port);
}

uint16_t nexus_service_peer_port(const nexus_service *service, uint16_t offset)
{
    int64_t base = nexus_settings_int(service->host->settings, "port_base");
    return base == 0 ? 0 : (uint16_t)(base + offset);
}

const char *nexus_service_issuer(const nexus_service *service)
{
    return service->host->issuer;
}

nexus_status nexus_service_ring(nexus_secrets **out, nexus_service *service, const char *file)
{
    char path[NEXUS__STATE_PATH_MAX + 64];
    nexus_secrets_opts opts = NEXUS_SECRETS_OPTS_INIT;
    snprintf(path, sizeof path, "%s/%s", service->host->state_dir, file);
    opts.path = path;
    opts.kek = nexus_settings_secret(service->host->settings, "secrets_kek");
    return nexus_secrets_open_with(out, &opts);
}

nexus_status nexus_service_secret(char **out, nexus_service *service, const char *file, size_t bytes)
{
    return nexus__state_secret(out, service->host->state_dir, file, bytes);
}
