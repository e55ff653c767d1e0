/* Cookies that a request brings. */
#ifndef NEXUS_HTTP_COOKIE_H
#define NEXUS_HTTP_COOKIE_H

#include "http/parser.h"

/* The value of the first cookie of that name in one Cookie field (RFC 6265, 4.2.1). */
bool nexus__cookie_find(nexus_slice field, nexus_slice name, nexus_slice *out);
/* The same in all Cookie fields of a head: HTTP/2 may send one for each pair. */
bool nexus__cookie_in_head(const nexus__http_head *head, const char *base, nexus_slice name, nexus_slice *out);

#endif
