/*
 * Engines: what a bus URL stands for. An engine keeps the log (an ops table of wal/) and says how the processes that do
 * not own it reach the one that does. Publishing, groups, lanes, dead letters are the broker's, whatever the engine.
 */
#ifndef NEXUS_BUS_ENGINE_H
#define NEXUS_BUS_ENGINE_H

#include <nexus/bus.h>

#include "bus/server.h"
#include "wal/wal.h"

/* Carries connections of other processes to the owner's server, where they cannot reach a socket of it. */
typedef struct nexus__bus_porter nexus__bus_porter;

typedef struct nexus__bus_engine {
    const char *scheme; /* what URLs begin with */
    uint64_t caps;      /* NEXUS_CAP_DURABLE is the log's to say */
    const char *suffix; /* not NULL: what follows the scheme, and this, is a directory for the lock and the socket */
    const char *left_out; /* its library was not there at build time: the package of it */
    /* The log; NULL: files, or memory. */
    nexus_status (*open_log)(nexus__wal_engine **out, const char *url, const nexus_alloc *alloc);
    /* The owner lets others in; server is borrowed until the porter is closed. NULL: a socket in the directory, or nobody. */
    nexus_status (*serve)(nexus__bus_porter **out, const char *url, nexus__bus_server *server,
                          const nexus_alloc *alloc);
    /* *fd is a stream to the owner, who may be on another machine. NEXUS_EUNREACH: there is none. */
    nexus_status (*dial)(nexus__bus_porter **out, int *fd, const char *url, const nexus_alloc *alloc);
    void (*close_porter)(nexus__bus_porter *p); /* NULL is fine */
} nexus__bus_engine;

nexus_status nexus__bus_engine_find(const char *url, const nexus__bus_engine **out) NEXUS_MUST_CHECK;

/* sql.c */
nexus_status nexus__sql_log_open(nexus__wal_engine **out, const char *url, const nexus_alloc *alloc);
/* The database behind a bus URL, with the bus's schema: url#NAME, by default nexus_bus. */
struct nexus_db;
nexus_status nexus__sql_open(struct nexus_db **out, const char *url, uint32_t connections, const nexus_alloc *alloc);
/* Names the bus among all advisory locks and channels of its database server. */
uint64_t nexus__sql_key(const char *url);

/* sql_porter.c: connections carried in a table of the database */
nexus_status nexus__sql_serve(nexus__bus_porter **out, const char *url, nexus__bus_server *server,
                              const nexus_alloc *alloc);
nexus_status nexus__sql_dial(nexus__bus_porter **out, int *fd, const char *url, const nexus_alloc *alloc);
void nexus__sql_porter_close(nexus__bus_porter *p);

/* nats_log.c */
nexus_status nexus__nats_log_open(nexus__wal_engine **out, const char *url, const nexus_alloc *alloc);

/* kafka_log.c */
nexus_status nexus__kafka_log_open(nexus__wal_engine **out, const char *url, const nexus_alloc *alloc);

/* kafka_porter.c: connections carried in messages of a topic */
nexus_status nexus__kafka_serve(nexus__bus_porter **out, const char *url, nexus__bus_server *server,
                                const nexus_alloc *alloc);
nexus_status nexus__kafka_dial(nexus__bus_porter **out, int *fd, const char *url, const nexus_alloc *alloc);
void nexus__kafka_porter_close(nexus__bus_porter *p);

/* nats_porter.c: connections carried in messages */
nexus_status nexus__nats_serve(nexus__bus_porter **out, const char *url, nexus__bus_server *server,
                               const nexus_alloc *alloc);
nexus_status nexus__nats_dial(nexus__bus_porter **out, int *fd, const char *url, const nexus_alloc *alloc);
void nexus__nats_porter_close(nexus__bus_porter *p);

/* redis.c */
nexus_status nexus__redis_log_open(nexus__wal_engine **out, const char *url, const nexus_alloc *alloc);

/* redis_porter.c: connections carried in messages, too */
nexus_status nexus__redis_serve(nexus__bus_porter **out, const char *url, nexus__bus_server *server,
                                const nexus_alloc *alloc);
nexus_status nexus__redis_dial(nexus__bus_porter **out, int *fd, const char *url, const nexus_alloc *alloc);
void nexus__redis_porter_close(nexus__bus_porter *p);

#endif
