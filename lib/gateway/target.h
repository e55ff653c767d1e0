/*
 * Targets and sets of them. A target is one address that answers for an upstream, with what all loops know of it; it is
 * made and retired by itself. A set is immutable: who discovers that the targets changed makes a new one
 * (nexus__upstream_set_targets), in which a target that was there before goes on with its health and its connections.
 */
#ifndef NEXUS_GATEWAY_TARGET_H
#define NEXUS_GATEWAY_TARGET_H

#include <nexus/metrics.h>
#include <stdatomic.h>

#include "gateway/balance/balance.h"
#include "gateway/config.h"
#include "runtime/resolve.h"

struct nexus__upstream;

typedef struct nexus__check_counts {
    uint32_t fails, passes, unknown; /* in a row */
} nexus__check_counts;

typedef struct nexus__target {
    const nexus_alloc *alloc;
    atomic_uint refs;
    struct nexus__upstream *upstream; /* not counted: who holds a target holds its upstream */
    const nexus__gw_target *conf;
    nexus_slice url; /* its own; names it in status, metrics and health events */
    nexus__address address, alternate; /* of the other family, tried when the first is slow; len 0 = none */
    nexus_slice server_name;           /* that TLS asks for; empty without TLS */
    const struct nexus__gw_function *function; /* in place of an address; NULL = a server */
    bool tls;
    struct {
        int64_t due;         /* loop 0 only */
        atomic_bool running; /* what follows is the running check's */
        nexus__check_counts counts;
    } check;
    struct {
        uint32_t ended, failed; /* at the last sweep; loop 0 only */
    } sweep;
    struct {
        nexus_metric *ejections, *breaker, *breaker_opened;
    } metrics;
    char apart[64]; /* the lines that all loops write hold nothing else */
    nexus__load load;
    struct {
        atomic_uint connections;
        atomic_uint failures;    /* in a row */
        atomic_uint failed;      /* in all, modulo 2^32 */
        atomic_uint ejections;   /* how often, for the growing pause; less with each sweep without */
        atomic_llong ejected_at; /* the last time */
    } shared;
    char apart_too[64];
} nexus__target;

/* What a target shall be. Two specs of the same conf, url and address are the same target. */
typedef struct nexus__target_spec {
    const nexus__gw_target *conf; /* where the routes file speaks of it; lives as long as the upstream */
    nexus_slice url;              /* copied; empty = as conf has it */
    nexus_slice host;                  /* copied; that TLS asks for, if conf names none; empty = conf's */
    nexus__address address, alternate; /* alternate: of the other family; len 0 = none */
    uint32_t weight;                   /* 0 = drained */
    bool tls;
} nexus__target_spec;

typedef struct nexus__target_set {
    const nexus_alloc *alloc;
    atomic_uint refs;
    uint64_t generation; /* of its upstream, from 1 */
    uint32_t count;
    nexus__target **targets;
    nexus__balance_host *hosts; /* as the balancer sees them */
    nexus__balance balance;
} nexus__target_set;

/* Any thread. `old` may be NULL; its targets that the specs still name are taken over. */
nexus_status nexus__target_set_new(nexus__target_set **out, struct nexus__upstream *u, const nexus__target_spec *specs,
                                   uint32_t n, const nexus__target_set *old) NEXUS_MUST_CHECK;
nexus__target_set *nexus__target_set_ref(nexus__target_set *set);
void nexus__target_set_unref(nexus__target_set *set);

nexus__target *nexus__target_ref(nexus__target *target);
void nexus__target_unref(nexus__target *target);

#endif
