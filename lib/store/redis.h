/*
 * A connection to Redis: bytes out, replies in, each within a deadline. The socket is ours (written with
 * MSG_NOSIGNAL; hiredis 0.14 would let a closed peer kill the process), hiredis parses what comes.
 */
#ifndef NEXUS_STORE_REDIS_H
#define NEXUS_STORE_REDIS_H

#include "base/buf.h"

typedef struct nexus__redis nexus__redis;

typedef struct nexus__redis_config { /* every text belongs to it */
    const nexus_alloc *alloc;
    char *host, *user, *password; /* user and password may be NULL */
    char port[8];
    uint32_t database;
    uint32_t connect_timeout_ms, timeout_ms;
} nexus__redis_config;

/* What follows redis:// in a URL: [user:password@]host[:port][/db]. */
nexus_status nexus__redis_config_parse(nexus__redis_config *out, const char *address) NEXUS_MUST_CHECK;
void nexus__redis_config_free(nexus__redis_config *config);

nexus_status nexus__redis_open(nexus__redis **out, const nexus__redis_config *config) NEXUS_MUST_CHECK;
void nexus__redis_close(nexus__redis *redis); /* NULL is fine */
/* False when the server has closed an idle connection, or a call on it has failed. */
bool nexus__redis_alive(nexus__redis *redis);
/* Makes a call that waits on another thread end at once. */
void nexus__redis_interrupt(nexus__redis *redis);

void nexus__redis_encode(nexus__buf *out, const nexus_slice *words, size_t n);

/* NEXUS_ECLOSED, NEXUS_ETIMEDOUT: the connection is no longer alive, and part may have been sent. */
nexus_status nexus__redis_send(nexus__redis *redis, nexus_slice bytes, int64_t deadline_ns) NEXUS_MUST_CHECK;

enum { NEXUS__REDIS_NIL, NEXUS__REDIS_TEXT, NEXUS__REDIS_INT, NEXUS__REDIS_ERROR, NEXUS__REDIS_OTHER };
typedef struct nexus__redis_reply {
    uint32_t type;    /* status lines are text */
    nexus_slice text; /* of TEXT and ERROR */
    int64_t number;
    void *native; /* the redisReply */
} nexus__redis_reply;
nexus_status nexus__redis_receive(nexus__redis *redis, int64_t deadline_ns, nexus__redis_reply *reply) NEXUS_MUST_CHECK;
void nexus__redis_reply_free(nexus__redis_reply *reply);
/* The status that an error reply stands for, with its text as message. */
nexus_status nexus__redis_fail(nexus_slice error);

#endif
