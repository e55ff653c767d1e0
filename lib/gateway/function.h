/* C functions as targets: a request that was routed here is answered by a handler of the host, without a socket. */
#ifndef NEXUS_GATEWAY_FUNCTION_H
#define NEXUS_GATEWAY_FUNCTION_H

#include "gateway/gateway.h"

/* By name, or NULL. Any thread; it lives as long as the gateway. */
const struct nexus__gw_function *nexus__function_find(nexus_gateway *g, nexus_slice name);
/* Hands the call's request to the function; the call is over when that has answered. */
void nexus__function_call(nexus__call *call, const struct nexus__gw_function *function);
void nexus__functions_free(nexus_gateway *g);

#endif
