/* What a cache driver is: a table that runs calls. cache.c is its only caller. */
#ifndef NEXUS_STORE_CACHE_H
#define NEXUS_STORE_CACHE_H

#include <nexus/cache.h>

#include "base/str.h"

enum { NEXUS__CACHE_GET, NEXUS__CACHE_SET, NEXUS__CACHE_ADD, NEXUS__CACHE_DEL, NEXUS__CACHE_INCR, NEXUS__CACHE_EVAL };

enum {
    NEXUS__CACHE_KEY_MAX = 512,
    NEXUS__CACHE_VALUE_MAX = 16 << 20,
    NEXUS__CACHE_SCRIPT_KEYS = 16,
    NEXUS__CACHE_SCRIPT_ARGS = 64
};

/* One call with its answer. */
typedef struct nexus__cache_call {
    struct nexus__cache_call *next; /* for the driver, while the call is queued there */
    uint32_t op;
    nexus_slice key, value; /* key with the prefix; both outlive the call */
    uint64_t ttl_ms;
    int64_t delta;
    const nexus_cache_script *script; /* of EVAL; value holds its words, keys first, each behind its length (uint32) */
    uint32_t key_count, word_count;
    bool unknown; /* the server has not seen the script */
    nexus_status status;
    char *found; /* of GET: malloc'd, NUL beyond; the caller's */
    size_t found_n;
    int64_t number;
    char why[160]; /* the message of a failure, carried to the thread that is told */
} nexus__cache_call;

typedef struct nexus__cache_ops {
    size_t size;
    const char *kind;
    const char *scheme;
    bool blocks;  /* run must not be called on a loop thread */
    bool scripts; /* it runs NEXUS__CACHE_EVAL */
    nexus_status (*open)(void **driver, const char *address, const nexus_cache_opts *opts);
    void (*close)(void *driver); /* completes what was submitted */
    void (*run)(void *driver, nexus__cache_call *call);
    /* Takes the call and completes it later, on a thread of its own; NULL: run does it at once. */
    nexus_status (*submit)(void *driver, nexus__cache_call *call);
} nexus__cache_ops;

extern const nexus__cache_ops nexus__memory_cache_ops;
extern const nexus__cache_ops nexus__redis_cache_ops;

/* Fills in status and message (the one of this thread, when the status is a failure). */
void nexus__cache_set_status(nexus__cache_call *call, nexus_status status);
/* Tells cache.c that a submitted call is done. */
void nexus__cache_complete(nexus__cache_call *call);
/* Copies what GET found; false when out of memory (the status says so). */
bool nexus__cache_found(nexus__cache_call *call, const void *p, size_t n);

#endif
