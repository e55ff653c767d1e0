/*
 * A route's traffic split over arms, and the guard that takes an arm out when it does worse than the control.
 *
 *   arm       a share of the traffic, in basis points of 10,000, and the upstream that gets it
 *   control   the arm that others are measured against, and that gets what an aborted one had
 *   outcome   of an answered request: an error is a status of 500 or more, or an answer that broke off
 *
 * What arms have done is shared by all loops and outlives reloads that do not change the canary: each arm has one word of
 * requests and errors, halved when it has seen enough, so that the past fades. Decisions are pure.
 */
#ifndef NEXUS_GATEWAY_CANARY_H
#define NEXUS_GATEWAY_CANARY_H

#include <nexus/gateway.h>
#include <stdatomic.h>

#include "gateway/loader.h"
#include "json/write.h"

enum { NEXUS__CANARY_ARMS_MAX = 8, NEXUS__CANARY_SHARES = 10000, NEXUS__CANARY_FADE = 4096 };

typedef struct nexus__canary_arm {
    nexus_slice name, upstream;
    uint32_t upstream_index, weight_bp;
} nexus__canary_arm;

enum nexus__canary_sticky { NEXUS__STICKY_NONE, NEXUS__STICKY_COOKIE, NEXUS__STICKY_HEADER, NEXUS__STICKY_CONSUMER };

typedef struct nexus__canary_conf {
    struct {
        nexus__canary_arm *items;
        uint32_t count;
    } arms;
    uint32_t control;
    nexus_slice control_name;
    enum nexus__canary_sticky sticky;
    nexus_slice sticky_name; /* of the cookie or header */
    bool guarded;
    uint32_t points_bp, requests; /* an arm is aborted above control + points, over at least so many requests */
    nexus_slice text;             /* its JSON, to tell whether a reload changed it */
} nexus__canary_conf;

/* Requests above, errors below. */
typedef struct nexus__canary_outcome {
    uint32_t requests, errors;
} nexus__canary_outcome;

/* --- decisions ---------------------------------------------------------------------------------------------------- */

/* Whether the arm's error rate is above the control's by more than points over enough requests. A control without
 * requests has no errors. */
bool nexus__canary_must_abort(nexus__canary_outcome arm, nexus__canary_outcome control, uint32_t points_bp,
                              uint32_t requests);
/* Smooth weighted round robin: the arm whose turn it is. An aborted arm's share is the control's. */
uint32_t nexus__canary_turn(const nexus__canary_conf *conf, uint32_t aborted, int32_t turns[NEXUS__CANARY_ARMS_MAX]);
/* The arm of a key: the same on every loop, node and day, as long as shares stay as they are. */
uint32_t nexus__canary_of_key(const nexus__canary_conf *conf, uint32_t aborted, nexus_slice route, nexus_slice key);

/* --- shared state ------------------------------------------------------------------------------------------------- */

typedef struct nexus__canary nexus__canary;
struct nexus_gateway;

nexus_status nexus__canary_families_open(nexus_gateway *g) NEXUS_MUST_CHECK;
/* The one that the gateway has for this route and this text, or a new one. Under load. */
nexus_status nexus__canary_get(nexus__canary **out, nexus_gateway *g, nexus_slice route,
                               const nexus__canary_conf *conf) NEXUS_MUST_CHECK;
void nexus__canary_unref(nexus__canary *canary);
uint32_t nexus__canary_aborted(const nexus__canary *canary); /* bit per arm */
/* One loop's turns. */
int32_t *nexus__canary_turns(nexus__canary *canary, uint32_t loop);
/* An answer of the arm; takes the arm out when it has to be. Any thread. */
void nexus__canary_report(nexus__canary *canary, const nexus__canary_conf *conf, uint32_t arm, bool error);
/* Of a route that has one. */
struct nexus__gw_route;
const nexus__canary *nexus__canary_of(const struct nexus__gw_route *route);
/* The array "arms": name, upstream, weight_bp, requests, errors, state. */
void nexus__canary_put_arms(const nexus__canary *canary, const nexus__canary_conf *conf, nexus__json_writer *w);

#endif
