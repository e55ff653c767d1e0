/* Inside the bus: a projection, its threads, its tables. */
#ifndef NEXUS_BUS_PROJECTION_H
#define NEXUS_BUS_PROJECTION_H

#include <nexus/projection.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "base/thread.h"

/* reader.c: whether more events of the same position are to come. */
bool nexus__reader_pending(const nexus_reader *r);

/* A thread's place in the log: one of `parts` shares of the keys of one generation. */
typedef struct nexus__projector {
    nexus_projection *projection;
    uint32_t generation, part, parts;
    bool rebuild;
    nexus_reader *reader; /* NULL: opened behind pos when needed */
    uint64_t to;          /* 0 = no bound */
    _Atomic uint64_t pos; /* committed */
    pthread_t thread;
    bool started;
} nexus__projector;

struct nexus_projection_tx {
    nexus_projection *projection;
    nexus_db *db;
    uint32_t generation;
    bool rebuild;
    nexus_rows *rows; /* of the last fetch */
};

struct nexus_projection {
    nexus_bus *bus;
    nexus_projection_opts opts; /* its texts point into `texts` */
    nexus__buf texts;
    char *name;
    nexus_db *db, *own_db;
    nexus__projector live;
    nexus__projector *parts; /* of a rebuild */
    uint32_t part_count;
    atomic_bool stop_parts, closing;
    _Atomic uint64_t events, rejected;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* locked */
    bool wants_rebuild, rebuilding;
    uint32_t shadow;
    nexus_status error;
};

/* --- projection_table.c: the rows; all with the projection's name ---- */

nexus_status nexus__projection_prepare(nexus_db *db) NEXUS_MUST_CHECK;
/* The live generation, 0 = none. */
nexus_status nexus__projection_read_live(nexus_projection *p, nexus_db *db, uint32_t *generation, uint32_t *version,
                                         uint64_t *pos) NEXUS_MUST_CHECK;
/* Makes generation 1 live at position 0, unless another process does so now. */
nexus_status nexus__projection_make_live(nexus_projection *p) NEXUS_MUST_CHECK;
/* Resumes the shadow of this version or makes one; fills p->parts. */
nexus_status nexus__projection_make_shadow(nexus_projection *p) NEXUS_MUST_CHECK;
/* Moves a checkpoint; NEXUS_ESTALE: it is not where it should be, another process has moved it. */
nexus_status nexus__projection_move(nexus_projection *p, nexus_db *tx, const nexus__projector *w,
                                    uint64_t to) NEXUS_MUST_CHECK;
nexus_status nexus__projection_read_pos(nexus_projection *p, const nexus__projector *w, uint64_t *pos) NEXUS_MUST_CHECK;
/* The shadow becomes live at pos, what was live goes. */
nexus_status nexus__projection_swap(nexus_projection *p, uint64_t pos) NEXUS_MUST_CHECK;

/* --- projection.c ---- */

/* One batch: NEXUS_OK when it moved, NEXUS_EDONE at the end of the log. */
nexus_status nexus__projector_batch(nexus__projector *w, uint32_t wait_ms) NEXUS_MUST_CHECK;
void nexus__projector_rest(nexus__projector *w, uint32_t ms);

/* --- projection_rebuild.c ---- */

nexus_status nexus__projection_begin_rebuild(nexus_projection *p) NEXUS_MUST_CHECK;
/* Puts the shadow in place when all its threads are near; on the live thread. */
void nexus__projection_look_at_rebuild(nexus_projection *p);
void nexus__projection_end_parts(nexus_projection *p);

#endif
