/* A ring of runs, bounded by number and by bytes. */
#include "bus/engines/recent.h"

void nexus__recent_init(nexus__recent *r, const nexus_alloc *alloc)
{
    *r = (nexus__recent){.alloc = alloc};
    pthread_mutex_init(&r->lock, NULL);
}

static void drop_first(nexus__recent *r)
{
    nexus__free(r->alloc, r->runs[r->first].bytes);
    r->bytes -= r->runs[r->first].n;
    r->first = (r->first + 1) % RECENT_RUNS;
    r->count--;
}

void nexus__recent_free(nexus__recent *r)
{
    while (r->count)
        drop_first(r);
    pthread_mutex_destroy(&r->lock);
}

static bool follows(const nexus__recent *r, uint64_t place)
{
    return !r->count || r->runs[r->first].place + r->count == place;
}

void nexus__recent_put(nexus__recent *r, uint64_t place, nexus_slice run)
{
    char *bytes = run.n <= RECENT_BYTES ? nexus__malloc(r->alloc, run.n ? run.n : 1) : NULL;
    if (bytes)
        memcpy(bytes, run.p, run.n);
    pthread_mutex_lock(&r->lock);
    while (r->count && (!bytes || r->count == RECENT_RUNS || r->bytes + run.n > RECENT_BYTES || !follows(r, place)))
        drop_first(r);
    if (bytes) {
        unsigned at = (r->first + r->count++) % RECENT_RUNS;
        r->runs[at].place = place;
        r->runs[at].bytes = bytes;
        r->runs[at].n = run.n;
        r->bytes += run.n;
    }
    pthread_mutex_unlock(&r->lock);
}

bool nexus__recent_get(nexus__recent *r, uint64_t place, nexus__buf *out, uint64_t *next)
{
    pthread_mutex_lock(&r->lock);
    uint64_t start = r->count ? r->runs[r->first].place : 0;
    bool here = r->count && place >= start && place < start + r->count;
    for (uint64_t p = place; here && p < start + r->count; p++) {
        unsigned at = (r->first + (unsigned)(p - start)) % RECENT_RUNS;
        nexus__buf_append(out, r->runs[at].bytes, r->runs[at].n);
        *next = p + 1;
    }
    pthread_mutex_unlock(&r->lock);
    return here;
}
