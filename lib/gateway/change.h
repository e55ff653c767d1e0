/* What one call changes of its fields, beyond what its route always says: values with placeholders, and what a stage
 * that changes a body has to say about it. */
#ifndef NEXUS_GATEWAY_CHANGE_H
#define NEXUS_GATEWAY_CHANGE_H

#include "gateway/pattern.h"

struct nexus__call;

enum nexus__change_side { NEXUS__CHANGE_REQUEST, NEXUS__CHANGE_REPLY };

/* All three: false when out of memory. Name and value are borrowed until the call ends. */
bool nexus__change_set(struct nexus__call *call, enum nexus__change_side side, nexus_slice name, nexus_slice value);
bool nexus__change_add(struct nexus__call *call, enum nexus__change_side side, nexus_slice name, nexus_slice value);
bool nexus__change_remove(struct nexus__call *call, enum nexus__change_side side, nexus_slice name);

/* Fills in the values of the route's fields, of the request and of the reply: before upstream is asked, so that what a
 * client brought into them is refused in time. false: answered. */
bool nexus__change_fill(struct nexus__call *call);
/* A pattern with this call's values, in the request's memory; .p NULL when out of memory. */
nexus_slice nexus__change_text(struct nexus__call *call, const nexus__pattern *pattern);

#endif
