/*
 * Quotas of calendar windows, counted in the database. A loop takes leases: some of what is left, booked as used before
 * any of it is admitted. Out of a lease a request is decided without asking anybody; what is left of one is given back at
 * the close, and lost when the process dies. So never more is admitted than the quota, and after a kill at most one lease
 * for each loop and key is missing.
 *
 * A lease is a hundredth of the quota, at most a thousand, and near the end a quarter of what is left, so that several
 * loops and gateways can share the last ones.
 */
#ifndef NEXUS_GATEWAY_FILTERS_LIMIT_LEASE_H
#define NEXUS_GATEWAY_FILTERS_LIMIT_LEASE_H

#include <pthread.h>

#include "base/list.h"
#include "base/map.h"
#include "gateway/filters/limit.h"
#include "runtime/loop.h"

struct nexus__gw_loop;

/* One who waits for tokens; on the loop. */
typedef struct nexus__lease_waiter {
    struct nexus__lease_waiter *next;
    void (*fn)(struct nexus__lease_waiter *waiter);
} nexus__lease_waiter;

/* What one loop holds of one key. */
typedef struct nexus__lease {
    nexus__list node; /* the least recently used first */
    uint64_t hash;
    char key[33];
    int64_t since, ends; /* of the window, in seconds since 1970 */
    uint32_t quota, pins;
    uint64_t left;         /* may be admitted at once */
    uint64_t used;         /* by all, when last told */
    uint64_t owed;         /* admitted while the database was away */
    uint64_t wanted;       /* by those who wait */
    int64_t no_more_until; /* there was nothing left */
    int64_t down_until;    /* the database did not answer */
    bool fetching;
    nexus__lease_waiter *waiters;
    nexus__timeout timeout; /* of those who wait */
    struct nexus__gw_loop *home;
} nexus__lease;

typedef enum nexus__lease_answer {
    NEXUS__LEASE_TAKEN,
    NEXUS__LEASE_DENIED,
    NEXUS__LEASE_LATER, /* nexus__lease_wait and ask again */
    NEXUS__LEASE_DOWN
} nexus__lease_answer;

/* The lease of who asks, in the window that real_s is in; pinned until nexus__lease_release. NULL: out of memory. */
nexus__lease *nexus__lease_find(struct nexus__gw_loop *home, const nexus__limit_use *use, nexus__limit_subject *subject,
                                int64_t real_s);
void nexus__lease_release(nexus__lease *lease);
nexus__lease_answer nexus__lease_take(struct nexus__gw_loop *home, nexus__lease *lease, uint32_t cost, int64_t now);
void nexus__lease_wait(nexus__lease *lease, nexus__lease_waiter *waiter, uint32_t cost);
void nexus__lease_give(nexus__lease *lease, uint32_t cost);
/* While the database is away: takes from this gateway's share of what was left. */
bool nexus__lease_share(nexus__lease *lease, uint32_t cost, uint32_t nodes);
void nexus__lease_describe(const nexus__lease *lease, bool allowed, int64_t real_ns, nexus_limit_result *result);

/* --- one loop's leases --------------------------------------------------------------------------------------------- */

typedef struct nexus__leases {
    nexus__map map;
    nexus__list recent;
    uint32_t count;
    bool open;
} nexus__leases;

/* What a loop holds for limits. */
struct nexus__limit_loop {
    nexus_cache *store;
    int64_t store_down_until; /* 0 = it answered last */
    nexus__leases leases;
};

/* On the loop: tells who waits, and leaves what is left for nexus__ledger_close to give back. */
void nexus__leases_close(struct nexus__gw_loop *home);

/* --- limit_ledger.c: the database ---------------------------------------------------------------------------------- */

/* A change of one key's count: on its way to a worker and back. */
typedef struct nexus__ledger_change {
    nexus__task task;
    struct nexus__ledger_change *next;
    struct nexus__gw_loop *home;
    nexus__lease *lease; /* NULL = nobody wants to know */
    char key[33];
    int64_t since, ends;
    uint64_t quota;
    uint64_t want, least; /* tokens: as many as want, or none when there are fewer than least */
    int64_t owed;         /* to be booked without asking; negative = given back */
    nexus_status status;
    uint64_t granted, used;
} nexus__ledger_change;

typedef struct nexus__ledger {
    pthread_mutex_t mutex;
    pthread_cond_t idle;
    nexus__ledger_change *first, **last; /* under mutex */
    bool busy;
    bool open; /* the tables are there */
    int64_t purged_at;
} nexus__ledger;

/* With the first route that has a quota of a calendar window, on a thread that may block. */
nexus_status nexus__ledger_open(nexus_gateway *g) NEXUS_MUST_CHECK;
/* Takes the change; its task runs on its loop when it is done. Any thread. */
void nexus__ledger_push(nexus_gateway *g, nexus__ledger_change *change);
/* Waits for what is under way. */
void nexus__ledger_wait(nexus_gateway *g);
/* Books what was given back at the close. */
void nexus__ledger_close(nexus_gateway *g);

/* How many of `want` are granted when so many are left. Pure. */
uint64_t nexus__ledger_grant(uint64_t left, uint64_t want, uint64_t least);

#endif
