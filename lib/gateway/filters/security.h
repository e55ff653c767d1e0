/* The fields that tell browsers to be careful: the default set of Helmet, which this list follows. */
#ifndef NEXUS_GATEWAY_FILTERS_SECURITY_H
#define NEXUS_GATEWAY_FILTERS_SECURITY_H

#include "base/str.h"

/* Twelve are sent; the thirteenth, X-Powered-By, is taken out. */
enum { NEXUS__SECURITY_HEADERS = 12 };
extern const nexus_pair nexus__security_headers[NEXUS__SECURITY_HEADERS];

#endif
