/* What an operator does with a group: explain, pause, seek, audit. In the owner straight to the broker, else over the connection. */
#include "base/status.h"
#include "bus/handle.h"

void nexus_seek_opts_init(nexus_seek_opts *opts)
{
    *opts = (nexus_seek_opts)NEXUS_SEEK_OPTS_INIT;
}

static nexus_status json_of(char **out, size_t *n, nexus_group *g, uint16_t op,
                            nexus_status (*local)(nexus__bgroup *, nexus__buf *))
{
    nexus__buf body;
    nexus__group_backend b;
    nexus__buf_init(&body, NULL, 0);
    nexus_status status = nexus__group_ask(g, op, NEXUS_S(""), &body, &b);
    if (status == NEXUS_OK && b.local)
        status = local(b.local, &body);
    if (status == NEXUS_OK)
        status = nexus__buf_hand_over(&body, out, n);
    nexus__buf_free(&body);
    return status;
}

nexus_status nexus_group_explain(char **out, size_t *n, nexus_group *g)
{
    return json_of(out, n, g, WIRE_EXPLAIN, nexus__bgroup_explain);
}

nexus_status nexus_group_audit(char **out, size_t *n, nexus_group *g)
{
    return json_of(out, n, g, WIRE_AUDIT, nexus__bgroup_audit);
}

nexus_status nexus_group_pause(nexus_group *g, bool pause)
{
    nexus__group_backend b;
    uint32_t yes = pause;
    nexus_status status = nexus__group_ask(g, WIRE_PAUSE, nexus__slice(&yes, sizeof yes), NULL, &b);
    return status == NEXUS_OK && b.local ? nexus__bgroup_pause(b.local, pause) : status;
}

static nexus_status seek(nexus_group *g, const nexus__seek *how, nexus__seek_report *report)
{
    nexus__buf body;
    nexus__group_backend b;
    nexus__buf_init(&body, g->bus->alloc, 0);
    nexus_status status = nexus__group_ask(g, WIRE_SEEK, nexus__slice(how, sizeof *how), &body, &b);
    if (status == NEXUS_OK && b.local)
        status = nexus__bgroup_seek(b.local, how, report);
    else if (status == NEXUS_OK && body.len != sizeof *report)
        status = nexus__fail(NEXUS_EPROTO, "the bus owner gave an unreadable answer");
    else if (status == NEXUS_OK)
        memcpy(report, body.p, sizeof *report);
    nexus__buf_free(&body);
    return status;
}

nexus_status nexus_group_seek(nexus_group *g, const nexus_seek_opts *opts, nexus_seek_result *result)
{
    nexus_seek_opts o = NEXUS_SEEK_OPTS_INIT;
    nexus__seek_report report = {0};
    if (opts)
        memcpy(&o, opts, opts->size < sizeof o ? opts->size : sizeof o);
    nexus__seek how = {
        .start = o.start, .start_pos = o.start_pos, .start_time_ns = o.start_time_ns, .dry = o.dry_run};
    nexus_status status = seek(g, &how, &report);
    nexus_seek_result r = {.size = sizeof r,
                           .floor_before = report.floor_before,
                           .floor = report.floor,
                           .again = report.again,
                           .skipped = report.skipped,
                           .inflight = report.inflight};
    if (result) {
        size_t size = result->size && result->size < sizeof r ? result->size : sizeof r;
        memcpy(result, &r, size);
        result->size = size;
    }
    return status;
}
