/* When a lease or a delay ends: a heap of entries by due_ns. */
#include "base/status.h"
#include "bus/internal.h"

static void heap_set(nexus__bgroup *g, size_t at, entry *e)
{
    g->timers[at] = e;
    e->heap_at = at + 1;
}

static void heap_up(nexus__bgroup *g, size_t at)
{
    entry *e = g->timers[at];
    for (; at && g->timers[(at - 1) / 2]->due_ns > e->due_ns; at = (at - 1) / 2)
        heap_set(g, at, g->timers[(at - 1) / 2]);
    heap_set(g, at, e);
}

static void heap_down(nexus__bgroup *g, size_t at)
{
    entry *e = g->timers[at];
    for (;;) {
        size_t child = at * 2 + 1;
        if (child >= g->timer_count)
            break;
        if (child + 1 < g->timer_count && g->timers[child + 1]->due_ns < g->timers[child]->due_ns)
            child++;
        if (g->timers[child]->due_ns >= e->due_ns)
            break;
        heap_set(g, at, g->timers[child]);
        at = child;
    }
    heap_set(g, at, e);
}

void nexus__bgroup_timer_stop(nexus__bgroup *g, entry *e)
{
    if (!e->heap_at)
        return;
    size_t at = e->heap_at - 1;
    e->heap_at = 0;
    entry *last = g->timers[--g->timer_count];
    if (last == e)
        return;
    heap_set(g, at, last);
    heap_up(g, at);
    heap_down(g, last->heap_at - 1);
}

/* Room for one more event of the window: any number of them may come to wait for a time. */
nexus_status nexus__bgroup_timer_reserve(nexus__bgroup *g)
{
    if (g->by_pos.count < g->timer_cap)
        return NEXUS_OK;
    size_t cap = g->timer_cap ? g->timer_cap * 2 : 64;
    entry **grown = nexus__realloc(g->broker->alloc, g->timers, cap * sizeof *grown);
    if (!grown)
        return nexus__nomem();
    g->timers = grown;
    g->timer_cap = cap;
    return NEXUS_OK;
}

void nexus__bgroup_timer_start(nexus__bgroup *g, entry *e, int64_t due_ns) /* room is reserved when the entry is loaded */
{
    nexus__bgroup_timer_stop(g, e);
    e->due_ns = due_ns;
    g->timers[g->timer_count++] = e;
    heap_up(g, g->timer_count - 1);
}
