/* An answer as JSON. */
#ifndef NEXUS_INGEST_ANSWER_H
#define NEXUS_INGEST_ANSWER_H

#include "ingest/query.h"
#include "json/write.h"

/* What stands around the figures. */
typedef struct nexus__answer_meta {
    const char *query_id;
    nexus_slice question; /* as it was asked */
    int64_t took_us, lag_ms;
} nexus__answer_meta;

void nexus__answer_write(nexus__buf *out, const nexus__question *q, const nexus__answer *a,
                         const nexus__event_rows *rows, const nexus__answer_meta *meta);
/* {"series":[{"labels","points"}],"meta":{…}}; without an interval each group is one point at the span's start. */
void nexus__answer_write_metric(nexus__buf *out, const nexus__question *q, const nexus__answer *a,
                                const nexus__event_rows *rows, const nexus__answer_meta *meta);

/* A value of a measure; null when there is none. */
void nexus__answer_value(nexus__json_writer *w, const nexus__tally *t, nexus__agg agg);
void nexus__answer_fact(nexus__json_writer *w, const nexus__event_rows *rows, nexus__fact fact);
/* An instant as RFC 3339, or null for an open end. */
void nexus__answer_instant(nexus__json_writer *w, const char *name, int64_t ms);

#endif
