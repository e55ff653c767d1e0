/* Cross-origin requests: deny by default; exact origins, "https://" and "*.example.com", or "*". */
#ifndef NEXUS_GATEWAY_FILTERS_CORS_H
#define NEXUS_GATEWAY_FILTERS_CORS_H

#include <nexus/http.h>

#include "gateway/filter.h"

typedef struct nexus__gw_cors_conf {
    bool credentials;
    nexus__text_list origins, methods, headers, expose;
    uint32_t max_age_s;
} nexus__gw_cors_conf;

bool nexus__cors_allows(const nexus__gw_cors_conf *conf, nexus_slice origin);
/* Whether the origin is http(s)://host. */
bool nexus__cors_same_origin(nexus_slice origin, nexus_slice host);
/* Sets the fields of the reply to an allowed preflight. */
void nexus__cors_preflight(nexus_request *request, const nexus__gw_cors_conf *conf, nexus_slice origin);
/* Sets the fields of the reply to any other request. */
void nexus__cors_mark(nexus_request *request, const nexus__gw_cors_conf *conf, nexus_slice origin);

#endif
