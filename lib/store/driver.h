/*
 * What a database driver is: an ops table over a "link", one connection. db.c is its only caller and supplies
 * defaults, pooling and the rules of transactions; a link is used by one thread at a time.
 */
#ifndef NEXUS_STORE_DRIVER_H
#define NEXUS_STORE_DRIVER_H

#include <nexus/db.h>
#include <poll.h>

#include "store/rows.h"

typedef struct nexus__db_config {
    const nexus_alloc *alloc;
    const char *address; /* what follows "sqlite:", or the whole URL for postgres */
    const char *schema;  /* or NULL */
    uint32_t connect_timeout_ms, busy_timeout_ms, statements;
    uint64_t rows_max_bytes;
} nexus__db_config;

/* What run answers when a reading link was given a statement that writes: ask again on a writing link. */
#define NEXUS__DB_WANTS_WRITER ((nexus_status)1)

typedef struct nexus__db_ops {
    size_t size;
    const char *kind;
    const char *begin; /* the statement that begins a transaction */
    nexus_status (*open)(void **link, const nexus__db_config *config, bool writer);
    nexus_status (*adopt)(void **link, const nexus__db_config *config, void *native);
    void (*close)(void *link);
    bool (*alive)(void *link);          /* may it be used again? asked when it leaves the pool and when it returns */
    bool (*in_transaction)(void *link); /* a failed transaction that waits for its rollback counts */
    /* One statement. rows NULL: its rows are dropped. changes may be NULL. */
    nexus_status (*run)(void *link, const char *sql, const nexus_value *args, size_t n, nexus_rows *rows,
                        int64_t *changes);
    nexus_status (*script)(void *link, const char *sql); /* several statements, no parameters */
    nexus_status (*commit)(void *link);                  /* the outermost transaction */
    nexus_status (*lock)(void *link, const char *name);  /* one process at a time, until the transaction ends */
    /* As nexus__db_wait; NULL: no notifications. */
    nexus_status (*wait)(void *link, struct pollfd *fds, size_t n, int timeout_ms, bool *notified);
} nexus__db_ops;

extern const nexus__db_ops nexus__sqlite_ops;
extern const nexus__db_ops nexus__postgres_ops;

#endif
