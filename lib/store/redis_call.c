/* Calls to Redis in one piece, and the connections of a pool that make them. */
#include <stdio.h>

#include <nexus/cache.h>

#include "base/status.h"
#include "base/time.h"
#include "store/pool.h"
#include "store/redis.h"

static nexus_status exchange(nexus__redis *redis, const nexus_slice *words, size_t n, int64_t deadline_ns,
                             nexus__redis_reply *reply)
{
    nexus__buf out;
    nexus__buf_init(&out, NULL, 0);
    nexus__redis_encode(&out, words, n);
    nexus_status status =
        out.status == NEXUS_OK ? nexus__redis_send(redis, nexus__buf_slice(&out), deadline_ns) : nexus__nomem();
    nexus__buf_free(&out);
    return status == NEXUS_OK ? nexus__redis_receive(redis, deadline_ns, reply) : status;
}

static nexus_status refused(nexus__redis_reply *reply)
{
    nexus_status status = nexus__redis_fail(reply->text);
    nexus__redis_reply_free(reply);
    return status;
}

nexus_status nexus__redis_ask(nexus__redis *redis, const nexus_slice *words, size_t n, int64_t deadline_ns,
                              nexus__redis_reply *reply)
{
    nexus_status status = exchange(redis, words, n, deadline_ns, reply);
    return status == NEXUS_OK && reply->type == NEXUS__REDIS_ERROR ? refused(reply) : status;
}

nexus_status nexus__redis_run(nexus__redis *redis, const nexus_cache_script *script, const nexus_slice *words,
                              size_t keys, size_t n, int64_t deadline_ns, nexus__redis_reply *reply)
{
    char count[12];
    nexus_slice all[3 + NEXUS__REDIS_WORDS_MAX] = {NEXUS_S("EVALSHA"), nexus__slice_c(script->sha1)};
    if (n > NEXUS__REDIS_WORDS_MAX)
        return nexus__fail(NEXUS_EINVAL, "a script takes at most %d words", NEXUS__REDIS_WORDS_MAX);
    all[2] = nexus__slice(count, (size_t)snprintf(count, sizeof count, "%zu", keys));
    memcpy(all + 3, words, n * sizeof *words);
    nexus_status status = exchange(redis, all, n + 3, deadline_ns, reply);
    if (status == NEXUS_OK && reply->type == NEXUS__REDIS_ERROR && nexus__slice_starts(reply->text, NEXUS_S("NOSCRIPT"))) {
        nexus__redis_reply_free(reply);
        all[0] = NEXUS_S("EVAL");
        all[1] = nexus__slice_c(script->text);
        status = exchange(redis, all, n + 3, deadline_ns, reply);
    }
    return status == NEXUS_OK && reply->type == NEXUS__REDIS_ERROR ? refused(reply) : status;
}

nexus_status nexus__redis_take(nexus__pool *pool, const nexus__redis_config *config, nexus__redis **out)
{
    void *link = NULL;
    nexus_status status = nexus__pool_take(pool, config->timeout_ms, &link);
    if (status != NEXUS_OK)
        return status;
    nexus__redis *redis = link;
    if (redis && !nexus__redis_alive(redis)) {
        nexus__redis_close(redis);
        redis = NULL;
    }
    if (!redis)
        status = nexus__redis_open(&redis, config);
    if (status != NEXUS_OK) {
        nexus__pool_give(pool, NULL);
        return status;
    }
    *out = redis;
    return NEXUS_OK;
}

void nexus__redis_give(nexus__pool *pool, nexus__redis *redis)
{
    if (!nexus__redis_alive(redis)) {
        nexus__redis_close(redis);
        redis = NULL;
    }
    nexus__pool_give(pool, redis);
}
