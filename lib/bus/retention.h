/* Which files of the log may go. Pure. */
#ifndef NEXUS_BUS_RETENTION_H
#define NEXUS_BUS_RETENTION_H

#include "wal/wal.h"

typedef struct nexus__retention {
    uint64_t max_bytes; /* of all files; 0 = any */
    int64_t max_age_ns; /* of the youngest record of a file; 0 = any */
    bool hard;          /* whether somebody still needs it or not */
} nexus__retention;

/* How many of the files, from the oldest on, are to be dropped. needed: the first position somebody has not passed;
 * saved_seq: batches before it are not needed to open the bus again. The last file stays. */
size_t nexus__retention_count(const nexus__retention *r, const nexus__wal_file *files, size_t n, uint64_t needed,
                              uint64_t saved_seq, int64_t now_ns);
/* Whether the file that is written to is due by age and should be ended, so that it can go too. */
bool nexus__retention_ends_last(const nexus__retention *r, const nexus__wal_file *last, int64_t now_ns);

/* Whether so little is left of a file system that publishing must stop. watermark 0: 5 % of it, at most 1 GiB. */
bool nexus__disk_is_low(uint64_t left, uint64_t all, uint64_t watermark);

#endif
