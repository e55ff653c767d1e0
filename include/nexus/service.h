/*
 * A service: everything a server needs around its routes. Opening one gives it a state directory and its
 * lock, a log, a metrics registry, a runtime and an HTTP server that already answers
 *
 *     /health  /health/live  /health/ready  (/livez /readyz /startupz)  /metrics
 *     /api/openapi.json  /api/docs  PUT /admin/v1/loglevel
 *
 * and that gives every request a correlation id (X-Request-Id), a trace context, security headers, one access
 * log line and one observation of http_server_request_duration_seconds{method,route,status}; that checks the
 * bearer token against the route's roles and the request against the route's schemas before the handler sees
 * it.
 *
 * A server is: load settings, open, mount, run, close:
 *
 *     static const nexus_setting rows[] = {{"greeting", NEXUS_SETTING_TEXT, "hello", 0, 0, 0, "What it
 * says."}}; const nexus_service_module hello_module = { .size = sizeof hello_module, .name = "hello", .text =
 * "Says hello.", .port_offset = 7, .settings = rows, .setting_count = 1, .mount = hello_mount, .unmount =
 * hello_unmount};
 *
 * and in its mount function:
 *
 *     nexus_status hello_mount(nexus_service *service, void **out)
 *     {
 *         nexus_db *db = nexus_service_db(service);          // opened at the first call; NULL: see the
 * message if (!db) return NEXUS_EIO; … return nexus_service_route(service, routes, sizeof routes / sizeof
 * routes[0]);
 *     }
 *
 * Several services live in one process by sharing a host (nexusd): one state directory, runtime, log,
 * outbound client and bus; each its own port, routes, metrics and database.
 */
#ifndef NEXUS_SERVICE_H
#define NEXUS_SERVICE_H

#include <nexus/log.h>
#include <nexus/metrics.h>
#include <nexus/settings.h>
#include <nexus/trace.h>

#ifdef __cplusplus
extern "C" {
#endif

struct nexus_runtime;
struct nexus_audit;
struct nexus_audit_record;
struct nexus_secrets;
struct nexus_server;
struct nexus_route;
struct nexus_request;
struct nexus_client;
struct nexus_db;
struct nexus_rbac;
struct nexus_cache;
struct nexus_bus;
struct nexus_verifier;
struct nexus_limiter;

typedef struct nexus_service nexus_service;

/** How a service opens the bus: file engines have few owners, which may write segments; the others are their
 * clients. */
enum { NEXUS_SERVICE_BUS_NONE = 0, NEXUS_SERVICE_BUS_CLIENT = 1, NEXUS_SERVICE_BUS_OWNER = 2 };

enum {
    NEXUS_SERVICE_NO_DOCS = 1 /**< no /api/openapi.json and /api/docs: the service passes /api on, or has none */
};

/** Adds routes, jobs and checks to a service before it starts. *out is handed to the unmount function. Runs
 * on the thread that opens the service; may block. */
typedef nexus_status nexus_mount_fn(nexus_service *service, void **out);
/** Ends what mount made: the server has drained, no handler and no job runs any more. */
typedef void nexus_unmount_fn(void *mounted);

/** What a server folder offers: `extern const nexus_service_module backend_module;`. All strings are
 * borrowed. */
typedef struct nexus_service_module {
    size_t size;
    const char *name;     /**< "backend": of the database file, of log lines, of --services */
    const char *text;     /**< one line for --help and the title of its API */
    uint16_t port_offset; /**< added to port_base */
    uint32_t bus;         /**< NEXUS_SERVICE_BUS_… */
    const nexus_setting *settings;
    size_t setting_count;
    nexus_mount_fn *mount;
    nexus_unmount_fn *unmount; /**< NULL: nothing to end */
    uint32_t flags;            /**< NEXUS_SERVICE_… */
} nexus_service_module;

typedef struct nexus_service_opts {
    size_t size;
    const nexus_alloc *alloc;           /**< NULL: the C library's */
    const nexus_service_module *module; /**< borrowed until close */
    const nexus_settings *settings;     /**< borrowed until close; loaded with `common` set */
    nexus_service *host;                /**< shares what that service's process shares; NULL: a host of its own */
    bool exclusive;                     /**< nobody else may use the state directory (nexusd); of a host only */
} nexus_service_opts;

#define NEXUS_SERVICE_OPTS_INIT NEXUS_SIZED(nexus_service_opts)

NEXUS_API void nexus_service_opts_init(nexus_service_opts *opts);

/**
 * Opens a service and calls its module's mount. NEXUS_ECONFLICT: another process holds the state directory,
 * or this service runs already, or the port is taken; the message says who. Whatever mount returned, when it
 * failed.
 */
NEXUS_API nexus_status nexus_service_open(nexus_service **out, const nexus_service_opts *opts) NEXUS_MUST_CHECK;

/** Listens, starts the jobs, and turns ready. NEXUS_ECONFLICT: the port is taken; the message says by whom. */
NEXUS_API nexus_status nexus_service_start(nexus_service *service) NEXUS_MUST_CHECK;

/** Blocks until nexus_service_stop is called on any service of the host, then drains all of them: ready turns
 * 503, idle connections close, running requests get drain_ms to finish. */
NEXUS_API nexus_status nexus_service_run(nexus_service *service) NEXUS_MUST_CHECK;

/** Asks run to return. Any thread; async-signal-safe, as are the next two. */
NEXUS_API void nexus_service_stop(nexus_service *service);
/** Runs the reload functions of every service of the host (SIGHUP). */
NEXUS_API void nexus_service_reload(nexus_service *service);
/** Steps the log level info, debug, trace, info, … (SIGUSR1). */
NEXUS_API void nexus_service_cycle_log(nexus_service *service);

/** Unmounts and frees. Services that share a host close in any order; the last ends the shared parts. NULL is
 * fine. */
NEXUS_API void nexus_service_close(nexus_service *service);

/* --- what it adds to a service while it is mounted ---------------------------------------------------------------- */

/**
 * Adds routes (copied, strings borrowed until close) to the server, the OpenAPI document and the validation.
 * `roles` of a route: NULL = any signed-in principal, "public" = no token, else one of the roles named.
 */
NEXUS_API nexus_status nexus_service_route(nexus_service *service, const struct nexus_route *routes, size_t count);
/** Says that the service passes the administration on, as a route whose role is admin says by itself: outside development
 * nexus_service_start then refuses (NEXUS_EPERM) an address that is not loopback unless there is TLS. Before the start. */
NEXUS_API void nexus_service_administers(nexus_service *service);

/** Readiness of one dependency: true when it works; else writes why into detail (cap bytes, NUL-terminated, empty
 * before). Works, but with a detail: a warning, which leaves the service ready. Runs on a worker whenever /health/ready is asked for; should answer within a second. */
typedef bool nexus_service_check_fn(char *detail, size_t cap, void *user_data);
NEXUS_API nexus_status nexus_service_check(nexus_service *service, const char *name, nexus_service_check_fn *fn,
                                           void *user_data);

/** Straight-line background work; runs on a worker, never twice at a time. */
typedef void nexus_service_job_fn(void *user_data);
/** Runs fn every interval_ms after the service has started, first at once; the interval counts from its end.
 */
NEXUS_API nexus_status nexus_service_every(nexus_service *service, const char *name, uint32_t interval_ms,
                                           nexus_service_job_fn *fn, void *user_data);
/** Runs when the operator asks for a reload; on a worker. */
NEXUS_API nexus_status nexus_service_on_reload(nexus_service *service, nexus_service_job_fn *fn, void *user_data);

/**
 * Shows this OpenAPI document (JSON, copied) at /api/openapi.json and on the page /api/docs in place of the service's own:
 * for one that describes others too. Empty = the own one again. Any thread.
 */
NEXUS_API nexus_status nexus_service_set_document(nexus_service *service, nexus_slice json);
/** The service's own document, borrowed until close; empty before the start. */
NEXUS_API void nexus_service_document(const nexus_service *service, nexus_slice *out);

/** Uses this verifier (borrowed until close) instead of one that fetches the backend's published keys. */
NEXUS_API void nexus_service_set_verifier(nexus_service *service, struct nexus_verifier *verifier);

/**
 * From now on this policy (shared: nexus_rbac_ref) says in all services of the process what roles allow. Without one it is what
 * the backend gives out (setting roles_url), fetched again when an event role.changed comes and each five seconds; until it
 * has come the built-in roles count. NULL: from now on it is fetched.
 */
NEXUS_API void nexus_service_set_policy(nexus_service *service, const struct nexus_rbac *policy);

/* --- what it offers; all borrowed until close. Those that open something at the first call return NULL when
 * that fails, with a message in nexus_error_message(). Call them while mounting or on a worker.
 * ---------------------- */

NEXUS_API const char *nexus_service_name(const nexus_service *service);
NEXUS_API struct nexus_runtime *nexus_service_runtime(nexus_service *service);
NEXUS_API struct nexus_server *nexus_service_server(nexus_service *service);
/** The counted memory (setting memory_max_mib) that the server works with, for whatever else grows with traffic. */
NEXUS_API nexus_memory *nexus_service_memory(nexus_service *service);
NEXUS_API nexus_log *nexus_service_log(nexus_service *service);
NEXUS_API nexus_metrics *nexus_service_metrics(nexus_service *service);
NEXUS_API const nexus_settings *nexus_service_settings(const nexus_service *service);
/** Where spans are recorded; NULL without otlp_url. */
NEXUS_API struct nexus_tracer *nexus_service_tracer(nexus_service *service);
/** The outbound client, with outbound_allow applied to guarded addresses. */
NEXUS_API struct nexus_client *nexus_service_client(nexus_service *service);
/** database_url, else sqlite:$STATE/<service>.db; on PostgreSQL a schema named after the service. */
NEXUS_API struct nexus_db *nexus_service_db(nexus_service *service);
/** redis_url, else memory:. */
NEXUS_API struct nexus_cache *nexus_service_cache(nexus_service *service);
/** bus_url, else file:$STATE/bus, in the module's role. */
NEXUS_API struct nexus_bus *nexus_service_bus(nexus_service *service);
NEXUS_API struct nexus_verifier *nexus_service_verifier(nexus_service *service);
/** Counts that limits keep, one memory for all services of the process: of logins and codes, of the gateway's routes. Has
 * room for the setting gateway_limit_keys where that is known, else for 65,536 keys. */
NEXUS_API struct nexus_limiter *nexus_service_limiter(nexus_service *service);

/** The absolute path of the state directory (0700). */
NEXUS_API const char *nexus_service_state_dir(const nexus_service *service);
/** Whether this is development: 127.0.0.1, generated secrets, friendlier pages. */
NEXUS_API bool nexus_service_dev(const nexus_service *service);
/** The port it listens on (0 before start). */
NEXUS_API uint16_t nexus_service_port(const nexus_service *service);
/** The port of the service with this offset in the same topology: port_base + offset. */
NEXUS_API uint16_t nexus_service_peer_port(const nexus_service *service, uint16_t offset);
/** The token issuer: the setting, else http://127.0.0.1:PORT of the gateway. */
NEXUS_API const char *nexus_service_issuer(const nexus_service *service);

/**
 * The content of $STATE/<file> ("write.key", "admin.token"), made at the first call (0600) from `bytes`
 * random bytes in base64url, safe against two processes at once. *out is NUL-terminated; free it with
 * nexus_free.
 */
NEXUS_API nexus_status nexus_service_secret(char **out, nexus_service *service, const char *file,
                                            size_t bytes) NEXUS_MUST_CHECK;

/**
 * The service's audit trail, $STATE/audit/<service>, opened at the first call, which is made while mounting. From then on what
 * the service answers with 401 or 403 is in it, too (see nexus_service_denied), each record goes out as an event audit.* where
 * the module has a role on the bus, and POST /admin/v1/audit/verify verifies it.
 */
NEXUS_API struct nexus_audit *nexus_service_audit(nexus_service *service);
/**
 * Records that somebody was not let, within a second and without blocking; detail is the reason, a word. The same once more
 * (actor or else address, action, object, reason) is counted, and recorded a minute later with its count; beyond 64 of them a
 * minute all others are one record. Without a trail nothing happens.
 */
NEXUS_API void nexus_service_denied(nexus_service *service, const struct nexus_audit_record *record);
/**
 * A ring of keys in $STATE/<file> ("secrets.key"), wrapped by the setting secrets_kek where that is set. Close it with
 * nexus_secrets_close.
 */
NEXUS_API nexus_status nexus_service_ring(struct nexus_secrets **out, nexus_service *service,
                                          const char *file) NEXUS_MUST_CHECK;

/**
 * Records a change that is about to be made, such as "secrets.rotate", of what, and who asks ("operator" without a subject).
 * false: it could not be recorded; the request is answered with 503, and the change must not be made.
 */
NEXUS_API bool nexus_service_audited(nexus_service *service, struct nexus_request *request, const char *action,
                                     nexus_slice object);
/** Records that it was refused, or failed, after all; before the request is answered. why may be "". */
NEXUS_API void nexus_service_audit_undone(nexus_service *service, const struct nexus_request *request, const char *action,
                                          nexus_slice object, nexus_status status, const char *why);

/** A ring of keys in the hands of administrators. The struct stays as long as the routes. */
typedef struct nexus_ring_calls {
    nexus_service *service;
    const char *name;                                              /**< in the records of what is done to it */
    nexus_status (*list)(void *user_data, char **json, size_t *n); /**< *json is freed with nexus_free */
    nexus_status (*rotate)(void *user_data);
    nexus_status (*reseal)(void *user_data, uint32_t *done); /**< NULL where nothing is kept that could be sealed again */
    nexus_status (*retire)(void *user_data, const char *kid);
    void *user_data;
} nexus_ring_calls;

/**
 * Handlers, whose user_data is a nexus_ring_calls: GET shows the keys; POST rotates and shows them, or seals a batch again
 * ({"resealed":n}); DELETE with the parameter kid retires one (204, 404, 409). Rotating and retiring are recorded first.
 */
NEXUS_API void nexus_ring_show(struct nexus_request *request, void *calls);
NEXUS_API void nexus_ring_rotate(struct nexus_request *request, void *calls);
NEXUS_API void nexus_ring_reseal(struct nexus_request *request, void *calls);
NEXUS_API void nexus_ring_retire(struct nexus_request *request, void *calls);

/* --- about one request, in any handler of a service --------------------------------------------------------------- */

/** Who asks: the subject of the verified token; false on a public route without one. */
NEXUS_API bool nexus_service_subject(const struct nexus_request *request, nexus_slice *out);
/** A text claim of the verified token ("sid"); borrowed as long as the request. False: there is none. */
NEXUS_API bool nexus_service_claim(const struct nexus_request *request, const char *name, nexus_slice *out);
/** Whether the verified token has the role. */
NEXUS_API bool nexus_service_has_role(const struct nexus_request *request, const char *role);
/** The roles that the verified token carries, "operator" or "acme/editor"; NULL without one. Borrowed as long as the request. */
NEXUS_API const nexus_slice *nexus_service_roles(const struct nexus_request *request, size_t *count);
/**
 * The one decision about permissions: may the caller do this in a tenant (empty: where nothing belongs to one) with an object
 * of this owner (a subject; empty: nobody's, so that rules for one's own do not count)? The roles are the token's, what they
 * allow is looked up here (nexus_service_set_policy). NEXUS_OK; NEXUS_EPERM: no; NEXUS_EAUTH: nobody with a good token asks;
 * NEXUS_EAGAIN: the token has a role that is not known here yet.
 */
NEXUS_API nexus_status nexus_service_authorize(const struct nexus_request *request, const char *permission,
                                               nexus_slice tenant, nexus_slice owner) NEXUS_MUST_CHECK;
/** Whether it is NEXUS_OK where nothing belongs to a tenant or to somebody. */
NEXUS_API bool nexus_service_may(const struct nexus_request *request, const char *permission);
/**
 * Whether the request comes from the operator of this machine (bearer token of $STATE/admin.token) or from somebody who has the
 * permission. For routes with roles "public" that check it themselves, such as the log level.
 */
NEXUS_API bool nexus_service_operates(const struct nexus_request *request, const char *permission);
/** nexus_service_operates with "machine:operate", which of the built-in roles only admin has. */
NEXUS_API bool nexus_service_is_operator(const struct nexus_request *request);
/** The ids of the request for a log record; the slices live as long as the request. */
NEXUS_API void nexus_service_context(const struct nexus_request *request, nexus_log_context *out);
/** The trace context of the request: its own span, child of the caller's. Pass it on in events and outbound
 * calls. */
NEXUS_API void nexus_service_trace(const struct nexus_request *request, nexus_trace *out);

#ifdef __cplusplus
}
#endif

#endif
