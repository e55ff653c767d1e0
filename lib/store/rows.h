/* The rows of a query while a driver fills them. */
#ifndef NEXUS_STORE_ROWS_H
#define NEXUS_STORE_ROWS_H

#include <nexus/db.h>

#include "base/arena.h"

struct nexus_rows {
    const nexus_alloc *alloc;
    nexus__arena *arena; /* names and bytes; &memory */
    nexus__arena memory;
    const char **names;
    nexus_value *cells; /* count * columns */
    size_t columns, count, cap;
    size_t at; /* 1-based row that the reader stands on; 0 = before the first */
    uint64_t bytes, max_bytes;
};

nexus_rows *nexus__rows_new(const nexus_alloc *alloc, uint64_t max_bytes); /* NULL: out of memory */
/* Once, before the first row. */
nexus_status nexus__rows_set_columns(nexus_rows *rows, size_t columns);
nexus_status nexus__rows_set_name(nexus_rows *rows, size_t column, const char *name);
/* Appends a row of NULLs; *cells is valid until the next one. */
nexus_status nexus__rows_add(nexus_rows *rows, nexus_value **cells);
/* Sets a text or blob cell to a copy of n bytes. */
nexus_status nexus__rows_set_bytes(nexus_rows *rows, nexus_value *cell, uint32_t type, const void *p, size_t n);

#endif
