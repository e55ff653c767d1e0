/* Looking at a log that nobody has open: every byte checked, what is bad named, and cut out when that is asked for. */
#ifndef NEXUS_WAL_INSPECT_H
#define NEXUS_WAL_INSPECT_H

#include "wal/wal.h"

typedef struct nexus__wal_finding {
    const char *file, *what;
    uint64_t at, bytes;        /* of the bad bytes in the file */
    uint64_t from_pos, to_pos; /* positions that cannot be read for it; 0, 0 = none */
} nexus__wal_finding;

typedef void nexus__wal_finding_fn(const nexus__wal_finding *finding, void *user_data);

typedef struct nexus__wal_inspection {
    uint32_t files, repaired; /* repaired: files written anew */
    uint64_t bytes, batches, records, first_pos, last_pos;
    uint64_t tail_bytes; /* of an unfinished write at the end; opening removes it, that is no damage */
    uint64_t findings;
} nexus__wal_inspection;

/*
 * Reads the log in dir from its first byte to its last, and calls fn for each finding. repair: each file with findings is
 * replaced by a copy without them; positions stay, those that are lost are NEXUS_EMISSING from then on. What is missing
 * between two files cannot be repaired. NEXUS_ECONFLICT: a process has it open. NEXUS_ENOTFOUND: no log there.
 */
nexus_status nexus__wal_inspect(const char *dir, const nexus_alloc *alloc, bool repair, nexus__wal_finding_fn *fn,
                                void *user_data, nexus__wal_inspection *out) NEXUS_MUST_CHECK;

#endif
