/* What the files of this server share. */
#ifndef SERVERS_NOTIFICATION_PRIVATE_H
#define SERVERS_NOTIFICATION_PRIVATE_H

#include <nexus/nexus.h>

typedef struct notification {
    nexus_service *service;
    nexus_notify *notify;
    nexus_secrets *secrets, *mail_secrets;
    nexus_ring_calls ring;
    nexus_bus *bus;
    nexus_group *group;
    nexus_consumer *consumer;
} notification;

/* %.*s of a slice */
#define TEXT_ARGS(slice) (int)(slice).n, (slice).p

nexus_status notification_routes(notification *n);
nexus_status notification_secret_routes(notification *n);

#endif
