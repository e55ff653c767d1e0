/* Sealed values in the columns of a database: what each key protects, sealing again, letting go of a key. */
#ifndef NEXUS_AUTH_SEALED_H
#define NEXUS_AUTH_SEALED_H

#include <nexus/db.h>

#include "auth/ring.h"

/* A value's context is before, the row's key, after. */
typedef struct nexus__sealed_column {
    const char *table, *key, *column, *before, *after;
} nexus__sealed_column;

/* All that one ring seals in one database. */
typedef struct nexus__sealed {
    nexus_db *db;
    nexus_secrets *secrets;
    const nexus__sealed_column *columns;
    size_t count;
} nexus__sealed;

/*
 * Whoever seals a value does it in the transaction that writes it, after this: who retires a key waits for him, and looks
 * for values after he has committed.
 */
nexus_status nexus__sealed_enter(nexus_db *tx) NEXUS_MUST_CHECK;

/* {"keys":[{"kid","state","tenant","values"}]}; a key that values name and the ring has not is "missing". */
nexus_status nexus__sealed_list(const nexus__sealed *set, char **json, size_t *n) NEXUS_MUST_CHECK;
/* Seals at most `batch` values again that older keys sealed; *resealed 0: none is left that opens. */
nexus_status nexus__sealed_again(const nexus__sealed *set, uint32_t batch, uint32_t *resealed) NEXUS_MUST_CHECK;
/* Seals one value again, at its use, if an older key sealed it. What fails is left to the next use. */
void nexus__sealed_at_use(const nexus__sealed *set, const nexus__sealed_column *column, nexus_slice key,
                          nexus_slice sealed);
/* Takes a key out that nothing is sealed with. NEXUS_ECONFLICT: something is. */
nexus_status nexus__sealed_retire(const nexus__sealed *set, const char *kid) NEXUS_MUST_CHECK;

#endif
