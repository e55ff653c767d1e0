/* The contract of nexus/cache.h: every case runs in memory and on a real Redis (see with_servers.py). */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <nexus/cache.h>
#include <nexus/runtime.h>
#include <nexus/version.h>

#include "base/id.h"
#include "base/str.h"
#include "base/time.h"
#if NEXUS_HAVE_REDIS
#include "store/redis.h"
#endif

static const char *redis_url(void)
{
    const char *url = getenv("NEXUS_TEST_REDIS_URL");
    if (!url)
        cr_skip("no Redis: run through tests/unit/store/with_servers.py --redis");
    return url;
}

static nexus_cache *open_with(const char *url, nexus_cache_opts *opts)
{
    char prefix[40];
    nexus_cache *cache = NULL;
    snprintf(prefix, sizeof prefix, "t%llx:", (unsigned long long)nexus__random_u64());
    opts->prefix = prefix;
    cr_assert_eq(nexus_cache_open(&cache, url, opts), NEXUS_OK, "%s", nexus_error_message());
    return cache;
}

#define CONTRACT(name)                                                                                                 \
    static void contract_##name(const char *url);                                                                      \
    Test(memory, name)                                                                                                 \
    {                                                                                                                  \
        contract_##name("memory:");                                                                                    \
    }                                                                                                                  \
    Test(redis, name)                                                                                                  \
    {                                                                                                                  \
        contract_##name(redis_url());                                                                                  \
    }                                                                                                                  \
    static void contract_##name(const char *url)

#define OK(call) cr_assert_eq((call), NEXUS_OK, "%s", nexus_error_message())

static void assert_holds(nexus_cache *cache, const char *key, nexus_slice wanted)
{
    char *value = NULL;
    size_t n = 0;
    OK(nexus_cache_get(&value, &n, cache, nexus__slice_c(key)));
    cr_assert(nexus__slice_eq(nexus__slice(value, n), wanted));
    cr_assert_eq(value[n], '\0');
    nexus_free(value);
}

static nexus_status look(nexus_cache *cache, const char *key)
{
    char *value = NULL;
    size_t n = 0;
    nexus_status status = nexus_cache_get(&value, &n, cache, nexus__slice_c(key));
    nexus_free(value);
    return status;
}

/* Waits until the key is gone: there is no event to wait for. */
static bool expires(nexus_cache *cache, const char *key)
{
    for (int i = 0; i < 500; i++) {
        if (look(cache, key) == NEXUS_ENOTFOUND)
            return true;
        usleep(10000);
    }
    return false;
}

CONTRACT(holds_any_bytes_until_removed)
{
    nexus_cache_opts opts = NEXUS_CACHE_OPTS_INIT;
    nexus_cache *cache = open_with(url, &opts);
    const char bytes[] = {0, '\r', '\n', (char)0xff, 0};
    cr_assert_eq(look(cache, "k"), NEXUS_ENOTFOUND);
    OK(nexus_cache_set(cache, NEXUS_S("k"), nexus__slice(bytes, sizeof bytes), 0));
    assert_holds(cache, "k", nexus__slice(bytes, sizeof bytes));
    OK(nexus_cache_set(cache, NEXUS_S("k"), NEXUS_S(""), 0));
    assert_holds(cache, "k", NEXUS_S(""));
    OK(nexus_cache_del(cache, NEXUS_S("k")));
    cr_assert_eq(nexus_cache_del(cache, NEXUS_S("k")), NEXUS_ENOTFOUND);
    cr_assert_eq(look(cache, "k"), NEXUS_ENOTFOUND);
    nexus_cache_close(cache);
}

CONTRACT(refuses_wrong_keys_and_values)
{
    nexus_cache_opts opts = NEXUS_CACHE_OPTS_INIT;
    nexus_cache *cache = open_with(url, &opts);
    static char key[600];
    memset(key, 'k', sizeof key);
    cr_assert_eq(nexus_cache_set(cache, NEXUS_S(""), NEXUS_S("v"), 0), NEXUS_EINVAL);
    cr_assert_eq(nexus_cache_set(cache, nexus__slice(key, sizeof key), NEXUS_S("v"), 0), NEXUS_EINVAL);
    cr_assert_eq(nexus_cache_set(cache, NEXUS_S("k"), nexus__slice(key, (16 << 20) + 1), 0), NEXUS_ETOOBIG);
    nexus_cache_close(cache);
}

CONTRACT(times_out_what_has_a_time_to_live)
{
    nexus_cache_opts opts = NEXUS_CACHE_OPTS_INIT;
    nexus_cache *cache = open_with(url, &opts);
    OK(nexus_cache_set(cache, NEXUS_S("short"), NEXUS_S("1"), 30));
    OK(nexus_cache_set(cache, NEXUS_S("long"), NEXUS_S("1"), 60000));
    cr_assert(expires(cache, "short"));
    OK(look(cache, "long"));
    OK(nexus_cache_set(cache, NEXUS_S("once"), NEXUS_S("1"), 30));
    OK(nexus_cache_set(cache, NEXUS_S("once"), NEXUS_S("2"), 0)); /* for ever now */
    OK(nexus_cache_set(cache, NEXUS_S("short"), NEXUS_S("1"), 60));
    cr_assert(expires(cache, "short"));
    OK(look(cache, "once"));
    nexus_cache_close(cache);
}

CONTRACT(adds_once)
{
    nexus_cache_opts opts = NEXUS_CACHE_OPTS_INIT;
    nexus_cache *cache = open_with(url, &opts);
    OK(nexus_cache_add(cache, NEXUS_S("k"), NEXUS_S("first"), 40));
    cr_assert_eq(nexus_cache_add(cache, NEXUS_S("k"), NEXUS_S("second"), 40), NEXUS_ECONFLICT);
    cr_assert(expires(cache, "k"));
    OK(nexus_cache_add(cache, NEXUS_S("k"), NEXUS_S("third"), 0));
    assert_holds(cache, "k", NEXUS_S("third"));
    nexus_cache_close(cache);
}

CONTRACT(counts_exactly_in_a_fixed_window)
{
    nexus_cache_opts opts = NEXUS_CACHE_OPTS_INIT;
    nexus_cache *cache = open_with(url, &opts);
    int64_t value = 0;
    OK(nexus_cache_incr(cache, NEXUS_S("n"), 5, 0, &value));
    cr_assert_eq(value, 5);
    OK(nexus_cache_incr(cache, NEXUS_S("n"), -7, 0, &value));
    cr_assert_eq(value, -2);
    assert_holds(cache, "n", NEXUS_S("-2"));
    OK(nexus_cache_set(cache, NEXUS_S("big"), NEXUS_S("9223372036854775806"), 0));
    OK(nexus_cache_incr(cache, NEXUS_S("big"), 1, 0, &value));
    cr_assert_eq(value, INT64_MAX);
    cr_assert_eq(nexus_cache_incr(cache, NEXUS_S("big"), 1, 0, &value), NEXUS_ELIMIT);
    OK(nexus_cache_set(cache, NEXUS_S("word"), NEXUS_S("abc"), 0));
    cr_assert_eq(nexus_cache_incr(cache, NEXUS_S("word"), 1, 0, NULL), NEXUS_EINVAL);
    OK(nexus_cache_incr(cache, NEXUS_S("w"), 1, 80, &value));
    OK(nexus_cache_incr(cache, NEXUS_S("w"), 1, 60000, &value)); /* does not extend the window */
    cr_assert_eq(value, 2);
    cr_assert(expires(cache, "w"));
    OK(nexus_cache_incr(cache, NEXUS_S("w"), 1, 80, &value));
    cr_assert_eq(value, 1);
    nexus_cache_close(cache);
}

typedef struct adder {
    nexus_cache *cache;
    const char *failed;
    int won;
} adder;

static void *add_many(void *user_data)
{
    adder *a = user_data;
    for (int i = 0; i < 200; i++) {
        char key[16];
        snprintf(key, sizeof key, "a%d", i);
        nexus_status status = nexus_cache_add(a->cache, nexus__slice_c(key), NEXUS_S("x"), 0);
        a->won += status == NEXUS_OK;
        if ((status != NEXUS_OK && status != NEXUS_ECONFLICT) ||
            nexus_cache_incr(a->cache, NEXUS_S("sum"), 1, 0, NULL) != NEXUS_OK)
            a->failed = "a call failed";
    }
    return NULL;
}

CONTRACT(threads_agree)
{
    nexus_cache_opts opts = NEXUS_CACHE_OPTS_INIT;
    opts.connections = 2;
    nexus_cache *cache = open_with(url, &opts);
    adder adders[4];
    pthread_t threads[4];
    int won = 0;
    for (int i = 0; i < 4; i++) {
        adders[i] = (adder){.cache = cache};
        cr_assert_eq(pthread_create(&threads[i], NULL, add_many, &adders[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        cr_assert_null(adders[i].failed);
        won += adders[i].won;
    }
    cr_assert_eq(won, 200, "each key was added by exactly one");
    assert_holds(cache, "sum", NEXUS_S("800"));
    nexus_cache_close(cache);
}

/* --- the _async form ---------------------------------------------------------------------------- */

typedef struct waiting {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    nexus_loop *loop;
    nexus_cache *cache;
    int called, done, on_loop, deadlk;
    nexus_status last;
    int64_t number;
    char value[64];
} waiting;

static void on_done(nexus_status status, nexus_slice value, int64_t number, void *user_data)
{
    waiting *w = user_data;
    pthread_mutex_lock(&w->mutex);
    w->called++;
    w->done += status == NEXUS_OK;
    w->on_loop += nexus_loop_is_current(w->loop);
    w->last = status;
    w->number = number > w->number ? number : w->number;
    snprintf(w->value, sizeof w->value, "%.*s", (int)value.n, value.n ? value.p : "");
    if (w->cache) {
        char *found = NULL;
        size_t n = 0;
        nexus_status direct = nexus_cache_get(&found, &n, w->cache, NEXUS_S("k"));
        w->deadlk += direct == NEXUS_EDEADLK;
        nexus_free(direct == NEXUS_OK ? found : NULL);
    }
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->mutex);
}

static void wait_for(waiting *w, int called)
{
    pthread_mutex_lock(&w->mutex);
    while (w->called < called)
        pthread_cond_wait(&w->cond, &w->mutex);
    pthread_mutex_unlock(&w->mutex);
}

CONTRACT(async_calls_back_exactly_once_on_the_loop)
{
    nexus_runtime_opts ropts = NEXUS_RUNTIME_OPTS_INIT;
    ropts.loops = 1;
    ropts.workers = 1;
    nexus_runtime *runtime = NULL;
    OK(nexus_runtime_open(&runtime, &ropts));
    OK(nexus_runtime_start(runtime));
    nexus_cache_opts opts = NEXUS_CACHE_OPTS_INIT;
    opts.loop = nexus_runtime_loop(runtime, 0);
    nexus_cache *cache = open_with(url, &opts);
    waiting w = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, .loop = opts.loop};
    OK(nexus_cache_get_async(cache, NEXUS_S("k"), on_done, &w));
    wait_for(&w, 1);
    cr_assert_eq(w.last, NEXUS_ENOTFOUND);
    OK(nexus_cache_set_async(cache, NEXUS_S("k"), NEXUS_S("hello"), 0, on_done, &w));
    OK(nexus_cache_add_async(cache, NEXUS_S("k"), NEXUS_S("again"), 0, on_done, &w));
    OK(nexus_cache_get_async(cache, NEXUS_S("k"), on_done, &w));
    wait_for(&w, 4);
    cr_assert_str_eq(w.value, "hello");
    OK(nexus_cache_del_async(cache, NEXUS_S("k"), on_done, &w));
    enum { MANY = 1000 };
    for (int i = 0; i < MANY; i++)
        OK(nexus_cache_incr_async(cache, NEXUS_S("n"), 1, 0, on_done, &w));
    wait_for(&w, 5 + MANY);
    cr_assert_eq(w.number, MANY);
    cr_assert_eq(w.on_loop, w.called);
    bool blocks = strcmp(nexus_cache_kind(cache), "redis") == 0;
    w.cache = cache;
    OK(nexus_cache_get_async(cache, NEXUS_S("n"), on_done, &w));
    wait_for(&w, 6 + MANY);
    cr_assert_eq(w.deadlk, blocks, "a blocking call on the loop is refused");
    w.cache = NULL;
    for (int i = 0; i < 50; i++)
        OK(nexus_cache_incr_async(cache, NEXUS_S("n"), 1, 0, on_done, &w));
    nexus_cache_close(cache);
    wait_for(&w, 56 + MANY);
    nexus_runtime_close(runtime);
    cr_assert_eq(w.called, 56 + MANY);
}

CONTRACT(async_without_a_loop_is_refused)
{
    nexus_cache_opts opts = NEXUS_CACHE_OPTS_INIT;
    nexus_cache *cache = open_with(url, &opts);
    cr_assert_eq(nexus_cache_get_async(cache, NEXUS_S("k"), on_done, NULL), NEXUS_ENOTSUP);
    nexus_cache_close(cache);
}

/* --- what only one engine has ------------------------------------------------------------------- */

Test(open, wrong_addresses_are_told_apart)
{
    nexus_cache *cache = NULL;
    cr_assert_eq(nexus_cache_open(&cache, "memcached://x", NULL), NEXUS_EINVAL);
    cr_assert_eq(nexus_cache_open(&cache, "memory:x", NULL), NEXUS_EINVAL);
    cr_assert_eq(nexus_cache_open(&cache, "rediss://127.0.0.1", NULL), NEXUS_ENOTSUP);
    cr_assert(strstr(nexus_error_message(), "TLS"));
    if (nexus_has("redis")) {
        cr_assert_eq(nexus_cache_open(&cache, "redis://127.0.0.1:1", NULL), NEXUS_EUNREACH);
        cr_assert_eq(nexus_cache_open(&cache, "redis://127.0.0.1:70000", NULL), NEXUS_EINVAL);
        cr_assert_eq(nexus_cache_open(&cache, "redis://127.0.0.1/abc", NULL), NEXUS_EINVAL);
    }
    cr_assert_null(cache);
}

Test(memory, stays_within_its_bound_and_drops_the_least_recently_used)
{
    nexus_cache_opts opts = NEXUS_CACHE_OPTS_INIT;
    opts.max_bytes = 64 * 1024;
    nexus_cache *cache = open_with("memory:", &opts);
    static char value[1000];
    for (int i = 0; i < 500; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        OK(nexus_cache_set(cache, nexus__slice_c(key), nexus__slice(value, sizeof value), 0));
        OK(look(cache, "k0")); /* keeps being used */
    }
    cr_assert_eq(look(cache, "k0"), NEXUS_OK);
    cr_assert_eq(look(cache, "k1"), NEXUS_ENOTFOUND);
    cr_assert_eq(look(cache, "k499"), NEXUS_OK);
    static char large[70000];
    cr_assert_eq(nexus_cache_set(cache, NEXUS_S("l"), nexus__slice(large, sizeof large), 0), NEXUS_ETOOBIG);
    nexus_cache_close(cache);
}

Test(redis, a_wrong_password_is_told_and_databases_are_apart)
{
    char url[200];
    const char *place = redis_url() + strlen("redis://");
    nexus_cache *cache = NULL, *other = NULL;
    snprintf(url, sizeof url, "redis://:wrong@%s", place);
    cr_assert_eq(nexus_cache_open(&cache, url, NULL), NEXUS_EAUTH, "%s", nexus_error_message());
    snprintf(url, sizeof url, "redis://%s/3", place);
    OK(nexus_cache_open(&cache, url, NULL));
    OK(nexus_cache_open(&other, redis_url(), NULL));
    OK(nexus_cache_set(cache, NEXUS_S("apart"), NEXUS_S("x"), 5000));
    cr_assert_eq(look(other, "apart"), NEXUS_ENOTFOUND);
    nexus_cache_close(cache);
    nexus_cache_close(other);
}

#if NEXUS_HAVE_REDIS
static void kill_all_clients(void)
{
    nexus__redis_config config = {.connect_timeout_ms = 2000, .timeout_ms = 2000};
    nexus__redis *link = NULL;
    nexus__redis_reply reply;
    nexus__buf out;
    int64_t deadline = nexus__mono_ns() + 5 * NEXUS__NS_PER_S;
    OK(nexus__redis_config_parse(&config, redis_url() + strlen("redis://")));
    OK(nexus__redis_open(&link, &config));
    nexus__buf_init(&out, NULL, 0);
    nexus_slice words[] = {NEXUS_S("CLIENT"), NEXUS_S("KILL"), NEXUS_S("TYPE"), NEXUS_S("normal")};
    nexus__redis_encode(&out, words, 4);
    OK(nexus__redis_send(link, nexus__buf_slice(&out), deadline));
    OK(nexus__redis_receive(link, deadline, &reply));
    cr_assert_geq(reply.number, 1);
    nexus__redis_reply_free(&reply);
    nexus__buf_free(&out);
    nexus__redis_close(link);
    nexus__redis_config_free(&config);
}

Test(redis, connections_that_the_server_closed_are_replaced)
{
    nexus_cache *cache = NULL;
    OK(nexus_cache_open(&cache, redis_url(), NULL));
    OK(nexus_cache_set(cache, NEXUS_S("replaced"), NEXUS_S("1"), 5000));
    kill_all_clients();
    OK(nexus_cache_set(cache, NEXUS_S("replaced"), NEXUS_S("2"), 5000));
    assert_holds(cache, "replaced", NEXUS_S("2"));
    nexus_cache_close(cache);
}
#endif

Test(redis, scripts_run_whether_or_not_the_server_knows_them)
{
    nexus_cache *cache = NULL, *memory = NULL;
    nexus_cache_opts opts = NEXUS_CACHE_OPTS_INIT;
    nexus_cache_script add, say, none;
    nexus_slice keys[] = {NEXUS_S("script-a"), NEXUS_S("script-b")}, args[] = {NEXUS_S("3"), NEXUS_S("")};
    char *value = NULL, text[120];
    size_t n = 0;
    int64_t number = 0;
    opts.prefix = "p:";
    /* A text of its own, so that no server has seen it. */
    snprintf(text, sizeof text, "-- %lld\nreturn redis.call('INCRBY', KEYS[2], ARGV[1])", (long long)nexus__mono_ns());
    OK(nexus_cache_script_init(&add, text));
    OK(nexus_cache_script_init(&say, "return KEYS[1] .. '|' .. KEYS[2] .. '|' .. ARGV[1] .. '|' .. ARGV[2]"));
    OK(nexus_cache_script_init(&none, "return nil"));
    OK(nexus_cache_open(&cache, redis_url(), &opts));
    OK(nexus_cache_set(cache, keys[1], NEXUS_S("0"), 60000));
    for (int i = 1; i <= 3; i++) {
        OK(nexus_cache_eval(&value, &n, &number, cache, &add, keys, 2, args, 1));
        cr_assert_eq(number, 3 * i);
        cr_assert_null(value);
    }
    OK(nexus_cache_eval(&value, &n, &number, cache, &say, keys, 2, args, 2));
    cr_assert_str_eq(value, "p:script-a|p:script-b|3|");
    nexus_free(value);
    cr_assert_eq(nexus_cache_eval(&value, &n, &number, cache, &none, keys, 1, NULL, 0), NEXUS_ENOTFOUND);
    cr_assert_eq(nexus_cache_eval(&value, &n, &number, cache, &say, keys, 0, args, 2), NEXUS_EINVAL);
    cr_assert_eq(nexus_cache_eval(&value, &n, &number, cache, &say, keys, 1, args, 2), NEXUS_EINVAL, "a script's error");
    nexus_cache_close(cache);
    OK(nexus_cache_open(&memory, "memory:", NULL));
    cr_assert_eq(nexus_cache_eval(&value, &n, &number, memory, &say, keys, 2, args, 2), NEXUS_ENOTSUP);
    nexus_cache_close(memory);
    opts.lazy = true;
    OK(nexus_cache_open(&cache, "redis://127.0.0.1:1", &opts));
    cr_assert_eq(nexus_cache_eval(&value, &n, &number, cache, &say, keys, 2, args, 2), NEXUS_EUNREACH);
    nexus_cache_close(cache);
}
