/* The dedicated broker: owns the bus directory, so that no service has to. */
#ifndef SERVERS_BUSD_BUSD_H
#define SERVERS_BUSD_BUSD_H

#include <nexus/nexus.h>

extern const nexus_service_module busd_module;

#endif
