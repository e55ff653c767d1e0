/* Mustache templates (specification 1.4): compile once, render many times from JSON data. */
#ifndef NEXUS_TEMPLATE_H
#define NEXUS_TEMPLATE_H

#include <nexus/alloc.h>
#include <nexus/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A compiled template with its partials. Immutable: any number of threads may render it at once. */
typedef struct nexus_template nexus_template;

/** What is done to the value of a plain {{name}}; {{{name}}} and {{&name}} are never escaped. */
enum {
    NEXUS_ESCAPE_HTML = 0,    /**< & < > " ' become entities (the specification's behaviour) */
    NEXUS_ESCAPE_NONE = 1,    /**< plain text */
    NEXUS_ESCAPE_JSON = 2,    /**< inside a JSON string */
    NEXUS_ESCAPE_URL = 3,     /**< percent-encoding of all but RFC 3986 unreserved bytes */
    NEXUS_ESCAPE_SLACK = 4,   /**< & < > become entities: no mention or link can be injected */
    NEXUS_ESCAPE_DISCORD = 5, /**< Markdown marks get a backslash; @ and < cannot begin a mention */
    NEXUS_ESCAPE_LINE = 6     /**< plain text on one line (mail subjects): control characters become spaces */
};

typedef struct nexus_template_opts {
    size_t size;                /**< sizeof(nexus_template_opts) */
    const nexus_alloc *alloc;   /**< borrowed for the template's life; NULL = malloc */
    const nexus_pair *partials; /**< borrowed for the call: {name, template text} for {{>name}} and {{<name}} */
    size_t partial_count;
    bool refuse_raw;             /**< {{{name}}} and {{&name}} do not compile: for templates that strangers write */
    uint32_t depth_max;          /**< nesting of sections in the text; 0 = 64 */
    uint64_t template_bytes_max; /**< text and partials together; 0 = 1 MiB */
} nexus_template_opts;

#define NEXUS_TEMPLATE_OPTS_INIT NEXUS_SIZED(nexus_template_opts)
NEXUS_API void nexus_template_opts_init(nexus_template_opts *opts);

/**
 * Compiles a template (UTF-8 text, borrowed for the call). opts may be NULL.
 * NEXUS_EINVAL: a tag that is not closed, a section that ends another …; the message says line and column.
 * NEXUS_EPERM: a raw tag with refuse_raw. NEXUS_ETOOBIG: over a limit.
 */
NEXUS_API nexus_status nexus_template_compile(nexus_template **out, const char *text, size_t text_bytes,
                                              const nexus_template_opts *opts) NEXUS_MUST_CHECK;

typedef struct nexus_render_opts {
    size_t size;               /**< sizeof(nexus_render_opts) */
    int32_t escape;            /**< NEXUS_ESCAPE_…; 0 = HTML */
    bool strict;               /**< a name that the data lacks is NEXUS_EMISSING instead of empty text */
    uint64_t output_bytes_max; /**< 0 = 1 MiB */
    uint64_t steps_max;        /**< pieces of text and tags rendered; 0 = 1,000,000 */
    uint32_t partials_max;     /**< partials inside partials; 0 = 16 */
} nexus_render_opts;

#define NEXUS_RENDER_OPTS_INIT NEXUS_SIZED(nexus_render_opts)
NEXUS_API void nexus_render_opts_init(nexus_render_opts *opts);

/**
 * Renders with the given data, a JSON text (borrowed for the call; 0 bytes = {}). Thread-safe. opts may be NULL.
 * *out is NUL-terminated (not counted in *out_bytes, which may be NULL); free it with nexus_free.
 * NEXUS_EINVAL: the data is not JSON. NEXUS_EMISSING (strict): the message lists the missing names.
 * NEXUS_ETOOBIG: over a limit of opts, or partials that include themselves without end.
 */
NEXUS_API nexus_status nexus_template_render(char **out, size_t *out_bytes, const nexus_template *tpl, const char *data,
                                             size_t data_bytes, const nexus_render_opts *opts) NEXUS_MUST_CHECK;

/**
 * What the data lacks: renders, throws the text away and gives the missing names as a JSON array of strings, each
 * once, in order of first use ("[]" when nothing is missing). Free with nexus_free.
 */
NEXUS_API nexus_status nexus_template_missing(char **out, size_t *out_bytes, const nexus_template *tpl,
                                              const char *data, size_t data_bytes) NEXUS_MUST_CHECK;

NEXUS_API void nexus_template_free(nexus_template *tpl);

#ifdef __cplusplus
}
#endif

#endif
