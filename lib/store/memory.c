/*
 * The cache in memory: a hash map whose entries stand in a list by last use, under one short lock. An entry past its
 * time counts as absent wherever it is met; those never met again fall off the end of the list.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/list.h"
#include "base/map.h"
#include "base/status.h"
#include "base/time.h"
#include "store/cache.h"

typedef struct entry {
    nexus__list node;
    int64_t expires_ns; /* INT64_MAX = never */
    size_t key_n, value_n;
    char bytes[]; /* key, value */
} entry;

typedef struct memory {
    const nexus_alloc *alloc;
    uint64_t max_bytes;
    pthread_mutex_t mutex;
    struct { /* under mutex */
        nexus__map map;
        nexus__list recent; /* least recently used first */
        uint64_t bytes;
    } locked;
} memory;

/* What an entry weighs: its bytes, and about three map slots at the usual filling. */
static uint64_t weight(size_t key_n, size_t value_n)
{
    return sizeof(entry) + key_n + value_n + 3 * sizeof(nexus__map_entry);
}

static nexus_status memory_open(void **driver, const char *address, const nexus_cache_opts *opts)
{
    if (*address)
        return nexus__fail(NEXUS_EINVAL, "nothing follows \"memory:\" in its URL");
    memory *m = nexus__calloc(opts->alloc, 1, sizeof *m);
    if (!m)
        return nexus__nomem();
    m->alloc = opts->alloc;
    m->max_bytes = opts->max_bytes;
    pthread_mutex_init(&m->mutex, NULL);
    nexus__map_init(&m->locked.map, opts->alloc);
    nexus__list_init(&m->locked.recent);
    *driver = m;
    return NEXUS_OK;
}

static void remove_entry(memory *m, entry *e)
{
    nexus__map_remove(&m->locked.map, nexus__slice(e->bytes, e->key_n));
    nexus__list_remove(&e->node);
    m->locked.bytes -= weight(e->key_n, e->value_n);
    nexus__free(m->alloc, e);
}

static void memory_close(void *driver)
{
    memory *m = driver;
    while (!nexus__list_empty(&m->locked.recent))
        remove_entry(m, NEXUS__CONTAINER(m->locked.recent.next, entry, node));
    nexus__map_free(&m->locked.map);
    pthread_mutex_destroy(&m->mutex);
    nexus__free(m->alloc, m);
}

static entry *find(memory *m, nexus_slice key, int64_t now)
{
    entry *e = nexus__map_get(&m->locked.map, key);
    if (e && e->expires_ns <= now) {
        remove_entry(m, e);
        return NULL;
    }
    if (e) {
        nexus__list_remove(&e->node);
        nexus__list_push(&m->locked.recent, &e->node);
    }
    return e;
}

static nexus_status put(memory *m, nexus_slice key, nexus_slice value, int64_t expires_ns)
{
    uint64_t bytes = weight(key.n, value.n);
    if (bytes > m->max_bytes)
        return nexus__fail(NEXUS_ETOOBIG, "a value of %zu bytes is larger than the cache may be: raise max_bytes",
                           value.n);
    entry *old = nexus__map_get(&m->locked.map, key);
    if (old)
        remove_entry(m, old);
    while (m->locked.bytes + bytes > m->max_bytes)
        remove_entry(m, NEXUS__CONTAINER(m->locked.recent.next, entry, node));
    entry *e = nexus__malloc(m->alloc, sizeof *e + key.n + value.n);
    if (!e)
        return nexus__nomem();
    e->expires_ns = expires_ns;
    e->key_n = key.n;
    e->value_n = value.n;
    memcpy(e->bytes, key.p, key.n);
    if (value.n)
        memcpy(e->bytes + key.n, value.p, value.n);
    if (nexus__map_put(&m->locked.map, nexus__slice(e->bytes, e->key_n), e, NULL) != NEXUS_OK) {
        nexus__free(m->alloc, e);
        return nexus__nomem();
    }
    nexus__list_push(&m->locked.recent, &e->node);
    m->locked.bytes += bytes;
    return NEXUS_OK;
}

static nexus_status increment(memory *m, const entry *e, nexus__cache_call *call, int64_t expires_ns)
{
    int64_t number = 0;
    char text[24];
    if (e && !nexus__parse_i64(nexus__slice(e->bytes + e->key_n, e->value_n), &number))
        return nexus__fail(NEXUS_EINVAL, "what the cache holds under this key is not a number");
    if (__builtin_add_overflow(number, call->delta, &number))
        return nexus__fail(NEXUS_ELIMIT, "the sum does not fit 64 bits");
    size_t n = (size_t)snprintf(text, sizeof text, "%lld", (long long)number);
    call->number = number;
    return put(m, call->key, nexus__slice(text, n), e ? e->expires_ns : expires_ns);
}

static nexus_status run_locked(memory *m, nexus__cache_call *call, int64_t now)
{
    int64_t expires_ns = INT64_MAX;
    if (call->ttl_ms && __builtin_add_overflow(now, (int64_t)call->ttl_ms * NEXUS__NS_PER_MS, &expires_ns))
        expires_ns = INT64_MAX;
    entry *e = find(m, call->key, now);
    switch (call->op) {
    case NEXUS__CACHE_GET:
        if (!e)
            return NEXUS_ENOTFOUND;
        return nexus__cache_found(call, e->bytes + e->key_n, e->value_n) ? NEXUS_OK : NEXUS_ENOMEM;
    case NEXUS__CACHE_ADD:
        if (e)
            return NEXUS_ECONFLICT;
        return put(m, call->key, call->value, expires_ns);
    case NEXUS__CACHE_SET:
        return put(m, call->key, call->value, expires_ns);
    case NEXUS__CACHE_DEL:
        if (!e)
            return NEXUS_ENOTFOUND;
        remove_entry(m, e);
        return NEXUS_OK;
    default:
        return increment(m, e, call, expires_ns);
    }
}

static void memory_run(void *driver, nexus__cache_call *call)
{
    memory *m = driver;
    pthread_mutex_lock(&m->mutex);
    nexus_status status = run_locked(m, call, nexus__mono_ns());
    pthread_mutex_unlock(&m->mutex);
    if (status == NEXUS_ENOTFOUND)
        nexus__fail(status, "no such key in the cache");
    else if (status == NEXUS_ECONFLICT)
        nexus__fail(status, "the key is in the cache already");
    nexus__cache_set_status(call, status);
}

const nexus__cache_ops nexus__memory_cache_ops = {
    .size = sizeof(nexus__cache_ops),
    .kind = "memory",
    .scheme = "memory:",
    .open = memory_open,
    .close = memory_close,
    .run = memory_run,
};
