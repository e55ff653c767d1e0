/* OpenAPI 3.1 from the route table, and the checks of requests that the same table promises. */
#ifndef NEXUS_OPENAPI_H
#define NEXUS_OPENAPI_H

#include <nexus/http.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A document and its compiled checks. Immutable: any number of threads may use it at once. */
typedef struct nexus_openapi nexus_openapi;
/** What a check found wrong with one request. */
typedef struct nexus_openapi_report nexus_openapi_report;

typedef struct nexus_openapi_opts {
    size_t size;              /**< sizeof(nexus_openapi_opts) */
    const nexus_alloc *alloc; /**< borrowed for the object's life; NULL = malloc */
    const char *title;        /**< copied, as all text here; NULL = "API" */
    const char *version;      /**< of the API; NULL = "0" */
    const char *description;  /**< NULL = none */
    const char *server_url;   /**< NULL = "/" */
} nexus_openapi_opts;

#define NEXUS_OPENAPI_OPTS_INIT NEXUS_SIZED(nexus_openapi_opts)
NEXUS_API void nexus_openapi_opts_init(nexus_openapi_opts *opts);

/**
 * Builds the document from the rows that have an operation_id, and compiles their schemas. A row's "GET" and path are
 * its name: rows with method NULL or "*" and fallback rows are left out. opts may be NULL.
 * NEXUS_EINVAL: a row's schema is not one, or an operation_id stands twice; the message names the row.
 */
NEXUS_API nexus_status nexus_openapi_open(nexus_openapi **out, const nexus_route *routes, size_t n,
                                          const nexus_openapi_opts *opts) NEXUS_MUST_CHECK;
/** The same from all routes that the server has by now. */
NEXUS_API nexus_status nexus_openapi_of_server(nexus_openapi **out, const nexus_server *server,
                                               const nexus_openapi_opts *opts) NEXUS_MUST_CHECK;
NEXUS_API void nexus_openapi_close(nexus_openapi *api);

/** The document, JSON text; borrowed until close. */
NEXUS_API void nexus_openapi_document(const nexus_openapi *api, nexus_slice *out);
/** How many operations it describes. */
NEXUS_API size_t nexus_openapi_operations(const nexus_openapi *api);

/**
 * A nexus_filter_fn for nexus_server_body_filter; user_data is the nexus_openapi. A request that does not keep to its
 * row is answered with a problem (400 not JSON, 415 another media type, 422 not as the schema says) that lists every
 * finding; rows it does not know pass.
 */
NEXUS_API int32_t nexus_openapi_filter(nexus_request *request, void *user_data);

/** One request, for callers without a server. All borrowed for the call. */
typedef struct nexus_openapi_input {
    size_t size;                   /**< sizeof(nexus_openapi_input) */
    const char *method;            /**< "POST" */
    const char *path;              /**< the row's template: "/orders/{id}" */
    const nexus_pair *path_params; /**< decoded */
    size_t path_param_count;
    nexus_slice query; /**< as received, without "?" */
    const nexus_pair *headers;
    size_t header_count;
    nexus_slice body;
} nexus_openapi_input;

#define NEXUS_OPENAPI_INPUT_INIT NEXUS_SIZED(nexus_openapi_input)
NEXUS_API void nexus_openapi_input_init(nexus_openapi_input *input);

/**
 * Checks a request against its row. NEXUS_OK: it keeps to it. NEXUS_EINVAL: it does not. NEXUS_ENOTFOUND: no such row.
 * report (may be NULL) is set on every return: after NEXUS_EINVAL to the findings, which the caller frees, else NULL.
 */
NEXUS_API nexus_status nexus_openapi_check(const nexus_openapi *api, const nexus_openapi_input *input,
                                           nexus_openapi_report **report) NEXUS_MUST_CHECK;

NEXUS_API uint16_t nexus_openapi_report_status(const nexus_openapi_report *report); /**< 400, 415 or 422 */
/** "malformed-json", "unsupported-media-type" or "invalid-request"; borrowed, as all that follows. */
NEXUS_API const char *nexus_openapi_report_code(const nexus_openapi_report *report);
NEXUS_API const char *nexus_openapi_report_detail(const nexus_openapi_report *report);
/** The findings: pointer is a JSON pointer into the body, or "query/NAME", "header/NAME", "path/NAME". */
NEXUS_API const nexus_problem_error *nexus_openapi_report_errors(const nexus_openapi_report *report, size_t *n);
NEXUS_API void nexus_openapi_report_free(nexus_openapi_report *report);

/**
 * Where readers of a merged document find an operation of a part: writes the path (a template) to out, cap bytes with its
 * NUL. false: nowhere, it is left out.
 * @param method "GET"
 * @param path   as the part has it, NUL-terminated
 */
typedef bool nexus_openapi_expose_fn(const char *part, const char *method, const char *path, char *out, size_t cap,
                                     void *user_data);

/** One document of several. All borrowed for the call. */
typedef struct nexus_openapi_part {
    size_t size;                     /**< sizeof(nexus_openapi_part) */
    const char *name;                /**< told in the document, and put before what clashes; NULL = "" */
    nexus_slice document;            /**< empty = not known */
    bool stale;                      /**< the service is not reachable now: what is here is the last that is known */
    nexus_openapi_expose_fn *expose; /**< NULL = everything, where it is */
    void *user_data;
} nexus_openapi_part;

#define NEXUS_OPENAPI_PART_INIT NEXUS_SIZED(nexus_openapi_part)
NEXUS_API void nexus_openapi_part_init(nexus_openapi_part *part);

/**
 * Makes one document of several. Of one path and method the first part's stays. An operationId, a tag, or a component
 * with another content that an earlier part has already gets its part's name and "_" in front, references follow.
 * Operations carry "x-nexus-service", and "x-nexus-stale" where their part is; "x-nexus-services" lists all parts. A part
 * that is no OpenAPI 3 document counts as not known.
 * @param out NUL-terminated; free it with nexus_free
 * @param opts title, version, description, server_url and alloc; may be NULL
 */
NEXUS_API nexus_status nexus_openapi_merge(char **out, size_t *n, const nexus_openapi_part *parts, size_t count,
                                           const nexus_openapi_opts *opts) NEXUS_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
