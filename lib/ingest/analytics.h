/* The store behind the public calls, as ingest/ fills it. */
#ifndef NEXUS_INGEST_ANALYTICS_H
#define NEXUS_INGEST_ANALYTICS_H

#include <nexus/analytics.h>

#include "ingest/answer.h"
#include "ingest/tail.h"

struct nexus_analytics {
    nexus__event_rows rows;
    nexus__tail tail;
    uint32_t groups_max, buckets_max;
    _Atomic int64_t lag_ms; /* from receipt to visible, of the newest events */
    struct {
        pthread_mutex_t mutex;
        nexus_analytics_listen_fn *fn;
        void *user_data;
    } listener;
    const nexus_alloc *alloc;
};

/* Makes one event visible. Call nexus__analytics_notify once after a group of them. */
nexus_status nexus__analytics_add(nexus_analytics *a, const nexus__event *event) NEXUS_MUST_CHECK;
void nexus__analytics_notify(nexus_analytics *a, int64_t lag_ms);

/* One question asked and answered: free with nexus__asked_free in any case. */
typedef struct nexus__asked {
    nexus__question q;
    nexus__answer a;
    nexus__answer_meta meta;
    char query_id[48];
    bool answered;
} nexus__asked;

nexus_status nexus__ask(nexus__asked *asked, nexus_analytics *a, nexus_slice text, int64_t now_ms) NEXUS_MUST_CHECK;
void nexus__asked_free(nexus__asked *asked);

#endif
