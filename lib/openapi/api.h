/* What the parts of openapi/ share: the rows, copied and compiled. */
#ifndef NEXUS_OPENAPI_API_H
#define NEXUS_OPENAPI_API_H

#include <nexus/openapi.h>
#include <nexus/schema.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/map.h"
#include "json/read.h"

typedef enum nexus__openapi_kind { /* how a parameter's text becomes JSON */
                                   NEXUS__OPENAPI_TEXT,
                                   NEXUS__OPENAPI_NUMBER,
                                   NEXUS__OPENAPI_BOOL,
} nexus__openapi_kind;

typedef struct nexus__openapi_param {
    nexus_slice name, in, description, schema_text;
    bool required, list; /* list: an array, its elements between commas */
    nexus__openapi_kind kind;
    nexus_schema *schema;
} nexus__openapi_param;

typedef struct nexus__openapi_reply {
    uint16_t status;
    nexus_slice description, schema_text;
} nexus__openapi_reply;

typedef struct nexus__openapi_operation {
    struct nexus__openapi_operation *next;      /* in the order of the rows */
    struct nexus__openapi_operation *same_path; /* the next one under the same path of the document */
    bool path_written;
    nexus_slice key; /* "POST /orders/{id:int}" */
    nexus_slice method, path, id, summary, tag, roles, permission;
    nexus_slice template; /* the path as OpenAPI has it: "/orders/{id}" */
    nexus_slice body_text, body_types;
    bool takes_body, body_optional;
    nexus_schema *body;
    nexus__openapi_param *params;
    size_t param_count;
    nexus__openapi_reply *replies;
    size_t reply_count;
} nexus__openapi_operation;

struct nexus_openapi {
    nexus__arena arena;
    const nexus_alloc *alloc;
    nexus__openapi_operation *first, **last;
    size_t count;
    nexus__map operations; /* by key */
    nexus_slice document;
};

/* openapi.c: compiles a schema of an operation; a mistake is told with its name. schema NULL: only to see that it is one. */
nexus_status nexus__openapi_compile(nexus_openapi *api, const nexus__openapi_operation *op, nexus_slice text,
                                    const char *what, nexus_schema **schema) NEXUS_MUST_CHECK;
/* How the text of a parameter with this schema becomes JSON. */
void nexus__openapi_read_kind(const nexus__json *doc, uint32_t schema, nexus__openapi_param *param);
/* document.c */
nexus_status nexus__openapi_write(nexus_openapi *api, const nexus_openapi_opts *opts) NEXUS_MUST_CHECK;

#endif
