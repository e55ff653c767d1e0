#include "auth/revocation.h"

#include "base/status.h"

#define ENTRIES_MAX 100000

typedef struct entry {
    int64_t until_s, before_s;
    size_t n;
    char name[];
} entry;

void nexus__revocations_init(nexus__revocations *r, const nexus_alloc *alloc)
{
    r->alloc = alloc;
    atomic_init(&r->count, 0);
    pthread_mutex_init(&r->lock, NULL);
    nexus__map_init(&r->tokens, alloc);
    nexus__map_init(&r->subjects, alloc);
}

static void free_map(nexus__revocations *r, nexus__map *map)
{
    size_t cursor = 0;
    for (nexus__map_entry *e; (e = nexus__map_next(map, &cursor));)
        nexus__free(r->alloc, e->value);
    nexus__map_free(map);
}

void nexus__revocations_free(nexus__revocations *r)
{
    free_map(r, &r->tokens);
    free_map(r, &r->subjects);
    pthread_mutex_destroy(&r->lock);
}

/* Under lock: drops what has expired by itself. Removing while walking is not allowed, so it goes in rounds. */
static void purge(nexus__revocations *r, nexus__map *map, int64_t now_s)
{
    for (;;) {
        nexus_slice dead[64];
        size_t n = 0, cursor = 0;
        for (nexus__map_entry *e; n < 64 && (e = nexus__map_next(map, &cursor));)
            if (((entry *)e->value)->until_s < now_s)
                dead[n++] = e->key;
        for (size_t i = 0; i < n; i++)
            nexus__free(r->alloc, nexus__map_remove(map, dead[i]));
        if (n < 64)
            return;
    }
}

nexus_status nexus__revocations_add(nexus__revocations *r, bool subject, nexus_slice name, int64_t until_s,
                                    int64_t before_s, int64_t now_s)
{
    entry *e = nexus__malloc(r->alloc, sizeof *e + name.n);
    if (!e)
        return nexus__nomem();
    *e = (entry){until_s, before_s, name.n};
    memcpy(e->name, name.p, name.n);
    nexus__map *map = subject ? &r->subjects : &r->tokens;
    void *old = NULL;
    pthread_mutex_lock(&r->lock);
    if (map->count % 1024 == 1023)
        purge(r, map, now_s);
    nexus_status status = map->count >= ENTRIES_MAX
                              ? nexus__fail(NEXUS_ELIMIT, "more than %d live revocations", ENTRIES_MAX)
                              : nexus__map_put(map, nexus__slice(e->name, e->n), e, &old);
    atomic_store(&r->count, r->tokens.count + r->subjects.count);
    pthread_mutex_unlock(&r->lock);
    nexus__free(r->alloc, status == NEXUS_OK ? old : e);
    return status;
}

bool nexus__revocations_match(nexus__revocations *r, const nexus_principal *p)
{
    if (atomic_load_explicit(&r->count, memory_order_acquire) == 0)
        return false;
    pthread_mutex_lock(&r->lock);
    bool match = p->jti.n && nexus__map_get(&r->tokens, p->jti);
    const entry *e = match ? NULL : nexus__map_get(&r->subjects, p->subject);
    match = match || (e && p->issued_s < e->before_s);
    pthread_mutex_unlock(&r->lock);
    return match;
}
