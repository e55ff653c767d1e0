/*
 * Protected-resource metadata (RFC 9728) of routes that take bearer tokens: who asks one without a token, or with a wrong
 * one, is told in WWW-Authenticate where to read whose tokens it takes, and reads it here.
 *
 * A route's resource is where it stands, up to its first placeholder: routes of one resource are described together.
 */
#ifndef NEXUS_GATEWAY_RESOURCE_H
#define NEXUS_GATEWAY_RESOURCE_H

#include "gateway/gateway.h"

/* What "resource" of a route says. */
typedef struct nexus__resource_conf {
    bool off;
    nexus_slice name, documentation;
    nexus__text_list servers, scopes;
} nexus__resource_conf;

/* The path of the route's resource, without a final "/"; empty = the whole host. Pure. */
nexus_slice nexus__resource_path(const nexus__gw_route_conf *route);

/* Writes the challenge with where to read more, for each Bearer in it: "Bearer error=…" becomes "Bearer error=…,
 * resource_metadata=…". Pure. */
void nexus__resource_challenge(nexus__buf *out, nexus_slice challenge, nexus_slice url);

/* Sets WWW-Authenticate of the call's answer. */
void nexus__call_challenge(nexus__call *call, nexus_slice challenge);

/* Answers a request for the metadata of a resource that is here; false: it is for no such. */
bool nexus__resource_answers(nexus__call *call);

#endif
