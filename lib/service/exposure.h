#ifndef NEXUS_SERVICE_EXPOSURE_H
#define NEXUS_SERVICE_EXPOSURE_H

#include <nexus/common.h>
#include <nexus/status.h>

typedef struct nexus__exposure {
    const char *service, *address; /* where it listens: numeric */
    bool administers;              /* it has routes of the administration, or passes them on */
    bool development, tls;
    bool tls_in_front; /* somebody said so */
} nexus__exposure;

/* NEXUS_EPERM, with the remedy: the administration would be open to whoever can listen on the wire. Pure. */
nexus_status nexus__exposure_check(const nexus__exposure *exposure) NEXUS_MUST_CHECK;

#endif
