/*
 * The analytics server: events in over HTTP and from the bus, durable; questions out. Three parts: ingest_routes.c takes
 * events, query_routes.c answers questions, stream.c tells subscribers live; feed.c brings the domain events of the bus.
 */
#ifndef SERVERS_ANALYTICS_H
#define SERVERS_ANALYTICS_H

#include <nexus/nexus.h>

extern const nexus_service_module analytics_module;

typedef struct analytics_feed analytics_feed;
typedef struct analytics_live analytics_live;

typedef struct analytics {
    nexus_service *service;
    nexus_analytics *store;
    nexus_ingest *ingest;
    analytics_feed *feed;
    analytics_live *live;
    nexus_secret *own_write_key; /* of $STATE/write.key; NULL: the setting has it */
    const nexus_secret *write_key;
    nexus_metric *accepted, *duplicate, *rejected, *held;
} analytics;

nexus_status analytics_ingest_routes(analytics *a);
nexus_status analytics_query_routes(analytics *a);

/* The bus group "analytics": every domain event becomes an analytics event. */
nexus_status analytics_feed_open(analytics_feed **out, analytics *a);
void analytics_feed_close(analytics_feed *feed);

/* Subscribers of GET /api/v1/analytics/stream. */
nexus_status analytics_live_open(analytics_live **out, analytics *a);
void analytics_live_close(analytics_live *live);

/* Reads the write key of the settings or of $STATE/write.key, which is made when missing. */
nexus_status analytics_write_key(analytics *a);

/* Answers with the problem that belongs to a failed call of ingest or of the store. */
void analytics_refuse(nexus_request *request, nexus_status status);

/* Answers 200 with JSON text and frees it. */
void analytics_answer(nexus_request *request, char *text, size_t len);

#endif
