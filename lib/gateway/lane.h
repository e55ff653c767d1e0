/*
 * HTTP/2 to an upstream. A carrier is one connection of one loop to one target; a lane is an uplink that is a stream of
 * it. Calls know uplinks only: what differs is behind nexus__uplink_send and its like, which look at uplink->carrier.
 *
 * Lanes may stand on a carrier that is still connecting; when ALPN then says HTTP/1.1, each call gets an uplink with a
 * socket of its own in place of its lane, the first one that of the carrier.
 */
#ifndef NEXUS_GATEWAY_LANE_H
#define NEXUS_GATEWAY_LANE_H

#include "gateway/gateway.h"

/* A stream of a connection that is up and has room; NULL = none. */
nexus__uplink *nexus__lane_take(nexus__pool *pool, nexus__pool_target *at);
/* A stream of a connection that is coming up. */
nexus_status nexus__lane_open(nexus__uplink **out, nexus__pool *pool, nexus__pool_target *at) NEXUS_MUST_CHECK;
void nexus__lane_close(nexus__uplink *conn);
/* The first time: a request's head, and its whole body if there is a second piece; later pieces of its body. */
bool nexus__lane_send(nexus__uplink *conn, struct iovec *iov, int n);
ssize_t nexus__lane_send_some(nexus__uplink *conn, nexus_slice data);
void nexus__lane_end(nexus__uplink *conn, nexus_slice trailers);
/* The client took what it was given. */
void nexus__lane_taken(nexus__uplink *conn);

/* The target left the pool's set: carriers without lanes close, others end with them. */
void nexus__carriers_retire(nexus__pool_target *at);

#endif
