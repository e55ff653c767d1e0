/* The one caller of cache drivers: opening, limits, prefixes, and the callbacks of the _async form. */
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/codec.h"
#include "base/status.h"
#include "crypto/hash.h"
#include "runtime/loop.h"
#include "store/cache.h"

/* What async calls hold on to: it outlives the cache until the last callback has run. */
typedef struct async_side {
    const nexus_alloc *alloc;
    nexus_loop *loop;
    uint32_t queue_max;
    struct {
        _Atomic uint32_t under_way;
        _Atomic uint32_t holders; /* the cache and each call */
    } atomic;
} async_side;

struct nexus_cache {
    const nexus__cache_ops *ops;
    const nexus_alloc *alloc;
    void *driver;
    char *prefix;
    size_t prefix_n;
    async_side *async; /* NULL: opened without a loop */
};

typedef struct async_call {
    nexus__cache_call call;
    nexus__task task;
    async_side *side;
    nexus_cache_fn *fn;
    void *user_data;
} async_call;

/* --- opening --------------------------------------------------------------------------------- */

void nexus_cache_opts_init(nexus_cache_opts *opts)
{
    *opts = (nexus_cache_opts)NEXUS_CACHE_OPTS_INIT;
}

static const struct {
    const char *scheme;
    const nexus__cache_ops *ops;
    const char *reason; /* why it cannot be opened */
} drivers[] = {
    {"memory:", &nexus__memory_cache_ops, NULL},
#if NEXUS_HAVE_REDIS
    {"redis://", &nexus__redis_cache_ops, NULL},
#else
    {"redis://", NULL, "this build has no Redis driver: build with hiredis"},
#endif
    {"rediss://", NULL,
     "rediss:// is not supported: hiredis 0.14 has no TLS. Use redis:// on a private network or through a "
     "TLS tunnel"},
};

static nexus_status find_driver(const char *url, const nexus__cache_ops **ops, const char **address)
{
    for (size_t i = 0; url && i < sizeof drivers / sizeof drivers[0]; i++) {
        size_t n = strlen(drivers[i].scheme);
        if (strncmp(url, drivers[i].scheme, n) != 0)
            continue;
        if (!drivers[i].ops)
            return nexus__fail(NEXUS_ENOTSUP, "%s", drivers[i].reason);
        *ops = drivers[i].ops;
        *address = url + n;
        return NEXUS_OK;
    }
    return nexus__fail(NEXUS_EINVAL, "not a cache URL: use memory: or redis://host:port");
}

static void set_defaults(nexus_cache_opts *o)
{
    o->max_bytes = o->max_bytes ? o->max_bytes : 64 << 20;
    o->connections = o->connections ? o->connections : 4;
    o->connect_timeout_ms = o->connect_timeout_ms ? o->connect_timeout_ms : 2000;
    o->timeout_ms = o->timeout_ms ? o->timeout_ms : 2000;
    o->queue_max = o->queue_max ? o->queue_max : 4096;
    o->prefix = o->prefix ? o->prefix : "";
}

static void let_go(async_side *side)
{
    if (side && atomic_fetch_sub(&side->atomic.holders, 1) == 1)
        nexus__free(side->alloc, side);
}

static nexus_status build(nexus_cache *cache, const nexus_cache_opts *o, const char *address)
{
    cache->prefix_n = strlen(o->prefix);
    if (cache->prefix_n >= NEXUS__CACHE_KEY_MAX / 2)
        return nexus__fail(NEXUS_EINVAL, "the prefix of the cache's keys is over %d bytes", NEXUS__CACHE_KEY_MAX / 2);
    cache->prefix = nexus__strndup(o->alloc, nexus__slice(o->prefix, cache->prefix_n));
    if (!cache->prefix)
        return nexus__nomem();
    if (o->loop) {
        cache->async = nexus__calloc(o->alloc, 1, sizeof *cache->async);
        if (!cache->async)
            return nexus__nomem();
        cache->async->alloc = o->alloc;
        cache->async->loop = o->loop;
        cache->async->queue_max = o->queue_max;
        atomic_init(&cache->async->atomic.holders, 1);
    }
    return cache->ops->open(&cache->driver, address, o);
}

nexus_status nexus_cache_open(nexus_cache **out, const char *url, const nexus_cache_opts *opts)
{
    nexus_cache_opts o = NEXUS_CACHE_OPTS_INIT;
    if (opts)
        memcpy(&o, opts, opts->size < sizeof o ? opts->size : sizeof o);
    set_defaults(&o);
    const nexus__cache_ops *ops = NULL;
    const char *address = NULL;
    nexus_status status = find_driver(url, &ops, &address);
    if (status != NEXUS_OK)
        return status;
    if (ops->blocks && nexus__on_loop_thread())
        return nexus__fail(NEXUS_EDEADLK, "opening a %s cache blocks: not on a loop thread", ops->kind);
    nexus_cache *cache = nexus__calloc(o.alloc, 1, sizeof *cache);
    if (!cache)
        return nexus__nomem();
    cache->ops = ops;
    cache->alloc = o.alloc;
    status = build(cache, &o, address);
    if (status != NEXUS_OK) {
        nexus_cache_close(cache);
        return status;
    }
    *out = cache;
    return NEXUS_OK;
}

void nexus_cache_close(nexus_cache *cache)
{
    if (!cache)
        return;
    if (cache->driver)
        cache->ops->close(cache->driver);
    let_go(cache->async);
    nexus__free(cache->alloc, cache->prefix);
    nexus__free(cache->alloc, cache);
}

const char *nexus_cache_kind(const nexus_cache *cache)
{
    return cache->ops->kind;
}

/* --- calls ----------------------------------------------------------------------------------- */

void nexus__cache_set_status(nexus__cache_call *call, nexus_status status)
{
    call->status = status;
    if (status != NEXUS_OK)
        snprintf(call->why, sizeof call->why, "%s", nexus_error_message());
}

bool nexus__cache_found(nexus__cache_call *call, const void *p, size_t n)
{
    call->found = malloc(n + 1); /* handed to the user, who frees it with nexus_free */
    if (!call->found) {
        nexus__cache_set_status(call, nexus__nomem());
        return false;
    }
    memcpy(call->found, p, n);
    call->found[n] = '\0';
    call->found_n = n;
    return true;
}

static nexus_status check_call(const nexus_cache *cache, nexus_slice key, nexus_slice value, uint64_t ttl_ms)
{
    if (!cache)
        return nexus__fail(NEXUS_EINVAL, "the cache is NULL");
    if (key.n == 0 || key.n + cache->prefix_n > NEXUS__CACHE_KEY_MAX)
        return nexus__fail(NEXUS_EINVAL, "a cache key has 1 to %d bytes, the prefix counted", NEXUS__CACHE_KEY_MAX);
    if (value.n > NEXUS__CACHE_VALUE_MAX)
        return nexus__fail(NEXUS_ETOOBIG, "a cached value has at most 16 MiB");
    if (ttl_ms > INT64_MAX / 1000000)
        return nexus__fail(NEXUS_EINVAL, "ttl_ms is over 292 years");
    return NEXUS_OK;
}

static void put_key(const nexus_cache *cache, char *to, nexus_slice key)
{
    memcpy(to, cache->prefix, cache->prefix_n);
    memcpy(to + cache->prefix_n, key.p, key.n);
}

static nexus_status run(nexus_cache *cache, nexus__cache_call *call)
{
    char key[NEXUS__CACHE_KEY_MAX];
    nexus_status status = check_call(cache, call->key, call->value, call->ttl_ms);
    if (status != NEXUS_OK)
        return status;
    if (cache->ops->blocks && nexus__on_loop_thread())
        return nexus__fail(NEXUS_EDEADLK, "a %s cache blocks: use the _async form on a loop thread", cache->ops->kind);
    put_key(cache, key, call->key);
    call->key = nexus__slice(key, cache->prefix_n + call->key.n);
    cache->ops->run(cache->driver, call);
    return call->status;
}

nexus_status nexus_cache_get(char **value, size_t *n, nexus_cache *cache, nexus_slice key)
{
    nexus__cache_call call = {.op = NEXUS__CACHE_GET, .key = key};
    nexus_status status = run(cache, &call);
    if (status != NEXUS_OK)
        return status;
    *value = call.found;
    *n = call.found_n;
    return NEXUS_OK;
}

nexus_status nexus_cache_set(nexus_cache *cache, nexus_slice key, nexus_slice value, uint64_t ttl_ms)
{
    return run(cache, &(nexus__cache_call){.op = NEXUS__CACHE_SET, .key = key, .value = value, .ttl_ms = ttl_ms});
}

nexus_status nexus_cache_add(nexus_cache *cache, nexus_slice key, nexus_slice value, uint64_t ttl_ms)
{
    return run(cache, &(nexus__cache_call){.op = NEXUS__CACHE_ADD, .key = key, .value = value, .ttl_ms = ttl_ms});
}

nexus_status nexus_cache_del(nexus_cache *cache, nexus_slice key)
{
    return run(cache, &(nexus__cache_call){.op = NEXUS__CACHE_DEL, .key = key});
}

nexus_status nexus_cache_incr(nexus_cache *cache, nexus_slice key, int64_t delta, uint64_t ttl_ms, int64_t *value)
{
    nexus__cache_call call = {.op = NEXUS__CACHE_INCR, .key = key, .delta = delta, .ttl_ms = ttl_ms};
    nexus_status status = run(cache, &call);
    if (status == NEXUS_OK && value)
        *value = call.number;
    return status;
}

/* --- scripts --------------------------------------------------------------------------------- */

nexus_status nexus_cache_script_init(nexus_cache_script *out, const char *text)
{
    uint8_t digest[NEXUS__DIGEST_MAX];
    nexus__buf hex = {.p = out->sha1, .cap = sizeof out->sha1, .max = sizeof out->sha1};
    nexus_status status = nexus__hash(NEXUS__SHA1, nexus__slice_c(text), digest);
    if (status != NEXUS_OK)
        return status;
    out->text = text;
    nexus__hex_append(&hex, digest, nexus__digest_size(NEXUS__SHA1));
    out->sha1[sizeof out->sha1 - 1] = '\0';
    return NEXUS_OK;
}

static void put_word(nexus__buf *out, nexus_slice prefix, nexus_slice word)
{
    uint32_t n = (uint32_t)(prefix.n + word.n);
    nexus__buf_append(out, &n, sizeof n);
    nexus__buf_slice_append(out, prefix);
    nexus__buf_slice_append(out, word);
}

/* The call that stands for the script; words must outlive it. */
static nexus_status pack(nexus__cache_call *call, nexus__buf *words, const nexus_cache *cache,
                         const nexus_cache_script *script, const nexus_slice *keys, size_t key_count,
                         const nexus_slice *args, size_t arg_count)
{
    if (!cache || key_count == 0 || key_count > NEXUS__CACHE_SCRIPT_KEYS || arg_count > NEXUS__CACHE_SCRIPT_ARGS)
        return nexus__fail(NEXUS_EINVAL, "a script has 1 to %d keys and at most %d arguments", NEXUS__CACHE_SCRIPT_KEYS,
                           NEXUS__CACHE_SCRIPT_ARGS);
    if (!cache->ops->scripts)
        return nexus__fail(NEXUS_ENOTSUP, "a %s cache runs no scripts: use redis://", cache->ops->kind);
    for (size_t i = 0; i < key_count; i++) {
        nexus_status status = check_call(cache, keys[i], (nexus_slice){0}, 0);
        if (status != NEXUS_OK)
            return status;
        put_word(words, nexus__slice(cache->prefix, cache->prefix_n), keys[i]);
    }
    for (size_t i = 0; i < arg_count; i++)
        put_word(words, (nexus_slice){0}, args[i]);
    *call = (nexus__cache_call){.op = NEXUS__CACHE_EVAL,
                                .key = keys[0],
                                .value = nexus__buf_slice(words),
                                .script = script,
                                .key_count = (uint32_t)key_count,
                                .word_count = (uint32_t)(key_count + arg_count)};
    return words->status;
}

nexus_status nexus_cache_eval(char **value, size_t *n, int64_t *number, nexus_cache *cache,
                              const nexus_cache_script *script, const nexus_slice *keys, size_t key_count,
                              const nexus_slice *args, size_t arg_count)
{
    nexus__cache_call call;
    nexus__buf words;
    nexus__buf_init(&words, cache ? cache->alloc : NULL, NEXUS__CACHE_VALUE_MAX);
    nexus_status status = pack(&call, &words, cache, script, keys, key_count, args, arg_count);
    if (status == NEXUS_OK)
        status = run(cache, &call);
    nexus__buf_free(&words);
    if (status != NEXUS_OK)
        return status;
    *value = call.found;
    *n = call.found_n;
    *number = call.number;
    return NEXUS_OK;
}

/* --- the _async form ------------------------------------------------------------------------- */

static void tell(nexus__task *task)
{
    async_call *made = NEXUS__CONTAINER(task, async_call, task);
    async_side *side = made->side;
    atomic_fetch_sub(&side->atomic.under_way, 1);
    if (made->call.status != NEXUS_OK)
        nexus__fail(made->call.status, "%s", made->call.why);
    made->fn(made->call.status, nexus__slice(made->call.found, made->call.found_n), made->call.number, made->user_data);
    free(made->call.found);
    nexus__free(side->alloc, made);
    let_go(side);
}

void nexus__cache_complete(nexus__cache_call *call)
{
    async_call *made = NEXUS__CONTAINER(call, async_call, call);
    nexus__loop_post_task(made->side->loop, &made->task);
}

static nexus_status copy_call(async_call **out, nexus_cache *cache, const nexus__cache_call *call)
{
    size_t key_n = cache->prefix_n + call->key.n;
    async_call *made = nexus__malloc(cache->alloc, sizeof *made + key_n + call->value.n);
    if (!made)
        return nexus__nomem();
    char *bytes = (char *)(made + 1);
    *made = (async_call){.call = *call, .task.fn = tell, .side = cache->async};
    put_key(cache, bytes, call->key);
    if (call->value.n)
        memcpy(bytes + key_n, call->value.p, call->value.n);
    made->call.key = nexus__slice(bytes, key_n);
    made->call.value = nexus__slice(bytes + key_n, call->value.n);
    *out = made;
    return NEXUS_OK;
}

static nexus_status take_place(async_side *side)
{
    if (atomic_fetch_add(&side->atomic.under_way, 1) < side->queue_max) {
        atomic_fetch_add(&side->atomic.holders, 1);
        return NEXUS_OK;
    }
    atomic_fetch_sub(&side->atomic.under_way, 1);
    return nexus__fail(NEXUS_EAGAIN, "%u cache calls are under way: try again later", side->queue_max);
}

static nexus_status hand_over(nexus_cache *cache, async_call *made)
{
    if (cache->ops->submit)
        return cache->ops->submit(cache->driver, &made->call);
    cache->ops->run(cache->driver, &made->call);
    nexus__cache_complete(&made->call);
    return NEXUS_OK;
}

static nexus_status start(nexus_cache *cache, const nexus__cache_call *call, nexus_cache_fn *fn, void *user_data)
{
    async_call *made = NULL;
    nexus_status status = check_call(cache, call->key, call->value, call->ttl_ms);
    if (status != NEXUS_OK)
        return status;
    if (!cache->async || !fn)
        return nexus__fail(NEXUS_ENOTSUP, "give the cache a loop when opening it, and a callback to the call");
    status = take_place(cache->async);
    if (status != NEXUS_OK)
        return status;
    status = copy_call(&made, cache, call);
    if (status == NEXUS_OK) {
        made->fn = fn;
        made->user_data = user_data;
        status = hand_over(cache, made);
    }
    if (status != NEXUS_OK) {
        nexus__free(cache->alloc, made);
        atomic_fetch_sub(&cache->async->atomic.under_way, 1);
        let_go(cache->async);
    }
    return status;
}

nexus_status nexus_cache_get_async(nexus_cache *cache, nexus_slice key, nexus_cache_fn *fn, void *user_data)
{
    return start(cache, &(nexus__cache_call){.op = NEXUS__CACHE_GET, .key = key}, fn, user_data);
}

nexus_status nexus_cache_set_async(nexus_cache *cache, nexus_slice key, nexus_slice value, uint64_t ttl_ms,
                                   nexus_cache_fn *fn, void *user_data)
{
    nexus__cache_call call = {.op = NEXUS__CACHE_SET, .key = key, .value = value, .ttl_ms = ttl_ms};
    return start(cache, &call, fn, user_data);
}

nexus_status nexus_cache_add_async(nexus_cache *cache, nexus_slice key, nexus_slice value, uint64_t ttl_ms,
                                   nexus_cache_fn *fn, void *user_data)
{
    nexus__cache_call call = {.op = NEXUS__CACHE_ADD, .key = key, .value = value, .ttl_ms = ttl_ms};
    return start(cache, &call, fn, user_data);
}

nexus_status nexus_cache_del_async(nexus_cache *cache, nexus_slice key, nexus_cache_fn *fn, void *user_data)
{
    return start(cache, &(nexus__cache_call){.op = NEXUS__CACHE_DEL, .key = key}, fn, user_data);
}

nexus_status nexus_cache_incr_async(nexus_cache *cache, nexus_slice key, int64_t delta, uint64_t ttl_ms,
                                    nexus_cache_fn *fn, void *user_data)
{
    nexus__cache_call call = {.op = NEXUS__CACHE_INCR, .key = key, .delta = delta, .ttl_ms = ttl_ms};
    return start(cache, &call, fn, user_data);
}

nexus_status nexus_cache_eval_async(nexus_cache *cache, const nexus_cache_script *script, const nexus_slice *keys,
                                    size_t key_count, const nexus_slice *args, size_t arg_count, nexus_cache_fn *fn,
                                    void *user_data)
{
    char space[2048]; /* what a decision needs; longer ones allocate */
    nexus__cache_call call;
    nexus__buf words = {.p = space, .cap = sizeof space, .max = sizeof space};
    nexus_status status = pack(&call, &words, cache, script, keys, key_count, args, arg_count);
    if (status != NEXUS_ETOOBIG)
        return status != NEXUS_OK ? status : start(cache, &call, fn, user_data);
    nexus__buf_init(&words, cache->alloc, NEXUS__CACHE_VALUE_MAX);
    status = pack(&call, &words, cache, script, keys, key_count, args, arg_count);
    if (status == NEXUS_OK)
        status = start(cache, &call, fn, user_data);
    nexus__buf_free(&words);
    return status;
}
