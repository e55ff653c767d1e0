/* What the services of one process share. */
#include <errno.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/status.h"
#include "service/service.h"

enum { WORKERS = 8 };

static nexus_status open_log(nexus__host *h, const nexus_service_module *module)
{
    static const char *const formats[] = {"auto", "json", "logfmt"};
    nexus_log_opts opts = NEXUS_LOG_OPTS_INIT;
    const char *format = nexus_settings_text(h->settings, "log_format"),
               *path = nexus_settings_text(h->settings, "log_file");
    opts.alloc = h->alloc;
    opts.service = module->name;
    opts.level = nexus_log_level_parse(nexus__slice_c(nexus_settings_text(h->settings, "log_level")));
    for (int32_t i = 0; i < 3; i++)
        if (strcmp(format, formats[i]) == 0)
            opts.format = i;
    opts.path = *path ? path : NULL;
    return nexus_log_open(&h->log, &opts);
}

static nexus_status open_runtime(nexus__host *h)
{
    nexus_runtime_opts opts = NEXUS_RUNTIME_OPTS_INIT;
    int64_t workers = nexus_settings_int(h->settings, "workers");
    opts.alloc = h->alloc;
    opts.loops = (uint32_t)nexus_settings_int(h->settings, "loops");
    opts.workers = workers > 0 ? (uint32_t)workers : WORKERS;
    nexus_status status = nexus_runtime_open(&h->runtime, &opts);
    return status == NEXUS_OK ? nexus_runtime_start(h->runtime) : status;
}

static char *text_or_url(const nexus__host *h, const char *name, uint16_t offset, const char *path)
{
    char url[128];
    const char *setting = nexus_settings_text(h->settings, name);
    if (!*setting)
        snprintf(url, sizeof url, "http://127.0.0.1:%d%s", (int)nexus_settings_int(h->settings, "port_base") + offset,
                 path);
    return nexus__strndup(h->alloc, nexus__slice_c(*setting ? setting : url));
}

/* A setting that nothing reads would be a promise: it is refused until its exporter exists. */
static nexus_status refuse_unbuilt(const nexus_settings *settings)
{
    static const char *const names[] = {"sentry_dsn"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (*nexus_settings_text(settings, names[i]))
            return nexus__fail(NEXUS_ENOTSUP, "%s is set, but this exporter is not built yet; unset it", names[i]);
    return NEXUS_OK;
}

static nexus_status fill(nexus__host *h, const nexus_service_opts *o)
{
    nexus_status status = refuse_unbuilt(h->settings);
    if (status != NEXUS_OK)
        return status;
    h->dev = strcmp(nexus_settings_text(h->settings, "env"), "development") == 0;
    h->issuer = text_or_url(h, "issuer", 0, "");
    h->jwks_url = text_or_url(h, "jwks_url", NEXUS__BACKEND_OFFSET, "/.well-known/jwks.json");
    if (!h->issuer || !h->jwks_url)
        return nexus__nomem();
    h->wake = eventfd(0, EFD_CLOEXEC);
    if (h->wake < 0)
        return nexus__fail_errno(errno, "eventfd");
    status = nexus__state_dir(&h->state_dir, h->alloc, h->settings);
    if (status == NEXUS_OK)
        status = nexus__state_lock(&h->lock_fd, h->state_dir, h->exclusive);
    if (status == NEXUS_OK)
        status = nexus__state_secret(&h->admin_token, h->state_dir, "admin.token", 32);
    if (status == NEXUS_OK)
        status = open_log(h, o->module);
    if (status == NEXUS_OK)
        status = nexus_memory_new(&h->memory, (uint64_t)nexus_settings_int(h->settings, "memory_max_mib") * 1024 * 1024);
    if (status == NEXUS_OK)
        status = nexus_rbac_new_default(&h->policy, h->alloc);
    if (status == NEXUS_OK)
        status = open_runtime(h);
    return status;
}

nexus_status nexus__host_open(nexus__host **out, const nexus_service_opts *opts)
{
    nexus__host *h = nexus__calloc(opts->alloc, 1, sizeof *h);
    if (!h)
        return nexus__nomem();
    h->alloc = opts->alloc;
    h->settings = opts->settings;
    h->exclusive = opts->exclusive;
    h->lock_fd = h->wake = -1;
    h->refs = 1;
    nexus__list_init(&h->services);
    pthread_mutex_init(&h->lock, NULL);
    pthread_mutex_init(&h->bus_lock, NULL);
    nexus_status status = fill(h, opts);
    if (status != NEXUS_OK)
        nexus__host_unref(h);
    else
        *out = h;
    return status;
}

void nexus__host_ref(nexus__host *host)
{
    pthread_mutex_lock(&host->lock);
    host->refs++;
    pthread_mutex_unlock(&host->lock);
}

void nexus__host_unref(nexus__host *h)
{
    pthread_mutex_lock(&h->lock);
    bool last = --h->refs == 0;
    pthread_mutex_unlock(&h->lock);
    if (!last)
        return;
    nexus__revoked_feed_close(h->revoked);
    nexus_rbac_free(h->policy);
    nexus_verifier_close(h->verifier);
    nexus_limiter_free(h->limiter);
    nexus_bus_close(h->bus);
    nexus_client_close(h->client);
    nexus_runtime_close(h->runtime);
    nexus_memory_free(h->memory); /* after the loops: they may have held the last of it */
    nexus_log_close(h->log);
    if (h->lock_fd >= 0)
        close(h->lock_fd);
    if (h->wake >= 0)
        close(h->wake);
    nexus_free(h->admin_token);
    nexus__free(h->alloc, h->state_dir);
    nexus__free(h->alloc, h->issuer);
    nexus__free(h->alloc, h->jwks_url);
    pthread_mutex_destroy(&h->lock);
    pthread_mutex_destroy(&h->bus_lock);
    nexus__free(h->alloc, h);
}

/* --- what is opened at the first call ------------------------------------------------------------------------------ */

nexus_limiter *nexus_service_limiter(nexus_service *service)
{
    nexus__host *h = service->host;
    nexus__setting_value *keys = nexus__settings_find(h->settings, NEXUS_S("gateway_limit_keys"));
    pthread_mutex_lock(&h->lock);
    if (!h->limiter && nexus_limiter_new(&h->limiter, keys ? (uint32_t)keys->i : 65536, h->alloc) != NEXUS_OK)
        h->limiter = NULL;
    nexus_limiter *limiter = h->limiter;
    pthread_mutex_unlock(&h->lock);
    return limiter;
}

nexus_client *nexus_service_client(nexus_service *service)
{
    nexus__host *h = service->host;
    nexus_client_opts opts = NEXUS_CLIENT_OPTS_INIT;
    opts.alloc = h->alloc;
    opts.allow_cidrs = nexus_settings_text(h->settings, "outbound_allow");
    pthread_mutex_lock(&h->lock);
    if (!h->client && nexus_client_open(&h->client, h->runtime, &opts) != NEXUS_OK)
        h->client = NULL;
    nexus_client *client = h->client;
    pthread_mutex_unlock(&h->lock);
    return client;
}

static uint32_t durability_of(const char *name)
{
    return strcmp(name, "interval") == 0 ? NEXUS_DURABILITY_INTERVAL
           : strcmp(name, "os") == 0     ? NEXUS_DURABILITY_OS
                                         : NEXUS_DURABILITY_ALWAYS;
}

static nexus_status open_bus(nexus__host *h, const nexus_service *service)
{
    char url[NEXUS__STATE_PATH_MAX + 16];
    const char *setting = nexus_settings_text(h->settings, "bus_url");
    if (!*setting)
        snprintf(url, sizeof url, "file:%s/bus", h->state_dir);
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    opts.alloc = h->alloc;
    opts.source = service->module->name;
    opts.role = service->module->bus == NEXUS_SERVICE_BUS_CLIENT ? NEXUS_BUS_CLIENT : NEXUS_BUS_AUTO;
    opts.retention_s = (uint32_t)nexus_settings_int(h->settings, "bus_retention_hours") * 3600;
    opts.retention_bytes = (uint64_t)nexus_settings_int(h->settings, "bus_retention_mib") << 20;
    opts.retention_hard = nexus_settings_bool(h->settings, "bus_retention_hard");
    opts.compact_types = nexus_settings_text(h->settings, "bus_compact_types");
    opts.tombstone_grace_s = (uint32_t)nexus_settings_int(h->settings, "bus_tombstone_hours") * 3600;
    opts.shred_types = nexus_settings_text(h->settings, "bus_shred_types");
    opts.durability = durability_of(nexus_settings_text(h->settings, "bus_durability"));
    opts.durability_ms = (uint32_t)nexus_settings_int(h->settings, "bus_durability_ms");
    opts.tracer = service->trace.tracer;
    nexus_status status = nexus_bus_open(&h->bus, *setting ? setting : url, &opts);
    if (status != NEXUS_OK)
        return status;
    h->bus_opener = service;
    if (!(nexus_bus_caps(h->bus) & NEXUS_CAP_DURABLE) && opts.durability == NEXUS_DURABILITY_ALWAYS)
        nexus_log_printf(service->log, NEXUS_LOG_WARN, "bus", NULL,
                         "the bus (%.*s:) acknowledges events before they are on a disk, a power cut may lose the last "
                         "ones: docs/bus/engines.md has the settings of its server that change this",
                         (int)strcspn(setting, ":"), setting);
    status = nexus_bus_metrics(h->bus, service->metrics);
    if (status != NEXUS_OK)
        nexus_bus_close(h->bus);
    return status;
}

void nexus__host_drop_tracer(nexus__host *h, const nexus_service *service)
{
    if (h->bus && h->bus_opener == service)
        nexus_bus_set_tracer(h->bus, NULL);
}

nexus_bus *nexus_service_bus(nexus_service *service)
{
    nexus__host *h = service->host;
    if (service->module->bus == NEXUS_SERVICE_BUS_NONE) {
        (void)nexus__fail(NEXUS_EINVAL, "the module %s has no role on the bus; set `bus` in it", service->module->name);
        return NULL;
    }
    pthread_mutex_lock(&h->bus_lock);
    if (!h->bus && atomic_load(&service->draining)) /* whoever ends waits for nobody's bus */
        (void)nexus__fail(NEXUS_ECLOSED, "the service is ending");
    else if (!h->bus && open_bus(h, service) != NEXUS_OK)
        h->bus = NULL;
    nexus_bus *bus = h->bus;
    pthread_mutex_unlock(&h->bus_lock);
    return bus;
}

void nexus_service_set_verifier(nexus_service *service, nexus_verifier *verifier)
{
    pthread_mutex_lock(&service->host->lock);
    service->host->set_verifier = verifier;
    pthread_mutex_unlock(&service->host->lock);
}

nexus_verifier *nexus_service_verifier(nexus_service *service)
{
    nexus__host *h = service->host;
    nexus_client *client = nexus_service_client(service);
    if (!client)
        return NULL;
    nexus_verifier_opts opts = NEXUS_VERIFIER_OPTS_INIT;
    opts.alloc = h->alloc;
    opts.issuer = h->issuer;
    opts.jwks_url = h->jwks_url;
    opts.client = client;
    pthread_mutex_lock(&h->lock);
    if (!h->set_verifier && !h->verifier && nexus_verifier_open(&h->verifier, &opts) != NEXUS_OK)
        h->verifier = NULL;
    nexus_verifier *verifier = h->set_verifier ? h->set_verifier : h->verifier;
    pthread_mutex_unlock(&h->lock);
    return verifier;
}

static nexus_status open_db(nexus_service *service)
{
    char url[NEXUS__STATE_PATH_MAX + 64];
    const nexus__host *h = service->host;
    const char *setting = nexus_settings_text(h->settings, "database_url");
    if (!*setting)
        snprintf(url, sizeof url, "sqlite:%s/%s.db", h->state_dir, service->module->name);
    nexus_db_opts opts = NEXUS_DB_OPTS_INIT;
    opts.alloc = service->alloc;
    opts.schema = service->module->name;
    return nexus_db_open(&service->db, *setting ? setting : url, &opts);
}

nexus_db *nexus_service_db(nexus_service *service)
{
    pthread_mutex_lock(&service->lock);
    if (!service->db && open_db(service) != NEXUS_OK)
        service->db = NULL;
    nexus_db *db = service->db;
    pthread_mutex_unlock(&service->lock);
    return db;
}

nexus_cache *nexus_service_cache(nexus_service *service)
{
    const char *setting = nexus_settings_text(service->host->settings, "redis_url");
    nexus_cache_opts opts = NEXUS_CACHE_OPTS_INIT;
    opts.alloc = service->alloc;
    opts.loop = nexus_runtime_loop(service->host->runtime, 0);
    opts.prefix = "nexus:";
    pthread_mutex_lock(&service->lock);
    if (!service->cache && nexus_cache_open(&service->cache, *setting ? setting : "memory:", &opts) != NEXUS_OK)
        service->cache = NULL;
    nexus_cache *cache = service->cache;
    pthread_mutex_unlock(&service->lock);
    return cache;
}
