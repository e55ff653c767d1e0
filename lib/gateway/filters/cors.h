/* Cross-origin requests: deny by default; exact origins, all subdomains of one, or "*" without credentials. */
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
/* Sets the fields of the reply to a preflight; whether it is allowed. */
bool nexus__cors_preflight(nexus_request *request, const nexus__gw_cors_conf *conf, nexus_slice origin);
/* When a route is read: what upstream says of other origins is left out where the gateway says it. */
nexus_status nexus__cors_own(nexus__loader *l, nexus__gw_route_conf *route) NEXUS_MUST_CHECK;
/* Sets the fields of the reply to any other request; origin is empty when it has none. */
void nexus__cors_mark(nexus_request *request, const nexus__gw_cors_conf *conf, nexus_slice origin);

#endif
