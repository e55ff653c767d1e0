/*
 * A routes file as a list of entries, so that one of them can be changed without touching the text of the others.
 *
 * Its top-level arrays and objects are collections: routes by "id" (as the loader names those without), everything else
 * by name. An entry keeps the very bytes it was written with. Pure: no gateway in it.
 */
#ifndef NEXUS_GATEWAY_OUTLINE_H
#define NEXUS_GATEWAY_OUTLINE_H

#include "base/arena.h"
#include "json/read.h"
#include "json/write.h"

typedef struct nexus__outline_entry {
    nexus_slice id, text;
} nexus__outline_entry;

typedef struct nexus__outline_collection {
    nexus_slice name;
    bool array;
    nexus__outline_entry *entries;
    uint32_t count, cap;
} nexus__outline_collection;

enum { NEXUS__OUTLINE_COLLECTIONS = 32 };

typedef struct nexus__outline {
    nexus__json doc;
    nexus__arena arena;
    nexus__outline_collection collections[NEXUS__OUTLINE_COLLECTIONS];
    uint32_t count;
    nexus__outline_entry plain[NEXUS__OUTLINE_COLLECTIONS]; /* members that are no collections */
    uint32_t plain_count;
} nexus__outline;

/* text must outlive the outline. Free it whatever the status. */
nexus_status nexus__outline_read(nexus__outline *out, nexus_slice text, const nexus_alloc *alloc) NEXUS_MUST_CHECK;
void nexus__outline_free(nexus__outline *o);

const nexus__outline_entry *nexus__outline_find(const nexus__outline *o, nexus_slice collection, nexus_slice id);
/* Replaces the entry in its place or adds it at the end; the slices are borrowed. NEXUS_EINVAL: the entry of an array has
 * another id, or is no object. */
nexus_status nexus__outline_put(nexus__outline *o, nexus_slice collection, nexus_slice id,
                                nexus_slice text) NEXUS_MUST_CHECK;
/* NEXUS_ENOTFOUND. */
nexus_status nexus__outline_remove(nexus__outline *o, nexus_slice collection, nexus_slice id) NEXUS_MUST_CHECK;

/* The whole file, an entry a line. */
void nexus__outline_write(const nexus__outline *o, nexus__buf *out);
/* [{"change":"added|removed|changed","collection","id","from","to"}, …], in the order of `to`, removed ones last. */
void nexus__outline_diff(const nexus__outline *from, const nexus__outline *to, nexus__json_writer *w);

/* An entry's ETag with its quotes: changes whenever its text does. */
enum { NEXUS__ETAG_MAX = 40 };
void nexus__outline_etag(nexus_slice text, char out[static NEXUS__ETAG_MAX]);

#endif
