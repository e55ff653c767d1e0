/* Opening, loading, watching, closing. */
#include <nexus/client.h>
#include <nexus/version.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/id.h"
#include "base/status.h"
#include "gateway/auth/nonces.h"
#include "gateway/canary.h"
#include "gateway/discovery.h"
#include "gateway/filters/security.h"
#include "gateway/function.h"
#include "gateway/gateway.h"
#include "gateway/usage.h"

void nexus_gateway_opts_init(nexus_gateway_opts *opts)
{
    *opts = (nexus_gateway_opts)NEXUS_GATEWAY_OPTS_INIT;
}

/* --- loading ------------------------------------------------------------------------------------------------------ */

/* Posted tasks may run after the close, when the runtime ends: they keep the memory. */
void nexus__gateway_ref(nexus_gateway *g)
{
    atomic_fetch_add(&g->refs, 1);
}

void nexus__gateway_unref(nexus_gateway *g)
{
    if (atomic_fetch_sub(&g->refs, 1) != 1)
        return;
    pthread_cond_destroy(&g->locked.idle);
    pthread_mutex_destroy(&g->locked.mutex);
    pthread_mutex_destroy(&g->load_mutex);
    pthread_cond_destroy(&g->ledger.idle);
    pthread_mutex_destroy(&g->ledger.mutex);
    nexus__free(g->alloc, g);
}

static void swap_task(nexus__task *task)
{
    nexus__gw_loop *home = NEXUS__CONTAINER(task, nexus__gw_loop, swap);
    atomic_store(&home->swap_posted, false);
    if (!atomic_load(&home->gateway->closed))
        nexus__view_swap(home);
    nexus__gateway_unref(home->gateway);
}

void nexus__gateway_publish(nexus_gateway *g, nexus__snapshot *s, const char *origin)
{
    pthread_mutex_lock(&g->locked.mutex);
    nexus__snapshot *old = g->locked.current;
    s->version = ++g->locked.loads;
    g->locked.current = s;
    g->locked.error[0] = 0;
    nexus__history_add(&g->locked.history, s->version, origin, nexus__slice(s->text, s->text_len), g->alloc);
    pthread_mutex_unlock(&g->locked.mutex);
    nexus__snapshot_unref(old);
    for (uint32_t i = 0; i < g->loop_count; i++)
        if (!atomic_exchange(&g->loops[i].swap_posted, true)) {
            atomic_fetch_add(&g->refs, 1);
            nexus__loop_post_task(g->loops[i].loop, &g->loops[i].swap);
        }
}

nexus_status nexus__gateway_remember(nexus_gateway *g, nexus_status status)
{
    pthread_mutex_lock(&g->locked.mutex);
    snprintf(g->locked.error, sizeof g->locked.error, "%s", nexus_error_message());
    pthread_mutex_unlock(&g->locked.mutex);
    return status;
}

nexus_status nexus__gateway_load_locked(nexus_gateway *g, const char *name, const char *origin, nexus_slice text)
{
    nexus__snapshot *s, *old = nexus__snapshot_current(g);
    nexus_status status = nexus__snapshot_build(&s, g, name, text, old);
    nexus__snapshot_unref(old);
    if (!status)
        nexus__gateway_publish(g, s, origin);
    return status;
}

nexus_status nexus_gateway_load(nexus_gateway *g, const char *name, nexus_slice text)
{
    name = name ? name : "routes";
    if (nexus__on_loop_thread())
        return nexus__fail(NEXUS_EDEADLK, "gateway: loading resolves names and may block; not on a loop");
    pthread_mutex_lock(&g->load_mutex);
    nexus_status status = nexus__gateway_load_locked(g, name, name, text);
    pthread_mutex_unlock(&g->load_mutex);
    return status ? nexus__gateway_remember(g, status) : NEXUS_OK;
}

/* --- the clock of loop 0: file and health ------------------------------------------------------------------------- */

static void on_tick(void *user_data)
{
    nexus__gw_loop *home = user_data;
    nexus_gateway *g = home->gateway;
    int64_t now = nexus_loop_now_ns(home->loop);
    if (now >= g->gauges_due && home->view) {
        nexus__seen_gauges(home->view->snapshot, now);
        g->gauges_due = now + NEXUS__NS_PER_S;
    }
    uint32_t look = nexus__routes_file_tick(g, home, now);
    uint32_t ms = nexus__health_tick(g, home->view ? home->view->snapshot : NULL, now);
    int64_t names = nexus__discovery_tick(g, home->view ? home->view->snapshot : NULL, now);
    ms = ms < look ? ms : look;
    if (names < now + ms * NEXUS__NS_PER_MS)
        ms = names > now ? (uint32_t)((names - now) / NEXUS__NS_PER_MS) + 1 : 1;
    nexus_timer_start(home->timer, ms);
}

static void look_task(nexus__task *task)
{
    nexus_gateway *g = NEXUS__CONTAINER(task, nexus_gateway, look);
    atomic_store(&g->look_posted, false);
    if (!atomic_load(&g->closed))
        nexus_timer_start(g->loops[0].timer, 0);
    nexus__gateway_unref(g);
}

void nexus__gateway_look_soon(nexus_gateway *g)
{
    if (atomic_load(&g->closed) || atomic_exchange(&g->look_posted, true))
        return;
    nexus__gateway_ref(g);
    nexus__loop_post_task(g->loops[0].loop, &g->look);
}

/* --- opening and closing ------------------------------------------------------------------------------------------ */

static nexus_status open_loop(nexus_gateway *g, uint32_t i)
{
    nexus__gw_loop *home = &g->loops[i];
    home->gateway = g;
    home->loop = nexus_runtime_loop(g->runtime, i);
    home->random = nexus__random_u64();
    home->swap.fn = swap_task;
    nexus__buf_init(&home->head, g->alloc, 1024 * 1024);
    nexus__json_init(&home->json, g->alloc);
    nexus__buf_init(&home->text, g->alloc, 0);
    nexus__buf_init(&home->coded, g->alloc, 0);
    home->buffer = nexus__malloc(g->alloc, NEXUS__GW_BUFFER);
    return home->buffer ? NEXUS_OK : nexus__nomem();
}

static nexus_status open_limit_metrics(nexus_gateway *g)
{
    nexus_metric_desc desc = NEXUS_METRIC_DESC_INIT;
    desc.name = "nexus_gateway_limit_decisions_total";
    desc.help = "What limits decided, by route and policy: allowed, denied, would_deny (not enforced).";
    desc.type = NEXUS_METRIC_COUNTER;
    desc.labels = "route,policy,decision";
    g->evictions = nexus_metrics_counter(g->opts.metrics, "nexus_gateway_limit_evictions_total",
                                         "Keys that were pushed out of the limits' memory before their time.");
    return nexus_metrics_family(&g->decisions, g->opts.metrics, &desc);
}

static nexus_status open_metrics(nexus_gateway *g)
{
    if (!g->opts.metrics)
        return NEXUS_OK;
    nexus_status status = nexus__seen_open(&g->seen, g->opts.metrics);
    status = status ? status : open_limit_metrics(g);
    if (!status)
        status = nexus__canary_families_open(g);
    return status ? status : nexus__upstream_families_open(&g->families, g->opts.metrics);
}

static void start_timer(void *user_data)
{
    nexus__gw_loop *home = user_data;
    if (!atomic_load(&home->gateway->closed))
        nexus_timer_start(home->timer, 1);
    nexus__gateway_unref(home->gateway);
}

static nexus_status open_timer(nexus_gateway *g)
{
    nexus__gw_loop *home = &g->loops[0];
    nexus_status status = nexus_timer_open(&home->timer, home->loop, on_tick, home);
    if (status)
        return status;
    atomic_fetch_add(&g->refs, 1);
    status = nexus_loop_post(home->loop, start_timer, home);
    if (status)
        atomic_fetch_sub(&g->refs, 1);
    return status;
}

nexus_status nexus_gateway_open(nexus_gateway **out, nexus_runtime *runtime, const nexus_gateway_opts *opts)
{
    nexus_gateway_opts o = NEXUS_GATEWAY_OPTS_INIT;
    if (opts)
        memcpy(&o, opts, opts->size < sizeof o ? opts->size : sizeof o);
    uint32_t n = nexus_runtime_loop_count(runtime);
    nexus_gateway *g = nexus__calloc(o.alloc, 1, sizeof *g + n * sizeof *g->loops);
    if (!g)
        return nexus__nomem();
    g->alloc = o.alloc;
    g->traffic_alloc = o.traffic_alloc ? o.traffic_alloc : o.alloc;
    g->refs = 1;
    g->runtime = runtime;
    g->opts = o;
    g->loop_count = n;
    nexus__list_init(&g->knocks);
    g->look.fn = look_task;
    snprintf(g->loop_id, sizeof g->loop_id, "nexus-%08x", (uint32_t)nexus__random_u64());
    g->file_watch.fd = -1;
    pthread_mutex_init(&g->locked.mutex, NULL);
    pthread_cond_init(&g->locked.idle, NULL);
    pthread_mutex_init(&g->load_mutex, NULL);
    pthread_mutex_init(&g->ledger.mutex, NULL);
    pthread_cond_init(&g->ledger.idle, NULL);
    g->ledger.last = &g->ledger.first;
    nexus_client_opts client = NEXUS_CLIENT_OPTS_INIT;
    client.alloc = o.alloc;
    client.user_agent = "nexus-gateway-health/" NEXUS_VERSION;
    nexus_status status = nexus__registry_new(&g->registry, o.alloc);
    for (uint32_t i = 0; i < n && !status; i++)
        status = open_loop(g, i);
    g->limits = o.limiter;
    if (status || (!g->limits && (status = nexus_limiter_new(&g->limits, o.limit_keys, o.alloc))) ||
        (status = nexus_client_open(&g->client, NULL, &client)) || (status = open_metrics(g)) ||
        (status = open_timer(g))) {
        nexus_gateway_close(g);
        return status;
    }
    *out = g;
    return NEXUS_OK;
}

nexus_status nexus_gateway_mount(nexus_gateway *g, nexus_server *server)
{
    nexus_route route = NEXUS_ROUTE_INIT;
    nexus_status status = nexus__mw_mount(g->middlewares, server);
    if (status)
        return status;
    g->mounted = true;
    route.path = "/";
    route.method = "*";
    route.handler = nexus__call_handle;
    route.user_data = g;
    route.flags = NEXUS_ROUTE_ON_LOOP | NEXUS_ROUTE_STREAM_BODY | NEXUS_ROUTE_GET_BODY | NEXUS_ROUTE_FALLBACK;
    route.body_max = g->opts.body_max_bytes ? g->opts.body_max_bytes : 64ULL * 1024 * 1024;
    route.roles = "public";
    if (g->opts.security_headers) {
        status = nexus__server_add_headers(server, nexus__security_headers, NEXUS__SECURITY_HEADERS);
        if (status)
            return status;
    }
    nexus__server_ask_clients(server, nexus__gw_clients_ask, g);
    return nexus_server_route(server, &route, 1);
}

/* --- what is in force --------------------------------------------------------------------------------------------- */

nexus_status nexus_gateway_config(nexus_gateway *g, char **out, size_t *n, uint64_t *version)
{
    nexus__snapshot *s = nexus__snapshot_current(g);
    if (!s)
        return nexus__fail(NEXUS_ENOTFOUND, "gateway: nothing is loaded");
    char *text = malloc(s->text_len + 1);
    if (text) {
        memcpy(text, s->text, s->text_len + 1);
        *out = text;
        *n = s->text_len;
        if (version)
            *version = s->version;
    }
    nexus__snapshot_unref(s);
    return text ? NEXUS_OK : nexus__nomem();
}

void nexus_gateway_last_error(nexus_gateway *g, char *out, size_t cap)
{
    pthread_mutex_lock(&g->locked.mutex);
    snprintf(out, cap, "%s", g->locked.error);
    pthread_mutex_unlock(&g->locked.mutex);
}

nexus_status nexus_config_validate(const char *name, nexus_slice text)
{
    nexus__gw_config *config;
    nexus_status status = nexus__gw_config_parse(&config, name ? name : "routes", text, NULL);
    if (!status)
        nexus__gw_config_free(config);
    return status;
}

/* --- closing ------------------------------------------------------------------------------------------------------ */

typedef struct closing {
    nexus__gw_loop *home;
    void (*fn)(nexus__gw_loop *home);
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool done;
} closing;

/* Of loop 0: from now on it begins no check and looks at no file. */
static void stop_clock(nexus__gw_loop *home)
{
    nexus_timer_close(home->timer);
    home->timer = NULL;
    nexus__routes_file_unwatch(home->gateway);
}

static void close_loop(nexus__gw_loop *home)
{
    nexus__leases_close(home);
    if (home == home->gateway->loops)
        nexus__health_stop(home->gateway);
    nexus__view_unref(home->view);
    home->view = NULL;
}

static void on_closing(void *user_data)
{
    closing *c = user_data;
    c->fn(c->home);
    pthread_mutex_lock(&c->mutex);
    c->done = true;
    pthread_cond_signal(&c->cond);
    pthread_mutex_unlock(&c->mutex);
}

/* Runs fn on the loop and returns when it has. */
static void run_on_loop(nexus__gw_loop *home, void (*fn)(nexus__gw_loop *home))
{
    closing c = {.home = home, .fn = fn, .mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    if (!nexus__loop_running(home->loop) || nexus_loop_is_current(home->loop) ||
        nexus_loop_post(home->loop, on_closing, &c)) {
        fn(home);
        return;
    }
    pthread_mutex_lock(&c.mutex);
    while (!c.done)
        pthread_cond_wait(&c.cond, &c.mutex);
    pthread_mutex_unlock(&c.mutex);
}

void nexus_gateway_close(nexus_gateway *g)
{
    if (!g)
        return;
    atomic_store(&g->closed, true);
    if (g->loop_count && g->loops[0].loop)
        run_on_loop(&g->loops[0], stop_clock);
    nexus_client_close(g->client); /* no check comes back after this */
    nexus_client_close(g->authorizer);
    g->opts.watch_ms = UINT32_MAX;
    pthread_mutex_lock(&g->locked.mutex);
    while (g->locked.busy)
        pthread_cond_wait(&g->locked.idle, &g->locked.mutex);
    pthread_mutex_unlock(&g->locked.mutex);
    nexus__ledger_wait(g);
    for (uint32_t i = 0; i < g->loop_count; i++)
        nexus_cache_close(g->loops[i].limits.store); /* who waits for it is told on his loop */
    for (uint32_t i = 0; i < g->loop_count; i++) {
        if (g->loops[i].loop)
            run_on_loop(&g->loops[i], close_loop);
        nexus__buf_free(&g->loops[i].head);
        nexus__stage_free_scratch(&g->loops[i]);
        nexus__free(g->alloc, g->loops[i].buffer);
    }
    nexus__ledger_close(g);
    nexus__snapshot_unref(g->locked.current);
    nexus__functions_free(g);
    nexus__registry_free(g->registry);
    if (g->limits != g->opts.limiter)
        nexus_limiter_free(g->limits);
    nexus_principal_free(g->anonymous);
    nexus__nonces_free(g->nonces);
    nexus__usage_free(g->usage);
    nexus__mw_free(g->middlewares, g->alloc);
    nexus__history_free(&g->locked.history, g->alloc);
    nexus__free(g->alloc, g->locked.path);
    nexus__gateway_unref(g);
}
