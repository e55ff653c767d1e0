/*
 * How events lie in the log. A record is one durable group: version, count, then each event as a length and its fields,
 * little-endian. Everything the store and the dedupe window need at replay is in it.
 */
#ifndef NEXUS_INGEST_RECORD_H
#define NEXUS_INGEST_RECORD_H

#include "base/buf.h"
#include "ingest/event.h"

void nexus__record_begin(nexus__buf *out);
void nexus__record_add(nexus__buf *out, const nexus__event *event); /* after nexus__record_begin */

/* Walks a record: start with *at = 0; the event's slices point into the record. NEXUS_EDONE at the end, NEXUS_ECORRUPT or
 * NEXUS_EREV (another version). */
nexus_status nexus__record_next(nexus_slice record, size_t *at, nexus__event *event);

/* The event as JSON, as the live tail and the console show it: members of an object that is already open. */
struct nexus__json_writer;
void nexus__record_write_json(struct nexus__json_writer *w, const nexus__event *event);

#endif
