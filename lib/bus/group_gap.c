/*
 * Events that are gone before a group came to them: dropped by a hard retention, in a file that was lost, damaged. The
 * group is told in their place, by an event of its own that is handed out and settled like any other:
 *
 *   type nexus.gap, source /nexus/bus, id gap-GROUP-FROM-TO, data {"group":…,"from":…,"to":…,"events":…}
 */
#include <stdio.h>

#include "base/status.h"
#include "bus/internal.h"
#include "json/write.h"

/* Whether a checkpoint or the group's own acks say that nothing in there was left to do. */
static bool all_settled(const nexus__bgroup *g, uint64_t from, uint64_t to)
{
    const known *told = nexus__map_get(&g->known, nexus__pos_key(&from));
    if (told && told->done)
        return true;
    if (to > g->resumed)
        return false;
    size_t cursor = 0;
    for (nexus__map_entry *e; (e = nexus__map_next(&g->known, &cursor));) {
        const known *k = e->value;
        if (k->pos >= from && k->pos <= to && !k->done)
            return false;
    }
    return true;
}

static nexus__stored *gap_event(nexus__bgroup *g, uint64_t from, uint64_t to, nexus_status *status)
{
    char id[200];
    nexus__buf meta, data;
    nexus__buf_init(&meta, g->broker->alloc, 0);
    nexus__buf_init(&data, g->broker->alloc, 0);
    nexus__json_writer w = nexus__json_writer_on(&data);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "group", g->name);
    nexus__json_put_u64(&w, "from", from);
    nexus__json_put_u64(&w, "to", to);
    nexus__json_put_u64(&w, "events", to - from + 1);
    nexus__json_close(&w, '}');
    int n = snprintf(id, sizeof id, "gap-%s-%llu-%llu", g->name, (unsigned long long)from, (unsigned long long)to);
    nexus_event e = NEXUS_EVENT_INIT;
    e.id = nexus__slice(id, (size_t)n);
    e.source = NEXUS_S("/nexus/bus");
    e.type = NEXUS_S("nexus.gap");
    e.datacontenttype = NEXUS_S("application/json");
    e.time_ns = nexus__real_ns();
    nexus__event_encode(&meta, &e, NEXUS_S(""));
    *status = meta.status == NEXUS_OK ? data.status : meta.status;
    nexus__stored *s = NULL;
    if (*status == NEXUS_OK)
        s = nexus__stored_new(g->broker->alloc, nexus__buf_slice(&meta), nexus__buf_slice(&data), status);
    if (s) {
        s->pos = s->view.event.pos = from; /* so the floor stays before all of it until it is settled */
        s->view.event.version = -1;
    }
    nexus__buf_free(&meta);
    nexus__buf_free(&data);
    return s;
}

nexus_status nexus__bgroup_gap(nexus__bgroup *g, uint64_t from, uint64_t to, int64_t next_ns)
{
    nexus_status status;
    if (all_settled(g, from, to))
        return NEXUS_OK;
    nexus__stored *s = gap_event(g, from, to, &status);
    if (!s)
        return status;
    s->view.event.recv_ns = next_ns;
    const known *k = nexus__map_get(&g->known, nexus__pos_key(&from));
    status = nexus__bgroup_admit(g, s, k);
    if (status != NEXUS_OK)
        nexus__stored_unref(g->broker->alloc, s);
    return status;
}
