/* What a routes file says, checked and in the gateway's own words. Immutable once parsed. */
#ifndef NEXUS_GATEWAY_CONFIG_H
#define NEXUS_GATEWAY_CONFIG_H

#include <stdatomic.h>

#include "gateway/loader.h"
#include "gateway/pattern.h"

enum { NEXUS__BALANCE_P2C = 0, NEXUS__BALANCE_WRR = 1 };

typedef struct nexus__gw_target {
    nexus_slice url;  /* "http://host:port" */
    nexus_slice host; /* without brackets */
    uint16_t port;
    uint32_t weight;
} nexus__gw_target;

typedef struct nexus__gw_health {
    nexus_slice path; /* empty = no active checks */
    uint32_t interval_ms, down_interval_ms, timeout_ms, fails, passes;
} nexus__gw_health;

typedef struct nexus__gw_upstream_conf {
    nexus_slice name, text; /* text: its JSON, to tell whether a reload changed it */
    struct {
        nexus__gw_target *items;
        uint32_t count;
    } targets;
    uint32_t balance;
    uint32_t connect_ms, first_byte_ms, total_ms, idle_ms, ping_ms;
    uint32_t retries, max_connections;
    uint32_t pool_idle_max, pool_idle_ms;
    uint32_t eject_failures, eject_ms; /* failures 0 = never */
    nexus__gw_health health;
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

typedef struct nexus__gw_filter nexus__gw_filter; /* gateway/filter.h */

typedef struct nexus__gw_filter_use {
    const nexus__gw_filter *filter;
    void *conf;
} nexus__gw_filter_use;

typedef struct nexus__gw_route_conf {
    nexus_slice id, host, path, prefix, upstream, strip_prefix, add_prefix;
    uint32_t methods; /* 0 = any */
    int32_t priority;
    bool ambiguous_pass;
    bool get_body;                     /* GET and HEAD may have one */
    bool keeps_captures; /* something of the route fills in {path.x} */
    uint32_t body_max_bytes, total_ms; /* 0 = no limit of its own; the upstream's */
    struct {
        nexus__gw_filter_use *items; /* in the order in which they run */
        uint32_t count;
    } filters;
    nexus__gw_headers_conf request, response;
} nexus__gw_route_conf;

struct nexus_rbac;

typedef struct nexus__gw_config {
    const nexus_alloc *alloc;
    atomic_uint refs;
    nexus__arena arena;
    struct nexus_rbac *policy; /* who holds which permissions */
    struct {
        nexus__gw_upstream_conf *items;
        uint32_t count;
    } upstreams;
    struct {
        nexus__gw_route_conf *items;
        uint32_t count;
    } routes;
} nexus__gw_config;

/* file names the text in errors. NEXUS_EINVAL with "FILE:LINE:COLUMN: /pointer: …"; NEXUS_ECONFLICT: equal routes. */
nexus_status nexus__gw_config_parse(nexus__gw_config **out, const char *file, nexus_slice text,
                                    const nexus_alloc *alloc) NEXUS_MUST_CHECK;
nexus__gw_config *nexus__gw_config_ref(nexus__gw_config *config);
void nexus__gw_config_free(nexus__gw_config *config); /* gives back one reference */
const nexus__gw_upstream_conf *nexus__gw_config_upstream(const nexus__gw_config *config, nexus_slice name);

#endif
