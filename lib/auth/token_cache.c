#include "auth/token_cache.h"

#include <pthread.h>

#include "base/hash.h"
#include "base/status.h"

#define WAYS 4
#define LOCKS 64

typedef struct set {
    nexus_principal *ways[WAYS];
} set;

struct nexus__token_cache {
    const nexus_alloc *alloc;
    nexus__hash_key key;
    uint32_t count; /* sets, a power of two */
    pthread_mutex_t locks[LOCKS];
    set sets[]; /* sets[i] under locks[i % LOCKS] */
};

nexus_status nexus__token_cache_new(nexus__token_cache **out, const nexus_alloc *alloc, uint32_t tokens)
{
    uint32_t sets = 1;
    while (sets < tokens / WAYS && sets < 1u << 20)
        sets *= 2;
    nexus__token_cache *c = nexus__calloc(alloc, 1, sizeof *c + sets * sizeof c->sets[0]);
    if (!c)
        return nexus__nomem();
    c->alloc = alloc;
    c->count = sets;
    c->key = nexus__hash_key_random();
    for (size_t i = 0; i < LOCKS; i++)
        pthread_mutex_init(&c->locks[i], NULL);
    *out = c;
    return NEXUS_OK;
}

static bool is_token(const nexus_principal *p, uint64_t hash, nexus_slice token)
{
    return p && p->hash == hash && p->token_n == token.n && memcmp(p->token, token.p, token.n) == 0;
}

nexus_principal *nexus__token_cache_get(nexus__token_cache *c, nexus_slice token, uint64_t generation)
{
    uint64_t hash = nexus__siphash(c->key, token.p, token.n);
    uint32_t index = (uint32_t)hash & (c->count - 1);
    nexus_principal *found = NULL, *old = NULL;
    pthread_mutex_lock(&c->locks[index % LOCKS]);
    for (size_t i = 0; i < WAYS && !found && !old; i++) {
        nexus_principal **way = &c->sets[index].ways[i];
        if (!is_token(*way, hash, token))
            continue;
        if ((*way)->generation == generation)
            found = nexus_principal_ref(*way);
        else {
            old = *way;
            *way = NULL;
        }
    }
    pthread_mutex_unlock(&c->locks[index % LOCKS]);
    nexus_principal_free(old);
    return found;
}

void nexus__token_cache_put(nexus__token_cache *c, nexus_principal *p)
{
    p->hash = nexus__siphash(c->key, p->token, p->token_n);
    uint32_t index = (uint32_t)p->hash & (c->count - 1);
    set *s = &c->sets[index];
    size_t victim = 0;
    pthread_mutex_lock(&c->locks[index % LOCKS]);
    for (size_t i = 0; i < WAYS; i++) {
        if (!s->ways[i] || is_token(s->ways[i], p->hash, nexus__slice(p->token, p->token_n))) {
            victim = i;
            break;
        }
        if (s->ways[i]->expires_s < s->ways[victim]->expires_s)
            victim = i;
    }
    nexus_principal *old = s->ways[victim];
    s->ways[victim] = nexus_principal_ref(p);
    pthread_mutex_unlock(&c->locks[index % LOCKS]);
    nexus_principal_free(old);
}

void nexus__token_cache_free(nexus__token_cache *c)
{
    if (!c)
        return;
    for (uint32_t i = 0; i < c->count; i++)
        for (size_t j = 0; j < WAYS; j++)
            nexus_principal_free(c->sets[i].ways[j]);
    for (size_t i = 0; i < LOCKS; i++)
        pthread_mutex_destroy(&c->locks[i]);
    nexus__free(c->alloc, c);
}
