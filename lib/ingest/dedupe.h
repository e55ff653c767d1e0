/*
 * Which ids were seen: 128-bit fingerprints in two generations of an open-addressed set. New ids go to the current
 * generation; when it has filled half the budget or grown older than the window, it becomes the previous one and the
 * one before is forgotten. So an id is remembered for at least the window, or while fewer than half the budget came
 * after it. Filled again from the log at open. Not thread-safe.
 */
#ifndef NEXUS_INGEST_DEDUPE_H
#define NEXUS_INGEST_DEDUPE_H

#include "base/hash.h"
#include "base/str.h"

typedef struct nexus__print {
    uint64_t a, b; /* both 0 = free slot */
} nexus__print;

typedef struct nexus__prints {
    nexus__print *slots;
    size_t count, cap;
} nexus__prints;

typedef struct nexus__dedupe {
    nexus__prints now, before;
    int64_t since_ms; /* when the current generation began */
    int64_t window_ms;
    size_t half; /* ids of one generation at most */
    nexus__hash_key key_a, key_b;
    const nexus_alloc *alloc;
} nexus__dedupe;

void nexus__dedupe_init(nexus__dedupe *d, const nexus_alloc *alloc, int64_t window_ms, size_t max);
void nexus__dedupe_free(nexus__dedupe *d);
nexus__print nexus__dedupe_print(const nexus__dedupe *d, nexus_slice id);
bool nexus__dedupe_has(const nexus__dedupe *d, nexus__print print);
/* Remembers; turns the generation when it is time. NEXUS_ENOMEM leaves the set as it was. */
nexus_status nexus__dedupe_add(nexus__dedupe *d, nexus__print print, int64_t now_ms) NEXUS_MUST_CHECK;
/* Forgets what was just added and did not reach the log. */
void nexus__dedupe_remove(nexus__dedupe *d, nexus__print print);
size_t nexus__dedupe_count(const nexus__dedupe *d);

#endif
