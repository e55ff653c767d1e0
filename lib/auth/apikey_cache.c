#include <pthread.h>

#include "auth/apikey.h"
#include "base/id.h"
#include "base/status.h"
#include "base/time.h"
#include "crypto/hmac.h"
#include "crypto/wipe.h"

enum { WAYS = 4, LOCKS = 64, DIGEST = 32 };

typedef struct slot {
    uint8_t digest[DIGEST];
    nexus__apikey_known *known; /* NULL = free */
    int64_t asked_ns;
} slot;

typedef struct set {
    slot ways[WAYS];
} set;

struct nexus__apikey_cache {
    const nexus_alloc *alloc;
    nexus__hmac *names;
    uint32_t count; /* sets, a power of two */
    pthread_mutex_t locks[LOCKS];
    set sets[]; /* sets[i] under locks[i % LOCKS] */
};

nexus_status nexus__apikey_cache_new(nexus__apikey_cache **out, const nexus_alloc *alloc, uint32_t keys)
{
    uint32_t sets = 1;
    uint8_t secret[DIGEST];
    while (sets < keys / WAYS && sets < 1u << 18)
        sets *= 2;
    nexus__apikey_cache *c = nexus__calloc(alloc, 1, sizeof *c + sets * sizeof c->sets[0]);
    if (!c)
        return nexus__nomem();
    c->alloc = alloc;
    c->count = sets;
    nexus__random(secret, sizeof secret);
    nexus_status status = nexus__hmac_new(&c->names, NEXUS__SHA256, secret, sizeof secret);
    nexus__wipe(secret, sizeof secret);
    for (size_t i = 0; i < LOCKS; i++)
        pthread_mutex_init(&c->locks[i], NULL);
    if (status == NEXUS_OK)
        *out = c;
    else
        nexus__apikey_cache_free(c);
    return status;
}

static set *find_set(nexus__apikey_cache *c, nexus_slice text, uint8_t digest[static NEXUS__DIGEST_MAX],
                     pthread_mutex_t **lock)
{
    uint32_t index;
    if (nexus__hmac_compute(c->names, &text, 1, digest) != NEXUS_OK)
        return NULL;
    memcpy(&index, digest, sizeof index);
    index &= c->count - 1;
    *lock = &c->locks[index % LOCKS];
    return &c->sets[index];
}

static bool is_here(const slot *s, const uint8_t *digest)
{
    return s->known && nexus__equal_ct(s->digest, digest, DIGEST);
}

nexus__apikey_known *nexus__apikey_cache_get(nexus__apikey_cache *c, nexus_slice text, int64_t now, int64_t *age)
{
    uint8_t digest[NEXUS__DIGEST_MAX];
    pthread_mutex_t *lock;
    set *s = find_set(c, text, digest, &lock);
    nexus__apikey_known *found = NULL;
    if (!s)
        return NULL;
    pthread_mutex_lock(lock);
    for (size_t i = 0; i < WAYS && !found; i++) {
        if (!is_here(&s->ways[i], digest))
            continue;
        *age = now - s->ways[i].asked_ns;
        if (*age < 0 || *age >= NEXUS__APIKEY_GOOD_NS) /* a clock that was set back proves nothing */
            break;
        found = s->ways[i].known;
        atomic_fetch_add_explicit(&found->refs, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(lock);
    return found;
}

void nexus__apikey_cache_put(nexus__apikey_cache *c, nexus_slice text, nexus__apikey_known *known, int64_t asked)
{
    uint8_t digest[NEXUS__DIGEST_MAX];
    pthread_mutex_t *lock;
    set *s = find_set(c, text, digest, &lock);
    if (!s)
        return;
    atomic_fetch_add_explicit(&known->refs, 1, memory_order_relaxed);
    pthread_mutex_lock(lock);
    slot *at = &s->ways[0];
    for (size_t i = 0; i < WAYS; i++) {
        if (is_here(&s->ways[i], digest)) {
            at = &s->ways[i];
            break;
        }
        if (!s->ways[i].known || (at->known && s->ways[i].asked_ns < at->asked_ns))
            at = &s->ways[i];
    }
    nexus__apikey_known *old = at->known;
    memcpy(at->digest, digest, DIGEST);
    at->known = known;
    at->asked_ns = asked;
    pthread_mutex_unlock(lock);
    nexus__apikey_known_unref(old);
}

void nexus__apikey_cache_drop(nexus__apikey_cache *c, nexus_slice text)
{
    uint8_t digest[NEXUS__DIGEST_MAX];
    pthread_mutex_t *lock;
    set *s = find_set(c, text, digest, &lock);
    nexus__apikey_known *old = NULL;
    if (!s)
        return;
    pthread_mutex_lock(lock);
    for (size_t i = 0; i < WAYS; i++)
        if (is_here(&s->ways[i], digest)) {
            old = s->ways[i].known;
            s->ways[i].known = NULL;
        }
    pthread_mutex_unlock(lock);
    nexus__apikey_known_unref(old);
}

/* A key may be here under two texts while it is rotated: all sets are walked, which revocations are rare enough for. */
void nexus__apikey_cache_forget(nexus__apikey_cache *c, nexus_slice id)
{
    for (uint32_t k = 0; k < c->count; k++) {
        nexus__apikey_known *old[WAYS] = {0};
        pthread_mutex_lock(&c->locks[k % LOCKS]);
        for (size_t i = 0; i < WAYS; i++) {
            slot *s = &c->sets[k].ways[i];
            if (s->known && nexus__slice_eq(s->known->principal->jti, id)) {
                old[i] = s->known;
                s->known = NULL;
            }
        }
        pthread_mutex_unlock(&c->locks[k % LOCKS]);
        for (size_t i = 0; i < WAYS; i++)
            nexus__apikey_known_unref(old[i]);
    }
}

void nexus__apikey_cache_free(nexus__apikey_cache *c)
{
    if (!c)
        return;
    for (uint32_t k = 0; k < c->count; k++)
        for (size_t i = 0; i < WAYS; i++)
            nexus__apikey_known_unref(c->sets[k].ways[i].known);
    for (size_t i = 0; i < LOCKS; i++)
        pthread_mutex_destroy(&c->locks[i]);
    nexus__hmac_free(c->names);
    nexus__free(c->alloc, c);
}
