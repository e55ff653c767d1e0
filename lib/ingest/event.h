/* One event: read from the scanner and judged field by field. Pure: the receive time is a parameter. */
#ifndef NEXUS_INGEST_EVENT_H
#define NEXUS_INGEST_EVENT_H

#include "base/arena.h"
#include "json/read.h"

#define NEXUS__EVENT_ID_MAX 64
#define NEXUS__EVENT_NAME_MAX 200
#define NEXUS__EVENT_IDENTITY_MAX 200
#define NEXUS__EVENT_DEPTH_MAX 16
#define NEXUS__EVENT_PROPERTIES_MAX 256
#define NEXUS__EVENT_KEY_MAX 128
#define NEXUS__EVENT_STRING_MAX 8192
#define NEXUS__EVENT_NO_TIME INT64_MIN

/* An accepted event. The slices point into the scanned document, its text, or the arena it was read with. */
typedef struct nexus__event {
    nexus_slice id, name, user_id, anonymous_id, session_id;
    nexus_slice properties, context; /* JSON objects as text; empty when absent */
    int64_t time_ms, received_ms;
    int64_t original_ms; /* what the sender wrote, when time_ms differs from it; else NEXUS__EVENT_NO_TIME */
} nexus__event;

typedef enum nexus__event_code {
    NEXUS__EVENT_OK = 0,
    NEXUS__EVENT_MISSING_EVENT,
    NEXUS__EVENT_EVENT_TOO_LONG,
    NEXUS__EVENT_BAD_TYPE,
    NEXUS__EVENT_MISSING_IDENTITY,
    NEXUS__EVENT_ILLEGAL_IDENTITY,
    NEXUS__EVENT_BAD_TIMESTAMP,
    NEXUS__EVENT_TOO_OLD,
    NEXUS__EVENT_TOO_LARGE,
    NEXUS__EVENT_TOO_DEEP,
    NEXUS__EVENT_TOO_MANY_PROPERTIES,
    NEXUS__EVENT_BAD_UTF8,
    NEXUS__EVENT_BAD_JSON,
    NEXUS__EVENT_NOT_PERSISTED,
    NEXUS__EVENT_CODES
} nexus__event_code;

const char *nexus__event_code_name(nexus__event_code code);

/* Bits of what was put right in an accepted event. */
enum {
    NEXUS__WARN_ILLEGAL_IDENTITY = 1,
    NEXUS__WARN_TRUNCATED = 2,
    NEXUS__WARN_BAD_TIMESTAMP = 4,
    NEXUS__WARN_FUTURE_CLAMPED = 8,
};
/* Appends the names, comma-separated. */
void nexus__event_warnings(nexus__buf *out, uint32_t warnings);

typedef struct nexus__event_rules {
    nexus_slice illegal_identities; /* comma-separated; compared trimmed and without case */
    bool identity_reject, identity_needed, strict_time, fix_skew;
    uint32_t max_bytes;
    int64_t retention_ms; /* 0 = for ever */
} nexus__event_rules;

/* Why an event is refused. field is a JSON Pointer into it, message says what would be right. */
typedef struct nexus__event_fault {
    nexus__event_code code;
    char field[160];
    char message[200];
} nexus__event_fault;

/* Reads the event at node v. sent_ms is the batch's own sent_at, or NEXUS__EVENT_NO_TIME. NEXUS__EVENT_OK, or the code that is
 * also in *fault. Only memory can fail otherwise: the arena's, seen as NEXUS__EVENT_NOT_PERSISTED. */
nexus__event_code nexus__event_read(nexus__json *doc, uint32_t v, const nexus__event_rules *rules, int64_t received_ms,
                                    int64_t sent_ms, nexus__arena *arena, nexus__event *event, uint32_t *warnings,
                                    nexus__event_fault *fault);

/* sent_at of an envelope or an event: NEXUS__EVENT_NO_TIME when absent or unreadable. */
int64_t nexus__event_instant(nexus__json *doc, uint32_t v);

#endif
