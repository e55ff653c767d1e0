/* The notification service: mail and webhooks, and every attempt accounted for. Port 3004. */
#ifndef SERVERS_NOTIFICATION_H
#define SERVERS_NOTIFICATION_H

#include <nexus/nexus.h>

extern const nexus_service_module notification_module;

#endif
