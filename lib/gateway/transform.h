/*
 * Changes of a JSON document, declared: set, remove, rename, pick, map.
 *
 * All operations are one edit of the document as it came, not a row of steps: paths (RFC 6901) name places of the
 * original, and two operations that contradict each other are an error when they are read. They become a tree of names;
 * one walk along it copies the runs of bytes between the places it changes. An operation whose place is not there does
 * nothing; only `set` makes what is missing.
 */
#ifndef NEXUS_GATEWAY_TRANSFORM_H
#define NEXUS_GATEWAY_TRANSFORM_H

#include "gateway/loader.h"
#include "gateway/pattern.h"
#include "json/write.h"

enum { NEXUS__TRANSFORM_DEPTH = 32, NEXUS__TRANSFORM_NAMES = 64 };

typedef struct nexus__transform_node nexus__transform_node;

typedef struct nexus__transform {
    nexus__transform_node *root;
    uint32_t count; /* of operations, those inside map included */
} nexus__transform;

/* Reads an array of operations; out is a nexus__transform. */
nexus__loader_fn nexus__transform_load;
/* Calls fn for each pattern that is used, until it fails. */
typedef nexus_status nexus__transform_pattern_fn(const nexus__pattern *pattern, void *context);
nexus_status nexus__transform_patterns(const nexus__transform *t, nexus__transform_pattern_fn *fn,
                                       void *context) NEXUS_MUST_CHECK;

/* The text of a pattern now; .p NULL: out of memory. */
typedef nexus_slice nexus__transform_text_fn(void *context, const nexus__pattern *pattern);
/* Appends the changed document to out; whether that went well is out->status. */
void nexus__transform_apply(const nexus__transform *t, nexus__json *doc, nexus__transform_text_fn *text, void *context,
                            nexus__buf *out);

#endif
