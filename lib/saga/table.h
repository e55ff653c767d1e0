/* The copied tables of a saga: its steps, by version, and what all versions share. */
#ifndef NEXUS_SAGA_TABLE_H
#define NEXUS_SAGA_TABLE_H

#include <nexus/saga.h>

#include "base/buf.h"

enum { NEXUS__SAGA_STEPS_MAX = 64, NEXUS__SAGA_STEP_NAME_MAX = 64, NEXUS__SAGA_NAME_MAX = 40 };

typedef struct nexus__saga_table {
    uint32_t version;
    nexus_saga_step *steps; /* strings point into memory of their own */
    size_t step_count;
} nexus__saga_table;

typedef struct nexus__saga_type {
    const nexus_alloc *alloc;
    char *name;
    nexus__saga_table *tables; /* [0] is that of new instances */
    size_t table_count;
    char *start_types, *key, *done_type, *failed_type;
    char control_type[64], stuck_type[64]; /* "saga.NAME.control", "saga.NAME.stuck" */
    uint32_t timeout_ms, early, early_attempts, early_backoff_ms;
    void *user_data;
} nexus__saga_type;

/* Frees nothing on failure: nexus__saga_type_free does, also of a half-made one. */
nexus_status nexus__saga_type_init(nexus__saga_type *t, const char *name, const nexus_saga_step *steps,
                                   size_t step_count, const nexus_saga_opts *opts) NEXUS_MUST_CHECK;
void nexus__saga_type_free(nexus__saga_type *t);
const nexus__saga_table *nexus__saga_type_table(const nexus__saga_type *t, uint32_t version); /* NULL: none */
/* Whether a name can be one of a saga; names of streams and event types are made of it. */
nexus_status nexus__saga_name_check(const char *name) NEXUS_MUST_CHECK;
/* Patterns of every event that starts or moves an instance, comma-separated and NUL-terminated. */
void nexus__saga_type_patterns(const nexus__saga_type *t, nexus__buf *out);
/* Whether a comma-separated list of patterns has one that matches. */
bool nexus__saga_listed(const char *patterns, nexus_slice type);
/* What is done with an event that nothing waits for yet. */
uint32_t nexus__saga_early(const nexus__saga_type *t, nexus_slice event_type);

#endif
