/* A question to the store, read from its JSON: what to measure, where, when, split by what. */
#ifndef NEXUS_INGEST_QUESTION_H
#define NEXUS_INGEST_QUESTION_H

#include "ingest/event_rows.h"

#define NEXUS__MEASURES_MAX 8
#define NEXUS__QUERY_GROUPS_MAX 4
#define NEXUS__FILTERS_MAX 16
#define NEXUS__FILTER_VALUES_MAX 64

typedef enum nexus__field_kind {
    NEXUS__FIELD_NONE = 0,
    NEXUS__FIELD_EVENT,
    NEXUS__FIELD_USER, /* user_id, else anonymous_id */
    NEXUS__FIELD_USER_ID,
    NEXUS__FIELD_ANONYMOUS_ID,
    NEXUS__FIELD_SESSION_ID,
    NEXUS__FIELD_CELL,
} nexus__field_kind;

typedef struct nexus__field {
    nexus__field_kind kind;
    uint32_t key; /* of a cell; NEXUS__EVENT_ROWS_UNKNOWN when no event has it */
    nexus_slice name;
    double bucket; /* width of its numeric classes; 0 = none */
} nexus__field;

/* What a field holds in one row. */
typedef struct nexus__fact {
    uint64_t type; /* nexus__cell_type, 0 = nothing */
    union {
        double number;
        uint64_t text;
    };
} nexus__fact;

nexus__fact nexus__field_fact(const nexus__field *field, const nexus__row *row);

typedef enum nexus__agg {
    NEXUS__AGG_COUNT = 0,
    NEXUS__AGG_UNIQUES,
    NEXUS__AGG_SUM,
    NEXUS__AGG_AVG,
    NEXUS__AGG_MIN,
    NEXUS__AGG_MAX,
} nexus__agg;

typedef struct nexus__measure {
    nexus__agg agg;
    nexus__field field;
    nexus_slice as;
} nexus__measure;

typedef enum nexus__filter_op {
    NEXUS__OP_EQ = 0,
    NEXUS__OP_NE,
    NEXUS__OP_IN,
    NEXUS__OP_GT,
    NEXUS__OP_GTE,
    NEXUS__OP_LT,
    NEXUS__OP_LTE,
    NEXUS__OP_PREFIX,
    NEXUS__OP_CONTAINS,
    NEXUS__OP_EXISTS,
} nexus__filter_op;

typedef struct nexus__filter_value {
    nexus_slice text;
    uint32_t number_of_text; /* NEXUS__EVENT_ROWS_UNKNOWN when no event has it */
    double number;
    bool numeric; /* the text reads as a number */
    int8_t truth; /* 1 true, 0 false, -1 neither */
} nexus__filter_value;

typedef struct nexus__filter {
    nexus__field field;
    nexus__filter_op op;
    nexus__filter_value *values;
    uint32_t value_count;
} nexus__filter;

bool nexus__question_matches(const nexus__filter *filter, const nexus__event_rows *rows, const nexus__row *row);

#define NEXUS__INTERVAL_MONTH (-1) /* calendar months; else milliseconds */

typedef struct nexus__question {
    nexus__measure measures[NEXUS__MEASURES_MAX];
    nexus__field groups[NEXUS__QUERY_GROUPS_MAX];
    nexus__filter filters[NEXUS__FILTERS_MAX];
    uint32_t measure_count, group_count, filter_count;
    int64_t from_ms, to_ms; /* INT64_MIN, INT64_MAX = open */
    int64_t interval;       /* 0 = no series */
    nexus_slice interval_text;
    int64_t tz_ms;
    uint32_t limit;
    int32_t order_measure; /* -1 = by label */
    bool ascending;
    nexus__json doc; /* the text's positions; slices above point into it */
    nexus__arena arena;
} nexus__question;

/* Reads a question; the text must outlive it. NEXUS_EINVAL with a message that names the member. Free it in any case. */
nexus_status nexus__question_read(nexus__question *q, nexus__event_rows *rows, nexus_slice text, int64_t now_ms,
                                  uint32_t groups_max) NEXUS_MUST_CHECK;
void nexus__question_free(nexus__question *q);

/* The interval an instant falls into, as an ordinal, and where an ordinal begins. */
int64_t nexus__interval_of(const nexus__question *q, int64_t ms);
int64_t nexus__interval_start(const nexus__question *q, int64_t ordinal);

/* "-24h", "now", "today", "yesterday", or an instant as events may carry it. */
bool nexus__question_instant(nexus_slice text, int64_t now_ms, int64_t tz_ms, int64_t *out);

#endif
