#include "gateway/auth/nonces.h"

#include <pthread.h>

#include "base/hash.h"
#include "base/status.h"

enum { WINDOW = 16 }; /* slots that may hold one nonce */

typedef struct used {
    uint64_t hash[2];
    int64_t until_s;
} used;

struct nexus__nonces {
    const nexus_alloc *alloc;
    nexus__hash_key key, nonce_key;
    uint32_t mask;
    pthread_mutex_t mutex; /* held for a look at WINDOW slots, beside a signature that took a hundred times as long */
    used slots[];
};

nexus_status nexus__nonces_new(nexus__nonces **out, uint32_t slots, const nexus_alloc *alloc)
{
    uint32_t n = WINDOW;
    while (n < slots && n < 1u << 30)
        n *= 2;
    nexus__nonces *nonces = nexus__calloc(alloc, 1, sizeof *nonces + n * sizeof nonces->slots[0]);
    if (!nonces)
        return nexus__nomem();
    nonces->alloc = alloc;
    nonces->key = nexus__hash_key_random();
    nonces->nonce_key = nexus__hash_key_random();
    nonces->mask = n - 1;
    for (uint32_t i = 0; i < n; i++)
        nonces->slots[i].until_s = INT64_MIN;
    pthread_mutex_init(&nonces->mutex, NULL);
    *out = nonces;
    return NEXUS_OK;
}

nexus_status nexus__nonces_use(nexus__nonces *nonces, nexus_slice keyid, nexus_slice nonce, int64_t until_s, int64_t now_s)
{
    used new = {.until_s = until_s};
    uint64_t whose = nexus__siphash(nonces->key, keyid.p, keyid.n);
    nexus__siphash128((nexus__hash_key){nonces->nonce_key.k0 ^ whose, nonces->nonce_key.k1}, nonce.p, nonce.n, new.hash);
    used *room = NULL;
    bool was_used = false;
    pthread_mutex_lock(&nonces->mutex);
    for (uint32_t i = 0; i < WINDOW && !was_used; i++) {
        used *u = &nonces->slots[(new.hash[0] + i) & nonces->mask];
        if (u->until_s < now_s)
            room = room ? room : u;
        else
            was_used = u->hash[0] == new.hash[0] && u->hash[1] == new.hash[1];
    }
    if (room && !was_used)
        *room = new;
    pthread_mutex_unlock(&nonces->mutex);
    if (was_used)
        return nexus__fail(NEXUS_ECONFLICT, "the nonce was used before");
    return room ? NEXUS_OK : nexus__fail(NEXUS_ENOSPC, "no more nonces can be remembered now");
}

void nexus__nonces_free(nexus__nonces *nonces)
{
    if (!nonces)
        return;
    pthread_mutex_destroy(&nonces->mutex);
    nexus__free(nonces->alloc, nonces);
}
