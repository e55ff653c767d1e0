/* How many events and bytes were stored in each category since the owner started. Not thread-safe. */
#ifndef NEXUS_BUS_CATEGORY_H
#define NEXUS_BUS_CATEGORY_H

#include "base/str.h"

enum { NEXUS__CATEGORIES_MAX = 256, NEXUS__CATEGORY_NAME_MAX = 64 };

typedef struct nexus__category {
    char name[NEXUS__CATEGORY_NAME_MAX]; /* cut */
    size_t name_bytes;
    uint64_t events, bytes;
} nexus__category;

/* The last one is for what finds no place any more. */
typedef struct nexus__categories {
    nexus__category *list;
    size_t count, cap, last;
    const nexus_alloc *alloc;
} nexus__categories;

/* The category of a stream: its name up to the first "-". */
void nexus__categories_add(nexus__categories *c, nexus_slice stream, size_t bytes);
void nexus__categories_free(nexus__categories *c);

#endif
