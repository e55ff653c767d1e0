/* What the readers of the routes file share: rows of a table of keys, arrays, and the checks of names and values. */
#ifndef NEXUS_GATEWAY_CONFIG_ROWS_H
#define NEXUS_GATEWAY_CONFIG_ROWS_H

#include <stddef.h>

#include "base/list.h"
#include "base/status.h"
#include "gateway/config.h"

#define ROW(key, kind, type, field, min, max)                                                                          \
    {                                                                                                                  \
        key, NEXUS__LOADER_##kind, offsetof(type, field), min, max, NULL, false                                        \
    }
#define CALL(key, fn, type, field)                                                                                     \
    {                                                                                                                  \
        key, NEXUS__LOADER_CALL, offsetof(type, field), 0, 0, fn, false                                                \
    }
#define COUNT(rows) (sizeof(rows) / sizeof *(rows))

enum { NEXUS__GW_MS_MAX = 86400000 };

/* Reads an array with one reader for each element of `size` bytes, zeroed before; *items is the arena's. */
nexus_status nexus__gw_load_array(nexus__loader *l, uint32_t value, size_t size, nexus__loader_fn *fn, void **items,
                                  uint32_t *count) NEXUS_MUST_CHECK;
/* "http://host:port", "https://host:port", "function:NAME"; url is borrowed, what is cut out of it is the arena's. */
nexus_status nexus__gw_target_parse(nexus__gw_target *out, nexus_slice url, nexus__arena *arena) NEXUS_MUST_CHECK;

/* Readers of members; out is what their name says. */
nexus__loader_fn nexus__gw_load_upstreams;  /* of the config's upstreams */
nexus__loader_fn nexus__gw_load_clients;    /* of the config's clients */
nexus__loader_fn nexus__gw_load_balance;    /* nexus__gw_upstream_conf: of its balance and hash */
nexus__loader_fn nexus__gw_load_slow_start; /* nexus__balance_rule */
nexus__loader_fn nexus__gw_load_timeouts;   /* nexus__gw_timeouts */
nexus__loader_fn nexus__gw_load_retries;    /* nexus__gw_retries */
nexus__loader_fn nexus__gw_load_ejection;   /* nexus__gw_ejection */
nexus__loader_fn nexus__gw_load_breaker;    /* nexus__breaker_conf */
nexus__loader_fn nexus__gw_load_health;     /* nexus__gw_health */
nexus__loader_fn nexus__gw_load_route;      /* nexus__gw_route_conf */
nexus__loader_fn nexus__gw_load_headers;    /* nexus__gw_headers_conf */
nexus__loader_fn nexus__gw_load_match;       /* const nexus__match_conf * */
nexus__loader_fn nexus__gw_load_versions;    /* const nexus__versions_conf * */
nexus__loader_fn nexus__gw_load_resource;    /* const nexus__resource_conf * */
nexus__loader_fn nexus__gw_load_deprecation; /* const nexus__deprecation * */
/* A regular expression for whole values: its text, and what it compiles to, which the config frees. */
nexus_status nexus__gw_load_regex(nexus__loader *l, uint32_t value, nexus_slice *text,
                                  nexus__regex **out) NEXUS_MUST_CHECK;
/* The route's path with the segment of its version. */
nexus_status nexus__gw_version_path(nexus__loader *l, uint32_t value, const nexus__versions_conf *conf, nexus_slice path,
                                    nexus_slice *out) NEXUS_MUST_CHECK;
/* references.c: judges what routes say of upstreams and of each other, and fills the config's router. */
nexus_status nexus__gw_resolve(nexus__loader *l) NEXUS_MUST_CHECK;
nexus__loader_fn nexus__gw_load_target;     /* nexus__gw_target */
nexus__loader_fn nexus__gw_load_tls;        /* nexus__gw_tls_conf */
nexus__loader_fn nexus__gw_load_protocol;   /* uint32_t */
nexus__loader_fn nexus__gw_load_discovery;  /* nexus__gw_discovery_conf */

/* Of what a routes file leaves out. */
extern const nexus__gw_retries nexus__gw_retries_default;
extern const nexus__gw_ejection nexus__gw_ejection_default;
extern const nexus__gw_health nexus__gw_health_default;
nexus__loader_fn nexus__gw_load_roles;     /* of the config's policy */
/* When all routes are read: declares what they require, and ends the filling. */
nexus_status nexus__gw_compile_policy(nexus__gw_config *config) NEXUS_MUST_CHECK;

/* A text with placeholders; errors have the value's place. */
nexus_status nexus__gw_load_pattern(nexus__loader *l, uint32_t value, nexus_slice text,
                                    nexus__pattern *out) NEXUS_MUST_CHECK;
/* Once the whole route is read: {path.x} needs a capture of that name. */
nexus_status nexus__gw_check_pattern(nexus__loader *l, uint32_t route, const nexus__gw_route_conf *conf,
                                     const nexus__pattern *pattern) NEXUS_MUST_CHECK;
nexus_status nexus__gw_check_headers(nexus__loader *l, uint32_t route, const nexus__gw_route_conf *conf,
                                     const nexus__gw_headers_conf *headers) NEXUS_MUST_CHECK;

bool nexus__gw_is_token(nexus_slice text); /* RFC 9110 section 5.6.2 */
bool nexus__gw_is_value(nexus_slice text); /* without control characters but TAB */

#endif
