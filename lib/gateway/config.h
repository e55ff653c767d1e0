/* What a routes file says, checked and in the gateway's own words. Immutable once parsed. */
#ifndef NEXUS_GATEWAY_CONFIG_H
#define NEXUS_GATEWAY_CONFIG_H

#include <stdatomic.h>

#include "gateway/balance/balance.h"
#include "base/map.h"
#include "gateway/loader.h"
#include "gateway/match.h"
#include "gateway/pattern.h"
#include "gateway/rewrite.h"
#include "gateway/version.h"

enum { NEXUS__PROTOCOL_AUTO = 0, NEXUS__PROTOCOL_HTTP1 = 1, NEXUS__PROTOCOL_H2 = 2 };

typedef struct nexus__gw_target {
    nexus_slice url;      /* "http://host:port", "https://host:port" or "function:name" */
    nexus_slice host;     /* without brackets */
    nexus_slice function; /* its name; empty = a server */
    uint16_t port;
    uint32_t weight;
    bool tls;
} nexus__gw_target;

typedef struct nexus__gw_tls_conf {
    nexus_slice server_name; /* empty = the target's host */
    nexus_slice ca_file, cert_file, key_file;
    struct {
        uint8_t (*items)[32];
        uint32_t count;
    } pins;
    bool insecure;
} nexus__gw_tls_conf;

typedef struct nexus__gw_discovery_conf {
    nexus_slice srv, registry; /* a name; at most one of them is set */
    nexus__gw_target found;    /* stands for what is found */
} nexus__gw_discovery_conf;

enum { NEXUS__GW_CHECK_NONE = 0, NEXUS__GW_CHECK_HTTP = 1, NEXUS__GW_CHECK_TCP = 2, NEXUS__GW_CHECK_GRPC = 3 };

/* Of clients that come to a host of this gateway. */
typedef struct nexus__gw_clients_conf {
    nexus_slice host; /* "a.example", "*.example" or "*", in lower case */
    nexus_slice ca_file, crl_file;
    uint32_t mode; /* NEXUS_CLIENT_CERT_… */
} nexus__gw_clients_conf;

typedef struct nexus__gw_health {
    uint32_t kind;
    nexus_slice path, service; /* of HTTP; of gRPC, empty = the server as a whole */
    uint32_t interval_ms, down_interval_ms, timeout_ms, fails, passes;
    uint32_t status_min, status_max; /* what HTTP expects */
} nexus__gw_health;

/* What keyed balancing takes a request's key from. */
enum {
    NEXUS__GW_HASH_IP = 0,
    NEXUS__GW_HASH_PRINCIPAL = 1,
    NEXUS__GW_HASH_HEADER = 2,
    NEXUS__GW_HASH_COOKIE = 3,
    NEXUS__GW_HASH_QUERY = 4,
    NEXUS__GW_HASH_PARAM = 5
};

typedef struct nexus__gw_hash_key {
    uint32_t source;
    nexus_slice name;   /* of the header, cookie, query or path parameter */
    nexus_slice secret; /* empty = of this process alone */
} nexus__gw_hash_key;

typedef struct nexus__gw_timeouts {
    uint32_t connect_ms, first_byte_ms, try_ms, total_ms, idle_ms;
    uint32_t ping_ms; /* of silent WebSocket tunnels; 0 = never */
} nexus__gw_timeouts;

typedef struct nexus__gw_retries {
    uint32_t max, base_ms, cap_ms;
    uint32_t budget_percent, budget_min; /* percent UINT32_MAX = no budget */
    uint64_t statuses[2];                /* bit (status - 500) of those that are tried again */
} nexus__gw_retries;

typedef struct nexus__gw_ejection {
    uint32_t failures; /* in a row; 0 = never for these */
    uint32_t base_ms, max_ms, max_percent, sweep_ms;
    uint32_t deviations_percent, hosts_min, requests_min; /* success rate: deviations 0 = never for it */
} nexus__gw_ejection;

typedef struct nexus__gw_upstream_conf {
    nexus_slice openapi; /* path of its description; empty = none is asked for */
    nexus_slice name, text; /* text: its JSON, to tell whether a reload changed it */
    struct {
        nexus__gw_target *items;
        uint32_t count;
    } targets;
    nexus__gw_tls_conf tls;
    nexus__gw_discovery_conf discovery;
    uint32_t protocol; /* NEXUS__PROTOCOL_… */
    nexus__balance_rule balance;
    nexus__gw_hash_key hash;
    nexus__gw_timeouts timeouts;
    nexus__gw_retries retries;
    nexus__gw_ejection ejection;
    nexus__gw_health health;
    uint32_t max_connections;           /* of each target */
    uint32_t max_pending, max_requests; /* of the upstream; requests 0 = any number */
    uint32_t pool_idle_max, pool_idle_ms, pool_max_age_ms;
} nexus__gw_upstream_conf;

/* A field whose value is put together for each call. */
typedef struct nexus__gw_filled {
    nexus_slice name;
    nexus__pattern value;
    bool add;
} nexus__gw_filled;

/* Fields that are set (in place of what is there), added and removed. */
typedef struct nexus__gw_headers_conf {
    nexus__pair_list set, add;
    nexus__text_list remove;
    struct {
        nexus__gw_filled *items;
        uint32_t count;
    } filled;
} nexus__gw_headers_conf;

#define NEXUS__GW_NO_UPSTREAM UINT32_MAX
enum { NEXUS__GW_GUARDS = 6 };

typedef struct nexus__gw_filter nexus__gw_filter; /* gateway/filter.h */

typedef struct nexus__gw_filter_use {
    const nexus__gw_filter *filter;
    void *conf;
} nexus__gw_filter_use;

typedef struct nexus__gw_route_conf {
    nexus_slice id, host, path, prefix, regex, upstream; /* one of path, prefix and regex; upstream may be empty */
    uint32_t upstream_index;                             /* of the config's; NEXUS__GW_NO_UPSTREAM = it has none */
    uint32_t methods;                                    /* 0 = any */
    int32_t priority;
    nexus__regex *re;                   /* of regex */
    const nexus__match_conf *match;     /* NULL = any request */
    nexus__rewrite_conf rewrite;
    const nexus__versions_conf *versions;   /* NULL = it has none */
    const nexus__deprecation *deprecation;  /* NULL = it is not */
    const struct nexus__resource_conf *resource; /* NULL = nothing is said */
    uint64_t guards[NEXUS__GW_GUARDS];      /* of each member that says who may pass, a hash; 0 = it is not there */
    bool shares_ground;                     /* its rewritten paths may be those of a guarded route */
    bool encoded_slash_pass, keeps_slashes; /* of the path, which is in canonical form else */
    bool get_body;                     /* GET and HEAD may have one */
    bool keeps_captures; /* something of the route fills in {path.x} */
    uint32_t body_max_bytes, total_ms; /* 0 = no limit of its own; the upstream's */
    uint32_t retries;                  /* UINT32_MAX = the upstream's */
    nexus__breaker_conf breaker;
    struct {
        nexus__gw_filter_use *items; /* in the order in which they run */
        uint32_t count;
    } filters;
    nexus__gw_headers_conf request, response;
} nexus__gw_route_conf;

/* NEXUS_PATH_… that a path of the route may show. */
uint32_t nexus__gw_path_flags(const nexus__gw_route_conf *route);

/* Whether whoever the one lets in, the other would let in too: it has no guard that is not the one's, word for word. */
bool nexus__gw_guards_cover(const nexus__gw_route_conf *one, const nexus__gw_route_conf *other);

typedef struct nexus__gw_regex {
    nexus__regex *re;
    struct nexus__gw_regex *next;
} nexus__gw_regex;

struct nexus_rbac;
struct nexus_router;

struct nexus__gw_plan_conf; /* gateway/filters/limit.h */

typedef struct nexus__gw_config {
    const nexus_alloc *alloc;
    atomic_uint refs;
    nexus__arena arena;
    struct nexus_rbac *policy; /* who holds which permissions */
    struct nexus_router *router; /* its values are of routes.items */
    nexus__gw_regex *regexes;    /* all there are, to be freed */
    nexus__map names;            /* of upstreams */
    nexus__map route_ids;        /* of routes; of several of one id the last */
    struct {
        nexus__gw_upstream_conf *items;
        uint32_t count;
    } upstreams;
    struct {
        nexus__gw_route_conf *items;
        uint32_t count;
    } routes;
    struct {
        nexus__gw_clients_conf *items;
        uint32_t count;
    } clients;
    struct {
        struct nexus__gw_plan_conf *items;
        uint32_t count;
    } plans;
} nexus__gw_config;

/* file names the text in errors. NEXUS_EINVAL with "FILE:LINE:COLUMN: /pointer: …"; NEXUS_ECONFLICT: equal routes. */
nexus_status nexus__gw_config_parse(nexus__gw_config **out, const char *file, nexus_slice text,
                                    const nexus_alloc *alloc) NEXUS_MUST_CHECK;
nexus__gw_config *nexus__gw_config_ref(nexus__gw_config *config);
void nexus__gw_config_free(nexus__gw_config *config); /* gives back one reference */
const nexus__gw_upstream_conf *nexus__gw_config_upstream(const nexus__gw_config *config, nexus_slice name);

#endif
