/* Inside the bus: snapshots as they are stored, and the thread that writes them. */
#ifndef NEXUS_BUS_SNAPSHOT_H
#define NEXUS_BUS_SNAPSHOT_H

#include <nexus/aggregate.h>

#include "base/map.h"
#include "base/thread.h"

/* What a snapshot says about the event it stands behind; 0 = not known. */
typedef struct nexus__snapshot_mark {
    int64_t version;
    uint64_t pos, id_hash;
} nexus__snapshot_mark;

struct nexus_snapshot {
    const nexus_alloc *alloc;
    nexus__snapshot_mark mark;
    size_t n;
    char state[];
};

typedef struct nexus__snapshot_job nexus__snapshot_job;

typedef struct nexus__snapshots {
    pthread_mutex_t lock;
    pthread_cond_t work;
    /* locked */
    nexus__map kept; /* of a bus without a directory */
    nexus__snapshot_job *first, **last;
    uint32_t waiting;
    bool closing, started;
    pthread_t thread;
} nexus__snapshots;

void nexus__snapshots_init(nexus__snapshots *s, const nexus_alloc *alloc);
/* Writes what waits, ends the thread. */
void nexus__snapshots_end(nexus_bus *bus);

uint64_t nexus__snapshot_id_hash(const nexus_event *e);
nexus_status nexus__snapshot_write(nexus_bus *bus, const char *stream, uint32_t rev, const nexus__snapshot_mark *mark,
                                   nexus_slice state) NEXUS_MUST_CHECK;
/* The same on the thread; false when too many wait: the next load tries again. */
bool nexus__snapshot_write_later(nexus_bus *bus, const char *stream, uint32_t rev, const nexus__snapshot_mark *mark,
                                 nexus_slice state);

#endif
