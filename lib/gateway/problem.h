/* What the gateway itself answers when something is wrong: RFC 9457 documents, a page for browsers, and RFC 9209's
 * Proxy-Status for what happened behind it. */
#ifndef NEXUS_GATEWAY_PROBLEM_H
#define NEXUS_GATEWAY_PROBLEM_H

#include <nexus/http.h>

#include "base/str.h"

/* Whether an Accept field likes text/html best of all that it names. */
bool nexus__problem_wants_page(nexus_slice accept);
/* The error type of RFC 9209 for a problem; fault is an errno of connecting, 0 = none. NULL: the gateway had no part in
 * an exchange with upstream. */
const char *nexus__problem_proxy_error(uint16_t status, const char *code, int fault);
/* Answers. */
void nexus__problem_reply(nexus_request *request, uint16_t status, const char *code, const char *detail, int fault);

#endif
