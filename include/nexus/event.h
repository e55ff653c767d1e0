/* CloudEvents 1.0: the event, its JSON form, its mapping to HTTP. Pure functions; no bus needed. */
#ifndef NEXUS_EVENT_H
#define NEXUS_EVENT_H

#include <nexus/alloc.h>
#include <nexus/common.h>
#include <nexus/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * One event: the CloudEvents 1.0 context attributes, the documented extensions, the data. Every slice is borrowed by
 * the call that takes the event; in an event that a call gives out it is borrowed as that call says. An empty slice
 * is an absent attribute. Start from NEXUS_EVENT_INIT or nexus_event_init. In an array the stride is the first
 * event's `size`.
 */
typedef struct nexus_event {
    size_t size;                 /**< sizeof(nexus_event) as the caller knows it */
    nexus_slice id;              /**< empty: publish makes a UUIDv7 */
    nexus_slice source;          /**< URI reference; empty: publish takes the bus's `source` option */
    nexus_slice type;            /**< dotted, "order.created"; required */
    nexus_slice subject;         /**< the aggregate, "order-42"; names the stream unless publish is told another */
    nexus_slice datacontenttype; /**< empty means application/json */
    nexus_slice dataschema;      /**< URI */
    int64_t time_ns;             /**< since 1970; 0: publish takes now */
    nexus_slice traceparent;     /**< W3C Trace Context; a broken one is dropped at publish, never an error */
    nexus_slice tracestate;
    nexus_slice partitionkey;  /**< what is kept in order; empty: the subject */
    nexus_slice correlationid; /**< the conversation */
    nexus_slice causationid;   /**< id of the event that led to this one */
    uint32_t rev;              /**< schema revision of the type; 0 = unnamed */
    uint32_t reserved;         /**< 0 */
    const nexus_pair *ext;     /**< further extensions: names [a-z0-9]{1,20}, text values */
    size_t ext_count;
    nexus_slice data;   /**< the bytes; JSON text when the content type is JSON */
    uint64_t pos;       /**< set by the bus: 1.. in commit order; 0 = not stored */
    int64_t version;    /**< set by the bus: 0.. within the stream; -1 = in no stream */
    int64_t recv_ns;    /**< set by the bus: when it was stored, since 1970 */
    nexus_slice stream; /**< set by the bus: the stream it stands in */
} nexus_event;

#define NEXUS_EVENT_INIT NEXUS_SIZED(nexus_event)

/** The same for languages without macros: zeroes *event and sets its size. */
NEXUS_API void nexus_event_init(nexus_event *event);

/**
 * Checks one event against CloudEvents 1.0 (section 3: names, types, required attributes, no control characters, valid
 * UTF-8). NEXUS_EINVAL names the attribute in nexus_error_message(). An empty id, source or time is accepted here,
 * since publish fills it.
 */
NEXUS_API nexus_status nexus_event_check(const nexus_event *event) NEXUS_MUST_CHECK;

/** Events read from text, and the memory they point into. Immutable, usable from any thread. */
typedef struct nexus_event_doc nexus_event_doc;

/**
 * Reads the JSON form (CloudEvents JSON Event Format 1.0.2): one object, or an array of them (batch format).
 * *out is the caller's: nexus_event_doc_free. With NEXUS_EVENT_LENIENT, `specversion`, `id` and `source` may be
 * absent, as they may in nexus_event. NEXUS_EINVAL names the attribute and, in a batch, the index.
 */
enum { NEXUS_EVENT_STRICT = 0, NEXUS_EVENT_LENIENT = 1 };
NEXUS_API nexus_status nexus_event_parse(nexus_event_doc **out, const char *text, size_t n,
                                         uint32_t flags) NEXUS_MUST_CHECK;

/**
 * Reads an HTTP message (HTTP Protocol Binding 1.0.2): structured mode (application/cloudevents+json), batched mode
 * (application/cloudevents-batch+json) or binary mode (ce-* headers), told apart by Content-Type. Header names in any
 * case. NEXUS_EINVAL names the header; NEXUS_ENOTSUP: another cloudevents format.
 */
NEXUS_API nexus_status nexus_event_from_http(nexus_event_doc **out, const nexus_pair *headers, size_t header_count,
                                             nexus_slice body) NEXUS_MUST_CHECK;

NEXUS_API size_t nexus_event_doc_count(const nexus_event_doc *doc);
/** Event i, borrowed as long as doc lives; NULL past the end. */
NEXUS_API const nexus_event *nexus_event_doc_at(const nexus_event_doc *doc, size_t i);
NEXUS_API void nexus_event_doc_free(nexus_event_doc *doc);

/**
 * Writes one event as JSON. *out is NUL-terminated (*n does not count it); free with nexus_free. What the bus has set
 * is added as the extensions `pos` (a string: CloudEvents integers have 32 bits), `streamversion`, `stream` and
 * `recvtime`. Data is embedded when the content type is JSON and it is JSON, a string when it is text, `data_base64`
 * otherwise.
 */
NEXUS_API nexus_status nexus_event_format(char **out, size_t *n, const nexus_event *event) NEXUS_MUST_CHECK;

/** An HTTP message made from an event. */
typedef struct nexus_event_http nexus_event_http;
enum { NEXUS_EVENT_BINARY = 0, NEXUS_EVENT_STRUCTURED = 1 };

NEXUS_API nexus_status nexus_event_to_http(nexus_event_http **out, const nexus_event *event,
                                           uint32_t mode) NEXUS_MUST_CHECK;
/** Headers (content-type, ce-*; values percent-encoded as the binding says) and body, borrowed as long as http lives. */
NEXUS_API const nexus_pair *nexus_event_http_headers(const nexus_event_http *http, size_t *count);
NEXUS_API void nexus_event_http_body(const nexus_event_http *http, nexus_slice *out);
NEXUS_API void nexus_event_http_free(nexus_event_http *http);

/**
 * Whether a dotted type matches a pattern by the rules of NATS subjects: `*` is exactly one token, `>` as last token
 * one or more. A pattern that is not well-formed matches nothing.
 */
NEXUS_API bool nexus_event_type_matches(nexus_slice pattern, nexus_slice type);

/** The JSON Schema that the library ships for one of its own event types ("order.created"); NULL for any other. */
NEXUS_API const char *nexus_event_schema(const char *type);

#ifdef __cplusplus
}
#endif

#endif
