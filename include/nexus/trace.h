/* Trace context: W3C traceparent and tracestate, spans with ids, and their export as OTLP. */
#ifndef NEXUS_TRACE_H
#define NEXUS_TRACE_H

#include <nexus/log.h>

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

/* --- spans that leave the process ---------------------------------------------------------------------------------
 * A tracer queues spans and sends them in batches, as OTLP/HTTP in its JSON encoding, from a thread of its own. Recording
 * never waits: when the queue is full the span is dropped and counted. */

typedef struct nexus_tracer nexus_tracer;

/** Sends one message and waits for the answer. On the tracer's thread. NEXUS_OK: the receiver has it. NEXUS_EAGAIN: it may
 * be tried again. Anything else: it is lost. */
typedef nexus_status nexus_send_fn(const char *content_type, nexus_slice message, void *user_data);

typedef struct nexus_tracer_opts {
    size_t size;
    const nexus_alloc *alloc;  /**< borrowed until close; NULL: the C library's */
    const char *service;       /**< copied; service.name; NULL: "nexus" */
    nexus_send_fn *send;       /**< required */
    void *send_user_data;      /**< borrowed until close */
    uint32_t sample_bp;        /**< of the traces that begin here, how many of 10,000 are sampled. Default 10,000 */
    uint32_t queue_max;        /**< spans that wait; 0: 4,096 */
    uint32_t batch_max;        /**< spans of a message; 0: 512 */
    uint32_t interval_ms;      /**< how long a span waits for others; 0: 1,000 */
} nexus_tracer_opts;

#define NEXUS_TRACER_OPTS_INIT                                                                                         \
    {                                                                                                                  \
        sizeof(nexus_tracer_opts), 0, 0, 0, 0, 10000, 0, 0, 0                                                          \
    }

/** What NEXUS_TRACER_OPTS_INIT does, for callers without macros. */
NEXUS_API void nexus_tracer_opts_init(nexus_tracer_opts *opts);

/** Opens a tracer with its thread. */
NEXUS_API nexus_status nexus_tracer_open(nexus_tracer **out, const nexus_tracer_opts *opts) NEXUS_MUST_CHECK;
/** Sends what waits, each message once, and frees the tracer. NULL is fine. No other call may be running. */
NEXUS_API void nexus_tracer_close(nexus_tracer *tracer);

/** Whether a trace that begins here is sampled: by its id, so that whoever asks about it decides the same. False for a NULL
 * tracer. A trace that came from elsewhere brings the decision in its flags. Any thread. */
NEXUS_API bool nexus_tracer_samples(const nexus_tracer *tracer, const nexus_trace *trace);

enum {
    NEXUS_SPAN_INTERNAL = 1,
    NEXUS_SPAN_SERVER = 2,
    NEXUS_SPAN_CLIENT = 3,
    NEXUS_SPAN_PRODUCER = 4,
    NEXUS_SPAN_CONSUMER = 5
}; /**< as OTLP numbers them */

/** A piece of work that has ended. All borrowed for the call. */
typedef struct nexus_span {
    size_t size;
    nexus_trace trace;   /**< its own ids */
    uint8_t parent[8];   /**< span id; all zero: the trace begins here */
    uint32_t kind;       /**< NEXUS_SPAN_… */
    bool error;          /**< the work failed */
    nexus_slice name;    /**< of few values: "GET orders", not a path */
    int64_t start_ns;    /**< CLOCK_REALTIME */
    int64_t end_ns;
    const nexus_log_field *attrs; /**< names as OpenTelemetry has them; TEXT, INT, DOUBLE and BOOL */
    size_t attr_count;            /**< at most 32 */
    const nexus_trace *links;     /**< places in other traces that this work has to do with */
    size_t link_count;            /**< at most 8 */
} nexus_span;

#define NEXUS_SPAN_INIT NEXUS_SIZED(nexus_span)
NEXUS_API void nexus_span_init(nexus_span *span);

/** Queues the span if its trace is sampled. Texts over 512 bytes are cut. Any thread; a NULL tracer is fine. */
NEXUS_API void nexus_tracer_record(nexus_tracer *tracer, const nexus_span *span);

/** What became of spans since the tracer was opened. */
typedef struct nexus_tracer_counts {
    size_t size;      /**< sizeof(nexus_tracer_counts); must be set */
    uint64_t sent;    /**< spans that the receiver has */
    uint64_t dropped; /**< lost to a full queue */
    uint64_t failed;  /**< lost because their message could not be sent */
} nexus_tracer_counts;

NEXUS_API void nexus_tracer_count(const nexus_tracer *tracer, nexus_tracer_counts *out);

#ifdef __cplusplus
}
#endif

#endif
