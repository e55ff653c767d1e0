#include "gateway/usage.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/status.h"
#include "base/time.h"

enum { PROBES = 16 };

typedef struct text {
    char p[NEXUS__USAGE_TEXT_MAX];
    uint8_t n;
} text;

typedef struct row {
    atomic_ullong hash; /* 0 = free; written last */
    atomic_ullong requests;
    atomic_llong last_s;
    uint64_t subject; /* hash of route and version */
    text consumer;
} row;

struct nexus__usage {
    const nexus_alloc *alloc;
    nexus__hash_key key;
    pthread_mutex_t mutex; /* to bring a row in */
    atomic_ullong overflow;
    row rows[NEXUS__USAGE_ROWS];
};

nexus_status nexus__usage_new(nexus__usage **out, const nexus_alloc *alloc)
{
    nexus__usage *u = nexus__calloc(alloc, 1, sizeof *u);
    if (!u)
        return nexus__nomem();
    u->alloc = alloc;
    u->key = nexus__hash_key_random();
    pthread_mutex_init(&u->mutex, NULL);
    *out = u;
    return NEXUS_OK;
}

void nexus__usage_free(nexus__usage *u)
{
    if (!u)
        return;
    pthread_mutex_destroy(&u->mutex);
    nexus__free(u->alloc, u);
}

static text cut(nexus_slice from)
{
    text t = {.n = (uint8_t)(from.n < NEXUS__USAGE_TEXT_MAX ? from.n : NEXUS__USAGE_TEXT_MAX)};
    if (t.n)
        memcpy(t.p, from.p, t.n);
    return t;
}

static uint64_t subject_of(const nexus__usage *u, nexus_slice route, nexus_slice version)
{
    return nexus__mix64(nexus__siphash(u->key, route.p, route.n)) + nexus__siphash(u->key, version.p, version.n);
}

/* The row of the hash, or the first free place, or NULL. */
static row *find(nexus__usage *u, uint64_t hash, bool *there)
{
    for (uint32_t i = 0; i < PROBES; i++) {
        row *r = &u->rows[(hash + i) & (NEXUS__USAGE_ROWS - 1)];
        unsigned long long stands = atomic_load_explicit(&r->hash, memory_order_acquire);
        *there = stands == hash;
        if (*there || stands == 0)
            return r;
    }
    *there = false;
    return NULL;
}

static row *bring_in(nexus__usage *u, uint64_t hash, uint64_t subject, nexus_slice consumer)
{
    bool there;
    pthread_mutex_lock(&u->mutex);
    row *r = find(u, hash, &there);
    if (r && !there) {
        r->subject = subject;
        r->consumer = cut(consumer);
        atomic_store_explicit(&r->hash, hash, memory_order_release);
    }
    pthread_mutex_unlock(&u->mutex);
    return r;
}

void nexus__usage_count(nexus__usage *u, nexus_slice route, nexus_slice version, nexus_slice consumer, int64_t now_s)
{
    bool there;
    uint64_t subject = subject_of(u, route, version);
    uint64_t hash = nexus__mix64(subject ^ nexus__siphash(u->key, consumer.p, consumer.n));
    hash += hash == 0;
    row *r = find(u, hash, &there);
    if (r && !there)
        r = bring_in(u, hash, subject, consumer);
    if (!r) {
        atomic_fetch_add_explicit(&u->overflow, 1, memory_order_relaxed);
        return;
    }
    atomic_fetch_add_explicit(&r->requests, 1, memory_order_relaxed);
    atomic_store_explicit(&r->last_s, now_s, memory_order_relaxed);
}

void nexus__usage_put(const nexus__usage *u, nexus_slice route, nexus_slice version, nexus__json_writer *w)
{
    uint64_t subject = u ? subject_of(u, route, version) : 0;
    nexus__json_key(w, "consumers");
    nexus__json_open(w, '[');
    for (uint32_t i = 0; u && i < NEXUS__USAGE_ROWS; i++) {
        const row *r = &u->rows[i];
        char date[32];
        if (!atomic_load_explicit(&r->hash, memory_order_acquire) || r->subject != subject)
            continue;
        size_t n = nexus__format_rfc3339(atomic_load(&r->last_s) * NEXUS__NS_PER_S, date);
        nexus__json_open(w, '{');
        nexus__json_put_text(w, "consumer", nexus__slice(r->consumer.p, r->consumer.n));
        nexus__json_put_u64(w, "requests", atomic_load(&r->requests));
        nexus__json_put_text(w, "last_seen", nexus__slice(date, n));
        nexus__json_close(w, '}');
    }
    nexus__json_close(w, ']');
}

uint64_t nexus__usage_overflow(const nexus__usage *u)
{
    return u ? atomic_load(&u->overflow) : 0;
}
