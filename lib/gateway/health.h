/*
 * Active checks. Each kind starts one on its way and says later, on whatever thread, what came of it; counting and turning
 * is the same for all. A result counts only after `fails` or `passes` in a row, so that one lost packet turns nothing. A
 * check that could not be made says nothing of its target; when that goes on, the target is believed to be well.
 */
#ifndef NEXUS_GATEWAY_HEALTH_H
#define NEXUS_GATEWAY_HEALTH_H

#include "gateway/gateway.h"

typedef enum nexus__check_outcome {
    NEXUS__CHECK_GOOD,
    NEXUS__CHECK_BAD,
    NEXUS__CHECK_UNKNOWN /* it could not be made */
} nexus__check_outcome;

/* Starts a check; nexus__check_done follows, once, if this is NEXUS_OK. On loop 0. */
typedef nexus_status nexus__check_fn(nexus_gateway *g, nexus__target *t);
nexus__check_fn nexus__check_http, nexus__check_grpc, nexus__check_tcp;

/* Any thread. */
void nexus__check_done(nexus__target *t, nexus__check_outcome outcome, const char *reason);

typedef enum nexus__check_turn { NEXUS__CHECK_STAY, NEXUS__CHECK_UP, NEXUS__CHECK_DOWN } nexus__check_turn;

/* The decision, for itself: what the target is to be after one more outcome. */
nexus__check_turn nexus__check_count(nexus__check_counts *counts, const nexus__gw_health *rule,
                                     nexus__check_outcome outcome);

#endif
