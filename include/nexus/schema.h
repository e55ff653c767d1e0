/* JSON Schema, draft 2020-12: compile once, check JSON text many times. */
#ifndef NEXUS_SCHEMA_H
#define NEXUS_SCHEMA_H

#include <nexus/alloc.h>
#include <nexus/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A compiled schema. Immutable: any number of threads may check against it at once. */
typedef struct nexus_schema nexus_schema;
/** What a check found. Belongs to the caller that got it; not tied to the schema's life. */
typedef struct nexus_schema_report nexus_schema_report;

typedef struct nexus_schema_opts {
    size_t size;               /**< sizeof(nexus_schema_opts) */
    const nexus_alloc *alloc;  /**< borrowed for the schema's life; NULL = malloc */
    const char *base_uri;      /**< copied; what relative "$id" and "$ref" resolve against; NULL = none */
    const nexus_pair *remotes; /**< borrowed for the call: {URI, schema text} that "$ref" may name; nothing is fetched */
    size_t remote_count;
    bool assert_format;        /**< "format" refuses what does not match; false (the standard's default): annotation */
    uint32_t errors_max;       /**< findings kept in one report; 0 = 20 */
    uint32_t depth_max;        /**< nesting of schema and instance; 0 = 128 */
    uint64_t schema_bytes_max; /**< of schema text; 0 = 1 MiB */
} nexus_schema_opts;

#define NEXUS_SCHEMA_OPTS_INIT NEXUS_SIZED(nexus_schema_opts)
/** What NEXUS_SCHEMA_OPTS_INIT does, as a function. */
NEXUS_API void nexus_schema_opts_init(nexus_schema_opts *opts);

/**
 * Compiles a schema from its JSON text (borrowed for the call). opts may be NULL.
 * NEXUS_EINVAL: not JSON, or not a schema; the message names the place. NEXUS_ENOTSUP: a regular expression with a
 * look-around or back-reference. NEXUS_ENOTFOUND: a "$ref" that nothing given resolves. NEXUS_ETOOBIG: over a limit.
 * Keywords the standard does not know are ignored, as it asks. docs/schema.md lists what is not supported.
 */
NEXUS_API nexus_status nexus_schema_compile(nexus_schema **out, const char *text, size_t text_bytes,
                                            const nexus_schema_opts *opts) NEXUS_MUST_CHECK;

/**
 * Checks one JSON text against the schema. Thread-safe.
 * NEXUS_OK: valid. NEXUS_EINVAL: JSON that the schema refuses. NEXUS_EPROTO: not JSON at all (or a duplicate member, a
 * lone surrogate, NUL: the strict form is required). NEXUS_ETOOBIG: nested too deep. NEXUS_ENOMEM.
 * report may be NULL. It is set on every return: to the findings after NEXUS_EINVAL and NEXUS_EPROTO (free it), else
 * to NULL.
 */
NEXUS_API nexus_status nexus_schema_check(const nexus_schema *schema, const char *json, size_t json_bytes,
                                          nexus_schema_report **report) NEXUS_MUST_CHECK;

NEXUS_API void nexus_schema_free(nexus_schema *schema);

/** One finding. The slices live as long as the report. */
typedef struct nexus_schema_error {
    size_t size;         /**< sizeof(nexus_schema_error), set by the caller */
    nexus_slice pointer; /**< JSON pointer into the checked text, "" = the whole value */
    nexus_slice keyword; /**< the keyword that refused ("required", "type" …); "json" when the text is not JSON */
    nexus_slice detail;  /**< a sentence that names the field and the remedy */
    uint32_t line;       /**< where in the checked text, from 1 */
    uint32_t column;
} nexus_schema_error;

/** How many findings; 0 for NULL. */
NEXUS_API size_t nexus_schema_report_count(const nexus_schema_report *report);
/** Fills *out with finding i; false when there is none. */
NEXUS_API bool nexus_schema_report_at(const nexus_schema_report *report, size_t i, nexus_schema_error *out);
NEXUS_API void nexus_schema_report_free(nexus_schema_report *report);

#ifdef __cplusplus
}
#endif

#endif
