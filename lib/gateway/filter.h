/*
 * Filters: what a route's request passes before it goes upstream, and may alter of the answer.
 *
 * One ops table each, in a file of its own under filters/, and one row in filters/table.c, whose order is the order in
 * which filters run and in which `explain` prints them. A route holds only the filters that the routes file names for
 * it: a plain proxy pays for none.
 *
 * A filter that must wait calls nexus__call_wait before it starts what it waits for and returns NEXUS__GW_LATER. Later, on
 * the call's loop, it asks nexus__call_woken whether there still is a call, decides, and hands the verdict to
 * nexus__call_go_on.
 */
#ifndef NEXUS_GATEWAY_FILTER_H
#define NEXUS_GATEWAY_FILTER_H

#include <nexus/gateway.h>

#include "gateway/config.h"
#include "json/write.h"

struct nexus__call;
struct nexus__http_head;

typedef enum nexus__gw_verdict {
    NEXUS__GW_NEXT,     /* on to the next filter */
    NEXUS__GW_ANSWERED, /* the call is over */
    NEXUS__GW_LATER     /* nexus__call_go_on follows */
} nexus__gw_verdict;

struct nexus__gw_filter {
    const char *key;   /* of the member of a route in the routes file */
    size_t conf_bytes; /* of what load fills; zeroed before, the config's arena's */
    /* Reads the member. */
    nexus_status (*load)(nexus__loader *l, uint32_t value, void *conf);
    /* Judges it once the whole route is read; value is the route. NULL = nothing to judge. */
    nexus_status (*check)(nexus__loader *l, uint32_t value, const nexus__gw_route_conf *route, const void *conf);
    /* What it needs beyond conf, once a snapshot; NULL = nothing. *state is NULL before. May block. */
    nexus_status (*open)(void **state, nexus_gateway *g, const nexus__gw_route_conf *route, const void *conf);
    void (*close)(void *state, const nexus_alloc *alloc);
    /* On the loop. NULL = only the answer is of interest. */
    nexus__gw_verdict (*request)(struct nexus__call *call, const void *conf, void *state);
    /* On the loop, before the head of upstream's answer leaves; nexus_request_set_header adds to it. NULL = nothing. */
    void (*reply)(struct nexus__call *call, const void *conf, void *state, const struct nexus__http_head *head,
                  const char *base);
    /* It changes bodies of answers, which stage.c does; then reply is called before. */
    bool stage;
    /* Its conf may use {path.x}: the captures are kept. */
    bool captures;
    /* Members of the object that `explain` prints; NULL = none beyond the key. Any thread. */
    void (*explain)(const void *conf, const void *state, nexus__json_writer *w);
};

/* All there are, in the order in which they run; NULL at the end. */
extern const nexus__gw_filter *const nexus__gw_filters[];
enum { NEXUS__GW_FILTERS_MAX = 32 };

extern const nexus__gw_filter nexus__gw_filter_cors, nexus__gw_filter_ip, nexus__gw_filter_auth, nexus__gw_filter_roles,
    nexus__gw_filter_require, nexus__gw_filter_client_cert, nexus__gw_filter_ext, nexus__gw_filter_identity, nexus__gw_filter_limits,
    nexus__gw_filter_security, nexus__gw_filter_canary, nexus__gw_filter_redirect;

/* What the routes file says of a filter on this route, or NULL. */
const void *nexus__gw_filter_conf(const nexus__gw_route_conf *route, const nexus__gw_filter *filter);

/* Whether it is one of those that say who may pass: up to ext. */
bool nexus__gw_filter_is_access(const nexus__gw_filter *filter);

/* Runs the filters from call->filter_at on; after the last one the first try begins. */
void nexus__call_go_on(struct nexus__call *call, nexus__gw_verdict verdict);
/* Before something that answers later is started; from now on the client's going is only noted. */
void nexus__call_wait(struct nexus__call *call);
/* Back on the loop: false when the client went meanwhile; then the call is over. */
bool nexus__call_woken(struct nexus__call *call);

#endif
