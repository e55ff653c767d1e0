/*
 * Spans as OTLP (opentelemetry-proto 1.x, trace/v1/trace.proto) in its JSON mapping: ids in hex, 64-bit numbers as text.
 * A span is packed on the thread that recorded it and written out on the tracer's. Pure.
 */
#ifndef NEXUS_OBSERVE_OTLP_H
#define NEXUS_OBSERVE_OTLP_H

#include <nexus/trace.h>

#include "json/write.h"

enum { NEXUS__SPAN_ATTRS_MAX = 32, NEXUS__SPAN_LINKS_MAX = 8, NEXUS__SPAN_TEXT_MAX = 512 };

/* Appends the packed form; longer texts are cut, further attributes left out. */
void nexus__span_pack(nexus__buf *out, const nexus_span *span);
/* Appends one element of "spans"; false when packed is not what nexus__span_pack made (then nothing was appended). */
bool nexus__otlp_span(nexus__json_writer *w, nexus_slice packed);

/* What stands before and after the spans of a message. */
void nexus__otlp_begin(nexus__json_writer *w, nexus_slice service);
void nexus__otlp_end(nexus__json_writer *w);

#endif
