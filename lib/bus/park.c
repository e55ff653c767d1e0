/*
 * Lanes that wait among the dead letters (NEXUS_PARK_LANE): while a letter of a key is there that was not handed out
 * again, whatever comes for that key is buried behind it. Redriven, they come back in the order of their positions.
 */
#include "base/status.h"
#include "bus/internal.h"

parked *nexus__bgroup_parked(const nexus__bgroup *g, nexus_slice key)
{
    return g->parked.count && key.n ? nexus__map_get(&g->parked, key) : NULL;
}

static parked *lane_of(nexus__bgroup *g, nexus_slice key)
{
    parked *p = nexus__map_get(&g->parked, key);
    if (p)
        return p;
    p = nexus__malloc(g->broker->alloc, sizeof *p + key.n);
    if (!p)
        return NULL;
    nexus__list_init(&p->letters);
    p->key_bytes = key.n;
    memcpy(p->key, key.p, key.n);
    if (nexus__map_put(&g->parked, nexus__slice(p->key, key.n), p, NULL) == NEXUS_OK)
        return p;
    nexus__free(g->broker->alloc, p);
    return NULL;
}

nexus_status nexus__bgroup_park(nexus__bgroup *g, dead *d)
{
    nexus_slice key = nexus__bgroup_lane_key(g, &d->stored->view.event);
    parked *p = key.n ? lane_of(g, key) : NULL;
    if (!p)
        return key.n ? nexus__nomem() : NEXUS_OK;
    nexus__list *at = p->letters.prev; /* mostly at the end */
    while (at != &p->letters && NEXUS__CONTAINER(at, dead, in_parked)->pos > d->pos)
        at = at->prev;
    nexus__list_insert(at->next, &d->in_parked);
    d->parked = p;
    return NEXUS_OK;
}

void nexus__bgroup_unpark(nexus__bgroup *g, dead *d)
{
    parked *p = d->parked;
    if (!p)
        return;
    nexus__list_remove(&d->in_parked);
    d->parked = NULL;
    if (!nexus__list_empty(&p->letters))
        return;
    nexus__map_remove(&g->parked, nexus__slice(p->key, p->key_bytes));
    nexus__free(g->broker->alloc, p);
}
