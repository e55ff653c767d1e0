/*
 * Where an upstream's targets are: hosts of the routes file that are names, SRV records, or instances of the registry.
 *
 * A source is one host with its addresses and when to ask for them again. Sources are what the routes file lists, or what
 * the last answer to the SRV query or the registry named; every change of an address makes a new set of targets. Answers
 * live for their TTL, kept within 1 and 300 seconds; a failed look-up is repeated after 5 and changes nothing: what was
 * known stays.
 */
#ifndef NEXUS_GATEWAY_DISCOVERY_H
#define NEXUS_GATEWAY_DISCOVERY_H

#include "gateway/gateway.h"

enum {
    NEXUS__DISCOVERY_TTL_MIN_S = 1,
    NEXUS__DISCOVERY_TTL_MAX_S = 300,
    NEXUS__DISCOVERY_AGAIN_S = 5,
    NEXUS__DISCOVERY_ADDRESSES_MAX = 64,
    NEXUS__DISCOVERY_SOURCES_MAX = 256
};

/* A place that was named: by the routes file, an SRV record or the registry. */
typedef struct nexus__place {
    const nexus__gw_target *conf; /* NULL = the upstream's discovery.found */
    nexus_slice host;             /* NUL-terminated */
    uint16_t port;
    uint32_t weight;
    bool tls;
    uint32_t ttl_s; /* of its record */
} nexus__place;

/* The first set of targets; blocks while names are looked up. NEXUS_EUNREACH: a name of the routes file has no address. */
nexus_status nexus__discovery_open(nexus__upstream *u) NEXUS_MUST_CHECK;
void nexus__discovery_free(struct nexus__discovery *d); /* NULL is fine */

/* On loop 0: asks for what is due; returns when to come again, in ns. */
int64_t nexus__discovery_tick(nexus_gateway *g, nexus__snapshot *s, int64_t now);

/* --- decisions ---------------------------------------------------------------------------------------------------- */

/* In which ns to ask again after an answer with this TTL. */
int64_t nexus__discovery_wait_ns(uint32_t ttl_s);
/* Pairs addresses for Happy Eyeballs: those of the first one's family, each with one of the other as its alternate if
 * there is any. Returns how many. */
size_t nexus__discovery_pair(const nexus__address *addresses, size_t n, nexus__address *first, nexus__address *second);

/* --- registry.c: instances that say so themselves ------------------------------------------------------------------ */

typedef struct nexus__registry nexus__registry;
nexus_status nexus__registry_new(nexus__registry **out, const nexus_alloc *alloc) NEXUS_MUST_CHECK;
void nexus__registry_free(nexus__registry *r);
/* Counts changes: whoever saw this number has seen all instances. Any thread. */
uint64_t nexus__registry_version(nexus__registry *r);
/* The service's instances that have not expired; how many there are. Places point into *text, which is the caller's. */
size_t nexus__registry_places(nexus__registry *r, nexus_slice service, nexus__place *out, size_t max, nexus__buf *text,
                              int64_t now);
/* Forgets what has expired; returns when the next one does. */
int64_t nexus__registry_expire(nexus__registry *r, int64_t now);

#endif
