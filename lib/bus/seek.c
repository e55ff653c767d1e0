/*
 * Moving a group to another place of the log. The move is a record of its own: what the group had settled before it means
 * nothing after it, which is why nothing that was gathered before may be written behind it (drain_lock).
 */
#include <stdio.h>

#include "base/status.h"
#include "bus/internal.h"

static bool matches(const nexus__bgroup *g, const nexus__wal_record *r)
{
    nexus__event_view view;
    return r->kind == KIND_EVENT && !(r->flags & NEXUS__WAL_INTERNAL) &&
           nexus__event_decode(&view, r->meta, r->payload) == NEXUS_OK && nexus__filter_match(&g->filter, &view.event);
}

/* Whether the group has settled pos, with the lock held: neither in the window nor behind it. */
static bool settled(const nexus__bgroup *g, uint64_t pos)
{
    if (pos <= g->floor)
        return true;
    if (pos <= g->loaded)
        return nexus__map_get(&g->by_pos, nexus__pos_key(&pos)) == NULL;
    const known *k = nexus__map_get(&g->known, nexus__pos_key(&pos));
    return k && k->done;
}

/* What the move means for the events up to `last`. */
static nexus_status count(nexus__bgroup *g, uint64_t to, uint64_t last, nexus__seek_report *report)
{
    nexus__wal_reader *reader;
    uint64_t from = report->floor_before < to ? report->floor_before : to;
    uint64_t first = nexus__wal_first(g->broker->wal);
    nexus_status status = nexus__wal_reader_open(&reader, g->broker->wal, from + 1 > first ? from + 1 : first);
    if (status != NEXUS_OK)
        return status;
    nexus__wal_record r;
    while ((status = nexus__wal_reader_next(reader, &r)) != NEXUS_EDONE) {
        if (status == NEXUS_ECORRUPT || status == NEXUS_EMISSING)
            continue;
        if (status != NEXUS_OK || r.pos > last)
            break;
        pthread_mutex_lock(&g->lock);
        bool ours = matches(g, &r), done = ours && settled(g, r.pos);
        pthread_mutex_unlock(&g->lock);
        report->again += done && r.pos > to;
        report->skipped += ours && !done && r.pos <= to;
    }
    nexus__wal_reader_close(reader);
    return status == NEXUS_EDONE ? NEXUS_OK : status;
}

static nexus_status move(nexus__bgroup *g, uint64_t to, const nexus__seek_report *report)
{
    char detail[160];
    uint64_t body[2] = {to, 0}; /* from there on, and what up to there is a replay */
    nexus__wal_record r = {.kind = KIND_SEEK,
                           .flags = NEXUS__WAL_INTERNAL,
                           .meta = nexus__slice_c(g->name),
                           .payload = nexus__slice(body, sizeof body)};
    pthread_mutex_lock(&g->broker->drain_lock);
    pthread_mutex_lock(&g->lock);
    body[1] = g->handed > g->floor ? g->handed : g->floor;
    body[1] = body[1] > g->replay_until ? body[1] : g->replay_until;
    nexus_status status = nexus__wal_append_async(g->broker->wal, &r, 1, NULL, NULL);
    if (status == NEXUS_OK) {
        int n = snprintf(detail, sizeof detail, "from %llu to %llu: %llu again, %llu skipped",
                         (unsigned long long)g->floor, (unsigned long long)to, (unsigned long long)report->again,
                         (unsigned long long)report->skipped);
        nexus__bgroup_unload(g, to);
        g->replay_until = body[1];
        nexus__bgroup_note(g, AUDIT_SEEK, to, nexus__slice(detail, (size_t)n));
    }
    pthread_mutex_unlock(&g->lock);
    pthread_mutex_unlock(&g->broker->drain_lock);
    if (status != NEXUS_OK)
        return status;
    nexus__bgroup_wake(g);
    return nexus__bgroup_sync(g);
}

nexus_status nexus__bgroup_seek(nexus__bgroup *g, const nexus__seek *seek, nexus__seek_report *report)
{
    uint64_t to = seek->start_pos;
    *report = (nexus__seek_report){0};
    if (seek->start > NEXUS_START_TIME)
        return nexus__fail(NEXUS_EINVAL, "seek: start is %u, not one of the named values", seek->start);
    nexus_status status = nexus__broker_start_pos(g->broker, seek->start, seek->start_time_ns, &to);
    if (status != NEXUS_OK)
        return status;
    uint64_t head = nexus__wal_durable(g->broker->wal);
    if (to > head + 1)
        return nexus__fail(NEXUS_EINVAL, "seek: position %llu is behind the last one, %llu", (unsigned long long)to,
                           (unsigned long long)head);
    pthread_mutex_lock(&g->lock);
    report->floor_before = g->floor;
    report->floor = to - 1;
    report->inflight = g->inflight;
    uint64_t last = g->known.count ? head : g->loaded > to ? g->loaded : to; /* behind it nothing is settled */
    pthread_mutex_unlock(&g->lock);
    status = count(g, to - 1, last, report);
    return status == NEXUS_OK && !seek->dry ? move(g, to - 1, report) : status;
}
