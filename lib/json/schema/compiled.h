/*
 * What the parts of the schema validator share.
 *
 * A document is one schema text (the caller's, a remote, the standard's meta-schema). Its resources are the places
 * with an "$id" (and the root); each has a URI that references are resolved against. A schema (nexus__schema_node)
 * is compiled from one place of a document into a list of checks; a check is a function, the types it is about, and
 * what it needs. Compiling goes through a work list, so that no chain of references can exhaust the stack.
 */
#ifndef NEXUS_JSON_SCHEMA_COMPILED_H
#define NEXUS_JSON_SCHEMA_COMPILED_H

#include <nexus/schema.h>

#include "base/map.h"
#include "regex/regex.h"
#include "json/decimal.h"
#include "json/read.h"

typedef struct nexus__schema_node nexus__schema_node;
typedef struct nexus__schema_check nexus__schema_check;
typedef struct nexus__schema_run nexus__schema_run;
typedef struct nexus__schema_level nexus__schema_level;

typedef struct nexus__schema_anchor { /* a "$dynamicAnchor" */
    struct nexus__schema_anchor *next;
    nexus_slice name;
    uint32_t at;
    nexus__schema_node *target;
} nexus__schema_anchor;

typedef struct nexus__schema_document nexus__schema_document;

typedef struct nexus__schema_resource {
    struct nexus__schema_resource *next; /* of all in this schema */
    nexus_slice uri;                     /* without fragment */
    nexus__schema_document *doc;
    uint32_t root;
    nexus__schema_anchor *anchors;
    bool no_validation; /* "$schema" names a dialect without the validation vocabulary */
    bool assert_format;
} nexus__schema_resource;

struct nexus__schema_document {
    nexus__schema_document *next;
    nexus_slice uri;
    nexus__json json;
    nexus__schema_resource **resources; /* by node; NULL where no schema was seen */
    nexus__schema_node **nodes;         /* by node; NULL where none was asked for */
};

typedef bool nexus__schema_check_fn(nexus__schema_run *run, const nexus__schema_check *check,
                                    nexus__schema_level *level);
typedef bool nexus__format_fn(nexus_slice text);

typedef struct nexus__schema_pattern {
    nexus__regex *regex;
    nexus_slice text;
    const nexus__schema_node *schema;
} nexus__schema_pattern;

typedef struct nexus__schema_name { /* a row of "properties" and of "dependent…" */
    nexus_slice name;
    const nexus__schema_node *schema;
    const nexus_slice *names; /* of dependentRequired */
    uint32_t name_count;
} nexus__schema_name;

struct nexus__schema_check {
    nexus__schema_check *next;
    nexus__schema_check_fn *fn;
    uint32_t types; /* bits 1 << nexus__json_type that it is about */
    const char *keyword;
    union {
        uint32_t mask; /* type */
        uint64_t limit;
        struct {
            nexus__decimal value;
            nexus_slice text;
        } number;
        struct {
            const nexus__schema_document *doc;
            uint32_t at;
        } value; /* const, enum */
        struct {
            const nexus_slice *names;
            uint32_t count;
        } required;
        nexus__schema_pattern pattern;
        struct {
            nexus__format_fn *fn;
            nexus_slice name;
        } format;
        struct {
            const nexus__schema_node **schemas;
            uint32_t count;
        } list; /* allOf, anyOf, oneOf */
        struct {
            const nexus__schema_node *schema, *then, *otherwise;
            uint64_t min, max; /* contains */
            uint32_t from;     /* items: after prefixItems */
        } one;
        struct {
            const nexus__schema_node *schema;
            nexus_slice anchor;
        } dynamic;
        struct {
            nexus__map *names; /* of nexus__schema_name */
            const nexus__schema_pattern *patterns;
            uint32_t pattern_count;
            const nexus__schema_node *additional;
        } members;
        struct {
            const nexus__schema_name *rows;
            uint32_t count;
        } dependent;
    };
};

struct nexus__schema_node {
    nexus__schema_node *next; /* in the work list */
    nexus__schema_document *doc;
    nexus__schema_resource *resource;
    uint32_t at;
    bool always, never; /* true and false as schemas */
    bool unevaluated;   /* has unevaluatedProperties or unevaluatedItems */
    nexus__schema_check *checks, **last;
};

typedef struct nexus__schema_regex { /* a list of what must be freed one by one */
    struct nexus__schema_regex *next;
    nexus__regex *regex;
} nexus__schema_regex;

typedef struct nexus__schema_map {
    struct nexus__schema_map *next;
    nexus__map map;
} nexus__schema_map;

struct nexus_schema {
    nexus__arena arena;
    const nexus_alloc *alloc;
    nexus__schema_document *documents;
    nexus__schema_resource *resources;
    nexus__map places; /* "uri" and "uri#anchor" to nexus__schema_place */
    nexus__schema_regex *regexes;
    nexus__schema_map *maps;
    nexus__schema_node *root;
    uint32_t errors_max, depth_max;
};

typedef struct nexus__schema_place {
    nexus__schema_resource *resource;
    uint32_t at;
} nexus__schema_place;

/* While compiling. */
typedef struct nexus__schema_compiler {
    nexus_schema *schema;
    const nexus_schema_opts *opts;
    nexus__schema_node *work, **work_last;
    uint64_t bytes_max;
} nexus__schema_compiler;

/* collect.c. Scans a text as a document and finds its resources and anchors. The text is copied. */
nexus_status nexus__schema_document_add(nexus__schema_compiler *c, nexus_slice uri, nexus_slice text,
                                        nexus__schema_document **out) NEXUS_MUST_CHECK;
/* Where a reference found in `from` leads; NEXUS_ENOTFOUND when nowhere. */
nexus_status nexus__schema_resolve(nexus__schema_compiler *c, const nexus__schema_resource *from, nexus_slice reference,
                                   nexus__schema_place *out) NEXUS_MUST_CHECK;
/* A string of a document, decoded into the schema's arena. */
nexus_status nexus__schema_text(nexus__schema_compiler *c, const nexus__json *json, uint32_t v,
                                nexus_slice *out) NEXUS_MUST_CHECK;

/* compile.c. The schema at a place, now or later compiled; NULL when out of memory. */
nexus__schema_node *nexus__schema_node_at(nexus__schema_compiler *c, nexus__schema_document *doc, uint32_t at);

/* meta.c. The standard's own schemas by URI; false when it is none of them. */
bool nexus__schema_meta(nexus_slice uri, nexus_slice *text);

/* format.c. NULL when the format is not known. */
nexus__format_fn *nexus__format_find(nexus_slice name);

/* check.c: the functions that checks point to. */
nexus__schema_check_fn nexus__check_type, nexus__check_const, nexus__check_enum, nexus__check_minimum,
    nexus__check_maximum, nexus__check_exclusive_minimum, nexus__check_exclusive_maximum, nexus__check_multiple_of,
    nexus__check_min_length, nexus__check_max_length, nexus__check_pattern, nexus__check_format, nexus__check_min_items,
    nexus__check_max_items, nexus__check_unique_items, nexus__check_min_properties, nexus__check_max_properties,
    nexus__check_required, nexus__check_dependent_required, nexus__check_members, nexus__check_property_names,
    nexus__check_dependent_schemas, nexus__check_prefix_items, nexus__check_items, nexus__check_contains,
    nexus__check_all_of, nexus__check_any_of, nexus__check_one_of, nexus__check_not, nexus__check_if, nexus__check_ref,
    nexus__check_dynamic_ref, nexus__check_unevaluated_items, nexus__check_unevaluated_properties;

/* Checks a value of a scanned document; findings go to *report (may be NULL) as nexus_schema_check says. */
nexus_status nexus__schema_check_value(const nexus_schema *schema, const nexus__json *doc, uint32_t v,
                                       nexus_schema_report **report) NEXUS_MUST_CHECK;

/* report.c */
nexus_status nexus__schema_report_new(nexus_schema_report **out, const nexus_alloc *alloc,
                                      uint32_t errors_max) NEXUS_MUST_CHECK;
/* A finding at v. child, when it has a name, is the member of v that is missing. */
void nexus__schema_report_add(nexus_schema_report *report, const nexus__json *doc, uint32_t v, nexus_slice child,
                              const char *keyword, const char *detail);
/* NEXUS_EINVAL with the first finding as the thread's message; NEXUS_ENOMEM when findings were lost. NULL is fine. */
nexus_status nexus__schema_report_fail(const nexus_schema_report *report);
/* The report of a text that the scanner refused (its words are the thread's message): NEXUS_EPROTO or NEXUS_ENOMEM. */
nexus_status nexus__schema_report_syntax(const nexus__json *doc, const nexus_alloc *alloc, nexus_schema_report **report);

#endif
