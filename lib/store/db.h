/* A database handle from the inside: for db.c, transaction.c and migrate.c. */
#ifndef NEXUS_STORE_DB_H
#define NEXUS_STORE_DB_H

#include "store/driver.h"
#include "store/pool.h"

/*
 * Three kinds of handle share the type:
 *   a pool        link NULL; every call takes a connection for itself
 *   adopted       link is the caller's, borrowed
 *   transaction   link belongs to the parent's pool (outermost, from_pool) or is the parent's own
 */
struct nexus_db {
    const nexus__db_ops *ops;
    nexus__db_config config;
    uint32_t acquire_timeout_ms;
    nexus__pool writers, readers; /* readers only when the engine tells the two apart (split) */
    bool split;

    void *link;
    nexus_db *parent;    /* of a transaction */
    bool from_pool;      /* link returns to parent->writers at the end */
    uint32_t depth;      /* savepoints: 1 and up; 0 = a transaction proper, or none */
    nexus_status failed; /* of the first statement that failed in this transaction */
};

/* A connection for one piece of work on any kind of handle; end with nexus__db_release. */
nexus_status nexus__db_acquire(nexus_db *db, bool writer, void **link);
void nexus__db_release(nexus_db *db, bool writer, void *link);

/* NEXUS_EDEADLK on a loop thread, NEXUS_ECANCELED in a transaction that has failed. */
nexus_status nexus__db_refuse(const nexus_db *db);

#endif
