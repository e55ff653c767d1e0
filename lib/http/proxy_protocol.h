/* The PROXY protocol, version 2 (haproxy's proxy-protocol.txt): who connected to the proxy in front. Pure. */
#ifndef NEXUS_HTTP_PROXY_PROTOCOL_H
#define NEXUS_HTTP_PROXY_PROTOCOL_H

#include "base/ip.h"

enum { NEXUS__PROXY_V2_MAX = 1024 /* of a header with all that follows its addresses */ };

/*
 * Returns the bytes of the header, 0 = more are needed, -1 = it is none, or too long. *client is set when the header
 * names one; a connection of the proxy itself (LOCAL) or of a family without addresses names none.
 */
int32_t nexus__proxy_v2_parse(const char *p, size_t n, nexus__ip *client);

#endif
