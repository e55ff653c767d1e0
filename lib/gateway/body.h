/* Bodies in hand: a request's collected whole, opened and looked at as JSON, for filters that need more than bytes. */
#ifndef NEXUS_GATEWAY_BODY_H
#define NEXUS_GATEWAY_BODY_H

#include "gateway/filter.h"
#include "json/read.h"

enum { NEXUS__BODY_MAX = 1024 * 1024 }; /* of what is collected, where the route sets no limit of its own */

/*
 * At the beginning of a filter's request function: NEXT = call->body is the whole body; else return what it returns. With
 * LATER the same filter is called again when the body is there. Over the limit: 413.
 */
nexus__gw_verdict nexus__call_collect(struct nexus__call *call);
/* Collected, and without its Content-Encoding (attack 37: over 100 times what came, or over the limit, is 413; another
 * coding 415). */
nexus__gw_verdict nexus__call_collect_open(struct nexus__call *call);
/* Its Content-Type, without parameters; "" = none. */
nexus_slice nexus__body_type(nexus_slice content_type);

/* Scans strictly (attack 36): no duplicate member, no NUL, no lone surrogate, 128 deep at most, no number that no double
 * holds. NEXUS_EINVAL, NEXUS_ETOOBIG: the message says where and why. */
nexus_status nexus__body_scan(nexus__json *doc, nexus_slice text) NEXUS_MUST_CHECK;
/* Gives back what a large document took. */
void nexus__body_scanned(nexus__json *doc);

#endif
