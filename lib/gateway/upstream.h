/* An upstream: a named group of targets, and what all loops share of it. */
#ifndef NEXUS_GATEWAY_UPSTREAM_H
#define NEXUS_GATEWAY_UPSTREAM_H

#include <nexus/gateway.h>
#include <nexus/limit.h>
#include <pthread.h>

#include "gateway/seen.h"
#include "gateway/target.h"
#include "http/tls.h"
#include "runtime/loop.h"
#include "json/write.h"

struct nexus__pool;
struct nexus__pool_target;

/* What one loop does with an upstream: written by that loop alone, read by all. */
typedef struct nexus__upstream_loop {
    struct nexus__upstream *upstream;
    struct nexus__pool *pool; /* on its loop; NULL = it has none */
    nexus__task turn;         /* posted when its waiting calls may go on, see waiting.c */
    struct {
        atomic_bool turn_posted;
        atomic_uint active;  /* calls on their way */
        atomic_uint waiting; /* of them, for a connection */
        atomic_llong oldest; /* since when the first of these waits; 0 = none does */
        atomic_uint idle;    /* connections at rest */
    } shared;
    char apart[64];
} nexus__upstream_loop;

typedef struct nexus__upstream {
    const nexus_alloc *alloc;
    nexus_gateway *gateway;
    atomic_uint refs;
    nexus__gw_config *config; /* keeps conf alive */
    const nexus__gw_upstream_conf *conf;
    nexus__tls_client *tls;            /* NULL: no target has https */
    struct nexus__discovery *discovery; /* where its targets come from; loop 0 only */
    nexus__hash_key hash_key;
    int64_t next_sweep;       /* loop 0 only */
    atomic_ullong generation; /* of the set in force: loops look whether theirs is still it */
    struct {
        pthread_mutex_t mutex;
        nexus__target_set *set;
    } locked;
    struct {
        nexus_metric *retries, *retries_refused, *waiting, *busy;
    } metrics; /* NULL = counts nothing */
    nexus__seen_upstream seen;
    char apart[64];
    nexus_retry_budget budget;
    nexus_semaphore pending, requests;
    char apart_too[64];
    nexus__upstream_loop loops[]; /* one for each of the gateway's */
} nexus__upstream;

nexus_status nexus__upstream_new(nexus__upstream **out, nexus_gateway *g, nexus__gw_config *config,
                                 const nexus__gw_upstream_conf *conf) NEXUS_MUST_CHECK;
nexus__upstream *nexus__upstream_ref(nexus__upstream *u);
void nexus__upstream_unref(nexus__upstream *u);
/* The set in force, a reference to it. Any thread. */
nexus__target_set *nexus__upstream_set(nexus__upstream *u);
/* Puts other targets in force. Any thread; loops take the new set up with their next request, connections to targets that
 * left it end with what they carry. */
nexus_status nexus__upstream_set_targets(nexus__upstream *u, const nexus__target_spec *specs,
                                         uint32_t n) NEXUS_MUST_CHECK;
/* Calls on their way, of all loops. */
uint32_t nexus__upstream_active(const nexus__upstream *u);
/* The target for the next request, as nexus__balance_pick; NULL = none. turns and total are filled in. */
struct nexus__pool_target *nexus__upstream_pick(struct nexus__pool *pool, nexus__balance_ask ask);

/* --- eject.c ------------------------------------------------------------------------------------------------------ */

/* What became of a request that began then: a failure is no connection, none that lasted until the answer, or a 5xx. */
void nexus__target_learn(nexus__target *t, bool failed, int64_t began, int64_t now);
/* Active checks turned it. */
void nexus__target_turn(nexus__target *t, bool down, const char *reason, int64_t now);
/* On loop 0: ends and begins ejections when it is time; returns when to come again. */
int64_t nexus__upstream_sweep(nexus__upstream *u, int64_t now);

/* The decisions, for themselves. */
bool nexus__eject_may(const nexus__gw_ejection *rule, uint32_t ejected, uint32_t count);
int64_t nexus__eject_pause_ns(const nexus__gw_ejection *rule, uint32_t times, uint64_t random);
/* The rate of success below which a target is ejected: that much below the mean. */
double nexus__eject_threshold(const nexus__gw_ejection *rule, const double *rates, uint32_t n);

/* --- upstream_metrics.c ------------------------------------------------------------------------------------------- */

typedef struct nexus__upstream_families {
    nexus_metric_family *retries, *retries_refused, *waiting, *busy; /* upstream */
    nexus_metric_family *ejections, *breaker, *breaker_opened;       /* upstream, target */
} nexus__upstream_families;

nexus_status nexus__upstream_families_open(nexus__upstream_families *f, nexus_metrics *metrics) NEXUS_MUST_CHECK;
void nexus__upstream_metrics(nexus__upstream *u);
void nexus__target_metrics(nexus__target *t);

/* --- upstream_status.c -------------------------------------------------------------------------------------------- */

/* Rules and state as a JSON object. Any thread. */
void nexus__upstream_put(nexus__json_writer *w, nexus__upstream *u, int64_t now);
const char *nexus__circuit_name(const nexus__breaker *b, int64_t now);

#endif
