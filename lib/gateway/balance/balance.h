/*
 * Which of several targets gets the next request.
 *
 * A balancer is an ops table in a file of its own and a row in balance.c. Its decision is a function of the targets'
 * loads, `now`, random bits and the request's key; it reads the loads, which all loops write, and writes nothing but the
 * turns of its own loop.
 */
#ifndef NEXUS_GATEWAY_BALANCE_BALANCE_H
#define NEXUS_GATEWAY_BALANCE_BALANCE_H

#include <stdatomic.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "limit/breaker.h"

/* --- what is known of a target ------------------------------------------------------------------------------------ */

/* Shared by all loops. Zero is a target that nothing is known of yet: in, closed, at rest. */
typedef struct nexus__load {
    atomic_ullong work;         /* low half: requests under way; high half: requests that ended, modulo 2^32 */
    atomic_llong ejected_until; /* 0 = not */
    atomic_bool down;           /* by active checks */
    nexus__breaker breaker;
    atomic_llong back_since; /* slow start: when it came back from being out; 0 = it never was */
    atomic_ullong rtt;       /* peak EWMA, see p2c.c */
} nexus__load;

static inline uint32_t nexus__load_active(const nexus__load *load)
{
    return (uint32_t)atomic_load_explicit(&load->work, memory_order_relaxed);
}

static inline void nexus__load_begin(nexus__load *load)
{
    atomic_fetch_add_explicit(&load->work, 1, memory_order_relaxed);
}

/* One less under way and one more ended, in one addition. */
static inline void nexus__load_end(nexus__load *load)
{
    atomic_fetch_add_explicit(&load->work, ((uint64_t)1 << 32) - 1, memory_order_relaxed);
}

static inline bool nexus__load_healthy(const nexus__load *load, int64_t now)
{
    return !atomic_load_explicit(&load->down, memory_order_relaxed) &&
           atomic_load_explicit(&load->ejected_until, memory_order_relaxed) <= now;
}

/* --- the rule: what the routes file says -------------------------------------------------------------------------- */

typedef struct nexus__balancer nexus__balancer;

typedef struct nexus__balance_rule {
    const nexus__balancer *balancer;
    uint32_t bound_percent; /* of keyed balancing: a target takes at most this share of the mean load; 0 = any */
    struct {
        uint32_t window_ms; /* 0 = off */
        uint32_t aggression_percent, min_percent;
    } slow_start;
    nexus__breaker_conf breaker; /* of each host */
} nexus__balance_rule;

/* --- a balancing of a set of targets ------------------------------------------------------------------------------ */

typedef struct nexus__balance_host {
    nexus__load *load;
    uint32_t weight; /* 0 = drained: gets nothing */
    uint64_t id;     /* the same for the same target in every set: what keyed balancing goes by */
} nexus__balance_host;

typedef struct nexus__balance {
    const nexus__balance_rule *rule;
    const nexus__balance_host *hosts; /* borrowed */
    uint32_t count;
    uint64_t weights; /* their sum */
    uint16_t *table;  /* of keyed balancing */
} nexus__balance;

/* hosts is borrowed until close. */
nexus_status nexus__balance_open(nexus__balance *b, const nexus__balance_rule *rule, const nexus__balance_host *hosts,
                                 uint32_t count, nexus__hash_key key, const nexus_alloc *alloc) NEXUS_MUST_CHECK;
void nexus__balance_close(nexus__balance *b, const nexus_alloc *alloc);

typedef struct nexus__balance_ask {
    int64_t now;
    uint64_t random;
    bool keyed; /* key is the request's; without one a keyed balancer draws */
    uint64_t key;
    uint64_t total;  /* requests under way at all targets; of keyed balancing */
    uint64_t tried;  /* hosts that had this request already: bit (index % 64) */
    int64_t *turns;  /* one for each host, of the asking loop; zeroed before the first ask */
    bool any_health; /* health is no matter: filled in by nexus__balance_pick */
} nexus__balance_ask;

#define NEXUS__BALANCE_NONE UINT32_MAX

/*
 * The host for a request: healthy, with a circuit that lets it pass, and not tried; if there is none, one that was tried;
 * if nobody is healthy, anybody, for the checks may be wrong. NEXUS__BALANCE_NONE: every circuit is open, or there is no
 * host with a weight.
 */
uint32_t nexus__balance_pick(const nexus__balance *b, nexus__balance_ask ask);
/* Whether there is a healthy one that was not tried. */
bool nexus__balance_has_other(const nexus__balance *b, const nexus__balance_ask *ask);

/* --- of balancers ------------------------------------------------------------------------------------------------- */

struct nexus__balancer {
    const char *name; /* in the routes file */
    bool keyed;
    bool timed; /* nexus__balance_time is of use */
    /* NULL = needs no table */
    nexus_status (*open)(nexus__balance *b, nexus__hash_key key, const nexus_alloc *alloc);
    /* The host, of those that nexus__balance_may allows; NEXUS__BALANCE_NONE when it allows none. */
    uint32_t (*pick)(const nexus__balance *b, const nexus__balance_ask *ask);
};

extern const nexus__balancer nexus__balancer_p2c, nexus__balancer_wrr, nexus__balancer_ewma, nexus__balancer_maglev;
extern const nexus__balancer *const nexus__balancers[]; /* NULL at the end; the first is the default */

bool nexus__balance_may(const nexus__balance *b, const nexus__balance_ask *ask, uint32_t i);
/* A host at random, but not `other`, in constant time while most are allowed. */
uint32_t nexus__balance_draw(const nexus__balance *b, const nexus__balance_ask *ask, uint64_t random, uint32_t other);
/* The weight at `now`, in thousandths, slow start counted in: at least 1 for a weight that is not 0. */
uint64_t nexus__balance_weight(const nexus__balance *b, uint32_t i, int64_t now);

/* How long an attempt took, of peak EWMA. */
void nexus__balance_time(nexus__load *load, int64_t rtt_ns, bool failed, int64_t now);
/* What is thought of the target's time now. */
double nexus__balance_rtt_ns(const nexus__load *load, int64_t now);

enum { NEXUS__MAGLEV_SIZE = 65537 };

#endif
