/*
 * An API gateway inside any program: routes from a JSON file, upstreams with pooled connections, filters, health checks,
 * changes without a restart.
 *
 *     nexus_gateway_open(&gateway, runtime, &opts);
 *     nexus_gateway_load_file(gateway, "routes.json");
 *     nexus_gateway_mount(gateway, server);            // before the server listens
 *
 * The routes of the server itself come first; the gateway takes every request that meets none of them. The format of
 * the routes file is in docs/gateway.md.
 */
#ifndef NEXUS_GATEWAY_H
#define NEXUS_GATEWAY_H

#include <nexus/http.h>
#include <nexus/metrics.h>

#ifdef __cplusplus
extern "C" {
#endif

struct nexus_verifier;

typedef struct nexus_gateway nexus_gateway;

/** A target went down or came back. On a thread of the gateway; must not block. The texts are borrowed for the call. */
typedef void nexus_gateway_health_fn(const char *upstream, const char *target, bool up, const char *reason,
                                     void *user_data);

typedef struct nexus_gateway_opts {
    size_t size;                     /**< sizeof(nexus_gateway_opts) */
    const nexus_alloc *alloc;        /**< borrowed until close; NULL = the C library's */
    struct nexus_verifier *verifier; /**< checks tokens of routes whose "auth" names jwt; borrowed until close; NULL:
                                          such routes files are refused */
    nexus_metrics *metrics;          /**< borrowed until close; NULL = counts nothing */
    nexus_gateway_health_fn *on_health; /**< NULL = nobody wants to know */
    void *user_data;
    uint64_t body_max_bytes; /**< of a request, where the route sets none; 0 = 64 MiB */
    uint32_t watch_ms;       /**< how often a loaded file is looked at for changes; 0 = 1000, UINT32_MAX = never */
    uint32_t limit_keys;     /**< keys that limits remember at most, rounded up to a power of two; 0 = 262,144 */
} nexus_gateway_opts;

#define NEXUS_GATEWAY_OPTS_INIT NEXUS_SIZED(nexus_gateway_opts)
NEXUS_API void nexus_gateway_opts_init(nexus_gateway_opts *opts);

/** Makes a gateway without routes; every request is 404 until something is loaded. The runtime must outlive it. */
NEXUS_API nexus_status nexus_gateway_open(nexus_gateway **out, nexus_runtime *runtime,
                                          const nexus_gateway_opts *opts) NEXUS_MUST_CHECK;

/** Adds the gateway's fallback route to the server; once, before the server listens. */
NEXUS_API nexus_status nexus_gateway_mount(nexus_gateway *gateway, nexus_server *server) NEXUS_MUST_CHECK;

/**
 * Replaces all routes and upstreams at once; requests under way end on those they started with, tunnels stay open.
 * Upstreams whose text did not change keep their connections and their health. On an error the old ones stay.
 * Resolves names, so it blocks: NEXUS_EDEADLK on a loop thread.
 * @param name names the text in errors
 * @return NEXUS_EINVAL with "NAME:LINE:COLUMN: /pointer: what is wrong"; NEXUS_EUNREACH: a target's name does not resolve
 */
NEXUS_API nexus_status nexus_gateway_load(nexus_gateway *gateway, const char *name, nexus_slice text) NEXUS_MUST_CHECK;
/** The same from a file, which is from now on watched: a change is loaded, a broken one leaves the last good one. */
NEXUS_API nexus_status nexus_gateway_load_file(nexus_gateway *gateway, const char *path) NEXUS_MUST_CHECK;
/** Loads the file again now, changed or not. NEXUS_ENOTFOUND without nexus_gateway_load_file before. */
NEXUS_API nexus_status nexus_gateway_reload(nexus_gateway *gateway) NEXUS_MUST_CHECK;

/** The text in force, and how many times something was loaded; free it with nexus_free. Any thread. */
NEXUS_API nexus_status nexus_gateway_config(nexus_gateway *gateway, char **out, size_t *n,
                                            uint64_t *version) NEXUS_MUST_CHECK;
/** Why the last attempt to load failed; "" when it did not. Copied, at most cap - 1 bytes and a NUL. Any thread. */
NEXUS_API void nexus_gateway_last_error(nexus_gateway *gateway, char *out, size_t cap);

/** Checks a routes file without a gateway: statuses and messages of nexus_gateway_load, names are not resolved. */
NEXUS_API nexus_status nexus_config_validate(const char *name, nexus_slice text) NEXUS_MUST_CHECK;

/**
 * What would happen to a request, as JSON: canonical path, route and why it won, parameters, filters in their order,
 * upstream and the state of its targets. *out is NUL-terminated; free it with nexus_free. Any thread.
 * @param target "/path?query" or "http://host/path"
 */
NEXUS_API nexus_status nexus_gateway_explain(nexus_gateway *gateway, const char *method, nexus_slice target,
                                             const nexus_pair *headers, size_t header_count, char **out,
                                             size_t *n) NEXUS_MUST_CHECK;

/** Upstreams, targets, their health and load, as JSON; as explain. */
NEXUS_API nexus_status nexus_gateway_status(nexus_gateway *gateway, char **out, size_t *n) NEXUS_MUST_CHECK;

/** After the server it is mounted on was closed. NULL is fine. */
NEXUS_API void nexus_gateway_close(nexus_gateway *gateway);

#ifdef __cplusplus
}
#endif

#endif
