/* What the files of this server share. */
#ifndef SERVERS_NOTIFICATION_PRIVATE_H
#define SERVERS_NOTIFICATION_PRIVATE_H

#include <nexus/nexus.h>

typedef struct notification {
    nexus_service *service;
    nexus_notify *notify;
    nexus_secrets *secrets, *mail_secrets;
    nexus_audit *audit;
    nexus_bus *bus;
    nexus_group *group;
    nexus_consumer *consumer;
} notification;

/* %.*s of a slice */
#define TEXT_ARGS(slice) (int)(slice).n, (slice).p

nexus_status notification_routes(notification *n);
nexus_status notification_secret_routes(notification *n);

/* audit.c */
nexus_status notification_audit_open(notification *n);
/* Records what is about to be done; false: it could not, and the request is answered. */
bool notification_audited(notification *n, nexus_request *request, const char *action, nexus_slice object);
/* And that it was refused, or failed; before the request is answered. */
void notification_audit_failed(notification *n, const nexus_request *request, const char *action, nexus_slice object,
                               nexus_status why);

#endif
