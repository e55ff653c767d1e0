/*
 * Reading a JSON object by a table: every known key is a row, an unknown one is an error that names the nearest.
 * Errors read "FILE:LINE:COLUMN: /json/pointer: what, and the remedy".
 */
#ifndef NEXUS_GATEWAY_LOADER_H
#define NEXUS_GATEWAY_LOADER_H

#include "base/arena.h"
#include "json/read.h"

typedef struct nexus__loader {
    const char *file;
    nexus__json *doc;
    nexus__arena *arena; /* what is read is copied here */
    nexus__buf pointer;  /* where we are */
    struct nexus__gw_config *config; /* that is being read */
} nexus__loader;

typedef nexus_status nexus__loader_fn(nexus__loader *l, uint32_t value, void *out);

enum nexus__loader_kind {
    NEXUS__LOADER_TEXT, /* nexus_slice, NUL-terminated */
    NEXUS__LOADER_BOOL, /* bool */
    NEXUS__LOADER_U32,  /* uint32_t within min and max */
    NEXUS__LOADER_I32,  /* int32_t, any */
    NEXUS__LOADER_CALL, /* read by fn, which gets a pointer to the field */
};

typedef struct nexus__loader_row {
    const char *key;
    enum nexus__loader_kind kind;
    size_t offset;
    uint32_t min, max;
    nexus__loader_fn *fn;
    bool required;
} nexus__loader_row;

nexus_status nexus__loader_object(nexus__loader *l, uint32_t value, const nexus__loader_row *rows, size_t n,
                                  void *out) NEXUS_MUST_CHECK;
nexus_status nexus__loader_text(nexus__loader *l, uint32_t value, nexus_slice *out) NEXUS_MUST_CHECK;

typedef struct nexus__text_list {
    nexus_slice *items;
    uint32_t count;
} nexus__text_list;
nexus_status nexus__loader_texts(nexus__loader *l, uint32_t value, void *out /* nexus__text_list */) NEXUS_MUST_CHECK;

typedef struct nexus__pair_list {
    nexus_pair *items;
    uint32_t count;
} nexus__pair_list;
nexus_status nexus__loader_pairs(nexus__loader *l, uint32_t value, void *out /* nexus__pair_list */) NEXUS_MUST_CHECK;

/* Fails with the position of value and the current pointer in front. */
nexus_status nexus__loader_fail(nexus__loader *l, uint32_t value, const char *format, ...) NEXUS_PRINTF(3, 4);
/* The same with the message of the failure just before. */
nexus_status nexus__loader_refuse(nexus__loader *l, uint32_t value);

/* Goes a step down, and back up to `mark`, which push returned. */
size_t nexus__loader_push(nexus__loader *l, nexus_slice step);
size_t nexus__loader_push_index(nexus__loader *l, uint32_t index);
void nexus__loader_pop(nexus__loader *l, size_t mark);

/* The candidate with the smallest edit distance. */
const char *nexus__nearest(nexus_slice word, const char *const *candidates, size_t n);

#endif
