/* A table of handlers by type, and calling those that a delivery is for. */
#ifndef NEXUS_BUS_HANDLERS_H
#define NEXUS_BUS_HANDLERS_H

#include <nexus/bus.h>

typedef struct nexus__handlers nexus__handlers;

/* Copies the table. */
nexus_status nexus__handlers_new(nexus__handlers **out, const nexus_alloc *alloc, const nexus_handler *handlers,
                                 size_t n) NEXUS_MUST_CHECK;
void nexus__handlers_free(nexus__handlers *h);
/* A nexus_delivery_fn: each that matches, in the order of the table, until one does not say NEXUS_ACK. None: NEXUS_ACK. */
int32_t nexus__handlers_call(nexus_delivery *delivery, void *handlers);

#endif
