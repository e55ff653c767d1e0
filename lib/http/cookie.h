/* Cookies that a request brings. */
#ifndef NEXUS_HTTP_COOKIE_H
#define NEXUS_HTTP_COOKIE_H

#include "base/str.h"

/* The value of the first cookie of that name in one Cookie field (RFC 6265, 4.2.1). */
bool nexus__cookie_find(nexus_slice field, nexus_slice name, nexus_slice *out);

#endif
