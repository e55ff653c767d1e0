/*
 * The cache in Redis. Blocking calls take a connection of a pool. The _async form has a thread with a connection of
 * its own, which sends all that has queued up meanwhile in one go and reads the answers in order: the busier, the
 * fewer round trips.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#include "base/status.h"
#include "base/time.h"
#include "store/cache.h"
#include "store/pool.h"
#include "store/redis.h"

enum { BATCH_CALLS = 256, BATCH_BYTES = 1 << 20 };

typedef struct redis_cache {
    nexus__redis_config config;
    nexus__pool pool;
    bool threaded;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t filled;
    struct { /* under mutex */
        nexus__cache_call *first, **last;
        nexus__redis *link; /* of the thread; set and cleared by it, interrupted by close */
        bool closing;
    } locked;
} redis_cache;

/* --- one call as words, and its reply -------------------------------------------------------- */

/* INCRBY in a script would come back as a double: GET tells the sum exactly. */
static const char incr_script[] = "local new = redis.call('EXISTS', KEYS[1]) == 0 "
                                  "redis.call('INCRBY', KEYS[1], ARGV[1]) "
                                  "if new and ARGV[2] ~= '0' then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end "
                                  "return redis.call('GET', KEYS[1])";

static void encode_put(nexus__buf *out, const nexus__cache_call *call, nexus_slice ttl)
{
    nexus_slice words[6] = {NEXUS_S("SET"), call->key, call->value};
    size_t n = 3;
    if (call->op == NEXUS__CACHE_ADD)
        words[n++] = NEXUS_S("NX");
    if (call->ttl_ms) {
        words[n++] = NEXUS_S("PX");
        words[n++] = ttl;
    }
    nexus__redis_encode(out, words, n);
}

/* EVALSHA, or EVAL once the server said that it does not know the script. */
static void encode_script(nexus__buf *out, const nexus__cache_call *call)
{
    nexus_slice words[3 + NEXUS__CACHE_SCRIPT_KEYS + NEXUS__CACHE_SCRIPT_ARGS], rest = call->value;
    char count[12];
    size_t n = 3;
    words[0] = call->unknown ? NEXUS_S("EVAL") : NEXUS_S("EVALSHA");
    words[1] = nexus__slice_c(call->unknown ? call->script->text : call->script->sha1);
    words[2] = nexus__slice(count, (size_t)snprintf(count, sizeof count, "%u", call->key_count));
    for (uint32_t i = 0; i < call->word_count; i++) {
        uint32_t len;
        memcpy(&len, rest.p, sizeof len);
        words[n++] = nexus__slice(rest.p + sizeof len, len);
        rest = nexus__slice_from(rest, sizeof len + len);
    }
    nexus__redis_encode(out, words, n);
}

static void encode(nexus__buf *out, const nexus__cache_call *call)
{
    char ttl_text[24], delta_text[24];
    nexus_slice ttl =
        nexus__slice(ttl_text, (size_t)snprintf(ttl_text, sizeof ttl_text, "%llu", (unsigned long long)call->ttl_ms));
    nexus_slice delta =
        nexus__slice(delta_text, (size_t)snprintf(delta_text, sizeof delta_text, "%lld", (long long)call->delta));
    switch (call->op) {
    case NEXUS__CACHE_EVAL:
        encode_script(out, call);
        break;
    case NEXUS__CACHE_GET:
        nexus__redis_encode(out, (nexus_slice[]){NEXUS_S("GET"), call->key}, 2);
        break;
    case NEXUS__CACHE_DEL:
        nexus__redis_encode(out, (nexus_slice[]){NEXUS_S("DEL"), call->key}, 2);
        break;
    case NEXUS__CACHE_INCR:
        nexus__redis_encode(
            out, (nexus_slice[]){NEXUS_S("EVAL"), NEXUS_S(incr_script), NEXUS_S("1"), call->key, delta, ttl}, 6);
        break;
    default:
        encode_put(out, call, ttl);
        break;
    }
}

static nexus_status read_error(const nexus__cache_call *call, nexus_slice error)
{
    if (call->op == NEXUS__CACHE_INCR) {
        if (nexus__slice_search(error, NEXUS_S("would overflow")) < error.n)
            return nexus__fail(NEXUS_ELIMIT, "the sum does not fit 64 bits");
        if (nexus__slice_search(error, NEXUS_S("not an integer")) < error.n ||
            nexus__slice_starts(error, NEXUS_S("WRONGTYPE")))
            return nexus__fail(NEXUS_EINVAL, "what the cache holds under this key is not a number");
    }
    return nexus__redis_fail(error);
}

static nexus_status read_reply(nexus__cache_call *call, const nexus__redis_reply *reply)
{
    if (reply->type == NEXUS__REDIS_ERROR && call->op == NEXUS__CACHE_EVAL && !call->unknown &&
        nexus__slice_starts(reply->text, NEXUS_S("NOSCRIPT"))) {
        call->unknown = true;
        return nexus__fail(NEXUS_EMISSING, "redis has not seen this script");
    }
    if (reply->type == NEXUS__REDIS_ERROR)
        return read_error(call, reply->text);
    if (call->op == NEXUS__CACHE_EVAL && reply->type == NEXUS__REDIS_INT) {
        call->number = reply->number;
        return NEXUS_OK;
    }
    if (call->op == NEXUS__CACHE_EVAL && reply->type == NEXUS__REDIS_OTHER)
        return nexus__fail(NEXUS_EPROTO, "a script returned neither a text nor a whole number");
    if (reply->type == NEXUS__REDIS_NIL && call->op == NEXUS__CACHE_ADD)
        return nexus__fail(NEXUS_ECONFLICT, "the key is in the cache already");
    if (reply->type == NEXUS__REDIS_NIL || (call->op == NEXUS__CACHE_DEL && reply->number == 0))
        return nexus__fail(NEXUS_ENOTFOUND, "no such key in the cache");
    if (call->op == NEXUS__CACHE_GET || call->op == NEXUS__CACHE_EVAL)
        return nexus__cache_found(call, reply->text.p, reply->text.n) ? NEXUS_OK : NEXUS_ENOMEM;
    if (call->op == NEXUS__CACHE_INCR && !nexus__parse_i64(reply->text, &call->number))
        return nexus__fail(NEXUS_EPROTO, "redis answered an increment without a number");
    return NEXUS_OK;
}

/* A lost answer: reading is simply not done, a change may have been. */
static void lose(nexus__cache_call *call, nexus_status status)
{
    if (status == NEXUS_ECLOSED)
        status = NEXUS_EUNREACH;
    nexus__cache_set_status(call, call->op == NEXUS__CACHE_GET ? status : NEXUS_EUNKNOWN);
}

static void send_and_read(nexus__redis *link, const nexus_alloc *alloc, nexus__cache_call *calls, int64_t deadline_ns)
{
    nexus__buf out;
    nexus__buf_init(&out, alloc, 0);
    for (nexus__cache_call *c = calls; c; c = c->next)
        encode(&out, c);
    nexus_status status =
        out.status == NEXUS_OK ? nexus__redis_send(link, nexus__buf_slice(&out), deadline_ns) : nexus__nomem();
    bool sent = out.status == NEXUS_OK;
    nexus__buf_free(&out);
    for (nexus__cache_call *c = calls; c; c = c->next) {
        nexus__redis_reply reply = {0};
        if (status == NEXUS_OK)
            status = nexus__redis_receive(link, deadline_ns, &reply);
        if (status == NEXUS_OK)
            nexus__cache_set_status(c, read_reply(c, &reply));
        else if (sent)
            lose(c, status);
        else
            nexus__cache_set_status(c, status);
        if (reply.native)
            nexus__redis_reply_free(&reply);
    }
}

/* Sends the calls of a list and reads their answers; every call has its status after it. Scripts that the server has not
 * seen go once more, as text. */
static void exchange(nexus__redis *link, const nexus_alloc *alloc, nexus__cache_call *calls, int64_t deadline_ns)
{
    send_and_read(link, alloc, calls, deadline_ns);
    for (nexus__cache_call *c = calls; c; c = c->next) {
        nexus__cache_call *next = c->next;
        if (!c->unknown || c->status != NEXUS_EMISSING)
            continue;
        c->next = NULL;
        send_and_read(link, alloc, c, deadline_ns);
        c->next = next;
    }
}

/* --- blocking calls -------------------------------------------------------------------------- */

static void redis_run(void *driver, nexus__cache_call *call)
{
    redis_cache *r = driver;
    nexus__redis *redis = NULL;
    int64_t deadline = nexus__mono_ns() + (int64_t)r->config.timeout_ms * NEXUS__NS_PER_MS;
    nexus_status status = nexus__redis_take(&r->pool, &r->config, &redis);
    if (status != NEXUS_OK) {
        nexus__cache_set_status(call, status);
        return;
    }
    exchange(redis, r->config.alloc, call, deadline);
    nexus__redis_give(&r->pool, redis);
}

/* --- the thread of the _async form ------------------------------------------------------------ */

static void cancel_all(nexus__cache_call *calls, nexus_status status, const char *why)
{
    while (calls) {
        nexus__cache_call *next = calls->next;
        nexus__cache_set_status(calls, nexus__fail(status, "%s", why));
        nexus__cache_complete(calls);
        calls = next;
    }
}

/* Under the mutex: the first calls of the queue, up to a batch. */
static nexus__cache_call *take_batch(redis_cache *r)
{
    nexus__cache_call *first = r->locked.first, **end = &r->locked.first;
    size_t bytes = 0;
    for (int n = 0; *end && n < BATCH_CALLS && bytes < BATCH_BYTES; n++) {
        bytes += (*end)->value.n;
        end = &(*end)->next;
    }
    r->locked.first = *end;
    if (!*end)
        r->locked.last = &r->locked.first;
    *end = NULL;
    return first;
}

/* The thread's connection, made when there is none; published so that close can interrupt it. */
static nexus_status ensure_link(redis_cache *r, nexus__redis **link)
{
    nexus_status status = NEXUS_OK;
    nexus__redis *old = NULL;
    if (*link && !nexus__redis_alive(*link))
        old = *link;
    if (*link && !old)
        return NEXUS_OK;
    *link = NULL;
    pthread_mutex_lock(&r->mutex);
    r->locked.link = NULL;
    pthread_mutex_unlock(&r->mutex);
    nexus__redis_close(old);
    status = nexus__redis_open(link, &r->config);
    if (status != NEXUS_OK)
        return status;
    pthread_mutex_lock(&r->mutex);
    r->locked.link = *link;
    if (r->locked.closing)
        nexus__redis_interrupt(*link);
    pthread_mutex_unlock(&r->mutex);
    return NEXUS_OK;
}

static void run_batch(redis_cache *r, nexus__redis **link, nexus__cache_call *calls)
{
    nexus_status status = ensure_link(r, link);
    if (status != NEXUS_OK) {
        char why[160];
        snprintf(why, sizeof why, "%s", nexus_error_message());
        cancel_all(calls, status, why);
        return;
    }
    exchange(*link, r->config.alloc, calls, nexus__mono_ns() + (int64_t)r->config.timeout_ms * NEXUS__NS_PER_MS);
    while (calls) {
        nexus__cache_call *next = calls->next;
        nexus__cache_complete(calls);
        calls = next;
    }
}

static void *serve(void *user_data)
{
    redis_cache *r = user_data;
    nexus__redis *link = NULL;
    pthread_mutex_lock(&r->mutex);
    for (;;) {
        while (!r->locked.first && !r->locked.closing)
            pthread_cond_wait(&r->filled, &r->mutex);
        if (r->locked.closing)
            break;
        nexus__cache_call *batch = take_batch(r);
        pthread_mutex_unlock(&r->mutex);
        run_batch(r, &link, batch);
        pthread_mutex_lock(&r->mutex);
    }
    nexus__cache_call *rest = r->locked.first;
    r->locked.link = NULL;
    pthread_mutex_unlock(&r->mutex);
    cancel_all(rest, NEXUS_ECANCELED, "the cache was closed");
    nexus__redis_close(link);
    return NULL;
}

static nexus_status redis_submit(void *driver, nexus__cache_call *call)
{
    redis_cache *r = driver;
    call->next = NULL;
    pthread_mutex_lock(&r->mutex);
    *r->locked.last = call;
    r->locked.last = &call->next;
    pthread_cond_signal(&r->filled);
    pthread_mutex_unlock(&r->mutex);
    return NEXUS_OK;
}

/* --- opening and closing ---------------------------------------------------------------------- */

static nexus_status start_thread(redis_cache *r)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&r->thread, NULL, serve, r);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        return nexus__fail_errno(error, "cannot start the thread of a redis cache");
    pthread_setname_np(r->thread, "nexus-redis");
    r->threaded = true;
    return NEXUS_OK;
}

static void close_link(void *link)
{
    nexus__redis_close(link);
}

static void redis_close(void *driver)
{
    redis_cache *r = driver;
    if (r->threaded) {
        pthread_mutex_lock(&r->mutex);
        r->locked.closing = true;
        if (r->locked.link)
            nexus__redis_interrupt(r->locked.link);
        pthread_cond_signal(&r->filled);
        pthread_mutex_unlock(&r->mutex);
        pthread_join(r->thread, NULL);
    }
    nexus__pool_free(&r->pool, close_link);
    pthread_cond_destroy(&r->filled);
    pthread_mutex_destroy(&r->mutex);
    nexus__redis_config_free(&r->config);
    nexus__free(r->config.alloc, r);
}

static nexus_status redis_open(void **driver, const char *address, const nexus_cache_opts *opts)
{
    redis_cache *r = nexus__calloc(opts->alloc, 1, sizeof *r);
    nexus__redis *first = NULL;
    if (!r)
        return nexus__nomem();
    pthread_mutex_init(&r->mutex, NULL);
    pthread_cond_init(&r->filled, NULL);
    r->locked.last = &r->locked.first;
    r->config = (nexus__redis_config){
        .alloc = opts->alloc, .connect_timeout_ms = opts->connect_timeout_ms, .timeout_ms = opts->timeout_ms};
    nexus_status status = nexus__redis_config_parse(&r->config, address);
    if (status == NEXUS_OK)
        status = nexus__pool_init(&r->pool, opts->alloc, opts->connections);
    if (status == NEXUS_OK && !opts->lazy)
        status = nexus__redis_take(&r->pool, &r->config, &first);
    if (status == NEXUS_OK) {
        if (first)
            nexus__redis_give(&r->pool, first);
        status = opts->loop ? start_thread(r) : NEXUS_OK;
    }
    if (status != NEXUS_OK) {
        redis_close(r);
        return status;
    }
    *driver = r;
    return NEXUS_OK;
}

const nexus__cache_ops nexus__redis_cache_ops = {
    .size = sizeof(nexus__cache_ops),
    .kind = "redis",
    .scheme = "redis://",
    .blocks = true,
    .scripts = true,
    .open = redis_open,
    .close = redis_close,
    .run = redis_run,
    .submit = redis_submit,
};
