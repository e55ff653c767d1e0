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
#include <nexus/log.h>
#include <nexus/metrics.h>
#include <nexus/trace.h>

#ifdef __cplusplus
extern "C" {
#endif

struct nexus_verifier;
struct nexus_key;
struct nexus_limiter;
struct nexus_oidc;
struct nexus_introspector;
struct nexus_apikey_verifier;

typedef struct nexus_gateway nexus_gateway;

/** A target went down or came back. On a thread of the gateway; must not block. The texts are borrowed for the call. */
typedef void nexus_gateway_health_fn(const char *upstream, const char *target, bool up, const char *reason,
                                     void *user_data);

/** Something happened that somebody should know of, such as a canary that was aborted. On a thread of the gateway; must
 * not block. The text is borrowed for the call. */
typedef void nexus_gateway_warning_fn(const char *text, void *user_data);

typedef struct nexus_gateway_opts {
    size_t size;                        /**< sizeof(nexus_gateway_opts) */
    const nexus_alloc *alloc;           /**< borrowed until close; NULL = the C library's */
    struct nexus_verifier *verifier;    /**< checks tokens of routes whose "auth" names jwt; borrowed until close; NULL:
                                          such routes files are refused */
    struct nexus_oidc *oidc;            /**< people's sessions for routes whose "auth" names oidc; borrowed until close; NULL:
                                          such routes files are refused */
    const char *oidc_cookie;            /**< name of the cookie with the session; borrowed until close; NULL =
                                          "__Host-nexus_login" */
    const char *oidc_login;             /**< path that begins a login; borrowed until close; NULL = "/.nexus/login" */
    struct nexus_introspector *introspector; /**< checks tokens of routes whose "auth" names introspect; borrowed until close;
                                                NULL: such routes files are refused */
    nexus_metrics *metrics;             /**< borrowed until close; NULL = counts nothing */
    nexus_tracer *tracer;               /**< borrowed until close; gets a span for each try, a child of the one that
                                          nexus_request_user(request, "nexus.trace") points to; NULL = none */
    nexus_gateway_health_fn *on_health; /**< NULL = nobody wants to know */
    void *user_data;
    bool security_headers;   /**< what the gateway and its server answer themselves carries the fields that the filter
                                  of this name adds to upstream's answers */
    uint64_t body_max_bytes; /**< of a request, where the route sets none; 0 = 64 MiB */
    uint32_t watch_ms;       /**< how often a loaded file is looked at for changes; 0 = 1000, UINT32_MAX = never */
    const char *dns_servers; /**< asked for names of targets, "127.0.0.1:5353,…"; borrowed until close; NULL = the system's */
    bool development;        /**< upstreams may say "insecure" and are then not verified */
    uint32_t limit_keys;     /**< keys that limits remember at most, rounded up; 0 = 1,048,576 */
    struct nexus_limiter *limiter; /**< remembers them instead, shared with others; borrowed until close; NULL = its own */
    struct nexus_db *db;     /**< counts quotas by the calendar; borrowed until close; NULL: routes files with such quotas are
                                  refused */
    const char *limit_store; /**< redis://… that counts limits of scope "cluster"; borrowed until close; NULL: routes files
                                  with such limits are refused */
    uint32_t limit_nodes;    /**< gateways that share it or the database: each admits its share while they are away; 0 = 1 */
    nexus_log *log;          /**< told what limits that are not enforced would refuse; borrowed until close; NULL = nobody */
    const struct nexus_key *identity_key; /**< private; signs X-Nexus-Identity of routes with "identity"; borrowed until
                                               close; NULL: such routes files are refused */
    const char *identity_issuer;          /**< of those tokens; borrowed until close; NULL = "nexus-gateway" */
    nexus_gateway_warning_fn *on_warning; /**< with user_data; NULL = nobody wants to know */
    const nexus_alloc *traffic_alloc; /**< for what grows with traffic: connections to upstreams and bodies that are held;
                                           nexus_memory_alloc caps it; borrowed until close; NULL = alloc */
    struct nexus_apikey_verifier *apikeys; /**< checks keys of routes whose "auth" names api_key; borrowed until close; NULL:
                                                such routes files are refused */
    const struct nexus_keyset *signature_keys; /**< of callers that sign requests (RFC 9421), by keyid, for routes whose
                                                    "auth" names signature; borrowed until close; NULL: such routes files
                                                    are refused */
    const char *public_url; /**< under which clients reach this gateway, such as https://api.example: named in the metadata of
                                 protected resources (RFC 9728); borrowed until close; NULL = what each request asked for */
} nexus_gateway_opts;

#define NEXUS_GATEWAY_OPTS_INIT NEXUS_SIZED(nexus_gateway_opts)
NEXUS_API void nexus_gateway_opts_init(nexus_gateway_opts *opts);

/** Makes a gateway without routes; every request is 404 until something is loaded. The runtime must outlive it. */
NEXUS_API nexus_status nexus_gateway_open(nexus_gateway **out, nexus_runtime *runtime,
                                          const nexus_gateway_opts *opts) NEXUS_MUST_CHECK;

/** Adds the gateway's fallback route to the server; once, before the server listens. */
NEXUS_API nexus_status nexus_gateway_mount(nexus_gateway *gateway, nexus_server *server) NEXUS_MUST_CHECK;

/**
 * Names a C function that routes files may list as a target, "function:NAME": requests are answered by the handler, in
 * this process and without a socket, after the route's filters. It gets the request with the path as an upstream would
 * get it and with its whole body, and answers as any handler does. Before a file that names it is loaded; any thread.
 * @param flags  NEXUS_ROUTE_ON_LOOP: it never blocks, call it on the loop; 0 = on a worker
 * @param user_data  borrowed until close
 * @return NEXUS_ECONFLICT: the name is taken; NEXUS_EINVAL: it is no token
 */
NEXUS_API nexus_status nexus_gateway_function(nexus_gateway *gateway, const char *name, uint32_t flags,
                                              nexus_handler_fn *handler, void *user_data) NEXUS_MUST_CHECK;
/** One instance of a service: where it can be reached, and for how long that is true. */
typedef struct nexus_gateway_instance {
    size_t size;         /**< sizeof(nexus_gateway_instance) */
    const char *service; /**< a token of at most 128 bytes; upstreams with "discovery": {"registry": SERVICE} use it */
    const char *id;      /**< the same; tells it from the service's others */
    const char *url;     /**< "http://host:port" or "https://host:port" */
    uint32_t weight;     /**< 0 = 1; at most 10,000 */
    uint32_t ttl_ms;     /**< it is forgotten after this, unless put again; 0 = 15,000; at most an hour */
} nexus_gateway_instance;

#define NEXUS_GATEWAY_INSTANCE_INIT NEXUS_SIZED(nexus_gateway_instance)
NEXUS_API void nexus_gateway_instance_init(nexus_gateway_instance *instance);

/** Adds an instance to the registry, or renews it; every third of its time to live is a good rhythm. Copied. Any thread.
 * @return NEXUS_EINVAL: what is wrong with it; NEXUS_ELIMIT: 65,536 instances are there */
NEXUS_API nexus_status nexus_gateway_instance_put(nexus_gateway *gateway,
                                                  const nexus_gateway_instance *instance) NEXUS_MUST_CHECK;
/** Requests under way end where they are. NEXUS_ENOTFOUND: there is none, or it has expired. Any thread. */
NEXUS_API nexus_status nexus_gateway_instance_remove(nexus_gateway *gateway, const char *service,
                                                     const char *id) NEXUS_MUST_CHECK;
/** The instances of a service (NULL: of all) as JSON; free *out with nexus_free. Any thread. */
NEXUS_API nexus_status nexus_gateway_instances(nexus_gateway *gateway, const char *service, char **out,
                                               size_t *n) NEXUS_MUST_CHECK;

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

/** Names the file that edits are written to, without reading it now; from then on it is watched as by load_file. For a
 * gateway whose routes came from elsewhere. Copied. */
NEXUS_API nexus_status nexus_gateway_keep_in(nexus_gateway *gateway, const char *path) NEXUS_MUST_CHECK;

/* --- changing what is in force ------------------------------------------------------------------------------------ */

typedef struct nexus_gateway_edit_opts {
    size_t size;
    uint64_t if_version; /**< refuse with NEXUS_ESTALE unless this version is in force; 0 = whatever is */
    bool dry_run;        /**< judge and report, change nothing */
    const char *origin;  /**< who did it, for the history; borrowed for the call; NULL = what was done */
} nexus_gateway_edit_opts;

#define NEXUS_GATEWAY_EDIT_OPTS_INIT NEXUS_SIZED(nexus_gateway_edit_opts)
NEXUS_API void nexus_gateway_edit_opts_init(nexus_gateway_edit_opts *opts);

/**
 * Changes entries of the routes file, all of them or none: JSON such as
 *     [{"op":"put","collection":"routes","id":"orders","value":{…},"if_match":"\"…\""},
 *      {"op":"remove","collection":"upstreams","id":"old"}]
 * A collection is an array or object at the top of the file; "put" replaces in place or adds at the end; "if_match" is an
 * ETag of nexus_gateway_entry or "*", "if_none_match":"*" adds only. The text of other entries is not touched. With a file
 * (load_file, keep_in) it is written there, whole and durable, before it comes into force. Blocks; NEXUS_EDEADLK on a loop.
 * @param out {"version","dry_run","changes":[{"change","collection","id","from","to"}]}; NUL-terminated; nexus_free
 * @return NEXUS_EINVAL as nexus_gateway_load (positions are those of the new text); NEXUS_ESTALE: another version, another
 *         ETag, or the file was changed by somebody else and is not in force; NEXUS_ECONFLICT: it is there already;
 *         NEXUS_ENOTFOUND: nothing of that id
 */
NEXUS_API nexus_status nexus_gateway_edit(nexus_gateway *gateway, nexus_slice operations,
                                          const nexus_gateway_edit_opts *opts, char **out, size_t *n) NEXUS_MUST_CHECK;
/** The whole text, as nexus_gateway_edit. */
NEXUS_API nexus_status nexus_gateway_replace(nexus_gateway *gateway, nexus_slice text,
                                             const nexus_gateway_edit_opts *opts, char **out,
                                             size_t *n) NEXUS_MUST_CHECK;
/** Brings one of the last ten versions back, as a new version; as nexus_gateway_edit. NEXUS_ENOTFOUND: not kept. */
NEXUS_API nexus_status nexus_gateway_rollback(nexus_gateway *gateway, uint64_t version,
                                              const nexus_gateway_edit_opts *opts, char **out,
                                              size_t *n) NEXUS_MUST_CHECK;

/** One entry in force, {"id","etag","value"}, or with an empty id all of the collection, {"version","items":[…]}.
 * *out is NUL-terminated; free it with nexus_free. Any thread. NEXUS_ENOTFOUND. */
NEXUS_API nexus_status nexus_gateway_entry(nexus_gateway *gateway, nexus_slice collection, nexus_slice id, char **out,
                                           size_t *n) NEXUS_MUST_CHECK;
/** The last ten versions, the newest first: [{"version","at","origin","bytes"}]; as nexus_gateway_entry. */
NEXUS_API nexus_status nexus_gateway_history(nexus_gateway *gateway, char **out, size_t *n) NEXUS_MUST_CHECK;
/** What differs between two of them: {"from","to","changes":[…]} as of nexus_gateway_edit. NEXUS_ENOTFOUND: not kept. */
NEXUS_API nexus_status nexus_gateway_diff(nexus_gateway *gateway, uint64_t from, uint64_t to, char **out,
                                          size_t *n) NEXUS_MUST_CHECK;

/* --- what is in force --------------------------------------------------------------------------------------------- */

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

/**
 * Where clients find a path of an upstream: the reverse of what its routes do with a request. Any thread.
 * @param method "GET"
 * @param path   as the upstream knows it; a template ("/orders/{id}") gives a template
 * @param out    cap bytes, NUL-terminated
 * @return NEXUS_ENOTFOUND: no route leads there; NEXUS_ETOOBIG: cap is too small
 */
NEXUS_API nexus_status nexus_gateway_public_path(nexus_gateway *gateway, const char *upstream, const char *method,
                                                 nexus_slice path, char *out, size_t cap) NEXUS_MUST_CHECK;

/** Upstreams, targets, their health and load, as JSON; as explain. */
NEXUS_API nexus_status nexus_gateway_status(nexus_gateway *gateway, char **out, size_t *n) NEXUS_MUST_CHECK;

/** What is deprecated, and who still calls it since the gateway was opened, as JSON:
 * {"deprecated":[{"route","version","since","sunset","successor","state","consumers":[{"consumer","requests",
 * "last_seen"}]}],"uncounted"}; as explain. */
NEXUS_API nexus_status nexus_gateway_versions(nexus_gateway *gateway, char **out, size_t *n) NEXUS_MUST_CHECK;

/** After the server it is mounted on was closed. NULL is fine. */
NEXUS_API void nexus_gateway_close(nexus_gateway *gateway);

/* --- what became of a request --------------------------------------------------------------------------------------- */

enum {
    NEXUS_GATEWAY_SEEN_RETRIED = 1,   /**< "retry": more than one try */
    NEXUS_GATEWAY_SEEN_TIMED_OUT = 2, /**< "timeout": the upstream took too long */
    NEXUS_GATEWAY_SEEN_LIMITED = 4,   /**< "limit": refused by a rate limit or quota */
    NEXUS_GATEWAY_SEEN_BREAKER = 8,   /**< "breaker": refused by an open circuit */
    NEXUS_GATEWAY_SEEN_BULKHEAD = 16, /**< "bulkhead": the upstream has as much as it may */
    NEXUS_GATEWAY_SEEN_CUT = 32       /**< "cut": the client went, or has half of an answer */
};

typedef struct nexus_gateway_seen {
    size_t size;       /**< sizeof(nexus_gateway_seen); must be set */
    nexus_slice route; /**< its id; these are borrowed until the request ends; empty: none was met */
    nexus_slice upstream;
    nexus_slice target;  /**< URL of the last one tried; empty: none was */
    nexus_slice user;    /**< subject of who was let in; empty: nobody known */
    uint64_t bytes_in;   /**< of the request's body, passed on */
    int64_t upstream_ns; /**< from the first try to the head of an answer; -1: there was none */
    uint32_t tries;
    uint32_t flags; /**< NEXUS_GATEWAY_SEEN_… */
} nexus_gateway_seen;

#define NEXUS_GATEWAY_SEEN_INIT NEXUS_SIZED(nexus_gateway_seen)
NEXUS_API void nexus_gateway_seen_init(nexus_gateway_seen *seen);

/** For loggers (nexus_server_logger): what the gateway did with the request. False: it was not the gateway's. */
NEXUS_API bool nexus_gateway_seen_get(const nexus_request *request, nexus_gateway_seen *out);
/** The words of flags, parted by commas, without a NUL; returns their length, at most 64. */
NEXUS_API size_t nexus_gateway_seen_words(uint32_t flags, char *out, size_t cap);

#ifdef __cplusplus
}
#endif

#endif
