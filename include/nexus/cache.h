/* Caches: values with a time to live, in memory or in Redis, opened by URL. */
#ifndef NEXUS_CACHE_H
#define NEXUS_CACHE_H

#include <nexus/alloc.h>
#include <nexus/common.h>
#include <nexus/status.h>

#ifdef __cplusplus
extern "C" {
#endif

struct nexus_loop; /* runtime.h */

/**
 * A cache, usable from any thread. What it holds may vanish at any time (eviction, restart of the server): never the
 * only copy. Keys are 1 to 512 bytes, values up to 16 MiB.
 *
 * `memory:` calls never block and may be made on a loop thread. `redis://` calls block for a round trip and return
 * NEXUS_EDEADLK there: use the _async form. When the server is away a call fails with NEXUS_EUNREACH or
 * NEXUS_ETIMEDOUT within its time limit, and the next call connects again; after a change whose answer was not seen
 * it is NEXUS_EUNKNOWN.
 */
typedef struct nexus_cache nexus_cache;

/** nexus_cache_open's options. Text is copied; 0 and NULL mean the default. */
typedef struct nexus_cache_opts {
    size_t size;                 /**< sizeof(nexus_cache_opts) */
    const nexus_alloc *alloc;    /**< borrowed; NULL = the C library's */
    struct nexus_loop *loop;     /**< where _async callbacks run, borrowed; NULL = no _async calls */
    const char *prefix;          /**< put before every key; NULL = none */
    uint64_t max_bytes;          /**< memory: bound on keys, values and bookkeeping; 0 = 64 MiB */
    uint32_t connections;        /**< redis: connections of the blocking calls at most; 0 = 4 */
    uint32_t connect_timeout_ms; /**< redis: 0 = 2000 */
    uint32_t timeout_ms;         /**< redis: each call, waiting for a connection included; 0 = 2000 */
    uint32_t queue_max;          /**< _async calls under way at most; 0 = 4096 */
    bool lazy;                   /**< redis: connects when first used, so that opening never fails for want of a server */
} nexus_cache_opts;

#define NEXUS_CACHE_OPTS_INIT NEXUS_SIZED(nexus_cache_opts)

/** Fills in what NEXUS_CACHE_OPTS_INIT stands for. */
NEXUS_API void nexus_cache_opts_init(nexus_cache_opts *opts);

/**
 * Opens `memory:` (bounded, least recently used leaves first) or `redis://[user:password@]host[:port][/db]`, which
 * is connected to at once. opts may be NULL. NEXUS_ENOTSUP: `rediss://` (hiredis 0.14 has no TLS), or the driver is
 * not in this build. NEXUS_EUNREACH, NEXUS_EAUTH: the server cannot be reached or refuses the login.
 */
NEXUS_API nexus_status nexus_cache_open(nexus_cache **out, const char *url,
                                        const nexus_cache_opts *opts) NEXUS_MUST_CHECK;

/** Ends it: _async calls under way get their callback (NEXUS_ECANCELED when not done). NULL is fine. */
NEXUS_API void nexus_cache_close(nexus_cache *cache);

/** "memory" or "redis". */
NEXUS_API const char *nexus_cache_kind(const nexus_cache *cache);

/** *value gets n bytes and a NUL beyond them; free with nexus_free. NEXUS_ENOTFOUND: no such key. */
NEXUS_API nexus_status nexus_cache_get(char **value, size_t *n, nexus_cache *cache, nexus_slice key) NEXUS_MUST_CHECK;

/** Puts or replaces; gone after ttl_ms, 0 = never. NEXUS_ETOOBIG: larger than the cache may hold. */
NEXUS_API nexus_status nexus_cache_set(nexus_cache *cache, nexus_slice key, nexus_slice value,
                                       uint64_t ttl_ms) NEXUS_MUST_CHECK;

/** Puts only when the key is absent; NEXUS_ECONFLICT when it is there. One of several callers at once succeeds. */
NEXUS_API nexus_status nexus_cache_add(nexus_cache *cache, nexus_slice key, nexus_slice value,
                                       uint64_t ttl_ms) NEXUS_MUST_CHECK;

/** Removes; NEXUS_ENOTFOUND when it was not there. */
NEXUS_API nexus_status nexus_cache_del(nexus_cache *cache, nexus_slice key) NEXUS_MUST_CHECK;

/**
 * Adds delta to the decimal number under the key (absent = 0) and tells the sum in *value (may be NULL). ttl_ms
 * counts from the call that creates the key and is not renewed: a fixed window. NEXUS_EINVAL: not a number there.
 * NEXUS_ELIMIT: the sum does not fit int64.
 */
NEXUS_API nexus_status nexus_cache_incr(nexus_cache *cache, nexus_slice key, int64_t delta, uint64_t ttl_ms,
                                        int64_t *value) NEXUS_MUST_CHECK;

/**
 * A Lua script that runs in the server, atomically: text and the hash by which the server knows it. Filled by
 * nexus_cache_script_init, constant from then on.
 */
typedef struct nexus_cache_script {
    const char *text; /**< borrowed */
    char sha1[41];
} nexus_cache_script;

NEXUS_API nexus_status nexus_cache_script_init(nexus_cache_script *out, const char *text) NEXUS_MUST_CHECK;

/**
 * Runs a script with KEYS (1 to 16, the prefix put before each) and ARGV (64 at most): EVALSHA, and EVAL where the server
 * has not seen it. What it returns is a text (*value and *n as of nexus_cache_get; NULL and 0 with a number) or a whole
 * number (*number). NEXUS_ENOTSUP: the cache is `memory:`. NEXUS_ENOTFOUND: it returned nil. NEXUS_EUNKNOWN: no answer came,
 * it may have run.
 */
NEXUS_API nexus_status nexus_cache_eval(char **value, size_t *n, int64_t *number, nexus_cache *cache,
                                        const nexus_cache_script *script, const nexus_slice *keys, size_t key_count,
                                        const nexus_slice *args, size_t arg_count) NEXUS_MUST_CHECK;

/**
 * How an _async call ended. value: what get found, valid during the callback; number: the sum of incr. Runs exactly
 * once, on the loop of the options, never inside the call.
 */
typedef void nexus_cache_fn(nexus_status status, nexus_slice value, int64_t number, void *user_data);

/*
 * The same calls without waiting, from any thread. Key and value are copied. NEXUS_EAGAIN: queue_max calls are under
 * way, fn will not run. NEXUS_ENOTSUP: opened without a loop.
 */
NEXUS_API nexus_status nexus_cache_get_async(nexus_cache *cache, nexus_slice key, nexus_cache_fn *fn,
                                             void *user_data) NEXUS_MUST_CHECK;
NEXUS_API nexus_status nexus_cache_set_async(nexus_cache *cache, nexus_slice key, nexus_slice value, uint64_t ttl_ms,
                                             nexus_cache_fn *fn, void *user_data) NEXUS_MUST_CHECK;
NEXUS_API nexus_status nexus_cache_add_async(nexus_cache *cache, nexus_slice key, nexus_slice value, uint64_t ttl_ms,
                                             nexus_cache_fn *fn, void *user_data) NEXUS_MUST_CHECK;
NEXUS_API nexus_status nexus_cache_del_async(nexus_cache *cache, nexus_slice key, nexus_cache_fn *fn,
                                             void *user_data) NEXUS_MUST_CHECK;
NEXUS_API nexus_status nexus_cache_incr_async(nexus_cache *cache, nexus_slice key, int64_t delta, uint64_t ttl_ms,
                                              nexus_cache_fn *fn, void *user_data) NEXUS_MUST_CHECK;

/** The script is borrowed until fn has run. */
NEXUS_API nexus_status nexus_cache_eval_async(nexus_cache *cache, const nexus_cache_script *script,
                                              const nexus_slice *keys, size_t key_count, const nexus_slice *args,
                                              size_t arg_count, nexus_cache_fn *fn, void *user_data) NEXUS_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
