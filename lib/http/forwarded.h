/*
 * Who is behind the proxies: X-Forwarded-For and RFC 7239 Forwarded, read from the right, where what our own proxies
 * appended stands. Nothing that a client wrote further left can change how that is read. Pure.
 */
#ifndef NEXUS_HTTP_FORWARDED_H
#define NEXUS_HTTP_FORWARDED_H

#include "base/ip.h"
#include "http/parser.h"

/* Cuts the last element off a list, at commas outside quoted strings; *list is what stands before it. */
nexus_slice nexus__forwarded_cut(nexus_slice *list);

/* The address of an X-Forwarded-For element: "1.2.3.4", also with a port or in brackets. False: none is in it. */
bool nexus__forwarded_node(nexus_slice element, nexus__ip *out);
/* The address of the `for` of a Forwarded element. False: malformed, "unknown", obfuscated, or there is none. */
bool nexus__forwarded_for(nexus_slice element, nexus__ip *out);

/* Whether an address is one of our own proxies. */
typedef bool nexus__forwarded_trust_fn(const void *context, const nexus__ip *ip);

/*
 * *ip is the socket's address, which is trusted. Goes left through the hops that the fields name while they are trusted,
 * and leaves in *ip the first that is not; a hop without an address ends it at the one before. When both fields are
 * there and tell different stories, one of them was written by the client: neither is believed.
 */
void nexus__forwarded_resolve(const nexus__http_head *head, const char *base, nexus__forwarded_trust_fn *trusts,
                              const void *context, nexus__ip *ip);

#endif
