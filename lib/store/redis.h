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
/* What has come by now, without a wait; NEXUS_EDONE: no whole answer yet. For a loop that polls nexus__redis_fd. */
nexus_status nexus__redis_poll(nexus__redis *redis, nexus__redis_reply *reply) NEXUS_MUST_CHECK;
int nexus__redis_fd(const nexus__redis *redis);
void nexus__redis_reply_free(nexus__redis_reply *reply);
/* The parts of an array (which is OTHER), borrowed from it; 0 of anything else. */
size_t nexus__redis_reply_count(const nexus__redis_reply *reply);
nexus__redis_reply nexus__redis_reply_at(const nexus__redis_reply *reply, size_t i);
/* The status that an error reply stands for, with its text as message. */
nexus_status nexus__redis_fail(nexus_slice error);

/* --- calls (redis_call.c) ---- */

/* One command and its answer, which is freed by the caller on NEXUS_OK; an error is a failure, as of nexus__redis_fail. */
nexus_status nexus__redis_ask(nexus__redis *redis, const nexus_slice *words, size_t n, int64_t deadline_ns,
                              nexus__redis_reply *reply) NEXUS_MUST_CHECK;
/* The same with a script: EVALSHA, and EVAL where the server has not seen it. keys come before the other words. */
enum { NEXUS__REDIS_WORDS_MAX = 20 };
struct nexus_cache_script;
nexus_status nexus__redis_run(nexus__redis *redis, const struct nexus_cache_script *script, const nexus_slice *words,
                              size_t keys, size_t n, int64_t deadline_ns, nexus__redis_reply *reply) NEXUS_MUST_CHECK;

/* A live connection of a pool, or a new one; give it back whatever became of it. */
struct nexus__pool;
nexus_status nexus__redis_take(struct nexus__pool *pool, const nexus__redis_config *config,
                               nexus__redis **out) NEXUS_MUST_CHECK;
void nexus__redis_give(struct nexus__pool *pool, nexus__redis *redis);

#endif
