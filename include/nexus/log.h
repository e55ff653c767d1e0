/*
 * Structured log: a handle with levels, sinks and redaction. One record is one line, JSON for machines and
 * logfmt for a terminal: ts, level, msg, service, module, trace_id, span_id, correlation_id, tenant, caller,
 * then the fields.
 *
 * Writing never blocks the caller: with a ring (the default) records are formatted on the calling thread and
 * written by the log's own thread; when the ring is full the record is counted and a "dropped" line says how
 * many were lost. Values under the names of credentials (authorization, cookie, api key, token, secret,
 * password, code, …) and bearer tokens inside texts are replaced by "[redacted]".
 */
#ifndef NEXUS_LOG_H
#define NEXUS_LOG_H

#include <nexus/alloc.h>
#include <nexus/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nexus_log nexus_log;

enum {
    NEXUS_LOG_TRACE = 0,
    NEXUS_LOG_DEBUG = 1,
    NEXUS_LOG_INFO = 2,
    NEXUS_LOG_WARN = 3,
    NEXUS_LOG_ERROR = 4,
    NEXUS_LOG_FATAL = 5, /**< the caller is about to give up; nothing exits here */
    NEXUS_LOG_OFF = 6    /**< a threshold only */
};

enum {
    NEXUS_LOG_FORMAT_AUTO = 0, /**< logfmt when the descriptor is a terminal, else JSON */
    NEXUS_LOG_FORMAT_JSON = 1,
    NEXUS_LOG_FORMAT_LOGFMT = 2
};

/** Receives one formatted line, its newline included; called from one thread at a time. The line is borrowed.
 */
typedef void nexus_log_line_fn(int32_t level, nexus_slice line, void *user_data);

typedef struct nexus_log_opts {
    size_t size;
    const nexus_alloc *alloc;   /**< NULL: the C library's */
    const char *service;        /**< copied; the "service" of every line; NULL: left out */
    int32_t level;              /**< NEXUS_LOG_…: records below are not formatted at all */
    int32_t format;             /**< NEXUS_LOG_FORMAT_… */
    int32_t fd;                 /**< borrowed descriptor to write to; -1: none. Default 2, standard error */
    const char *path;           /**< copied; a file opened for appending (0600), beside or instead of fd; NULL: none */
    nexus_log_line_fn *line_fn; /**< one more sink; NULL: none */
    void *line_user_data;       /**< borrowed until close */
    uint32_t ring_records;      /**< lines the ring holds; 0: no ring, lines are written by the caller. Default 4096 */
    bool show_secrets;          /**< turns redaction off; for tests of it */
} nexus_log_opts;

#define NEXUS_LOG_OPTS_INIT                                                                                            \
    {                                                                                                                  \
        sizeof(nexus_log_opts), 0, 0, NEXUS_LOG_INFO, 0, 2, 0, 0, 0, 4096, false                                       \
    }

/** What NEXUS_LOG_OPTS_INIT does, for callers without macros. */
NEXUS_API void nexus_log_opts_init(nexus_log_opts *opts);

/** Opens a log. NEXUS_EIO or NEXUS_EPERM when `path` cannot be opened. */
NEXUS_API nexus_status nexus_log_open(nexus_log **out, const nexus_log_opts *opts) NEXUS_MUST_CHECK;

/** A log that writes to the parent's sinks under another service name and shares its levels. The parent must
 * outlive it; close it like any other. */
NEXUS_API nexus_status nexus_log_child(nexus_log **out, nexus_log *parent, const char *service) NEXUS_MUST_CHECK;

/** Writes what the ring still holds and frees the log. NULL is fine. No other call may be running. */
NEXUS_API void nexus_log_close(nexus_log *log);

/** Blocks until everything written before this call has reached the sinks. */
NEXUS_API void nexus_log_flush(nexus_log *log);

/** Ids that tie a record to its request. Empty members are left out of the line. All borrowed for the call.
 */
typedef struct nexus_log_context {
    nexus_slice trace_id;       /**< 32 hex digits */
    nexus_slice span_id;        /**< 16 hex digits */
    nexus_slice correlation_id; /**< X-Request-Id */
    nexus_slice tenant;
} nexus_log_context;

enum {
    NEXUS_LOG_FIELD_TEXT = 0,
    NEXUS_LOG_FIELD_INT = 1,
    NEXUS_LOG_FIELD_DOUBLE = 2,
    NEXUS_LOG_FIELD_BOOL = 3,
    NEXUS_LOG_FIELD_JSON = 4 /**< text that is valid JSON already; written as it is */
};

/** A named value of one record, borrowed for the call. */
typedef struct nexus_log_field {
    const char *name;
    uint32_t type; /**< NEXUS_LOG_FIELD_… */
    int64_t i;
    double d;
    nexus_slice s;
} nexus_log_field;

#ifndef __cplusplus
#define NEXUS_LOG_S(name_, slice_) ((nexus_log_field){(name_), NEXUS_LOG_FIELD_TEXT, 0, 0, (slice_)})
#define NEXUS_LOG_I(name_, int_) ((nexus_log_field){(name_), NEXUS_LOG_FIELD_INT, (int64_t)(int_), 0, {0, 0}})
#define NEXUS_LOG_D(name_, double_) ((nexus_log_field){(name_), NEXUS_LOG_FIELD_DOUBLE, 0, (double_), {0, 0}})
#define NEXUS_LOG_B(name_, bool_) ((nexus_log_field){(name_), NEXUS_LOG_FIELD_BOOL, (bool_) ? 1 : 0, 0, {0, 0}})
#endif

typedef struct nexus_log_record {
    size_t size;
    int32_t level;
    const char *module; /**< the part that speaks ("http", "saga"); NULL: none. Its own threshold may be set */
    nexus_slice message;
    const nexus_log_context *context; /**< NULL: none */
    const nexus_log_field *fields;
    size_t field_count;
    const char *file; /**< __FILE__ of the caller, or NULL */
    int32_t line;
} nexus_log_record;

/** Writes one record. Any thread. A NULL log is fine and writes nothing; so do records below the threshold.
 */
NEXUS_API void nexus_log_write(nexus_log *log, const nexus_log_record *record);

/** A message without fields. */
NEXUS_API void nexus_log_text(nexus_log *log, int32_t level, const char *module, const nexus_log_context *context,
                              nexus_slice message);

/** The same, formatted as by printf(3); the message is cut at 2,047 bytes. */
NEXUS_API void nexus_log_printf(nexus_log *log, int32_t level, const char *module, const nexus_log_context *context,
                                const char *format, ...) NEXUS_PRINTF(5, 6);

#ifndef __cplusplus
/** NEXUS_LOG(log, NEXUS_LOG_WARN, "saga", &context, "step failed", NEXUS_LOG_I("step", 3)): a record with
 * fields and its caller; the fields are evaluated only when the level is on. At least one field. */
#define NEXUS_LOG(log_, level_, module_, context_, message_, ...)                                                      \
    do {                                                                                                               \
        if (nexus_log_enabled((log_), (level_), (module_))) {                                                          \
            const nexus_log_field nexus_fields_[] = {__VA_ARGS__};                                                     \
            const nexus_log_record nexus_record_ = {sizeof(nexus_log_record),                                          \
                                                    (level_),                                                          \
                                                    (module_),                                                         \
                                                    NEXUS_S(message_),                                                 \
                                                    (context_),                                                        \
                                                    nexus_fields_,                                                     \
                                                    sizeof nexus_fields_ / sizeof nexus_fields_[0],                    \
                                                    __FILE__,                                                          \
                                                    __LINE__};                                                         \
            nexus_log_write((log_), &nexus_record_);                                                                   \
        }                                                                                                              \
    } while (0)
#endif

/** Whether a record of this level and module would be written. One or two atomic reads. */
NEXUS_API bool nexus_log_enabled(const nexus_log *log, int32_t level, const char *module);

/**
 * Sets the threshold of a module, or of everything when module is NULL or "*" (which also forgets the
 * modules' own). ttl_ms > 0: the change reverts by itself after that time. Any thread. NEXUS_EINVAL for a
 * level that is none, NEXUS_ETOOBIG when 32 modules have thresholds already.
 */
NEXUS_API nexus_status nexus_log_set_level(nexus_log *log, const char *module, int32_t level, uint32_t ttl_ms);

/** The threshold in force for a module (NULL: the general one). */
NEXUS_API int32_t nexus_log_level(const nexus_log *log, const char *module);

/** Records lost to a full ring since the log was opened. */
NEXUS_API uint64_t nexus_log_dropped(const nexus_log *log);

/** "debug" to NEXUS_LOG_DEBUG; -1 for a word that is no level. */
NEXUS_API int32_t nexus_log_level_parse(nexus_slice word);
/** The word of a level, static; "?" for a number that is none. */
NEXUS_API const char *nexus_log_level_name(int32_t level);

#ifdef __cplusplus
}
#endif

#endif
