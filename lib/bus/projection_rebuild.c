/*
 * Rebuilding: a shadow generation beside the live one. Each thread reads the log by itself and takes the events of its
 * share of the keys, with a checkpoint of its own, so an interrupted rebuild goes on where each of them was. When all
 * are near the end, the live thread stops them, takes each to the same position, and swaps in one transaction.
 */
#include "base/status.h"
#include "bus/projection.h"

static void *build(void *arg)
{
    nexus__projector *w = arg;
    nexus_projection *p = w->projection;
    while (!atomic_load(&p->stop_parts) && !atomic_load(&p->closing)) {
        nexus_status status = nexus__projector_batch(w, 50);
        if (status != NEXUS_OK && status != NEXUS_EDONE)
            nexus__projector_rest(w, p->opts.retry_ms);
    }
    return NULL;
}

nexus_status nexus__projection_begin_rebuild(nexus_projection *p)
{
    nexus_status status = nexus__projection_make_shadow(p);
    atomic_store(&p->stop_parts, false);
    for (uint32_t i = 0; status == NEXUS_OK && i < p->part_count; i++) {
        status = nexus__thread_start(&p->parts[i].thread, "nexus-rebuild", build, &p->parts[i]);
        p->parts[i].started = status == NEXUS_OK;
    }
    if (status != NEXUS_OK)
        nexus__projection_end_parts(p);
    return status;
}

static void stop_threads(nexus_projection *p)
{
    atomic_store(&p->stop_parts, true);
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    for (uint32_t i = 0; i < p->part_count; i++) {
        if (p->parts[i].started)
            pthread_join(p->parts[i].thread, NULL);
        p->parts[i].started = false;
    }
}

void nexus__projection_end_parts(nexus_projection *p)
{
    stop_threads(p);
    for (uint32_t i = 0; i < p->part_count; i++)
        nexus_reader_close(p->parts[i].reader);
    pthread_mutex_lock(&p->lock);
    nexus__free(NULL, p->parts);
    p->parts = NULL;
    p->part_count = 0;
    p->shadow = 0;
    pthread_mutex_unlock(&p->lock);
}

static bool near(const nexus_projection *p, uint64_t head)
{
    for (uint32_t i = 0; i < p->part_count; i++)
        if (atomic_load(&p->parts[i].pos) + p->opts.swap_lag < head)
            return false;
    return true;
}

/* Each thread's share up to the same position. */
static nexus_status level(nexus_projection *p, uint64_t to)
{
    for (uint32_t i = 0; i < p->part_count; i++) {
        nexus__projector *w = &p->parts[i];
        nexus_status status = NEXUS_OK;
        nexus_reader_close(w->reader);
        w->reader = NULL;
        w->to = to;
        while (status == NEXUS_OK && !atomic_load(&p->closing))
            status = nexus__projector_batch(w, 0);
        if (status != NEXUS_EDONE)
            return status == NEXUS_OK ? nexus__fail(NEXUS_ECANCELED, "the projection is closing") : status;
    }
    return NEXUS_OK;
}

void nexus__projection_look_at_rebuild(nexus_projection *p)
{
    uint64_t head, at = 0;
    if (!p->part_count || nexus_bus_head(p->bus, &head) != NEXUS_OK || !near(p, head))
        return;
    stop_threads(p);
    for (uint32_t i = 0; i < p->part_count; i++) /* one may have passed the head of a moment ago */
        at = atomic_load(&p->parts[i].pos) > at ? atomic_load(&p->parts[i].pos) : at;
    at = head > at ? head : at;
    nexus_status status = level(p, at);
    if (status == NEXUS_OK)
        status = nexus__projection_swap(p, at);
    nexus__projection_end_parts(p);
    pthread_mutex_lock(&p->lock);
    p->error = status;
    p->rebuilding = false;
    p->wants_rebuild = status != NEXUS_OK && !atomic_load(&p->closing); /* resumed: what is done stays done */
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}
