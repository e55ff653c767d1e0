#include "gateway/filter.h"
#include "gateway/filters/body.h"

const nexus__gw_filter *const nexus__gw_filters[] = {
    &nexus__gw_filter_cors,
    &nexus__gw_filter_ip,
    &nexus__gw_filter_auth,
    &nexus__gw_filter_client_cert,
    &nexus__gw_filter_roles,
    &nexus__gw_filter_require,
    &nexus__gw_filter_ext,
    &nexus__gw_filter_identity,
    &nexus__gw_filter_limits,
    &nexus__gw_filter_canary, /* once it is known who asks */
    &nexus__gw_filter_redirect,
    &nexus__gw_filter_validate,
    &nexus__gw_filter_request_body,
    &nexus__gw_filter_response_body,
    &nexus__gw_filter_compress,
    &nexus__gw_filter_security,
    NULL,
};

const void *nexus__gw_filter_conf(const nexus__gw_route_conf *route, const nexus__gw_filter *filter)
{
    for (uint32_t i = 0; i < route->filters.count; i++)
        if (route->filters.items[i].filter == filter)
            return route->filters.items[i].conf;
    return NULL;
}

bool nexus__gw_filter_is_access(const nexus__gw_filter *filter)
{
    for (uint32_t i = 0; nexus__gw_filters[i]; i++) {
        if (nexus__gw_filters[i] == filter)
            return true;
        if (nexus__gw_filters[i] == &nexus__gw_filter_ext)
            break;
    }
    return false;
}
