/* Names to addresses, without blocking: A and AAAA, and SRV. On c-ares, one channel a loop. */
#ifndef NEXUS_RUNTIME_RESOLVE_H
#define NEXUS_RUNTIME_RESOLVE_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "runtime/loop.h"

typedef struct nexus__address {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } sa;
    socklen_t len;
    uint32_t ttl_s;
} nexus__address;

typedef struct nexus__srv {
    const char *host; /* borrowed for the call */
    uint16_t port, priority, weight;
    uint32_t ttl_s;
} nexus__srv;

/* status: NEXUS_OK with n > 0; NEXUS_ENOTFOUND the name has no such record; NEXUS_ETIMEDOUT, NEXUS_EUNREACH no server
 * answered, or NEXUS_ECANCELED. The addresses are borrowed for the call. */
typedef void nexus__resolve_fn(nexus_status status, const nexus__address *addresses, size_t n, void *user_data);
typedef void nexus__resolve_srv_fn(nexus_status status, const nexus__srv *records, size_t n, void *user_data);

/* On the loop's thread. The callback runs on the loop, once, never from inside the call. Numeric hosts are answered
 * without a query. host is copied. */
nexus_status nexus__resolve(nexus_loop *loop, const char *host, uint16_t port, nexus__resolve_fn *fn,
                            void *user_data) NEXUS_MUST_CHECK;
nexus_status nexus__resolve_srv(nexus_loop *loop, const char *name, nexus__resolve_srv_fn *fn,
                                void *user_data) NEXUS_MUST_CHECK;
/* Asks these servers ("127.0.0.1:5353,…") instead of the system's; before the first query of the loop. */
nexus_status nexus__resolve_servers(nexus_loop *loop, const char *servers) NEXUS_MUST_CHECK;

/* The same where there is no loop: blocks, for some seconds at most. servers NULL = the system's. At most max addresses;
 * the message says why there are none. fn is called within, unless the status says that it has nothing to tell. */
nexus_status nexus__resolve_wait(const char *servers, const char *host, uint16_t port, nexus__address *out, size_t max,
                                 size_t *n) NEXUS_MUST_CHECK;
nexus_status nexus__resolve_srv_wait(const char *servers, const char *name, nexus__resolve_srv_fn *fn,
                                     void *user_data) NEXUS_MUST_CHECK;

/* A numeric address; false when it is a name. */
bool nexus__address_parse(const char *host, uint16_t port, nexus__address *out);

#endif
