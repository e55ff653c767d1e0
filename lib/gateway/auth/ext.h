/*
 * External authorization (G67): one decision of the authorization service about one kind of request, on one loop.
 *
 * A decision is first asked for; whoever wants the same meanwhile waits for it. Then it is known, and kept for as long as
 * the route says. The table belongs to one loop and is touched by it alone; a decision under way belongs to its transfer
 * too, so that it may fall out of the table.
 */
#ifndef NEXUS_GATEWAY_AUTH_EXT_H
#define NEXUS_GATEWAY_AUTH_EXT_H

#include "base/hash.h"
#include "gateway/auth/authenticator.h"

struct nexus_reply;

typedef struct nexus__ext_conf {
    nexus_slice url;
    uint32_t timeout_ms, cache_ms, body_max_bytes;
    nexus__text_list headers; /* of the request that the service is told */
    nexus__text_list add;     /* of its answer that upstream is told */
} nexus__ext_conf;

typedef struct nexus__ext_key {
    uint64_t words[2];
} nexus__ext_key;

typedef struct nexus__ext_waiter {
    struct nexus__ext_waiter *next;
    nexus__call *call;
} nexus__ext_waiter;

typedef struct nexus__ext_decision {
    const nexus_alloc *alloc;
    uint32_t refs; /* the table's and the transfer's */
    nexus__ext_key key;
    bool known;
    int64_t until; /* known: when it must be asked for again */
    nexus__auth_answer answer;
    nexus__gw_refusal refusal;
    char challenge[256]; /* what the service said in WWW-Authenticate */
    nexus_pair *fields;  /* for upstream, in the order of conf->add; value.p NULL = it said nothing */
    nexus__buf text;     /* what they point into */
    nexus__ext_waiter *waiters;
    /* for the way back from the client's thread */
    nexus__gw_loop *home;
    const nexus__ext_conf *conf; /* while there are waiters */
    nexus_status sent;
    struct nexus_reply *reply;
} nexus__ext_decision;

enum { NEXUS__EXT_SLOTS = 1024 };

typedef struct nexus__ext_table {
    nexus__ext_decision *slots[NEXUS__EXT_SLOTS];
} nexus__ext_table;

/* Known and fresh, or being asked for; NULL = neither. */
nexus__ext_decision *nexus__ext_find(nexus__ext_table *table, nexus__ext_key key, int64_t now);
/* A new one in the place of whichever is missed least; NULL = out of memory. */
nexus__ext_decision *nexus__ext_new(nexus__ext_table *table, nexus__ext_key key, int64_t now, const nexus_alloc *alloc);
void nexus__ext_unref(nexus__ext_decision *d);
/* What an answer, or its absence, means; fills answer, refusal, fields, until. */
void nexus__ext_judge(nexus__ext_decision *d, const nexus__ext_conf *conf, nexus_status sent,
                      const struct nexus_reply *reply, int64_t now);

#endif
