/* What a request and a reply look like on the other side. Pure: from a parsed head to bytes. */
#ifndef NEXUS_GATEWAY_FORWARD_H
#define NEXUS_GATEWAY_FORWARD_H

#include <sys/uio.h>

#include "gateway/config.h"
#include "http/parser.h"

/* A field that a filter adds for upstream. What a client sends under that name, '_' for '-' included, stays behind. */
typedef struct nexus__gw_field {
    const struct nexus__gw_field *next;
    nexus_slice name, value; /* value.p NULL: nothing is added, the name is only kept from the client */
} nexus__gw_field;

typedef struct nexus__forward {
    nexus_slice method, path, query, host;
    nexus_slice client_ip, request_id, traceparent;
    nexus_slice loop_id;     /* ours, for CDN-Loop (RFC 8586); empty = none */
    nexus_slice user, roles; /* of the verified token; empty = none */
    bool has_query, tls, upgrade;
    bool te; /* upstream is told that trailers are understood: HTTP/2 only, where it needs no Connection field */
    uint8_t framing; /* NEXUS__HTTP_LENGTH_… of the body as it will be sent */
    uint64_t length;
    const nexus__gw_field *fields;
    const nexus__gw_headers_conf *change; /* the route's */
    const nexus__gw_headers_conf *own;    /* this call's, or NULL */
} nexus__forward;

/* The head of the request as upstream gets it. Hop-by-hop fields, what a client may not say (X-Forwarded-…, X-Nexus-…,
 * method and URL overrides; '_' counts as '-') and what `change` removes stay behind. */
void nexus__forward_request(nexus__buf *out, const nexus__http_head *head, const char *base, const nexus__forward *f);

/* Whether the request has been through the gateway of this id before: a CDN-Loop field names it. */
bool nexus__forward_loops(const nexus__http_head *head, const char *base, nexus_slice loop_id);

/* The request's trailers as upstream gets them: without what a client may not say. */
void nexus__forward_trailers(nexus__buf *out, nexus_slice lines);

/* Whether the gateway sets the field itself, or it belongs to the connection. */
bool nexus__forward_is_ours(nexus_slice name);

/* The fields of a reply that go to the client, as pieces of the head itself, of `change` and of `own` (NULL = none). At most
 * NEXUS__FORWARD_IOVS; `has_date` says whether a Date is among them. Returns how many. */
enum { NEXUS__FORWARD_IOVS = NEXUS__HTTP_FIELDS_MAX / 2 + 2 };
size_t nexus__forward_reply(struct iovec iov[static NEXUS__FORWARD_IOVS], nexus__buf *space,
                            const nexus__http_head *head, const char *base, const nexus__gw_headers_conf *change,
                            const nexus__gw_headers_conf *own, bool *has_date);
/* Whether the change sets or removes the field. */
bool nexus__forward_changes(const nexus__gw_headers_conf *change, nexus_slice name);

#endif
