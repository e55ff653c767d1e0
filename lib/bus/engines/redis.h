/* The log in Redis: what its files share (redis.c, redis_owner.c, redis_health.c, redis_porter.c). */
#ifndef NEXUS_BUS_ENGINES_REDIS_H
#define NEXUS_BUS_ENGINES_REDIS_H

#include <nexus/cache.h>

#include "base/thread.h"
#include "bus/engines/engine.h"
#include "store/pool.h"
#include "store/redis.h"

/* Where a bus is: the server, and the name that all of its keys have between braces, so that a cluster keeps them in one
 * slot: nexus:bus:{NAME}:head and so on. */
enum { NEXUS__REDIS_NAME_MAX = 64, NEXUS__REDIS_KEY_MAX = NEXUS__REDIS_NAME_MAX + 48 };
typedef struct nexus__redis_place {
    nexus__redis_config config;
    char name[NEXUS__REDIS_NAME_MAX + 1];
    /* head: hash, where the log ends and who may write. owner: the lease. heir: since when somebody waits to take over.
     * log: stream, an entry a run. pos: stream, positions to entries. blob: hash, checkpoints */
    char head[NEXUS__REDIS_KEY_MAX], owner[NEXUS__REDIS_KEY_MAX], heir[NEXUS__REDIS_KEY_MAX], log[NEXUS__REDIS_KEY_MAX],
        pos[NEXUS__REDIS_KEY_MAX], blob[NEXUS__REDIS_KEY_MAX];
} nexus__redis_place;

/* redis://[user:password@]host[:port][/db][#NAME] */
nexus_status nexus__redis_place_parse(nexus__redis_place *out, const char *url, const nexus_alloc *alloc) NEXUS_MUST_CHECK;
void nexus__redis_place_free(nexus__redis_place *place);

/* Number i of an array of texts; 0 when it is nil or no number. */
uint64_t nexus__redis_number(const nexus__redis_reply *reply, size_t i);
/* Decimal, in a text of the caller's. */
nexus_slice nexus__redis_digits(char out[static 24], uint64_t value);

/* redis_health.c: what the server's settings mean for a log. Fails when they can lose it silently. */
typedef struct nexus__redis_health {
    bool durable;
    uint32_t weaker, sync_ms; /* as of nexus__wal_tail */
} nexus__redis_health;
nexus_status nexus__redis_examine(nexus__redis *link, int64_t deadline_ns, nexus__redis_health *out) NEXUS_MUST_CHECK;

/* What an owner believes about the log: a former owner, or a server that came back with less, does not agree. */
typedef struct nexus__redis_end {
    uint64_t at, next_seq, next_pos;
    int64_t last_ns;
} nexus__redis_end;

typedef struct nexus__redis_script_set {
    nexus_cache_script own, renew, mend, release, append, find, drop, put_blob;
} nexus__redis_script_set;

typedef struct nexus__redis_log {
    nexus__wal_engine base;
    const nexus_alloc *alloc;
    nexus__redis_place place;
    nexus__pool pool;      /* for everything but the append */
    nexus__redis_script_set scripts;
    nexus__redis *link;    /* the writer's */
    char token[33];        /* of this ownership: what the head must name as its writer */
    uint64_t epoch;
    uint8_t uuid[16];
    nexus__redis_health health;
    bool owns;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct { /* under lock */
        nexus__redis_end end; /* confirmed */
        bool stop, over;      /* over: no longer the owner */
        void (*on_lost)(void *user_data);
        void *on_lost_data;
    } locked;
    pthread_t pulse; /* renews the lease */
    bool pulse_started;
} nexus__redis_log;

/* redis_owner.c */
nexus_status nexus__redis_own(nexus__wal_engine *e, nexus__wal_tail *tail);
void nexus__redis_on_lost(nexus__wal_engine *e, void (*fn)(void *user_data), void *user_data);
/* Is the log still ours, and where does it end? NEXUS_ESTALE: no longer, the message says why. */
nexus_status nexus__redis_look(nexus__redis_log *log, nexus__redis *link, uint64_t *at) NEXUS_MUST_CHECK;
/* A new connection for the writer, within a few seconds; then as look. */
nexus_status nexus__redis_reown(nexus__redis_log *log, uint64_t *at) NEXUS_MUST_CHECK;
void nexus__redis_give_up(nexus__redis_log *log); /* no longer the owner, though it may still have the lease */
void nexus__redis_disown(nexus__redis_log *log);  /* at close */
nexus_status nexus__redis_owner_scripts(nexus__redis_script_set *out) NEXUS_MUST_CHECK;

int64_t nexus__redis_deadline(const nexus__redis_log *log);

#endif
