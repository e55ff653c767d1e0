/*
 * The JSON scanner (RFC 8259): one pass over the bytes that validates them and leaves positions, never a
 * tree.
 *
 * A document is a flat array of nodes in text order; a container is followed by its children (an object by
 * member name, value, member name, value …) and knows the node behind its last one. Read it with json/read.h.
 * The text is borrowed: it must outlive the document's use. A document is reused: once warm, a scan allocates
 * nothing. Not thread-safe while scanning; a scanned document may be read by many threads through functions
 * that take it const.
 */
#ifndef NEXUS_JSON_SCAN_H
#define NEXUS_JSON_SCAN_H

#include "base/arena.h"
#include "base/hash.h"
#include "base/str.h"

typedef enum nexus__json_type {
    NEXUS__JSON_ABSENT = 0, /* of NEXUS__JSON_NONE */
    NEXUS__JSON_NULL = 1,
    NEXUS__JSON_FALSE = 2,
    NEXUS__JSON_TRUE = 3,
    NEXUS__JSON_INT = 4,  /* a number without fraction and exponent, of any length */
    NEXUS__JSON_REAL = 5, /* any other number */
    NEXUS__JSON_STRING = 6,
    NEXUS__JSON_ARRAY = 7,
    NEXUS__JSON_OBJECT = 8,
} nexus__json_type;

#define NEXUS__JSON_TEXT_MAX ((size_t)0x0fffffff) /* bytes of text that positions can name */
#define NEXUS__JSON_NONE UINT32_MAX               /* a node that is not there; every reader function accepts it */
#define NEXUS__JSON_TYPE_MASK 15u
#define NEXUS__JSON_ESCAPED 16u /* a string with at least one backslash */
#define NEXUS__JSON_COUNT_SHIFT 5

typedef struct nexus__json_node {
    uint32_t start, end; /* [start, end) in the text; a string's quotes included */
    uint32_t next;       /* the node behind this value and all it holds */
    uint32_t info;       /* type, NEXUS__JSON_ESCAPED, and members or elements << NEXUS__JSON_COUNT_SHIFT */
} nexus__json_node;

typedef struct nexus__json {
    nexus_slice text;
    nexus__json_node *nodes; /* [0] is the whole value */
    uint32_t count, cap;
    size_t error_at;      /* byte offset where the last scan failed */
    nexus__arena decoded; /* strings without their escapes; reset by the next scan */
    uint32_t *seen;       /* scratch of the duplicate check */
    uint32_t seen_cap;
    nexus__hash_key seen_key;
    const nexus_alloc *alloc;
} nexus__json;

typedef struct nexus__json_limits {
    bool lenient;         /* accept duplicate members, \u0000 and lone surrogates (read as U+FFFD) */
    uint32_t max_depth;   /* open containers; 0 = 128 */
    uint32_t max_nodes;   /* names and values together; 0 = as many as the text holds */
    uint32_t max_members; /* of one object; 0 = no limit */
    size_t max_bytes;     /* of text; 0 = NEXUS__JSON_TEXT_MAX */
} nexus__json_limits;

void nexus__json_init(nexus__json *doc, const nexus_alloc *alloc);
void nexus__json_free(nexus__json *doc); /* back to initialised */

/* Scans exactly one value with white space around it. limits NULL = strict with the defaults. NEXUS_EINVAL
 * (not JSON; the message begins "line L, column C: "), NEXUS_ETOOBIG (a limit) or NEXUS_ENOMEM; doc->error_at
 * then says where. */
nexus_status nexus__json_scan(nexus__json *doc, nexus_slice text, const nexus__json_limits *limits) NEXUS_MUST_CHECK;

/* Line and column (both from 1, columns in code points) of a byte offset. */
void nexus__json_position(nexus_slice text, size_t at, uint32_t *line, uint32_t *column);

#endif
