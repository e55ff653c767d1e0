#include "auth/jwks.h"

#include <nexus/client.h>

#include "base/backoff.h"
#include "base/hash.h"
#include "base/id.h"
#include "base/status.h"

#define WAITERS_MAX 1024
#define STALE_S (24 * 3600)
#define UNKNOWN_KID_NS (30 * NEXUS__NS_PER_S)
#define MISSED_MAX 1024
#define MISSED_NS (60 * NEXUS__NS_PER_S)

typedef struct waiter {
    nexus_verifier_fn *done;
    void *user_data;
} waiter;

struct nexus__jwks {
    atomic_uint refs; /* the handle's and one while fetching */
    const nexus_alloc *alloc;
    char *url;
    nexus_client *client;
    uint32_t ttl_s;
    int64_t (*now_fn)(void *user_data);
    void *user_data;
    nexus__hash_key hash_key;
    pthread_mutex_t lock;
    struct {
        nexus__shared_keys *keys;
        uint64_t generation;
        uint64_t body_hash;
        int64_t due_ns, unusable_ns; /* refresh from; refuse from */
        int64_t retry_ns;            /* no fetch before */
        int64_t unknown_ns;          /* last fetch for an unknown kid */
        struct {
            uint64_t header; /* hash of the token's header, which names the kid */
            int64_t until_ns;
        } missed[MISSED_MAX]; /* those that were fetched for and not found: not again for a while */
        uint32_t failures;
        bool fetching, closed;
        waiter waiters[WAITERS_MAX];
        size_t waiting;
    } locked;
};

void nexus__shared_keys_free(nexus__shared_keys *k)
{
    if (!k || atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel) != 1)
        return;
    nexus_keyset_free(k->owned);
    nexus__free(NULL, k);
}

static nexus__shared_keys *share(const nexus_keyset *set, nexus_keyset *owned, uint64_t generation)
{
    nexus__shared_keys *k = nexus__calloc(NULL, 1, sizeof *k);
    if (!k)
        return NULL;
    atomic_init(&k->refs, 1);
    k->set = set;
    k->owned = owned;
    k->generation = generation;
    return k;
}

static void unref(nexus__jwks *j)
{
    if (atomic_fetch_sub_explicit(&j->refs, 1, memory_order_acq_rel) != 1)
        return;
    nexus__shared_keys_free(j->locked.keys);
    pthread_mutex_destroy(&j->lock);
    nexus__free(j->alloc, j->url);
    nexus__free(j->alloc, j);
}

/* --- opening ---------------------------------------------------------------------------------------------------- */

bool nexus__issuer_url_allowed(const char *url)
{
    static const char *const local[] = {"http://127.", "http://localhost:", "http://localhost/", "http://[::1]"};
    if (strncmp(url, "https://", 8) == 0)
        return true;
    for (size_t i = 0; i < sizeof local / sizeof local[0]; i++)
        if (strncmp(url, local[i], strlen(local[i])) == 0)
            return true;
    return false;
}

nexus_status nexus__jwks_open(nexus__jwks **out, const nexus_verifier_opts *opts)
{
    if (!opts->jwks_url != !opts->client || (opts->keys && opts->jwks_url))
        return nexus__fail(NEXUS_EINVAL, "a verifier takes jwks_url and client, or keys, or neither");
    if (opts->jwks_url && !nexus__issuer_url_allowed(opts->jwks_url))
        return nexus__fail(NEXUS_EINVAL, "jwks_url: \"%s\" must be https, unless loopback", opts->jwks_url);
    nexus__jwks *j = nexus__calloc(opts->alloc, 1, sizeof *j);
    if (!j)
        return nexus__nomem();
    atomic_init(&j->refs, 1);
    pthread_mutex_init(&j->lock, NULL);
    j->alloc = opts->alloc;
    j->hash_key = nexus__hash_key_random();
    j->client = opts->client;
    j->ttl_s = opts->ttl_s ? opts->ttl_s : 600;
    j->now_fn = opts->now_fn;
    j->user_data = opts->user_data;
    if (opts->keys)
        j->locked.keys = share(opts->keys, NULL, 1);
    else if (opts->jwks_url)
        j->url = nexus__strndup(opts->alloc, nexus__slice_c(opts->jwks_url));
    if ((opts->keys && !j->locked.keys) || (opts->jwks_url && !j->url)) {
        unref(j);
        return nexus__nomem();
    }
    *out = j;
    return NEXUS_OK;
}

int64_t nexus__jwks_now_ns(const nexus__jwks *j)
{
    return j->now_fn ? j->now_fn(j->user_data) : nexus__real_ns();
}

/* --- a reply ---------------------------------------------------------------------------------------------------- */

/* max-age of a Cache-Control value, held within a minute and a day. */
static uint32_t time_to_live(const nexus__jwks *j, const nexus_reply *reply)
{
    nexus_slice value;
    uint64_t seconds = j->ttl_s;
    if (nexus_reply_header(reply, "Cache-Control", &value))
        while (value.n) {
            nexus_slice directive = nexus__slice_trim(nexus__slice_cut(&value, ','));
            if (nexus__slice_starts(directive, NEXUS_S("max-age=")))
                nexus__parse_u64(nexus__slice_from(directive, 8), &seconds);
        }
    return seconds < 60 ? 60 : seconds > 86400 ? 86400 : (uint32_t)seconds;
}

static nexus_status install(nexus__jwks *j, nexus_slice body, int64_t ttl_s)
{
    nexus_keyset *set;
    nexus_status status = nexus_keyset_parse(&set, body.p, body.n, NULL);
    if (status != NEXUS_OK)
        return status;
    uint64_t hash = nexus__siphash((nexus__hash_key){0}, body.p, body.n);
    nexus__shared_keys *fresh = share(set, set, 0), *old = NULL;
    if (!fresh) {
        nexus_keyset_free(set);
        return nexus__nomem();
    }
    int64_t now = nexus__jwks_now_ns(j);
    pthread_mutex_lock(&j->lock);
    old = j->locked.keys;
    if (!old || j->locked.body_hash != hash)
        j->locked.generation++; /* verified tokens of the cache are looked at anew */
    fresh->generation = j->locked.generation;
    j->locked.keys = fresh;
    j->locked.body_hash = hash;
    j->locked.due_ns = now + ttl_s * NEXUS__NS_PER_S / 10 * 8;
    j->locked.unusable_ns = now + (ttl_s + STALE_S) * NEXUS__NS_PER_S;
    pthread_mutex_unlock(&j->lock);
    nexus__shared_keys_free(old);
    return NEXUS_OK;
}

static nexus_status take_reply(nexus__jwks *j, const nexus_reply *reply)
{
    nexus_slice body;
    if (nexus_reply_status(reply) != 200)
        return nexus__fail(NEXUS_EPROTO, "%s answered %u", j->url, nexus_reply_status(reply));
    nexus_reply_body(reply, &body);
    return install(j, body, time_to_live(j, reply));
}

nexus_status nexus__jwks_use(nexus__jwks *j, nexus_slice body)
{
    if (j->url)
        return nexus__fail(NEXUS_EINVAL, "this verifier takes its keys from %s", j->url);
    return install(j, body, j->ttl_s);
}

/* Ends a fetch: the next may begin (later, after a failure), those who wait are told. */
static void finish(nexus__jwks *j, nexus_status status)
{
    /* Without any key every request waits for this, and the issuer may be a process that starts beside us: 25 ms at
     * first. With keys there is time. */
    static const nexus__backoff first = {.base_ms = 25, .cap_ms = 1000, .exact = true};
    static const nexus__backoff later = {.base_ms = 2000, .cap_ms = 60000};
    waiter *told = nexus__malloc(NULL, sizeof(waiter) * WAITERS_MAX);
    pthread_mutex_lock(&j->lock);
    j->locked.fetching = false;
    j->locked.failures = status == NEXUS_OK ? 0 : j->locked.failures + 1;
    j->locked.retry_ns = 0;
    if (status != NEXUS_OK) {
        uint32_t ms = nexus__backoff_ms(j->locked.keys ? &later : &first, j->locked.failures, nexus__random_u64());
        j->locked.retry_ns = nexus__jwks_now_ns(j) + ((j->locked.keys ? 1000 : 0) + ms) * NEXUS__NS_PER_MS;
    }
    size_t n = j->locked.waiting;
    if (told)
        memcpy(told, j->locked.waiters, n * sizeof *told);
    j->locked.waiting = told ? 0 : n; /* without memory they are told by the next fetch */
    pthread_mutex_unlock(&j->lock);
    for (size_t i = 0; told && i < n; i++)
        told[i].done(status, told[i].user_data);
    nexus__free(NULL, told);
}

static void fetched(nexus_status status, nexus_reply *reply, void *user_data)
{
    nexus__jwks *j = user_data;
    if (status == NEXUS_OK)
        status = take_reply(j, reply);
    nexus_reply_free(reply);
    finish(j, status);
    unref(j);
}

/* --- fetching --------------------------------------------------------------------------------------------------- */

static nexus_fetch request(const nexus__jwks *j)
{
    nexus_fetch fetch = NEXUS_FETCH_INIT;
    fetch.url = nexus__slice_c(j->url);
    fetch.timeout_ms = 5000;
    return fetch;
}

/* Under lock: whether the caller shall begin a fetch now, outside of it. */
static bool claim(nexus__jwks *j, int64_t now)
{
    if (!j->url || j->locked.fetching || j->locked.closed || now < j->locked.retry_ns)
        return false;
    return j->locked.fetching = true;
}

static nexus_status begin(nexus__jwks *j)
{
    nexus_fetch fetch = request(j);
    atomic_fetch_add(&j->refs, 1);
    nexus_status status = nexus_client_fetch_async(j->client, &fetch, fetched, j);
    if (status != NEXUS_OK) {
        finish(j, status);
        unref(j);
    }
    return status;
}

nexus__shared_keys *nexus__jwks_keys(nexus__jwks *j)
{
    int64_t now = j->url ? nexus__jwks_now_ns(j) : 0;
    nexus__shared_keys *keys = NULL;
    pthread_mutex_lock(&j->lock);
    bool usable = j->locked.keys && (!j->url || now < j->locked.unusable_ns);
    if (usable) {
        keys = j->locked.keys;
        atomic_fetch_add_explicit(&keys->refs, 1, memory_order_relaxed);
    }
    bool due = j->url && (!usable || now >= j->locked.due_ns) && claim(j, now);
    pthread_mutex_unlock(&j->lock);
    if (due)
        (void)!begin(j);
    return keys;
}

bool nexus__jwks_unknown_kid(nexus__jwks *j, nexus_slice token)
{
    int64_t now = nexus__jwks_now_ns(j);
    nexus_slice header = nexus__slice_cut(&token, '.');
    uint64_t hash = nexus__siphash(j->hash_key, header.p, header.n);
    size_t at = hash % MISSED_MAX;
    pthread_mutex_lock(&j->lock);
    bool missed = j->locked.missed[at].header == hash && now < j->locked.missed[at].until_ns;
    bool may = !missed && now - j->locked.unknown_ns >= UNKNOWN_KID_NS && claim(j, now);
    if (may) {
        j->locked.unknown_ns = now;
        j->locked.missed[at].header = hash;
        j->locked.missed[at].until_ns = now + MISSED_NS;
    }
    bool under_way = j->locked.fetching;
    pthread_mutex_unlock(&j->lock);
    return may ? begin(j) == NEXUS_OK : under_way;
}

bool nexus__jwks_has_keys(nexus__jwks *j)
{
    nexus__shared_keys *keys = nexus__jwks_keys(j);
    bool any = keys;
    nexus__shared_keys_free(keys);
    return any;
}

/* Under lock. The place in line, or WAITERS_MAX. */
static size_t stand_in_line(nexus__jwks *j, waiter w)
{
    if (j->locked.waiting < WAITERS_MAX)
        j->locked.waiters[j->locked.waiting++] = w;
    else
        return WAITERS_MAX;
    return j->locked.waiting - 1;
}

/* A fetch that this call began failed at once: its own waiter must not be called. */
static void leave_line(nexus__jwks *j, size_t at)
{
    pthread_mutex_lock(&j->lock);
    memmove(&j->locked.waiters[at], &j->locked.waiters[at + 1],
            (--j->locked.waiting - at) * sizeof j->locked.waiters[0]);
    pthread_mutex_unlock(&j->lock);
}

nexus_status nexus__jwks_wait(nexus__jwks *j, nexus_verifier_fn *done, void *user_data)
{
    int64_t now = nexus__jwks_now_ns(j);
    size_t at = WAITERS_MAX;
    pthread_mutex_lock(&j->lock);
    bool full = j->locked.waiting >= WAITERS_MAX;
    /* A fetch that ended since the check has answered already: another would break the limit for unknown kids. */
    bool answered = !j->locked.fetching && j->locked.keys && (!j->url || now < j->locked.due_ns);
    bool mine = !full && !answered && claim(j, now);
    bool fetching = j->locked.fetching;
    if (fetching && !full)
        at = stand_in_line(j, (waiter){done, user_data});
    pthread_mutex_unlock(&j->lock);
    if (answered)
        return NEXUS_EDONE;
    if (full)
        return nexus__fail(NEXUS_ELIMIT, "too many wait for the issuer's keys");
    if (!fetching)
        return nexus__fail(NEXUS_EUNREACH, "the issuer's keys cannot be fetched now");
    if (!mine)
        return NEXUS_OK;
    nexus_fetch fetch = request(j);
    atomic_fetch_add(&j->refs, 1);
    nexus_status status = nexus_client_fetch_async(j->client, &fetch, fetched, j);
    if (status == NEXUS_OK)
        return NEXUS_OK;
    leave_line(j, at);
    finish(j, status);
    unref(j);
    return status;
}

nexus_status nexus__jwks_refresh(nexus__jwks *j)
{
    if (!j->url)
        return NEXUS_OK;
    nexus_fetch fetch = request(j);
    nexus_reply *reply = NULL;
    nexus_status status = nexus_client_fetch(j->client, &fetch, &reply);
    if (status == NEXUS_OK)
        status = take_reply(j, reply);
    nexus_reply_free(reply);
    return status;
}

void nexus__jwks_close(nexus__jwks *j)
{
    if (!j)
        return;
    pthread_mutex_lock(&j->lock);
    j->locked.closed = true;
    pthread_mutex_unlock(&j->lock);
    unref(j);
}
