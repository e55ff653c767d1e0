/*
 * Loading an aggregate. A snapshot counts only when the log still says what it said: the event it stands behind is looked
 * up by position and id, so that neither a log that was put back from a backup nor a new one of the same name is taken
 * for the old. Whatever is wrong with it, the events are read from the first.
 */
#include <nexus/aggregate.h>

#include "base/status.h"
#include "bus/handle.h"
#include "bus/snapshot.h"

#define EVERY_EVENTS 100

void nexus_aggregate_init(nexus_aggregate *aggregate)
{
    *aggregate = (nexus_aggregate)NEXUS_AGGREGATE_INIT;
}

typedef struct load {
    nexus_bus *bus;
    const char *stream;
    nexus_aggregate how;
    void *state;
    nexus__snapshot_mark mark; /* of the last event taken; version -1 = none */
    nexus_aggregate_report report;
} load;

/* Whether the event the snapshot stands behind is in the log, or has been dropped from it by retention. */
static bool still_true(const load *l, const nexus_snapshot *s)
{
    int64_t version;
    if (nexus_stream_version(l->bus, l->stream, &version) != NEXUS_OK || version < s->mark.version)
        return false;
    if (!s->mark.pos)
        return true;
    nexus_reader_opts opts = NEXUS_READER_OPTS_INIT;
    nexus_reader *reader;
    const nexus_event *e;
    opts.stream = l->stream;
    opts.start = NEXUS_START_POS;
    opts.start_pos = opts.to_pos = s->mark.pos;
    opts.raw = true;
    if (nexus_reader_open(&reader, l->bus, &opts) != NEXUS_OK)
        return false;
    nexus_status status = nexus_reader_next(reader, &e, 0);
    bool same = status == NEXUS_OK && e->version == s->mark.version && nexus__snapshot_id_hash(e) == s->mark.id_hash;
    nexus_reader_close(reader);
    return same || status == NEXUS_EMISSING;
}

static bool begin_with_snapshot(load *l)
{
    nexus_snapshot *s;
    if (!l->how.restore || nexus_snapshot_get(&s, l->bus, l->stream, l->how.rev) != NEXUS_OK)
        return false;
    bool good = still_true(l, s) && l->how.restore(l->state, nexus__slice(s->state, s->n)) == NEXUS_OK;
    if (good) {
        l->mark = s->mark;
        l->report.snapshot_version = s->mark.version;
    }
    nexus_snapshot_free(s);
    return good;
}

static nexus_status read_tail(load *l)
{
    nexus_reader_opts opts = NEXUS_READER_OPTS_INIT;
    nexus_reader *reader;
    const nexus_event *e;
    opts.stream = l->stream;
    opts.from_version = l->mark.version + 1;
    opts.start = NEXUS_START_POS;
    opts.start_pos = l->mark.pos + 1;
    nexus_status status = nexus_reader_open(&reader, l->bus, &opts);
    if (status != NEXUS_OK)
        return status;
    while ((status = nexus_reader_next(reader, &e, 0)) == NEXUS_OK) {
        status = l->how.apply(l->state, e);
        if (status != NEXUS_OK)
            break;
        l->mark.version = e->version;
        l->mark.pos = e->pos;
        l->mark.id_hash = nexus__snapshot_id_hash(e);
        l->report.events++;
        l->report.bytes += e->data.n;
    }
    nexus_reader_close(reader);
    return status == NEXUS_EDONE ? NEXUS_OK : status;
}

/* Pure: whether a load was long enough for a new snapshot. */
static bool wants_snapshot(const nexus_aggregate *how, const nexus_aggregate_report *r, int64_t took_ns)
{
    uint32_t every = how->every_events ? how->every_events : EVERY_EVENTS;
    return how->save && r->events &&
           ((every != UINT32_MAX && r->events >= every) || (how->every_bytes && r->bytes >= how->every_bytes) ||
            (how->every_ms && took_ns >= how->every_ms * NEXUS__NS_PER_MS));
}

static void save(load *l)
{
    nexus_slice bytes;
    if (l->how.save(l->state, &bytes) == NEXUS_OK)
        l->report.snapshot = nexus__snapshot_write_later(l->bus, l->stream, l->how.rev, &l->mark, bytes);
}

nexus_status nexus_aggregate_load(nexus_bus *bus, const char *stream, const nexus_aggregate *aggregate, void *state,
                                  nexus_aggregate_report *report)
{
    load l = {.bus = bus, .stream = stream, .state = state, .mark = {.version = -1}};
    l.report = (nexus_aggregate_report){.size = sizeof l.report, .version = -1, .snapshot_version = -1};
    if (aggregate->size == 0 || !aggregate->apply || !aggregate->reset || !stream || !*stream)
        return nexus__fail(NEXUS_EINVAL,
                           "aggregate: begin with NEXUS_AGGREGATE_INIT, and give apply, reset and a stream");
    memcpy(&l.how, aggregate, aggregate->size < sizeof l.how ? aggregate->size : sizeof l.how);
    int64_t begin = nexus__mono_ns();
    if (!begin_with_snapshot(&l))
        l.how.reset(state);
    nexus_status status = read_tail(&l);
    l.report.version = l.mark.version;
    if (status == NEXUS_OK && wants_snapshot(&l.how, &l.report, nexus__mono_ns() - begin))
        save(&l);
    if (report) {
        size_t size = report->size && report->size < sizeof l.report ? report->size : sizeof l.report;
        memcpy(report, &l.report, size);
        report->size = size;
    }
    return status;
}
