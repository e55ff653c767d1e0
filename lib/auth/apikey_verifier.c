/*
 * API keys on loops. What is known is looked up in memory; what is not is asked for, once at a time for a key, and whoever
 * wants it meanwhile is told with the others. While a key is in use it is asked for again before it is too old, so that
 * only the first request waits. A doubt lets nobody pass.
 */
#include <nexus/client.h>
#include <nexus/runtime.h>
#include <pthread.h>
#include <stdio.h>

#include "auth/apikey.h"
#include "auth/jwks.h"
#include "base/status.h"
#include "base/time.h"
#include "crypto/wipe.h"
#include "json/write.h"

enum { ASKED_MAX = 1024, IP_MAX = 63 };

typedef struct waiter {
    struct waiter *next;
    nexus_apikey_fn *done;
    void *user_data;
    char ip[IP_MAX + 1];
} waiter;

typedef struct asking {
    struct asking *next;
    nexus_apikey_verifier *v;
    int64_t asked_ns;
    waiter *waiters;
    char text[NEXUS_APIKEY_LEN + 1];
} asking;

struct nexus_apikey_verifier {
    const nexus_alloc *alloc;
    nexus_apikey_verifier_opts opts; /* url and bearer owned */
    nexus__apikey_cache *cache;
    pthread_mutex_t lock;
    pthread_cond_t idle;
    struct {
        asking *asked;
        uint32_t count;
    } locked;
};

void nexus_apikey_verifier_opts_init(nexus_apikey_verifier_opts *opts)
{
    *opts = (nexus_apikey_verifier_opts)NEXUS_APIKEY_VERIFIER_OPTS_INIT;
}

static int64_t now_of(const nexus_apikey_verifier *v)
{
    return v->opts.now_fn ? v->opts.now_fn(v->opts.user_data) : nexus__real_ns();
}

static nexus_status open_parts(nexus_apikey_verifier *v, const nexus_apikey_verifier_opts *o)
{
    v->opts = *o;
    v->opts.timeout_ms = o->timeout_ms ? o->timeout_ms : 2000;
    v->opts.url = v->opts.bearer = NULL;
    if (o->url && !(v->opts.url = nexus__strndup(v->alloc, nexus__slice_c(o->url))))
        return nexus__nomem();
    if (o->bearer && !(v->opts.bearer = nexus__strndup(v->alloc, nexus__slice_c(o->bearer))))
        return nexus__nomem();
    return nexus__apikey_cache_new(&v->cache, v->alloc, o->cache_keys ? o->cache_keys : 8192);
}

nexus_status nexus_apikey_verifier_open(nexus_apikey_verifier **out, const nexus_apikey_verifier_opts *o)
{
    if (!o || o->size != sizeof *o || !o->keys == !o->url || (o->keys && !o->runtime) || (o->url && !o->client))
        return nexus__fail(NEXUS_EINVAL, "an API key verifier takes keys and runtime, or url and client");
    if (o->url && !nexus__issuer_url_allowed(o->url))
        return nexus__fail(NEXUS_EINVAL, "API keys: \"%s\" must be https, unless loopback", o->url);
    nexus_apikey_verifier *v = nexus__calloc(o->alloc, 1, sizeof *v);
    if (!v)
        return nexus__nomem();
    v->alloc = o->alloc;
    pthread_mutex_init(&v->lock, NULL);
    pthread_cond_init(&v->idle, NULL);
    nexus_status status = open_parts(v, o);
    if (status == NEXUS_OK)
        *out = v;
    else
        nexus_apikey_verifier_close(v);
    return status;
}

static void free_secret(const nexus_alloc *alloc, const char *text)
{
    char *p = (char *)(uintptr_t)text;
    nexus__wipe(p, p ? strlen(p) : 0);
    nexus__free(alloc, p);
}

void nexus_apikey_verifier_close(nexus_apikey_verifier *v)
{
    if (!v)
        return;
    pthread_mutex_lock(&v->lock);
    while (v->locked.count)
        pthread_cond_wait(&v->idle, &v->lock);
    pthread_mutex_unlock(&v->lock);
    nexus__apikey_cache_free(v->cache);
    free_secret(v->alloc, v->opts.url);
    free_secret(v->alloc, v->opts.bearer);
    pthread_cond_destroy(&v->idle);
    pthread_mutex_destroy(&v->lock);
    nexus__free(v->alloc, v);
}

/* --- being told ---------------------------------------------------------------------------------------------------- */

static void tell(const nexus_apikey_verifier *v, waiter *w, nexus_status status, const nexus__apikey_known *known)
{
    if (status == NEXUS_OK)
        status = nexus__apikey_judge(known, nexus__slice_c(w->ip), now_of(v));
    w->done(status, status == NEXUS_OK ? nexus_principal_ref(known->principal) : NULL, w->user_data);
    nexus__free(v->alloc, w);
}

/* The last thing that is done with v for this asking: a close may be waiting. */
static void leave(nexus_apikey_verifier *v)
{
    pthread_mutex_lock(&v->lock);
    if (--v->locked.count == 0)
        pthread_cond_broadcast(&v->idle);
    pthread_mutex_unlock(&v->lock);
}

/* status: NEXUS_OK with what is known (JSON), NEXUS_EAUTH, or anything else: it could not be asked. */
static void answered(asking *a, nexus_status status, nexus_slice json)
{
    nexus_apikey_verifier *v = a->v;
    nexus__apikey_known *known = NULL;
    nexus_slice text = nexus__slice(a->text, NEXUS_APIKEY_LEN);
    if (status == NEXUS_OK)
        status = nexus__apikey_known_new(&known, v->alloc, json);
    if (status == NEXUS_OK)
        nexus__apikey_cache_put(v->cache, text, known, a->asked_ns);
    else if (status == NEXUS_EAUTH)
        nexus__apikey_cache_drop(v->cache, text);
    else
        status = NEXUS_EAGAIN;
    pthread_mutex_lock(&v->lock);
    asking **at = &v->locked.asked;
    while (*at != a)
        at = &(*at)->next;
    *at = a->next;
    pthread_mutex_unlock(&v->lock);
    for (waiter *w = a->waiters, *next; w; w = next) {
        next = w->next;
        tell(v, w, status, known);
    }
    nexus__apikey_known_unref(known);
    nexus__wipe(a->text, sizeof a->text);
    nexus__free(v->alloc, a);
    leave(v);
}

/* --- asking -------------------------------------------------------------------------------------------------------- */

static void ask_database(void *user_data)
{
    asking *a = user_data;
    char *json = NULL;
    size_t n = 0;
    nexus_status status = nexus_apikeys_introspect(a->v->opts.keys, a->text, NEXUS_APIKEY_LEN, &json, &n);
    answered(a, status, nexus__slice(json, n));
    nexus_free(json);
}

static void on_reply(nexus_status status, nexus_reply *reply, void *user_data)
{
    nexus_slice body = {0};
    uint16_t code = reply ? nexus_reply_status(reply) : 0;
    if (reply)
        nexus_reply_body(reply, &body);
    status = status != NEXUS_OK || (code != 200 && code != 404) ? NEXUS_EAGAIN : code == 404 ? NEXUS_EAUTH : NEXUS_OK;
    answered(user_data, status, body);
    nexus_reply_free(reply);
}

static nexus_status ask_service(asking *a)
{
    const nexus_apikey_verifier_opts *o = &a->v->opts;
    char body[NEXUS_APIKEY_LEN + 16], bearer[512];
    snprintf(body, sizeof body, "{\"key\":\"%s\"}", a->text);
    int n = snprintf(bearer, sizeof bearer, "Bearer %s", o->bearer ? o->bearer : "");
    const nexus_pair headers[] = {{NEXUS_S("Content-Type"), NEXUS_S("application/json")},
                                  {NEXUS_S("Authorization"), {bearer, (size_t)n}}};
    nexus_fetch fetch = NEXUS_FETCH_INIT;
    fetch.url = nexus__slice_c(o->url);
    fetch.body = nexus__slice_c(body);
    fetch.headers = headers;
    fetch.header_count = o->bearer ? 2 : 1;
    fetch.timeout_ms = o->timeout_ms;
    fetch.reply_max_bytes = 65536;
    nexus_status status =
        n > 0 && (size_t)n < sizeof bearer ? nexus_client_fetch_async(o->client, &fetch, on_reply, a) : NEXUS_EINVAL;
    nexus__wipe(body, sizeof body);
    nexus__wipe(bearer, sizeof bearer);
    return status;
}

static asking *find(const nexus_apikey_verifier *v, nexus_slice text)
{
    asking *a = v->locked.asked;
    while (a && memcmp(a->text, text.p, NEXUS_APIKEY_LEN) != 0)
        a = a->next;
    return a;
}

/* Under lock. NULL: too many, or out of memory. */
static asking *begin(nexus_apikey_verifier *v, nexus_slice text)
{
    asking *a = v->locked.count < ASKED_MAX ? nexus__calloc(v->alloc, 1, sizeof *a) : NULL;
    if (!a)
        return NULL;
    a->v = v;
    a->asked_ns = now_of(v);
    memcpy(a->text, text.p, NEXUS_APIKEY_LEN);
    a->next = v->locked.asked;
    v->locked.asked = a;
    v->locked.count++;
    return a;
}

static waiter *new_waiter(const nexus_apikey_verifier *v, nexus_slice ip, nexus_apikey_fn *done, void *user_data)
{
    waiter *w = nexus__calloc(v->alloc, 1, sizeof *w);
    if (!w)
        return NULL;
    w->done = done;
    w->user_data = user_data;
    memcpy(w->ip, ip.p ? ip.p : "", ip.n > IP_MAX ? IP_MAX : ip.n);
    return w;
}

static void remove_waiter(asking *a, waiter *w)
{
    pthread_mutex_lock(&a->v->lock);
    waiter **at = &a->waiters;
    while (*at && *at != w)
        at = &(*at)->next;
    if (*at)
        *at = w->next;
    pthread_mutex_unlock(&a->v->lock);
    nexus__free(a->v->alloc, w);
}

/* Joins who asks for this key, or asks. done NULL: nobody waits for the answer. */
static nexus_status ask(nexus_apikey_verifier *v, nexus_slice text, nexus_slice ip, nexus_apikey_fn *done,
                        void *user_data)
{
    waiter *w = done ? new_waiter(v, ip, done, user_data) : NULL;
    if (done && !w)
        return nexus__nomem();
    pthread_mutex_lock(&v->lock);
    asking *a = find(v, text), *fresh = a ? NULL : begin(v, text);
    a = a ? a : fresh;
    if (a && w) {
        w->next = a->waiters;
        a->waiters = w;
    }
    pthread_mutex_unlock(&v->lock);
    if (!a) {
        nexus__free(v->alloc, w);
        return nexus__fail(NEXUS_EAGAIN, "too many API keys are being asked for");
    }
    if (!fresh)
        return NEXUS_OK;
    nexus_status status = v->opts.keys ? nexus_runtime_submit(v->opts.runtime, ask_database, fresh) : ask_service(fresh);
    if (status == NEXUS_OK)
        return NEXUS_OK;
    remove_waiter(fresh, w); /* who joined meanwhile is told; the caller learns it from what is returned */
    answered(fresh, NEXUS_EAGAIN, (nexus_slice){0});
    return nexus__fail(NEXUS_EAGAIN, "the API key cannot be asked for now");
}

nexus_status nexus_apikey_verifier_wait_async(nexus_apikey_verifier *v, const char *text, size_t n, nexus_slice ip,
                                              nexus_apikey_fn *done, void *user_data)
{
    if (!nexus_apikey_parse(text, n, NULL))
        return nexus__apikey_refused();
    return ask(v, nexus__slice(text, n), ip, done, user_data);
}

nexus_status nexus_apikey_verifier_check(nexus_apikey_verifier *v, const char *text, size_t n, nexus_slice ip,
                                         nexus_principal **out)
{
    int64_t now = now_of(v), age;
    nexus_slice key = nexus__slice(text, n);
    if (!nexus_apikey_parse(text, n, NULL))
        return nexus__apikey_refused();
    nexus__apikey_known *known = nexus__apikey_cache_get(v->cache, key, now, &age);
    if (!known)
        return nexus__fail(NEXUS_EAGAIN, "the API key must be asked for");
    nexus_status status = nexus__apikey_judge(known, ip, now);
    if (status == NEXUS_OK)
        *out = nexus_principal_ref(known->principal);
    nexus__apikey_known_unref(known);
    if (age >= NEXUS__APIKEY_FRESH_NS && ask(v, key, (nexus_slice){0}, NULL, NULL) != NEXUS_OK)
        return status; /* then who comes later waits */
    return status;
}

void nexus_apikey_verifier_forget(nexus_apikey_verifier *v, nexus_slice id)
{
    nexus__apikey_cache_forget(v->cache, id);
}
