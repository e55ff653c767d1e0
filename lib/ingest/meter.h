/* Counters of an ingestion log: totals, rates of the last second and minute, times of commits. Not thread-safe. */
#ifndef NEXUS_INGEST_METER_H
#define NEXUS_INGEST_METER_H

#include <stdint.h>

#include "ingest/event.h"

#define NEXUS__METER_SECONDS 64
#define NEXUS__METER_TIMES 512

typedef struct nexus__meter {
    uint64_t received, accepted, duplicate, late;
    uint64_t rejected[NEXUS__EVENT_CODES];
    int64_t second; /* newest second counted */
    uint32_t per_second[NEXUS__METER_SECONDS];
    uint32_t times_us[NEXUS__METER_TIMES]; /* ring of the latest commits */
    uint32_t time_count;
    int64_t newest_event_ms; /* greatest event time: the watermark stands 5 min before it */
} nexus__meter;

void nexus__meter_accept(nexus__meter *m, int64_t event_ms, int64_t now_ms);
void nexus__meter_commit(nexus__meter *m, uint32_t us);
uint32_t nexus__meter_rate_1s(const nexus__meter *m, int64_t now_ms); /* of the last whole second */
double nexus__meter_rate_1m(const nexus__meter *m, int64_t now_ms);   /* a second, over the last minute */
void nexus__meter_times(const nexus__meter *m, double *last_ms, double *p99_ms);

#endif
