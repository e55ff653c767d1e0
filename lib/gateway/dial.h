/* Connecting to one of two addresses, the second of the other family: whichever answers first (RFC 8305). */
#ifndef NEXUS_GATEWAY_DIAL_H
#define NEXUS_GATEWAY_DIAL_H

#include "runtime/loop.h"
#include "runtime/resolve.h"

enum { NEXUS__DIAL_HEAD_START_MS = 250 }; /* what the first address is given before the second is tried too */

typedef struct nexus__dial nexus__dial;
/* A connected socket, the caller's now; -errno: none came about. Never from inside nexus__dial_start; the dial is gone. */
typedef void nexus__dialed_fn(void *user_data, int fd);

/* On the loop. second may be NULL. There is no timeout. NEXUS_EUNREACH: both are out of reach already. */
nexus_status nexus__dial_start(nexus__dial **out, const nexus_alloc *alloc, nexus_loop *loop,
                               const nexus__address *first, const nexus__address *second, nexus__dialed_fn *fn,
                               void *user_data) NEXUS_MUST_CHECK;
void nexus__dial_cancel(nexus__dial *dial); /* NULL is fine */

#endif
