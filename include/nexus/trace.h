/* Trace context: W3C traceparent and tracestate, and spans with ids. */
#ifndef NEXUS_TRACE_H
#define NEXUS_TRACE_H

#include <nexus/common.h>
#include <nexus/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Where in a trace something happens. A plain value, copied freely. */
typedef struct nexus_trace {
    uint8_t trace_id[16];
    uint8_t span_id[8];
    uint8_t flags; /**< bit 0: sampled */
} nexus_trace;

#define NEXUS_TRACE_SAMPLED 1u
#define NEXUS_TRACEPARENT_LEN 55 /**< bytes of "00-…-…-01" */

/**
 * Reads a traceparent header (W3C Trace Context, version 00; later versions by their first four fields).
 * NEXUS_EINVAL, and *out untouched, for anything else: version ff, upper case, all-zero ids, wrong lengths.
 */
NEXUS_API nexus_status nexus_trace_parse(nexus_trace *out, nexus_slice traceparent);

/** Writes "00-TRACE-SPAN-FLAGS" and a NUL into 56 bytes. */
NEXUS_API void nexus_trace_format(const nexus_trace *trace, char *out);
/** The trace id as 32 hex digits and a NUL, the span id as 16. Either may be NULL. */
NEXUS_API void nexus_trace_hex(const nexus_trace *trace, char *trace_id, char *span_id);

/** A new trace with random ids. */
NEXUS_API void nexus_trace_start(nexus_trace *out, bool sampled);
/** The same trace and flags under a new span id; out may be parent. */
NEXUS_API void nexus_trace_child(nexus_trace *out, const nexus_trace *parent);

/**
 * Joins tracestate header lines in their order into `out` (cap bytes): at most 32 members, whole members
 * only, empty ones left out. Returns the length written; 0 when there is none or a member is malformed (the
 * whole is then dropped, as the specification asks).
 */
NEXUS_API size_t nexus_trace_state(const nexus_slice *lines, size_t count, char *out, size_t cap);

#ifdef __cplusplus
}
#endif

#endif
