/* Lanes: the events of one key, of which only the first is ever ready, leased or delayed. */
#include "base/status.h"
#include "bus/internal.h"

nexus_slice nexus__bgroup_lane_key(const nexus__bgroup *g, const nexus_event *e)
{
    if (g->config.order == NEXUS_ORDER_TOTAL)
        return NEXUS_S("*");
    if (g->config.order == NEXUS_ORDER_NONE)
        return NEXUS_S("");
    return e->partitionkey.n ? e->partitionkey : e->subject;
}

lane *nexus__bgroup_lane(nexus__bgroup *g, nexus_slice key)
{
    lane *l = nexus__map_get(&g->lanes, key);
    if (l)
        return l;
    l = nexus__malloc(g->broker->alloc, sizeof *l + key.n);
    if (!l)
        return NULL;
    nexus__list_init(&l->entries);
    l->key_bytes = key.n;
    memcpy(l->key, key.p, key.n);
    if (nexus__map_put(&g->lanes, nexus__slice(l->key, key.n), l, NULL) != NEXUS_OK) {
        nexus__free(g->broker->alloc, l);
        return NULL;
    }
    return l;
}

/* Before younger events of its key, but never before one that is being tried, which is the first. Letters come back in
 * the order of positions, so the place is looked for from the end. */
void nexus__bgroup_enter_lane(nexus__bgroup *g, lane *l, entry *e)
{
    nexus__list *before = l->entries.prev;
    for (; before != &l->entries; before = before->prev) {
        const entry *other = NEXUS__CONTAINER(before, entry, in_lane);
        if (other->pos < e->pos || (other->state != ENTRY_WAITING && other->state != ENTRY_READY))
            break;
    }
    nexus__list_insert(before->next, &e->in_lane);
    if (l->entries.next != &e->in_lane)
        return;
    if (e->in_lane.next != &l->entries) {
        entry *second = NEXUS__CONTAINER(e->in_lane.next, entry, in_lane);
        nexus__bgroup_unready(second);
        second->state = ENTRY_WAITING;
    }
    nexus__bgroup_ready(g, e);
}

void nexus__bgroup_leave_lane(nexus__bgroup *g, entry *e)
{
    lane *l = e->lane;
    if (!l)
        return;
    nexus__list_remove(&e->in_lane);
    if (nexus__list_empty(&l->entries)) {
        nexus__map_remove(&g->lanes, nexus__slice(l->key, l->key_bytes));
        nexus__free(g->broker->alloc, l);
        return;
    }
    entry *next = NEXUS__CONTAINER(l->entries.next, entry, in_lane);
    if (next->state == ENTRY_WAITING)
        nexus__bgroup_ready(g, next);
}
