/* The prepared statements of one connection, by their text; the least recently used makes room. */
#ifndef NEXUS_STORE_STATEMENTS_H
#define NEXUS_STORE_STATEMENTS_H

#include "base/list.h"
#include "base/map.h"

typedef struct nexus__statement {
    nexus__list node;
    nexus_slice sql;
    void *handle;  /* the driver's */
    uint64_t name; /* unique within the connection, never reused */
} nexus__statement;

typedef struct nexus__statements {
    nexus__map map;
    nexus__list recent; /* least recently used first */
    size_t max;
    uint64_t names;
    const nexus_alloc *alloc;
    void (*drop)(void *link, nexus__statement *); /* ends the driver's handle */
    void *link;
} nexus__statements;

void nexus__statements_init(nexus__statements *s, const nexus_alloc *alloc, size_t max,
                            void (*drop)(void *link, nexus__statement *), void *link);
void nexus__statements_free(nexus__statements *s);
nexus__statement *nexus__statements_get(nexus__statements *s, const char *sql); /* NULL: not there */
/* Makes a place for it; NULL: out of memory. */
nexus__statement *nexus__statements_add(nexus__statements *s, const char *sql);
void nexus__statements_remove(nexus__statements *s, nexus__statement *statement);

#endif
