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
    for (int i = 0; i < NEXUS__REVOKED_KINDS; i++)
        nexus__map_init(&r->maps[i], alloc);
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
    for (int i = 0; i < NEXUS__REVOKED_KINDS; i++)
        free_map(r, &r->maps[i]);
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

static size_t count_all(const nexus__revocations *r)
{
    size_t n = 0;
    for (int i = 0; i < NEXUS__REVOKED_KINDS; i++)
        n += r->maps[i].count;
    return n;
}

nexus_status nexus__revocations_add(nexus__revocations *r, nexus__revoked_kind kind, nexus_slice name, int64_t until_s,
                                    int64_t before_s, int64_t now_s)
{
    entry *e = nexus__malloc(r->alloc, sizeof *e + name.n);
    if (!e)
        return nexus__nomem();
    *e = (entry){until_s, before_s, name.n};
    memcpy(e->name, name.p, name.n);
    nexus__map *map = &r->maps[kind];
    void *old = NULL;
    pthread_mutex_lock(&r->lock);
    if (map->count % 1024 == 1023)
        purge(r, map, now_s);
    nexus_status status = map->count >= ENTRIES_MAX
                              ? nexus__fail(NEXUS_ELIMIT, "more than %d live revocations", ENTRIES_MAX)
                              : nexus__map_put(map, nexus__slice(e->name, e->n), e, &old);
    atomic_store(&r->count, count_all(r));
    pthread_mutex_unlock(&r->lock);
    nexus__free(r->alloc, status == NEXUS_OK ? old : e);
    return status;
}

bool nexus__revocations_match(nexus__revocations *r, const nexus_principal *p)
{
    if (atomic_load_explicit(&r->count, memory_order_acquire) == 0)
        return false;
    const nexus_slice names[NEXUS__REVOKED_KINDS] = {p->jti, p->subject, p->session, p->client};
    bool match = false;
    pthread_mutex_lock(&r->lock);
    for (int i = 0; i < NEXUS__REVOKED_KINDS && !match; i++) {
        const entry *e = names[i].n ? nexus__map_get(&r->maps[i], names[i]) : NULL;
        match = e && p->issued_s < e->before_s;
    }
    pthread_mutex_unlock(&r->lock);
    return match;
}
