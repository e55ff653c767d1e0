/* The last texts that were in force. */
#ifndef NEXUS_GATEWAY_HISTORY_H
#define NEXUS_GATEWAY_HISTORY_H

#include "base/buf.h"

enum { NEXUS__HISTORY_MAX = 10, NEXUS__ORIGIN_MAX = 96 };

typedef struct nexus__history_entry {
    uint64_t version; /* 0 = nothing here */
    int64_t at_ms;    /* Unix time */
    char origin[NEXUS__ORIGIN_MAX];
    char *text;
    size_t n;
} nexus__history_entry;

typedef struct nexus__history {
    nexus__history_entry entries[NEXUS__HISTORY_MAX]; /* version % NEXUS__HISTORY_MAX */
} nexus__history;

/* Copies; out of memory, the version is left out. */
void nexus__history_add(nexus__history *h, uint64_t version, const char *origin, nexus_slice text,
                        const nexus_alloc *alloc);
/* NULL: not kept any more, or never there. */
const nexus__history_entry *nexus__history_find(const nexus__history *h, uint64_t version);
/* [{"version","at","origin","bytes"}, …], the newest first. */
void nexus__history_list(const nexus__history *h, nexus__buf *out);
void nexus__history_free(nexus__history *h, const nexus_alloc *alloc);

#endif
