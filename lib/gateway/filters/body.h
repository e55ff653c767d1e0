/* The filters of bodies, as stage.c sees them. */
#ifndef NEXUS_GATEWAY_FILTERS_BODY_H
#define NEXUS_GATEWAY_FILTERS_BODY_H

#include "gateway/filter.h"
#include "gateway/transform.h"

/* Both confs are a nexus__transform. */
extern const nexus__gw_filter nexus__gw_filter_request_body, nexus__gw_filter_response_body;
extern const nexus__gw_filter nexus__gw_filter_compress; /* nexus__compress_conf */
extern const nexus__gw_filter nexus__gw_filter_validate;

#endif
